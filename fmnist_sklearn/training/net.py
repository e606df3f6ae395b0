"""skorch's net, as far as a training run of our own leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from skorch.utils import is_dataset
from torch import Tensor

from ..modules import convolutions_folded
from .allocator import freed_memory_kept
from .batches import ImageDataset
from .loop import Training
from .losses import CrossEntropy
from .parts import BuildsParts
from .steps import EagerSteps


class UnfittedState:
    """What a skorch net is before its first fit.

    skorch's constructor sets these on the instance, which scikit-learn's contract
    forbids; here they belong to the class, and a fit puts its own in front of them.
    """

    module: Any = None
    criterion: Any = CrossEntropy
    dataset = ImageDataset
    predict_nonlinearity = "auto"
    compile = False
    use_caching = "auto"
    torch_load_kwargs = None
    classes = None
    history_: Any = None
    initialized_ = False
    virtual_params_: dict = {}  # noqa: RUF012 - replaced, never changed in place
    prefixes_ = (
        "module",
        "criterion",
        "optimizer",
        "iterator_train",
        "iterator_valid",
        "callbacks",
        "lr_schedule",
    )
    cuda_dependent_attributes_ = ()
    _modules = ("module",)
    _criteria = ("criterion",)
    _optimizers = ("optimizer",)


class TrainingNet(UnfittedState, EagerSteps, BuildsParts):
    """skorch's net with a training loop of whole batches and own random states.

    Its subclasses set, before training, ``image_shape_``, ``classes_``, ``device_``,
    ``precision_`` and ``_seeds``; the constructor's parameters are read as skorch
    reads its own.
    """

    device: Any

    # Whether cuDNN may only use what gives equal bits for equal seeds. To do without,
    # set it to False on a class: LeNet5Classifier.repeatable = False.
    repeatable = True

    # What pays for a network; examples/benchmarks/training_speed.py measures it.
    _bfloat16_pays = False
    _memory_format = torch.contiguous_format

    _is_partial_fit = False
    _training: Training | None = None  # the run in progress

    def stop_training(self) -> None:
        """End the training after the current epoch; for callbacks to call."""
        if self._training is not None:
            self._training.stop_requested = True

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call a hook on the net and its callbacks, and on who follows its training."""
        if self._training is None:
            super().notify(method_name, **cb_kwargs)
        else:
            self._training.notify(method_name, **cb_kwargs)

    def fit_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: skorch's own loop would go past all that ``fit`` prepares.

        Raises
        ------
        NotImplementedError
            Always; ``fit`` and ``partial_fit`` train.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no fit_loop; call fit, or partial_fit for one "
            "epoch more"
        )

    def forward_iter(
        self, X: Any, training: bool = False, device: Any = "cpu"
    ) -> Iterator[Tensor]:
        """Yield the logits of each batch.

        Parameters
        ----------
        X : array-like or torch.utils.data.Dataset
            Images in any accepted layout, or a dataset of raw images.
        training : bool, default=False
            Whether the network is in training mode (dropout active).
        device : str or torch.device, default="cpu"
            Where to put the logits.
        """
        check_is_fitted(self)
        dataset = X if is_dataset(X) else self.get_dataset(X)
        self._set_training(training)
        folded = nullcontext() if training else convolutions_folded(self.module_)
        with freed_memory_kept(), folded:
            for batch in self.get_iterator(dataset):
                yield self.evaluation_step(batch, training=training).to(device)
