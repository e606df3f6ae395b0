import copy
import io
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fmnist_sklearn
from fmnist_sklearn import (
    FitCache,
    LeNet5Classifier,
    datasets,
    load_fashion_mnist_sample,
    load_model,
    models,
    save_model,
)
from fmnist_sklearn.benchmark import data as benchmark_data
from fmnist_sklearn.cli import main, make_parser
from fmnist_sklearn.cli.output import (
    escape_unencodable,
    flush_output,
    print_line,
    print_notice,
    print_table,
    printable,
)
from fmnist_sklearn.datasets import CLASS_NAMES
from fmnist_sklearn.photos import PREPARATIONS
from fmnist_sklearn.recipes import RECIPES


@pytest.fixture
def quick(monkeypatch):
    """Two epochs a fit, and a benchmark's sample of few images."""

    def load_part(*, subset):
        bunch = load_fashion_mnist_sample(subset=subset)
        bunch.data, bunch.target = bunch.data[:240], bunch.target[:240]
        return bunch

    monkeypatch.setattr(benchmark_data, "load_fashion_mnist_sample", load_part)
    recipes = {
        recipe: {name: {**kwargs, "max_epochs": 2} for name, kwargs in models.items()}
        for recipe, models in RECIPES.items()
    }
    monkeypatch.setattr(models, "RECIPES", recipes)


@pytest.fixture(scope="module")
def model_file(lenet5, tmp_path_factory):
    """A network of two epochs, for tests in which the labels do not matter."""
    path = tmp_path_factory.mktemp("quick") / "lenet5.safetensors"
    save_model(lenet5, path, preparation="clothing")
    return str(path)


@pytest.fixture
def picture(X, tmp_path, monkeypatch):
    """Save a picture under a name in the folder where the test runs."""
    monkeypatch.chdir(tmp_path)

    def save(name):
        with open(name, "wb") as file:
            Image.fromarray(X[0].reshape(28, 28)).save(file, format="png")
        return os.fsdecode(name)

    return save


