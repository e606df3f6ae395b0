import copy
import re

import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import estimator_html_repr

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.estimators.base import DOCS_URL

pytest.importorskip("sklearn.utils._repr_html")  # since scikit-learn 1.7


def test_facts_of_the_fit_and_none_of_skorchs_internals(lenet5):
    html = lenet5._repr_html_()
    accuracy = lenet5.history_[lenet5.best_epoch_ - 1]["valid_acc"]
    caption = (
        f"epoch {lenet5.best_epoch_} of 2 kept · validation accuracy {accuracy:.4f} · "
        f"61,750 parameters · {lenet5.fit_time_:.1f} s on {lenet5.device_}"
    )
    assert f'<div class="caption">{caption}</div>' in html
    shown = list(lenet5._get_fitted_attr_html())
    assert shown[:3] == ["n_iter_", "best_epoch_", "validation accuracy"]
    assert {"device_", "n_parameters_", "fit_time_", "classes_"} < set(shown)
    for name in ("module_", "history_", "callbacks_", "prefixes_", "initialized_"):
        assert name not in shown
        assert f">{name}<" not in html


def test_links_to_our_docs_with_what_each_parameter_is(lenet5):
    html = lenet5._repr_html_()
    page = f"{DOCS_URL}/api/generated/fmnist_sklearn.LeNet5Classifier.html"
    assert f'href="{page}">?' in html
    links = re.findall(rf'href="{page}#:~:text=(\w+),', html)
    assert {"lr", "batch_size", "patience", "best_epoch_"} < set(links)
    assert "Learning rate; with a schedule, the highest one." in html


def test_before_any_fit_there_are_no_facts():
    html = LeNet5Classifier()._repr_html_()
    assert '<div class="caption">' not in html
    assert "Not fitted" in html


def test_after_partial_fit_there_is_no_validation_accuracy(X, y):
    html = LeNet5Classifier().partial_fit(X[:50], y[:50], range(10))._repr_html_()
    assert "epoch 1 of 1 kept · 61,750 parameters" in html


def test_in_a_pipeline_the_step_tells_its_facts(lenet5):
    html = estimator_html_repr(make_pipeline(MinMaxScaler(), copy.deepcopy(lenet5)))
    assert "61,750 parameters" in html


def test_a_subclass_of_the_users_has_no_page_of_ours():
    class Own(LeNet5Classifier):
        pass

    assert DOCS_URL not in Own()._repr_html_()
