"""A search in a process of its own, which can be killed; for test_fit_cache.py."""

import multiprocessing
import time
import warnings

import joblib
import torch
import torch._dynamo  # each optimizer imports it: once here, before processes fork
from sklearn.model_selection import GridSearchCV

from fmnist_sklearn import FitCache, LeNet5Classifier, load_fashion_mnist_sample

GRID = {"lr": [0.01, 0.02], "dropout": [0.0, 0.5]}
N_FITS = 9  # four by two folds, and the refit


def images():
    """Return 60 images of 7 x 7 pixels, of three classes; a fit takes no time."""
    X, y = load_fashion_mnist_sample(return_X_y=True)
    return X[:60].reshape(-1, 28, 28)[:, ::4, ::4].reshape(60, 49), y[:60] % 3


def search(memory=None):
    """Return the results of a search without the times."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    net = LeNet5Classifier(
        lr=0.01, batch_size=16, max_epochs=2, random_state=0, memory=memory
    )
    return without_times(GridSearchCV(net, GRID, cv=2).fit(*images()).cv_results_)


def without_times(results):
    return {name: list(v) for name, v in results.items() if "_time" not in name}


def search_and_log(folder, name):
    """Search with a memory; write a line for each fit stored, then the results."""
    write = FitCache.write

    def write_and_log(cache, key, *args):
        write(cache, key, *args)
        with open(folder / "stored", "a", encoding="ascii") as file:
            file.write(f"{key}\n")

    FitCache.write = write_and_log
    joblib.dump(search(memory=folder), folder / name)


def start_search(folder, name):
    """Start a search in a process that has imported this file already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=search_and_log, args=(folder, name))
    process.start()
    return process


def read_stored(folder):
    """Return the key of each fit that was stored, in order."""
    path = folder / "stored"
    return path.read_text(encoding="ascii").splitlines() if path.exists() else []


def kill_after(process, folder, n_stored, delay):
    """Kill a search some seconds after it has stored a number of fits."""
    while process.is_alive() and len(read_stored(folder)) < n_stored:
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
