"""How far a benchmark is: a bar on a terminal, a line for each row elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
)
from rich.table import Column
from rich.text import Text
from skorch.callbacks import Callback

from ..training import extra_callbacks


class Work(NamedTuple):
    """What is to be trained, as far as its duration depends on it."""

    name: str
    n_epochs: int  # at most, of each fit
    n_fits: int = 1
    cost: float = 1.0  # of an epoch, in any unit common to the works


class RunProgress:
    """Tell the progress of a run on stderr; to be used in a ``with`` statement.

    Parameters
    ----------
    works : sequence of Work
        What is to be trained, in this order.
    enabled : bool, default=True
        False: say nothing.
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
        self.works = works
        self.enabled = enabled
        self.console = StderrConsole() if console is None else console
        self._bar: Progress | None = None
        if enabled and self.console.is_interactive:
            self._bar = Progress(
                *_columns(self.console.width), console=self.console, transient=True
            )
            total = sum(self._units(work) for work in works)
            self._task = self._bar.add_task("", total=total, epoch="", end=None)

    @staticmethod
    def _units(work: Work) -> float:
        return work.n_epochs * work.n_fits * work.cost

    def __enter__(self) -> RunProgress:
        """Show the bar."""
        self._start: float | None = None  # of the first work
        self._units_run = 0.0
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def begin_work(self, index: int) -> None:
        """Tell which of the works is being done now."""
        self._index, self._fit = index, 0
        if self._start is None:
            self._start = time.monotonic()
        self._describe()

    def begin_fit(self) -> None:
        """Tell that its first or next fit starts."""
        self._fit += 1
        self._describe()

    def end_epoch(self, epoch: int, train_loss: float) -> None:
        """Tell that an epoch is over, and how."""
        if self._bar is None:
            return
        work = self.works[self._index]
        self._units_run += work.cost
        epochs_before = (self._fit - 1) * work.n_epochs
        self._move_to(self._units_before() + (epochs_before + epoch) * work.cost)
        self._bar.update(
            self._task, epoch=f"epoch {epoch}/{work.n_epochs} loss {train_loss:.3f}"
        )

    def end_work(self, summary: str) -> None:
        """Tell that it is over, and its figures."""
        if self._bar is not None:
            end_of_work = self._units_before() + self._units(self.works[self._index])
            if self._fit == 0:  # trained in another process, unseen
                self._units_run = end_of_work
            self._move_to(end_of_work)
        self.say(f"{self._numbered()}: {summary}")

    def say(self, message: str) -> None:
        """Write a line that stays, above the bar."""
        if self.enabled:
            # A terminal that is gone must not cost what is being trained.
            with suppress(OSError):
                self.console.print(
                    message, markup=False, highlight=False, soft_wrap=True
                )

    def callback(self) -> Callback | None:
        """Return a skorch callback that tells of the epochs, where a bar shows them."""
        return None if self._bar is None else _Reporter(self)

    def following(self) -> AbstractContextManager[None]:
        """Be told of the fits that this thread does meanwhile."""
        callback = self.callback()
        return nullcontext() if callback is None else extra_callbacks(callback)

    def _describe(self) -> None:
        if self._bar is None:
            return
        n_fits = self.works[self._index].n_fits
        fold = f", fold {self._fit} of {n_fits}" if self._fit and n_fits > 1 else ""
        self._bar.update(self._task, description=self._numbered() + fold, epoch="")

    def _numbered(self) -> str:
        return f"{self._index + 1} of {len(self.works)} {self.works[self._index].name}"

    def _units_before(self) -> float:
        return sum(self._units(work) for work in self.works[: self._index])

    def _move_to(self, completed: float) -> None:
        """Advance the bar, and foresee the end from the pace of what was run.

        rich's own estimate would take epochs that early stopping saved for fast ones.
        """
        assert self._bar is not None
        assert self._start is not None
        now = time.monotonic()
        left = sum(self._units(work) for work in self.works) - completed
        end = None  # fits that were read back have no pace
        if self._units_run:
            end = now + left * (now - self._start) / self._units_run
        self._bar.update(self._task, completed=completed, end=end)


def _columns(width: int) -> list[ProgressColumn]:
    """Return what the bar's line is made of, or its lines on a narrow terminal."""
    spinner = SpinnerColumn("line")  # of ASCII characters
    if width >= 100:
        return [
            spinner,
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[epoch]}", markup=False),
            _TimeLeftColumn(),
        ]
    # Text that would be cut off is folded, and the bar gives way to it.
    text = "{task.description} {task.fields[epoch]}"
    folded = TextColumn(text, markup=False, table_column=Column(overflow="fold"))
    return [spinner, folded, _TimeLeftColumn()]


class StderrConsole(Console):
    """Stderr, a terminal only where it is one."""

    def __init__(self) -> None:
        # rich takes FORCE_COLOR for a terminal too, and CI logs set that.
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        super().__init__(stderr=True, force_terminal=is_terminal)

    def on_broken_pipe(self) -> None:
        """Fall silent: rich would end the process, and lose what it trained."""
        self.quiet = True


class _TimeLeftColumn(ProgressColumn):
    """Count down to the foreseen end."""

    def render(self, task: Task) -> Text:
        end = task.fields["end"]
        if end is None:
            return Text("")
        minutes, seconds = divmod(max(round(end - time.monotonic()), 0), 60)
        return Text(f"{minutes}:{seconds:02d} left")


class _Reporter(Callback):
    """Tell a RunProgress of each fit and epoch."""

    def __init__(self, progress: RunProgress) -> None:
        self.progress = progress

    def __sklearn_clone__(self) -> _Reporter:
        # cross_validate clones the estimator for each fold; the bar stays one.
        return self

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.progress.begin_fit()

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        row = net.history[-1]
        self.progress.end_epoch(row["epoch"], row["train_loss"])
