import html
import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from fmnist_sklearn import LeNet5Classifier, compare_models, models
from fmnist_sklearn.benchmark import (
    BenchmarkResult,
    Images,
    SetsResult,
    corrected_t_test,
    mcnemar_test,
    rank_models,
    run_benchmark,
)
from fmnist_sklearn.benchmark import results as results_module
from fmnist_sklearn.benchmark import run as run_module
from fmnist_sklearn.cli import main
from fmnist_sklearn.models import find_model
from fmnist_sklearn.recipes import RECIPES
from fmnist_sklearn.training.batches import split_rows

TEXTS = {"report.html", "results.csv", "results.md", "results.json"}
FILES = {
    *TEXTS,
    *(
        f"{name}.{ending}"
        for name in ("train_loss", "valid_loss", "accuracy", "comparison")
        for ending in ("svg", "png")
    ),
}
ROWS = [
    "LeNet5 (lr=0.01, batch_size=64)",
    "LeNet5 (lr=0.01, batch_size=128)",
    "MiniVGG (lr=0.003, batch_size=64)",
    "MiniVGG (lr=0.003, batch_size=128)",
]


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path_factory, few_images):
    """Few images, two epochs, and a working folder that must stay empty."""
    recipes = {
        recipe: {name: {**kwargs, "max_epochs": 2} for name, kwargs in models.items()}
        for recipe, models in RECIPES.items()
    }
    # The names of the rows below do not depend on the recipe's tuning.
    recipes["fast"]["LeNet5Classifier"]["lr"] = 0.01
    recipes["fast"]["MiniVGGClassifier"]["lr"] = 0.003
    monkeypatch.setattr(models, "RECIPES", recipes)
    monkeypatch.setattr(
        "fmnist_sklearn.benchmark.data.load_data", lambda *args: few_images
    )
    working_folder = tmp_path_factory.mktemp("working_folder")
    monkeypatch.chdir(working_folder)
    yield
    assert os.listdir(working_folder) == []


@pytest.fixture
def fake_fits(monkeypatch):
    """Let the rows' fits be given, or raised, instead of trained."""

    def use(*fits):
        given = iter(fits)

        def fit_once(estimator, images, split, seed):
            fit = next(given)
            if isinstance(fit, BaseException):
                raise fit
            return fit

        monkeypatch.setattr(run_module, "fit_once", fit_once)
        monkeypatch.setattr(run_module, "_warm_up", lambda *args: None)

    return use


def test_run_benchmark_default_rows_and_files(tmp_path):
    out = tmp_path / "deep" / "out"
    result = run_benchmark(data="sample", out=out, progress=False)
    assert list(result.table["model"]) == ROWS
    columns = "validation_accuracy validation_accuracy_se test_accuracy"
    columns += " test_accuracy_se training_time_s epochs best_epoch n_parameters lr"
    compared = "difference difference_low difference_high p_value p_holm comparison"
    columns += f" batch_size {compared} dominated_by"
    assert list(result.table) == ["model", *columns.split()]
    assert set(os.listdir(out)) == FILES == {path.name for path in result.paths}
    kept = pd.read_csv(
        out / "results.csv", keep_default_na=False, na_values={"p_value": ""}
    )
    assert kept["comparison"].tolist() == result.table["comparison"].tolist()
    assert list(result.table["n_parameters"]) == [61750, 61750, 2167786, 2167786]
    assert (result.table["training_time_s"] > 0).all()

    record = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert record["data"] == {
        "name": "sample",
        "source": "bundled sample",
        "n_train": 600,
        "n_test": 200,
        "preparation": "clothing",
    }
    assert record["recipe"] == "fast"
    assert record["seed"] == 0
    assert record["best"] == result.best
    assert {"torch", "skorch", "scikit-learn", "python"} < set(record["versions"])
    assert record["hardware"]["cores"] >= 1
    assert [row["model"] for row in record["rows"]] == ROWS
    for row, (name, curve) in zip(record["rows"], result.curves.items(), strict=True):
        assert row["model"] == name
        (fit,) = row["fits"]
        assert fit["history"] == curve
        assert [epoch["epoch"] for epoch in curve] == [1, 2]
        # The recipe keeps its last epoch, whatever the loss.
        assert row["best_epoch"] == 2
        assert row["validation_accuracy"] == curve[-1]["valid_acc"]
        network = name.partition(" ")[0]
        optimizer = RECIPES["fast"][f"{network}Classifier"]["optimizer"]
        expected = f"{optimizer.__module__}.{optimizer.__name__}"
        assert row["parameters"]["optimizer"] == expected
        assert row["parameters"]["batch_size"] == row["batch_size"]
        assert row["parameters"]["random_state"] == 0


