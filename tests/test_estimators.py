"""The scikit-learn contract of the two classifiers, on the bundled sample."""

import copy
import inspect
import io
import pickle
import random
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import classification_report, log_loss
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler
from sklearn.utils import compute_sample_weight
from skorch.callbacks import Callback
from torch.utils.data import DataLoader

from fmnist_sklearn import (
    CLASS_NAMES,
    LeNet5Classifier,
    MiniVGGClassifier,
    load_fashion_mnist_sample,
)
from fmnist_sklearn.tables import benchmark_scoring, benchmark_table

BOTH = pytest.mark.parametrize("kind", [LeNet5Classifier, MiniVGGClassifier])
NAMES = np.array(CLASS_NAMES)


def same_predictions(first, second, X):
    return np.array_equal(first.predict_proba(X), second.predict_proba(X))


# Parameter counts (the published tables)


def test_numbers_of_parameters(lenet5, mini_vgg, quick):
    wide = LeNet5Classifier(**quick, module__hidden_units=(128, 64)).initialize()
    assert lenet5.n_parameters_ == 61_750
    assert mini_vgg.n_parameters_ == 2_167_786
    assert wide.n_parameters_ == 62_850


# The main ways of use, at full defaults but for the epochs


def test_classification_report(X, y, X_test, y_test):
    net = LeNet5Classifier(lr=0.01, max_epochs=15, random_state=0).fit(X, y)
    report = classification_report(
        y_test, net.predict(X_test), target_names=CLASS_NAMES, output_dict=True
    )
    assert set(CLASS_NAMES) < set(report)
    assert report["accuracy"] == pytest.approx(net.score(X_test, y_test))
    assert report["accuracy"] > 0.55  # 240 images; chance is 0.1


@BOTH
def test_rows_images_and_4_d_input_are_the_same(X, y, quick, kind):
    settings = quick | {"max_epochs": 1}
    n = 60
    layouts = [X[:n], X[:n].reshape(n, 28, 28), X[:n].reshape(n, 1, 28, 28)]
    nets = [kind(**settings).fit(layout, y[:n]) for layout in layouts]

    expected = nets[0].predict_proba(X[n:])
    for net in nets:
        assert net.image_shape_ == (1, 28, 28)
        assert net.n_features_in_ == 784
        for layout in (
            X[n:],
            X[n:].reshape(-1, 28, 28),
            X[n:].reshape(-1, 1, 28, 28),
        ):
            assert np.array_equal(net.predict_proba(layout), expected)


def test_pipeline(X, y, quick):
    pipeline = make_pipeline(
        FunctionTransformer(lambda X: X / 255), LeNet5Classifier(**quick)
    )
    pipeline.fit(X, NAMES[y])
    assert pipeline.score(X, NAMES[y]) > 0.15
    pipeline.set_params(lenet5classifier__lr=0.02)
    assert pipeline[-1].lr == 0.02
    assert make_pipeline(MinMaxScaler(), clone(pipeline[-1])).fit(X, y).predict(
        X
    ).shape == (240,)


def test_grid_search(X, y, quick):
    grid = {"lr": [0.01, 0.001], "batch_size": [16, 64]}
    search = GridSearchCV(LeNet5Classifier(**quick), grid, cv=2, error_score="raise")
    search.fit(X, NAMES[y])

    assert set(search.best_params_) == {"lr", "batch_size"}
    assert len(search.cv_results_["mean_test_score"]) == 4
    assert search.best_estimator_.lr == search.best_params_["lr"]
    assert set(search.predict(X)) <= set(CLASS_NAMES)
    table = benchmark_table(search)
    assert len(table) == 4
    assert {"accuracy", "training_time_s", "lr", "batch_size"} <= set(table.columns)


def test_grid_search_over_double_underscore_names(X, y, quick):
    grid = {"module__hidden_units": [(20,), (30, 10)], "augment": [{"shift": 1}]}
    search = GridSearchCV(LeNet5Classifier(**quick), grid, cv=2, error_score="raise")
    search.fit(X[:120], y[:120])
    head = search.best_estimator_.module_.head
    assert head.f5.out_features == search.best_params_["module__hidden_units"][0]


def test_cross_validate_into_benchmark_table(X, y, quick):
    net = LeNet5Classifier(**quick)
    results = cross_validate(net, X, y, cv=2, scoring=benchmark_scoring())
    table = benchmark_table({"LeNet5": results})

    assert table["epochs"].tolist() == [2]
    assert table["n_parameters"].tolist() == [61_750]
    assert 0 <= table["accuracy"][0] <= 1
    assert table["training_time_s"][0] > 0


@BOTH
def test_joblib_round_trip(lenet5, mini_vgg, X, kind, tmp_path):
    net = lenet5 if kind is LeNet5Classifier else mini_vgg
    joblib.dump(net, tmp_path / "net.joblib")
    loaded = joblib.load(tmp_path / "net.joblib")
    assert same_predictions(net, loaded, X)


