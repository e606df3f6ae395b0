"""What is read and told, by pictures and files of rows alike."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class Report(Protocol):
    """Takes what is wrong with an input."""

    def __call__(
        self, text: str, *, kind: str = "error", passed_over: bool = True
    ) -> None:
        """Tell it; an input that is passed over has no prediction."""


class Batch(NamedTuple):
    """Images, or rows of pixels, and where each comes from."""

    names: list[tuple[str, int | None]]  # path, and row in a file of rows, from 0
    X: np.ndarray
