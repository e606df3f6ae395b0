import pytest
import torch

from fmnist_sklearn.modules.cpu.windows import (
    add_columns_up,
    falls_into_windows,
    send_to_largest,
)


def test_copies_of_columns_are_added_up():
    a, b, c, d, e, f, g, h = 1.0, 2.0, 3.0, 4.0, 50.0, 60.0, 70.0, 80.0
    copies = torch.tensor([[a, e], [b, f], [c, g], [d, h]])  # (4, windows)
    columns = add_columns_up(copies[None], kernel=3, n=1)
    assert columns.flatten().tolist() == [a, b, c + e, d + f, g, h]


def test_a_window_s_gradient_goes_to_the_first_of_its_largest_corners():
    planes = torch.tensor([1.0, 3.0, 3.0, 2.0]).view(1, 4, 1, 1)
    grads = torch.full((1, 4, 1, 1), 7.0)
    send_to_largest(grads, planes, planes.amax(1))
    assert grads.flatten().tolist() == [0, 7, 0, 0]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8, 1, 28, 28), True),
        ((8, 1, 12, 14), True),
        ((8, 1, 12, 13), False),
        ((8, 1, 9, 12), False),
        ((8, 1, 4, 6), False),  # lower than the kernel
        ((0, 1, 28, 28), False),
        ((8, 2, 28, 28), False),  # other channels than the kernel's
        ((1, 28, 28), False),
    ],
)
def test_what_falls_into_windows(shape, expected):
    weight = torch.zeros(6, 1, 5, 5)
    assert falls_into_windows(torch.zeros(shape), weight, padding=0) == expected
