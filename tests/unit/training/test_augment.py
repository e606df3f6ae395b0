import numpy as np
import pytest
import torch

from fmnist_sklearn.training.augment import (
    make_augment,
    mix_up,
    mixup_strength,
    random_erase,
    random_flip,
    random_rotate,
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


def test_flip_of_all_or_none_and_of_true(images):
    assert torch.equal(random_flip(images, 1.0, generator()), images.flip(-1))
    assert torch.equal(random_flip(images, 0.0, generator()), images)
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


@pytest.mark.parametrize("shape", [(3, 2, 9, 9), (3, 1, 7, 13)])
def test_rotate_by_known_angles(monkeypatch, shape):
    """By 0, 90 and 180 degrees, the largest square in the middle of each image."""
    monkeypatch.setattr(
        "fmnist_sklearn.training.augment._uniform",
        lambda n, generator: torch.tensor([0.5, 0.75, 1.0]),
    )
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    turned = random_rotate(images, 180, None)

    assert turned.dtype == torch.float32
    side, (h, w) = min(shape[-2:]), shape[-2:]
    top, left = (h - side) // 2, (w - side) // 2
    window = (..., slice(top, top + side), slice(left, left + side))
    for quarters in range(3):
        found, image = turned[quarters][window], images[quarters][window].float()
        assert any(
            torch.allclose(
                found, torch.rot90(image, way * quarters, (-2, -1)), atol=0.01
            )
            for way in (-1, 1)
        )


def test_rotate_goes_both_ways_and_black_comes_in():
    images = torch.full((200, 1, 11, 11), 255, dtype=torch.uint8)
    images[..., 5] = 0  # an upright line
    turned = random_rotate(images, 10, generator())
    leaning = (turned[:, 0, 2, 4] < 250).float() - (turned[:, 0, 2, 6] < 250).float()

    assert 60 < int((leaning == 1).sum()) < 140
    assert 60 < int((leaning == -1).sum()) < 140
    assert (turned[:, 0, 5, 5] < 30).all()  # the centre stays
    assert (turned[:, 0, 0, 0] < 250).any()
    assert turned.min() >= 0
    assert turned.max() <= 255.001


def check_blended(images, blended, others, share):
    share = share[:, None, None, None]
    expected = share * images.float() + (1 - share) * images[others].float()
    assert torch.allclose(blended, expected, atol=1e-3)


def test_mix_up_blends_pairs_in_one_proportion(images):
    shares = []
    for seed in range(50):
        blended, others, share = mix_up(images, 0.4, generator(seed))
        assert len(share.unique()) == 1
        check_blended(images, blended, others, share)
        assert torch.equal(others.sort().values, torch.arange(len(images)))
        shares.append(share[0])
    assert torch.equal(mix_up(images, 0.4, generator(seed))[0], blended)
    # Beta(0.4, 0.4) is heaviest at its ends, and even on both sides.
    assert np.mean([share < 0.1 or share > 0.9 for share in shares]) > 0.35
    assert 0.35 < np.mean(shares) < 0.65


def test_mix_up_blends_within_each_of_several_batches(images):
    size = len(images) // 2 - 1  # two, and a smaller one
    blended, others, share = mix_up(images, 0.4, generator(), size)
    for start in range(0, len(images), size):
        rows = slice(start, start + size)
        n = len(images[rows])
        assert torch.equal(others[rows].sort().values, start + torch.arange(n))
        assert len(share[rows].unique()) == 1
    assert len(share.unique()) == 3
    check_blended(images, blended, others, share)


@pytest.mark.parametrize("alpha", [1e-300, 1000])
def test_mix_up_of_extreme_strength(images, alpha):
    blended, _, share = mix_up(images, alpha, generator())
    assert ((share >= 0) & (share <= 1)).all()
    assert torch.isfinite(blended).all()


def test_mixup_is_left_to_the_batch(images):
    assert torch.equal(make_augment({"mixup": 0.2})(images, generator()), images)
    assert mixup_strength({"mixup": 0.2, "shift": 1}) == 0.2
    assert mixup_strength({"shift": 1}) == mixup_strength(None) == 0
    assert mixup_strength(len) == 0


def test_make_augment_of_all_together(images):
    augment = make_augment({"flip": 0.5, "shift": 1, "rotate": 5, "erase": 2})
    once = augment(images, generator())
    assert once.shape == images.shape
    assert torch.equal(augment(images, generator()), once)
    assert not torch.equal(augment(images, generator(1)), once)


def test_make_augment_of_nothing_numpy_strengths_or_a_function(images):
    assert make_augment(None) is None
    assert make_augment(len) is len
    zeros = {"flip": 0, "shift": 0, "erase": 0, "rotate": 0, "mixup": 0}
    for nothing in ({}, zeros):
        assert torch.equal(make_augment(nothing)(images, generator()), images)
    # As a search over numpy.arange passes them.
    augment = make_augment({"flip": np.float64(0.5), "shift": np.int64(1)})
    expected = make_augment({"flip": 0.5, "shift": 1})
    assert torch.equal(augment(images, generator()), expected(images, generator()))


@pytest.mark.parametrize(
    ("augment", "match"),
    [
        (
            {"flop": 1},
            "augment may hold 'flip', 'shift', 'rotate', 'erase', 'mixup', got 'flop'",
        ),
        ({"flip": 1.5}, r"augment\['flip'\] must be a probability.*got 1.5"),
        ({"flip": float("nan")}, r"augment\['flip'\] must be a probability.*nan"),
        ({"flip": "left"}, r"augment\['flip'\] must be a probability.*'left'"),
        ({"shift": 1.5}, r"augment\['shift'\] must be a number of pixels.*got 1.5"),
        ({"shift": -1}, r"augment\['shift'\] must be .* at least 0, got -1"),
        ({"erase": "all"}, r"augment\['erase'\] must be .*got 'all'"),
        ({"rotate": 181}, r"augment\['rotate'\] must be an angle in degrees.*got 181"),
        ({"mixup": -0.1}, r"augment\['mixup'\] must be the alpha of .*got -0.1"),
        ({"mixup": float("inf")}, r"augment\['mixup'\] must be .* 1000, got inf"),
    ],
)
def test_make_augment_refuses(augment, match):
    with pytest.raises(ValueError, match=match):
        make_augment(augment)
