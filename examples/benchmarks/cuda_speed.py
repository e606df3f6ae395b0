"""Compare the speed on a GPU with a plain loop, a compiled one, and a captured step.

Training alone and beside other fits, and prediction; the results are recorded in
``docs/speed_cuda``, under the name of the card::

    python examples/benchmarks/cuda_speed.py            # everything
    python examples/benchmarks/cuda_speed.py train --model lenet5 --batch-size 64
    python examples/benchmarks/cuda_speed.py search
    python examples/benchmarks/cuda_speed.py predict

``--device cpu --rows 640 --rounds 1 --epochs 1`` tries the script out without a GPU. It
ends with status 1 if a figure that was aimed at is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from contenders import ESTIMATORS, PLAIN_NETWORKS, print_machine
from cuda_contenders import (
    AS_PLAIN,
    BARE_GRAPH,
    COMPILED_LOOP,
    OURS,
    PLAIN_LOOP,
    SKORCH,
    Task,
    Trainer,
    bare_graph,
    compiled_loop,
    ours,
    plain_loop,
    plain_skorch,
    tell,
    write_cuda,
)
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

# How many times as fast as the plain loop is aimed at.
TRAINING = {
    ("lenet5", 64): 7,
    ("lenet5", 128): 5,
    ("minivgg", 64): 4,
    ("minivgg", 128): 2.5,
}
SEARCH = {("lenet5", 64): 15, ("minivgg", 128): 5}
OF_BARE_GRAPH, OF_PREDICTION = 0.9, 0.9
# Fits at a time.
N_JOBS = (1, 4, 12)
LEARNING_RATES, SEEDS = (5e-4, 1e-3, 2e-3), (0, 1, 2, 3)
PREDICTION_BATCHES = (256, 1024, 4096, 16384)


def train(task: Task, rounds: int, n_epochs: int) -> bool:
    """Train in turn, each way; compare medians."""
    ways: dict[str, Callable[[], Trainer]] = {
        PLAIN_LOOP: partial(plain_loop, task),
        OURS: partial(ours, task, **AS_PLAIN),
        f"{OURS}, the whole call of fit": partial(
            ours, task, whole_call=True, **AS_PLAIN
        ),
        f"{OURS}, averaged weights and smoothed labels": partial(ours, task),
        SKORCH: partial(plain_skorch, task),
    }
    if task.device.type == "cuda":
        ways[BARE_GRAPH] = partial(bare_graph, task)
        ways[COMPILED_LOOP] = partial(compiled_loop, task)
    trainers = {name: make() for name, make in ways.items()}
    for trainer in trainers.values():
        trainer(1)  # to warm up
    # A loop that asks for each step is as fast in its first epoch as in its tenth.
    epochs = {name: 1 for name in (PLAIN_LOOP, COMPILED_LOOP, SKORCH)}
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(rounds):
        for name, trainer in trainers.items():
            n = epochs.get(name, n_epochs)
            seconds[name].append(trainer(n) / n)
    print(f"\ntraining, {task.model}, batch size {task.batch_size}, {rounds} rounds")
    rates = {
        name: task.n_rows / statistics.median(values)
        for name, values in seconds.items()
    }
    for name, rate in rates.items():
        ratio = rate / rates[PLAIN_LOOP]
        print(f"  {name}: {rate:,.0f} rows/s ({ratio:.2f})")
    write_cuda(
        f"training-{task.model}-{task.batch_size}",
        {"rows": task.n_rows, "epochs": n_epochs, "seconds_of_an_epoch": seconds},
    )
    aim = TRAINING.get((task.model, task.batch_size), 0)
    reached = [tell(f"{OURS} / {PLAIN_LOOP}", rates[OURS] / rates[PLAIN_LOOP], aim)]
    if BARE_GRAPH in rates:
        ratio = rates[OURS] / rates[BARE_GRAPH]
        reached.append(tell(f"{OURS} / {BARE_GRAPH}", ratio, OF_BARE_GRAPH))
    return all(reached)


def search(task: Task, rounds: int, n_epochs: int) -> bool:
    """Search 3 learning rates x 4 seeds, one to twelve fits at a time."""
    X, y = task.data
    loop = plain_loop(task)
    loop(1)
    of_loop = [loop(1) for _ in range(rounds)]
    plain = task.n_rows / statistics.median(of_loop)
    print(f"\nsearch, {task.model}, batch size {task.batch_size}")
    print(f"  {PLAIN_LOOP}, one run after the other: {plain:,.0f} rows/s")
    grid = {"lr": list(LEARNING_RATES), "random_state": list(SEEDS)}
    n_fits = len(LEARNING_RATES) * len(SEEDS)
    rows = np.arange(task.n_rows)
    seconds, rates = {}, {}
    for n_jobs in N_JOBS:
        nets = GridSearchCV(
            task.estimator(max_epochs=n_epochs, patience=None),
            grid,
            cv=[(rows, rows[:1000])],
            n_jobs=n_jobs,
            refit=False,
        )
        with parallel_config(backend="threading"):
            seconds[n_jobs] = task.seconds(partial(nets.fit, X, y))
        rates[n_jobs] = n_fits * n_epochs * task.n_rows / seconds[n_jobs]
        ratio = rates[n_jobs] / plain
        print(f"  {n_jobs} at a time: {rates[n_jobs]:,.0f} rows/s ({ratio:.2f})")
    write_cuda(
        f"search-{task.model}-{task.batch_size}",
        {
            "rows": task.n_rows,
            "epochs": n_epochs,
            "fits": n_fits,
            "seconds": {str(n): value for n, value in seconds.items()},
            "seconds_of_an_epoch": {PLAIN_LOOP: of_loop},
        },
    )
    aim = SEARCH.get((task.model, task.batch_size), 0)
    return tell("all together / plain loop", max(rates.values()) / plain, aim)


@torch.inference_mode()
def _predict_by_hand(network, images: torch.Tensor, batch_size: int, device):
    parts = []
    for batch in images.split(batch_size):
        pixels = batch.to(device).float().div_(127.5).sub_(1)
        parts.append(network(pixels).argmax(1))
    return torch.cat(parts).cpu().numpy()


def predict(task: Task, rounds: int) -> bool:
    """Predict labels of uint8 rows on the host, into an array on the host."""
    X, y = task.data
    images = torch.from_numpy(X).view(-1, 1, 28, 28)
    network = PLAIN_NETWORKS[task.model]().to(task.device).eval()
    net = task.estimator(max_epochs=1).fit(X[:6400], y[:6400])
    ways = {
        f"{PLAIN_LOOP}, {size} at a time": partial(
            _predict_by_hand, network, images, size, task.device
        )
        for size in PREDICTION_BATCHES
    }
    ways[OURS] = partial(net.predict, X)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(task.seconds(way))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"\nprediction, {task.model}, {task.n_rows:,} rows, {rounds} rounds")
    for name, median in medians.items():
        print(f"  {name}: {task.n_rows / median:,.0f} rows/s")
    write_cuda(f"prediction-{task.model}", {"rows": task.n_rows, "seconds": seconds})
    best = min(median for name, median in medians.items() if name != OURS)
    return tell(f"{OURS} / {PLAIN_LOOP}", best / medians[OURS], OF_PREDICTION)


def main() -> None:
    """Parse the command line, print the comparisons and record them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    jobs = ("train", "search", "predict")
    parser.add_argument("job", nargs="?", choices=(*jobs, "all"), default="all")
    parser.add_argument("--model", choices=sorted(ESTIMATORS))
    parser.add_argument("--batch-size", type=int, choices=(64, 128))
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --device cpu tries the script out")
    print_machine()
    reached = []
    for model, size in TRAINING:
        if arguments.model not in (None, model):
            continue
        task = Task(model, size, arguments.rows, device)
        wanted = arguments.batch_size in (None, size)
        if arguments.job in ("train", "all") and wanted:
            reached.append(train(task, arguments.rounds, arguments.epochs))
        if arguments.job in ("search", "all") and wanted and (model, size) in SEARCH:
            reached.append(search(task, arguments.rounds, arguments.epochs))
        if arguments.job in ("predict", "all") and size == 64:
            reached.append(predict(task, max(arguments.rounds, 5)))
    sys.exit(0 if all(reached) else 1)


if __name__ == "__main__":
    main()
