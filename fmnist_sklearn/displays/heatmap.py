"""The scores of a search over two of its parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .style import AS_IT_IS, drawn_text, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(kw_only=True, eq=False, repr=False)
class SearchHeatmapDisplay:
    """Mean scores of a search over two parameters, a cell for each pair of values.

    It is recommended to use :meth:`from_search` to create a display. All parameters
    are stored as attributes.

    Parameters
    ----------
    scores : ndarray of shape (n_y, n_x)
        Score of each pair of values; nan if the search did not try the pair.

    x_values, y_values : sequence
        Values of the parameters, a column and a row each.

    x, y : str
        Names of the parameters.

    score_name : str, default="accuracy"
        What the scores are.

    dropped : ndarray of shape (n_y, n_x), dtype bool, default=None
        Pairs that a race dropped early, whose scores are those of fewer folds or of a
        short fit; they are written in parentheses.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the heat map.

    figure_ : matplotlib Figure
        Figure containing it.

    im_ : matplotlib AxesImage
        The coloured cells.

    text_ : ndarray of shape (n_y, n_x), dtype matplotlib Text
        The score written in each cell; None in empty cells, and in all cells with
        ``annotate=False``.

    See Also
    --------
    TrainingCurvesDisplay : Metrics of one fit against the epoch.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from fmnist_sklearn import SearchHeatmapDisplay
    >>> display = SearchHeatmapDisplay(
    ...     scores=np.array([[0.81, 0.80], [0.88, 0.86]]),
    ...     x_values=[64, 128], y_values=[0.001, 0.01], x="batch_size", y="lr",
    ... )
    >>> _, ax = plt.subplots()
    >>> display.plot(ax).ax_.get_ylabel()
    'lr'
    """

    scores: np.ndarray
    x_values: Sequence[Any]
    y_values: Sequence[Any]
    x: str
    y: str
    score_name: str = "accuracy"
    dropped: np.ndarray | None = None

    def plot(
        self,
        ax: Axes | None = None,
        *,
        annotate: bool = True,
        cmap: Any = "viridis",
        colorbar: bool = True,
        im_kw: Mapping[str, Any] | None = None,
    ) -> SearchHeatmapDisplay:
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure and axes are created.

        annotate : bool, default=True
            Whether to write the score into each cell.

        cmap : str or matplotlib Colormap, default="viridis"
            Colours of the scores.

        colorbar : bool, default=True
            Whether to show what the colours mean.

        im_kw : mapping, default=None
            Keyword arguments for matplotlib's ``imshow``.

        Returns
        -------
        display : :class:`SearchHeatmapDisplay`
            The display itself.
        """
        ax = new_axes() if ax is None else ax
        # The first row is the lowest: small values at the bottom, as on any axis.
        self.im_ = ax.imshow(
            np.ma.masked_invalid(self.scores),
            **{"cmap": cmap, "origin": "lower", "aspect": "auto", **(im_kw or {})},
        )
        if colorbar:
            ax.figure.colorbar(self.im_, ax=ax, label=self.score_name)
        # Each value has a cell of its own, whatever the distances between the values.
        for axis, values, n_characters in (
            (ax.xaxis, self.x_values, max(48 // len(self.x_values), 12)),
            (ax.yaxis, self.y_values, 30),
        ):
            labels = [drawn_text(text, n_characters) for text in tick_labels(values)]
            axis.set_ticks(range(len(labels)), labels=labels, **AS_IT_IS)
        ax.set(xlabel=drawn_text(self.x), ylabel=drawn_text(self.y))
        self.text_ = np.full(np.shape(self.scores), None, dtype=object)
        for (row, column), score in np.ndenumerate(self.scores):
            if not annotate or math.isnan(score):
                continue
            ((red, green, blue, _),) = self.im_.to_rgba(np.array([score]))
            is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5  # luma
            color = "white" if is_dark else "black"
            is_dropped = self.dropped is not None and self.dropped[row, column]
            self.text_[row, column] = ax.text(
                column,
                row,
                f"({score:.4f})" if is_dropped else f"{score:.4f}",
                ha="center",
                va="center",
                color=color,
            )
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        x: str | None = None,
        y: str | None = None,
        ax: Axes | None = None,
        **plot_kw: Any,
    ) -> SearchHeatmapDisplay:
        """Draw the scores of a fitted search.

        Parameters
        ----------
        search : fitted search or ``cv_results_``
            A ``GridSearchCV``, ``RandomizedSearchCV`` or halving search, or its
            ``cv_results_``. The score is the one named "accuracy", or the only one. If
            a halving search tried a candidate repeatedly, the last trial counts (not
            where its resource is a parameter). Candidates that a
            :class:`~fmnist_sklearn.RacingSearchCV` dropped count only where it dropped
            all of a pair.

        x, y : str, default=None
            Names of the parameters along the axes, as in the search
            (``clf__lr``) or without their prefixes (``lr``). May be left out if exactly
            two were searched over: the first is then `y`. Scores of equal pairs,
            which differ in further parameters, are averaged.

        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure and axes are created.

        **plot_kw : dict
            `annotate`, `cmap`, `colorbar` and `im_kw`, see :meth:`plot`.

        Returns
        -------
        display : :class:`SearchHeatmapDisplay`
            The display that was drawn.

        Raises
        ------
        ValueError
            If `x` and `y` are not two of the parameters that vary, or are left out
            although not exactly two do; if the results do not have a single score.
        sklearn.exceptions.NotFittedError
            If the search is not fitted.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.model_selection import GridSearchCV
        >>> from sklearn.svm import SVC
        >>> from fmnist_sklearn import SearchHeatmapDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> search = GridSearchCV(SVC(), {"C": [0.1, 1], "gamma": [0.01, 0.1, 1]})
        >>> _, ax = plt.subplots()
        >>> display = SearchHeatmapDisplay.from_search(search.fit(X, y), ax=ax)
        >>> display.scores.shape, display.x, display.y
        ((2, 3), 'gamma', 'C')
        """
        return cls(**score_grid(search, x, y)).plot(ax, **plot_kw)


def score_grid(search: Any, x: str | None = None, y: str | None = None) -> Any:
    """Return the parameters of a :class:`SearchHeatmapDisplay`, without drawing it.

    Parameters
    ----------
    search, x, y
        As for :meth:`SearchHeatmapDisplay.from_search`.

    Returns
    -------
    params : dict
        `scores`, `x_values`, `y_values`, `x`, `y` and `score_name`.
    """
    if not isinstance(search, Mapping):
        check_is_fitted(search, "cv_results_")
        search = search.cv_results_
    import pandas as pd  # takes time, and other displays do without it

    metrics = [name for name in search if name.startswith("mean_test_")]
    known = ("mean_test_accuracy", "mean_test_score")
    metric = next((name for name in known if name in metrics), "")
    if not metric:
        raise ValueError(
            f"search must have a single score, or one named 'accuracy'; got {metrics}. "
            "Search with scoring='accuracy' or scoring=benchmark_scoring()."
        )
    x, y = _axes(searched_parameters(search), x, y)
    params = search["params"]
    values = [[candidate[name] for candidate in params] for name in (x, y)]
    x_values, y_values = map(_distinct, values)
    trials = pd.DataFrame(
        {
            "trial": list(map(repr, params)),
            "x": list(map(x_values.index, values[0])),
            "y": list(map(y_values.index, values[1])),
            "score": search[metric],
            "n_folds": search.get("n_folds", 0),
        }
    ).drop_duplicates("trial", keep="last")  # of a halving search
    trials["dropped"] = trials["n_folds"] < trials["n_folds"].max()
    all_dropped = trials.groupby(["y", "x"])["dropped"].transform("all")
    used = trials[trials["dropped"] == all_dropped]
    cells = used.groupby(["y", "x"])[["score", "dropped"]].mean().unstack()
    dropped = (cells["dropped"] == 1).to_numpy()
    return {
        "scores": cells["score"].to_numpy(),
        "dropped": dropped if dropped.any() else None,
        "x_values": x_values,
        "y_values": y_values,
        "x": x.rpartition("__")[2],
        "y": y.rpartition("__")[2],
        "score_name": metric.removeprefix("mean_test_"),
    }


def searched_parameters(cv_results: Mapping[str, Any]) -> list[str]:
    """Return the parameters that all candidates have and that vary among them."""
    candidates = cv_results["params"]
    return [
        name
        for name in candidates[0]
        if all(name in params for params in candidates)
        and len({repr(params[name]) for params in candidates}) > 1
    ]


def _axes(varied: list[str], x: str | None, y: str | None) -> tuple[str, str]:
    """Return the full names of the parameters along x and y."""
    full = {name.rpartition("__")[2]: name for name in varied}
    if len(full) < len(varied):  # ambiguous: only full names are taken
        full = {}
    along_x, along_y = (full.get(str(name), name) for name in (x, y))
    if len(varied) == 2:
        # An axis that is left out has the only other parameter.
        along_y = along_y or next(name for name in varied if name != along_x)
        along_x = along_x or next(name for name in varied if name != along_y)
    if along_x not in varied or along_y not in varied or along_x == along_y:
        raise ValueError(
            f"x and y must name two of the parameters that vary, {varied}, and may be "
            "left out only if exactly two vary (scores are averaged over the others); "
            f"got x={x!r}, y={y!r}."
        )
    return along_x, along_y


def _distinct(values: Any) -> list[Any]:
    """Return the distinct values: numbers by size, others in order of appearance."""
    distinct = list({repr(value): value for value in values}.values())
    if all(isinstance(v, Real) and not isinstance(v, bool) for v in distinct):
        distinct.sort()
    return distinct


def tick_labels(values: Iterable[Any]) -> list[str]:
    """Return values as short texts: three digits of a number, the name of a class."""
    return [
        # numpy's float64 is a float
        format(value, ".3g")
        if isinstance(value, float)
        else getattr(value, "__name__", str(value))
        for value in values
    ]
