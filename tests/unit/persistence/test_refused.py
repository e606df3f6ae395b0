"""What save_model and load_model refuse."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.persistence import inspect_model, load_model, save_model


class Own(LeNet5Classifier):
    pass


@pytest.mark.parametrize(
    "other", [make_pipeline(LeNet5Classifier()), Own(), None], ids=lambda o: type(o)
)
def test_save_model_names_what_to_save_of_other_estimators(path, other):
    match = rf"class {type(other).__name__}; pass pipeline\[-1\] of a Pipeline"
    with pytest.raises(TypeError, match=match):
        save_model(other, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"modul__hidden_units": (8,)}, "unexpected argument"),
        ({"lr": -1.0}, "'lr' parameter"),
        ({"criterion__weight": [1.0, 2.0, 3.0]}, "load_model could not read it"),
    ],
)
def test_save_model_checks_parameters(small, path, params, message):
    net = copy.deepcopy(small).set_params(**params)
    with pytest.raises(ValueError, match=message):
        save_model(net, path)
    assert not path.exists()


def swap(net):
    net.module_.c1.activation = torch.nn.ReLU()


def prune(net):
    torch.nn.utils.prune.l1_unstructured(net.module_.c3.conv, "weight", 0.3)


def label(*classes, **kwargs):
    return lambda net: setattr(net, "classes_", np.array(classes, **kwargs))


LAYERS = r"layers were changed .* pickle or joblib"
LABELS = r"numbers, booleans or strings, got classes_="
NAN = r"head\.out\.bias holds NaN"
INFINITY = r"c1\.conv\.weight holds NaN"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (swap, TypeError, LAYERS),
        (prune, ValueError, "do not fit the network: .*weight_mask"),
        (lambda net: net.module_.head.out.bias.fill_(np.nan), ValueError, NAN),
        (lambda net: net.module_.c1.conv.weight.fill_(np.inf), ValueError, INFINITY),
        (lambda net: net.module_.double(), ValueError, "do not fit the network"),
        (label(b"a", b"b", b"c"), TypeError, LABELS),
        (label(1j, 2j, 3j), TypeError, LABELS),
        (label(None, "b", "c", dtype=object), TypeError, LABELS),
        (label(*["2017-08-25"] * 3, dtype="M8[D]"), TypeError, LABELS),
    ],
)
def test_save_model_refuses_what_a_file_cannot_hold(
    small, path, change, error, message
):
    net = copy.deepcopy(small)
    with torch.no_grad():
        change(net)
    with pytest.raises(error, match=message):
        save_model(net, path)
    assert not path.exists()


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": [1]},
        {"a": float("nan")},
        {1: "a"},
        {"a": "x" * 10_001},
        {"a" * 201: 1},
        {str(i): i for i in range(101)},
        {"a": b"x"},
    ],
    ids=range(7),
)
def test_save_model_bounds_metadata(small, path, metadata):
    with pytest.raises(ValueError, match=r"load_model could not|JSON compliant"):
        save_model(small, path, metadata=metadata)
    assert not path.exists()


def test_save_model_checks_its_arguments(small, path):
    with pytest.raises(NotFittedError):
        save_model(LeNet5Classifier(), path)
    with pytest.raises(ValueError, match="preparation"):
        save_model(small, path, preparation="crop")
    assert not path.exists()


def test_paths_that_are_missing_or_folders(small, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        save_model(small, tmp_path / "missing" / "a")
    assert caught.value.filename == str(tmp_path / "missing" / "a")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "b")
    assert not list(tmp_path.iterdir())
    for use in (load_model, inspect_model, lambda path: save_model(small, path)):
        with pytest.raises(IsADirectoryError, match="is not a regular file"):
            use(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module on Windows")
def test_load_model_of_hostile_files():
    """Each kind is refused with a ValueError, in little memory, and runs no code."""
    script = Path(__file__).with_name("hostile_files.py")
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert not run.stdout.strip(), run.stdout
