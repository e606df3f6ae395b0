import math

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_selection import RFE
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline

from fmnist_sklearn import TrainingCurvesDisplay

X = np.arange(20.0).reshape(10, 2)
y = np.arange(10) % 2
EPOCHS = [
    {"epoch": 1, "train_loss": 0.9, "valid_loss": 0.6, "valid_acc": 0.7, "dur": 1.0},
    {"epoch": 2, "train_loss": 0.6, "valid_loss": 0.4, "valid_acc": 0.8, "dur": 1.0},
    {"epoch": 3, "train_loss": 0.5, "valid_loss": 0.5, "valid_acc": 0.9, "dur": 1.0},
]
WITHOUT_VALIDATION = [{"epoch": 1, "train_loss": 0.9, "dur": 1.0}]


class Net(ClassifierMixin, BaseEstimator):
    """Records its epochs as a skorch net does."""

    def __init__(self, epochs=EPOCHS):
        self.epochs = epochs

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.history_ = self.epochs
        self.best_epoch_ = 2
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


class Ranked(Net):
    """One that RFE can wrap."""

    coef_ = np.ones(1)


@pytest.fixture(autouse=True)
def pyplot():
    with matplotlib.rc_context():
        plt.switch_backend("agg")
        yield plt
        plt.close("all")


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


@pytest.fixture
def net():
    return Net().fit(X, y)


def test_curve_of_an_estimator(net):
    display = TrainingCurvesDisplay.from_estimator(net)
    (line,) = display.lines_
    assert line.get_xydata().tolist() == [[1, 0.6], [2, 0.4], [3, 0.5]]
    (training,) = display.training_lines_
    assert training.get_ydata().tolist() == [0.9, 0.6, 0.5]
    assert training.get_linestyle() == "--"
    assert training.get_color() == line.get_color()
    assert display.ax_.get_xlabel() == "epoch"
    assert display.ax_.get_ylabel() == "loss (nats)"
    assert legend(display) == ["Net, validation", "Net, training", "epoch kept: 2"]
    assert display.figure_ is display.ax_.figure
    assert display.metric == "valid_loss"
    assert display.curves == {"Net": EPOCHS}
    assert display.best_epochs == {"Net": 2}


@pytest.mark.parametrize(
    ("metric", "label", "values"),
    [
        ("train_loss", "training loss (nats)", [0.9, 0.6, 0.5]),
        ("valid_acc", "validation accuracy", [0.7, 0.8, 0.9]),
        ("dur", "duration of an epoch (s)", [1, 1, 1]),
    ],
)
def test_metrics(net, metric, label, values):
    display = TrainingCurvesDisplay.from_estimator(net, metric=metric)
    assert display.ax_.get_ylabel() == label
    assert display.lines_[0].get_ydata().tolist() == values


def test_the_validation_loss_alone(net):
    display = TrainingCurvesDisplay.from_estimator(net, with_training=False)
    assert display.training_lines_ == []
    assert display.ax_.get_ylabel() == "validation loss (nats)"
    assert legend(display) == ["Net", "epoch kept: 2"]
    both = TrainingCurvesDisplay.from_estimators([net, net], with_training=False)
    assert legend(both) == ["Net 1", "Net 2", "epochs kept: 2, 2"]


def test_best_epoch_is_marked_with_a_dot(net):
    display = TrainingCurvesDisplay.from_estimator(net, with_training=False)
    line, dot = display.ax_.get_lines()
    assert dot.get_xydata().tolist() == [[2, 0.4]]
    assert dot.get_color() == line.get_color()
    display = TrainingCurvesDisplay.from_estimator(net, mark_best=False)
    assert display.ax_.get_lines() == [*display.lines_, *display.training_lines_]


def test_no_curves_are_refused():
    with pytest.raises(ValueError, match="at least one curve"):
        TrainingCurvesDisplay.from_estimators([])


def test_axes_name_and_style_are_the_callers(net):
    _, ax = plt.subplots()
    display = TrainingCurvesDisplay.from_estimator(
        net, ax=ax, name="LeNet-5", line_kw={"color": "#123456"}
    )
    assert display.ax_ is ax
    (line,) = display.lines_
    assert line.get_label() == "LeNet-5"
    assert line.get_color() == "#123456"


def test_several_estimators(net):
    named = TrainingCurvesDisplay.from_estimators({"a": net, "b": net})
    assert [line.get_label() for line in named.lines_] == ["a", "b"]
    pipeline = make_pipeline("passthrough", net)
    listed = TrainingCurvesDisplay.from_estimators([net, pipeline])
    assert [line.get_label() for line in listed.lines_] == ["Net 1", "Net 2"]


def test_curves_of_the_best_estimator_in_a_pipeline():
    search = GridSearchCV(Net(), {"epochs": [EPOCHS]}, cv=2)
    pipeline = make_pipeline("passthrough", search).fit(X, y)
    display = TrainingCurvesDisplay.from_estimator(pipeline)
    assert display.curves == {"Net": EPOCHS}


