"""Estimators that train nothing, for tests of what reads estimators."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class Net(ClassifierMixin, BaseEstimator):
    """Says about its fit what our estimators say."""

    def __init__(self, width=1, optimizer=dict, fail=False):
        self.width = width
        self.optimizer = optimizer
        self.fail = fail

    def fit(self, X, y, sample_weight=None):
        if self.fail:
            raise RuntimeError("told to fail")
        self.classes_ = np.unique(y)
        self.fit_time_ = 100.0 * self.width
        self.n_iter_ = 7
        self.n_parameters_ = 10 * self.width
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])
