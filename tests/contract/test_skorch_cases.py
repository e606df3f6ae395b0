"""What skorch's own tests ask of a classifier, asked of ours.

The cases are those of skorch 1.4's ``test_classifier.py`` (``NeuralNetClassifier``)
and, as far as a fixed module and criterion leave them a meaning, of ``test_net.py``.
Most hold and are tested in test_skorch_surface.py and test_base.py; here is the rest.
Where ours differ on purpose, the test states what they do instead, and docs/skorch.rst
says why.

Cases that have no counterpart, and why:

=====================================================  =================================
skorch's case                                          reason
=====================================================  =================================
``NLLLoss`` gets logarithms, others do not             the loss takes logits, always
``BCELoss``, ``threshold``, output of one column       NeuralNetBinaryClassifier's; two
                                                       classes are two logits here
initialised, partial or sequential modules             the module is the class's own
criterion: own classes, functions, its parameters      the criterion is the class's own
several modules, criteria or optimizers; ``setattr``   one of each
``predict_nonlinearity``                               softmax, always
several outputs, or of varying length                  a logit for each class
``dataset``, ``dataset__...``                          arrays only
``history=`` of one's own, rows of batches in it       a row for each epoch
dict as ``X``; further arguments of ``forward``        a network takes images
messages on re-initialisation by ``set_params``        ``set_params`` only stores
sparse input that learns                               images are dense; an error
``device=None``                                        "auto" says what is meant
``compile``                                            a network this small gains little
pickles and weights made on CUDA, in skorch's folder   test_cuda.py has ours
``groups`` for ``train_split``                         ``fit(X_val=..., y_val=...)``
=====================================================  =================================
"""

import copy
import pickle
import warnings

import numpy as np
import pytest
import skorch.callbacks
import torch
from safetensors import safe_open
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from skorch.callbacks import Callback, Checkpoint, EpochTimer, PrintLog
from skorch.dataset import Dataset
from skorch.exceptions import NotInitializedError, SkorchTrainingImpossibleError
from skorch.utils import FirstStepAccumulator
from torch.utils.data import DataLoader, TensorDataset

from fmnist_sklearn import LeNet5Classifier


@pytest.fixture
def net(lenet5):
    """A fitted net, to do with as one likes."""
    return copy.deepcopy(lenet5)


@pytest.fixture
def fresh(quick):
    """An initialised net with other weights than ``net``."""
    return LeNet5Classifier(**quick | {"random_state": 7}).initialize()


def images(X):
    return torch.from_numpy(X.reshape(-1, 1, 28, 28).copy())


# Classes


def test_a_high_learning_rate_does_not_end_in_nan(X, y, quick):
    net = LeNet5Classifier(**quick | {"lr": 2.0}).fit(X, y)
    assert np.isfinite(net.history[:, ("train_loss", "valid_loss")]).all()


@pytest.mark.parametrize("as_labels", [np.asarray, torch.as_tensor, list])
def test_classes_come_from_the_labels(X, quick, as_labels):
    labels = np.arange(240) % 10
    labels[np.isin(labels, [0, 5])] = 4
    net = LeNet5Classifier(**quick | {"max_epochs": 1}).fit(X, as_labels(labels))
    assert net.classes_.tolist() == [1, 2, 3, 4, 6, 7, 8, 9]


def test_classes_are_no_parameter():
    with pytest.raises(TypeError, match="unexpected keyword argument 'classes'"):
        LeNet5Classifier(classes=["foo", "bar"])


@pytest.mark.parametrize("classes", [[], np.array([])])
def test_no_classes_at_all(X, y, quick, classes):
    with pytest.raises(ValueError, match="classes"):
        LeNet5Classifier(**quick).partial_fit(X, y, classes=classes)


def test_classes_before_the_first_fit():
    with pytest.raises(AttributeError, match=r"not fitted yet: .* 'classes_'"):
        LeNet5Classifier().classes_  # noqa: B018


