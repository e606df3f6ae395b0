"""Predict a folder of pictures, some of them broken, and measure the memory it takes.

A folder of small pictures is made, the command runs in a process of its own, and its
peak of memory, its time and the number of broken pictures that it named are printed.
The status is 1 unless it named each of them, predicted all others, and took less
than 500 MB beyond what importing PyTorch takes. On Linux::

    python examples/benchmarks/predict_folder.py --pictures 10000 --broken 20
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample
from fmnist_sklearn.persistence import save_model

MOST_MB = 500

# The command, and its own peak in kB before and after. What the system tells of a
# child that ended counts the memory of its parent too, from which it was forked.
COMMAND = """
import re, sys
from pathlib import Path
import fmnist_sklearn.persistence, fmnist_sklearn.prediction  # and so PyTorch
from fmnist_sklearn.cli import main

def peak():
    return re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]

start = peak()
status = main(sys.argv[1:])
print(start, peak())
sys.exit(status)
"""


def make_pictures(folder: Path, n_pictures: int, n_broken: int) -> set[str]:
    """Write articles as photographs, and return the names of those that are broken."""
    images = load_fashion_mnist_sample(subset="test").images
    kinds = [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")]
    broken = set(np.linspace(0, n_pictures - 1, n_broken, dtype=int).tolist())
    names = set()
    for i in range(n_pictures):
        kind, suffix = kinds[i % len(kinds)]
        photo = Image.fromarray(255 - images[i % len(images)]).resize((112, 112))
        content = io.BytesIO()
        photo.convert("RGB").save(content, kind)
        path = folder / f"{i:06}.{suffix}"
        whole = content.getvalue()
        path.write_bytes(whole[: len(whole) // 2] if i in broken else whole)
        if i in broken:
            names.add(str(path))
    return names


def main() -> int:
    """Make the pictures, predict them, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--broken", type=int, default=20)
    args = parser.parse_args()
    X, y = load_fashion_mnist_sample(return_X_y=True)
    net = LeNet5Classifier(max_epochs=1, patience=None, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        model, out = Path(folder) / "net.safetensors", Path(folder) / "out.csv"
        save_model(net.fit(X[:1000], y[:1000]), model, preparation="clothing")
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        broken = make_pictures(pictures, args.pictures, args.broken)
        command = [sys.executable, "-c", COMMAND, "predict", model, pictures]
        start = time.perf_counter()
        ended = subprocess.run(
            [*map(os.fspath, command), "--format", "csv", "--out", os.fspath(out)],
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - start
        before, after = (int(n) * 1024 / 1e6 for n in ended.stdout.split())  # MB
        named = set(re.findall(r"error: (\S+) cannot be read", ended.stderr))
        n_predicted = len(out.read_text(encoding="utf-8").splitlines()) - 1
    print(f"{n_predicted:,} of {args.pictures:,} pictures in {seconds:.0f} s")
    print(f"{len(named & broken)} of {len(broken)} broken ones named")
    print(f"peak of memory {after:.0f} MB, of which {before:.0f} MB were its imports")
    right = named == broken and n_predicted == args.pictures - len(broken)
    return 0 if right and after - before < MOST_MB and ended.returncode == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
