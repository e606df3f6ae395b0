import io
import math
import re
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from fmnist_sklearn import (
    CLASS_NAMES,
    ComparisonDisplay,
    PredictionsDisplay,
    SearchHeatmapDisplay,
    TrainingCurvesDisplay,
    benchmark_scoring,
    compare_models,
)
from fmnist_sklearn.benchmark.results import benchmark_figures
from fmnist_sklearn.displays.style import WRONG


@pytest.fixture(autouse=True)
def _agg():
    with mpl.rc_context():
        plt.switch_backend("agg")
        yield
        plt.close("all")


@pytest.fixture
def ax():
    return Figure().subplots()


# ComparisonDisplay --------------------------------------------------------------------


def test_comparison_has_a_dot_and_an_interval_for_each_row(ax):
    search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [1e-3, 1e-2, 1.0]})
    table = compare_models(search.fit(*load_iris(return_X_y=True)))
    display = ComparisonDisplay.from_comparison(table, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    order = table["difference"].sort_values(ascending=False).index
    texts = [label.get_text() for label in ax.get_yticklabels()]
    assert texts == table["model"][order].tolist()
    (line, dots) = ax.get_lines()
    assert line.get_xdata() == [0, 0]
    assert dots.get_xdata().tolist() == table["difference"][order].tolist()
    ends = table.loc[order[1:], ["difference_low", "difference_high"]].to_numpy()
    # The reference has no interval.
    empty, *lines = ax.collections[0].get_segments()
    assert len(empty) == 0
    drawn = [line[:, 0] for line in lines]
    np.testing.assert_array_equal(drawn, ends)
    assert ax.get_xlabel() == display.label
    ax.figure.savefig(io.BytesIO())


# TrainingCurvesDisplay ----------------------------------------------------------------

ROWS = np.arange(20.0).reshape(10, 2)
LABELS = np.arange(10) % 2
EPOCHS = [
    {"epoch": 1, "train_loss": 0.9, "valid_loss": 0.6, "valid_acc": 0.7, "dur": 1.0},
    {"epoch": 2, "train_loss": 0.6, "valid_loss": 0.4, "valid_acc": 0.8, "dur": 1.0},
    {"epoch": 3, "train_loss": 0.5, "valid_loss": 0.5, "valid_acc": 0.9, "dur": 1.0},
]


class Net(ClassifierMixin, BaseEstimator):
    """Records its epochs as a skorch net does; RFE can wrap it."""

    coef_ = np.ones(1)

    def __init__(self, epochs=EPOCHS):
        self.epochs = epochs

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.history_ = self.epochs
        self.best_epoch_ = 2
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


@pytest.fixture
def net():
    return Net().fit(ROWS, LABELS)


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_curve_of_an_estimator(net):
    display = TrainingCurvesDisplay.from_estimator(net)
    (line,), (training,) = display.lines_, display.training_lines_
    assert line.get_xydata().tolist() == [[1, 0.6], [2, 0.4], [3, 0.5]]
    assert training.get_ydata().tolist() == [0.9, 0.6, 0.5]
    assert training.get_linestyle() == "--"
    _, _, dot = display.ax_.get_lines()
    assert dot.get_xydata().tolist() == [[2, 0.4]]
    assert line.get_color() == training.get_color() == dot.get_color()
    assert display.ax_.get_xlabel() == "epoch"
    assert display.ax_.get_ylabel() == "loss (nats)"
    assert legend(display) == ["Net, validation", "Net, training", "epoch kept: 2"]
    assert display.figure_ is display.ax_.figure
    assert display.metric == "valid_loss"
    assert display.curves == {"Net": EPOCHS}
    assert display.best_epochs == {"Net": 2}
    display = TrainingCurvesDisplay.from_estimator(net, mark_best=False)
    assert display.ax_.get_lines() == [*display.lines_, *display.training_lines_]


def test_curve_of_any_metric(net):
    for metric, label, values in (
        ("train_loss", "training loss (nats)", [0.9, 0.6, 0.5]),
        ("valid_acc", "validation accuracy", [0.7, 0.8, 0.9]),
        ("dur", "duration of an epoch (s)", [1, 1, 1]),
    ):
        display = TrainingCurvesDisplay.from_estimator(net, metric=metric)
        assert display.ax_.get_ylabel() == label
        assert display.lines_[0].get_ydata().tolist() == values


def test_curve_without_training_on_given_axes_with_name_and_style(net, ax):
    display = TrainingCurvesDisplay.from_estimator(
        net, ax=ax, name="LeNet-5", with_training=False, line_kw={"color": "#123456"}
    )
    assert display.ax_ is ax
    assert display.training_lines_ == []
    assert ax.get_ylabel() == "validation loss (nats)"
    assert legend(display) == ["LeNet-5", "epoch kept: 2"]
    assert display.lines_[0].get_color() == "#123456"


def test_curves_of_several_estimators(net):
    named = TrainingCurvesDisplay.from_estimators({"a": net, "b": net})
    assert [line.get_label() for line in named.lines_] == ["a", "b"]
    listed = TrainingCurvesDisplay.from_estimators(
        [net, make_pipeline("passthrough", net)], with_training=False
    )
    assert legend(listed) == ["Net 1", "Net 2", "epochs kept: 2, 2"]
    with pytest.raises(ValueError, match="at least one curve"):
        TrainingCurvesDisplay.from_estimators([])


def test_curve_of_a_model_inside_another():
    search = GridSearchCV(Net(), {"epochs": [EPOCHS]}, cv=2)
    for estimator in (make_pipeline("passthrough", search), RFE(Net())):
        display = TrainingCurvesDisplay.from_estimator(estimator.fit(ROWS, LABELS))
        assert display.curves == {"Net": EPOCHS}


@pytest.mark.parametrize(
    ("cls", "metric"), [(MLPClassifier, "valid_acc"), (MLPRegressor, "valid_score")]
)
def test_curves_of_a_multilayer_perceptron(cls, metric):
    mlp = cls(max_iter=3, early_stopping=True, validation_fraction=0.2, random_state=0)
    with pytest.warns(ConvergenceWarning):
        mlp.fit(ROWS, LABELS)
    loss = TrainingCurvesDisplay.from_estimator(mlp, metric="train_loss")
    expected = [list(point) for point in enumerate(mlp.loss_curve_, start=1)]
    assert loss.lines_[0].get_xydata().tolist() == expected
    score = TrainingCurvesDisplay.from_estimator(mlp, metric=metric)
    assert score.lines_[0].get_ydata().tolist() == mlp.validation_scores_
    if cls is MLPRegressor:
        with pytest.raises(ValueError, match="'valid_acc' is not recorded"):
            TrainingCurvesDisplay.from_estimator(mlp, metric="valid_acc")


def test_curve_of_incomplete_epochs():
    for rows, xy in (
        # As after partial_fit, which has no validation rows.
        ([*EPOCHS, {"epoch": 4, "train_loss": 0.3}], [[1, 0.6], [2, 0.4], [3, 0.5]]),
        ([{"valid_loss": 0.5}, {"valid_loss": math.nan}], [[1, 0.5], [2, math.nan]]),
        (EPOCHS[:1], [[1, 0.6]]),
    ):
        (line,) = TrainingCurvesDisplay(curves={"a": rows}).plot().lines_
        np.testing.assert_array_equal(line.get_xydata(), xy)
        # A line through one point would be invisible.
        assert line.get_marker() == ("o" if len(xy) == 1 else "")


def test_curve_of_a_metric_that_is_not_recorded(lenet5):
    net = Net(epochs=[{"epoch": 1, "train_loss": 0.9, "dur": 1.0}]).fit(ROWS, LABELS)
    match = (
        r"metric='valid_loss' is not recorded by 'Net', only \['dur', 'train_loss'\]\."
        r".*validation_fraction=0"
    )
    with pytest.raises(ValueError, match=match):
        TrainingCurvesDisplay.from_estimator(net)
    expected = r"only \['dur', 'train_loss', 'valid_acc', 'valid_loss'\]\.$"
    with pytest.raises(ValueError, match=expected):
        TrainingCurvesDisplay.from_estimator(lenet5, metric="accuracy")
    assert plt.get_fignums() == []  # no empty figure is left behind


def test_curve_of_an_estimator_without_epochs():
    for history in (None, []):
        net = Net()
        net.history_ = history
        with pytest.raises(NotFittedError, match="Net instance has no epochs yet"):
            TrainingCurvesDisplay.from_estimator(net)
    with pytest.raises(NotFittedError, match="Net instance is not fitted"):
        TrainingCurvesDisplay.from_estimators([Net()])
    bagging = BaggingClassifier(Net(), n_estimators=2)
    for estimator in (bagging, LogisticRegression()):
        match = f"{type(estimator).__name__} has neither"
        with pytest.raises(TypeError, match=match):
            TrainingCurvesDisplay.from_estimator(estimator.fit(ROWS, LABELS))


# SearchHeatmapDisplay -----------------------------------------------------------------


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def search(iris):
    """A search over two parameters, and one that does not vary."""
    params = {"C": [10, 0.1, 1], "gamma": [0.01, 1], "kernel": ["rbf"]}
    return GridSearchCV(SVC(), params, cv=2).fit(*iris)


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_heatmap_has_a_cell_for_each_pair(search, ax):
    display = SearchHeatmapDisplay.from_search(search, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert (display.x, display.y) == ("gamma", "C")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("gamma", "C")
    # By size, at equal distances.
    assert ticks(ax.xaxis) == ["0.01", "1"]
    assert ticks(ax.yaxis) == ["0.1", "1", "10"]
    for i, params in enumerate(search.cv_results_["params"]):
        row = display.y_values.index(params["C"])
        place = row, display.x_values.index(params["gamma"])
        score = search.cv_results_["mean_test_score"][i]
        assert display.scores[place] == score
        text = display.text_[place]
        assert text.get_text() == f"{score:.4f}"
        assert text.get_position() == place[::-1]
    for axes in ({"x": "C", "y": "gamma"}, {"x": "C"}, {"y": "gamma"}):
        other = SearchHeatmapDisplay.from_search(search, **axes, ax=ax)
        assert np.array_equal(other.scores, display.scores.T)


def test_heatmap_axes_must_be_two_parameters_that_vary(search, iris):
    match = "x and y must name two of the parameters"
    for x, y in (("C", "C"), ("kernel", "C"), ("C", "lr"), ("lr", None), (None, "lr")):
        with pytest.raises(ValueError, match=match):
            SearchHeatmapDisplay.from_search(search, x=x, y=y)
    single = GridSearchCV(SVC(), {"C": [1, 10]}, cv=2)
    with pytest.raises(NotFittedError):
        SearchHeatmapDisplay.from_search(single)
    with pytest.raises(ValueError, match=match):
        SearchHeatmapDisplay.from_search(single.fit(*iris))


def test_heatmap_averages_over_other_parameters(iris, ax):
    pipeline = make_pipeline(StandardScaler(), SVC())
    params = {"C": [1, 10], "gamma": [0.1, 1], "kernel": ["rbf", "poly"]}
    params = {f"svc__{name}": values for name, values in params.items()}
    search = GridSearchCV(pipeline, params, cv=2).fit(*iris)
    with pytest.raises(ValueError, match=r"x and y must name two of .*kernel'"):
        SearchHeatmapDisplay.from_search(search, ax=ax)
    display = SearchHeatmapDisplay.from_search(
        search.cv_results_, x="kernel", y="svc__C", ax=ax
    )
    assert (display.x, display.y) == ("kernel", "C")
    assert display.x_values == ["rbf", "poly"]
    expected = search.cv_results_["mean_test_score"].reshape(2, 2, 2).mean(axis=1)
    np.testing.assert_allclose(display.scores, expected)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_heatmap_of_benchmark_scores_is_of_the_accuracy(iris, ax):
    search = GridSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": [0.1, 1], "fit_intercept": [True, False]},
        scoring=benchmark_scoring(),
        refit="accuracy",
        cv=2,
    ).fit(*iris)
    display = SearchHeatmapDisplay.from_search(search, ax=ax)
    assert display.score_name == "accuracy"
    assert ticks(ax.xaxis) == ["True", "False"]
    accuracies = search.cv_results_["mean_test_accuracy"]
    assert np.array_equal(display.scores.ravel(), accuracies)
    with pytest.raises(ValueError, match=r"must have a single score.*mean_test_recall"):
        SearchHeatmapDisplay.from_search(
            {"params": search.cv_results_["params"], "mean_test_recall": accuracies}
        )


def test_heatmap_cells_of_untried_pairs_are_empty(iris, ax):
    search = RandomizedSearchCV(
        SVC(), {"C": loguniform(0.1, 10), "gamma": [0.1, 1]}, n_iter=4, random_state=0
    ).fit(*iris)
    display = SearchHeatmapDisplay.from_search(search, y="C", ax=ax)
    assert display.scores.shape == (4, 2)
    empty = np.isnan(display.scores)
    assert empty.sum() == 4
    assert all(text is None for text in display.text_[empty])
    assert list(display.y_values) == sorted(display.y_values)


def test_heatmap_of_a_halving_search_has_the_last_trials(iris, ax):
    search = HalvingGridSearchCV(
        DecisionTreeClassifier(random_state=0),
        {"max_depth": [1, 2, 3], "criterion": ["gini", "entropy"]},
        min_resources=60,
        random_state=0,
        factor=2,
        cv=2,
    ).fit(*iris)
    assert search.cv_results_["iter"].max() > 0
    display = SearchHeatmapDisplay.from_search(search, ax=ax)
    assert display.scores.shape == (2, 3)
    best = search.best_params_
    row = display.y_values.index(best["criterion"])
    column = display.x_values.index(best["max_depth"])
    assert display.scores[row, column] == search.best_score_


def test_heatmap_options_of_plot(search, ax):
    display = SearchHeatmapDisplay.from_search(
        search, ax=ax, annotate=False, cmap="magma", colorbar=False, im_kw={"vmin": 0}
    )
    assert all(text is None for text in display.text_.ravel())
    assert display.im_.get_cmap().name == "magma"
    assert display.im_.norm.vmin == 0
    assert display.figure_.axes == [ax]
    assert display.plot(Figure().subplots()) is display
    assert len(display.figure_.axes) == 2
    assert {text.get_color() for text in display.text_.ravel()} <= {"white", "black"}


# PredictionsDisplay -------------------------------------------------------------------

NO_MISTAKES = {"y_true": [], "y_pred": [], "confidence": [], "loss": []}
PROBA = np.array([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2]])


