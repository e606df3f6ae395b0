"""Compare the training speed of the estimators with what people use instead.

All contenders train the same network on the same rows with Adam, one epoch a round,
without validation, in turn in one process. Run for instance::

    python examples/benchmarks/training_speed.py --model lenet5 --batch-size 64
    python examples/benchmarks/training_speed.py --model minivgg --rows 4800

Keras is compared where it is installed (``KERAS_BACKEND`` chooses its backend, one a
process).
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable

import numpy as np
import torch
from contenders import (
    ESTIMATORS,
    PLAIN_NETWORKS,
    plain_epoch,
    print_machine,
    print_rates,
    scaled,
    stopwatch,
    time_in_turn,
)
from PIL import Image
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from fmnist_sklearn import fetch_fashion_mnist

BASELINE = "plain torch loop, resident float tensor"
# One hidden layer of scikit-learn's own network, with about as many parameters.
MLP_UNITS = {"lenet5": 78, "minivgg": 2727}


def plain_loop(model: str, X: np.ndarray, y: np.ndarray, batch_size: int):
    """Write the loop by hand: shuffled once an epoch, contiguous slices, fused Adam."""
    images, labels = scaled(X), torch.from_numpy(y)

    def run() -> float:
        network = PLAIN_NETWORKS[model]().train()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
        return stopwatch(
            lambda: plain_epoch(network, optimizer, images, labels, batch_size)
        )

    return run


class _Pictures(Dataset):
    """Rows as torchvision serves them: a PIL image, then a tensor, for each row."""

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.images, self.labels = X.reshape(-1, 28, 28), y
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def published_way(model: str, X: np.ndarray, y: np.ndarray, batch_size: int):
    """Follow the published code: DataLoader over PIL images."""
    loader = DataLoader(_Pictures(X, y), batch_size=batch_size, shuffle=True)

    def run() -> float:
        network = PLAIN_NETWORKS[model]().train()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

        def epoch() -> None:
            for x, t in loader:
                optimizer.zero_grad()
                cross_entropy(network(x), t).backward()
                optimizer.step()

        return stopwatch(epoch)

    return run


def plain_skorch(model: str, X: np.ndarray, y: np.ndarray, batch_size: int):
    """Use skorch as its documentation does, without a validation part."""
    images = scaled(X).numpy()

    def run() -> float:
        net = NeuralNetClassifier(
            PLAIN_NETWORKS[model],
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            lr=1e-3,
            batch_size=batch_size,
            max_epochs=1,
            train_split=None,
            iterator_train__shuffle=True,
            verbose=0,
        ).initialize()
        return stopwatch(lambda: net.partial_fit(images, y))

    return run


def keras_fit(model: str, X: np.ndarray, y: np.ndarray, batch_size: int):
    """Train the same network in Keras, channels last; None without Keras."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        import keras
        from keras import layers
    except ImportError:
        return None
    images = scaled(X).numpy().reshape(-1, 28, 28, 1)

    def build():
        if model == "lenet5":
            stack = [
                layers.Conv2D(6, 5, padding="same"),
                layers.BatchNormalization(),
                layers.ELU(),
                layers.MaxPooling2D(2),
                layers.Conv2D(16, 5),
                layers.BatchNormalization(),
                layers.ELU(),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(120, activation="elu"),
                layers.Dropout(0.5),
                layers.Dense(84, activation="elu"),
                layers.Dropout(0.5),
            ]
        else:
            stack = [
                layers.ZeroPadding2D(3),
                layers.Conv2D(32, 3, activation="relu"),
                layers.Conv2D(32, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(2),
                layers.Conv2D(64, 3, padding="same", activation="relu"),
                layers.Conv2D(64, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(512, activation="relu"),
            ]
        network = keras.Sequential([keras.Input((28, 28, 1)), *stack, layers.Dense(10)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        network.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)
        network.fit(images[:batch_size], y[:batch_size], verbose=0)  # builds the graph
        return network

    def run() -> float:
        network = build()
        return stopwatch(
            lambda: network.fit(images, y, batch_size=batch_size, epochs=1, verbose=0)
        )

    return run


def mlp(model: str, X: np.ndarray, y: np.ndarray, batch_size: int):
    """Train scikit-learn's own network, dense layers only."""
    rows = X.astype(np.float32) / 255

    def run() -> float:
        net = MLPClassifier((MLP_UNITS[model],), batch_size=batch_size, max_iter=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return stopwatch(lambda: net.fit(rows, y))

    return run


def ours(model: str, X: np.ndarray, y: np.ndarray, batch_size: int, **kwargs):
    """Fit the estimator; the clock includes validation of the input and set-up."""

    def run() -> float:
        net = ESTIMATORS[model](
            max_epochs=1, validation_fraction=0, batch_size=batch_size, **kwargs
        )
        return stopwatch(lambda: net.fit(X, y))

    return run


def main() -> None:
    """Parse the command line and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(ESTIMATORS), default="lenet5")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rows", type=int, default=19200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    X, y = fetch_fashion_mnist(return_X_y=True)
    job = (
        arguments.model,
        X[: arguments.rows],
        y[: arguments.rows].astype(np.int64),
        arguments.batch_size,
    )
    contenders: dict[str, Callable[[], float] | None] = {
        BASELINE: plain_loop(*job),
        "ours": ours(*job),
        "plain skorch": plain_skorch(*job),
        "published way (PIL and ToTensor a row)": published_way(*job),
        f"Keras on {os.environ.get('KERAS_BACKEND', 'tensorflow')}": keras_fit(*job),
        f"MLPClassifier ({MLP_UNITS[arguments.model]} hidden units)": mlp(*job),
    }
    if arguments.model == "minivgg":
        contenders["ours, float32"] = ours(*job, precision="float32")
    for name in [name for name, run in contenders.items() if run is None]:
        print(f"{name}: not installed, skipped")
        del contenders[name]
    print_machine()
    print_rates(
        f"{arguments.model}, batch {arguments.batch_size}, {arguments.rows} rows, "
        f"{arguments.threads} threads, median of {arguments.rounds} rounds",
        time_in_turn(contenders, arguments.rounds),
        arguments.rows,
        BASELINE,
    )


if __name__ == "__main__":
    main()
