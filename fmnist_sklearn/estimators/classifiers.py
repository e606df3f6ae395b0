"""The two public classifiers: their constructors, defaults and documentation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from ..modules import LeNet5, MiniVGG
from ._base import ImageClassifier

_PARAMETERS = """
    lr : float, default={lr}
        Learning rate; with a schedule, the highest one.
    batch_size : int or "auto", default="auto"
        Rows in a mini-batch of the training; -1 is all of them. "auto" is a hundredth
        of the rows trained on, at least 16 and at most 64.
    max_epochs : int, default={max_epochs}
        Most epochs to train for; exactly so many where nothing stops earlier.
    patience : int, "auto" or None, default="auto"
        Stop after so many epochs in a row without a lower validation loss. "auto" is
        10 for a constant learning rate, and None, which never stops, for a schedule
        (it would be cut off) or without a validation part.
    load_best : bool, default=True
        Whether the weights of the epoch with the lowest validation loss are kept.
        False keeps those of the last one: at the end of a schedule these are often the
        more accurate, though surer of their mistakes, which is what the loss counts.
    validation_fraction : float, default=0.1
        Share of the rows set aside to validate on; 0 trains on every row.
    shuffle : bool, default=True
        Whether the validation part is a stratified random one; False takes the
        leading rows. Mini-batches come in random order either way.
    dropout : float, default={dropout}
        Probability of dropping a unit after a dense hidden layer.
    optimizer : torch.optim.Optimizer class, default=torch.optim.Adam
        Called with the parameters and ``lr``; ``optimizer__betas=...`` and the like
        reach it.
    weight_decay : float, default=0.0
        Weight decay, by the optimizer's own rule, of the weights of convolutions and
        dense layers; biases and batch normalisation are spared.
        ``optimizer__weight_decay`` in its place decays all parameters alike.
    lr_schedule : {{"one_cycle", "cosine"}}, callable or None, default=None
        How the learning rate changes from batch to batch, over ``max_epochs``:
        ``OneCycleLR`` or ``CosineAnnealingLR`` of torch.optim.lr_scheduler, or a
        function ``(optimizer, total_steps, **kwargs)`` that returns a scheduler;
        ``lr_schedule__pct_start=...`` and the like reach it.
    augment : mapping, callable or None, default=None
        Random changes of the training images: a mapping from "flip" (probability of
        a left-right flip), "shift" (pixels each way), "rotate" (degrees each way),
        "erase" (largest side, in pixels, of a blackened square) and "mixup" (alpha of
        Beta(alpha, alpha), from which the proportion is drawn in which images of a
        batch are blended, and with them their losses) to their strength, such as
        ``{{"flip": 0.5, "shift": 1}}``; or a function of a batch of raw images of
        shape (n, C, H, W) and a ``torch.Generator``.
    label_smoothing : float, default=0.05
        Share of each label spread over all classes in the training loss.
    ema_decay : float or None, default=0.999
        Decay per batch of a moving average of the weights; less in the first steps.
        The averaged weights are then those validated, kept and predicted with. None
        averages nothing.
    teacher : classifier, list of them or None, default=None
        Fitted classifiers with ``predict_proba`` over the same classes, whose
        probabilities the network learns besides the labels (knowledge distillation).
        One of this package is asked about the images as they are augmented; any other
        about each row once, as ``X`` has it. Wrap it in
        ``sklearn.frozen.FrozenEstimator`` for searches and cross-validation, whose
        ``clone`` empties estimators otherwise. See :ref:`distillation`.
    distillation_weight : float, default=0.9
        Share of the teachers in the training loss, from 0 to 1; that of the labels is
        the rest.
    distillation_temperature : float, default=2.0
        What the logits of network and teachers are divided by before they are
        compared; the higher, the more the unlikely classes count.
    predict_flip : bool, default=False
        Whether predictions are made from each image and its left-right mirror image,
        their logits averaged (test-time augmentation); takes twice as long. It may be
        set after ``fit``, whose validation does without.
    pixel_scaling : {{"standardize", "symmetric"}}, default="standardize"
        "standardize": subtract the mean of the training part and divide by its
        standard deviation, for each channel. "symmetric": the pixels' range (0..255,
        or 0..1) to [-1, 1].
    image_shape : tuple of int or None, default=None
        (channels, height, width) that rows are read as. None: the shape of ``X`` where
        that has three or four dimensions, else a grey square.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the training loss, as in scikit-learn.
    device : str or torch.device, default="auto"
        Where to compute; "auto" is CUDA where there is one, else the CPU.
    precision : {{"auto", "float32", "bfloat16"}}, default="auto"
        Arithmetic of the training. {precision} Predictions are made
        in float32.
    random_state : int, RandomState or None, default=None
        Seed of weights, split, order of the rows, augmentation and dropout. Global
        random states are neither read nor changed.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last call.
    callbacks : list or None, default=None
        Further skorch callbacks.
    train_split : callable or None, default=None
        A splitter of skorch's, called as ``train_split(dataset, y)``. None: by
        ``validation_fraction`` and ``shuffle``.
    iterator_train, iterator_valid : callable or None, default=None
        What forms batches, as in skorch: ``torch.utils.data.DataLoader``, say. None:
        they are cut from the resident data, which is faster.
    memory : str, path-like, joblib.Memory, FitCache or None, default=None
        A folder that keeps each fit: one done before, of the same data, parameters
        and ``random_state``, is read back instead of trained again, so that a search
        that was killed goes on where it was. See :ref:`memory`.
    verbose : int, default=0
        Whether to print a line for each epoch.
    **skorch__params
        Double-underscore parameters of skorch, for ``module``, ``criterion``,
        ``optimizer``, ``iterator_train``, ``iterator_valid``, ``callbacks`` and
        ``lr_schedule``: ``module__hidden_units=...``. The more specific name wins:
        ``module__dropout`` over ``dropout``.
