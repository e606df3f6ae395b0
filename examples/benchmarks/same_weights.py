"""Whether two versions of the package train the same weights, to the last bit.

    python examples/benchmarks/same_weights.py OLD [NEW]

OLD and NEW are git revisions; without NEW, the working tree. Each version fits, from
seed 0 on the bundled sample: both classes with their defaults, with its recipes "fast"
and "accurate" (the latter for two epochs), and by two calls of ``partial_fit``. The
weights' SHA-256 are compared.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def print_digests():
    """Fit with the version on the path, and print a line a fit."""
    import warnings

    from fmnist_sklearn import (
        RECIPES,
        LeNet5Classifier,
        MiniVGGClassifier,
        load_fashion_mnist_sample,
    )

    warnings.simplefilter("ignore")
    X, y = load_fashion_mnist_sample(return_X_y=True)

    def report(name, net):
        digest = hashlib.sha256()
        for key, value in net.module_.state_dict().items():
            digest.update(key.encode() + value.contiguous().numpy().tobytes())
        print(name, digest.hexdigest()[:16], flush=True)

    for cls in (LeNet5Classifier, MiniVGGClassifier):
        name = cls.__name__
        settings = {
            "defaults": {},
            "fast": RECIPES["fast"][name],
            "accurate": {**RECIPES["accurate"][name], "max_epochs": 2},
        }
        for recipe, params in settings.items():
            report(f"{name}, {recipe}:", cls(**params, random_state=0).fit(X, y))
        net = cls(random_state=0).partial_fit(X[:2000], y[:2000], classes=range(10))
        report(f"{name}, partial_fit:", net.partial_fit(X[2000:4000], y[2000:4000]))


def checkout(revision, folder):
    """Write the files of a revision to a folder of its own, and return that."""
    tree = Path(folder) / revision
    tree.mkdir()
    git = ["git", "-C", str(ROOT), "archive", revision, "fmnist_sklearn"]
    archive = subprocess.run(git, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x", "-C", str(tree)], check=True, input=archive)
    return tree


def digests_of(tree):
    """Run ``print_digests`` with the package of a folder."""
    program = (
        "import runpy, sys; sys.path.insert(0, sys.argv[1]); "
        "runpy.run_path(sys.argv[2])['print_digests']()"
    )
    command = [sys.executable, "-c", program, str(tree), __file__]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


def main(old, new=None):
    """Compare two versions; return how many fits differ."""
    with tempfile.TemporaryDirectory() as folder:
        before = digests_of(checkout(old, folder))
        after = digests_of(checkout(new, folder) if new else ROOT)
    for line, other in zip(before, after, strict=True):
        print(line if line == other else f"{line} before, {other} after: DIFFER")
    return sum(map(str.__ne__, before, after))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) > 0)
