import json
import os
import re
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import loguniform
from sklearn.exceptions import FitFailedWarning

from fmnist_sklearn import FitCache, benchmark_table, load_model, run_search
from fmnist_sklearn.benchmark import load_data, run_benchmark
from fmnist_sklearn.cli import main
from fmnist_sklearn.training.loop import Training

pytestmark = pytest.mark.filterwarnings("ignore:.*max_epochs")

LRS = [0.003, 0.01]
CURVES = ("train_loss", "valid_loss", "accuracy")


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    """A search over 120 images: what it finds does not matter."""

    def load(data, data_home=None):
        images = load_data("sample")
        few = {"X_train": 120, "y_train": 120, "X_test": 50, "y_test": 50}
        return replace(images, **{k: getattr(images, k)[:n] for k, n in few.items()})

    monkeypatch.setattr("fmnist_sklearn.benchmark.data.load_data", load)


def search(params, **kwargs):
    settings = {"cv": 2, "max_epochs": 1, "data": "sample", "progress": False}
    return run_search("lenet5", params, **settings | kwargs)


# Strategies -------------------------------------------------------------------------


def test_run_search_over_a_grid(trained):
    result = search({"lr": LRS, "batch_size": [64, "auto"]}, max_epochs=2)
    assert len(trained) == 4 * 2 + 1
    assert result.table["lr"].tolist() == LRS * 2
    assert result.table["n_parameters"].tolist() == [61_750] * 4
    assert result.table["epochs"].tolist() == [2] * 4
    assert result.table.equals(benchmark_table(result.search, "best"))
    # Two folds of 60 images show no difference.
    others = result.compare().drop(result.search.best_index_)
    assert (others["comparison"] == "corrected t-test, 2 folds").all()
    assert others["p_holm"].tolist() == [1, 1, 1]
    assert result.format_notes()[0] == result.verdict == result.record["verdict"]
    for name in others["model"]:
        assert name in result.verdict.partition("not distinguishable from it: ")[2]
    assert result.record["test_accuracy"] <= 1
    assert result.record["commands"] == []
    best = result.search.best_params_
    assert result.search.best_estimator_.lr == best["lr"]
    images = load_data("sample")
    assert 0 <= result.search.score(images.X_test[:50], images.y_test[:50]) <= 1
    assert repr(result).startswith(
        f"<SearchResult: Best: batch_size={best['batch_size']}, lr="
    )
    assert "<table" in result._repr_html_()
    assert result.heat_map.scores.shape == (2, 2)
    # Each candidate has its curve.
    assert list(result.curves) == [
        f"LeNet5Classifier (batch_size={size}, lr={lr})"
        for size in (64, "auto")
        for lr in LRS
    ]
    for curve in result.curves.values():
        assert [epoch["epoch"] for epoch in curve] == [1, 2]
        assert curve[1]["train_loss"] < curve[0]["train_loss"]
    (judged,) = result.judged
    assert judged["name"] in result.curves


def test_run_search_at_random():
    params = {"lr": loguniform(0.001, 0.1), "batch_size": [64, 128]}
    first, second = (search(params, strategy="random", n_iter=3) for _ in range(2))
    assert len(first.table) == 3
    assert first.table["lr"].between(0.001, 0.1).all()
    assert first.table["lr"].tolist() == second.table["lr"].tolist()
    other = search(params, strategy="random", n_iter=3, seed=1)
    assert first.table["lr"].tolist() != other.table["lr"].tolist()
    # No more than there are.
    assert len(search({"lr": LRS}, strategy="random", n_iter=9).table) == 2


@pytest.mark.parametrize("strategy", ["race", "halving"])
def test_run_search_by_a_race(strategy, tmp_path, capsys):
    params = {"lr": [1e-5, 1e-4, 0.003, 1e30], "batch_size": [32]}
    settings = {"max_epochs": 3, "out": tmp_path, "progress": True}
    with pytest.warns(FitFailedWarning, match="1 fits failed out of a total of"):
        result = search(params, strategy=strategy, time_limit=1e6, **settings)
    best = "LeNet5Classifier (lr=0.003)"
    assert result.best == best
    counts = result.table["n_folds"].tolist()
    assert (counts[2], counts[3]) == (2, 0)
    assert list(result.curves)[-1] == best
    assert len(result.curves[best]) == result.search.best_estimator_.n_iter_ == 3
    shown = result.format_table().set_index("model")["accuracy"]
    assert shown["LeNet5Classifier (lr=1e+30)"] == "failed"
    is_dropped = shown.str.endswith(" (dropped)").to_numpy()
    assert is_dropped.sum() == sum(0 <= n < 2 for n in counts) - 1
    assert "Dropped candidates could not win" in result.to_markdown()
    assert (
        "short fits, fit 1 of 12: 4 candidates left, 0 dropped, "
        in capsys.readouterr().err
    )
    assert json.loads((tmp_path / "search.json").read_text())["refit"] == "all"


