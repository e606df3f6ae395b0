"""The constructors' parameters: allowed values, and suggestions for misspelt names."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import joblib
import torch

# Private, but what scikit-learn's own estimators describe their parameters with; there
# is no public way to the same error messages.
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)

from ..storage import FitCache
from ..training import SCHEDULES, TrainingNet

CONSTRAINTS: dict[str, list[Any]] = {
    "lr": [Interval(Real, 0, None, closed="neither")],
    "batch_size": [
        Interval(Integral, 1, None, closed="left"),
        Options(Integral, {-1}),
        StrOptions({"auto"}),
    ],
    "max_epochs": [Interval(Integral, 1, None, closed="left")],
    "patience": [
        Interval(Integral, 1, None, closed="left"),
        StrOptions({"auto"}),
        None,
    ],
    "load_best": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "shuffle": ["boolean"],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "optimizer": [callable],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "lr_schedule": [StrOptions(set(SCHEDULES)), callable, None],
    "augment": [Mapping, callable, None],
    "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    "ema_decay": [Interval(Real, 0, 1, closed="left"), None],
    "teacher": [HasMethods("predict_proba"), list, tuple, None],
    "distillation_weight": [Interval(Real, 0, 1, closed="both")],
    "distillation_temperature": [Interval(Real, 0, None, closed="neither")],
    "predict_flip": ["boolean"],
    "pixel_scaling": [StrOptions({"standardize", "symmetric"})],
    "image_shape": ["array-like", None],
    "class_weight": [dict, StrOptions({"balanced"}), None],
    "device": [str, torch.device],
    "precision": [StrOptions({"auto", "float32", "bfloat16"})],
    "random_state": ["random_state"],
    "warm_start": ["boolean"],
    "callbacks": [list, tuple, StrOptions({"disable"}), None],
    "train_split": [callable, None],
    "iterator_train": [callable, None],
    "iterator_valid": [callable, None],
    "memory": [str, os.PathLike, joblib.Memory, FitCache, None],
    "verbose": ["verbose"],
}


def is_nested(name: str) -> bool:
    """Whether a name is a double-underscore one of skorch, as ``module__dropout``."""
    return "__" in name and not name.startswith("_")


def check_values(net: TrainingNet) -> None:
    """Check the value of each parameter.

    Raises
    ------
    ValueError
        Naming the parameter, the value received and what was expected.
    """
    constraints = net._parameter_constraints
    # All of them: a subclass may fix some, which its constructor then does not name.
    params = {name: getattr(net, name) for name in constraints}
    validate_parameter_constraints(constraints, params, caller_name=type(net).__name__)


def check_nested_names(net: TrainingNet, names: Iterable[str]) -> None:
    """Check that double-underscore names belong to a part of the net.

    Raises
    ------
    ValueError
        Naming the first that does not, and the likely name.
    """
    # The other parts are checked when they are built. Training needs the loss of each
    # row, so users cannot choose the criterion's reduction.
    accepted = {
        "module": keyword_names(net.module),
        "criterion": keyword_names(net.criterion) - {"reduction"},
        "optimizer": keyword_names(net.optimizer) | {"param_groups"},
    }
    for name in names:
        prefix, _, rest = name.partition("__")
        if prefix not in net.prefixes_:
            raise ValueError(
                f"{name!r} does not start with the name of a part of the net"
                f"{did_you_mean(prefix, net.prefixes_, suffix='__')} Parts are: "
                f"{', '.join(net.prefixes_)}."
            )
        known = accepted.get(prefix, {rest})
        if rest not in known and "kwargs" not in known:
            raise ValueError(
                f"{name!r} is not a parameter of {prefix}"
                f"{did_you_mean(rest, known, prefix=prefix + '__')} It takes: "
                f"{', '.join(sorted(known))}."
            )


def keyword_names(function: Callable[..., Any]) -> set[str]:
    """Return the names of a function's arguments, without an optimizer's ``params``."""
    return set(inspect.signature(function).parameters) - {"params"}


def whole_signature(cls: Any) -> inspect.Signature:
    """Return a constructor's signature, including what its ``**kwargs`` pass on."""
    own = inspect.signature(vars(cls)["__init__"]).parameters
    above = inspect.signature(super(cls, cls).__init__).parameters
    # **skorch__params are parameters themselves; other **kwargs go to the class above.
    passes_on = any(
        p.kind is p.VAR_KEYWORD and p.name != "skorch__params" for p in own.values()
    )
    if not passes_on or "skorch__params" not in above:
        return inspect.Signature(list(own.values()))
    parameters = [p for p in own.values() if p.kind is not p.VAR_KEYWORD]
    parameters += [
        p if p.kind is p.VAR_KEYWORD else p.replace(kind=p.KEYWORD_ONLY)
        for p in list(above.values())[1:]
        if p.name not in own
    ]
    return inspect.Signature(parameters)


# What other libraries call our parameters.
_ALIASES = {
    "alpha": "weight_decay",
    "class_weights": "class_weight",
    "early_stopping": "patience",
    "epochs": "max_epochs",
    "hidden_layer_sizes": "module__hidden_units",
    "hidden_units": "module__hidden_units",
    "learning_rate": "lr",
    "learning_rate_init": "lr",
    "max_iter": "max_epochs",
    "momentum": "optimizer__momentum",
    "n_epochs": "max_epochs",
    "n_iter_no_change": "patience",
    "scheduler": "lr_schedule",
    "seed": "random_state",
    "widths": "module__widths",
}


def did_you_mean(
    name: str, candidates: Iterable[str], *, prefix: str = "", suffix: str = ""
) -> str:
    """Return the end of an error message: the likely name, or a full stop."""
    if not prefix and name in _ALIASES:
        return f"; did you mean {_ALIASES[name]}?"
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f"; did you mean {prefix}{close[0]}{suffix}?" if close else "."
