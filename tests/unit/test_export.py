"""Exports: an export takes a second or two, so that tests share what they can."""

import contextlib
import copy
import json
import re
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from torch.nn.utils import prune

import fmnist_sklearn
from fmnist_sklearn import (
    CLASS_NAMES,
    LeNet5Classifier,
    MiniVGGClassifier,
    export_onnx,
    load_fashion_mnist_sample,
)
from fmnist_sklearn.export import onnx as export

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TOLERANCE = 1e-5


def run(path, pixels):
    """Compute a graph; return labels and probabilities."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["label", "probabilities"], {"pixels": pixels})


def metadata(path):
    props = onnx.load(path).metadata_props
    return {entry.key: json.loads(entry.value) for entry in props}


# What is promised: networks, types, mirror images, sizes of images, labels ---------


def small(images):
    """Make (n, 1, 8, 8) of (n, 1, 28, 28)."""
    return images[:, :, 2:26:3, 2:26:3]


def colour(images):
    """Make (n, 3, 32, 32), with channels that differ in mean and spread."""
    images = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    return np.concatenate([images, 255 - images, images[..., ::-1] // 2], axis=1)


NUMBERS = [-3, 2, 5, 7, 11, 40, 41, 42, 1000, 2**40]
UMLAUTS = np.array([f"Größe {k} 鞋" for k in range(10)], dtype=object)
BOOLEANS = [False] * 5 + [True] * 5
SMALL_VGG = partial(
    MiniVGGClassifier, lr=0.01, module__widths=(8, "M"), module__hidden_units=32
)
# Each two values stand together once: six fits and exports, not 24.
CASES = {
    # class, images, input_dtype, layout, predict_flip, labels
    "names": (LeNet5Classifier, np.copy, "uint8", "rows", False, CLASS_NAMES),
    "numbers": (LeNet5Classifier, small, "float32", "images", True, NUMBERS),
    "colour": (LeNet5Classifier, colour, "uint8", "images", True, range(10)),
    "booleans": (SMALL_VGG, np.copy, "float32", "rows", True, BOOLEANS),
    "floats": (SMALL_VGG, small, "uint8", "images", False, np.arange(10.0)),
    "umlauts": (SMALL_VGG, colour, "float32", "rows", False, UMLAUTS),
}


@pytest.mark.parametrize("case", CASES)
def test_graph_is_the_estimator(case, tmp_path):
    kind, resize, dtype, layout, flip, labels = CASES[case]
    X, y = load_fashion_mnist_sample(return_X_y=True)
    X_test = load_fashion_mnist_sample(subset="test", return_X_y=True)[0][:300]
    net = kind(max_epochs=3, patience=None, random_state=0, predict_flip=flip)
    net.fit(resize(X[:100].reshape(-1, 1, 28, 28)), np.asarray(labels)[y[:100]])
    pixels = resize(X_test.reshape(-1, 1, 28, 28)).astype(dtype)
    pixels = pixels.reshape(300, -1) if layout == "rows" else pixels
    path = tmp_path / "net.onnx"
    export_onnx(net, path, input_dtype=dtype, layout=layout)
    # It gives the probabilities of the estimator, of many images and of one.
    labels, probabilities = run(path, pixels)
    expected = net.predict_proba(pixels)
    assert probabilities.shape == expected.shape
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=TOLERANCE)
    assert probabilities.std(axis=0).min() > 1e-4  # images do differ
    session = onnxruntime.InferenceSession(path)
    for i in range(0, 300, 50):
        _, alone = session.run(None, {"pixels": pixels[i : i + 1]})
        np.testing.assert_allclose(alone, expected[i : i + 1], rtol=0, atol=TOLERANCE)
    # Its labels, and their type.
    expected = net.predict(pixels).tolist()
    assert labels.tolist() == expected
    assert type(labels.tolist()[0]) is type(expected[0])
    assert len(set(expected)) > 1
    # It describes itself in its metadata.
    about = metadata(path)
    assert about.pop("classes") == net.classes_.tolist()
    assert about.pop("versions") == {
        "fmnist_sklearn": fmnist_sklearn.__version__,
        "onnx": version("onnx"),
        "torch": torch.__version__,
    }
    assert about == {
        "class": type(net).__name__,
        "image_shape": list(net.image_shape_),
        "input_dtype": dtype,
        "layout": layout,
        "predict_flip": flip,
    }
    model = onnx.load(path)
    (taken,) = model.graph.input
    dims = taken.type.tensor_type.shape.dim
    assert dims[0].dim_param == "n"
    assert [dim.dim_value for dim in dims[1:]] == list(pixels.shape[1:])
    assert [output.name for output in model.graph.output] == ["label", "probabilities"]
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.filterwarnings("ignore:The tensor attribute")  # of pruning, by PyTorch
def test_graph_has_the_layers_that_are_present(lenet5, X, y, X_test, quick, tmp_path):
    """In two threads at once, while PyTorch traces for one at a time.

    The other network is one of rows that fill no image.
    """
    changed = copy.deepcopy(lenet5)
    changed.module_.c1.activation = torch.nn.Tanh()
    changed.module_.head.activation5 = torch.nn.ReLU()
    tanh = changed.predict_proba(X_test)
    prune.l1_unstructured(changed.module_.c3.conv, "weight", amount=0.5)
    padded = LeNet5Classifier(**quick | {"max_epochs": 1}).fit(X[:60, :700], y[:60])
    paths = tmp_path / "changed.onnx", tmp_path / "padded.onnx"
    with pytest.raises(ValueError, match=r"700 columns.*with layout='rows'"):
        export_onnx(padded, paths[1])
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(export_onnx, layout="rows"), (changed, padded), paths))
    for net, path, rows in zip(
        (changed, padded), paths, (X_test, X_test[:, :700]), strict=True
    ):
        expected = net.predict_proba(rows)
        np.testing.assert_allclose(run(path, rows)[1], expected, atol=TOLERANCE, rtol=0)
    assert np.abs(tanh - lenet5.predict_proba(X_test)).max() > 1e-3
    assert np.abs(tanh - changed.predict_proba(X_test)).max() > 1e-3


@pytest.mark.usefixtures("no_tracing")
def test_export_of_a_net_of_another_device_is_compared_on_the_cpu(lenet5, tmp_path):
    net = copy.deepcopy(lenet5)
    net.device_ = torch.device("cuda")  # where nothing could be computed here
    export_onnx(net, tmp_path / "net.onnx", layout="rows")
    assert net.device_.type == "cuda"
    assert net.device == "auto"


@pytest.mark.cuda
def test_export_from_a_cuda_device(X, y, X_test, quick, kind, tmp_path):
    net = kind(**quick, device="cuda").fit(X, y)
    export_onnx(net, tmp_path / "net.onnx", layout="rows")
    assert next(net.module_.parameters()).is_cuda
    _, probabilities = run(tmp_path / "net.onnx", X_test)
    # A CUDA device rounds products as it likes (TF32).
    expected = net.predict_proba(X_test)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-2)


# What needs no graph of its own ----------------------------------------------------


@pytest.fixture
def net(lenet5):
    """A copy of ``lenet5``, which may be changed."""
    return copy.deepcopy(lenet5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.onnx"


@pytest.fixture(scope="session")
def traced(lenet5):
    """The graph of ``lenet5`` as PyTorch writes it, for rows of uint8."""
    return export._trace(lenet5, "uint8", "rows", 18)


@pytest.fixture
def no_tracing(traced, monkeypatch):
    """PyTorch's exporter looks at no network, and gives a copy of ``traced``."""
    monkeypatch.setattr(export, "_trace", lambda *_: copy.deepcopy(traced))


