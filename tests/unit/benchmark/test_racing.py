"""RacingSearchCV: as scikit-learn's searches, and with early ends."""

import os
import pickle
from concurrent.futures import BrokenExecutor
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris, make_regression
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, get_scorer, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from fmnist_sklearn import (
    FitCache,
    LeNet5Classifier,
    RacingSearchCV,
    SearchHeatmapDisplay,
    benchmark_scoring,
    benchmark_table,
    compare_models,
)
from fmnist_sklearn.benchmark import racing
from fmnist_sklearn.training.loop import Training

pytestmark = pytest.mark.filterwarnings("ignore:.*max_epochs")

DEPTHS = {"max_depth": [1, 2, 3, 9, 10, 11]}
TREE = DecisionTreeClassifier(random_state=0)


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


class Clock:
    """A clock that the fits of `Slow` move."""

    now = 1000.0

    def time(self):
        return Clock.now


class Slow(ClassifierMixin, BaseEstimator):
    """Scores its quality, and takes its seconds for 100 rows."""

    def __init__(self, quality=0.5, seconds=1.0, at_fit=None):
        self.quality, self.seconds, self.at_fit = quality, seconds, at_fit

    def fit(self, X, y):
        if self.at_fit is not None:
            self.at_fit(self)
        self.classes_, self.n_rows_ = np.unique(y), len(X)
        self.fit_time_ = self.seconds * len(X) / 100
        Clock.now += self.fit_time_
        return self

    def score(self, X, y):
        return self.quality


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(racing, "time", Clock())


ROWS = np.zeros((150, 1)), np.tile([0, 1], 75)


# The race ---------------------------------------------------------------------------


def test_race_finds_what_the_grid_finds_with_fewer_fits(digits):
    grid = GridSearchCV(TREE, DEPTHS, cv=4).fit(*digits)
    race = RacingSearchCV(TREE, DEPTHS, cv=4).fit(*digits)
    assert race.best_params_ == grid.best_params_
    assert race.best_score_ == grid.best_score_
    assert race.n_folds_.tolist()[:3] == [1, 1, 1]
    assert race.n_folds_.max() == 4
    assert set(grid.cv_results_) | {"n_folds"} == set(race.cv_results_)
    kinds = {s.cv_results_["param_max_depth"].dtype for s in (grid, race)}
    assert len(kinds) == 1
    for k in range(4):
        has_fold = race.n_folds_ > k
        found, expected = (s.cv_results_[f"split{k}_test_score"] for s in (race, grid))
        assert found[has_fold].tolist() == expected[has_fold].tolist()
        assert np.isnan(found[~has_fold]).all()
    means, ranks = (race.cv_results_[f"{n}_test_score"] for n in ("mean", "rank"))
    assert means[0] == race.cv_results_["split0_test_score"][0]
    assert ranks[race.best_index_] == 1
    assert ranks[:3].min() > ranks[3:].max()
    assert (race.stopped_, race.refit_) == ("", "all")
    assert np.array_equal(race.predict(digits[0]), grid.predict(digits[0]))


def test_race_trains_networks_for_an_eighth_of_the_epochs_first(X, y, quick, tmp_path):
    trained = []

    def report(*now):
        trained.append(now)

    net = make_pipeline(
        MinMaxScaler(), LeNet5Classifier(**quick | {"max_epochs": 9}, memory=tmp_path)
    )
    params = {"lenet5classifier__lr": [1e-5, 1e-4, 0.003, 0.01, 1e30]}
    races = []
    for _ in range(2):
        race = RacingSearchCV(net, params, cv=2, scoring=benchmark_scoring())
        race.set_params(refit="accuracy", report=report)
        with pytest.warns(FitFailedWarning, match=r"1 fits .* of 10; .* diverged"):
            races.append(race.fit(X, y))
    epochs = race.cv_results_["mean_test_epochs"]
    # Of the short fits, of two epochs, one diverges, and three go on.
    assert np.nanmin(epochs[race.n_folds_ == 0]) == 2
    assert sorted(race.n_folds_) == [0, 0, 1, 2, 2]
    assert np.isnan(race.cv_results_["mean_test_accuracy"]).tolist() == [False] * 4 + [
        True
    ]
    assert trained[0][:2] == (1, 14)
    assert trained[9][2].startswith("fold 2 of 2, fit 10 of 10: 2 candidates left, ")
    first, second = (r.cv_results_["mean_test_training_time_s"] for r in races)
    assert first.tolist()[:4] == second.tolist()[:4]


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_race_does_not_depend_on_the_jobs(digits, backend, two_processes):
    from joblib import parallel_config

    alone = RacingSearchCV(TREE, DEPTHS, cv=3).fit(*digits)
    with parallel_config(backend):
        both = RacingSearchCV(TREE, DEPTHS, cv=3, n_jobs=2).fit(*digits)
    for name, values in alone.cv_results_.items():
        if "time" not in name:
            np.testing.assert_array_equal(values, both.cv_results_[name])