@pytest.mark.parametrize("threshold", [0, 0.25, 0.75, 1.01])
def test_a_threshold_for_two_classes_is_scikit_learn_s(X, y, quick, threshold):
    labels = (y > 4).astype(np.float32)
    model = FixedThresholdClassifier(
        LeNet5Classifier(**quick), threshold=threshold, response_method="predict_proba"
    ).fit(X, labels)
    expected = model.estimator_.predict_proba(X)[:, 1] >= threshold
    assert np.array_equal(model.predict(X), expected)


def test_search_by_area_under_the_curve(X, y, quick):
    grid = {"max_epochs": [1, 2]}
    search = GridSearchCV(LeNet5Classifier(**quick), grid, cv=2, scoring="roc_auc")
    assert search.fit(X, y > 4).best_score_ > 0.5


@pytest.mark.parametrize("batch_size", [1, -1])
def test_batches_of_one_row_and_of_all(X, y, quick, batch_size):
    settings = quick | {"batch_size": batch_size, "max_epochs": 1}
    net = LeNet5Classifier(**settings).fit(X[:40], y[:40])
    n_batches = 32 if batch_size == 1 else 1
    assert net.history[0, "train_batch_count"] == n_batches
    assert net.batch_size == batch_size


# Datasets


@pytest.mark.parametrize("dataset", [Dataset, TensorDataset])
def test_datasets_predict_but_do_not_train(net, X, y, quick, dataset):
    data = dataset(images(X), torch.from_numpy(y.copy()))
    assert np.array_equal(net.predict_proba(data), net.predict_proba(X))
    assert np.array_equal(net.predict(data), net.predict(X))
    with pytest.raises(TypeError, match=f"array of images, got a {dataset.__name__}"):
        LeNet5Classifier(**quick).fit(data, y)


class Items(torch.utils.data.Dataset):
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return 30

    def __getitem__(self, index):
        return self.items if len(self.items) > 1 else self.items[0]


@pytest.mark.parametrize(
    "items", [(0.0,), (torch.zeros(1, 28, 28),), (torch.zeros(1, 28, 28), 0, 1.0, 0)]
)
def test_datasets_must_hold_images_and_targets(net, items):
    with pytest.raises(ValueError, match="must give an image, its target"):
        net.predict(Items(*items))


# Names of parameters


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("iterator_train_shuffle", "iterator_train__shuffle"),
        ("optimizer_momentum", "optimizer__momentum"),
        ("modulehidden_units", "module__hidden_units"),
        ("criterion_label_smoothing", "criterion__label_smoothing"),
        ("lr_schedule_pct_start", "lr_schedule__pct_start"),
    ],
)
def test_names_with_too_few_underscores(name, likely):
    with pytest.raises(TypeError, match=f"'{name}'; did you mean {likely}\\?"):
        LeNet5Classifier(**{name: 1})
    with pytest.raises(ValueError, match=f"'{name}' .*; did you mean {likely}\\?"):
        LeNet5Classifier().set_params(**{name: 1})


@pytest.mark.parametrize(
    "name",
    [
        *("module", "criterion", "classes", "dataset", "history", "compile"),
        *("predict_nonlinearity", "torch_load_kwargs", "use_caching"),
    ],
)
def test_skorch_s_parameters_that_are_none_here(name):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        LeNet5Classifier(**{name: None})


def test_shuffled_predictions_are_refused(net, X, recwarn):
    """Of skorch this is a warning, and then a shuffled answer."""
    expected = net.predict_proba(X)
    net.set_params(iterator_valid__shuffle=False)
    assert np.array_equal(net.predict_proba(X), expected)
    assert not recwarn.list
    net.set_params(iterator_valid__shuffle=True)
    with pytest.raises(ValueError, match="iterator_valid__shuffle=True would"):
        net.predict(X)
    with pytest.raises(ValueError, match="iterator_valid__shuffle=True would"):
        net.set_params(iterator_valid=DataLoader).predict(X)


