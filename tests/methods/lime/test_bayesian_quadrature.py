"""LIME by way of a Gaussian process: every integral against quadrature, the whole against the
process written out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

from assay import CoinMasks, Lime, Output, Quartiles, Question
from assay.answers.attribution import Kind
from assay.errors import KindError
from assay.methods.base import Axiom
from assay.methods.lime import bayesian_quadrature
from assay.methods.lime.bayesian_quadrature import (
    ColumnDraws,
    Posterior,
    Process,
    column_draws,
    covariance,
    double_integral,
    fit_process,
    posterior,
)
from assay.methods.lime.bayesian_quadrature import integral as interval_integral
from assay.methods.lime.neighbourhood import Cells
from assay.numerics.designs import Draw
from assay.numerics.gaussian_process import Kernel, negative_log_likelihood

NODES, SHARES = np.polynomial.legendre.leggauss(8)


def integral(
    f: Callable[[np.ndarray], np.ndarray], low: float, high: float, kinks: np.ndarray
) -> float:
    """Gauss-Legendre between all kinks: exact for what is a polynomial in between."""
    ends = np.unique(np.concatenate([[low, high], kinks[(kinks > low) & (kinks < high)]]))
    halves, middles = np.diff(ends) / 2, (ends[1:] + ends[:-1]) / 2
    return float(
        sum(half * (SHARES @ f(middle + half * NODES)) for half, middle in zip(halves, middles))
    )


def test_the_covariance_has_no_mean_and_mean_variance_one() -> None:
    for v in (0.0, 0.13, 0.5, 0.97):
        assert integral(
            lambda u, v=v: covariance(u, np.array(v)), 0, 1, np.array([v])
        ) == pytest.approx(0, abs=1e-14)
    assert integral(lambda u: covariance(u, u), 0, 1, np.array([])) == pytest.approx(1, abs=1e-14)


def test_the_covariance_is_that_of_a_brownian_path_less_its_mean() -> None:
    """With B(u) free at both ends: Cov(B(u), B(v)) - its means over u and v + the mean over both,
    and a free slope's line.
    """
    u = (np.arange(2000) + 0.5) / 2000
    path = np.minimum(u[:, None], u[None])
    centred = path - path.mean(0) - path.mean(1)[:, None] + path.mean()
    np.testing.assert_allclose(covariance(u[:, None], u[None]), 6 * centred, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.25), (0.25, 0.75), (0.6, 1.0), (0.0, 1.0)])
def test_integrals_over_a_cell_are_those_of_quadrature(low: float, high: float) -> None:
    for v in (0.0, 0.2, 0.5, 0.81, 1.0):
        slow = integral(lambda u, v=v: covariance(u, np.array(v)), low, high, np.array([v]))
        fast = interval_integral(np.array(low), np.array(high), np.array(v))
        assert float(fast) == pytest.approx(slow, abs=1e-14)
    for start, stop in ((0.0, 0.25), (0.5, 0.6), (0.0, 1.0), (low, high)):
        kinks = np.array([low, high])
        twice = integral(
            lambda v: interval_integral(np.array(low), np.array(high), v), start, stop, kinks
        )
        fast = double_integral(*map(np.array, (low, high, start, stop)))
        assert float(fast) == pytest.approx(twice, abs=1e-14)


def example(seed: int = 0, draws: int = 9, columns: int = 2) -> tuple[Process, Cells, np.ndarray]:
    """Draws of which some share their value with all of their bin, as those of whole-numbered
    columns do.
    """
    draw = np.random.default_rng(seed)
    low, u = draw.choice([0.0, 0.25, 0.5], size=(3, columns)), draw.random((draws, columns))
    wide = u < 0.5
    start, stop = (
        np.where(wide, np.floor(4 * u) / 4, u),
        np.where(wide, np.floor(4 * u) / 4 + 0.25, u),
    )
    cells = Cells(start, stop, low, low + 0.25, 0.4)
    process = Process(
        column_draws(cells, slice(None)),
        draw.uniform(0.5, 1, columns),
        draw.uniform(0.1, 0.5, columns),
        0.05,
    )
    return process, cells, draw.normal(size=draws)


def slow_between(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The mean covariance of two stretches, by quadrature where they are more than a point."""

    def at(u: np.ndarray) -> np.ndarray:
        if other[0] == other[1]:
            return covariance(u, np.array(other[0]))
        return interval_integral(np.array(other[0]), np.array(other[1]), u) / (other[1] - other[0])

    kinks = np.array(other)
    return (
        float(at(np.array(one[0])))
        if one[0] == one[1]
        else integral(at, *one, kinks) / (one[1] - one[0])
    )


