"""How far a benchmark or a search is: a bar on a terminal, elsewhere lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any, NamedTuple
from uuid import uuid4

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
from .fits import epoch_rows
from .scoring import benchmark_scoring


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


_INTERVAL = 0.2  # s, between two looks for reports

Report = Mapping[str, Any]


@dataclass
class ReportingScorer:
    """What ``benchmark_scoring`` measures, as one scorer, told to a follower too.

    scikit-learn hands no finished fit to the process that searches before all are
    done. The scorer is called once a fit, in the process that ran it.

    Parameters
    ----------
    names : sequence of str
        Parameters to report.
    report : callable, default=None
        Takes a mapping that JSON can hold; None: nobody follows.
    """

    names: list[str]
    report: Callable[[Report], None] | None = None

    def __call__(self, estimator: Any, X: Any, y: Any) -> dict[str, float]:
        """Return the scores of a fit; "score", which halving asks for, is accuracy."""
        scorers = benchmark_scoring()
        scores = {name: scorer(estimator, X, y) for name, scorer in scorers.items()}
        if self.report is not None:
            params = {name: getattr(estimator, name) for name in self.names}
            self.report(
                {
                    "candidate": describe_params(params),
                    "max_epochs": estimator.max_epochs,
                    "history": epoch_rows(estimator),
                    **{name: float(score) for name, score in scores.items()},
                }
            )
        return {**scores, "score": scores["accuracy"]}


def describe_params(params: Mapping[str, Any]) -> str:
    """Name a candidate by its parameters."""
    return ", ".join(f"{name}={value}" for name, value in params.items())


# Ways for reports -------------------------------------------------------------------


@dataclass(frozen=True)
class _ToFile:
    """Append reports to a file, a line each: threads and processes of one machine."""

    path: Path

    def __call__(self, report: Report) -> None:
        with suppress(OSError), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(report) + "\n")


@dataclass(frozen=True)
class _ToScheduler:
    """Hand reports to Dask's scheduler, which tells the client."""

    topic: str

    def __call__(self, report: Report) -> None:
        from distributed import get_worker

        get_worker().log_event(self.topic, report)


@contextmanager
def following(
    tell: Callable[[Report], None], client: Any = None
) -> Iterator[Callable[[Report], None]]:
    """Yield where fits are to report, on this machine or on a Dask cluster.

    Parameters
    ----------
    tell : callable
        Is handed the reports, in a thread of its own.
    client : distributed.Client, default=None
        Of the cluster; None: the fits run on this machine.
    """
    follow = _following_file(tell) if client is None else _following_dask(tell, client)
    with follow as report:
        yield report


@contextmanager
def _following_file(tell: Callable[[Report], None]) -> Iterator[_ToFile]:
    # Fits of a search that was broken off may still write while the folder goes.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, "reports")
        path.touch()
        is_over = Event()

        def read() -> None:
            with path.open(encoding="utf-8") as file:
                begun = ""
                while True:
                    last_look = is_over.wait(_INTERVAL)
                    *lines, begun = (begun + file.read()).split("\n")
                    for line in lines:
                        tell(json.loads(line))
                    if last_look:
                        return

        reader = Thread(target=read, daemon=True)
        reader.start()
        try:
            yield _ToFile(path)
        finally:
            is_over.set()
            reader.join()


@contextmanager
def _following_dask(
    tell: Callable[[Report], None], client: Any
) -> Iterator[_ToScheduler]:
    topic = f"fmnist-sklearn-search-{uuid4().hex}"
    client.subscribe_topic(topic, lambda event: tell(event[1]))
    try:
        yield _ToScheduler(topic)
    finally:
        client.unsubscribe_topic(topic)


# What is shown of them --------------------------------------------------------------


class SearchProgress(RunProgress):
    """Tell how many fits are done, the best candidate so far, and the time left.

    A bar on a terminal, and everywhere a line for each candidate that is done.

    Parameters
    ----------
    name : str
        What is searched.
    n_fits, n_epochs : int
        Fits of all candidates together, and their epochs, at most.
    n_folds : int
        Fits of a candidate.
    n_jobs : int
        Fits at a time.
    **kwargs : dict
        As for ``RunProgress``.
    """

    def __init__(
        self,
        name: str,
        *,
        n_fits: int,
        n_epochs: int,
        n_folds: int,
        n_jobs: int,
        **kwargs: Any,
    ) -> None:
        super().__init__([Work(name, n_epochs)], **kwargs)
        self.n_fits = n_fits
        self.n_folds = n_folds
        self.n_jobs = n_jobs
        self._n_done = 0
        self._n_candidates = 0
        self._epochs_done = 0
        self._seconds = 0.0
        self._accuracies: dict[tuple[str, int], list[float]] = {}
        # (candidate, epochs at most) -> the epochs of each of its fits
        self.histories: dict[tuple[str, int], list[list[dict[str, float]]]] = {}
        self._best: tuple[float, str] | None = None
        self._show()

    def end_fit(self, report: Report) -> None:
        """Tell what a fit reports."""
        # A worker that was lost may have reported fits that are done again.
        self._n_done = min(self._n_done + 1, self.n_fits)
        self._epochs_done += report["max_epochs"]
        self._seconds += report["training_time_s"]
        candidate = report["candidate"], report["max_epochs"]
        accuracies = self._accuracies.setdefault(candidate, [])
        accuracies.append(report["accuracy"])
        self.histories.setdefault(candidate, []).append(report["history"])
        if len(accuracies) == self.n_folds:
            self._end_candidate(report, sum(accuracies) / self.n_folds)
        self._show()

    def _end_candidate(self, report: Report, accuracy: float) -> None:
        self._n_candidates += 1
        if self._best is None or accuracy > self._best[0]:
            self._best = accuracy, report["candidate"]
        self.say(
            f"{self._n_candidates} of {self.n_fits // self.n_folds} "
            f"{report['candidate']}, at most {report['max_epochs']} epochs: "
            f"accuracy {accuracy:.4f}"
        )

    def _show(self) -> None:
        if self._bar is None:
            return
        (work,) = self.works
        best = "" if self._best is None else "best {:.4f} ({})".format(*self._best)
        self._bar.update(
            self._task,
            description=f"{work.name}, fit {self._n_done} of {self.n_fits}",
            completed=self._epochs_done,
            epoch=best,
            end=self._foresee(work.n_epochs),
        )

    def _foresee(self, n_epochs: int) -> float | None:
        """Return when the search will be over, on the clock of ``time.monotonic``.

        From what the trainings took. Fits that were read back from ``memory`` came at
        once and know that too; they say nothing of those to come.
        """
        if not self._epochs_done:
            return None
        pace = self._seconds / self._epochs_done / self.n_jobs  # s an epoch
        return time.monotonic() + max(n_epochs - self._epochs_done, 0) * pace