@BOTH
def test_seeds(X, y, quick, kind):
    X, y = X[:80], y[:80]
    settings = quick | {"max_epochs": 1}
    first, again = kind(**settings).fit(X, y), kind(**settings).fit(X, y)
    other = kind(**settings | {"random_state": 1}).fit(X, y)

    assert same_predictions(first, again, X)
    assert not same_predictions(first, other, X)
    assert same_predictions(first, clone(first).fit(X, y), X)
    assert same_predictions(first, copy.deepcopy(first).fit(X, y), X)


# Fitted attributes


@BOTH
def test_fitted_attributes(lenet5, mini_vgg, kind):
    net = lenet5 if kind is LeNet5Classifier else mini_vgg
    assert net.classes_.tolist() == list(range(10))
    assert net.n_features_in_ == 784
    assert net.image_shape_ == (1, 28, 28)
    assert net.n_iter_ == len(net.history_)
    assert 1 <= net.best_epoch_ <= net.n_iter_
    assert 0 < net.fit_time_ < 600
    assert net.device_ == torch.device("cpu")
    assert net.precision_ in ("float32", "bfloat16")
    assert not hasattr(net, "feature_names_in_")
    assert net.fit_time_ >= sum(net.history_[:, "dur"]) * 0.99


@BOTH
def test_nothing_is_fitted_before_fit(X, kind):
    net = kind()
    fitted = [name for name in dir(net) if name.endswith("_") and name[0] != "_"]
    for name in ("classes_", "n_iter_", "n_parameters_", "best_epoch_", "module_"):
        assert name not in fitted or not hasattr(net, name)
    assert list(vars(net)) == sorted(vars(net), key=list(vars(net)).index)
    assert set(vars(net)) == set(net.get_params())
    for method in ("predict", "predict_proba", "predict_log_proba"):
        with pytest.raises(NotFittedError, match=f"{kind.__name__} .*not fitted yet"):
            getattr(net, method)(X)


def test_probabilities(lenet5, X):
    probabilities = lenet5.predict_proba(X)
    assert probabilities.shape == (240, 10)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert np.array_equal(lenet5.predict(X), probabilities.argmax(1))
    np.testing.assert_allclose(
        np.exp(lenet5.predict_log_proba(X)), probabilities, atol=1e-6
    )


def test_log_probabilities_are_finite(lenet5, X):
    net = copy.deepcopy(lenet5)
    with torch.no_grad():
        net.module_.head.out.weight.mul_(1e3)
    assert (net.predict_proba(X) == 0).any()
    assert np.isfinite(net.predict_log_proba(X)).all()


def test_data_frames(quick):
    frame, y = load_fashion_mnist_sample(return_X_y=True, as_frame=True)
    frame, y = frame[:80], y[:80]
    net = LeNet5Classifier(**quick).fit(frame, y)

    assert net.feature_names_in_.tolist() == list(frame.columns)
    rows = LeNet5Classifier(**quick).fit(frame.to_numpy(), y)
    assert np.array_equal(net.predict_proba(frame), rows.predict_proba(frame.values))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        net.predict(frame[frame.columns[::-1]])


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda X: torch.from_numpy(X.copy()),
        lambda X: X.tolist(),
        lambda X: X.astype(np.float32),
        lambda X: X.astype(np.float64),
        lambda X: X.astype(np.int32),
    ],
)
def test_kinds_of_arrays(lenet5, X, convert):
    np.testing.assert_allclose(
        lenet5.predict_proba(convert(X[:40])), lenet5.predict_proba(X[:40]), atol=1e-6
    )


def test_bytes_and_unit_range_train_alike(X, y, quick):
    raw = LeNet5Classifier(**quick).fit(X, y)
    unit = LeNet5Classifier(**quick).fit(X / 255, y)
    assert unit.history_[:, "valid_loss"] == pytest.approx(
        raw.history_[:, "valid_loss"], rel=1e-2
    )


def test_colour_images(quick):
    X = np.random.randint(0, 256, (60, 3, 16, 20), dtype=np.uint8)
    y = np.random.randint(0, 3, 60)
    net = LeNet5Classifier(**quick).fit(X, y)
    rows = LeNet5Classifier(**quick, image_shape=(3, 16, 20)).fit(X.reshape(60, -1), y)

    assert net.image_shape_ == rows.image_shape_ == (3, 16, 20)
    assert net.module_.scaling.mean.shape == (3,)
    assert same_predictions(net, rows, X)


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (np.full((20, 784), np.nan), "contains NaN"),
        (np.full((20, 784), np.inf), "contains infinity"),
        (np.full((20, 784), 1j), "Complex data not supported"),
        (np.zeros(784), "Expected 2D array, got 1D array"),
        (np.zeros((0, 784)), "0 sample"),
        (np.zeros((20, 0)), "0 feature"),
        (np.zeros((19, 784)), r"inconsistent numbers of samples: \[19, 20\]"),
        (np.zeros((20, 28, 28, 3)), r"looks like \(n, H, W, C\)"),
        (np.zeros((20, 1, 1, 28, 28)), "dim 5|Found array with dim"),
    ],
)
def test_unusable_images(X, match, quick):
    with pytest.raises(ValueError, match=match):
        LeNet5Classifier(**quick).fit(X, np.arange(20) % 2)


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (np.zeros((2, 783)), "783 features, but LeNet5Classifier is expecting 784"),
        (np.zeros((2, 27, 28)), r"\(1, 27, 28\), .*expects \(1, 28, 28\)"),
        (np.full((2, 784), np.nan), "contains NaN"),
    ],
)
def test_unusable_images_to_predict(lenet5, X, match):
    with pytest.raises(ValueError, match=match):
        lenet5.predict(X)