def test_race_of_few_or_without_scores_of_shares():
    X, y = make_regression(60, 3, noise=5, random_state=0)
    race = RacingSearchCV(
        Ridge(), {"alpha": [1e5, 1e4, 1e3, 1, 0.1]}, cv=3, scoring="neg_max_error"
    ).fit(X, y)
    assert sorted(race.n_folds_)[:2] == [1, 1]
    assert race.best_params_["alpha"] <= 1
    assert RacingSearchCV(Ridge(), {"alpha": [1]}, cv=3).fit(X, y).n_folds_ == [3]
    boosting = make_pipeline(StandardScaler(), HistGradientBoostingClassifier())
    params = {"histgradientboostingclassifier__max_iter": [1, 5]}
    race = RacingSearchCV(boosting, params, cv=2).fit(*load_iris(return_X_y=True))
    assert race.best_estimator_[-1].n_iter_ == race.best_params_[next(iter(params))]


# As scikit-learn's ------------------------------------------------------------------


def test_race_is_cloned_pickled_and_nested(digits):
    race = RacingSearchCV(TREE, DEPTHS, cv=3, time_limit=60)
    assert clone(race).get_params()["time_limit"] == 60
    copy = pickle.loads(pickle.dumps(race.fit(*digits)))
    assert np.array_equal(copy.predict(digits[0]), race.predict(digits[0]))
    assert copy.score(*digits) == race.score(*digits)
    assert race.classes_.tolist() == list(range(10))
    assert race.n_features_in_ == 64
    assert cross_val_score(race, *digits, cv=2).min() > 0.7
    outer = GridSearchCV(race, {"estimator__min_samples_leaf": [1, 30]}, cv=2)
    assert outer.fit(*digits).best_params_ == {"estimator__min_samples_leaf": 1}


def test_race_refuses_callbacks_that_it_would_not_call():
    with pytest.raises(NotImplementedError, match="set them on its estimator"):
        RacingSearchCV(TREE, DEPTHS).set_callbacks()


def test_race_takes_lists_and_frames(digits):
    X, y = digits
    race = RacingSearchCV(TREE, DEPTHS, cv=2).fit(X.tolist(), y.tolist())
    assert race.score(X.tolist(), y) > 0.8
    race.fit(pd.DataFrame(X).add_prefix("pixel"), pd.Series(y))
    assert race.feature_names_in_[0] == "pixel0"


def test_race_with_several_metrics_and_a_callable_refit(digits):
    scoring = ["f1_macro", "accuracy"]
    race = RacingSearchCV(TREE, DEPTHS, cv=2, scoring=scoring, refit="accuracy")
    race.fit(*digits)
    assert race.multimetric_
    assert set(race.scorer_) == set(scoring)
    assert race.score(*digits) == accuracy_score(digits[1], race.predict(digits[0]))
    race.set_params(refit=lambda results: 1).fit(*digits)
    assert race.best_params_ == {"max_depth": 2}
    assert race.best_estimator_.max_depth == 2
    race = RacingSearchCV(TREE, DEPTHS, cv=2, scoring=scoring, refit=False)
    assert not hasattr(race.fit(*digits), "best_index_")
    assert not hasattr(race, "predict")

    def both(estimator, X, y):
        return {"a": estimator.score(X, y), "b": 0}

    race.set_params(scoring=both, refit="a", return_train_score=True).fit(*digits)
    assert race.cv_results_["mean_train_a"][5] > 0.9
    with pytest.raises(ValueError, match="For multi-metric scoring, the parameter re"):
        race.set_params(scoring=scoring).fit(*digits)
    with pytest.raises(IndexError, match="best_index_ index out of range"):
        race.set_params(refit=lambda results: 99).fit(*digits)