def errors(capsys):
    """Return the one line on stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fmnist-sklearn: error: ")
    return line


def exits(status, *argv):
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == status


def parsed(capsys, *argv):
    """Return what a command prints as JSON."""
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# Training -----------------------------------------------------------------------------


def test_fit_prints_its_accuracy_and_predict_names_pictures(tmp_path, capsys):
    path = str(tmp_path / "lenet5.safetensors")
    argv = ["fit", "LeNet5Classifier", "--data", "sample", "--recipe", "fast"]
    assert main([*argv, "--out", path]) == 0
    match = re.fullmatch(
        r"LeNet5, trained on 6,000 images \(5 epochs, \d+\.\d s\): accuracy "
        rf"(0\.\d{{4}}) on 1,000 test images. Saved as {path}\n",
        capsys.readouterr().out,
    )
    assert float(match[1]) > 0.8
    shown = parsed(capsys, "show", path)
    assert shown["classes"] == sorted(CLASS_NAMES)
    assert (shown["image_shape"], shown["preparation"]) == ([1, 28, 28], "clothing")
    # One clear image of each of a few classes, as it is and as a photograph would
    # be: larger, and dark on light.
    test = load_fashion_mnist_sample(subset="test")
    expected = []
    for label in (1, 5, 8, 9):
        image = test.images[np.flatnonzero(test.target == label)[0]]
        plain, photo = tmp_path / f"{label}.png", tmp_path / f"{label}.jpg"
        Image.fromarray(image).save(plain)
        Image.fromarray(255 - image).resize((280, 280)).convert("RGB").save(photo)
        expected += [(plain, CLASS_NAMES[label]), (photo, CLASS_NAMES[label])]
    assert main(["predict", path, *(str(each) for each, _ in expected)]) == 0
    hits = 0
    lines = capsys.readouterr().out.splitlines()
    for line, (picture, name) in zip(lines, expected, strict=True):
        shown_path, shown_name, probability = line.split("\t")
        assert shown_path == str(picture)
        assert shown_name in CLASS_NAMES
        assert 0.1 <= float(probability) <= 1
        hits += shown_name == name
    assert hits >= 6


def test_fit_checks_before_training_that_it_can_write(tmp_path, monkeypatch, capsys):
    def load_data(*args):
        pytest.fail("the data were loaded")

    monkeypatch.setattr("fmnist_sklearn.benchmark.load_data", load_data)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for out in ("fifo", "n" * 300, "loop", ".", "missing/file"):
        path = str(tmp_path / out)
        assert main(["fit", "lenet5", "--data", "sample", "--out", path]) == 1
        assert path in errors(capsys)
    assert sorted(os.listdir(tmp_path)) == ["fifo", "loop"]


def test_benchmark_without_the_full_data_uses_the_sample(
    quick, monkeypatch, tmp_path, capsys
):
    def fail(**kwargs):
        raise OSError("no network. To get the data, install a package.")

    monkeypatch.setattr(benchmark_data, "fetch_fashion_mnist", fail)
    out = tmp_path / "out"
    argv = ["benchmark", "--models", "lenet5", "--lr", "0.01", "--out", str(out)]
    assert main([*argv, "--batch-size", "256", "512", "--seed", "1"]) == 0
    printed, warned = capsys.readouterr()
    assert re.search("^fmnist-sklearn: warning: The full", warned, re.MULTILINE)
    assert "To get the data, install a package." in warned
    assert "LeNet5 (lr=0.01, batch_size=256)" in printed
    assert "LeNet5 (lr=0.01, batch_size=512)" in printed
    assert re.search(r"Best row, by validation accuracy: LeNet5 \(lr=0.01, ", printed)
    assert "figures of the bundled sample" in printed
    table = printed[: printed.index("Best row")]
    assert max(map(len, table.splitlines())) <= 100
    files = re.search(f"^Written to {out}: (.*)$", printed, re.MULTILINE)[1]
    assert sorted(files.split(", ")) == sorted(os.listdir(out))
    assert len(os.listdir(out)) == 12

    assert main([*argv, "--data", "full"]) == 1
    assert "error: no network" in capsys.readouterr().err


def test_fits_lists_and_deletes_some_or_all(X, y, tmp_path, capsys):
    X, y = X[:60], y[:60]
    for params in ({"lr": 0.01}, {"lr": 0.02}, {"validation_fraction": 0}):
        net = LeNet5Classifier(**params, max_epochs=1, random_state=0, memory=tmp_path)
        net.fit(X, y)
    FitCache(tmp_path).write("earlier1", {"weight": X[:1]}, {})  # of an earlier version
    argv = ["fits", str(tmp_path)]
    names = [fit["name"] for fit in parsed(capsys, *argv)]
    assert main(argv) == 0
    *lines, end = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in lines] == [name[:8] for name in names]
    assert re.search(r" 0\.0 MB$", lines[3])
    first = r"MB  accuracy [01]\.\d{4}      60 rows    1 epochs +\d\.\d s  "
    first += r"LeNet5Classifier\(max_epochs=1, random_state=0\)$"
    assert re.search(first, lines[0])
    assert "accuracy None  " in lines[2]
    assert re.fullmatch(r"4 fits, \d\.\d MB", end)

    assert len(parsed(capsys, *argv, "--where", "model=LeNet5Classifier")) == 3
    assert parsed(capsys, *argv, "--where", "lr=0.3", "--clear") == {"n_deleted": 0}
    which = ["--where", "lr=0.02", "lr=0.03", "max_epochs=1"]
    assert main([*argv, *which, "--clear"]) == 0
    deleted, end = capsys.readouterr().out.splitlines()
    assert (deleted[:8], end) == (names[1][:8], "1 fits deleted")
    which = ["--where", f"id={names[0][:8]}", "id=earlier1"]
    assert parsed(capsys, *argv, *which, "--clear") == {"n_deleted": 2}
    assert [fit["name"] for fit in parsed(capsys, *argv)] == names[2:3]
    assert parsed(capsys, *argv, "--clear") == {"n_deleted": 1}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of small photos in two classes, of sizes and kinds that differ."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, colour in (("leaf", (40, 160, 60)), ("sky", (70, 120, 220))):
        (folder / name).mkdir()
        for i in range(30):
            size = (*rng.integers(20, 60, 2), 3)
            pixels = np.clip(rng.normal(colour, 20, size), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(
                folder / name / f"{i}.{'jpg' if i % 2 else 'png'}"
            )
    return folder


def test_fit_of_a_folder_predicts_its_classes(quick, photos, tmp_path, capsys):
    path = str(tmp_path / "net")
    argv = ["fit", "lenet5", "--data", str(photos), "--recipe", "fast"]
    argv += ["--batch-size", "8"]
    found = parsed(capsys, *argv, "--out", path)
    assert (found["n_train"], found["n_test"]) == (48, 12)
    assert (found["model"], found["epochs"], found["files"]) == ("LeNet5", 2, [path])
    assert 0 < found["test_accuracy"] <= 1
    shown = parsed(capsys, "show", path)
    assert shown["classes"] == ["leaf", "sky"]
    assert (shown["image_shape"], shown["preparation"]) == ([3, 32, 32], "resize")
    predicted = parsed(capsys, "predict", path, str(photos))
    hits = [Path(each["path"]).parent.name == each["label"] for each in predicted]
    assert np.mean(hits) > 0.8
    assert "note" not in capsys.readouterr().err

    # Grey, and with a folder to test on.
    argv += ["--test", str(photos), "--image-shape", "1x28x28", "--prepare", "resize"]
    found = parsed(capsys, *argv, "--out", path)
    assert (found["n_train"], found["n_test"]) == (60, 60)
    assert parsed(capsys, "show", path)["image_shape"] == [1, 28, 28]


def test_fit_without_a_recipe_is_that_of_python(photos, tmp_path, capsys):
    """On few pictures, for which the epochs of the recipes are not meant."""
    path = str(tmp_path / "net")
    images = benchmark_data.load_pictures(photos)
    argv = ["fit", "lenet5", "--data", str(photos), "--out", path]
    found = parsed(capsys, *argv)
    net = LeNet5Classifier(random_state=0).fit(images.X_train, images.y_train)
    assert (found["epochs"], load_model(path).get_params()) == (
        net.n_iter_,
        net.get_params(),
    )
    assert found["test_accuracy"] == net.score(images.X_test, images.y_test)

    argv += ["--lr", "0.0001", "--batch-size", "20", "--max-epochs", "1", "--seed", "1"]
    argv += ["--memory", str(tmp_path / "kept")]
    assert main(argv) == 0
    assert "warning: the validation loss was still falling" in capsys.readouterr().err
    given = {"lr": 1e-4, "batch_size": 20, "max_epochs": 1, "random_state": 1}
    assert load_model(path).get_params() == LeNet5Classifier(**given).get_params()
    assert main(argv) == 0
    printed, warned = capsys.readouterr()
    assert printed.startswith("LeNet5, read from --memory, trained on 48 images (1 ep")
    assert "still falling after 1 epochs" in warned


def test_benchmark_and_search_of_a_folder(quick, photos, tmp_path, capsys):
    out = tmp_path / "out"
    own = ["--data", str(photos), "--out", str(out)]
    argv = ["benchmark", *own, "--models", "lenet5", "--batch-size", "16"]
    found = parsed(capsys, *argv)
    assert found["data"]["source"] == str(photos)
    page = (out / "results.md").read_text()
    assert page.startswith(f"# Benchmark on {photos.name}/\n")
    assert "As published" not in page
    argv = ["search", "lenet5", *own, "--lr", "0.003", "0.01", "--cv", "2"]
    found = parsed(capsys, *argv, "--max-epochs", "1")
    assert len(found["candidates"]) == 2
    shown = parsed(capsys, "show", str(out / "best.safetensors"))
    assert shown["preparation"] == "resize"


def test_commands_take_arrays(quick, X, y, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("own.npz", images=X, labels=np.array(CLASS_NAMES)[y])
    np.save("X.npy", X)
    np.save("y.npy", y)
    own = ["--data", "own.npz", "--recipe", "fast"]
    found = parsed(capsys, "fit", "lenet5", *own, "--out", "net")
    assert (found["n_train"], found["n_test"]) == (len(y) * 4 // 5, len(y) // 5)
    shown = parsed(capsys, "show", "net")
    assert (shown["classes"], shown["preparation"]) == (sorted(CLASS_NAMES), None)
    argv = ["benchmark", *own, "--models", "lenet5", "--batch-size", "64"]
    assert parsed(capsys, *argv)["data"]["name"] == "own.npz"
    argv = ["search", "lenet5", "--data", "X.npy", "--labels", "y.npy", "--cv", "2"]
    found = parsed(capsys, *argv, "--lr", "0.01", "--max-epochs", "1")
    assert found["data"]["source"] == "X.npy"
    for argv, message in (
        (["--data", "none.npz"], "none.npz: No such file or directory"),
        (["--data", "own.npz", "--prepare", "resize"], "--prepare: not available"),
        (["--data", ".", "--labels", "y.npy"], "--labels: not available with --data ."),
    ):
        assert main(["fit", "lenet5", *argv, "--out", "net"]) == 1
        assert message in errors(capsys)


# Stored networks and data -------------------------------------------------------------


def test_export_calls_export_onnx_or_names_its_extra(model_file, monkeypatch, capsys):
    argv = ["export", model_file, "--out", "net.onnx"]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnx", None)
        assert main(argv) == 1
    assert 'pip install "fmnist-sklearn[onnx]"' in errors(capsys)
    called = []
    monkeypatch.setattr(
        "fmnist_sklearn.export.export_onnx",
        lambda *args, **kwargs: called.append((args[1:], kwargs)),
    )
    for options in ({}, {"input_dtype": "float32"}):
        given = ["--input-dtype", *options.values()] if options else []
        assert main([*argv, *given]) == 0
        assert called.pop() == ((Path("net.onnx"),), options)
        assert capsys.readouterr().out == "Written to net.onnx\n"


def test_export_writes_a_page(model_file, tmp_path, capsys):
    argv = ["export", model_file, "--html", str(tmp_path / "net.html")]
    assert main(argv) == 0
    assert "<title>net</title>" in (tmp_path / "net.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main([*argv, "--input-dtype", "float32"]) == 1
    assert "--input-dtype: not available with --html" in errors(capsys)
    for wrong in (argv[:2], [*argv, "--out", "net.onnx"]):
        with pytest.raises(SystemExit):
            main(wrong)


def test_fetch_prints_where_the_data_are(monkeypatch, tmp_path, capsys):
    def fetch(subset, data_home):
        assert (subset, data_home) == ("all", tmp_path)
        return load_fashion_mnist_sample(subset=subset)

    monkeypatch.setattr(datasets, "fetch_fashion_mnist", fetch)
    monkeypatch.setattr(datasets, "fashion_mnist_source", lambda home: "/some/folder")
    assert main(["fetch", "--data-home", str(tmp_path)]) == 0
    expected = "Fashion-MNIST, 7,000 images, verified: /some/folder\n"
    assert capsys.readouterr().out == expected


def test_predict_warns_of_pictures_without_an_item(model_file, picture, capsys):
    Image.new("RGB", (60, 60), "white").save("blank.png")
    assert main(["predict", model_file, "blank.png", picture("a.png"), "./a.png"]) == 1
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()] == ["a.png", "./a.png"]
    (line,) = err.splitlines()
    assert line.startswith("fmnist-sklearn: warning: blank.png: no item of clothing")
    assert main(["predict", model_file, "blank.png", "missing.png"]) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 2)


def test_predict_reports_pillows_warnings(model_file, picture, monkeypatch, capsys):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert main(["predict", model_file, picture("a.png")]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("a.png\t")
    assert captured.err.startswith("fmnist-sklearn: warning: Image size (784 pixels)")


# Errors and help ----------------------------------------------------------------------

COMMANDS = ["benchmark", "search", "fit", "predict", "show", "export", "fetch", "fits"]
PREDICT = ["predict", "file", "a.png"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["train"], "invalid choice: 'train'"),
        (["benchmark", "--recipe", "slow"], "fast, accurate or .*, got 'slow'"),
        (["benchmark", "--models", "vgg"], "expected lenet5 or minivgg, got 'vgg'"),
        (["benchmark", "--lr", "-1"], "expected a number above 0, got '-1'"),
        (["benchmark", "--batch-size", "0"], "integer of at least 1, got '0'"),
        (["benchmark", "--n-jobs", "0"], "an integer other than 0, got '0'"),
        (["benchmark", "--seed", "-1"], "an integer from 0 to .*, got '-1'"),
        (["fit", "lenet5"], "the following arguments are required: --out"),
        (["fit", "--image-shape", "32x32"], "such as 3x32x32, got '32x32'"),
        (["fits", ".", "--where", "lr"], "such as lr=0.01, got 'lr'"),
        ([*PREDICT, "--min-confidence", "1.5"], "from 0 to .* '1.5'"),
        (["show", "net", "other"], "unrecognized arguments: other"),
        ([*PREDICT, "--min-confidense", "1"], "did you mean --min-confidence?"),
        (["fit", "lenet5", "--out", "net", "--sede=1"], "did you mean --seed?"),
        (
            ["fit", "lenet5", "--out", "a", "--learning-rate", "1"],
            "options are .*--lr,",
        ),
    ],
)
def test_main_exits_with_2_for_bad_usage(argv, message, capsys):
    exits(2, *argv)
    err = capsys.readouterr().err
    assert re.search(message, err)
    command = argv[0] if argv and argv[0] in COMMANDS else ""
    assert err.startswith(f"usage: fmnist-sklearn {command}".rstrip() + " [-h] ")


def test_main_reports_errors_in_one_line(model_file, tmp_path, capsys):
    missing, text = str(tmp_path / "missing"), tmp_path / "text.png"
    text.write_text("no picture")
    fit = ["fit", "lenet5", "--data", "sample", "--out", str(tmp_path / "net")]
    own_only = "--test, --image-shape: not available with --data sample"
    for argv, name in (
        (["predict", missing, "x.png"], missing),
        (["predict", model_file, missing], missing),
        (["predict", model_file, str(text)], "text.png"),
        (["predict", str(text), "x.png"], "text.png"),
        (["benchmark", "--data", "sample", "--out", str(text)], "png: File exists"),
        ([*fit, "--test", ".", "--image-shape", "1x28x28"], own_only),
        (["show", missing], "No such file"),
    ):
        assert main(argv) == 1
        assert name in errors(capsys)


def test_main_exits_with_130_after_ctrl_c(monkeypatch, capsys, tmp_path):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("fmnist_sklearn.training.loop.Training.run", interrupt)
    monkeypatch.setattr("sys.argv", ["fmnist-sklearn", "search", "lenet5"])
    argv = ["search", "lenet5", "--data", "sample", "--lr", "0.01"]
    assert main([*argv, "--out", str(tmp_path)]) == 130
    assert "interrupted; no fits are kept without memory" in capsys.readouterr().err
    memory = tmp_path / "fits"
    assert main([*argv, "--out", str(tmp_path), "--memory", str(memory)]) == 130
    assert capsys.readouterr().err.endswith(
        f"interrupted; 0 fits are kept in {memory}, and the same call goes on from "
        "there: fmnist-sklearn search lenet5\n"
    )


def test_main_shortens_the_errors_of_failed_fits(tmp_path, capsys):
    argv = ["search", "lenet5", "--data", "sample", "--cv", "2", "--max-epochs", "1"]
    assert main([*argv, "--lr", "1e30", "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "error: All the 2 fits failed, such as: " in error
    assert "diverged" in error
    assert len(error) < 250


def test_main_is_what_the_module_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["-m", "--help"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("fmnist_sklearn", run_name="__main__")
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: fmnist-sklearn ")
    for name in COMMANDS:
        assert name in shown


def test_version(capsys):
    exits(0, "--version")
    assert capsys.readouterr().out == f"fmnist-sklearn {fmnist_sklearn.__version__}\n"


LOADED = """
import contextlib, sys
from fmnist_sklearn.cli import main
for argv in ["--help"], ["--version"], ["fit", "--help"]:
    with contextlib.suppress(SystemExit):
        main(argv)
    assert not {"torch", "sklearn", "numpy"} & set(sys.modules), argv