def test_continuous_targets(X, quick):
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        LeNet5Classifier(**quick).fit(X, np.random.rand(240))


# Labels


@pytest.mark.parametrize(
    "names",
    [
        NAMES,
        NAMES.astype(object),
        np.arange(10) - 5,
        np.arange(10) * 100_000,
        np.arange(10).astype(float),
        np.arange(10).astype(np.uint8),
    ],
)
def test_labels_of_any_kind(X, y, quick, lenet5, names):
    """They change nothing but the names: the sorted order is kept or not."""
    net = LeNet5Classifier(**quick).fit(X, names[y])
    predicted = net.predict(X)

    assert net.classes_.tolist() == sorted(names.tolist())
    assert predicted.dtype == net.classes_.dtype
    assert np.array_equal(predicted, net.classes_[net.predict_proba(X).argmax(1)])
    assert net.score(X, names[y]) == np.mean(predicted == names[y])
    if names.dtype.kind in "iuf":
        assert same_predictions(net, lenet5, X)


@pytest.mark.parametrize("names", [[False, True], ["no", "yes"], [-1, 1], [3, 7]])
def test_two_classes(X, y, quick, names):
    labels = np.array(names)[(y >= 5).astype(int)]
    net = LeNet5Classifier(**quick | {"max_epochs": 4}).fit(X, labels)
    assert net.classes_.tolist() == names
    assert net.predict_proba(X).shape == (240, 2)
    assert net.score(X, labels) > 0.6
    assert net.module_.head.out.out_features == 2


@pytest.mark.parametrize("label", ["only", -3, True])
def test_a_single_class(X, quick, label):
    net = LeNet5Classifier(**quick).fit(X[:50], np.full(50, label))
    assert net.classes_.tolist() == [label]
    assert (net.predict(X) == label).all()
    assert (net.predict_proba(X) == 1).all()


# Weights


def test_rows_of_weight_zero_count_as_absent(X, y, quick):
    weights = np.ones(240)
    weights[::3] = 0
    kept = weights > 0
    zeroed = LeNet5Classifier(**quick).fit(X, y, sample_weight=weights)
    dropped = LeNet5Classifier(**quick).fit(X[kept], y[kept])
    assert same_predictions(zeroed, dropped, X)

    weights[1::3] = 2.5
    zeroed = LeNet5Classifier(**quick).fit(X, y, sample_weight=weights)
    dropped = LeNet5Classifier(**quick).fit(
        X[kept], y[kept], sample_weight=weights[kept]
    )
    assert same_predictions(zeroed, dropped, X)


def test_a_class_of_weight_zero_is_absent(X, y, quick):
    net = LeNet5Classifier(**quick).fit(X, y, sample_weight=(y != 3).astype(float))
    assert net.classes_.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("factor", [0.125, 1, 8])
def test_equal_weights_are_no_weights(X, y, quick, lenet5, factor):
    net = LeNet5Classifier(**quick).fit(X, y, sample_weight=np.full(240, factor))
    assert same_predictions(net, lenet5, X)


def test_weights_matter_by_their_ratio(X, y, quick):
    weights = np.random.rand(240) + 0.1
    first = LeNet5Classifier(**quick).fit(X, y, sample_weight=weights)
    scaled = LeNet5Classifier(**quick).fit(X, y, sample_weight=8 * weights)
    np.testing.assert_allclose(
        first.predict_proba(X), scaled.predict_proba(X), atol=1e-4
    )
    plain = LeNet5Classifier(**quick).fit(X, y)
    assert not same_predictions(first, plain, X)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (np.zeros(240), "zero for every row|at least one non-zero"),
        (np.r_[-1, np.ones(239)], "[Nn]egative"),
        (np.ones(239), "239"),
        (np.full(240, np.nan), "NaN"),
        (np.ones((240, 2)), "Sample weights must be 1D|sample_weight"),
    ],
)
def test_unusable_weights(X, y, quick, weights, match):
    with pytest.raises(ValueError, match=match):
        LeNet5Classifier(**quick).fit(X, y, sample_weight=weights)
    with pytest.raises(ValueError, match=match):
        LeNet5Classifier(**quick).partial_fit(
            X, y, classes=np.arange(10), sample_weight=weights
        )


def test_a_weight_for_all(X, y, quick, lenet5):
    net = LeNet5Classifier(**quick).fit(X, y, sample_weight=2.0)
    assert same_predictions(net, lenet5, X)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 5.0, 3: 0.5}])
