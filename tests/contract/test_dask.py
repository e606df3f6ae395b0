"""Searches on a real Dask cluster of processes on this machine."""

import contextlib
import os
import signal
import time

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from fmnist_sklearn import FitCache, LeNet5Classifier
from fmnist_sklearn.benchmark.cluster import connected, following, running_on
from fmnist_sklearn.benchmark.search import ReportingScorer

from .killed_search import GRID, N_FITS, images, without_times

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client():
    """The client of two workers, a process and a thread each."""
    with connected(None, 2) as client:
        yield client


@pytest.fixture(scope="module")
def rows():
    return images()


class DieOnce(Callback):
    """Kill the process in the second epoch, if nobody has been killed before."""

    def __init__(self, path):
        self.path = path

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            with contextlib.suppress(FileExistsError):
                self.path.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)


def search(rows, scoring="accuracy", refit=True, **params):
    net = LeNet5Classifier(batch_size=16, max_epochs=2, random_state=0, **params)
    grid = GridSearchCV(net, GRID, cv=2, scoring=scoring, refit=refit)
    return grid.set_params(error_score="raise").fit(*rows)


@pytest.mark.filterwarnings("ignore:.*max_epochs")
def test_fits_are_kept_and_reported_from_the_workers(client, rows, tmp_path):
    reports = []
    scorer = ReportingScorer(list(GRID))
    with running_on(client, rows), following(reports.append, client) as scorer.report:
        grid = search(rows, scoring=scorer, refit="score", memory=str(tmp_path))
    assert len(FitCache(tmp_path).entries()) == N_FITS
    deadline = time.monotonic() + 10
    while len(reports) < N_FITS - 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len({report["candidate"] for report in reports}) == 4
    accuracies = sorted(report["accuracy"] for report in reports)
    found = grid.cv_results_
    splits = [found[f"split{k}_test_accuracy"] for k in range(2)]
    assert accuracies == sorted(np.concatenate(splits))


def test_threads_share_the_cores(client):
    threads = client.run(torch.get_num_threads).values()
    assert set(threads) == {max(joblib.cpu_count() // 2, 1)}


@pytest.mark.filterwarnings("ignore:.*max_epochs")
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_worker_costs_no_result(client, rows, tmp_path):
    expected = search(rows)
    mark = tmp_path / "killed"
    with running_on(client, rows):
        found = search(rows, callbacks=[DieOnce(mark)])
    assert mark.exists()
    assert without_times(found.cv_results_) == without_times(expected.cv_results_)
    assert found.best_params_ == expected.best_params_
    probabilities = (net.predict_proba(rows[0]) for net in (found, expected))
    assert np.array_equal(*probabilities)