def test_the_covariance_of_stretches_is_the_mean_over_them() -> None:
    process, cells, _ = example()
    column = process.columns[0]
    assert 0 < column.is_interval.sum() < len(column.is_interval)
    ends = list(zip(cells.start[:, 0], cells.stop[:, 0]))
    slow = [[slow_between(one, other) for other in ends] for one in ends]
    np.testing.assert_allclose(column.covariance(column), slow, atol=1e-14)
    some = ColumnDraws(column.start[:4], column.stop[:4])
    np.testing.assert_allclose(some.covariance(column), np.array(slow)[:4], atol=1e-14)
    assert ColumnDraws(column.start[:0], column.stop[:0]).covariance(column).shape == (0, 9)


def law(cells: Cells, row: int, column: int) -> Callable[[np.ndarray], np.ndarray]:
    """The weighted density of one column."""
    low, high = cells.low[row, column], cells.high[row, column]
    return lambda u: np.where((u >= low) & (u < high), 1.0, cells.tilt) / cells.mass[row, column]


def test_moments_of_the_process_are_integrals_over_its_posterior_mean() -> None:
    """The slow twin: E[(z_j - E z_j) k(u, t_i)] by quadrature over both columns, draw by draw."""
    process, cells, _ = example()
    for row in range(3):
        carried, whole = process.kernel_means(cells, row)
        for at in range(9):
            one: list[tuple[float, float]] = []
            for column in range(2):
                low, high = cells.low[row, column], cells.high[row, column]
                told = cells.start[at, column], cells.stop[at, column]
                kinks = np.array([*told, low, high])

                def weighted(
                    u: np.ndarray,
                    told: tuple[float, float] = told,
                    column: int = column,
                    row: int = row,
                ) -> np.ndarray:
                    r = process.relevance[column] / process.scale[column]
                    k = [slow_between((v, v), told) for v in u]
                    return law(cells, row, column)(u) * (1 + r * np.array(k))

                plain, inside = (
                    integral(weighted, 0, 1, kinks),
                    integral(weighted, low, high, kinks),
                )
                share = integral(law(cells, row, column), low, high, kinks)
                one.append((plain, inside - share * plain))
            assert whole[at] == pytest.approx(one[0][0] * one[1][0], abs=1e-12)
            np.testing.assert_allclose(
                carried[at], [one[0][1] * one[1][0], one[1][1] * one[0][0]], atol=1e-12
            )


def test_the_variance_before_any_data_is_that_of_the_integrals() -> None:
    """The moments' variance is the moment of what they are of every point: averaged over many
    points of the law.
    """
    process, cells, _ = example()
    points = np.random.default_rng(1).random((200_000, 2))
    seen = Process(
        tuple(ColumnDraws(u, u) for u in points.T), process.scale, process.relevance, 0.0
    )
    for row in range(3):
        carried, _ = seen.kernel_means(cells, row)
        inside = (points >= cells.low[row]) & (points < cells.high[row])
        weight = np.prod(np.where(inside, 1.0, cells.tilt) / cells.mass[row], axis=1, keepdims=True)
        expected = np.mean(weight * (inside - cells.inside[row]) * carried, axis=0)
        np.testing.assert_allclose(process.prior_variance(cells)[row], expected, rtol=0.02)


def points(draws: np.ndarray, low: float = 0.25, high: float = 0.5, rows: int = 2) -> Cells:
    """Cells of rows in one bin, drawn at points."""
    ends = (np.full((rows, draws.shape[1]), end) for end in (low, high))
    return Cells(draws, draws, *ends, 0.7)


