import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

from fmnist_sklearn.benchmark import (
    benchmark_scoring,
    benchmark_table,
    format_table,
    table_to_markdown,
)

from ..toys import Net

X, y = load_iris(return_X_y=True)
MEASURED = ["model", "accuracy", "accuracy_std"]
MEASURED += ["training_time_s", "training_time_std"]
SIZES = ["epochs", "n_parameters"]


def grid_search(estimator, grid, **kwargs):
    kwargs = {"scoring": benchmark_scoring(), "refit": "accuracy", "cv": 3, **kwargs}
    return GridSearchCV(estimator, grid, **kwargs).fit(X, y)


@pytest.fixture(scope="module")
def net_search():
    """A grid over the width, with our scorers."""
    return grid_search(Net(), {"width": [2, 1], "fail": [False]})


# Searches


def test_benchmark_table_of_a_grid_search(net_search):
    table = benchmark_table(net_search)
    assert type(table) is pd.DataFrame
    assert list(table) == [*MEASURED, *SIZES, "width"]
    assert table.index.tolist() == [0, 1]
    assert table["model"].tolist() == ["Net", "Net"]
    assert table["accuracy"].tolist() == pytest.approx([1 / 3, 1 / 3])
    # Not mean_fit_time, which is next to nothing.
    assert table["training_time_s"].tolist() == [200, 100]
    assert table["training_time_std"].tolist() == [0, 0]
    assert table["n_parameters"].tolist() == [20, 10]
    assert table["n_parameters"].dtype == int
    assert table["width"].tolist() == [2, 1]


def test_benchmark_table_of_a_search_without_our_scorers():
    search = RandomizedSearchCV(
        LogisticRegression(max_iter=1000), {"C": [0.1, 1, 10]}, n_iter=2, random_state=0
    ).fit(X, y)
    table = benchmark_table(search)
    assert list(table) == [*MEASURED, "C"]
    keys = ["mean_test_score", "std_test_score", "mean_fit_time", "std_fit_time"]
    for column, key in zip(MEASURED[1:], keys, strict=True):
        assert table[column].tolist() == search.cv_results_[key].tolist()


def test_benchmark_table_of_a_halving_search_keeps_every_iteration():
    search = HalvingGridSearchCV(
        Net(), {"width": [1, 2, 3]}, cv=3, random_state=0, min_resources=30
    ).fit(X, y)
    table = benchmark_table(search)
    assert list(table) == [*MEASURED, "iter", "n_resources", "width"]
    assert table["iter"].tolist() == search.cv_results_["iter"].tolist() == [0, 0, 0, 1]
    assert table["n_resources"].tolist() == [30, 30, 30, 90]


def test_benchmark_table_of_cv_results(net_search):
    results = net_search.cv_results_
    table = benchmark_table(results)
    assert table["model"].tolist() == ["model", "model"]
    whole = benchmark_table(net_search)
    pd.testing.assert_frame_equal(table.drop(columns="model"), whole.iloc[:, 1:])
    # Read from JSON, too.
    kept = {k: list(v) for k, v in results.items() if not k.startswith("param_")}
    read = json.loads(json.dumps(kept, default=lambda number: number.item()))
    pd.testing.assert_frame_equal(benchmark_table(read), table)


def test_benchmark_table_of_a_search_over_estimators():
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", Net())])
    grid = [
        {"clf": [LogisticRegression()], "clf__C": [1, 2]},
        {"clf": [Net()], "scale": [StandardScaler(), MinMaxScaler()]},
    ]
    with pytest.warns(UserWarning, match="non-finite"):
        search = grid_search(pipeline, grid)
    table = benchmark_table(search)
    models = ["LogisticRegression", "LogisticRegression", "Net", "Net"]
    assert table["model"].tolist() == models
    # A column "clf" would repeat "model".
    assert list(table)[7:] == ["C", "scale"]
    assert table["C"].tolist()[:2] == [1, 2]
    assert table["C"][2:].isna().all()
    assert table["scale"].tolist()[2:] == ["StandardScaler", "MinMaxScaler"]
    # Each row has the training time that is known.
    fit_time = search.cv_results_["mean_fit_time"][:2]
    assert table["training_time_s"].tolist() == [*fit_time, 100, 100]
    # Without the search, the column of the step names the models.
    assert benchmark_table(search.cv_results_)["clf"].tolist() == models