"""


@pytest.mark.slow
def test_main_loads_only_what_it_needs():
    subprocess.run([sys.executable, "-c", LOADED], check=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "others"):
        (tmp_path / folder).mkdir()
    exits(0, command, "--help")
    shown, _, examples = capsys.readouterr().out.partition("examples:\n")
    assert max(map(len, shown.splitlines())) <= 80
    assert examples.count("fmnist-sklearn") >= 2
    for line in examples.splitlines():
        program, *argv = shlex.split(line)
        assert (program, argv[0]) == ("fmnist-sklearn", command)
        make_parser().parse_args(argv)
    for option, names in (("recipe", RECIPES), ("prepare", PREPARATIONS)):
        choices = re.search(rf"--{option} ([a-z|]+)", shown)
        assert choices is None or sorted(choices[1].split("|")) == sorted(names)


# Output -------------------------------------------------------------------------------


@pytest.fixture
def printed(monkeypatch):
    """Run the command, and return the bytes that it prints."""

    def run(argv):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            status = main(argv)
        return status, stream.buffer.getvalue()

    return run


def test_predict_prints_names_that_are_not_utf8_unchanged(
    model_file, picture, printed, capsys
):
    name = b"gr\xfcn.png"
    path = picture(name)
    status, out = printed(["predict", model_file, path])
    assert status == 0
    assert out.startswith(name + b"\t")
    os.unlink(name)
    status, out = printed(["predict", model_file, path])
    assert (status, out) == (1, b"")
    assert ascii(path)[1:-1] in capsys.readouterr().err


def test_predict_escapes_control_characters(lenet5, picture, printed, capsys):
    evil = copy.deepcopy(lenet5)
    evil.classes_ = np.array([f"\x1b[31m\t{i}\nü" for i in range(10)])
    save_model(evil, "evil", preparation="clothing")
    path = picture("line\nbreak\x1b]0;x\x07.png")
    status, out = printed(["predict", "evil", path])
    assert status == 0
    name, label, _ = out.decode().splitlines()[0].split("\t")
    assert name == "line<U+000A>break<U+001B>]0;x<U+0007>.png"
    assert re.fullmatch(r"<U\+001B>\[31m<U\+0009>\d<U\+000A>ü", label)
    status, out = printed(["show", "evil"])
    (classes,) = (line for line in out.decode().splitlines() if "classes" in line)
    assert classes.count("<U+000A>ü") == 10
    assert main(["predict", "evil", "missing\nfmnist-sklearn: all is well"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_main_runs_with_closed_streams(model_file, picture, monkeypatch, capsys):
    argv = ["predict", model_file, picture("a.png"), "missing.png"]
    monkeypatch.setattr(sys, "stderr", None)
    assert main(argv) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1
    monkeypatch.setattr(sys, "stdout", None)
    assert main(argv) == 1
    monkeypatch.setattr(sys, "stdin", None)
    assert main(argv[:-1]) == 0


WITHOUT_STREAMS = """
import os, sys
assert sys.stdin is sys.stdout is sys.stderr is None
from sklearn.model_selection import cross_val_score
from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample, run_search
from fmnist_sklearn.cli import main
if __name__ == "__main__":
    file = open("done", "w")
    X, y = load_fashion_mnist_sample(return_X_y=True)
    X, y = X[:200], y[:200]
    net = LeNet5Classifier(max_epochs=1, verbose=1).fit(X, y)
    cross_val_score(net, X, y, cv=2, n_jobs=2)
    run_search("LeNet5", {"lr": [0.01, 0.02]}, X, y, cv=2, max_epochs=1, n_jobs=2)
    os.write(1, b"what C code prints")
    file.write(str(main(["fits", "."])))
