"""Compare the speed of ``predict`` with a hand-written loop and with plain skorch.

All contenders predict the labels of the same test images with the same network, in
turn in one process. The hand-written loop gets the batch size that is fastest for it,
found beforehand::

    python examples/benchmarks/prediction_speed.py --model lenet5
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import torch
from contenders import (
    ESTIMATORS,
    PLAIN_NETWORKS,
    print_machine,
    print_rates,
    scaled,
    stopwatch,
    time_in_turn,
)
from skorch import NeuralNetClassifier

from fmnist_sklearn import fetch_fashion_mnist

BASELINE = "plain torch loop at its best batch size"
BATCH_SIZES = (32, 64, 128, 256, 512, 1024, 2048)


def plain_loop(network: torch.nn.Module, images: torch.Tensor, batch_size: int):
    """Predict in slices of a resident float tensor."""

    @torch.inference_mode()
    def predict() -> np.ndarray:
        slices = images.split(batch_size)
        return torch.cat([network(x).argmax(1) for x in slices]).numpy()

    return predict


def main() -> None:
    """Parse the command line and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(ESTIMATORS), default="lenet5")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    X, y = fetch_fashion_mnist(return_X_y=True)
    X_test, _ = fetch_fashion_mnist(subset="test", return_X_y=True)
    images = scaled(X_test)

    estimator = ESTIMATORS[arguments.model](max_epochs=1, patience=None)
    estimator.set_params(validation_fraction=0).fit(X[:640], y[:640])
    network = PLAIN_NETWORKS[arguments.model]().eval()
    skorch_net = NeuralNetClassifier(
        PLAIN_NETWORKS[arguments.model], criterion=torch.nn.CrossEntropyLoss
    ).initialize()

    def seconds_at(batch_size: int) -> float:
        predict = plain_loop(network, images, batch_size)
        predict()
        return statistics.median(stopwatch(predict) for _ in range(3))

    best = min(BATCH_SIZES, key=seconds_at)
    jobs = {
        BASELINE: plain_loop(network, images, best),
        "ours": lambda: estimator.predict(X_test),
        "plain skorch at its defaults": lambda: skorch_net.predict(images.numpy()),
    }
    print_machine()
    print_rates(
        f"{arguments.model}, {len(X_test)} images, {arguments.threads} threads, plain "
        f"batch size {best}, median of {arguments.rounds} rounds",
        time_in_turn(
            {name: lambda job=job: stopwatch(job) for name, job in jobs.items()},
            arguments.rounds,
        ),
        len(X_test),
        BASELINE,
    )


if __name__ == "__main__":
    main()
