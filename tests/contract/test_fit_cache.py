"""``memory=``: a fit that was done before is read back, and is as if it was trained."""

import multiprocessing
import os
import pickle
import warnings
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import skorch.callbacks
import torch
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback

from fmnist_sklearn import (
    FitCache,
    LeNet5Classifier,
    MiniVGGClassifier,
    benchmark_scoring,
    benchmark_table,
)
from fmnist_sklearn.storage import fit_cache
from fmnist_sklearn.training import Training, extra_callbacks

from . import killed_search
from .killed_search import images

QUICK = {
    "lr": 0.01,
    "batch_size": 16,
    "max_epochs": 2,
    "validation_fraction": 0.25,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def rows():
    return images()


@pytest.fixture
def trained(monkeypatch):
    """A list that gets an item for each training that is run in this process."""
    run, nets = Training.run, []

    def counted(training):
        nets.append(training.net)
        run(training)

    monkeypatch.setattr(Training, "run", counted)
    return nets


def fit(memory, *data, **params):
    return LeNet5Classifier(**QUICK | params, memory=memory).fit(*(data or images()))


def same(first, second, X):
    return np.array_equal(first.predict_proba(X), second.predict_proba(X))


# What is read back ----------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"optimizer": torch.optim.SGD, "optimizer__momentum": np.float32(0.9)},
        {"lr_schedule": "one_cycle", "lr": np.float64(0.01), "ema_decay": None},
        {
            "lr_schedule": torch.optim.lr_scheduler.ExponentialLR,
            "validation_fraction": 0,
        }
        | {"lr_schedule__gamma": 0.9},
        {"patience": 1, "lr": 0.3, "max_epochs": 9, "class_weight": {0: 2.0}},
        {"augment": {"flip": 0.5, "shift": 1}, "callbacks__print_log": None},
        {"module__hidden_units": (8, 6), "random_state": np.random.RandomState(3)},
    ],
    ids=lambda params: "-".join(params) or "defaults",
)
def test_it_is_as_if_it_was_trained(tmp_path, rows, trained, params):
    X, y = rows
    plain = clone(LeNet5Classifier(**QUICK | params)).fit(X, y)
    first = fit(tmp_path, **clone_of(params))
    assert len(trained) == 2
    second = fit(tmp_path, **clone_of(params))
    assert len(trained) == 2
    assert len(FitCache(tmp_path).entries()) == 1
    assert second.history_ == first.history_
    assert vars(second).keys() == vars(first).keys() >= vars(plain).keys()
    for name in ("best_epoch_", "fit_time_", "n_iter_", "device_", "precision_"):
        assert getattr(second, name) == getattr(first, name)
    assert same(plain, first, X)
    assert same(first, second, X)
    # What comes later is the same too: seeds and optimizer go on from there.
    nets = [net.set_params(memory=None) for net in (plain, first, second)]
    for net in nets:
        net.partial_fit(X, y)
    assert same(nets[0], nets[1], X)
    assert same(nets[0], nets[2], X)


def clone_of(params):
    """Copy what a fit changes: a RandomState moves on."""
    return pickle.loads(pickle.dumps(params))


def test_the_weights_of_minivgg_in_their_order_of_memory(tmp_path, X, y, trained):
    params = {**QUICK, "max_epochs": 1, "module__hidden_units": 8, "warm_start": True}
    nets = [
        MiniVGGClassifier(**params, memory=memory).fit(X[:40], y[:40])
        for memory in (None, tmp_path, tmp_path)
    ]
    assert len(trained) == 2
    for net in nets:
        net.set_params(memory=None).fit(X[:40], y[:40])
    assert same(nets[0], nets[1], X)
    assert same(nets[0], nets[2], X)
    assert nets[2].n_iter_ == 2


