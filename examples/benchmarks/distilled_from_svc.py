"""Press a support vector machine into LeNet-5, and hold it against LeNet-5 alone.

On the bundled sample, 6,000 training images and 1,000 test images. A calibrated ``SVC``
is the teacher. How much it counts, and at what temperature, is chosen on a sixth of the
training images, which neither it nor the network saw then; the test images are read
once, at the end. The figures go to ``docs/distilled_from_svc.csv``, those of the choice
to ``docs/distilled_from_svc_choice.csv``::

    python examples/benchmarks/distilled_from_svc.py --seeds 0 1 2 3 4
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import print_machine
from records import DISTILLED_FROM_SVC, DISTILLED_FROM_SVC_CHOICE, spread, write_rows
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample, save_model

SEEDS_OF_CHOICE = (100, 101, 102)
WEIGHTS = (0.3, 0.6)
TEMPERATURES = (1.0, 2.0, 4.0)


def fit_svc(X: np.ndarray, y: np.ndarray) -> CalibratedClassifierCV:
    """Fit the teacher: an ``SVC`` for each class, whose distances tell how sure it is.

    One ``SVC`` for all classes counts votes of pairs of classes, in steps of one.
    """
    machines = OneVsRestClassifier(SVC(C=10))
    return CalibratedClassifierCV(machines, ensemble=False).fit(X, y)


def choose(X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return weight and temperature, and write what the choice was made by."""
    X, X_held_out, y, y_held_out = train_test_split(
        X, y, test_size=1 / 6, stratify=y, random_state=0
    )
    svc = fit_svc(X, y)
    print(f"teacher: {svc.score(X_held_out, y_held_out):.4f}", flush=True)
    rows = []
    for weight, temperature in [(0.0, 1.0), *product(WEIGHTS, TEMPERATURES)]:
        scores = [
            LeNet5Classifier(
                teacher=svc,
                distillation_weight=weight,
                distillation_temperature=temperature,
                random_state=seed,
            )
            .fit(X, y)
            .score(X_held_out, y_held_out)
            for seed in SEEDS_OF_CHOICE
        ]
        row = {
            "weight": weight,
            "temperature": temperature,
            "accuracy": round(float(np.mean(scores)), 4),
            "seeds": len(scores),
        }
        print(row, flush=True)
        rows.append(row)
    write_rows(DISTILLED_FROM_SVC_CHOICE, rows)
    best = max(rows[1:], key=lambda row: row["accuracy"])
    return best["weight"], best["temperature"]


def size_of_file(net: Any) -> int:
    """Return the bytes that a network takes without a pickle."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.safetensors"
        save_model(net.set_params(teacher=None), path)
        return path.stat().st_size


def main() -> None:
    """Choose, then compare over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print_machine()
    X, y = load_fashion_mnist_sample(return_X_y=True)
    X_test, y_test = load_fashion_mnist_sample(subset="test", return_X_y=True)
    weight, temperature = choose(X, y)
    svc = fit_svc(X, y)
    taught = {
        "teacher": svc,
        "distillation_weight": weight,
        "distillation_temperature": temperature,
    }
    rows = [
        {
            "model": "SVC(C=10), one for each class, calibrated",
            "file (kB)": round(len(pickle.dumps(svc)) / 1000),
            "test accuracy": f"{svc.score(X_test, y_test):.4f}",
            "seeds": "",
        }
    ]
    for name, params in (
        ("LeNet5Classifier()", {}),
        (
            f"the same, taught by it (weight {weight}, temperature {temperature})",
            taught,
        ),
    ):
        nets = [
            LeNet5Classifier(random_state=seed, **params).fit(X, y)
            for seed in arguments.seeds
        ]
        scores = [net.score(X_test, y_test) for net in nets]
        rows.append(
            {
                "model": name,
                "file (kB)": round(size_of_file(nets[0]) / 1000),
                "test accuracy": spread(scores),
                "seeds": len(scores),
            }
        )
        print(name, scores, flush=True)
    write_rows(DISTILLED_FROM_SVC, rows)
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
