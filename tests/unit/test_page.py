"""The page of ``export_html`` as a file; a browser opens it in ``tests/contract``."""

import base64
import copy
import html
import json
import re

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from torch import nn

from fmnist_sklearn import CLASS_NAMES, LeNet5Classifier, export_html

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.html"


def read_data(path):
    """Return what the page stores: the model, and the bytes of its weights."""
    text = path.read_text(encoding="utf-8")
    model, weights = re.findall(r'<script id="\w+" type=".*?">(.*?)</script>', text)
    return json.loads(model), base64.b64decode(weights)


def test_page_stores_the_network_in_16_bits(lenet5, path):
    path.write_text("an old file, which is replaced")
    net, state = copy.deepcopy(lenet5), torch.get_rng_state()
    export_html(net, path)
    model, weights = read_data(path)
    assert model["mean"] == lenet5.module_.scaling.mean.tolist()
    assert model["labels"] == [str(label) for label in range(10)]
    assert (model["factor"], model["preparation"]) == (1, "clothing")
    rows = [sizes for kind, sizes, _ in model["layers"] if kind in ("conv", "dense")]
    n_rows = sum(sizes[0] for sizes in rows)
    assert len(weights) == 8 * n_rows + 2 * sum(map(np.prod, rows))
    scales = np.frombuffer(weights, "<f4", 2 * n_rows)[-20:-10]  # of the last layer
    integers = np.frombuffer(weights, "<i2", offset=8 * n_rows)[-840:].reshape(10, 84)
    last = lenet5.module_.head.out.weight.detach().numpy()
    atol = np.abs(last).max() / 65_000
    np.testing.assert_allclose(integers * scales[:, None], last, rtol=0, atol=atol)
    # Equal networks give equal files, and are not changed.
    content = path.read_bytes()
    assert len(content) < 350_000
    export_html(lenet5, path)
    assert path.read_bytes() == content
    assert torch.equal(torch.get_rng_state(), state)
    for name, values in lenet5.module_.state_dict().items():
        assert torch.equal(net.module_.state_dict()[name], values)


def test_page_of_pixels_from_0_to_1_in_colour(X, y, quick, path):
    images = np.stack([X.reshape(-1, 28, 28)[:60, 4:24, :16] / 255] * 3, axis=1)
    net = LeNet5Classifier(**quick | {"max_epochs": 1}).fit(images, y[:60] % 3 == 0)
    net.predict_flip = True
    export_html(net, path, preparation="resize")
    model, _ = read_data(path)
    assert (model["shape"], model["factor"]) == ([3, 20, 16], 1 / 255)
    assert model["labels"] == ["False", "True"]
    assert (model["preparation"], model["flip"]) == ("resize", True)


def test_page_escapes_names(lenet5, tmp_path):
    path = tmp_path / "<b>&.html"
    export_html(lenet5, path, display_labels=[HOSTILE, *CLASS_NAMES[1:]])
    text = path.read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 3
    assert "<img" not in text
    assert f"<title>{html.escape('<b>&')}</title>" in text
    assert read_data(path)[0]["labels"][0] == HOSTILE


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (id, {"preparation": "crop"}, ValueError, "preparation must .* got 'crop'"),
        (id, {"display_labels": "ab"}, ValueError, "of the 10 classes, got 2"),
        (
            lambda net: setattr(net, "module_", nn.Flatten()),
            {},
            TypeError,
            "LeNet5 and MiniVGG, got .* module=Flatten",
        ),
        (
            lambda net: setattr(net.module_.c1, "activation", nn.Tanh()),
            {},
            RuntimeError,
            "the page differs from the estimator",
        ),
        (
            lambda net: net.module_.scaling.std.fill_(1e-3),
            {},
            ValueError,
            "deviation 0.001, .*export_onnx takes any pixels",
        ),
    ],
)
def test_export_html_refuses(change, options, error, message, lenet5, path):
    net = copy.deepcopy(lenet5)
    change(net)
    with pytest.raises(error, match=message):
        export_html(net, path, **options)
    with pytest.raises(TypeError, match=r"export_html takes .*pass pipeline\[-1\]"):
        export_html(make_pipeline(net), path)
    assert not list(path.parent.iterdir())