"""


@pytest.mark.slow
@pytest.mark.needs("numpy>=2.1")  # 2.0 writes to stderr where it is imported
def test_everything_runs_without_standard_streams(tmp_path):
    """As in services and frozen programs; no file gets a standard stream's number."""
    (tmp_path / "script.py").write_text(WITHOUT_STREAMS)
    closed = [sys.executable, "-W", "ignore", "script.py"]
    command = f"{shlex.join(closed)} <&- >&- 2>&-"
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, env=os.environ)
    assert (tmp_path / "done").read_text() == "0"


def test_print_table_has_every_cell_at_any_width(monkeypatch, capsys):
    row = {"model": "MiniVGG (lr=0.001)", "accuracy": "0.9217 ± 0.0024", "epochs": "40"}
    for width in (200, 40):
        monkeypatch.setenv("COLUMNS", str(width))
        print_table(pd.DataFrame([row, row]))
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= width
        assert len(lines) == (3 if width == 200 else 7)
        words = " ".join(lines).split()
        assert words.count("0.0024") == words.count("40") == 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("grün ☂ シャツ", "grün ☂ シャツ"),
        ("a\tb\nc\r", "a<U+0009>b<U+000A>c<U+000D>"),
        ("a\\tb", "a\\tb"),
        ("\x1b[2J\x9b31m\x7f", "<U+001B>[2J<U+009B>31m<U+007F>"),
        ("gnp\u202egpj\u2028", "gnp<U+202E>gpj<U+2028>"),
        ("\udcfc", "\udcfc"),
        (7, "7"),
    ],
)
def test_printable(value, expected):
    assert printable(value) == expected


def test_print_line_takes_any_text(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    escape_unencodable(sys.stdout)
    print_line("gr\udcfcn grün ☂ 1 ± 2")
    assert stream.buffer.getvalue() == b"gr\\udcfcn gr\\xfcn \\u2602 1 \\xb1 2\n"


@pytest.fixture
def unread():
    """A text file into a pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        yield stream
        stream.flush()  # as Python does when it exits


@pytest.mark.parametrize("function", [lambda: print_line("a"), flush_output])
def test_print_line_to_a_closed_pipe_exits_with_141(monkeypatch, unread, function):
    monkeypatch.setattr(sys, "stdout", unread)
    print("usage: ...")
    with pytest.raises(SystemExit, match="141"):
        function()
    unread.flush()
    print_line("b")


def test_print_notice_to_a_closed_pipe_does_nothing(monkeypatch, unread):
    monkeypatch.setattr(sys, "stderr", unread)
    print_notice("a")
    print_notice("b")
    flush_output()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_print_line_to_a_full_disk_is_an_error(monkeypatch):
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(OSError, match="No space left"):
            print_line("a")
        stream.flush()
