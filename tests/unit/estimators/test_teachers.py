"""The parameter ``teacher``: who may be one, what it is asked, where it is kept."""

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
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.tree import DecisionTreeClassifier
from skorch.dataset import ValidSplit

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier, load_model, save_model


@pytest.fixture(scope="module")
def tree(sample):
    """A classifier that is none of ours, with probabilities of 0."""
    return DecisionTreeClassifier(max_depth=8, random_state=0).fit(*sample)


class Asked:
    """A teacher that notes what it is asked; no estimator of scikit-learn's."""

    def __init__(self, teacher):
        self.teacher = teacher
        self.classes_ = teacher.classes_
        self.questions = []

    def fit(self, X, y):
        raise AssertionError("a teacher is not to be fitted")

    def predict_proba(self, X):
        self.questions.append(X)
        return self.teacher.predict_proba(X)


def weights_of(net):
    return {name: value.clone() for name, value in net.module_.state_dict().items()}


def same_weights(first, second):
    return all(
        torch.equal(value, other)
        for value, other in zip(first.values(), second.values(), strict=True)
    )


# What is learned


@pytest.mark.parametrize("augment", [None, {"flip": 0.5, "shift": 1, "mixup": 0.2}])
def test_labels_do_not_matter_to_who_learns_from_teachers_alone(
    X, y, quick, tree, lenet5, augment
):
    quick |= {"validation_fraction": 0, "max_epochs": 1, "augment": augment}
    net = LeNet5Classifier(teacher=[tree, lenet5], distillation_weight=1.0, **quick)
    first = weights_of(net.fit(X, y))
    second = weights_of(net.fit(X, y[::-1]))
    without = weights_of(net.set_params(distillation_weight=0.0).fit(X, y))
    plain = weights_of(net.set_params(teacher=None).fit(X, y))

    assert same_weights(first, second)
    assert not same_weights(first, plain)
    assert same_weights(without, plain)


def test_one_of_ours_is_asked_the_same_once_or_about_each_batch(X, y, quick, lenet5):
    """An ``augment`` that changes nothing makes the difference."""
    net = LeNet5Classifier(teacher=lenet5, **quick)
    once = net.fit(X, y).predict_proba(X)
    net.set_params(augment={"shift": 0})
    assert np.allclose(net.fit(X, y).predict_proba(X), once, atol=1e-3)


def test_a_teacher_sees_images_in_its_own_layout_and_scaling(X, y, quick):
    """Asked about each batch or once, about rows or images."""
    quick |= {"max_epochs": 1}
    teacher = LeNet5Classifier(
        **quick, image_shape=(1, 56, 14), pixel_scaling="symmetric"
    ).fit(X, y)
    before = weights_of(teacher)
    net = LeNet5Classifier(teacher=teacher, augment={"shift": 0}, **quick)
    each_batch = net.fit(X.reshape(-1, 28, 28), y).predict_proba(X)
    net.set_params(augment=None)
    once = net.fit(X.reshape(-1, 28, 28), y).predict_proba(X)

    assert np.allclose(each_batch, once, atol=1e-3)
    assert same_weights(weights_of(teacher), before)
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
def test_beside_other_parameters(X, y, quick, tree, lenet5, params, weighted):
    """Each fit repeats itself, and the teachers make a difference."""
    weights = np.linspace(0, 2, len(y)) if weighted else None
    quick |= {"max_epochs": 1, **params}
    net = LeNet5Classifier(teacher=[tree, lenet5], **quick)
    first = weights_of(net.fit(X, y, sample_weight=weights))
    assert same_weights(weights_of(net.fit(X, y, sample_weight=weights)), first)
    net.set_params(distillation_weight=0.0)
    other = weights_of(net.fit(X, y, sample_weight=weights))
    assert not same_weights(other, first)


def test_partial_fit(X, y, quick, tree):
    def trained(**params):
        net = LeNet5Classifier(**quick, **params)
        return weights_of(net.partial_fit(X, y, classes=range(10)).partial_fit(X, y))

    taught = trained(teacher=tree)
    assert same_weights(trained(teacher=tree), taught)
    assert not same_weights(trained(), taught)


# What they are asked


def test_others_are_asked_once_about_the_rows_to_train_on(X, y, quick, tree):
    teacher = Asked(tree)
    quick |= {"augment": {"flip": 0.5}, "shuffle": False}
    LeNet5Classifier(teacher=teacher, **quick).fit(X / np.float32(255), y)

    (question,) = teacher.questions
    assert np.array_equal(question, X[48:] / np.float32(255))


def test_a_data_frame_keeps_its_names(X, y, quick):
    frame = pd.DataFrame(X[:, :700], columns=[f"p{i}" for i in range(700)])
    teacher = GaussianNB().fit(frame, y)  # it would warn of an array
    net = LeNet5Classifier(teacher=teacher, **quick | {"max_epochs": 1}).fit(frame, y)
    assert net.image_shape_ == (1, 27, 27)


# Where scikit-learn takes estimators


