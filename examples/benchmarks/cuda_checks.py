"""Check what fits on a GPU leave behind, and that captured steps learn as much.

::

    python examples/benchmarks/cuda_checks.py           # everything
    python examples/benchmarks/cuda_checks.py fits --fits 300
    python examples/benchmarks/cuda_checks.py accuracy --seeds 5

It ends with status 1 if a check fails; ``--device cpu --rows 640 --fits 20`` tries the
script out without a GPU, where nothing is captured.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import Any

import numpy as np
import torch
from contenders import ESTIMATORS, print_machine
from cuda_contenders import write_cuda
from joblib import Parallel, delayed, parallel_config
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from fmnist_sklearn import fetch_fashion_mnist

MB = 2**20


class Listens(Callback):
    """A callback that is told of batches, so that steps are not captured."""

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Do nothing."""


class Raises(Callback):
    """Ends a fit after its first epoch."""

    def __init__(self, error: type[BaseException]):
        self.error = error

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Raise a new error: an old one would hold on to the fit that it ended."""
        raise self.error


# How the fits end, in turn.
ENDS: tuple[dict[str, Any], ...] = (
    {},
    {"lr": 1e-12, "patience": 1, "ema_decay": None},
    {"callbacks": [Raises(KeyboardInterrupt)]},
    {"callbacks": [Raises(RuntimeError)]},
    {"lr": 1e30},
)


def memory() -> np.ndarray:
    """Return the MB of PyTorch's tensors, of its reserve, and used on the device."""
    if not torch.cuda.is_available():
        return np.zeros(3)
    free, total = torch.cuda.mem_get_info()
    reserved = torch.cuda.memory_reserved()
    return np.array([torch.cuda.memory_allocated(), reserved, total - free]) / MB


def fit_and_forget(number: int, X, y, params: dict[str, Any]) -> str:
    """Fit one of the two networks, and tell how its steps were computed."""
    cls = list(ESTIMATORS.values())[number // len(ENDS) % len(ESTIMATORS)]
    net = cls(**params | {"random_state": number} | ENDS[number % len(ENDS)])
    try:
        net.fit(X, y)
    except (KeyboardInterrupt, RuntimeError, ValueError) as error:
        return type(error).__name__
    return net.steps_


def check_fits(n_fits: int, X, y, device: str) -> bool:
    """Fit again and again, one by one and four at a time; memory has to stay."""
    params = {"max_epochs": 3, "batch_size": 64, "device": device}
    # In a whole turn each network ends in each way.
    turn = len(ENDS) * len(ESTIMATORS)
    used, ways = [], []
    print("\nMB of tensors, reserved and used on the device")
    for start in range(0, n_fits, turn):
        numbers = range(start, start + turn)
        if start // turn % 2 == 0:
            ways += [fit_and_forget(number, X, y, params) for number in numbers]
        else:
            with parallel_config(backend="threading", n_jobs=4):
                ways += Parallel()(
                    delayed(fit_and_forget)(number, X, y, params) for number in numbers
                )
        used.append(memory())
        print(f"  after {start + turn} fits: {np.round(used[-1], 1)}", flush=True)
    print("  " + ", ".join(f"{ways.count(way)} {way}" for way in sorted(set(ways))))
    write_cuda("fits", {"fits": n_fits, "mb": [row.tolist() for row in used]})
    # The first turns of each kind make what all the later ones use again.
    settled = used[len(used) // 2 :]
    growth = settled[-1] - settled[0]
    print(f"  growth over the second half: {np.round(growth, 1)} MB", flush=True)
    return bool((growth <= 1).all())


def check_accuracy(n_seeds: int, X, y, device: str, max_epochs: int) -> bool:
    """Compare test accuracies of captured and eager fits, over seeds."""
    X_test, y_test = fetch_fashion_mnist(subset="test", return_X_y=True)
    passed = True
    for model, cls in ESTIMATORS.items():
        scores: dict[str, list[float]] = {"captured": [], "eager": []}
        for seed in range(n_seeds):
            for way, callbacks in (("captured", []), ("eager", [Listens()])):
                net = cls(
                    lr_schedule="one_cycle",
                    max_epochs=max_epochs,
                    random_state=seed,
                    device=device,
                    callbacks=callbacks,
                ).fit(X, y)
                scores[way].append(net.score(X_test, y_test))
                if device != "cpu" and net.steps_ != way:
                    print(f"  {model}: steps are {net.steps_}, expected {way}")
                    passed = False
        means = {way: 100 * np.mean(values) for way, values in scores.items()}
        apart = abs(means["captured"] - means["eager"])
        print(
            f"\n{model}, {n_seeds} seeds: captured {means['captured']:.2f} %, eager "
            f"{means['eager']:.2f} %, {apart:.2f} points apart (at most 0.2)",
            flush=True,
        )
        write_cuda(f"accuracy-{model}", {"epochs": max_epochs, "accuracy": scores})
        passed &= apart <= 0.2
    return passed


def main() -> None:
    """Parse the command line and run the checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    jobs = ("fits", "accuracy", "all")
    parser.add_argument("job", nargs="?", choices=jobs, default="all")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--fits", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    if arguments.device != "cpu" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --device cpu tries the script out")
    print_machine()
    warnings.simplefilter("ignore", ConvergenceWarning)  # short fits are the point
    X, y = fetch_fashion_mnist(return_X_y=True)
    X, y = X[: arguments.rows], y[: arguments.rows]
    device, passed = arguments.device, []
    if arguments.job in ("fits", "all"):
        few = slice(min(arguments.rows, 6000))
        passed.append(check_fits(arguments.fits, X[few], y[few], device))
    if arguments.job in ("accuracy", "all"):
        passed.append(check_accuracy(arguments.seeds, X, y, device, arguments.epochs))
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
