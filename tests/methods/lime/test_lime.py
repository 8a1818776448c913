"""LIME against weighted least squares written out, and the pieces that make it cheap: one Gram
matrix, balanced draws.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import truncnorm
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from assay import Labels, Output, Question
from assay.answers.attribution import Kind
from assay.errors import InputError, KindError
from assay.methods.lime import least_squares
from assay.methods.lime.least_squares import Moments, moments_of
from assay.methods.lime.lime import Lime
from assay.methods.lime.masks import CoinMasks, SizeMasks
from assay.methods.lime.neighbourhood import Neighbourhood, Sample
from assay.methods.lime.points import Gaussian, Instances
from assay.methods.lime.quartiles import Quartiles
from assay.methods.lime.surrogate import (
    DrawMoments,
    Selection,
    Selector,
    Surrogate,
    fit,
    remove_main_effects,
)
from assay.numerics.designs import even_columns, orthogonal_array, uniforms


def weighted_fit(
    design: np.ndarray, weights: np.ndarray, answers: np.ndarray, ridge: float = 0.0
) -> np.ndarray:
    """Intercept and coefficients from the normal equations with an explicit column of ones."""
    table = np.column_stack([np.ones(len(design)), design])
    shares = weights / weights.sum()
    penalty = ridge * np.diag([0.0] + [1.0] * design.shape[1])
    return np.linalg.solve(
        table.T @ (shares[:, None] * table) + penalty, table.T @ (shares * answers)
    )


def data(rows: int, columns: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    design = draw.normal(size=(rows, columns)) @ draw.normal(size=(columns, columns))
    return (
        design,
        draw.uniform(0.1, 1, rows),
        design @ draw.normal(size=columns) + draw.normal(size=rows) * 2 + 3,
    )


def moments(design: np.ndarray, weights: np.ndarray, answers: np.ndarray) -> Moments:
    parts = (torch.from_numpy(np.asarray(part))[None] for part in (design, weights, answers))
    return moments_of(Sample(*parts, unit=torch.ones(design.shape[1]), fixed=0))


def surrogate(sample: Sample, keep: int | None, selection: Selection, ridge: float) -> Surrogate:
    return fit(DrawMoments.of(sample, seed=0), Selector(keep, selection, ridge))


# --- the homework's univariate case


def univariate(x: Tensor) -> Tensor:
    """Falls through 0, rises further out: what the neighbourhood's width shows is not one number."""
    return x[:, 0] ** 3 / 20 - 2 * x[:, 0]


@pytest.mark.parametrize("d", [1.0, 10.0, 100.0])
def test_weighted_data_points_explain_a_univariate_function_at_zero(d: float) -> None:
    """Slope = sum w (x - xm) (y - ym) / sum w (x - xm)^2 with w = exp(-x^2 / d), written out."""
    points = np.linspace(-10, 9, 41)
    y = points**3 / 20 - 2 * points
    w = np.exp(-(points**2) / d)
    middle, level = (w * points).sum() / w.sum(), (w * y).sum() / w.sum()
    slope = (w * (points - middle) * (y - level)).sum() / (w * (points - middle) ** 2).sum()
    question = Question(univariate, torch.zeros(1, 1, dtype=torch.float64))
    answer = Lime(Instances(torch.from_numpy(points)[:, None], d))(question)
    assert float(answer.values) == pytest.approx(slope, rel=1e-10)
    assert answer.facts["intercept"][0] == pytest.approx(level - slope * middle, rel=1e-10)
    assert answer.kind == Kind.SLOPE.value
    assert math.copysign(1, slope) == {1.0: -1, 10.0: -1, 100.0: 1}[d]


# --- least squares on moments


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 999), st.sampled_from([0.0, 0.1]))
def test_the_fit_is_weighted_least_squares(columns: int, seed: int, ridge: float) -> None:
    design, weights, answers = data(60, columns, seed)
    slow = weighted_fit(design, weights, answers, ridge)
    sample = Sample(
        *(torch.from_numpy(part)[None] for part in (design, weights, answers)),
        torch.ones(columns),
        fixed=0,
    )
    made = surrogate(sample, None, "auto", ridge)
    scale = np.abs(slow).max()
    np.testing.assert_allclose(made.coefficients[0], slow[1:], rtol=0, atol=1e-9 * scale)
    left = answers - slow[0] - design @ slow[1:]
    middle = np.average(answers, weights=weights)
    r2 = 1 - np.average(left**2, weights=weights) / np.average(
        (answers - middle) ** 2, weights=weights
    )
    assert float(made.r2) == pytest.approx(r2, abs=1e-10)
    assert float(made.intercept) == pytest.approx(slow[0], abs=1e-9 * scale)


