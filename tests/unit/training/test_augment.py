import numpy as np
import pytest
import torch

from fmnist_sklearn.training.augment import (
    make_augment,
    random_erase,
    random_flip,
    random_shift,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    """Random images of two channels; no pixel is 0."""
    return torch.randint(1, 256, (400, 2, 6, 8), dtype=torch.uint8)


def test_flip_is_independent_for_each_image(images):
    flipped = random_flip(images, 0.5, generator())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)

    assert (mirrored ^ same).all()  # each image is one or the other, channels together
    assert 150 < int(mirrored.sum()) < 250
    assert flipped.dtype == torch.uint8


def test_flip_of_all_or_none(images):
    assert torch.equal(random_flip(images, 1.0, generator()), images.flip(-1))
    assert torch.equal(random_flip(images, 0.0, generator()), images)


def test_flip_true_is_one_half(images):
    flipped = make_augment({"flip": True})(images, generator())
    assert torch.equal(flipped, random_flip(images, 0.5, generator()))
    assert torch.equal(make_augment({"flip": False})(images, generator()), images)


def moved(images, down, right):
    """Move all images by up to two pixels; zeros come in."""
    h, w = images.shape[-2:]
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    return padded[..., 2 - down : 2 - down + h, 2 - right : 2 - right + w]


def test_shift_moves_each_image_by_whole_pixels(images):
    shifted = random_shift(images, 2, generator())
    steps = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    found = torch.stack(
        [(moved(images, *step) == shifted).flatten(1).all(1) for step in steps]
    )

    assert shifted.dtype == torch.uint8
    assert (found.sum(0) == 1).all()  # each image went one way, channels together
    assert found.any(1).all()  # every way was gone


def test_shift_of_more_than_the_image(images):
    shifted = random_shift(images, 20, generator())
    assert shifted.shape == images.shape
    assert (shifted.flatten(1).sum(1) == 0).any()


def test_erase_blackens_one_square_of_each_image(images):
    side = 3
    erased = random_erase(images, side, generator())
    black = erased == 0

    assert torch.equal(black[:, 0], black[:, 1])  # the same in all channels
    assert torch.equal(erased[~black], images[~black])
    rows, columns = black[:, 0].any(2), black[:, 0].any(1)  # (n, h), (n, w)
    rectangle = rows[:, :, None] & columns[:, None, :]
    assert torch.equal(black[:, 0], rectangle)
    heights, widths = rows.sum(1), columns.sum(1)
    assert set(heights.tolist()) == set(widths.tolist()) == {0, 1, 2, 3}
    for spans in (rows, columns):  # unbroken
        changes = (spans[:, 1:] != spans[:, :-1]).sum(1)
        assert changes.max() <= 2
    assert rows.float().mean(0).min() > 0.1  # anywhere in the image
    assert columns.float().mean(0).min() > 0.1


def test_all_three_together(images):
    augment = make_augment({"flip": 0.5, "shift": 1, "erase": 2})
    once = augment(images, generator())
    assert once.shape == images.shape
    assert torch.equal(augment(images, generator()), once)
    assert not torch.equal(augment(images, generator(1)), once)


def test_nothing_asked_for_changes_nothing(images):
    assert make_augment(None) is None
    assert torch.equal(make_augment({})(images, generator()), images)
    zeros = make_augment({"flip": 0, "shift": 0, "erase": 0})
    assert torch.equal(zeros(images, generator()), images)


def test_strengths_from_numpy(images):
    """As a search over ``numpy.arange`` hands them over."""
    augment = make_augment({"flip": np.float64(0.5), "shift": np.int64(1)})
    expected = make_augment({"flip": 0.5, "shift": 1})
    assert torch.equal(augment(images, generator()), expected(images, generator()))


def test_a_function_stays_as_it_is():
    assert make_augment(len) is len


@pytest.mark.parametrize(
    ("augment", "match"),
    [
        ({"flop": 1}, "augment may hold 'flip', 'shift', 'erase', got 'flop'"),
        ({"flip": 1.5}, r"augment\['flip'\] must be a probability.*got 1.5"),
        ({"flip": -0.1}, r"augment\['flip'\] must be a probability"),
        ({"flip": float("nan")}, r"augment\['flip'\] must be a probability.*nan"),
        ({"flip": "left"}, r"augment\['flip'\] must be a probability.*'left'"),
        ({"flip": None}, r"augment\['flip'\] must be a probability.*None"),
        ({"shift": 1.5}, r"augment\['shift'\] must be a number of pixels.*got 1.5"),
        ({"shift": -1}, r"augment\['shift'\] must be .* at least 0, got -1"),
        ({"erase": "all"}, r"augment\['erase'\] must be .*got 'all'"),
    ],
)
def test_wrong_augment(augment, match):
    with pytest.raises(ValueError, match=match):
        make_augment(augment)
