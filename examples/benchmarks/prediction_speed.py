"""Compare the speed of ``predict`` with a hand-written loop and with plain skorch.

All contenders predict the labels of the same test images with the same network, in
turn, each in a process of its own. The hand-written loop gets the batch size that is
fastest for it, found beforehand. The rounds are recorded in ``docs/speed``::

    python examples/benchmarks/prediction_speed.py --model lenet5
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import torch
from contenders import (
    ESTIMATORS,
    PLAIN_NETWORKS,
    Job,
    parse_arguments,
    predicted_in_slices,
    scaled,
    stopwatch,
    time_in_turn,
)
from records import OURS, PLAIN_LOOP, print_rates, write_speed
from skorch import NeuralNetClassifier

from fmnist_sklearn import fetch_fashion_mnist

BATCH_SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)


def load_images():
    """Return the 10,000 test images, as uint8 rows."""
    return fetch_fashion_mnist(subset="test", return_X_y=True)[0]


def plain_loop(model: str) -> Job:
    """Predict in slices of a resident float tensor, of the best size."""
    images = scaled(load_images())
    network = PLAIN_NETWORKS[model]().eval()

    def seconds(batch_size: int) -> float:
        return stopwatch(lambda: predicted_in_slices(network, images, batch_size))

    def median_of_some(batch_size: int) -> float:
        seconds(batch_size)
        return statistics.median(seconds(batch_size) for _ in range(5))

    return partial(seconds, min(BATCH_SIZES, key=median_of_some))


def ours(model: str) -> Job:
    """Predict with a fitted estimator from the uint8 rows."""
    images = load_images()
    X, y = fetch_fashion_mnist(return_X_y=True)
    estimator = ESTIMATORS[model](max_epochs=1, validation_fraction=0)
    estimator.fit(X[:640], y[:640])
    return lambda: stopwatch(lambda: estimator.predict(images))


def plain_skorch(model: str) -> Job:
    """Predict with skorch's defaults from float images."""
    images = scaled(load_images()).numpy()
    net = NeuralNetClassifier(
        PLAIN_NETWORKS[model], criterion=torch.nn.CrossEntropyLoss
    ).initialize()
    return lambda: stopwatch(lambda: net.predict(images))


def main() -> None:
    """Parse the command line, print the comparison and record it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(ESTIMATORS), default="lenet5")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parse_arguments(parser)
    contenders = {
        PLAIN_LOOP: partial(plain_loop, arguments.model),
        OURS: partial(ours, arguments.model),
        "plain skorch": partial(plain_skorch, arguments.model),
    }
    run = {
        "job": "prediction",
        "model": arguments.model,
        "batch_size": "best",
        "threads": arguments.threads,
        "rows": 10_000,
        "seconds": time_in_turn(contenders, arguments.rounds, arguments.threads),
    }
    print_rates(run)
    write_speed(run)


if __name__ == "__main__":
    main()