def test_one_design_for_all_rows_is_the_design_of_each() -> None:
    design, weights, _ = data(80, 4, 0)
    answers = np.random.default_rng(1).normal(size=(3, 80))
    shared = Sample(
        *(torch.from_numpy(p) for p in (design[None], weights[None], answers)),
        torch.ones(4),
        fixed=0,
    )
    own = Sample(
        *(torch.from_numpy(np.repeat(p[None], 3, axis=0)) for p in (design, weights)),
        shared.answers,
        torch.ones(4),
        fixed=0,
    )
    for keep in (None, 2):
        one = surrogate(shared, keep, "forward", 0.0)
        other = surrogate(own, keep, "forward", 0.0)
        for name in ("coefficients", "standard_error", "r2", "stability"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=1e-10)


def test_the_standard_error_is_the_sandwich() -> None:
    design, weights, answers = data(50, 3, 2)
    beta = weighted_fit(design, weights, answers)
    table = np.column_stack([np.ones(50), design])
    shares = weights / weights.sum()
    left = shares * (answers - table @ beta)
    bread = np.linalg.inv(table.T @ (shares[:, None] * table))
    slow = bread @ (table.T * left**2) @ table @ bread * 50 / (50 - 4)
    sample = Sample(
        *(torch.from_numpy(part)[None] for part in (design, weights, answers)),
        torch.ones(3),
        fixed=0,
    )
    made = surrogate(sample, None, "auto", 0.0)
    np.testing.assert_allclose(made.standard_error[0], np.sqrt(np.diag(slow))[1:], rtol=1e-9)


def test_main_effects_are_what_least_squares_on_the_levels_explains() -> None:
    """Slow twin: the residual of a regression on indicators of every level of every column of an
    orthogonal array.
    """
    levels = orthogonal_array(4, 2, np.random.default_rng(3))
    scores = np.random.default_rng(4).normal(size=(2, 16, 3))
    dummies = np.concatenate([levels == one for one in range(4)], axis=1).astype(float)
    left = [each - dummies @ np.linalg.lstsq(dummies, each, rcond=None)[0] for each in scores]
    made = remove_main_effects(torch.from_numpy(scores), torch.from_numpy(levels))
    np.testing.assert_allclose(made, np.stack(left), rtol=0, atol=1e-10)


def test_balanced_draws_state_no_error_for_main_effects() -> None:
    question = Question(
        lambda z: 5 * z[:, 0].square() + z[:, 1] * z[:, 2], torch.ones(1, 3, dtype=torch.float64)
    )
    even, free = (
        Lime(Gaussian(1.0, 1024, design=one))(question).standard_error
        for one in ("orthogonal", "independent")
    )
    assert even is not None
    assert free is not None
    assert float(even[0, 0]) < 0.85 * float(free[0, 0])


# --- selection


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(1, 6), st.integers(0, 999))
def test_forward_selection_raises_r2_most_at_every_step(columns: int, keep: int, seed: int) -> None:
    keep = min(keep, columns)
    design, weights, answers = data(40, columns, seed)

    def explained(chosen: list[int]) -> float:
        beta = weighted_fit(design[:, chosen], weights, answers)
        return -float(
            np.average((answers - beta[0] - design[:, chosen] @ beta[1:]) ** 2, weights=weights)
        )

    slow: list[int] = []
    for _ in range(keep):
        slow.append(
            max(
                (one for one in range(columns) if one not in slow),
                key=lambda one: explained([*slow, one]),
            )
        )
    made = moments(design, weights, answers)
    assert least_squares.forward_selection(made.gram, made.moment, keep)[0].tolist() == slow


def test_forward_selection_leaves_a_copy_for_last() -> None:
    design, weights, answers = data(40, 3, 5)
    made = moments(np.column_stack([design, design[:, 0]]), weights, answers)
    assert sorted(least_squares.forward_selection(made.gram, made.moment, 3)[0].tolist()) == [
        0,
        1,
        2,
    ]


def lasso_by_coordinates(gram: np.ndarray, moment: np.ndarray, penalty: float) -> np.ndarray:
    beta = np.zeros(len(moment))
    for _ in range(200):
        for j in range(len(beta)):
            pull = moment[j] - gram[j] @ beta + gram[j, j] * beta[j]
            beta[j] = np.sign(pull) * max(abs(pull) - penalty, 0) / gram[j, j]
    return beta


