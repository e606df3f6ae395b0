"""Options that several commands share, and results as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..output import print_line
from . import _types

# Takes a command's name, function, help and examples; returns its parser.
Add = Callable[..., argparse.ArgumentParser]


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the kind of network to train."""
    parser.add_argument(
        "model", type=_types.model, metavar="MODEL", help="lenet5 or minivgg"
    )


def add_model_file(parser: argparse.ArgumentParser) -> None:
    """Add the file of a saved network."""
    parser.add_argument("model", type=Path, metavar="FILE", help="the saved network")


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add what every training takes: recipe, seed and data."""
    parser.add_argument(
        "--recipe",
        type=_types.recipe,
        default="fast",
        metavar="fast|accurate|published",
        help="how to train: in few epochs (default), long on changing images, or as "
        "the published experiment did",
    )
    parser.add_argument(
        "--seed",
        type=_types.seed,
        default=0,
        metavar="S",
        help="of everything random (default: %(default)s)",
    )
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        type=_types.data,
        default="auto",
        metavar="auto|full|sample|DIR",
        help="auto (default): the full Fashion-MNIST where it can be had, else its "
        "sample; DIR: a folder of your own pictures, with a sub-folder for each class",
    )
    add_data_home(group)
    group.add_argument(
        "--test",
        type=Path,
        metavar="DIR",
        help="with --data DIR: a folder like it to test on (default: a fifth of the "
        "pictures of each class is kept for it)",
    )
    group.add_argument(
        "--image-shape",
        type=_types.image_shape,
        metavar="CxHxW",
        help="with --data DIR: channels (1 for grey, 3 for RGB), height and width of "
        "the images (default: 3x32x32)",
    )
    add_preparation(
        group, "with --data DIR, how a picture becomes an image; ", "resize"
    )


def add_preparation(
    parser: argparse._ActionsContainer, what: str, default: str
) -> None:
    """Add how pictures are prepared."""
    parser.add_argument(
        "--prepare",
        type=_types.preparation,
        metavar="clothing|resize",
        help=f"{what}clothing: cut out one article on a plain background, light on "
        "dark; resize: the whole picture, colours and background kept (default: "
        f"{default})",
    )


def read_data(args: Any) -> Any:
    """Return the choice of Fashion-MNIST, or the images of a folder."""
    folder_only = {
        "test": args.test,
        "image_shape": args.image_shape,
        "prepare": args.prepare,
    }
    given = {name: value for name, value in folder_only.items() if value is not None}
    if isinstance(args.data, Path):
        from ..benchmark import load_pictures

        return load_pictures(args.data, seed=args.seed, **given)
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(
            f"{options}: only for pictures of your own, --data DIR; got --data "
            f"{args.data}"
        )
    return args.data


def add_data_home(parser: argparse._ActionsContainer) -> None:
    """Add where the full Fashion-MNIST is kept."""
    parser.add_argument(
        "--data-home",
        type=Path,
        metavar="DIR",
        help="cache of the full data (default: scikit-learn's)",
    )


def add_batch_size(parser: argparse.ArgumentParser, default: int, what: str) -> None:
    """Add how many images are taken at a time."""
    parser.add_argument(
        "--batch-size",
        type=_types.positive_int,
        default=default,
        metavar="N",
        help=f"{what} (default: %(default)s)",
    )


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Add where finished fits are kept."""
    parser.add_argument(
        "--memory",
        type=Path,
        metavar="DIR",
        help="keep finished fits there; killed and run again, it repeats none of them",
    )


def add_folder(parser: argparse.ArgumentParser, default: str, what: str) -> None:
    """Add the folder that results go to."""
    parser.add_argument(
        "--out",
        type=Path,
        default=default,
        metavar="DIR",
        help=f"folder for {what} (default: %(default)s)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the choice of JSON for what is printed."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON value, for programs"
    )


def say_json(value: Any) -> None:
    """Print a value as JSON, numpy's numbers and paths in it too."""
    from ..benchmark.results import to_jsonable

    print_line(json.dumps(to_jsonable(value), indent=1, default=str))
