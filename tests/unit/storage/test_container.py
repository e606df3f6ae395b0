import json
import math
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

from fmnist_sklearn.storage import container
from fmnist_sklearn.storage.container import read_container, write_container

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


def test_special_floats_and_tuples_in_meta(tmp_path):
    meta = {"nan": math.nan, "inf": [math.inf, -math.inf], "tuple": (1, 2), 3: "key"}
    write_container(tmp_path / "file", {}, meta, kind="test")
    _, read = read_container(tmp_path / "file", kind="test")
    assert math.isnan(read.pop("nan"))
    assert read == {"inf": [math.inf, -math.inf], "tuple": [1, 2], "3": "key"}


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
    monkeypatch.setattr(container, "_VERSION", 2)
    write_container(path, {}, {}, kind="model")
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"bin has container version 2, .* upgrade"):
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


def test_flipped_bits_anywhere(path):
    content = path.read_bytes()
    arrays, meta = read_container(path, kind="model")
    header_end = 8 + int.from_bytes(content[:8], "little")
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x01
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.bin (is|has|holds)"):
            read_container(path, kind="model")
    # The data alone, which only the checksum protects.
    damaged = bytearray(content)
    damaged[header_end] ^= 0x80
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"model\.bin is damaged: its checksum"):
        read_container(path, kind="model")
    assert meta == META
    assert sorted(arrays) == ["b", "w"]


@pytest.mark.parametrize(
    ("old", "new"),
    [("kind", "fit"), ("meta", json.dumps({"params": {}}))],
)
def test_checksum_covers_kind_and_meta(path, old, new):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"][old] = new
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    kind = new if old == "kind" else "model"
    with pytest.raises(ValueError, match="its checksum does not match"):
        read_container(path, kind=kind)
