"""The parameter ``teacher``: what it accepts, what it is asked, where it is kept."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from skorch.dataset import ValidSplit

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier, load_model, save_model

IDENTITY = {"shift": 0}  # an augmentation that changes nothing


@pytest.fixture
def quick(quick):
    """As for all tests, with one epoch."""
    return quick | {"max_epochs": 1}


@pytest.fixture(scope="module")
def tree(sample):
    """A classifier of another library, with probabilities of 0."""
    return DecisionTreeClassifier(max_depth=8, random_state=0).fit(*sample)


def weights_of(net):
    parts = [value.flatten().double() for value in net.module_.state_dict().values()]
    return torch.cat(parts)


# What is learned ----------------------------------------------------------------------


@pytest.mark.parametrize("augment", [None, {"flip": 0.5, "shift": 1, "mixup": 0.2}])
def test_distillation_weight_is_the_share_of_the_teachers(
    X, y, quick, tree, lenet5, augment
):
    quick |= {"validation_fraction": 0, "augment": augment}
    net = LeNet5Classifier(teacher=[tree, lenet5], distillation_weight=1.0, **quick)
    first = weights_of(net.fit(X, y))
    second = weights_of(net.fit(X, y[::-1]))
    without = weights_of(net.set_params(distillation_weight=0.0).fit(X, y))
    plain = weights_of(net.set_params(teacher=None).fit(X, y))
    assert torch.equal(first, second)  # labels do not count
    assert not torch.equal(first, plain)
    assert torch.equal(without, plain)


def test_teacher_of_our_classes_predicts_rows_once_or_each_batch_alike(X, y, quick):
    """Also where it has another layout and scaling; it is not changed."""
    teacher = LeNet5Classifier(
        **quick, image_shape=(1, 56, 14), pixel_scaling="symmetric"
    ).fit(X, y)
    before = weights_of(teacher)
    net = LeNet5Classifier(teacher=teacher, augment=IDENTITY, **quick)
    each_batch = net.fit(X.reshape(-1, 28, 28), y).predict_proba(X)
    net.set_params(augment=None)
    once = net.fit(X.reshape(-1, 28, 28), y).predict_proba(X)
    assert np.allclose(each_batch, once, atol=1e-3)
    assert torch.equal(weights_of(teacher), before)
    assert teacher.image_shape_ == (1, 56, 14)


def test_validation_is_by_the_labels_alone(X, y, X_test, y_test, quick, tree):
    net = LeNet5Classifier(teacher=tree, **quick)
    net.fit(X, y, X_val=X_test, y_val=y_test)
    loss = net.history_[net.best_epoch_ - 1, "valid_loss"]
    assert loss == pytest.approx(log_loss(y_test, net.predict_proba(X_test)), rel=1e-5)


@pytest.mark.parametrize(
    "params",
    [
        {"class_weight": {0: 3.0}},
        {"class_weight": "balanced", "augment": {"mixup": 0.3, "rotate": 3}},
        {"iterator_train": torch.utils.data.DataLoader, "augment": {"mixup": 0.3}},
        {"train_split": ValidSplit(5)},
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_teacher_with_other_parameters(X, y, quick, tree, lenet5, params, weighted):
    """Each fit repeats itself, and the teachers make a difference."""
    weights = np.linspace(0, 2, len(y)) if weighted else None
    net = LeNet5Classifier(teacher=[tree, lenet5], **quick, **params)
    first = weights_of(net.fit(X, y, sample_weight=weights))
    assert torch.equal(weights_of(net.fit(X, y, sample_weight=weights)), first)
    net.set_params(distillation_weight=0.0)
    assert not torch.equal(weights_of(net.fit(X, y, sample_weight=weights)), first)


def test_partial_fit_learns_from_teachers(X, y, quick, tree):
    def trained(**params):
        net = LeNet5Classifier(**quick, **params)
        return weights_of(net.partial_fit(X, y, classes=range(10)).partial_fit(X, y))

    with_teacher = trained(teacher=tree)
    assert torch.equal(trained(teacher=tree), with_teacher)
    assert not torch.equal(trained(), with_teacher)


# What they are asked ------------------------------------------------------------------


def test_teacher_of_another_library_predicts_the_training_rows_once(X, y, quick, tree):
    questions = []

    class Teacher:
        """Not an estimator of scikit-learn."""

        classes_ = tree.classes_

        def predict_proba(self, X):
            questions.append(X)
            return tree.predict_proba(X)

    quick |= {"augment": {"flip": 0.5}, "shuffle": False, "max_epochs": 2}
    LeNet5Classifier(teacher=Teacher(), **quick).fit(X / np.float32(255), y)
    (question,) = questions
    assert np.array_equal(question, X[48:] / np.float32(255))


def test_teacher_receives_the_names_of_a_data_frame(X, y, quick):
    frame = pd.DataFrame(X[:, :700], columns=[f"p{i}" for i in range(700)])
    teacher = GaussianNB().fit(frame, y)  # it would warn of an array
    net = LeNet5Classifier(teacher=teacher, **quick).fit(frame, y)
    assert net.image_shape_ == (1, 27, 27)


def test_teacher_in_a_search_predicts_augmented_images(X, y, quick, monkeypatch):
    small = {"module__widths": (4, "M"), "module__hidden_units": 8}
    search = GridSearchCV(MiniVGGClassifier(**quick, **small), {"lr": [0.01]}, cv=2)
    search.fit(X[:100], y[:100])
    batches = []

    def evaluation_step(net, batch, training=False):
        batches.append(batch[0])
        return LeNet5Classifier.evaluation_step(net, batch, training)

    monkeypatch.setattr(MiniVGGClassifier, "evaluation_step", evaluation_step)
    monkeypatch.setattr(
        MiniVGGClassifier, "predict_proba", lambda *args: pytest.fail("asked once")
    )
    net = LeNet5Classifier(teacher=FrozenEstimator(search), **quick)
    net.set_params(augment=lambda images, generator: images.clamp(min=1)).fit(X, y)
    assert len(torch.cat(batches)) == 192
    assert torch.cat(batches).min() == 1


# clone, searches, files, the cache of fits --------------------------------------------


def test_clone_keeps_a_frozen_teacher(X, y, quick, tree, lenet5):
    teachers = [FrozenEstimator(tree), FrozenEstimator(lenet5)]
    net = LeNet5Classifier(teacher=teachers, **quick)
    fitted = clone(net).fit(X, y)
    assert [each.estimator for each in fitted.teacher] == [tree, lenet5]
    with pytest.raises(NotFittedError, match=r"FrozenEstimator\(it\)"):
        clone(net.set_params(teacher=tree)).fit(X, y)


def test_save_model_leaves_the_teacher_out(tmp_path, X, y, quick, tree):
    params = {"weight_decay": 0.01, "augment": {"rotate": 3, "mixup": 0.2}}
    net = LeNet5Classifier(teacher=tree, distillation_weight=0.5, **quick, **params)
    net.fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_model(net, tmp_path / "net.safetensors")
    loaded = load_model(tmp_path / "net.safetensors")
    assert loaded.teacher is None
    assert loaded.distillation_weight == 0.5
    assert {name: getattr(loaded, name) for name in params} == params
    assert np.array_equal(loaded.predict_proba(X), net.predict_proba(X))


@pytest.mark.parametrize("augment", [None, {"flip": 0.5}])
def test_memory_knows_an_equal_teacher(tmp_path, X, y, quick, trained, augment):
    first, equal, another = (
        LeNet5Classifier(**quick | {"random_state": seed}).fit(X, y)
        for seed in (0, 0, 1)
    )
    net = LeNet5Classifier(memory=tmp_path, augment=augment, **quick)
    for teacher in (first, equal, FrozenEstimator(equal)):
        net.set_params(teacher=teacher).fit(X, y)
    assert trained.count(net) == 1
    net.set_params(teacher=another).fit(X, y)
    net.set_params(distillation_temperature=1.0).fit(X, y)
    net.set_params(teacher=None).fit(X, y)
    assert trained.count(net) == 4


def test_memory_is_not_used_with_a_teacher_of_no_file(tmp_path, X, y, quick):
    class Other(LeNet5Classifier):
        def infer(self, x, **fit_params):
            return 2 * super().infer(x, **fit_params)

    net = LeNet5Classifier(
        memory=tmp_path,
        teacher=Other(**quick).fit(X, y),
        augment={"flip": 0.5},
        **quick,
    )
    with pytest.warns(UserWarning, match="code of .*Other cannot be identified"):
        net.fit(X, y)


# Refusals -----------------------------------------------------------------------------


def test_teacher_is_refused(X, y, quick):
    class Vague(DecisionTreeClassifier):
        def predict_proba(self, X):
            return super().predict_proba(X) * np.nan

    small = LeNet5Classifier(**quick).fit(X[:, :144], y)
    wrong = [
        (LeNet5Classifier(), "teacher must be fitted, and LeNet5Classifier is not"),
        (GaussianNB(), "teacher must be fitted, and GaussianNB is not"),
        (object(), "The 'teacher' parameter of LeNet5Classifier must be"),
        ([object()], "teacher must be one or more fitted classifiers with"),
        ([], r"teacher must be one or more .* got \[\]"),
        (GaussianNB().fit(X, y % 3), "teacher GaussianNB must know the classes that y"),
        (small, r"images of shape \(1, 12, 12\), but these are of shape \(1, 28"),
        (Vague(max_depth=1).fit(X, y), "teacher Vague must give a probability for eac"),
    ]
    net = LeNet5Classifier(augment={"flip": 0.5}, **quick)
    for teacher, match in wrong:
        with pytest.raises(ValueError, match=match):
            net.set_params(teacher=teacher).fit(X, y)
