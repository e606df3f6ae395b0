"""Compare estimators without arguments: accuracy and fit time, on several data sets.

    python examples/benchmarks/defaults.py [--sets NAME ...] [--splits N] [--folder DIR]

The estimators are this package's two, also with their defaults in version 0.1.0, and
five of scikit-learn, whose pixels are scaled to 0..1. The sets are Fashion-MNIST with
600, 6,000 and 60,000 training images, scikit-learn's digits, and the files of a folder,
``NAME.npz`` with ``X`` (n, h, w) or (n, h, w, 3), uint8, and ``y``, or ``NAME``, photos
that are resized to 64 x 64. A fifth of the rows is held out, stratified, by a seed for
each split; of Fashion-MNIST, the 10,000 test images. The set "digits:2x10" has ten rows
of each of two classes of digits, drawn by the seed, and holds out all other rows of
these; "mnist_test@12" is reduced to 12 x 12 pixels. Each fit is a row of
``docs/defaults.csv``; those that are there are skipped, so that an interrupted run goes
on. ``seconds`` are those of the clock, for which nothing else should run meanwhile;
``cpu``, of the processor, for which ``--threads 1`` and ``OMP_NUM_THREADS=1`` may run
beside others.

With ``--choose``, a fifth of the training rows (5,000 of Fashion-MNIST) is held out in
place of the test rows, and the fits go to ``docs/defaults_choice.csv``; an estimator
may then be any call, such as "LeNet5Classifier(dropout=0.3)". The defaults were chosen
by these.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from contenders import parse_arguments, stopwatch
from records import DEFAULTS, DEFAULTS_CHOICE, add_row, is_recorded
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from torch.nn.functional import adaptive_avg_pool2d

from fmnist_sklearn import (
    LeNet5Classifier,
    MiniVGGClassifier,
    fetch_fashion_mnist,
    load_fashion_mnist_sample,
    load_image_folder,
)

BEFORE = {
    "optimizer": torch.optim.Adam,
    "weight_decay": 0.0,
    "lr_schedule": None,
    "augment": None,
    "load_best": True,
}
ESTIMATORS = {
    "LeNet5Classifier()": LeNet5Classifier(),
    "LeNet5Classifier, before": LeNet5Classifier(
        **BEFORE, lr=2e-3, max_epochs=28, dropout=0.5
    ),
    "MiniVGGClassifier()": MiniVGGClassifier(),
    "MiniVGGClassifier, before": MiniVGGClassifier(
        **BEFORE, lr=1e-3, max_epochs=12, dropout=0.0
    ),
    "LogisticRegression()": LogisticRegression(),
    "SVC()": SVC(),
    "RandomForestClassifier()": RandomForestClassifier(),
    "HistGradientBoostingClassifier()": HistGradientBoostingClassifier(),
    "MLPClassifier()": MLPClassifier(),
}


def load_split(
    name: str, split: int, folder: Path, choose: bool = False
) -> list[np.ndarray]:
    """Return training and test images, and their labels, of a split of a set."""
    name, _, side = name.partition("@")
    if side:
        X, X_test, y, y_test = load_split(name, split, folder, choose)
        X, X_test = (
            adaptive_avg_pool2d(torch.tensor(each).float(), int(side)).byte().numpy()
            for each in (X, X_test)
        )
        return [X, X_test, y, y_test]
    name, _, few = name.partition(":")
    if few:
        X, X_test, y, y_test = load_split(name, split, folder, choose)
        X, y = np.concatenate([X, X_test]), np.concatenate([y, y_test])
        n_classes, n_rows = map(int, few.split("x"))
        classes = np.random.default_rng(split).permutation(np.unique(y))[:n_classes]
        X, y = X[np.isin(y, classes)], y[np.isin(y, classes)]
        sizes = {"train_size": n_classes * n_rows, "stratify": y}
        return train_test_split(X, y, **sizes, random_state=split)
    if name.startswith("fashion"):
        X, y = fetch_fashion_mnist(return_X_y=True)
        n_rows, seed = int(name.removeprefix("fashion")), {"random_state": split}
        if choose:
            sizes = {"train_size": n_rows, "test_size": 5000}
            return train_test_split(X, y, stratify=y, **sizes, **seed)
        X_test, y_test = fetch_fashion_mnist(subset="test", return_X_y=True)
        if n_rows < len(X):
            X, _, y, _ = train_test_split(X, y, train_size=n_rows, stratify=y, **seed)
        return [X, X_test, y, y_test]
    if name == "digits":
        digits = load_digits()
        X, y = digits.images.astype(np.uint8), digits.target
    elif (folder / name).is_dir():
        photos = load_image_folder(folder / name, image_shape=(3, 64, 64))
        X, y = photos.images, photos.target
    else:
        with np.load(folder / f"{name}.npz") as file:
            X, y = file["X"], file["y"]
        X = X.transpose(0, 3, 1, 2) if X.ndim == 4 else X
    parts = train_test_split(X, y, test_size=0.2, stratify=y, random_state=split)
    if choose:
        X, _, y, _ = parts
        return train_test_split(X, y, test_size=0.2, stratify=y, random_state=split)
    return parts


def measure(
    name: str, estimator: str, split: int, folder: Path, choose: bool = False
) -> dict[str, object]:
    """Fit and score an estimator."""
    X, X_test, y, y_test = load_split(name, split, folder, choose)
    known = ESTIMATORS.get(estimator)
    model = eval(estimator) if known is None else clone(known)
    model.set_params(random_state=split)
    if estimator.endswith("before"):  # its batches had at most 64 rows
        model.set_params(batch_size=min(max(len(y) * 9 // 1000, 16), 64))
    if not isinstance(model, LeNet5Classifier | MiniVGGClassifier):
        highest = np.float32(X.max())
        X, X_test = (each.reshape(len(each), -1) / highest for each in (X, X_test))
    cpu = time.process_time()
    seconds = stopwatch(lambda: model.fit(X, y))
    cpu = time.process_time() - cpu
    return {
        "rows": len(y),
        "accuracy": round(float(model.score(X_test, y_test)), 4),
        "seconds": round(seconds, 2),
        "epochs": len(getattr(model, "history_", ())) or "",
        "cpu": round(cpu, 2),
    }


def main() -> None:
    """Measure what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="folder of .npz files")
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--estimators", nargs="+", default=list(ESTIMATORS))
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--splits", type=int, default=5)
    arguments = parse_arguments(parser)
    sets = ["fashion600", "fashion6000", "fashion60000", "digits"]
    if arguments.folder is not None:
        sets += sorted(path.stem for path in arguments.folder.glob("*.npz"))
    file = DEFAULTS_CHOICE if arguments.choose else DEFAULTS
    for model in (LeNet5Classifier(max_epochs=1), MiniVGGClassifier(max_epochs=1)):
        model.fit(*load_fashion_mnist_sample(return_X_y=True))  # warm up
    for split in range(arguments.splits):
        for name in arguments.sets or sets:
            for estimator in arguments.estimators:
                key = {"set": name, "estimator": estimator, "split": split}
                key["threads"] = arguments.threads
                if not is_recorded(file, key):
                    options = arguments.folder, arguments.choose
                    add_row(file, key | measure(name, estimator, split, *options))


if __name__ == "__main__":
    main()