def test_a_copy_of_it_is_as_good(tmp_path, rows):
    X, y = rows
    first, second = fit(tmp_path), fit(tmp_path)
    again = pickle.loads(pickle.dumps(second))
    assert again.memory == tmp_path
    # Without the optimizer's state, as ever; it alone is twice as large.
    assert len(pickle.dumps(second)) < 1.1 * len(pickle.dumps(first))
    assert same(again, first, X)
    assert same(clone(second).set_params(memory=None).fit(X, y), first, X)


def test_names_of_columns_and_labels(tmp_path, rows, trained):
    X, y = rows
    names = np.array(["ant", "bee", "cat"])
    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(49)])
    for data in ((X, y), (X, names[y]), (frame, names[y])):
        first, second = fit(tmp_path, *data), fit(tmp_path, *data)
        np.testing.assert_array_equal(first.classes_, second.classes_, strict=True)
        assert hasattr(second, "feature_names_in_") == (data[0] is frame)
        assert set(second.predict(data[0])) <= set(data[1])
    assert len(trained) == 3


def test_the_warning_of_too_few_epochs_comes_again(tmp_path):
    for _ in range(2):
        with pytest.warns(match="still falling when max_epochs=2"):
            fit(tmp_path, lr=0.002)


# Which fits are the same ----------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"verbose": 1},
        {"predict_flip": True},
        {"warm_start": True},
        {"device": torch.device("cpu"), "precision": "float32"},
        {"batch_size": np.int64(16), "lr": np.float64(0.01)},
    ],
    ids="-".join,
)
def test_what_does_not_change_the_weights(tmp_path, trained, rows, params):
    device = params.get("device", "auto")
    fit(tmp_path, device=device)
    net = fit(tmp_path, **params)
    assert len(trained) == 1
    assert {name: getattr(net, name) for name in params} == params


