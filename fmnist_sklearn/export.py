"""A fitted network as an ONNX graph, for where there is no Python: ``export_onnx``."""

from __future__ import annotations

import copy
import json
import math
import os
import warnings
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ._unwrap import where_the_model_is
from ._version import __version__
from .estimators import ImageClassifier
from .modules import ImageShape
from .storage import atomic_write
from .training import own_settings

_DTYPES = {"uint8": torch.uint8, "float32": torch.float32}
_LAYOUTS = ("images", "rows")
_LOWEST_OPSET = 18  # what PyTorch writes; it would have to be converted to an older one
_TOLERANCE = 1e-5  # between the graph's probabilities and the estimator's
_TRACING = Lock()  # what PyTorch notes while it traces belongs to all threads


def export_onnx(
    estimator: ImageClassifier,
    path: str | os.PathLike[str],
    *,
    input_dtype: str = "uint8",
    layout: str = "images",
    opset: int = 18,
) -> None:
    """Write a fitted classifier as an ONNX graph from raw pixels to labels.

    Scaling of the pixels, mirror images (where ``predict_flip`` is set) and softmax are
    part of the graph, which any runtime of ONNX computes without Python. It is computed
    once here, by onnxruntime on random images, and compared with the estimator before
    the file appears.

    Parameters
    ----------
    estimator : LeNet5Classifier or MiniVGGClassifier
        A fitted one.
    path : str or path-like
        The file to write; one that exists is replaced, as a whole or not at all.
    input_dtype : {"uint8", "float32"}, default="uint8"
        Type of the pixels that the graph takes. They are not scaled by it: pixels of
        any type are to have the range of those that were fitted.
    layout : {"images", "rows"}, default="images"
        Whether the graph takes images of shape (n, C, H, W) or rows of pixels
        (n, ``n_features_in_``).
    opset : int, default=18
        Version of ONNX's set of operators: 18, the oldest possible, is what most
        runtimes know.

    Raises
    ------
    ImportError
        If onnx, onnxscript or onnxruntime is missing; the extra ``onnx`` has them.
    TypeError
        For another kind of estimator (of a Pipeline or a search the message says
        what to export), and for labels other than numbers, booleans and strings.
    ValueError
        For parameters out of range; for ``layout="images"`` where rows were fitted
        that fill no image; and where the estimator itself refuses to predict.
    RuntimeError
        If onnxruntime cannot load the graph, or its probabilities differ from the
        estimator's by more than 1e-5. No file is left.
    sklearn.exceptions.NotFittedError
        Before ``fit``.

    Warns
    -----
    UserWarning
        If ``input_dtype="uint8"`` and the network was fitted on pixels of a far
        smaller range than 0 to 255.

    See Also
    --------
    save_model : A file to go on working with in Python.

    Notes
    -----
    The graph has the input ``pixels``, whose batch may have any size, and the outputs
    ``label`` (n,) and ``probabilities`` (n, n_classes), float32. Labels are those of
    ``classes_``: strings, int64, float64 or booleans. The file's metadata tell, as
    JSON, ``class``, ``classes``, ``image_shape``, ``input_dtype``, ``layout``,
    ``predict_flip`` and ``versions``. Equal networks give equal files.

    Examples
    --------
    >>> import onnxruntime, tempfile
    >>> from pathlib import Path
    >>> from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample
    >>> from fmnist_sklearn import export_onnx
    >>> X, y = load_fashion_mnist_sample(return_X_y=True)
    >>> net = LeNet5Classifier(max_epochs=1, patience=None).fit(X[:500], y[:500])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "net.onnx"
    ...     export_onnx(net, path, layout="rows")
    ...     session = onnxruntime.InferenceSession(path)
    >>> labels, probabilities = session.run(None, {"pixels": X})
    >>> bool((labels == net.predict(X)).all())
    True
    """
    _check_kind(estimator)
    check_is_fitted(estimator)
    _check_pixels(estimator, input_dtype, layout)
    labels = _labels(estimator.classes_)
    onnx, onnxruntime = _import_extra()
    _check_opset(opset, highest=onnx.defs.onnx_opset_version())
    if input_dtype == "uint8":
        _warn_of_small_range(estimator)
    estimator = _on_cpu(estimator)
    sample = _predict_sample(estimator, input_dtype)
    about = {
        "class": type(estimator).__name__,
        "classes": labels.tolist(),
        "image_shape": estimator.image_shape_,
        "input_dtype": input_dtype,
        "layout": layout,
        "predict_flip": bool(estimator.predict_flip),
        "versions": {
            "fmnist_sklearn": __version__,
            "onnx": onnx.__version__,
            "torch": str(torch.__version__),
        },
    }
    # Opened before the tracing, which takes seconds, for what cannot be written to be
    # told at once.
    with atomic_write(path) as file:
        with _TRACING, own_settings():
            model = _trace(estimator, _DTYPES[input_dtype], layout, opset)
        _drop_notes_of_tracing(model.graph)
        _append_labels(onnx, model.graph, labels)
        onnx.helper.set_model_props(
            model, {key: json.dumps(value) for key, value in about.items()}
        )
        onnx.checker.check_model(model)
        file.write(model.SerializeToString(deterministic=True))
        file.flush()
        session = _open_session(onnxruntime, Path(file.name).read_bytes())
        _check_agreement(sample, session, estimator, layout)


