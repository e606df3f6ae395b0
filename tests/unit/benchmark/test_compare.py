import math

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_iris, make_moons
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    PredefinedSplit,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_validate,
)
from sklearn.svm import SVC

from fmnist_sklearn import benchmark_table, compare_models
from fmnist_sklearn.benchmark import corrected_t_test, mcnemar_test, rank_models
from fmnist_sklearn.benchmark.compare import (
    Scored,
    compare_ranks,
    compare_rows,
    describe_comparison,
    holm,
)

from ..toys import Net

X, y = load_iris(return_X_y=True)
NUMBERS = ["difference", "difference_low", "difference_high", "p_value", "p_holm"]


# Tests


def test_corrected_t_test_is_scipy_s_paired_test_without_a_test_set():
    a, b = np.random.default_rng(0).normal(size=(2, 12))
    found = corrected_t_test(a, b, n_train=1, n_test=1e-300)
    expected = stats.ttest_rel(a, b)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found[1:3] == pytest.approx(expected.confidence_interval(0.95))
    assert found.difference == pytest.approx(np.mean(a) - np.mean(b))


def test_corrected_t_test_has_the_values_of_scikit_learn_s_example():
    """Of "Statistical comparison of models using grid search", whose p is one-sided."""
    moons = make_moons(noise=0.352, random_state=1, n_samples=100)
    kernels = [
        {"kernel": ["linear"]},
        {"kernel": ["poly"], "degree": [2, 3]},
        {"kernel": ["rbf"]},
    ]
    cv = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    search = GridSearchCV(SVC(random_state=0), kernels, scoring="roc_auc", cv=cv)
    table = compare_models(search.fit(*moons))
    assert table["score"].tolist() == pytest.approx([0.93, 0.6852, 0.9044, 0.94])
    published = {0: (0.750, 0.227), 2: (1.657, 0.302 / 6), 1: (4.565, 0.0)}
    for row, (t, p) in published.items():
        assert table["p_value"][row] / 2 == pytest.approx(p, abs=5e-4)
        assert stats.t.isf(table["p_value"][row] / 2, 99) == pytest.approx(t, abs=5e-4)
    assert table["comparison"].tolist()[2:] == [
        "corrected t-test, 100 folds",
        "reference",
    ]
    assert math.isnan(table["p_holm"][3])
    # linear with 3_poly: p = 0.807 by Bonferroni over the six pairs
    p = compare_models(search, 0)["p_value"][2]
    assert p / 2 * 6 == pytest.approx(0.807, abs=5e-4)


def test_corrected_t_test_of_differences_without_spread():
    assert corrected_t_test([0.5, 0.7], [0.5, 0.7], n_train=1, n_test=1) == (0, 0, 0, 1)
    found = corrected_t_test([0.6, 0.8], [0.5, 0.7], n_train=1, n_test=1)
    assert found.difference == pytest.approx(0.1)
    assert all(map(math.isnan, found[1:]))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"scores": [0.5]}, r"one for each fold; got the shapes \(1,\) and \(2,\)"),
        ({"scores": [0.5, math.nan]}, "1 that are not finite"),
        ({"n_train": 0}, "n_train and n_test must be above 0; got 0 and 1"),
    ],
)
def test_corrected_t_test_names_bad_parameters(kwargs, message):
    good = {"scores": [0.5, 0.6], "reference_scores": [1, 2], "n_train": 4, "n_test": 1}
    with pytest.raises(ValueError, match=message):
        corrected_t_test(**good | kwargs)


def test_mcnemar_test():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 300)) < [[0.85], [0.8]]
    n_first, n_second = int((a & ~b).sum()), int((b & ~a).sum())
    found = mcnemar_test(a, b)
    tail = stats.binom.cdf(min(n_first, n_second), n_first + n_second, 0.5)
    assert found.p_value == pytest.approx(min(1, 2 * tail))
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert found.low < found.difference < found.high
    assert mcnemar_test(b, a)[:2] == pytest.approx((-found.difference, -found.high))
    same = mcnemar_test(a, a)
    assert same.p_value == 1
    assert same.low < same.difference == 0 < same.high
    with pytest.raises(ValueError, match=r"got the shapes \(300,\) and \(2,\)"):
        mcnemar_test(a, [True, False])