@pytest.mark.parametrize("seed", range(3))
def test_the_lasso_path_keeps_exactly_so_many(seed: int) -> None:
    """Slow twin: coordinate descent down a fine ladder of penalties, to the last rung with at most
    `keep` columns.
    """
    design, weights, answers = data(60, 5, seed)
    made = moments(design / design.std(axis=0), weights, answers)
    gram, moment = made.gram[0].numpy(), made.moment[0].numpy()
    ladder = np.abs(moment).max() * np.geomspace(1, 1e-3, 40)
    active = [frozenset(np.flatnonzero(lasso_by_coordinates(gram, moment, one))) for one in ladder]
    for keep in (1, 2, 3):
        picked = least_squares.lasso_path(made.gram, made.moment, keep)[0].tolist()
        last = max(rung for rung, some in enumerate(active) if len(some) <= keep)
        assert len(set(picked)) == keep
        assert active[last] <= set(picked)


def test_the_highest_weights_are_standardised() -> None:
    design, weights, _ = data(60, 4, 7)
    design = design * np.array([1, 100, 0.01, 1])
    answers = design @ np.array([1.0, 0.1, 50.0, 2.0])
    beta = weighted_fit(design, weights, answers)[1:]
    middle = np.average(design, axis=0, weights=weights)
    spread = np.sqrt(np.average((design - middle) ** 2, axis=0, weights=weights))
    made = moments(design, weights, answers)
    expected = np.argsort(-np.abs(beta) * spread)[:2].tolist()
    assert set(expected) != set(np.argsort(-np.abs(beta))[:2].tolist())
    assert least_squares.highest_weights(made.gram, made.moment, 2)[0].tolist() == expected


@pytest.mark.parametrize("selection", ["auto", "forward", "lasso", "highest"])
def test_kept_columns_are_refitted_and_the_rest_is_zero(selection: str) -> None:
    w = torch.tensor([3.0, 0.0, -2.0, 0.1, 0.0], dtype=torch.float64)
    question = Question(lambda x: x @ w, torch.ones(2, 5, dtype=torch.float64))
    answer = Lime(CoinMasks(200), keep=2, selection=selection)(question)  # type: ignore[arg-type]
    assert (answer.values != 0).tolist() == [[True, False, True, False, False]] * 2
    assert answer.standard_error is not None
    assert (answer.standard_error != 0).tolist() == [[True, False, True, False, False]] * 2
    assert answer.facts["stability"] == [1.0, 1.0]


# --- neighbourhoods


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(0, 99))
def test_a_linear_model_is_its_own_surrogate(columns: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    w, x, rows = (
        torch.randn(*shape, generator=draw, dtype=torch.float64)
        for shape in ((columns,), (3, columns), (50, columns))
    )
    question = Question(lambda z: z @ w + 1, x)
    for around, expected in (
        (CoinMasks(100), w * x),
        (SizeMasks(100), w * x),
        (Gaussian(0.5, 100), w.expand(3, -1)),
        (Gaussian(tuple(range(1, columns + 1)), 100, width=2.0), w.expand(3, -1)),
        (Instances(rows, 10.0), w.expand(3, -1)),
    ):
        answer = Lime(around)(question, seed=seed)
        torch.testing.assert_close(answer.values, expected, rtol=0, atol=1e-9)
        assert min(answer.facts["r2"]) > 1 - 1e-9 or columns == 0


def test_masks_are_weighted_by_the_cosine_kernel() -> None:
    """The original's sqrt(exp(-D^2 / width^2)), D the cosine distance between the mask and the
    whole input.
    """
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)

    def f(z: Tensor) -> Tensor:
        return z.prod(dim=1) + z.sum(dim=1).exp() / 100

    sample = CoinMasks(64, 0.3, "independent").sample(Question(f, x), 5)
    design, weights, answers = (
        part[0].numpy() for part in (sample.design, sample.weights, sample.answers)
    )
    whole = np.ones(3)
    for row, weight, answer in zip(design, weights, answers):
        length = np.linalg.norm(row) * np.linalg.norm(whole)
        distance = 1 - (row @ whole / length if length else 0)
        assert weight == pytest.approx(math.sqrt(math.exp(-(distance**2) / 0.3**2)), rel=1e-12)
        assert answer == pytest.approx(float(f(x * torch.from_numpy(row))[0]), rel=1e-12)
    made = Lime(CoinMasks(64, 0.3, "independent"))(Question(f, x), seed=5)
    np.testing.assert_allclose(
        made.values[0], weighted_fit(design, weights, answers)[1:], rtol=1e-8
    )


def test_every_size_of_mask_is_drawn_alike() -> None:
    masks, _ = SizeMasks(4000).draw(4, 0)
    shares = np.bincount(masks.sum(axis=1), minlength=5) / 4000
    np.testing.assert_allclose(shares, [0.25, 0.25, 0.25, 0.25, 0.0], atol=0.03)
    np.testing.assert_allclose(masks.mean(axis=0), 0.375, atol=0.03)