def test_class_weight_is_a_sample_weight(X, y, quick, class_weight):
    rows = np.flatnonzero((y != 3) | (np.arange(240) % 3 == 0))  # unbalanced
    X, y = X[rows], y[rows]
    weights = compute_sample_weight(class_weight, y)
    by_class = LeNet5Classifier(**quick, class_weight=class_weight).fit(X, y)
    by_row = LeNet5Classifier(**quick).fit(X, y, sample_weight=weights)

    assert same_predictions(by_class, by_row, X)
    assert not same_predictions(by_class, LeNet5Classifier(**quick).fit(X, y), X)


def test_class_weight_by_label(X, y, quick):
    by_name = LeNet5Classifier(**quick, class_weight={"Bag": 4.0}).fit(X, NAMES[y])
    weights = np.where(NAMES[y] == "Bag", 4.0, 1.0)
    by_row = LeNet5Classifier(**quick).fit(X, NAMES[y], sample_weight=weights)
    assert same_predictions(by_name, by_row, X)


def test_class_weight_multiplies_sample_weight(X, y, quick):
    weights = np.random.rand(240) + 0.5
    quick = quick | {"validation_fraction": 0}  # where class weights have no say
    both = LeNet5Classifier(**quick, class_weight={2: 3.0})
    both.fit(X, y, sample_weight=weights)
    product = LeNet5Classifier(**quick)
    product.fit(X, y, sample_weight=weights * np.where(y == 2, 3.0, 1.0))
    assert_allclose(both.predict_proba(X), product.predict_proba(X), atol=1e-3)


def test_a_class_weight_of_zero_leaves_the_class_known(X, y, quick):
    """Its rows do not count, but the label can be named."""
    net = LeNet5Classifier(**quick, class_weight={3: 0.0}).fit(X, y)
    assert np.isfinite(net.predict_proba(X)).all()


def test_score_takes_weights(lenet5, X, y):
    weights = (np.arange(240) < 50).astype(float)
    assert lenet5.score(X, y, sample_weight=weights) == pytest.approx(
        lenet5.score(X[:50], y[:50])
    )


# Validation rows of one's own


def test_own_validation_rows(X, y, quick):
    net = LeNet5Classifier(**quick).fit(
        X[:140], NAMES[y[:140]], X_val=X[140:], y_val=NAMES[y[140:]]
    )
    loss = log_loss(NAMES[y[140:]], net.predict_proba(X[140:]), labels=net.classes_)
    assert min(net.history_[:, "valid_loss"]) == pytest.approx(loss, rel=1e-5)
    assert net.history_[0, "train_batch_count"] == 5  # all 140 rows


def test_own_validation_rows_with_patience_and_no_fraction(X, y, quick):
    """There is a validation part, so patience has something to watch."""
    net = LeNet5Classifier(**quick, validation_fraction=0, patience=1)
    net.fit(X[:140], y[:140], X_val=X[140:], y_val=y[140:])
    assert net.history_[0, "valid_loss"] > 0


def test_own_validation_rows_in_another_layout(X, y, quick):
    first = LeNet5Classifier(**quick).fit(
        X[:140], y[:140], X_val=X[140:].reshape(-1, 28, 28), y_val=y[140:]
    )
    second = LeNet5Classifier(**quick).fit(
        X[:140], y[:140], X_val=X[140:], y_val=y[140:]
    )
    assert first.history_[:, "valid_loss"] == second.history_[:, "valid_loss"]


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"X_val": np.zeros((2, 784))}, "go together, but y_val is None"),
        ({"y_val": [0, 1]}, "go together, but X_val is None"),
        ({"sample_weight_val": [1, 1]}, "sample_weight_val needs X_val and y_val"),
        ({"X_val": np.zeros((2, 700)), "y_val": [0, 1]}, "700 features"),
        ({"X_val": np.zeros((2, 784)), "y_val": [0, 11]}, "not among the classes.*11"),
        ({"X_val": np.zeros((3, 784)), "y_val": [0, 1]}, "inconsistent numbers"),
    ],
)
def test_unusable_validation_rows(X, y, quick, kwargs, match):
    with pytest.raises(ValueError, match=match):
        LeNet5Classifier(**quick).fit(X, y, **kwargs)


# partial_fit


def test_partial_fit_is_one_epoch_over_all_rows(X, y, quick):
    net = LeNet5Classifier(**quick)
    assert net.partial_fit(X, y, classes=np.arange(10)) is net
    assert net.n_iter_ == net.best_epoch_ == 1
    assert net.history_[0, "train_batch_count"] == 8  # 240 rows in batches of 32
    assert "valid_loss" not in net.history_[0]
    net.partial_fit(X, y)
    assert net.n_iter_ == net.best_epoch_ == 2


def test_partial_fit_learns(X, y, quick):
    net = LeNet5Classifier(**quick)
    for _ in range(8):
        net.partial_fit(X, y, classes=np.arange(10))
    losses = net.history_[:, "train_loss"]
    assert losses[-1] < losses[0] / 2
    assert net.score(X, y) > 0.6


