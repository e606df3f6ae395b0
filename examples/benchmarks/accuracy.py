"""Train the recipes on the full Fashion-MNIST and record what they reach.

Each run, a recipe with one model, batch size and seed, leaves a file in
``docs/accuracy``, and is not repeated while that file is there: a run that was cut off
is begun anew, the finished ones stay. For instance::

    python examples/benchmarks/accuracy.py --recipe fast --model lenet5 --seeds 0 1 2

The test images are read after every epoch, for the time to reach an accuracy; nothing
is chosen by them, and the reading does not count as training time.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from accuracy_records import path_of, write_record
from records import MODEL_NAMES
from skorch.callbacks import Callback

from fmnist_sklearn import RECIPES
from fmnist_sklearn.benchmark.data import Images, load_data
from fmnist_sklearn.benchmark.fits import fit_holdout
from fmnist_sklearn.models import find_model


class TestReading(Callback):
    """Read the accuracy on the test images after every epoch, off the clock."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Start anew."""
        self.accuracies: list[float] = []
        self.seconds = 0.0

    def on_epoch_end(self, net, **kwargs):
        """Score the weights that validation just saw."""
        start = time.perf_counter()
        accuracy = net.score(self.images.X_test, self.images.y_test)
        self.accuracies.append(float(accuracy))
        self.seconds += time.perf_counter() - start


def train(
    recipe: str, model: str, batch_size: int, seed: int, images: Images
) -> dict[str, Any]:
    """Run one fit; the history holds the test accuracy of each epoch as well."""
    reading = TestReading(images)
    estimator = find_model(model).make(
        recipe, batch_size=batch_size, random_state=seed, callbacks=[reading]
    )
    fit = fit_holdout(estimator, images)
    for epoch, accuracy in zip(fit.history, reading.accuracies, strict=True):
        epoch["test_acc"] = accuracy
    estimator.set_params(predict_flip=True)
    return {
        **vars(fit),
        "training_time_s": fit.training_time_s - reading.seconds,
        "test_accuracy_flip": float(estimator.score(images.X_test, images.y_test)),
    }


def main() -> None:
    """Train what has no record yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", choices=sorted(RECIPES), required=True)
    parser.add_argument("--model", choices=sorted(MODEL_NAMES), required=True)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[64])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--alone",
        action="store_true",
        help="nothing else runs on this machine: the times are fit to be compared",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = load_data("full", None)
    for batch_size in arguments.batch_size:
        for seed in arguments.seeds:
            key = {
                "recipe": arguments.recipe,
                "model": arguments.model,
                "batch_size": batch_size,
                "seed": seed,
            }
            name = path_of(key).stem
            if path_of(key).exists():
                print(f"{name}: recorded before")
                continue
            results = train(**key, images=images)
            write_record(key, {**results, "alone": arguments.alone})
            print(
                f"{name}: validation {results['validation_accuracy']:.4f}, test "
                f"{results['test_accuracy']:.4f}, {results['epochs']} epochs, "
                f"{results['training_time_s']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
