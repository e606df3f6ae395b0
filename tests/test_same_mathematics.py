"""The fast path computes what the textbook's loop computes, step for step."""

import pytest
import torch
import torch.nn.functional as F
from skorch.callbacks import Callback
from torch import nn

from fmnist_sklearn import (
    LeNet5Classifier,
    MiniVGGClassifier,
    load_fashion_mnist_sample,
)

BATCH_SIZE = 12
N_STEPS = 50
# The published optimizer. Adam divides small gradients by their own size, and high
# rates leave the smooth part of the loss: both blow rounding up.
SGD = {"lr": 0.001, "momentum": 0.9, "nesterov": True}


def plain_lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.BatchNorm2d(6),
        nn.ELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.BatchNorm2d(16),
        nn.ELU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ELU(),
        nn.Linear(120, 84),
        nn.ELU(),
        nn.Linear(84, 10),
    )


def plain_mini_vgg():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=3),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4096, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    )


class StepLosses(Callback):
    """Keep the loss of every training step."""

    def __init__(self):
        self.losses_ = []

    def on_batch_end(self, net, batch=None, training=False, loss=None, **kwargs):
        if training:
            self.losses_.append(loss.item())


def plain_losses(network, images, labels):
    """Train by the loop that people write by hand; return the losses of its steps."""
    optimizer = torch.optim.SGD(network.train().parameters(), **SGD)
    losses = []
    for x, t in zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), t)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("classifier", "plain"),
    [(LeNet5Classifier, plain_lenet5), (MiniVGGClassifier, plain_mini_vgg)],
)
def test_losses_of_the_first_steps(classifier, plain):
    X, y = load_fashion_mnist_sample(return_X_y=True)
    X, y = X[: N_STEPS * BATCH_SIZE], y[: N_STEPS * BATCH_SIZE]
    record = StepLosses()
    net = classifier(
        batch_size=BATCH_SIZE,
        max_epochs=1,
        optimizer=torch.optim.SGD,
        **{f"optimizer__{name}": value for name, value in SGD.items()},
        validation_fraction=0,
        dropout=0,
        precision="float32",
        device="cpu",
        random_state=0,
        iterator_train__shuffle=False,
        callbacks=[record],
    )
    weights = [p.detach().clone() for p in net.initialize().module_.parameters()]
    net.fit(X, y)

    network = plain()
    with torch.no_grad():
        for parameter, weight in zip(network.parameters(), weights, strict=True):
            parameter.copy_(weight)
    scaling = net.module_.scaling
    images = scaling(torch.from_numpy(X).view(-1, 1, 28, 28))
    expected = plain_losses(network, images, torch.from_numpy(y).long())

    assert len(record.losses_) == N_STEPS
    assert record.losses_ == pytest.approx(expected, abs=1e-4)
    assert sum(expected[-10:]) < sum(expected[:10])  # it did learn something