def test_predictions_begin_with_the_worst_mistakes(lenet5, X_test, y_test, ax):
    display = PredictionsDisplay.from_estimator(
        lenet5, X_test, y_test, display_labels=CLASS_NAMES, ax=ax
    )
    assert (display.ax_, display.figure_) == (ax, ax.figure)
    proba = lenet5.predict_proba(X_test)
    loss = -np.log(proba[np.arange(len(y_test)), y_test])
    wrong = proba.argmax(axis=1) != y_test
    assert len(display.loss) == wrong.sum()
    np.testing.assert_allclose(display.loss, sorted(loss[wrong], reverse=True))
    worst = np.flatnonzero(wrong)[loss[wrong].argmax()]
    assert np.array_equal(display.images[0], X_test[worst].reshape(1, 28, 28))
    assert len(display.axes_) == min(12, wrong.sum())
    first = display.axes_[0].xaxis.label
    assert first.get_text() == (
        f"true: {CLASS_NAMES[y_test[worst]]}\n"
        f"predicted: {CLASS_NAMES[proba[worst].argmax()]}\n"
        f"{proba[worst].max():.0%}".replace("%", " %")
        + f", loss {loss[worst]:.2f}"
    )
    assert first.get_color() == WRONG


def test_predictions_of_correct_images_and_unknown_labels(ax):
    display = PredictionsDisplay.from_predictions(
        np.zeros((3, 2, 2, 2)),
        ["a", "a", "z"],
        PROBA,
        classes=["a", "b"],
        only_mistakes=False,
        ax=ax,
    )
    assert display.y_true == ["z", "a", "a"]
    assert display.y_pred == ["a", "b", "a"]
    assert display.axes_[2].xaxis.label.get_color() != WRONG


