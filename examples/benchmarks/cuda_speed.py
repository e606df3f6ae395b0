"""Compare the speed on a GPU with a plain loop and with a captured bare step.

Training and prediction; the results are recorded in ``docs/speed_cuda``, under the name
of the card::

    python examples/benchmarks/cuda_speed.py            # everything
    python examples/benchmarks/cuda_speed.py train --model lenet5 --batch-size 64

``--device cpu --rows 640 --rounds 1 --epochs 1`` tries the script out without a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from contenders import (
    AS_PLAIN,
    AVERAGED,
    ESTIMATORS,
    PLAIN_NETWORKS,
    parse_arguments,
    scaled,
)
from records import DOCS, OURS, PLAIN_LOOP, write_run
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fmnist_sklearn import fetch_fashion_mnist
from fmnist_sklearn.benchmark import describe_hardware

BARE_GRAPH = "graph of a bare step"
PREDICTION_BATCHES = (256, 1024, 4096, 16384)


@dataclass(frozen=True)
class Task:
    """A network, the rows on which it is trained, and where."""

    model: str
    batch_size: int
    n_rows: int
    device: torch.device

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return uint8 rows and int64 labels, on the host."""
        X, y = fetch_fashion_mnist(return_X_y=True)
        return X[: self.n_rows], y[: self.n_rows].astype(np.int64)

    @cached_property
    def resident(self) -> tuple[Tensor, Tensor]:
        """Return float images and labels, on the device."""
        X, y = self.data
        return scaled(X).to(self.device), torch.from_numpy(y).to(self.device)

    def network(self) -> nn.Module:
        """Build the network of PyTorch's own layers."""
        return PLAIN_NETWORKS[self.model]().to(self.device).train()

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute as the estimators do by default: MiniVGG in bfloat16."""
        return torch.autocast(
            self.device.type,
            torch.bfloat16,
            enabled=self.model == "minivgg",
            cache_enabled=False,
        )

    def estimator(self, **params: Any) -> Any:
        """Build the estimator, to be trained without validation."""
        settings = {"validation_fraction": 0, "random_state": 0, "lr": 1e-3}
        settings |= {"batch_size": self.batch_size, "device": str(self.device)}
        return ESTIMATORS[self.model](**settings | params)

    def seconds(self, job: Callable[[], object]) -> float:
        """Time a job until the device has finished it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        job()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def batches(self, n_epochs: int) -> Any:
        """Yield the indices of each batch, shuffled once an epoch."""
        for _ in range(n_epochs):
            order = torch.randperm(self.n_rows, device=self.device)
            yield from order.split(self.batch_size)


# Each prepares its data and returns a function of the number of epochs, which returns
# the seconds of these.
Trainer = Callable[[int], float]


def plain_loop(task: Task) -> Trainer:
    """Write the loop by hand: all rows on the device, a fused step."""
    images, labels = task.resident

    def train(n_epochs: int) -> None:
        network = task.network()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
        for rows in task.batches(n_epochs):
            optimizer.zero_grad()
            with task.autocast():
                logits = network(images[rows])
            cross_entropy(logits.float(), labels[rows]).backward()
            optimizer.step()

    return lambda n_epochs: task.seconds(partial(train, n_epochs))


def bare_graph(task: Task) -> Trainer:
    """Capture one step as PyTorch's documentation does; skip a smaller last batch."""
    images, labels = task.resident
    network = task.network()
    optimizer = torch.optim.Adam(
        network.parameters(), lr=torch.tensor(1e-3), fused=True, capturable=True
    )
    rows = torch.zeros(task.batch_size, dtype=torch.long, device=task.device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with task.autocast():
            logits = network(images[rows])
        cross_entropy(logits.float(), labels[rows]).backward()
        optimizer.step()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def train(n_epochs: int) -> None:
        for batch in task.batches(n_epochs):
            if len(batch) == task.batch_size:
                rows.copy_(batch)
                graph.replay()
        # A graph keeps no network: without these names its memory would be free.
        assert network.training
        assert optimizer.param_groups

    return lambda n_epochs: task.seconds(partial(train, n_epochs))


def ours(task: Task, **params: Any) -> Trainer:
    """Fit the estimator; the seconds are those of the training itself."""
    return lambda n_epochs: (
        task.estimator(max_epochs=n_epochs, **params).fit(*task.data).fit_time_
    )


def train(task: Task, rounds: int, n_epochs: int) -> None:
    """Train in turn, each way; compare medians of the seconds of an epoch."""
    trainers = {
        PLAIN_LOOP: plain_loop(task),
        OURS: ours(task, **AS_PLAIN),
        f"{OURS}, averaged weights and smoothed labels": ours(task, **AVERAGED),
    }
    if task.device.type == "cuda":
        trainers[BARE_GRAPH] = bare_graph(task)
    for trainer in trainers.values():
        trainer(1)  # to warm up
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(rounds):
        for name, trainer in trainers.items():
            # The loop is as fast in its first epoch as in its tenth.
            n = 1 if name == PLAIN_LOOP else n_epochs
            seconds[name].append(trainer(n) / n)
    name = f"training-{task.model}-{task.batch_size}"
    report(name, task.n_rows, seconds, epochs=n_epochs)


@torch.inference_mode()
def _predict_by_hand(network: nn.Module, X: np.ndarray, size: int, device: Any):
    images = torch.from_numpy(X).view(-1, 1, 28, 28)
    parts = []
    for batch in images.split(size):
        pixels = batch.to(device).float().div_(127.5).sub_(1)
        parts.append(network(pixels).argmax(1))
    return torch.cat(parts).cpu().numpy()


def predict(task: Task, rounds: int) -> None:
    """Predict labels of uint8 rows on the host, into an array on the host."""
    X, y = task.data
    network = task.network().eval()
    net = task.estimator(max_epochs=1).fit(X[:6400], y[:6400])
    ways = {
        f"{PLAIN_LOOP}, {size} at a time": partial(
            _predict_by_hand, network, X, size, task.device
        )
        for size in PREDICTION_BATCHES
    }
    ways[OURS] = partial(net.predict, X)
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(task.seconds(way))
    report(f"prediction-{task.model}", task.n_rows, seconds)


def report(
    name: str, n_rows: int, seconds: Mapping[str, list[float]], **more: Any
) -> None:
    """Print rows a second; record the seconds in a file with the card's name."""
    print(f"\n{name}")
    for contender, values in seconds.items():
        print(f"  {contender}: {n_rows / statistics.median(values):,.0f} rows/s")
    card = describe_hardware()["gpu"]
    if card is None:
        print("(not recorded: this is not a GPU)")
        return
    path = DOCS / "speed_cuda" / f"{'-'.join(card.lower().split())}-{name}.json"
    write_run(path, {"job": name, "rows": n_rows, "seconds": seconds, **more})


def main() -> None:
    """Parse the command line, print the comparisons and record them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    jobs = ("all", "train", "predict")
    parser.add_argument("job", nargs="?", choices=jobs, default="all")
    models = sorted(ESTIMATORS)
    parser.add_argument("--model", nargs="+", choices=models, default=models)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", default="cuda")
    arguments = parse_arguments(parser)
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device found; --device cpu tries the script out")
    for model in arguments.model:
        for size in arguments.batch_size:
            task = Task(model, size, arguments.rows, device)
            if arguments.job in ("train", "all"):
                train(task, arguments.rounds, arguments.epochs)
        if arguments.job in ("predict", "all"):
            predict(task, arguments.rounds)


if __name__ == "__main__":
    main()
