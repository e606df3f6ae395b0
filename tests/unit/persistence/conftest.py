import numpy as np
import pytest

from fmnist_sklearn import LeNet5Classifier

from .tools import QUICK


@pytest.fixture(params=["lenet5", "mini_vgg"])
def net(request):
    """Each of the shared nets; not to be changed."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def small_X():
    """24 images on which a fit takes no time."""
    return np.random.default_rng(0).integers(0, 256, (24, 64), dtype=np.uint8)


@pytest.fixture(scope="module")
def small(small_X):
    """A fitted net; not to be changed."""
    return LeNet5Classifier(**QUICK).fit(small_X, np.arange(24) % 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"
