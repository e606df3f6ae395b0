"""skorch's net with seams for a training loop of whole batches: parts, steps, hooks."""

from __future__ import annotations

import copy
import inspect
import math
import operator
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNetClassifier
from skorch.callbacks import BatchScoring, Callback, EpochTimer
from skorch.history import History
from skorch.utils import is_dataset
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader

from ..modules import (
    Dropout,
    LeNet5,
    MiniVGG,
    PixelScaling,
    ScaledNetwork,
    reset_parameters,
)
from ..modules.fast import fused_forward
from .augment import make_augment, mixup_strength
from .batches import (
    Batch,
    BatchIterator,
    EpochTotals,
    ImageDataset,
    LoadedBatches,
    batch_loss,
    is_resident,
)
from .callbacks import EarlyStopping, EpochLog, LRSchedule, WeightAverage
from .device import evaluation_batch_size, freed_memory_kept, seeded
from .loop import MIN_BATCHES, Training

DEFAULT_PATIENCE = 10

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_FUSED_OPTIMIZERS = (optim.Adam, optim.AdamW, optim.SGD, optim.Adagrad)


class Seeds:
    """One seed for each random part of a fit, drawn from ``random_state``.

    None takes fresh entropy; no global random state is read or changed.
    """

    def __init__(self, random_state: int | np.random.RandomState | None) -> None:
        self.source = random_state
        if random_state is None:
            random_state = int(np.random.SeedSequence().generate_state(1)[0])
        self.rng = check_random_state(random_state)
        self.weights, self.split, self.order, self.dropout = self._draw()

    def _draw(self) -> list[int]:
        return self.rng.randint(np.iinfo(np.int32).max, size=4).tolist()

    def following(self) -> Seeds:
        """Return the seeds of a call that goes on: the same split, new other seeds."""
        following = copy.copy(self)
        following.rng = copy.deepcopy(self.rng)
        _, _, following.order, following.dropout = following._draw()
        return following


def build_module(cls: type[nn.Module], kwargs: dict[str, Any]) -> nn.Module:
    """Build one of the two networks without memory for its weights, in float32.

    Parameters
    ----------
    cls : class
        LeNet5 or MiniVGG.
    kwargs : dict
        Its arguments.

    Returns
    -------
    torch.nn.Module
        On the "meta" device, so that no weights are drawn and no global random state
        is read; float32, whatever PyTorch's default dtype is.
    """
    with torch.device("meta"):
        return cls(**kwargs).to(torch.float32)


@cache
def import_compiler() -> None:
    """Import PyTorch's compiler, and SymPy with it, before PyTorch does in a first fit.

    After Ctrl-C in the middle of it, they could not be imported any more. Only the main
    thread is interrupted, which here waits for another one.
    """
    with ThreadPoolExecutor(1) as thread:
        thread.submit(torch.compiler.disable).result()