"""

_ATTRIBUTES = """
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
    device_ : torch.device
        Where the network is.
    precision_ : str
        "float32" or "bfloat16": what the training was computed in.
    steps_ : str
        "captured" where the steps of the last training were recorded once and replayed
        by the GPU, else "eager"; see :doc:`/gpu`.
    module_ : torch.nn.Module
        The network.
    history_ : skorch.history.History
        A row for each epoch: ``epoch``, ``train_loss``, ``valid_loss``, ``valid_acc``
        and ``dur`` (seconds). The training loss is what was minimised: of augmented
        images and smoothed labels, with the teachers' share. The validation loss is
        plain cross-entropy.
"""


_Class = TypeVar("_Class", bound=type)


def _with_shared_text(**kwargs: Any) -> Callable[[_Class], _Class]:
    """Put the shared texts into a class docstring, which has a line for each."""

    def fill_in(cls: _Class) -> _Class:
        cls.__doc__ = (
            inspect.cleandoc(cls.__doc__ or "")
            .replace("{parameters}", inspect.cleandoc(_PARAMETERS.format(**kwargs)))
            .replace("{attributes}", inspect.cleandoc(_ATTRIBUTES))
            + "\n"
        )
        return cls

    return fill_in


@_with_shared_text(
    lr="2e-3",
    max_epochs=28,
    dropout=0.5,
    precision='"auto" is float32 for this network.',
)
class LeNet5Classifier(ImageClassifier):
    """LeNet-5 (CNN5) for small images, as a scikit-learn classifier.

    Two 5 x 5 convolutions with batch normalisation, ELU and max pooling, and two
    dense hidden layers; trained with early stopping, the best weights kept. With
    the defaults, on 28 x 28 grey images of ten classes, 61,750 parameters. It is
    a ``skorch.NeuralNetClassifier`` and passes for one.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MiniVGGClassifier : The larger and more accurate network.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to
    Document Recognition", Proceedings of the IEEE 86 (11), 1998.

    Examples
    --------
    >>> from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample
    >>> X, y = load_fashion_mnist_sample(return_X_y=True)
    >>> net = LeNet5Classifier(max_epochs=2, lr_schedule="one_cycle", lr=0.01,
    ...                        random_state=0)
    >>> net.fit(X, y).n_parameters_
    61750
    >>> X_test, y_test = load_fashion_mnist_sample(subset="test", return_X_y=True)
    >>> net.score(X_test, y_test) > 0.75
    True
    """

    module = LeNet5

    def __init__(
        self,
        *,
        lr=2e-3,
        batch_size="auto",
        max_epochs=28,
        patience="auto",
        load_best=True,
        validation_fraction=0.1,
        shuffle=True,
        dropout=0.5,
        optimizer=torch.optim.Adam,
        weight_decay=0.0,
        lr_schedule=None,
        augment=None,
        label_smoothing=0.05,
        ema_decay=0.999,
        teacher=None,
        distillation_weight=0.9,
        distillation_temperature=2.0,
        predict_flip=False,
        pixel_scaling="standardize",
        image_shape=None,
        class_weight=None,
        device="auto",
        precision="auto",
        random_state=None,
        warm_start=False,
        callbacks=None,
        train_split=None,
        iterator_train=None,
        iterator_valid=None,
        memory=None,
        verbose=0,
        **skorch__params,
    ):
        self._store(locals())


@_with_shared_text(
    lr="1e-3",
    max_epochs=12,
    dropout=0.0,
    precision=(
        '"auto" is bfloat16 on CUDA and on\n        CPUs with AVX512-BF16 or AMX, '
        "else float32."
    ),
)
class MiniVGGClassifier(ImageClassifier):
    """A small VGG (mini_vgg) for small images, as a scikit-learn classifier.

    Four 3 x 3 convolutions in two stages with ReLU and max pooling, and one wide
    dense hidden layer; trained with early stopping, the best weights kept. With
    the defaults, on 28 x 28 grey images of ten classes, 2,167,786 parameters. It
    is a ``skorch.NeuralNetClassifier`` and passes for one.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    LeNet5Classifier : The smaller and faster network.

    References
    ----------
    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale
    Image Recognition", ICLR 2015.

    Examples
    --------
    >>> from fmnist_sklearn import MiniVGGClassifier, load_fashion_mnist_sample
    >>> X, y = load_fashion_mnist_sample(return_X_y=True)
    >>> net = MiniVGGClassifier(max_epochs=1, patience=None, random_state=0)
    >>> net.fit(X[:600], y[:600]).n_parameters_
    2167786
    """

    module = MiniVGG
    _bfloat16_pays = True
    _memory_format = torch.channels_last

    def __init__(
        self,
        *,
        lr=1e-3,
        batch_size="auto",
        max_epochs=12,
        patience="auto",
        load_best=True,
        validation_fraction=0.1,
        shuffle=True,
        dropout=0.0,
        optimizer=torch.optim.Adam,
        weight_decay=0.0,
        lr_schedule=None,
        augment=None,
        label_smoothing=0.05,
        ema_decay=0.999,
        teacher=None,
        distillation_weight=0.9,
        distillation_temperature=2.0,
        predict_flip=False,
        pixel_scaling="standardize",
        image_shape=None,
        class_weight=None,
        device="auto",
        precision="auto",
        random_state=None,
        warm_start=False,
        callbacks=None,
        train_split=None,
        iterator_train=None,
        iterator_valid=None,
        memory=None,
        verbose=0,
        **skorch__params,
    ):
        self._store(locals())
