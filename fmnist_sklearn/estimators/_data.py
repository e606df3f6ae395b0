"""X, y and weights, validated and made the dataset that a training runs on."""

from __future__ import annotations

import os
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np
import torch
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data
from skorch.utils import is_dataset
from torch.utils.data import Subset

from ..training import (
    ImageDataset,
    build_module,
    split_rows,
    weights_as_float32,
)
from . import _images as images
from ._caller import warn_user

_LARGE_IMAGE = 10_000  # pixels; for smaller ones the networks are not large
_MANY_PARAMETERS = 50_000_000

# Networks that were given pixels of another range, which was told.
_told_of_range: WeakSet[torch.nn.Module] = WeakSet()


class Checked(NamedTuple):
    """Validated arrays, of equal length."""

    pixels: np.ndarray  # (n, n_columns)
    labels: np.ndarray  # (n,)
    weights: np.ndarray | None  # (n,), float64


def check_rows(
    net: Any, X: Any, y: Any, sample_weight: Any, *, first_call: bool
) -> Checked:
    """Validate images, labels and weights, and leave out rows of weight 0.

    Parameters
    ----------
    net : ImageClassifier
        Gets ``n_features_in_``, ``feature_names_in_`` and ``image_shape_`` in the first
        call; later ones are held to them.
    X, y, sample_weight : array-like
        As for ``fit``.
    first_call : bool
        Whether these data decide what an image is.
    """
    expected = net.image_shape if first_call else net.image_shape_
    expected = None if expected is None else tuple(expected)
    X, shape = images.flatten_images(X, expected)
    if is_dataset(X):
        root = getattr(X, "root", None)
        remedy = "for data that does not fit in memory see partial_fit"
        if isinstance(root, str | os.PathLike) and hasattr(X, "samples"):
            remedy = (
                f"load its folder with load_image_folder({os.fspath(root)!r}), and "
                "pass images and target of what it returns"
            )
        raise TypeError(
            f"X must be an array of images, got a {type(X).__name__}; {remedy}"
        )
    pixels, labels = validate_data(
        net, X, images.to_array(y, name="y"), reset=first_call, dtype="numeric"
    )
    check_classification_targets(labels)
    if first_call:
        n_columns = pixels.shape[1]
        if net.image_shape is not None:
            shape = images.check_image_shape(net.image_shape, n_columns)
        net.image_shape_ = shape or images.infer_image_shape(n_columns)
        if n_columns >= _LARGE_IMAGE:
            _warn_of_size(net, len(np.unique(labels)))
    if sample_weight is None:
        return Checked(pixels, labels, None)
    weights = _check_sample_weight(
        images.to_array(sample_weight, name="sample_weight"),
        pixels,
        dtype=np.float64,
        ensure_non_negative=True,
    )
    # A weight of 1e-50 beside one of 1 is 0 in float32, and so is its row.
    present = weights_as_float32(weights) > 0
    if not present.any():
        raise ValueError("sample_weight is zero for every row; nothing to train on")
    if present.all():
        return Checked(pixels, labels, weights)
    return Checked(pixels[present], labels[present], weights[present])


def check_pixels(net: Any, X: Any) -> np.ndarray:
    """Validate images of the shape that was fitted; return rows of pixels."""
    X, _ = images.flatten_images(X, net.image_shape_)
    pixels = validate_data(net, X, reset=False, dtype="numeric")
    _warn_of_range(net, pixels)
    return pixels


def _warn_of_size(net: Any, n_classes: int) -> None:
    """Tell of a network that is so large only for the size of the images."""
    arguments = {
        "image_shape": net.image_shape_,
        "n_classes": n_classes,
        "dropout": net.dropout,
        **net.get_params_for("module"),
    }
    module = build_module(net.module, arguments)
    n_parameters = sum(p.numel() for p in module.parameters())
    if n_parameters > _MANY_PARAMETERS:
        _, height, width = net.image_shape_
        warn_user(
            f"for images of {height} x {width} pixels the network has "
            f"{n_parameters:,} parameters, nearly all in its first dense layer, which "
            "grows with the area of the images; make them smaller, such as 64 x 64, or "
            "the layer narrower (module__hidden_units)"
        )


