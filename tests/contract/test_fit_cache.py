"""``memory=``: a fit that was done before is read back, and is as if it was trained."""

import multiprocessing
import os
import pickle
import warnings
from copy import deepcopy
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import skorch.callbacks
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback

from fmnist_sklearn import FitCache, LeNet5Classifier, RacingSearchCV
from fmnist_sklearn.storage import fit_cache
from fmnist_sklearn.training.loop import extra_callbacks

from ..unit.toys import OneFixed, OtherDefault, OtherStep, Raises
from . import killed_search
from .killed_search import images, without_times

QUICK = {
    "lr": 0.01,
    "batch_size": 16,
    "max_epochs": 2,
    "validation_fraction": 0.25,
    "random_state": 0,
}
# The shortest fit, for tests that only count trainings.
SHORT = {"max_epochs": 1, "module__hidden_units": (4,), "batch_size": 60}


@pytest.fixture(scope="module")
def rows():
    return images()


def fit(memory, *data, **params):
    return LeNet5Classifier(**QUICK | params, memory=memory).fit(*(data or images()))


# What is read back ----------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"optimizer": torch.optim.SGD, "optimizer__momentum": np.float32(0.9)},
        {"lr_schedule": "one_cycle", "lr": np.float64(0.01), "ema_decay": None},
        {"lr_schedule": torch.optim.lr_scheduler.ExponentialLR}
        | {"lr_schedule__gamma": 0.9, "validation_fraction": 0},
        {"patience": 1, "lr": 0.3, "max_epochs": 9, "class_weight": {0: 2.0}},
        {"augment": {"flip": 0.5, "shift": 1}, "callbacks__print_log": None},
        {"module__hidden_units": (8, 6), "random_state": np.random.RandomState(3)},
    ],
    ids=lambda params: "-".join(params) or "defaults",
)
def test_memory_gives_what_training_gives(
    tmp_path, rows, trained, params, same_predictions
):
    X, y = rows
    # Copies, since a fit changes a RandomState.
    plain = LeNet5Classifier(**QUICK | deepcopy(params)).fit(X, y)
    first = fit(tmp_path, **deepcopy(params))
    assert len(trained) == 2
    second = fit(tmp_path, **deepcopy(params))
    assert len(trained) == 2
    assert len(FitCache(tmp_path).entries()) == 1
    assert second.history_ == first.history_
    assert second.from_memory_ is True
    assert first.from_memory_ is plain.from_memory_ is False
    assert vars(second).keys() == vars(first).keys() >= vars(plain).keys()
    for name in ("best_epoch_", "fit_time_", "n_iter_", "device_", "precision_"):
        assert getattr(second, name) == getattr(first, name)
    nets = [plain, first, second, pickle.loads(pickle.dumps(second))]
    # Without the optimizer's state, which alone is twice as large.
    assert len(pickle.dumps(second)) < 1.1 * len(pickle.dumps(first))
    assert all(same_predictions(plain, net, X) for net in nets)
    # Later training continues from the weights, with a new optimizer.
    for net in nets[2:]:
        net.set_params(memory=None).partial_fit(X, y)
    assert same_predictions(*nets[2:], X)


def test_memory_keeps_names_of_columns_and_labels(tmp_path, rows, trained):
    X, y = rows
    names = np.array(["ant", "bee", "cat"])
    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(49)])
    for data in ((X, y), (X, names[y]), (frame, names[y])):
        first, second = fit(tmp_path, *data), fit(tmp_path, *data)
        np.testing.assert_array_equal(first.classes_, second.classes_, strict=True)
        assert hasattr(second, "feature_names_in_") == (data[0] is frame)
        assert set(second.predict(data[0])) <= set(data[1])
    assert len(trained) == 3


def test_memory_repeats_the_warning_of_too_few_epochs(tmp_path):
    for _ in range(2):
        with pytest.warns(match="still falling after 2 epochs"):
            fit(tmp_path, lr=0.002, lr_schedule=None)


# Which fits are equal -------------------------------------------------------------


def test_memory_ignores_what_does_not_change_the_weights(tmp_path, trained):
    fit(tmp_path, **SHORT, device="cpu")
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for params in (
            {"verbose": 1},
            {"predict_flip": True},
            {"device": torch.device("cpu"), "precision": "float32"},
            {"batch_size": np.int64(60), "lr": np.float64(0.01)},
        ):
            net = fit(tmp_path, **{**SHORT, "device": "cpu", **params})
            assert {name: getattr(net, name) for name in params} == params
    finally:
        torch.set_num_threads(n_threads)
    assert len(trained) == 1


