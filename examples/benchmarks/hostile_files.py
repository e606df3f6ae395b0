"""Model files that nobody would write in good faith.

``FAULTS`` are functions of a file's parts and a random generator, a kind of fault each:
they change the parts, or return a whole file of their own. ``fuzzed`` changes a file
anywhere. ``fuzz_files.py`` gives the files to ``load_model``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle

import numpy as np
import torch


class Parts:
    """A model file taken apart; ``pack`` puts it together, checksum included.

    ``other`` is the content of another model's file, to take parts of.
    """

    def __init__(self, content: bytes, other: bytes = b"") -> None:
        self.other = other
        length = int.from_bytes(content[:8], "little")
        self.layout = json.loads(content[8 : 8 + length])
        self.strings = self.layout.pop("__metadata__")
        self.meta = json.loads(self.strings["meta"])
        self.data = bytearray(content[8 + length :])

    def array(self, name: str) -> np.ndarray:
        """Return an array of float32 that changes the data."""
        start, end = self.layout[name]["data_offsets"]
        return np.frombuffer(self.data, np.float32, (end - start) // 4, start)

    def pack(self) -> bytes:
        """Return the file."""
        if self.meta is not None:
            self.strings["meta"] = json.dumps(self.meta)
        self.strings["sha256"] = "0" * 64
        text = json.dumps({"__metadata__": self.strings, **self.layout}).encode()
        content = len(text).to_bytes(8, "little") + text + self.data
        digest = hashlib.sha256(content).hexdigest()
        return content.replace(b"0" * 64, digest.encode(), 1)


# One fault each --------------------------------------------------------------------


class Payload:
    """What runs a command when it is unpickled."""

    def __reduce__(self):
        """Name the command."""
        import os

        return os.system, ("touch /tmp/owned",)


DEEP_LIST = json.loads("[" * 400 + "]" * 400)
NAMES = [
    "os.system",
    "builtins.eval",
    "sklearn.linear_model.LogisticRegression",
    "ImageClassifier",
    "lenet5classifier",
    "LeNet5Classifier ",
    "../LeNet5Classifier",
    "__import__('os').system('touch /tmp/owned')",
    "\x1b[31mLeNet5Classifier",
    "",
    "x" * 10**6,
    None,
    3,
    ["LeNet5Classifier"],
    {"LeNet5Classifier": 1},
]
NO_COUNT = [0, -1, 2**24 + 1, 2**63, 10**30, 1.5, True, None, "3", [], DEEP_LIST]
NO_NUMBER = ["1", None, [], {}, {"float": "nan"}, {"float": "inf"}, DEEP_LIST]


def _foreign_class(p, rng):
    p.meta["class"] = rng.choice(NAMES)


def _unknown_key(p, rng):
    places = [p.meta, p.meta["state"], *p.meta["state"].values()]
    place = rng.choice([place for place in places if isinstance(place, dict)])
    place[rng.choice(["__class__", "eval", "x" * 10**5, "\x00"])] = 1


def _missing_key(p, rng):
    place = rng.choice([p.meta, p.meta["state"], p.meta["state"]["seeds"]])
    optional = {"built_with", "feature_names"}
    del place[rng.choice(sorted(place.keys() - optional))]


def _wrong_type(p, rng):
    place = rng.choice([p.meta, p.meta["state"]])
    place[rng.choice(sorted(place))] = rng.choice(
        [3.5, "text", ["a", 1], DEEP_LIST, [[1]], [None], {"a": {"b": 1}}]
    )


def _version(p, rng):
    p.strings["version"] = rng.choice(["1e999", "0", "-2", "3", "99", "2.0", "x", ""])


def _kind(p, rng):
    p.strings["kind"] = rng.choice(["fit", "", "x" * 10**6, "\x1b[2J"])


def _broken_json(p, rng):
    text, p.meta = p.strings["meta"], None
    depth = rng.choice([1000, 10_000, 300_000])
    p.strings["meta"] = rng.choice(
        [
            "[" * depth + "]" * depth,
            '{"a":' * depth + "1" + "}" * depth,
            text[: rng.randrange(len(text))],
            text.replace("0.", "NaN", 1).replace("NaN", "NaN,"),
            text[:-1] + ',"class":"LeNet5Classifier"}',
            text[:-1] + ',"extra":1e999}',
            text[:-1] + ',"extra":' + "9" * 5000 + "}",
            text[:-1] + ',"extra":Infinity}',
            "[" + "{}," * 10**6 + "1]",
            "",
        ]
    )


def _number_of_classes(p, rng):
    p.meta["state"]["module"]["n_classes"] = rng.choice([*NO_COUNT, 2, 4, 1000])


def _hidden_units(p, rng):
    place = p.meta["state"]["module"]
    widths = [[1] * 100_000, [0, 6], [-1, 6], [10], [], [10**9, 6], [2**70], "10", None]
    place["hidden_units"] = rng.choice([*widths, [True, 6], [[10], 6], DEEP_LIST])


def _dropout(p, rng):
    p.meta["state"]["module"]["dropout"] = rng.choice([*NO_NUMBER, 1, -0.1, 2.0])


def _image_shape(p, rng):
    shapes = [[1, 10**6, 10**6], [10**9, 8, 8], [1, 8], [1, 8, 8, 1], [1, 8, 0], [8, 8]]
    shapes += [[3, 8, 8], [1, 28, 28], [1, 8, -8], [1.0, 8, 8], ["1", 8, 8], None, 64]
    p.meta["state"]["image_shape"] = rng.choice(shapes)


def _columns(p, rng):
    p.meta["state"]["fitted"]["n_features_in_"] = rng.choice([*NO_COUNT, 49, 65, 784])


def _column_names(p, rng):
    names = [["a"] * 63, ["a"] * 65, [1] * 64, "a" * 64, [], ["a" * 10**5] * 8]
    p.meta["state"]["feature_names"] = rng.choice(names)


def _labels(p, rng):
    choices = [["a", "a", "b"], ["b", "a", "c"], [["a"], ["b"], ["c"]], ["a", "b"]]
    choices += [[1, 2, 3], [None, "a", "b"], [{}, {}, {}], ["a", 1, 2.0], "abc", []]
    choices += [["a", "b", "x" * 20_000], [{"optimizer": "Adam"}, "a", "b"]]
    p.meta["state"]["classes"]["labels"] = rng.choice(choices)


def _label_dtype(p, rng):
    p.meta["state"]["classes"]["dtype"] = rng.choice(
        ["U100000000", "<U99999999", "O,O", "V10", "<M8[D]", "i3", "f4,f4", "S4", "<U0"]
        if rng.random() < 0.5
        else ["(1000000,)U4", "object", "complex", "", 3, None, "{'a': 'O'}"]
    )


def _label_values(p, rng):
    dtype, values = rng.choice(
        [
            ("<i8", [1, 1, 2]),
            ("|i1", [1, 2, 300]),
            ("|u1", [-1, 0, 1]),
            ("<i8", [1, 2, 2**70]),
            ("<f8", [1.0, 2.0, {"float": "nan"}]),
            ("<f8", [1.0, 2.0, {"float": "inf"}]),
            ("|b1", [False, True, True]),
            ("|b1", [0, 1, 2]),
            ("|O", [[1], [2], [3]]),
            ("|O", ["a", "a", "b"]),
            ("<f8", [3.0, 2.0, 1.0]),
        ]
    )
    p.meta["state"]["classes"] = {"dtype": dtype, "labels": values}


def _history(p, rng):
    rows = p.meta["state"]["history"]
    row = rng.choice(rows)
    row[rng.choice(["train_loss", "epoch"])] = (
        rng.choice([*NO_NUMBER, -1.5, {"optimizer": "system"}])
        if rng.random() < 0.7
        else row.pop("epoch") + 1
    )
    row.setdefault("epoch", 0)
    if rng.random() < 0.3:
        row["valid_acc"] = rng.choice([*NO_NUMBER, 2, -1])
    row["epoch"] = rng.choice(NO_COUNT)


def _best_epoch(p, rng):
    p.meta["state"]["fitted"]["best_epoch_"] = rng.choice([*NO_COUNT, 3, 99])


def _fit_time(p, rng):
    p.meta["state"]["fitted"]["fit_time_"] = rng.choice([*NO_NUMBER, -1.0])


def _precision(p, rng):
    p.meta["state"]["fitted"]["precision_"] = rng.choice(["float8", "auto", "", None])


def _seeds(p, rng):
    place = p.meta["state"]["seeds"]
    place[rng.choice(sorted(place))] = rng.choice([-1, 2**31, 10**30, 1.5, "1", None])


def _generator(p, rng):
    name, values = rng.choice(
        [
            ("pos", [-1, 625, 10**30, 1.5]),
            ("has_gauss", [2, -1, True, "0"]),
            ("cached_gaussian", NO_NUMBER),
        ]
    )
    p.meta["state"]["rng"][name] = rng.choice(values)


def _generator_key(p, rng):
    p.layout["rng/key"].update(
        rng.choice([{"dtype": "F32"}, {"dtype": "I32"}, {"shape": [312, 2]}])
    )


def _frozen(p, rng):
    names = [
        "nothing",
        "c1",
        "scaling",
        "",
        "../x",
        "c1.conv",
        "rng/key",
        "_parameters",
    ]
    p.meta["state"]["frozen"] = [rng.choice(names)]


def _parameter_name(p, rng):
    names = ["learning_rate", "self", "__class__", "skorch__params", "module", "_seeds"]
    names += ["modul__dropout", "module__nothing", "optimizer__nothing", "x" * 10**5]
    p.meta["params"][rng.choice(names)] = rng.choice([1, "os.system", None])


def _parameter_value(p, rng):
    name, values = rng.choice(
        [
            ("lr", [*NO_NUMBER, 0, -1.0]),
            ("batch_size", [0, -2, 10**12, 10**30, 1.5, "all", {"float": "inf"}]),
            ("max_epochs", [0, -1, 10**12, 1.5, {"float": "inf"}]),
            ("patience", [0, "never", {"float": "nan"}]),
            ("validation_fraction", [1.0, -0.1, {"float": "nan"}]),
            ("dropout", [1.0, -1, {"float": "nan"}]),
            (
                "module__hidden_units",
                [[1] * 100_000, [0], [10**12], "ab", 3, DEEP_LIST],
            ),
            ("module__image_shape", [{"tuple": [1, 10**5, 10**5]}, [3, 3, 3], "abc"]),
            ("module__n_classes", [10**9, 4, -1]),
            ("module__dropout", [7, "x", {"float": "nan"}]),
            ("criterion__weight", [[1.0, 2.0, 3.0], 3, "x"]),
            ("criterion__label_smoothing", [3.0, "x"]),
            ("criterion__ignore_index", ["x", [1]]),
            ("optimizer", [{"optimizer": "Optimizer2"}, "Adam", 3, {"eval": "x"}]),
            ("optimizer", [{"optimizer": "lr_scheduler"}, {"optimizer": ["Adam"]}]),
            ("optimizer__betas", [[2.0, 3.0], "ab", 7]),
            ("optimizer__weight_decay", [-1.0, "x", {"float": "nan"}]),
            ("lr_schedule", ["two_cycle", 3, {"optimizer": "SGD", "x": 1}]),
            ("lr_schedule__pct_start", [7.0, "x"]),
            ("iterator_train__batch_size", [0, "x", 10**12, -3]),
            ("iterator_train__num_workers", [10**6]),
            ("iterator_valid__shuffle", [True]),
            ("augment", [{"dict": [["shift", 10**9]]}, {"dict": [["eval", 1]]}, "x"]),
            ("augment", [{"dict": [["flip", 7]]}, {"dict": [[["a"], 1]]}, {"dict": 3}]),
            ("class_weight", [{"dict": [["zebra", 1]]}, {"dict": [["bag", -1]]}, "x"]),
            ("class_weight", [{"dict": [["bag", {"float": "nan"}]]}, {"dict": [[1]]}]),
            ("device", ["nonsense", 3, "x" * 10**5, "cpu:cpu"]),
            ("precision", ["float8", 3]),
            ("image_shape", [[1, 10**5, 10**5], [0, 8, 8], "abc", 3, [1, 8]]),
            ("random_state", [-1, 10**30, "x", 1.5]),
            ("callbacks", ["x", 3, ["x"], {"optimizer": "Adam"}]),
            ("train_split", ["x", 3, {"optimizer": "SGD"}]),
        ]
    )
    if name.startswith("lr_schedule__"):
        p.meta["params"]["lr_schedule"] = "one_cycle"
    p.meta["params"][name] = rng.choice(values)


def _metadata(p, rng):
    p.meta["metadata"] = rng.choice(
        [
            {"a": [1]},
            {"a": {"float": "nan"}},
            {"a": "x" * 10**5},
            {"x" * 10**4: 1},
            {str(i): i for i in range(500)},
            {"a": DEEP_LIST},
            "x",
        ]
    )


def _versions(p, rng):
    p.meta["versions"] = rng.choice(
        [{"torch": 3}, {"torch": "9" * 10**5}, [], "2", None]
    )


def _preparation(p, rng):
    p.meta["preparation"] = rng.choice(["crop", "os.system", 3, [], True])


def _built_with(p, rng):
    p.meta["state"]["built_with"] = rng.choice(
        [{"a": {"eval": "x"}}, {"a": {"dict": [[{"dict": []}, 1]]}}, [], "x", 3]
    )


def _optimizer_state(p, rng):
    p.meta["state"]["optimizer"] = rng.choice(
        [
            {},
            {"class": {"optimizer": "system"}, "groups": [], "values": []},
            {"class": {"optimizer": "Adam"}, "groups": 3, "values": [1]},
            {"class": {"optimizer": "Adam"}, "groups": [], "values": [["a", [], {}]]},
            "Adam",
        ]
    )


def _missing_array(p, rng):
    del p.layout[rng.choice(sorted(p.layout))]


def _renamed_array(p, rng):
    old = rng.choice(sorted(p.layout))
    new = rng.choice(
        ["../../etc/passwd", "x" * 10**5, "a/b", "__metadata__ ", old + "."]
    )
    p.layout[new] = p.layout.pop(old)


def _other_dtype(p, rng):
    name = rng.choice(sorted(p.layout.keys() - {"rng/key"}))
    dtypes = {"F32": ["I32", "U32"], "I64": ["F64", "U64"]}[p.layout[name]["dtype"]]
    p.layout[name]["dtype"] = rng.choice([*dtypes, "BF16", "F8_E4M3", "C64", "X", 3])


def _other_shape(p, rng):
    entry = p.layout[rng.choice(sorted(p.layout))]
    entry["shape"] = rng.choice(
        [[*entry["shape"], 1], [2**62, 4], [2**40], [-1], [], [10**30], 3, None, [1.5]]
        if entry["shape"]
        else [[1], [2**62, 4], [-1], 3]
    )


def _offsets(p, rng):
    entry = p.layout[rng.choice(sorted(p.layout))]
    start, end = entry["data_offsets"]
    entry["data_offsets"] = rng.choice(
        [
            [0, end - start],
            [start + 4, end + 4],
            [end, start],
            [start, 2**63],
            [-8, end],
        ]
        if start
        else [[start + 4, end + 4], [end, start], [start, 2**63], [-8, end]]
    )


def _spare_bytes(p, rng):
    if rng.random() < 0.5:
        p.data += bytes(rng.randrange(1, 10_000))
    else:
        del p.data[-rng.randrange(1, len(p.data)) :]


def _not_finite(p, rng):
    names = [n for n, e in p.layout.items() if e["dtype"] == "F32"]
    array = p.array(rng.choice(sorted(names)))
    array[rng.randrange(len(array))] = rng.choice([np.nan, np.inf, -np.inf])


def _bad_scale(p, rng):
    name = rng.choice(["scaling.std", "c1.norm.running_var", "c3.norm.running_var"])
    p.array(name)[0] = -1 if name != "scaling.std" else rng.choice([0, -1])


def _strings(p, rng):
    p.strings.update(
        rng.choice(
            [{"format": "pt"}, {"more": "x"}, {"kind": 3}, {"sha256": None}, {"": ""}]
        )
    )
    if p.strings["sha256"] is None:
        return p.pack().replace(b'"sha256"', b'"sha257"', 1)
    return None


def _header_length(p, rng):
    content = p.pack()
    length = int.from_bytes(content[:8], "little")
    wrong = rng.choice([0, length - 8, length + 8, 2**22 + 9, 2**40, 2**63, 2**64 - 1])
    return wrong.to_bytes(8, "little") + content[8:]


def _key_twice(p, rng):
    name = rng.choice(sorted(p.layout)).encode()
    content = p.pack()
    length = int.from_bytes(content[:8], "little")
    entry = (
        b', "' + name + b'": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'
    )
    text = content[8 : 8 + length].rstrip()[:-1] + entry
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _pickles(p, rng):
    out = io.BytesIO()
    how = rng.randrange(5)
    if how == 0:
        return pickle.dumps(Payload(), protocol=rng.randrange(6))
    if how == 1:
        torch.save({"weight": Payload()}, out)
    elif how == 2:
        np.save(out, np.array([Payload()], dtype=object), allow_pickle=True)
    elif how == 3:
        np.savez(out, a=np.array([Payload()], dtype=object))
    else:
        out.write(gzip.compress(pickle.dumps(Payload())))
    return out.getvalue()


def _pickle_inside(p, rng):
    text = pickle.dumps(Payload(), protocol=0).decode("latin1")
    state = p.meta["state"]
    place = rng.choice([state, state["fitted"], state["module"], state["seeds"]])
    place[rng.choice(sorted(place))] = rng.choice(
        [text, {"pickle": text}, {"py/object": "os.system"}, f"!!python/object:{text}"]
    )


def _bombs(p, rng):
    return rng.choice(
        [
            gzip.compress(bytes(10**7)),
            (2**22).to_bytes(8, "little") + b"[" * 2**22,
            (2**22).to_bytes(8, "little") + b'{"a":' * (2**22 // 5) + b"1" * 8,
            (2**22).to_bytes(8, "little") + b"[{}," * 2**20,
            bytes(10**6),
            b"\xff" * 10**6,
            b"",
            b"%!PS",
        ]
    )


def _swapped_parts(p, rng):
    other = Parts(p.other)
    part = rng.choice(["data", "layout", "state", "meta"])
    if part == "state":
        p.meta["state"] = other.meta["state"]
    else:
        setattr(p, part, getattr(other, part))


FAULTS = [
    value
    for name, value in list(globals().items())
    if callable(value)
    and getattr(value, "__code__", None)
    and value.__code__.co_varnames[:2] == ("p", "rng")
]


# Random changes --------------------------------------------------------------------

VALUES = [json.dumps(value) for value in (None, True, 0, 1, -1, 3, 64, 2**31, 2**63)]
VALUES += ["0.5", "1.0", "-0.0", "1e308", "1e-308", "1" + "0" * 30, "NaN", "[]", "{}"]
VALUES += ['""', '"a"', '"cpu"', json.dumps("x" * 10**5), "[1, 2, 3]", "[[]]", '["M"]']
VALUES += ['{"tuple": []}', '{"dict": []}', '{"float": "nan"}', '{"optimizer": "SGD"}']
VALUES += ["[" * 400 + "]" * 400, "[" + "[]," * 10**4 + "{}]"]


def change_somewhere(node, rng):
    """Change, remove or repeat one value anywhere in JSON."""
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = rng.choice(list(keys))
        child = node[key]
        if isinstance(child, dict | list) and child and rng.random() < 0.8:
            node = child
            continue
        how = rng.random()
        if how < 0.7:
            node[key] = json.loads(rng.choice(VALUES))
        elif how < 0.85:
            del node[key]
        elif isinstance(node, dict):
            node[rng.choice(["a", "lr", "class", "epoch"])] = json.loads(
                json.dumps(child)
            )
        else:
            node.append(json.loads(json.dumps(child)))
        return


def fuzzed(content, rng):
    """Return a random change of a file, half of them with a sound checksum."""
    how = rng.random()
    if how < 0.5:
        parts = Parts(content)
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            change_somewhere(rng.choice([parts.meta, parts.meta, parts.layout]), rng)
        return parts.pack()
    changed = bytearray(content)
    if how < 0.6:
        return bytes(changed[: rng.randrange(len(changed))])
    for _ in range(rng.choice([1, 1, 2, 8])):
        # Half of the changes in the header, which is short beside the data.
        end = rng.choice([len(changed), 2000])
        at = rng.randrange(min(end, len(changed)))
        changed[at] = rng.randrange(256)
    if changed == content:
        changed[-1] ^= 1
    return bytes(changed)
