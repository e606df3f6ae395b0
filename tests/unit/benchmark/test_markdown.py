import pandas as pd
import pytest

from fmnist_sklearn.benchmark.results import PUBLISHED_ROWS, BenchmarkResult


@pytest.fixture
def holdout():
    """A finished run of one row, judged by its validation part."""
    table = pd.DataFrame(
        {
            "model": ["LeNet5 (lr=0.01, batch_size=64)"],
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
    best = table["model"][0]
    record = {
        "recipe": "fast",
        "cv": "holdout",
        "seed": 5,
        "planned_rows": [best],
        "best": best,
        "data": {"name": "full", "n_train": 60000, "n_test": 10000},
        "devices": ["cpu in float32"],
        "hardware": {
            "cpu": "A processor",
            "cores": 2,
            "torch_threads": 1,
            "gpu": None,
            "system": "Linux",
        },
        "versions": {"python": "3.12", "torch": "2.14"},
        "date": "2025-01-01T00:00:00+00:00",
    }
    return BenchmarkResult(table, best, {}, record)


@pytest.fixture
def folds(holdout):
    """The same over three folds, of the sample, before its second row."""
    table = holdout.table.rename(columns=lambda name: name.replace("_se", "_std"))
    table["training_time_std"] = 120.0
    table["training_time_s"] = 1152.4
    table["epochs"] = 40 / 3
    record = {
        **holdout.record,
        "cv": 3,
        "data": {**holdout.record["data"], "name": "sample"},
        "planned_rows": [holdout.best, "another"],
    }
    return BenchmarkResult(table, holdout.best, {}, record)


def test_table_of_holdout(holdout):
    assert holdout.format_table().to_dict("records") == [
        {
            "model": "LeNet5 (lr=0.01, batch_size=64)",
            "validation accuracy": "0.9071 ± 0.0027",
            "test accuracy": "0.9000 ± 0.0030",
            "training time (s)": "41.2",
            "epochs (kept)": "8 (7)",
            "parameters": "61,750",
        }
    ]


def test_table_of_folds(folds):
    (row,) = folds.format_table().to_dict("records")
    assert row["validation accuracy"] == "0.9071 ± 0.0027"
    assert row["training time (s)"] == "1152 ± 120"
    assert row["epochs (kept)"] == "13.3 (7)"


def test_notes(holdout, folds):
    assert holdout.format_notes() == [
        "Best row, by validation accuracy: LeNet5 (lr=0.01, batch_size=64).",
        "Test accuracy is that on 10,000 images kept out of training.",
        "± is the standard error that the number of images gives an accuracy.",
    ]
    spread, sample, unfinished = folds.format_notes()[2:]
    assert spread == (
        "Means ± standard deviations over 3 folds; validation accuracy is that on the "
        "fold left out."
    )
    assert "bundled sample" in sample
    assert unfinished == "Unfinished: 1 of 2 rows."


def test_page(holdout, folds):
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


def test_page_names_the_gpu(holdout):
    holdout.record["hardware"]["gpu"] = "A card"
    assert "1 torch threads, A card; Linux\n" in holdout.to_markdown()
