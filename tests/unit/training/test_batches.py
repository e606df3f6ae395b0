import numpy as np
import pytest
import torch
from torch.utils.data import Subset

from fmnist_sklearn.training.augment import make_augment
from fmnist_sklearn.training.batches import (
    BatchIterator,
    ImageDataset,
    resolve_subset,
)


def numbered(n, weights=False):
    """Images whose every pixel is the row's number, as is the target."""
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, 3, 4)
    row_weights = torch.arange(n, dtype=torch.float32) + 0.5 if weights else None
    return ImageDataset(images.contiguous(), torch.arange(n), row_weights)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def targets_of(batches):
    return [batch[1].tolist() for batch in batches]


@pytest.mark.parametrize("n", [1, 7, 12, 13])
@pytest.mark.parametrize("batch_size", [1, 4, 6, 50])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batch_iterator_gives_each_row_once_an_epoch(n, batch_size, shuffle):
    batches = BatchIterator(
        numbered(n, weights=True), batch_size, shuffle=shuffle, generator=generator()
    )
    for _ in range(2):
        found = list(batches)
        sizes = [len(batch[1]) for batch in found]
        rows = [row for batch in targets_of(found) for row in batch]

        assert len(found) == len(batches) == -(-n // batch_size)
        assert sorted(rows) == list(range(n))
        assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
        assert sizes[-1] == n - sum(sizes[:-1])
        for images, targets in found:
            assert torch.equal(images[:, 0, 0, 0].long(), targets)
        for batch in found:
            assert torch.equal(batch.weights, batch[1] + 0.5)


def test_batch_iterator_without_shuffling_or_the_last_batch():
    assert targets_of(BatchIterator(numbered(5), 2)) == [[0, 1], [2, 3], [4]]
    for n in (6, 7):
        batches = BatchIterator(numbered(n), 3, drop_last=True)
        assert targets_of(batches) == [[0, 1, 2], [3, 4, 5]]
        assert len(batches) == 2


def test_batch_iterator_orders_are_new_each_epoch_and_follow_the_seed():
    def two_epochs(seed):
        batches = BatchIterator(
            numbered(40), 40, shuffle=True, generator=generator(seed)
        )
        return [targets_of(batches)[0] for _ in range(2)]

    first, second = two_epochs(0)
    assert first != second
    assert two_epochs(0) == [first, second]
    assert two_epochs(1)[0] != first


@pytest.mark.parametrize(
    "kind", [list, tuple, np.array, torch.tensor, lambda rows: np.array(rows, np.int32)]
)
def test_batch_iterator_of_subsets(kind):
    outer = Subset(numbered(10), kind([9, 7, 5, 3, 1]))
    inner = Subset(outer, kind([0, 2, 4]))

    assert targets_of(BatchIterator(outer, 3)) == [[9, 7, 5], [3, 1]]
    assert targets_of(BatchIterator(inner, 2)) == [[9, 5], [1]]
    shuffled = BatchIterator(inner, 2, shuffle=True, generator=generator())
    assert sorted(row for batch in targets_of(shuffled) for row in batch) == [1, 5, 9]
    base, rows = resolve_subset(inner)
    assert base is outer.dataset
    assert rows.tolist() == [9, 5, 1]
    assert resolve_subset(base) == (base, None)
    ranged = BatchIterator(Subset(numbered(10), range(3, 6)), 2)
    assert targets_of(ranged) == [[3, 4], [5]]


def test_batch_iterator_in_order_gives_views():
    dataset = numbered(8)
    for number, (images, _) in enumerate(BatchIterator(dataset, 4)):
        assert images.data_ptr() == dataset.images[4 * number :].data_ptr()
        assert images.dtype == torch.uint8


def test_batch_iterator_changes_neither_images_nor_global_random_state():
    dataset = numbered(8)
    before, state = dataset.images.clone(), torch.get_rng_state()
    augment = make_augment({"flip": 0.5, "shift": 1, "erase": 2})
    batches = BatchIterator(
        dataset, 3, shuffle=True, augment=augment, generator=generator()
    )
    for _ in range(3):
        list(batches)
    assert torch.equal(dataset.images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_batch_iterator_calls_a_function_on_each_batch():
    seen = []

    def augment(images, generator):
        seen.append((tuple(images.shape), images.dtype, generator))
        return images.float() + 0.5

    own = generator()
    batches = list(BatchIterator(numbered(5), 3, augment=augment, generator=own))
    assert seen == [((3, 1, 3, 4), torch.uint8, own), ((2, 1, 3, 4), torch.uint8, own)]
    assert float(batches[0][0][1, 0, 0, 0]) == 1.5