# Before the first fit


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "forward"]
)
def test_inference_before_the_first_fit(X, kind, method):
    with pytest.raises(NotFittedError, match=f"{kind.__name__} .*not fitted yet"):
        getattr(kind(), method)(X)
    with pytest.raises(NotFittedError, match=f"{kind.__name__} .*not fitted yet"):
        list(kind().forward_iter(X))


def test_check_is_fitted_is_skorch_s(net):
    net.check_is_fitted()
    net.check_is_fitted(["module_", "criterion_"])
    with pytest.raises(NotInitializedError, match="not initialized yet"):
        LeNet5Classifier().check_is_fitted()


def test_parameters_set_before_initialize_stay(quick):
    net = LeNet5Classifier(**quick).set_params(verbose=123, module__dropout=0.25)
    assert not net.initialized_
    assert not hasattr(net, "module_")
    net.initialize()
    assert net.verbose == 123
    assert net.module_.head.dropout5.p == 0.25
    net.set_params(verbose=0, callbacks=[]).initialize()


def test_initialize_and_fit_say_nothing(X, y, quick, capsys):
    LeNet5Classifier(**quick).initialize().fit(X, y)
    assert capsys.readouterr().out == ""


# Copies


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]
)
def test_a_copy_trains_on(X, y, quick, copied):
    net = LeNet5Classifier(**quick).partial_fit(X, y, classes=range(10))
    other = copied(net)
    before = [p.detach().clone() for p in net.module_.parameters()]
    other.partial_fit(X, y).partial_fit(X, y)

    assert all(map(torch.equal, before, net.module_.parameters()))
    group = other.optimizer_.param_groups[0]["params"]
    trained = dict(other.module_.named_parameters())
    for name, held, old in zip(trained, group, before, strict=True):
        assert trained[name] is held
        # A bias before a batch normalisation has no effect, and so no gradient.
        assert torch.equal(held, old) == name.endswith("conv.bias")
    losses = other.history[:, "train_loss"]
    assert len(set(losses)) == 3


def test_a_torch_device_survives_a_pickle(X, y, quick):
    net = LeNet5Classifier(**quick | {"device": torch.device("cpu")}).fit(X, y)
    loaded = pickle.loads(pickle.dumps(net))
    assert loaded.device == net.device == torch.device("cpu")
    assert np.array_equal(loaded.predict_proba(X), net.predict_proba(X))


def test_unpickling_warns_of_nothing(net):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(net))


def test_a_second_fit_draws_new_weights_and_a_warm_one_does_not(X, y, quick):
    settings = quick | {"lr": 1e-12, "max_epochs": 1, "random_state": None}
    settings["optimizer"] = torch.optim.SGD
    for warm_start in (False, True):
        net = LeNet5Classifier(**settings, warm_start=warm_start).fit(X, y)
        before = net.module_.head.out.weight.detach().clone()
        net.fit(X, y)
        assert torch.allclose(before, net.module_.head.out.weight) == warm_start


# Files


@pytest.mark.parametrize("action", ["save_params", "load_params"])
def test_messages_of_saving_and_loading(net, action):
    call = getattr(net, action)
    with pytest.raises(TypeError, match="argument 'foobar', did you mean 'f_foobar'"):
        call(foobar="file")
    with pytest.raises(TypeError, match="both f_params and f_module"):
        call(f_module="file", f_params="file")
    for name in ("max_epochs", "unknown"):
        with pytest.raises(AttributeError, match=rf"called 'net.{name}_' that is a Py"):
            call(**{f"f_{name}": "file"})
    for name in ("f_params", "f_optimizer"):
        with pytest.raises(NotInitializedError, match="of an un-initialized model"):
            getattr(LeNet5Classifier(), action)(**{name: "file"})


