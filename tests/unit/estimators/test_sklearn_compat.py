"""Diagrams in notebooks, and warnings at the user's line."""

import copy
import re
import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import estimator_html_repr

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.estimators.base import DOCS_URL

# Diagrams -----------------------------------------------------------------------------


@pytest.fixture
def html():
    """A function that draws the diagram."""
    pytest.importorskip("sklearn.utils._repr_html")  # since scikit-learn 1.7
    return estimator_html_repr


def test_diagram_shows_facts_of_the_fit(html, lenet5):
    drawn = html(lenet5)
    accuracy = lenet5.history_[lenet5.best_epoch_ - 1]["valid_acc"]
    caption = (
        f"epoch {lenet5.best_epoch_} of 2 kept · validation accuracy {accuracy:.4f} · "
        f"61,750 parameters · {lenet5.fit_time_:.1f} s on {lenet5.device_}"
    )
    assert f'<div class="caption">{caption}</div>' in drawn
    shown = list(lenet5._get_fitted_attr_html())
    assert shown[:3] == ["n_iter_", "best_epoch_", "validation accuracy"]
    assert {"device_", "n_parameters_", "fit_time_", "classes_"} < set(shown)
    for name in ("module_", "history_", "callbacks_", "prefixes_", "initialized_"):
        assert name not in shown
        assert f">{name}<" not in drawn
    pipeline = make_pipeline(MinMaxScaler(), copy.deepcopy(lenet5))
    assert "61,750 parameters" in html(pipeline)


def test_diagram_without_a_fit_or_its_validation(html, X, y):
    unfitted = html(LeNet5Classifier())
    assert '<div class="caption">' not in unfitted
    assert "Not fitted" in unfitted
    partial = LeNet5Classifier().partial_fit(X[:50], y[:50], range(10))
    assert "epoch 1 of 1 kept · 61,750 parameters" in html(partial)


def test_diagram_links_to_the_docs_of_each_parameter(html, lenet5):
    drawn = html(lenet5)
    page = f"{DOCS_URL}/api/generated/fmnist_sklearn.LeNet5Classifier.html"
    assert f'href="{page}">?' in drawn
    links = re.findall(rf'href="{page}#:~:text=(\w+),', drawn)
    assert {"lr", "batch_size", "patience", "best_epoch_"} < set(links)
    assert "Learning rate; with a schedule, the highest one." in drawn

    class Custom(LeNet5Classifier):
        """Has no page in the docs."""

    assert DOCS_URL not in html(Custom())


# Warnings -----------------------------------------------------------------------------


@pytest.fixture
def cut_short():
    """Too few epochs, of a kind that warns of it."""
    return LeNet5Classifier(
        lr=0.01, batch_size=32, max_epochs=2, patience=2, random_state=0
    )


def caught_in(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert all(each.category is ConvergenceWarning for each in caught)
    assert all(each.filename == __file__ for each in caught)
    return [str(each.message) for each in caught]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_warning_comes_once_a_search(cut_short, X, y, n_jobs, two_processes):
    search = GridSearchCV(cut_short, {"lr": [0.01, 0.02]}, cv=2, n_jobs=n_jobs)
    for _ in range(2):  # each search again
        (message,) = caught_in(lambda: search.fit(X, y))
        assert "max_epochs=2 was reached" in message


def test_warning_comes_once_a_cross_validation_and_for_each_single_fit(cut_short, X, y):
    assert len(caught_in(lambda: cross_validate(cut_short, X, y, cv=2))) == 1
    assert len(caught_in(lambda: (cut_short.fit(X, y), cut_short.fit(X, y)))) == 2