@pytest.mark.parametrize(("p_first", "p_second"), [(0.05, 0.05), (0.15, 0.03)])
def test_mcnemar_test_interval_holds_the_difference(p_first, p_second):
    rng = np.random.default_rng(1)
    kinds = rng.choice(3, (1000, 200), p=[p_first, p_second, 1 - p_first - p_second])
    found = [mcnemar_test(kind != 1, kind != 0) for kind in kinds]
    covered = np.mean([f.low <= p_first - p_second <= f.high for f in found])
    assert 0.93 < covered < 0.98


def test_holm():
    # The example of Holm's article as R's p.adjust computes it; nan does not count.
    p_values = [0.01, math.nan, 0.02, 0.03, 0.005]
    expected = [0.03, math.nan, 0.04, 0.04, 0.02]
    np.testing.assert_allclose(holm(p_values), expected)
    np.testing.assert_allclose(holm([0.01, 0.4], n_hypotheses=3), [0.03, 0.8])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    assert holm([]).size == 0


def test_rank_models():
    # Table 6 of Demsar (2006): C4.5 and its variants on 14 data sets.
    scores = np.array(
        [
            [0.763, 0.768, 0.771, 0.798],
            [0.599, 0.591, 0.590, 0.569],
            [0.954, 0.971, 0.968, 0.967],
            [0.628, 0.661, 0.654, 0.657],
            [0.882, 0.888, 0.886, 0.898],
            [0.936, 0.931, 0.916, 0.931],
            [0.661, 0.668, 0.609, 0.685],
            [0.583, 0.583, 0.563, 0.625],
            [0.775, 0.838, 0.866, 0.875],
            [1.000, 1.000, 1.000, 1.000],
            [0.940, 0.962, 0.965, 0.962],
            [0.619, 0.666, 0.614, 0.669],
            [0.972, 0.981, 0.975, 0.973],
            [0.957, 0.978, 0.946, 0.970],
        ]
    )
    ranks = rank_models(scores)
    assert ranks.mean_ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert ranks.critical_difference == pytest.approx(1.25, abs=0.005)
    assert ranks.p_value == stats.friedmanchisquare(*scores.T).pvalue
    assert rank_models(np.ones((3, 3))).p_value == 1
    for few in (scores[:1], scores[:, :2]):
        assert np.isnan(rank_models(few)[1:]).all()
    with pytest.raises(ValueError, match="scores must be finite, a row for each data"):
        rank_models([[0.5, math.nan]])


# Tables


def search_of(cv, **kwargs):
    grid = {"C": [0.001, 0.1, 1.0]}
    return GridSearchCV(LogisticRegression(max_iter=500), grid, cv=cv, **kwargs).fit(
        X, y
    )


def check_table(table, scores, n_train, n_test):
    """Compare the numbers of a table with those of the tests alone."""
    best = int(np.argmax(np.mean(scores, axis=0)))
    for row in range(scores.shape[1]):
        if row == best:
            assert table["comparison"][row] == "reference"
            continue
        found = corrected_t_test(
            scores[:, row], scores[:, best], n_train=n_train, n_test=n_test
        )
        assert table.loc[row, NUMBERS[:4]].tolist() == pytest.approx(list(found))
    p_values = table["p_value"].dropna()
    n_pairs = len(p_values) * (len(p_values) + 1) // 2
    assert table["p_holm"].dropna().tolist() == holm(p_values, n_pairs).tolist()


