import io
import json
import os
import re
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import loguniform

from fmnist_sklearn import FitCache, benchmark_table, load_model, run_search
from fmnist_sklearn.benchmark import load_data, run_benchmark
from fmnist_sklearn.benchmark import search as run
from fmnist_sklearn.benchmark.progress import SearchProgress, following
from fmnist_sklearn.cli import main
from fmnist_sklearn.training import Training

pytestmark = pytest.mark.filterwarnings("ignore:.*max_epochs")

LRS = [0.003, 0.01]


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    """A search over 120 images: what it finds does not matter."""

    def load(data, data_home=None):
        images = load_data("sample")
        train, test = slice(120), slice(50)
        return replace(
            images,
            X_train=images.X_train[train],
            y_train=images.y_train[train],
            X_test=images.X_test[test],
            y_test=images.y_test[test],
        )

    monkeypatch.setattr(run, "load_data", load)
    monkeypatch.setattr("fmnist_sklearn.benchmark.run.load_data", load)


@pytest.fixture
def trained(monkeypatch):
    """A list that gets an item for each training that is run in this process."""
    train, nets = Training.run, []

    def counted(training):
        nets.append(training.net)
        train(training)

    monkeypatch.setattr(Training, "run", counted)
    return nets


def search(params, **kwargs):
    settings = {"cv": 2, "max_epochs": 1, "data": "sample", "progress": False}
    return run_search("lenet5", params, **settings | kwargs)


def found(result):
    """Return what a search found, without the times of the calls."""
    return {
        name: list(values)
        for name, values in result.search.cv_results_.items()
        if not re.search("(fit|score)_time$", name)
    }


# Strategies -------------------------------------------------------------------------


def test_grid(trained):
    result = search({"lr": LRS, "batch_size": [64]})
    assert len(trained) == 2 * 2 + 1
    assert result.table["lr"].tolist() == LRS
    assert result.table["n_parameters"].tolist() == [61_750] * 2
    assert result.table["epochs"].tolist() == [1, 1]
    assert result.table.equals(benchmark_table(result.search))
    assert result.record["test_accuracy"] <= 1
    assert result.search.best_estimator_.lr == result.search.best_params_["lr"]
    X = load_data("sample").X_test[:50]
    assert 0 <= result.search.score(X, load_data("sample").y_test[:50]) <= 1


def test_each_candidate_has_its_curve():
    result = search({"lr": LRS, "batch_size": [64, "auto"]}, max_epochs=2)
    assert list(result.curves) == [
        f"LeNet5Classifier (batch_size={size}, lr={lr})"
        for size in (64, "auto")
        for lr in LRS
    ]
    for curve in result.curves.values():
        assert [epoch["epoch"] for epoch in curve] == [1, 2]
        assert curve[1]["train_loss"] < curve[0]["train_loss"]
    best = result.search.best_params_
    assert repr(result).startswith(
        f"<SearchResult of 4 candidates; best: batch_size={best['batch_size']}, lr="
    )
    assert "<table" in result._repr_html_()
    (judged,) = result.judged
    assert judged.name in result.curves


def test_images_of_ones_own():
    images = load_data("sample")
    X, y = images.X_train[:100].reshape(-1, 28, 28), images.y_train[:100]
    result = search({"lr": LRS}, X=X, y=y, data="auto")
    assert result.record["data"]["n_test"] == 20
    assert result.record["commands"] == [
        "run_search('lenet5', {'lr': [0.003, 0.01]}, X, y, max_epochs=1, cv=2, "
        "progress=False)"
    ]


def test_random_over_a_distribution():
    params = {"lr": loguniform(0.001, 0.1), "batch_size": [64, 128]}
    first, second = (search(params, strategy="random", n_iter=3) for _ in range(2))
    assert len(first.table) == 3
    assert first.table["lr"].between(0.001, 0.1).all()
    assert first.table["lr"].tolist() == second.table["lr"].tolist()
    other = search(params, strategy="random", n_iter=3, seed=1)
    assert first.table["lr"].tolist() != other.table["lr"].tolist()


def test_random_takes_no_more_than_there_are():
    assert len(search({"lr": LRS}, strategy="random", n_iter=9).table) == 2


@pytest.mark.parametrize("max_epochs", [1, 3])
def test_halving(max_epochs):
    params = {"lr": [*LRS, 0.02], "batch_size": [64]}
    result = search(params, strategy="halving", max_epochs=max_epochs)
    expected = [1, 1, 1] + ([3] if max_epochs == 3 else [])
    assert result.table["n_resources"].tolist() == expected
    assert result.table["epochs"].tolist() == expected
    assert result.search.best_estimator_.n_iter_ == max_epochs
    assert result.record["varied"] == ["lr"]


