"""The scikit-learn contract: images, labels, weights, validation rows, pickling."""

import copy
import io
import pickle
import warnings

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.utils import compute_sample_weight
from skorch.callbacks import Callback

from fmnist_sklearn import (
    CLASS_NAMES,
    LeNet5Classifier,
    MiniVGGClassifier,
    load_fashion_mnist_sample,
)
from fmnist_sklearn.training.device import resolve_device

from . import NAMES

# Fitted attributes


def test_fitted_attributes(lenet5, mini_vgg, kind):
    net = lenet5 if kind is LeNet5Classifier else mini_vgg
    assert net.classes_.tolist() == list(range(10))
    assert net.n_features_in_ == 784
    assert net.image_shape_ == (1, 28, 28)
    assert net.n_iter_ == len(net.history_)
    assert 1 <= net.best_epoch_ <= net.n_iter_
    assert 0 < net.fit_time_ < 600
    assert net.device_ == resolve_device("auto")
    assert net.precision_ in ("float32", "bfloat16")
    assert not hasattr(net, "feature_names_in_")
    assert net.fit_time_ >= sum(net.history_[:, "dur"]) * 0.99


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
    assert probabilities.dtype == np.float64
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


# Images


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


def test_colour_images(quick, same_predictions):
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
def test_labels_of_any_kind(X, y, quick, lenet5, names, same_predictions):
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


def test_rows_of_weight_zero_count_as_absent(X, y, quick, same_predictions):
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
def test_equal_weights_are_no_weights(X, y, quick, lenet5, factor, same_predictions):
    net = LeNet5Classifier(**quick).fit(X, y, sample_weight=np.full(240, factor))
    assert same_predictions(net, lenet5, X)


def test_weights_matter_by_their_ratio(X, y, quick, same_predictions):
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


def test_a_weight_for_all(X, y, quick, lenet5, same_predictions):
    net = LeNet5Classifier(**quick).fit(X, y, sample_weight=2.0)
    assert same_predictions(net, lenet5, X)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 5.0, 3: 0.5}])
def test_class_weight_is_a_sample_weight(X, y, quick, class_weight, same_predictions):
    rows = np.flatnonzero((y != 3) | (np.arange(240) % 3 == 0))  # unbalanced
    X, y = X[rows], y[rows]
    weights = compute_sample_weight(class_weight, y)
    by_class = LeNet5Classifier(**quick, class_weight=class_weight).fit(X, y)
    by_row = LeNet5Classifier(**quick).fit(X, y, sample_weight=weights)

    assert same_predictions(by_class, by_row, X)
    assert not same_predictions(by_class, LeNet5Classifier(**quick).fit(X, y), X)


def test_class_weight_by_label(X, y, quick, same_predictions):
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
    net = LeNet5Classifier(**quick | {"validation_fraction": 0}, patience=1)
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


def test_partial_fit_goes_on_after_a_pickle(X, y, quick, same_predictions):
    net = LeNet5Classifier(**quick).partial_fit(X, y, classes=np.arange(10))
    loaded = pickle.loads(pickle.dumps(net))
    net.partial_fit(X, y)
    loaded.partial_fit(X, y)
    assert same_predictions(net, loaded, X)


def test_partial_fit_is_reproducible(X, y, quick, same_predictions):
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


def test_fit_after_partial_fit_starts_afresh(X, y, quick, lenet5, same_predictions):
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


def test_partial_fit_with_weights(X, y, quick, same_predictions):
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
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows"):
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


def test_without_warm_start_fit_starts_afresh(X, y, quick, lenet5, same_predictions):
    net = LeNet5Classifier(**quick).fit(X, y).fit(X, y)
    assert net.n_iter_ == 2
    assert same_predictions(net, lenet5, X)


def test_warm_start_goes_on_after_a_pickle(X, y, quick, same_predictions):
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


# Pickling


def test_pickle_unfitted_and_initialized(kind, quick, X, same_predictions):
    net = pickle.loads(pickle.dumps(kind(**quick, module__dropout=0.2)))
    assert net.get_params() == kind(**quick, module__dropout=0.2).get_params()
    initialized = kind(**quick).initialize()
    loaded = pickle.loads(pickle.dumps(initialized))
    assert same_predictions(initialized, loaded, X[:20])


def test_pickle_keeps_everything_but_training_leftovers(lenet5, X, same_predictions):
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


def test_fitted_on_cuda_unpickles_to_the_cpu(
    X, y, quick, monkeypatch, same_predictions
):
    """Simulated by the device's name; test_cuda.py has the real thing."""
    on_cpu = LeNet5Classifier(**quick, device="cpu").fit(X, y)
    net = copy.deepcopy(on_cpu)
    net.device = "cuda"
    net.device_ = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    loaded = pickle.loads(pickle.dumps(net))

    assert loaded.device == "cuda"  # the parameter stays what it was
    assert loaded.device_ == torch.device("cpu")
    assert same_predictions(loaded, on_cpu, X)


def test_device_auto_always_unpickles(X, y, quick, monkeypatch, same_predictions):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    net = LeNet5Classifier(**quick).fit(X, y)
    loaded = pickle.loads(pickle.dumps(net))
    assert loaded.device == "auto"
    assert same_predictions(loaded, net, X)


def test_unpickles_in_another_process(lenet5, X, two_processes):
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
        LeNet5Classifier(**quick | settings).fit(X, y)


def test_no_convergence_warning_after_early_stopping(X, y, quick):
    net = LeNet5Classifier(**quick | {"lr": 0.05, "max_epochs": 30}, patience=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.fit(X, y)
    assert net.best_epoch_ < net.n_iter_ < 30


def test_no_convergence_warning_where_little_was_left_to_gain(X, y, quick):
    net = MiniVGGClassifier(**quick | {"lr": 1e-5})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.fit(X, y)
    first, last = net.history_[:, "valid_loss"]
    assert 0.99 * first < last < first