def test_export_gives_equal_files_whatever_the_settings(
    traced, lenet5, tmp_path, monkeypatch, no_tracing
):
    plain, other = tmp_path / "plain.onnx", tmp_path / "other.onnx"
    other.write_text("an old file, which is replaced")
    export_onnx(lenet5, plain, layout="rows")
    monkeypatch.undo()
    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float64)
        stack.enter_context(torch.device("meta"))
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))
        export_onnx(lenet5, other, layout="rows")
    content = plain.read_bytes()
    assert content == other.read_bytes()
    assert sorted(tmp_path.iterdir()) == [other, plain]
    folder = str(Path(fmnist_sklearn.__file__).parent).encode()
    assert folder in traced.SerializeToString() or torch.__version__ < "2.10"
    assert folder not in content


def test_export_reports_unwritable_paths_before_it_traces(
    lenet5, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.onnx, "export", None)
    (tmp_path / "folder").mkdir()
    for name in ("missing/net.onnx", "folder"):
        with pytest.raises(OSError, match=name):
            export_onnx(lenet5, tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


class Sharpened(LeNet5Classifier):
    """Its probabilities are not what its network gives."""

    def predict_proba(self, X):
        return super().predict_proba(X) ** 2


class Shifted(LeNet5Classifier):
    """Its labels are not those of the highest probability."""

    def predict(self, X):
        return np.roll(self.classes_, 1)[super().predict(X)]


@pytest.mark.parametrize("kind", [Sharpened, Shifted])
@pytest.mark.usefixtures("no_tracing")
def test_export_of_changed_predictions_leaves_no_file(net, kind, path):
    net.__class__ = kind
    with pytest.raises(RuntimeError, match="graph differs from the estimator"):
        export_onnx(net, path, layout="rows")
    assert not list(path.parent.iterdir())
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="graph differs from the estimator"):
        export_onnx(net, path, layout="rows")
    assert [file.read_bytes() for file in path.parent.iterdir()] == [b"old"]


