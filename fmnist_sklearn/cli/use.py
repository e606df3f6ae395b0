"""The commands on stored networks, data and cached fits.

Their docstrings are the help of the commands; their parameters are the options.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from .output import print_json, print_line, printable


def predict(
    model: Path,
    images: list[str],
    *,
    format: str = "text",
    json: bool = False,
    **options: Any,
) -> int:
    """Classify pictures by a saved network.

    fmnist-sklearn predict net.safetensors shoe.png coat.jpg
    fmnist-sklearn predict net.safetensors photos --format csv --out answers.csv
    fmnist-sklearn predict net.safetensors photos --top 3 --min-confidence 0.8
    """
    from .predict import predict_files

    format_ = "json" if json else format
    return 0 if predict_files(model, images, format_=format_, **options) else 1


def show(model: Path, *, json: bool = False) -> int:
    """Describe a saved network.

    fmnist-sklearn show net.safetensors
    fmnist-sklearn show net.safetensors --json
    """
    from ..benchmark.results import to_jsonable
    from ..persistence import inspect_model

    summary = inspect_model(model)
    if json:
        print_json(to_jsonable(asdict(summary)))
    else:
        print_line(str(summary))
    return 0


def export(model: Path, *, out: Path, input_dtype: str = "uint8") -> int:
    """Write a saved network as an ONNX graph.

    fmnist-sklearn export net.safetensors --out net.onnx
    fmnist-sklearn export net.safetensors --out net.onnx --input-dtype float32
    """
    from ..export import export_onnx
    from ..persistence import load_model

    export_onnx(load_model(model), out, input_dtype=input_dtype)
    print_line(f"Written to {printable(out)}")
    return 0


def fetch(*, data_home: Path | None = None, json: bool = False) -> int:
    """Download the full Fashion-MNIST and verify it.

    fmnist-sklearn fetch
    fmnist-sklearn fetch --data-home datasets
    """
    from .. import datasets

    images = datasets.fetch_fashion_mnist(subset="all", data_home=data_home)
    source = datasets.fashion_mnist_source(data_home) or images.source
    n_images = len(images.target)
    if json:
        print_json({"n_images": n_images, "source": str(source)})
    else:
        shown = printable(source)
        print_line(f"Fashion-MNIST, {n_images:,} images, verified: {shown}")
    return 0


def fits(memory: Path, *, clear: bool = False, json: bool = False) -> int:
    """List or delete the fits that --memory keeps in a folder.

    fmnist-sklearn fits kept
    fmnist-sklearn fits kept --clear
    """
    from ..storage import FitCache

    if not memory.is_dir():
        raise ValueError(f"no such folder: {memory}")
    cache = FitCache(memory)
    if clear:
        n_deleted = cache.clear()
        if json:
            print_json({"n_deleted": n_deleted})
        else:
            print_line(f"{n_deleted} fits deleted")
        return 0
    entries = cache.entries()
    times = [e.last_used.isoformat(sep=" ", timespec="seconds") for e in entries]
    if json:
        print_json(
            [
                {"name": entry.path.name, "n_bytes": entry.n_bytes, "last_used": time}
                for entry, time in zip(entries, times, strict=True)
            ]
        )
        return 0
    for entry, time in zip(entries, times, strict=True):
        size = f"{entry.n_bytes / 1e6:.1f} MB"
        print_line(f"{time}\t{size}\t{printable(entry.path.name)}")
    n_bytes = sum(entry.n_bytes for entry in entries)
    print_line(f"{len(entries)} fits, {n_bytes / 1e6:.1f} MB")
    return 0
