"""Optuna: pruning by skorch's callback and by ``partial_fit``, and its own search."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

pytestmark = [
    pytest.mark.ecosystem("optuna", "optuna-integration"),
    pytest.mark.filterwarnings("ignore:.*(experimental|deprecated)"),  # parts of Optuna
]
LR = {"low": 1e-4, "high": 1e-2, "log": True}
PRUNED_SECOND = [("COMPLETE", 2), ("PRUNED", 1), ("COMPLETE", 2)]  # after n reports


@pytest.fixture
def new_study():
    """A function that makes a study of which the second trial is pruned."""
    import optuna

    class Second(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return trial.number == 1

    options = {"pruner": Second(), "sampler": optuna.samplers.RandomSampler(seed=0)}
    return lambda direction: optuna.create_study(direction=direction, **options)


def states(trials):
    return [(each.state.name, len(each.intermediate_values)) for each in trials]


def test_skorch_pruning_callback(case, new_study):
    from optuna_integration import SkorchPruningCallback

    new, _, X, y = case
    nets = []

    def objective(trial):
        nets.append(clone(new).set_params(lr=trial.suggest_float("lr", **LR)))
        nets[-1].callbacks = [SkorchPruningCallback(trial, "valid_loss")]
        return nets[-1].fit(X, y).best_loss_

    study = new_study("minimize")
    study.optimize(objective, n_trials=3)
    assert states(study.trials) == PRUNED_SECOND
    reported = [*study.trials[0].intermediate_values.values()]
    assert reported == nets[0].history_[:, "valid_loss"]
    assert not nets[1].__sklearn_is_fitted__()


@pytest.mark.parametrize("pruning", [False, True])
def test_optuna_search_cv(case, new_study, pruning):
    from optuna.distributions import FloatDistribution
    from optuna_integration import OptunaSearchCV

    new, _, X, y = case
    options = {"cv": StratifiedKFold(2), "n_trials": 3, "max_iter": 2}
    options |= {"enable_pruning": pruning, "study": new_study("maximize")}
    lr = FloatDistribution(**LR)
    search = OptunaSearchCV(clone(new), {"lr": lr}, **options).fit(X, y)
    first = search.trials_[0]
    scores = []
    for train, test in options["cv"].split(X, y):
        net = clone(new).set_params(**first.params)
        given = {"classes": np.unique(y)} if pruning else {}
        for _ in range(2 if pruning else 1):
            (net.partial_fit if pruning else net.fit)(X[train], y[train], **given)
            scores.append(net.score(X[test], y[test]))
    means = np.mean(np.split(np.array(scores), 2), axis=0).tolist()
    assert first.value == means[-1]
    if pruning:
        assert [*first.intermediate_values.values()] == means
        assert states(search.trials_) == PRUNED_SECOND
    best = clone(new).set_params(**search.best_params_).fit(X, y)
    assert np.array_equal(search.predict(X), best.predict(X))
