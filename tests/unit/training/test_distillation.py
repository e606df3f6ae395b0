"""Losses of blended images and of teachers, held against PyTorch's own."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.estimators.teachers import Teaching, soften
from fmnist_sklearn.training.batches import Batch

N, N_CLASSES = 12, 10


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.randint(0, 256, (N, 1, 28, 28), dtype=torch.uint8)


@pytest.fixture
def targets():
    return torch.randint(0, N_CLASSES, (N,))


def made_ready(cls=LeNet5Classifier, **params):
    """An unfitted net whose dropout changes nothing."""
    return cls(random_state=0, dropout=0.0, **params).initialize()


class MarginLoss(torch.nn.MultiMarginLoss):
    """A criterion that takes class indices only."""

    def __init__(self, label_smoothing, reduction):
        super().__init__(reduction=reduction)


class WithMargin(LeNet5Classifier):
    criterion = MarginLoss


def gradients_of(net):
    return [p.grad.clone() for p in net.module_.parameters()]


def check_against(net, batch, expected_loss):
    """Compare loss and gradients of a training step with those of a reference."""
    net.module_.train()
    net.module_.zero_grad()
    reference = expected_loss(net.infer(batch[0]))
    reference.backward()
    expected = gradients_of(net)
    net.module_.zero_grad()
    loss = net.train_step_single(batch)["loss"]

    assert torch.allclose(loss, reference, rtol=1e-5)
    for found, other in zip(gradients_of(net), expected, strict=True):
        assert torch.allclose(found, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixup_is_cross_entropy_of_soft_targets(images, targets, smoothing):
    net = made_ready(label_smoothing=smoothing)
    batch = Batch(images, targets).augmented(None, 0.5, generator())
    share, others = batch.share, batch.mixed_targets
    one_hot = F.one_hot(targets, N_CLASSES).float()
    share = share[:, None]
    soft = share * one_hot + (1 - share) * F.one_hot(others, N_CLASSES)
    soft = soft * (1 - smoothing) + smoothing / N_CLASSES

    check_against(net, batch, lambda logits: F.cross_entropy(logits, soft))


def test_mixup_in_fit_and_partial_fit(X, y, quick, lenet5):
    net = LeNet5Classifier(**quick, augment={"mixup": 1.0}).fit(X, y).partial_fit(X, y)
    losses = net.history_[:, "train_loss"]
    assert np.isfinite(losses).all()
    assert losses[:2] != lenet5.history_[:, "train_loss"]


# Teachers


def teach(net, *networks, n_teachers, weight, temperature):
    """Put a net into a run that has these teachers."""
    teaching = Teaching(networks, n_teachers, weight, temperature)
    net._training = SimpleNamespace(teaching=teaching)
    return teaching


def divergence(logits, soft, temperature, row_weights):
    """Hinton's soft loss, written with PyTorch's own."""
    of_rows = torch.nn.KLDivLoss(reduction="none")(
        (logits / temperature).log_softmax(1), soft
    )
    return temperature**2 * (of_rows.sum(1) * row_weights).mean()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mixup", [0, 0.5])
def test_distillation_is_that_of_hinton(
    lenet5, images, targets, temperature, weighted, mixup
):
    """Of a network that predicts here, and of one whose soft targets are given."""
    net = made_ready(label_smoothing=0.1)
    teach(net, lenet5, n_teachers=2, weight=0.7, temperature=temperature)
    others = torch.rand(N, N_CLASSES, dtype=torch.float64)
    answers = soften(others / others.sum(1, keepdim=True), temperature).float()
    weights = torch.linspace(0.1, 2, N) if weighted else None
    plain = Batch(images, targets, weights, answers)
    batch = plain.augmented(None, mixup, generator())
    share = batch.share[0] if mixup else 1.0
    order = mixed_order(batch, images, share) if mixup else torch.arange(N)

    ours = torch.from_numpy(lenet5.predict_log_proba(batch[0].numpy())).float()
    soft = (ours / temperature).softmax(1) / 2
    soft = soft + (share * answers + (1 - share) * answers[order]) / 2
    of_rows = torch.ones(N) if weights is None else weights
    blended = share * of_rows + (1 - share) * of_rows[order]

    def reference(logits):
        labels = F.cross_entropy(logits, targets, reduction="none", label_smoothing=0.1)
        mixed = F.cross_entropy(
            logits, targets[order], reduction="none", label_smoothing=0.1
        )
        labels = share * labels * of_rows + (1 - share) * mixed * of_rows[order]
        from_teachers = divergence(logits, soft, temperature, blended)
        return 0.3 * labels.mean() + 0.7 * from_teachers

    check_against(net, batch, reference)


def mixed_order(batch, images, share):
    """Find which image went into which, from the images themselves."""
    others = (batch[0] - share * images.float()) / (1 - share)
    distances = torch.cdist(others.flatten(1), images.float().flatten(1))
    return distances.argmin(1)


def test_distillation_of_blended_images_with_another_criterion(lenet5, images, targets):
    net = made_ready(WithMargin)
    teach(net, lenet5, n_teachers=1, weight=0.5, temperature=2.0)
    batch = Batch(images, targets).augmented(None, 0.5, generator())
    share = batch.share[0]
    soft = torch.from_numpy(lenet5.predict_log_proba(batch[0].numpy())).float() / 2

    def reference(logits):
        own = F.multi_margin_loss(logits, targets)
        others = F.multi_margin_loss(logits, batch.mixed_targets)
        from_teacher = divergence(logits, soft.softmax(1), 2.0, torch.ones(N))
        return (share * own + (1 - share) * others + from_teacher) / 2

    check_against(net, batch, reference)


def test_soften():
    logits = torch.tensor([[1.0, -2.0, 4.0], [0.0, 0.0, 50.0]], dtype=torch.float64)
    softened = soften(logits.softmax(1), 4.0)
    assert torch.allclose(softened, (logits / 4).softmax(1))
    certain = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    assert torch.equal(soften(certain, 2.0), certain)
    assert torch.equal(soften(certain, 1e-30), certain)
