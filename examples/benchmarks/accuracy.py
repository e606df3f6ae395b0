r"""Train the recipes on the full Fashion-MNIST and record what they reach.

Each run, a recipe with one model, batch size and seed, leaves a file in
``docs/accuracy``, and is not repeated while that file is there: a run that was cut off
starts again, the finished ones stay. For instance::

    python examples/benchmarks/accuracy.py --recipe fast --model lenet5 --seeds 0 1 2

"distilled" is "accurate" for LeNet5 with teachers, which no recipe can hold: networks
in files, such as other runs leave behind with ``--keep``::

    python examples/benchmarks/accuracy.py --recipe accurate --model minivgg \
        --batch-size 128 --seeds 0 1 --keep networks
    python examples/benchmarks/accuracy.py --recipe distilled --model lenet5 \
        --batch-size 128 --seeds 0 1 2 --teachers networks/accurate-minivgg-128-*

The test images are read after every epoch, for the time to reach an accuracy; nothing
is chosen by them, and the reading does not count as training time. On a GPU ``--jobs``
trains several seeds side by side; their times are longer for it.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from pathlib import Path
from typing import Any

from contenders import parse_arguments
from joblib import Parallel, delayed
from records import MODEL_NAMES, path_of, write_record
from skorch.callbacks import Callback

from fmnist_sklearn import RECIPES, load_model, save_model
from fmnist_sklearn.benchmark.data import Images, load_data
from fmnist_sklearn.benchmark.run import fit_once
from fmnist_sklearn.models import find_model

# Shorter, and with mirror images in place of turned ones: the teachers' probabilities
# hold more of what an image may be than its label does.
_ACCURATE = RECIPES["accurate"]["LeNet5Classifier"]
DISTILLED = {
    **_ACCURATE,
    "validation_fraction": 0.05,
    "max_epochs": 150,
    "weight_decay": 0.01,
    "augment": {"flip": 0.5, "shift": 1, "erase": 4, "mixup": 0.1},
    "distillation_weight": 0.9,
    "distillation_temperature": 2.0,
}


class TestReading(Callback):
    """Read the accuracy on the test images after every epoch, off the clock."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Start an empty record."""
        self.accuracies: list[float] = []
        self.seconds = 0.0

    def on_epoch_end(self, net, **kwargs):
        """Score the weights that validation just saw."""
        start = time.perf_counter()
        accuracy = net.score(self.images.X_test, self.images.y_test)
        self.accuracies.append(float(accuracy))
        self.seconds += time.perf_counter() - start


def train(estimator: Any, images: Images) -> dict[str, Any]:
    """Run one fit; the history holds the test accuracy of each epoch as well."""
    reading = TestReading(images)
    estimator.set_params(callbacks=[reading])
    fit = fit_once(estimator, images)
    estimator.set_params(callbacks=None, teacher=None)
    for epoch, accuracy in zip(fit["history"], reading.accuracies, strict=True):
        epoch["test_acc"] = accuracy
    estimator.set_params(predict_flip=True)
    with_mirror_images = float(estimator.score(images.X_test, images.y_test))
    estimator.set_params(predict_flip=False)
    figures = {k: v for k, v in fit.items() if k != "judgement"}
    return {
        **figures,
        "training_time_s": fit["training_time_s"] - reading.seconds,
        "test_accuracy_flip": with_mirror_images,
    }


def record(key: dict[str, Any], images: Images, arguments: argparse.Namespace) -> None:
    """Train a run and write its results."""
    name = path_of(key).stem
    entry = find_model(key["model"])
    params = {"batch_size": key["batch_size"], "random_state": key["seed"]}
    if arguments.teachers:
        params |= {**DISTILLED, "teacher": [*map(load_model, arguments.teachers)]}
        estimator = entry.cls(**params)
    else:
        estimator = entry.make(key["recipe"], **params)
    results = train(estimator, images)
    if arguments.teachers:
        results["teachers"] = [path.stem for path in arguments.teachers]
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        save_model(estimator, arguments.keep / f"{name}.safetensors")
    write_record(key, {**results, "alone": arguments.alone})
    print(
        f"{name}: validation {results['validation_accuracy']:.4f}, test "
        f"{results['test_accuracy']:.4f}, {results['epochs']} epochs, "
        f"{results['training_time_s']:.0f} s",
        flush=True,
    )


def main() -> None:
    """Train what has no record yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--recipe", choices=sorted([*RECIPES, "distilled"]), required=True
    )
    parser.add_argument("--model", choices=sorted(MODEL_NAMES), required=True)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[64])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time")
    parser.add_argument("--teachers", type=Path, nargs="+", metavar="FILE")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="put the trained networks there"
    )
    parser.add_argument(
        "--alone",
        action="store_true",
        help="nothing else runs on this machine: the times are fit to be compared",
    )
    arguments = parse_arguments(parser)
    if (arguments.recipe == "distilled") != bool(arguments.teachers):
        parser.error("--recipe distilled and --teachers go together")
    if arguments.alone and arguments.jobs != 1:
        parser.error("--alone is for one run at a time, --jobs 1")
    images = load_data("full", None)
    missing = []
    for batch_size, seed in product(arguments.batch_size, arguments.seeds):
        key = {
            "recipe": arguments.recipe,
            "model": arguments.model,
            "batch_size": batch_size,
            "seed": seed,
        }
        if path_of(key).exists():
            print(f"{path_of(key).stem}: recorded before")
        else:
            missing.append(key)
    Parallel(n_jobs=arguments.jobs, backend="threading")(
        delayed(record)(key, images, arguments) for key in missing
    )


if __name__ == "__main__":
    main()