def test_predictions_of_images_in_any_layout(ax):
    rows = np.random.default_rng(0).integers(0, 256, (3, 48), dtype=np.uint8)
    given = {"X": rows, "y_true": [1, 0, 1], "y_proba": PROBA, "ax": ax}
    display = PredictionsDisplay.from_predictions(**given, image_shape=(3, 4, 4))
    drawn = display.axes_[0].images[0].get_array()
    assert drawn.shape == (4, 4, 3)
    np.testing.assert_allclose(drawn, display.images[0].transpose(1, 2, 0) / 255)
    with pytest.raises(ValueError, match=r"image_shape must be given .*\(3, 48\)"):
        PredictionsDisplay.from_predictions(**given)
    with pytest.raises(ValueError, match=r"entry for each column .* got 3, 3 and 2"):
        PredictionsDisplay.from_predictions(**given, classes=[0, 1, 2])


def test_predictions_of_a_pipeline_and_of_no_images(lenet5, X_test, y_test, ax):
    pipeline = make_pipeline(FunctionTransformer(lambda X: X.reshape(-1, 784)), lenet5)
    display = PredictionsDisplay.from_estimator(
        pipeline, X_test.reshape(-1, 28, 28), y_test, ax=ax
    )
    assert display.images.shape[1:] == (1, 28, 28)
    none = PredictionsDisplay(images=np.zeros((0, 1, 4, 4)), **NO_MISTAKES).plot(ax)
    assert len(none.axes_) == 0
    assert [text.get_text() for text in ax.texts] == ["no mistakes"]


