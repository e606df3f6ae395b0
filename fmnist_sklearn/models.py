"""The two models, once: what each is called, its class, and how a recipe makes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .estimators import ImageClassifier, LeNet5Classifier, MiniVGGClassifier
from .recipes import RECIPES


@dataclass(frozen=True)
class Model:
    """A kind of network, as benchmarks, files and the command line know it."""

    name: str
    cls: type[ImageClassifier]
    cost: float  # of an epoch on two CPU cores, in epochs of LeNet5

    def make(self, recipe: str | None, **params: Any) -> ImageClassifier:
        """Make an unfitted estimator with the parameters of a recipe.

        Parameters
        ----------
        recipe : str or None
            Key of :data:`~fmnist_sklearn.RECIPES`; None: the estimator's defaults.
        **params : dict
            Further parameters, which win over the recipe's.

        Returns
        -------
        estimator : LeNet5Classifier or MiniVGGClassifier
            Not fitted.
        """
        chosen = {} if recipe is None else RECIPES[recipe][self.cls.__name__]
        return self.cls(**{**chosen, **params})


MODELS = {
    model.name: model
    for model in (
        Model("LeNet5", LeNet5Classifier, cost=1.0),
        Model("MiniVGG", MiniVGGClassifier, cost=6.0),
    )
}


def find_model(name: Any) -> Model:
    """Find a model by its name, or by that of its class, in any case of letters.

    Parameters
    ----------
    name : str
        Such as "LeNet5", "lenet5" or "LeNet5Classifier".

    Returns
    -------
    model : Model
        One of ``MODELS``.

    Raises
    ------
    ValueError
        If there is no such model.

    Examples
    --------
    >>> from fmnist_sklearn.models import find_model
    >>> find_model("minivgg").make("fast", batch_size=32).batch_size
    32
    """
    for model in MODELS.values():
        if str(name).lower() in (model.name.lower(), model.cls.__name__.lower()):
            return model
    raise ValueError(f"models must be among {list(MODELS)}; got {name!r}.")