@pytest.mark.parametrize("use_safetensors", [False, True])
def test_open_files(net, fresh, X, tmp_path, use_safetensors):
    with open(tmp_path / "params", "wb") as file:
        net.save_params(f_params=file, use_safetensors=use_safetensors)
    with open(tmp_path / "history", "w") as file:
        net.save_params(f_history=file)
    with open(tmp_path / "params", "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh.load_params(f_params=file, use_safetensors=use_safetensors)
    with open(tmp_path / "history") as file:
        fresh.load_params(f_history=file)
    assert np.array_equal(fresh.predict_proba(X), net.predict_proba(X))
    assert fresh.history == net.history
    assert clone(fresh)._modules == net._modules == ("module",)


def test_safetensors_hold_the_weights_and_nothing_else(net, fresh, tmp_path):
    net.save_params(f_params=tmp_path / "params", use_safetensors=True)
    state = net.module_.state_dict()
    with safe_open(tmp_path / "params", framework="pt") as file:
        assert set(file.keys()) == set(state)
        assert all(
            torch.equal(file.get_tensor(name), value.cpu())
            for name, value in state.items()
        )
    with pytest.raises(ValueError, match="safetensors"):
        fresh.save_params(f_optimizer=tmp_path / "optimizer", use_safetensors=True)


class Exploit:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from the file was run')",))


def test_files_of_weights_run_no_code(net, tmp_path):
    torch.save({"head.out.weight": Exploit()}, tmp_path / "params")
    with pytest.raises(pickle.UnpicklingError):
        net.load_params(f_params=tmp_path / "params")


@pytest.mark.parametrize("initialized", [True, False])
def test_training_goes_on_from_a_checkpoint(X, y, quick, tmp_path, initialized):
    checkpoint = Checkpoint(
        monitor=None,
        dirname=tmp_path,
        fn_prefix="lenet5_",
        f_params="params_{last_epoch[epoch]}.pt",
        f_criterion="criterion.pt",
    )
    settings = quick | {"patience": None, "callbacks": [checkpoint]}
    net = LeNet5Classifier(**settings).fit(X, y)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("lenet5_criterion.pt", "lenet5_history.json", "lenet5_optimizer.pt"),
        *("lenet5_params_1.pt", "lenet5_params_2.pt"),
    ]

    other = LeNet5Classifier(**settings | {"random_state": 9, "callbacks": None})
    if initialized:
        other.initialize()
    other.load_params(checkpoint=checkpoint)
    assert other.history == net.history
    other.partial_fit(X, y)
    assert other.n_iter_ == 3
    steps = {int(state["step"]) for state in other.optimizer_.state.values()}
    assert steps == {12 + 8}


# Callbacks


class Named(Callback):
    def __init__(self, log=None):
        self.log = log

    def on_epoch_end(self, net, **kwargs):
        if self.log is not None:
            self.log.append(self)


def test_callbacks_keep_their_order(quick):
    class Last(Named):
        pass

    class First(Named):
        pass

    callbacks = [Last(), First(), EpochTimer]
    net = LeNet5Classifier(**quick, callbacks=callbacks).initialize()
    names = [name for name, _ in net.callbacks_]
    assert names[0] == "epoch_timer"
    assert names[-4:] == ["Last", "First", "EpochTimer", "print_log"]
    assert isinstance(clone(net).initialize().callbacks_[-2][1], EpochTimer)


def test_callbacks_of_the_same_name(quick):
    one, two = Named(), Named()
    net = LeNet5Classifier(**quick, callbacks=[one, two]).initialize()
    callbacks = dict(net.callbacks_)
    assert (callbacks["Named_1"], callbacks["Named_2"]) == (one, two)

    class Named_1(Named):
        pass

    for callbacks, match in (
        ([("print_log", one)], "duplicate user-set callback name 'print_log'"),
        ([("mine", one), ("mine", two)], "duplicate user-set callback name 'mine'"),
        ([one, two, Named_1()], "new name 'Named_1' exists already"),
    ):
        with pytest.raises(ValueError, match=match):
            LeNet5Classifier(**quick, callbacks=callbacks).initialize()


