"""Types of the arguments on the command line: from text to a checked value."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from .models import MODELS, find_model


def model(text: str) -> str:
    """Take the name of a model."""
    try:
        return find_model(text).name
    except ValueError:
        expected = " or ".join(MODELS).lower()
        raise argparse.ArgumentTypeError(
            f"unknown model {text!r}, expected {expected}"
        ) from None


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


def cv(text: str) -> int | str:
    """Take "holdout" or a number of folds."""
    if text == "holdout":
        return text
    return _number(
        text, int, lambda n: n >= 2, "'holdout' or a number of folds, 2 or more"
    )


def folds(text: str) -> int:
    """Take a number of folds."""
    return _number(text, int, lambda n: n >= 2, "a number of folds, 2 or more")


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
