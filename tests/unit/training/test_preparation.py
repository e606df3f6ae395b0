"""What a fit settles before its first step: seeds, split, pixel statistics."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedShuffleSplit
from torch.utils.data import Subset

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.training.batches import ImageDataset, pixel_statistics, split_rows
from fmnist_sklearn.training.net import Seeds

# Seeds


def values(seeds):
    return seeds.weights, seeds.split, seeds.order, seeds.dropout


def test_seeds_follow_random_state():
    seeds = values(Seeds(7))
    assert values(Seeds(7)) == values(Seeds(np.random.RandomState(7))) == seeds
    assert values(Seeds(8)) != seeds
    assert len(set(seeds)) == 4  # no two parts share a seed
    assert all(type(seed) is int for seed in seeds)
    # As in scikit-learn: the next estimator given the same one gets other seeds.
    random_state = np.random.RandomState(7)
    assert values(Seeds(random_state)) != values(Seeds(random_state))


def test_seeds_following_keep_the_split_only():
    seeds = Seeds(7)
    first = values(seeds)
    following = seeds.following()
    third = following.following()
    drawn = {*first[2:], *values(following)[2:], *values(third)[2:]}
    assert len(drawn) == 6
    assert values(Seeds(7).following()) == values(following)
    assert following.split == seeds.split
    assert values(seeds) == first


# The split


def labels(*counts, order=None):
    y = np.repeat(np.arange(len(counts)), counts)
    return y if order is None else np.random.default_rng(order).permutation(y)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("counts", [(50, 50), (5, 3, 2), (7, 1), (10,), (3, 3)])
def test_split_rows_is_a_partition(counts, fraction, shuffle):
    y = labels(*counts)
    train, valid = split_rows(y, fraction, shuffle, seed=0)
    assert np.array_equal(np.sort(np.r_[train, valid]), np.arange(len(y)))
    assert len(valid) == max(round(fraction * len(y)), 1)
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(valid) > 0)
    if not shuffle:
        assert valid.tolist() == list(range(len(valid)))


def counts_of_split(counts, fraction, seed, order=None):
    y = labels(*counts, order=order)
    return [
        np.bincount(y[part], minlength=len(counts)).tolist()
        for part in split_rows(y, fraction, True, seed)
    ]


@pytest.mark.parametrize(
    ("counts", "fraction", "expected"),
    [
        # The only row of a class is trained on, and the others stay stratified.
        ((150, 49, 1), 0.1, [15, 5, 0]),
        ((1, 20, 1, 20, 1), 0.2, [0, 4, 0, 5, 0]),  # 8.6 of 43 rows
        ((50, 1), 0.1, [5, 0]),
        ((1, 1, 2, 2), 0.3, [0, 0, 1, 1]),
        ((3,) + (1,) * 7, 0.2, [2] + [0] * 7),
        ((2,) * 10, 0.2, None),  # more classes than rows to validate on
        ((3,) * 30, 0.1, None),
        ((40, 2, 2, 2), 0.08, None),
        ((5, 2), 0.1, None),
        ((2, 1), 0.2, None),
        ((100, 2), 0.9, None),  # strata would leave no row of the second class
        ((30, 2, 2), 0.9, None),
    ],
)
def test_split_rows_trains_on_every_class_where_it_can(counts, fraction, expected):
    for seed in range(20):
        train, valid = counts_of_split(counts, fraction, seed, order=seed)
        assert min(train) >= 1
        assert sum(valid) == max(round(fraction * sum(counts)), 1)
        assert expected is None or sorted(valid) == sorted(expected)


def test_split_rows_trains_on_rare_classes_first_where_rows_are_short():
    assert counts_of_split((7, 1), 0.9, seed=3) == [[0, 1], [7, 0]]
    assert counts_of_split((6, 3, 1), 0.8, seed=3) == [[0, 1, 1], [6, 2, 0]]
    for n in (2, 3, 5, 50):  # classes of one row each
        train, valid = counts_of_split((1,) * n, 0.2, seed=0)
        assert sum(valid) == max(round(0.2 * n), 1) == n - sum(train)


@pytest.mark.parametrize("counts", [(30, 1, 9), (25, 25)])
def test_split_rows_draws_at_random_and_follows_its_seed(counts):
    y = labels(*counts)
    first = split_rows(y, 0.2, True, seed=0)
    assert all(map(np.array_equal, split_rows(y, 0.2, True, seed=0), first))
    drawn = {row for seed in range(60) for row in split_rows(y, 0.2, True, seed)[1]}
    assert drawn == set(range(len(y))) - ({30} if 1 in counts else set())


@pytest.mark.parametrize("counts", [(60, 30, 10), (2, 2, 6), (20,), (400, 3, 97)])
@pytest.mark.parametrize("seed", [0, 7])
def test_split_rows_without_rare_classes_is_scikit_learn_s(counts, seed):
    """It stays bit for bit what it was, and with it the fits."""
    y = labels(*counts, order=0)
    n_valid = round(0.3 * len(y))
    reference = StratifiedShuffleSplit(1, test_size=n_valid, random_state=seed)
    expected = next(reference.split(y, y))
    split = split_rows(y, 0.3, True, seed)
    assert all(map(np.array_equal, split, map(np.sort, expected)))


@pytest.mark.parametrize(("n", "fraction"), [(1, 0.2), (2, 0.9), (1, 0.5)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_split_rows_of_too_few_rows(n, fraction, shuffle):
    with pytest.raises(
        ValueError, match=rf"n_samples={n} is too few .*validation_fraction={fraction}"
    ):
        split_rows(np.zeros(n, dtype=int), fraction, shuffle, seed=0)


# Pixels


def dataset_of(pixels):
    images = torch.as_tensor(pixels)
    return ImageDataset(images, torch.zeros(len(images), dtype=torch.int64))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("rows", [None, [3, 5, 8, 13]])
def test_pixel_statistics_standardize_is_numpy_s(dtype, rows):
    """Of the training part only, where that is a part."""
    pixels = np.random.randint(0, 256, (5000, 2, 3, 4)).astype(dtype)
    pixels[:, 1] //= 2
    dataset = dataset_of(pixels)
    part = dataset if rows is None else Subset(dataset, rows)
    mean, std = pixel_statistics(part, "standardize")

    expected = (pixels if rows is None else pixels[rows]).astype(np.float64)
    np.testing.assert_allclose(mean, expected.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std, expected.std((0, 2, 3)), rtol=1e-6)
    assert mean.dtype == std.dtype == torch.float32


def test_pixel_statistics_of_large_values_with_a_small_spread():
    pixels = (1e4 + np.random.randn(100, 1, 4, 4)).astype(np.float32)
    mean, std = pixel_statistics(dataset_of(pixels), "standardize")
    assert float(mean) == pytest.approx(float(pixels.astype(float).mean()), rel=1e-6)
    assert float(std) == pytest.approx(float(pixels.astype(float).std()), rel=1e-3)


@pytest.mark.parametrize(
    ("pixels", "low", "high"),
    [
        (np.array([3, 100], np.uint8), 0, 255),
        (np.array([0, 1], np.uint8), 0, 255),
        (np.array([0.2, 1.0], np.float32), 0, 1),
        (np.array([0.2, 3.0], np.float32), 0, 255),
        (np.array([-2, 6], np.float32), -2, 6),
        (np.array([0, 1000], np.float32), 0, 1000),
    ],
)
def test_pixel_statistics_symmetric(pixels, low, high):
    """A value for each of three channels."""
    pixels = pixels.reshape(2, 1, 1, 1).repeat(3, axis=1)
    mean, std = pixel_statistics(dataset_of(pixels), "symmetric")
    assert len(mean) == len(std) == 3
    ends = (torch.tensor([[low], [high]]) - mean) / std
    torch.testing.assert_close(ends, torch.tensor([[-1.0] * 3, [1.0] * 3]))


@pytest.mark.parametrize("scaling", ["standardize", "symmetric"])
def test_pixel_statistics_reach_the_network(X, y, quick, scaling):
    net = LeNet5Classifier(**quick | {"max_epochs": 1}, pixel_scaling=scaling)
    found = net.fit(X, y).module_.scaling
    train, _ = split_rows(y, 0.2, True, Seeds(0).split)
    of_train = X[train].mean(), X[train].std()
    expected = of_train if scaling == "standardize" else (127.5, 127.5)
    assert (float(found.mean), float(found.std)) == pytest.approx(expected, rel=1e-6)
