"""Optuna: pruning by skorch's callback and by ``partial_fit``, and its own search."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

pytestmark = [
    pytest.mark.ecosystem("optuna", "optuna-integration"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # Optuna's own, of parts of it
]


@pytest.fixture
def study():
    """A function that makes a study whose second trial alone is pruned."""
    import optuna

    class Second(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return trial.number == 1

    sampler = optuna.samplers.RandomSampler(seed=0)
    return lambda direction: optuna.create_study(
        pruner=Second(), sampler=sampler, direction=direction
    )


def states(trials):
    """Whether trials ended, and after how many reports."""
    return [(each.state.name, len(each.intermediate_values)) for each in trials]


def test_skorch_pruning_callback(case, study):
    from optuna_integration import SkorchPruningCallback

    nets = []

    def objective(trial):
        net = clone(case.new).set_params(
            lr=trial.suggest_float("lr", 1e-4, 1e-2, log=True),
            callbacks=[SkorchPruningCallback(trial, "valid_loss")],
        )
        nets.append(net)
        return net.fit(case.X, case.y).history_[-1, "valid_loss"]

    study = study("minimize")
    study.optimize(objective, n_trials=3)
    ends = [("COMPLETE", 2), ("PRUNED", 1), ("COMPLETE", 2)]
    assert states(study.trials) == ends
    losses = list(study.trials[0].intermediate_values.values())
    assert losses == nets[0].history_[:, "valid_loss"]
    assert not nets[1].__sklearn_is_fitted__()


@pytest.mark.filterwarnings("ignore:OptunaSearchCV is experimental")
@pytest.mark.parametrize("enable_pruning", [False, True])
def test_optuna_search_cv(case, study, enable_pruning):
    from optuna.distributions import FloatDistribution
    from optuna_integration import OptunaSearchCV

    folds = StratifiedKFold(2)
    search = OptunaSearchCV(
        clone(case.new),
        {"lr": FloatDistribution(1e-4, 1e-2, log=True)},
        cv=folds,
        study=study("maximize"),
        n_trials=3,
        max_iter=2,
        enable_pruning=enable_pruning,
    ).fit(case.X, case.y)
    first = search.trials_[0]
    net = clone(case.new).set_params(**first.params)
    scores = np.empty((2, 2))
    for fold, (train, test) in enumerate(folds.split(case.X, case.y)):
        part, rest = (case.X[train], case.y[train]), (case.X[test], case.y[test])
        each = clone(net)
        if not enable_pruning:
            scores[:, fold] = each.fit(*part).score(*rest)
            continue
        for epoch in range(2):
            each.partial_fit(*part, classes=np.unique(case.y))
            scores[epoch, fold] = each.score(*rest)
    assert first.value == scores[-1].mean()
    if enable_pruning:
        assert list(first.intermediate_values.values()) == scores.mean(1).tolist()
        ends = [("COMPLETE", 2), ("PRUNED", 1), ("COMPLETE", 2)]
        assert states(search.trials_) == ends
    best = clone(case.new).set_params(**search.best_params_).fit(case.X, case.y)
    assert np.array_equal(search.predict(case.X), best.predict(case.X))
