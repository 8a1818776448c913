"""LIME on tables with categories, against its definition summed over all combinations of levels,
and against a slow twin of the original's tabular sampler.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import truncnorm
from sklearn.ensemble import HistGradientBoostingRegressor

import assay
from assay.errors import AssayError, InputError
from assay.methods.lime.bins import UNSEEN, Bins, Levels

DRAW = np.random.default_rng(0)
TOWNS = pd.DataFrame({
    "town": pd.Categorical(DRAW.choice(list("abc"), 600, p=[0.5, 0.2, 0.3])),
    "z": DRAW.normal(size=600),
})  # fmt: skip


# What is drawn is no removal, but every question has one.
FIRST = assay.Baseline(TOWNS.iloc[[0]])


def is_b(frame: pd.DataFrame) -> np.ndarray:
    return (frame["town"] == "b").to_numpy() * 1.0


def weighted_fit(same: np.ndarray, weights: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Coefficients of weighted least squares, with an explicit column of ones."""
    root = np.sqrt(weights)[:, None]
    table = np.column_stack([np.ones(len(same)), same])
    return np.linalg.lstsq(root * table, root[:, 0] * answers, rcond=None)[0][1:]


def by_definition(
    levels: list[list[float]],
    shares: list[list[float]],
    x: list[float],
    f: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """The surrogate in the limit of many draws: every combination of levels, by its probability
    under the product of the columns' frequencies, times the kernel.
    """
    points = np.array(list(itertools.product(*levels)))
    law = np.array([math.prod(each) for each in itertools.product(*shares)])
    same = (points == np.array(x)) * 1.0
    width = 0.75 * math.sqrt(len(x))
    kernel = np.sqrt(np.exp(-(1 - same).sum(axis=1) / width**2))
    return weighted_fit(same, law * kernel, f(points))


def slow_tabular(
    rows: np.ndarray,
    x: np.ndarray,
    categorical: list[int],
    f: Callable[[np.ndarray], np.ndarray],
    samples: int,
) -> np.ndarray:
    """The original's sampler, from its paper and documentation: a category by its frequency and 1
    where it is the instance's; of a number the bin between quartiles by its frequency, a value of
    it from the truncated normal law of the bin; the instance itself first; the kernel on what
    differs.
    """
    draw = np.random.default_rng(1)
    points = np.empty((samples, len(x)))
    same = np.empty((samples, len(x)))
    for j in range(len(x)):
        column = rows[:, j]
        if j in categorical:
            points[:, j] = draw.choice(column, samples)
            same[:, j] = points[:, j] == x[j]
            continue
        cuts = np.percentile(column, (25, 50, 75))
        ends = np.concatenate([[column.min()], cuts, [column.max()]])
        bins = np.searchsorted(cuts, draw.choice(column, samples))
        same[:, j] = bins == np.searchsorted(cuts, x[j])
        for b in range(4):
            inside = column[np.searchsorted(cuts, column) == b]
            law = inside.mean(), inside.std()
            edges = (ends[b : b + 2] - law[0]) / law[1]
            size = int((bins == b).sum())
            points[bins == b, j] = truncnorm.rvs(*edges, *law, size=size, random_state=draw)
    points[0], same[0] = x, 1
    width = 0.75 * math.sqrt(len(x))
    return weighted_fit(same, np.sqrt(np.exp(-(1 - same).sum(axis=1) / width**2)), f(points))


# --- what a category is worth


@pytest.mark.parametrize("proxy", [False, True])
def test_each_level_is_drawn_by_its_frequency(proxy: bool) -> None:
    """Signs: being "b" is worth 1, being another level is worth less than nothing."""
    inputs = pd.concat([TOWNS[TOWNS.town == level].iloc[:1] for level in "abc"])
    method = assay.Lime(assay.Quartiles(TOWNS, samples=2000), proxy=proxy)
    values = method(assay.Question(is_b, inputs, removal=FIRST)).values[:, 0]
    share = TOWNS.town.value_counts(normalize=True)[list("abc")].tolist()
    for row in range(3):
        right = by_definition(
            [[0, 1, 2], [0, 1, 2, 3]],
            [share, [0.25] * 4],
            [row, 0],
            lambda z: (z[:, 0] == 1) * 1.0,
        )
        assert float(values[row]) == pytest.approx(right[0], abs=0.02)
    assert float(values[1]) == pytest.approx(1.0, abs=1e-7)


def test_more_levels_than_quartiles_are_levels_each() -> None:
    """Eight levels: cut at the quartiles of their numbers, four bins would hold two of them each."""
    rows = pd.DataFrame({"town": pd.Categorical(list("abcdefgh") * 40)})
    rows["z"] = np.random.default_rng(1).normal(size=len(rows))
    inputs = rows.iloc[:8]
    method = assay.Lime(assay.Quartiles(rows, samples=4000))
    values = method(assay.Question(is_b, inputs, removal=assay.Baseline(rows.iloc[[0]]))).values
    for row in range(8):
        right = by_definition(
            [list(range(8)), [0, 1, 2, 3]],
            [[1 / 8] * 8, [0.25] * 4],
            [row, 0],
            lambda z: (z[:, 0] == 1) * 1.0,
        )
        assert float(values[row, 0]) == pytest.approx(right[0], abs=0.02)


def test_only_values_that_the_rows_have_are_asked() -> None:
    seen = []

    def f(frame: pd.DataFrame) -> np.ndarray:
        seen.append(frame)
        return is_b(frame)

    assay.Lime(assay.Quartiles(TOWNS, samples=2000))(
        assay.Question(f, TOWNS.iloc[:1], removal=FIRST)
    )
    asked = pd.concat(seen)["town"].value_counts(normalize=True)
    share = TOWNS["town"].value_counts(normalize=True)
    for level in "abc":
        assert asked[level] == pytest.approx(share[level], abs=0.03)


@pytest.mark.parametrize("kind", ["text", "bool", "object", "ordered", "codes"])
def test_every_kind_of_category_is_one(kind: str) -> None:
    """The same law and the same answer, whatever a column's type."""
    draw = np.random.default_rng(3)
    truth = draw.random(500) < 0.15
    columns = {
        "text": pd.Series(np.where(truth, "yes", "no")),
        "bool": pd.Series(truth),
        "object": pd.Series(np.where(truth, 1, 0), dtype=object),
        "ordered": pd.Series(pd.Categorical(np.where(truth, "yes", "no"), ["no", "yes"], True)),
        "codes": pd.Series(np.where(truth, 7, 3)),
    }
    frame = pd.DataFrame({"it": columns[kind], "z": draw.normal(size=500)})
    yes = frame["it"][truth.argmax()]

    def f(table: pd.DataFrame) -> np.ndarray:
        assert set(table["it"]) <= set(frame["it"])
        return (table["it"] == yes).to_numpy() * 2.0 + table["z"].to_numpy() * 0

    inputs = pd.concat([frame[truth].iloc[:1], frame[~truth].iloc[:1]])
    categorical = ("it",) if kind == "codes" else ()
    around = assay.Quartiles(frame, samples=1000, categorical=categorical)
    for proxy in (False, True):
        question = assay.Question(f, inputs, removal=assay.Baseline(frame.iloc[[0]]))
        values = assay.Lime(around, proxy=proxy)(question).values
        np.testing.assert_allclose(values[:, 0], [2.0, -2.0], rtol=0, atol=1e-7)


@pytest.mark.parametrize("share", [0.04, 0.5, 0.96])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flags_are_drawn_as_they_are(share: float, dtype: type) -> None:
    """0 and 1 in an array: no quartile lies between them where one has three quarters."""
    rows = np.column_stack([DRAW.random(500) < share, DRAW.normal(size=500)]).astype(dtype)
    one = rows[rows[:, 0] == 1][:1]
    for f in (lambda a: (a[:, 0] == 1) * 1.0, lambda a: a[:, 0].astype(int) * 1.0):
        answer = assay.Lime(assay.Quartiles(rows, 1000))(assay.Question(f, one))
        np.testing.assert_allclose(answer.values, [[1.0, 0.0]], rtol=0, atol=1e-10)


def test_codes_of_an_array_are_declared_by_number() -> None:
    shares = [0.1, 0.2, 0.3, 0.25, 0.15]
    codes = np.repeat(np.arange(5.0), [60, 120, 180, 150, 90])
    other = np.tile([0.0, 1.0, 2.0], 200)
    rows = np.column_stack([codes, other])

    def f(a: np.ndarray) -> np.ndarray:
        assert np.isin(a[:, 0], range(5)).all()
        return np.where(a[:, 0] == 3, 2.0, 0.0) + np.where(a[:, 1] == 1, 1.0, 0.0) * (a[:, 0] < 2)

    around = assay.Quartiles(rows, samples=20_000, categorical=[0, 1])
    few = assay.Quartiles(rows, samples=1000, categorical=[0, 1])
    for x in ([3.0, 1.0], [0.0, 1.0], [1.0, 2.0]):
        answer = assay.Lime(around)(assay.Question(f, np.array([x])))
        exact = by_definition([list(range(5)), [0, 1, 2]], [shares, [1 / 3] * 3], x, f)
        assert answer.standard_error is not None
        gap = np.abs(answer.values[0].numpy() - exact)
        assert (gap < 4 * answer.standard_error[0].numpy() + 2e-3).all()
        proxied = assay.Lime(few, proxy=True)(assay.Question(f, np.array([x])))
        np.testing.assert_allclose(proxied.values[0], exact, rtol=0, atol=0.02)
    with pytest.raises(InputError, match="columns out of 2"):
        assay.Lime(assay.Quartiles(rows, categorical=["c"]))(assay.Question(f, rows[:1]))


def test_the_answer_is_that_of_the_originals_sampler() -> None:
    """Three categories and two numbers, with interactions."""
    draw = np.random.default_rng(5)
    size = 800
    rows = np.column_stack([
        draw.choice(4, size, p=[0.1, 0.4, 0.3, 0.2]),
        draw.choice(2, size, p=[0.85, 0.15]),
        draw.choice(6, size),
        draw.normal(size=size),
        draw.gamma(2, size=size),
    ]).astype(float)  # fmt: skip

    def f(a: np.ndarray) -> np.ndarray:
        effect = np.array([0.5, -1.0, 2.0, 0.0])[a[:, 0].astype(int)]
        return effect + (a[:, 1] == 1) * (a[:, 2] > 3) + np.tanh(a[:, 3]) * (a[:, 0] == 2) + a[:, 4]

    categorical = [0, 1, 2]
    around = assay.Quartiles(rows, 20_000, design="independent", categorical=categorical)
    answer = assay.Lime(around)(assay.Question(f, rows[:4]))
    assert answer.standard_error is not None
    for row in range(4):
        slow = slow_tabular(rows, rows[row], categorical, f, 20_000)
        gap = np.abs(answer.values[row].numpy() - slow)
        assert (gap < 4 * math.sqrt(2) * answer.standard_error[row].numpy()).all()


def test_the_numbers_of_levels_do_not_matter() -> None:
    """The same table under other codes has the same draws, and the same answer to the last bit."""
    codes = DRAW.choice(4, 300, p=[0.4, 0.3, 0.2, 0.1]).astype(float)
    z = DRAW.normal(size=300)
    answers = []
    for names in (np.arange(4.0), np.array([9.0, -2.0, 100.0, 3.0])):
        rows = np.column_stack([names[codes.astype(int)], z])
        question = assay.Question(lambda a, name=names[2]: (a[:, 0] == name) * a[:, 1], rows[:5])
        answers.append(assay.Lime(assay.Quartiles(rows, 500, categorical=[0]))(question).values)
    assert bool((answers[0] == answers[1]).all())


# --- what cannot be told


def test_one_level_gets_nothing_and_a_new_one_is_refused() -> None:
    rows = TABLE = np.column_stack([np.ones(200), DRAW.choice(3, 200), DRAW.normal(size=200)])

    def f(a: np.ndarray) -> np.ndarray:
        return a.sum(axis=1)

    for declared in ([], [0, 1]):
        around = assay.Quartiles(rows, 500, categorical=declared)
        for proxy in (False, True):
            method = assay.Lime(around, proxy=proxy)
            assert float(method(assay.Question(f, TABLE[:1])).values[0, 0]) == 0
            for odd in (0.5, 2.0):
                strange = TABLE[:1] * [odd, 1, 1]
                with pytest.raises(InputError, match=r"column '\[0\]', got"):
                    method(assay.Question(f, strange))
    with pytest.raises(InputError, match=r"column '\[1\]', got 5"):
        assay.Lime(assay.Quartiles(rows, 500, categorical=[1]))(
            assay.Question(f, np.array([[1.0, 5.0, 0.0]]))
        )


@pytest.mark.parametrize("around", [assay.Gaussian(), assay.Instances(TOWNS)])
def test_codes_have_no_slope_and_no_distance(around: object) -> None:
    with pytest.raises(InputError, match="categories in column 'town'"):
        assay.Lime(around)(assay.Question(is_b, TOWNS.iloc[:2], removal=FIRST))  # type: ignore[arg-type]


def test_numbers_beside_categories_have_slopes() -> None:
    def f(frame: pd.DataFrame) -> np.ndarray:
        return is_b(frame) * 5 + 3 * frame["z"].to_numpy()

    answer = assay.Lime(assay.Gaussian(columns=("z",)))(
        assay.Question(f, TOWNS.iloc[:2], removal=FIRST)
    )
    np.testing.assert_allclose(answer.values, [[0, 3], [0, 3]], rtol=0, atol=1e-9)


def test_coefficients_of_columns_are_not_told_as_those_of_other_features() -> None:
    """Labels in another order: values would stand at the wrong features."""
    labels = assay.Labels(np.array([1, 0]))
    x = np.array([[1.0, 2.0]])
    question = assay.Question(lambda a: a @ np.array([1.0, 10.0]), x, features=labels)
    for around in (assay.Gaussian(), assay.Quartiles(DRAW.normal(size=(50, 2)))):
        with pytest.raises(InputError, match="in the order of the columns"):
            assay.Lime(around)(question)


# --- missing values


ROWS = np.random.default_rng(2).normal(size=(400, 3))
GAPS = np.where(np.random.default_rng(4).random(ROWS.shape) < 0.2, np.nan, ROWS)


def test_what_is_missing_is_a_level_of_its_own() -> None:
    """A model that pays 1 for a gap: the input with a gap gains it, another loses nothing."""
    model = HistGradientBoostingRegressor(min_samples_leaf=5, max_iter=300)
    model.fit(GAPS, np.isnan(GAPS[:, 0]) * 1.0)
    around = assay.Quartiles(GAPS, samples=2000)
    question = assay.Question(model, np.array([[np.nan, 0.0, 0.0], [0.0, np.nan, 0.0]]))
    for proxy in (False, True):
        answer = assay.Lime(around, proxy=proxy)(question)
        values = answer.values
        assert float(values[0, 0]) == pytest.approx(1.0, abs=0.02)
        # A quarter of four fifths is like the input, one fifth of the rest is a gap.
        assert float(values[1, 0]) == pytest.approx(-0.25, abs=0.03)
        assert answer.standard_error is not None
        nothing = 4 * answer.standard_error[:, 1:] + 1e-9
        assert bool((values[:, 1:].abs() < nothing).all())


def test_gaps_in_the_rows_leave_effects_as_they_are() -> None:
    model = HistGradientBoostingRegressor().fit(ROWS, ROWS.sum(axis=1))
    question = assay.Question(model, ROWS[:1])
    full = assay.Lime(assay.Quartiles(ROWS, 2000))(question).values
    with_gaps = assay.Lime(assay.Quartiles(GAPS, 2000))(question).values
    assert bool((full.sign() == with_gaps.sign())[full.abs() > 0.5].all())
    assert float((full - with_gaps).abs().max()) < 0.5


def ask(around: object, model: object, x: np.ndarray) -> object:
    return assay.Lime(around)(assay.Question(model, x))  # type: ignore[arg-type]


def test_gaps_that_cannot_be_asked_are_refused() -> None:
    model = HistGradientBoostingRegressor().fit(ROWS, ROWS.sum(axis=1))
    gap = np.array([[1.0, np.nan, 2.0]])
    plain = lambda a: a.sum(axis=1)  # noqa: E731
    refused: list[tuple[object, object, np.ndarray, str]] = [
        (assay.Quartiles(ROWS), model, gap, "rows for Quartiles that hold what input 0 has"),
        (assay.Quartiles(GAPS), plain, ROWS[:1], "rows without missing values for Quartiles"),
        (
            assay.Quartiles(np.where(np.isnan(GAPS), np.inf, GAPS)),
            model, ROWS[:1], "finite rows for Quartiles",
        ),
        (assay.Quartiles(ROWS[:0]), model, ROWS[:1], "at least one row of data for Quartiles"),
        (assay.Instances(GAPS), model, ROWS[:1], "rows without missing values for Instances"),
        (assay.Instances(ROWS), model, gap, "without missing values"),
        (assay.Instances(ROWS * np.inf), model, ROWS[:1], "finite rows for Instances"),
        (assay.Gaussian(), model, gap, "without missing values"),
    ]  # fmt: skip
    for around, asked, x, sentence in refused:
        with pytest.raises(AssayError, match=sentence):
            ask(around, asked, x)
    answer = ask(assay.Gaussian(columns=(0, 2)), model, gap)
    assert bool(answer.values.isfinite().all())  # type: ignore[attr-defined]


# --- the laws


def test_levels_are_exact_and_in_the_order_of_the_rows() -> None:
    column = np.array([5.0, np.nan, 2.0, 2.0, 7.0, np.nan, 2.0, 5.0])
    levels = Levels.of(column)
    np.testing.assert_array_equal(levels.value, [2.0, 5.0, np.nan, 7.0])
    np.testing.assert_array_equal(levels.cumulative, [0, 3 / 8, 5 / 8, 7 / 8, 1])
    asked = np.array([np.nan, 7.0, 2.0, 5.0, 6.0, 8.0, 1.0])
    assert levels.index(asked).tolist() == [2, 3, 0, 1, UNSEEN, UNSEEN, UNSEEN]
    bins, values = levels.draw(np.array([0.1, 0.37, 0.38, 0.7, 0.9]))
    assert bins.tolist() == [0, 0, 1, 2, 3]
    np.testing.assert_array_equal(values, [2.0, 2.0, 5.0, np.nan, 7.0])


def test_a_bin_of_one_value_gives_that_value() -> None:
    column = np.repeat([0.1, 0.7, 2.0, 3.0, 4.0], [500, 300, 20, 20, 20])
    bins, values = Bins.of(column).draw(DRAW.random(4000))
    assert set(values[bins == 0]) == {0.1}
    assert Bins.of(column).index(np.array([np.nan, 99.0])).tolist()[0] == UNSEEN


def test_columns_are_cut_at_their_deciles() -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 2))
    np.testing.assert_array_equal(
        Bins.of(rows[:, 0], 10).cuts, np.percentile(rows[:, 0], range(10, 100, 10))
    )
    seen = assay.Quartiles(rows, 2000, parts=10).sample(
        assay.Question(lambda a: a[:, 0], rows[:1]), 0
    )
    assert float(seen.design[0, 1:].mean()) == pytest.approx(0.1, abs=0.01)
    with pytest.raises(InputError, match="at least two parts"):
        assay.Quartiles(rows, parts=1)
