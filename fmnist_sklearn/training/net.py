"""What happens inside a fit: the steps, the loss, the loop and skorch's hooks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import skorch.callbacks
import torch
import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNetClassifier
from skorch.callbacks import BatchScoring, Callback, EpochTimer, PrintLog
from skorch.history import History
from skorch.utils import is_dataset
from torch import Tensor
from torch.utils.data import DataLoader

from ..modules import Dropout, convolutions_folded, reset_parameters
from .adam import quick_step, takes_quick_step
from .allocator import freed_memory_kept
from .augment import make_augment
from .batches import (
    Batch,
    BatchIterator,
    ImageDataset,
    automatic_batch_size,
    is_resident,
)
from .callbacks import EarlyStopping, LRSchedule, WeightAverage

PREDICTION_BATCH_SIZE = 160
DEFAULT_PATIENCE = 10


class TrainingNet(NeuralNetClassifier):
    """skorch's net with a training loop of whole batches and own random states.

    Its subclasses set, before training, ``image_shape_``, ``classes_``, ``device_``,
    ``precision_`` and ``_seeds``; the constructor's parameters are read as skorch
    reads its own.
    """

    # The state of a skorch net before its first fit. skorch's constructor sets it
    # on the instance, which scikit-learn's contract forbids.
    module: Any = None
    criterion = torch.nn.CrossEntropyLoss
    dataset = ImageDataset
    predict_nonlinearity = "auto"
    compile = False
    use_caching = "auto"
    torch_load_kwargs = None
    classes = None
    history_: Any = None
    device: Any
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

    # What pays for a network; examples/benchmarks/training_speed.py measures it.
    _bfloat16_pays = False
    _memory_format = torch.contiguous_format

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        callbacks: list[tuple[str, Callback]] = [("epoch_timer", EpochTimer())]
        if not self._is_partial_fit:
            callbacks += self._callbacks_of_fit()
        return [*callbacks, ("print_log", PrintLog())]

    def _callbacks_of_fit(self) -> Iterator[tuple[str, Callback]]:
        if self.lr_schedule is not None:
            schedule = LRSchedule(
                self.lr_schedule, self.max_epochs, self.get_params_for("lr_schedule")
            )
            yield "lr_schedule", schedule
        if self.ema_decay is not None:
            yield "weight_average", WeightAverage(self.ema_decay)
        yield "early_stopping", EarlyStopping(self._patience())

    _is_partial_fit = False

    def _patience(self) -> int | None:
        if self.patience != "auto":
            return self.patience
        return DEFAULT_PATIENCE if self.lr_schedule is None else None

    def _find_callback(self, kind: type) -> Any:
        """Return the first callback of a kind, or None."""
        found = (callback for _, callback in self.callbacks_)
        return next(
            (callback for callback in found if isinstance(callback, kind)), None
        )

    # Building the parts ---------------------------------------------------------

    def initialize_module(self) -> TrainingNet:
        """Build the network without touching the global random state."""
        data = {"image_shape": self.image_shape_, "n_classes": len(self.classes_)}
        given = self.get_params_for("module")
        for name, value in data.items():
            if name in given and not np.array_equal(given[name], value):
                raise ValueError(
                    f"module__{name}={given[name]!r} does not fit the data, which have "
                    f"{name} = {value!r}"
                )
        kwargs = {**data, "dropout": self.dropout, **given}
        with torch.device("meta"):
            module = self.module(**kwargs)
        module.to_empty(device="cpu")
        reset_parameters(module, torch.Generator().manual_seed(self._seeds.weights))
        self.module_ = module
        return self.place_module()

    def place_module(self) -> TrainingNet:
        """Move the network to the device, in the memory format that suits it."""
        self.module_.to(self.device_, memory_format=self._memory_format)
        return self

    def initialize_criterion(self) -> TrainingNet:
        """Build the loss; it is averaged by ``get_loss``, where weights come in."""
        kwargs = {
            "label_smoothing": self.label_smoothing,
            **self.get_params_for("criterion"),
            "reduction": "none",
        }
        self.criterion_ = self.criterion(**kwargs).to(self.device_)
        return self

    def initialize_optimizer(self, triggered_directly: Any = None) -> TrainingNet:
        """Build the optimizer, with one fused step for all weights where it has one."""
        args, kwargs = self.get_params_for_optimizer(
            "optimizer", self.get_all_learnable_params()
        )
        chosen = {"fused", "foreach", "capturable", "differentiable"} & kwargs.keys()
        if self.optimizer in _FUSED_OPTIMIZERS and not chosen:
            kwargs["fused"] = True
        self.optimizer_ = self.optimizer(*args, **kwargs)
        return self

    def _initialize_callbacks(self) -> TrainingNet:
        super()._initialize_callbacks()
        for name, callback in self.callbacks_:
            if isinstance(callback, BatchScoring):
                raise TypeError(
                    f"callback {name!r} is a {type(callback).__name__}, which needs "
                    "the history to hold a row for each batch; use EpochScoring"
                )
        return self

    def _initialize_module(self, reason=None) -> TrainingNet:
        return self.initialize_module()

    def _initialize_criterion(self, reason=None) -> TrainingNet:
        return self.initialize_criterion()

    def _initialize_optimizer(self, reason=None) -> TrainingNet:
        return self.initialize_optimizer()

    def initialize_history(self) -> TrainingNet:
        """Start a new history; an earlier one may be in someone's hands."""
        self.history_ = History()
        return self

    @property
    def _params_to_validate(self) -> set[str]:
        return {name for name in self.__dict__ if is_nested(name)}

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
        kwargs = self.get_params_for(prefix)
        iterator = self.iterator_train if training else self.iterator_valid
        if iterator is None and not is_resident(dataset):
            iterator = DataLoader
        kwargs.setdefault(
            "batch_size", self.batch_size if training else PREDICTION_BATCH_SIZE
        )
        if kwargs["batch_size"] == -1:
            kwargs["batch_size"] = len(dataset)
        elif kwargs["batch_size"] == "auto":
            kwargs["batch_size"] = automatic_batch_size(len(dataset))
        # Without one of its own a DataLoader reads the global generator.
        generator = torch.Generator().manual_seed(self._seeds.order if training else 0)
        if training:
            kwargs.setdefault("shuffle", True)
        elif kwargs.get("shuffle"):
            raise ValueError(
                "iterator_valid__shuffle=True would return predictions in another "
                "order than that of X; leave it out"
            )
        augment = make_augment(self.augment) if training else None
        if iterator is None:
            _check_keywords(prefix, kwargs, {"batch_size", "shuffle", "drop_last"})
            return BatchIterator(
                dataset, augment=augment, generator=generator, **kwargs
            )
        if isinstance(iterator, type) and issubclass(iterator, DataLoader):
            kwargs.setdefault("generator", generator)
        return _LoadedBatches(iterator(dataset, **kwargs), augment, generator)

    # One step -------------------------------------------------------------------

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Return the logits of a batch of raw images."""
        return self.module_(torch.as_tensor(x, device=self.device_), **fit_params)

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
        losses = (
            self.criterion_(y_pred, y_true)
            if training
            else F.cross_entropy(y_pred, y_true, reduction="none")
        )
        return losses.mean() if weights is None else (losses * weights).mean()

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Compute the loss of a batch and its gradients."""
        images, targets = batch
        with self._autocast():
            logits = self.infer(images, **fit_params)
        loss = self.get_loss(
            logits.float(), targets, X=images, training=True, **_weights_of(batch)
        )
        loss.backward()
        return {"loss": loss, "y_pred": logits}

    def _zero_grad_optimizer(self, set_to_none: bool | None = None) -> None:
        own = type(self.optimizer_).zero_grad is not torch.optim.Optimizer.zero_grad
        if own or set_to_none is False:
            super()._zero_grad_optimizer(set_to_none)
            return
        # As PyTorch does, but its calls around this take 1 % of a step of LeNet-5.
        for group in self.optimizer_.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _step_optimizer(self, step_fn: Callable[[], Tensor]) -> None:
        if takes_quick_step(self.optimizer_):
            with torch.enable_grad():  # as the optimizer's own step does
                step_fn()
            quick_step(self.optimizer_)
        else:
            super()._step_optimizer(step_fn)

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Compute the loss of a batch, as ``predict`` would see it."""
        images, targets = batch
        with torch.no_grad():
            logits = self.infer(images, **fit_params)
            loss = self.get_loss(logits, targets, X=images, **_weights_of(batch))
        return {"loss": loss, "y_pred": logits}

    def _autocast(self):
        if self.precision_ == "float32":
            return nullcontext()
        return torch.autocast(self.device_.type, dtype=torch.bfloat16)

    # The loop -------------------------------------------------------------------

    def stop_training(self) -> None:
        """End the training after the current epoch; for callbacks to call."""
        self._stop_requested = True

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call a hook on the net and on those callbacks that override it."""
        for owner in self._listeners(method_name):
            try:
                getattr(owner, method_name)(self, **cb_kwargs)
            except KeyboardInterrupt:
                # skorch's own callback says "enough" in this way.
                if not isinstance(owner, skorch.callbacks.EarlyStopping):
                    raise
                self.stop_training()

    def _listeners(self, method_name: str) -> list[Any]:
        if method_name not in self._hooks:
            owners = [(self, TrainingNet)]
            owners += [(callback, Callback) for _, callback in self.callbacks_]
            owners += [(follower, Callback) for follower in self._followers]
            self._hooks[method_name] = [
                owner
                for owner, base in owners
                if getattr(type(owner), method_name) is not getattr(base, method_name)
            ]
        return self._hooks[method_name]

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

    @contextmanager
    def _unfitted_on_error(self) -> Iterator[None]:
        """Let no net that broke before its first epoch pass for a fitted one."""
        try:
            yield
        except Exception:
            self.initialized_ = bool(self.history_)
            raise

    def train(
        self,
        dataset_train: Any,
        dataset_valid: Any | None,
        n_epochs: int,
        *followers: Callback,
    ) -> TrainingNet:
        """Train for some epochs, or until a callback stops.

        Parameters
        ----------
        dataset_train, dataset_valid : torch.utils.data.Dataset
            The two parts; the second may be None.
        n_epochs : int
            At most so many.
        *followers : skorch.callbacks.Callback
            Told of this training only, after the net's own callbacks.

        Raises
        ------
        ValueError
            If the loss of an epoch is not a finite number.
        """
        self._hooks: dict[str, list[Any]] = {}
        self._followers = followers
        self._stop_requested = False
        with self._unfitted_on_error():
            self.notify("on_train_begin", X=dataset_train, y=None)
        start = time.perf_counter()
        try:
            with self._own_dropout(), freed_memory_kept():
                self._run_epochs(dataset_train, dataset_valid, n_epochs)
        except KeyboardInterrupt:
            # An epoch that was cut off does not count as run.
            expected = "train_loss" if dataset_valid is None else "valid_loss"
            if self.history_ and expected not in self.history_[-1]:
                del self.history_[-1]
            raise
        except Exception:
            # A net that broke on the way must not pass for a fitted one.
            self.initialized_ = False
            raise
        finally:
            self.notify("on_train_end", X=dataset_train, y=None)
            self.fit_time_ = time.perf_counter() - start
            del self._hooks, self._followers, self._stop_requested
        return self

    def _run_epochs(self, dataset_train, dataset_valid, n_epochs) -> None:
        parts = {"dataset_train": dataset_train, "dataset_valid": dataset_valid}
        batches = self.get_iterator(dataset_train, training=True)
        if len(batches) == 0:
            raise ValueError(
                f"batch_size={self.batch_size!r} with drop_last leaves no batch of "
                f"n_samples={len(dataset_train)} rows"
            )
        schedule = self._find_callback(LRSchedule)
        if schedule is not None:
            schedule.start(self.optimizer_, len(batches))
        average = self._find_callback(WeightAverage)
        for _ in range(n_epochs):
            self.history_.new_epoch()
            self.history_.new_batch()  # stays empty; skorch's Checkpoint looks for it
            self.history_.record("epoch", len(self.history_))
            self.notify("on_epoch_begin", **parts)
            self._set_training(True)
            self.run_single_epoch(batches, True, "train", self.train_step)
            self._check_loss("train_loss")
            with average.applied() if average else nullcontext():
                if dataset_valid is not None:
                    self._set_training(False)
                    valid_batches = self.get_iterator(dataset_valid)
                    self.run_single_epoch(
                        valid_batches, False, "valid", self.validation_step
                    )
                    self._check_loss("valid_loss")
                self.notify("on_epoch_end", **parts)
            if self._stop_requested:
                break

    def run_single_epoch(
        self,
        iterator: Iterable[Batch],
        training: bool,
        prefix: str,
        step_fn: Callable[..., dict[str, Tensor]],
        **fit_params: Any,
    ) -> None:
        """Go once over the batches and record their mean loss.

        Sums stay on the device until the epoch ends: a GPU is not waited for.
        """
        loss, hits, total = torch.zeros(3, device=self.device_).unbind()
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
        self._record_best(f"{prefix}_loss", float(loss) / n_rows, min)
        if not training:
            self._record_best("valid_acc", float(hits) / float(total), max)
        self.history_.record(f"{prefix}_batch_count", n_batches)

    def _record_best(self, name: str, value: float, best: Callable) -> None:
        """Record a figure of this epoch and whether it is the best of all epochs."""
        earlier = [row[name] for row in self.history_[:-1] if name in row]
        self.history_.record(name, value)
        is_best = not earlier or best(value, best(earlier)) == value != best(earlier)
        self.history_.record(f"{name}_best", is_best)

    def _check_loss(self, name: str) -> None:
        loss = self.history_[-1][name]
        if not np.isfinite(loss):
            lr = self.get_params_for("optimizer").get("lr", self.lr)
            raise ValueError(
                f"{name} became {loss} in epoch {self.history_[-1]['epoch']}: the "
                f"training diverged; try a smaller lr (now {lr!r})"
            )

    @contextmanager
    def _own_dropout(self) -> Iterator[None]:
        """Let dropout draw from a generator of this fit."""
        generator = torch.Generator(self.device_).manual_seed(self._seeds.dropout)
        layers = [m for m in self.module_.modules() if isinstance(m, Dropout)]
        for layer in layers:
            layer.generator = generator
        try:
            yield
        finally:
            for layer in layers:
                layer.generator = None

    # Prediction -----------------------------------------------------------------

    def evaluation_step(self, batch: Any, training: bool = False) -> Tensor:
        """Return the logits of a batch, in float32."""
        with torch.set_grad_enabled(training):
            logits = self.infer(batch[0])
            if self.predict_flip and not training:
                mirrored = torch.as_tensor(batch[0]).flip(-1)
                logits = (logits + self.infer(mirrored)) / 2
            return logits

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
        fixed = nullcontext() if training else convolutions_folded(self.module_)
        with freed_memory_kept(), fixed:
            for batch in self.get_iterator(dataset):
                yield self.evaluation_step(batch, training=training).to(device)