# Names in texts -----------------------------------------------------------------------

# name -> how it is drawn; None, as it is
NAMES = dict.fromkeys(
    [
        *("$", "$$", "$0-$50", r"a\frac$x$", "b_1^2", "50% off", "<b>&amp;", "_x", ""),
        *("--", "new\nline", r"new\nline", "Café 😀", "שלום", "مرحبا"),
    ]
) | {"a\x00\t": "a<U+0000><U+0009>", "b\ud800\uffff": "b<U+D800><U+FFFF>"}
LONG = "first" + 300 * "x" + "last"


def displays_of(names):
    """Draw each kind of display; yield the figure, and a text for each name."""
    curve = TrainingCurvesDisplay(curves={name: EPOCHS[:1] for name in names})
    yield curve.plot(with_training=False).figure_, curve.ax_.get_legend().get_texts()
    for figure in benchmark_figures(dict.fromkeys(names, EPOCHS)).values():
        (legend,) = figure.legends or [figure.axes[0].get_legend()]
        yield figure, legend.get_texts()
    n = len(names)
    columns = dict.fromkeys(("difference", "difference_low", "difference_high"), 0.0)
    table = pd.DataFrame({"model": names, **columns})
    comparison = ComparisonDisplay(comparison=table, label="difference").plot()
    yield comparison.figure_, comparison.ax_.get_yticklabels()
    params = {"y_values": names, "x_values": [0.1], "x": "lr", "y": "name"}
    heatmap = SearchHeatmapDisplay(scores=np.ones((n, 1)), **params).plot()
    yield heatmap.figure_, heatmap.ax_.yaxis.get_ticklabels()
    params = {"y_true": names, "y_pred": names[::-1]}
    params |= {"confidence": np.ones(n), "loss": np.ones(n)}
    predictions = PredictionsDisplay(images=np.zeros((n, 1, 4, 4)), **params).plot()
    yield predictions.figure_, [cell.xaxis.label for cell in predictions.axes_]


@pytest.mark.filterwarnings("ignore:Glyph .* missing from", "ignore:Matplotlib current")
@pytest.mark.parametrize("part", range(3))
def test_names_are_drawn_as_they_are(part):
    names = [*list(NAMES)[part::3], LONG]
    for figure, texts in displays_of(names):
        for ending in ("svg", "png"):
            file = io.BytesIO()
            figure.savefig(file, format=ending)
            if ending == "svg":
                ElementTree.fromstring(file.getvalue())
        for name, text in zip(names, texts, strict=False):
            drawn = text.get_text().removeprefix("true: ").partition("\npredicted")[0]
            if name == LONG:
                assert re.fullmatch("firstx+…x+last", drawn)
                assert len(drawn) <= 60
            else:
                assert drawn == (NAMES[name] or name)
            assert not text.get_parse_math()
