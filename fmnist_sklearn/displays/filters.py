"""The filters of a network's first convolution, as images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from .._unwrap import fitted_model
from .style import axes_for, grid_of_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage


@dataclass(kw_only=True, eq=False, repr=False)
class FiltersDisplay:
    """The filters of a network's first convolution, an image each.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, C, height, width)
        Weights. Filters of three channels are drawn in colour; of any other number,
        the mean over the channels is drawn.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that hold the filters.

    axes_ : ndarray of matplotlib Axes
        Axes of each filter.

    figure_ : matplotlib Figure
        Figure containing them.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from fmnist_sklearn import FiltersDisplay
    >>> _, ax = plt.subplots()
    >>> len(FiltersDisplay(filters=np.ones((6, 1, 5, 5))).plot(ax).axes_)
    6
    """

    filters: np.ndarray
    ax_: Axes = field(init=False)
    axes_: np.ndarray = field(init=False)
    figure_: Any = field(init=False)  # a Figure, or the SubFigure that holds the axes

    def plot(
        self,
        ax: Axes | None = None,
        *,
        n_columns: int = 8,
        cmap: Any = "RdBu_r",
        colorbar: bool = True,
        im_kw: Mapping[str, Any] | None = None,
    ) -> FiltersDisplay:
        """Draw the filters.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to divide among the filters. If None, a new figure is created.

        n_columns : int, default=8
            Filters in a row.

        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colours of the weights, the middle of which is 0. Not used for filters of
            three channels.

        colorbar : bool, default=True
            Whether to show what the colours mean.

        im_kw : mapping, default=None
            Keyword arguments for matplotlib's ``imshow``.

        Returns
        -------
        display : :class:`FiltersDisplay`
            The display itself.
        """
        n, n_channels = self.filters.shape[:2]
        n_columns = min(n_columns, n)
        ax = axes_for(ax, 0.9 * n_columns + 1, 0.95 * math.ceil(n / n_columns) + 0.3)
        cells = grid_of_axes(ax, n, n_columns)
        largest = float(np.abs(self.filters).max()) or 1.0
        image: AxesImage | None = None
        for cell, weights in zip(cells, self.filters, strict=True):
            if n_channels == 3:  # (3, h, w) -> (h, w, 3), 0 as middle grey
                drawn = (weights / largest + 1).transpose(1, 2, 0) / 2
                cell.imshow(drawn, **(im_kw or {}))
                continue
            limits = {"vmin": -largest, "vmax": largest}
            settings = {"cmap": cmap, **limits, **(im_kw or {})}
            image = cell.imshow(weights.mean(axis=0), **settings)
        if image is not None and colorbar:
            ax.figure.colorbar(image, ax=ax, label="weight")
        self.ax_, self.axes_, self.figure_ = ax, np.array(cells), ax.figure
        return self

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Axes | None = None, **plot_kw: Any
    ) -> FiltersDisplay:
        """Draw the filters of a fitted network.

        Parameters
        ----------
        estimator : fitted estimator or torch.nn.Module
            Such as :class:`~fmnist_sklearn.LeNet5Classifier`, a Pipeline or search
            that ends in it, or a network.

        ax : matplotlib Axes, default=None
            Axes to divide among the filters. If None, a new figure is created.

        **plot_kw : dict
            `n_columns`, `cmap`, `colorbar` and `im_kw`, see :meth:`plot`.

        Returns
        -------
        display : :class:`FiltersDisplay`
            The display that was drawn.

        Raises
        ------
        TypeError
            If there is no network.
        sklearn.exceptions.NotFittedError
            If it is not fitted.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from fmnist_sklearn import FiltersDisplay, MiniVGG
        >>> _, ax = plt.subplots()
        >>> FiltersDisplay.from_estimator(MiniVGG(), ax=ax).filters.shape
        (32, 1, 3, 3)
        """
        network = estimator
        if not isinstance(network, torch.nn.Module):
            model = fitted_model(estimator)
            check_is_fitted(model)
            if not hasattr(model, "module_"):
                raise TypeError(
                    "estimator must be a network, a fitted estimator with a network, "
                    "or a Pipeline or search that ends in one; got "
                    f"{type(model).__name__}."
                )
            network = model.module_
        layers = network.modules()
        first = next(layer for layer in layers if isinstance(layer, torch.nn.Conv2d))
        display = cls(filters=first.weight.detach().cpu().float().numpy())
        return display.plot(ax, **plot_kw)
