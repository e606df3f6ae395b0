"""A fitted network as an ONNX graph, for where there is no Python: ``export_onnx``."""

from __future__ import annotations

import copy
import io
import json
import math
import os
import warnings
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._sklearn import warn_user, wrong_estimator
from .._version import __version__
from ..estimators import ImageClassifier
from ..estimators.validation import fitted_range
from ..storage import atomic_write
from ..training.device import own_settings

_TOLERANCE = 1e-5  # between the graph's probabilities and the estimator's
_TRACING = Lock()  # PyTorch's tracer has state that all threads share


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
    part of the graph, which any runtime of ONNX computes without Python. Before the
    file appears, onnxruntime computes it for random images, which is compared with the
    estimator.

    Parameters
    ----------
    estimator : ImageClassifier, LeNet5Classifier or MiniVGGClassifier
        A fitted one, of any network that ``torch.export`` takes.
    path : str or path-like
        The file to write; one that exists is replaced, as a whole or not at all.
    input_dtype : {"uint8", "float32"}, default="uint8"
        Type of the pixels that the graph takes. It implies no scaling: pixels of any
        type must have the range of those that were fitted.
    layout : {"images", "rows"}, default="images"
        Whether the graph takes images of shape (n, C, H, W) or rows of pixels
        (n, ``n_features_in_``).
    opset : int, default=18
        Version of ONNX's set of operators: 18, the oldest possible, is supported by
        most runtimes.

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
        If onnxruntime cannot compute the graph, or its probabilities differ from the
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
    export_html : A page that predicts pictures in a browser.
    save_model : A file to continue with in Python.

    Notes
    -----
    The graph has the input ``pixels``, whose batch may have any size, and the outputs
    ``label`` (n,) and ``probabilities`` (n, n_classes), float32. Labels are those of
    ``classes_``: strings, int64, float64 or booleans. The file's metadata are, as
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
    >>> labels, probabilities = session.run(None, {"pixels": X[:500]})
    >>> bool((labels == net.predict(X[:500])).all())
    True
    """
    if not isinstance(estimator, ImageClassifier):
        raise wrong_estimator("export_onnx", estimator)
    check_is_fitted(estimator)
    try:
        import onnx
        import onnxruntime  # noqa: F401 - used by the comparison
        import onnxscript  # noqa: F401 - used by PyTorch's exporter
    except ImportError as error:
        raise ImportError(
            f"export_onnx needs onnx, onnxscript and onnxruntime ({error}); install "
            'them with: pip install "fmnist-sklearn[onnx]"'
        ) from error
    opsets = [*range(18, onnx.defs.onnx_opset_version() + 1)]  # PyTorch writes 18
    for name, value, accepted in (
        ("input_dtype", input_dtype, ["uint8", "float32"]),
        ("layout", layout, ["images", "rows"]),
        ("opset", opset, opsets),
    ):
        if value not in accepted:
            raise ValueError(f"{name} must be one of {accepted}, got {value!r}")
    n_columns, shape = estimator.n_features_in_, estimator.image_shape_
    if layout == "images" and n_columns < math.prod(shape):
        raise ValueError(
            f"this estimator was fitted on rows of {n_columns} columns, laid out in an "
            f"image of {shape} that they do not fill; export it with layout='rows'"
        )
    labels = _labels(estimator.classes_)
    highest, fitted = fitted_range(estimator.module_)
    if input_dtype == "uint8" and highest != 255:
        warn_user(
            "the graph will take pixels of 0 to 255 (input_dtype='uint8'), but this "
            f"estimator was fitted on {fitted}; for pixels scaled as for fit pass "
            "input_dtype='float32'"
        )
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
    twin = on_cpu(estimator)
    rows = random_rows(twin, input_dtype)
    expected = twin.predict(rows), twin.predict_proba(rows)
    # Opened before the tracing, which takes seconds, so that a path that cannot be
    # written is reported at once.
    with atomic_write(path) as file:
        with _TRACING, own_settings():
            model = _trace(twin, input_dtype, layout, opset)
        graph = model.graph
        # The line of the file that each node comes from: paths of this machine.
        named = graph.input, graph.output, graph.value_info, graph.initializer
        for part in (graph, *graph.node, *(item for items in named for item in items)):
            part.ClearField("metadata_props")
        # It ends with the labels themselves, in the place of their indices.
        stored = onnx.numpy_helper.from_array(labels, "classes")
        graph.initializer.append(stored)
        gather = onnx.helper.make_node("Gather", ["classes", "index"], ["label"])
        graph.node.append(gather)
        graph.output[0].name = "label"
        graph.output[0].type.tensor_type.elem_type = stored.data_type
        onnx.helper.set_model_props(
            model, {key: json.dumps(value) for key, value in about.items()}
        )
        onnx.checker.check_model(model)
        content = model.SerializeToString(deterministic=True)
        pixels = rows.reshape(-1, *twin.image_shape_) if layout == "images" else rows
        _compare(content, pixels, expected)
        file.write(content)


def _labels(classes: np.ndarray) -> np.ndarray:
    """Return the labels as an array of a type that ONNX has."""
    labels = np.array(classes.tolist())  # an object array of strings becomes one of str
    if labels.dtype.kind not in "biufU":
        raise TypeError(
            "export_onnx stores labels that are numbers, booleans or strings, got "
            f"classes_={classes!r}"
        )
    return labels.astype(object) if labels.dtype.kind == "U" else labels


# The graph ------------------------------------------------------------------------


class FromPixels(nn.Module):
    """A network with what an estimator does around it, from pixels to probabilities."""

    def __init__(
        self, estimator: ImageClassifier, network: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.network = network
        self.image_shape = estimator.image_shape_
        self.n_missing = math.prod(self.image_shape) - estimator.n_features_in_
        self.flip = estimator.predict_flip

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return class indices (N,) and probabilities (N, n_classes)."""
        images = pixels.float()
        if images.ndim == 2:
            images = F.pad(images, (0, self.n_missing)).unflatten(1, self.image_shape)
        logits = self.network(images)
        if self.flip:
            logits = (logits + self.network(images.flip(-1))) / 2
        return logits.argmax(1), logits.softmax(1)