def test_partial_fit_freezes_the_scaling(X, y, quick):
    net = LeNet5Classifier(**quick).partial_fit(X[:80], y[:80], classes=np.arange(10))
    mean = net.module_.scaling.mean.clone()
    assert float(mean) == pytest.approx(X[:80].mean(), rel=1e-5)
    net.partial_fit(255 - X[80:], y[80:])
    assert torch.equal(net.module_.scaling.mean, mean)


def test_partial_fit_carries_the_optimizer_on(X, y, quick):
    net = LeNet5Classifier(**quick)
    for n_calls in (1, 2):
        net.partial_fit(X[:64], y[:64], classes=np.arange(10))
        (step,) = {int(s["step"]) for s in net.optimizer_.state.values()}
        assert step == 2 * n_calls


def test_partial_fit_goes_on_after_a_pickle(X, y, quick):
    net = LeNet5Classifier(**quick).partial_fit(X, y, classes=np.arange(10))
    loaded = pickle.loads(pickle.dumps(net))
    net.partial_fit(X, y)
    loaded.partial_fit(X, y)
    assert same_predictions(net, loaded, X)


def test_partial_fit_is_reproducible(X, y, quick):
    def two_calls():
        net = LeNet5Classifier(**quick)
        net.partial_fit(X[:100], y[:100], classes=np.arange(10))
        return net.partial_fit(X[100:], y[100:])

    assert same_predictions(two_calls(), two_calls(), X)


def test_partial_fit_with_labels_that_come_later(X, y, quick):
    few = y < 4
    net = LeNet5Classifier(**quick).partial_fit(
        X[few], NAMES[y[few]], classes=CLASS_NAMES
    )
    assert net.classes_.tolist() == sorted(CLASS_NAMES)
    net.partial_fit(X, NAMES[y])
    assert net.predict_proba(X).shape == (240, 10)


def test_partial_fit_after_fit(X, y, quick):
    net = LeNet5Classifier(**quick).fit(X, y)
    net.partial_fit(X, y)
    assert net.n_iter_ == net.best_epoch_ == 3


def test_fit_after_partial_fit_starts_afresh(X, y, quick, lenet5):
    net = LeNet5Classifier(**quick).partial_fit(X, y, classes=np.arange(12))
    assert same_predictions(net.fit(X, y), lenet5, X)


def test_partial_fit_ignores_schedule_and_patience(X, y, quick):
    net = LeNet5Classifier(**quick, lr_schedule="one_cycle", patience=1)
    for _ in range(3):
        net.partial_fit(X[:64], y[:64], classes=np.arange(10))
        assert net.optimizer_.param_groups[0]["lr"] == 0.01


def test_partial_fit_takes_another_lr(X, y, quick):
    net = LeNet5Classifier(**quick).partial_fit(X, y, classes=np.arange(10))
    net.set_params(lr=1e-9)
    before = net.module_.head.out.weight.detach().clone()
    net.partial_fit(X, y)
    torch.testing.assert_close(
        net.module_.head.out.weight.detach(), before, atol=1e-6, rtol=0
    )


def test_partial_fit_with_weights(X, y, quick):
    weights = (np.arange(240) % 2).astype(float)
    zeroed = LeNet5Classifier(**quick)
    zeroed.partial_fit(X, y, classes=np.arange(10), sample_weight=weights)
    dropped = LeNet5Classifier(**quick)
    dropped.partial_fit(X[1::2], y[1::2], classes=np.arange(10))
    assert same_predictions(zeroed, dropped, X)


def test_errors_of_partial_fit(X, y, quick, lenet5):
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        LeNet5Classifier(**quick).partial_fit(X, y)
    with pytest.raises(ValueError, match=r"not among the classes .*\[9\]"):
        LeNet5Classifier(**quick).partial_fit(X, y, classes=np.arange(9))
    net = copy.deepcopy(lenet5)
    with pytest.raises(ValueError, match="not the same as on last call"):
        net.partial_fit(X, y, classes=np.arange(11))
    with pytest.raises(ValueError, match="784"):
        net.partial_fit(X[:, :700], y)
    balanced = LeNet5Classifier(**quick, class_weight="balanced")
    with pytest.raises(ValueError, match="class_weight='balanced' is not known"):
        balanced.partial_fit(X, y, classes=np.arange(10))


# warm_start


def test_warm_start_goes_on(X, y, quick):
    net = LeNet5Classifier(**quick, warm_start=True).fit(X, y)
    first = net.history_[:, "train_loss"]
    scaling = net.module_.scaling.mean.clone()
    net.fit(X, y)

    assert net.n_iter_ == 4
    assert net.history_[:2, "train_loss"] == first
    assert net.history_[-1, "train_loss"] < first[0]
    assert 3 <= net.best_epoch_ <= 4
    assert torch.equal(net.module_.scaling.mean, scaling)


def test_without_warm_start_fit_starts_afresh(X, y, quick, lenet5):
    net = LeNet5Classifier(**quick).fit(X, y).fit(X, y)
    assert net.n_iter_ == 2
    assert same_predictions(net, lenet5, X)


