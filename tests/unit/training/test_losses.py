"""The loss of each row, and its mean over a batch."""

import pytest
import torch
import torch.nn.functional as F

from fmnist_sklearn.training.batches import CrossEntropy, batch_loss, row_losses

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0], [1.0, 1.0, 1.0]])
TARGETS = torch.tensor([0, 2, 1])


@pytest.mark.parametrize(
    "kwargs", [{}, {"label_smoothing": 0.2}, {"weight": torch.tensor([1.0, 2.0, 3.0])}]
)
def test_rows_are_those_of_pytorch(kwargs):
    criterion = CrossEntropy(**kwargs)
    expected = torch.nn.CrossEntropyLoss(**kwargs, reduction="none")(LOGITS, TARGETS)
    assert torch.equal(criterion.of_rows(LOGITS, TARGETS), expected)
    assert torch.equal(row_losses(criterion, LOGITS, TARGETS), expected)
    assert criterion.reduction == "mean"
    assert criterion(LOGITS, TARGETS).shape == ()


def test_another_criterion_gives_its_rows_itself():
    criterion = torch.nn.MultiMarginLoss(reduction="none")
    rows = row_losses(criterion, LOGITS, TARGETS)
    assert torch.equal(rows, F.multi_margin_loss(LOGITS, TARGETS, reduction="none"))


def test_batch_loss():
    losses = torch.tensor([1.0, 2.0, 6.0])
    assert batch_loss(losses, None) == 3
    assert batch_loss(losses, torch.tensor([0.0, 3.0, 0.5])) == 3
