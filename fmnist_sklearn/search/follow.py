"""Follow a search: each fit reports to where it was started, from wherever it ran."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from ..benchmark import RunProgress, Work
from ..benchmark.fits import epoch_rows
from ..scoring import benchmark_scoring

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