def test_warm_start_goes_on_after_a_pickle(X, y, quick):
    net = LeNet5Classifier(**quick, warm_start=True).fit(X, y)
    loaded = pickle.loads(pickle.dumps(net))
    assert same_predictions(net.fit(X, y), loaded.fit(X, y), X)


def test_warm_start_with_other_classes(X, y, quick):
    net = LeNet5Classifier(**quick, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="warm_start=True continues a net of the cl"):
        net.fit(X, NAMES[y])


def test_warm_start_with_other_images(X, y, quick):
    net = LeNet5Classifier(**quick, warm_start=True).fit(X, y)
    expected = net.predict_proba(X)
    with pytest.raises(ValueError, match=r"\(1, 14, 14\), .*expects \(1, 28, 28\)"):
        net.fit(X.reshape(-1, 28, 28)[:, :14, :14], y)
    assert np.array_equal(net.predict_proba(X), expected)


# Parameters


@BOTH
def test_get_params_is_the_constructor_s_signature(kind):
    names = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    assert list(kind().get_params()) == sorted(names)
    assert not any(name.endswith("_") or name.startswith("_") for name in names)
    nested = {"module__hidden_units": 7, "optimizer__eps": 1e-6}
    assert kind(**nested).get_params() == kind().get_params() | nested


@BOTH
def test_the_constructor_stores_what_it_gets(kind):
    odd = {name: object() for name in kind().get_params()}
    net = kind(**odd)
    assert all(getattr(net, name) is value for name, value in odd.items())


@BOTH
def test_fit_does_not_change_parameters(kind, lenet5, mini_vgg, quick):
    net = lenet5 if kind is LeNet5Classifier else mini_vgg
    expected = kind(**quick).get_params()
    if kind is MiniVGGClassifier:
        expected["max_epochs"] = 1
    assert net.get_params() == expected


def test_set_params_only_stores(lenet5, X):
    net = copy.deepcopy(lenet5)
    before = net.predict_proba(X)
    changes = {
        "lr": 0.5,
        "dropout": 0.9,
        "optimizer": torch.optim.SGD,
        "module__hidden_units": (5,),
        "optimizer__momentum": 0.3,
        "pixel_scaling": "symmetric",
        "image_shape": (1, 14, 56),
        "class_weight": "balanced",
        "random_state": 5,
        "precision": "bfloat16",
        "callbacks": [],
        "augment": {"flip": 0.5},
        "batch_size": 3,
        "iterator_train": DataLoader,
        "device": "auto",
    }
    assert net.set_params(**changes) is net
    assert net.get_params() == lenet5.get_params() | changes
    assert np.array_equal(net.predict_proba(X), before)


def test_set_params_takes_effect_at_the_next_fit(X, y, quick):
    net = LeNet5Classifier(**quick).fit(X, y)
    net.set_params(module__hidden_units=(30,), random_state=3).fit(X, y)
    fresh = LeNet5Classifier(**quick | {"random_state": 3}, module__hidden_units=(30,))
    assert same_predictions(net, fresh.fit(X, y), X)


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("batchsize", "batch_size"),
        ("learning_rate_schedule", "lr_schedule"),
        ("max_epoch", "max_epochs"),
        ("randomstate", "random_state"),
        ("patiense", "patience"),
        ("moduel", None),
        ("xyzzy", None),
        ("hidden_units", None),
    ],
)
def test_misspelt_names(name, likely):
    suggestion = f"; did you mean {likely}\\?" if likely else ""
    with pytest.raises(
        TypeError, match=f"unexpected keyword argument '{name}'{suggestion}"
    ):
        LeNet5Classifier(**{name: 1})
    with pytest.raises(
        ValueError, match=f"Invalid parameter '{name}' for .*LeNet5Class.*{suggestion}"
    ):
        LeNet5Classifier().set_params(lr=3, **{name: 1})


def test_a_wrong_set_params_stores_nothing():
    net = LeNet5Classifier()
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        net.set_params(lr=3, nonsense=1)
    assert net.lr == 1e-3
    assert not hasattr(net, "nonsense")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("modul__dropout", r"'modul__dropout' does not start with .*did you mean modu"),
        ("nonsense__x", "'nonsense__x' does not start with the name of a part"),
        (
            "module__hiden_units",
            r"is not a parameter of module; did you mean module__h",
        ),
        ("optimizer__weight_decai", "did you mean optimizer__weight_decay"),
        ("criterion__reduction", "'criterion__reduction' is not a parameter of crit"),
        ("iterator_train__batchsize", "iterator_train__batchsize"),
    ],
)
def test_double_underscore_names_are_checked_in_fit(X, y, quick, name, match):
    net = LeNet5Classifier(**quick, **{name: 1})
    with pytest.raises(ValueError, match=match):
        net.fit(X, y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0),
        ("lr", "fast"),
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("max_epochs", 0),
        ("patience", 0),
        ("patience", "never"),
        ("validation_fraction", 1.0),
        ("validation_fraction", -0.1),
        ("shuffle", "yes"),
        ("dropout", 1.0),
        ("optimizer", "adam"),
        ("lr_schedule", "linear"),
        ("augment", "flip"),
        ("label_smoothing", 1.0),
        ("ema_decay", 1.0),
        ("predict_flip", "yes"),
        ("pixel_scaling", "minmax"),
        ("image_shape", 28),
        ("class_weight", "even"),
        ("device", 0.5),
        ("precision", "float16"),
        ("random_state", "seed"),
        ("warm_start", "yes"),
        ("callbacks", 3),
        ("train_split", 0.2),
    ],
)
def test_parameters_out_of_range(X, y, quick, name, value):
    net = LeNet5Classifier(**quick | {name: value})
    with pytest.raises(ValueError, match=rf"'{name}' parameter.*Got {value!r} instead"):
        net.fit(X, y)


