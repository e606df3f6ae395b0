"""The progress of a run: a bar on a terminal, a line for each result elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from skorch.callbacks import Callback

from ..displays.style import one_line
from ..training.loop import extra_callbacks


class Work(NamedTuple):
    """One or several fits with the same parameters, and what they cost."""

    name: str
    n_epochs: int  # at most, of each fit
    n_fits: int = 1
    cost: float = 1.0  # of an epoch, in any unit common to the works

    @property
    def units(self) -> float:
        """Cost of all its epochs."""
        return self.n_epochs * self.n_fits * self.cost


class RunProgress:
    """Show the progress of a run on stderr; to be used in a ``with`` statement.

    Parameters
    ----------
    works : sequence of Work
        What is to be trained, in this order.
    enabled : bool, default=True
        False: print nothing.
    console : rich.console.Console, default=None
        Where to write; None is stderr, with a bar only where that is a terminal.
    """

    def __init__(
        self,
        works: Sequence[Work],
        *,
        enabled: bool = True,
        console: Console | None = None,
    ) -> None:
        self.works = list(works)
        self.enabled = enabled
        self.console = StderrConsole() if console is None else console
        self._index = self._fit = 0
        self._bar: Progress | None = None
        if enabled and self.console.is_interactive:
            self._bar = Progress(
                *_columns(self.console.width),
                console=self.console,
                transient=True,
                # Seconds whose pace predicts the end: several fits of a search.
                speed_estimate_period=600,
            )
            total = sum(work.units for work in works)
            self._task = self._bar.add_task("", total=total, epoch="")

    def __enter__(self) -> RunProgress:
        """Show the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def say(self, message: str) -> None:
        """Print a line that stays, above the bar."""
        if self.enabled:
            encoding = self.console.encoding
            text = one_line(message).encode(encoding, "backslashreplace")
            # A terminal that is gone must not end the training.
            with suppress(OSError):
                self.console.print(
                    text.decode(encoding), markup=False, highlight=False, soft_wrap=True
                )

    def show(self, **changes: Any) -> None:
        """Update the bar, if there is one.

        Parameters
        ----------
        **changes : str or float
            "description", "epoch", which stands behind it, and "completed": the units
            that are done.
        """
        if self._bar is not None:
            self._bar.update(self._task, **changes)

    def begin_work(self, index: int) -> None:
        """Show which of the works is being done now."""
        self._index, self._fit = index, 0
        self.show(description=self._numbered(), epoch="")

    def begin_fit(self, n_epochs: int | None = None) -> None:
        """Show that its first or next fit starts, and of how many epochs at most."""
        self._fit += 1
        if n_epochs is not None:
            work = self.works[self._index]
            self.works[self._index] = work._replace(n_epochs=n_epochs)
            self.show(total=sum(work.units for work in self.works))
        n_fits = self.works[self._index].n_fits
        fold = f", fold {self._fit} of {n_fits}" if n_fits > 1 else ""
        self.show(description=self._numbered() + fold, epoch="")

    def end_epoch(self, epoch: int, train_loss: float) -> None:
        """Show the epoch that just ended."""
        work = self.works[self._index]
        epochs = (self._fit - 1) * work.n_epochs + epoch
        text = f"epoch {epoch}/{work.n_epochs} loss {train_loss:.3f}"
        self.show(completed=self._units_before() + epochs * work.cost, epoch=text)

    def end_work(self, summary: str) -> None:
        """Print the result of the work."""
        # Also the epochs that were not seen: cached, spared, or of another process.
        self.show(completed=self._units_before() + self.works[self._index].units)
        self.say(f"{self._numbered()}: {summary}")

    def following(self) -> AbstractContextManager[None]:
        """Show the fits that this thread runs in the block, if there is a bar."""
        return nullcontext() if self._bar is None else extra_callbacks(_Reporter(self))

    def _numbered(self) -> str:
        return f"{self._index + 1} of {len(self.works)} {self.works[self._index].name}"

    def _units_before(self) -> float:
        return sum(work.units for work in self.works[: self._index])


def _columns(width: int) -> list[ProgressColumn]:
    """Return the columns of the bar, in as many lines as its text needs."""
    text = "{task.description} {task.fields[epoch]}"
    # Text that would be cut off is folded; a narrow terminal shows no bar but the text.
    folded = TextColumn(text, markup=False, table_column=Column(overflow="fold"))
    bar = [BarColumn(bar_width=12)] if width >= 100 else []
    spinner = SpinnerColumn("line")  # of ASCII characters
    left = [TimeRemainingColumn(compact=True), TextColumn("left")]
    return [spinner, folded, *bar, *left]


class StderrConsole(Console):
    """Stderr, a terminal only where it is one."""

    def __init__(self) -> None:
        # rich takes FORCE_COLOR for a terminal too, and CI logs set that.
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        super().__init__(stderr=True, force_terminal=is_terminal)

    def on_broken_pipe(self) -> None:
        """Print nothing more: rich would end the process, and lose what it trained."""
        self.quiet = True


class _Reporter(Callback):
    """Reports each fit and epoch to a RunProgress."""

    def __init__(self, progress: RunProgress) -> None:
        self.progress = progress

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        # A fit that is read from the cache has no training.
        self.progress.begin_fit(getattr(net._training, "n_epochs", None))

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        row = net.history[-1]
        self.progress.end_epoch(row["epoch"], row["train_loss"])
