"""captum and shap: ``module_`` is to them a plain network with its weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

LENET5 = [
    *(nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.MaxPool2d(2), nn.ELU()),
    *(nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16), nn.MaxPool2d(2), nn.ELU()),
    *(nn.Flatten(), nn.Linear(400, 120), nn.ELU(), nn.Dropout(0.5)),
    *(nn.Linear(120, 84), nn.ELU(), nn.Dropout(0.5), nn.Linear(84, 10)),
]
MINI_VGG = [
    *(nn.Conv2d(1, 8, 3, padding=3), nn.MaxPool2d(2), nn.ReLU()),
    *(nn.Conv2d(8, 8, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
    *(nn.Flatten(), nn.Linear(512, 16), nn.ReLU(), nn.Dropout(0), nn.Linear(16, 10)),
]


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("std", torch.ones(1))

    def forward(self, x):
        return (x - self.mean) / self.std


@pytest.fixture
def networks(case):
    """The network of an estimator, and PyTorch's layers with its weights."""
    own = copy.deepcopy(case.net.module_)  # explainers may leave attributes on layers
    layers = LENET5 if hasattr(own, "c1") else MINI_VGG
    plain = nn.Sequential(Scale(), *copy.deepcopy(layers))
    values = own.state_dict().values()
    plain.load_state_dict(dict(zip(plain.state_dict(), values, strict=True)))
    return own, plain.eval()


@pytest.fixture
def pixels(X):
    """Four images to explain, and five for a background."""
    images = torch.tensor(X[:9]).view(-1, 1, 28, 28).float()
    return images[:4], images[4:]


def assert_equal(got, expected):
    """Compare attributions, whose size depends on that of the logits."""
    assert got.shape == expected.shape
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(got, expected, atol=1e-3 * np.abs(expected).max())


BASELINE = {"baselines": torch.zeros(4, 1, 28, 28)}
CAPTUM = {
    "Saliency": {},
    "InputXGradient": {},
    "IntegratedGradients": BASELINE,
    "DeepLift": BASELINE,
    "DeepLiftShap": BASELINE,
    "GuidedBackprop": {},
    "Deconvolution": {},
    "FeatureAblation": {"feature_mask": torch.arange(784).view(1, 1, 28, 28) // 56},
    "Occlusion": {"sliding_window_shapes": (1, 7, 7), "strides": (1, 7, 7)},
}


@pytest.mark.ecosystem("captum")
@pytest.mark.filterwarnings("ignore:Setting .* hooks:UserWarning")
@pytest.mark.parametrize("method", CAPTUM)
def test_captum(networks, pixels, method):
    import captum.attr

    explain = getattr(captum.attr, method)
    got, expected = (
        explain(network)
        .attribute(pixels[0].clone().requires_grad_(), target=3, **CAPTUM[method])
        .detach()
        .numpy()
        for network in networks
    )
    assert_equal(got, expected)


@pytest.mark.ecosystem("captum")
def test_captum_of_layers(networks, pixels):
    from captum.attr import LRP, LayerGradCam

    own, plain = networks
    is_lenet5 = hasattr(own, "c3")
    layer = own.c3.conv if is_lenet5 else own.features.conv2_1
    maps = [
        LayerGradCam(*each).attribute(pixels[0], target=3).detach().numpy()
        for each in ((own, layer), (plain, plain[5 if is_lenet5 else 4]))
    ]
    assert_equal(*maps)

    with pytest.raises(TypeError, match=r"PixelScaling'> has no rule"):
        LRP(own).attribute(pixels[0], target=3)


@pytest.mark.ecosystem("shap")
@pytest.mark.filterwarnings("ignore:unrecognized nn.Module")
@pytest.mark.parametrize("explainer", ["DeepExplainer", "GradientExplainer"])
def test_shap(networks, pixels, explainer):
    import shap

    images, background = pixels
    given = {"nsamples": 20, "rseed": 0} if explainer == "GradientExplainer" else {}
    got, expected = (
        getattr(shap, explainer)(network, background).shap_values(images, **given)
        for network in networks
    )
    assert got.shape == (4, 1, 28, 28, 10)
    assert_equal(got, expected)
