"""Compare the defaults with a tuned logistic regression where there are few images.

500 images of the bundled sample, judged on its 1,000 test images, and scikit-learn's
8 x 8 digits, judged on three tenths of them. Each seed draws other training images. The
means go to ``docs/small_data.csv``::

    python examples/benchmarks/small_data.py --seeds 5
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
from contenders import print_machine
from records import SMALL_DATA, spread, write_rows
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from fmnist_sklearn import (
    LeNet5Classifier,
    MiniVGGClassifier,
    load_fashion_mnist_sample,
)

SAMPLE = "500 images of the sample"
DIGITS = "scikit-learn's digits"


def data(seed: int) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    """Yield each task's name, and its X_train, X_test, y_train and y_test."""
    X, y = load_fashion_mnist_sample(return_X_y=True)
    X_test, y_test = load_fashion_mnist_sample(subset="test", return_X_y=True)
    few, _, y_few, _ = train_test_split(
        X, y, train_size=500, stratify=y, random_state=seed
    )
    yield SAMPLE, (few, X_test, y_few, y_test)
    X, y = load_digits(return_X_y=True)
    split = train_test_split(X, y, test_size=0.3, stratify=y, random_state=seed)
    yield DIGITS, tuple(split)


def models(seed: int) -> dict[str, Any]:
    """Return the contenders, unfitted."""
    logistic = make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=2000))
    strengths = {"logisticregression__C": np.logspace(-2, 2, 9)}
    return {
        "LogisticRegression, C by 5-fold search": GridSearchCV(logistic, strengths),
        "LeNet5Classifier()": LeNet5Classifier(random_state=seed),
        "MiniVGGClassifier()": MiniVGGClassifier(random_state=seed),
    }


def main() -> None:
    """Fit every contender on every task and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    print_machine()
    accuracies: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        for task, (X, X_test, y, y_test) in data(seed):
            for name, model in models(seed).items():
                score = model.fit(X, y).score(X_test, y_test)
                accuracies.setdefault(name, {}).setdefault(task, []).append(score)
                print(f"seed {seed}, {task}, {name}: {score:.4f}", flush=True)
    rows = [
        {
            "model": name,
            **{task: spread(scores) for task, scores in tasks.items()},
            "seeds": len(seeds),
        }
        for name, tasks in accuracies.items()
    ]
    for row in rows:
        print(row)
    write_rows(SMALL_DATA, rows)


if __name__ == "__main__":
    main()
