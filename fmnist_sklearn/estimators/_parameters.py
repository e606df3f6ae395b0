"""The constructor's parameters: storing, listing, setting and checking them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

from sklearn.utils._param_validation import validate_parameter_constraints
from skorch.utils import params_for


def is_nested(name: str) -> bool:
    """Whether a name is one of skorch's, such as ``module__dropout``."""
    return "__" in name and not name.startswith("_")


class ParametersMixin:
    """Parameters are those of the constructor's signature, and skorch's nested ones.

    A class writes its constructor out, keyword-only, with ``**skorch__params`` for the
    double-underscore names, and hands ``locals()`` to ``_store``. A subclass may write
    all parameters out again, as scikit-learn has it, or name its own and pass
    ``**kwargs`` on: its constructor then takes what the one above it takes.
    """

    _parameter_constraints: dict[str, list[Any]]
    prefixes_: Any
    module: Any
    criterion: Any
    optimizer: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let a constructor with ``**kwargs`` show all parameters that it passes on."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            init: Any = cls.__init__
            init.__signature__ = _whole_signature(cls)

    # Double-underscore parameters live in one attribute: scikit-learn wants no public
    # attribute of an unfitted estimator but those that its constructor names.
    _nested: Mapping[str, Any] = MappingProxyType({})

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, or a double-underscore parameter."""
        if is_nested(name):
            self.__dict__["_nested"] = {**self._nested, name: value}
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """Get a double-underscore parameter, which is no attribute by itself."""
        if is_nested(name) and name in self._nested:
            return self._nested[name]
        return super().__getattribute__(name)  # raises what was raised before

    def __delattr__(self, name: str) -> None:
        """Delete an attribute, or a double-underscore parameter."""
        if name in self._nested:
            rest = {key: value for key, value in self._nested.items() if key != name}
            self.__dict__["_nested"] = rest
        else:
            super().__delattr__(name)

    def _get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return the parameters of a part, as skorch looks them up."""
        return params_for(prefix, self._nested)

    def _store(self, arguments: dict[str, Any]) -> None:
        """Set a constructor's arguments as attributes, and nothing else."""
        nested = arguments["skorch__params"]
        for name in nested:
            if not is_nested(name):
                raise TypeError(
                    f"{type(self).__name__}() got an unexpected keyword argument "
                    f"{name!r}{self._likely_name(name)}"
                )
        plain = arguments.keys() - {"self", "skorch__params", "__class__"}
        for name in arguments:
            if name in plain:
                setattr(self, name, arguments[name])
        for name, value in nested.items():
            setattr(self, name, value)

    @classmethod
    def _constructor_names(cls) -> list[str]:
        _, *parameters = inspect.signature(cls.__init__).parameters.values()
        return [
            p.name
            for p in parameters
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]

    @classmethod
    def _takes_nested_names(cls) -> bool:
        parameters = inspect.signature(cls.__init__).parameters.values()
        return any(p.kind is p.VAR_KEYWORD for p in parameters)

    @classmethod
    def _likely_name(cls, name: str) -> str:
        for part in sorted(cls.prefixes_, key=len, reverse=True):
            rest = name.removeprefix(part)
            is_short = rest.startswith("_") or rest in _keyword_names(cls.module)
            if name.startswith(part) and is_short and rest.strip("_"):
                return f"; did you mean {part}__{rest.lstrip('_')}?"
        return _did_you_mean(name, cls._constructor_names())

    def _get_param_names(self) -> list[str]:
        return sorted([*self._constructor_names(), *self._nested])

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
            if is_nested(name) and not self._takes_nested_names():
                raise ValueError(
                    f"{type(self).__name__} cannot take {name!r}: its constructor has "
                    "no **kwargs for double-underscore names, so that clone would lose "
                    "it. Give the constructor **kwargs, and pass them to the one above."
                )
            if name not in known and not is_nested(name):
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}"
                    f"{self._likely_name(name)} Valid parameters are: {known!r}."
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    @property
    def _params_to_validate(self) -> set[str]:
        """Those names that skorch checks too."""
        return set(self._nested)

    def _check_params(self) -> None:
        """Check all parameters' values and the double-underscore names.

        Raises
        ------
        ValueError
            Naming the parameter, what came and what was expected.
        """
        # A subclass may fix some of them, which its constructor then does not name.
        params = {name: getattr(self, name) for name in self._parameter_constraints}
        validate_parameter_constraints(
            self._parameter_constraints, params, caller_name=type(self).__name__
        )
        accepted = {
            "module": _keyword_names(self.module),
            "criterion": _keyword_names(self.criterion) - {"reduction"},
            "optimizer": _keyword_names(self.optimizer) | {"param_groups"},
        }
        for name in self._params_to_validate:
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


def _whole_signature(cls: Any) -> inspect.Signature:
    """Return a constructor's signature, with what its ``**kwargs`` pass on."""
    own = inspect.signature(vars(cls)["__init__"]).parameters
    above = inspect.signature(super(cls, cls).__init__).parameters
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


def _keyword_names(function: Any) -> set[str]:
    """Names of the arguments of a function or class, without the first."""
    names = list(inspect.signature(function).parameters)
    return set(names[1:] if names and names[0] == "params" else names)


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


def _did_you_mean(
    name: str, candidates: Any, *, prefix: str = "", suffix: str = ""
) -> str:
    if not prefix and name in _ALIASES:
        return f"; did you mean {_ALIASES[name]}?"
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f"; did you mean {prefix}{close[0]}{suffix}?" if close else "."