# What is refused, or warned of ----------------------------------------------------


def _check_kind(estimator: Any) -> None:
    if isinstance(estimator, ImageClassifier):
        return
    where = where_the_model_is(estimator)
    raise TypeError(
        "export_onnx takes a fitted LeNet5Classifier or MiniVGGClassifier, got an "
        f"object of class {type(estimator).__name__}"
        + (where and f": export {where}; the graph holds the network alone")
    )


def _check_pixels(estimator: ImageClassifier, input_dtype: Any, layout: Any) -> None:
    if input_dtype not in tuple(_DTYPES):
        raise ValueError(
            f"input_dtype must be 'uint8' or 'float32', got {input_dtype!r}"
        )
    if layout not in _LAYOUTS:
        raise ValueError(f"layout must be 'images' or 'rows', got {layout!r}")
    n_columns, shape = estimator.n_features_in_, estimator.image_shape_
    if layout == "images" and n_columns < math.prod(shape):
        raise ValueError(
            f"this estimator was fitted on rows of {n_columns} columns, laid out in an "
            f"image of {shape} that they do not fill; export it with layout='rows'"
        )


def _check_opset(opset: Any, *, highest: int) -> None:
    is_integer = isinstance(opset, int) and not isinstance(opset, bool)
    if not is_integer or not _LOWEST_OPSET <= opset <= highest:
        raise ValueError(
            f"opset must be an integer from {_LOWEST_OPSET} to {highest}, the newest "
            f"that the installed onnx knows; got {opset!r}"
        )


def _labels(classes: np.ndarray) -> np.ndarray:
    """Return the labels as an array of a type that ONNX has."""
    labels = np.array(classes.tolist())  # an object array of strings becomes one of str
    if labels.dtype.kind not in "biufU":
        raise TypeError(
            "export_onnx stores labels that are numbers, booleans or strings, got "
            f"classes_={classes!r}"
        )
    return labels.astype(object) if labels.dtype.kind == "U" else labels


def _import_extra() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - what PyTorch's exporter is written in
    except ImportError as error:
        raise ImportError(
            f"export_onnx needs onnx, onnxscript and onnxruntime ({error}); install "
            "them with: pip install fmnist-sklearn[onnx]"
        ) from error
    return onnx, onnxruntime


def _warn_of_small_range(estimator: ImageClassifier) -> None:
    scaling = estimator.module_.scaling
    mean, std = float(scaling.mean.mean()), float(scaling.std.mean())
    if 255 - mean > 100 * std:
        warnings.warn(
            "the graph will take pixels of 0 to 255 (input_dtype='uint8'), but this "
            f"estimator was fitted on pixels of mean {mean:.3g} and standard deviation "
            f"{std:.3g}; for pixels scaled as for fit pass input_dtype='float32'",
            UserWarning,
            stacklevel=3,
        )


# The graph ------------------------------------------------------------------------