def results_of(*candidates):
    numbers = np.linspace(0.1, 0.9, len(candidates))
    columns = ("mean_test_score", "std_test_score", "mean_fit_time", "std_fit_time")
    return {"params": list(candidates), **dict.fromkeys(columns, numbers)}


@pytest.mark.parametrize(
    ("candidates", "column", "values"),
    [
        # A prefix stays where two parameters end alike, or a column has the name.
        ([{"a__lr": 1, "b__lr": 3}, {"a__lr": 2, "b__lr": 3}], "a__lr", [1, 2]),
        ([{"clf__epochs": 1}, {"clf__epochs": 2}], "param_epochs", [1, 2]),
        ([{"a__b__c": (1, 2)}, {"a__b__c": (3,)}], "c", [(1, 2), (3,)]),
        # Short names, but those that differ.
        ([{"opt": dict}, {"opt": list}], "opt", ["dict", "list"]),
        ([{"f": max}, {"f": "mean"}], "f", ["max", "mean"]),
        ([{"s": SVC(C=2)}, {"s": SVC(C=3)}], "s", ["SVC(C=2)", "SVC(C=3)"]),
        # None is a value, and an integer stays one.
        ([{"schedule": None}, {"schedule": 5}], "schedule", [None, 5]),
    ],
)
def test_benchmark_table_hyper_parameters(candidates, column, values):
    table = benchmark_table(results_of(*candidates))
    assert list(table) == [*MEASURED, column]
    assert table[column].tolist() == values


def test_benchmark_table_of_a_failed_fit_has_nan():
    with (
        pytest.warns(FitFailedWarning, match="told to fail"),
        pytest.warns(UserWarning, match="non-finite"),
    ):
        search = grid_search(Net(), {"fail": [False, True]}, error_score=math.nan)
    table = benchmark_table(search)
    measured = table[[*MEASURED[1:], *SIZES]]
    assert measured.loc[0].notna().all()
    assert measured.loc[1].isna().all()
    assert table["fail"].tolist() == [False, True]


def test_benchmark_table_keeps_every_metric():
    scoring = {**benchmark_scoring(), "f1": get_scorer("f1_macro")}
    search = grid_search(Net(), {"width": [1, 2], "optimizer": [dict]}, scoring=scoring)
    table = benchmark_table(search)
    assert list(table)[5:] == [*SIZES, "f1", "f1_std", "width"]
    assert table["f1"].tolist() == search.cv_results_["mean_test_f1"].tolist()
    other = cross_validate(
        DummyClassifier(), X, y, scoring=["accuracy", "recall_macro"], cv=3
    )
    both = benchmark_table({"search": search, "dummy": other})
    assert both["f1"].notna().tolist() == [True, True, False]
    assert both["recall_macro"][2] == other["test_recall_macro"].mean()
    # The accuracy is tabulated also where another metric refits.
    metrics = ["f1_macro", "accuracy"]
    search = grid_search(Net(), {"width": [1]}, scoring=metrics, refit="f1_macro")
    expected = search.cv_results_["mean_test_accuracy"].tolist()
    assert benchmark_table(search)["accuracy"].tolist() == expected


# Cross-validations, and several results at once


def test_benchmark_table_of_cross_validate_results():
    ours = cross_validate(Net(width=2), X, y, scoring=benchmark_scoring(), cv=3)
    other = cross_validate(DummyClassifier(strategy="constant", constant=0), X, y, cv=3)
    table = benchmark_table({"net, 2 wide": ours, "baseline": other})
    assert list(table) == [*MEASURED, *SIZES]
    assert table["model"].tolist() == ["net, 2 wide", "baseline"]
    assert table["accuracy"].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert table["training_time_s"].tolist() == [200, other["fit_time"].mean()]
    assert table["training_time_std"].tolist() == [0, other["fit_time"].std()]
    assert table["epochs"][0] == 7
    assert table.loc[1, SIZES].isna().all()