def test_run_benchmark_accuracies_are_those_of_the_estimator(few_images):
    run = partial(run_benchmark, models="LeNet5", batch_size=32, progress=False)
    images = few_images
    estimator = find_model("lenet5").make("fast", batch_size=32, random_state=3)
    estimator.fit(images.X_train, images.y_train)
    row = run(seed=3).table.iloc[0]
    assert row["test_accuracy"] == estimator.score(images.X_test, images.y_test)
    p = estimator.history_[estimator.best_epoch_ - 1]["valid_acc"]
    assert row["validation_accuracy"] == p
    assert row["validation_accuracy_se"] == pytest.approx((p * (1 - p) / 60) ** 0.5)
    folds = run(cv=3, seed=4)
    fits = folds.record["rows"][0]["fits"]
    assert len({fit["test_accuracy"] for fit in fits}) == 3  # three models, not one
    assert {"test_accuracy_std", "training_time_std"} < set(folds.table)


@pytest.mark.parametrize("cv", ["holdout", 2])
def test_run_benchmark_jobs_change_the_time_only(cv):
    run = partial(run_benchmark, models="LeNet5", cv=cv, progress=False)
    alone, together = run(), run(n_jobs=2)
    # Another number of threads adds up in another order.
    pd.testing.assert_frame_equal(
        alone.table.loc[:, :"batch_size"].filter(regex="^(?!training_time)"),
        together.table.loc[:, :"batch_size"].filter(regex="^(?!training_time)"),
        atol=0.05,
        rtol=0.1,
    )


def test_run_benchmark_rows_are_models_by_rates_by_sizes_each_once(fake_fits, make_fit):
    accuracies = [0.7, 0.9, 0.8, *[0.5] * 5]
    fake_fits(*[make_fit(accuracy, 1 - accuracy) for accuracy in accuracies])
    result = run_benchmark(
        models=["MiniVGGClassifier", "lenet5", "minivgg"],
        lr=(0.1, 1e-5),
        batch_size=np.array([8, 16]),
        progress=False,
    )
    rows = [
        f"{model} (lr={lr}, batch_size={size})"
        for model in ("MiniVGG", "LeNet5")
        for lr in ("0.1", "1e-05")
        for size in (8, 16)
    ]
    assert list(result.table["model"]) == rows
    # The best is that of the highest validation accuracy.
    assert result.best == rows[1]
    assert repr(result).startswith(
        f"<BenchmarkResult: Best row, by validation accuracy: {rows[1]}, "
    )
    page = result._repr_html_()
    assert page.count("<tr") == 1 + 8
    assert f"<li>Best row, by validation accuracy: {rows[1]}, test accuracy" in page