def test_curves_of_a_multilayer_perceptron():
    mlp = MLPClassifier(
        (2,), max_iter=3, early_stopping=True, validation_fraction=0.2, random_state=0
    )
    with pytest.warns(ConvergenceWarning):
        mlp.fit(X, y)
    loss = TrainingCurvesDisplay.from_estimator(mlp, metric="train_loss")
    assert loss.lines_[0].get_xydata().tolist() == [
        [epoch, value] for epoch, value in enumerate(mlp.loss_curve_, start=1)
    ]
    accuracy = TrainingCurvesDisplay.from_estimator(mlp, metric="valid_acc")
    assert accuracy.lines_[0].get_ydata().tolist() == mlp.validation_scores_


def test_scores_of_a_regressor_are_no_accuracies():
    mlp = MLPRegressor(
        hidden_layer_sizes=(2,),
        max_iter=2,
        early_stopping=True,
        validation_fraction=0.2,
        random_state=0,
    )
    with pytest.warns(ConvergenceWarning):
        mlp.fit(X, y)
    display = TrainingCurvesDisplay.from_estimator(mlp, metric="valid_score")
    assert display.lines_[0].get_ydata().tolist() == mlp.validation_scores_
    with pytest.raises(ValueError, match="'valid_acc' is not recorded"):
        TrainingCurvesDisplay.from_estimator(mlp, metric="valid_acc")


def test_curves_of_what_a_wrapper_wraps():
    display = TrainingCurvesDisplay.from_estimator(RFE(Ranked()).fit(X, y))
    assert display.curves == {"Ranked": EPOCHS}
    bagging = BaggingClassifier(Net(), n_estimators=2, random_state=0).fit(X, y)
    with pytest.raises(TypeError, match="BaggingClassifier has neither"):
        TrainingCurvesDisplay.from_estimator(bagging)


def test_epochs_without_the_metric_are_left_out():
    # As after partial_fit, which has no validation rows.
    rows = [*EPOCHS, {"epoch": 4, "train_loss": 0.3}]
    display = TrainingCurvesDisplay(curves={"a": rows}).plot()
    assert display.lines_[0].get_xdata().tolist() == [1, 2, 3]


def test_a_diverged_loss_leaves_a_gap():
    rows = [{"epoch": 1, "valid_loss": 0.5}, {"epoch": 2, "valid_loss": math.nan}]
    (line,) = TrainingCurvesDisplay(curves={"a": rows}).plot().lines_
    assert math.isnan(line.get_ydata()[1])


def test_a_single_epoch_is_visible():
    display = TrainingCurvesDisplay(curves={"a": EPOCHS[:1], "b": EPOCHS}).plot()
    assert [line.get_marker() for line in display.lines_] == ["o", ""]


def test_missing_metric_tells_why():
    net = Net(epochs=WITHOUT_VALIDATION).fit(X, y)
    match = (
        r"metric='valid_loss' is not recorded by 'Net', only \['dur', 'train_loss'\]\."
        r".*validation_fraction=0"
    )
    with pytest.raises(ValueError, match=match):
        TrainingCurvesDisplay.from_estimator(net)
    with pytest.raises(ValueError, match=r"'loss' is not recorded .*'train_loss'\]\.$"):
        TrainingCurvesDisplay.from_estimator(net, metric="loss")
    assert plt.get_fignums() == []  # no empty figure is left behind


@pytest.mark.parametrize("history", [None, []])
def test_a_net_without_epochs_is_not_fitted(history):
    net = Net()
    net.history_ = history
    with pytest.raises(NotFittedError, match="Net instance has no epochs yet"):
        TrainingCurvesDisplay.from_estimator(net)


def test_an_unfitted_estimator():
    with pytest.raises(NotFittedError, match="Net instance is not fitted"):
        TrainingCurvesDisplay.from_estimators([Net()])


def test_an_estimator_without_curves():
    with pytest.raises(TypeError, match="LogisticRegression has neither"):
        TrainingCurvesDisplay.from_estimator(LogisticRegression().fit(X, y))


@pytest.mark.parametrize("metric", [["valid_loss"], {"valid_loss"}, None, 3])
def test_a_metric_that_is_no_name(metric, lenet5):
    with pytest.raises(TypeError, match="metric must be the name of one metric"):
        TrainingCurvesDisplay.from_estimator(lenet5, metric=metric)


def test_an_unknown_metric_is_told_what_may_be_drawn(lenet5):
    expected = r"only \['dur', 'train_loss', 'valid_acc', 'valid_loss'\]\.$"
    with pytest.raises(ValueError, match=expected):
        TrainingCurvesDisplay.from_estimator(lenet5, metric="accuracy")
