"""For any arguments: a net that predicts, or a ValueError or TypeError that says why.

Each draw is a whole use of an estimator: images, labels, weights and parameters, most
of them usable, some not. Every part has a verdict, so that a draw of good parts must
fit, and one with a bad part must be refused; in between, either is accepted.

The draws are the same in every run. ``PROPERTY_DRAWS=1000 PROPERTY_SEED=1`` draws more,
and others.
"""

import contextlib
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning

import fmnist_sklearn
from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier

PACKAGE = str(Path(fmnist_sklearn.__file__).parent)
SMALL = {
    LeNet5Classifier: {"module__hidden_units": (6,)},
    MiniVGGClassifier: {"module__widths": (3, "M", 4), "module__hidden_units": 5},
}

GOOD, OPEN, BAD = "must work", "may be refused", "must be refused"


class Part(NamedTuple):
    """An argument, and the expected outcome."""

    value: Any
    verdict: str = GOOD


def worst(*verdicts):
    return max(verdicts, key=(GOOD, OPEN, BAD).index)


# What may be wrong with a draw: one thing at most, so that the refusal is of that.
SPOILT = ["shape", "pixels", "labels", "weights", "parameter", "seed", "image shape"]


# Images


@st.composite
def shapes(draw, spoilt=None):
    """Draw the shape of an image as it stands in ``X``, without the rows' number."""
    if spoilt == "shape":
        bad = [(), (0,), (3, 0), (5, 5, 3), (1, 1, 2, 2), (2, 3, 1, 4, 4)]
        return Part(draw(st.sampled_from(bad)), BAD)
    side = st.integers(1, 9)
    good = st.one_of(
        st.tuples(st.sampled_from([1, 2, 3, 7, 16, 17, 49, 50, 144])),
        st.tuples(side, side),
        st.tuples(st.sampled_from([1, 3, 4]), side, side),
        st.tuples(st.sampled_from([2, 5]), side, st.integers(5, 7)),
        st.just((3072,)),
    )
    return Part(draw(good))


