"""What is absent given what is present, against the conditional normal and against counting."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

import assay
from assay.errors import InputError, KindError
from assay.removals.conditional import _KernelConditional
from toys import randn


def correlated(n: int = 3000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    root = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.5, 1.1]], dtype=torch.float64)
    return torch.randn(n, 3, dtype=torch.float64, generator=generator) @ root.T + torch.tensor(
        [1.0, -2.0, 0.5]
    )


BETA = torch.tensor([1.0, -2.0, 0.7], dtype=torch.float64)


def conditional_mean(x: np.ndarray, present: list[int], rows: np.ndarray) -> np.ndarray:
    """E[X | x_S] of a normal distribution, from the block formula."""
    mean, covariance = rows.mean(0), np.cov(rows.T)
    out = x.copy()
    absent = [i for i in range(len(x)) if i not in present]
    out[absent] = mean[absent]
    if present and absent:
        inside = covariance[np.ix_(present, present)]
        out[absent] += covariance[np.ix_(absent, present)] @ np.linalg.solve(
            inside, x[present] - mean[present]
        )
    return out


def test_a_linear_model_under_the_gaussian_is_exact_for_every_coalition() -> None:
    rows, x = correlated(), torch.tensor([[2.0, 1.0, -1.0]], dtype=torch.float64)
    question = assay.Question(lambda t: t @ BETA, x, removal=assay.Conditional(rows, draws=16))
    masks = torch.tensor(list(itertools.product([False, True], repeat=3)))
    values = question.value(masks)[0]
    for mask, value in zip(masks, values):
        present = mask.nonzero().flatten().tolist()
        expected = conditional_mean(x[0].numpy(), present, rows.numpy()) @ BETA.numpy()
        assert float(value) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("scale", [1.0, 1e9])
def test_columns_that_repeat_one_another_say_what_they_say_once(scale: float) -> None:
    """A copy of a column, in other units, and a sum of two: they add nothing to what is known."""
    rows, x = correlated(), torch.tensor([[2.0, 1.0, -1.0]], dtype=torch.float64)
    more = torch.cat([rows, rows[:, :1] * scale, rows[:, 1:2] + rows[:, 2:]], dim=1)
    at = torch.cat([x, x[:, :1] * scale, x[:, 1:2] + x[:, 2:]], dim=1)
    question = assay.Question(
        lambda t: t[:, :3] @ BETA, at, removal=assay.Conditional(more, draws=16)
    )
    masks = torch.tensor(list(itertools.product([False, True], repeat=5)))
    for mask, value in zip(masks, question.value(masks)[0]):
        known = {i for i in range(3) if mask[i]} | ({0} if mask[3] else set())
        if mask[4] and ({1, 2} & known):
            known |= {1, 2}
        if mask[4] and not {1, 2} <= known:
            continue  # the sum alone tells of both: not one of the three columns' own conditionals
        expected = conditional_mean(x[0].numpy(), sorted(known), rows.numpy()) @ BETA.numpy()
        assert float(value) == pytest.approx(expected, abs=1e-10)


def test_variances_are_those_of_the_conditional_normal() -> None:
    rows, x = correlated(), torch.tensor([[2.0, 1.0, -1.0]], dtype=torch.float64)
    question = assay.Question(
        lambda t: t[:, 2] ** 2, x, removal=assay.Conditional(rows, draws=4096)
    )
    value = float(question.value(torch.tensor([[True, True, False]])))
    covariance = np.cov(rows.numpy().T)
    mean = conditional_mean(x[0].numpy(), [0, 1], rows.numpy())[2]
    left = covariance[2, 2] - covariance[2, :2] @ np.linalg.solve(
        covariance[:2, :2], covariance[:2, 2]
    )
    assert value == pytest.approx(mean**2 + left, rel=5e-3)


def test_agrees_with_the_closed_form_of_correlated_linear_shap() -> None:
    rows, x = correlated(), torch.tensor([[2.0, 1.0, -1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    answer = assay.ExactShapley()(
        assay.Question(lambda t: t @ BETA, x, removal=assay.Conditional(rows, draws=2))
    )
    table = {
        (i, s): conditional_mean(row, list(s), rows.numpy()) @ BETA.numpy()
        for i, row in enumerate(x.numpy())
        for r in range(4)
        for s in itertools.combinations(range(3), r)
    }
    for i, j in itertools.product(range(2), range(3)):
        orders = list(itertools.permutations(range(3)))
        gains = []
        for order in orders:
            before = tuple(sorted(order[: order.index(j)]))
            gains.append(table[i, tuple(sorted((*before, j)))] - table[i, before])
        assert float(answer.values[i, j]) == pytest.approx(np.mean(gains), abs=1e-10)


def test_the_kernel_finds_the_rows_that_agree_on_what_is_present() -> None:
    rows = torch.tensor([[0.0, 10.0], [0.0, 20.0], [1.0, 30.0], [1.0, 50.0]])
    removal = assay.Conditional(rows, "kernel", draws=8, width=0.01)
    question = assay.Question(
        lambda t: t[:, 1], torch.tensor([[0.0, -1.0], [1.0, -1.0]]), removal=removal
    )
    torch.testing.assert_close(
        question.value(torch.tensor([[True, False]])), torch.tensor([[15.0], [40.0]])
    )
    torch.testing.assert_close(question.base, torch.tensor([27.5, 27.5]))


def test_two_categories_are_one_apart_whatever_their_order() -> None:
    """Weights by definition: 1 for the input's own level, exp(-1 / 2) for each of the others."""
    towns = pd.Categorical(list("a" * 20 + "b" * 20 + "c" * 20))
    rows = pd.DataFrame({"town": towns, "z": np.repeat([0.0, 1.0, 10.0], 20)})
    removal = assay.Conditional(rows, "kernel", draws=3000, width=1.0)
    inputs = pd.DataFrame({"town": pd.Categorical(list("abc")), "z": 5.0})
    question = assay.Question(lambda frame: frame["z"].to_numpy(), inputs, removal=removal)
    found = question.value(torch.tensor([[True, False]]))[:, 0]
    other = np.exp(-0.5)
    values = np.array([0.0, 1.0, 10.0])
    for level in range(3):
        weights = np.where(np.arange(3) == level, 1.0, other)
        expected = float(weights @ values / weights.sum())
        # Systematic resampling may be off by one draw at each of the two borders between levels.
        assert float(found[level]) == pytest.approx(expected, abs=10 * 2 / 3000)


