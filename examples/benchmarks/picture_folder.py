"""The memory that a folder of large photos takes to load, above the arrays returned.

Photos of 12 megapixels are made once, a few of them, and linked under as many names as
are asked for. The peak is that of a process of its own::

    python examples/benchmarks/picture_folder.py --photos 10000
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (4000, 3000)  # pixels, width and height


def make_photos(folder, n_photos, kinds):
    """Write a few photos of each kind and link the others to them, in two classes."""
    rng = np.random.default_rng(0)
    made = []
    for kind in kinds:
        for i in range(2):
            # Something of many colours on a light table, under a camera's noise.
            small = np.full((30, 40, 3), 230, dtype=np.uint8)
            small[6:24, 10:30] = rng.integers(0, 200, (18, 20, 3))
            picture = Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC)
            pixels = np.asarray(picture).astype(np.int16)
            pixels += rng.integers(-9, 10, (SIZE[1], SIZE[0], 1), dtype=np.int16)
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            path = folder / f"{kind}-{i}.{'png' if kind == 'png' else 'jpg'}"
            options = {} if kind == "png" else {"progressive": kind == "progressive"}
            picture.save(path, **options)
            made.append(path)
    for i in range(n_photos):
        source = made[i % len(made)]
        label = folder / "photos" / f"class{i % 2}"
        label.mkdir(parents=True, exist_ok=True)
        os.link(source, label / f"{i}{source.suffix}")
    return folder / "photos"


LOAD = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from fmnist_sklearn import load_image_folder

def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

before = status("VmRSS")
start = time.perf_counter()
photos = load_image_folder(sys.argv[2], prepare=sys.argv[3], n_jobs=int(sys.argv[4]))
print(json.dumps({
    "n": len(photos.images),
    "seconds": time.perf_counter() - start,
    "arrays": photos.images.nbytes,
    "peak": status("VmHWM") - before,
}))
"""


def main():
    """Make the photos, load them, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=("jpeg", "progressive", "png"),
        default=["jpeg"],
        help="of files, mixed",
    )
    parser.add_argument("--prepare", choices=("resize", "clothing"), default="resize")
    parser.add_argument("--threads", type=int, default=-1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder), args.photos, args.kinds)
        root = Path(__file__).parents[2]
        command = [sys.executable, "-c", LOAD, root, photos, args.prepare]
        run = subprocess.run(
            [*map(str, command), str(args.threads)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    found = json.loads(run.stdout)
    above = (found["peak"] - found["arrays"]) / 1e6
    print(
        f"{found['n']:,} photos of 12 megapixels ({', '.join(args.kinds)}; "
        f"{args.prepare}) in {found['seconds']:.0f} s: the peak of memory was "
        f"{above:.0f} MB above the arrays of {found['arrays'] / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
