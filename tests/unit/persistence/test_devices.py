"""Files of other machines: their devices and folders."""

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.utils.prune

from fmnist_sklearn.persistence import load_model, save_model

from .tools import fit_small, round_trip, tamper


@pytest.mark.parametrize(
    "device", ["mps", "xpu", "hpu", "xla", "meta", "privateuseone", "cuda:7", "vulkan"]
)
def test_devices_of_other_machines(small, small_X, path, same_predictions, device):
    net = copy.deepcopy(small).set_params(device=device)
    loaded = round_trip(net, path)
    for each in (loaded, pickle.loads(pickle.dumps(net))):
        assert each.device == device
        assert same_predictions(each, small, small_X)
    here = load_model(path, device="cpu")
    assert here.device == "cpu"
    assert here.fit(small_X, np.arange(24) % 3).n_iter_ == 2


def test_device_asked_for(small, path):
    save_model(small, path)
    assert load_model(path, device=torch.device("cpu")).device == torch.device("cpu")
    for device in ("xpu", "nonsense", 3.5):
        with pytest.raises(ValueError, match="device"):
            load_model(path, device=device)


def test_device_that_this_machine_lacks(small, small_X, path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    net = copy.deepcopy(small).set_params(device="cuda")
    loaded = round_trip(net, path)
    assert loaded.device == "cuda"
    assert loaded.device_ == torch.device("cpu")
    np.testing.assert_array_equal(loaded.predict(small_X), small.predict(small_X))


def test_memory_stays_on_this_machine(small_X, path, tmp_path):
    folder = tmp_path / "fits"
    nets = [fit_small(small_X, memory=memory) for memory in (folder, str(folder))]
    for net in nets:
        assert round_trip(net, path).memory is None

    tamper(path, lambda meta: meta["params"].update(memory=str(tmp_path / "other")))
    with pytest.raises(ValueError, match="it sets memory, and so a folder"):
        load_model(path)
