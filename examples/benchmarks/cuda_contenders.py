"""What the comparisons on a GPU share: ways to train on it, and their records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from contenders import ESTIMATORS, PLAIN_NETWORKS, scaled
from records import DOCS, write_run
from skorch import NeuralNetClassifier
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fmnist_sklearn import fetch_fashion_mnist
from fmnist_sklearn.benchmark import describe_hardware

RECORDS = DOCS / "speed_cuda"

PLAIN_LOOP = "plain loop"
COMPILED_LOOP = 'plain loop, torch.compile(mode="reduce-overhead")'
BARE_GRAPH = "graph of a bare step"
OURS = "this package"
SKORCH = "plain skorch"

# What the plain loop does not do either.
AS_PLAIN = {"label_smoothing": 0, "ema_decay": None}


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
        """Compute as the estimators do by themselves: MiniVGG in bfloat16."""
        return torch.autocast(
            self.device.type,
            torch.bfloat16,
            enabled=self.model == "minivgg",
            cache_enabled=False,
        )

    def estimator(self, **params: Any) -> Any:
        """Build the estimator, as a loop without validation trains."""
        return ESTIMATORS[self.model](
            **{
                "lr": 1e-3,
                "batch_size": self.batch_size,
                "validation_fraction": 0,
                "device": str(self.device),
                "random_state": 0,
                **params,
            }
        )

    def seconds(self, job: Callable[[], object]) -> float:
        """Time a job until the device has done it."""
        self.wait()
        start = time.perf_counter()
        job()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        """Wait for the whole device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def _orders(task: Task, n_epochs: int) -> Iterator[Tensor]:
    for _ in range(n_epochs):
        yield torch.randperm(task.n_rows, device=task.device)


def _train_by_hand(
    task: Task, network: nn.Module, forward: Callable, n_epochs: int
) -> None:
    images, labels = task.resident
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    for order in _orders(task, n_epochs):
        for rows in order.split(task.batch_size):
            optimizer.zero_grad()
            with task.autocast():
                logits = forward(images[rows])
            cross_entropy(logits.float(), labels[rows]).backward()
            optimizer.step()


# Each makes something ready and returns a function of the number of epochs, which
# returns the seconds of these.
Trainer = Callable[[int], float]


def plain_loop(task: Task) -> Trainer:
    """Write the loop by hand: all rows on the device, a fused step."""

    def run(n_epochs: int) -> float:
        network = task.network()
        return task.seconds(lambda: _train_by_hand(task, network, network, n_epochs))

    return run


def compiled_loop(task: Task) -> Trainer:
    """Compile the network of the plain loop."""
    network = task.network()
    compiled = torch.compile(network, mode="reduce-overhead")
    return lambda n_epochs: task.seconds(
        lambda: _train_by_hand(task, network, compiled, n_epochs)
    )


def bare_graph(task: Task) -> Trainer:
    """Capture one step as PyTorch's documentation does; leave a smaller batch out."""
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
        for order in _orders(task, n_epochs):
            for batch in order.split(task.batch_size):
                if len(batch) == task.batch_size:
                    rows.copy_(batch)
                    graph.replay()
        # A graph keeps no network: without these names its memory would be free.
        assert network.training
        assert optimizer.param_groups

    return lambda n_epochs: task.seconds(lambda: train(n_epochs))


def ours(task: Task, *, whole_call: bool = False, **params: Any) -> Trainer:
    """Fit the estimator; the seconds of the training itself, or of the whole call."""
    X, y = task.data

    def run(n_epochs: int) -> float:
        net = task.estimator(max_epochs=n_epochs, **params)
        seconds = task.seconds(lambda: net.fit(X, y))
        return seconds if whole_call else net.fit_time_

    return run


def plain_skorch(task: Task) -> Trainer:
    """Use skorch as its documentation does, without a validation part."""
    X, y = task.data
    images = scaled(X).numpy()

    def run(n_epochs: int) -> float:
        net = NeuralNetClassifier(
            PLAIN_NETWORKS[task.model],
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            lr=1e-3,
            batch_size=task.batch_size,
            max_epochs=n_epochs,
            train_split=None,
            iterator_train__shuffle=True,
            device=str(task.device),
            verbose=0,
        ).initialize()
        return task.seconds(lambda: net.partial_fit(images, y))

    return run


def device_name() -> str:
    """Name the card, or the processor where there is none."""
    hardware = describe_hardware()
    return hardware["gpu"] or hardware["cpu"]


def write_cuda(job: str, content: dict[str, Any]) -> None:
    """Record what was measured, in a file that bears the card's name."""
    card = "-".join(device_name().lower().split())
    if not torch.cuda.is_available():
        print("(not recorded: this is no GPU)")
        return
    write_run(RECORDS / f"{card}-{job}.json", {"job": job, **content})


def tell(line: str, value: float, at_least: float) -> bool:
    """Print a figure beside what was asked for; return whether it is reached."""
    verdict = "yes" if value >= at_least else "NO"
    print(f"  {line}: {value:.2f} (at least {at_least:g}: {verdict})", flush=True)
    return value >= at_least
