"""Warnings at the user's line, and diagrams in notebooks."""

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.utils import estimator_html_repr

from fmnist_sklearn import LeNet5Classifier


def test_warning_is_at_the_line_of_the_user(X, y):
    X, y = X[:120], y[:120]
    cut_short = LeNet5Classifier(
        lr=0.01, batch_size=32, max_epochs=2, patience=2, random_state=0
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cut_short.fit(X, y)
        cross_validate(cut_short, X, y, cv=2)
        GridSearchCV(cut_short, {"lr": [0.01]}, cv=2).fit(X, y)
    assert len(caught) == 6
    assert all(each.category is ConvergenceWarning for each in caught)
    assert all(each.filename == __file__ for each in caught)
    assert "still falling after 2 epochs" in str(caught[0].message)


def test_diagram_in_a_notebook(lenet5):
    assert "Not fitted" in estimator_html_repr(LeNet5Classifier())
    assert "LeNet5Classifier" in estimator_html_repr(lenet5)
