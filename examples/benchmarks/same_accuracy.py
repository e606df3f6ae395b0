"""Compare the accuracy of the estimators with that of a plain PyTorch loop.

Both train the same network on the 60,000 training images for as many epochs, with Adam,
one cycle of the learning rate and no averaging or smoothing; the test images are scored
once, after the last step. Each seed adds a row to ``docs/same_accuracy.csv``; a
recorded seed is not repeated::

    python examples/benchmarks/same_accuracy.py --seeds 0 1 2 3 4
"""

from __future__ import annotations

import argparse

import torch
from contenders import (
    AS_PLAIN,
    ESTIMATORS,
    PLAIN_NETWORKS,
    parse_arguments,
    plain_epoch,
    scaled,
)
from records import SAME_ACCURACY, add_row, is_recorded

from fmnist_sklearn import fetch_fashion_mnist

BATCH_SIZE = 64
# Epochs and the largest learning rate.
TRAINING = {"lenet5": (4, 0.005), "minivgg": (2, 0.002)}


def plain_accuracy(model: str, seed: int, train, test) -> float:
    """Train and score the textbook network in the loop that one would write."""
    (X, y), (X_test, y_test) = train, test
    epochs, lr = TRAINING[model]
    torch.manual_seed(seed)
    network = PLAIN_NETWORKS[model]().train()
    images, labels = scaled(X), torch.from_numpy(y).long()
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    steps = epochs * -(-len(X) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for _ in range(epochs):
        plain_epoch(network, optimizer, images, labels, BATCH_SIZE, schedule)
    with torch.inference_mode():
        predicted = network.eval()(scaled(X_test)).argmax(1).numpy()
    return float((predicted == y_test).mean())


def our_accuracy(model: str, seed: int, train, test) -> float:
    """Fit and score the estimator with the same settings."""
    epochs, lr = TRAINING[model]
    estimator = ESTIMATORS[model](
        **AS_PLAIN | {"lr_schedule": "one_cycle"},
        lr=lr,
        max_epochs=epochs,
        batch_size=BATCH_SIZE,
        validation_fraction=0,
        pixel_scaling="symmetric",
        random_state=seed,
    )
    return float(estimator.fit(*train).score(*test))


def main() -> None:
    """Train what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=sorted(ESTIMATORS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    arguments = parse_arguments(parser)
    train = fetch_fashion_mnist(return_X_y=True)
    test = fetch_fashion_mnist(subset="test", return_X_y=True)
    for model in arguments.models:
        for seed in arguments.seeds:
            row = {"model": model, "seed": seed, "epochs": TRAINING[model][0]}
            if not is_recorded(SAME_ACCURACY, row):
                row["plain"] = plain_accuracy(model, seed, train, test)
                row["ours"] = our_accuracy(model, seed, train, test)
                add_row(SAME_ACCURACY, row)


if __name__ == "__main__":
    main()