def test_memory_distinguishes_parameters(tmp_path, trained):
    others = [
        {},
        {"lr": 0.011},
        {"random_state": 1},
        {"random_state": np.random.RandomState(2)},
        {"max_epochs": 2},
        {"dropout": 0.4},
        {"shuffle": False},
        {"module__hidden_units": (8,)},
        {"optimizer": torch.optim.Adam},
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
    ]
    for n_trained, params in enumerate(others, start=1):
        for _ in range(2):
            fit(tmp_path, **{**SHORT, "batch_size": 16, **deepcopy(params)})
            assert len(trained) == n_trained, params


def test_memory_distinguishes_every_row(tmp_path, rows, trained, same_predictions):
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
        nets = [fit(tmp_path, *each, **SHORT) for each in data]
    assert len(trained) == len(data)
    # The same pixels in another layout or container are the same data.
    fit(tmp_path, np.asfortranarray(X), list(y), **SHORT)
    fit(tmp_path, torch.tensor(X), y, np.full(60, 3.0), **SHORT)
    assert len(trained) == len(data)
    assert same_predictions(nets[0], fit(None, **SHORT), X)


def test_memory_distinguishes_columns_that_padding_makes_equal(tmp_path, trained):
    X, y = images()
    X[:, 47:] = 0
    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(49)])
    data = [X[:, :47], X[:, :48], X, frame, frame.rename(columns={"pixel0": "first"})]
    for _ in range(2):
        for each in data:
            net = fit(tmp_path, each, y, **SHORT)
            assert net.n_features_in_ == each.shape[1]
            names = getattr(net, "feature_names_in_", None)
            assert names is None or names.tolist() == each.columns.tolist()
            net.predict(each)
    assert len(trained) == len(data)


def test_memory_is_off_for_labels_that_no_file_holds(tmp_path, rows, trained):
    X, y = rows
    days = np.array(["2026-01-01", "2026-01-02", "2026-01-03"], "datetime64[ns]")
    for _ in range(2):
        with pytest.warns(match="memory is not used for this fit: only labels can be"):
            fit(tmp_path, X, days[y], **SHORT)
    assert len(trained) == 2


def test_memory_of_subclasses_with_their_own_constructor(
    tmp_path, rows, trained, monkeypatch
):
    for lr in (0.02, 0.02, 0.01):
        net = OtherDefault(**QUICK | SHORT | {"lr": lr}, memory=tmp_path, floor=0.3)
        net.fit(*rows)
    assert len(trained) == 2
    assert net.predict_proba(rows[0]).min() == 0.3
    for _ in range(2):
        OneFixed(tmp_path).fit(*rows)
    assert len(trained) == 3
    monkeypatch.setattr(OneFixed, "dropout_of_all", 0.2)
    OneFixed(tmp_path).fit(*rows)
    assert len(trained) == 4
    # The file of the class is part of the key.
    for _ in range(2):
        OtherStep(**QUICK | SHORT, memory=tmp_path).fit(*rows)
    assert len(trained) == 5
    local = type("Local", (OtherStep,), {})(**QUICK, memory=tmp_path)
    with pytest.warns(match="the code of Local cannot be identified"):
        local.fit(*rows)


# What is not stored ---------------------------------------------------------------


