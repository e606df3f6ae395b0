"""Attack ``load_model`` with files that nobody would write in good faith.

Hostile files have a sound checksum and one fault each, of a known kind: every one must
be refused. Fuzzed files are random changes of a sound one, with and without a sound
checksum: each must be refused or give a network that predicts and trains. "Refused" is
a ``ValueError`` with the file's name, in under a second and under 300 MB. An audit hook
watches that nothing is executed::

    python examples/benchmarks/fuzz_files.py --hostile 1000 --fuzzed 100000
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from hostile_files import FAULTS, Parts, fuzzed

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier, inspect_model
from fmnist_sklearn.persistence import load_model, save_model

EXECUTES = {"pickle.find_class", "os.system", "subprocess.Popen", "exec", "compile"}
MOST_SECONDS, MOST_MB = 1.0, 300

warnings.simplefilter("ignore")
torch.set_num_threads(1)


def peak_mb() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Attack:
    """Files given to the loader one after the other, and what came of them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "net.safetensors"
        self.executed: list[str] = []
        self.watching = False
        self.counts: Counter[str] = Counter()
        self.slowest = self.largest = 0.0
        self.failures: list[str] = []
        sys.addaudithook(self.watch)

    def watch(self, event: str, args: object) -> None:
        """Note what is executed while a file is loaded."""
        if self.watching and event in EXECUTES:
            self.executed.append(f"{event} {str(args)[:200]}")

    def load(self, content: bytes, what: str, *, must_refuse: bool) -> None:
        """Give one file to the loader."""
        self.path.write_bytes(content)
        started, memory = time.process_time(), peak_mb()
        self.watching = True
        net, error = None, None
        try:
            net = load_model(self.path)
        except ValueError as caught:
            error = caught
        except Exception as caught:
            self.failures.append(f"{what}: {caught!r:.300}")
        finally:
            self.watching = False
        seconds, grown = time.process_time() - started, peak_mb() - memory
        self.slowest, self.largest = max(self.slowest, seconds), self.largest + grown
        self.counts["refused" if error else "accepted"] += 1
        if seconds > MOST_SECONDS or grown > MOST_MB:
            self.failures.append(f"{what}: {seconds:.1f} s, {grown:.0f} MB")
        if error and (self.path.name not in str(error) or len(str(error)) > 1000):
            self.failures.append(f"{what}: message {str(error)[:300]!r}")
        if net is not None and must_refuse:
            self.failures.append(f"{what}: accepted")
        elif net is not None:
            self.use(net, what)
        try:
            inspect_model(self.path)
        except ValueError:
            pass
        except Exception as caught:
            self.failures.append(f"{what}: inspect_model: {caught!r:.300}")

    def use(self, net, what: str) -> None:
        """Predict and train with a network that was accepted."""
        X = np.zeros((4, *net.image_shape_), dtype=np.uint8)
        if net.n_features_in_ != X[0].size:
            X = np.zeros((4, net.n_features_in_), dtype=np.uint8)
        try:
            net.predict(X)
            net.set_params(max_epochs=1, patience=None, validation_fraction=0)
            if net.image_shape is not None:  # what the next fit is to take
                X = np.zeros((4, *net.image_shape), dtype=np.uint8)
            net.fit(X, np.resize(net.classes_, 4))
        except Exception as caught:
            self.failures.append(f"{what}: accepted, then {caught!r:.300}")


def sound_files(folder: Path) -> list[bytes]:
    """Return small models of both classes, as files."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (24, 64), dtype=np.uint8)
    y = np.array(["bag", "coat", "shoe"])[np.arange(24) % 3]
    settings = {"max_epochs": 2, "random_state": 0, "device": "cpu"}
    files = []
    for net in (
        LeNet5Classifier(**settings, module__hidden_units=(10, 6)),
        MiniVGGClassifier(
            **settings, module__widths=(4, "M", 4), module__hidden_units=5
        ),
    ):
        save_model(net.fit(X, y), folder / "sound")
        files.append((folder / "sound").read_bytes())
    return files


def attack(
    n_hostile: int, n_fuzzed: int, seed: int = 0, every_byte: bool = False
) -> Attack:
    """Attack the loader; the failures and counts are in what is returned."""
    with tempfile.TemporaryDirectory() as folder:
        lenet5, minivgg = sound_files(Path(folder))
        attack = Attack(Path(folder))
        # What is imported late is imported now.
        for warm in (lenet5, minivgg, lenet5[:-1]):
            attack.load(warm, "sound", must_refuse=False)
        attack.counts.clear()
        attack.executed.clear()
        attack.slowest = attack.largest = 0.0
        for number in range(n_hostile):
            rng = random.Random(f"{seed} {number}")
            fault, parts = FAULTS[number % len(FAULTS)], Parts(lenet5, minivgg)
            content = fault(parts, rng)
            content = parts.pack() if content is None else content
            what = f"{fault.__name__[1:]} {number}"
            attack.load(content, what, must_refuse=True)
        for number in range(n_fuzzed):
            rng = random.Random(f"fuzz {seed} {number}")
            content = fuzzed(rng.choice([lenet5, minivgg]), rng)
            attack.load(content, f"fuzzed {number}", must_refuse=False)
        if every_byte:
            rng = random.Random(seed)
            for at in range(len(minivgg)):
                flipped = bytearray(minivgg)
                flipped[at] ^= rng.randrange(1, 256)
                attack.load(minivgg[:at], f"cut after {at}", must_refuse=True)
                attack.load(bytes(flipped), f"flipped at {at}", must_refuse=True)
        if attack.largest > MOST_MB:
            attack.failures.append(f"{attack.largest:.0f} MB more than before")
        attack.failures += sorted(set(attack.executed))
        print(
            f"{n_hostile:,} hostile files of {len(FAULTS)} kinds, {n_fuzzed:,} fuzzed: "
            f"{dict(attack.counts)}, slowest {attack.slowest:.3f} s, "
            f"{attack.largest:.0f} MB more"
        )
    return attack


def main() -> int:
    """Parse the command line, attack, and tell what got through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hostile", type=int, default=1000)
    parser.add_argument("--fuzzed", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--every-byte",
        action="store_true",
        help="cut a small file after each of its bytes too, and flip each of them",
    )
    arguments = parser.parse_args()
    failures = attack(
        arguments.hostile, arguments.fuzzed, arguments.seed, arguments.every_byte
    ).failures
    for failure in failures[:50]:
        print(failure)
    print(f"{len(failures)} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
