"""captum and shap: ``module_`` is to them a plain network with its weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = pytest.mark.ecosystem("captum", "shap")
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
# In float64 and without equal pixels: rounding decides at kinks and in poolings.
RANDOM = np.random.default_rng(0).uniform(0, 255, (2, 4, 1, 28, 28))
IMAGES, BACKGROUND = torch.from_numpy(RANDOM)
BASELINES = {"baselines": BACKGROUND}
METHODS = {
    **{name: {} for name in ("Saliency", "GuidedBackprop", "Deconvolution")},
    **{name: BASELINES for name in ("IntegratedGradients", "DeepLift", "DeepLiftShap")},
    "FeatureAblation": {"feature_mask": torch.arange(784).view(1, 1, 28, 28) // 56},
    "Occlusion": {"sliding_window_shapes": (1, 7, 7), "strides": (1, 7, 7)},
    **{"DeepExplainer": {}, "GradientExplainer": {"nsamples": 20, "rseed": 0}},
}


def attribute(network, method):
    import captum.attr
    import shap

    if method.endswith("Explainer"):
        images, background = IMAGES, BACKGROUND
        if method == "GradientExplainer":  # it computes in float32
            images, background = IMAGES.float(), BACKGROUND.float()
            network.float()
        explainer = getattr(shap, method)(network, background)
        return explainer.shap_values(images, **METHODS[method])
    images = IMAGES.clone().requires_grad_()
    explainer = getattr(captum.attr, method)(network)
    return explainer.attribute(images, target=3, **METHODS[method]).detach().numpy()


@pytest.mark.filterwarnings("ignore:Setting .* hooks", "ignore:unrecognized nn.Module")
@pytest.mark.parametrize("method", METHODS)
def test_attributions_equal_those_of_a_plain_network(case, method):
    """Batch normalisation by fixed statistics takes the place of the scaling."""
    own = copy.deepcopy(case[1].module_).double()  # explainers may change layers
    layers = copy.deepcopy(LENET5 if hasattr(own, "c1") else MINI_VGG)
    plain = (
        nn.Sequential(nn.BatchNorm2d(1, eps=0, affine=False), *layers).double().eval()
    )
    mean, std, *weights = own.state_dict().values()
    values = [mean, std**2, torch.tensor(0), *weights]
    plain.load_state_dict(dict(zip(plain.state_dict(), values, strict=True)))
    got, expected = attribute(own, method), attribute(plain, method)
    largest = np.abs(expected).max()
    assert largest > 0
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3 * largest)


def test_captum_s_lrp_knows_no_scaling(lenet5):
    from captum.attr import LRP

    with pytest.raises(TypeError, match=r"PixelScaling'> has no rule"):
        LRP(copy.deepcopy(lenet5.module_)).attribute(IMAGES.float(), target=3)
