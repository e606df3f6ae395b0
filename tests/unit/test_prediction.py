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


@pytest.fixture(scope="module")
def model(lenet5, tmp_path_factory):
    """A file that says how its pictures are prepared."""
    path = tmp_path_factory.mktemp("model") / "lenet5.safetensors"
    save_model(lenet5, path, preparation="resize")
    return str(path)


@pytest.fixture(scope="module")
def coloured():
    """A network that tells dark red from dark blue, in 16 x 16 RGB."""
    rng = np.random.default_rng(0)
    X = rng.integers(40, size=(120, 3, 16, 16), dtype=np.uint8)
    y = np.arange(120) % 2
    X[y == 0, 0] += 90
    X[y == 1, 2] += 90
    net = LeNet5Classifier(
        lr=0.01, batch_size=16, max_epochs=4, patience=None, random_state=0
    )
    return net.fit(X, np.array(["red", "blue"])[y]), X


@pytest.fixture
def folder(tmp_path, monkeypatch, X):
    """Where the test runs, with pictures in ``pics``, some of them elsewhere in it."""
    monkeypatch.chdir(tmp_path)
    os.makedirs("pics/sub")
    os.makedirs("pics/.hidden")
    names = ["b.png", "a.PNG", "sub/c.jpg", "d.png", ".e.png", ".hidden/f.png"]
    for row, name in zip(X, names, strict=False):
        Image.fromarray(row.reshape(28, 28)).save(f"pics/{name}")
    (tmp_path / "pics" / "notes.txt").write_text("no picture")
    return tmp_path


