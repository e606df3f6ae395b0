"""Searches on a real Dask cluster of processes on this machine."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from fmnist_sklearn import FitCache, LeNet5Classifier, RacingSearchCV
from fmnist_sklearn.benchmark.cluster import connected, running_on
from fmnist_sklearn.datasets import load_fashion_mnist_sample

from .killed_search import GRID, N_FITS, without_times

dask = pytest.importorskip("dask")
pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore:.*max_epochs")


@pytest.fixture(scope="module")
def client():
    """The client of two workers, a process and a thread each."""
    with connected(workers=2) as client:
        yield client


@pytest.fixture(scope="module")
def rows():
    X, y = load_fashion_mnist_sample(return_X_y=True)
    return X[:600], y[:600]


def search(rows, scoring="accuracy", refit=False, **params):
    net = LeNet5Classifier(max_epochs=2, random_state=0, **params)
    search = GridSearchCV(net, GRID, cv=2, scoring=scoring, refit=refit)
    return search.set_params(error_score="raise").fit(*rows)


def score_process(net, X, y):
    """Return where a fit runs, as its score."""
    return os.getpid()


def test_fits_are_kept_by_the_workers(client, rows, tmp_path):
    with running_on(client, rows):
        search(rows, refit=True, memory=str(tmp_path))
    assert len(FitCache(tmp_path).entries()) == N_FITS


def test_threads_share_the_cores(client):
    expected = os.environ.get("OMP_NUM_THREADS", max(joblib.cpu_count() // 2, 1))
    for worker in client.nthreads():
        future = client.submit(torch.get_num_threads, workers=worker)
        assert future.result() == int(expected)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_all_workers_fit_and_the_client_does_not(n_workers, rows):
    with connected(workers=n_workers) as client, running_on(client, rows):
        found = search(rows, score_process).cv_results_
        splits = np.concatenate([found[f"split{k}_test_score"] for k in range(2)])
        assert set(splits) == set(client.run(os.getpid).values())


posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@posix
def test_a_killed_worker_costs_no_result(client, rows):
    """With 600 rows: what a task takes is larger than joblib sends with it."""

    def search_on_cluster():
        with running_on(client, rows):
            return without_times(search(rows).cv_results_)

    began = time.monotonic()
    expected = search_on_cluster()
    seconds = time.monotonic() - began
    draw = random.Random(0)

    def kill_one(pids):
        time.sleep(draw.uniform(0, seconds))
        os.kill(draw.choice(pids), signal.SIGKILL)

    for _ in range(3):
        client.wait_for_workers(2, timeout=60)
        pids = sorted(client.run(os.getpid, on_error="ignore").values())
        killer = threading.Thread(target=kill_one, args=[pids])
        killer.start()
        found = search_on_cluster()
        killer.join()
        assert found == expected


def kill_process(net, X, y):
    """Kill the worker, as the kernel does for lack of memory, at the fifth fit."""
    if net.dropout:
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0


@posix
def test_a_fit_that_kills_its_workers_ends_the_search(rows, tmp_path):
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        connected(workers=1) as client,
        running_on(client, rows),
        pytest.raises(ConnectionError, match=r"on 2 different workers.* a memory"),
    ):
        search(rows, kill_process, memory=str(tmp_path))
    assert len(FitCache(tmp_path).entries()) >= 4


def test_a_lost_scheduler_ends_the_search(rows, tmp_path):
    file = tmp_path / "scheduler"
    command = [sys.executable, "-m", "dask"]
    options = ["--no-dashboard", "--scheduler-file", str(file)]
    with (
        subprocess.Popen([*command, "scheduler", "--port", "0", *options]) as scheduler,
        subprocess.Popen([*command, "worker", "--no-nanny", *options]),
    ):
        while not (file.exists() and file.stat().st_size):
            time.sleep(0.1)
        memory = tmp_path / "memory"
        net = LeNet5Classifier(max_epochs=2, random_state=0, memory=str(memory))
        race = RacingSearchCV(net, GRID, cv=2, report=lambda *now: scheduler.kill())
        with (
            connected(json.loads(file.read_text())["address"]) as client,
            running_on(client, rows),
            pytest.raises(ConnectionError, match=r"(?s)Lost the Dask scheduler.* a me"),
        ):
            race.fit(*rows)
    assert FitCache(memory).entries()


@pytest.mark.parametrize(
    ("file", "code", "message"),
    [
        ("__init__.py", "raise ImportError('no torch')", r"ImportError\('no torch'\)"),
        ("_version.py", "__version__ = '0.0.0'", "0.0.0"),
    ],
)
def test_worker_without_the_package(file, code, message, tmp_path, monkeypatch):
    package = tmp_path / "fmnist_sklearn"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / file).write_text(code)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    named = rf"fmnist_sklearn 0.* tcp://\S+ has {message}"
    with connected(workers=1) as client, pytest.raises(ImportError, match=named):
        running_on(client, []).__enter__()


SCRIPT = """
from fmnist_sklearn import load_fashion_mnist_sample, run_search

X, y = load_fashion_mnist_sample(return_X_y=True)
how = {"cv": 2, "max_epochs": 1, "workers": 2, "progress": False}
found = run_search("lenet5", {"lr": [0.003, 0.01]}, X[:600], y[:600], **how)
print(found.search.best_params_)
"""


def test_a_plain_script_needs_no_guard_and_prints_no_warning(tmp_path):
    (tmp_path / "tune.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "tune.py"]
    env = os.environ | {"GOMP_SPINCOUNT": "1000"}  # else a busy machine has a warning
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "arning" not in done.stderr  # dask may log the end of a connection
    assert "lr" in done.stdout
