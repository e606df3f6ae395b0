import base64
import io
import math
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from fmnist_sklearn.benchmark.results import (
    RunResult,
    benchmark_figures,
    class_names,
    data_uri,
    judge_row,
)
from fmnist_sklearn.benchmark.run import evaluate

EVIL = "</title><script>alert(1)</script>\"'&"
COMPARISON = pd.DataFrame(
    {
        "model": ["one", EVIL, "three"],
        "difference": [0.0, -0.02, math.nan],
        "difference_low": [math.nan, -0.05, math.nan],
        "difference_high": [math.nan, 0.01, math.nan],
        "p_value": [math.nan, 0.25, math.nan],
        "p_holm": [math.nan, 0.25, math.nan],
        "comparison": ["reference", "a test", "not tested"],
    }
)
EPOCHS = [
    {"epoch": 1, "train_loss": 2.0, "valid_loss": 1.5, "valid_acc": 0.5},
    {"epoch": 2, "train_loss": 1.0, "valid_loss": 1.2, "valid_acc": 0.7},
]
DIVERGED = [EPOCHS[0], {**EPOCHS[1], "valid_loss": float("nan")}]


@pytest.fixture(scope="module")
def tested(lenet5, X_test, y_test):
    """The test of a network: confusions and mistakes."""
    return evaluate(lenet5, X_test, y_test)


class Page(RunResult):
    """A result whose report consists of what a test gives."""

    def compare(self, reference=None):
        return COMPARISON

    def format_table(self):
        return self.table

    def format_notes(self):
        return self.record["notes"]

    def _lead(self):
        return "The best"

    def _difference_label(self):
        return self.record["label"]


@pytest.fixture
def page(tested, X_test):
    hardware = {"cpu": "some", "cores": 2, "torch_threads": 1, "gpu": None}
    record = {
        "recipe": "fast",
        "cv": 2,
        "seed": 0,
        "commands": ["run"],
        "date": "2025-01-01",
        "data": {"name": "sample", "n_train": 600, "n_test": 200},
        "devices": ["cpu"],
        "hardware": {**hardware, "system": "Linux"},
        "versions": {"torch": "2.14"},
        "notes": ["A note."],
        "label": "a label",
    }
    return Page(
        table=pd.DataFrame({"model": ["one", "two"], "accuracy": ["0.7 ± 0.1", ""]}),
        best="one",
        record=record,
        curves={"one": DIVERGED},
        judged=[judge_row("one", record, [tested], X_test)],
    )


class Reader(HTMLParser):
    """Counts elements, and notes what a browser would fetch or run."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.addresses = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        for name, value in attributes:
            assert not name.startswith("on")
            assert name != "style"  # which the page's policy forbids
            if name in ("src", "href"):
                self.addresses.append(value)


def test_report_is_complete_and_fetches_nothing(page):
    html = page.to_html(figures={"valid_loss": b"<svg/>"})
    read = Reader(html)
    assert all(address.startswith(("data:", "#")) for address in read.addresses)
    assert read.elements.count("script") == 1
    assert read.elements.count("img") == 1 + len(page.judged[0]["mistakes"])
    assert "default-src 'none'" in html
    assert '<th scope="row">2</th><td>0.7000</td>' in html


def test_report_escapes_names_of_users(page, tested, X_test):
    evil = {
        **tested,
        "labels": [EVIL, *map(str, tested["labels"][1:])],
        "mistakes": [{**tested["mistakes"][0], "true": EVIL, "predicted": EVIL}],
    }
    data = {**page.record["data"], "name": EVIL}
    texts = {"notes": [EVIL], "commands": [EVIL], "label": EVIL, "data": data}
    html = replace(
        page,
        table=page.table.assign(model=EVIL).rename(columns={"accuracy": EVIL}),
        best=EVIL,
        record=page.record | texts,
        curves={EVIL: DIVERGED},
        judged=[judge_row(EVIL, {"data": data}, [evil], X_test)],
    ).to_html(figures={"comparison": b"<svg/>"})
    assert EVIL not in html
    assert "<script>alert" not in html
    assert Reader(html).elements.count("script") == 1


def test_judge_row_of_many_classes_has_pairs_and_no_matrix(page, tested, X_test):
    many = {
        **tested,
        "labels": list(range(40)),
        "confusion": (np.eye(40, dtype=int) + np.eye(40, k=1, dtype=int)).tolist(),
    }
    judged = judge_row("row", {"data": {"name": "own"}}, [many, many], X_test)
    assert judged["pairs"][0] == "0 taken for 1: 2"
    html = replace(page, judged=[judged]).to_html(figures={})
    assert "0 taken for 1: 2" in html
    assert "Test images, over 2 models" not in html
    few = judge_row("row", {"data": {"name": "own"}}, [tested, tested], X_test)
    html = replace(page, judged=[few]).to_html(figures={})
    assert "Test images, over 2 models" in html


def test_class_names():
    record = {"data": {"name": "sample"}}
    assert class_names(record, ["cat", "dog"]) == ["cat", "dog"]
    assert class_names(record, [0, 9]) == ["T-shirt/top", "Ankle boot"]
    assert class_names({"data": {"name": "sample/"}}, [0, 9]) == ["0", "9"]


@pytest.mark.parametrize(
    ("image", "shape", "pixel"),
    [
        (np.full(4, 7, np.uint8), (1, 2, 2), 7),
        (np.full((2, 2), 0.2), (1, 2, 2), 51),
        (np.full((3, 2, 2), 128.0), (3, 2, 2), (128, 128, 128)),
        (np.array([-1.0, 0, 0, 1]), (1, 2, 2), 0),
    ],
)
def test_data_uri_of_any_range(image, shape, pixel):
    kind, _, data = data_uri(image, shape).partition(",")
    assert kind == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.size == (2, 2)
    assert picture.getpixel((0, 0)) == pixel


def test_report_shows_the_comparison(page):
    html = page.to_html(figures={})
    assert "<caption>a label</caption>" in html
    assert '<h2 id="differences-heading">Is it better?</h2>' in html
    cells = ("-0.02", "-0.05", "0.01", "0.25", "a test")
    assert "".join(f"<td>{cell}</td>" for cell in cells) in html


def test_benchmark_figures():
    before, already_open = dict(matplotlib.rcParams), plt.get_fignums()
    figures = benchmark_figures({"a": EPOCHS, "b": EPOCHS[:1]})
    assert plt.get_fignums() == already_open  # figures of other tests
    assert dict(matplotlib.rcParams) == before
    expected = {
        "train_loss": ("Training loss", "cross-entropy loss", "train_loss"),
        "valid_loss": ("Validation loss", "cross-entropy loss", "valid_loss"),
        "accuracy": ("Validation accuracy", "accuracy", "valid_acc"),
    }
    assert list(figures) == list(expected)
    for key, (title, ylabel, metric) in expected.items():
        (ax,) = figures[key].axes
        labels = ax.get_title(), ax.get_xlabel(), ax.get_ylabel()
        assert labels == (title, "epoch", ylabel)
        a, b = ax.get_lines()
        assert a.get_ydata().tolist() == [row[metric] for row in EPOCHS]
        assert b.get_xdata().tolist() == [1]
        (legend,) = figures[key].legends
        assert [t.get_text() for t in legend.get_texts()] == ["a", "b"]


def test_benchmark_figures_have_a_colour_for_each_row():
    figure = benchmark_figures(dict.fromkeys("abcdef", EPOCHS))["accuracy"]
    colors = [to_hex(line.get_color()) for line in figure.axes[0].get_lines()]
    assert len(set(colors)) == 6
