"""Compare the training speed of the estimators with what people use instead.

All contenders train the same network on the same rows with Adam, one epoch a round,
without validation, in turn, each in a process of its own. The rounds are recorded in
``docs/speed``. Run for instance::

    python examples/benchmarks/training_speed.py --model lenet5 --batch-size 64
    python examples/benchmarks/training_speed.py --model minivgg --rows 4800

Keras is compared where it is installed, on TensorFlow and on JAX.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from contenders import (
    AS_PLAIN,
    AVERAGED,
    ESTIMATORS,
    PLAIN_NETWORKS,
    Contender,
    Job,
    parse_arguments,
    plain_epoch,
    scaled,
    stopwatch,
    time_in_turn,
)
from PIL import Image
from records import (
    BARE_LOOP,
    COMPILED_LOOP,
    OURS,
    PLAIN_LOOP,
    print_rates,
    write_speed,
)
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from fmnist_sklearn import fetch_fashion_mnist
from fmnist_sklearn.modules.fast import fused_forward
from fmnist_sklearn.training.device import freed_memory_kept

# One hidden layer of scikit-learn's own network, with about as many parameters.
MLP_UNITS = {"lenet5": 78, "minivgg": 2727}


@dataclass(frozen=True)
class Task:
    """A network and the rows on which it is trained."""

    model: str
    batch_size: int
    n_rows: int

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Return uint8 rows and int64 labels."""
        X, y = fetch_fashion_mnist(return_X_y=True)
        return X[: self.n_rows], y[: self.n_rows].astype(np.int64)


def plain_loop(task: Task, *, compiled: bool = False) -> Job:
    """Write the loop by hand: shuffled once an epoch, contiguous slices, fused Adam.

    The clock does not include what ``torch.compile`` takes.
    """
    X, y = task.load()
    images, labels = scaled(X), torch.from_numpy(y)

    def run() -> float:
        network = PLAIN_NETWORKS[task.model]().train()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
        train = partial(plain_epoch, network, optimizer)
        if compiled:
            network.compile(dynamic=False)
            first = slice(2 * task.batch_size)
            train(images[first], labels[first], task.batch_size)
        return stopwatch(lambda: train(images, labels, task.batch_size))

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


def published_way(task: Task) -> Job:
    """Follow the published code: DataLoader over PIL images."""
    pictures = _Pictures(*task.load())
    loader = DataLoader(pictures, batch_size=task.batch_size, shuffle=True)

    def run() -> float:
        network = PLAIN_NETWORKS[task.model]().train()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

        def epoch() -> None:
            for x, t in loader:
                optimizer.zero_grad()
                cross_entropy(network(x), t).backward()
                optimizer.step()

        return stopwatch(epoch)

    return run


def plain_skorch(task: Task) -> Job:
    """Use skorch as its documentation does, without a validation part."""
    X, y = task.load()
    images = scaled(X).numpy()

    def run() -> float:
        net = NeuralNetClassifier(
            PLAIN_NETWORKS[task.model],
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            lr=1e-3,
            batch_size=task.batch_size,
            max_epochs=1,
            train_split=None,
            iterator_train__shuffle=True,
            verbose=0,
        ).initialize()
        return stopwatch(lambda: net.partial_fit(images, y))

    return run


def keras_fit(task: Task, backend: str) -> Job | None:
    """Train the same network in Keras, channels last; None without Keras."""
    os.environ["KERAS_BACKEND"] = backend
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    try:
        import keras
        from keras import layers
    except ImportError:
        return None
    X, y = task.load()
    images = scaled(X).numpy().reshape(-1, 28, 28, 1)

    def build():
        if task.model == "lenet5":
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
        first = slice(task.batch_size)
        network.fit(images[first], y[first], task.batch_size, verbose=0)  # traces it
        return network

    def run() -> float:
        network = build()
        return stopwatch(lambda: network.fit(images, y, task.batch_size, verbose=0))

    return run


def mlp(task: Task) -> Job:
    """Train scikit-learn's own network, dense layers only."""
    X, y = task.load()
    rows = X.astype(np.float32) / 255

    def run() -> float:
        net = MLPClassifier(
            (MLP_UNITS[task.model],), batch_size=task.batch_size, max_iter=1
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return stopwatch(lambda: net.fit(rows, y))

    return run


def ours(task: Task, **kwargs) -> Job:
    """Fit the estimator; the clock includes validation of the input and set-up."""
    X, y = task.load()

    def run() -> float:
        net = ESTIMATORS[task.model](
            lr=1e-3,
            max_epochs=1,
            validation_fraction=0,
            batch_size=task.batch_size,
            **kwargs,
        )
        return stopwatch(lambda: net.fit(X, y))

    return run


def bare_loop(task: Task) -> Job:
    """Train the estimator's own network by hand: the difference is its overhead."""
    X, y = task.load()
    images, labels = torch.from_numpy(X).view(-1, 1, 28, 28), torch.from_numpy(y)
    fitted = ESTIMATORS[task.model](max_epochs=1, validation_fraction=0)
    fitted.fit(X[:64], y[:64])
    network = fitted.module_.train()
    in_bfloat16 = fitted.precision_ == "bfloat16"
    autocast = torch.autocast("cpu", torch.bfloat16) if in_bfloat16 else nullcontext()

    def forward(x: torch.Tensor) -> torch.Tensor:
        with autocast:
            logits = fused_forward(network)(x)  # what a fit calls
        return logits.float()

    def run() -> float:
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
        with freed_memory_kept():
            return stopwatch(
                lambda: plain_epoch(forward, optimizer, images, labels, task.batch_size)
            )

    return run


def contenders(task: Task) -> Iterable[tuple[str, Contender]]:
    """Yield the names and the ways to train."""
    yield PLAIN_LOOP, partial(plain_loop, task)
    yield COMPILED_LOOP, partial(plain_loop, task, compiled=True)
    yield OURS, partial(ours, task, **AS_PLAIN)
    if task.model == "minivgg":
        yield f"{OURS}, float32", partial(ours, task, precision="float32", **AS_PLAIN)
    averaged = partial(ours, task, **AVERAGED)
    yield f"{OURS}, averaged weights and smoothed labels", averaged
    yield BARE_LOOP, partial(bare_loop, task)
    yield "plain skorch", partial(plain_skorch, task)
    yield "published way (PIL and ToTensor a row)", partial(published_way, task)
    yield "Keras on TensorFlow", partial(keras_fit, task, "tensorflow")
    yield "Keras on JAX", partial(keras_fit, task, "jax")
    yield "MLPClassifier, as many parameters", partial(mlp, task)


def main() -> None:
    """Parse the command line, print the comparison and record it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(ESTIMATORS), default="lenet5")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rows", type=int, default=19200)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parse_arguments(parser)
    task = Task(arguments.model, arguments.batch_size, arguments.rows)
    seconds = time_in_turn(dict(contenders(task)), arguments.rounds, arguments.threads)
    run = {
        "job": "training",
        "model": task.model,
        "batch_size": task.batch_size,
        "threads": arguments.threads,
        "rows": task.n_rows,
        "seconds": seconds,
    }
    print_rates(run)
    write_speed(run)


if __name__ == "__main__":
    main()
