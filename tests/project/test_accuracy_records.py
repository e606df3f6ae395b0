"""The records behind the accuracy tables: made, resumed, and told as they are."""

import json
import sys

import numpy as np
import pytest

from fmnist_sklearn import RECIPES, load_model, save_model
from fmnist_sklearn.benchmark.data import Images


def test_time_to_an_accuracy(scripts):
    history = {"dur": [2.0, 3.0, 4.0], "test_acc": [0.5, 0.8, 0.7]}
    seconds_to = scripts("accuracy_records").seconds_to
    assert seconds_to(history, 0.4) == 2
    assert seconds_to(history, 0.75) == 5
    assert np.isnan(seconds_to(history, 0.9))


def test_mean_and_spread_over_seeds(scripts):
    spread = scripts("accuracy_records").spread
    assert spread([0.91]) == "0.9100"
    assert spread([0.90, 0.92]) == "0.9100 ± 0.0141"


def test_a_finished_run_is_not_repeated(scripts, X, y, tmp_path, monkeypatch, capsys):
    accuracy, records = scripts("accuracy"), scripts("accuracy_records")
    images = Images("sample", "memory", X, y, X[:50], y[:50])
    monkeypatch.setattr(records, "RECORDS", tmp_path)
    monkeypatch.setattr(accuracy, "load_data", lambda *args: images)
    command = ["accuracy.py", "--recipe", "fast", "--model", "lenet5", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", command)
    accuracy.main()
    [path] = tmp_path.iterdir()
    assert path.name == "fast-lenet5-64-0.json"
    run = json.loads(path.read_text("utf-8"))
    assert run["test_accuracy"] == run["history"]["test_acc"][run["best_epoch"] - 1]
    n_epochs = RECIPES["fast"]["LeNet5Classifier"]["max_epochs"]
    assert len(run["history"]["dur"]) == run["epochs"] == n_epochs
    assert records.read_records()["threads"].tolist() == [1]

    before = path.read_bytes()
    accuracy.main()
    assert path.read_bytes() == before
    assert "recorded before" in capsys.readouterr().out


def test_a_distilled_run(scripts, X, y, mini_vgg, tmp_path, monkeypatch, capsys):
    """Teachers come from files, and the trained network goes into one without them."""
    accuracy, records = scripts("accuracy"), scripts("accuracy_records")
    images = Images("sample", "memory", X, y, X[:50], y[:50])
    monkeypatch.setattr(records, "RECORDS", tmp_path / "runs")
    monkeypatch.setattr(accuracy, "load_data", lambda *args: images)
    monkeypatch.setitem(accuracy.DISTILLED, "max_epochs", 2)
    save_model(mini_vgg, tmp_path / "teacher.safetensors")
    command = [
        "accuracy.py",
        "--recipe",
        "distilled",
        "--model",
        "lenet5",
        "--threads",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        accuracy.main()
    assert "--teachers go together" in capsys.readouterr().err

    files = ["--teachers", tmp_path / "teacher.safetensors", "--keep", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", [*command, *map(str, files)])
    accuracy.main()
    run = json.loads((tmp_path / "runs/distilled-lenet5-64-0.json").read_text("utf-8"))
    assert run["teachers"] == ["teacher"]
    net = load_model(tmp_path / "out/distilled-lenet5-64-0.safetensors")
    assert net.teacher is None
    assert net.score(X[:50], y[:50]) == run["test_accuracy"]


def test_a_measured_point_of_the_frontier_is_not_repeated(
    scripts, X, y, tmp_path, monkeypatch, capsys
):
    frontier, records = scripts("frontier"), scripts("accuracy_records")
    for script in (frontier, records):
        monkeypatch.setattr(script, "FRONTIER", tmp_path / "frontier.csv")
    monkeypatch.setattr(frontier, "fetch_fashion_mnist", lambda **_: (X, y))
    contenders = ["MLPClassifier", "LeNet5Classifier, fast"]
    for name in contenders:
        smaller = frontier.CONTENDERS[name]._replace(sizes=(1, 2))
        monkeypatch.setitem(frontier.CONTENDERS, name, smaller)
    command = ["frontier.py", "--contenders", *contenders, "--seeds"]
    for seeds in ("0", "0 1"):
        monkeypatch.setattr(sys, "argv", [*command, *seeds.split()])
        frontier.main()
    points = capsys.readouterr().out.count("'contender'")
    assert points == len((tmp_path / "frontier.csv").read_text().splitlines()) - 1 == 8
    [ax] = records.draw_frontier().axes
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [f"{name} (n=2)" for name in contenders]
