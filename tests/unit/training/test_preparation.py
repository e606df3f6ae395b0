import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedShuffleSplit
from torch.utils.data import Subset

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.training.batches import ImageDataset
from fmnist_sklearn.training.device import resolve_device, resolve_precision
from fmnist_sklearn.training.preparation import (
    Seeds,
    pixel_statistics,
    split_rows,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

# Seeds


def values(seeds):
    return seeds.weights, seeds.split, seeds.order, seeds.dropout


def test_seeds_follow_random_state():
    seeds = values(Seeds(7))

    assert values(Seeds(7)) == seeds
    assert values(Seeds(np.random.RandomState(7))) == seeds
    assert values(Seeds(8)) != seeds
    assert len(set(seeds)) == 4  # no two parts share a seed
    assert all(type(seed) is int for seed in seeds)


def test_seeds_are_drawn_anew():
    seeds = Seeds(7)
    first = seeds.order, seeds.dropout
    following = seeds.following()
    second = following.order, following.dropout
    third = following.following()
    again = Seeds(7).following()

    assert len({*first, *second, third.order, third.dropout}) == 6
    assert (again.order, again.dropout) == second
    assert following.split == seeds.split
    assert (seeds.order, seeds.dropout) == first


def test_a_random_state_is_drawn_from():
    """As in scikit-learn: the next estimator given the same one gets other seeds."""
    random_state = np.random.RandomState(7)
    assert values(Seeds(random_state)) != values(Seeds(random_state))


def test_no_random_state_means_fresh_entropy():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = values(Seeds(None))
    assert np.array_equal(np.random.get_state()[1], before)
    np.random.seed(0)
    assert values(Seeds(None)) != first


# The split


def labels(*counts):
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("counts", [(50, 50), (5, 3, 2), (7, 1), (10,), (3, 3)])
def test_split_is_a_partition(counts, fraction, shuffle):
    y = labels(*counts)
    train, valid = split_rows(y, fraction, shuffle, seed=0)

    assert np.array_equal(np.sort(np.r_[train, valid]), np.arange(len(y)))
    assert len(valid) == max(round(fraction * len(y)), 1)
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(valid) > 0)


def test_split_is_stratified():
    y = np.random.permutation(labels(60, 30, 10))
    _, valid = split_rows(y, 0.2, True, seed=0)
    assert np.bincount(y[valid]).tolist() == [12, 6, 2]


@pytest.mark.parametrize(
    "counts",
    [
        (19, 1),  # a class that cannot be in both parts
        (2,) * 10,  # more classes than rows to validate on
    ],
)
def test_split_where_strata_are_impossible(counts):
    _, valid = split_rows(labels(*counts), 0.2, True, seed=0)
    assert len(valid) == 4


def counts_of_split(counts, fraction, seed, *, order=None):
    y = labels(*counts)
    y = y if order is None else np.random.default_rng(order).permutation(y)
    return [
        np.bincount(y[part], minlength=len(counts)).tolist()
        for part in split_rows(y, fraction, True, seed)
    ]


@pytest.mark.parametrize(
    ("counts", "fraction", "expected"),
    [
        ((150, 49, 1), 0.1, [15, 5, 0]),
        ((1, 20, 1, 20, 1), 0.2, [0, 4, 0, 5, 0]),  # 8.6 of 43 rows
        ((50, 1), 0.1, [5, 0]),
        ((1, 1, 2, 2), 0.3, [0, 0, 1, 1]),
        ((3,) + (1,) * 7, 0.2, [2] + [0] * 7),
    ],
)
def test_the_only_row_of_a_class_is_trained_on(counts, fraction, expected):
    """And the others stay stratified, in whatever order they come."""
    for seed in range(20):
        train, valid = counts_of_split(counts, fraction, seed, order=seed)
        assert sorted(valid) == sorted(expected)
        assert [v for v, n in zip(valid, counts, strict=True) if n == 1] == [
            0 for n in counts if n == 1
        ]
        assert min(train) >= 1


@pytest.mark.parametrize(
    ("counts", "fraction"),
    [
        ((2,) * 10, 0.2),  # more classes than rows to validate on
        ((3,) * 30, 0.1),
        ((40, 2, 2, 2), 0.08),
        ((5, 2), 0.1),
        ((2, 1), 0.2),
        ((100, 2), 0.9),  # strata would leave no row of the second class
        ((30, 2, 2), 0.9),
    ],
)
def test_every_class_is_trained_on_where_it_can_be(counts, fraction):
    for seed in range(20):
        train, valid = counts_of_split(counts, fraction, seed, order=seed)
        assert min(train) >= 1
        assert sum(valid) == max(round(fraction * sum(counts)), 1)


