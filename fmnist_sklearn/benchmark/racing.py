"""A search that gives up early, keeps to a time, and always has an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from itertools import product
from math import ceil, inf, nan, sqrt
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import t
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.metrics import check_scoring
from sklearn.model_selection import (
    GridSearchCV,
    ParameterGrid,
    ParameterSampler,
    check_cv,
    cross_validate,
)
from sklearn.utils import indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.metadata_routing import get_routing_for_object, process_routing
from skorch.callbacks import Callback

from .._sklearn import last_step, warn_user
from ..estimators import ImageClassifier
from ..training.loop import extra_callbacks
from .tables import describe_params, epoch_rows

_SHORT = -1  # the round before the first fold: few epochs, on the rows of that fold
# Shares of the candidates that go on after the short fits and the first fold, at most.
_KEPT = {_SHORT: 2 / 5, 0: 1 / 3}
_N_KEPT = 3  # but at least


class RacingSearchCV(GridSearchCV):
    """Search parameters by cross-validation, and drop early what cannot win.

    All candidates are compared in the first fold; those that can still win get the
    second, and so on. Networks of this package are first trained for a share of their
    epochs, and only the best two fifths of the candidates for all of them. The result
    does not depend on the number of jobs. With a time limit, the search ends in time
    with the best so far, and so it does on Ctrl-C.

    Parameters
    ----------
    estimator : estimator
        Any of scikit-learn's interface. The search is over its parameters.
    param_grid_or_distributions : dict or list of dict
        Parameters and the values to try: lists, or with `n_iter` also distributions.
    n_iter : int, default=None
        Number of candidates to draw. None tries all combinations.
    cv : int, splitter or iterable, default=None
        As in :class:`~sklearn.model_selection.GridSearchCV`.
    scoring : str, callable, list, tuple or dict, default=None
        As in GridSearchCV. The race is run by the score; of several by the one that
        `refit` names, or else by the first.
    refit : bool, str or callable, default=True
        As in GridSearchCV. A callable receives ``cv_results_`` with the dropped
        candidates in it.
    n_jobs : int, default=None
        Fits to run at a time, as in scikit-learn.
    time_limit : float, default=None
        Seconds that the search may take, refit included. No fit starts that is not
        expected to end in time, from the times measured so far; a running network ends
        at an epoch, and fits of other estimators are not interrupted. None: no limit.
    short_share : float, default=0.125
        Share of ``max_epochs`` that networks train for in the first round, with their
        learning rate schedule over these epochs. 1 leaves the round out.
    random_state : int, RandomState instance or None, default=None
        Draws candidates with `n_iter`.
    report : callable, default=None
        Called in this process after each fit, with the number of fits done, the number
        to come if no further candidate is dropped, a line of text about the race, and
        ``cv_results_`` so far.
    verbose : int, default=0
        Whether to print that line after each fit.
    pre_dispatch : int or str, default="2*n_jobs"
        As in GridSearchCV.
    error_score : "raise" or float, default=nan
        Score of a fit that fails; "raise" ends the search with the error.
    return_train_score : bool, default=False
        Whether to score the training rows too.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray
        As in GridSearchCV, and ``"n_folds"``. Folds that a dropped candidate was left
        out of are nan; its mean is that of the folds it has, or, without any, that of
        its short fit. Ranks put candidates with more folds first.
    n_folds_ : ndarray of shape (n_candidates,)
        Number of folds that each candidate was trained in, not counting short fits.
    best_estimator_ : estimator
        The best candidate, fitted; see `refit_`.
    refit_ : {"all", "fold", "short"}
        Which rows `best_estimator_` was trained on: all of them, or, where the time was
        over, those of one fold; "short": of one fold, for a part of its epochs.
    best_params_, best_score_, best_index_ : dict, float, int
        Of the best candidate.
    stopped_ : {"", "time limit", "interrupt", "lost workers"}
        What ended the search early.
    histories_ : dict of (int, int) to list of dict
        Candidate and fold -> the epochs that a network recorded.
    scorer_, n_splits_, multimetric_, refit_time_, classes_, feature_names_in_
        As in GridSearchCV.

    See Also
    --------
    run_search : Searches with a report, on a cluster too.

    Notes
    -----
    The best two fifths of the candidates (or three) go on after the short fits. After
    the first fold, a candidate is dropped if it is not among the best third (or three),
    or if its score is worse than the best by more than two standard errors of a share
    (a score outside of 0 to 1 has none). After more folds, it is dropped if its
    differences from the best, paired by folds, are larger than noise at a level of 5 %,
    in a t-test whose variance is pooled over the candidates. This is a race [1]_ behind
    a first rung of successive halving [2]_.

    References
    ----------
    .. [1] Birattari, Stützle, Paquete and Varrentrapp (2002), "A racing algorithm for
       configuring metaheuristics", GECCO.
    .. [2] Jamieson and Talwalkar (2016), "Non-stochastic best arm identification and
       hyperparameter optimization", AISTATS.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from fmnist_sklearn import RacingSearchCV
    >>> X, y = load_digits(return_X_y=True)
    >>> net = LogisticRegression(max_iter=50, tol=0.1)
    >>> race = RacingSearchCV(net, {"C": [1e-9, 1e-8, 1e-7, 1e-6, 0.01, 0.1]}, cv=3)
    >>> race.fit(X, y).best_params_["C"] >= 0.01
    True
    >>> race.n_folds_
    array([1, 1, 1, 1, 3, 3])
    """

    _drops = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **GridSearchCV._parameter_constraints,
        "param_grid_or_distributions": [dict, list],
        "n_iter": [Interval(Integral, 1, None, closed="left"), None],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
        "short_share": [Interval(Real, 0, 1, closed="right")],
        "random_state": ["random_state"],
        "report": [callable, None],
    }

    def __init__(
        self,
        estimator: Any,
        param_grid_or_distributions: Any,
        *,
        n_iter: int | None = None,
        cv: Any = None,
        scoring: Any = None,
        refit: Any = True,
        n_jobs: int | None = None,
        time_limit: float | None = None,
        short_share: float = 0.125,
        random_state: Any = None,
        report: Callable[[int, int, str, dict[str, Any]], None] | None = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: Any = nan,
        return_train_score: bool = False,
    ) -> None:
        self.estimator = estimator
        self.param_grid_or_distributions = param_grid_or_distributions
        self.n_iter, self.random_state = n_iter, random_state
        self.cv, self.scoring, self.refit = cv, scoring, refit
        self.n_jobs, self.pre_dispatch = n_jobs, pre_dispatch
        self.time_limit, self.short_share = time_limit, short_share
        self.report, self.verbose = report, verbose
        self.error_score, self.return_train_score = error_score, return_train_score

    def fit(self, X: Any, y: Any = None, **params: Any) -> RacingSearchCV:
        """Run the race, and fit the best candidate.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,), default=None
            Target.
        **params : dict of str to object
            As for :meth:`GridSearchCV.fit <sklearn.model_selection.GridSearchCV.fit>`:
            passed to the estimator's ``fit``, and `groups` to the splitter; with
            metadata routing, to what requests them.

        Returns
        -------
        self : RacingSearchCV
            Fitted.

        Raises
        ------
        ValueError
            If all fits of the first round fail.
        ConnectionError, concurrent.futures.BrokenExecutor
            If a cluster or the processes are lost repeatedly; what was found by then
            is in ``cv_results_`` and ``best_params_``.

        Warns
        -----
        sklearn.exceptions.FitFailedWarning
            If some fits fail.
        sklearn.exceptions.ConvergenceWarning
            If the time limit or Ctrl-C ended the search.
        """
        self._validate_params()
        X, y = indexable(X, y)
        scorer = check_scoring(self.estimator, self.scoring)
        self.scorer_ = getattr(scorer, "_scorers", scorer)  # several, by their names
        if isinstance(self.scorer_, Mapping):
            self._check_refit_for_multimetric(self.scorer_)
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **params)
            fit_params, split_params = routed.estimator.fit, routed.splitter.split
            takers = [(self.estimator, "fit"), (scorer, "score")]
            names = [get_routing_for_object(t).consumes(m, params) for t, m in takers]
            params = {name: params[name] for name in set().union(*names)}
        else:
            split_params, fit_params = {"groups": params.pop("groups", None)}, params
        folds = list(cv.split(X, y, **split_params))
        self.n_splits_ = len(folds)
        race = _Race(self, self.draw_candidates(), X, y, folds, params)
        lost = None
        try:
            race.run()
        except (KeyboardInterrupt, ConnectionError, BrokenExecutor) as error:
            if not (race.metrics and self._drops):
                raise
            race.stopped = "interrupt"
            if isinstance(error, Exception):
                race.stopped, lost = "lost workers", error
        self.stopped_ = race.stopped
        self._take_results(race)
        if lost is not None:
            raise lost
        if self.stopped_:
            warn_user(
                f"the search ended early ({self.stopped_}) after {race.done.sum()} "
                "fits; the best so far is used",
                ConvergenceWarning,
            )
        if self.refit:
            self._fit_best(race, fit_params)
        return self

    def set_callbacks(self, *callbacks: Any) -> Any:
        """Refuse scikit-learn's callbacks, which a race would not call.

        Parameters
        ----------
        *callbacks : object
            Not used.

        Raises
        ------
        NotImplementedError
            Always; `report` follows the race, and the callbacks of `estimator` its
            fits.
        """
        raise NotImplementedError(
            f"{type(self).__name__} calls no callbacks of scikit-learn; set them on "
            "its estimator, whose fits call them, and follow the race with report="
        )

    def draw_candidates(self) -> list[dict[str, Any]]:
        """Return the candidates: all combinations, or `n_iter` of them.

        Returns
        -------
        candidates : list of dict
            Values of the parameters of each.
        """
        space = self.param_grid_or_distributions
        if self.n_iter is None:
            return list(ParameterGrid(space))
        return [*ParameterSampler(space, self.n_iter, random_state=self.random_state)]

    def _take_results(self, race: _Race) -> None:
        """Set what a search knows of its candidates."""
        self.histories_ = race.histories
        self.multimetric_ = race.metrics != ["score"]
        if self.multimetric_:
            self._check_refit_for_multimetric(race.metrics)
        results = self.cv_results_ = race.tabulate()
        self.n_folds_ = results["n_folds"]
        if race.errors:
            warn_user(
                f"{len(race.errors)} fits failed out of a total of {race.done.sum()}; "
                f"their score is error_score={self.error_score}: {race.errors[0]}",
                FitFailedWarning,
            )
        if self.refit or not self.multimetric_:
            metric = race.metric
            self.best_index_ = self._select_best_index(self.refit, metric, results)
            self.best_params_ = results["params"][self.best_index_]
            if not callable(self.refit):
                self.best_score_ = results[f"mean_test_{metric}"][self.best_index_]

    def _fit_best(self, race: _Race, fit_params: Mapping[str, Any]) -> None:
        """Fit the best candidate to all rows, or take its fit of a fold."""
        begin, best = time.time(), int(self.best_index_)
        fold, network = race.networks.get(best, (0, None))
        self.refit_ = "short" if fold == _SHORT else "fold"
        seconds = race.refit_seconds(best) or inf  # not known where all were cut
        if network is None or begin + seconds <= race.end:
            estimator = race.make(best)
            until = _Deadline(inf if network is None else race.end)
            with extra_callbacks(until):
                args = (race.X,) if race.y is None else (race.X, race.y)
                estimator.fit(*args, **fit_params)
            if not until.has_acted:
                self.refit_, network = "all", estimator
        self.best_estimator_ = network
        self.refit_time_ = time.time() - begin
        if hasattr(network, "feature_names_in_"):
            self.feature_names_in_ = network.feature_names_in_


class FollowedSearchCV(RacingSearchCV):
    """A search of all candidates in all folds, with the reports of a race.

    Ctrl-C ends it with the exception, since no candidate has been compared in full.
    """

    _drops = False


class _Deadline(Callback):
    """Ends a training before an epoch that would not end in time."""

    def __init__(self, end: float) -> None:
        self.end, self.has_acted = end, False

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.begin = time.time()

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        is_last = len(net.history) == net._training.n_epochs
        if not is_last and 2 * time.time() - self.begin > self.end:
            self.has_acted = True
            net.stop_training()


def _evaluate(
    place: tuple[int, int],
    estimator: Any,
    X: Any,
    y: Any,
    rows: Any,
    options: Any,
    times: Any,
) -> tuple[tuple[int, int], dict[str, Any]]:
    """Fit to a fold and score, in any process; `times` are latest start and end.

    Returns
    -------
    place : tuple of int
        Candidate and fold, as given: results arrive in any order.
    fit : dict
        What ``cross_validate`` returns of one fold, ``"seconds"`` that it takes if it
        is not cached, and ``"is_cut"``; of a network its ``"history"``; or its
        ``"error"``; nothing if it was too late.
    """
    begin, (start, end) = time.time(), times
    if begin > start:
        return place, {}
    until = _Deadline(end)
    try:
        with extra_callbacks(until):
            found = cross_validate(
                estimator, X, y, cv=[rows], n_jobs=1, return_estimator=True, **options
            )
    except Exception as error:
        if options["error_score"] == "raise":
            raise
        reason = str(error).strip().splitlines()[-1]  # the rest is a traceback
        return place, {"error": reason, "fit_time": time.time() - begin}
    fit = {name: values[0] for name, values in found.items()}
    model = last_step(fit["estimator"])
    seconds = max(fit["fit_time"], getattr(model, "fit_time_", 0))
    fit["seconds"] = seconds + fit["score_time"]
    if isinstance(model, ImageClassifier):
        fit["history"] = epoch_rows(model)
    if end == inf:  # without a limit, no network is asked for
        del fit["estimator"]
    return place, fit | {"is_cut": until.has_acted}


class _Race:
    """One run of a search: its fits, and who is still in it.

    Arrays have a row for each candidate, a column for each fold, and a last column for
    the short fits.
    """

    def __init__(
        self, search: Any, candidates: Any, X: Any, y: Any, folds: Any, params: Any
    ) -> None:
        self.search, self.candidates = search, candidates
        self.X, self.y, self.folds = X, y, folds
        self.end = time.time() + (search.time_limit or inf)
        names = "scoring", "error_score", "return_train_score"
        self.options = {name: getattr(search, name) for name in names}
        self.options["params"] = params
        self.racing = list(range(len(candidates)))
        self.done = np.zeros((len(candidates), len(folds) + 1), dtype=bool)
        self.seconds = np.full(self.done.shape, nan)  # that fits take
        self.values: dict[str, np.ndarray] = {}  # what fits are scored
        self.networks: dict[int, tuple[int, Any]] = {}  # last fold, fitted estimator
        self.histories: dict[tuple[int, int], list[dict[str, float]]] = {}
        self.errors: list[str] = []
        self.stopped = ""

    @property
    def metrics(self) -> list[str]:
        """The names of the scores, once a fit has some."""
        return [name[5:] for name in list(self.values) if name.startswith("test_")]

    @property
    def metric(self) -> str:
        """The name of the score that the race is run by."""
        metrics, refit = self.metrics, self.search.refit
        return refit if refit in metrics else metrics[0]

    def make(self, candidate: int, fold: int = 0) -> Any:
        """Make the estimator of a candidate, for a fold or for the short round."""
        params = clone(self.candidates[candidate], safe=False)
        estimator = clone(self.search.estimator).set_params(**params)
        if fold == _SHORT:
            estimator.set_params(**self._fewer(estimator)[0])
        return estimator

    def _fewer(self, estimator: Any) -> tuple[dict[str, int], float]:
        """Return what gives the networks in it fewer epochs, and the share that is."""
        fewer, share, n_rows = {}, 1.0, len(self.folds[0][0])
        for name, net in {"": estimator, **estimator.get_params()}.items():
            n = net.count_epochs(n_rows) if isinstance(net, ImageClassifier) else 1
            n_short = ceil(self.search.short_share * n)
            if n_short < n:
                fewer[f"{name}__max_epochs".removeprefix("__")] = n_short
                share = n_short / n
        return fewer, share

    # The rounds -----------------------------------------------------------------

    def run(self) -> None:
        """Run round after round, each with the candidates that can still win."""
        n, n_folds = len(self.candidates), len(self.folds)
        rounds: list[Sequence[int]] = [[fold] for fold in range(n_folds)]
        if not self.search._drops:
            rounds = [range(n_folds)]
        elif n > _N_KEPT and all(self._fewer(self.make(c))[0] for c in self.racing):
            rounds = [[_SHORT], *rounds]
        for folds in rounds:
            try:
                self._run_round(folds)
            except (ConnectionError, BrokenExecutor):
                self._run_round(folds)  # what is not done, with other workers
            if not self.metrics:
                raise ValueError(
                    f"All the {self.done.sum()} fits failed, such as: {self.errors[0]}"
                )
            if self.stopped or not self.search._drops:
                return
            self.racing = self._still_winning(folds[0])
            kept = self.networks.items()
            self.networks = {c: network for c, network in kept if c in self.racing}

    def _run_round(self, folds: Sequence[int]) -> None:
        """Fit what is in the race to folds, and report each fit."""
        options = {"pre_dispatch": self.search.pre_dispatch}
        run = Parallel(self.search.n_jobs, return_as="generator_unordered", **options)
        for (candidate, fold), fit in run(self._calls(folds)):
            self._take(candidate, fold, fit)
            if self.metrics and (self.search.verbose or self.search.report):
                self._report(fold)

    def _calls(self, folds: Sequence[int]) -> Iterator[Any]:
        """Make the calls of a round, each with the times known when it is sent."""
        for candidate, fold in product(self.racing, folds):
            if self.done[candidate, fold]:
                continue
            if self.stopped:
                return
            start, end = inf, self.end
            if end < inf and self.metrics:
                # Keep time to refit the best, unless that takes most of it.
                reserve = self.refit_seconds(int(self.ranks().argmin()))
                end -= reserve if reserve < self.search.time_limit / 2 else 0
                start = end - self.expected(candidate, fold)
            estimator, rows = self.make(candidate, fold), self.folds[max(fold, 0)]
            data = (estimator, self.X, self.y, rows, self.options)
            yield delayed(_evaluate)((candidate, fold), *data, (start, end))

    def _take(self, candidate: int, fold: int, fit: dict[str, Any]) -> None:
        """Keep the result of a fit."""
        network, seconds = fit.pop("estimator", None), fit.pop("seconds", nan)
        is_cut, history = fit.pop("is_cut", False), fit.pop("history", None)
        if not fit or is_cut:
            self.stopped = "time limit"
            # A fit that was cut counts where the candidate has nothing better.
            if not fit or self.done[candidate].any():
                return
            fold, seconds = _SHORT, nan
        if "error" in fit:
            self.errors.append(fit.pop("error"))
        for name, value in fit.items():
            if name not in self.values:  # fits that failed have no other
                score = self.search.error_score
                fill = 0 if name.endswith("_time") or score == "raise" else score
                self.values[name] = np.full(self.done.shape, fill, dtype=float)
            self.values[name][candidate, fold] = value
        self.done[candidate, fold], self.seconds[candidate, fold] = True, seconds
        if history is not None and fold != _SHORT:
            self.histories[candidate, fold] = history
        if network is not None:
            self.networks[candidate] = fold, network

    def _report(self, fold: int) -> None:
        best, n_racing = int(self.ranks().argmin()), len(self.racing)
        n_done, n_folds = int(self.done.sum()), len(self.folds)
        still = range(n_folds if fold >= 0 else n_folds + 1)  # the last: short fits
        n_left = int((~self.done[np.ix_(self.racing, still)]).sum())
        left = max(round(min(self.end - time.time(), 1e9)), 0)
        text = (
            f"{f'fold {fold + 1} of {n_folds}' if fold >= 0 else 'short fits'}, fit "
            f"{n_done} of {n_done + n_left}: {n_racing} candidates left, "
            f"{len(self.candidates) - n_racing} dropped"
            f"{f', {left // 60}:{left % 60:02} left' if self.end < inf else ''}; best "
            f"{self.mean(f'test_{self.metric}')[best]:.4f} "
            f"({describe_params(self.candidates[best])})"
        )
        if self.search.verbose:
            print(text, flush=True)
        if self.search.report is not None:
            self.search.report(n_done, n_left, text, self.tabulate())

    def _still_winning(self, fold: int) -> list[int]:
        """Return the candidates that can still win, the best first.

        One that failed, with nan as its score, is dropped.
        """
        columns = [_SHORT] if fold == _SHORT else range(fold + 1)
        scores = self.values[f"test_{self.metric}"][np.ix_(self.racing, columns)]
        means = scores.mean(axis=1)
        order = np.argsort(-means, kind="stable")
        order = order[~np.isnan(means[order])]
        n, k = len(order), len(columns)
        if n < 2:
            return [self.racing[i] for i in order]
        best, noise = means[order[0]], inf
        if k == 1:
            order = order[: max(ceil(_KEPT[fold] * n), _N_KEPT)]
            if fold != _SHORT and 0 <= best <= 1:
                noise = 2 * sqrt(best * (1 - best) / len(self.folds[0][1]))
        else:
            gaps = scores[order[0]] - scores[order]  # (n, k)
            freedom = (n - 1) * (k - 1)
            squares = (gaps - gaps.mean(axis=1, keepdims=True)) ** 2
            noise = t.ppf(0.975, freedom) * sqrt(squares.sum() / freedom / k)
        return [self.racing[i] for i in order if best - means[i] <= noise]

    # What is known so far -------------------------------------------------------

    def expected(self, candidate: int, fold: int) -> float:
        """Return the seconds that a fit should take, from those so far; else 0."""
        scale = np.append(
            np.ones(len(self.folds)), self._fewer(self.make(candidate))[1]
        )
        seconds = self.seconds[:, _SHORT:] if fold == _SHORT else self.seconds / scale
        # Of the same kind, then of short fits, then of other candidates.
        for known in (seconds[candidate, :_SHORT], seconds[candidate], seconds):
            if np.isfinite(known).any():
                return float(np.nanmean(known))
        return 0.0

    def refit_seconds(self, candidate: int) -> float:
        """Return the seconds that the refit of a candidate should take."""
        train, test = self.folds[0]
        return self.expected(candidate, 0) * (1 + len(test) / len(train))

    def counted(self, name: str) -> np.ma.MaskedArray:
        """Return the values that count: of the folds, or else of the short fit."""
        counts = self.done.copy()
        counts[counts[:, :_SHORT].any(axis=1), _SHORT] = False
        return np.ma.array(self.values[name], mask=~counts)

    def mean(self, name: str) -> np.ndarray:
        """Return the mean value of each candidate; nan if it has none, or failed."""
        return self.counted(name).mean(axis=1).filled(nan)

    def ranks(self, metric: str = "") -> np.ndarray:
        """Return the places from 1: more folds first, then better means."""
        means = self.mean(f"test_{metric or self.metric}")
        n_folds = self.done[:, :_SHORT].sum(axis=1)
        keys = np.column_stack([np.isnan(means), -n_folds, -np.nan_to_num(means)])
        _, kinds, n = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        return (n.cumsum() - n + 1)[kinds.ravel()].astype(np.int32)

    def tabulate(self) -> dict[str, Any]:
        """Return all fits as ``cv_results_``."""
        results: dict[str, Any] = {}
        for name, values in self.values.items():
            results[f"mean_{name}"] = self.mean(name)
            results[f"std_{name}"] = self.counted(name).std(axis=1).filled(nan)
            for k in () if name.endswith("_time") else range(len(self.folds)):
                results[f"split{k}_{name}"] = np.where(self.done, values, nan)[:, k]
        for metric in self.metrics:
            results[f"rank_test_{metric}"] = self.ranks(metric)
        for name in sorted(set().union(*self.candidates)):
            tried = {c: p[name] for c, p in enumerate(self.candidates) if name in p}
            kind = np.dtype(object)
            with suppress(ValueError):  # sequences of different lengths
                kind = np.array(list(tried.values())).dtype
            kind = kind if kind.kind in "biuf" else np.dtype(object)
            column = np.ma.masked_all(len(self.candidates), kind)
            for c, value in tried.items():
                column[c] = value
            results[f"param_{name}"] = column
        n_folds = self.done[:, :_SHORT].sum(axis=1)
        return {**results, "params": self.candidates, "n_folds": n_folds}
