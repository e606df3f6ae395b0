import platform

import torch

from fmnist_sklearn.benchmark import environment


def test_hardware_and_versions_are_those_of_this_process():
    hardware = environment.describe_hardware()
    assert hardware["cpu"]
    assert hardware["torch_threads"] == torch.get_num_threads()
    versions = environment.describe_versions()
    assert versions["python"] == platform.python_version()
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_a_package_that_is_not_installed_says_so(monkeypatch):
    monkeypatch.setattr(environment, "_PACKAGES", ("no-such-package",))
    assert environment.describe_versions()["no-such-package"] == "not installed"
