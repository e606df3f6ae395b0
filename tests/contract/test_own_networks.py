"""Any network in ``ImageClassifier`` is an estimator like the two of this package."""

import copy
import importlib
import inspect
import pickle
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from fmnist_sklearn import (
    ImageClassifier,
    LeNet5,
    LeNet5Classifier,
    TrainingCurvesDisplay,
    benchmark_table,
    export_onnx,
    inspect_model,
    layer_table,
    load_model,
    run_search,
    save_model,
)

from ..unit.persistence.hostile_files import Parts
from ..unit.toys import GreyMobileNet, NoArguments, Perceptron, ResNet20

QUICK = {"lr": 0.01, "batch_size": 32, "max_epochs": 2, "random_state": 0}
KINDS = {
    "perceptron": {"module": Perceptron, "module__width": 16},
    "resnet": {"module": ResNet20, "module__width": 4},
    "mobilenet": {"module": GreyMobileNet, "max_epochs": 1},
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    """The parameters of each of three networks."""
    return {**QUICK, **KINDS[request.param]}


@pytest.fixture(scope="module")
def fitted(kind, sample):
    """A fitted estimator; not to change (copy it first)."""
    X, y = sample
    return ImageClassifier(**kind).fit(X[:100], y[:100])


def perceptron(**params):
    return ImageClassifier(**QUICK | KINDS["perceptron"] | params)


def test_network_fits_like_any_other(kind, fitted, X, y, X_test, same_predictions):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    again = clone(fitted).fit(X[:100], y[:100])
    assert torch.equal(torch.get_rng_state(), before)
    assert same_predictions(fitted, again, X_test)
    assert type(again.module_.network) is kind["module"]
    copies = [copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))]
    assert all(same_predictions(fitted, each, X_test) for each in copies)
    scores = fitted.decision_function(X_test)
    assert scores.shape == (len(X_test), 10)
    assert np.array_equal(scores.argmax(1), fitted.predict(X_test))
    assert fitted.embed(X_test).shape[0] == len(X_test)
    assert layer_table(fitted.module_)["n_parameters"].sum() == fitted.n_parameters_


def test_network_learns_labels_of_any_kind_with_weights(kind, X, y):
    names = np.where(y[:80] < 5, "low", "high")
    weights = np.linspace(0.5, 1.5, 80)
    pipeline = make_pipeline(
        FunctionTransformer(lambda X: X.reshape(-1, 28, 28)[:, 6:22, 6:22]),
        ImageClassifier(**kind | {"max_epochs": 1}, class_weight="balanced"),
    )
    pipeline.fit(X[:80], names, imageclassifier__sample_weight=weights)
    assert list(pipeline.classes_) == ["high", "low"]
    assert pipeline.decision_function(X[:7]).shape == (7,)
    net = pipeline[-1]
    assert net.image_shape_ == (1, 16, 16)
    net.set_params(class_weight=None)
    net.partial_fit(pipeline[:-1].transform(X[:40]), names[:40], sample_weight=None)
    assert net.n_iter_ == 2


@pytest.mark.parametrize("kind", ["resnet"], indirect=True)
def test_network_in_a_grid_search_of_two_processes(kind, X, y, two_processes):
    net, grid = ImageClassifier(**kind | {"max_epochs": 1}), {"lr": [0.01, 0.001]}
    search = GridSearchCV(net, grid, cv=2, n_jobs=2).fit(X[:60], y[:60] % 3)
    assert benchmark_table(search)["accuracy"].notna().all()