class _FromPixels(nn.Module):
    """A network with what an estimator does around it, from pixels to probabilities."""

    def __init__(
        self, network: nn.Module, image_shape: ImageShape, n_columns: int, flip: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.image_shape = image_shape
        self.n_missing = math.prod(image_shape) - n_columns
        self.flip = flip

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return class indices (N,) and probabilities (N, n_classes)."""
        images = pixels.float()
        if images.ndim == 2:
            images = F.pad(images, (0, self.n_missing)).unflatten(1, self.image_shape)
        logits = self.network(images)
        if self.flip:
            logits = (logits + self.network(images.flip(-1))) / 2
        return logits.argmax(1), logits.softmax(1)


def _on_cpu(estimator: ImageClassifier) -> ImageClassifier:
    """Return an estimator that computes as the graph will; CUDA's TF32 is coarser."""
    if estimator.device_.type == "cpu":
        return estimator
    copied = type(estimator).__new__(type(estimator))
    copied.__setstate__(estimator.__getstate__() | {"device": "cpu"})
    return copied


def _trace(
    estimator: ImageClassifier, dtype: torch.dtype, layout: str, opset: int
) -> Any:
    """Let PyTorch write the graph; return it as ONNX's protocol buffer."""
    shape, n_columns = estimator.image_shape_, estimator.n_features_in_
    network = copy.deepcopy(estimator.module_)
    graph = _FromPixels(network, shape, n_columns, estimator.predict_flip).eval()
    one = (n_columns,) if layout == "rows" else shape
    program = torch.onnx.export(
        graph,
        (torch.zeros(2, *one, dtype=dtype),),
        input_names=["pixels"],
        output_names=["index", "probabilities"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("n")}},
        opset_version=opset,
        dynamo=True,
        verbose=False,
    )
    model = program.model_proto  # type: ignore[union-attr]
    if (written := model.opset_import[0].version) != opset:
        raise RuntimeError(
            f"the installed onnxscript wrote opset {written} instead of {opset}; pass "
            "an older opset, or install a newer onnxscript"
        )
    return model


def _drop_notes_of_tracing(graph: Any) -> None:
    """Forget which line of which file each node came from: folders of this machine."""
    named = graph.input, graph.output, graph.value_info, graph.initializer, graph.node
    for part in (graph, *(item for items in named for item in items)):
        part.ClearField("metadata_props")


def _append_labels(onnx: Any, graph: Any, labels: np.ndarray) -> None:
    """Let the graph end with the labels themselves, in the place of their indices."""
    stored = onnx.numpy_helper.from_array(labels, "classes")
    graph.initializer.append(stored)
    graph.node.append(onnx.helper.make_node("Gather", ["classes", "index"], ["label"]))
    graph.output[0].name = "label"
    graph.output[0].type.tensor_type.elem_type = stored.data_type


# The comparison -------------------------------------------------------------------


class _Sample(NamedTuple):
    """A few images, and what an estimator predicts of them."""

    rows: np.ndarray  # (n, n_features_in_)
    probabilities: np.ndarray  # (n, n_classes)
    labels: np.ndarray  # (n,)


def _predict_sample(estimator: ImageClassifier, dtype: str) -> _Sample:
    """Predict random images whose pixels lie as far apart as those that were fitted."""
    scaling = estimator.module_.scaling
    mean, std = (
        tensor.numpy()[:, None, None] for tensor in (scaling.mean, scaling.std)
    )
    noise = np.random.default_rng(0).normal(size=(8, *estimator.image_shape_))
    images = mean + 2 * std * noise
    if dtype == "uint8":
        images = images.round().clip(0, 255)
    rows = images.reshape(len(images), -1)[:, : estimator.n_features_in_].astype(dtype)
    X: Any = rows
    if hasattr(estimator, "feature_names_in_"):
        import pandas as pd

        X = pd.DataFrame(rows, columns=estimator.feature_names_in_)
    return _Sample(rows, estimator.predict_proba(X), estimator.predict(X))


def _open_session(onnxruntime: Any, content: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # its own classes have no other in common
        raise RuntimeError(
            f"onnxruntime {onnxruntime.__version__} cannot load the graph, so that no "
            f"file was written: {error}"
        ) from error


def _check_agreement(
    sample: _Sample, session: Any, estimator: ImageClassifier, layout: str
) -> None:
    """Compare the graph's predictions, in a batch and of one image, to a sample's."""
    pixels = sample.rows
    if layout == "images":
        pixels = pixels.reshape(-1, *estimator.image_shape_)
    for n in (len(pixels), 1):
        labels, probabilities = session.run(None, {"pixels": pixels[:n]})
        expected = sample.probabilities[:n]
        difference = np.abs(probabilities - expected).max()
        best_two = np.sort(expected, axis=1)[:, -2:]
        clear = np.ptp(best_two, axis=1) > _TOLERANCE
        if not difference <= _TOLERANCE:  # nor is NaN
            fault = f"probabilities by up to {difference:.1g}"
        elif labels[clear].tolist() != sample.labels[:n][clear].tolist():
            fault = "labels"
        else:
            continue
        raise RuntimeError(
            "on random images the graph differs from what this estimator predicts, in "
            f"{fault}, so that no file was written; does {type(estimator).__name__} "
            "change what its network's outputs become (infer, predict, predict_proba)?"
        )