@pytest.mark.parametrize(
    ("cv", "sizes"),
    [
        (None, (4, 1)),
        (10, (9, 1)),
        (KFold(4, shuffle=True, random_state=0), (3, 1)),
        (RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0), (4, 1)),
        (ShuffleSplit(6, test_size=0.2, random_state=0), (4, 1)),
        (list(StratifiedKFold(3).split(X, y)), (2, 1)),
        (
            [(np.arange(150) % 3 != i, np.arange(150) % 3 == i) for i in range(3)],
            (2, 1),
        ),
    ],
)
def test_compare_models_of_a_search(cv, sizes):
    search = search_of(cv)
    results = search.cv_results_
    scores = [results[f"split{i}_test_score"] for i in range(search.n_splits_)]
    table = compare_models(search)
    check_table(table, np.array(scores), *sizes)
    names = [f"LogisticRegression (C={c})" for c in (0.001, 0.1, 1.0)]
    assert table["model"].tolist() == names
    # With a reference of the caller's, Holm's correction is over the rows.
    given = compare_models(search, names[1])
    assert given["p_holm"].dropna().tolist() == holm(given["p_value"].dropna()).tolist()
    assert given.equals(compare_models(search, 1))
    joined = benchmark_table(search, names[1])
    assert joined[NUMBERS].equals(given[NUMBERS])
    assert joined["comparison"][1] == "reference"
    best = benchmark_table(search, "best")
    assert best["p_holm"].equals(table["p_holm"])


def test_compare_models_of_folds_that_are_not_known():
    text = "not tested: sizes of the folds unknown, give test_size"
    search = search_of(PredefinedSplit(np.arange(150) % 3))
    for results in (search, search.cv_results_):
        table = compare_models(results, 0)
        assert table["comparison"].tolist()[1:] == [text] * 2
        # The differences are known, but not whether they are noise.
        expected = (table["score"] - table["score"][0]).tolist()
        assert table["difference"].tolist() == pytest.approx(expected)
        assert table[NUMBERS[1:]].isna().all(axis=None)
        tested = compare_models(results, 0, test_size=1 / 3)
        assert (tested["comparison"][1:] == "corrected t-test, 3 folds").all()
    with pytest.raises(ValueError, match="test_size must be between 0 and 1; got 3"):
        compare_models(search, test_size=3)


def validate(C=1.0, cv=3, model=None, **kwargs):
    model = model or LogisticRegression(C=C, max_iter=500)
    return cross_validate(model, X, y, cv=cv, **kwargs)


def test_compare_models_of_cross_validations():
    cv = KFold(5, shuffle=True, random_state=0)
    other = KFold(5, shuffle=True, random_state=1)
    results = {
        "good": validate(cv=cv, return_indices=True),
        "weak": validate(0.001, cv=cv, return_indices=True),
        "other folds": validate(cv=other, return_indices=True),
        "not known": validate(cv=cv),
        "search": search_of(cv),
    }
    table = compare_models(results, "good").set_index("model")
    tested = corrected_t_test(
        results["weak"]["test_score"],
        results["good"]["test_score"],
        n_train=120,
        n_test=30,
    )
    assert table.loc["weak", NUMBERS[:4]].tolist() == pytest.approx(list(tested))
    text = "not tested: folds other than those of good"
    assert table["comparison"].tolist()[:3] == ["reference", table.iloc[1, 7], text]
    reason = "not tested: folds not recorded, as return_indices=True does"
    assert table["comparison"]["not known"] == reason
    # A search does not record its folds; they may be the same.
    assert table["comparison"].iloc[-1] == text
    assert table["p_value"].notna().sum() == 1
    # The same rows in another order are other folds.
    turned = {**results["weak"]["indices"]}
    turned["test"] = turned["test"][::-1]
    moved = {"a": results["good"], "b": {**results["weak"], "indices": turned}}
    assert compare_models(moved)["p_value"].isna().all()


def test_compare_models_of_failed_fits_and_single_scores():
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        search = GridSearchCV(Net(), {"fail": [False, True]}, cv=2).fit(X, y)
    table = compare_models(search)
    assert table["comparison"].tolist() == ["reference", "not tested: a fit failed"]
    alone = compare_models(search_of([next(KFold(3).split(X))]))
    assert alone["comparison"][2] == "not tested: no scores of several folds"


def test_compare_models_of_a_halving_search_compares_the_last_iteration():
    search = HalvingGridSearchCV(
        LogisticRegression(max_iter=500),
        {"C": [0.01, 0.1, 1.0, 10.0]},
        cv=5,
        factor=2,
        random_state=0,
        min_resources=60,
    ).fit(X, y)
    table = compare_models(search)
    is_last = search.cv_results_["iter"] == search.n_iterations_ - 1
    reference = table["comparison"].tolist().index("reference")
    assert is_last[reference]
    assert (table["comparison"][~is_last] == "not tested: an earlier iteration").all()
    assert table["p_value"].notna().sum() == is_last.sum() - 1
    assert table["model"].is_unique


