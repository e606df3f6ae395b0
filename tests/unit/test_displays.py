import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler

from fmnist_sklearn import (
    CLASS_NAMES,
    FiltersDisplay,
    LeNet5,
    LeNet5Classifier,
    PredictionsDisplay,
)
from fmnist_sklearn.displays.style import WRONG

PROBA = np.array([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2]])


@pytest.fixture(autouse=True)
def _agg():
    mpl.use("agg")
    yield
    plt.close("all")


@pytest.fixture
def ax():
    return Figure().subplots()


# PredictionsDisplay


def test_the_worst_mistakes_come_first(lenet5, X_test, y_test, ax):
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


def test_right_ones_too_and_labels_that_the_model_does_not_know(ax):
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


def test_images_in_any_layout_and_colour(ax):
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


def test_a_pipeline_shows_the_images_that_it_is_given(lenet5, X_test, y_test, ax):
    pipeline = make_pipeline(FunctionTransformer(lambda X: X.reshape(-1, 784)), lenet5)
    display = PredictionsDisplay.from_estimator(
        pipeline, X_test.reshape(-1, 28, 28), y_test, ax=ax
    )
    assert display.images.shape[1:] == (1, 28, 28)


def test_no_mistake_is_said(ax):
    display = PredictionsDisplay.from_predictions(
        np.zeros((3, 4)), [0, 1, 0], PROBA, ax=ax
    )
    assert len(display.axes_) == 0
    assert [text.get_text() for text in ax.texts] == ["no mistakes"]


# FiltersDisplay


def test_filters_of_the_first_convolution(lenet5, ax):
    pipeline = make_pipeline(MinMaxScaler(), lenet5)
    display = FiltersDisplay.from_estimator(pipeline, ax=ax)
    weights = lenet5.module_.c1.conv.weight.detach().numpy()
    assert np.array_equal(display.filters, weights)
    drawn = [cell.images[0].get_array() for cell in display.axes_]
    np.testing.assert_array_equal(drawn, weights[:, 0])
    largest = np.abs(weights).max()
    assert display.axes_[0].images[0].get_clim() == pytest.approx((-largest, largest))


def test_filters_of_colours_are_coloured(ax):
    network = LeNet5(image_shape=(3, 32, 32))
    display = FiltersDisplay.from_estimator(network, ax=ax)
    drawn = display.axes_[0].images[0].get_array()
    assert drawn.shape == (5, 5, 3)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert len(display.figure_.axes) == 1  # no colour bar


def test_what_has_no_network():
    with pytest.raises(TypeError, match=r"must be a network.* got LogisticRegression"):
        FiltersDisplay.from_estimator(LogisticRegression().fit([[0], [1]], [0, 1]))
    with pytest.raises(NotFittedError):
        FiltersDisplay.from_estimator(LeNet5Classifier())
    assert plt.get_fignums() == []


def test_texts_follow_a_dark_style(lenet5, X_test, y_test):
    with plt.style.context("dark_background"):
        shown = PredictionsDisplay.from_estimator(
            lenet5, X_test, y_test, only_mistakes=False, n_images=100
        )
    colors = {cell.xaxis.label.get_color() for cell in shown.axes_}
    assert colors == {"white", WRONG}