def test_columns_that_are_not_named_stay_fixed() -> None:
    seen: list[Tensor] = []

    def f(z: Tensor) -> Tensor:
        seen.append(z.detach().clone())
        return z[:, 0].square() + z[:, 1] * z[:, 2]

    question = Question(f, torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64))
    assert question.prediction.tolist() == [7.0]
    seen.clear()
    sample = Gaussian(0.1, 200, columns=(0, 2)).sample(question, 0)
    assert torch.equal(torch.cat(seen)[:, 1], torch.full((200,), 2.0, dtype=torch.float64))
    assert torch.equal(sample.design[0, :, 1], torch.zeros(201, dtype=torch.float64))
    values = Lime(Gaussian(0.1, 2000, columns=(0, 2)))(question).values[0].tolist()
    assert values[1] == 0.0
    assert values[0] == pytest.approx(2.0, abs=0.02)
    assert values[2] == pytest.approx(2.0, abs=0.02)


def slow_quartiles(
    rows: np.ndarray,
    x: np.ndarray,
    f: Callable[[np.ndarray], np.ndarray],
    samples: int,
    draw: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The original's tabular neighbourhood, column by column: bins by frequency, truncated normals,
    the kernel on bins.
    """
    points, same = np.empty((samples, len(x))), np.empty((samples, len(x)))
    for j in range(len(x)):
        cuts = np.unique(np.percentile(rows[:, j], (25, 50, 75)))
        bins = np.searchsorted(cuts, rows[:, j])
        held, counts = np.unique(bins, return_counts=True)
        drawn = draw.choice(held, samples, p=counts / len(rows))
        same[:, j] = drawn == np.searchsorted(cuts, x[j])
        low, high = np.append(rows[:, j].min(), cuts), np.append(cuts, rows[:, j].max())
        for one in held:
            inside = rows[bins == one, j]
            mean, spread = inside.mean(), inside.std() + 1e-11
            ends = (low[one] - mean) / spread, (high[one] - mean) / spread
            size = int((drawn == one).sum())
            points[drawn == one, j] = truncnorm.rvs(
                *ends, mean, spread, size=size, random_state=draw
            )
    points[0], same[0] = x, 1
    width = 0.75 * math.sqrt(len(x))
    return same, np.sqrt(np.exp(-(1 - same).sum(axis=1) / width**2)), f(points)


def test_quartile_bins_are_those_of_the_original() -> None:
    """Both neighbourhoods estimate the same surrogate: with many samples they agree within their
    standard errors.
    """
    draw = np.random.default_rng(0)
    rows = draw.gamma(2, size=(400, 3)) * np.array([1, 10, 0.1])

    def f(z: np.ndarray) -> np.ndarray:
        return np.tanh(z[:, 0] - 2) + 0.1 * z[:, 1] * (z[:, 2] > 0.2)

    x = rows[:4]
    question = Question(f, x)
    answer = Lime(Quartiles(rows, 20_000, design="independent"))(question)
    assert answer.standard_error is not None
    for row in range(4):
        slow = weighted_fit(*slow_quartiles(rows, x[row], f, 20_000, draw))[1:]
        gap = np.abs(answer.values[row].numpy() - slow)
        assert (gap < 4 * math.sqrt(2) * answer.standard_error[row].numpy()).all()


def test_quartiles_and_instances_ask_each_point_once_for_each_target() -> None:
    rows, asked = np.random.default_rng(0).normal(size=(60, 3)), []
    w = np.array([[1.0, -1, 0], [0, 1, 1.0], [0.5, 0, -1]])

    def f(z: np.ndarray) -> np.ndarray:
        asked.append(len(z))
        return np.tanh(z @ w)

    for around in (Quartiles(rows, 64), Instances(rows, 5.0)):
        for target, most in ((Output(1), 1), (None, 3)):
            question = Question(f, rows[:20], target=target)
            assert question.prediction.shape == (20,)
            asked.clear()
            crowd = Lime(around)(question)
            assert sum(asked) <= most * 64 + 25
            for row in range(6):
                alone = Lime(around)(Question(f, rows[row : row + 1], target=target)).values
                torch.testing.assert_close(crowd.values[row : row + 1], alone, rtol=0, atol=1e-10)
    assert len(set(np.argmax(np.tanh(rows[:6] @ w), axis=1))) > 1


# --- drawn evenly


@pytest.mark.parametrize(
    ("around", "named"),
    [
        (lambda: CoinMasks(100, design="sobol"), "'orthogonal', 'independent'"),  # type: ignore[arg-type]
        (lambda: Gaussian(1.0, design="latin"), "'sobol'"),  # type: ignore[arg-type]
        (lambda: Quartiles(np.ones((4, 2)), design="latin"), "'sobol'"),  # type: ignore[arg-type]
    ],
)
def test_unknown_designs_are_refused(around: Callable[[], Neighbourhood], named: str) -> None:
    with pytest.raises(InputError, match=named):
        around()


def test_more_columns_than_sobol_points_have_are_refused() -> None:
    with pytest.raises(InputError, match="at most 21201 columns"):
        uniforms(4, 21202, np.random.default_rng(0), "sobol")


@pytest.mark.parametrize(("power", "columns"), [(2, 5), (3, 21), (4, 30)])
def test_orthogonal_arrays_hold_every_pair_of_levels_equally(power: int, columns: int) -> None:
    array = orthogonal_array(columns, power, np.random.default_rng(0))
    assert array.shape == (4**power, columns)
    for one, other in itertools.combinations(range(columns), 2):
        assert (
            np.bincount(4 * array[:, one] + array[:, other], minlength=16).tolist()
            == [4 ** (power - 2)] * 16
        )


def counts_of(levels: np.ndarray) -> np.ndarray:
    """How often each combination of the levels 0 to 3 of some columns is held."""
    columns = levels.shape[1]
    return np.bincount(levels @ 4 ** np.arange(columns), minlength=4**columns)


@pytest.mark.parametrize(
    ("power", "columns", "seed"),
    [(3, 6, 0), (3, 6, 1), (4, 10, 0), (4, 10, 1), (5, 24, 0), (5, 24, 1), (6, 60, 0)],
)
def test_orthogonal_arrays_hold_every_triple_of_levels_equally(
    power: int, columns: int, seed: int
) -> None:
    """Or what two columns do together would be taken for an effect of a third (Bush 1952)."""
    array = orthogonal_array(columns, power, np.random.default_rng(seed))
    triples = list(itertools.combinations(range(columns), 3))
    # Of very many triples, some thousands.
    for three in random.Random(0).sample(triples, min(len(triples), 4000)):
        assert (counts_of(array[:, three]) == 4 ** (power - 3)).all()


@pytest.mark.parametrize(
    ("power", "columns", "strength"),
    [(2, 2, 2), (3, 3, 3), (4, 4, 4), (4, 5, 4), (5, 5, 5), (5, 6, 5), (5, 8, 4)],
)
def test_few_columns_hold_every_combination_of_levels_equally(
    power: int, columns: int, strength: int
) -> None:
    for seed in range(10):
        array = orthogonal_array(columns, power, np.random.default_rng(seed))
        for some in itertools.combinations(range(columns), strength):
            assert (counts_of(array[:, some]) == 4 ** (power - strength)).all()


@pytest.mark.parametrize("place", [slice(0, 6), slice(15, 21)], ids=["first", "last"])
def test_no_column_is_spared_because_of_its_place(place: slice) -> None:
    """All 21 directions of 64 rows: of some 6 no three lie on a line, and these are any columns."""
    dependent = 0
    for seed in range(10):
        array = orthogonal_array(21, 3, np.random.default_rng(seed))[:, place]
        for three in itertools.combinations(range(6), 3):
            dependent += int((counts_of(array[:, three]) != 1).any())
    # Of all 1,330 triples 210 lie on a line, 16 %.
    assert 10 <= dependent <= 60


def test_uniforms_are_latin_hypercubes() -> None:
    draws, levels = uniforms(128, 5, np.random.default_rng(0), "orthogonal")
    assert levels is not None
    assert all(sorted((draws[:, j] * 128).astype(int)) == list(range(128)) for j in range(5))
    assert (np.floor(draws * 4) == levels).all()


def test_sobol_points_are_nets() -> None:
    """Scrambling keeps what the sequence is made for: each column fills 64ths, and each pair of
    columns its quarters.
    """
    draws, levels = uniforms(64, 5, np.random.default_rng(0), "sobol")
    assert levels is not None
    assert (levels == np.floor(draws * 4)).all()
    assert ((draws > 0) & (draws < 1)).all()
    assert all(sorted((column * 64).astype(int)) == list(range(64)) for column in draws.T)
    assert not np.array_equal(draws, uniforms(64, 5, np.random.default_rng(1), "sobol")[0])
    np.testing.assert_array_equal(uniforms(50, 5, np.random.default_rng(0), "sobol")[0], draws[:50])
    assert uniforms(1, 2, np.random.default_rng(0), "sobol")[0].shape == (1, 2)


@pytest.mark.parametrize(("rows", "columns"), [(64, 12), (512, 60), (1024, 100)])
def test_every_two_sobol_columns_hold_every_pair_of_quarters_equally(
    rows: int, columns: int
) -> None:
    _, levels = uniforms(rows, columns, np.random.default_rng(2), "sobol")
    assert levels is not None
    for one, other in itertools.combinations(range(columns), 2):
        pairs = np.bincount(4 * levels[:, one] + levels[:, other], minlength=16)
        assert pairs.tolist() == [rows // 16] * 16


@pytest.mark.parametrize(("rows", "columns"), [(64, 4), (256, 8), (512, 10), (1024, 14)])
def test_every_three_sobol_columns_hold_every_triple_of_quarters_equally(
    rows: int, columns: int
) -> None:
    _, levels = uniforms(rows, columns, np.random.default_rng(2), "sobol")
    assert levels is not None
    for three in itertools.combinations(range(columns), 3):
        assert (counts_of(levels[:, three]) == rows // 64).all()


def test_where_even_columns_end_others_follow() -> None:
    chosen = even_columns(30, 4)
    assert len(set(chosen.tolist())) == 30
    assert set(even_columns(3, 4).tolist()) <= set(chosen.tolist())


@pytest.mark.parametrize(
    "around", [Gaussian(0.7, 500), Quartiles(np.random.default_rng(0).normal(size=(300, 4)), 500)]
)
def test_sobol_points_leave_less_error_than_orthogonal_arrays_and_no_more_than_they_state(
    around: Gaussian,
) -> None:
    x = torch.tensor([[0.5, -1.0, 0.8, 0.3]], dtype=torch.float64)
    w = torch.tensor([1.0, -2.0, 0.5, 1.5], dtype=torch.float64)
    question = Question(
        lambda z: (z @ w).tanh() + z[:, 0] * z[:, 2] + z[:, 3].square() * z[:, 1], x
    )
    limit = Lime(replace(around, samples=1 << 17, design="sobol")).estimate(question, 10_000).values
    off, inside = {}, []
    for design in ("orthogonal", "sobol"):
        made = [Lime(replace(around, design=design)).estimate(question, seed) for seed in range(60)]
        off[design] = torch.stack([one.values - limit for one in made])
        inside += [
            (one.values - limit).abs() <= 1.96 * one.standard_error
            for one in made
            if design == "sobol"
        ]  # type: ignore[operator]
    ratio = off["sobol"].square().mean().sqrt() / off["orthogonal"].square().mean().sqrt()
    assert float(ratio) < 0.8
    assert float(torch.stack(inside).double().mean()) >= 0.95


@pytest.mark.parametrize(
    ("around", "least", "most"),
    [
        (CoinMasks(400, 0.4, "independent"), 0.90, 0.99),
        # Balanced draws have less error than they state: nothing from pairs of columns.
        (CoinMasks(400, 0.4, "orthogonal"), 0.99, 1.0),
        (SizeMasks(400, 0.4), 0.90, 0.99),
        (Gaussian(0.7, 400, design="independent"), 0.90, 0.99),
        (Gaussian(0.7, 400, design="orthogonal"), 0.95, 1.0),
    ],
    ids=repr,
)
def test_stated_intervals_cover_the_limit(
    around: CoinMasks | SizeMasks | Gaussian, least: float, most: float
) -> None:
    x = torch.tensor([[0.5, -1.0, 0.8, 0.3]], dtype=torch.float64)
    w = torch.tensor([1.0, -2.0, 0.5, 1.5], dtype=torch.float64)
    question = Question(
        lambda z: (z @ w).tanh() + z[:, 0] * z[:, 2] + z[:, 3].square() * z[:, 1], x
    )
    large = type(around)(**{**vars(around), "samples": 200_000})
    limit = Lime(large).estimate(question, 10_000).values
    hits = []
    for seed in range(200):
        made = Lime(around).estimate(question, seed)
        assert made.standard_error is not None
        hits.append(((made.values - limit).abs() <= 1.96 * made.standard_error).double())
    assert least <= float(torch.stack(hits).mean()) <= most


def test_the_stability_forecasts_how_repeats_agree() -> None:
    w = torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6, 0.5], dtype=torch.float64)
    question = Question(
        lambda z: (z @ w) + 4 * z.prod(dim=1).tanh() * z[:, 1],
        torch.ones(1, 6, dtype=torch.float64),
    )
    method = Lime(CoinMasks(60, 1.0, "independent"), keep=3)
    made = [method(question, seed=seed) for seed in range(100)]
    sets = [set(answer.values[0].nonzero().flatten().tolist()) for answer in made]
    agreed = np.mean(
        [len(one & other) / len(one | other) for one, other in itertools.combinations(sets, 2)]
    )
    forecast = np.mean([answer.facts["stability"][0] for answer in made])
    assert forecast == pytest.approx(agreed, abs=0.08)


def jaccard(sets: list[frozenset[int]]) -> float:
    return float(
        np.mean(
            [len(one & other) / len(one | other) for one, other in itertools.combinations(sets, 2)]
        )
    )


@pytest.mark.long
def test_balanced_draws_pick_the_same_columns_more_often_than_the_original() -> None:
    """A real table, the top five of 30 columns, eight repeats: balanced samples against the
    original's.
    """
    table = load_breast_cancer()
    rows, x = table.data[:450], table.data[450:458]
    forest = RandomForestClassifier(20, random_state=0).fit(rows, table.target[:450])

    def f(z: np.ndarray) -> np.ndarray:
        return np.asarray(forest.predict_proba(z)[:, 1])

    def agreed(chosen: Callable[[int], np.ndarray]) -> float:
        picked = [chosen(seed) for seed in range(8)]
        return float(
            np.mean(
                [jaccard([frozenset(one[row].tolist()) for one in picked]) for row in range(len(x))]
            )
        )

    def original(samples: int, seed: int) -> np.ndarray:
        made = [
            moments(*slow_quartiles(rows, one, f, samples, np.random.default_rng(seed)))
            for one in x
        ]
        return np.stack(
            [least_squares.forward_selection(each.gram, each.moment, 5)[0].numpy() for each in made]
        )

    def kept(values: Tensor) -> np.ndarray:
        return values.abs().topk(5, dim=1).indices.numpy()

    question = Question(f, x)
    balanced = agreed(
        lambda seed: kept(Lime(Quartiles(rows, 500), keep=5)(question, seed=seed).values)
    )
    instances = agreed(
        lambda seed: kept(Lime(Instances(rows, 1e6), keep=5)(question, seed=seed).values)
    )
    assert balanced > agreed(lambda seed: original(500, seed)) + 0.05
    assert instances == 1.0


# --- and the rest


def softmax_of(w: Tensor, rows: list[int]) -> Callable[[Tensor], Tensor]:
    """A model with an output for each column of w, that notes how many rows it is asked."""

    def f(z: Tensor) -> Tensor:
        rows.append(len(z))
        return (z @ w).softmax(dim=1)

    return f


W = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    "method",
    [
        Lime(CoinMasks(64)),
        Lime(CoinMasks(64), keep=2),
        Lime(CoinMasks(64, design="independent"), keep=2, selection="lasso"),
        Lime(SizeMasks(64), ridge=0.1),
        Lime(Gaussian(0.5, 64)),
        Lime(Quartiles(np.random.default_rng(0).normal(size=(60, 5)), 64), keep=2),
        Lime(Quartiles(np.random.default_rng(0).normal(size=(60, 5)), 64), proxy=True),
        Lime(Instances(np.random.default_rng(0).normal(size=(60, 5)), 5.0)),
    ],
    ids=lambda method: f"{type(method.neighbourhood).__name__}-{method.keep}-{method.proxy}",
)
def test_every_output_is_answered_as_if_it_were_asked_alone(method: Lime) -> None:
    f = softmax_of(W, [])
    x = torch.tensor([[1.0, 1, 1, 1, 1], [0.5, -1, 2, 0, 1]], dtype=torch.float64)
    answers = method.for_outputs(Question(f, x, target=0), seed=3)
    assert len(answers) == 3
    for output, answer in enumerate(answers):
        alone = method(Question(f, x, target=output), seed=3)
        assert answer.standard_error is not None
        assert alone.standard_error is not None
        torch.testing.assert_close(answer.values, alone.values, rtol=0, atol=1e-12)
        torch.testing.assert_close(answer.standard_error, alone.standard_error, rtol=0, atol=1e-12)
        torch.testing.assert_close(answer.prediction, alone.prediction, rtol=0, atol=1e-12)
        torch.testing.assert_close(answer.base, alone.base, rtol=0, atol=1e-12)
        notes = ("r2", "intercept", "stability") if method.keep else ("r2", "intercept")
        for name in notes:
            np.testing.assert_allclose(answer.facts[name], alone.facts[name], rtol=0, atol=1e-12)
        assert ("stability" in answer.facts) == ("stability" in alone.facts)
        # A function that counts its calls in a list is another one after each call.
        assert {**answer.provenance, "question": ""} == {**alone.provenance, "question": ""}


@pytest.mark.parametrize("around", [CoinMasks(64), SizeMasks(64)], ids=repr)
def test_all_outputs_share_the_evaluations_of_masks(around: CoinMasks | SizeMasks) -> None:
    rows: list[int] = []
    question = Question(softmax_of(W, rows), torch.ones(2, 5, dtype=torch.float64), target=0)
    for method in (Lime(around), Lime(around, keep=2)):
        rows.clear()
        answers = method.for_outputs(question, seed=3)
        # Of two inputs: 64 masks each, themselves, and the one row that removal leaves of both.
        assert [answer.facts["forwards"] for answer in answers] == [2 * 64 + 3] * 3
        assert sum(rows) <= 2 * 64 + 8
        assert [answer.facts["outputs"] for answer in answers] == [3] * 3


def test_some_outputs_are_answered_in_the_order_asked_for() -> None:
    f, x = softmax_of(W, []), torch.ones(2, 5, dtype=torch.float64)
    method = Lime(CoinMasks(64), keep=2)
    every = method.for_outputs(Question(f, x), seed=3)
    some = method.for_outputs(Question(f, x), (2, 0), seed=3)
    assert [torch.equal(a.values, b.values) for a, b in zip(some, (every[2], every[0]))] == [
        True,
        True,
    ]


def test_parts_of_inputs_do_not_change_the_answers_for_outputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows: list[int] = []
    question = Question(softmax_of(W, rows), x, target=0)
    for method in (Lime(CoinMasks(50)), Lime(CoinMasks(50), keep=2)):
        whole = method.for_outputs(question)
        monkeypatch.setattr("assay.methods.lime.lime._FIT_CELLS", 600)
        rows.clear()
        pieces = method.for_outputs(question)
        monkeypatch.undo()
        assert sum(rows) <= 7 * 50 + 24
        for one, other in zip(pieces, whole):
            torch.testing.assert_close(one.values, other.values, rtol=0, atol=1e-10)
            np.testing.assert_allclose(one.facts["r2"], other.facts["r2"], rtol=0, atol=1e-10)


def test_too_few_samples_are_refused_for_all_outputs_too() -> None:
    question = Question(softmax_of(W, []), torch.ones(2, 5, dtype=torch.float64))
    with pytest.raises(InputError, match="at least 7 samples"):
        Lime(CoinMasks(4)).for_outputs(question)


def test_shards_of_rows_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 4))
    question = Question(lambda z: np.tanh(z[:, 0] * z[:, 1]) + z[:, 2], rows[:10])
    for method in (
        Lime(CoinMasks(50), keep=2),
        Lime(Quartiles(rows, 50), keep=2),
        Lime(Gaussian(0.3, 50)),
    ):
        whole = method(question)
        monkeypatch.setattr("assay.methods.lime.lime._FIT_CELLS", 400)
        pieces = method(question)
        monkeypatch.undo()
        torch.testing.assert_close(pieces.values, whole.values, rtol=0, atol=1e-10)
        np.testing.assert_allclose(pieces.facts["r2"], whole.facts["r2"], rtol=0, atol=1e-10)


def test_groups_of_columns_are_masked_together() -> None:
    question = Question(
        lambda z: z.sum(dim=1),
        torch.ones(1, 4, dtype=torch.float64),
        features=Labels(torch.tensor([0, 0, 1, 1])),
    )
    answer = Lime()(question)
    torch.testing.assert_close(
        answer.values, torch.tensor([[2.0, 2.0]], dtype=torch.float64), rtol=0, atol=1e-10
    )


TABLE = np.random.default_rng(0).normal(size=(30, 4))
FLOAT = Question(lambda z: z.sum(axis=1), TABLE[:2])
GROUPED = Question(
    lambda z: z.sum(dim=1), torch.ones(1, 4), features=Labels(torch.tensor([0, 0, 1, 1]))
)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Lime(keep=0), InputError, "at least one column"),
        (lambda: Lime(ridge=-1.0), InputError, "ridge of at least 0"),
        (lambda: Lime(selection="best"), InputError, "'lasso'"),  # type: ignore[arg-type]
        (lambda: Lime(1000), KindError, "neighbourhood"),  # type: ignore[arg-type]
        (lambda: CoinMasks(1), InputError, "at least two samples"),
        (lambda: CoinMasks(width=0.0), InputError, "width above 0"),
        (lambda: Gaussian(scale=0.0), InputError, "scale above 0"),
        (lambda: Lime(CoinMasks(4))(FLOAT), InputError, "at least 6 samples"),
        (lambda: Lime(Gaussian((1.0, 2.0)))(FLOAT), InputError, "one for each column"),
        (lambda: Lime(Gaussian(columns=(4,)))(FLOAT), InputError, "columns out of 4"),
        (lambda: Lime(Gaussian())(GROUPED), InputError, "feature of its own"),
        (
            lambda: Lime(Gaussian())(
                Question(lambda z: z.sum(dim=1).float(), torch.ones(1, 4).long())
            ),
            KindError,
            "floating",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused(
    make: Callable[[], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make()
