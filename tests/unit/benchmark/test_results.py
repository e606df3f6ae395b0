import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from fmnist_sklearn.benchmark import BenchmarkResult, results
from fmnist_sklearn.benchmark.compare import Scored
from fmnist_sklearn.benchmark.results import PUBLISHED_ROWS, to_jsonable


@pytest.fixture
def holdout():
    """The result of a finished run of one row, by holdout."""
    best = "LeNet5 (lr=0.01, batch_size=64)"
    table = pd.DataFrame(
        {
            "model": [best],
            "validation_accuracy": [0.90714],
            "validation_accuracy_se": [0.00265],
            "test_accuracy": [0.9],
            "test_accuracy_se": [0.003],
            "training_time_s": [41.23],
            "epochs": [8],
            "best_epoch": [7],
            "n_parameters": [61750],
            "lr": [0.01],
            "batch_size": [64],
        }
    )
    hardware = {"cpu": "A processor", "cores": 2, "torch_threads": 1, "gpu": None}
    record = {
        "recipe": "fast",
        "cv": "holdout",
        "seed": 5,
        "planned_rows": [best],
        "failed": {},
        "data": {"name": "full", "n_train": 60000, "n_test": 10000},
        "devices": ["cpu in float32"],
        "hardware": {**hardware, "system": "Linux"},
        "versions": {"python": "3.12", "torch": "2.14"},
        "date": "2025-01-01T00:00:00+00:00",
    }
    scored = [Scored(best, 0.9, 41.23, [True], "test images")]
    return BenchmarkResult(table=table, best=best, record=record, scored=scored)


@pytest.fixture
def folds(holdout):
    """The same over three folds, of the sample, before its second row."""
    table = holdout.table.rename(columns=lambda name: name.replace("_se", "_std"))
    table.insert(6, "training_time_std", 120.0)
    table["training_time_s"] = 1152.4
    table["epochs"] = 40 / 3
    record = {
        **holdout.record,
        "cv": 3,
        "data": {**holdout.record["data"], "name": "sample"},
        "planned_rows": [holdout.best, "another", "one more"],
        "failed": {"one more": "ValueError: train_loss became nan"},
    }
    return replace(holdout, table=table, record=record)


def test_benchmark_result_format_table(holdout, folds):
    assert holdout.format_table().to_dict("records") == [
        {
            "model": "LeNet5 (lr=0.01, batch_size=64)",
            "validation accuracy": "0.9071 ± 0.0027",
            "test accuracy": "0.9000 ± 0.0030",
            "training time (s)": "41.23",
            "epochs": "8",
            "best epoch": "7",
            "parameters": "61750",
        }
    ]
    (row,) = folds.format_table().to_dict("records")
    assert row["validation accuracy"] == "0.9071 ± 0.0027"
    assert row["training time (s)"] == "1152.40 ± 120.00"
    assert (row["epochs"], row["best epoch"]) == ("13.33", "7")


def test_benchmark_result_format_notes(holdout, folds):
    assert holdout.format_notes() == [
        "Best row, by validation accuracy: LeNet5 (lr=0.01, batch_size=64), test "
        "accuracy 0.9000.",
        "Test accuracy is that on 10,000 images kept out of training.",
        "± is the standard error that the number of images gives an accuracy.",
    ]
    spread, sample, failed, unfinished = folds.format_notes()[2:]
    assert failed == "Failed: one more: ValueError: train_loss became nan"
    assert spread == (
        "Means ± standard deviations over 3 folds; validation accuracy is that on the "
        "fold left out."
    )
    assert "bundled sample" in sample
    assert unfinished == "Unfinished: 1 of 3 rows."


def test_benchmark_result_to_markdown(holdout, folds):
    page = holdout.to_markdown()
    assert "| LeNet5 (lr=0.01, batch_size=64) | 0.9071 ± 0.0027 |" in page
    for line in (
        "- Recipe: fast; validation: holdout; seed: 5",
        "- Data: full, 60,000 training and 10,000 test images",
        "- Hardware: A processor, 2 cores, 1 torch threads; Linux",
        "- Trained on: cpu in float32",
        "- Versions: python 3.12, torch 2.14",
    ):
        assert f"{line}\n" in page
    for name, accuracy, *_ in PUBLISHED_ROWS:
        assert f"| {name} | {accuracy} |" in page
    assert "validation: 3 folds; seed: 5\n" in folds.to_markdown()
    holdout.record["hardware"]["gpu"] = "A card"
    assert "1 torch threads, A card; Linux\n" in holdout.to_markdown()


def test_to_jsonable():
    record = {
        "optimizer": torch.optim.Adam,
        "nan": float("nan"),
        "numpy": [np.float64(0.5), np.int64(3), np.arange(2), np.bool_(True)],
        "tuple": (128, 64),
        "device": torch.device("cpu"),
        "augment": {"flip": 0.5},
        "none": None,
    }
    assert json.loads(json.dumps(to_jsonable(record), allow_nan=False)) == {
        "optimizer": "torch.optim.adam.Adam",
        "nan": None,
        "numpy": [0.5, 3, [0, 1], True],
        "tuple": [128, 64],
        "device": "device(type='cpu')",
        "augment": {"flip": 0.5},
        "none": None,
    }


# The circumstances of a run


def test_describe_command(monkeypatch):
    for program, expected in (
        ("/bin/fmnist-sklearn", ["fmnist-sklearn benchmark 'a b'"]),
        ("/x/fmnist_sklearn/__main__.py", ["python -m fmnist_sklearn benchmark 'a b'"]),
        ("script.py", []),
    ):
        monkeypatch.setattr(sys, "argv", [program, "benchmark", "a b"])
        assert results.describe_command() == expected
