"""The commands that README.md and the docs show do what they say.

Our own are run, on a few images and for an epoch; of the others, options, extras and
files are checked.
"""

import re
import shlex
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmnist_sklearn import (
    RECIPES,
    LeNet5Classifier,
    datasets,
    load_fashion_mnist_sample,
    models,
    save_model,
)
from fmnist_sklearn.benchmark import data as benchmark_data
from fmnist_sklearn.cli import main

from . import ROOT
from .pages import ANY_SCHEDULER, PAGES, read_blocks

SHELL = {"", "bash", "console", "sh"}
PYTHON = {"pip", "pytest", "python", "python3", "sphinx-build"}
OTHERS = PYTHON | {"activate", "bash", "dask", "export"}


def read_commands(page):
    """Return the commands of a page, each a list of words; programs without paths."""
    commands = []
    for language, block in read_blocks(page):
        if language not in SHELL:
            continue
        lines = block.replace("\\\n", "").splitlines()
        if language == "console":  # the others are what is printed
            lines = [line for line in lines if line.startswith("$ ")]
        for line in lines:
            for part in line.removeprefix("$ ").split(" && "):
                words = shlex.split(part, comments=True)
                words = words[: words.index(">")] if ">" in words else words
                while words and re.fullmatch(r"source|\w+=\S*", words[0]):
                    words = words[1:]
                if words:
                    commands.append([words[0].rpartition("/")[2], *words[1:]])
    return commands


COMMANDS = {page: read_commands(page) for page in PAGES}
OURS = {
    page: [words[1:] for words in commands if words[0] == "fmnist-sklearn"]
    for page, commands in COMMANDS.items()
}


def test_commands_and_languages_of_code_blocks_are_known():
    for page in PAGES:
        languages = {language for language, _ in read_blocks(page)}
        assert languages <= SHELL | {"docker", "python", "text"}, page
        found = {words[0] for words in COMMANDS[page]}
        assert found <= OTHERS | {"fmnist-sklearn"}, page


def load_part(*, subset="train", **kwargs):
    bunch = load_fashion_mnist_sample(subset=subset)
    bunch.data, bunch.target = bunch.data[:100], bunch.target[:100]
    return bunch


def draw(image):
    """Draw an item of Fashion-MNIST as a photo: dark, on white."""
    return Image.fromarray(255 - image.reshape(28, 28)).resize((140, 140))


@pytest.fixture
def folder(tmp_path, monkeypatch, X, y):
    """A folder with the files that the commands name, few images, small fits."""
    sizes = {"module__widths": (4, "M", 4, "M"), "module__hidden_units": 8}
    small = {"LeNet5Classifier": {}, "MiniVGGClassifier": sizes}
    recipes = {
        recipe: {
            name: {**models[name], "max_epochs": 1, **small[name]} for name in small
        }
        for recipe, models in RECIPES.items()
    }
    monkeypatch.setattr(models, "RECIPES", recipes)
    monkeypatch.setattr(benchmark_data, "load_fashion_mnist_sample", load_part)
    monkeypatch.setattr(benchmark_data, "fetch_fashion_mnist", load_part)
    monkeypatch.setattr(datasets, "fetch_fashion_mnist", load_part)
    # Drawing figures is slow, and tested elsewhere.
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    for name, label in {"shoe.png": 7, "coat.jpg": 4}.items():
        draw(X[y == label][0]).save(name)
    # Ten photos of each of two classes, and some that are new.
    for name, label in {"shoe": 7, "coat": 4}.items():
        for folder in ("new", f"photos/{name}", f"others/{name}"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(X[y == label][:10]):
                draw(image).save(Path(folder, f"{name}{number}.png"))
    Path("fits").mkdir()
    np.save("rows.npy", X[:3])
    np.savez("own.npz", X=X[:100], y=y[:100])
    np.save("X.npy", X[:100])
    np.save("y.npy", y[:100])
    np.savetxt("test.csv", X[:3], fmt="%d", delimiter=",")
    net = LeNet5Classifier(max_epochs=1, patience=None, random_state=0).fit(X, y)
    for name in ("lenet5.safetensors", "shapes.safetensors"):
        save_model(net, name)
    return tmp_path


def run(argv):
    """Return the status of a command; some end by ``SystemExit``."""
    try:
        return main(argv)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize("page", [page for page, found in OURS.items() if found])
def test_commands_of_ours_run(page, folder, capsys):
    for argv in OURS[page]:
        if argv[0] == "export":
            pytest.importorskip("onnxruntime")
        if "--scheduler" in argv:  # a snippet of that page goes to a cluster
            assert argv[-2:] == ["--scheduler", ANY_SCHEDULER]
            argv = argv[:-2]
        if "--n-jobs" in argv:  # processes of their own would see all the images
            argv[argv.index("--n-jobs") + 1] = "1"
        assert run(argv) == 0, (argv, capsys.readouterr().err)


def test_commands_of_pip_name_extras_that_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    for extra in re.findall(r"(?:pip install.*?|-e \"?\.)\[([\w,]+)\]", text):
        assert set(extra.split(",")) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_others_name_what_exists(page):
    """Files, options of our scripts and of dask; code after ``python -c`` is run."""
    for program, *words in COMMANDS[page]:
        if program in {"bash", "pytest", "sphinx-build"}:
            paths = [word for word in words if "/" in word and "_build" not in word]
            assert all((ROOT / path).exists() for path in paths), paths
        elif program == "python" and words[0].endswith(".py"):
            script = (ROOT / words[0]).read_text(encoding="utf-8")
            options = [word for word in words if word.startswith("--")]
            assert all(f'"{option}"' in script for option in options), options
        elif program == "python" and words[0] == "-c":
            exec(words[1], {})
        elif program == "dask":
            pytest.importorskip("distributed")
            name, *options = words
            command = import_module(f"distributed.cli.dask_{name}").main
            command.make_context(name, options)
