import base64
import io
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import loguniform

from fmnist_sklearn.benchmark.environment import describe_call
from fmnist_sklearn.benchmark.fits import judge
from fmnist_sklearn.benchmark.report import (
    HEIGHT,
    WIDTH,
    Page,
    class_names,
    data_uri,
    judged_row,
    make_charts,
    render,
    score_matrix,
)

EVIL = "</title><script>alert(1)</script>\"'&"


@pytest.fixture(scope="module")
def judgement(lenet5, X_test, y_test):
    return judge(lenet5, X_test, y_test)


@pytest.fixture
def page(judgement, X_test):
    record = {"data": {"name": "sample"}}
    epochs = [
        {"epoch": 1, "train_loss": 2.0, "valid_loss": 1.5, "valid_acc": 0.5},
        {"epoch": 2, "train_loss": 1.0, "valid_loss": float("nan"), "valid_acc": 0.7},
    ]
    return Page(
        title="A page",
        table=pd.DataFrame({"model": ["one", "two"], "accuracy": ["0.7 ± 0.1", ""]}),
        best="one",
        notes=["A note."],
        curves={"one": epochs},
        facts={"Data": "some"},
        commands=["run()"],
        judged=[judged_row("one", record, [judgement], X_test)],
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
            assert name != "style"  # which the page's policy would not let in
            if name in ("src", "href"):
                self.addresses.append(value)


def test_the_page_holds_all_and_fetches_nothing(page):
    html = render(page)
    read = Reader(html)
    assert all(address.startswith(("data:", "#")) for address in read.addresses)
    assert read.elements.count("script") == 1
    assert read.elements.count("svg") == 3 + 2  # charts, and samples of the curve
    assert read.elements.count("img") == len(page.judged[0].mistakes)
    assert 'data-value="0.7"' in html
    assert "default-src 'none'" in html


def test_what_users_name_is_text(page, judgement, X_test):
    evil = replace(
        judgement,
        labels=[EVIL, *map(str, judgement.labels[1:])],
        mistakes=[replace(judgement.mistakes[0], true=EVIL, predicted=EVIL)],
    )
    html = render(
        replace(
            page,
            title=EVIL,
            table=page.table.assign(model=EVIL).rename(columns={"accuracy": EVIL}),
            notes=[EVIL],
            facts={EVIL: EVIL},
            commands=[EVIL],
            curves={EVIL: page.curves["one"]},
            judged=[judged_row(EVIL, {"data": {"name": EVIL}}, [evil], X_test)],
            heat_maps=[score_matrix(np.ones((1, 1)), EVIL, EVIL, [EVIL], [EVIL])],
        )
    )
    assert EVIL not in html
    assert "<script>alert" not in html
    assert Reader(html).elements.count("script") == 1


def test_judgement_of_the_test_images(judgement, lenet5, X_test, y_test):
    assert judgement.accuracy == lenet5.score(X_test, y_test)
    assert np.trace(judgement.confusion) == (lenet5.predict(X_test) == y_test).sum()
    losses = [mistake.loss for mistake in judgement.mistakes]
    assert losses == sorted(losses, reverse=True)
    worst = judgement.mistakes[0]
    row = lenet5.predict_proba(X_test[[worst.index]])[0]
    assert worst.true == y_test[worst.index] != worst.predicted == row.argmax()
    assert worst.confidence == pytest.approx(row.max())
    assert worst.loss == pytest.approx(-np.log(row[worst.true]))


def test_a_label_that_was_never_trained_on_is_a_mistake(lenet5, X_test):
    judged = judge(lenet5, X_test[:3], [11, 11, 11])
    assert judged.accuracy == 0
    assert judged.labels == [*range(10), 11]
    assert len(judged.mistakes) == 3


def test_many_classes_have_pairs_and_no_matrix(judgement, X_test):
    many = replace(
        judgement,
        labels=list(range(40)),
        confusion=(np.eye(40, dtype=int) + np.eye(40, k=1, dtype=int)).tolist(),
    )
    judged = judged_row("row", {"data": {"name": "own"}}, [many], X_test)
    assert judged.confusion is None
    assert judged.pairs[0] == "0 taken for 1: 1"


def test_charts_stay_in_their_frames_and_leave_out_what_is_not_known(page):
    assert make_charts({}) == []
    loss, _, accuracy = make_charts(page.curves)
    (curve,) = loss.curves
    assert [point.epoch for point in curve.points] == [1]
    for chart in (loss, accuracy):
        for point in chart.curves[0].points:
            assert 0 < point.x < WIDTH
            assert 0 < point.y < HEIGHT
    assert "one: 0.7000 after 2 epochs, best 0.7000" in accuracy.summary


@pytest.mark.parametrize(
    ("image", "shape", "pixel"),
    [
        (np.full(4, 7, np.uint8), (1, 2, 2), 7),
        (np.full((2, 2), 0.2), (1, 2, 2), 51),
        (np.full((3, 2, 2), 128.0), (3, 2, 2), (128, 128, 128)),
        (np.array([-1.0, 0, 0, 1]), (1, 2, 2), 0),
    ],
)
def test_images_of_any_range_become_pictures(image, shape, pixel):
    kind, _, data = data_uri(image, shape).partition(",")
    assert kind == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.size == (2, 2)
    assert picture.getpixel((0, 0)) == pixel


def test_a_folder_that_is_called_as_the_sample_keeps_its_names():
    record = {"data": {"name": "sample"}}
    assert class_names(record, ["cat", "dog"]) == ["cat", "dog"]
    assert class_names(record, [0, 9]) == ["T-shirt/top", "Ankle boot"]


def test_the_command_and_the_call(monkeypatch, few_images):
    def run(X=None, *, params=None, out=None, seed=0): ...

    given = {"X": np.ones(2), "params": {"lr": loguniform(0.1, 1)}, "seed": 0}
    monkeypatch.setattr(sys, "argv", ["/bin/fmnist-sklearn", "benchmark", "a b"])
    assert describe_call(run, given) == [
        "fmnist-sklearn benchmark 'a b'",
        "run(X, params={'lr': loguniform(0.1, 1)})",
    ]
    monkeypatch.setattr(sys, "argv", ["/x/fmnist_sklearn/__main__.py", "search"])
    assert describe_call(run, {})[0] == "python -m fmnist_sklearn search"
    monkeypatch.setattr(sys, "argv", ["script.py"])
    assert describe_call(run, {"seed": 3}) == ["run(seed=3)"]
    assert describe_call(run, {"params": few_images}) == ["run(params=params)"]