def test_threads_are_not_part_of_it(tmp_path, trained):
    fit(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit(tmp_path)
    finally:
        torch.set_num_threads(before)
    assert len(trained) == 1


@pytest.mark.parametrize(
    "params",
    [
        {"lr": 0.011},
        {"random_state": 1},
        {"random_state": np.random.RandomState(1)},
        {"max_epochs": 1},
        {"dropout": 0.4},
        {"shuffle": False},
        {"module__hidden_units": (8,)},
        {"optimizer": torch.optim.AdamW},
        {"optimizer__weight_decay": 0.1},
        {"augment": {"flip": 0.5}},
        {"lr_schedule": "cosine"},
        {"lr_schedule": torch.optim.lr_scheduler.StepLR, "lr_schedule__step_size": 1},
        {"callbacks": "disable"},
        {"callbacks__early_stopping": None},
        {"criterion__weight": torch.tensor([1.0, 2.0, 3.0])},
        {"class_weight": {0: 2.0}},
        {"pixel_scaling": "symmetric"},
        {"precision": "bfloat16"},
        {"iterator_train": torch.utils.data.DataLoader},
        {"iterator_train__drop_last": True},
    ],
    ids="-".join,
)
def test_what_makes_another_fit(tmp_path, trained, params):
    fit(tmp_path)
    for _ in range(2):
        fit(tmp_path, **clone_of(params))
    assert len(trained) == 2


def test_every_row_counts(tmp_path, rows, trained):
    X, y = rows
    brighter, other = X.copy(), y.copy()
    brighter[7, 3] ^= 1
    other[7] = (other[7] + 1) % 3
    weights = np.ones(60)
    weights[7] = 2
    data = [
        (X, y),
        (brighter, y),
        (X, other),
        (X, y.astype(float)),
        (X, y + 1),
        (X[::-1], y[::-1]),
        (X[:-1], y[:-1]),
        (X / 255, y),
        (X, y, weights),
        (X, y, None, X[:20], y[:20]),
        (X, y, None, X[:21], y[:21]),
        (X, y, None, X[:20], y[:20], weights[:20]),
    ]
    for _ in range(2):
        nets = [fit(tmp_path, *each) for each in data]
    assert len(trained) == len(data)
    # The same pixels in another layout or container are the same data.
    fit(tmp_path, np.asfortranarray(X), list(y))
    fit(tmp_path, torch.tensor(X), y, np.full(60, 3.0))
    assert len(trained) == len(data)
    assert same(nets[0], LeNet5Classifier(**QUICK).fit(X, y), X)


class OtherDefault(LeNet5Classifier):
    """With a constructor of its own, and predictions."""

    def __init__(self, *, lr=0.02, floor=0.0, **kwargs):
        super().__init__(lr=lr, **kwargs)
        self.floor = floor

    def predict_proba(self, X):
        return np.maximum(super().predict_proba(X), self.floor)

    def helper(self):
        return 1


class OneFixed(LeNet5Classifier):
    """One whose constructor names few parameters and fixes the others."""

    dropout_of_all = 0.1

    def __init__(self, memory=None, max_epochs=1):
        super().__init__(
            max_epochs=max_epochs,
            memory=memory,
            random_state=0,
            dropout=self.dropout_of_all,
        )


def test_subclasses_with_a_constructor_of_their_own(
    tmp_path, rows, trained, monkeypatch
):
    X, y = rows
    settings = {k: v for k, v in QUICK.items() if k != "lr"}
    for lr in (0.02, 0.02, 0.01):
        net = OtherDefault(**settings, memory=tmp_path, lr=lr, floor=0.1).fit(X, y)
    assert len(trained) == 2
    assert net.predict_proba(X).min() == 0.1
    for _ in range(2):
        OneFixed(tmp_path).fit(X, y)
    assert len(trained) == 3
    monkeypatch.setattr(OneFixed, "dropout_of_all", 0.2)
    OneFixed(tmp_path).fit(X, y)
    assert len(trained) == 4


# What is not kept -----------------------------------------------------------------


class OtherStep(LeNet5Classifier):
    def train_step(self, batch, **fit_params):
        return super().train_step(batch, **fit_params)


class Counter(Callback):
    pass


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"random_state": None}, "random_state=None"),
        ({"callbacks": [Counter()]}, r"callbacks holds .* class Counter"),
        ({"callbacks": [("a", Counter)]}, r"callbacks holds .* class type"),
        ({"augment": lambda images, generator: images}, "augment holds"),
        ({"lr_schedule": lambda optimizer, n: None}, "lr_schedule holds"),
        ({"train_split": skorch.dataset.ValidSplit(3)}, "train_split holds"),
        ({"iterator_valid": partial(torch.utils.data.DataLoader)}, "iterator_valid"),
        (
            {
                "iterator_train": torch.utils.data.DataLoader,
                "iterator_train__generator": torch.Generator(),
            },
            "iterator_train__generator holds .* class Generator",
        ),
        ({"optimizer": type("Mine", (torch.optim.SGD,), {})}, "optimizer holds"),
        ({"callbacks__print_log__sink": print}, "callbacks__print_log__sink holds"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_has_no_name_switches_it_off(tmp_path, trained, params, message):
    for n_trained in (1, 2):
        with pytest.warns(
            UserWarning, match=f"memory is not used for this fit: .*{message}"
        ):
            fit(tmp_path, **params)
        assert len(trained) == n_trained
    assert not list(tmp_path.iterdir())


def test_code_of_the_user_switches_it_off(tmp_path, rows, trained):
    with pytest.warns(match="OtherStep has its own train_step, whose code may change"):
        OtherStep(**QUICK, memory=tmp_path).fit(*rows)
    net = LeNet5Classifier(**QUICK, memory=tmp_path)
    net.criterion = torch.nn.CrossEntropyLoss
    with pytest.warns(match="LeNet5Classifier has its own criterion"):
        net.fit(*rows)
    assert not list(tmp_path.iterdir())


def test_a_training_that_goes_on_is_not_kept(tmp_path, rows, trained):
    X, y = rows
    net = fit(tmp_path, warm_start=True)
    with pytest.warns(match="memory is not used for this fit: with warm_start=True"):
        net.fit(X, y)
    with pytest.warns(match="memory is not used for this fit: partial_fit continues"):
        net.partial_fit(X, y)
    assert len(trained) == 3
    assert len(FitCache(tmp_path).entries()) == 1


def test_warnings_point_at_the_caller(tmp_path, rows):
    net = LeNet5Classifier(max_epochs=1, memory=tmp_path)
    with pytest.warns(UserWarning, match="memory") as caught:
        net.fit(*rows)
    with pytest.warns(UserWarning, match="memory") as caught_too:
        net.partial_fit(*rows)
    assert {each.filename for each in (*caught, *caught_too)} == {__file__}


def test_a_training_that_fails_or_is_interrupted_is_not_kept(tmp_path, rows):
    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(ValueError, match="diverged"):
        fit(tmp_path, optimizer=torch.optim.SGD, lr=1e30)
    with extra_callbacks(Interrupt()), pytest.raises(KeyboardInterrupt):
        fit(tmp_path)
    assert not FitCache(tmp_path).entries()
    assert not os.listdir(tmp_path / "fmnist_sklearn")


def test_a_training_that_a_follower_stopped_is_not_kept(tmp_path, trained):
    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.stop_training()

    with extra_callbacks(Stop()):
        assert fit(tmp_path).n_iter_ == 1
    assert fit(tmp_path).n_iter_ == 2
    assert fit(tmp_path, patience=1, lr=0.3, max_epochs=30).n_iter_ < 30
    fit(tmp_path, patience=1, lr=0.3, max_epochs=30)
    assert len(trained) == 3


# Where ----------------------------------------------------------------------------


def test_what_memory_may_be(tmp_path, trained, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "fits"
    for memory in (
        "fits",
        str(folder),
        folder,
        joblib.Memory(folder, verbose=0),
        FitCache(folder),
    ):
        net = clone(LeNet5Classifier(**QUICK, memory=memory)).fit(*images())
        assert isinstance(net.memory, type(memory))
    assert len(trained) == 1
    fit(joblib.Memory(None))
    assert len(trained) == 2
    with pytest.raises(ValueError, match="'memory' parameter"):
        fit(3)
    assert len(FitCache("fits").entries()) == 1


def test_a_limit_of_the_user_s_own(tmp_path, trained):
    fit(tmp_path)
    n_bytes = FitCache(tmp_path).entries()[0].n_bytes
    cache = FitCache(tmp_path, max_bytes=5 * n_bytes // 2)
    for seed in (1, 0, 2, 0, 1):
        fit(cache, random_state=seed)
    assert len(trained) == 4  # 0, 1, 2, and 1 again
    assert len(cache.entries()) == 2


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left", "a name"), PermissionError(13, "no")]
)
def test_a_folder_that_cannot_be_written(tmp_path, trained, monkeypatch, error):
    fit(tmp_path)

    def fail(*args, **kwargs):
        raise error

    for name in ("write_container", "file_lock"):
        monkeypatch.setattr(fit_cache, name, fail)
    monkeypatch.setattr(os, "utime", fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, lr=0.3)  # read-only is enough to read
        net = fit(tmp_path, lr=0.3, random_state=1)
        assert net.n_iter_ == 2
        fit(tmp_path)
    messages = [str(each.message) for each in caught if "memory" in str(each.message)]
    assert len(messages) == 2
    assert len(set(messages)) == 1  # which Python shows once, unless told otherwise
    assert "could not be written to memory=" in messages[0]
    assert len(trained) == 3


def test_a_path_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(match="could not be written") as caught:
        fit(tmp_path / "file", lr=0.3)
    assert len([each for each in caught if "memory" in str(each.message)]) == 1


def damages(content, rng):
    """Return 100 damaged versions of a file: cut off, with a bit flipped, empty."""
    yield b""
    yield b"\0" * len(content)
    yield content + b"\0"
    for length in rng.integers(1, len(content), 30):
        yield content[:length]
    # The header is a hundredth of the file: half of the flips go there.
    for end in (4000, len(content)):
        for place in [*range(3), *rng.integers(0, end, 30)]:
            flipped = bytearray(content)
            flipped[place] ^= 1 << rng.integers(8)
            yield bytes(flipped)
    yield content.replace(b'"loss":', b'"less":')


def test_damaged_entries_are_trained_again(tmp_path, rows, trained):
    X, y = rows
    params = {"max_epochs": 1, "module__hidden_units": (4,), "batch_size": 60}
    first = fit(tmp_path, X, y, **params)
    (entry,) = FitCache(tmp_path).entries()
    sound = entry.path.read_bytes()
    tried = list(damages(sound, np.random.default_rng(0)))
    for n_damaged, damaged in enumerate(tried, start=1):
        assert damaged != sound or n_damaged == len(tried)
        entry.path.write_bytes(damaged)
        if damaged == sound:
            continue
        with pytest.warns(
            UserWarning, match="a fit in memory is damaged and is trained"
        ):
            again = fit(tmp_path, X, y, **params)
        assert len(trained) == 1 + n_damaged
        assert same(first, again, X)
    assert len(tried) >= 99
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "a fit in memory")
        fit(tmp_path, X, y, **params)
    assert len(trained) == len(tried)


def test_a_sound_file_that_holds_no_fit(tmp_path, rows, trained):
    fit(tmp_path)
    cache = FitCache(tmp_path)
    (entry,) = cache.entries()
    arrays, meta = cache.read(entry.path.stem)
    for wrong in ({}, {**meta, "history": 3}, {**meta, "module": {"n_classes": 10**9}}):
        cache.write(entry.path.stem, arrays, wrong)
        with pytest.warns(match="a fit in memory is damaged"):
            net = fit(tmp_path)
        assert same(net, LeNet5Classifier(**QUICK).fit(*rows), rows[0])
    cache.write(entry.path.stem, {**arrays, "more": np.zeros(3)}, meta)
    with pytest.warns(match="do not fit the network: more"):
        fit(tmp_path)


# In searches ----------------------------------------------------------------------


def in_pipeline(net):
    return make_pipeline(FunctionTransformer(), net)


SEARCHES = {
    "grid": lambda net: GridSearchCV(net, {"lr": [0.01, 0.02]}, cv=2),
    "pipeline": lambda net: GridSearchCV(
        in_pipeline(net), {"lenet5classifier__dropout": [0.0, 0.5]}, cv=2
    ),
    "random": lambda net: RandomizedSearchCV(
        net, {"lr": scipy.stats.loguniform(1e-3, 1e-1)}, n_iter=3, cv=2, random_state=0
    ),
    "halving": lambda net: HalvingGridSearchCV(
        net,
        {"lr": [0.001, 0.01, 0.1]},
        resource="max_epochs",
        max_resources=3,
        min_resources=1,
        factor=3,
        cv=2,
        random_state=0,
    ),
}


def without_times(results):
    return {name: list(v) for name, v in results.items() if "_time" not in name}


def written(memory):
    """Tell the files of all entries; one that is written again is another file."""
    return {entry.path.stat().st_ino for entry in FitCache(memory).entries()}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_run_again_trains_nothing(tmp_path, rows, trained, name):
    plain = SEARCHES[name](LeNet5Classifier(**QUICK)).fit(*rows)
    n_trained = len(trained)
    searches = [
        SEARCHES[name](LeNet5Classifier(**QUICK, memory=tmp_path)).fit(*rows)
        for _ in range(2)
    ]
    assert len(trained) == 2 * n_trained
    for search in searches:
        assert without_times(search.cv_results_) == without_times(plain.cv_results_)
        assert same(search, plain, rows[0])


def test_workers_share_a_folder(tmp_path, rows, two_processes, trained):
    net = LeNet5Classifier(**QUICK, memory=tmp_path)
    first = GridSearchCV(net, {"lr": [0.01, 0.02]}, cv=2, n_jobs=2).fit(*rows)
    files = written(tmp_path)
    assert len(files) == 5
    assert len(trained) == 1  # the refit; the others in the workers
    second = GridSearchCV(net, {"lr": [0.01, 0.02]}, cv=2, n_jobs=1).fit(*rows)
    assert len(trained) == 1
    assert written(tmp_path) == files
    assert without_times(first.cv_results_) == without_times(second.cv_results_)


def test_tables_tell_the_training_s_own_time(tmp_path, rows, trained):
    def validate():
        net = LeNet5Classifier(**QUICK, memory=tmp_path)
        return cross_validate(net, *rows, cv=2, scoring=benchmark_scoring())

    first, second = validate(), validate()
    assert len(trained) == 2
    for name in first.keys() - {"fit_time", "score_time"}:
        np.testing.assert_array_equal(first[name], second[name])
    column = "training_time_s"
    table = benchmark_table({"first": first, "second": second})
    assert table[column].iloc[0] == table[column].iloc[1] > 0


def test_who_follows_a_fit_is_told_of_one_read_back(tmp_path, rows):
    told = []

    class Follower(Callback):
        def on_train_begin(self, net, **kwargs):
            told.append("begin")

        def on_train_end(self, net, **kwargs):
            told.append(("end", net.n_iter_, len(kwargs["X"])))

    for _ in range(2):
        with extra_callbacks(Follower()):
            fit(tmp_path)
    assert told == ["begin", ("end", 2, 45)] * 2


def test_scikit_learn_s_callbacks(tmp_path, rows, trained, capsys):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9")
    for n_epochs in (2, 0):  # those that were run can be scored
        monitor = callback.ScoringMonitor(scoring="accuracy")
        net = LeNet5Classifier(**QUICK, memory=tmp_path)
        net.set_callbacks(monitor, callback.ProgressBar()).fit(*rows)
        log = monitor.get_logs().data
        names = [row["task_name"] for row in log]
        assert sorted(names) == ["epoch"] * n_epochs + ["fit"]
        (of_fit,) = (row for row in log if row["task_name"] == "fit")
        assert of_fit["accuracy"] == net.score(*rows)
        assert "100%" in capsys.readouterr().out
    assert len(trained) == 1


# Killed, and two at once ----------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed():
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs processes that are forked")
    with warnings.catch_warnings():
        return killed_search.search()


def test_memory_lets_a_killed_search_continue(tmp_path, undisturbed):
    for n_stored in (1, 4, 6):
        process = killed_search.start_search(tmp_path, "killed")
        killed_search.kill_after(process, tmp_path, n_stored, delay=0.02)
        assert not (tmp_path / "killed").exists()
    killed_search.start_search(tmp_path, "results").join()
    assert joblib.load(tmp_path / "results") == undisturbed
    # A search may be killed between storing a fit and logging it.
    stored = killed_search.read_stored(tmp_path)
    assert len(set(stored)) == len(stored) <= killed_search.N_FITS
    assert len(FitCache(tmp_path).entries()) == killed_search.N_FITS


def test_memory_shared_by_two_searches_at_once(tmp_path, undisturbed):
    names = ("first", "second")
    for process in [killed_search.start_search(tmp_path, name) for name in names]:
        process.join()
    for name in names:
        assert joblib.load(tmp_path / name) == undisturbed
    stored = killed_search.read_stored(tmp_path)
    assert len(set(stored)) == len(stored) == killed_search.N_FITS
    left = {path.suffix for path in (tmp_path / "fmnist_sklearn").iterdir()}
    assert left == {".fit"}
