import hashlib
import json
import math
import pickle

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fmnist_sklearn.storage import container
from fmnist_sklearn.storage.container import (
    bounded,
    read_container,
    write_container,
)

from .version_1 import write_version_1

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]
META = {"params": {"lr": 0.1, "name": "é\ud800"}, "list": [1, None, True, "x"]}


@pytest.fixture
def path(tmp_path):
    """A sound file, to be read or damaged."""
    path = tmp_path / "model.bin"
    write_container(path, {"w": np.arange(6.0), "b": np.ones(2)}, META, kind="model")
    return path


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (5,), (2, 3, 4)])
def test_round_trip(tmp_path, dtype, shape):
    array = (np.arange(math.prod(shape)).reshape(shape) % 2).astype(dtype)
    write_container(tmp_path / "file", {"a": array}, META, kind="test")
    arrays, meta = read_container(tmp_path / "file", kind="test")
    assert meta == META
    assert list(arrays) == ["a"]
    np.testing.assert_array_equal(arrays["a"], array, strict=True)
    assert arrays["a"].flags.writeable
    assert arrays["a"].flags.owndata


def test_round_trip_of_nothing(tmp_path):
    write_container(tmp_path / "file", {}, {}, kind="test")
    assert read_container(tmp_path / "file", kind="test") == ({}, {})


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12)[::-2],
        np.arange(12, dtype=">f4"),
        np.array([np.nan, np.inf, -0.0]),
    ],
    ids=["transposed", "strided", "big-endian", "special values"],
)
def test_any_layout_and_value(tmp_path, array):
    write_container(tmp_path / "file", {"a": array}, {}, kind="test")
    read = read_container(tmp_path / "file", kind="test")[0]["a"]
    np.testing.assert_array_equal(read, array)
    assert read.tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()


def test_tuples_and_keys_in_meta(tmp_path):
    write_container(tmp_path / "file", {}, {"tuple": (1, 2), 3: "key"}, kind="test")
    _, read = read_container(tmp_path / "file", kind="test")
    assert read == {"tuple": [1, 2], "3": "key"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_json_is_strict(path, value):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_container(path, {}, {"value": [value]}, kind="model")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "array",
    [
        np.array([None]),
        np.array(["text"]),
        np.array([1j]),
        np.array(["2017-08-25"], dtype="M8[D]"),
        np.zeros(2, dtype=[("x", "f4")]),
        np.ones(2, dtype=np.longdouble),
    ],
    ids=lambda array: array.dtype.kind,
)
def test_unsupported_dtype(tmp_path, array):
    if array.dtype == np.float64:
        pytest.skip("long double is double on this platform")
    with pytest.raises(TypeError, match=r"Array 'bad' has dtype .*, expected bool"):
        write_container(tmp_path / "file", {"bad": array}, {}, kind="test")
    assert not any(tmp_path.iterdir())


def test_meta_must_be_json(path):
    before = path.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_container(path, {}, {"x": object()}, kind="model")
    assert path.read_bytes() == before


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_container(tmp_path / "nothing", kind="model")


@pytest.mark.parametrize(
    "content",
    [b"", b"short", b"PK\x03\x04" * 100, pickle.dumps({"a": 1}), b"\xff" * 100],
    ids=["empty", "short", "zip", "pickle", "noise"],
)
def test_other_files(tmp_path, content):
    path = tmp_path / "other.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.bin is not a file written by"):
        read_container(path, kind="model")


def test_other_safetensors_files(tmp_path):
    path = tmp_path / "other.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"w": np.ones(3)}, path, metadata=metadata)
        with pytest.raises(ValueError, match="is not a file written by"):
            read_container(path, kind="model")


def test_other_kind(path):
    with pytest.raises(ValueError, match=r"bin holds a 'model', expected a 'fit'\."):
        read_container(path, kind="fit")


def test_newer_version(path, monkeypatch):
    monkeypatch.setattr(container, "_VERSION", 3)
    write_container(path, {}, {}, kind="model")
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"bin has container version 3, .* upgrade"):
        read_container(path, kind="model")


def test_truncated_anywhere(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"model\.bin is .*truncated"):
            read_container(path, kind="model")


def test_appended_bytes(path):
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match=r"model\.bin is truncated or damaged"):
        read_container(path, kind="model")


@pytest.mark.parametrize("bits", [0x01, 0x2A, 0x80])  # 0x2A makes a blank a newline
def test_flipped_bits_anywhere(path, bits):
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= bits
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.bin (is|has|holds)"):
            read_container(path, kind="model")
    # The data alone, which only the checksum protects.
    damaged = bytearray(content)
    damaged[8 + int.from_bytes(content[:8], "little")] ^= 0x80
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"model\.bin is damaged: its checksum"):
        read_container(path, kind="model")