_FUSED_OPTIMIZERS = (
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.SGD,
    torch.optim.Adagrad,
)


class _LoadedBatches:
    """The batches of a user's iterator, made ``Batch`` and augmented."""

    def __init__(self, loader: Any, augment: Callable | None, generator) -> None:
        self.loader, self.augment, self.generator = loader, augment, generator

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            if not isinstance(batch, list | tuple) or len(batch) not in (2, 3):
                raise ValueError(
                    "a dataset must give an image, its target and, at most, its "
                    "weight; see torch.utils.data.TensorDataset"
                )
            images, targets, *weights = batch
            if self.augment is not None:
                images = self.augment(images, self.generator)
            yield Batch(images, targets, *weights)


def _weights_of(batch: Any) -> dict[str, Any]:
    """Name a batch's weights, if it has any: skorch's ``get_loss`` knows of none."""
    weights = getattr(batch, "weights", None)
    return {} if weights is None else {"weights": weights}


def is_nested(name: str) -> bool:
    """Whether a name is one of skorch's, such as ``module__dropout``."""
    return "__" in name and not name.startswith("_")


def _check_keywords(prefix: str, kwargs: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(kwargs.keys() - known)
    if unknown:
        raise ValueError(
            f"{prefix}__{unknown[0]} is not known to the default iterator, which takes "
            f"{', '.join(sorted(known))}; pass {prefix}=torch.utils.data.DataLoader to "
            "use the parameters of that"
        )