def test_benchmark_table_of_several_searches_and_results():
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", Net())])
    wide = grid_search(pipeline, {"clf__width": [2, 3]})
    bare = grid_search(Net(), {"fail": [False], "optimizer": [dict, list]})
    validated = cross_validate(DummyClassifier(), X, y, cv=3)
    table = benchmark_table({"wide": wide, "bare": bare, "dummy": validated})
    assert table["model"].tolist() == ["wide", "wide", "bare", "bare", "dummy"]
    assert list(table)[7:] == ["width", "optimizer"]
    # What a search did not vary is what its estimator has.
    assert table["width"].tolist()[:4] == [2, 3, 1, 1]
    assert table["optimizer"].tolist()[:4] == ["dict", "dict", "dict", "list"]
    assert table.loc[4, ["width", "optimizer", "epochs"]].isna().all()
    listed = benchmark_table([wide, bare.cv_results_])
    assert listed["model"].tolist() == ["Net", "Net", "model", "model"]
    assert listed["n_parameters"].tolist() == [20, 30, 10, 10]
    with pytest.raises(TypeError, match=r"results must be .*; got"):
        benchmark_table([validated])
    with pytest.raises(ValueError, match="'b' must hold an accuracy"):
        benchmark_table({"a": wide, "b": {"test_r2": [0.5]}})


# What is refused


def test_benchmark_table_of_a_score_that_cannot_be_the_accuracy():
    dummy = DummyClassifier()
    losses = cross_validate(dummy, X, y, scoring="neg_log_loss", cv=3)
    with pytest.raises(ValueError, match=r"'row' must .*with values such as -1\.1"):
        benchmark_table({"row": losses})
    search = grid_search(dummy, {}, scoring="neg_log_loss", refit=True)
    with pytest.raises(ValueError, match=r"results must .*with values such as -1\.1"):
        benchmark_table(search.cv_results_)
    # "score" among several is a name of the caller's.
    several = {"score": "f1_macro", "recall": "recall_macro"}
    named = cross_validate(dummy, X, y, scoring=several, cv=3)
    searched = grid_search(dummy, {}, scoring=several, refit="score").cv_results_
    for results in ({"row": named}, searched):
        with pytest.raises(ValueError, match=r"got \['test_score', 'test_recall'\]"):
            benchmark_table(results)


@pytest.mark.parametrize(
    ("results", "got"),
    [
        (None, "got None"),
        ([1, 2], r"got \[1, 2\]"),
        ({}, "got {}"),
        ({"fit_time": [1.0], "test_score": [0.5]}, "{'fit_time'"),
        (LogisticRegression(C=3), r"got LogisticRegression\(C=3\)"),
    ],
)
def test_benchmark_table_of_other_objects(results, got):
    with pytest.raises(TypeError, match=f"results must be a fitted search.*{got}"):
        benchmark_table(results)
    with pytest.raises(NotFittedError, match="GridSearchCV instance is not fitted"):
        benchmark_table(GridSearchCV(Net(), {}))


# Tables as texts


def test_format_table_has_spreads_behind_means():
    table = benchmark_table(results_of({"lr": 0.01, "size": 8}, {"lr": 1, "size": 16}))
    table = table.assign(epochs=[7, 12.5], n_parameters=[61750, 2167786])
    table.loc[0, ["accuracy", "accuracy_std"]] = math.nan
    texts = format_table(table.sort_values("lr", ascending=False))
    columns = ["model", "accuracy", "training_time_s", "lr", "size", *SIZES]
    assert list(texts) == columns
    assert texts.index.tolist() == [1, 0]
    assert texts.to_numpy().tolist() == [
        ["model", "0.9000 ± 0.9000", "0.90 ± 0.90", "1", "16", "12.5", "2167786"],
        ["model", "", "0.10 ± 0.10", "0.01", "8", "7", "61750"],
    ]
    assert list(format_table(table.iloc[:0])) == columns
    formatted = table.assign(accuracy=table["accuracy"].map("{:.1%}".format))
    assert format_table(formatted)["accuracy"].tolist() == list(formatted["accuracy"])


def test_table_to_markdown():
    table = pd.DataFrame(
        {
            "model": ["a|b", "<i>\n_c_ *d*"],
            "accuracy": [0.912345, math.nan],
            "training_time_s": [12345.6, 2.0],
            "n_parameters": [61750, 2167786],
            "schedule": [None, 5],
        }
    ).astype({"schedule": object})
    assert table_to_markdown(table).splitlines() == [
        "| model | accuracy | training_time_s | n_parameters | schedule |",
        "| --- | ---: | ---: | ---: | --- |",
        r"| a\|b | 0.9123 | 12346 | 61750 |  |",
        r"| &lt;i>&lt;U+000A>\_c\_ \*d\* |  | 2 | 2167786 | 5 |",
    ]