def test_race_passes_weights_and_groups_on():
    X, y = load_iris(return_X_y=True)
    groups, weights = np.arange(150) % 5, np.ones(150)
    params = {"C": [0.01, 1.0]}
    race = RacingSearchCV(LogisticRegression(max_iter=200), params, cv=GroupKFold(5))
    race.fit(X, y, groups=groups, sample_weight=weights)
    assert race.n_splits_ == 5
    with config_context(enable_metadata_routing=True):
        used = []

        def score(y_true, y_pred, sample_weight=None):
            used.append(sample_weight is not None)
            return accuracy_score(y_true, y_pred, sample_weight=sample_weight)

        scorer = make_scorer(score).set_score_request(sample_weight="weights")
        net = LogisticRegression(max_iter=200).set_fit_request(sample_weight="weights")
        race = RacingSearchCV(net, params, cv=GroupKFold(5), scoring=scorer)
        race.fit(X, y, groups=groups, weights=weights)
        assert len(used) >= 6
        assert all(used)
        with pytest.raises(TypeError, match="unexpected argument"):
            race.fit(X, y, groups=groups, weights=weights, other=1)


def test_race_without_labels_with_kernels_and_drawn_candidates(digits):
    X, y = digits
    race = RacingSearchCV(KMeans(n_init=1, random_state=0), {"n_clusters": [2, 9]})
    assert race.fit(X).best_params_ == {"n_clusters": 9}
    race = RacingSearchCV(SVC(kernel="precomputed"), {"C": [1e-9, 1]}, cv=2)
    assert race.fit(X @ X.T, y).best_params_ == {"C": 1}
    space = {"ccp_alpha": loguniform(1e-5, 1e-1)}
    races = [
        RacingSearchCV(TREE, space, n_iter=5, random_state=seed, cv=2).fit(X, y)
        for seed in (0, 0, 1)
    ]
    drawn = [race.cv_results_["params"] for race in races]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 5
    for wrong in ({"time_limit": 0}, {"n_iter": 0}, {"short_share": 2}):
        with pytest.raises(ValueError, match=f"The '{next(iter(wrong))}' parameter of"):
            RacingSearchCV(TREE, space, **wrong).fit(X, y)


def fail(slow):
    if slow.quality > 0.7:
        raise MemoryError("too large")


def test_race_goes_on_after_a_failure():
    params = {"quality": [0.5, 0.6, 0.9], "at_fit": [fail]}
    race = RacingSearchCV(Slow(), params, cv=3)
    with pytest.warns(FitFailedWarning, match="1 fits failed out of a total of 6; th"):
        race.fit(*ROWS)
    assert race.best_params_["quality"] == 0.6
    assert race.cv_results_["rank_test_score"].tolist() == [2, 1, 3]
    race.set_params(error_score=0.55)
    with pytest.warns(FitFailedWarning, match=r"error_score=0\.55: .*too large"):
        race.fit(*ROWS)
    assert race.cv_results_["mean_test_score"] == pytest.approx([0.5, 0.6, 0.55])
    with pytest.raises(MemoryError, match="too large"):
        race.set_params(error_score="raise").fit(*ROWS)
    race.set_params(param_grid_or_distributions={"quality": [1], "at_fit": [fail]})
    with pytest.raises(ValueError, match="All the 1 fits failed, such as: "):
        race.set_params(error_score=np.nan).fit(*ROWS)