def test_patience_by_hand_without_validation_rows(X, y, quick):
    net = LeNet5Classifier(**quick, patience=3, validation_fraction=0)
    with pytest.raises(ValueError, match="patience=3 needs a validation part"):
        net.fit(X, y)


@pytest.mark.parametrize("patience", ["auto", None])
def test_training_on_every_row(X, y, quick, patience):
    net = LeNet5Classifier(**quick, patience=patience, validation_fraction=0)
    net.fit(X, y)
    assert net.n_iter_ == net.best_epoch_ == 2
    assert net.history_[0, "train_batch_count"] == 8
    assert "valid_loss" not in net.history_[0]


def test_image_shape_that_does_not_fit(X, y, quick):
    with pytest.raises(ValueError, match=r"image_shape=\(3, 16, 16\) holds 768 pixels"):
        LeNet5Classifier(**quick, image_shape=(3, 16, 16)).fit(X, y)
    with pytest.raises(ValueError, match=r"expects \(3, 16, 16\)"):
        LeNet5Classifier(**quick, image_shape=(3, 16, 16)).fit(X.reshape(-1, 28, 28), y)


# clone, repr, tags


def test_clone_in_every_state(X, y, quick, lenet5):
    fresh = LeNet5Classifier(**quick, module__dropout=0.1)
    initialized = LeNet5Classifier(**quick).initialize()
    partial = LeNet5Classifier(**quick).partial_fit(X, y, classes=np.arange(10))
    loaded = pickle.loads(pickle.dumps(lenet5))
    for net in (fresh, initialized, partial, lenet5, loaded, clone(fresh)):
        copied = clone(net)
        assert copied.get_params() == net.get_params()
        assert set(vars(copied)) == set(net.get_params())
        with pytest.raises(NotFittedError, match="not fitted yet"):
            copied.predict(X)


def test_repr_shows_what_was_changed():
    assert repr(LeNet5Classifier()) == "LeNet5Classifier()"
    shown = repr(LeNet5Classifier(lr=0.5, module__dropout=0.1))
    assert "lr=0.5" in shown
    assert "module__dropout=0.1" in shown
    assert "batch_size" not in shown


@BOTH
def test_tags(kind):
    tags = kind().__sklearn_tags__()
    assert is_classifier(kind())
    assert tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.allow_nan
    assert not tags.input_tags.sparse
    assert tags.target_tags.required
    assert tags.classifier_tags.multi_class


# Randomness


def test_global_random_states_stay_untouched(X, y, quick):
    net = LeNet5Classifier(
        **quick,
        augment={"flip": 0.5, "shift": 1, "erase": 3},
        ema_decay=0.9,
        lr_schedule="one_cycle",
    )
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    for random_state in (0, None, np.random.RandomState(0)):
        net.set_params(random_state=random_state).fit(X, y)
        net.predict_proba(X)
        net.partial_fit(X, y)
    python, numpy, pytorch = states

    assert random.getstate() == python
    assert all(map(np.array_equal, np.random.get_state(), numpy))
    assert torch.equal(torch.get_rng_state(), pytorch)


@BOTH
def test_global_random_states_are_not_read(X, y, quick, kind):
    settings = quick | {"dropout": 0.5, "max_epochs": 1}
    settings["augment"] = {"flip": 0.5, "shift": 1, "erase": 3}
    nets = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        nets.append(kind(**settings).fit(X[:80], y[:80]))
    assert same_predictions(*nets, X)


def test_without_a_random_state_every_fit_differs(X, y, quick):
    settings = quick | {"random_state": None, "max_epochs": 1}
    nets = []
    for _ in range(2):
        np.random.seed(0)
        torch.manual_seed(0)
        nets.append(LeNet5Classifier(**settings).fit(X, y))
    assert not same_predictions(*nets, X)


def test_random_state_instance(X, y, quick):
    settings = quick | {"random_state": np.random.RandomState(0)}
    first = LeNet5Classifier(**settings).fit(X, y)
    second = LeNet5Classifier(**settings).fit(X, y)  # draws on
    assert not same_predictions(first, second, X)


