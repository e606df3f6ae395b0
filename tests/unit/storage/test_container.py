import hashlib
import json
import math

import joblib
import numpy as np
import pytest
from safetensors.numpy import load_file, save

from fmnist_sklearn.storage import container
from fmnist_sklearn.storage.container import bounded, read_container, write_container

DTYPES = ["?", "u1", "i8", "f2", "f4", "f8"]
META = {"params": {"lr": 0.1, "name": "é\ud800"}, "list": [1, None, True, "x"]}


@pytest.fixture
def path(tmp_path):
    """A sound file, to be read or damaged."""
    path = tmp_path / "model.bin"
    write_container(path, {"w": np.arange(6.0), "b": np.ones(2)}, META, kind="model")
    return path


@pytest.mark.parametrize("dtype", DTYPES)
def test_container_keeps_arrays_of_every_dtype_and_shape(tmp_path, dtype):
    shapes = [(), (0,), (0, 3), (5,), (2, 3, 4)]
    arrays = {
        str(shape): (np.arange(math.prod(shape)).reshape(shape) % 2).astype(dtype)
        for shape in shapes
    }
    write_container(tmp_path / "file", arrays, META, kind="test")
    read = read_container(tmp_path / "file", kind="test")
    assert read.meta == META
    assert list(read.arrays) == sorted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array, strict=True)
        assert read.arrays[name].flags.writeable
        assert read.arrays[name].flags.owndata


def test_container_keeps_any_layout_and_value(path):
    special = np.array([np.nan, np.inf, -0.0])
    for array in (np.arange(12.0).reshape(3, 4).T, np.arange(12)[::-2], special):
        write_container(path, {"a": array}, {}, kind="test")
        read = read_container(path, kind="test").arrays["a"]
        np.testing.assert_array_equal(read, array)
        assert read.tobytes() == array.tobytes()


def test_container_meta_is_json(path):
    write_container(path, {}, {"tuple": (1, 2), 3: "key"}, kind="test")
    read = read_container(path, kind="test")
    assert (read.arrays, read.meta) == ({}, {"tuple": [1, 2], "3": "key"})


@pytest.mark.parametrize(
    ("meta", "error", "message"),
    [
        ({"x": [math.nan]}, ValueError, "not JSON compliant"),
        ({"x": -math.inf}, ValueError, "not JSON compliant"),
        ({"x": object()}, TypeError, "not JSON serializable"),
    ],
)
def test_container_refuses_meta_that_could_not_be_read(path, meta, error, message):
    before = path.read_bytes()
    with pytest.raises(error, match=message):
        write_container(path, {}, meta, kind="model")
    assert path.read_bytes() == before


def test_container_of_the_same_content_has_the_same_bytes(path):
    before = path.read_bytes()
    # Other programs can read them too.
    np.testing.assert_array_equal(load_file(path)["w"], np.arange(6.0))
    arrays, meta, sha256, size = read_container(path, kind="model")
    write_container(path, arrays, meta, kind="model")
    assert path.read_bytes() == before
    assert size == len(before)
    assert hashlib.sha256(before.replace(sha256.encode(), b"0" * 64)).hexdigest() == (
        sha256
    )


def test_container_that_is_missing_or_of_another_kind_or_version(path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_container(path.with_name("nothing"), kind="model")
    with pytest.raises(ValueError, match=r"bin holds a 'model', expected a 'fit'\."):
        read_container(path, kind="fit")
    monkeypatch.setattr(container, "VERSION", 3)
    write_container(path, {}, {}, kind="model")
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"bin has container version 3, .* upgrade"):
        read_container(path, kind="model")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        (28).to_bytes(8, "little") + b'{"__metadata__": {"a": "b"}}',
        (28).to_bytes(8, "little") + '{"__metadata__"'.encode("utf-16"),
        (2**64 - 1).to_bytes(8, "little") + b"{} " * 9,
        (2**22).to_bytes(8, "little") + b"[" * 2**22,
        save({"w": np.ones(3)}),
        save({"w": np.ones(3)}, {"format": "pt"}),
    ],
    ids=range(8),
)
def test_container_refuses_other_files(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.bin is not a file written by"):
        read_container(path, kind="model")


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3)])
def test_container_names_pickles(path, compress):
    joblib.dump({"a": np.ones(9)}, path, compress=compress)
    with pytest.raises(ValueError, match=r"bin is a pickle, .* open it with joblib"):
        read_container(path, kind="model")


def test_container_cut_off_or_continued_anywhere(path):
    content = path.read_bytes()
    for damaged in (*(content[:n] for n in range(len(content))), content + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.bin is .*truncated or damaged"):
            read_container(path, kind="model")


@pytest.mark.parametrize("bits", [0x01, 0x2A, 0x80])  # 0x2A makes a blank a newline
def test_container_with_flipped_bits_anywhere(path, bits):
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= bits
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.bin (is|has|holds)"):
            read_container(path, kind="model")
    # The last byte is of an array, which only the checksum protects.
    with pytest.raises(ValueError, match="its checksum does not match"):
        read_container(path, kind="model")


# Files with a sound checksum and other content than we write.


def sign(path, change):
    """Change the header of a file, and give it a sound checksum again."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["sha256"] = "0" * 64
    change(header)
    text = json.dumps(header).encode()
    signed = len(text).to_bytes(8, "little") + text + content[8 + length :]
    digest = hashlib.sha256(signed).hexdigest().encode()
    path.write_bytes(signed.replace(b"0" * 64, digest, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "-1"}, "is not a file written by"),
        ({"version": "1" * 5000}, "is not a file written by"),
        ({"more": "x"}, "is not a file written by"),
        ({"format": "pt"}, "is not a file written by"),
        ({"kind": "x" * 10**6}, r"holds a 'x+ \[\.\.\.\] x+', expected"),
        ({"meta": "[" * 10**5 + "]" * 10**5}, "is damaged: maximum recursion depth"),
        ({"meta": '{"a": ' + "1" * 5000 + "}"}, "is damaged"),
        ({"meta": "{'a': 1}"}, "is damaged"),
        # Of the array "b": its layout.
        ({"dtype": "F64", "shape": [3], "data_offsets": [0, 16]}, "is damaged"),
        ({"dtype": "F64", "shape": [2], "data_offsets": [0, 2**63]}, "is damaged"),
        ({"dtype": "O", "shape": [2], "data_offsets": [0, 16]}, "is damaged"),
        ("text", "is damaged"),
    ],
    ids=range(12),
)
def test_container_refuses_hostile_headers(path, change, message):
    if "dtype" in change or change == "text":
        sign(path, lambda header: header.update(b=change))
    else:
        sign(path, lambda header: header["__metadata__"].update(change))
    with pytest.raises(ValueError, match=rf"model\.bin .*{message}") as caught:
        read_container(path, kind="model")
    assert len(str(caught.value)) < 1000


def test_bounded_text_holds_no_escapes_and_ends():
    assert bounded("\x1b[31mred\n\u202e") == "\\x1b[31mred\n\\u202e"
    assert len(bounded("x" * 10**6)) < 500