def test_run_benchmark_on_arrays():
    """Colour images, with names as labels, and a test part that is kept or given."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (60, 3, 8, 8), dtype=np.uint8)
    y = np.array(["cat", "dog"])[np.arange(60) % 2]
    run = partial(run_benchmark, models="lenet5", batch_size=[8, 16], progress=False)
    result = run(X, y)
    data = result.record["data"]
    assert (data["n_train"], data["n_test"]) == (48, 12)
    assert list(result.curves) == list(result.table["model"])
    first = result.record["rows"][0]["fits"][0]["judgement"]
    assert first["labels"] == ["cat", "dog"]
    assert np.sum(first["confusion"]) == 12
    assert first["image_shape"] == (3, 8, 8)
    assert "Benchmark on your own images" in result.to_markdown()
    assert "As published" not in result.to_markdown()
    given = run(X[:40].tolist(), list(y[:40]), X_test=X[40:], y_test=y[40:])
    assert given.record["data"]["n_test"] == 20


@pytest.mark.parametrize("cv", ["holdout", 2])
def test_run_benchmark_of_any_classifiers(cv, few_images, tmp_path):
    images = replace(few_images, X_train=few_images.X_train.reshape(-1, 1, 28, 28))
    net = LeNet5Classifier(max_epochs=1, lr=0.01, patience=None)
    models = {
        "LeNet5": "lenet5",
        "own": net,
        "scaled": make_pipeline(MinMaxScaler(clip=True), net),
        "SVC": make_pipeline(MinMaxScaler(), SVC()),
        "forest": RandomForestClassifier(5),
        "all rows": clone(net).set_params(validation_fraction=0),
    }
    run = partial(run_benchmark, data=images, cv=cv, batch_size=64, progress=False)
    result = run(models=models, out=tmp_path)
    table = result.table.set_index("model")
    first = "LeNet5 (lr=0.01, batch_size=64)"
    assert table.index.tolist() == [first, *list(models)[1:]]
    others = ["SVC", "forest"]
    unknown = ["epochs", "best_epoch", "n_parameters", "lr", "batch_size"]
    assert table.loc[others, unknown].isna().all(axis=None)
    assert table.drop(others)[unknown].notna().all(axis=None)
    assert table.loc["own", "lr"] == 0.01
    assert (table["training_time_s"] > 0).all()
    assert list(result.curves[first][0]) == list(result.curves["scaled"][0])
    assert result.curves["SVC"] == []
    assert list(result.curves["all rows"][0]) == ["epoch", "train_loss", "dur"]
    cells = result.format_table().set_index("model").loc["SVC"]
    assert cells[["epochs", "parameters"]].tolist() == ["", ""]
    assert set(os.listdir(tmp_path)) == FILES

    # An open random_state gets the seed; the caller's estimator stays as it is.
    forest = RandomForestClassifier(5, random_state=0)
    X, y = images.X_train.reshape(600, -1), images.y_train
    rows = [fit["validation_accuracy"] for fit in result.record["rows"][4]["fits"]]
    if cv == "holdout":
        train, valid = split_rows(y, 0.1, True, 0)
        assert rows == [forest.fit(X[train], y[train]).score(X[valid], y[valid])]
        p, n = rows[0], 60
        assert table.loc["forest", "validation_accuracy_se"] == (p * (1 - p) / n) ** 0.5
    else:
        folds = StratifiedKFold(2, shuffle=True, random_state=0)
        assert rows == cross_val_score(forest, X, y, cv=folds).tolist()
    assert models["forest"].random_state is None
    if cv == "holdout":
        # McNemar's test is that of the predictions.
        tests = images.X_test, images.y_test
        right = [tests[1] == forest.predict(tests[0])]
        fitted = find_model("lenet5").make("fast", batch_size=64, random_state=0)
        right.append(tests[1] == fitted.fit(images.X_train, y).predict(tests[0]))
        row = compare_models(result, first).set_index("model").loc["forest"]
        assert tuple(
            row[["difference", "difference_low", "difference_high", "p_value"]]
        ) == (pytest.approx(mcnemar_test(*right)))
    else:
        of_rows = [
            [fit["validation_accuracy"] for fit in row["fits"]]
            for row in result.record["rows"]
        ]
        p = compare_models(result, "own")["p_value"][4]
        assert (
            p == corrected_t_test(of_rows[4], of_rows[1], n_train=1, n_test=1).p_value
        )


def test_run_benchmark_verdict_is_in_all_files(fake_fits, make_fit, tmp_path, capsys):
    fake_fits(make_fit(0.8, 0.7), make_fit(0.9, 0.71), make_fit(0.7, 0.4))
    argv = ["--models", "lenet5", "--batch-size", "8", "16", "32"]
    assert main(["benchmark", *argv, "--out", str(tmp_path)]) == 0
    names = [f"LeNet5 (lr=0.01, batch_size={size})" for size in (8, 16, 32)]
    verdict = (
        f"Best row, by validation accuracy: {names[1]}, test accuracy 0.7100; not "
        f"distinguishable from it: {names[0]} (-0.0100, p = 0.5); worse: {names[2]} "
        "(-0.3100, p < 0.001) (McNemar's exact test, 200 test images, p corrected by "
        "Holm)."
    )
    assert verdict in capsys.readouterr().out.splitlines()
    assert f"\n{verdict}\n" in (tmp_path / "results.md").read_text(encoding="utf-8")
    page = html.unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert f"<li>{verdict}</li>" in page
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert record["verdict"] == verdict
    assert record["comparison"][0]["p_value"] == 0.5


def test_run_benchmark_on_several_data_sets(few_images, tmp_path):
    models = {
        "tree": DecisionTreeClassifier(),
        "dummy": DummyClassifier(),
        "logistic": LogisticRegression(max_iter=50),
    }
    digits = load_digits(return_X_y=True)
    X, y = load_wine(return_X_y=True)
    data = {"fashion": few_images, "digits": digits, "wine": (X, y, X[::3], y[::3])}
    result = run_benchmark(data=data, models=models, out=tmp_path, progress=False)
    assert isinstance(result, SetsResult)
    assert list(result.table) == ["model", *data, "mean_rank"]
    assert sorted(os.listdir(tmp_path)) == sorted(
        [
            *(*data, "report.html", "sets.csv", "sets.json", "sets.md"),
            *("comparison.svg", "comparison.png"),
        ]
    )
    for name, alone in result.results.items():
        assert result.table[name].tolist() == alone.table["test_accuracy"].tolist()
        assert (tmp_path / name / "report.html").exists()
    ranks = rank_models(result.table[list(data)].T)
    assert result.table["mean_rank"].tolist() == ranks.mean_ranks.tolist()
    assert result.best == result.table["model"][ranks.mean_ranks.argmin()]
    assert result.verdict.startswith(
        f"Best row, by mean rank over 3 data sets: {result.best}, "
    )
    record = json.loads((tmp_path / "sets.json").read_text(encoding="utf-8"))
    assert record["p_value"] == ranks.p_value
    assert record["data"]["n_test"] == 200 + 360 + 60
    assert result.record["verdict"] in (tmp_path / "sets.md").read_text("utf-8")
    label = f"to the best; critical difference {ranks.critical_difference:.2f}"
    assert label in (tmp_path / "report.html").read_text("utf-8")
    assert compare_models(result).equals(result.compare())
    lead = f"Best row, by mean rank over 3 data sets: {result.best}, "
    assert repr(result).startswith(f"<SetsResult: {lead}")
    assert "<table" in result._repr_html_()


def test_benchmark_result_write(fake_fits, make_fit, tmp_path, monkeypatch):
    fake_fits(make_fit(0.7))
    result = run_benchmark(models="lenet5", batch_size=8, progress=False)
    assert result.paths == []
    paths = result.write(tmp_path / "new" / "folder")
    first = {path: path.read_bytes() for path in paths}
    figures = [path.name for path in paths[3:]]
    assert figures[:3] == ["train_loss.svg", "train_loss.png", "valid_loss.svg"]
    assert first[paths[3]].startswith(b"<?xml")
    assert first[paths[4]].startswith(b"\x89PNG")
    result.write(tmp_path / "new" / "folder")
    assert {path: path.read_bytes() for path in paths} == first

    def fail(self, file, **kwargs):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.warns(match=r"train_loss\.svg could not be .*: OSError: disk full"):
        paths = result.write(tmp_path / "full")
    # Results, pages, and nothing half.
    assert {path.name for path in paths} == {*os.listdir(tmp_path / "full")} == TEXTS


def test_run_benchmark_interrupted_keeps_finished_rows(
    fake_fits, tmp_path, make_fit, monkeypatch
):
    # Drawing figures is slow, and tested above.
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write(b"drawn"))
    fake_fits(make_fit(0.7), make_fit(0.8), KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as interrupt:
        run_benchmark(out=tmp_path, progress=False)
    (note,) = interrupt.value.__notes__
    assert note == "no fits are kept without memory (--memory DIR)"
    assert set(os.listdir(tmp_path)) == FILES
    assert list(pd.read_csv(tmp_path / "results.csv")["model"]) == ROWS[:2]
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert record["planned_rows"] == ROWS
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "Unfinished: 2 of 4 rows." in text


@pytest.mark.parametrize(
    ("owner", "part", "missing"),
    [
        (BenchmarkResult, "to_html", {"report.html"}),
        (BenchmarkResult, "to_markdown", {"results.md"}),
        (results_module, "benchmark_figures", FILES - TEXTS),
        (Figure, "savefig", FILES - TEXTS),
        (results_module, "atomic_write", FILES),  # as of a full disk
    ],
)
def test_run_benchmark_outlives_its_files(
    fake_fits, tmp_path, make_fit, monkeypatch, owner, part, missing
):
    def fail(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(owner, part, fail)
    fake_fits(make_fit(0.7), make_fit(0.8))
    with pytest.warns(UserWarning, match="could not be written: OSError: no space"):
        result = run_benchmark(models="lenet5", out=tmp_path, progress=False)
    assert len(result.table) == 2
    written = FILES - missing
    assert written == set(os.listdir(tmp_path)) == {path.name for path in result.paths}


def test_run_benchmark_goes_on_after_a_row_that_fails(tmp_path):
    run = partial(run_benchmark, models="lenet5", batch_size=32)
    with pytest.warns(
        FitFailedWarning, match=r"lr=1e\+30.*failed: .*diverged"
    ) as caught:
        result = run(lr=[1e30, 0.01, 1e29], out=tmp_path, cv=2)
    assert {each.filename for each in caught} == {__file__}
    assert list(result.table["lr"]) == [0.01]
    assert result.table["epochs"].dtype.kind in "if"
    assert list(result.record["failed"]) == [
        f"LeNet5 (lr={lr}, batch_size=32)" for lr in ("1e+30", "1e+29")
    ]
    assert list(result.curves) == [result.best]
    for name in ("results.md", "results.json", "report.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "lr=1e+29" in text
        assert "the training diverged" in text
    assert "Unfinished" not in result.to_markdown()
    with (
        pytest.warns(FitFailedWarning),
        pytest.raises(
            ValueError, match=r"all rows failed: .*1e\+30.*diverged; .*e\+29"
        ),
    ):
        run(lr=[1e30, 1e29], progress=False)


def test_run_benchmark_ranks_no_row_that_failed_on_a_data_set(
    fake_fits, make_fit, few_images
):
    accuracies = (0.7, 0.5), (0.8, 0.9), (0.6, 0.7)
    first = [make_fit(*each) for each in accuracies]
    fake_fits(*first, first[0], MemoryError(), first[2])
    sets = {"one": few_images, "two": few_images}
    settings = {"models": "lenet5", "batch_size": [8, 16, 32], "progress": False}
    with pytest.warns(FitFailedWarning, match="batch_size=16.* failed: MemoryError"):
        result = run_benchmark(data=sets, **settings)
    rows = [f"LeNet5 (lr=0.01, batch_size={size})" for size in (8, 16, 32)]
    assert list(result.table["model"]) == rows[::2]
    assert result.best == rows[2]
    assert f"Failed: {rows[1]} on two." in result.format_notes()


NAMES = ["caf\udce9", "a\nb", "a\\nb", "<b>|*x*", "\r\x07 $5_"]


def test_run_benchmark_writes_any_name_into_its_pages(tmp_path, monkeypatch):
    """Bytes that are not UTF-8, controls, markup; each differs from the others."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (100, 8, 8), dtype=np.uint8)
    y = np.array(NAMES)[np.arange(100) % 5]
    folder = Images("caf\udce9|<i>/", "x", X[:50], y[:50], X[50:], y[50:])
    monkeypatch.setattr("fmnist_sklearn.benchmark.data.load_data", lambda *args: folder)
    models = {name: DummyClassifier() for name in NAMES} | {"net": "LeNet5"}
    result = run_benchmark(models=models, batch_size=16, out=tmp_path, progress=False)
    assert {path.name for path in result.paths} == FILES
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    shown = ["caf<U+DCE9>", "a<U+000A>b", "a\\nb", "<b>|*x*", "<U+000D><U+0007> $5_"]
    for name in shown:
        assert f'<th scope="col">{html.escape(name)}</th>' in page
        assert f'<th scope="row">{html.escape(name)}' in page
    assert list(pd.read_csv(tmp_path / "results.csv")["model"][:5]) == shown
    markdown = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert markdown.startswith("# Benchmark on caf&lt;U+DCE9>\\|&lt;i>/\n")
    assert json.loads((tmp_path / "results.json").read_text())["data"]["source"] == "x"