def test_network_in_files(fitted, kind, X_test, tmp_path, same_predictions):
    joblib.dump(fitted, tmp_path / "net.joblib")
    assert same_predictions(joblib.load(tmp_path / "net.joblib"), fitted, X_test)
    path, module = tmp_path / "net.safetensors", kind["module"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_model(fitted, path)
        loaded = load_model(path, module=module)
    assert same_predictions(loaded, fitted, X_test)
    assert loaded.get_params() == fitted.get_params()
    save_model(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    summary = inspect_model(path)
    assert summary.n_parameters == fitted.n_parameters_
    assert summary.module == f"tests.unit.toys.{module.__name__}"
    loaded.partial_fit(X_test, np.arange(len(X_test)) % 10)


@pytest.mark.parametrize("kind", ["resnet"], indirect=True)
def test_network_in_onnx(fitted, X_test, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export_onnx(fitted, tmp_path / "net.onnx", layout="rows")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    labels, probabilities = session.run(None, {"pixels": X_test[:33]})
    assert np.array_equal(labels, fitted.predict(X_test[:33]))
    assert np.abs(probabilities - fitted.predict_proba(X_test[:33])).max() <= 1e-5


@pytest.mark.parametrize("kind", ["perceptron", "resnet"], indirect=True)
def test_network_in_memory_a_search_and_its_report(kind, X, y, tmp_path, trained):
    settings = {"max_epochs": 1, "memory": tmp_path / "memory", "progress": False}
    settings |= {"X_test": X[60:90], "y_test": y[60:90] % 3, "out": tmp_path / "out"}
    grid = {"lr": [0.01, 0.001]}
    for _ in range(2):
        net = ImageClassifier(**kind)
        result = run_search(net, grid, X[:60], y[:60] % 3, cv=2, **settings)
    assert len(trained) == 5  # the search's four, and the best on all rows
    assert result.search.best_estimator_.from_memory_
    assert kind["module"].__name__ in (tmp_path / "out" / "report.html").read_text()
    TrainingCurvesDisplay.from_estimator(result.search.best_estimator_)


# The constructor, and what it gives the network --------------------------------------


class ResNetClassifier(ImageClassifier):
    """A subclass that names its network."""

    module = ResNet20


class Slower(ResNetClassifier):
    """And one of that, with another default."""

    def __init__(self, *, lr=1e-4, **kwargs):
        super().__init__(lr=lr, **kwargs)


def test_subclass_names_its_network(X, y, tmp_path, same_predictions):
    assert "module" not in inspect.signature(ResNetClassifier).parameters
    assert "module" not in ResNetClassifier().get_params()
    assert repr(Slower()) == "Slower()"
    assert Slower().lr == 1e-4
    for cls in (ResNetClassifier, Slower, LeNet5Classifier):
        with pytest.raises(TypeError, match="unexpected keyword argument 'module'"):
            cls(module=Perceptron)
        with pytest.raises(ValueError, match="Invalid parameter 'module'"):
            cls().set_params(module=Perceptron)
    params = {"module__width": 2, "max_epochs": 1, "random_state": 0}
    net = clone(ResNetClassifier(**params)).fit(X[:60], y[:60])
    other = ImageClassifier(module=ResNet20, **params).fit(X[:60], y[:60])
    assert same_predictions(net, other, X)
    save_model(net, tmp_path / "net")
    loaded = load_model(tmp_path / "net", module=ResNet20)
    assert type(loaded) is ImageClassifier
    assert same_predictions(net, loaded, X)
    with pytest.raises(TypeError, match="got an object of class Slower"):
        save_model(Slower(**params).fit(X[:60], y[:60]), tmp_path / "net")


def test_network_gets_what_its_constructor_takes(X, y, tmp_path, same_predictions):
    """None of the data; other layers' draws are the fit's own; one row is left."""
    settings = QUICK | {"module": NoArguments, "module__layer": nn.Tanh}
    settings |= {"memory": tmp_path / "memory", "validation_fraction": 0}
    state = torch.get_rng_state()
    net = ImageClassifier(**settings).fit(X[:65], y[:65])
    assert torch.equal(torch.get_rng_state(), state)
    assert [row["train_batch_count"] for row in net.history_] == [2, 2]
    assert ImageClassifier(**settings).fit(X[:65], y[:65]).from_memory_
    torch.manual_seed(5)
    again = ImageClassifier(**settings | {"memory": None}).fit(X[:65], y[:65])
    assert same_predictions(net, again, X)
    save_model(net.set_params(memory=None), tmp_path / "net")
    assert same_predictions(load_model(tmp_path / "net", module=NoArguments), net, X)


def test_network_is_the_same_in_threads(X, y, same_predictions):
    def fit(seed):
        torch.set_num_threads(1)  # of this thread
        return perceptron(random_state=seed).fit(X[:100], y[:100])

    alone = list(map(fit, range(4)))
    state = torch.get_rng_state()
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(fit, range(4)))
    assert torch.equal(torch.get_rng_state(), state)
    for first, second in zip(alone, together, strict=True):
        assert same_predictions(first, second, X)


def test_network_that_scales_its_pixels_is_not_wrapped(X, y, same_predictions):
    settings = {"lr": 0.01, "max_epochs": 1, "random_state": 0}
    first = ImageClassifier(module=LeNet5, module__dropout=0.15, **settings)
    other = LeNet5Classifier(**settings)
    assert same_predictions(first.fit(X[:60], y[:60]), other.fit(X[:60], y[:60]), X)


def test_warm_start_with_another_network_is_refused(X, y):
    net = perceptron(warm_start=True).fit(X[:60], y[:60])
    net.set_params(module=NoArguments, module__width=None)
    with pytest.raises(ValueError, match="module"):
        net.fit(X[:60], y[:60])
    net.set_params(module=Perceptron, module__width=16, module__dropout=0.3)
    with pytest.raises(ValueError, match="module__dropout was None when the network"):
        net.fit(X[:60], y[:60])


# Bad networks -----------------------------------------------------------------------


def returning(function):
    """Return a class whose forward returns something else than logits."""

    def forward(self, x):
        return function(Perceptron.forward(self, x))

    return type("Odd", (Perceptron,), {"forward": forward})


class NeedsWidth(nn.Module):
    def __init__(self, n_classes, width):
        super().__init__()


IS_NO_CLASS = "module must be a class of torch.nn.Module, .*got "
IS_NO_LOGITS = r"module=Odd must return a tensor of logits of shape \(n, n_classes\)"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, f"{IS_NO_CLASS}None"),
        (NoArguments(), f"{IS_NO_CLASS}NoArguments"),
        (partial(Perceptron), f"{IS_NO_CLASS}functools.partial"),
        (dict, f"{IS_NO_CLASS}<class 'dict'>"),
        (
            NeedsWidth,
            "module=NeedsWidth is not called .* argument: 'width'; pass it as",
        ),
        (returning(lambda x: x[:, :3]), rf"{IS_NO_LOGITS} = .*got .* shape \(\d+, 3\)"),
        (returning(lambda x: x[:-1]), rf"{IS_NO_LOGITS} = \(\d+, 10\), got a tensor"),
        (returning(lambda x: (x, x)), f"{IS_NO_LOGITS} = .*got an object of class tup"),
        (returning(lambda x: x.detach().numpy()), "got an object of class ndarray"),
    ],
)
def test_network_that_cannot_be_used(X, y, module, message):
    net = ImageClassifier(module=module, random_state=0)
    with pytest.raises(ValueError, match=message):
        net.fit(X, y)
    assert not net.__sklearn_is_fitted__()


