"""The constructor's parameters: storing, listing, setting and checking them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Self

import torch
from sklearn.utils._param_validation import (
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)

from ..training.augment import make_augment
from ..training.callbacks import SCHEDULES
from ..training.net import TrainingNet, is_nested


class ParameterNet(TrainingNet):
    """A net whose parameters are those of its constructor's signature.

    A subclass writes its constructor out, keyword-only, with ``**skorch__params`` for
    the double-underscore names, and hands ``locals()`` to ``_store``.
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
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
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "shuffle": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "optimizer": [callable],
        "lr_schedule": [StrOptions(set(SCHEDULES)), callable, None],
        "augment": [Mapping, callable, None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "ema_decay": [Interval(Real, 0, 1, closed="left"), None],
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
        "verbose": ["verbose"],
    }

    def _store(self, arguments: dict[str, Any]) -> None:
        """Set the constructor's arguments as attributes, and nothing else."""
        known = self._constructor_names()
        nested = arguments["skorch__params"]
        for name in nested:
            if not is_nested(name):
                raise TypeError(
                    f"{type(self).__name__}() got an unexpected keyword argument "
                    f"{name!r}{self._likely_name(name)}"
                )
        for name in known:
            setattr(self, name, arguments[name])
        for name, value in nested.items():
            setattr(self, name, value)

    @classmethod
    def _constructor_names(cls) -> list[str]:
        parameters = inspect.signature(cls.__init__).parameters.values()
        return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]

    @classmethod
    def _likely_name(cls, name: str) -> str:
        for part in sorted(cls.prefixes_, key=len, reverse=True):
            rest = name.removeprefix(part)
            is_short = rest.startswith("_") or rest in _keyword_names(cls.module)
            if name.startswith(part) and is_short and rest.strip("_"):
                return f"; did you mean {part}__{rest.lstrip('_')}?"
        return _did_you_mean(name, cls._constructor_names())

    def _get_param_names(self) -> list[str]:
        nested = (name for name in self.__dict__ if is_nested(name))
        return sorted([*self._constructor_names(), *nested])

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the constructor's parameters and the double-underscore ones given.

        Parameters
        ----------
        deep : bool, default=True
            Part of scikit-learn's interface; it makes no difference here.

        Returns
        -------
        dict
            Parameter names and values.
        """
        return {name: getattr(self, name) for name in self._get_param_names()}

    def set_params(self, **params: Any) -> Self:
        """Store parameters for the next fit; trained weights stay as they are.

        Parameters
        ----------
        **params : dict
            Names of the constructor, or double-underscore names of skorch.

        Returns
        -------
        self
            The estimator.

        Raises
        ------
        ValueError
            For a name that the constructor does not have; nothing is stored then.
        """
        known = self._constructor_names()
        for name in params:
            if name not in known and not is_nested(name):
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}"
                    f"{self._likely_name(name)} Valid parameters are: {known!r}."
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def _check_params(self) -> None:
        """Check all parameters' values and the double-underscore names.

        Raises
        ------
        ValueError
            Naming the parameter, what came and what was expected.
        """
        params = self.get_params(deep=False)
        nested = {name: params.pop(name) for name in list(params) if is_nested(name)}
        validate_parameter_constraints(
            self._parameter_constraints, params, caller_name=type(self).__name__
        )
        make_augment(self.augment)
        accepted = {
            "module": _keyword_names(self.module),
            "criterion": _keyword_names(self.criterion) - {"reduction"},
            "optimizer": _keyword_names(self.optimizer) | {"param_groups"},
        }
        for name in nested:
            prefix, _, rest = name.partition("__")
            if prefix not in self.prefixes_:
                raise ValueError(
                    f"{name!r} does not start with the name of a part of the net"
                    f"{_did_you_mean(prefix, self.prefixes_, suffix='__')} Parts are: "
                    f"{', '.join(self.prefixes_)}."
                )
            names = accepted.get(prefix, {rest})
            if rest not in names and "kwargs" not in names:
                raise ValueError(
                    f"{name!r} is not a parameter of {prefix}"
                    f"{_did_you_mean(rest, names, prefix=prefix + '__')} It takes: "
                    f"{', '.join(sorted(names))}."
                )


def _keyword_names(function: Any) -> set[str]:
    """Names of the arguments of a function or class, without the first."""
    names = list(inspect.signature(function).parameters)
    return set(names[1:] if names and names[0] == "params" else names)


# What other libraries call our parameters.
_ALIASES = {
    "alpha": "optimizer__weight_decay",
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
    "weight_decay": "optimizer__weight_decay",
    "widths": "module__widths",
}


def _did_you_mean(
    name: str, candidates: Any, *, prefix: str = "", suffix: str = ""
) -> str:
    if not prefix and name in _ALIASES:
        return f"; did you mean {_ALIASES[name]}?"
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f"; did you mean {prefix}{close[0]}{suffix}?" if close else "."
