import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_validate

from fmnist_sklearn import LeNet5Classifier


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
    return caught


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_warns_once_at_the_users_line(cut_short, X, y, n_jobs, two_processes):
    search = GridSearchCV(cut_short, {"lr": [0.01, 0.02]}, cv=2, n_jobs=n_jobs)
    for _ in range(2):  # each search again
        (caught,) = caught_in(lambda: search.fit(X, y))
        assert caught.filename == __file__
        assert "max_epochs=2 was reached" in str(caught.message)


def test_a_cross_validation_warns_once_and_each_fit_of_ones_own(cut_short, X, y):
    (caught,) = caught_in(lambda: cross_validate(cut_short, X, y, cv=2))
    assert caught.filename == __file__

    def fit_twice():
        for _ in range(2):
            cut_short.fit(X, y)

    assert len(caught_in(fit_twice)) == 2