def test_answers_do_not_depend_on_the_chunk_or_the_crowd() -> None:
    rows, x = correlated(50), correlated(5)
    masks = torch.tensor(list(itertools.product([False, True], repeat=3)))
    for kind in ("gaussian", "kernel"):
        removal = assay.Conditional(rows, kind, draws=6)
        model = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
        ).double()
        values = [
            assay.Question(assay.wrap(model, batch_size=size), x, removal=removal).value(masks)
            for size in (1, 7, 1000)
        ]
        torch.testing.assert_close(values[0], values[2], atol=1e-12, rtol=0)
        torch.testing.assert_close(values[1], values[2], atol=1e-12, rtol=0)
        alone = assay.Question(model, x[2:3], removal=removal).value(masks)
        torch.testing.assert_close(alone[0], values[2][2], atol=1e-12, rtol=0)


def test_bad_settings_and_masks_are_refused() -> None:
    rows, x = correlated(50), correlated(2)
    with pytest.raises(InputError, match="more rows"):
        assay.Question(lambda t: t @ BETA, x, removal=assay.Conditional(rows[:3]))
    with pytest.raises(InputError, match="kind"):
        assay.Conditional(rows, kind="copula")
    with pytest.raises(KindError, match="bool"):
        assay.Question(lambda t: t @ BETA, x, removal=assay.Conditional(rows)).value(
            torch.full((1, 3), 0.5)
        )
    with pytest.raises(InputError, match="one replacement"):
        assay.IntegratedGradients()(
            assay.Question(lambda t: t @ BETA, x, removal=assay.Conditional(rows))
        )


@pytest.mark.parametrize("kind", ["gaussian", "kernel"])
def test_what_nobody_owns_tells_of_what_is_absent_also_in_the_base(kind: str) -> None:
    rows = randn(500, 3, seed=1, dtype=torch.float64)
    rows[:, 1] += 0.9 * rows[:, 0]
    x = torch.tensor([[2.0, 1.0, -1.0], [-1.0, 0.5, 0.0]], dtype=torch.float64)
    asked = assay.Question(
        lambda z: z[:, 0] + z[:, 1] * z[:, 2] + z[:, 1],
        x,
        features=assay.Labels(torch.tensor([-1, 0, 1])),
        removal=assay.Conditional(rows, kind=kind),
    )
    nothing = asked.value(torch.zeros(1, 2, dtype=torch.bool))[:, 0]
    torch.testing.assert_close(asked.base, nothing)
    torch.testing.assert_close(assay.ExactShapley()(asked).gap, torch.zeros(2).double())
    if kind == "gaussian":
        # E[x_1 | x_0] by the regression of the rows, E[x_2] nearly apart from it.
        covariance, mean = torch.cov(rows.T), rows.mean(0)
        slope = covariance[0, 1:] / covariance[0, 0]
        given = mean[1:] + slope * (x[:, :1] - mean[0])
        residual = covariance[1, 2] - slope[0] * covariance[0, 2]
        exact = x[:, 0] + given[:, 0] * given[:, 1] + residual + given[:, 0]
        torch.testing.assert_close(asked.base, exact, rtol=0, atol=0.05)


@pytest.mark.parametrize("kind", ["gaussian", "kernel"])
@pytest.mark.parametrize("gap", [float("nan"), float("inf")])
def test_rows_with_gaps_are_not_conditioned_on(kind: str, gap: float) -> None:
    rows = correlated(20)
    rows[3, 1] = gap
    removal = assay.Conditional(rows, kind)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="finite rows to condition on"):
        assay.Question(lambda t: t @ BETA, correlated(2), removal=removal)


def test_weights_of_the_kernel_are_those_of_its_formula() -> None:
    """exp(-D^2 / (2 |S| width^2)), D in units of each column's spread, on what is present."""
    draw = np.random.default_rng(0)
    rows, x = draw.normal(size=(6, 3)), draw.normal(size=(2, 3))
    unit = np.array([0.5, 2.0, 1.0])
    none = torch.zeros(3, dtype=torch.bool)
    parts = map(torch.from_numpy, (x, rows, unit))
    absent = _KernelConditional(*parts, categorical=none, width=0.7, count=4)
    masks = np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    made = absent._weights(torch.from_numpy(np.concatenate([x, masks], axis=1)))
    distance = (((x[:, None] - rows) / unit) ** 2 * masks[:, None]).sum(2)
    expected = np.exp(-distance / (2 * masks.sum(1)[:, None] * 0.7**2))
    np.testing.assert_allclose(made, expected / expected.sum(1, keepdims=True), rtol=0, atol=1e-12)
