"""The classifiers of the two networks: their defaults and their documentation."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch

from ..modules import LeNet5, MiniVGG
from .base import ImageClassifier
from .validation import OF_MINIVGG, WITH_DROPOUT


class LeNet5Classifier(ImageClassifier):
    """LeNet-5 (CNN5) for small images, as a scikit-learn classifier.

    Two 5 x 5 convolutions with batch normalisation, ELU and max pooling, and two
    dense hidden layers; trained with early stopping, the best weights kept. With
    the defaults, on 28 x 28 grey images of ten classes, 61,750 parameters. It is
    a ``skorch.NeuralNetClassifier`` and passes for one. Without arguments, it took
    about a minute of two CPU cores for the 60,000 images of Fashion-MNIST, with a test
    accuracy of 0.917 (:doc:`/accuracy`).

    Parameters
    ----------
    lr : float, default=0.01
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
    dropout : float, default=0.15
        Probability of dropping a unit after a dense hidden layer.
    **skorch__params
        Double-underscore parameters of skorch, for ``module``, ``criterion``,
        ``optimizer``, ``iterator_train``, ``iterator_valid``, ``callbacks`` and
        ``lr_schedule``: ``module__hidden_units=...``. The more specific name wins:
        ``module__dropout`` over ``dropout``.

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
        The network.
    history_ : skorch.history.History
        A row for each epoch: ``epoch``, ``train_loss``, ``valid_loss``, ``valid_acc``
        and ``dur`` (seconds). The training loss is the one minimised: of augmented
        images and smoothed labels, with the teachers' share. The validation loss is
        plain cross-entropy.

    See Also
    --------
    MiniVGGClassifier : The larger and more accurate network.
    RECIPES : Values chosen together, "fast", "accurate" and "published", as in
        ``LeNet5Classifier(**RECIPES["fast"]["LeNet5Classifier"])``.

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
    _parameter_constraints = WITH_DROPOUT

    def __init__(
        self,
        *,
        lr: float = 0.01,
        dropout: float = 0.15,
        **kwargs: Any,
    ) -> None:
        super().__init__(lr=lr, **kwargs)
        self.dropout = dropout


class MiniVGGClassifier(ImageClassifier):
    """A small VGG (mini_vgg) for small images, as a scikit-learn classifier.

    Four 3 x 3 convolutions in two stages with ReLU and max pooling, and one wide
    dense hidden layer; trained with early stopping, the best weights kept. With
    the defaults, on 28 x 28 grey images of ten classes, 2,167,786 parameters. It
    is a ``skorch.NeuralNetClassifier`` and passes for one. Without arguments, it took
    about four minutes of two CPU cores for the 60,000 images of Fashion-MNIST, with a
    test accuracy of 0.942 (:doc:`/accuracy`).

    Parameters
    ----------
    lr : float or "auto", default="auto"
        Learning rate; with a schedule, the highest one. "auto" is 0.003 for images of
        up to 28 x 28 pixels, and 0.003 * 28 / side for larger ones: 0.0013 for 64 x 64.
    batch_size : int or "auto", default="auto"
        Rows in a mini-batch of the training; -1 is all of them. "auto" is a hundredth
        of the rows trained on, at least 16 and at most 128.
    max_epochs : int or "auto", default="auto"
        Number of epochs to train for, unless early stopping ends the training before.
        "auto" is as many as make 1,200 mini-batches, at least 10 and at most 13, or
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
        Arithmetic of the training. "auto" is bfloat16 on CUDA and on
        CPUs with AVX512-BF16 or AMX, else float32. Predictions are made in float32.
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
    dropout : float, default=0.1
        Probability of dropping a unit after a dense hidden layer.
    **skorch__params
        Double-underscore parameters of skorch, for ``module``, ``criterion``,
        ``optimizer``, ``iterator_train``, ``iterator_valid``, ``callbacks`` and
        ``lr_schedule``: ``module__hidden_units=...``. The more specific name wins:
        ``module__dropout`` over ``dropout``.

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
        The network.
    history_ : skorch.history.History
        A row for each epoch: ``epoch``, ``train_loss``, ``valid_loss``, ``valid_acc``
        and ``dur`` (seconds). The training loss is the one minimised: of augmented
        images and smoothed labels, with the teachers' share. The validation loss is
        plain cross-entropy.

    See Also
    --------
    LeNet5Classifier : The smaller and faster network.
    RECIPES : Values chosen together, "fast", "accurate" and "published", as in
        ``MiniVGGClassifier(**RECIPES["fast"]["MiniVGGClassifier"])``.

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
    _parameter_constraints = OF_MINIVGG
    _bfloat16_pays = True
    _memory_format = torch.channels_last
    _auto_epochs = (10, 13, 1200)

    def __init__(
        self,
        *,
        lr: float | Literal["auto"] = "auto",
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(lr=lr, **kwargs)  # type: ignore[arg-type]
        self.dropout = dropout

    def get_params_for_optimizer(self, prefix: str, named_parameters: Any) -> Any:
        """Return the arguments of the optimizer, as skorch does, with ``lr`` a number.

        Parameters
        ----------
        prefix, named_parameters
            As for ``skorch.NeuralNet.get_params_for_optimizer``.
        """
        args, kwargs = super().get_params_for_optimizer(prefix, named_parameters)
        if kwargs["lr"] == "auto":
            # With more inputs, the sums of the dense layer change more in a step. At
            # 0.003, photos of 64 x 64 were predicted hardly better than by chance.
            side = math.sqrt(math.prod(self.image_shape_[1:]))
            kwargs["lr"] = 0.003 * min(28 / side, 1)
        return args, kwargs