def run(capsys, *argv):
    status = main(["predict", *map(str, argv)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


IN_ORDER = ["pics/a.PNG", "pics/b.png", "pics/d.png", "pics/sub/c.jpg"]


# Inputs ----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_a_folder_is_walked_in_order(model, folder, lenet5, X, capsys, batch_size):
    status, out, err = run(capsys, model, "pics", "--batch-size", batch_size)
    assert (status, err) == (0, "")
    lines = [line.split("\t") for line in out.splitlines()]
    assert [path for path, _, _ in lines] == IN_ORDER
    expected = lenet5.predict_proba(X[[1, 0, 3]])
    for (_, label, p), row in zip(lines, expected, strict=False):
        assert label == str(row.argmax())
        assert p == f"{row.max():.3f}"


def test_broken_files_are_named_and_cost_no_others(model, folder, capsys):
    (folder / "pics" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    (folder / "pics" / "empty.jpg").touch()
    os.mkfifo("pics/fifo.png")
    os.mkdir("none")
    status, out, err = run(capsys, model, "none", "missing.npy", "pics", "./pics/b.png")
    assert status == 1
    paths = [line.split("\t")[0] for line in out.splitlines()]
    assert paths == [*IN_ORDER, "./pics/b.png"]
    told = err.splitlines()
    bad = ["none", "missing.npy", "pics/broken.png", "pics/empty.jpg", "pics/fifo.png"]
    for name, line in zip(bad, told, strict=True):
        assert line.startswith(f"fmnist-sklearn: error: {name}")


@pytest.mark.parametrize(
    "shape", [(-1, 784), (-1, 28, 28), (-1, 1, 28, 28), "one row", "one image"]
)
@pytest.mark.parametrize("dtype", [np.uint8, ">f8", np.int16])
def test_arrays_in_files(model, folder, lenet5, X, capsys, shape, dtype):
    rows = X[:7] if isinstance(shape, tuple) else X[:1]
    one = {"one row": 784, "one image": (28, 28)}
    np.save("x.npy", rows.reshape(one.get(shape, shape)).astype(dtype))
    status, out, err = run(capsys, model, "x.npy", "--batch-size", 3)
    assert (status, err) == (0, "")
    lines = [line.split("\t") for line in out.splitlines()]
    assert [path for path, _, _ in lines] == [f"x.npy[{i}]" for i in range(len(rows))]
    expected = lenet5.predict(rows)
    assert [label for _, label, _ in lines] == list(map(str, expected))


@pytest.mark.parametrize(
    "kind", ["plain", "names", "numbers", "label", "index", "quoted", "bom"]
)
def test_rows_of_csv(model, folder, lenet5, X, capsys, kind):
    frame = pd.DataFrame(X[:7])
    if kind not in ("plain", "numbers"):
        frame.columns = [f"pixel{i}" for i in range(784)]
    if kind == "label":  # as Fashion-MNIST is passed on in CSV
        frame.insert(0, "label", 3)
    frame.to_csv(
        "x.csv",
        header=kind != "plain",
        index=kind == "index",
        quoting=csv.QUOTE_ALL if kind == "quoted" else csv.QUOTE_MINIMAL,
        encoding="utf-8-sig" if kind == "bom" else "utf-8",
    )
    status, out, err = run(capsys, model, "x.csv", "--batch-size", 3)
    assert (status, err) == (0, "")
    lines = [line.split("\t") for line in out.splitlines()]
    assert [path for path, _, _ in lines] == [f"x.csv[{i}]" for i in range(7)]
    assert [label for _, label, _ in lines] == list(map(str, lenet5.predict(X[:7])))


def test_names_of_columns_are_compared(X, y, quick, tmp_path, monkeypatch, capsys):
    names = [f"p{i}" for i in range(784)]
    frame = pd.DataFrame(X[:60], columns=names)
    net = LeNet5Classifier(**quick | {"max_epochs": 1}).fit(frame, y[:60])
    save_model(net, tmp_path / "net")
    frame[:5].to_csv(tmp_path / "right.csv", index=False)
    frame[:5][names[::-1]].to_csv(tmp_path / "turned.csv", index=False)
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "net", "right.csv", "turned.csv", "--format", "json")
    assert status == 1
    expected = net.predict_proba(frame[:5]).max(axis=1)
    found = [each["probability"] for each in json.loads(out)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert "error: turned.csv: its columns are" in err
    assert "names and order must be the same" in err


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.csv", b"", "x.csv: the file is empty"),
        ("x.csv", b"1,2,3\n", "X has 3 features, .* 784"),
        ("x.csv", b"a,b\n1,2\n", "X has 2 features, .* 784"),
        ("x.csv", b"1" * 40_000, "a line has 31,440 characters"),
        ("x.csv", b"1,2\n1,x\n", "in rows 0 to 1: could not convert"),
        ("x.csv", b"\xff\xfe1\x00,\x002\x00", "decode"),
        ("x.csv", b",".join([b"nan"] * 784) + b"\n", "NaN"),
        ("x.npy", b"", "cannot be read as an array"),
        ("x.npy", b"\x93NUMPY\x01\x00\xff\xff{", "cannot be read as an array"),
        ("x.npy", pickle.dumps(Evil()), "cannot be read as an array"),
        ("x.npy", np.array([Evil()]), "cannot be read as an array"),
        ("x.npy", np.zeros((2, 783)), "783 features, .* 784"),
        ("x.npy", np.array(["a"] * 784), "strings"),
        ("x.npy", np.array(3.0), "1 features, .* 784"),
        ("x.npy", np.full((2, 784), np.inf), "infinity"),
    ],
)
def test_bad_files_of_rows_are_told(model, folder, capsys, name, content, reason):
    if isinstance(content, np.ndarray):
        file = io.BytesIO()
        np.save(file, content)
        content = file.getvalue()
    (folder / name).write_bytes(content)
    status, out, err = run(capsys, model, name, "pics/a.PNG")
    assert status == 1
    assert [line.split("\t")[0] for line in out.splitlines()] == ["pics/a.PNG"]
    (line,) = err.splitlines()
    assert line.startswith(f"fmnist-sklearn: error: {name}")
    assert re.search(reason, line)
    assert not os.path.exists("evil")


@pytest.mark.parametrize("name", ["x.csv", "x.npy"])
def test_a_fifo_of_rows_is_not_opened(model, folder, capsys, name):
    os.mkfifo(name)
    status, out, err = run(capsys, model, name)
    assert (status, out) == (1, "")
    assert err == f"fmnist-sklearn: error: {name}: is a FIFO, expected a regular file\n"


# Preparation -----------------------------------------------------------------------


def test_pictures_are_prepared_as_they_were_trained(coloured, folder, capsys):
    net, X = coloured
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


@pytest.mark.parametrize(
    ("classes", "image_shape", "guess"),
    [
        (np.array(sorted(CLASS_NAMES)), (1, 28, 28), "clothing"),
        (np.arange(10), (1, 28, 28), "clothing"),
        (np.arange(10), (3, 28, 28), "resize"),
        (np.arange(1, 11), (1, 28, 28), "resize"),
        (np.array([f"c{i}" for i in range(10)]), (1, 28, 28), "resize"),
        (np.array(sorted(CLASS_NAMES)[:9]), (1, 28, 28), "resize"),
    ],
)
def test_preparation_that_the_file_does_not_state(lenet5, classes, image_shape, guess):
    net = copy.copy(lenet5)
    net.classes_, net.image_shape_ = classes, image_shape
    prepare, note = choose_preparation("net", None, net)
    assert prepare == guess
    if guess == "clothing":  # what was trained on Fashion-MNIST is no guess
        assert note is None
    else:
        assert "resize is assumed" in note
        assert "--prepare" in note
    for stated in ("clothing", "resize"):
        assert choose_preparation("net", stated, net) == (stated, None)


def test_pixels_come_in_the_range_that_was_fitted(X, y, quick, folder, lenet5, capsys):
    net = LeNet5Classifier(**quick).fit(X / 255, y)
    save_model(net, "net", preparation="resize")
    status, out, err = run(capsys, "net", "pics/b.png", "pics/a.PNG")
    assert status == 0
    assert "pictures are scaled to 0..1" in err
    shown = [line.split("\t")[1:] for line in out.splitlines()]
    expected = net.predict_proba(X[:2] / 255)
    assert shown == [[str(row.argmax()), f"{row.max():.3f}"] for row in expected]
    assert pixel_factor(lenet5) == (1, None)


@pytest.mark.parametrize("how", ["range", "channels", "rows"])
def test_a_model_that_takes_no_pictures_takes_rows(X, y, quick, folder, capsys, how):
    rows = {
        "range": X / 127.5 - 1,
        "channels": X.reshape(-1, 2, 14, 28),
        "rows": X[:, :700],
    }[how]
    net = LeNet5Classifier(**quick | {"max_epochs": 1, "image_shape": None})
    net.fit(rows, y)
    save_model(net, "net")
    status, out, err = run(capsys, "net", "pics")
    assert (status, out) == (1, "")
    assert err.startswith("fmnist-sklearn: error: the model was fitted on ")
    assert "give rows of pixels, as .npy or .csv" in err
    np.save("rows.npy", rows[:3])
    status, out, err = run(capsys, "net", "rows.npy")
    assert (status, len(out.splitlines()), err) == (0, 3, "")


# Output ----------------------------------------------------------------------------


def test_json_is_one_array(model, folder, lenet5, X, capsys):
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


def test_csv_and_text_with_the_best_labels(model, folder, capsys):
    _, out, _ = run(capsys, model, "pics", "--format", "csv", "--top", "2")
    table = pd.read_csv(io.StringIO(out))
    columns = ["path", "row", "label", "probability", "label_1", "probability_1"]
    assert list(table.columns) == [*columns, "label_2", "probability_2"]
    assert table["path"].tolist() == IN_ORDER
    assert (table["label"] == table["label_1"]).all()
    assert (table["probability_1"] >= table["probability_2"]).all()
    _, out, _ = run(capsys, model, "pics", "--top", "99")
    for line in out.splitlines():
        assert len(line.split("\t")) == 3 + 2 * 10


@pytest.mark.parametrize("format_", ["text", "csv", "json"])
def test_below_the_threshold_the_answer_is_unsure(model, folder, capsys, format_):
    options = ["--format", format_, "--min-confidence", "0.999999", "--top", "2"]
    status, out, _ = run(capsys, model, "pics", *options)
    assert status == 0
    assert out.count("unsure") == 4
    options[3] = "0"
    assert "unsure" not in run(capsys, model, "pics", *options)[1]


def test_names_that_csv_must_quote(model, folder, X, capsys):
    name = 'a, "b"\n.png'
    Image.fromarray(X[0].reshape(28, 28)).save(name)
    _, out, _ = run(capsys, model, name, "--format", "csv")
    _, row = csv.reader(io.StringIO(out))
    assert row[0] == 'a, "b"\\n.png'
    _, out, _ = run(capsys, model, name, "--format", "json")
    assert json.loads(out)[0]["path"] == name


@pytest.mark.parametrize("format_", ["text", "csv", "json"])
def test_a_file_holds_what_would_be_printed(model, folder, capsys, format_):
    argv = [model, "pics", "missing.png", "--format", format_]
    status, printed, told = run(capsys, *argv)
    assert run(capsys, *argv, "--out", "out") == (status, "", told) == (1, "", told)
    assert (folder / "out").read_text(encoding="utf-8") == printed


def test_out_is_tried_before_anything_is_read(model, folder, monkeypatch, capsys):
    def read(*args, **kwargs):
        pytest.fail("the model was read all the same")

    monkeypatch.setattr("fmnist_sklearn.cli.predict.load_model_and_preparation", read)
    os.mkfifo("fifo")
    for out in ("missing/out", "fifo", "pics"):
        status, _, err = run(capsys, model, "pics", "--out", out)
        assert status == 1
        assert err.startswith(f"fmnist-sklearn: error: {out}: ")
    for out in (model, "pics/b.png"):
        before = Path(out).read_bytes()
        status, _, err = run(capsys, model, "pics/b.png", "--out", out)
        assert (status, Path(out).read_bytes()) == (1, before)
        assert "--out names a file that is to be read" in err


def test_an_interrupted_run_leaves_the_old_file(model, folder, monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    (folder / "out").write_text("old")
    monkeypatch.setattr("fmnist_sklearn.cli.predict.read_pictures", interrupt)
    assert run(capsys, model, "pics", "--out", "out")[0] == 130
    assert (folder / "out").read_text() == "old"
    assert sorted(os.listdir()) == ["out", "pics"]
