"""The two public classes as scikit-learn's users meet them, on the bundled sample."""

import copy
import io
import pickle
import warnings

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import get_scorer, log_loss, roc_auc_score
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
)
from sklearn.utils import compute_sample_weight

from fmnist_sklearn import CLASS_NAMES, LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.training.device import resolve_device

from . import NAMES

SMALL_VGG = {"module__widths": (4, "M", 8, "M"), "module__hidden_units": 16}


def random_images(n=12):
    return np.random.rand(n, 36), np.arange(n) % 3


# Fitted attributes


def test_attributes_of_a_fitted_net(lenet5, mini_vgg, kind):
    net = lenet5 if kind is LeNet5Classifier else mini_vgg
    assert net.classes_.tolist() == list(range(10))
    assert net.n_classes_ == 10
    assert net.n_features_in_ == 784
    assert net.image_shape_ == (1, 28, 28)
    assert net.n_iter_ == len(net.history_)
    assert 1 <= net.best_epoch_ <= net.n_iter_
    assert 0 < net.fit_time_ < 600
    assert net.fit_time_ >= sum(net.history_[:, "dur"]) * 0.99
    assert net.device_ == resolve_device("auto")
    assert net.precision_ in ("float32", "bfloat16")
    assert not hasattr(net, "feature_names_in_")
    assert net.loss_curve_ == net.history_[:, "train_loss"]
    assert net.validation_scores_ == net.history_[:, "valid_acc"]
    assert net.best_loss_ == min(net.loss_curve_)
    # The published numbers of parameters
    assert net.n_parameters_ == (61_750 if net is lenet5 else 2_167_786)


def test_classifier_is_unfitted_before_fit(X, kind):
    net = kind()
    for name in (
        *("classes_", "n_classes_", "n_iter_", "n_parameters_", "best_epoch_"),
        *("module_", "loss_curve_", "validation_scores_", "best_loss_"),
    ):
        assert not hasattr(net, name)
    with pytest.raises(AttributeError, match=r"not fitted yet"):
        net.classes_  # noqa: B018
    assert set(vars(net)) == set(net.get_params())
    for method in (
        *("predict", "predict_proba", "predict_log_proba", "decision_function"),
        *("forward", "embed"),
    ):
        with pytest.raises(NotFittedError, match=f"{kind.__name__} .*not fitted yet"):
            getattr(net, method)(X)
    with pytest.raises(NotFittedError, match=f"{kind.__name__} .*not fitted yet"):
        list(net.forward_iter(X))


# Predictions


def test_predict_proba_and_its_logarithms(lenet5, X):
    probabilities = lenet5.predict_proba(X)
    assert probabilities.shape == (240, 10)
    assert probabilities.dtype == np.float64
    assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert np.array_equal(lenet5.predict(X), probabilities.argmax(1))
    assert_allclose(np.exp(lenet5.predict_log_proba(X)), probabilities, atol=1e-6)

    net = copy.deepcopy(lenet5)
    with torch.no_grad():
        net.module_.head.out.weight.mul_(1e3)
    assert (net.predict_proba(X) == 0).any()
    assert np.isfinite(net.predict_log_proba(X)).all()


def test_decision_function_returns_the_logits(lenet5, X, y, quick):
    scores = lenet5.decision_function(X)
    assert scores.shape == (240, 10)
    assert_allclose(softmax(scores, axis=1), lenet5.predict_proba(X), 1e-4)
    assert np.array_equal(scores.argmax(1), lenet5.predict(X))
    scores = cross_val_predict(
        LeNet5Classifier(**quick), X, y, cv=2, method="decision_function"
    )
    assert scores.shape == (240, 10)


@pytest.fixture(scope="module")
def binary(X, y):
    """A net of two classes."""
    net = LeNet5Classifier(max_epochs=2, random_state=0, lr=0.01)
    return net.fit(X, np.where(y > 4, "yes", "no"))


def test_decision_function_of_two_classes(binary, X, y):
    scores, probabilities = binary.decision_function(X), binary.predict_proba(X)
    assert scores.shape == (240,)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), probabilities[:, 1], 1e-4)
    assert np.array_equal(np.where(scores > 0, "yes", "no"), binary.predict(X))
    truth = y > 4
    assert get_scorer("roc_auc")(binary, X, np.where(truth, "yes", "no")) == (
        pytest.approx(roc_auc_score(truth, probabilities[:, 1]))
    )