@pytest.mark.parametrize("n", [2, 3, 5, 50])
def test_split_of_classes_of_one_row_each(n):
    train, valid = counts_of_split((1,) * n, 0.2, seed=0)
    assert sum(valid) == max(round(0.2 * n), 1)
    assert sum(train) == n - sum(valid)


def test_where_rows_are_short_rare_classes_are_trained_on_first():
    assert counts_of_split((7, 1), 0.9, seed=3) == [[0, 1], [7, 0]]
    assert counts_of_split((6, 3, 1), 0.8, seed=3) == [[0, 1, 1], [6, 2, 0]]


def test_rows_are_drawn_at_random_where_a_class_is_rare():
    y = labels(30, 1, 9)
    first = split_rows(y, 0.2, True, seed=0)
    assert all(map(np.array_equal, split_rows(y, 0.2, True, seed=0), first))
    drawn = {row for seed in range(60) for row in split_rows(y, 0.2, True, seed)[1]}
    assert drawn == set(range(40)) - {30}


@pytest.mark.parametrize("counts", [(60, 30, 10), (2, 2, 6), (20,), (400, 3, 97)])
@pytest.mark.parametrize("seed", [0, 7])
def test_splits_without_rare_classes_are_scikit_learn_s(counts, seed):
    """They stay bit for bit what they were, and with them the fits."""
    y = np.random.default_rng(0).permutation(labels(*counts))
    n_valid = round(0.3 * len(y))
    reference = StratifiedShuffleSplit(1, test_size=n_valid, random_state=seed)
    expected = next(reference.split(y, y))
    split = split_rows(y, 0.3, True, seed)
    assert all(map(np.array_equal, split, map(np.sort, expected)))


def test_split_with_class_numbers_left_out():
    """Rows of one call need not hold every class."""
    y = labels(10, 0, 10)
    _, valid = split_rows(y, 0.2, True, seed=0)
    assert np.bincount(y[valid]).tolist() == [2, 0, 2]


def test_split_follows_its_seed():
    y = labels(50, 50)
    first = split_rows(y, 0.2, True, seed=0)[1]
    assert np.array_equal(split_rows(y, 0.2, True, seed=0)[1], first)
    assert not np.array_equal(split_rows(y, 0.2, True, seed=1)[1], first)


def test_leading_rows():
    train, valid = split_rows(labels(5, 5), 0.2, False, seed=0)
    assert valid.tolist() == [0, 1]
    assert train.tolist() == list(range(2, 10))


def test_at_least_one_row_to_validate_on():
    assert len(split_rows(labels(2, 2), 0.01, True, seed=0)[1]) == 1