NUMBERS = [
    *("uint8", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32"),
    *("uint64", "bool", "float16", "float32", "float64", "object"),
]


@st.composite
def pixels(draw, shape, spoilt=None):
    """Draw an array of numbers, or of something else."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    dtype = draw(st.sampled_from(NUMBERS))
    is_float = dtype in ("float16", "float32", "float64")
    good = ["bytes", "unit", "signed", "constant", "tiny", "extreme"]
    bad = ["nan", "inf", "too large", "complex", "text", "dates"]
    content = draw(st.sampled_from(bad if spoilt == "pixels" else good))
    unit = rng.random(shape)
    verdict = GOOD
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if content == "bytes":
            X = (unit * 256 if dtype != "int8" else unit * 128).astype(dtype)
        elif content == "unit":
            X = unit.astype(dtype)
        elif content == "signed":
            X = (unit * 200 - 100).astype(dtype if dtype[0] != "u" else "int16")
        elif content == "constant":
            X = np.full(shape, draw(st.sampled_from([0, 1, 7, 100]))).astype(dtype)
        elif content == "tiny":
            scale = 10.0 ** draw(st.sampled_from([-300, -46, -45, -44, -40, -38, -20]))
            X = (unit * scale).astype(dtype if is_float else "float64")
        elif content == "extreme" and not is_float:
            number = np.dtype("int64" if dtype in ("object", "bool") else dtype)
            X = np.where(unit < 0.5, np.iinfo(number).min, np.iinfo(number).max)
            X = X.astype(number)
        elif content == "extreme":
            largest = np.finfo("float32" if dtype == "float64" else dtype).max
            X = ((unit * 2 - 1) * float(largest)).astype(dtype)
            # Differences of such numbers may overflow.
            verdict = GOOD if dtype == "float16" else OPEN
        elif content == "too large":
            X = np.full(shape, 1e300 if draw(st.booleans()) else -1e39)
        elif content in ("nan", "inf"):
            X = unit.astype(dtype if is_float else "float64")
            X[rng.integers(len(X))] = {"nan": np.nan, "inf": -np.inf}[content]
        elif content == "complex":
            X = unit.astype(draw(st.sampled_from(["complex64", "complex128"]))) + 1j
        elif content == "text":
            X = np.full(shape, "grey", draw(st.sampled_from([None, "S", object])))
        else:
            X = np.full(shape, "2020-02-02", "datetime64[D]")
            verdict = OPEN
    if content in ("nan", "inf", "too large", "complex", "text"):
        verdict = BAD
    return Part(X, verdict)


def contained(X, container):
    """Put an array into another container, where that can hold it."""
    if container == "list":
        return X.tolist()
    if container == "tensor":
        with contextlib.suppress(TypeError):
            return torch.from_numpy(X.copy())
    if container == "frame" and X.ndim == 2:
        return pd.DataFrame(X)
    if container == "fortran":
        return np.asfortranarray(X)
    if container == "strided" and X.ndim > 1:
        return np.repeat(X, 2, axis=1)[:, ::2]
    if container == "read-only":
        X = X.copy()
        X.setflags(write=False)
    return X


CONTAINERS = ["list", "tensor", "frame", "fortran", "strided", "read-only"]


@st.composite
def images(draw, n, shape, spoilt=None):
    """Draw ``n`` images of a shape, in any dtype and container."""
    X = draw(pixels((n, *shape), spoilt))
    container = draw(st.sampled_from(["array", *CONTAINERS]))
    return X._replace(value=contained(X.value, container))


# Labels

LABELS = {
    "integers": lambda index: index,
    "negative": lambda index: index - 3,
    "unsigned": lambda index: index.astype(np.uint8),
    "gaps": lambda index: index.astype(np.int32) * 1000 + 5,
    "big": lambda index: index * 10**15 - 2**60,
    "unsigned 64": lambda index: index.astype(np.uint64) + np.uint64(2**63),
    "strings": lambda index: np.array(["b", "a", "zebra", "", "ä"])[index],
    "objects": lambda index: np.array(["b", "a", "c", "e", "d"], object)[index],
    "booleans": lambda index: index > 1,
    "whole floats": lambda index: index.astype(float) - 2,
    "float32": lambda index: index.astype(np.float32),
    "list": lambda index: index.tolist(),
    "list of strings": lambda index: [f"class {k}" for k in index],
    "series": lambda index: pd.Series(index, index=index),
    "categories": lambda index: pd.Series(index.astype(str), dtype="category"),
    "tensor": torch.from_numpy,
    "column": lambda index: index[:, None],
}
OPEN_LABELS = {
    "bytes": lambda index: np.array([b"a", b"b", b"c", b"d", b"e"])[index],
    "integer objects": lambda index: index.astype(object),
    "beyond 64 bits": lambda index: index.astype(object) + 2**70,
    "dates": lambda index: index.astype("datetime64[D]"),
    "tuples": lambda index: [(k,) for k in index.tolist()],
}
BAD_LABELS = {
    "continuous": lambda index: index + 0.5,
    "two columns": lambda index: np.stack([index, index], 1),
    "too short": lambda index: index[1:],
    "too long": lambda index: np.append(index, 0),
    "nan": lambda index: np.where(np.arange(len(index)) == 0, np.nan, index),
    "infinite": lambda index: np.where(np.arange(len(index)) == 0, np.inf, index),
    "None": lambda index: np.array([None, *index.tolist()[1:]], object),
    "strings and numbers": lambda index: (
        np.array(["a", *index[1:]], object) if len(index) > 1 else None
    ),
    "complex": lambda index: index + 1j,
    "one label": lambda index: 3,
    "none at all": lambda index: None,
    "dicts": lambda index: [{} for _ in index],
}


@st.composite
def labels(draw, n, spoilt=None):
    """Draw ``n`` labels of one to five classes."""
    k = draw(st.sampled_from([1, 2, 2, 3, 5]))
    index = np.array(draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)))
    if spoilt != "labels":
        kinds, verdict = LABELS, GOOD
    else:
        kinds, verdict = draw(st.sampled_from([(OPEN_LABELS, OPEN), (BAD_LABELS, BAD)]))
    return Part(kinds[draw(st.sampled_from(list(kinds)))](index), verdict)


# Weights


@st.composite
def weights(draw, n, spoilt=None):
    """Draw the argument ``sample_weight``, and which rows it leaves."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    w = rng.random(n) + 0.1
    some = np.where(rng.random(n) < 0.3, 0, w)
    first = np.eye(n)[0]
    good = {
        "none": None,
        "one": 0.5,
        "equal": np.full(n, 1e-3),
        "random": w,
        "list": w.tolist(),
        "integers": rng.integers(1, 5, n),
        "zeros": some,
        "booleans": some > 0,
        "tiny": w * 1e-300,
        "huge": w * 1e308,
        "far apart": 10.0 ** rng.choice([-300, -250, -30, 0, 30, 300], n),
    }
    bad = {
        "all zero": np.zeros(n),
        "negative": -first,
        "nan": np.where(first, np.nan, w),
        "infinite": np.where(first, np.inf, w),
        "too short": w[1:],
        "too long": np.append(w, 1),
        "two columns": np.stack([w, w], 1),
        "text": np.full(n, "heavy"),
        "complex": w + 1j,
    }
    kinds = bad if spoilt == "weights" else good
    kind = draw(st.sampled_from(list(kinds)))
    is_bad = kinds is bad or (kind in ("zeros", "booleans") and not some.any())
    left = np.ones(n, bool)
    if kind in ("zeros", "booleans", "far apart"):
        left = counted(kinds[kind])
    return Part(kinds[kind], BAD if is_bad else GOOD), left


def counted(w):
    """Return which rows have a weight above 0 relative to the largest weight."""
    return np.asarray(w, float) > np.max(w) * 1e-45


# Parameters

# Values to take and values to refuse.
PARAMETERS = {
    "batch_size": ([1, 2, 3, 7, 64, 10**9, np.int64(5), -1], [0, -2, 2.5, "8", None]),
    "validation_fraction": (
        [0, 0.2, 0.5, 0.9, 1e-9, np.float32(0.25)],
        [1.0, -0.1, np.nan, "0.2", None],
    ),
    "patience": (["auto", None, 1], [0, 1.5, "never"]),
    "shuffle": ([True, False, np.True_], ["yes", None]),
    "augment": (
        [
            *(None, {}, {"flip": True}, {"flip": 0.3, "shift": 1, "erase": 2}),
            *({"shift": 40}, {"erase": 40}, lambda images, generator: images),
        ],
        [{"spin": 1}, {"flip": 2}, {"shift": 0.5}, {"erase": -1}, "flip"],
    ),
    "pixel_scaling": (["standardize", "symmetric"], ["minmax", None]),
    "ema_decay": ([None, 0, 0.5, 0.999], [1.0, -1, "0.9"]),
    "predict_flip": ([False, True], ["yes", None]),
    "label_smoothing": ([0.0, 0.1, 0.99], [1, -0.1, "0.1"]),
    "lr_schedule": ([None, "one_cycle", "cosine"], ["linear", 3]),
    "dropout": ([0, 0.5, 0.99], [1.0, -0.5, None]),
    "precision": (["auto", "float32", "bfloat16"], ["float16", None]),
    "optimizer": (
        [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop],
        ["adam", None],
    ),
    "lr": ([1e-3, 1e-9, np.float32(0.1)], [0, -1, np.nan, "fast"]),
    "max_epochs": ([1, 2], [0, 1.5, None]),
}


@st.composite
def parameters(draw, spoilt=None):
    """Draw a few parameters; the others keep their defaults, but for short fits."""
    names = st.lists(st.sampled_from(list(PARAMETERS)), max_size=5, unique=True)
    values = {"max_epochs": 1, "lr": 0.01}
    values |= {name: draw(st.sampled_from(PARAMETERS[name][0])) for name in draw(names)}
    if spoilt == "parameter":
        name = draw(st.sampled_from(list(PARAMETERS)))
        values[name] = draw(st.sampled_from(PARAMETERS[name][1]))
    # A RandomState is changed by its use, so each draw needs a new one.
    # The largest is what a C long holds everywhere.
    good = [0, 2**31 - 1, np.int64(3), None, np.random.RandomState(0)]
    bad = [-1, "seed", 0.5, np.random.default_rng(0)]
    chosen = st.sampled_from(range(len(bad if spoilt == "seed" else good)))
    values["random_state"] = (bad if spoilt == "seed" else good)[draw(chosen)]
    return Part(values, BAD if spoilt in ("parameter", "seed") else GOOD)


class Use(NamedTuple):
    """One use of an estimator, from its construction to predictions."""

    net: Any
    method: str
    X: Any
    y: Any
    options: dict
    others: list
    verdict: str


@st.composite
def uses(draw):
    """Draw an estimator and what to do with it."""
    spoilt = draw(st.sampled_from([None] * 12 + SPOILT))
    kind = draw(st.sampled_from(list(SMALL)))
    n = draw(st.integers(1, 14))
    shape = draw(shapes(spoilt))
    X, y = draw(images(n, shape.value, spoilt)), draw(labels(n, spoilt))
    sample_weight, left = draw(weights(n, spoilt))
    chosen = draw(parameters(spoilt))
    verdict = worst(*(part.verdict for part in (shape, X, y, sample_weight, chosen)))

    params = {"patience": "auto", "validation_fraction": 0.2, **chosen.value}
    class_weight = draw(st.sampled_from([None, None, None, "balanced", "dict", "odd"]))
    if class_weight == "dict" and y.verdict == GOOD:
        # Of one class: the others count once.
        label = np.ravel(y.value)[left][0] if left.any() else 0
        class_weight = {label: draw(st.sampled_from([2.0, 0.5, 1e-30]))}
    elif class_weight in ("dict", "odd"):
        odd = [{}, {"unknown": 1.0}, {0: -1.0}, {0: 0.0}, {0: np.nan}, {0: "a"}]
        class_weight = draw(st.sampled_from(odd))
        verdict = worst(verdict, OPEN)
    params["class_weight"] = class_weight

    if spoilt == "image shape":
        columns = int(np.prod(shape.value))
        odd = [(1, 1, columns + 1), (columns,), (1.5, 2, 2), (0, 1, 1), (-1, -1, 1)]
        odd += ["abc", 7, [None] * 3, {1, 2, 3}, np.ones((3, 3))]
        params["image_shape"] = draw(st.sampled_from(odd))
        verdict = BAD
    elif shape.verdict == GOOD and draw(st.booleans()):
        params["image_shape"] = (1,) * (3 - len(shape.value)) + shape.value

    method = draw(st.sampled_from(["fit", "fit", "fit with X_val", "partial_fit"]))
    options = {"sample_weight": sample_weight.value}
    if method == "partial_fit":
        options["classes"] = y.value
        if class_weight == "balanced":
            verdict = BAD
    elif method == "fit with X_val" and draw(st.booleans()):
        options |= {"X_val": X.value, "y_val": y.value}
        # A class may have lost all its rows to weights of 0.
        verdict = worst(verdict, GOOD if left.all() else OPEN)
    elif method == "fit with X_val":
        m = draw(st.integers(1, 5))
        X_val, y_val = draw(images(m, shape.value)), draw(labels(m))
        options |= {"X_val": X_val.value, "y_val": y_val.value}
        verdict = worst(verdict, OPEN)
    elif verdict != BAD and params["validation_fraction"] == 0:
        verdict = BAD if params["patience"] == 1 else verdict
    elif verdict != BAD:
        n_valid = max(round(params["validation_fraction"] * left.sum()), 1)
        verdict = BAD if n_valid >= left.sum() else verdict

    others = []
    for wrong in draw(st.lists(st.sampled_from([None, *SPOILT[:2]]), max_size=2)):
        other = draw(st.just(shape) | shapes(wrong)).value
        others.append(draw(images(draw(st.integers(1, 4)), other, wrong)).value)
    net = kind(**SMALL[kind], **params)
    return Use(net, method.split()[0], X.value, y.value, options, others, verdict)


# What must hold


def check_message(error):
    assert len(str(error)) > 20, repr(error)


def check_warning(warning):
    if warning.category in (ConvergenceWarning, DataConversionWarning):
        return
    text = str(warning.message)
    is_ours = warning.filename.startswith(PACKAGE) or warning.filename == __file__
    known = ("image_shape=(3, 32, 32)", "multiply them by 255", "divide them by 255")
    assert not is_ours or any(each in text for each in known), text


def check_fitted(use):
    net, labels = use.net, np.ravel(use.y)
    given = use.options["sample_weight"]
    if use.method == "fit" and np.ndim(given):
        labels = labels[counted(given)]
    assert net.classes_.tolist() == sorted(set(labels.tolist()))
    assert 1 <= net.best_epoch_ <= net.n_iter_ <= net.max_epochs
    assert np.isfinite(net.history_[:, "train_loss"]).all()
    check_predictions(net, use.X)
    assert 0 <= net.score(use.X, use.y) <= 1
    for X in use.others:
        try:
            check_predictions(net, X)
        except (ValueError, TypeError) as error:
            check_message(error)


def check_predictions(net, X):
    probabilities = net.predict_proba(X)
    labels, logs = net.predict(X), net.predict_log_proba(X)
    assert probabilities.shape == logs.shape == (len(X), len(net.classes_))
    assert probabilities.dtype == logs.dtype == np.float64
    assert np.isfinite(probabilities).all()
    assert np.isfinite(logs).all()
    assert (probabilities >= 0).all()
    assert (logs <= 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert labels.shape == (len(X),)
    assert labels.dtype == net.classes_.dtype
    assert np.array_equal(labels, net.classes_[probabilities.argmax(1)])


@seed(int(os.environ.get("PROPERTY_SEED", "0")))
@settings(
    max_examples=int(os.environ.get("PROPERTY_DRAWS", "100")),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)
@given(uses())
def test_fit_works_or_is_refused(use):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            getattr(use.net, use.method)(use.X, use.y, **use.options)
        except (ValueError, TypeError) as error:
            check_message(error)
            if use.verdict == GOOD:
                raise
        else:
            assert use.verdict != BAD, "this should have been refused"
            check_fitted(use)
    for warning in caught:
        check_warning(warning)