class Embeds(Perceptron):
    def embed(self, x):
        return self[1](self[0](x))


class Convolutions(nn.Sequential):
    def __init__(self, n_classes):
        head = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        super().__init__(nn.Conv2d(1, n_classes, 3), *head)


def test_embed_of_a_network(X, y):
    net = ImageClassifier(module=Embeds, max_epochs=1).fit(X[:60], y[:60])
    assert net.embed(X[:5]).min() < 0  # before ReLU
    net = perceptron().fit(X[:60], y[:60])
    assert net.embed(X[:5]).min() == 0
    assert net.embed(X[:5]).shape == (5, 16)
    net = ImageClassifier(module=Convolutions, max_epochs=1).fit(X[:60], y[:60])
    with pytest.raises(ValueError, match="module=Convolutions must end in an"):
        net.embed(X[:5])


# Files that name a class --------------------------------------------------------------


def test_file_needs_the_class_of_its_network(X, y, tmp_path, lenet5):
    net, path = perceptron().fit(X[:60], y[:60]), tmp_path / "net"
    save_model(net, path)
    with pytest.raises(ValueError, match=r"tests.unit.toys.Perceptron, which is never"):
        load_model(path)
    with pytest.raises(ValueError, match="module must be a class"):
        load_model(path, module=3)
    with pytest.raises(ValueError, match="its arrays do not fit the network"):
        load_model(path, module=type("Perceptron", (Embeds,), {"__init__": wide}))
    with pytest.warns(
        UserWarning, match=r"saved as a .*Perceptron, got module=.*Embeds"
    ):
        load_model(path, module=Embeds)
    save_model(lenet5, path)
    with pytest.raises(ValueError, match="unexpected keyword argument 'module'"):
        load_model(path, module=LeNet5)
    net.set_params(module__width=3).fit(X[:60], y[:60])
    net.set_params(module__width=4)
    save_model(net, path)  # the parameters of the next fit
    assert load_model(path, module=Perceptron).embed(X[:5]).shape == (5, 3)
    net.module_.network[2] = nn.Tanh()
    with pytest.raises(TypeError, match="layers were changed"):
        save_model(net, path)