def test_the_likelihood_falls_as_its_slope_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finite differences of the likelihood against the slope that the search is told."""
    _, cells, answers = example(2, draws=12)
    asked: list[Kernel] = []

    def caught(kernel: Kernel, *_: object) -> tuple[np.ndarray, float]:
        asked.append(kernel)
        return np.array([0.3, 0.6]), 0.1

    monkeypatch.setattr(bayesian_quadrature, "maximum_a_posteriori", caught)
    process = fit_process(cells, answers)
    at, step = np.array([0.3, 0.6, 0.05]), 1e-6 * np.eye(3)

    def value(point: np.ndarray) -> float:
        return negative_log_likelihood(asked[0](point[:2])[0], float(point[2]), answers)[0]

    product, pull = asked[0](at[:2])
    np.testing.assert_allclose(product, process.covariance(process.columns), atol=1e-14)
    assert product.min() >= 0
    slope = negative_log_likelihood(product, 0.05, answers)[1]
    slopes = [(value(at + s) - value(at - s)) / 2e-6 for s in step]
    np.testing.assert_allclose([*pull(slope), np.trace(slope)], slopes, atol=1e-10)


def test_covariances_are_never_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even of a rare value that the draws met less often than its share."""
    asked: list[Kernel] = []
    monkeypatch.setattr(
        bayesian_quadrature,
        "maximum_a_posteriori",
        lambda kernel, *_: (asked.append(kernel), (np.array([0.5]), 0.1))[1],
    )
    start, stop = np.array([[0.0]] * 39 + [[0.9]]), np.array([[0.9]] * 39 + [[1.0]])
    fit_process(
        Cells(start, stop, np.zeros((1, 1)), np.full((1, 1), 0.9), 0.7),
        np.random.default_rng(0).normal(size=40),
    )
    assert asked[0](np.array([1.0]))[0].min() >= -1e-12


def test_settings_are_more_probable_than_those_beside_them() -> None:
    draws = np.random.default_rng(3).random((80, 3))
    answers = np.sin(6 * draws[:, 0]) + draws[:, 1] * (draws[:, 0] > 0.5)
    process = fit_process(points(draws), (answers - answers.mean()) / answers.std())
    assert process.relevance[0] > process.relevance[1] > 3 * process.relevance[2]
    assert process.noise < 0.05


def squared_surprise(covariance: np.ndarray, answers: np.ndarray, left: int) -> float:
    """By how many standard deviations the answer that is left out differs from what the others tell
    of it, squared.
    """
    others = np.arange(len(answers)) != left
    across = np.linalg.solve(covariance[others][:, others], covariance[others, left])
    told, doubt = (
        across @ answers[others],
        covariance[left, left] - across @ covariance[others, left],
    )
    return float((answers[left] - told) ** 2 / doubt)


def parts(after: Posterior) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return (
        after.moment.numpy(),
        after.variance.numpy(),
        after.mean.numpy(),
        after.residuals.numpy(),
    )


def test_what_is_known_is_the_posterior_written_out() -> None:
    """Mean and variance of the moments by one dense solve, on settings fitted anew."""
    draws = np.random.default_rng(4).random((60, 3))
    cells, answers = points(draws), 3 + np.sin(5 * draws[:, 0]) + draws[:, 1] * draws[:, 2]
    moment, variance, mean, missed = parts(posterior(cells, answers))
    size = answers.std()
    scaled = (answers - answers.mean()) / size
    process = fit_process(cells, scaled)
    noisy = process.covariance(process.columns) + (process.noise + 1e-8) * np.eye(60)
    carried, whole = process.kernel_means(cells, 0)
    weights = np.linalg.solve(noisy, scaled)
    np.testing.assert_allclose(moment[0], size * carried.T @ weights, atol=1e-9)
    assert mean[0] == pytest.approx(answers.mean() + size * whole @ weights, abs=1e-9)
    power = size**2 * np.mean([squared_surprise(noisy, scaled, left) for left in range(60)])
    explained = np.einsum("md,md->d", carried, np.linalg.solve(noisy, carried))
    np.testing.assert_allclose(
        variance[0], power * (process.prior_variance(cells)[0] - explained), atol=1e-10
    )
    fitted_values = answers.mean() + size * process.covariance(process.columns) @ weights
    np.testing.assert_allclose(missed[0], answers - fitted_values, atol=1e-10)


def test_draws_that_the_process_is_not_told_correct_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bayesian_quadrature, "_CONDITIONING_DRAWS", 40)
    draws = np.random.default_rng(5).random((100, 2))
    cells, answers = points(draws, 0.0, 0.5, rows=1), np.sin(5 * draws[:, 0]) * draws[:, 1]
    missed = posterior(cells, answers).residuals[0].numpy()
    told = answers[:40]
    process = fit_process(cells, (told - told.mean()) / told.std())
    noisy = process.covariance(process.columns) + (process.noise + 1e-8) * np.eye(40)
    every = process.covariance(column_draws(cells, slice(None)))
    guess = told.mean() + every @ np.linalg.solve(noisy, told - told.mean())
    np.testing.assert_allclose(missed, answers - guess, atol=1e-10)


# --- the method


ROWS = np.random.default_rng(0).normal(size=(300, 5))