@pytest.mark.parametrize(
    ("n_candidates", "max_epochs"), [(1, 1), (2, 8), (6, 8), (9, 20), (12, 4)]
)
def test_halving_goes_as_scikit_learn_does(n_candidates, max_epochs):
    from sklearn.datasets import load_iris
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV
    from sklearn.tree import DecisionTreeClassifier

    rungs = run._rungs(n_candidates, max_epochs)
    halving = HalvingGridSearchCV(
        DecisionTreeClassifier(),
        {"random_state": list(range(n_candidates))},
        resource="max_depth",
        max_resources=max_epochs,
        cv=2,
    ).fit(*load_iris(return_X_y=True))
    assert [rung.n_candidates for rung in rungs] == halving.n_candidates_
    assert [rung.n_epochs for rung in rungs] == halving.n_resources_


def test_jobs_change_no_result(two_processes):
    one, two = search({"lr": LRS}), search({"lr": LRS}, n_jobs=2)
    assert np.array_equal(one.table["accuracy"], two.table["accuracy"])


# Memory -----------------------------------------------------------------------------


def test_a_search_that_is_run_again_trains_nothing(trained, tmp_path):
    plain = search({"lr": LRS})
    n_plain = len(trained)
    first = search({"lr": LRS}, memory=tmp_path)
    assert len(trained) == 2 * n_plain == 2 * len(FitCache(tmp_path).entries())
    second = search({"lr": LRS}, memory=FitCache(tmp_path))
    assert len(trained) == 2 * n_plain
    assert found(first) == found(second)
    assert first.table["accuracy"].tolist() == plain.table["accuracy"].tolist()
    search({"lr": [*LRS, 0.02]}, memory=tmp_path)
    assert len(trained) <= 2 * n_plain + 3


@pytest.mark.parametrize("cv", ["holdout", 2])
def test_a_benchmark_that_is_run_again_trains_nothing(trained, tmp_path, cv):
    settings = {"data": "sample", "models": "LeNet5", "batch_size": 128, "cv": cv}
    tables = []
    for memory in (None, tmp_path, tmp_path):
        before = len(trained)
        result = run_benchmark(**settings, memory=memory, progress=False)
        tables.append(result.table)
        n_trained = len(trained) - before
    assert n_trained == 1  # the warm-up
    assert tables[1].equals(tables[2])
    assert tables[0]["test_accuracy"].equals(tables[1]["test_accuracy"])


# Arguments --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"scheduler": "tcp://x:1", "workers": 2}, "exclude each other.*workers=2"),
        ({"params": {}}, "params must name at least one parameter"),
        ({"model": "vgg"}, "must be among .*'vgg'"),
        ({"strategy": "all"}, "'strategy' parameter of run_search must be"),
        ({"cv": 1}, "'cv' parameter of run_search must be"),
        ({"workers": 0}, "'workers' parameter of run_search must be"),
        ({"params": {"learning_rate": [1]}}, "Invalid parameter 'learning_rate'"),
    ],
)
def test_arguments_that_are_none(kwargs, message):
    arguments = {"model": "lenet5", "params": {"lr": LRS}, "data": "sample"}
    with pytest.raises(ValueError, match=message):
        run_search(**arguments | kwargs, progress=False)


def test_dask_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(ImportError, match=r"fmnist-sklearn\[distributed\]"):
        search({"lr": LRS}, workers=1)


# Progress ---------------------------------------------------------------------------


def report(lr, accuracy, max_epochs=4, seconds=2.0):
    return {
        "candidate": f"lr={lr}",
        "history": [],
        "max_epochs": max_epochs,
        "accuracy": accuracy,
        "training_time_s": seconds,
    }


def test_the_bar_shows_fits_best_and_time_left(monkeypatch):
    monkeypatch.setattr(
        "fmnist_sklearn.benchmark.progress.time.monotonic", lambda: 100.0
    )
    console = Console(
        file=io.StringIO(), force_terminal=True, force_interactive=True, width=140
    )
    sizes = {"n_fits": 6, "n_epochs": 24, "n_folds": 2, "n_jobs": 2}
    with SearchProgress("LeNet5", **sizes, console=console) as progress:
        (task,) = progress._bar.tasks
        assert task.fields["end"] is None
        for lr, accuracy in [(1, 0.5), (2, 0.8), (1, 0.7), (2, 0.9)]:
            progress.end_fit(report(lr, accuracy))
        assert task.completed == 16
        assert task.total == 24
        assert task.fields["end"] == 100 + 8 * 0.5 / 2  # epochs x s / jobs
        progress._bar.refresh()
    shown = console.file.getvalue()
    for text in ("LeNet5, fit 4 of 6", "best 0.8500 (lr=2)", "accuracy 0.6000"):
        assert text in shown


