"""What ``fmnist-sklearn predict`` does with pictures, folders and rows of pixels."""

import copy
import csv
import io
import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fmnist_sklearn import CLASS_NAMES, LeNet5Classifier, save_model
from fmnist_sklearn.cli import main
from fmnist_sklearn.cli.predict import choose_preparation, pixel_factor
from fmnist_sklearn.photos import load_photo


@pytest.fixture(scope="module")
def model(lenet5, tmp_path_factory):
    """A file that states how its pictures are prepared."""
    path = tmp_path_factory.mktemp("model") / "lenet5.safetensors"
    save_model(lenet5, path, preparation="resize")
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch, X):
    """The working directory, with pictures in ``pics`` and its sub-folders."""
    monkeypatch.chdir(tmp_path)
    os.makedirs("pics/sub")
    os.makedirs("pics/.hidden")
    names = ["b.png", "a.PNG", "sub/c.jpg", "d.png", ".e.png", ".hidden/f.png"]
    for row, name in zip(X, names, strict=False):
        Image.fromarray(row.reshape(28, 28)).save(f"pics/{name}")
    (tmp_path / "pics" / "notes.txt").write_text("not a picture")
    return tmp_path


def run(capsys, *argv):
    status = main(["predict", *map(str, argv)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def cells(out):
    return [line.split("\t") for line in out.splitlines()]


IN_ORDER = ["pics/a.PNG", "pics/b.png", "pics/d.png", "pics/sub/c.jpg"]


# Inputs -----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_predict_takes_a_folder_in_order(model, folder, lenet5, X, capsys, batch_size):
    status, out, err = run(capsys, model, "pics", "--batch-size", batch_size)
    assert (status, err) == (0, "")
    assert [path for path, _, _ in cells(out)] == IN_ORDER
    expected = lenet5.predict_proba(X[[1, 0, 3]])
    for (_, label, p), row in zip(cells(out), expected, strict=False):
        assert label == str(row.argmax())
        assert p == f"{row.max():.3f}"


def test_predict_names_broken_files_and_predicts_the_others(model, folder, capsys):
    (folder / "pics" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    (folder / "pics" / "empty.jpg").touch()
    os.mkfifo("pics/fifo.png")
    os.mkdir("none")
    status, out, err = run(capsys, model, "none", "missing.npy", "pics", "./pics/b.png")
    assert status == 1
    assert [path for path, _, _ in cells(out)] == [*IN_ORDER, "./pics/b.png"]
    bad = ["none", "missing.npy", "pics/broken.png", "pics/empty.jpg", "pics/fifo.png"]
    for name, line in zip(bad, err.splitlines(), strict=True):
        assert line.startswith(f"fmnist-sklearn: error: {name}")


@pytest.mark.parametrize(
    "shape", [(-1, 784), (-1, 28, 28), (-1, 1, 28, 28), "one row", "one image"]
)
@pytest.mark.parametrize("dtype", [np.uint8, ">f8", np.int16])
def test_predict_takes_npy(model, folder, lenet5, X, capsys, shape, dtype):
    rows = X[:7] if isinstance(shape, tuple) else X[:1]
    one = {"one row": 784, "one image": (28, 28)}
    np.save("x.npy", rows.reshape(one.get(shape, shape)).astype(dtype))
    status, out, err = run(capsys, model, "x.npy", "--batch-size", 3)
    assert (status, err) == (0, "")
    names, labels, _ = zip(*cells(out), strict=True)
    assert names == tuple(f"x.npy[{i}]" for i in range(len(rows)))
    assert labels == tuple(map(str, lenet5.predict(rows)))


@pytest.mark.parametrize(
    "kind",
    [
        *("plain", "names", "numbers", "label", "index", "numbers+index", "quoted"),
        *("excel", "row_column", "blank_lines", "last_comma", "floats"),
    ],
)
def test_predict_takes_csv(model, folder, lenet5, X, capsys, kind):
    frame = pd.DataFrame(X[:7])
    if kind == "row_column":  # Python reads 1_10 as a number
        frame.columns = [f"{i // 28}_{i % 28}" for i in range(784)]
    elif kind == "floats":
        frame = frame.astype(float)
    elif kind not in ("plain", "numbers", "numbers+index"):
        frame.columns = [f"pixel{i}" for i in range(784)]
    if kind == "label":  # as Fashion-MNIST is distributed in CSV
        frame.insert(0, "label", "shoe")
    if kind == "last_comma":
        frame[""] = ""
    frame.to_csv(
        "x.csv",
        header=kind not in ("plain", "floats"),
        index="index" in kind,
        quoting=csv.QUOTE_ALL if kind == "quoted" else csv.QUOTE_MINIMAL,
        encoding="utf-8-sig" if kind == "excel" else "utf-8",
        lineterminator="\r\n" if kind == "excel" else "\n",
        float_format=" %.1f",
    )
    if kind == "blank_lines":
        text = (folder / "x.csv").read_text().replace("\n", "\n\n  \n")
        (folder / "x.csv").write_text("\n" + text)
    status, out, err = run(capsys, model, "x.csv", "--batch-size", 3)
    note = "fmnist-sklearn: note: x.csv: line 1, 0, 1, 2, ..., names columns\n"
    note = note if kind == "numbers" else ""
    assert (status, err) == (0, note)
    names, labels, _ = zip(*cells(out), strict=True)
    assert names == tuple(f"x.csv[{i}]" for i in range(7))
    assert labels == tuple(map(str, lenet5.predict(X[:7])))


def test_predict_compares_names_of_columns(X, y, quick, folder, capsys):
    names = [f"p{i}" for i in range(784)]
    frame = pd.DataFrame(X[:60], columns=names)
    net = LeNet5Classifier(**quick | {"max_epochs": 1}).fit(frame, y[:60])
    save_model(net, "net")
    frame[:5].to_csv("right.csv", index=False)
    frame[:5][names[::-1]].to_csv("turned.csv", index=False)
    status, out, err = run(capsys, "net", "right.csv", "turned.csv", "--format", "json")
    assert status == 1
    expected = net.predict_proba(frame[:5]).max(axis=1)
    found = [each["probability"] for each in json.loads(out)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    (line,) = err.splitlines()
    assert line.startswith(
        "fmnist-sklearn: error: turned.csv: The feature names should"
    )


@pytest.mark.parametrize("start", [0, 1])
def test_predict_names_or_pixels(X, y, quick, folder, capsys, start):
    small = X.reshape(-1, 28, 28)[:60, 10:18, 10:18].reshape(60, 64)
    net = LeNet5Classifier(**quick | {"max_epochs": 1}).fit(small, y[:60])
    save_model(net, "net")
    frame = pd.DataFrame(small[:5], columns=range(start, start + 64))
    frame.to_csv("rows.csv", index=False)
    status, out, err = run(capsys, "net", "rows.csv")
    assert (status, out) == (1, "")
    assert "..., may be names or pixels: delete it, or put names such as pixel0" in err
    expected = net.predict(small[:5])
    frame.to_csv("numbered.csv")
    small[0] = frame.columns
    np.savetxt("floats.csv", small[:5], fmt="%.1f", delimiter=",")
    status, out, err = run(capsys, "net", "numbered.csv", "floats.csv")
    assert (status, err) == (0, "")
    expected = [*expected, *net.predict(small[:5])]
    assert [label for _, label, _ in cells(out)] == list(map(str, expected))


NAMES = ",".join(f"pixel{i}" for i in range(784)).encode() + b"\n"
ROW = b",".join([b"7"] * 784) + b"\n"


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.csv", b"", "line 0 has 0 values, expected 784"),
        ("x.csv", b"1,2,3\n", "line 1 has 3 values, expected 784, separated by commas"),
        ("x.csv", b"a,b\n1,2\n", "X has 2 features, .* 784"),
        ("x.csv", NAMES, "has no rows below its header"),
        ("x.csv", ROW + ROW[:-2] + b"x\n", "line 2: could not .* float: 'x'"),
        ("x.csv", ROW + b"\n" + ROW.strip() + b",7\n", "line 3 has 785 values, .* 784"),
        ("x.csv", NAMES + ROW.strip() + b",7\n", "line 2 has 785 values, .* 784"),
        ("x.csv", NAMES[7:] + ROW, "line 2 has 784 values, expected 783"),
        ("x.csv", b"shoe," + ROW, "line 1 has 785 values, expected 784"),
        ("x.csv", ROW.strip() + b",\n" + ROW, "line 1 has 785 values, expected 784"),
        ("x.csv", ROW[1:] + ROW, "line 1: could not convert string to float: ''"),
        ("x.csv", b"," * 783 + b"\n" + ROW, "line 1: could not .* float: ''"),
        ("x.csv", b"7\0" + ROW[1:] + ROW, r"line 1: could not .* float: '7\\x00'"),
        ("x.csv", ROW + NAMES + ROW, "line 2: could not convert .*: 'pixel0'"),
        ("x.csv", ROW.replace(b",", b";"), "line 1 has 1 values, expected 784"),
        ("x.csv", NAMES.replace(b",", b"\t") + ROW, "line 1 has 1 values"),
        pytest.param(
            *("x.csv", NAMES.replace(b"l9,", b"l8,") + ROW, "'pixel8' 2 times"),
            marks=pytest.mark.needs("scikit-learn>=1.9"),
        ),
        ("x.csv", b'"' + ROW + ROW, "line 2 has 1 values"),
        ("x.csv", NAMES.replace(b",", b'" "') + ROW, "line 1 has 1 values"),
        ("x.csv", b"\xff\xfe1\x00,\x002\x00", "decode"),
        ("x.csv", b",".join([b"nan"] * 784) + b"\n", "NaN"),
        ("x.csv", None, "x.csv: is not a regular file"),
        ("x.npy", None, "x.npy: is not a regular file"),
        ("x.npy", b"\x93NUMPY\x01\x00\xff\xff{", "cannot be read as an array"),
        ("x.npy", pickle.dumps(Evil()), "cannot be read as an array"),
        ("x.npy", np.zeros((2, 783)), "783 features, .* 784"),
        ("x.npy", np.array(["a"] * 784), "strings"),
        ("x.npy", np.full((2, 784), np.inf), "infinity"),
    ],
)
def test_predict_reports_bad_rows(model, folder, capsys, name, content, reason):
    if isinstance(content, np.ndarray):
        np.save(name, content)
    elif content is None:
        os.mkfifo(name)
    else:
        Path(name).write_bytes(content)
    status, out, err = run(capsys, model, name, "pics/a.PNG")
    assert status == 1
    assert [path for path, _, _ in cells(out)] == ["pics/a.PNG"]
    (line,) = err.splitlines()
    assert line.startswith(f"fmnist-sklearn: error: {name}")
    assert re.search(reason, line)
    assert not os.path.exists("evil")


# Preparation ------------------------------------------------------------------------


def test_predict_prepares_pictures_as_for_training(folder, capsys):
    # Dark red and dark blue images of 16 x 16 in RGB.
    X = np.random.default_rng(0).integers(40, size=(120, 3, 16, 16), dtype=np.uint8)
    y = np.arange(120) % 2
    X[y == 0, 0] += 90
    X[y == 1, 2] += 90
    net = LeNet5Classifier(
        lr=0.01, batch_size=16, max_epochs=4, patience=None, random_state=0
    )
    net.fit(X, np.array(["red", "blue"])[y])
    save_model(net, "net")
    os.mkdir("own")
    for i, image in enumerate(X[:20]):
        Image.fromarray(image.transpose(1, 2, 0)).save(f"own/{i:02}.png")
    status, out, err = run(capsys, "net", "own", "--format", "csv")
    assert status == 0
    assert err.startswith("fmnist-sklearn: note: net does not state how pictures are")
    assert "resize is assumed" in err
    table = pd.read_csv(io.StringIO(out))
    assert table["label"].tolist() == net.predict(X[:20]).tolist()
    np.testing.assert_allclose(
        table["probability"], net.predict_proba(X[:20]).max(axis=1), atol=1e-6
    )
    assert net.score(X[:20], ["red", "blue"] * 10) == 1
    assert run(capsys, "net", "own", "--prepare", "resize")[2] == ""
    save_model(net, "net", preparation="resize")
    assert run(capsys, "net", "own")[2] == ""


def test_pictures_without_an_item_where_clothing_is_only_assumed(
    lenet5, capsys, tmp_path
):
    save_model(lenet5, tmp_path / "net")
    noise = np.random.default_rng(0).integers(90, 160, (3, 40, 40, 3), dtype=np.uint8)
    noise[1] = 255
    noise[1, 8:32, 12:28] = 40  # an item
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for path, pixels in zip(paths, noise, strict=True):
        Image.fromarray(pixels).save(path)
    status, out, err = run(capsys, str(tmp_path / "net"), *paths, "--format", "csv")
    assert status == 0
    assert "0.png and 1 more" in err
    expected = [
        load_photo(p, prepare=how)
        for p, how in zip(paths, ("resize", "clothing", "resize"), strict=True)
    ]
    table = pd.read_csv(io.StringIO(out))
    np.testing.assert_allclose(
        table["probability"],
        lenet5.predict_proba(np.array(expected)).max(axis=1),
        atol=1e-6,
    )
    stated = "--prepare", "clothing", "--format", "csv"
    status, out, err = run(capsys, str(tmp_path / "net"), *paths, *stated)
    assert status == 1
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize(
    ("classes", "image_shape", "guess"),
    [
        (np.array(sorted(CLASS_NAMES)), (1, 28, 28), "clothing"),
        (np.arange(10), (1, 28, 28), "clothing"),
        (np.arange(10), (3, 28, 28), "resize"),
        (np.array([f"c{i}" for i in range(10)]), (1, 28, 28), "resize"),
    ],
)
def test_choose_preparation_that_is_not_stated(lenet5, classes, image_shape, guess):
    net = copy.copy(lenet5)
    net.classes_, net.image_shape_ = classes, image_shape
    prepare, note = choose_preparation("net", None, net)
    assert prepare == guess
    if guess == "clothing":  # no guess for a model trained on Fashion-MNIST
        assert note is None
    else:
        assert "resize is assumed" in note
        assert "--prepare" in note
    for stated in ("clothing", "resize"):
        assert choose_preparation("net", stated, net) == (stated, None)


def test_pixel_factor(X, y, quick, folder, lenet5, capsys):
    net = LeNet5Classifier(**quick).fit(X / 255, y)
    save_model(net, "net", preparation="resize")
    status, out, err = run(capsys, "net", "pics/b.png", "pics/a.PNG")
    assert status == 0
    assert "pictures are scaled to 0..1" in err
    expected = net.predict_proba(X[:2] / 255)
    shown = [[label, p] for _, label, p in cells(out)]
    assert shown == [[str(row.argmax()), f"{row.max():.3f}"] for row in expected]
    assert pixel_factor(lenet5) == (1, None)


@pytest.mark.parametrize("how", ["range", "channels", "rows"])
def test_pixel_factor_of_a_model_that_takes_rows_only(X, y, quick, folder, capsys, how):
    rows = {
        "range": X / 127.5 - 1,
        "channels": X.reshape(-1, 2, 14, 28),
        "rows": X[:, :700],
    }[how]
    net = LeNet5Classifier(**quick | {"max_epochs": 1, "image_shape": None})
    net.fit(rows[:60], y[:60])
    save_model(net, "net")
    status, out, err = run(capsys, "net", "pics")
    assert (status, out) == (1, "")
    assert err.startswith("fmnist-sklearn: error: the model was fitted on ")
    assert "give rows of pixels, as .npy or .csv" in err
    np.save("rows.npy", rows[:3])
    status, out, err = run(capsys, "net", "rows.npy")
    assert (status, len(out.splitlines()), err) == (0, 3, "")


# Output -----------------------------------------------------------------------------


def test_format_json_is_one_array(model, folder, lenet5, X, capsys):
    np.save("x.npy", X[:2])
    argv = [model, "pics/b.png", "x.npy", "--format", "json", "--top", "3"]
    status, out, _ = run(capsys, *argv)
    assert status == 0
    first, second, third = json.loads(out)
    assert first["path"] == "pics/b.png"
    assert "row" not in first
    assert (second["path"], second["row"], third["row"]) == ("x.npy", 0, 1)
    row = lenet5.predict_proba(X[:1])[0]
    best = np.argsort(-row)[:3]
    assert first["label"] == best[0]
    assert [each["label"] for each in first["top"]] == best.tolist()
    for each in first["top"]:
        assert each["probability"] == pytest.approx(row[each["label"]], abs=1e-6)
    assert json.loads(run(capsys, model, "missing", "--format", "json")[1]) == []


def test_top_adds_columns(model, folder, capsys):
    _, out, _ = run(capsys, model, "pics", "--format", "csv", "--top", "2")
    table = pd.read_csv(io.StringIO(out))
    columns = ["path", "row", "label", "probability", "label_1", "probability_1"]
    assert list(table.columns) == [*columns, "label_2", "probability_2"]
    assert table["path"].tolist() == IN_ORDER
    assert (table["label"] == table["label_1"]).all()
    assert (table["probability_1"] >= table["probability_2"]).all()
    _, out, _ = run(capsys, model, "pics", "--top", "99")
    assert {len(line) for line in cells(out)} == {3 + 2 * 10}


@pytest.mark.parametrize("format_", ["text", "csv", "json"])
def test_min_confidence_and_out(model, folder, capsys, format_):
    options = ["--format", format_, "--min-confidence", "0.999999", "--top", "2"]
    status, out, _ = run(capsys, model, "pics", *options)
    assert status == 0
    assert out.count("unsure") == 4
    options[3] = "0"
    assert "unsure" not in run(capsys, model, "pics", *options)[1]
    argv = [model, "pics", "missing.png", "--format", format_]
    status, printed, err = run(capsys, *argv)
    assert run(capsys, *argv, "--out", "out") == (status, "", err) == (1, "", err)
    assert (folder / "out").read_text(encoding="utf-8") == printed


def test_format_csv_quotes_names(model, folder, X, capsys):
    name = 'a, "b"\n.png'
    Image.fromarray(X[0].reshape(28, 28)).save(name)
    _, out, _ = run(capsys, model, name, "--format", "csv")
    _, row = csv.reader(io.StringIO(out))
    assert row[0] == 'a, "b"<U+000A>.png'
    _, out, _ = run(capsys, model, name, "--format", "json")
    assert json.loads(out)[0]["path"] == name


def test_out_is_opened_before_anything_is_read(model, folder, monkeypatch, capsys):
    def read(*args, **kwargs):
        pytest.fail("the model was read all the same")

    monkeypatch.setattr("fmnist_sklearn.cli.predict.load_model_and_preparation", read)
    os.mkfifo("fifo")
    for out in ("missing/out", "fifo", "."):
        status, _, err = run(capsys, model, "pics", "--out", out)
        assert status == 1
        assert err.startswith(f"fmnist-sklearn: error: {out}: ")
    for out in (model, "pics/b.png"):
        before = Path(out).read_bytes()
        status, _, err = run(capsys, model, "pics/b.png", "--out", out)
        assert (status, Path(out).read_bytes()) == (1, before)
        assert "--out names a file that is to be read" in err


def test_out_is_left_as_it_was_after_an_interrupt(model, folder, monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    (folder / "out").write_text("old")
    monkeypatch.setattr("fmnist_sklearn.cli.predict.read_pictures", interrupt)
    assert run(capsys, model, "pics", "--out", "out")[0] == 130
    assert (folder / "out").read_text() == "old"
    assert sorted(os.listdir()) == ["out", "pics"]