def test_callbacks_are_replaced_and_removed(X, y, quick):
    log = []
    one, two = Named(log), Named(log)
    net = LeNet5Classifier(**quick, callbacks=[("one", one), ("two", two)])
    net.fit(X[:60], y[:60])
    assert log == [one, two] * 2

    log.clear()
    net.set_params(callbacks__one=None).fit(X[:60], y[:60])
    assert log == [two] * 2

    net.set_params(callbacks__print_log=EpochTimer()).initialize()
    assert isinstance(dict(net.callbacks_)["print_log"], EpochTimer)

    net.set_params(callbacks__print_log=None, callbacks__print_log__sink=print)
    with pytest.raises(ValueError, match="parameter for callback print_log which does"):
        net.initialize()


def test_parameters_of_a_default_callback(X, y, quick):
    lines = []
    net = LeNet5Classifier(**quick, verbose=1)
    net.set_params(callbacks__print_log__sink=lines.append).fit(X[:60], y[:60])
    assert isinstance(dict(net.callbacks_)["print_log"], PrintLog)
    assert len(lines) == 4


# Steps


class Gradients(Callback):
    def on_batch_end(self, net, batch=None, training=False, loss=None, **kwargs):
        assert loss.requires_grad == training

    def on_grad_computed(self, net, named_parameters, **kwargs):
        expected = {name for name, _ in net.module_.named_parameters()}
        assert {name for name, _ in named_parameters} == expected
        self.seen_ = True


def test_gradients_in_training_only(X, y, quick):
    net = LeNet5Classifier(**quick, callbacks=[Gradients()]).fit(X[:80], y[:80])
    assert dict(net.callbacks_)["Gradients"].seen_
    for training in (True, False):
        logits = net.evaluation_step((images(X[:3]), None), training=training)
        assert logits.requires_grad == training


def test_an_optimizer_that_calls_back(X, y, quick):
    net = LeNet5Classifier(
        **quick | {"optimizer": torch.optim.LBFGS, "lr": 0.5, "batch_size": -1},
        dropout=0,
    ).fit(X, y)
    assert net.history[-1, "train_loss"] < 1.5


def test_a_step_that_accumulates(X, y, quick):
    losses = []

    class Thrice(torch.optim.SGD):
        def step(self, closure=None):
            steps = [super(Thrice, self).step(closure) for _ in range(3)]
            losses.append([float(loss.detach()) for loss in steps])

    class Last(FirstStepAccumulator):
        def store_step(self, step):
            self.step = step

    settings = quick | {"optimizer": Thrice, "validation_fraction": 0}
    net = LeNet5Classifier(**settings | {"batch_size": 80, "max_epochs": 1})
    net.get_train_step_accumulator = Last
    net.fit(X, y)
    last = [thrice[-1] for thrice in losses]
    assert net.history[0, "train_loss"] == pytest.approx(np.mean(last))


def test_gradients_of_several_batches(X, y, quick):
    """As skorch's documentation shows it, by overriding two methods."""

    class Accumulating(LeNet5Classifier):
        n_steps_, n_updates_ = 0, 0

        def get_loss(self, *args, **kwargs):
            return super().get_loss(*args, **kwargs) / 3

        def train_step(self, batch, **fit_params):
            step = self.train_step_single(batch, **fit_params)
            self.n_steps_ += 1
            if self.n_steps_ % 3 == 0:
                self.optimizer_.step()
                self.optimizer_.zero_grad()
                self.n_updates_ += 1
            return step

    net = Accumulating(**quick).fit(X, y)
    assert (net.n_steps_, net.n_updates_) == (12, 4)
    assert {int(state["step"]) for state in net.optimizer_.state.values()} == {4}


def test_a_loss_of_one_s_own(X, y, quick):
    """With skorch's signature, which knows no weights."""

    class Absolute(LeNet5Classifier):
        def get_loss(self, y_pred, y_true, X=None, training=False):
            loss = (torch.softmax(y_pred, 1)[:, 1] - y_true.float()).abs().mean()
            if training:
                self.history.record_batch("mine", float(loss.detach()))
            return loss

    settings = quick | {"validation_fraction": 0, "batch_size": -1}
    net = Absolute(**settings).fit(X, y > 4)
    assert [row["batches"][0]["mine"] for row in net.history] == pytest.approx(
        net.history[:, "train_loss"]
    )
    with pytest.raises(TypeError, match="weights"):
        net.fit(X, y > 4, sample_weight=np.arange(240) + 1)


