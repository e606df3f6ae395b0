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
    """One or several fits with the same parameters, and their share of the time."""

    name: str
    n_fits: int = 1
    weight: float = 1.0  # of all its fits, in any unit common to the works


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
        self._index, self._fit, self._n_epochs = 0, 0, 1
        self._bar = Progress(
            *_columns(self.console.width),
            console=self.console,
            transient=True,
            # Seconds whose pace predicts the end: several fits of a search.
            speed_estimate_period=600,
            disable=not (enabled and self.console.is_interactive),
        )
        total = sum(work.weight for work in works)
        self._task = self._bar.add_task("", total=total, epoch="")

    def __enter__(self) -> RunProgress:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Remove the bar."""
        if not self._bar.disable:  # some versions of rich print a line even then
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
            "description", "epoch", which stands behind it, and "completed": the weight
            of what is done.
        """
        self._bar.update(self._task, **changes)

    def begin_work(self, index: int) -> None:
        """Show which of the works is being done now."""
        self._index, self._fit = index, 0
        self.show(description=self._numbered(), epoch="")

    def begin_fit(self, n_epochs: int = 1) -> None:
        """Show that its first or next fit starts, and of how many epochs at most."""
        self._fit, self._n_epochs = self._fit + 1, n_epochs
        n_fits = self.works[self._index].n_fits
        fold = f", fold {self._fit} of {n_fits}" if n_fits > 1 else ""
        self.show(description=self._numbered() + fold, epoch="")

    def end_epoch(self, epoch: int, train_loss: float) -> None:
        """Show the epoch that just ended."""
        work = self.works[self._index]
        share = (self._fit - 1 + epoch / self._n_epochs) / work.n_fits
        text = f"epoch {epoch}/{self._n_epochs} loss {train_loss:.3f}"
        self.show(completed=self._done() + share * work.weight, epoch=text)

    def end_work(self, summary: str) -> None:
        """Print the result of the work."""
        # Also the epochs that were not seen: cached, spared, or of another process.
        self.show(completed=self._done() + self.works[self._index].weight)
        self.say(f"{self._numbered()}: {summary}")

    def following(self) -> AbstractContextManager[None]:
        """Show the fits that this thread runs in the block, if there is a bar."""
        return nullcontext() if self._bar.disable else extra_callbacks(_Reporter(self))

    def _numbered(self) -> str:
        return f"{self._index + 1} of {len(self.works)} {self.works[self._index].name}"

    def _done(self) -> float:
        return sum(work.weight for work in self.works[: self._index])


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
        self.progress.begin_fit(getattr(net._training, "n_epochs", 1))

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        row = net.history[-1]
        self.progress.end_epoch(row["epoch"], row["train_loss"])
