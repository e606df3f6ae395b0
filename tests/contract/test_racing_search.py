"""scikit-learn's own tests of ``GridSearchCV``, run with ``RacingSearchCV``."""

from inspect import getsource

import pytest
from sklearn.model_selection.tests import test_search as theirs

from fmnist_sklearn import RacingSearchCV

# Tests that do not hold for a race, by what they ask for.
OTHERS = {
    "no candidate is dropped": (
        "test_callable_multimetric_clf_all_fits_fail",
        "test_callable_multimetric_error_failing_clf",
        "test_grid_search_classifier_all_fits_fail",
        "test_grid_search_correct_score_results",
        "test_grid_search_cv_results_multimetric",
        "test_grid_search_cv_splits_consistency",
        "test_grid_search_failing_classifier",
        "test_grid_search_with_multioutput_data",
        "test_unsupported_sample_weight_scorer",
    ),
    "no further key": ("test_grid_search_cv_results",),
    "lines of GridSearchCV's verbose": ("test_search_cv_verbose_3",),
    "hooks of GridSearchCV itself": (
        "test_custom_run_search",
        "test_search_callbacks_receive_sample_weight",
        "test_search_callbacks_with_partial_fit_failures",
    ),
}


THEIR_PARAMETERS = theirs.GridSearchCV._get_param_names()


class GridSearchCV(RacingSearchCV):
    """A race with the parameters of ``GridSearchCV``, in their order."""

    _parameter_constraints = theirs.GridSearchCV._parameter_constraints

    def __init__(self, estimator, param_grid, **params):
        super().__init__(estimator, param_grid, **params)
        self.param_grid = param_grid

    @classmethod
    def _get_param_names(cls):
        return THEIR_PARAMETERS

    def fit(self, X, y=None, **params):
        self.param_grid_or_distributions = self.param_grid
        return super().fit(X, y, **params)


def their_tests():
    """Return those that use ``GridSearchCV``, by name."""
    left_out = {name for names in OTHERS.values() for name in names}
    return {
        name: test
        for name, test in vars(theirs).items()
        if name.startswith("test_") and "GridSearchCV" in getsource(test)
        if name not in left_out
    }


@pytest.fixture(autouse=True)
def race(monkeypatch):
    monkeypatch.setattr(theirs, "GridSearchCV", GridSearchCV)


globals().update(their_tests())