def wide(self, n_classes, image_shape, width=16):
    Perceptron.__init__(self, n_classes, image_shape, 2 * width)


def test_file_that_names_hostile_code_runs_none(X, y, tmp_path, monkeypatch):
    """No module on the path and no known one is imported or called by its name."""
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(importlib, "import_module", None)
    path = tmp_path / "net"
    save_model(perceptron().fit(X[:60], y[:60]), path)
    content = path.read_bytes()
    for name in ("hostile.Perceptron", "os.system", "__main__", "../hostile", ""):
        parts = Parts(content)
        parts.meta["state"]["network"] = name
        path.write_bytes(parts.pack())
        with pytest.raises(ValueError, match="which is never imported"):
            load_model(path)
        assert inspect_model(path).module == name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert (
                type(load_model(path, module=Perceptron).module_.network) is Perceptron
            )
    assert "hostile" not in sys.modules


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["state"]["built_with"].update(module__width=2**40), "do not fit"),
        (lambda m: m["state"]["built_with"].update(module__what=1), "unexpected"),
        (lambda m: m["params"].update(module="hostile.Net"), "module"),
        (lambda m: m.update({"class": "LeNet5Classifier"}), "module"),
        (lambda m: m["state"].pop("network"), "another kind"),
        (lambda m: m["state"].update(image_shape=[1, 5000, 5000]), "columns do not"),
    ],
)
def test_file_of_a_network_with_a_fault(X, y, tmp_path, change, message):
    path = tmp_path / "net"
    save_model(perceptron().fit(X[:60], y[:60]), path)
    parts = Parts(path.read_bytes())
    change(parts.meta)
    path.write_bytes(parts.pack())
    with pytest.raises(ValueError, match=message):
        load_model(path, module=Perceptron)


# memory ---------------------------------------------------------------------------


NETWORK = """
from torch import nn
import {helper}

class Net(nn.Sequential):
    def __init__(self, n_classes):
        super().__init__(nn.Flatten(), nn.Linear(784, n_classes), {helper}.Last())
"""
HELPER = """
from torch import nn

def last(x):
    return x * {factor}

class Last(nn.Module):
    def forward(self, x):
        return last(x)
"""


def test_memory_knows_the_code_of_a_network(X, y, tmp_path, monkeypatch):
    """Its file and those that this imports from, edited before and after the import."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    files = {"own_net.py": NETWORK.format(helper="own_helper"), "own_helper.py": HELPER}

    def write(**values):
        for name, text in files.items():
            (tmp_path / name).write_text(text.format(**values))

    def fit():
        module = importlib.import_module("own_net").Net
        settings = QUICK | {"module": module, "memory": tmp_path / "memory"}
        return ImageClassifier(**settings).fit(X[:60], y[:60]).from_memory_

    def restart():
        importlib.invalidate_caches()
        for name in ("own_net", "own_helper"):
            monkeypatch.delitem(sys.modules, name)

    write(factor=1)
    assert [fit(), fit()] == [False, True]
    write(factor=2)
    with pytest.warns(UserWarning, match=r"own_helper.py no longer holds .* restart"):
        assert not fit()
    restart()
    assert [fit(), fit()] == [False, True]
    write(factor=1)
    restart()
    assert fit()


def test_memory_is_off_for_a_network_of_no_file(X, y, tmp_path):
    class Local(Perceptron):
        pass

    net = perceptron(module=Local, memory=tmp_path)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"Local cannot be identified, .*again"):
            net.fit(X[:60], y[:60])
    assert not net.from_memory_