def test_clone_keeps_a_frozen_teacher(X, y, quick, tree, lenet5):
    teachers = [FrozenEstimator(tree), FrozenEstimator(lenet5)]
    net = LeNet5Classifier(teacher=teachers, **quick | {"max_epochs": 1})
    fitted = clone(net).fit(X, y)
    assert [each.estimator for each in fitted.teacher] == [tree, lenet5]

    with pytest.raises(NotFittedError, match=r"FrozenEstimator\(it\)"):
        clone(net.set_params(teacher=tree)).fit(X, y)


def test_search_in_a_pipeline(X, y, quick):
    teacher = make_pipeline(MinMaxScaler(), GaussianNB(var_smoothing=0.1)).fit(X, y)
    net = LeNet5Classifier(teacher=FrozenEstimator(teacher), **quick)
    search = GridSearchCV(
        make_pipeline(MinMaxScaler((0, 255)), net.set_params(max_epochs=1)),
        {
            "lenet5classifier__distillation_weight": [0.2, 0.8],
            "lenet5classifier__distillation_temperature": [3.0],
        },
        cv=2,
        error_score="raise",
    ).fit(X, y)
    assert search.best_estimator_[-1].distillation_temperature == 3.0


def test_the_best_of_a_search_sees_augmented_images(X, y, quick, monkeypatch):
    quick |= {"max_epochs": 1}
    search = GridSearchCV(MiniVGGClassifier(**quick), {"lr": [0.01]}, cv=2)
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


def test_a_model_file_leaves_the_teacher_out(tmp_path, X, y, quick, tree):
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


# Refusals


def test_who_cannot_teach(X, y, quick, tree, lenet5):
    class Vague(DecisionTreeClassifier):
        def predict_proba(self, X):
            return super().predict_proba(X) * np.nan

    few = GaussianNB().fit(X, y % 3)
    small = LeNet5Classifier(**quick | {"max_epochs": 1}).fit(X[:, :144], y)
    vague = Vague(max_depth=1).fit(X, y)
    wrong = [
        (LeNet5Classifier(), "teacher must be fitted, and LeNet5Classifier is not"),
        (GaussianNB(), "teacher must be fitted, and GaussianNB is not"),
        (object(), "The 'teacher' parameter of LeNet5Classifier must be"),
        ([object()], "teacher must be fitted classifiers with predict_proba"),
        ([], r"teacher=\[\] names none"),
        (few, "teacher GaussianNB must know the classes that y holds"),
        (small, r"images of shape \(1, 12, 12\), but these are of shape \(1, 28"),
        (vague, "teacher Vague must give a probability for each of 192 rows"),
    ]
    net = LeNet5Classifier(augment={"flip": 0.5}, **quick)
    for teacher, match in wrong:
        with pytest.raises(ValueError, match=match):
            net.set_params(teacher=teacher).fit(X, y)


@pytest.mark.parametrize(
    "params",
    [
        {"distillation_weight": 1.1},
        {"distillation_weight": -0.1},
        {"distillation_temperature": 0},
    ],
)
def test_values_out_of_range(X, y, params):
    with pytest.raises(ValueError, match=next(iter(params))):
        LeNet5Classifier(**params).fit(X, y)


# The cache of fits


@pytest.fixture
def trainings(monkeypatch):
    """The trainings that ran, a net each."""
    from fmnist_sklearn.training import Training

    ran, run = [], Training.run
    monkeypatch.setattr(
        Training, "run", lambda self: (ran.append(self.net), run(self))[1]
    )
    return ran


@pytest.mark.parametrize("augment", [None, {"flip": 0.5}])
def test_a_kept_fit_is_one_of_the_same_teacher(
    tmp_path, X, y, quick, lenet5, trainings, augment
):
    quick |= {"max_epochs": 1}
    again, another = (
        LeNet5Classifier(**quick | params).fit(X, y)
        for params in ({}, {"random_state": 1})
    )
    trainings.clear()
    net = LeNet5Classifier(memory=tmp_path, augment=augment, **quick)
    for teacher in (lenet5_of(quick, X, y), again, FrozenEstimator(again)):
        net.set_params(teacher=teacher).fit(X, y)
    assert len([each for each in trainings if each is net]) == 1
    net.set_params(teacher=another).fit(X, y)
    net.set_params(distillation_temperature=1.0).fit(X, y)
    net.set_params(teacher=None).fit(X, y)
    assert len([each for each in trainings if each is net]) == 4


def lenet5_of(quick, X, y):
    return LeNet5Classifier(**quick).fit(X, y)


def test_a_teacher_of_other_code_switches_the_cache_off(tmp_path, X, y, quick):
    class Other(LeNet5Classifier):
        def infer(self, x, **fit_params):
            return 2 * super().infer(x, **fit_params)

    quick |= {"max_epochs": 1}
    teacher = Other(**quick).fit(X, y)
    net = LeNet5Classifier(
        memory=tmp_path, teacher=teacher, augment={"flip": 0.5}, **quick
    )
    with pytest.warns(UserWarning, match="its teacher Other has its own infer"):
        net.fit(X, y)
