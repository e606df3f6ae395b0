"""Give hostile model files to ``load_model``, and print what it did wrong.

Each file has a sound checksum and one fault. It must be refused with a short ValueError
that names it; nothing may be executed, and little memory allocated. The test runs this
in a process of its own, to see its memory and its audit events.
"""

import hashlib
import io
import json
import pickle
import random
import resource
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

from fmnist_sklearn import (
    LeNet5Classifier,
    MiniVGGClassifier,
    inspect_model,
    load_model,
    save_model,
)

EXECUTES = {"pickle.find_class", "os.system", "subprocess.Popen", "exec", "compile"}
MOST_MB = 300


class Payload:
    """What runs a command when it is unpickled."""

    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/owned",)


class Parts:
    """A model file taken apart; ``pack`` puts it together, checksum included."""

    def __init__(self, content):
        length = int.from_bytes(content[:8], "little")
        self.layout = json.loads(content[8 : 8 + length])
        self.strings = self.layout.pop("__metadata__")
        self.meta = json.loads(self.strings["meta"])
        self.data = bytearray(content[8 + length :])

    def pack(self, meta=None):
        strings = {**self.strings, "meta": meta or json.dumps(self.meta)}
        layout = {"__metadata__": {**strings, "sha256": "0" * 64}, **self.layout}
        text = json.dumps(layout).encode()
        content = len(text).to_bytes(8, "little") + text + self.data
        digest = hashlib.sha256(content).hexdigest()
        return content.replace(b"0" * 64, digest.encode(), 1)


# Places in the JSON, and values that must be refused there.
DEEP = json.loads("[" * 400 + "]" * 400)
COUNTS = [0, -1, 2**24 + 1, 2**63, 10**30, 1.5, True, "3", [], DEEP]
NUMBERS = ["1", [], {}, {"float": "nan"}, DEEP]
CODE = [
    pickle.dumps(Payload(), protocol=0).decode("latin1"),
    {"py/object": "os.system"},
]
NAMES = ["system", "os.system", "builtins.eval", "Tensor", "lr_scheduler"]
NAMES += [["Adam"], None, "swap_in_optimizer_params_and_state", "__builtins__"]
VALUES = [
    ("class", ["os.system", "builtins.eval", "LeNet5Classifier ", "\x1b[31m", None, 3]),
    ("class", ["ImageClassifier", "MiniVGGClassifier", ["LeNet5Classifier"]]),
    ("class", ["x" * 10**6]),
    ("preparation", ["crop", 3, [], True]),
    ("metadata", [{"a": [1]}, {"a": "x" * 10**5}, {"a": DEEP}, "x"]),
    ("versions", [{"torch": 3}, {"torch": "9" * 10**5}, [], None]),
    ("eval", [1]),
    ("params", [3, DEEP]),
    ("params.__class__", ["os.system"]),
    ("params.self", [1]),
    ("params.learning_rate", [0.1]),
    ("params.modul__dropout", [0.1]),
    ("params.memory", ["elsewhere"]),
    ("params.lr", [*NUMBERS, -1.0, {"eval": "1"}]),
    ("params.batch_size", [0, -2, 1.5, "all", {"float": "inf"}]),
    ("params.augment", [{"dict": [["eval", 1]]}, {"dict": [[["a"], 1]]}, {"dict": 3}]),
    ("params.optimizer", [{"optimizer": name} for name in NAMES]),
    ("params.device", [3]),
    ("state", CODE),
    ("state.eval", [1]),
    ("state.seeds.eval", [1]),
    ("state.built_with.module__dropout", [*NUMBERS, 1, -0.1]),
    ("state.built_with.module__hidden_units", [[1] * 100_000, [0, 6], [2**70], "10"]),
    ("state.built_with.module__hidden_units", [None, [[10]]]),
    ("state.built_with.module__widths", [[4], ["M"], [2**24] * 64]),
    ("state.image_shape", [[1, 10**6, 10**6], [10**9, 8, 8], [1, 8], [1, 8, 0], 64]),
    ("state.fitted.n_features_in_", [*COUNTS, 65]),
    ("state.fitted.best_epoch_", [*COUNTS, 3]),
    ("state.fitted.fit_time_", [*NUMBERS, -1.0]),
    ("state.fitted.precision_", ["float8", None, *CODE]),
    ("state.feature_names", [["a"] * 63, [1] * 64, [], ["a" * 10**5] * 64]),
    ("state.classes.labels", [["a", "b"], ["a", "a", "b"], ["b", "a", "c"], [1, 2, 3]]),
    ("state.classes.labels", [["a", "b", "x" * 20_000], [None, "a", "b"], "abc", []]),
    ("state.classes.dtype", ["<U99999999", "<U0", "O,O", "V10", "<M8[D]"]),
    ("state.classes.dtype", ["(9999999,)U4", "i3", "f4,f4", "object", "", 3, None]),
    ("state.classes", [{"dtype": "|i1", "labels": [1, 2, 300]}]),
    ("state.classes", [{"dtype": "|O", "labels": [[1], 2, 3]}]),
    ("state.history", [3, [1]]),
    ("state.seeds.weights", [-1, 2**31, 10**30, 1.5, "1", None]),
    ("state.frozen", [["nothing"], ["scaling"], ["../x"]]),
    ("state.frozen", [["_parameters"]]),
    ("state.built_with", [{"a": 1}, {"pixel_scaling": {"eval": "x"}}, [], "x"]),
    ("state.partial_fit", ["yes", 3]),
]