def curved(z: np.ndarray) -> np.ndarray:
    return np.asarray(
        np.tanh(z[:, 0] + z[:, 1]) + z[:, 2] * (z[:, 3] > 0) + 0.3 * np.sin(9 * z[:, 1])
    )


def test_it_estimates_the_surrogate_that_draws_alone_estimate() -> None:
    question = Question(curved, ROWS[:3])
    limit = Lime(Quartiles(ROWS, 200_000))(question)
    near = Lime(Quartiles(ROWS, 1500), proxy=True)(question)
    assert near.standard_error is not None
    assert bool(((near.values - limit.values).abs() <= 4 * near.standard_error + 0.003).all())
    np.testing.assert_allclose(near.facts["intercept"], limit.facts["intercept"], atol=0.05)
    np.testing.assert_allclose(near.facts["r2"], limit.facts["r2"], atol=0.1)


def test_what_the_process_misses_is_added_from_the_draws() -> None:
    """The whole surrogate of a rough model written out: the process's part, and the weighted
    moments of the rest.
    """
    question = Question(lambda z: np.sin(1e6 * z.sum(axis=1)) + z[:, 0], ROWS[:2])
    around = Quartiles(ROWS, 90, design="sobol")
    sample, answer = around.sample(question, 7), Lime(around, proxy=True)(question, seed=7)
    assert sample.cells is not None
    moment, variance, mean, missed = parts(posterior(sample.cells, sample.answers[0, 1:].numpy()))
    for row in range(2):
        z, w = sample.design[row, 1:].numpy(), sample.weights[row, 1:].numpy()
        w, rest = w / w.sum(), missed[row]
        scores = (w * (rest - w @ rest))[:, None] * (z - w @ z)
        spread = sample.cells.inside[row] * (1 - sample.cells.inside[row])
        slopes = (moment[row] + scores.sum(axis=0)) / spread
        np.testing.assert_allclose(answer.values[row], slopes, rtol=0, atol=1e-10)
        errors = np.sqrt(variance[row] + (scores**2).sum(axis=0)) / spread
        assert answer.standard_error is not None
        np.testing.assert_allclose(answer.standard_error[row], errors, rtol=0, atol=1e-10)
        level = mean[row] + w @ rest - sample.cells.inside[row] @ slopes
        assert answer.facts["intercept"][row] == pytest.approx(level, abs=1e-10)


@pytest.mark.long
@pytest.mark.parametrize("rough", [False, True], ids=["structure", "noise"])
def test_stated_intervals_cover_the_limit(rough: bool) -> None:
    """A model with structure, and one without any: a hash of the input, which no process can learn."""

    def f(z: np.ndarray) -> np.ndarray:
        return np.sin(1e6 * z.sum(axis=1)) + 0.5 * z[:, 0] if rough else curved(z)

    question = Question(f, ROWS[:4])
    limit = Lime(Quartiles(ROWS, 400_000)).estimate(question, 10_000).values
    hits = []
    for seed in range(200):
        made = Lime(Quartiles(ROWS, 100), proxy=True).estimate(question, seed)
        assert made.standard_error is not None
        hits.append(((made.values - limit).abs() <= 1.96 * made.standard_error).double())
    assert 0.90 <= float(torch.stack(hits).mean()) <= 0.99


def test_a_tenth_of_the_draws_picks_the_same_columns_as_often_as_all() -> None:
    """Breast cancer, the top five of 30 columns: 100 draws by way of the process, 1,000 without it;
    both find the limit's.
    """
    table = load_breast_cancer()
    forest = RandomForestClassifier(100, min_samples_leaf=3, random_state=0).fit(
        table.data[:450], table.target[:450]
    )
    question = Question(lambda z: forest.predict_proba(z)[:, 1], table.data[450:458])

    def picked(method: Lime, seed: int) -> list[frozenset[int]]:
        return [
            frozenset(row.nonzero().flatten().tolist())
            for row in method(question, seed=seed).values
        ]

    def agreed(method: Lime) -> float:
        runs = [picked(method, seed) for seed in range(8)]
        pairs = [pair for row in zip(*runs) for pair in itertools.combinations(row, 2)]
        return float(np.mean([len(one & other) / len(one | other) for one, other in pairs]))

    few = Quartiles(table.data[:450], 100)
    many = Quartiles(table.data[:450], 1000, design="independent")
    assert (
        agreed(Lime(few, keep=5, proxy=True))
        >= agreed(Lime(many, keep=5))
        > agreed(Lime(few, keep=5)) + 0.2
    )