@pytest.mark.parametrize(("n", "fraction"), [(1, 0.2), (2, 0.9), (1, 0.5)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_too_few_rows(n, fraction, shuffle):
    with pytest.raises(
        ValueError, match=rf"n_samples={n} is too few .*validation_fraction={fraction}"
    ):
        split_rows(np.zeros(n, dtype=int), fraction, shuffle, seed=0)


# Pixels


def dataset_of(pixels):
    images = torch.as_tensor(pixels)
    return ImageDataset(images, torch.zeros(len(images), dtype=torch.int64))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_standardize_against_numpy(dtype):
    pixels = np.random.randint(0, 256, (5000, 2, 3, 4)).astype(dtype)
    pixels[:, 1] //= 2
    mean, std = pixel_statistics(dataset_of(pixels), "standardize")

    expected = pixels.astype(np.float64)
    np.testing.assert_allclose(mean, expected.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std, expected.std((0, 2, 3)), rtol=1e-6)
    assert mean.dtype == std.dtype == torch.float32


def test_standardize_large_values_with_a_small_spread():
    pixels = (1e4 + np.random.randn(100, 1, 4, 4)).astype(np.float32)
    mean, std = pixel_statistics(dataset_of(pixels), "standardize")
    assert float(mean) == pytest.approx(float(pixels.astype(float).mean()), rel=1e-6)
    assert float(std) == pytest.approx(float(pixels.astype(float).std()), rel=1e-3)


def test_statistics_are_those_of_the_training_part():
    pixels = np.random.randint(0, 256, (60, 1, 3, 4)).astype(np.uint8)
    rows = [3, 5, 8, 13]
    part = Subset(dataset_of(pixels), rows)
    mean, std = pixel_statistics(part, "standardize")
    assert float(mean) == pytest.approx(pixels[rows].mean(), rel=1e-6)
    assert float(std) == pytest.approx(pixels[rows].std(), rel=1e-6)


@pytest.mark.parametrize("scaling", ["standardize", "symmetric"])
@pytest.mark.parametrize("value", [0, 7, 255])
def test_constant_pixels_are_not_divided_by_zero(scaling, value):
    for dtype in (np.uint8, np.float32):
        pixels = np.full((3, 1, 2, 2), value, dtype=dtype)
        mean, std = pixel_statistics(dataset_of(pixels), scaling)
        assert (std > 0).all()
        assert torch.isfinite((torch.from_numpy(pixels)[:, 0] - mean) / std).all()


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
def test_symmetric(pixels, low, high):
    mean, std = pixel_statistics(dataset_of(pixels.reshape(2, 1, 1, 1)), "symmetric")
    scaled = (torch.tensor([low, high]) - mean) / std
    torch.testing.assert_close(scaled, torch.tensor([-1.0, 1.0]))


def test_symmetric_has_a_value_for_each_channel():
    pixels = np.zeros((2, 3, 4, 4), np.uint8)
    mean, std = pixel_statistics(dataset_of(pixels), "symmetric")
    assert mean.tolist() == std.tolist() == [127.5] * 3


@pytest.mark.parametrize("scaling", ["standardize", "symmetric"])
def test_scaling_reaches_the_network(X, y, quick, scaling):
    net = LeNet5Classifier(**quick | {"max_epochs": 1}, pixel_scaling=scaling)
    net.fit(X, y)
    train, _ = split_rows(y, 0.2, True, Seeds(0).split)
    expected = (
        (X[train].mean(), X[train].std())
        if scaling == "standardize"
        else (127.5, 127.5)
    )
    found = net.module_.scaling
    assert (float(found.mean), float(found.std)) == pytest.approx(expected, rel=1e-6)


# Device


@pytest.mark.parametrize("available", [True, False])
def test_auto_is_cuda_where_there_is_one(monkeypatch, available):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device("auto").type == ("cuda" if available else "cpu")


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_device_by_name(device):
    assert resolve_device(device) == CPU


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", 3.5])
def test_what_is_no_device(device):
    with pytest.raises(ValueError, match=rf"device must be 'auto'.*got {device!r}"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_cuda_where_there_is_none(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"needs a CUDA device.*device='cpu'"):
        resolve_device(device)


# Precision


@pytest.fixture
def hardware(monkeypatch):
    """A function that sets what the hardware can do."""

    def set_up(*, avx512=False, amx=False, cuda=False):
        monkeypatch.setattr(
            torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False
        )
        monkeypatch.setattr(
            torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False
        )
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: cuda
        )

    return set_up


@pytest.mark.parametrize("pays", [True, False])
@pytest.mark.parametrize("device", [CPU, CUDA])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_by_name(hardware, precision, device, pays):
    hardware()
    assert resolve_precision(precision, device, pays) == precision


@pytest.mark.parametrize(
    ("can", "device", "expected"),
    [
        ({}, CPU, "float32"),
        ({"avx512": True}, CPU, "bfloat16"),
        ({"amx": True}, CPU, "bfloat16"),
        ({"cuda": True}, CPU, "float32"),
        ({"cuda": True}, CUDA, "bfloat16"),
        ({"avx512": True}, CUDA, "float32"),
        ({"avx512": True, "amx": True, "cuda": True}, torch.device("mps"), "float32"),
    ],
)
def test_precision_by_hardware(hardware, can, device, expected):
    hardware(**can)
    assert resolve_precision("auto", device, bfloat16_pays=True) == expected
    assert resolve_precision("auto", device, bfloat16_pays=False) == "float32"


def test_precision_where_pytorch_cannot_tell(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert resolve_precision("auto", CPU, bfloat16_pays=True) == "float32"


@pytest.mark.parametrize("able", [True, False])
def test_precision_rule_of_the_two_classes(hardware, able):
    hardware(avx512=able)
    lenet5 = LeNet5Classifier(device="cpu").initialize()
    mini_vgg = MiniVGGClassifier(device="cpu").initialize()
    assert lenet5.precision_ == "float32"
    assert mini_vgg.precision_ == ("bfloat16" if able else "float32")


@pytest.mark.parametrize("estimator", [LeNet5Classifier, MiniVGGClassifier])
def test_bfloat16_trains_float32_weights(X, y, quick, estimator):
    net = estimator(**quick | {"max_epochs": 1}, precision="bfloat16")
    net.fit(X[:60], y[:60])

    assert net.precision_ == "bfloat16"
    assert {p.dtype for p in net.module_.parameters()} == {torch.float32}
    assert net.forward(X[:5]).dtype == torch.float32
    float32 = estimator(**quick | {"max_epochs": 1}, precision="float32")
    float32.fit(X[:60], y[:60])
    assert float32.history_[0, "train_loss"] != net.history_[0, "train_loss"]
    assert float32.history_[0, "train_loss"] == pytest.approx(
        net.history_[0, "train_loss"], rel=0.1
    )