def forge(content, other):
    """Yield the name and the content of each hostile file."""
    for place, values in VALUES:
        *path, key = place.split(".")
        for value in values:
            parts = Parts(content)
            node = parts.meta
            for name in path:
                node = node[name]
            node[key] = value
            yield f"{place}={str(value)[:40]}", parts.pack()
    for name in ("../../etc/passwd", "x" * 10**5, "a/b"):
        parts = Parts(content)
        parts.layout[name] = parts.layout.pop("c1.conv.bias")
        yield f"array named {name[:20]}", parts.pack()
    for entry in ({"dtype": "I32"}, {"shape": [6, 1]}, {"data_offsets": [0, 2**63]}):
        parts = Parts(content)
        parts.layout["c1.conv.bias"].update(entry)
        yield f"array {entry}", parts.pack()
    parts = Parts(content)
    start = parts.layout["c1.conv.bias"]["data_offsets"][0]
    parts.data[start : start + 4] = np.float32(np.nan).tobytes()
    yield "NaN as a weight", parts.pack()
    for place in ("layout", "data", "meta"):
        parts = Parts(content)
        setattr(parts, place, getattr(Parts(other), place))
        yield f"{place} of another class", parts.pack()
    yield "pickle", pickle.dumps(Payload())
    torch.save(Payload(), out := io.BytesIO())
    yield "pickle in an archive", out.getvalue()


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Attack:
    """Give files to the loader one after the other, and collect its faults."""

    def __init__(self, path):
        self.path = path
        self.executed, self.faults = [], []
        self.is_watching = False
        sys.addaudithook(self.watch)

    def watch(self, event, args):
        if self.is_watching and event in EXECUTES:
            self.executed.append(f"{event} {str(args)[:200]}")

    def load(self, name, content, *, must_refuse=True):
        self.path.write_bytes(content)
        for use in (load_model, inspect_model):
            before = peak_mb()
            self.is_watching = True
            try:
                use(self.path)
                if must_refuse and use is load_model:
                    self.faults.append(f"{name} was accepted")
            except ValueError as error:
                if self.path.name not in str(error) or len(str(error)) > 1000:
                    self.faults.append(f"{name}: message {str(error)[:300]!r}")
            except Exception as error:
                self.faults.append(f"{name}: {use.__name__} raised {error!r:.300}")
            self.is_watching = False
            if peak_mb() - before > MOST_MB:
                self.faults.append(f"{name} took {peak_mb() - before:.0f} MB")


def sound_files(path):
    """Return small models of both classes, as files."""
    X = np.random.default_rng(0).integers(0, 256, (24, 64), dtype=np.uint8)
    y = np.array(["bag", "coat", "shoe"])[np.arange(24) % 3]
    files = []
    for net in (
        LeNet5Classifier(module__hidden_units=(10, 6)),
        MiniVGGClassifier(module__widths=(4, "M", 4), module__hidden_units=5),
    ):
        net.set_params(max_epochs=2, random_state=0, device="cpu").fit(X, y)
        save_model(net, path)
        files.append(path.read_bytes())
    return files


def fuzz(content, rng):
    """Return a file with one random value somewhere in its JSON, signed again."""
    parts = Parts(content)
    node = parts.meta
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not (isinstance(node[key], dict | list) and node[key]) or rng.random() < 0.2:
            break
        node = node[key]
    node[key] = rng.choice(
        [None, True, -1, 2**31, 0.5, 1e308, "a", [], {}, ["M"], DEEP]
    )
    return parts.pack()


def main(n_fuzzed=60):
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        attack = Attack(Path(folder) / "net.safetensors")
        lenet5, minivgg = sound_files(attack.path)
        attack.load("sound", minivgg, must_refuse=False)  # what is imported late
        attack.executed.clear()
        for name, content in forge(lenet5, minivgg):
            attack.load(name, content)
        for number in range(n_fuzzed):
            content = fuzz(lenet5, random.Random(number))
            attack.load(f"fuzzed {number}", content, must_refuse=False)
    print(*attack.faults, *sorted(set(attack.executed)), sep="\n")


if __name__ == "__main__":
    main()
