"""scikit-learn's own estimator checks, all of them, on both classifiers."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier

# What differs from the defaults only makes the training short.
ESTIMATORS = [
    LeNet5Classifier(max_epochs=4, lr=0.03, random_state=0),
    MiniVGGClassifier(max_epochs=4, lr=0.003, random_state=0),
]

EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a row of weight 2 and the row given twice fall into other mini-batches, and "
        "the check compares the outcome of training at 1e-7"
    )
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@parametrize_with_checks(
    ESTIMATORS, expected_failed_checks=lambda estimator: EXPECTED_FAILURES
)
def test_scikit_learn_s_check(estimator, check):
    check(estimator)
