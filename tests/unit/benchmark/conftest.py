"""What the benchmark's tests share: few images, and fits that nobody trained."""

import pytest

from fmnist_sklearn import load_fashion_mnist_sample
from fmnist_sklearn.benchmark.data import Images
from fmnist_sklearn.benchmark.fits import Fit


@pytest.fixture(scope="session")
def few_images():
    """600 images to train on and 200 to test, of the bundled sample."""
    train, test = (load_fashion_mnist_sample(subset=s) for s in ("train", "test"))
    return Images(
        "sample",
        train.source,
        train.data[:600],
        train.target[:600],
        test.data[:200],
        test.target[:200],
    )


@pytest.fixture
def make_fit():
    """Return a function that makes a Fit of two epochs with these accuracies."""

    def make_fit(validation_accuracy, test_accuracy=0.5, **kwargs):
        history = [
            {
                "epoch": epoch,
                "train_loss": 1 / epoch,
                "valid_loss": 1 / epoch,
                "valid_acc": validation_accuracy,
                "dur": 1.0,
            }
            for epoch in (1, 2)
        ]
        return Fit(
            **{
                "validation_accuracy": validation_accuracy,
                "test_accuracy": test_accuracy,
                "training_time_s": 2.0,
                "epochs": 2,
                "best_epoch": 2,
                "n_parameters": 61750,
                "device": "cpu",
                "precision": "float32",
                "history": history,
                **kwargs,
            }
        )

    return make_fit
