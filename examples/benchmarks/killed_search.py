"""Whether a search that is killed again and again ends as one that is left alone.

    python examples/benchmarks/killed_search.py [KILLS]

A grid search over LeNet5 with ``memory=`` gets SIGKILL at a random moment, is started
again, killed again, and so on, 20 times; then it is left alone. Its ``cv_results_``,
times aside, must be those of a search that nobody disturbed, and no fit that was kept
may be trained again. The fits are short: 7 x 7 pixels, 60 images.
"""

import multiprocessing
import sys
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import torch
from sklearn.model_selection import GridSearchCV

from fmnist_sklearn import FitCache, LeNet5Classifier, load_fashion_mnist_sample

GRID = {"lr": np.geomspace(0.002, 0.05, 12), "dropout": [0.0, 0.5]}
LONGEST_DELAY = 0.1  # s, about a fit
PATIENCE = 120  # s


def images():
    """Return 60 images of 7 x 7 pixels, of three classes."""
    X, y = load_fashion_mnist_sample(return_X_y=True)
    return X[:60].reshape(-1, 28, 28)[:, ::4, ::4].reshape(60, 49), y[:60] % 3


def search(grid, memory=None):
    """Search, and return the results without the times."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    net = LeNet5Classifier(
        lr=0.01, batch_size=16, max_epochs=2, random_state=0, memory=memory
    )
    results = GridSearchCV(net, grid, cv=2).fit(*images()).cv_results_
    return {name: list(v) for name, v in results.items() if "_time" not in name}


def search_and_log(grid, folder, name="results"):
    """Search with a memory; write a line for each fit kept, and at last the results."""
    write = FitCache.write

    def write_and_log(cache, key, *args):
        write(cache, key, *args)
        with open(folder / "kept", "a", encoding="ascii") as file:
            file.write(f"{key}\n")

    FitCache.write = write_and_log
    joblib.dump(search(grid, memory=folder), folder / name)


def read_kept(folder):
    """Return the keys of the fits that were kept, one for each time."""
    path = folder / "kept"
    return path.read_text(encoding="ascii").splitlines() if path.exists() else []


def get_context():
    """Return the way to start processes that have imported the package already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["fmnist_sklearn.estimators", "sklearn.model_selection"]
    )
    return context


def kill_and_start_again(grid, folder, n_kills, rng):
    """Kill a search so often, as long as it runs; return how often it was killed.

    Every other time, or so, it may first keep one fit more.
    """
    context = get_context()
    for n_killed in range(n_kills):
        process = context.Process(target=search_and_log, args=(grid, folder))
        process.start()
        enough = len(read_kept(folder)) + rng.integers(0, 2)
        deadline = time.monotonic() + PATIENCE
        while process.is_alive() and len(read_kept(folder)) < enough:
            if time.monotonic() > deadline:
                raise TimeoutError("the search makes no progress")
            time.sleep(0.001)
        time.sleep(rng.uniform(0, LONGEST_DELAY))
        if not process.is_alive():
            return n_killed
        process.kill()
        process.join()
    process = context.Process(target=search_and_log, args=(grid, folder))
    process.start()
    process.join()
    return n_kills


def main(n_kills=20):
    """Print what came of it; return whether something went wrong."""
    expected = search(GRID)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng()
        n_killed = kill_and_start_again(GRID, folder, n_kills, rng)
        equal = joblib.load(folder / "results") == expected
        kept, entries = read_kept(folder), FitCache(folder).entries()
    repeated = len(kept) - len(set(kept))
    print(
        f"killed {n_killed} times; {len(entries)} fits kept, {repeated} of them "
        f"trained again; results {'equal' if equal else 'DIFFERENT'}"
    )
    return repeated > 0 or not equal


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
