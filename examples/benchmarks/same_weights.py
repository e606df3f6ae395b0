"""Whether two versions of the package train the same weights, to the last bit.

    python examples/benchmarks/same_weights.py OLD [NEW]

OLD and NEW are git revisions; without NEW, the working tree. Each version fits, from
seed 0 on the bundled sample: both classes with their defaults, with the recipes "fast"
and "accurate" as OLD has them (the latter for two epochs), and by two calls of
``partial_fit``. The weights' SHA-256 are compared.
"""

import hashlib
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def print_digests(recipes):
    """Fit with the version on the path, and print a line a fit.

    The first to be called leaves its recipes in a file, for the others.
    """
    import warnings

    from fmnist_sklearn import (
        RECIPES,
        LeNet5Classifier,
        MiniVGGClassifier,
        load_fashion_mnist_sample,
    )

    warnings.simplefilter("ignore")
    X, y = load_fashion_mnist_sample(return_X_y=True)
    if not recipes.exists():
        plain = {
            recipe: {name: dict(params) for name, params in models.items()}
            for recipe, models in RECIPES.items()
        }
        recipes.write_bytes(pickle.dumps(plain))
    of_old = pickle.loads(recipes.read_bytes())

    def report(name, net):
        digest = hashlib.sha256()
        for key, value in net.module_.state_dict().items():
            digest.update(key.encode() + value.contiguous().numpy().tobytes())
        print(name, digest.hexdigest()[:16], flush=True)

    for cls in (LeNet5Classifier, MiniVGGClassifier):
        name = cls.__name__
        settings = {
            "defaults": {},
            "fast": of_old["fast"][name],
            "accurate": {**of_old["accurate"][name], "max_epochs": 2},
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


def digests_of(tree, recipes):
    """Run ``print_digests`` with the package of a folder."""
    program = (
        "import pathlib, runpy, sys; sys.path.insert(0, sys.argv[1]); "
        "digests = runpy.run_path(sys.argv[2])['print_digests']; "
        "digests(pathlib.Path(sys.argv[3]))"
    )
    command = [sys.executable, "-c", program, str(tree), __file__, str(recipes)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


def main(old, new=None):
    """Compare two versions; return how many fits differ."""
    with tempfile.TemporaryDirectory() as folder:
        trees = [
            ROOT if each is None else checkout(each, folder) for each in (old, new)
        ]
        recipes = Path(folder) / "recipes"
        before, after = (digests_of(tree, recipes) for tree in trees)
    for line, other in zip(before, after, strict=True):
        print(line if line == other else f"{line} before, {other} after: DIFFER")
    return sum(map(str.__ne__, before, after))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) > 0)