def test_parameters_of_the_criterion(X, y, quick):
    weight = torch.ones(10)
    net = LeNet5Classifier(**quick, criterion__weight=weight).fit(X, y)
    assert net.criterion_.weight.device.type == net.device_.type
    assert np.array_equal(
        net.predict_proba(X), LeNet5Classifier(**quick).fit(X, y).predict_proba(X)
    )


def test_groups_of_parameters_keep_their_lr(X, y, quick):
    net = LeNet5Classifier(**quick, optimizer__param_groups=[("head.*", {"lr": 0.5})])
    net.partial_fit(X, y, classes=range(10)).set_params(lr=0.25).partial_fit(X, y)
    assert [group["lr"] for group in net.optimizer_.param_groups] == [0.5, 0.25]


# Nets trimmed for prediction


def test_a_trimmed_net(X, y, quick):
    net = LeNet5Classifier(**quick, callbacks=[Named()]).fit(X, y)
    expected, size = net.predict_proba(X), len(pickle.dumps(net))
    net.module_.train()
    net.trim_for_prediction()
    net.trim_for_prediction()
    assert not net.module_.training
    assert net.optimizer_ is net.criterion_ is None
    assert not net.history
    assert not net.callbacks_
    assert not net.callbacks
    assert len(pickle.dumps(net)) < size
    assert clone(net).optimizer is None
    for copied in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert np.array_equal(copied.predict_proba(X), expected)
        assert copied.forward(X).shape == (240, 10)
        for call in (copied.fit, copied.partial_fit):
            with pytest.raises(SkorchTrainingImpossibleError, match="were trimmed"):
                call(X, y)


def test_trimming_before_the_first_fit():
    with pytest.raises(NotInitializedError, match="not initialized yet"):
        LeNet5Classifier().trim_for_prediction()


# What differs, and must not surprise


def test_sparse_rows_are_refused(X, y, quick):
    with pytest.raises(TypeError, match="Sparse data was passed"):
        LeNet5Classifier(**quick).fit(sparse.csr_matrix(X), y)


@pytest.mark.parametrize(("name", "value"), [("device", None), ("train_split", False)])
def test_values_that_only_skorch_takes(X, y, quick, name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter.*Got {value} instead"):
        LeNet5Classifier(**quick | {name: value}).fit(X, y)


def test_fit_takes_no_further_arguments(X, y, quick):
    for method in ("fit", "partial_fit"):
        with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
            getattr(LeNet5Classifier(**quick), method)(X, y, foo=1)


def test_images_in_a_dict_are_refused(X, y, quick):
    with pytest.raises((TypeError, ValueError), match="array"):
        LeNet5Classifier(**quick).fit({"X": X}, y)


def test_the_lr_of_a_fitted_net_changes_with_the_next_call(X, y, quick):
    net = LeNet5Classifier(**quick).fit(X, y).set_params(lr=0.9)
    assert net.optimizer_.param_groups[0]["lr"] == 0.01
    net.partial_fit(X, y)
    assert net.optimizer_.param_groups[0]["lr"] == 0.9


def test_history_has_no_rows_of_batches(net):
    with pytest.raises(KeyError):
        net.history[:, "batches", :, "train_loss"]


def test_compile_is_for_the_user_to_call(net, X, monkeypatch):
    expected = net.predict_proba(X)
    net.module_ = torch.compile(net.module_, backend="eager")
    np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-6)


def test_skorch_s_early_stopping_works_beside_ours(X, y, quick):
    stop = skorch.callbacks.EarlyStopping(patience=1, threshold=1e9, sink=str)
    stop.threshold_mode = "abs"
    net = LeNet5Classifier(**quick | {"max_epochs": 9}, callbacks=[stop]).fit(X, y)
    assert net.n_iter_ < 9
