"""The commands ``fmnist-sklearn predict``, ``show`` and ``export``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import arguments
from .export import export_onnx
from .output import printable, say
from .persistence import inspect_model, load_model
from .photos import PREPARATIONS
from .prediction import predict_files

_Add = Callable[..., argparse.ArgumentParser]  # of a command's name, function and help


def add_predict(add: _Add) -> None:
    """Add ``predict`` to the commands."""
    parser = add("predict", _predict, "name what pictures show, by a saved network")
    parser.add_argument("model", type=Path, metavar="FILE", help="the saved network")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="a picture (PNG, JPEG and others) of any size; a folder, of which all "
        "pictures are taken; or a .csv or .npy file of rows of pixels",
    )
    parser.add_argument(
        "--prepare",
        choices=PREPARATIONS,
        help="clothing: cut out one article on a plain background, light on dark; "
        "resize: the whole picture, colours and background kept. Default: as the "
        "file of the network says; where it does not, clothing for the classes and "
        "image size of Fashion-MNIST and else resize, which a note tells",
    )
    parser.add_argument(
        "--top",
        type=arguments.positive_int,
        default=1,
        metavar="K",
        help="the K most probable labels follow the answer (default: the answer only)",
    )
    parser.add_argument(
        "--min-confidence",
        type=arguments.fraction,
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
        "--out",
        type=Path,
        metavar="FILE",
        help="where to write instead of printing, as a whole when all is done",
    )
    parser.add_argument(
        "--batch-size",
        type=arguments.positive_int,
        default=256,
        metavar="N",
        help="images in memory at a time (default: %(default)s)",
    )


def add_show(add: _Add) -> None:
    """Add ``show`` to the commands."""
    parser = add("show", _show, "tell what the file of a saved network says of itself")
    parser.add_argument("model", type=Path, metavar="FILE", help="the saved network")


def add_export(add: _Add) -> None:
    """Add ``export`` to the commands."""
    parser = add("export", _export, "write a saved network as an ONNX graph")
    parser.add_argument("model", type=Path, metavar="FILE", help="the saved network")
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
    say(str(inspect_model(args.model)))
    return 0


def _export(args: Any) -> int:
    export_onnx(load_model(args.model), args.out, input_dtype=args.input_dtype)
    say(f"Written to {printable(args.out)}")
    return 0
