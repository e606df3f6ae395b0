"""The fused forward computes what a plain PyTorch loop computes, step for step."""

import runpy
from pathlib import Path

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


def hand_written_network(model):
    """Build the network that the speed benchmarks compare with, without dropout."""
    path = Path(__file__).parents[2] / "examples" / "benchmarks" / "contenders.py"
    contenders = runpy.run_path(str(path))
    network = contenders["PLAIN_NETWORKS"][model]()
    for layer in network:
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return network


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
    ("classifier", "model"),
    [(LeNet5Classifier, "lenet5"), (MiniVGGClassifier, "minivgg")],
)
def test_fit_has_the_losses_of_a_plain_loop(classifier, model):
    X, y = load_fashion_mnist_sample(return_X_y=True)
    X, y = X[: N_STEPS * BATCH_SIZE], y[: N_STEPS * BATCH_SIZE]
    record = StepLosses()
    net = classifier(
        batch_size=BATCH_SIZE,
        max_epochs=1,
        lr_schedule=None,
        augment=None,
        optimizer=torch.optim.SGD,
        **{f"optimizer__{name}": value for name, value in SGD.items()},
        validation_fraction=0,
        dropout=0,
        label_smoothing=0,
        ema_decay=None,
        precision="float32",
        device="cpu",
        random_state=0,
        iterator_train__shuffle=False,
        callbacks=[record],
    )
    weights = [p.detach().clone() for p in net.initialize().module_.parameters()]
    net.fit(X, y)

    network = hand_written_network(model)
    with torch.no_grad():
        for parameter, weight in zip(network.parameters(), weights, strict=True):
            parameter.copy_(weight)
    scaling = net.module_.scaling
    images = scaling(torch.from_numpy(X).view(-1, 1, 28, 28))
    expected = plain_losses(network, images, torch.from_numpy(y).long())

    assert len(record.losses_) == N_STEPS
    assert record.losses_ == pytest.approx(expected, abs=1e-4)
    assert sum(expected[-10:]) < sum(expected[:10])  # it did learn something
