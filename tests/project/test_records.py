"""The records of the benchmarks: written once, read in order, shown in the README."""

import json
import sys

import numpy as np
import pytest

from fmnist_sklearn import RECIPES, load_model, save_model
from fmnist_sklearn.benchmark.data import Images

from . import ROOT


@pytest.fixture
def records(scripts):
    """The module that reads and writes the records."""
    return scripts("records")


@pytest.fixture
def call(monkeypatch):
    """A function that runs a script with arguments."""

    def call(script, *arguments):
        monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
        script.main()

    return call


def test_readme_shows_the_records(records):
    readme = (ROOT / "README.md").read_text("utf-8")
    assert records.filled(readme) == readme


# Accuracy


def test_seconds_to_an_accuracy_and_spread_over_seeds(records):
    history = {"dur": [2.0, 3.0, 4.0], "test_acc": [0.5, 0.8, 0.7]}
    assert records.seconds_to(history, 0.4) == 2
    assert records.seconds_to(history, 0.75) == 5
    assert np.isnan(records.seconds_to(history, 0.9))
    assert records.spread([0.91]) == "0.9100"
    assert records.spread([0.90, 0.92]) == "0.9100 ± 0.0141"


@pytest.fixture
def accuracy(scripts, records, X, y, tmp_path, monkeypatch):
    """The script that trains the recipes, on a few images and in another folder."""
    script = scripts("accuracy")
    images = Images("sample", "memory", X, y, X[:50], y[:50])
    monkeypatch.setattr(records, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(script, "load_data", lambda *args: images)
    monkeypatch.setitem(script.DISTILLED, "max_epochs", 2)
    return script


LENET5 = ("--model", "lenet5", "--threads", 1, "--recipe")


def test_accuracy_of_a_recorded_run_is_not_repeated(
    records, accuracy, call, tmp_path, capsys
):
    call(accuracy, *LENET5, "fast")
    [path] = (tmp_path / "runs").iterdir()
    assert path.name == "fast-lenet5-64-0.json"
    run = json.loads(path.read_text("utf-8"))
    assert run["test_accuracy"] == run["history"]["test_acc"][run["best_epoch"] - 1]
    n_epochs = RECIPES["fast"]["LeNet5Classifier"]["max_epochs"]
    assert len(run["history"]["dur"]) == run["epochs"] == n_epochs
    assert records.read_records()["threads"].tolist() == [1]

    before = path.read_bytes()
    call(accuracy, *LENET5, "fast")
    assert path.read_bytes() == before
    assert "recorded before" in capsys.readouterr().out


def test_accuracy_of_a_distilled_run(accuracy, call, X, y, mini_vgg, tmp_path, capsys):
    """Teachers are read from files; the trained network is saved without them."""
    with pytest.raises(SystemExit):
        call(accuracy, *LENET5, "distilled")
    assert "--teachers go together" in capsys.readouterr().err

    save_model(mini_vgg, tmp_path / "teacher.safetensors")
    files = ["--teachers", tmp_path / "teacher.safetensors", "--keep", tmp_path / "out"]
    call(accuracy, *LENET5, "distilled", *files)
    run = json.loads((tmp_path / "runs/distilled-lenet5-64-0.json").read_text("utf-8"))
    assert run["teachers"] == ["teacher"]
    net = load_model(tmp_path / "out/distilled-lenet5-64-0.safetensors")
    assert net.teacher is None
    assert net.score(X[:50], y[:50]) == run["test_accuracy"]


def test_fit_of_the_defaults_is_not_repeated(
    scripts, records, call, X, y, tmp_path, monkeypatch, capsys
):
    defaults = scripts("defaults")
    for script in (defaults, records):
        monkeypatch.setattr(script, "DEFAULTS", tmp_path / "defaults.csv")
    monkeypatch.setattr(defaults, "DEFAULTS_CHOICE", tmp_path / "choice.csv")
    np.savez(tmp_path / "small.npz", X=X[:200].reshape(-1, 28, 28), y=y[:200])
    names = ["LogisticRegression()", "LeNet5Classifier()"]
    options = ["--folder", tmp_path, "--sets", "small", "--estimators", *names]
    for n_splits in (1, 2):
        call(defaults, *options, "--threads", 1, "--splits", n_splits)
    assert capsys.readouterr().out.count("'estimator'") == 4
    call(defaults, *options, "--threads", 1, "--splits", 1, "--sets", "small:2x10")
    table, few = records.defaults_table(), records.defaults_table(few=True)
    assert [*table] == [*few] == ["set", "rows", "LogisticRegression", "LeNet5"]
    assert "(n=2)" in table["LeNet5"].item()
    assert few["rows"].item() == 20
    assert len(records.draw_defaults().axes) == 1
    call(defaults, *options[:4], "--choose", "--splits", 1, "--estimators", "SVC(C=9)")
    assert "small,SVC(C=9),0," in (tmp_path / "choice.csv").read_text("utf-8")


# Speed


@pytest.fixture
def run(records):
    """A comparison of three rounds, the second of them in a bad minute."""
    return {
        "job": "training",
        "model": "lenet5",
        "batch_size": 64,
        "threads": 2,
        "rows": 100,
        "seconds": {
            records.PLAIN_LOOP: [1.0, 4.0, 1.0],
            records.OURS: [0.5, 1.0, 0.4],
            records.BARE_LOOP: [0.4, 1.0, 0.4],
        },
    }


def test_ratio_is_taken_round_by_round(records, run):
    assert records.ratio(run, records.OURS) == pytest.approx(2.5)
    assert records.ratio(run, records.PLAIN_LOOP) == 1
    table = records.rates(run).set_index("contender")
    assert table.loc[records.OURS, "rows/s"] == 200
    assert table.loc[records.OURS, "highest"] == pytest.approx(250)


def test_read_speed_keeps_an_order(records, run, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "SPEED", tmp_path)
    prediction = {**run, "job": "prediction", "batch_size": "best"}
    for each in (prediction, {**run, "batch_size": 128}, {**run, "threads": 1}, run):
        records.write_speed(each)
    runs = records.read_speed()
    assert runs["seconds"].iloc[0] == run["seconds"]
    table = records.speed_table(runs)
    assert table.columns.tolist() == [
        "contender",
        "LeNet5, batch 64, 2 threads",
        "LeNet5, batch 128, 2 threads",
        "LeNet5, batch 64, 1 thread",
        "LeNet5, predict, 2 threads",
    ]
    assert table.iloc[1, 1] == "200 (2.50)"
    overhead = records.overhead_table(runs)["overhead"]
    assert overhead.iloc[0] == "+0.0%"
    spread = records.spread_table(runs).iloc[0]
    assert spread[["lowest", "median", "highest"]].tolist() == ["2.00", "2.50", "4.00"]
