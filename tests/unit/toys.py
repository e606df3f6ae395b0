"""Estimators that train nothing, callbacks, and networks that are not our own."""

import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassifierMixin
from skorch.callbacks import Callback
from torch import nn
from torchvision.models import mobilenet_v3_small

from fmnist_sklearn import LeNet5Classifier

# A training whose steps are all alike: what an epoch is does not depend on the others.
CONSTANT = {"optimizer": torch.optim.Adam, "lr_schedule": None, "augment": None}


class Net(ClassifierMixin, BaseEstimator):
    """Says about its fit what our estimators say."""

    def __init__(self, width=1, optimizer=dict, fail=False):
        self.width = width
        self.optimizer = optimizer
        self.fail = fail

    def fit(self, X, y, sample_weight=None):
        if self.fail:
            raise RuntimeError("told to fail")
        self.classes_ = np.unique(y)
        self.fit_time_ = 100.0 * self.width
        self.n_iter_ = 7
        self.n_parameters_ = 10 * self.width
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


class Listens(Callback):
    """Makes a fit take its steps eagerly, uncaptured."""

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        pass


class Raises(Callback):
    """Raises an error at the end of an epoch."""

    def __init__(self, error, epoch=2):
        self.error, self.epoch = error, epoch

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        if net.history_[-1, "epoch"] == self.epoch:
            raise self.error


class OtherDefault(LeNet5Classifier):
    """With a constructor of its own, and predictions."""

    def __init__(self, *, lr=0.02, floor=0.0, **kwargs):
        super().__init__(lr=lr, **kwargs)
        self.floor = floor

    def predict_proba(self, X):
        return np.maximum(super().predict_proba(X), self.floor)


class OneFixed(LeNet5Classifier):
    """One whose constructor names few parameters and fixes the others."""

    dropout_of_all = 0.1

    def __init__(self, memory=None, max_epochs=1):
        super().__init__(
            max_epochs=max_epochs,
            memory=memory,
            random_state=0,
            dropout=self.dropout_of_all,
        )


class OtherStep(LeNet5Classifier):
    """With a training step of its own."""

    def train_step(self, batch, **fit_params):
        return super().train_step(batch, **fit_params)


class Perceptron(nn.Sequential):
    """Two dense layers."""

    def __init__(self, n_classes, image_shape, width=32, dropout=0.1):
        super().__init__(
            nn.Flatten(),
            nn.Linear(math.prod(image_shape), width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, n_classes),
        )


class Block(nn.Module):
    """Two convolutions, and what comes in added to what comes out."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Identity()
        if stride > 1 or n_in != n_out:
            self.shortcut = nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    """He, Zhang, Ren and Sun's, of nine blocks."""

    def __init__(self, n_classes, image_shape, width=16):
        super().__init__()
        self.stem = nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential()
        n_in = width
        for stage in range(3):
            for number in range(3):
                n_out, stride = width * 2**stage, 2 if stage and not number else 1
                self.blocks.append(Block(n_in, n_out, stride))
                n_in = n_out
        self.out = nn.Linear(n_in, n_classes)

    def forward(self, x):
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        return self.out(x.mean((2, 3)))


class GreyMobileNet(nn.Module):
    """torchvision's MobileNetV3-small, for images of any number of channels.

    Its batch normalisation follows a short training, as its default of 0.01 does not.
    """

    def __init__(self, n_classes, image_shape):
        super().__init__()
        self.network = mobilenet_v3_small(
            weights=None,
            num_classes=n_classes,
            norm_layer=partial(nn.BatchNorm2d, momentum=0.1),
        )
        first = nn.Conv2d(image_shape[0], 16, 3, stride=2, padding=1, bias=False)
        self.network.features[0][0] = first

    def forward(self, x):
        return self.network(x)


class NoArguments(nn.Module):
    """Flattens to a size that PyTorch finds out, and draws in three ways."""

    def __init__(self, layer=nn.ReLU):
        super().__init__()
        self.hidden = nn.LazyLinear(12)
        self.act, self.drop = layer(), nn.Dropout1d(0.2)
        self.norm, self.out = nn.BatchNorm1d(12), nn.Linear(12, 10)

    def forward(self, x):
        x = self.act(self.hidden(x.flatten(1)))
        return self.out(self.norm(self.drop(F.dropout(x, 0.1, self.training))))
