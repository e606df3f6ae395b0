"""A fitted network as a web page that predicts what is drawn: ``export_html``."""

from __future__ import annotations

import base64
import copy
import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from .._sklearn import wrong_estimator
from .._version import __version__
from ..datasets import CLASS_NAMES
from ..displays.style import fill_page
from ..estimators import ImageClassifier
from ..estimators.validation import fitted_range
from ..modules import LeNet5, MiniVGG
from ..storage import atomic_write
from ..training.device import own_settings
from .onnx import FromPixels, check_predictions, on_cpu, random_rows

_TOLERANCE = 1e-3  # between the page's probabilities and the estimator's

# The layers that the page computes; dropout does nothing in predictions.
_KINDS = {
    nn.Conv2d: "conv",
    nn.MaxPool2d: "pool",
    nn.ELU: "elu",
    nn.ReLU: "relu",
    nn.Linear: "dense",
}
# A kind of layer, the sizes of its weights or of a border, and a convolution's padding.
Layer = tuple[str, list[int], int]
# Weights of a layer in 16 bits, several times as accurate as float16: the scale of each
# row, the bias, and integers of shape (n_rows, n_columns).
Rounded = tuple[Tensor, Tensor, Tensor]


def export_html(
    estimator: ImageClassifier,
    path: str | os.PathLike[str],
    *,
    display_labels: Sequence[Any] | None = None,
    preparation: Literal["clothing", "resize"] | None = None,
) -> None:
    """Write a fitted classifier as one HTML file that predicts pictures in a browser.

    The page has the weights and the network in plain JavaScript, and needs no network
    connection and no other file. A picture is drawn, dropped, pasted, opened or taken
    by the camera, and prepared as ``fmnist-sklearn predict`` prepares it; the most
    probable classes are shown at once. Before the file appears, what it stores is
    computed for random images and compared with the estimator.

    Parameters
    ----------
    estimator : LeNet5Classifier or MiniVGGClassifier
        A fitted one.
    path : str or path-like
        The file to write; one that exists is replaced, as a whole or not at all. Its
        name without the suffix is the title of the page.
    display_labels : sequence of shape (n_classes,), default=None
        Names of the classes in the order of ``classes_``; None shows those themselves.
    preparation : {"clothing", "resize"} or None, default=None
        How a picture becomes an image: "clothing" cuts out one item on a plain
        background, light on dark; "resize" takes the whole picture. The page can
        switch. None: "clothing" for the classes and image size of Fashion-MNIST,
        otherwise "resize".

    Raises
    ------
    TypeError
        For another kind of estimator (of a Pipeline or a search the message says what
        to export), and for an ``ImageClassifier`` with a network of your own.
    ValueError
        For parameters out of range; for a network that takes no pictures, since it was
        fitted on other numbers of channels than 1 and 3, on rows that fill no image,
        or on pixels of another range than 0 to 255 and 0 to 1; and where the estimator
        itself refuses to predict.
    RuntimeError
        If the probabilities that the page would compute differ from the estimator's by
        more than 1e-3, as after a change of its layers. No file is left.
    sklearn.exceptions.NotFittedError
        Before ``fit``.

    See Also
    --------
    export_onnx : A graph for other runtimes, of any network.
    save_model : A file to continue with in Python.

    Notes
    -----
    Weights are stored with 16 bits, as integers with a scale for each row. Equal
    networks give equal files of the same name.

    The page's function ``predict(pixels)`` takes a row as ``predict_proba`` does, and
    returns ``{label, probabilities}``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from fmnist_sklearn import CLASS_NAMES, LeNet5Classifier, export_html
    >>> from fmnist_sklearn import load_fashion_mnist_sample
    >>> X, y = load_fashion_mnist_sample(return_X_y=True)
    >>> net = LeNet5Classifier(max_epochs=1, patience=None).fit(X[:500], y[:500])
    >>> path = Path(tempfile.mkdtemp()) / "shoes.html"
    >>> export_html(net, path, display_labels=CLASS_NAMES)
    >>> path.stat().st_size < 350_000
    True
    """
    if not isinstance(estimator, ImageClassifier):
        raise wrong_estimator("export_html", estimator)
    check_is_fitted(estimator)
    network: Any = estimator.module_
    if not isinstance(network, LeNet5 | MiniVGG):
        raise TypeError(
            "export_html writes the networks LeNet5 and MiniVGG, got an estimator with "
            f"module={type(getattr(network, 'network', network)).__name__}; "
            "export_onnx writes any network that torch.export takes"
        )
    if preparation not in ("clothing", "resize", None):
        raise ValueError(
            f"preparation must be 'clothing', 'resize' or None, got {preparation!r}"
        )
    classes = estimator.classes_.tolist()
    labels = classes if display_labels is None else list(display_labels)
    if len(labels) != len(classes):
        raise ValueError(
            f"display_labels must have a name for each of the {len(classes)} classes, "
            f"got {len(labels)}"
        )
    factor, _ = pixel_factor(estimator, "export_onnx takes any pixels")
    chosen, _ = choose_preparation("", preparation, estimator)
    twin = on_cpu(estimator)
    with atomic_write(path) as file, own_settings():
        layers, rounded = _read_layers(network)
        rows = random_rows(twin, "float32")
        compute = partial(_compute, twin.module_.scaling, layers, rounded)
        indices, probabilities = FromPixels(twin, compute)(torch.from_numpy(rows))
        found = twin.classes_[indices.numpy()], probabilities.numpy()
        expected = twin.predict(rows), twin.predict_proba(rows)
        check_predictions("page", [found], expected, _TOLERANCE)
        floats = [part for scales, bias, _ in rounded for part in (scales, bias)]
        stored = [part.numpy().astype("<f4") for part in floats]
        stored += [integers.numpy().astype("<i2") for *_, integers in rounded]
        content = b"".join(part.tobytes() for part in stored)
        channels, height, width = shape = twin.image_shape_
        mean, std = network.scaling.mean.tolist(), network.scaling.std.tolist()
        model = {
            "labels": list(map(str, labels)),
            "shape": shape,
            "mean": mean,
            "std": std,
            "factor": factor,
            "flip": bool(twin.predict_flip),
            "layers": layers,
            "preparation": chosen,
            "dark": sum(mean) / channels < 127.5 * factor,
        }
        facts = {
            "Network": type(network).__name__,
            "Parameters": f"{twin.n_parameters_:,}",
            "Classes": len(classes),
            "Written by": f"fmnist_sklearn {__version__}",
        }
        page = fill_page(
            Path(__file__).with_name("templates") / "page.html",
            title=Path(path).stem,
            size=f"{width} x {height}",
            colours="grey" if channels == 1 else "in colour",
            facts=facts,
            model=model,
            weights=base64.b64encode(content).decode(),
        )
        file.write(page.encode(errors="backslashreplace"))


