import copy
import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fmnist_sklearn
from fmnist_sklearn import (
    inspect_model,
    load_fashion_mnist_sample,
    models,
    save_model,
)
from fmnist_sklearn.benchmark import data as benchmark_data
from fmnist_sklearn.cli import main, make_parser
from fmnist_sklearn.datasets import CLASS_NAMES
from fmnist_sklearn.photos import PREPARATIONS
from fmnist_sklearn.recipes import RECIPES
from fmnist_sklearn.storage import check_writable


@pytest.fixture(scope="module")
def test_images():
    return load_fashion_mnist_sample(subset="test")


@pytest.fixture
def quick(monkeypatch):
    """Two epochs a fit."""
    recipes = {
        recipe: {name: {**kwargs, "max_epochs": 2} for name, kwargs in models.items()}
        for recipe, models in RECIPES.items()
    }
    monkeypatch.setattr(models, "RECIPES", recipes)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A network good enough to name clear images, by the command itself."""
    path = tmp_path_factory.mktemp("model") / "lenet5.safetensors"
    assert main(["fit", "lenet5", "--data", "sample", "--out", str(path)]) == 0
    return path


def test_benchmark_prints_table_best_row_and_files(quick, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["benchmark", "--data", "sample", "--models", "lenet5", "--lr", "0.01"]
    argv += ["--batch-size", "256", "512", "--seed", "1", "--out", str(out)]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert "LeNet5 (lr=0.01, batch_size=256)" in printed
    assert "LeNet5 (lr=0.01, batch_size=512)" in printed
    assert re.search(r"Best row, by validation accuracy: LeNet5 \(lr=0.01, ", printed)
    assert "bundled sample" in printed
    table = printed[: printed.index("Best row")]
    assert max(map(len, table.splitlines())) <= 100
    assert len(os.listdir(out)) == 10


def test_fit_tells_its_accuracy_and_predict_names_pictures(
    model_file, test_images, tmp_path, capsys
):
    # One clear image of each of a few classes, as it is and as a photograph would
    # be: larger, and dark on light.
    expected = []
    for label in (1, 5, 8, 9):
        image = test_images.images[np.flatnonzero(test_images.target == label)[0]]
        plain, photo = tmp_path / f"{label}.png", tmp_path / f"{label}.jpg"
        Image.fromarray(image).save(plain)
        Image.fromarray(255 - image).resize((280, 280)).convert("RGB").save(photo)
        expected += [(plain, CLASS_NAMES[label]), (photo, CLASS_NAMES[label])]
    assert main(["predict", str(model_file), *(str(path) for path, _ in expected)]) == 0
    lines = capsys.readouterr().out.splitlines()
    hits = 0
    for line, (path, name) in zip(lines, expected, strict=True):
        shown_path, shown_name, probability = line.split("\t")
        assert shown_path == str(path)
        assert shown_name in CLASS_NAMES
        assert 0.1 <= float(probability) <= 1
        hits += shown_name == name
    assert hits >= 6


def test_fit_prints_test_accuracy(quick, tmp_path, capsys):
    path = tmp_path / "net"
    argv = ["fit", "LeNet5Classifier", "--data", "sample", "--out", str(path)]
    assert main([*argv, "--batch-size", "256", "--seed", "2"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"accuracy 0\.\d{4} on 1,000 test images", printed)
    assert path.exists()


def test_fetch_tells_where_the_data_is(monkeypatch, tmp_path, capsys):
    from fmnist_sklearn import datasets

    def fetch(subset, data_home):
        assert (subset, data_home) == ("all", tmp_path)
        return load_fashion_mnist_sample(subset=subset)

    monkeypatch.setattr(datasets, "fetch_fashion_mnist", fetch)
    monkeypatch.setattr(datasets, "fashion_mnist_source", lambda home: "/some/folder")
    assert main(["fetch", "--data-home", str(tmp_path)]) == 0
    expected = "Fashion-MNIST, 7,000 images, verified: /some/folder\n"
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["train"], "invalid choice: 'train'"),
        (["benchmark", "--data", "all"], "or an existing folder, got 'all'"),
        (["benchmark", "--recipe", "slow"], "fast, accurate or .*, got 'slow'"),
        (["benchmark", "--models", "vgg"], "expected lenet5 or minivgg, got 'vgg'"),
        (["benchmark", "--lr", "-1"], "expected a number above 0, got '-1'"),
        (["benchmark", "--lr", "x"], "expected a number above 0, got 'x'"),
        (["benchmark", "--batch-size", "0"], "integer of at least 1, got '0'"),
        (["benchmark", "--cv", "1"], "'holdout' or a number of folds, 2 or more, got"),
        (["benchmark", "--n-jobs", "0"], "an integer other than 0, got '0'"),
        (["benchmark", "--seed", "-1"], "an integer from 0 to .*, got '-1'"),
        (["fit", "lenet5"], "the following arguments are required: --out"),
        (["predict", "file"], "the following arguments are required: IMAGE"),
        (["predict", "file", "a.png", "--top", "0"], "integer of at least 1, got '0'"),
        (["predict", "file", "a.png", "--prepare", "crop"], "or resize, got 'crop'"),
        (["predict", "file", "a.png", "--min-confidence", "1.5"], "from 0 to .* '1.5'"),
        (["predict", "file", "a.png", "--format", "xml"], "or json, got 'xml'"),
        (["show"], "the following arguments are required: FILE"),
        (["export", "file"], "the following arguments are required: --out"),
    ],
)
def test_bad_usage_exits_with_2(argv, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def errors(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fmnist-sklearn: error: ")
    return line


def test_errors_are_one_line_and_exit_with_1(model_file, tmp_path, capsys):
    capsys.readouterr()
    missing = tmp_path / "missing"
    assert main(["predict", str(missing), "x.png"]) == 1
    assert str(missing) in errors(capsys)

    assert main(["predict", str(model_file), str(missing)]) == 1
    assert str(missing) in errors(capsys)

    (tmp_path / "text.png").write_text("no picture")
    assert main(["predict", str(model_file), str(tmp_path / "text.png")]) == 1
    assert "text.png" in errors(capsys)

    assert main(["predict", str(tmp_path / "text.png"), "x.png"]) == 1
    assert "text.png" in errors(capsys)

    for out in (tmp_path, missing / "file"):
        assert main(["fit", "lenet5", "--data", "sample", "--out", str(out)]) == 1
        assert "--out must name a file in a folder that exists" in errors(capsys)

    out = tmp_path / "text.png"
    assert main(["benchmark", "--data", "sample", "--out", str(out)]) == 1
    assert "text.png: File exists" in errors(capsys)


# Pictures among others --------------------------------------------------------------


@pytest.fixture(scope="module")
def quick_file(lenet5, tmp_path_factory):
    """A network of two epochs, for which any answer will do."""
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


def test_a_bad_picture_does_not_cost_the_others(quick_file, picture, capsys):
    Image.new("RGB", (60, 60), "white").save("blank.png")
    Image.new("RGBA", (60, 60), (0, 0, 0, 0)).save("clear.png")
    Path("heic.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    Path("empty.png").touch()
    Path(picture("cut.png")).write_bytes(Path("cut.png").read_bytes()[:60])
    Path("folder").mkdir()
    good = [picture("a.png"), picture("b.png"), "./a.png"]
    bad = ["missing.png", "heic.jpg", "empty.png", "cut.png", "folder"]
    unseen = ["blank.png", "clear.png"]
    names = ["missing.png", "a.png", "blank.png", "b.png", *bad[1:], "clear.png"]
    assert main(["predict", quick_file, *names, "./a.png"]) == 1
    captured = capsys.readouterr()
    assert [line.split("\t")[0] for line in captured.out.splitlines()] == good
    told = captured.err.splitlines()
    assert len(told) == len(bad + unseen)
    for name in bad:
        assert sum(f"fmnist-sklearn: error: {name}" in line for line in told) == 1
    for name in unseen:
        expected = f"fmnist-sklearn: warning: {name}: no item of clothing found"
        assert sum(expected in line for line in told) == 1
    assert main(["predict", quick_file, *good]) == 0


def test_no_picture_is_seen(quick_file, picture, capsys):
    Image.new("L", (60, 60), 90).save("blank.png")
    assert main(["predict", quick_file, "blank.png", "missing.png"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2


def test_pillows_warnings_name_the_picture(quick_file, picture, monkeypatch, capsys):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert main(["predict", quick_file, picture("a.png")]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("a.png\t")
    assert captured.err.startswith("fmnist-sklearn: warning: a.png: Image size (784 ")


# Model files ------------------------------------------------------------------------


def test_fit_finds_out_before_training_that_it_cannot_write(
    tmp_path, monkeypatch, capsys
):
    def train(*args):
        pytest.fail("the data were loaded all the same")

    monkeypatch.setattr("fmnist_sklearn.benchmark.load_data", train)
    os.mkfifo(tmp_path / "fifo")
    for out in ("fifo", "n" * 300):
        path = str(tmp_path / out)
        assert main(["fit", "lenet5", "--data", "sample", "--out", path]) == 1
        assert path in errors(capsys)
    (tmp_path / "loop").symlink_to("loop")
    assert main(["fit", "lenet5", "--out", str(tmp_path / "loop")]) == 1
    assert str(tmp_path / "loop") in errors(capsys)
    assert sorted(os.listdir(tmp_path)) == ["fifo", "loop"]


def test_a_trial_of_writing_leaves_no_trace(tmp_path):
    (tmp_path / "old").write_text("as it was")
    for name in ("old", "new"):
        check_writable(tmp_path / name)
    assert os.listdir(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "as it was"
    with pytest.raises(FileNotFoundError, match="missing"):
        check_writable(tmp_path / "missing" / "file")


def test_fit_keeps_how_pictures_are_prepared(model_file):
    assert inspect_model(model_file).preparation == "clothing"


def test_show_prints_what_the_file_says(quick_file, capsys):
    assert main(["show", quick_file]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^model +LeNet5Classifier$", shown, re.MULTILINE)
    assert re.search(r"^n_parameters +61,750$", shown, re.MULTILINE)
    assert re.search(r"^preparation +clothing$", shown, re.MULTILINE)
    assert main(["show", quick_file + ".missing"]) == 1
    assert "No such file" in errors(capsys)


@pytest.mark.parametrize("input_dtype", ["uint8", "float32"])
def test_export_hands_over_to_export_onnx(
    quick_file, input_dtype, tmp_path, monkeypatch, capsys
):
    called = []
    monkeypatch.setattr(
        "fmnist_sklearn.export.export_onnx",
        lambda *args, **kwargs: called.append((args[1:], kwargs)),
    )
    out = tmp_path / "net.onnx"
    argv = ["export", quick_file, "--out", str(out), "--input-dtype", input_dtype]
    assert main(argv) == 0
    assert called == [((out,), {"input_dtype": input_dtype})]
    assert capsys.readouterr().out == f"Written to {out}\n"


def test_export_without_its_extra_is_one_line(quick_file, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", quick_file, "--out", "net.onnx"]) == 1
    assert "pip install fmnist-sklearn[onnx]" in errors(capsys)


# Among other commands ---------------------------------------------------------------


@pytest.fixture
def printed(monkeypatch):
    """Run the command with a stdout of some encoding, and return what it prints."""

    def run(argv, encoding="utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            status = main(argv)
        return status, stream.buffer.getvalue()

    return run


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("name", [b"gr\xfcn.png", b"\xff\xfe", b"a\x80\xe2\x98.png"])
def test_names_that_are_not_utf8_come_out_as_they_were(
    quick_file, picture, printed, capsys, encoding, name
):
    path = picture(name)
    status, out = printed(["predict", quick_file, path], encoding)
    assert status == 0
    assert out.startswith(name + b"\t")
    os.unlink(name)
    status, out = printed(["predict", quick_file, path], encoding)
    assert (status, out) == (1, b"")
    assert ascii(path)[1:-1] in capsys.readouterr().err


def test_a_model_whose_name_is_not_utf8(lenet5, quick_file, picture, printed):
    name = os.fsdecode(b"netz_gr\xfcn")
    path = picture("a.png")
    save_model(lenet5, name, preparation="clothing")
    assert printed(["predict", name, path]) == printed(["predict", quick_file, path])


def test_names_and_labels_leave_the_terminal_alone(lenet5, picture, printed, capsys):
    evil = copy.deepcopy(lenet5)
    evil.classes_ = np.array([f"\x1b[31m\t{i}\nü" for i in range(10)])
    save_model(evil, "evil", preparation="clothing")
    path = picture("line\nbreak\x1b]0;x\x07.png")
    status, out = printed(["predict", "evil", path])
    assert status == 0
    name, label, _ = out.decode().splitlines()[0].split("\t")
    assert name == r"line\nbreak\x1b]0;x\x07.png"
    assert re.fullmatch(r"\\x1b\[31m\\t\d\\nü", label)
    assert main(["predict", "evil", "missing\nfmnist-sklearn: all is well"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_reader_that_is_gone(quick_file, picture):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "fmnist_sklearn", "predict", quick_file]
    ended = subprocess.run(
        [*command, picture("a.png"), "a.png"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_streams_that_are_closed(quick_file, picture, monkeypatch, capsys):
    argv = ["predict", quick_file, picture("a.png"), "missing.png"]
    monkeypatch.setattr(sys, "stderr", None)
    assert main(argv) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1
    monkeypatch.setattr(sys, "stdout", None)
    assert main(argv) == 1
    monkeypatch.setattr(sys, "stdin", None)
    assert main(argv[:-1]) == 0


def test_benchmark_on_40_columns(monkeypatch, capsys):
    row = {"model": "LeNet5 (lr=0.01, batch_size=512)", "test accuracy": "0.9 ± 0.1"}
    paths = [Path("results.csv"), Path("a-figure-with-a-rather-long-name.svg")]
    result = SimpleNamespace(
        format_table=lambda: pd.DataFrame([row]), format_notes=list, paths=paths
    )
    monkeypatch.setattr(
        "fmnist_sklearn.benchmark.run_benchmark", lambda **kwargs: result
    )
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["benchmark", "--out", "a-folder-with-a-name-longer-than-20"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "LeNet5 (lr=0.01, batch_size=512)",
        "  test accuracy  0.9 ± 0.1",
        "Written to a-folder-with-a-name-longer-than-20: results.csv, "
        "a-figure-with-a-rather-long-name.svg",
    ]


def test_ctrl_c_exits_with_130(monkeypatch, capsys):
    def interrupt(**kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("fmnist_sklearn.benchmark.run_benchmark", interrupt)
    assert main(["benchmark"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_without_the_full_data_it_says_so_and_goes_on(
    quick, monkeypatch, tmp_path, capsys
):
    def fail(**kwargs):
        raise OSError("no network. To get the data, install a package.")

    monkeypatch.setattr(benchmark_data, "fetch_fashion_mnist", fail)
    argv = ["benchmark", "--models", "lenet5", "--batch-size", "512"]
    assert main([*argv, "--out", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert re.search("^fmnist-sklearn: warning: The full", captured.err, re.MULTILINE)
    assert "To get the data, install a package." in captured.err
    assert "figures of the bundled sample" in captured.out

    assert main([*argv, "--data", "full", "--out", str(tmp_path)]) == 1
    assert "error: no network" in capsys.readouterr().err


def test_the_module_runs_as_the_command_does(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["-m", "--help"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("fmnist_sklearn", run_name="__main__")
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: fmnist-sklearn ")
    for name in ("benchmark", "fit", "predict", "show", "export", "fetch"):
        assert name in shown


# Help -------------------------------------------------------------------------------


COMMANDS = ["benchmark", "search", "fit", "predict", "show", "export", "fetch", "fits"]


def helped(capsys, *argv):
    """Return what a command prints before it ends well."""
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 0
    return capsys.readouterr().out


def test_version(capsys):
    assert (
        helped(capsys, "--version") == f"fmnist-sklearn {fmnist_sklearn.__version__}\n"
    )


def test_help_waits_for_no_torch():
    program = "import sys; sys.modules['torch'] = None; sys.modules['sklearn'] = None; "
    program += "from fmnist_sklearn.cli import main; main()"
    for argv in (["--help"], ["--version"], ["fit", "--help"]):
        command = [sys.executable, "-c", program, *argv]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("columns", [80, 120])
def test_help_fits_the_terminal(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in COMMANDS:
        shown = helped(capsys, command, "--help").partition("examples:")[0]
        assert max(map(len, shown.splitlines())) <= columns


def test_examples_of_the_help_parse(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")  # not even there are they broken
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "others"):
        (tmp_path / folder).mkdir()
    for command in COMMANDS:
        shown = helped(capsys, command, "--help").partition("examples:\n")[2]
        assert shown.count("fmnist-sklearn") >= 2
        for line in shown.splitlines():
            program, *argv = shlex.split(line)
            assert (program, argv[0]) == ("fmnist-sklearn", command)
            make_parser().parse_args(argv)


def test_help_names_every_recipe_and_preparation(capsys):
    for command, option, names in (
        ("fit", "--recipe", RECIPES),
        ("predict", "--prepare", PREPARATIONS),
    ):
        named = re.search(rf"{option} ([a-z|]+)", helped(capsys, command, "--help"))[1]
        assert sorted(named.split("|")) == sorted(names)


def test_an_unknown_option_shows_the_usage_of_its_command(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["predict", "net", "a.png", "--min-confidense", "0.5"])
    assert exit_.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("usage: fmnist-sklearn predict [-h] ")
    assert "unrecognized arguments: --min-confidense" in told
    assert told.endswith("did you mean --min-confidence?\n")
    # Rather than that --out is lacking, or any of what came before a command.
    for argv, right in (
        (["fit", "lenet5", "--ou=net"], "--out"),
        (["--versoin", "fit"], "--version"),
    ):
        with pytest.raises(SystemExit):
            main(argv)
        assert capsys.readouterr().err.endswith(f"; did you mean {right}?\n")
    with pytest.raises(SystemExit):
        main(["show", "net", "other"])
    assert capsys.readouterr().err.endswith("unrecognized arguments: other\n")


def test_completion_is_a_script_of_the_shell(capsys):
    script = helped(capsys, "--print-completion", "bash")
    assert "--min-confidence" in script
    bash = shutil.which("bash")
    if bash is not None:
        subprocess.run([bash, "-n"], input=script, text=True, check=True)


# Pictures of one's own --------------------------------------------------------------


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
    argv = ["fit", "lenet5", "--data", str(photos), "--batch-size", "8"]
    found = parsed(capsys, *argv, "--out", path)
    assert (found["n_train"], found["n_test"]) == (48, 12)
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


def test_options_for_folders_need_one(tmp_path, capsys):
    argv = ["fit", "lenet5", "--data", "sample", "--out", str(tmp_path / "net")]
    assert main([*argv, "--test", ".", "--image-shape", "1x28x28"]) == 1
    assert "--test, --image-shape: only with a folder of pictures" in errors(capsys)
    with pytest.raises(SystemExit):
        main([*argv, "--image-shape", "32x32"])
    assert "such as 3x32x32, got '32x32'" in capsys.readouterr().err


# JSON -------------------------------------------------------------------------------


def parsed(capsys, *argv):
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_of_a_benchmark_and_of_its_fits(quick, tmp_path, capsys):
    out, kept = tmp_path / "out", str(tmp_path / "kept")
    argv = ["benchmark", "--data", "sample", "--models", "lenet5", "--memory", kept]
    found = parsed(capsys, *argv, "--batch-size", "512", "--out", str(out))
    assert found["best"] == found["rows"][0]["model"]
    assert all(Path(path).is_file() for path in found["files"])
    (fit,) = parsed(capsys, "fits", kept)
    assert fit["n_bytes"] > 1000
    assert parsed(capsys, "fits", kept, "--clear") == {"n_deleted": 1}


def test_json_of_a_fit_and_of_its_file(quick, tmp_path, capsys):
    path = str(tmp_path / "net")
    argv = ["fit", "lenet5", "--data", "sample", "--batch-size", "512", "--out", path]
    found = parsed(capsys, *argv)
    assert found["files"] == [path]
    assert (found["model"], found["n_test"], found["epochs"]) == ("LeNet5", 1000, 2)
    assert 0 < found["test_accuracy"] <= 1
    shown = parsed(capsys, "show", path)
    assert shown["classes"] == sorted(CLASS_NAMES)
    assert shown["image_shape"] == [1, 28, 28]


def test_json_of_a_prediction(quick_file, picture, capsys):
    path = picture("a.png")
    (found,) = parsed(capsys, "predict", quick_file, path)
    assert found["path"] == path