def on_cpu(estimator: ImageClassifier) -> ImageClassifier:
    """Return an estimator that computes as the graph will; CUDA's TF32 is coarser."""
    state = estimator.__getstate__() | {"device": "cpu"}
    state.pop("feature_names_in_", None)  # it predicts arrays, which have no names
    twin = type(estimator).__new__(type(estimator))
    twin.__setstate__(state)
    return twin


def _trace(estimator: ImageClassifier, dtype: str, layout: str, opset: int) -> Any:
    """Let PyTorch write the graph; return it as ONNX's protocol buffer."""
    rows = layout == "rows"
    shape = (estimator.n_features_in_,) if rows else estimator.image_shape_
    pixels = torch.zeros(2, *shape, dtype=getattr(torch, dtype))
    network = copy.deepcopy(estimator.module_)
    args = FromPixels(estimator, network).eval(), (pixels,)
    names = ["pixels", "index", "probabilities"]
    options: Any = {"input_names": names[:1], "output_names": names[1:]}
    options |= {"opset_version": opset, "verbose": False}
    if torch.__version__ < "2.10":  # 2.6 cannot write batch normalisation by dynamo
        import onnx

        axes, file = {name: {0: "n"} for name in names}, io.BytesIO()
        with warnings.catch_warnings():
            # A network's checks of shapes are not in the graph, and need not be.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            torch.onnx.export(*args, file, dynamo=False, dynamic_axes=axes, **options)  # type: ignore[arg-type]
        return onnx.load_from_string(file.getvalue())
    shapes = {"pixels": {0: torch.export.Dim("n")}}
    program = torch.onnx.export(*args, dynamo=True, dynamic_shapes=shapes, **options)
    return program.model_proto  # type: ignore[union-attr]


# The comparison -------------------------------------------------------------------


def random_rows(estimator: ImageClassifier, dtype: str) -> np.ndarray:
    """Draw images whose pixels spread as those that were fitted, as rows."""
    scaling = estimator.module_.scaling
    mean, std = (t.numpy()[:, None, None] for t in (scaling.mean, scaling.std))
    noise = np.random.default_rng(0).normal(size=(8, *estimator.image_shape_))
    images = mean + 2 * std * noise
    if dtype == "uint8":
        images = images.round().clip(0, 255)
    return images.reshape(len(images), -1)[:, : estimator.n_features_in_].astype(dtype)


def check_predictions(
    what: str,
    results: list[tuple[np.ndarray, np.ndarray]],
    expected: tuple[np.ndarray, np.ndarray],
    tolerance: float,
) -> None:
    """Raise an error if a file predicts otherwise than the estimator.

    Parameters
    ----------
    what : str
        The file, in the message.
    results : list of tuple
        Labels and probabilities of the first images, of any number, as the file gives
        them.
    expected : tuple
        The estimator's labels and probabilities of all images.
    tolerance : float
        How far probabilities may be from the estimator's.
    """
    labels, probabilities = expected
    differences = [np.abs(p - probabilities[: len(p)]).max() for _, p in results]
    if any((found != labels[: len(found)]).any() for found, _ in results):
        differences.append(math.inf)
    difference = float(np.max(differences))
    if not difference <= tolerance:  # NaN is not
        raise RuntimeError(
            f"on random images the {what} differs from the estimator, in probabilities "
            f"by up to {difference:.1g}, so that no file was written; does its class "
            "change what its network's outputs become (infer, predict, predict_proba)?"
        )


def _compare(
    content: bytes, pixels: np.ndarray, expected: tuple[np.ndarray, np.ndarray]
) -> None:
    """Raise an error if the graph predicts otherwise, for a batch or for one image."""
    import onnxruntime

    providers = ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(content, providers=providers)
        results = [session.run(None, {"pixels": some}) for some in (pixels, pixels[:1])]
    except Exception as error:  # its own classes have no common base
        raise RuntimeError(
            f"onnxruntime cannot compute the graph: {error}; a forward that calls "
            "len(x) fixes the number of images, and x.shape[0] does not"
        ) from error
    check_predictions("graph", results, expected, _TOLERANCE)
