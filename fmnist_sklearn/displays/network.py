"""What a network is: its layers as a diagram, and the filters of the first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._unwrap import fitted_model
from ..modules import layer_table
from .style import ROW_COLORS, axes_for, grid_of_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_BLUE, _ROSE, _GREEN, _GREY = ROW_COLORS
# kind of layer -> (its name, colour)
_KINDS = {
    "input": ("input", _GREY),
    "Conv2d": ("convolution", _BLUE),
    "MaxPool2d": ("max pooling", _ROSE),
    "Linear": ("dense", _GREEN),
}


def _network(estimator: Any) -> Any:
    """Find the network of a fitted estimator, or take a network as it is."""
    if hasattr(estimator, "image_shape") and hasattr(estimator, "named_modules"):
        return estimator
    model = fitted_model(estimator)
    check_is_fitted(model)
    if not hasattr(model, "module_"):
        raise TypeError(
            "estimator must be a fitted network of this package, or a Pipeline or "
            f"search that ends in one; got {type(model).__name__}."
        )
    return model.module_


class FiltersDisplay:
    """The filters of a network's first convolution, an image each.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, C, height, width)
        Weights. Three channels are drawn as colours; of other numbers, the mean.

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

    ax_: Axes
    axes_: np.ndarray
    figure_: Any  # a Figure, or the SubFigure that holds the axes

    def __init__(self, *, filters: np.ndarray) -> None:
        self.filters = filters

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
            Colours of the weights, the middle of which is 0. Not for filters of three
            channels, which have colours of their own.

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
        self.ax_ = ax
        self.axes_ = np.array(cells)
        self.figure_ = ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Axes | None = None,
        n_columns: int = 8,
        cmap: Any = "RdBu_r",
        colorbar: bool = True,
        im_kw: Mapping[str, Any] | None = None,
    ) -> FiltersDisplay:
        """Draw the filters of a fitted network.

        Parameters
        ----------
        estimator : fitted estimator or torch.nn.Module
            Such as :class:`~fmnist_sklearn.LeNet5Classifier`, a Pipeline or search
            that ends in it, or a network.

        ax, n_columns, cmap, colorbar, im_kw
            See :meth:`plot`.

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
        layers = _network(estimator).modules()
        first = next(layer for layer in layers if _kind(layer) == "Conv2d")
        display = cls(filters=first.weight.detach().cpu().float().numpy())
        return display.plot(
            ax, n_columns=n_columns, cmap=cmap, colorbar=colorbar, im_kw=im_kw
        )


def _kind(layer: Any) -> str:
    return layer._get_name().removeprefix("Parametrized")


class Step(NamedTuple):
    """A layer of the diagram, with those behind it that keep its shape."""

    kind: str  # a key of _KINDS, or the class of the layer
    name: str
    shape: tuple[int, ...]  # (C, H, W), or (n,)
    n_parameters: int


class LayersDisplay:
    """A network's layers as a diagram, from the image to the classes.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes.

    Parameters
    ----------
    steps : sequence of Step
        ``kind``, ``name``, ``shape`` and ``n_parameters`` of each layer that computes
        or changes the shape; those that only follow it are counted with it.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the diagram.

    figure_ : matplotlib Figure
        Figure containing it.

    See Also
    --------
    layer_table : The same as a table, every layer.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from fmnist_sklearn import LayersDisplay, LeNet5
    >>> _, ax = plt.subplots()
    >>> display = LayersDisplay.from_estimator(LeNet5(), ax=ax)
    >>> [step.name for step in display.steps]
    ['input', 'c1.conv', 'c1.pool', 'c3.conv', 'c3.pool', 'f5', 'f6', 'out']
    """

    ax_: Axes
    figure_: Any  # a Figure, or the SubFigure that holds the axes

    def __init__(self, *, steps: Sequence[Step]) -> None:
        self.steps = steps

    def plot(self, ax: Axes | None = None) -> LayersDisplay:
        """Draw the diagram.

        A box is as high as the images that leave its layer, and the wider the more
        channels they have.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure and axes are created.

        Returns
        -------
        display : :class:`LayersDisplay`
            The display itself.
        """
        from matplotlib.patches import Patch, Rectangle

        ax = axes_for(ax, 1.25 * len(self.steps) + 0.4, 3.6)
        tallest = max(_height(step) for step in self.steps)
        widest = max(_width(step) for step in self.steps)
        shown = {}
        for x, step in enumerate(self.steps):
            name, color = _KINDS.get(step.kind, (step.kind, _GREY))
            height, width = _height(step) / tallest, 0.75 * _width(step) / widest
            box = Rectangle(
                (x - width / 2, -height / 2),
                width,
                height,
                facecolor=color,
                edgecolor=color,
                alpha=0.75,
            )
            ax.add_patch(box)
            shown[name] = Patch(color=color, alpha=0.75, label=name)
            shape = " x ".join(map(str, step.shape))
            ax.text(x, 0.56, step.name, ha="center", va="bottom", fontsize="small")
            about = f"{shape}\n{step.n_parameters:,}" if step.n_parameters else shape
            ax.text(x, -0.56, about, ha="center", va="top", fontsize="small")
        for x in range(1, len(self.steps)):
            ax.annotate(
                "",
                (x - 0.4, 0),
                (x - 0.6, 0),
                arrowprops={"arrowstyle": "->", "color": _GREY},
            )
        ax.set(xlim=(-0.7, len(self.steps) - 0.3), ylim=(-0.95, 0.75))
        ax.set_axis_off()
        total = sum(step.n_parameters for step in self.steps)
        ax.legend(
            handles=list(shown.values()),
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            ncols=len(shown),
            frameon=False,
            title=f"shape and learnable parameters, {total:,} in all",
        )
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None) -> LayersDisplay:
        """Draw the layers of a network.

        Parameters
        ----------
        estimator : fitted estimator or torch.nn.Module
            Such as :class:`~fmnist_sklearn.LeNet5Classifier`, a Pipeline or search
            that ends in it, or a network.

        ax : matplotlib Axes, default=None
            See :meth:`plot`.

        Returns
        -------
        display : :class:`LayersDisplay`
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
        >>> from fmnist_sklearn import LayersDisplay, MiniVGG
        >>> _, ax = plt.subplots()
        >>> LayersDisplay.from_estimator(MiniVGG(), ax=ax).steps[1].shape
        (32, 32, 32)
        """
        network = _network(estimator)
        steps = [Step("input", "input", tuple(network.image_shape), 0)]
        rows: Any = layer_table(network).itertuples(index=False)
        for row in rows:
            name, _, kind = row.layer.removesuffix(")").partition(" (")
            kind = kind.removeprefix("Parametrized")
            computes = kind in ("Conv2d", "Linear")
            if computes or row.output_shape != steps[-1].shape:
                name = name.removeprefix("features.").removeprefix("head.")
                steps.append(Step(kind, name, row.output_shape, row.n_parameters))
            else:
                last = steps[-1]
                n_parameters = last.n_parameters + row.n_parameters
                steps[-1] = last._replace(n_parameters=n_parameters)
        return cls(steps=steps).plot(ax)


def _height(step: Step) -> float:
    """Return how high a layer is drawn; flat layers by the size of their numbers."""
    return step.shape[1] if len(step.shape) == 3 else 3 * math.log2(1 + step.shape[0])


def _width(step: Step) -> float:
    return 1 + math.log2(step.shape[0]) if len(step.shape) == 3 else 1.2