def _warn_of_range(net: Any, pixels: np.ndarray) -> None:
    """Tell once of pixels of 0 to 1 after 0 to 255, or the other way round."""
    scaling = getattr(net.module_, "scaling", None)
    if scaling is None or net.module_ in _told_of_range:
        return
    some = pixels[:256]  # enough to tell, at no cost
    lowest, highest = some.min(), some.max()
    in_unit = 0 < highest <= 1 and pixels.dtype.kind == "f"
    if not (lowest >= 0 and (in_unit or 10 < highest <= 255)):
        return
    mean, std = float(scaling.mean[0]), float(scaling.std[0])
    # Numbers from 0 to 1 have no larger variance than this.
    fitted_on_unit = 0 <= mean <= 1 and std**2 <= mean * (1 - mean) * 1.01
    if in_unit and mean + std > 5 and mean >= 0:
        remedy, came = "multiply them by 255", "0 to 1"
    elif not in_unit and fitted_on_unit:
        remedy, came = "divide them by 255", "0 to 255"
    else:
        return
    _told_of_range.add(net.module_)
    warn_user(
        f"X holds pixels of {came}, but the network was fitted on pixels of mean "
        f"{mean:.3g} and standard deviation {std:.3g}; {remedy}"
    )


def make_dataset(net: Any, checked: Checked, *, shared: bool = False) -> ImageDataset:
    """Turn validated arrays into tensors where the network is, labels encoded.

    With ``shared``, fits of equal images on a GPU at a time have one copy of them.
    """
    weights = checked.weights
    if weights is not None:
        weights = None if np.ptp(weights) == 0 else weights_as_float32(weights)
    targets = encode(checked.labels, net.classes_)
    return ImageDataset(
        images.to_image_tensor(checked.pixels, net.image_shape_),
        torch.from_numpy(targets),
        None if weights is None else torch.from_numpy(weights),
    ).to(net.device_, shared=shared)


def unlabelled_dataset(net: Any, X: Any) -> ImageDataset:
    """Validate images of the shape that was fitted; they stay where memory is large."""
    pixels = images.to_image_tensor(check_pixels(net, X), net.image_shape_)
    return ImageDataset(pixels, torch.zeros(len(pixels), dtype=torch.int64))


def encode(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Turn labels into class indices, int64.

    Raises
    ------
    ValueError
        For a label that is not among the classes.
    """
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        raise ValueError(
            f"y holds labels that are not among the classes {classes!r}: {unknown!r}"
        )
    return np.searchsorted(classes, labels).astype(np.int64, copy=False)


def validation_dataset(
    net: Any, X_val: Any, y_val: Any, sample_weight_val: Any
) -> ImageDataset:
    """Make a dataset of the user's own validation rows."""
    try:
        checked = check_rows(net, X_val, y_val, sample_weight_val, first_call=False)
        return make_dataset(net, checked)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"In X_val, y_val, sample_weight_val: {error}") from error


def split(net: Any, dataset: ImageDataset) -> tuple[Any, Any]:
    """Split into the parts to train and to validate on; the second may be None."""
    targets = dataset.targets.cpu().numpy()
    if net.train_split is not None:
        return net.train_split(dataset, targets)
    if net.validation_fraction == 0:
        if net.patience not in ("auto", None):
            raise ValueError(
                f"patience={net.patience!r} needs a validation part, but "
                "validation_fraction=0 leaves none; use patience='auto' or None"
            )
        return dataset, None
    train, valid = split_rows(
        targets, net.validation_fraction, net.shuffle, net._seeds.split
    )
    return Subset(dataset, train), Subset(dataset, valid)  # type: ignore[arg-type]


def weights_of_classes(
    class_weight: Any, classes: np.ndarray, labels: np.ndarray
) -> np.ndarray | None:
    """Turn ``class_weight`` into a weight for each class, float32.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        The parameter.
    classes : ndarray of shape (n_classes,)
        All labels.
    labels : ndarray of shape (n,)
        Those trained on, which "balanced" counts.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, dict):
        # scikit-learn's function would look for the label "3" under the number 3.
        known = classes.tolist()
        unknown = [label for label in class_weight if label not in known]
        if unknown and not set(known) <= class_weight.keys():
            raise ValueError(
                f"class_weight names {unknown!r}, but the classes are {classes!r}"
            )
        weights = np.array([class_weight.get(c, 1) for c in known], float)
    else:
        weights = compute_class_weight(class_weight, classes=classes, y=labels)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError(
            f"class_weight={class_weight!r} gives the classes {classes!r} the weights "
            f"{weights!r}; they must be finite and not negative, and one must be "
            "above 0"
        )
    return weights_as_float32(weights)
