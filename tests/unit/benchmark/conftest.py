"""What the benchmark's tests share: few images, and fits without a training."""

import pytest

from fmnist_sklearn import load_fashion_mnist_sample
from fmnist_sklearn.benchmark import Images


@pytest.fixture(scope="session")
def few_images():
    """600 images to train on and 200 to test, of the bundled sample."""
    train, test = (load_fashion_mnist_sample(subset=s) for s in ("train", "test"))
    arrays = train.data[:600], train.target[:600], test.data[:200], test.target[:200]
    return Images("sample", train.source, *arrays)


@pytest.fixture
def make_fit():
    """Return a function that makes the results of a fit of two epochs."""

    def make_fit(validation_accuracy, test_accuracy=0.5, **results):
        epochs = [
            {"epoch": n, "train_loss": 1 / n, "valid_loss": 1 / n, "dur": 1.0}
            | {"valid_acc": validation_accuracy}
            for n in (1, 2)
        ]
        return {
            "validation_accuracy": validation_accuracy,
            "n_validation": 120,
            "test_accuracy": test_accuracy,
            "training_time_s": 2.0,
            "epochs": 2,
            "best_epoch": 2,
            "from_memory": False,
            "n_parameters": 61750,
            "device": "cpu",
            "precision": "float32",
            "history": epochs,
            "judgement": {
                "labels": [0, 1],
                "confusion": [[1, 0], [0, 1]],
                "mistakes": [],
                "wrong": list(range(round(200 * (1 - test_accuracy)))),
                "image_shape": (1, 28, 28),
            },
            **results,
        }

    return make_fit