def build_any_module(
    cls: type[nn.Module],
    kwargs: dict[str, Any],
    image_shape: tuple[int, int, int],
    n_classes: int,
    seed: int,
    device: str = "cpu",
) -> Any:
    """Build a network of any class, with the weights that its constructor draws.

    Parameters
    ----------
    cls : class of torch.nn.Module
        Of the network.
    kwargs : dict
        Its arguments.
    image_shape : tuple of int
        Channels, height and width of an image.
    n_classes : int
        Number of logits.
    seed : int
        Of the weights.
    device : {"cpu", "meta"}, default="cpu"
        Where; on "meta", its weights have no memory.

    Returns
    -------
    torch.nn.Module
        In float32: a ``ScaledNetwork``, unless its class scales the pixels
        itself. Its ``nn.Dropout`` layers can draw from a generator of their own.
    """
    # With a seed for all threads, since constructors take no generator.
    with seeded(seed, alone=True), torch.device(device):
        module = cls(**kwargs)
        if not isinstance(getattr(module, "scaling", None), PixelScaling):
            module = ScaledNetwork(module, image_shape, n_classes)
        module.float()
        if any(map(nn.parameter.is_lazy, module.parameters())):
            with torch.no_grad():  # of which a first forward makes the weights
                module.eval()(torch.zeros(2, *image_shape))
    for parent in list(module.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.Dropout:
                setattr(parent, name, Dropout(layer.p))
    return module.train()


class TrainingNet(NeuralNetClassifier):
    """skorch's net with a training loop of whole batches and own random states.

    Its subclasses set, before training, ``image_shape_``, ``classes_``, ``device_``,
    ``precision_`` and ``_seeds``; the constructor's parameters are read as skorch
    reads its own.
    """

    # What a skorch net is before its first fit. skorch's constructor sets these on the
    # instance, which scikit-learn's contract forbids; a fit puts its own before them.
    module: Any = None
    criterion: Any = nn.CrossEntropyLoss
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

    device: Any
    max_epochs: Any

    # Whether cuDNN may only use what gives equal bits for equal seeds. To do without,
    # set it to False on a class: LeNet5Classifier.repeatable = False.
    repeatable = True

    # What pays for a network; examples/benchmarks/training_speed.py measures it.
    _bfloat16_pays = False
    _memory_format = torch.contiguous_format

    # max_epochs="auto": fewest and most epochs, and the steps to reach between them.
    _auto_epochs = (16, 22, 1800)

    # Types of devices on which training steps may be captured; untested before 2.11.
    _captures_on = ("cuda",) if torch.__version__ >= "2.11" else ()

    _is_partial_fit = False
    _training: Training | None = None  # the run in progress

    # The run --------------------------------------------------------------------

    def stop_training(self) -> None:
        """End the training after the current epoch; for callbacks to call."""
        if self._training is not None:
            self._training.stop_requested = True

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call a hook on the net, its callbacks, and those of a run in progress."""
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

    def run_single_epoch(
        self,
        iterator: Any,
        training: bool,
        prefix: str,
        step_fn: Callable[..., dict[str, Tensor]],
        **fit_params: Any,
    ) -> None:
        """Go once over batches, and record the mean of their losses.

        Parameters
        ----------
        iterator : iterable of batches
            Those of the training, or of the validation.
        training : bool
            Passed to the hooks; accuracy is computed where False.
        prefix : str
            ``"train"`` or ``"valid"``, of the names in the history.
        step_fn : callable
            ``train_step`` or ``validation_step``.
        **fit_params : dict
            Further arguments of ``step_fn``.
        """
        # Sums stay on the device until the end, so that a GPU is not waited for.
        sums = torch.zeros(3, device=self.device_, dtype=torch.float32)
        loss, hits, total = sums.unbind()
        n_rows, n_batches = 0, 0
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            n = len(step["y_pred"])
            loss += step["loss"].detach() * n
            if not training:
                targets = torch.as_tensor(batch[1], device=self.device_)
                hit = (step["y_pred"].argmax(1) == targets).float()
                weights = getattr(batch, "weights", None)
                hits += hit.sum() if weights is None else (hit * weights).sum()
                total += n if weights is None else weights.sum()
            self.notify("on_batch_end", batch=batch, training=training, **step)
            n_rows += n
            n_batches += 1
        self.record_totals(prefix, EpochTotals(sums, n_rows, n_batches))

    def record_totals(self, prefix: str, totals: EpochTotals) -> None:
        """Record the mean loss of an epoch, and the accuracy in validation.

        Raises
        ------
        ValueError
            If the loss is not a finite number.
        """
        loss, hits, total = totals.sums.tolist()
        loss /= totals.n_rows
        self._record(f"{prefix}_loss", loss, operator.lt)
        if prefix == "valid":
            self._record("valid_acc", hits / total, operator.gt)
        self.history_.record(f"{prefix}_batch_count", totals.n_batches)
        if not math.isfinite(loss):
            lr = self.optimizer_.defaults.get("lr")
            raise ValueError(
                f"{prefix}_loss became {loss} in epoch {self.history_[-1, 'epoch']}: "
                f"the training diverged; try a smaller lr (now {lr!r})"
            )

    def _record(
        self, name: str, value: float, is_better: Callable[[float, float], bool]
    ) -> None:
        """Record a value of this epoch and whether it is the best of all epochs."""
        earlier = [row[name] for row in self.history_[:-1] if name in row]
        self.history_.record(name, value)
        is_best = all(is_better(value, other) for other in earlier)
        self.history_.record(f"{name}_best", is_best)

    # Parts ----------------------------------------------------------------------

    def initialize(self) -> Any:
        """Build callbacks, network, loss and optimizer, and start a new history.

        skorch's method would print what it builds again, and register the optimizer's
        parameters so that ``set_params`` changes a trained net.
        """
        self.check_training_readiness()
        import_compiler()
        self._initialize_callbacks()
        self.initialize_module()
        self.initialize_criterion()
        self.initialize_optimizer()
        self.history_ = History()  # an earlier one may still be in use elsewhere
        self.initialized_ = True
        return self

    def initialize_module(self) -> Any:
        """Build the network without touching the global random state."""
        arguments, seed = self._module_arguments(), self._seeds.weights
        if self._has_known_module:
            module = build_module(self.module, arguments)
            module.to_empty(device="cpu")
            reset_parameters(module, torch.Generator("cpu").manual_seed(seed))
        else:
            module = build_any_module(
                self.module, arguments, self.image_shape_, len(self.classes_), seed
            )
        self.module_: Any = module
        return self.place_module()

    @property
    def _has_known_module(self) -> bool:
        """Whether the network is one of this package's two."""
        return self.module in (LeNet5, MiniVGG)

    def _module_arguments(self) -> dict[str, Any]:
        """Return the network's arguments: those of the data, then the user's own."""
        data: dict[str, Any] = {
            "image_shape": self.image_shape_,
            "n_classes": len(self.classes_),
        }
        given = self.get_params_for("module")
        for name, value in data.items():
            if name in given and not np.array_equal(given[name], value):
                raise ValueError(
                    f"module__{name}={given[name]!r} does not fit the data, which have "
                    f"{name} = {value!r}"
                )
        if hasattr(self, "dropout"):
            data["dropout"] = self.dropout
        signature = inspect.signature(self.module)
        arguments = {k: data[k] for k in data if k in signature.parameters} | given
        try:
            signature.bind(**arguments)
        except TypeError as error:
            raise ValueError(
                f"module={self.module.__name__} is not called with what it needs: "
                f"{error}; pass it as module__...=..."
            ) from error
        return arguments

    def place_module(self) -> Any:
        """Move the network to the device, in the memory format that suits it."""
        self.module_.to(self.device_, memory_format=self._memory_format)
        return self

    def initialize_criterion(self) -> Any:
        """Build the loss, whose rows ``get_loss`` averages, with weights."""
        given = self.get_params_for("criterion")
        kwargs = {"label_smoothing": self.label_smoothing, **given}
        # That of get_loss, for skorch's scoring; users cannot choose another.
        self.criterion_ = self.criterion(reduction="mean", **kwargs).to(self.device_)
        return self

    def initialize_optimizer(self, triggered_directly: Any = None) -> Any:
        """Build the optimizer, with one fused step for all weights where it has one."""
        import_compiler()
        args, kwargs = self.get_params_for_optimizer(
            "optimizer", self.get_all_learnable_params()
        )
        chosen = {"fused", "foreach", "capturable", "differentiable"} & kwargs.keys()
        if self.optimizer in _FUSED_OPTIMIZERS and not chosen:
            kwargs["fused"] = True
        decay = self.weight_decay
        if decay == "auto":
            decay = 0.02 if self.optimizer is optim.AdamW else 0
        if decay and "weight_decay" not in kwargs:
            args = (self._groups_with_decay(args[0], decay),)
        self.optimizer_ = self.optimizer(*args, **kwargs)
        return self

    def _groups_with_decay(
        self, groups: list[dict[str, Any]], decay: float
    ) -> list[dict[str, Any]]:
        """Split groups of parameters into those that decay and those that are spared.

        Groups of ``optimizer__param_groups`` with a decay of their own keep it.
        """
        if "weight_decay" not in inspect.signature(self.optimizer).parameters:
            raise ValueError(
                f"weight_decay={decay!r} needs an optimizer that has it, "
                f"got optimizer={self.optimizer!r}; use torch.optim.AdamW"
            )
        split: list[dict[str, Any]] = []
        for group in groups:
            if "weight_decay" in group:
                split.append(group)
                continue
            weights = [p for p in group["params"] if p.ndim > 1]
            spared = [p for p in group["params"] if p.ndim <= 1]
            for params, share in ((weights, decay), (spared, 0.0)):
                if params:
                    split.append({**group, "params": params, "weight_decay": share})
        return split

    # Callbacks ------------------------------------------------------------------

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        callbacks: list[tuple[str, Callback]] = [("epoch_timer", EpochTimer())]
        if self.lr_schedule is not None and not self._is_partial_fit:
            schedule = LRSchedule(self.lr_schedule, self.get_params_for("lr_schedule"))
            callbacks.append(("lr_schedule", schedule))
        if self.ema_decay is not None and not self._is_partial_fit:
            callbacks.append(("weight_average", WeightAverage(self.ema_decay)))
        if not self._is_partial_fit:
            auto = "loss" if self.lr_schedule is None else "accuracy"
            kept = {True: "loss", False: None, "auto": auto}[self.load_best]
            patience = DEFAULT_PATIENCE if self.patience == "auto" else self.patience
            stopping = EarlyStopping(patience, kept)
            callbacks.append(("early_stopping", stopping))
        return [*callbacks, ("print_log", EpochLog())]

    def _initialize_callbacks(self) -> Any:
        super()._initialize_callbacks()
        for name, callback in self.callbacks_:
            if isinstance(callback, BatchScoring):
                raise TypeError(
                    f"callback {name!r} is a {type(callback).__name__}, which needs "
                    "the history to hold a row for each batch; use EpochScoring"
                )
        return self

    # Batches --------------------------------------------------------------------

    def count_epochs(self, n_rows: int) -> int:
        """Return ``max_epochs``, or the number that "auto" means.

        Parameters
        ----------
        n_rows : int
            Number of rows to train on.
        """
        if self.max_epochs != "auto":
            return self.max_epochs
        size = self.get_params_for("iterator_train").get("batch_size", self.batch_size)
        size = _batch_size("iterator_train", size, n_rows) or 1
        least, most, n_steps = self._auto_epochs
        per_epoch = math.ceil(n_rows / size)
        n_epochs = min(max(round(n_steps / per_epoch), least), most)
        return max(n_epochs, math.ceil(MIN_BATCHES / per_epoch))  # of few rows, more

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return batches of a dataset: whole ones, unless an iterator class is given.

        Parameters
        ----------
        dataset : torch.utils.data.Dataset
            Items (image, class index) or (image, class index, weight).
        training : bool, default=False
            Whether to shuffle, augment and use ``iterator_train``'s parameters.
        """
        prefix = "iterator_train" if training else "iterator_valid"
        iterator = self.iterator_train if training else self.iterator_valid
        if iterator is None and not is_resident(dataset):
            iterator = DataLoader
        kwargs = self.get_params_for(prefix)
        if training:
            kwargs = {"batch_size": self.batch_size, "shuffle": True, **kwargs}
        elif kwargs.get("shuffle"):
            raise ValueError(
                "iterator_valid__shuffle=True would return predictions in another "
                "order than that of X; leave it out"
            )
        if "batch_size" not in kwargs:
            n_pixels = math.prod(self.image_shape_)
            kwargs["batch_size"] = evaluation_batch_size(self.device_, n_pixels)
        kwargs["batch_size"] = _batch_size(prefix, kwargs["batch_size"], len(dataset))
        # Without one of its own a DataLoader reads the global generator.
        seed = self._seeds.order if training else 0
        generator = torch.Generator("cpu").manual_seed(seed)
        given = self.augment if training else None
        if given == "auto":  # smaller images would lose what is in them
            given = {"shift": 1} if min(self.image_shape_[1:]) >= 14 else None
        augment, mixup = make_augment(given), mixup_strength(given)
        if iterator is not None:
            if isinstance(iterator, type) and issubclass(iterator, DataLoader):
                kwargs.setdefault("generator", generator)
            return LoadedBatches(iterator(dataset, **kwargs), augment, mixup, generator)
        known = {"batch_size", "shuffle", "drop_last"}
        unknown = sorted(kwargs.keys() - known)
        if unknown:
            raise ValueError(
                f"{prefix}__{unknown[0]} is not known to the default iterator, which "
                f"takes {', '.join(sorted(known))}; pass {prefix}="
                "torch.utils.data.DataLoader to use the parameters of that"
            )
        if training and 1 == len(dataset) % kwargs["batch_size"] < len(dataset):
            # Batch normalisation may fail on a single row; not in this package's
            # networks, which have no dense layers with it.
            needs_two_rows = not self._has_known_module and any(
                isinstance(layer, _BATCH_NORMS) for layer in self.module_.modules()
            )
            kwargs.setdefault("drop_last", needs_two_rows)
        block_size = 1
        captures = training and self.device_.type in self._captures_on
        if captures and not callable(self.augment):
            from .cuda_graph import steps_at_once

            block_size = steps_at_once(dataset, kwargs["batch_size"])
        return BatchIterator(
            dataset,
            augment=augment,
            mixup=mixup,
            generator=generator,
            block_size=block_size,
            **kwargs,
        )

    # Steps ----------------------------------------------------------------------

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Return the logits of a batch of raw images."""
        return self.module_(torch.as_tensor(x, device=self.device_), **fit_params)

    def _infer_fused(self, x: Any, **fit_params: Any) -> Tensor:
        """Return what ``infer`` does, by the network's fused forward where it has one.

        The network is looked at again for each batch: hooks that were set since the
        last one, by a callback or between the batches of ``forward_iter``, are called.
        An ``infer`` of a subclass or of an instance is called, and calls the network.
        """
        if self._is_overridden("infer") or fit_params:
            return self.infer(x, **fit_params)
        x = torch.as_tensor(x, device=self.device_)
        return fused_forward(self.module_)(x)

    def _is_overridden(self, name: str) -> bool:
        own = getattr(TrainingNet, name)
        return getattr(type(self), name) is not own or name in vars(self)

    def get_loss(
        self,
        y_pred: Tensor,
        y_true: Tensor,
        X: Any = None,
        training: bool = False,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the mean cross-entropy of a batch, without smoothing in validation.

        Parameters
        ----------
        y_pred : Tensor of shape (n, n_classes)
            Logits.
        y_true : Tensor of shape (n,)
            Class indices.
        X : ignored
            Part of skorch's interface.
        training : bool, default=False
            Whether label smoothing applies.
        weights : Tensor of shape (n,), optional
            Sample weights, of mean 1 over the whole part.
        """
        y_true = torch.as_tensor(y_true, device=self.device_).long()
        if training:
            criterion = copy.copy(self.criterion_)
            criterion.reduction = "none"
            losses = criterion(y_pred, y_true)
        else:
            losses = F.cross_entropy(y_pred, y_true, reduction="none")
        return batch_loss(losses, weights)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Compute the loss of a batch and its gradients."""
        if not self.module_.training:
            self._set_training(True)
        # Another loss may differentiate twice, which a fused forward does not allow.
        other_loss = self._is_overridden("get_loss")
        infer = self.infer if other_loss else self._infer_fused
        with self._training_precision():
            logits = infer(batch[0], **fit_params)
        loss = self._training_loss(logits.float(), batch)
        loss.backward()
        return {"loss": loss, "y_pred": logits}

    def _training_loss(self, logits: Tensor, batch: Any) -> Tensor:
        """Return the loss of a batch: of both labels of blended images, and teachers'.

        Teachers belong to a run; a step outside of one learns from the labels alone.
        """
        batch = batch if isinstance(batch, Batch) else Batch(*batch)
        loss = self._label_loss(logits, batch, batch[1], batch.weights)
        if batch.share is not None:
            mixed = batch.mixed_targets, batch.mixed_weights
            others = self._label_loss(logits, batch, *mixed)
            loss = torch.lerp(others, loss, batch.share[0].to(loss.dtype))
        if self._training is None or self._training.teaching is None:
            return loss
        return self._training.teaching.loss(logits, batch, loss)

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Compute the loss of a batch, as ``predict`` would see it."""
        if self.module_.training:
            self._set_training(False)
        weights = getattr(batch, "weights", None)
        with torch.no_grad():
            logits = self._infer_fused(batch[0], **fit_params)
            loss = self._label_loss(logits, batch, batch[1], weights, training=False)
        return {"loss": loss, "y_pred": logits}

    def _label_loss(
        self,
        logits: Tensor,
        batch: Any,
        targets: Tensor,
        weights: Tensor | None,
        training: bool = True,
    ) -> Tensor:
        # skorch's get_loss, which a subclass may override, knows of no weights.
        kwargs = {} if weights is None else {"weights": weights}
        return self.get_loss(logits, targets, X=batch[0], training=training, **kwargs)

    def evaluation_step(self, batch: Any, training: bool = False) -> Tensor:
        """Return the logits of a batch, in float32."""
        with torch.set_grad_enabled(training):
            images = torch.as_tensor(batch[0], device=self.device_)
            if training:  # its gradients are the caller's, to differentiate again
                return self.infer(images)
            logits = self._infer_fused(images)
            if self.predict_flip:
                logits = (logits + self._infer_fused(images.flip(-1))) / 2
            return logits

    def _training_precision(self) -> AbstractContextManager[Any]:
        if self.precision_ == "float32":
            return nullcontext()
        # The cache of casted weights belongs to all threads: fits side by side on a GPU
        # would read each other's.
        cached = self.device_.type != "cuda"
        return torch.autocast(
            self.device_.type, dtype=torch.bfloat16, cache_enabled=cached
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
        with freed_memory_kept():
            for batch in self.get_iterator(dataset):
                yield self.evaluation_step(batch, training=training).to(device)


def _batch_size(prefix: str, size: Any, n_rows: int) -> Any:
    """Turn a batch size as parameters give it into a number of rows."""
    if isinstance(size, str) and size == "auto":
        # A hundredth of the rows, from 16 to 128: fewer rows take smaller batches, so
        # that an epoch has steps enough to learn from.
        return min(max(n_rows // 100, 16), 128)
    is_number = isinstance(size, int) and not isinstance(size, bool)
    if size is not None and not (is_number and (size > 0 or size == -1)):
        raise ValueError(
            f"{prefix}__batch_size must be an integer of at least 1, -1 for all rows "
            f'or "auto", got {size!r}'
        )
    return n_rows if size == -1 else size