def test_run_benchmark_prints_a_line_a_row_on_stderr(fake_fits, capsys, make_fit):
    fake_fits(make_fit(0.7, 0.6), make_fit(0.8))
    run_benchmark(data="sample", models="lenet5")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "600 training and 200 test images (bundled sample)",
        f"1 of 2 {ROWS[0]}: validation 0.7000, test 0.6000, 2.0 s",
        f"2 of 2 {ROWS[1]}: validation 0.8000, test 0.5000, 2.0 s",
    ]
    fake_fits(make_fit(0.7))
    run_benchmark(models="lenet5", batch_size=8, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"X": np.ones((9, 4))}, "come as X and y, or as .*; got X only"),
        ({"X": [[1]], "y": [1], "X_test": [[1]]}, "got X, y, X_test only"),
        ({"X": [[1]], "y": [1], "data": "full"}, "exclude each other; .*data='full'"),
        ({"X": [[1], [2]], "y": [1]}, "inconsistent numbers of samples"),
        ({"X": np.ones((9, 4)), "y": [0] * 8 + [1]}, r"fewest \(1\) of .*1.*too few"),
        ({"data": "all"}, "The 'data' parameter of run_benchmark must be"),
        ({"recipe": "slow"}, "The 'recipe' parameter .*'published'.* Got 'slow'"),
        ({"models": "resnet"}, "models must be among .*'MiniVGG'.*; got 'resnet'"),
        ({"models": []}, r"at least one value; got models=\[\]"),
        ({"models": {"a": 3}}, r"models\['a'\] must be a classifier, or .*; got 3"),
        ({"models": {"a": SVR()}}, r"must be a classifier, or .*; got SVR\(\)"),
        ({"data": {"a": "b"}}, r"data\['a'\] must be \(X, y\), .*; got 'b'"),
        ({"data": {"a/b": "sample"}}, "can be names of folders; got 'a/b'"),
        ({"data": {}}, "data must have at least one"),
        ({"lr": [0.1, np.nan]}, "'lr' parameter of run_benchmark must .* Got nan"),
        ({"batch_size": [64, 0]}, "'batch_size' parameter of run_benchmark .* Got 0"),
        ({"batch_size": []}, r"at least one value; got .* batch_size=\[\]"),
        ({"cv": 1}, "The 'cv' parameter of run_benchmark must be"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"seed": -1}, "The 'seed' parameter of run_benchmark must be"),
        ({"out": __file__}, "File exists"),  # before the training
    ],
)
def test_run_benchmark_names_bad_parameters(kwargs, message, fake_fits):
    fake_fits()
    error = FileExistsError if "out" in kwargs else ValueError
    with pytest.raises(error, match=message):
        run_benchmark(**kwargs, progress=False)