def test_fits_that_are_done_again_do_not_count_twice():
    console = Console(file=io.StringIO())
    sizes = {"n_fits": 2, "n_epochs": 8, "n_folds": 2, "n_jobs": 1}
    with SearchProgress("LeNet5", **sizes, console=console) as progress:
        for _ in range(4):
            progress.end_fit(report(1, 0.5))
    assert console.file.getvalue().count("1 of 1 lr=1") == 1


def test_reports_come_in_order_and_none_is_lost():
    told = []
    with following(told.append) as send:
        for i in range(50):
            send({"i": i})
    assert [each["i"] for each in told] == list(range(50))
    send({"i": 50})  # nobody follows any more, which harms nobody


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_line_for_each_candidate(n_jobs, capfd, two_processes):
    search({"lr": LRS}, progress=True, n_jobs=n_jobs)
    lines = capfd.readouterr().err.splitlines()
    assert sum(" of 2 lr=0.0" in line for line in lines) == 2


def test_the_follower_ends_with_an_error():
    def fail():
        with following(lambda report: None):
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert time.monotonic() - start < 5


# The command ------------------------------------------------------------------------


def run_command(*argv):
    quick = ["--data", "sample", "--cv", "2", "--max-epochs", "1"]
    return main(["search", "lenet5", *argv, *quick])


def test_the_command_prints_a_table_and_writes_files(tmp_path, capsys):
    out, memory = tmp_path / "out", tmp_path / "fits"
    argv = ["--lr", "0.003", "0.01", "--batch-size", "32", "64"]
    argv += ["--out", str(out), "--memory", str(memory)]
    assert run_command(*argv) == 0
    printed = capsys.readouterr()
    assert "LeNet5Classifier (batch_size=32, lr=0.01)" in printed.out
    assert "4 of 4 " in printed.err
    best = re.search(r"Best: batch_size=(\d+), lr=([\d.]+)\. Trained", printed.out)
    assert best is not None
    names = ["best.safetensors", "heatmap.png", "heatmap.svg"]
    assert sorted(os.listdir(out)) == [
        *names,
        "report.html",
        "search.csv",
        "search.json",
        "search.md",
    ]
    record = json.loads((out / "search.json").read_text())
    assert record["best_params"] == {"batch_size": int(best[1]), "lr": float(best[2])}
    assert len(record["measured"]["split0_test_epochs"]) == 4
    assert load_model(out / names[0]).lr == float(best[2])

    assert main(["fits", str(memory)]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 10
    assert re.fullmatch(r"9 fits, \d+\.\d MB", listed[-1])
    assert main(["fits", str(memory), "--clear"]) == 0
    assert capsys.readouterr().out == "9 fits deleted\n"
    assert FitCache(memory).entries() == []


def test_parameters_of_other_kinds(tmp_path, capsys):
    argv = ["--shuffle", "true", "FALSE", "--patience", "none", "--dropout", "0"]
    assert run_command(*argv, "--out", str(tmp_path)) == 0
    assert "shuffle=False" in capsys.readouterr().out
    params = json.loads((tmp_path / "search.json").read_text())["candidates"]
    assert params[0] == {"dropout": 0.0, "patience": None, "shuffle": True}
    assert not (tmp_path / "heatmap.svg").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--shuffle", "yes"], "expected true or false, got 'yes'"),
        (["--dropout", "1"], "a number from 0 to below 1, got '1'"),
        (["--patience", "0"], "none or an integer of at least 1, got '0'"),
        (["--lr", "1", "--n-jobs", "2", "--workers", "2"], "not allowed with"),
        (["--lr", "1", "--strategy", "best"], "or halving, got 'best'"),
    ],
)
def test_bad_usage(argv, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_command(*argv)
    assert exit_.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_errors(tmp_path, capsys):
    assert run_command("--out", str(tmp_path)) == 1
    assert "nothing to try: give values to" in capsys.readouterr().err
    assert main(["fits", str(tmp_path / "missing")]) == 1
    assert "no such folder" in capsys.readouterr().err