def test_the_stability_forecasts_how_repeats_agree() -> None:
    question = Question(curved, ROWS[:4])
    made = [
        Lime(Quartiles(ROWS, 80), keep=2, proxy=True)(question, seed=seed) for seed in range(20)
    ]
    agreed = []
    for row in range(4):
        sets = [frozenset(one.values[row].nonzero().flatten().tolist()) for one in made]
        agreed += [len(a & b) / len(a | b) for a, b in itertools.combinations(sets, 2)]
    assert np.mean([one.facts["stability"] for one in made]) == pytest.approx(
        np.mean(agreed), abs=0.12
    )


def test_a_proxy_asks_at_sobol_points_unless_told_otherwise() -> None:
    question = Question(curved, ROWS[:3])

    def made(design: Draw | None) -> torch.Tensor:
        return Lime(Quartiles(ROWS, 64, design=design), proxy=True)(question).values

    assert torch.equal(made(None), made("sobol"))
    assert not torch.equal(made(None), made("orthogonal"))


@pytest.mark.parametrize("selection", ["forward", "lasso", "highest"])
def test_kept_columns_have_the_coefficients_of_all(selection: str) -> None:
    """Columns are independent under the weighted law: leaving some out changes nothing in the
    others.
    """
    question = Question(curved, ROWS[:3])
    whole = Lime(Quartiles(ROWS, 100), proxy=True)(question)
    some = Lime(Quartiles(ROWS, 100), keep=2, selection=selection, proxy=True)(question)  # type: ignore[arg-type]
    kept = some.values != 0
    assert kept.sum(dim=1).tolist() == [2, 2, 2]
    torch.testing.assert_close(some.values[kept], whole.values[kept], rtol=0, atol=1e-12)
    assert some.standard_error is not None
    assert whole.standard_error is not None
    torch.testing.assert_close(
        some.standard_error[kept], whole.standard_error[kept], rtol=0, atol=1e-12
    )


def test_rows_shards_and_targets_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(z: np.ndarray) -> np.ndarray:
        return np.stack([curved(z), z[:, 0] * z[:, 4]], axis=1)

    targets = torch.tensor([0, 1, 0, 1, 1, 0])
    question = Question(two, ROWS[:6], target=Output(targets))
    method = Lime(Quartiles(ROWS, 80), proxy=True)
    whole = method(question, seed=3)
    for row in range(6):
        alone = method(Question(two, ROWS[row : row + 1], target=Output(int(targets[row]))), seed=3)
        torch.testing.assert_close(whole.values[row : row + 1], alone.values, rtol=0, atol=1e-9)
    monkeypatch.setattr("assay.methods.lime.lime._FIT_CELLS", 800)
    torch.testing.assert_close(method(question, seed=3).values, whole.values, rtol=0, atol=1e-9)
    assert not torch.equal(method(question, seed=4).values, whole.values)


def test_columns_of_a_few_values_are_learnt_as_such() -> None:
    """Yes-or-no columns: a handful of draws tells all of an additive model, however the uniforms
    fall.
    """
    rows = (np.random.default_rng(1).random((400, 8)) < 0.3).astype(float)
    question = Question(lambda z: z @ np.arange(8.0), rows[:3])
    answer = Lime(Quartiles(rows, 60), proxy=True)(question)
    np.testing.assert_allclose(
        answer.values, np.where(rows[:3] > 0, 1, -1) * np.arange(8.0), rtol=0, atol=1e-3
    )


def test_a_model_that_says_one_thing_has_a_surrogate_of_zeros() -> None:
    answer = Lime(Quartiles(ROWS, 50), proxy=True)(
        Question(lambda z: np.full(len(z), 2.0), ROWS[:2])
    )
    assert answer.values.abs().max() == 0
    assert answer.facts["intercept"] == [2.0, 2.0]


def test_a_column_with_one_value_gets_nothing() -> None:
    rows = ROWS.copy()
    rows[:, 2] = 1.0
    answer = Lime(Quartiles(rows, 60), proxy=True)(Question(curved, rows[:2]))
    assert answer.values[:, 2].tolist() == [0.0, 0.0]
    assert bool(torch.isfinite(answer.values).all())


def test_it_promises_and_refuses_what_it_must() -> None:
    assert Axiom.LINEARITY in Lime().axioms
    assert Axiom.LINEARITY not in Lime(Quartiles(ROWS), proxy=True).axioms
    assert Lime(Quartiles(ROWS), proxy=True).kind is Kind.CONTRIBUTION
    with pytest.raises(KindError, match="Expected Quartiles"):
        Lime(CoinMasks(), proxy=True)