def test_threshold_of_two_classes_is_scikit_learn_s(binary, X, y):
    labels, frozen = np.where(y > 4, "yes", "no"), FrozenEstimator(binary)
    for threshold in (0, 0.25, 0.75, 1.01):
        model = FixedThresholdClassifier(
            frozen, threshold=threshold, response_method="predict_proba"
        ).fit(X, labels)
        is_yes = binary.predict_proba(X)[:, 1] >= threshold
        assert np.array_equal(model.predict(X), np.where(is_yes, "yes", "no"))
    tuned = TunedThresholdClassifierCV(
        frozen, cv="prefit", refit=False, response_method="auto"
    ).fit(X, labels)
    assert set(tuned.predict(X)) <= {"yes", "no"}


def test_embed_returns_the_last_hidden_layer(lenet5, mini_vgg, X):
    X = X[:20]
    for net, n_units in ((lenet5, 84), (mini_vgg, 512)):
        embedded = net.embed(X)
        assert embedded.shape == (20, n_units)
        assert embedded.dtype == np.float32
        out = net.module_.head.out
        logits = embedded @ out.weight.detach().numpy().T + out.bias.detach().numpy()
        assert_allclose(logits, net.decision_function(X), atol=1e-3)
    flipped = copy.deepcopy(lenet5).set_params(predict_flip=True)
    assert np.array_equal(flipped.embed(X), lenet5.embed(X))
    no_hidden = LeNet5Classifier(module__hidden_units=()).initialize()
    assert no_hidden.embed(X).shape == (20, 400)


# Pipelines, searches, tables


def test_grid_search(X, y, quick):
    grid = {"lr": [0.01, 0.001], "module__hidden_units": [(20,), (30, 10)]}
    grid["augment"] = [{"shift": 1}]
    net = LeNet5Classifier(**quick | {"max_epochs": 1})
    search = GridSearchCV(net, grid, cv=2, error_score="raise")
    search.fit(X, NAMES[y])

    assert set(search.best_params_) == set(grid)
    assert len(search.cv_results_["mean_test_score"]) == 4
    best = search.best_estimator_
    assert best.lr == search.best_params_["lr"]
    units = search.best_params_["module__hidden_units"]
    assert best.module_.head.f5.out_features == units[0]
    assert set(search.predict(X)) <= set(CLASS_NAMES)


def number_of_threads(net, X, y):
    return torch.get_num_threads()


