"""Trained networks in files that hold no pickle: save, load, inspect."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from msgspec import Meta, Struct
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ._sklearn import warn_user, wrong_estimator
from ._version import __version__
from .estimators import ImageClassifier
from .estimators.state import (
    State,
    Text,
    changed_params,
    decode_items,
    encode_items,
    get_state,
    set_state,
)
from .models import MODELS
from .storage import Container, bounded, read_container, write_container
from .training.device import resolve_device

_CLASSES = {
    cls.__name__: cls
    for cls in (*(model.cls for model in MODELS.values()), ImageClassifier)
}
_FORMAT = "3"  # of model files, as `inspect_model` returns it

Preparation = Literal["clothing", "resize"] | None
_Name = Annotated[str, Meta(max_length=200)]
_Plain = bool | int | float | Text | None


class _Model(Struct, forbid_unknown_fields=True, rename={"class_": "class"}):
    """The JSON of a model file."""

    class_: Literal["LeNet5Classifier", "MiniVGGClassifier", "ImageClassifier"]
    params: dict[str, Any]
    state: State
    versions: dict[str, Annotated[str, Meta(max_length=100)]]
    preparation: Preparation
    metadata: Annotated[dict[_Name, _Plain], Meta(max_length=100)]


def save_model(
    estimator: ImageClassifier,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
    preparation: Preparation = None,
) -> None:
    """Write a fitted classifier to one file without a pickle in it.

    The file (safetensors, with a checksum) holds the weights, the labels, the history
    and the parameters, but for ``memory``, a folder on this machine, and ``teacher``,
    which no prediction needs. The state of the optimizer is left out, so that
    ``partial_fit`` and ``warm_start`` continue from the weights with a new optimizer.
    Saved twice, a classifier gives the same bytes: the date in the file is that of the
    fit. Of a network of your own, the file holds the weights and the name of the class,
    not its code.

    Parameters
    ----------
    estimator : ImageClassifier, LeNet5Classifier or MiniVGGClassifier
        A fitted one, or one of a subclass that only names its ``module``, which is
        saved as an ``ImageClassifier``.
    path : str or path-like
        The file to write; one that exists is replaced, as a whole or not at all.
    metadata : mapping of str to str, number, bool or None, optional
        Further entries of the file, such as ``{"data": "shoes-3"}``: up to 100 names
        of up to 200 characters, strings of up to 10,000. ``inspect_model`` returns
        them.
    preparation : {"clothing", "resize"} or None, default=None
        How a picture of any size becomes an image such as the classifier was trained
        on: "clothing" cuts out one article on a plain background, "resize" fits all of
        it in. For ``fmnist-sklearn predict``; None leaves it open.

    Raises
    ------
    TypeError
        For another kind of estimator; for labels other than numbers, booleans and
        strings; for a network whose layers were changed, or whose ``module__...``
        only a pickle could hold.
    ValueError
        For parameters out of range, for weights that are not finite, and for
        `metadata` beyond its bounds.
    OSError
        If the file cannot be written, or `path` is a device or a folder.
    sklearn.exceptions.NotFittedError
        Before ``fit``.

    Warns
    -----
    UserWarning
        For parameters that are left out, since they are objects, such as callbacks and
        functions, or belong to one (``callbacks__...``): the loaded estimator has their
        defaults. No prediction depends on them, only a next fit.

    Examples
    --------
    >>> import tempfile
    >>> from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample
    >>> from fmnist_sklearn.persistence import load_model, save_model
    >>> X, y = load_fashion_mnist_sample(return_X_y=True)
    >>> net = LeNet5Classifier(max_epochs=1, patience=None).fit(X[:500], y[:500])
    >>> save_model(net, path := tempfile.mkdtemp() + "/net.safetensors")
    >>> bool((load_model(path).predict(X) == net.predict(X)).all())
    True
    """
    cls: Any = type(estimator)
    own = {name for name in vars(cls) if not name.endswith(("__", "_request"))}
    if cls.__base__ is ImageClassifier and own == {"module"}:
        cls = ImageClassifier
    # Of any other subclass, a file could not hold the code.
    if cls not in _CLASSES.values():
        raise wrong_estimator("save_model", estimator)
    check_is_fitted(estimator)
    estimator._check_params()
    # A folder here means nothing on another machine, and no prediction needs teachers.
    given = estimator.get_params() | {"memory": None, "teacher": None}
    given.pop("module", None)  # which the state names
    params, left_out = encode_items(given)
    # iterator_train__num_workers means nothing without its iterator_train.
    orphans = {key for key in params if key.partition("__")[0] in left_out}
    state, arrays, columns = get_state(estimator)
    left_out |= orphans | columns
    meta = {
        "class": cls.__name__,
        "params": {key: params[key] for key in sorted(params.keys() - orphans)},
        "state": msgspec.to_builtins(state),
        "versions": {"fmnist_sklearn": __version__, "torch": str(torch.__version__)},
        "preparation": preparation,
        "metadata": dict(metadata or {}),
    }
    try:
        module = estimator.module if cls is ImageClassifier else None
        again = _build(msgspec.convert(meta, _Model), arrays, module)
    except Exception as error:
        raise ValueError(f"load_model could not read it: {bounded(error)}") from error
    if repr(again.module_) != repr(estimator.module_):
        raise TypeError(
            "the network's layers were changed since it was built, and arrays cannot "
            "hold layers: keep it with pickle or joblib"
        )
    write_container(path, arrays, meta, kind="model")
    if left_out:
        warn_user(
            f"{path} leaves out what only a pickle could hold: "
            f"{', '.join(sorted(left_out))}"
        )


def load_model(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    module: type[nn.Module] | None = None,
) -> ImageClassifier:
    """Read a classifier that ``save_model`` wrote; nothing in the file is executed.

    Parameters
    ----------
    path : str or path-like
        The file.
    device : str, torch.device or None, default=None
        Replaces the parameter ``device`` of the file.
    module : class of torch.nn.Module or None, default=None
        The class of a network of your own. A file only names it, and nothing is
        imported by that name. It is called with the ``module__...`` in the file.

    Returns
    -------
    ImageClassifier, LeNet5Classifier or MiniVGGClassifier
        Fitted, on the device that its parameter ``device`` means on this machine, or
        on the CPU where this machine has no such device.

    Raises
    ------
    OSError
        If the file cannot be read; ``FileNotFoundError`` where it is missing.
    ValueError
        If the file is not one of ours, is damaged, or holds unknown or invalid
        content; if this machine does not have `device`; if `module` is missing, is
        given for a network of this package, or does not have the weights in the file.

    Warns
    -----
    UserWarning
        If `module` has another name than the class in the file.

    Examples
    --------
    >>> import tempfile
    >>> from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample
    >>> from fmnist_sklearn.persistence import load_model, save_model
    >>> X, y = load_fashion_mnist_sample(return_X_y=True)
    >>> net = LeNet5Classifier(max_epochs=1, patience=None).fit(X[:500], y[:500])
    >>> save_model(net, path := tempfile.mkdtemp() + "/net.safetensors")
    >>> load_model(path, device="cpu").device_
    device(type='cpu')
    """
    return load_model_and_preparation(path, device=device, module=module)[0]


def load_model_and_preparation(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    module: type[nn.Module] | None = None,
) -> tuple[ImageClassifier, Preparation]:
    """Read a classifier, and how pictures are prepared for it, if the file states it.

    Parameters
    ----------
    path, device, module
        As for ``load_model``.

    Returns
    -------
    estimator : ImageClassifier, LeNet5Classifier or MiniVGGClassifier
    preparation : {"clothing", "resize"} or None
    """
    if device is not None:
        resolve_device(device)
    with _opened(path) as (container, model):
        if device is not None:
            model.params["device"] = device
        return _build(model, container.arrays, module), model.preparation


class ModelSummary(Bunch):
    """The description of a model file; ``print`` shows it in lines."""

    def __str__(self) -> str:
        """Show what is known in aligned lines, without control characters.

        Of the parameters, those that are not the defaults.
        """
        shown = {**self, "params": changed_params(_CLASSES[self.model], self.params)}
        texts = {name: _as_text(value) for name, value in shown.items()}
        return "\n".join(
            f"{name:<12}  {bounded(text)}".replace("\n", "<U+000A>")
            for name, text in texts.items()
            if text
        )


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={v!r}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value or "")


def inspect_model(path: str | os.PathLike[str]) -> ModelSummary:
    """Return the description of a model file, without building a network.

    Parameters
    ----------
    path : str or path-like
        A file that ``save_model`` wrote.

    Returns
    -------
    summary : ModelSummary
        A :class:`~sklearn.utils.Bunch` with ``path``, ``model`` (the class),
        ``module`` (that of a network of your own, else None), ``n_parameters``
        (learnable ones), ``image_shape`` (channels, height, width), ``classes``,
        ``n_epochs``, ``best_epoch`` (the one whose weights are kept), ``accuracy`` (of
        that epoch, on the validation part), ``fit_time`` (seconds), ``fit_ended``
        (date, UTC), ``preparation`` (of pictures), ``versions`` (of what wrote the
        file, and of its format), ``size`` (bytes), ``sha256``, ``metadata`` and
        ``params``. ``print`` shows them.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not one of ours, is damaged, or holds unknown content.

    Examples
    --------
    >>> import tempfile
    >>> from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample
    >>> from fmnist_sklearn.persistence import inspect_model, save_model
    >>> X, y = load_fashion_mnist_sample(return_X_y=True)
    >>> net = LeNet5Classifier(max_epochs=1, patience=None).fit(X[:500], y[:500])
    >>> save_model(net, path := tempfile.mkdtemp() + "/net.safetensors")
    >>> print(inspect_model(path))  # doctest: +ELLIPSIS
    path          ...net.safetensors
    model         LeNet5Classifier
    n_parameters  61,750
    ...
    """
    with _opened(path) as (container, model):
        state, fitted = model.state, msgspec.to_builtins(model.state.fitted)
        best = fitted.get("best_epoch_")
        row = decode_items(state.history[best - 1]) if best else {}
        return ModelSummary(
            path=os.fspath(path),
            model=model.class_,
            module=state.network,
            n_parameters=state.n_parameters,
            image_shape=state.image_shape,
            classes=state.classes.labels,
            n_epochs=len(state.history),
            best_epoch=best,
            accuracy=row.get("valid_acc"),
            fit_time=fitted.get("fit_time_"),
            fit_ended=fitted.get("_fit_ended"),
            preparation=model.preparation,
            versions={**model.versions, "format": _FORMAT},
            size=container.size,
            sha256=container.sha256,
            metadata=model.metadata,
            params=decode_items(model.params),
        )


@contextmanager
def _opened(path: Any) -> Iterator[tuple[Container, _Model]]:
    """Read a model file, and report any error meanwhile as one of the file.

    Its content can raise errors of any kind.
    """
    container = read_container(path, kind="model")
    try:
        yield container, msgspec.convert(container.meta, _Model)
    except Exception as error:
        raise ValueError(f"{path} cannot be loaded: {bounded(error)}") from None


def _build(
    model: _Model, arrays: dict[str, np.ndarray], module: Any = None
) -> ImageClassifier:
    """Make a fitted estimator of the content of a file."""
    params = decode_items(model.params)
    if params.get("memory") is not None:
        raise ValueError("it sets memory, and so a folder that fit would write to")
    network = model.state.network
    if module is None and network is not None:
        raise ValueError(
            f"its network is a {network}, which is never imported by the name "
            "in a file; pass that class, load_model(path, module=...)"
        )
    given = {} if module is None else {"module": module}
    estimator = _CLASSES[model.class_](**params, **given)
    estimator._check_params()
    if network is not None and network.split(".")[-1] != module.__name__:
        warn_user(f"the network was saved as a {network}, got module={module!r}")
    set_state(estimator, model.state, arrays)
    return estimator