def fit_in_thread(settings, X, y):
    torch.set_num_threads(1)  # of this thread
    return LeNet5Classifier(**settings).fit(X, y)


def test_fits_in_threads_do_not_disturb_each_other(X, y, quick):
    tasks = [
        quick | {"random_state": seed, "augment": {"shift": 1}, "max_epochs": 3}
        for seed in range(2)
    ]
    alone = [fit_in_thread(settings, X, y) for settings in tasks]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda settings: fit_in_thread(settings, X, y), tasks))
    for first, second in zip(alone, together, strict=True):
        assert first.history_[:, "train_loss"] == second.history_[:, "train_loss"]
        assert same_predictions(first, second, X)


def test_worker_processes_give_the_same(X, y, quick):
    net = LeNet5Classifier(**quick)
    folds = StratifiedKFold(2)
    here = cross_val_predict(net, X, y, cv=folds, method="predict_proba")
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        there = cross_val_predict(net, X, y, cv=folds, method="predict_proba", n_jobs=2)
    assert np.array_equal(here, there)


# Pickling


@BOTH
def test_pickle_unfitted_and_initialized(kind, quick, X):
    net = pickle.loads(pickle.dumps(kind(**quick, module__dropout=0.2)))
    assert net.get_params() == kind(**quick, module__dropout=0.2).get_params()
    initialized = kind(**quick).initialize()
    loaded = pickle.loads(pickle.dumps(initialized))
    assert same_predictions(initialized, loaded, X[:20])


def test_pickle_keeps_everything_but_training_leftovers(lenet5, X):
    loaded = pickle.loads(pickle.dumps(lenet5))
    assert loaded.history_ == lenet5.history_
    assert loaded.best_epoch_ == lenet5.best_epoch_
    assert loaded.fit_time_ == lenet5.fit_time_
    assert loaded.classes_.tolist() == lenet5.classes_.tolist()
    assert not hasattr(loaded, "optimizer_")
    assert same_predictions(loaded, lenet5, X)


class ManyEpochs(Callback):
    """Pretends that 150 epochs were run."""

    def on_train_end(self, net, X=None, y=None, **kwargs):
        row = dict(net.history_[-1])
        net.history_.extend(dict(row, epoch=epoch) for epoch in range(3, 151))


def test_pickle_of_lenet5_stays_small(X, y, quick):
    net = LeNet5Classifier(**quick, callbacks=[ManyEpochs()]).fit(X, y)
    assert net.n_iter_ == 150
    assert len(pickle.dumps(net)) < 1_000_000
    joblib_file = io.BytesIO()
    joblib.dump(net, joblib_file)
    assert len(joblib_file.getvalue()) < 1_000_000


def test_optimizer_state_is_pickled_only_where_training_goes_on(X, y, quick):
    settings = quick | {"max_epochs": 1}
    fitted = LeNet5Classifier(**settings).fit(X, y)
    warm = LeNet5Classifier(**settings, warm_start=True).fit(X, y)
    partial = LeNet5Classifier(**settings).partial_fit(X, y, classes=np.arange(10))
    sizes = [len(pickle.dumps(net)) for net in (fitted, warm, partial)]
    assert sizes[0] < 400_000
    assert min(sizes[1:]) > 700_000  # Adam's two moments


def test_fitted_on_cuda_unpickles_to_the_cpu(lenet5, X, monkeypatch):
    """Simulated by the device's name where there is no GPU."""
    net = copy.deepcopy(lenet5)
    net.device = "cuda"
    net.device_ = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    loaded = pickle.loads(pickle.dumps(net))

    assert loaded.device == "cuda"  # the parameter stays what it was
    assert loaded.device_ == torch.device("cpu")
    assert same_predictions(loaded, lenet5, X)


def test_device_auto_always_unpickles(X, y, quick, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    net = LeNet5Classifier(**quick | {"device": "auto"}).fit(X, y)
    loaded = pickle.loads(pickle.dumps(net))
    assert loaded.device == "auto"
    assert same_predictions(loaded, net, X)


def test_unpickles_in_another_process(lenet5, X):
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        (there,) = joblib.Parallel(n_jobs=2)(
            [joblib.delayed(LeNet5Classifier.predict_proba)(lenet5, X)]
        )
    assert np.array_equal(there, lenet5.predict_proba(X))


# Warnings


def test_convergence_warning(X, y, quick):
    net = LeNet5Classifier(**quick | {"lr": 0.001})
    with pytest.warns(ConvergenceWarning, match="max_epochs=2 was reached") as caught:
        net.fit(X, y)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "settings",
    [
        {"lr_schedule": "one_cycle"},
        {"patience": None},
        {"validation_fraction": 0},
    ],
)
def test_no_convergence_warning_where_the_epochs_were_planned(X, y, quick, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LeNet5Classifier(**quick, **settings).fit(X, y)


def test_no_convergence_warning_after_early_stopping(X, y, quick):
    net = LeNet5Classifier(**quick | {"lr": 0.05, "max_epochs": 30}, patience=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.fit(X, y)
    assert net.best_epoch_ < net.n_iter_ < 30
