"""The commands on a saved network: ``predict``, ``show`` and ``export``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..output import print_line, printable
from . import _options, _types


def add_predict(add: _options.Add) -> None:
    """Add ``predict`` to the commands."""
    parser = add(
        "predict",
        _predict,
        "name what pictures show, by a saved network",
        """\
  fmnist-sklearn predict net.safetensors shoe.png coat.jpg
  fmnist-sklearn predict net.safetensors photos --format csv --out answers.csv
  fmnist-sklearn predict net.safetensors photos --top 3 --min-confidence 0.8""",
    )
    _options.add_model_file(parser)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="a picture (PNG, JPEG and others) of any size; a folder, of which all "
        "pictures are taken; or a .csv or .npy file of rows of pixels",
    )
    _options.add_preparation(
        parser,
        "",
        "as the file of the network says; where it does not, clothing for the classes "
        "and image size of Fashion-MNIST and else resize, which a note tells",
    )
    parser.add_argument(
        "--top",
        type=_types.positive_int,
        default=1,
        metavar="K",
        help="the K most probable labels follow the answer (default: the answer only)",
    )
    parser.add_argument(
        "--min-confidence",
        type=_types.fraction,
        default=0.0,
        metavar="P",
        help="with a probability below P the answer is 'unsure' (default: 0)",
    )
    parser.add_argument(
        "--format",
        choices=("text", "csv", "json"),
        default="text",
        help="text (default): path, answer and probability between tabs; csv: with a "
        "header; json: one array",
    )
    parser.add_argument(
        "--json",
        action="store_const",
        dest="format",
        const="json",
        help="the same as --format json",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where to write instead of printing, as a whole when all is done",
    )
    _options.add_batch_size(parser, 256, "images in memory at a time")


def add_show(add: _options.Add) -> None:
    """Add ``show`` to the commands."""
    parser = add(
        "show",
        _show,
        "tell what the file of a saved network says of itself",
        """\
  fmnist-sklearn show net.safetensors
  fmnist-sklearn show net.safetensors --json""",
    )
    _options.add_model_file(parser)
    _options.add_json(parser)


def add_export(add: _options.Add) -> None:
    """Add ``export`` to the commands."""
    parser = add(
        "export",
        _export,
        "write a saved network as an ONNX graph",
        """\
  fmnist-sklearn export net.safetensors --out net.onnx
  fmnist-sklearn export net.safetensors --out net.onnx --input-dtype float32""",
    )
    _options.add_model_file(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="where to write it"
    )
    parser.add_argument(
        "--input-dtype",
        choices=("uint8", "float32"),
        default="uint8",
        help="type of the pixels that the graph takes (default: %(default)s)",
    )


def _predict(args: Any) -> int:
    from ..prediction import predict_files

    whole = predict_files(
        args.model,
        args.images,
        prepare=args.prepare,
        format_=args.format,
        top=args.top,
        min_confidence=args.min_confidence,
        out=args.out,
        batch_size=args.batch_size,
    )
    return 0 if whole else 1


def _show(args: Any) -> int:
    from ..persistence import inspect_model

    summary = inspect_model(args.model)
    if args.json:
        _options.say_json(asdict(summary))
    else:
        print_line(str(summary))
    return 0


def _export(args: Any) -> int:
    from ..export import export_onnx
    from ..persistence import load_model

    export_onnx(load_model(args.model), args.out, input_dtype=args.input_dtype)
    print_line(f"Written to {printable(args.out)}")
    return 0