# Memory -----------------------------------------------------------------------------


def test_run_search_again_trains_nothing(trained, tmp_path, capsys):
    plain = search({"lr": LRS})
    n_plain = len(trained)
    first = search({"lr": LRS}, memory=tmp_path)
    assert len(trained) == 2 * n_plain == 2 * len(FitCache(tmp_path).entries())
    second = search({"lr": LRS}, memory=FitCache(tmp_path), progress=True)
    shown = capsys.readouterr().err
    for i, accuracy in enumerate(second.table["accuracy"]):
        assert f"lr={LRS[i]}: accuracy {accuracy:.4f} (from memory)\n" in shown
    assert len(trained) == 2 * n_plain
    assert first.table["from_memory"].tolist() == [0, 0]
    assert second.table["from_memory"].tolist() == [1, 1]
    # The times of the trainings, too.
    assert first.table.assign(from_memory=1).equals(second.table)
    assert first.curves == second.curves
    assert first.table["accuracy"].tolist() == plain.table["accuracy"].tolist()
    search({"lr": [*LRS, 0.02]}, memory=tmp_path)
    assert len(trained) <= 2 * n_plain + 3


@pytest.mark.parametrize("cv", ["holdout", 2])
def test_run_benchmark_again_trains_nothing(trained, tmp_path, cv):
    settings = {"data": "sample", "models": "LeNet5", "batch_size": 128, "cv": cv}
    tables = []
    for memory in (None, tmp_path, tmp_path):
        before = len(trained)
        result = run_benchmark(**settings, memory=memory, progress=False)
        tables.append(result.table)
        n_trained = len(trained) - before
    assert n_trained == 1  # the warm-up
    assert tables[1]["from_memory"].item() == 0
    assert tables[1].assign(from_memory=1.0).equals(tables[2])
    assert "| from memory |" in result.to_markdown()
    assert tables[0]["test_accuracy"].equals(tables[1]["test_accuracy"])


# What fails -------------------------------------------------------------------------


def test_run_search_goes_on_after_a_candidate_that_diverges(tmp_path, two_processes):
    lrs = [0.003, 1e30, 0.01]
    with pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 6"):
        result = search({"lr": lrs, "batch_size": [64]}, n_jobs=2, out=tmp_path)
    assert np.isnan(result.table["accuracy"]).tolist() == [False, True, False]
    assert result.search.best_params_["lr"] < 1
    failed = "LeNet5Classifier (lr=1e+30)"
    last = result.format_table().to_numpy()[-1].tolist()
    assert last[:2] == [failed, "failed"]
    assert set(last[2:]) == {""}
    assert result.format_notes()[-1] == f"Failed: {failed}."
    assert failed not in result.curves
    assert pd.read_csv(tmp_path / "search.csv")["lr"].tolist() == lrs
    assert (
        load_model(tmp_path / "best.safetensors").lr == result.search.best_params_["lr"]
    )


def test_run_search_names_bad_values_before_it_trains(trained):
    with pytest.raises(ValueError, match=r"'lr' parameter .* Got -1"):
        search({"lr": [0.01, -1]})
    assert trained == []


def test_run_search_interrupted_keeps_what_is_done(tmp_path, monkeypatch, trained):
    """The third candidate is interrupted; the same call trains only what is missing."""
    run = Training.run
    settings = {"memory": tmp_path / "fits", "out": tmp_path / "out"}
    params = {"lr": [0.003, 0.01, 0.02]}

    def interrupted(training):
        if training.net.lr == 0.02:
            raise KeyboardInterrupt
        run(training)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", interrupted)
        with pytest.raises(KeyboardInterrupt) as interrupt:
            search(params, **settings)
    (note,) = interrupt.value.__notes__
    assert note.startswith(f"4 fits are kept in {tmp_path / 'fits'}, and the same call")
    table = pd.read_csv(tmp_path / "out" / "search.csv")
    assert table["lr"].tolist() == [0.003, 0.01]
    trained.clear()
    result = search(params, **settings)
    assert len(trained) == 3  # two folds and the refit
    assert result.table["from_memory"].tolist() == [1, 1, 0]
    shown = result.format_table().set_index("model")["from memory"]
    assert sorted(shown) == ["0", "1", "1"]
    assert shown["LeNet5Classifier (lr=0.01)"] == "1"