def header_of(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(header, data, signed=True):
    """Return a file with this header and, if asked for, a sound checksum."""
    if signed:
        header["__metadata__"]["sha256"] = "0" * 64
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + data
    digest = hashlib.sha256(content).hexdigest().encode()
    return content.replace(b"0" * 64, digest, 1) if signed else content


def test_the_same_content_gives_the_same_bytes(path):
    before = path.read_bytes()
    for _ in range(3):
        arrays, meta = read_container(path, kind="model")
        write_container(path, arrays, meta, kind="model")
        assert path.read_bytes() == before


def test_other_programs_read_the_file(path):
    np.testing.assert_array_equal(load_file(path)["w"], np.arange(6.0))


@pytest.mark.parametrize(
    ("old", "new"),
    [("kind", "fit"), ("meta", json.dumps({"params": {}}))],
)
def test_checksum_covers_kind_and_meta(path, old, new):
    header, data = header_of(path.read_bytes())
    header["__metadata__"][old] = new
    path.write_bytes(with_header(header, data, signed=False))
    kind = new if old == "kind" else "model"
    with pytest.raises(ValueError, match="its checksum does not match"):
        read_container(path, kind=kind)


def test_a_file_of_the_first_version(path):
    write_version_1(
        path, {"w": np.arange(3.0), "b": np.ones(1)}, META | {"n": math.nan}
    )
    content = path.read_bytes()
    arrays, meta = read_container(path, kind="model")
    assert list(arrays) == ["b", "w"]
    assert math.isnan(meta.pop("n"))
    assert meta == META
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(ValueError, match="its checksum does not match"):
        read_container(path, kind="model")


# Files with a sound checksum that nobody has written in good faith.
HOSTILE = {
    "version": [
        ({"version": v}, "is not a file written by")
        for v in ("1e999", "0", "-1", "2.0", "02", "", "1" * 5000, "\u0662", " 2")
    ]
    + [({"version": "99"}, "version 99, .* upgrade")],
    "kind": [({"kind": "x" * 10**6}, r"holds a 'x+ \[\.\.\.\] x+', expected")],
    "meta": [
        ({"meta": "[" * 10**5 + "]" * 10**5}, "nested too deeply"),
        ({"meta": '{"a":' * 10**5 + "1" + "}" * 10**5}, "nested too deeply"),
        ({"meta": '{"a": NaN}'}, "NaN, which JSON does not know"),
        ({"meta": '{"a": -Infinity}'}, "Infinity, which JSON"),
        ({"meta": '{"a": 1e999}'}, "number that is too large"),
        ({"meta": '{"a": ' + "1" * 5000 + "}"}, "holds no sound JSON"),
        ({"meta": '{"a": 1, "a": 2}'}, "a key twice"),
        ({"meta": "[]"}, "holds a list, expected an object"),
        ({"meta": "3"}, "holds a int, expected"),
        ({"meta": ""}, "no sound JSON"),
        ({"meta": "{'a': 1}"}, "no sound JSON"),
    ],
    "keys": [
        ({"more": "x"}, "is not a file written by"),
        ({"format": "pt"}, "is not a file written by"),
    ],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [case for cases in HOSTILE.values() for case in cases],
    ids=range(sum(map(len, HOSTILE.values()))),
)
def test_hostile_strings(path, change, message):
    header, data = header_of(path.read_bytes())
    header["__metadata__"].update(change)
    path.write_bytes(with_header(header, data))
    with pytest.raises(ValueError, match=rf"model\.bin .*{message}") as caught:
        read_container(path, kind="model")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F64", "shape": [3], "data_offsets": [0, 16]},
        {"dtype": "F64", "shape": [2], "data_offsets": [8, 24]},
        {"dtype": "F64", "shape": [2], "data_offsets": [16, 0]},
        {"dtype": "F64", "shape": [2**62, 4], "data_offsets": [0, 16]},
        {"dtype": "F64", "shape": [-2], "data_offsets": [0, 16]},
        {"dtype": "F64", "shape": 2, "data_offsets": [0, 16]},
        {"dtype": "F64", "shape": [2], "data_offsets": [0, 2**63]},
        {"dtype": "BF16", "shape": [8], "data_offsets": [0, 16]},
        {"dtype": "O", "shape": [2], "data_offsets": [0, 16]},
        {"shape": [2]},
        "text",
    ],
    ids=str,
)
def test_hostile_layouts(path, entry):
    header, data = header_of(path.read_bytes())
    header["b"] = entry
    path.write_bytes(with_header(header, data))
    with pytest.raises(ValueError, match=r"model\.bin is truncated or damaged"):
        read_container(path, kind="model")


@pytest.mark.parametrize("length", [0, 2**22 + 100, 2**40, 2**64 - 1])
def test_the_length_of_the_header_is_bounded(path, length):
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(ValueError, match="damaged in its header"):
        read_container(path, kind="model")


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "utf-32", "latin-1"])
def test_a_header_is_utf_8(path, encoding):
    header = '{"__metadata__": {"é": "ü"}}'.encode(encoding)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="damaged in its header"):
        read_container(path, kind="model")


def test_what_could_not_be_read_again_is_not_written(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"need 4,.* bytes .* may take 4,194,304"):
        write_container(path, {}, {"x": "y" * 2**22}, kind="model")
    assert path.read_bytes() == before


def test_messages_hold_no_escapes_and_end():
    assert bounded("\x1b[31mred\n\u202e") == "\\x1b[31mred\n\\u202e"
    assert len(bounded("x" * 10**6)) < 500