# Early ends -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "n_folds", "refit"),
    [
        (1000, [1, 1, 1, 2, 2, 3], "all"),
        (7.8, [1, 1, 1, 1, 1, 1], "all"),  # six seconds, and one and a half
        (4, [1, 1, 0, 0, 0, 0], "all"),
        (2, [1, 0, 0, 0, 0, 0], "fold"),
        (0.5, [1, 0, 0, 0, 0, 0], "fold"),  # no network, whose fit can be ended
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_race_starts_no_fit_that_does_not_end_in_time(clock, limit, n_folds, refit):
    params = {"quality": [0.5, 0.55, 0.6, 0.65, 0.7, 0.71]}
    begin = Clock.now
    race = RacingSearchCV(Slow(), params, cv=3, time_limit=limit).fit(*ROWS)
    assert Clock.now - begin <= max(limit, 1)
    assert (race.n_folds_.tolist(), race.refit_) == (n_folds, refit)
    assert race.best_estimator_.n_rows_ == {"all": 150, "fold": 100}[refit]
    assert race.stopped_ == ("" if limit == 1000 else "time limit")


def test_race_ends_running_networks_at_an_epoch(X, y, quick, monkeypatch, tmp_path):
    run, epochs = Training._run_epoch, []

    def slow_epoch(training, *args):
        Clock.now += 1
        run(training, *args)
        epochs.append(training.net.lr)

    monkeypatch.setattr(Training, "_run_epoch", slow_epoch)
    monkeypatch.setattr(racing, "time", Clock())
    net = LeNet5Classifier(**quick | {"max_epochs": 40}, memory=tmp_path)
    race = RacingSearchCV(net, {"lr": [0.001, 0.01]}, cv=2, time_limit=5.5)
    with pytest.warns(ConvergenceWarning, match=r"ended early \(time limit\) after 1 "):
        race.fit(X, y)
    assert len(epochs) == race.best_estimator_.n_iter_ == 6
    assert (race.refit_, race.n_folds_.tolist()) == ("short", [0, 0])
    assert FitCache(tmp_path).entries() == []  # it is not a fit of 40 epochs


def interrupt(slow):
    if slow.quality == 0.6:
        raise KeyboardInterrupt


def test_race_that_is_interrupted_has_the_best_so_far():
    race = RacingSearchCV(Slow(), {"quality": [0.4, 0.5, 0.6]}, cv=2)
    race.set_params(estimator__at_fit=interrupt)
    with pytest.warns(ConvergenceWarning, match=r"early \(interrupt\) after 2 fits"):
        race.fit(*ROWS)
    assert race.best_params_ == {"quality": 0.5}
    assert race.best_estimator_.n_rows_ == 150
    with pytest.raises(KeyboardInterrupt):  # nothing to take yet
        race.set_params(param_grid_or_distributions={"quality": [0.6]}).fit(*ROWS)


def die(deaths, times, slow):
    if slow.quality == 0.6 and len(deaths.read_text()) < times:
        deaths.write_text(deaths.read_text() + "x")
        os._exit(1)


def test_race_outlives_its_processes(tmp_path, two_processes):
    deaths = tmp_path / "deaths"
    deaths.write_text("")
    race = RacingSearchCV(Slow(), {"quality": [0.4, 0.5, 0.6]}, cv=2, n_jobs=2)
    race.set_params(estimator__at_fit=partial(die, deaths, 1), pre_dispatch=1).fit(
        *ROWS
    )
    assert race.best_params_ == {"quality": 0.6}
    assert deaths.read_text() == "x"
    race.set_params(estimator__at_fit=partial(die, deaths, 99))
    with pytest.raises(BrokenExecutor):
        race.fit(*ROWS)
    assert race.stopped_ == "lost workers"
    assert race.best_params_["quality"] < 0.6


# Tables and figures -----------------------------------------------------------------


def test_race_shows_the_dropped_as_such(digits):
    params = {"max_depth": [1, 2, 9], "min_samples_leaf": [1, 2, 300]}
    scoring = get_scorer("accuracy")
    race = RacingSearchCV(TREE, params, cv=3, scoring=scoring).fit(*digits)
    table = benchmark_table(race, "best")
    assert table["n_folds"].tolist() == race.n_folds_.tolist()
    assert table["accuracy"].notna().all()
    compared = compare_models(race)
    dropped = race.n_folds_ < 3
    reason = "not tested: not trained in all folds"
    assert (compared["comparison"] == reason).tolist() == dropped.tolist()
    display = SearchHeatmapDisplay.from_search(race)
    assert display.dropped.ravel().tolist() != [False] * 9
    texts = [text.get_text() for text in display.text_.ravel()]
    assert [text[0] == "(" for text in texts] == display.dropped.ravel().tolist()