class Counter(Callback):
    pass


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"callbacks": [Counter()]}, r"callbacks holds .* class Counter"),
        ({"callbacks": [("a", Counter)]}, r"callbacks holds .* class type"),
        ({"augment": lambda images, generator: images}, "augment holds"),
        ({"lr_schedule": lambda optimizer, n: None}, "lr_schedule holds"),
        ({"train_split": skorch.dataset.ValidSplit(3)}, "train_split holds"),
        ({"iterator_valid": partial(torch.utils.data.DataLoader)}, "iterator_valid"),
        (
            {"iterator_train": torch.utils.data.DataLoader}
            | {"iterator_train__generator": torch.Generator()},
            "iterator_train__generator holds .* class Generator",
        ),
        ({"optimizer": type("Mine", (torch.optim.SGD,), {})}, "optimizer holds"),
        ({"callbacks__print_log__sink": print}, "callbacks__print_log__sink holds"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_memory_is_off_for_what_has_no_value(tmp_path, trained, params, message):
    for n_trained in (1, 2):
        with pytest.warns(
            UserWarning, match=f"memory is not used for this fit: .*{message}"
        ) as caught:
            fit(tmp_path, **SHORT | params)
        assert {each.filename for each in caught} == {__file__}
        assert len(trained) == n_trained
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_memory_needs_a_random_state(tmp_path, rows, two_processes, n_jobs):
    """An error for the whole search, not a warning for each fit of it."""
    net = LeNet5Classifier(**SHORT, memory=tmp_path)
    with pytest.raises(ValueError, match=r"keeps fits that can be .* integer"):
        net.fit(*rows)
    search = GridSearchCV(net, {"lr": [0.01, 0.02]}, cv=2, n_jobs=n_jobs)
    with pytest.raises(ValueError, match=r"(?s)All the 4 fits .*random_state=None"):
        search.fit(*rows)
    assert not list(tmp_path.iterdir())
    # Continuing is another reason, and stays a warning.
    with pytest.warns(match="partial_fit continues"):
        net.partial_fit(*rows, classes=[0, 1, 2])


def test_memory_is_off_for_training_that_continues(tmp_path, rows, trained):
    with pytest.warns(match="memory is not used for this fit: warm_start=True needs"):
        fit(tmp_path, warm_start=True)
    net = fit(tmp_path)
    with pytest.warns(match="this fit: partial_fit continues") as caught:
        net.partial_fit(*rows)
    assert caught[0].filename == __file__
    assert len(trained) == 3
    assert len(FitCache(tmp_path).entries()) == 1


def test_memory_stores_no_fit_that_failed_or_was_cut_short(tmp_path, trained):
    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.stop_training()

    with pytest.raises(ValueError, match="diverged"):
        fit(tmp_path, optimizer=torch.optim.SGD, lr=1e30)
    interrupt = Raises(KeyboardInterrupt, epoch=1)
    with extra_callbacks(interrupt), pytest.raises(KeyboardInterrupt):
        fit(tmp_path)
    with extra_callbacks(Stop()):
        assert fit(tmp_path).n_iter_ == 1
    assert not os.listdir(tmp_path / "fmnist_sklearn")
    trained.clear()
    assert fit(tmp_path).n_iter_ == 2
    # Early stopping ends a fit as it should.
    for _ in range(2):
        assert fit(tmp_path, patience=1, lr=0.3, max_epochs=30).n_iter_ < 30
    assert len(trained) == 2


# Where ----------------------------------------------------------------------------


def test_memory_may_be_a_path_or_a_cache(tmp_path, trained, monkeypatch):
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


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left", "a name"), PermissionError(13, "no")]
)
def test_memory_that_cannot_be_written_is_read(tmp_path, trained, monkeypatch, error):
    fit(tmp_path)

    def fail(*args, **kwargs):
        raise error

    for name in ("write_container", "file_lock"):
        monkeypatch.setattr(fit_cache, name, fail)
    monkeypatch.setattr(os, "utime", fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in (1, 2):
            assert fit(tmp_path, lr=0.3, random_state=seed).n_iter_ == 2
        fit(tmp_path)  # reading needs no permission to write
    messages = [str(each.message) for each in caught if "memory" in str(each.message)]
    assert len(messages) == 2
    assert len(set(messages)) == 1  # which Python shows once by default
    assert "could not be written to memory=" in messages[0]
    assert len(trained) == 3


def test_memory_trains_again_what_is_damaged(tmp_path, rows, trained, same_predictions):
    first = fit(tmp_path, **SHORT)
    cache = FitCache(tmp_path)
    (entry,) = cache.entries()
    sound = entry.path.read_bytes()
    arrays, meta = cache.read(entry.path.stem)

    def check():
        n_trained = len(trained)
        with pytest.warns(match="a fit in memory is damaged and is trained again"):
            again = fit(tmp_path, **SHORT)
        assert len(trained) == n_trained + 1
        assert same_predictions(first, again, rows[0])

    flipped = sound[:4000] + bytes([sound[4000] ^ 1]) + sound[4001:]
    for damaged in (b"", sound[:-1], flipped):
        entry.path.write_bytes(damaged)
        check()
    # Sound files that hold no fit of this network.
    for wrong in (
        (arrays, {}),
        (arrays, {**meta, "history": 3}),
        (arrays, {**meta, "built_with": {"module__hidden_units": 10**9}}),
        ({**arrays, "more": np.zeros(3)}, meta),
        # Sound fits of other rows.
        (arrays, {**meta, "classes": {"dtype": "<U1", "labels": ["a", "b", "c"]}}),
        (arrays, {**meta, "classes": {"dtype": "<i8", "labels": [0, 1, 3]}}),
        (arrays, {**meta, "fitted": {**meta["fitted"], "n_features_in_": 48}}),
        (arrays, {**meta, "image_shape": [1, 7, 8]}),
        (arrays, {**meta, "feature_names": [f"pixel{i}" for i in range(49)]}),
    ):
        cache.write(entry.path.stem, *wrong)
        check()
    # That of another fit, under this name.
    fit(tmp_path, **SHORT, lr=0.1)
    (other,) = (e.path for e in cache.entries() if e.path != entry.path)
    entry.path.write_bytes(other.read_bytes())
    check()
    n_trained = len(trained)
    fit(tmp_path, **SHORT)
    assert len(trained) == n_trained


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_memory_writes_through_no_link(tmp_path, trained, link):
    fit(tmp_path, **SHORT)
    (entry,) = FitCache(tmp_path).entries()
    kept = tmp_path / "of the user"
    for path in (entry.path, entry.path.with_name(f"{entry.path.name}.lock")):
        kept.write_bytes(b"precious")
        entry.path.write_bytes(b"damaged")
        path.unlink(missing_ok=True)
        link(kept, path)
        with pytest.warns(match="damaged and is trained again"):
            fit(tmp_path, **SHORT)
        assert kept.read_bytes() == b"precious"
        assert not entry.path.is_symlink()
        kept.unlink()
    assert len(trained) == 3
    fit(tmp_path, **SHORT)
    assert len(trained) == 3


# In searches ----------------------------------------------------------------------


SEARCHES = {
    "grid": lambda net: GridSearchCV(
        make_pipeline(FunctionTransformer(), net),
        {"lenet5classifier__lr": [0.01, 0.02]},
        cv=2,
    ),
    "race": lambda net: RacingSearchCV(
        net, {"lr": [0.001, 0.005, 0.01, 0.1]}, cv=2, short_share=0.5
    ),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_memory_trains_nothing_in_a_search_run_again(
    tmp_path, rows, trained, name, same_predictions
):
    plain = SEARCHES[name](LeNet5Classifier(**QUICK)).fit(*rows)
    n_trained = len(trained)
    searches = [
        SEARCHES[name](LeNet5Classifier(**QUICK, memory=tmp_path)).fit(*rows)
        for _ in range(2)
    ]
    assert len(trained) == 2 * n_trained
    expected = str(without_times(plain.cv_results_))  # nan is not equal to itself
    for search in searches:
        assert str(without_times(search.cv_results_)) == expected
        assert same_predictions(search, plain, rows[0])


def test_memory_calls_callbacks_at_the_begin_and_end(tmp_path):
    calls = []

    class Recorder(Callback):
        def on_train_begin(self, net, **kwargs):
            calls.append("begin")

        def on_train_end(self, net, **kwargs):
            calls.append(("end", net.n_iter_, len(kwargs["X"])))

    for _ in range(2):
        with extra_callbacks(Recorder()):
            fit(tmp_path)
    assert calls == ["begin", ("end", 2, 45)] * 2


def test_memory_calls_scikit_learn_s_callbacks(tmp_path, rows, trained, capsys):
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


@pytest.mark.slow
def test_memory_of_searches_that_are_killed_or_run_at_once(tmp_path):
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs processes that are forked")
    with warnings.catch_warnings():
        undisturbed = killed_search.search()
    for n_stored in (1, 5):
        process = killed_search.start_search(tmp_path, "killed")
        killed_search.kill_after(process, tmp_path, n_stored, delay=0.01)
    killed_search.start_search(tmp_path, "results").join()
    assert joblib.load(tmp_path / "results") == undisturbed
    # A search may be killed between storing a fit and logging it.
    stored = killed_search.read_stored(tmp_path)
    assert len(set(stored)) == len(stored) <= killed_search.N_FITS
    assert len(FitCache(tmp_path).entries()) == killed_search.N_FITS
    # Two searches that begin without an entry share the work.
    folder, names = tmp_path / "shared", ("first", "second")
    folder.mkdir()
    for process in [killed_search.start_search(folder, name) for name in names]:
        process.join()
    for name in names:
        assert joblib.load(folder / name) == undisturbed
    stored = killed_search.read_stored(folder)
    assert len(set(stored)) == len(stored) == killed_search.N_FITS
    left = {path.suffix for path in (folder / "fmnist_sklearn").iterdir()}
    assert left == {".fit"}
