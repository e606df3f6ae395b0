"""Types of the arguments on the command line: from text to a checked value.

What is loaded only to check a value is loaded late, so that ``--help`` need not wait.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def model(text: str) -> str:
    """Take the name of a model."""
    from ..models import MODELS, find_model

    try:
        return find_model(text).name
    except ValueError:
        expected = " or ".join(MODELS).lower()
        raise argparse.ArgumentTypeError(
            f"unknown model {text!r}, expected {expected}"
        ) from None


def recipe(text: str) -> str:
    """Take the name of a recipe."""
    from ..recipes import RECIPES

    return _choice(text, RECIPES)


def preparation(text: str) -> str:
    """Take the name of a way to prepare pictures."""
    from ..photos import PREPARATIONS

    return _choice(text, PREPARATIONS)


def data(text: str) -> str | Path:
    """Take which Fashion-MNIST, or a folder of pictures."""
    if text in ("auto", "full", "sample"):
        return text
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(
            f"invalid choice: {text!r} (choose from auto, full, sample, or a folder "
            "that is there)"
        )
    return Path(text)


def image_shape(text: str) -> tuple[int, ...]:
    """Take channels, height and width."""
    sides = text.split("x")
    if len(sides) != 3 or not all(side.isdecimal() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(
            f"expected channels, height and width, such as 3x32x32, got {text!r}"
        )
    return tuple(map(int, sides))


def _choice(text: str, names: Iterable[str]) -> str:
    if text not in names:
        raise argparse.ArgumentTypeError(
            f"invalid choice: {text!r} (choose from {', '.join(names)})"
        )
    return text


def _number(text: str, kind: Callable[[str], Any], is_valid: Any, expected: str) -> Any:
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not is_valid(number):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return number


def positive_float(text: str) -> float:
    """Take a number above 0."""
    return _number(text, float, lambda x: 0 < x < float("inf"), "a number above 0")


def positive_int(text: str) -> int:
    """Take an integer of at least 1."""
    return _number(text, int, lambda n: n >= 1, "an integer of at least 1")


def n_jobs(text: str) -> int:
    """Take a number of jobs."""
    return _number(text, int, lambda n: n != 0, "an integer other than 0")


def seed(text: str) -> int:
    """Take what seeds a generator."""
    return _number(text, int, lambda n: 0 <= n < 2**32, "an integer from 0 to 2**32-1")


def folds(text: str) -> int:
    """Take a number of folds."""
    return _number(text, int, lambda n: n >= 2, "a number of folds, 2 or more")


def cv(text: str) -> int | str:
    """Take "holdout" or a number of folds."""
    if text == "holdout":
        return text
    return _number(
        text, int, lambda n: n >= 2, "'holdout' or a number of folds, 2 or more"
    )


def fraction(text: str) -> float:
    """Take a number from 0 to below 1."""
    return _number(text, float, lambda p: 0 <= p < 1, "a number from 0 to below 1")


def boolean(text: str) -> bool:
    """Take "true" or "false"."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() == "true"


def positive_int_or_none(text: str) -> int | None:
    """Take "none" or an integer of at least 1."""
    if text.lower() == "none":
        return None
    return _number(text, int, lambda n: n >= 1, "none or an integer of at least 1")
