"""The estimator: parameters, fitting, predictions and pickles."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, Literal, Self

import joblib
import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
)

# Two private names, but the checks of weights and classes that scikit-learn's own
# estimators make.
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)
from skorch.utils import is_dataset, params_for
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Subset

from .._sklearn import warn_user
from ..modules import Dropout
from ..storage import FitCache
from ..training.augment import make_augment
from ..training.batches import (
    ImageDataset,
    normalise_weights,
    pixel_statistics,
    split_rows,
    weights_as_float32,
)
from ..training.callbacks import (
    BusyMachine,
    CallbackSupportMixin,
    FitTasks,
    with_callbacks,
)
from ..training.device import (
    in_turn,
    own_settings,
    resolve_device,
    resolve_precision,
)
from ..training.loop import Training
from ..training.net import Seeds, TrainingNet
from .memory import fit_with_cache
from .teachers import check_teachers, start_teaching
from .validation import (
    CONSTRAINTS,
    Rows,
    check_image_shape,
    check_values,
    convert,
    did_you_mean,
    encode_labels,
    flatten_images,
    infer_image_shape,
    is_nested,
    to_array,
    to_image_tensor,
    to_python,
    warn_of_range,
    weights_of_classes,
    whole_signature,
)


class Snapshot:
    """An estimator as it was before a call, to restore if the call fails.

    Parameters
    ----------
    net : ImageClassifier
        The estimator.
    in_place : bool
        Whether the call continues with its network, whose weights are then copied.
        Otherwise the call makes a new one and leaves the old unchanged.

    Attributes
    ----------
    attributes : dict
        The estimator's attributes.
    in_place : bool
        As given.
    undo : contextlib.ExitStack
        When it is closed, it restores what the call changed in place.
    run : Training or None
        The run of the call, once there is one.
    """

    def __init__(self, net: TrainingNet, *, in_place: bool) -> None:
        self.attributes = vars(net).copy()
        self.in_place = in_place
        self.undo = ExitStack()
        self.run: Training | None = None
        if in_place:
            module, optimizer = net.module_, self.attributes.get("optimizer_")
            restore = self.undo.callback
            restore(module.load_state_dict, copy.deepcopy(module.state_dict()))
            for layer in _dropouts_of(module):
                restore(setattr, layer, "p", layer.p)
            if optimizer is not None:
                state = copy.deepcopy(optimizer.state_dict())
                restore(optimizer.load_state_dict, state)
            restore(net.history_.__delitem__, slice(len(net.history_), None))


class ImageClassifier(CallbackSupportMixin, TrainingNet):
    """Any network for small images, as a scikit-learn classifier.

    ``ImageClassifier(module=ResNet20, module__width=16)`` trains a network of your own
    with early stopping, the best weights kept. It is a ``skorch.NeuralNetClassifier``
    and passes for one. See :doc:`/own_network`.

    Parameters
    ----------
    module : class of torch.nn.Module
        The network. Its constructor receives ``n_classes`` and ``image_shape``, if it
        takes arguments of these names, and what ``module__...`` gives. Its ``forward``
        maps scaled images, float32 of shape (n, C, H, W), to logits of shape
        (n, n_classes). A subclass may name it instead: ``module = ResNet20``.
    lr : float, default=1e-3
        Learning rate; with a schedule, the highest one.
    batch_size : int or "auto", default="auto"
        Rows in a mini-batch of the training; -1 is all of them. "auto" is a hundredth
        of the rows trained on, at least 16 and at most 128.
    max_epochs : int or "auto", default="auto"
        Number of epochs to train for, unless early stopping ends the training before.
        "auto" is as many as make 1,800 mini-batches, at least 16 and at most 22, or
        more if these make fewer than 300.
    patience : int, "auto" or None, default="auto"
        After this number of epochs in a row without a lower validation loss the
        training ends: at once with a constant learning rate, else after the rest of
        the schedule in a quarter of its epochs. "auto" is 10, and trains at least 300
        mini-batches of a schedule; None never ends it.
    load_best : bool or "auto", default="auto"
        Which weights are kept. True: those of the epoch with the lowest validation
        loss. False: those of the last epoch. "auto" is True for a constant learning
        rate; with a schedule, those of the last epoch whose validation accuracy is
        within one standard error of the highest. At the end of a schedule weights are
        often more accurate but less well calibrated, hence a higher validation loss.
    validation_fraction : float, default=0.1
        Share of the rows set aside to validate on; 0 trains on every row.
    shuffle : bool, default=True
        Whether the validation part is a stratified random one; False takes the
        leading rows. Mini-batches are in random order either way.
    optimizer : torch.optim.Optimizer class, default=torch.optim.AdamW
        Called with the parameters and ``lr``, and with ``optimizer__betas=...`` and
        the like.
    weight_decay : float or "auto", default="auto"
        Weight decay, by the optimizer's own rule, of the weights of convolutions and
        dense layers; biases and batch normalisation are excluded. "auto" is 0.02 with
        ``torch.optim.AdamW``, else 0. ``optimizer__weight_decay`` instead decays all
        parameters alike.
    lr_schedule : {"one_cycle", "cosine"}, callable or None, default="one_cycle"
        How the learning rate changes from batch to batch, over ``max_epochs``; None is
        a constant one.
        ``OneCycleLR`` or ``CosineAnnealingLR`` of torch.optim.lr_scheduler, or a
        function ``(optimizer, total_steps, **kwargs)`` that returns a scheduler;
        ``lr_schedule__pct_start=...`` and the like are passed to it.
    augment : mapping, callable, "auto" or None, default="auto"
        Random changes of the training images: a mapping from "flip" (probability of
        a left-right flip), "shift" (pixels each way), "rotate" (degrees each way),
        "erase" (largest side, in pixels, of a blackened square) and "mixup" (alpha of
        Beta(alpha, alpha), from which the proportion is drawn in which images of a
        batch are blended, and with them their losses) to their strength, such as
        ``{"flip": 0.5, "shift": 1}``; or a function of a batch of raw images of
        shape (n, C, H, W) and a ``torch.Generator``. "auto" is ``{"shift": 1}`` for
        images of at least 14 x 14 pixels, else none.
    label_smoothing : float, default=0.05
        Share of each label spread over all classes in the training loss.
    ema_decay : float or None, default=0.999
        Decay per batch of an exponential moving average of the weights; less in the
        first steps. The averaged weights are then validated, kept and used to
        predict. None averages nothing.
    teacher : classifier, list of them or None, default=None
        Fitted classifiers with ``predict_proba`` over the same classes, whose
        probabilities the network learns in addition to the labels (knowledge
        distillation). One of this package predicts the images as they are augmented;
        any other predicts each row once, as in ``X``. Wrap it in
        ``sklearn.frozen.FrozenEstimator`` for searches and cross-validation, whose
        ``clone`` returns unfitted copies otherwise. See :ref:`distillation`.
    distillation_weight : float, default=0.9
        Share of the teachers in the training loss, from 0 to 1; the labels have the
        rest.
    distillation_temperature : float, default=2.0
        Divisor of the logits of network and teachers before they are compared; the
        higher, the more the unlikely classes count.
    predict_flip : bool, default=False
        Whether predictions average the logits of each image and of its left-right
        mirror image (test-time augmentation); takes twice as long. It may be set
        after ``fit``, which validates without it.
    pixel_scaling : {"standardize", "symmetric"}, default="standardize"
        "standardize": subtract the mean of the training part and divide by its
        standard deviation, for each channel. "symmetric": the pixels' range (0..255,
        or 0..1) to [-1, 1].
    image_shape : tuple of int or None, default=None
        (channels, height, width) that rows are read as. None: the shape of ``X`` where
        that has three or four dimensions, else a grey square.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the training loss, as in scikit-learn.
    device : str or torch.device, default="auto"
        Where to compute; "auto" is CUDA where available, else the CPU.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Arithmetic of the training. "auto" is float32 for this network. Predictions are
        made in float32.
    random_state : int, RandomState or None, default=None
        Seed of weights, split, order of the rows, augmentation and dropout. Global
        random states are neither read nor changed.
    warm_start : bool, default=False
        Whether ``fit`` continues from the weights of the last call.
    callbacks : list or None, default=None
        Further skorch callbacks.
    train_split : callable or None, default=None
        A splitter of skorch's, called as ``train_split(dataset, y)``. None: by
        ``validation_fraction`` and ``shuffle``.
    iterator_train, iterator_valid : callable or None, default=None
        Iterators over batches, as in skorch: ``torch.utils.data.DataLoader``, say.
        None cuts batches from the data in memory, which is faster.
    memory : str, path-like, joblib.Memory, FitCache or None, default=None
        A folder that caches fits: an earlier one of the same data, parameters and
        ``random_state`` is loaded instead of trained again, so that a search that was
        killed continues where it stopped. It needs a ``random_state``. See
        :ref:`memory`.
    verbose : int, default=0
        Whether to print a line for each epoch, with the time left. The logger
        "fmnist_sklearn" receives these lines in any case, at level INFO.
    **skorch__params
        Double-underscore parameters of skorch, for ``module``, ``criterion``,
        ``optimizer``, ``iterator_train``, ``iterator_valid``, ``callbacks`` and
        ``lr_schedule``: ``module__width=...``. The more specific name wins:
        ``optimizer__lr`` over ``lr``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    n_features_in_ : int
        Number of pixels of an image, over all channels.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where ``X`` was a data frame with names.
    image_shape_ : tuple of int
        (channels, height, width) of an image.
    n_iter_ : int
        Epochs run.
    best_epoch_ : int
        Epoch, counted from 1, whose weights are kept.
    n_parameters_ : int
        Learnable parameters of the network.
    fit_time_ : float
        Seconds that the training itself took.
    from_memory_ : bool
        Whether the fit was read from ``memory`` instead of trained.
    device_ : torch.device
        Where the network is.
    precision_ : str
        "float32" or "bfloat16": the arithmetic of the training.
    steps_ : str
        "captured" where the steps of the last training were recorded once and replayed
        by the GPU, else "eager"; see :doc:`/gpu`.
    module_ : torch.nn.Module
        The network, behind the scaling of the pixels; ``module_.network`` is yours.
    history_ : skorch.history.History
        A row for each epoch: ``epoch``, ``train_loss``, ``valid_loss``, ``valid_acc``
        and ``dur`` (seconds). The training loss is the one minimised: of augmented
        images and smoothed labels, with the teachers' share. The validation loss is
        plain cross-entropy.

    See Also
    --------
    LeNet5Classifier : A small network with defaults of its own.
    MiniVGGClassifier : A larger one.

    Examples
    --------
    >>> from torch import nn
    >>> from fmnist_sklearn import ImageClassifier, load_fashion_mnist_sample
    >>> class Perceptron(nn.Sequential):
    ...     def __init__(self, n_classes, image_shape, width=64):
    ...         n_pixels = image_shape[0] * image_shape[1] * image_shape[2]
    ...         super().__init__(
    ...             nn.Flatten(),
    ...             nn.Linear(n_pixels, width),
    ...             nn.ReLU(),
    ...             nn.Linear(width, n_classes),
    ...         )
    >>> X, y = load_fashion_mnist_sample(return_X_y=True)
    >>> net = ImageClassifier(module=Perceptron, module__width=32, max_epochs=1,
    ...                       patience=None, random_state=0)
    >>> net.fit(X, y).n_parameters_
    25450
    """

    def __init__(
        self,
        *,
        module: type[nn.Module] | None = None,
        lr: float = 1e-3,
        batch_size: int | Literal["auto"] = "auto",
        max_epochs: int | Literal["auto"] = "auto",
        patience: int | Literal["auto"] | None = "auto",
        load_best: bool | Literal["auto"] = "auto",
        validation_fraction: float = 0.1,
        shuffle: bool = True,
        optimizer: Callable[..., Optimizer] = torch.optim.AdamW,
        weight_decay: float | Literal["auto"] = "auto",
        lr_schedule: Literal["one_cycle", "cosine"] | Callable | None = "one_cycle",
        augment: Mapping[str, float] | Callable | Literal["auto"] | None = "auto",
        label_smoothing: float = 0.05,
        ema_decay: float | None = 0.999,
        teacher: ClassifierMixin | Sequence[ClassifierMixin] | None = None,
        distillation_weight: float = 0.9,
        distillation_temperature: float = 2.0,
        predict_flip: bool = False,
        pixel_scaling: Literal["standardize", "symmetric"] = "standardize",
        image_shape: tuple[int, int, int] | None = None,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        device: str | torch.device = "auto",
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        callbacks: Sequence[Any] | Literal["disable"] | None = None,
        train_split: Callable | None = None,
        iterator_train: Callable | None = None,
        iterator_valid: Callable | None = None,
        memory: str | os.PathLike[str] | joblib.Memory | FitCache | None = None,
        verbose: int = 0,
        **skorch__params: Any,
    ) -> None:
        self._store(locals())

    image_shape_: Any  # (channels, height, width)

    _parameter_constraints = CONSTRAINTS

    # Routes ``classes`` to partial_fit as scikit-learn does; skorch removes it.
    __metadata_request__partial_fit = {"classes": None}  # noqa: RUF012

    # Parameters -----------------------------------------------------------------

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make a constructor with ``**kwargs`` show all parameters it passes on.

        A class that names its module has no parameter of this name.
        """
        super().__init_subclass__(**kwargs)
        if "module" in vars(cls) and cls.__init__ is ImageClassifier.__init__:

            def __init__(self: Any, **kwargs: Any) -> None:
                super(cls, self).__init__(**kwargs)

            cls.__init__ = __init__  # type: ignore[method-assign]
        if "__init__" in vars(cls):
            init: Any = cls.__init__
            init.__signature__ = whole_signature(cls)

    # Double-underscore parameters are in one private attribute: a check of scikit-learn
    # allows an unfitted estimator no public attribute except its constructor's names.
    _nested: Mapping[str, Any] = MappingProxyType({})

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, or a double-underscore parameter."""
        if not (name.startswith("_") or name.endswith("_")):  # a parameter
            value = to_python(value)
        if is_nested(name):
            self.__dict__["_nested"] = {**self._nested, name: value}
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """Get a double-underscore parameter, which is not an attribute itself."""
        if is_nested(name) and name in self._nested:
            return self._nested[name]
        return super().__getattribute__(name)  # raises what was raised before

    def _get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return the parameters of a part; skorch looks for them in ``__dict__``."""
        return params_for(prefix, self._nested)

    def _store(self, arguments: dict[str, Any]) -> None:
        """Set a constructor's arguments as attributes, and nothing else."""
        arguments = dict(arguments)
        named = type(self).module
        if named is not None and arguments.pop("module") is not None:
            raise TypeError(
                f"{type(self).__name__}() got an unexpected keyword argument 'module': "
                f"its network is a {named.__name__}"
            )
        nested = arguments["skorch__params"]
        for name in nested:
            if not is_nested(name):
                raise TypeError(
                    f"{type(self).__name__}() got an unexpected keyword argument "
                    f"{name!r}{self._likely_name(name)}"
                )
        for name, value in {**arguments, **nested}.items():
            if name not in ("self", "skorch__params", "__class__"):
                setattr(self, name, value)

    @classmethod
    def _constructor_names(cls) -> list[str]:
        _, *parameters = inspect.signature(cls.__init__).parameters.values()
        kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        return [p.name for p in parameters if p.kind not in kinds]

    @classmethod
    def _likely_name(cls, name: str) -> str:
        for part in cls.prefixes_:
            # With one underscore too few.
            if name.startswith(f"{part}_") and not is_nested(name):
                return f"; did you mean {part}__{name.removeprefix(f'{part}_')}?"
        return did_you_mean(name, cls._constructor_names())

    @property
    def _params_to_validate(self) -> set[str]:
        """The double-underscore names given, whose prefixes skorch checks."""
        return set(self._nested)

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
        takes_nested = "skorch__params" in inspect.signature(type(self)).parameters
        known = self._constructor_names()
        for name in params:
            # clone would lose a double-underscore name without **kwargs to pass it.
            if name not in known and not (takes_nested and is_nested(name)):
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}"
                    f"{self._likely_name(name)} Valid parameters are: {known!r}."
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def _check_params(self) -> None:
        check_values(self)
        self._validate_params()  # skorch's, of double-underscore names
        if self.augment != "auto":
            make_augment(self.augment)
        if self.teacher is not None:
            check_teachers(self.teacher)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """Show the parameters that differ from their defaults, as scikit-learn does."""
        return BaseEstimator.__repr__(self, N_CHAR_MAX)

    def __sklearn_tags__(self) -> Tags:
        """Describe the estimator: rows or images in, no NaN, single-label targets."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def get_metadata_routing(self):
        """Get the metadata this estimator requests; it is a plain consumer."""
        return BaseEstimator.get_metadata_routing(self)

    # Fitting --------------------------------------------------------------------

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train the network on images and their labels.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images: uint8 or any real dtype.
        y : array-like of shape (n,)
            Labels of any kind that scikit-learn takes.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows in the loss. Rows of weight 0 count as absent.
        X_val, y_val : array-like, optional
            Rows to validate on, instead of a part of ``X``.
        sample_weight_val : array-like, optional
            Weights of the rows of ``X_val`` in the validation loss.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            For parameters, shapes or values out of range, and if the loss becomes
            NaN or infinite, with the epoch named.

        Notes
        -----
        A call that fails leaves the estimator as it was. Ctrl-C does so too, up to the
        first finished epoch; after it the weights of the best epoch so far are kept,
        and ``n_iter_`` counts the epochs that were finished.
        """
        if (X_val is None) != (y_val is None):
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"X_val and y_val go together, but {missing} is None")
        if sample_weight_val is not None and X_val is None:
            raise ValueError("sample_weight_val needs X_val and y_val")
        continues = self.warm_start and self.__sklearn_is_fitted__()
        with self._undone_on_error(continues=continues, partial=False) as before:
            rows = self._check_rows(X, y, sample_weight, first_call=not continues)
            classes = np.unique(rows.labels)
            if continues and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    "warm_start=True continues a net of the classes "
                    f"{self.classes_!r}, but y holds {classes!r}"
                )
            self.classes_ = classes
            dataset = self._make_dataset(rows)
            if X_val is None:
                train, valid = self._split(dataset)
            else:
                train = dataset
                try:
                    valid_rows = self._check_rows(
                        X_val, y_val, sample_weight_val, first_call=False
                    )
                    valid = self._make_dataset(valid_rows)
                except (TypeError, ValueError) as error:
                    message = f"In X_val, y_val, sample_weight_val: {error}"
                    raise type(error)(message) from error
            self._train(rows, train, valid, self.count_epochs(len(train)), before)
        self._warn_if_too_short()
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> Self:
        """Train for one epoch over all the rows given.

        There is no validation part, early stopping, schedule or averaging of weights:
        ``lr`` is constant, and lower rates than the highest of a schedule suit better.
        The scaling of the pixels is fixed by the first call; the optimizer continues
        from its state.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images.
        y : array-like of shape (n,)
            Labels, all among ``classes``.
        classes : array-like of shape (n_classes,), optional
            All labels of this and later calls; needed in the first call.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows in the loss.

        Returns
        -------
        self
            The estimator.

        Raises
        ------
        ValueError
            If ``classes`` is missing in the first call or differs from it, or ``y``
            holds another label.
        """
        first = not self.__sklearn_is_fitted__()
        with self._undone_on_error(continues=not first, partial=True) as before:
            if self.class_weight == "balanced":
                raise ValueError(
                    "class_weight='balanced' needs all rows at once; pass partial_fit "
                    "a sample_weight, or class_weight as a dict"
                )
            _check_partial_fit_first_call(self, to_array(classes, name="classes"))
            rows = self._check_rows(X, y, sample_weight, first_call=first)
            self._train(rows, self._make_dataset(rows), None, 1, before)
        return self

    @contextmanager
    def _undone_on_error(self, *, continues: bool, partial: bool) -> Iterator[Snapshot]:
        """Start a call that trains; if it fails, leave the estimator as it was.

        The parameters are checked first. Inside, PyTorch's settings are those of a
        training. Finished epochs are kept after an interrupt, nothing after an error.
        """
        self.check_training_readiness()
        self._check_params()
        before = Snapshot(self, in_place=continues)
        try:
            with own_settings(training=True):
                self._is_partial_fit = partial
                if continues:
                    self._check_unchanged()
                    self._apply_changes()
                else:
                    self._set_seeds_and_device(Seeds(self.random_state))
                yield before
        except BaseException as error:
            run = before.run
            if run is not None and run.leaves_something_after(error):
                run.settle()
            else:
                # scikit-learn ends its callbacks after this, by attributes that it set
                # during the call. Without them a progress bar's thread would run on,
                # and keep the process from ending.
                in_use = {k: v for k, v in vars(self).items() if "_callback" in k}
                self.__dict__.clear()
                self.__dict__.update(before.attributes | in_use)
                before.undo.close()
            raise

    def _set_seeds_and_device(self, seeds: Seeds) -> None:
        self._seeds = seeds
        self.device_ = resolve_device(self.device)
        self.precision_ = resolve_precision(
            self.precision, self.device_, self._bfloat16_pays
        )

    def _check_rows(
        self, X: Any, y: Any, sample_weight: Any, *, first_call: bool
    ) -> Rows:
        """Validate images, labels and weights, and leave out rows of weight 0.

        The first call sets ``n_features_in_``, ``feature_names_in_`` and
        ``image_shape_``; later ones must agree with them.
        """
        expected = self.image_shape if first_call else self.image_shape_
        X, shape = flatten_images(X, None if expected is None else tuple(expected))
        y = to_array(y, name="y")
        pixels, labels = validate_data(self, X, y, reset=first_call, dtype="numeric")
        check_classification_targets(labels)
        n_columns = pixels.shape[1]
        if first_call and self.image_shape is not None:
            self.image_shape_ = check_image_shape(self.image_shape, n_columns)
        elif first_call:
            self.image_shape_ = shape or infer_image_shape(n_columns)
        if sample_weight is None:
            return Rows(pixels, labels, None)
        weights = _check_sample_weight(
            to_array(sample_weight, name="sample_weight"),
            pixels,
            dtype=np.float64,
            ensure_non_negative=True,
        )
        # 1e-50 relative to the largest weight of 1 is 0 in float32.
        present = weights_as_float32(weights) > 0
        if present.all():
            return Rows(pixels, labels, weights)
        if not present.any():
            raise ValueError("sample_weight is zero for every row; nothing to train on")
        return Rows(pixels[present], labels[present], weights[present])

    def _make_dataset(self, rows: Rows) -> ImageDataset:
        """Turn validated arrays into tensors on the network's device."""
        weights, device = None, self.device_
        if rows.weights is not None and np.ptp(rows.weights) > 0:  # not all equal
            weights = torch.from_numpy(weights_as_float32(rows.weights)).to(device)
        images = to_image_tensor(rows.pixels, self.image_shape_).to(device)
        targets = encode_labels(rows.labels, self.classes_).to(device)
        return ImageDataset(images, targets, weights)

    def _split(self, dataset: Any) -> tuple[Any, Any]:
        """Split into the part to train on and the part to validate on, or None."""
        targets = dataset.targets.cpu().numpy()
        if self.train_split is not None:
            return self.train_split(dataset, targets)
        if self.validation_fraction == 0:
            if self.patience not in ("auto", None):
                raise ValueError(
                    f"patience={self.patience!r} needs a validation part, but "
                    "validation_fraction=0 leaves none; use patience='auto' or None"
                )
            return dataset, None
        train, valid = split_rows(
            targets, self.validation_fraction, self.shuffle, self._seeds.split
        )
        return Subset(dataset, train), Subset(dataset, valid)  # type: ignore[arg-type]

    def _train(
        self, rows: Rows, train: Any, valid: Any, n_epochs: int, before: Snapshot
    ) -> None:
        """Build the parts of the net where they are new, and train."""
        factors = weights_of_classes(self.class_weight, self.classes_, rows.labels)
        train = normalise_weights(train, factors)
        valid = normalise_weights(valid, factors)
        if not before.in_place:
            self.initialize()
            # Of the part to train on only, so that validation stays independent.
            mean, std = pixel_statistics(train, self.pixel_scaling)
            self.module_.scaling.mean.copy_(mean)
            self.module_.scaling.std.copy_(std)
        teaching = None
        if self.teacher is not None and self.distillation_weight:
            train, teaching = start_teaching(self, train)
        tasks = []
        if hasattr(self, "_skl_callbacks") and not self._is_partial_fit:
            tasks.append(FitTasks(self, *rows, n_epochs))
        callbacks = [BusyMachine(), *tasks]
        training = Training(self, train, valid, n_epochs, callbacks, teaching)
        before.run = training
        self.from_memory_ = False  # also after Ctrl-C
        self.from_memory_ = fit_with_cache(self, training)
        for task in tasks:
            task.end_fit(self)

    def _warn_if_too_short(self) -> None:
        """Warn of a validation loss that was still falling."""
        losses = [row["valid_loss"] for row in self.history_ if "valid_loss" in row]
        # Averaged weights improve a little for very long, and more under a schedule.
        share = 0.99 if self.lr_schedule is None else 0.97
        earlier = min(losses[:-1], default=float("inf"))
        if self.patience and losses and losses[-1] < share * earlier:
            warn_user(
                f"the validation loss was still falling after {len(losses)} epochs; a "
                f"higher max_epochs (now {self.max_epochs!r}) may fit better",
                ConvergenceWarning,
            )

    def initialize(self) -> Self:
        """Build network, loss, optimizer and callbacks, as skorch does.

        ``fit`` does so itself. Called before any fit, it assumes the shape and the
        number of classes that the parameters give, else (1, 28, 28) and 10.

        Returns
        -------
        self
            The estimator.
        """
        self._check_params()
        if not hasattr(self, "_classes"):
            arguments = self.get_params_for("module")
            shape = arguments.get("image_shape", self.image_shape)
            self.image_shape_ = (1, 28, 28) if shape is None else tuple(shape)
            self.n_features_in_ = int(np.prod(self.image_shape_))
            self.classes_ = np.arange(arguments.get("n_classes", 10))
        if not hasattr(self, "_seeds"):
            self._set_seeds_and_device(Seeds(self.random_state))
        super().initialize()
        self._built_with = self._building_parameters()
        return self

    # Fits that continue: warm_start, partial_fit -----------------------------------

    def _building_parameters(self) -> dict[str, Any]:
        """Return the parameters that a network, once trained, cannot change."""
        arguments = self._module_arguments()
        named = {f"module__{name}": value for name, value in arguments.items()}
        kind = {} if self._has_known_module else {"module": self.module}
        return {**kind, **named, "pixel_scaling": self.pixel_scaling}

    def _check_unchanged(self) -> None:
        """Refuse parameters that would need another network than the trained one."""
        now = self._building_parameters()
        built = self.__dict__.get("_built_with", now)
        values: dict[str, tuple[Any, Any]] = {
            name: (built.get(name), now.get(name))
            for name in sorted(built.keys() | now.keys())
            # The parameter dropout is applied to the trained network.
            if name != "module__dropout" or not hasattr(self, "dropout")
        }
        if self.image_shape is not None:
            values["image_shape"] = self.image_shape_, self.image_shape
        for name, (before, after) in values.items():
            if not np.array_equal(before, after):
                raise ValueError(
                    f"{name} was {before!r} when the network was built and is "
                    f"{after!r} now, but warm_start and partial_fit continue with the "
                    "trained network; set it back, or fit a clone"
                )

    def _apply_changes(self) -> None:
        """Apply each parameter that was set since the last call.

        Weights, and the optimizer's state where it is still valid, stay.
        """
        same_source = self._seeds.source == self.random_state
        self._set_seeds_and_device(
            self._seeds.following() if same_source else Seeds(self.random_state)
        )
        self.place_module()
        self._initialize_callbacks()
        self.initialize_criterion()
        built_with = self.__dict__.get("_built_with", {})
        self._built_with = self._building_parameters()
        dropout: Any = self._built_with.get("module__dropout")
        if hasattr(self, "dropout") and built_with.get("module__dropout") != dropout:
            for layer in _dropouts_of(self.module_):
                layer.p = dropout
        self._renew_optimizer()

    def _renew_optimizer(self) -> None:
        """Build the optimizer from the parameters; keep its state where it fits."""
        kept = self.__dict__.pop("optimizer_", None)
        kind, state = self.__dict__.pop("_optimizer_state", (None, None))  # of a pickle
        if kept is not None:
            kind, state = type(kept), kept.state_dict()
        self.initialize_optimizer()
        new = self.optimizer_
        if (
            kind is type(new)
            and _options(state) == _options(new.state_dict())
            and (kept is None or _ids_of_weights(kept) == _ids_of_weights(new))
        ):
            # The same object where possible, since hooks may be registered on it.
            self.optimizer_ = new if kept is None else kept
            groups = new.state_dict()["param_groups"]
            self.optimizer_.load_state_dict({**state, "param_groups": groups})
        for group in self.optimizer_.param_groups:
            group.setdefault("initial_lr", group["lr"])  # for schedulers that continue

    # Fitted attributes ------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a network to predict with."""
        return self.initialized_ and hasattr(self, "module_")

    @property
    def classes_(self) -> np.ndarray:
        """The class labels, sorted, of shape (n_classes,)."""
        if "_classes" not in vars(self):
            check_is_fitted(self)  # its error is an AttributeError too
        return self._classes

    @classes_.setter
    def classes_(self, classes: np.ndarray) -> None:
        self._classes = classes

    @property
    def n_parameters_(self) -> int:
        """Number of learnable parameters of the network."""
        check_is_fitted(self)
        return sum(p.numel() for p in self.module_.parameters() if p.requires_grad)

    @property
    def n_iter_(self) -> int:
        """Number of epochs run, over all calls since the weights were drawn."""
        check_is_fitted(self)
        return len(self.history_)

    @property
    def n_classes_(self) -> int:
        """Number of classes."""
        return len(self.classes_)

    @property
    def loss_curve_(self) -> list[float]:
        """Training loss of each epoch, named as in ``MLPClassifier``."""
        check_is_fitted(self)
        return [row["train_loss"] for row in self.history_]

    @property
    def best_loss_(self) -> float:
        """The lowest training loss of an epoch, named as in ``MLPClassifier``."""
        return min(self.loss_curve_)

    @property
    def validation_scores_(self) -> list[float] | None:
        """Validation accuracy of each epoch; None where an epoch had no validation."""
        check_is_fitted(self)
        scores = [row.get("valid_acc") for row in self.history_]
        return None if None in scores else scores

    # Predictions ------------------------------------------------------------------

    def predict_proba(self, X: Any) -> np.ndarray:
        """Estimate the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            Rows sum to 1; columns are in the order of ``classes_``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ValueError
            For images of another shape, pixels that are NaN or infinite, or so large
            that the network's outputs are.
        """
        # In double precision, rows sum to 1 as closely as scikit-learn's metrics
        # require, also after an ensemble has averaged them.
        return self._predict_scores(X, lambda logits: logits.double().softmax(1))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Estimate the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            Finite where the probability itself underflows to 0.
        """
        return self._predict_scores(X, lambda logits: logits.double().log_softmax(1))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits, which are the network's outputs before the softmax.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n, n_classes), or (n,) for two classes; float64
            For two classes, the logit of ``classes_[1]`` minus that of ``classes_[0]``,
            as in scikit-learn.

        Notes
        -----
        Computed in double precision, which takes longer than ``predict_proba``: logits
        have no bound, and in float32 those of an image would depend on the other images
        of its batch by more than scikit-learn's checks allow.
        """
        check_is_fitted(self)
        twin = self._twin_with_own_network()
        twin.module_.double()
        scores = twin._predict_scores(X, lambda logits: logits)
        return scores if scores.shape[1] != 2 else scores[:, 1] - scores[:, 0]

    def predict(self, X: Any) -> np.ndarray:
        """Predict the label of each image.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted. A torch Dataset, as skorch's own
            scoring passes it, gives class indices, as its targets are.

        Returns
        -------
        ndarray of shape (n,)
            Labels of ``classes_``.
        """
        indices = self._predict_scores(X, lambda logits: logits.argmax(1))
        return indices if is_dataset(X) else self.classes_[indices]

    def embed(self, X: Any) -> np.ndarray:
        """Return the activations of the last hidden layer for each image.

        These are the inputs of the ``nn.Linear`` layer that is called last. Where the
        class of the network has a method ``embed``, they are what it returns for scaled
        images.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n, n_units), float32
            84 values by default for LeNet-5, and 512 for MiniVGG.

        Raises
        ------
        ValueError
            If the network has neither such a layer nor such a method, or if that does
            not return a tensor of shape (n, n_units).

        Examples
        --------
        >>> from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample
        >>> X, y = load_fashion_mnist_sample(return_X_y=True)
        >>> net = LeNet5Classifier(max_epochs=1, patience=None).fit(X[:200], y[:200])
        >>> net.embed(X[:5]).shape
        (5, 84)
        """
        check_is_fitted(self)
        twin = self._twin_with_own_network(predict_flip=False)
        network = getattr(twin.module_, "network", twin.module_)
        layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
        found: list[Any] = [None]  # in a batch

        def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            found.append(network.embed(*inputs) if has_method else inputs[0])

        has_method = hasattr(type(network), "embed")
        for layer in [network] if has_method else layers:
            layer.register_forward_pre_hook(note)
        batches: list[Tensor] = []
        with own_settings():
            for logits in twin.forward_iter(X):
                shape = tuple(getattr(found[-1], "shape", ()))
                if len(shape) != 2 or shape[0] != len(logits):
                    raise ValueError(
                        f"module={type(network).__name__} must end in an nn.Linear "
                        "layer or have a method embed(images) that returns a tensor of "
                        f"shape (n, n_units) = ({len(logits)}, n_units), got {shape}"
                    )
                batches.append(_all_finite(found[-1]))
                found = [None]
            return torch.cat(batches).float().cpu().numpy()

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy of the predictions.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted.
        y : array-like of shape (n,)
            True labels.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows.

        Returns
        -------
        float
            The share of images whose label is predicted correctly.
        """
        y = to_array(y, name="y")
        sample_weight = to_array(sample_weight, name="sample_weight")
        return super().score(X, y, sample_weight)

    def _predict_scores(self, X: Any, link: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Apply a function to the logits of all rows."""
        check_is_fitted(self)
        with in_turn(), own_settings():
            dataset = X if is_dataset(X) else self.get_dataset(X)
            # A GPU is waited for once, at the end; others may lack double precision.
            on_gpu = self.device_.type == "cuda"
            device = self.device_ if on_gpu else torch.device("cpu")
            # One block for all rows: small ones, kept from each batch, would lie
            # between the large ones of the batches, whose memory could then not be
            # used again.
            logits, n = torch.empty(0), 0
            for outputs in self.forward_iter(dataset, device=device):
                if n == 0:
                    shape = len(dataset), outputs.shape[1]
                    logits = torch.empty(shape, dtype=outputs.dtype, device=device)
                logits[n : n + len(outputs)] = outputs.detach()
                n += len(outputs)
            return link(_all_finite(logits[:n])).cpu().numpy()

    def _twin_with_own_network(self, **attributes: Any) -> Self:
        """Return an estimator like this one, whose network may be changed."""
        twin = object.__new__(type(self))
        twin.__dict__.update(vars(self))
        twin.__dict__.update(attributes, module_=copy.deepcopy(self.module_))
        return twin

    # skorch's tools ---------------------------------------------------------------

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Validate images, and labels where given.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted; a Dataset is returned as it is.
        y : array-like of shape (n,), optional
            Labels of ``classes_``.

        Returns
        -------
        ImageDataset
            Images with their class indices, on the network's device. Without ``y``
            these are 0, and all stays in main memory, since images are predicted batch
            by batch.
        """
        if is_dataset(X):
            return X
        if y is not None:
            return self._make_dataset(self._check_rows(X, y, None, first_call=False))
        X, _ = flatten_images(X, self.image_shape_)
        pixels = validate_data(self, X, reset=False, dtype="numeric")
        warn_of_range(self.module_, pixels)
        images = to_image_tensor(pixels, self.image_shape_)
        return ImageDataset(images, torch.zeros(len(images), dtype=torch.int64))

    def get_split_datasets(self, X: Any, y: Any = None) -> tuple[Any, Any]:
        """Split images and labels as ``fit`` does.

        Parameters
        ----------
        X, y : array-like
            As for ``get_dataset``.

        Returns
        -------
        train, valid : torch.utils.data.Dataset
            The second is None where ``fit`` would train on every row.
        """
        return self._split(self.get_dataset(X, y))

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Update the network by one batch; at any time, also outside of ``fit``.

        Teachers belong to ``fit`` and ``partial_fit``: outside of them, the labels
        alone count.

        Parameters
        ----------
        batch : tuple of Tensor
            Raw images (n, C, H, W) and class indices (n,).
        **fit_params : dict
            Part of skorch's interface.

        Returns
        -------
        dict
            ``loss`` and ``y_pred``, the logits.
        """
        if self._training is None:
            self._make_ready()
        return super().train_step(batch, **fit_params)

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Compute the loss of a batch; at any time, also outside of ``fit``.

        Parameters
        ----------
        batch, **fit_params
            As for ``train_step``.

        Returns
        -------
        dict
            ``loss`` and ``y_pred``, the logits.
        """
        if self._training is None:
            self._make_ready()
        return super().validation_step(batch, **fit_params)

    def _make_ready(self) -> None:
        """Build what a step needs and a new or unpickled estimator does not have."""
        if not self.__sklearn_is_fitted__():
            self.initialize()
        elif not hasattr(self, "optimizer_"):
            self._renew_optimizer()

    # Pickles and copies -------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: the network on the CPU, no training leftovers.

        The optimizer's state is kept only where training can continue from it: with
        ``warm_start``, or after ``partial_fit``.
        """
        state = vars(self).copy()
        state.pop("_training", None)
        optimizer = state.pop("optimizer_", None)
        if optimizer is not None and (self.warm_start or self._is_partial_fit):
            values = convert(optimizer.state_dict(), _on_cpu)
            state["_optimizer_state"] = type(optimizer), values
        if "module_" in state and self.device_.type != "cpu":
            for name in ("module_", "criterion_"):
                if isinstance(state.get(name), nn.Module):
                    state[name] = copy.deepcopy(state[name]).cpu()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the estimator; the network goes to the device this machine has."""
        self.__dict__.update(state)
        if "module_" in state:
            try:
                self.device_ = resolve_device(self.device)
            except ValueError:
                self.device_ = torch.device("cpu")
            self.place_module()
            if isinstance(state.get("criterion_"), nn.Module):
                state["criterion_"].to(self.device_)

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load weights, optimizer or history from files, as skorch does.

        Parameters
        ----------
        *args, **kwargs
            As for ``skorch.NeuralNet.load_params``.
        """
        device = self.device  # skorch passes it to torch, which does not know "auto"
        self.device = str(getattr(self, "device_", "cpu"))
        try:
            super().load_params(*args, **kwargs)
        finally:
            self.device = device


def _all_finite(outputs: Tensor) -> Tensor:
    """Return outputs of a network, or raise an error for NaN or infinity."""
    if not torch.isfinite(outputs).all():
        raise ValueError(
            "the network's outputs are not finite numbers: X holds values far beyond "
            "those that it was trained on, or its weights are not finite"
        )
    return outputs


def _ids_of_weights(optimizer: Optimizer) -> list[list[int]]:
    return [[id(p) for p in group["params"]] for group in optimizer.param_groups]


def _options(state: dict[str, Any]) -> list[Any]:
    """Return what decides which values an optimizer stores for each weight.

    These are options such as ``amsgrad``, and whether there is momentum; not rates.
    """
    groups = [dict(group) for group in state["param_groups"]]
    n_weights = [len(group.pop("params")) for group in groups]
    options = [
        {k: bool(v) for k, v in group.items() if isinstance(v, bool) or k == "momentum"}
        for group in groups
    ]
    return [n_weights, options]


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value


def _dropouts_of(module: nn.Module) -> list[Dropout]:
    return [layer for layer in module.modules() if isinstance(layer, Dropout)]