def test_compare_models_of_several_scores_without_an_accuracy():
    scoring = ["f1_macro", "recall_macro"]
    search = search_of(3, scoring=scoring, refit="f1_macro")
    with pytest.raises(ValueError, match=r"got \['test_f1_macro', 'test_recall_macro'"):
        compare_models(search)


@pytest.mark.parametrize("reference", ["LogisticRegression", 3, -1])
def test_compare_models_names_an_unknown_reference(reference):
    with pytest.raises(ValueError, match=r"one row, of \['LogisticRegression \(C="):
        compare_models(search_of(3), reference)


# Sentences


def scored(name, accuracy, time=1.0, n=1000, **kwargs):
    """A row whose first predictions are right."""
    return Scored(name, accuracy, time, np.arange(n) < accuracy * n, 1, **kwargs)


def test_describe_comparison():
    rows = [scored("a", 0.9, 3.0), scored("b", 0.899), scored("c", 0.8, 4.0)]
    table = compare_rows(rows, None, best=0)
    assert describe_comparison(table) == (
        "not distinguishable from it: b (-0.0010, p = 1); worse: c (-0.1000, p < 0.001)"
        " (McNemar's exact test, 1,000 test images, p corrected by Holm)"
    )
    assert table["dominated_by"].tolist() == ["", "", "a"]
    table = compare_rows(rows[1:], "c", best=0)
    assert describe_comparison(table) == (
        "better: b (+0.0990, p < 0.001) (McNemar's exact test, 1,000 test images)"
    )
    alone = compare_rows(rows[:1], None, best=0)
    assert describe_comparison(alone) == "no other row to compare with"


def test_describe_comparison_names_few_rows_and_reasons():
    rows = [scored(f"row {i}", 0.9 - i / 1000) for i in range(8)]
    rows.append(scored("lost", math.nan, unknown="a fit failed"))
    text = describe_comparison(compare_rows(rows, None, best=0))
    assert "row 4 (-0.0040, p = 0.5) and 3 more; not tested: lost (" in text
    assert "lost (a fit failed)" in text


def test_compare_rows_of_a_test_set_corrects_for_the_rows_only():
    """The best row was chosen by other images, those of the validation."""
    rows = [scored(f"{i}", 0.9 - i / 100) for i in range(4)]
    for table in (compare_rows(rows, "0", best=0), compare_rows(rows, None, best=0)):
        p_values = table["p_value"].dropna()
        assert table["p_holm"].dropna().tolist() == holm(p_values).tolist()


# Several data sets


def test_compare_ranks_finds_what_differs_by_the_critical_difference():
    # The best of three models on 12 sets, the next by chance, the last on all but one.
    scores = np.array([[3, 2, 1], [2, 3, 1], [3, 1, 2]] * 4)
    ranks = rank_models(scores)
    table = compare_ranks(["a", "b", "c"], ranks, 12, None)
    assert table["comparison"][0] == "reference"
    assert table["score"].tolist() == pytest.approx([4 / 3, 2, 8 / 3])
    gaps = -table["difference"]
    assert (gaps > ranks.critical_difference).tolist() == [False, False, True]
    assert (table["p_holm"][1:] < 0.05).tolist() == [False, True]
    assert (table["difference_high"][1:] < 0).tolist() == [False, True]
    assert table["difference_low"][1] == pytest.approx(gaps[0] - gaps[1] - ranks[2])
    text = describe_comparison(table)
    assert text.startswith(
        "not distinguishable from it: b (-0.6667, p = 0.23); worse: c"
    )
    assert text.endswith("(Nemenyi's test, 12 data sets; Friedman's p = 0.0048)")
    assert compare_ranks(["a", "b", "c"], ranks, 12, "c")["difference"][0] > 0
    # No difference is found where Friedman's test finds none.
    few = rank_models(scores[:2])
    assert (compare_ranks("abc", few, 2, None)["p_holm"].dropna() >= few.p_value).all()
    two = rank_models(scores[:, :2])
    reason = "not tested: Friedman's test needs three rows and two data sets"
    assert compare_ranks("ab", two, 12, None)["comparison"][1] == reason