def test_run_search_over_nested_parameters(tmp_path):
    widths = [(8,), (16, 8)]
    params = {"module__hidden_units": widths, "optimizer": [torch.optim.Adam]}
    result = search(params, out=tmp_path)
    assert result.table["hidden_units"].tolist() == widths
    assert set(result.curves) == {
        f"LeNet5Classifier (hidden_units={width})" for width in widths
    }
    text = (tmp_path / "search.md").read_text(encoding="utf-8")
    assert "(hidden_units=(16, 8))" in text


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
        ({"time_limit": 9}, "time_limit needs strategy='race'; got time_limit=9 with"),
        ({"params": {"learning_rate": [1]}}, "Invalid parameter 'learning_rate'"),
        ({"workers": 1}, r"fmnist-sklearn\[distributed\]"),  # without Dask
    ],
)
def test_run_search_names_bad_arguments(kwargs, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    arguments = {"model": "lenet5", "params": {"lr": LRS}, "data": "sample"}
    error = ImportError if kwargs == {"workers": 1} else ValueError
    with pytest.raises(error, match=message):
        run_search(**arguments | kwargs, progress=False)


# Progress ---------------------------------------------------------------------------


def test_run_search_on_arrays_with_a_line_for_each_candidate(capfd, two_processes):
    images = load_data("sample")
    X, y = images.X_train[:100].reshape(-1, 28, 28), images.y_train[:100]
    run = partial(search, {"lr": LRS}, X=X, y=y, data="auto")
    alone, together = run(), run(progress=True, n_jobs=2)
    lines = capfd.readouterr().err.splitlines()
    assert sum(" of 2 lr=0.0" in line for line in lines) == 2
    assert alone.record["data"]["n_test"] == 20
    assert np.array_equal(alone.table["accuracy"], together.table["accuracy"])


# The command ------------------------------------------------------------------------


def run_command(*argv):
    quick = ["--data", "sample", "--cv", "2", "--max-epochs", "1"]
    return main(["search", "lenet5", *argv, *quick])


def test_search_command_prints_a_table_and_writes_files(tmp_path, capsys):
    out, memory = tmp_path / "out", tmp_path / "fits"
    argv = ["--lr", "0.003", "0.01", "--batch-size", "32", "64"]
    argv += ["--out", str(out), "--memory", str(memory)]
    assert run_command(*argv) == 0
    printed = capsys.readouterr()
    assert "LeNet5Classifier (batch_size=32, lr=0.01)" in printed.out
    assert "4 of 4 " in printed.err
    best = re.search(r"Best: batch_size=(\d+), lr=([\d.]+), accuracy", printed.out)
    assert best is not None
    assert set(os.listdir(out)) == {
        "best.html",
        "best.safetensors",
        "comparison.png",
        "comparison.svg",
        "heatmap.png",
        "heatmap.svg",
        "report.html",
        *(f"{name}.{end}" for name in CURVES for end in ("svg", "png")),
        "search.csv",
        "search.json",
        "search.md",
    }
    record = json.loads((out / "search.json").read_text())
    assert record["best_params"] == {"batch_size": int(best[1]), "lr": float(best[2])}
    assert len(record["measured"]["split0_test_epochs"]) == 4
    assert "Accuracy over two parameters" in (out / "report.html").read_text()
    assert record["verdict"] in printed.out
    assert "accuracy 0." in record["verdict"]
    assert "not distinguishable from it: " in record["verdict"]
    for name in ("report.html", "search.md"):
        text = (out / name).read_text(encoding="utf-8")
        assert record["verdict"] in text
        assert "Is it better?" in text
    assert load_model(out / "best.safetensors").lr == float(best[2])
    assert 'href="best.html"' in (out / "report.html").read_text(encoding="utf-8")
    assert '"T-shirt/top"' in (out / "best.html").read_text(encoding="utf-8")

    assert main(["fits", str(memory)]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 10
    assert re.fullmatch(r"9 fits, \d+\.\d MB", listed[-1])
    assert main(["fits", str(memory), "--clear"]) == 0
    assert capsys.readouterr().out.endswith("9 fits deleted\n")
    assert FitCache(memory).entries() == []


def test_search_command_takes_parameters_of_other_kinds(tmp_path, capsys):
    argv = ["--patience", "none", "3", "--dropout", "0"]
    assert run_command(*argv, "--out", str(tmp_path)) == 0
    assert "patience=3" in capsys.readouterr().out
    params = json.loads((tmp_path / "search.json").read_text())["candidates"]
    assert params[0] == {"dropout": 0.0, "patience": None}
    assert not (tmp_path / "heatmap.svg").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--dropout", "1"], "a number from 0 to below 1, got '1'"),
        (["--patience", "0"], "none or an integer of at least 1, got '0'"),
        (["--lr", "1", "--n-jobs", "2", "--workers", "2"], "not allowed with"),
        (["--lr", "1", "--strategy", "best"], "or halving, got 'best'"),
    ],
)
def test_search_command_bad_usage(argv, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_command(*argv)
    assert exit_.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_search_command_without_values_or_fits(tmp_path, capsys):
    assert run_command("--out", str(tmp_path)) == 1
    assert "nothing to try: give values to" in capsys.readouterr().err
    assert main(["fits", str(tmp_path / "missing")]) == 1
    assert "no such folder" in capsys.readouterr().err