@pytest.mark.usefixtures("no_tracing")
def test_export_of_a_subclass_and_of_named_columns(net, path):
    class Mine(LeNet5Classifier):
        pass

    net.__class__ = Mine
    net.feature_names_in_ = np.array([f"p{k}" for k in range(784)], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(net, path, layout="rows")
    assert metadata(path)["class"] == "Mine"
    assert hasattr(net, "feature_names_in_")


@pytest.mark.parametrize("labels", [np.array([b"a", b"b"]), np.array([1 + 1j])])
def test_export_refuses_labels_that_onnx_does_not_have(net, labels, path):
    net.classes_ = labels
    with pytest.raises(TypeError, match="labels that are numbers, booleans or strings"):
        export_onnx(net, path, layout="rows")


@pytest.mark.usefixtures("no_tracing")
def test_export_reports_a_graph_that_does_not_load(lenet5, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise NotImplementedError("no such opset")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(RuntimeError, match=r"cannot compute the graph.*no such opset"):
        export_onnx(lenet5, tmp_path / "net.onnx", layout="rows")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_tracing")
def test_export_warns_of_pixels_of_a_small_range(net, path):
    net.module_.scaling.mean /= 255
    net.module_.scaling.std /= 255
    with (
        pytest.warns(UserWarning, match=r"mean 0\.\d+ .*input_dtype='float32'"),
        pytest.raises(RuntimeError),  # the shared graph is that of lenet5
    ):
        export_onnx(net, path, layout="rows")


# What is refused --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_export_names_the_extra_that_is_missing(name, lenet5, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    command = re.escape('pip install "fmnist-sklearn[onnx]"')
    with pytest.raises(ImportError, match=rf"import of {name} halted.*{command}"):
        export_onnx(lenet5, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_export_before_fit(kind, path):
    with pytest.raises(NotFittedError):
        export_onnx(kind(), path)


@pytest.mark.parametrize(
    "wrap", [make_pipeline, lambda net: net.module_, lambda net: LeNet5Classifier]
)
def test_export_names_what_to_export_of_other_estimators(wrap, lenet5, path):
    match = r"export_onnx takes .* class (Pipeline|LeNet5|type); pass pipeline\[-1\]"
    with pytest.raises(TypeError, match=match):
        export_onnx(wrap(lenet5), path)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"input_dtype": "float64"}, "input_dtype must be .*got 'float64'"),
        ({"layout": "columns"}, "layout must be .*got 'columns'"),
        ({"opset": 11}, "opset must be one of .18, .*got 11"),
        ({"opset": 10_000}, "opset must be one of .*got 10000"),
        ({"opset": "18"}, "opset must be one of .*got '18'"),
    ],
)
def test_export_checks_its_arguments(params, message, lenet5, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_onnx(lenet5, tmp_path / "net.onnx", **params)
    assert not list(tmp_path.iterdir())