@pytest.mark.slow
def test_grid_search_in_processes_shares_the_cores(X, y, quick, monkeypatch):
    """And warns once of what its fits have in common."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # a choice of the user
    search = GridSearchCV(
        LeNet5Classifier(**quick | {"max_epochs": 1, "patience": 2}),
        {"lr": [0.01, 0.02]},
        **{"cv": 2, "n_jobs": 2, "scoring": number_of_threads},
    )
    with pytest.warns(ConvergenceWarning, match="falling after 1 epochs") as caught:
        search.fit(X[:100], y[:100])
    assert len(caught) == 1
    threads = search.cv_results_["mean_test_score"]
    assert set(threads) == {max(joblib.cpu_count() // 2, 1)}


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
def test_labels_of_two_classes_and_of_one(X, y, quick, names):
    labels = np.array(names)[(y >= 5).astype(int)]
    net = LeNet5Classifier(**quick | {"max_epochs": 4}).fit(X, labels)
    assert net.classes_.tolist() == names
    assert net.predict_proba(X).shape == (240, 2)
    assert net.score(X, labels) > 0.6
    assert net.module_.head.out.out_features == 2
    net.fit(X[:50], np.full(50, names[0]))
    assert net.classes_.tolist() == names[:1]
    assert (net.predict(X) == names[0]).all()
    assert (net.predict_proba(X) == 1).all()


# sample_weight


def test_sample_weight_zero_counts_as_absent(X, y, quick, same_predictions):
    weights = np.tile([0, 2.5, 1], 80)
    kept = weights > 0
    zeroed = LeNet5Classifier(**quick).fit(X, y, sample_weight=weights)
    dropped = LeNet5Classifier(**quick).fit(X[kept], y[kept], weights[kept])
    assert same_predictions(zeroed, dropped, X)

    net = LeNet5Classifier(**quick).fit(X, y, sample_weight=(y != 3).astype(float))
    assert net.classes_.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_sample_weight_counts_by_its_ratio(X, y, quick, lenet5, same_predictions):
    weights = np.random.rand(240) + 0.1
    first = LeNet5Classifier(**quick).fit(X, y, sample_weight=weights)
    scaled = LeNet5Classifier(**quick).fit(X, y, sample_weight=8 * weights)
    assert_allclose(first.predict_proba(X), scaled.predict_proba(X), atol=1e-4)
    assert not same_predictions(first, lenet5, X)
    for equal in (2.0, np.full(240, 0.125)):  # as without weights
        net = LeNet5Classifier(**quick).fit(X, y, sample_weight=equal)
        assert same_predictions(net, lenet5, X)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_sample_weight_beyond_float32(quick, scale):
    X, y = random_images()
    w = np.random.rand(12) + 0.1
    net = LeNet5Classifier(**quick).fit(X, y, w)
    # A power of two, so that no weight is rounded.
    scaled = LeNet5Classifier(**quick).fit(X, y, w * 2.0 ** np.log2(scale).round())
    assert np.array_equal(scaled.predict_proba(X), net.predict_proba(X))


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
def test_sample_weight_that_is_unusable(X, y, quick, weights, match):
    with pytest.raises(ValueError, match=match):
        LeNet5Classifier(**quick).fit(X, y, sample_weight=weights)
    with pytest.raises(ValueError, match=match):
        LeNet5Classifier(**quick).partial_fit(
            X, y, classes=np.arange(10), sample_weight=weights
        )


def test_score_takes_sample_weight(lenet5, X, y):
    weights = (np.arange(240) < 50).astype(float)
    assert lenet5.score(X, y, sample_weight=weights) == pytest.approx(
        lenet5.score(X[:50], y[:50])
    )


# class_weight


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
    """Also of labels that are digits, which scikit-learn 1.9 looks up as numbers."""
    by_row = LeNet5Classifier(**quick).fit(X, y, np.where(y == 3, 4.0, 1.0))
    letters = np.array([*"abcdefghij"])
    for name, labels in ((3, y), ("3", y.astype(str)), ("d", letters[y])):
        net = LeNet5Classifier(**quick, class_weight={name: 4.0}).fit(X, labels)
        assert same_predictions(net, by_row, X)


def test_class_weight_multiplies_sample_weight(X, y, quick):
    weights = np.random.rand(240) + 0.5
    quick = quick | {"validation_fraction": 0}  # where class weights have no say
    both = LeNet5Classifier(**quick, class_weight={2: 3.0})
    both.fit(X, y, sample_weight=weights)
    product = LeNet5Classifier(**quick)
    product.fit(X, y, sample_weight=weights * np.where(y == 2, 3.0, 1.0))
    assert_allclose(both.predict_proba(X), product.predict_proba(X), atol=1e-3)


def test_class_weight_names_classes_that_do_not_count(X, y, quick):
    net = LeNet5Classifier(**quick, class_weight={3: 0.0}).fit(X, y)
    assert net.classes_.tolist() == list(range(10))
    assert np.isfinite(net.predict_proba(X)).all()
    # All classes may be named where a fold holds only some.
    net.set_params(class_weight=dict.fromkeys(range(9), 2.0))
    assert net.fit(*random_images()).classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("class_weight", "match"),
    [
        ({0: -1.0}, "expected finite numbers of at least 0"),
        ({0: np.nan}, "expected finite numbers of at least 0"),
        ({0: 0, 1: 0, 2: 0}, "and one above 0"),
        ({0: 1, "1": 2}, r"class_weight names \['1'\], but the classes are"),
    ],
)
def test_class_weight_that_is_unusable(quick, class_weight, match):
    with pytest.raises(ValueError, match=match):
        LeNet5Classifier(**quick, class_weight=class_weight).fit(*random_images())
    X, _ = random_images()
    net = LeNet5Classifier(**quick, shuffle=False, class_weight={0: 0.0, 1: 0.0})
    with pytest.raises(ValueError, match="class_weight leaves no weight to any"):
        net.fit(X, np.repeat([2, 0, 1], [2, 5, 5]))


# X_val and y_val


@pytest.mark.parametrize("fraction", [0.2, 0])
def test_X_val_is_validated_on(X, y, quick, fraction):
    """In another layout than the training rows, and with nothing to split off."""
    settings = quick | {"validation_fraction": fraction, "load_best": True}
    net = LeNet5Classifier(**settings, patience=1)
    valid = {"X_val": X[140:].reshape(-1, 28, 28), "y_val": NAMES[y[140:]]}
    net.fit(X[:140], NAMES[y[:140]], **valid)
    loss = log_loss(NAMES[y[140:]], net.predict_proba(X[140:]), labels=net.classes_)
    assert min(net.history_[:, "valid_loss"]) == pytest.approx(loss, rel=1e-5)
    assert net.history_[0, "train_batch_count"] == 5  # all 140 rows


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
def test_X_val_that_is_unusable(X, y, quick, kwargs, match):
    with pytest.raises(ValueError, match=match):
        LeNet5Classifier(**quick).fit(X, y, **kwargs)


# partial_fit


def test_partial_fit_is_one_epoch_over_all_rows(X, y, quick):
    net = LeNet5Classifier(**quick, lr_schedule="one_cycle", patience=1)
    assert net.partial_fit(X, y, classes=np.arange(10)) is net
    assert net.history_[0, "train_batch_count"] == 8  # 240 rows in batches of 32
    assert "valid_loss" not in net.history_[0]
    for n_calls in range(1, 9):
        assert net.n_iter_ == net.best_epoch_ == n_calls
        assert not net.module_.training  # as after fit
        assert net.optimizer_.param_groups[0]["lr"] == 0.01
        (step,) = {int(s["step"]) for s in net.optimizer_.state.values()}
        assert step == 8 * n_calls
        net.partial_fit(X, y, classes=np.arange(10))
    losses = net.history_[:, "train_loss"]
    assert losses[-1] < losses[0] / 2
    assert net.score(X, y) > 0.6


def test_partial_fit_freezes_the_scaling(X, y, quick, same_predictions):
    def two_calls():
        net = LeNet5Classifier(**quick)
        net.partial_fit(X[:80], y[:80], classes=np.arange(10))
        mean = net.module_.scaling.mean.clone()
        assert float(mean) == pytest.approx(X[:80].mean(), rel=1e-5)
        net.partial_fit(255 - X[80:], y[80:])
        assert torch.equal(net.module_.scaling.mean, mean)
        return net

    assert same_predictions(two_calls(), two_calls(), X)


def test_partial_fit_after_fit_and_fit_after_it(X, y, quick, lenet5, same_predictions):
    net = copy.deepcopy(lenet5).partial_fit(X, y)
    assert net.n_iter_ == net.best_epoch_ == 3
    before = net.history_
    assert same_predictions(net.fit(X, y), lenet5, X)  # without warm_start
    assert net.history_ is not before
    assert net.n_iter_ == 2
    net = LeNet5Classifier(**quick).partial_fit(X, y, classes=np.arange(12))
    assert same_predictions(net.fit(X, y), lenet5, X)


def test_partial_fit_with_weights(X, y, quick, same_predictions):
    """Also of classes that come later."""
    weights, classes = (np.arange(240) % 2).astype(float), CLASS_NAMES
    zeroed, dropped = (LeNet5Classifier(**quick) for _ in range(2))
    zeroed.partial_fit(X, NAMES[y], classes=classes, sample_weight=weights)
    dropped.partial_fit(X[1::2], NAMES[y[1::2]], classes=classes)
    assert same_predictions(zeroed, dropped, X)

    few = y < 4
    net = LeNet5Classifier(**quick).partial_fit(X[few], NAMES[y[few]], classes=classes)
    assert net.classes_.tolist() == sorted(CLASS_NAMES)
    assert net.partial_fit(X, NAMES[y]).predict_proba(X).shape == (240, 10)


def test_partial_fit_errors(X, y, quick, lenet5):
    for classes in ([], np.array([])):
        with pytest.raises(ValueError, match="classes"):
            LeNet5Classifier(**quick).partial_fit(X, y, classes=classes)
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


def test_warm_start_continues(X, y, quick):
    net = LeNet5Classifier(**quick, warm_start=True).fit(X, y)
    first = net.history_[:, "train_loss"]
    scaling = net.module_.scaling.mean.clone()
    net.fit(X, y)

    assert net.n_iter_ == 4
    assert net.history_[:2, "train_loss"] == first
    assert net.history_[-1, "train_loss"] < first[0]
    assert 3 <= net.best_epoch_ <= 4
    assert torch.equal(net.module_.scaling.mean, scaling)

    expected = net.predict_proba(X)
    with pytest.raises(ValueError, match="warm_start=True continues a net of the cl"):
        net.fit(X, NAMES[y])
    with pytest.raises(ValueError, match=r"\(1, 14, 14\), .*expects \(1, 28, 28\)"):
        net.fit(X.reshape(-1, 28, 28)[:, :14, :14], y)
    assert np.array_equal(net.predict_proba(X), expected)


# Pickles


def test_pickle_of_an_unfitted_or_initialized_net(kind, quick, X, same_predictions):
    net = pickle.loads(pickle.dumps(kind(**quick, module__dropout=0.2)))
    assert net.get_params() == kind(**quick, module__dropout=0.2).get_params()
    initialized = kind(**quick).initialize()
    loaded = pickle.loads(pickle.dumps(initialized))
    assert same_predictions(initialized, loaded, X[:20])


def test_pickle_keeps_everything_but_training_leftovers(
    lenet5, mini_vgg, kind, X, tmp_path, same_predictions
):
    net = lenet5 if kind is LeNet5Classifier else mini_vgg
    joblib.dump(net, tmp_path / "net.joblib")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copies = pickle.loads(pickle.dumps(net)), joblib.load(tmp_path / "net.joblib")
    for loaded in copies:
        assert loaded.history_ == net.history_
        assert loaded.best_epoch_ == net.best_epoch_
        assert loaded.fit_time_ == net.fit_time_
        assert loaded.classes_.tolist() == net.classes_.tolist()
        assert not hasattr(loaded, "optimizer_")
        assert same_predictions(loaded, net, X)


def test_pickle_of_lenet5_stays_small(lenet5):
    net = copy.deepcopy(lenet5)
    net.history_.extend([dict(net.history_[-1]) for _ in range(148)])
    assert net.n_iter_ == 150
    assert len(pickle.dumps(net)) < 1_000_000
    joblib_file = io.BytesIO()
    joblib.dump(net, joblib_file)
    assert len(joblib_file.getvalue()) < 1_000_000


def test_pickle_holds_the_optimizer_only_for_more_training(X, y, quick, lenet5):
    net = LeNet5Classifier(**quick | {"max_epochs": 1}, warm_start=True)
    partial = clone(net).partial_fit(X, y, classes=np.arange(10))
    sizes = [len(pickle.dumps(each)) for each in (lenet5, net.fit(X, y), partial)]
    assert sizes[0] < 400_000
    assert min(sizes[1:]) > 700_000  # Adam's two moments


def test_pickle_made_on_cuda_opens_on_the_cpu(lenet5, X, monkeypatch, same_predictions):
    """Simulated by the device's name; test_cuda.py has the real thing."""
    net = copy.deepcopy(lenet5)
    net.device = "cuda"
    net.device_ = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    loaded = pickle.loads(pickle.dumps(net))
    assert loaded.device == "cuda"  # the parameter stays what it was
    assert loaded.device_ == torch.device("cpu")
    assert same_predictions(loaded, lenet5, X)

    loaded = pickle.loads(pickle.dumps(lenet5))
    assert loaded.device == "auto"
    assert same_predictions(loaded, lenet5, X)


def test_pickle_opens_in_another_process(lenet5, X, two_processes):
    (there,) = joblib.Parallel(n_jobs=2)(
        [joblib.delayed(LeNet5Classifier.predict_proba)(lenet5, X)]
    )
    assert np.array_equal(there, lenet5.predict_proba(X))


# Warnings


@pytest.mark.parametrize(
    "settings",
    [
        {"patience": None},
        {"validation_fraction": 0},
        {"lr": 0.05, "lr_schedule": None, "max_epochs": 30, "patience": 1},  # early
    ],
)
def test_convergence_warning_only_where_epochs_ran_out(X, y, quick, settings):
    net = LeNet5Classifier(**quick | settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*still falling")
        net.fit(X, y)
    assert net.n_iter_ == 2 or net.best_epoch_ < net.n_iter_ < 30
    assert (net.validation_scores_ is None) == (net.validation_fraction == 0)


def test_convergence_warning_is_left_out_where_little_was_to_gain(X, y, quick):
    net = MiniVGGClassifier(**quick | SMALL_VGG | {"lr": 1e-5})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*still falling")
        net.fit(X, y)
    first, last = net.history_[:, "valid_loss"]
    assert 0.99 * first < last < first
