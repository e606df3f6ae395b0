"""What load_model refuses: damaged, foreign and tampered files."""

import os
import pickle
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from fmnist_sklearn.persistence import inspect_model, load_model, save_model
from fmnist_sklearn.storage.container import read_container, write_container

from .tools import tamper


def test_paths(small, small_X, tmp_path):
    save_model(small, str(tmp_path / "a"))
    loaded = load_model(str(tmp_path / "a"))
    np.testing.assert_array_equal(loaded.predict(small_X), small.predict(small_X))
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing; make it first"):
        save_model(small, tmp_path / "missing" / "a")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "b")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs on Windows")
@pytest.mark.parametrize("use", [load_model, inspect_model])
def test_what_is_no_file_is_not_waited_for(small, tmp_path, use):
    os.mkfifo(tmp_path / "fifo")
    for path, kind in ((tmp_path / "fifo", "FIFO"), (tmp_path, "folder")):
        with pytest.raises(OSError, match=f"is a {kind}, expected a regular file"):
            use(path)
        with pytest.raises(OSError, match=f"is a {kind}, expected a regular file"):
            save_model(small, path)


@pytest.mark.parametrize("n_bytes", [0, 7, 100, 5000, -1])
def test_truncated_file(small, path, n_bytes):
    save_model(small, path)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(ValueError, match=r"net\.safetensors is .*truncated"):
        load_model(path)


def test_damaged_file(small, path):
    save_model(small, path)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.safetensors is damaged"):
        load_model(path)


def test_foreign_files(path):
    save_file({"weight": np.ones(3)}, path)
    with pytest.raises(ValueError, match=r"net\.safetensors is not a file written by"):
        load_model(path)
    path.write_bytes(pickle.dumps("hello"))
    with pytest.raises(ValueError, match=r"net\.safetensors is not a file written by"):
        load_model(path)
    write_container(path, {}, {}, kind="fit")
    with pytest.raises(ValueError, match=r"net\.safetensors holds a 'fit'"):
        load_model(path)
    write_container(path, {}, {}, kind="model")
    with pytest.raises(ValueError, match=r"net\.safetensors holds no model"):
        load_model(path)


@pytest.mark.parametrize(
    "name",
    [
        "system",
        "os.system",
        "builtins.eval",
        "Tensor",
        "lr_scheduler",
        "swap_in_optimizer_params_and_state",
        "__builtins__",
        ["Adam"],
        None,
    ],
)
def test_optimizer_must_be_one_of_torch(small, path, name):
    save_model(small, path)
    tamper(path, lambda meta: meta["params"].update(optimizer={"optimizer": name}))
    with pytest.raises(ValueError, match=r"net\.safetensors holds no model"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": "OwnClassifier"}, "class is 'OwnClassifier', expected one of"),
        ({"class": "ImageClassifier"}, "class is 'ImageClassifier', expected one of"),
        ({"class": "MiniVGGClassifier"}, "model"),
        ({"params": {"learning": 0.1}}, "unexpected keyword argument 'learning'"),
        ({"params": {"modul__dropout": 0.1}}, "'modul__dropout' does not start"),
        ({"params": {"self": 0.1}}, "'self'"),
        ({"params": {"lr": {"eval": "1"}}}, "'1' as eval, which is not known"),
        ({"params": {"lr": "big"}}, "'lr' parameter"),
        ({"params": 3}, "model"),
        ({"state": {"module": {"n_classes": -3}}}, "for -3 classes"),
        ({"state": {"frozen": ["nothing"]}}, "freezes 'nothing'"),
        ({"state": {"frozen": ["scaling"]}}, "freezes 'scaling'"),
        ({"state": {"classes": {"dtype": "<i8", "labels": [1, 2]}}}, "2 labels for 3"),
        ({"state": {"classes": {"dtype": "M8[D]", "labels": [1]}}}, r"classes\.dtype"),
        ({"state": {"seeds": {}}}, "missing required"),
        ({"state": {"history": [1]}}, r"state\.history\[0\]"),
    ],
)
def test_tampered_content(small, path, change, message):
    save_model(small, path)
    state = change.pop("state", {})
    tamper(path, lambda meta: meta.update(change) or meta["state"].update(state))
    with pytest.raises(ValueError, match=rf"(?s)net\.safetensors holds no.*{message}"):
        load_model(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.update({"c1.conv.bias": np.zeros(7, np.float32)}),
        lambda arrays: arrays.update({"c1.conv.bias": np.zeros(6, np.float64)}),
        lambda arrays: arrays.update({"c1.conv.bias.": arrays.pop("c1.conv.bias")}),
        lambda arrays: arrays.pop("c1.conv.bias"),
    ],
    ids=["shape", "dtype", "name", "missing"],
)
def test_weights_that_do_not_fit(small, path, change):
    save_model(small, path)
    arrays, meta = read_container(path, kind="model")
    change(arrays)
    write_container(path, arrays, meta, kind="model")
    with pytest.raises(
        ValueError, match=r"net\.safetensors .*do not fit the network: c1\.conv\.bias"
    ):
        load_model(path)