# The network as the page computes it ------------------------------------------------


def _read_layers(network: Any) -> tuple[list[Layer], list[Rounded]]:
    """List the layers in their order; batch normalisation is part of a convolution."""
    read: list[Any] = []
    for layer in copy.deepcopy(network).cpu().eval().modules():
        if isinstance(layer, nn.BatchNorm2d):
            read[-1] = fuse_conv_bn_eval(read[-1], layer)
        elif type(layer) in _KINDS:
            read.append(layer)
    layers: list[Layer] = [("border", [*(network._border or (0, 0, 0, 0))], 0)]
    rounded: list[Rounded] = []
    for layer in read:
        sizes: list[int] = []
        padding = 0
        if hasattr(layer, "weight"):
            sizes, rows = list(layer.weight.shape), layer.weight.detach().flatten(1)
            scales = rows.abs().amax(1).clamp(min=1e-30) / 32767
            integers = (rows / scales[:, None]).round().to(torch.int16)
            rounded.append((scales, layer.bias.detach(), integers))
        if isinstance(layer, nn.Conv2d):
            padding = int(layer.padding[0])
        layers.append((_KINDS[type(layer)], sizes, padding))
    return layers, rounded


def _compute(
    scaling: nn.Module, layers: list[Layer], rounded: list[Rounded], x: Tensor
) -> Tensor:
    """Compute raw images (N, C, H, W) to logits as the page's script does."""
    x, weights = scaling(x), iter(rounded)
    for kind, sizes, padding in layers:
        if kind in ("conv", "dense"):
            scales, bias, integers = next(weights)
            weight = (integers * scales[:, None]).view(sizes)
            if kind == "conv":
                x = F.conv2d(x, weight, bias, padding=padding)
            else:
                x = F.linear(x.flatten(1), weight, bias)
        elif kind == "pool":
            x = F.max_pool2d(x, 2)
        else:
            x = F.pad(x, sizes) if kind == "border" else getattr(F, kind)(x)
    return x


# Pictures ---------------------------------------------------------------------------


def choose_preparation(
    path: str, stated: str | None, estimator: ImageClassifier
) -> tuple[str, str | None]:
    """Choose how pictures are prepared for a model: as for its training.

    Parameters
    ----------
    path : str
        The file of the model.
    stated : {"clothing", "resize"} or None
        The preparation stated in this file.
    estimator : ImageClassifier
        The model.

    Returns
    -------
    prepare : {"clothing", "resize"}
        As for ``load_photo``.
    note : str or None
        A note for the user if the preparation is a guess.
    """
    if stated is not None:
        return stated, None
    classes = estimator.classes_.tolist()
    is_fashion = sorted(classes, key=str) in (sorted(CLASS_NAMES), list(range(10)))
    if is_fashion and estimator.image_shape_ == (1, 28, 28):
        return "clothing", None
    return "resize", (
        f"{path} does not state how pictures are prepared for it; resize is assumed, "
        "since its classes or images are not those of Fashion-MNIST. --prepare sets "
        'it, and save_model(..., preparation="resize") stores it in the file'
    )


def pixel_factor(
    estimator: ImageClassifier, instead: str = "give rows of pixels, as .npy or .csv"
) -> tuple[float, str | None]:
    """Return the factor from pixels of 0 to 255 to the range the model was fitted on.

    Parameters
    ----------
    estimator : ImageClassifier
        The model.
    instead : str
        What else to do, for the error of a model that accepts no pictures.

    Returns
    -------
    factor : float
        1, or 1/255 for a model that was fitted on pixels of 0 to 1.
    note : str or None
        A note for the user if pixels are scaled.

    Raises
    ------
    ValueError
        If the model does not accept pictures: for another number of channels, rows that
        do not fill an image, or pixels of another range.
    """
    shape = estimator.image_shape_
    if shape[0] not in (1, 3) or math.prod(shape) != estimator.n_features_in_:
        raise ValueError(
            f"the model was fitted on {estimator.n_features_in_} pixels in images of "
            f"shape {shape}, and pictures are grey (1) or RGB (3); {instead}"
        )
    highest, fitted = fitted_range(estimator.module_)
    if highest == 255:
        return 1, None
    if highest == 1:
        return 1 / 255, f"the model was fitted on {fitted}: pictures are scaled to 0..1"
    raise ValueError(
        f"the model was fitted on {fitted}, and it is not known how to scale pictures "
        f"of 0 to 255 to this range; {instead}"
    )
