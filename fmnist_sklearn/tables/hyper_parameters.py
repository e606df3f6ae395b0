"""The hyper-parameters that vary among the candidates of searches, as columns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd


class Candidates(NamedTuple):
    """What one search tried."""

    params: Sequence[Mapping[str, Any]]
    models: list[str]  # class of each
    known: Mapping[str, Any]  # parameters of the estimator that was searched with


def hyper_parameters(
    searches: Sequence[Candidates], taken: set[str]
) -> dict[str, pd.Series]:
    """Make a column for each hyper-parameter that varies.

    Parameters
    ----------
    searches : sequence of Candidates
        Their rows follow each other.
    taken : set of str
        Names of columns that there are already.
    """
    import pandas as pd

    models = [model for search in searches for model in search.models]
    columns = {}
    for label, names in _labels(searches).items():
        values: list[Any] = []
        told: set[str] = set()
        for search in searches:
            of_search = [_value(p, search.known, label, names) for p in search.params]
            values += of_search
            if search.known or any(search.params):  # not of a cross-validation
                told.update(map(repr, of_search))
        if len(told) == 1:
            continue
        shown = _short_names(values)
        if list(map(str, shown)) == models:
            continue  # the swapped model itself
        # As objects, integers beside nan stay integers and None stays None.
        as_object = any(v is None or v is math.nan for v in shown)
        column = f"param_{label}" if label in taken else label
        columns[column] = pd.Series(shown, dtype=object if as_object else None)
    return columns


def _labels(searches: Sequence[Candidates]) -> dict[str, list[str]]:
    """Group the parameters' names by their last part, where that tells them apart."""
    of_search = [
        list(dict.fromkeys(name for params in search.params for name in params))
        for search in searches
    ]
    ambiguous = {
        last
        for names in of_search
        for last, count in Counter(map(_last_part, names)).items()
        if count > 1
    }
    labels: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for names in of_search for name in names):
        last = _last_part(name)
        labels.setdefault(name if last in ambiguous else last, []).append(name)
    return labels


def _value(
    params: Mapping[str, Any], known: Mapping[str, Any], label: str, names: list[str]
) -> Any:
    """Find a candidate's value: its own, or else that of its estimator."""
    for name in names:
        if name in params:
            return params[name]
    # What belongs to a step that the candidate replaces is not known.
    kept = {
        name: value
        for name, value in known.items()
        if (name in names or _last_part(name) == label)
        and not any(name.startswith(f"{step}__") for step in params)
    }
    named = [value for name, value in kept.items() if name in names]
    found = named or list(kept.values())
    return found[0] if len(found) == 1 else math.nan


def _last_part(name: str) -> str:
    return name.rpartition("__")[2]


def _short_names(values: list[Any]) -> list[Any]:
    """Name classes, functions and estimators; leave other values as they are."""

    def short(value: Any) -> Any:
        if callable(value) or hasattr(value, "get_params"):
            return getattr(value, "__name__", type(value).__name__)
        return value

    names = [short(value) for value in values]
    if len(set(map(repr, names))) == len(set(map(repr, values))):
        return names
    # Two of a class: what sets them apart must show, on one line.
    return [
        value if name is value else " ".join(repr(value).split())
        for name, value in zip(names, values, strict=True)
    ]
