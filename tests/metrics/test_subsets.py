"""Correlations over random subsets, and monotonicity: closed forms, twins, errors, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

import assay
from assay.errors import InputError, SettingError
from assay.numerics import rng
from metrics.by_hand import DOUBLE, additive, answer, linear, net_question, rows
from toys import randn

EXACT = 1e-10
CORRELATIONS = [assay.SensitivityN, assay.FaithfulnessCorrelation]


def near(ours: Tensor, theirs: Any, tolerance: float = EXACT) -> None:
    expected = torch.as_tensor(theirs, dtype=ours.dtype)
    torch.testing.assert_close(
        ours, expected.expand_as(ours), rtol=0, atol=tolerance, equal_nan=True
    )


def test_case_15_an_exact_account_of_a_linear_model_has_correlation_1() -> None:
    w = rows(2, -3, 0.5, 1, -1)[:]
    question = assay.Question(
        linear(w, 0.7), randn(6, 5, dtype=DOUBLE), removal=assay.Baseline(0.3)
    )
    exact = answer(w * (question.x - 0.3), question)
    negated = answer(-w * (question.x - 0.3), question)
    for kind in CORRELATIONS:
        near(kind()(question, exact).values, 1.0)
        near(kind()(question, negated).values, -1.0)
    score = assay.SensitivityN(sizes=(1, 2, 3, 4, 5))(question, exact)
    near(score.details["curve"][:, :4], 1.0)
    # All of them at once: one subset, no correlation.
    assert bool(torch.isnan(score.details["curve"][:, 4]).all())
    near(score.details["size"], [[1, 2, 3, 4, 5]])
    assert score.error is not None
    near(score.error, 0.0, 1e-6)


def test_slopes_are_met_with_their_step() -> None:
    w = rows(2, -3, 0.5, 1)
    question = assay.Question(linear(w), randn(4, 4, dtype=DOUBLE), removal=assay.Baseline(0.3))
    gradient = assay.Gradient()(question)
    for kind in CORRELATIONS:
        near(kind()(question, gradient).values, 1.0)
    background = assay.Question(
        linear(w),
        randn(4, 4, dtype=DOUBLE),
        removal=assay.Background(randn(7, 4, seed=2, dtype=DOUBLE)),
    )
    for kind in CORRELATIONS:
        near(kind()(background, assay.Gradient()(background)).values, 1.0)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_correlation_is_its_definition(size: int) -> None:
    net, question = net_question()
    values = randn(5, 6, seed=7, dtype=DOUBLE)
    draws = 9
    score = assay.SensitivityN((size,), draws)(question, answer(values, question), seed=4)
    uniform = rng.streams(4, question.keys, f"subsets of {size}").uniform((0, draws), 6, DOUBLE)
    for i in range(5):
        accounts, changes = [], []
        for k in range(draws):
            chosen = sorted(range(6), key=lambda f: float(uniform[i, k, f]))[:size]
            row = question.x[i].clone()
            row[chosen] = 0.2
            accounts.append(sum(float(values[i, f]) for f in chosen))
            both = net(torch.stack([question.x[i], row]))[:, 0].detach()
            changes.append(float(both[0] - both[1]))
        expected = np.corrcoef(accounts, changes)[0, 1]
        assert float(score.values[i]) == pytest.approx(expected, abs=EXACT)


def test_the_faithfulness_correlation_is_that_of_one_size() -> None:
    _, question = net_question()
    given = answer(randn(5, 6, seed=7, dtype=DOUBLE), question)
    one = assay.SensitivityN((2,), 40)(question, given)
    near(assay.FaithfulnessCorrelation(1 / 3, 40)(question, given).values, one.values)
    several = assay.SensitivityN((1, 2, 4), 40)(question, given)
    near(several.details["curve"][:, 1], one.values)
    near(several.values, several.details["curve"].mean(1))


def test_the_stated_error_is_the_spread_over_seeds() -> None:
    _, question = net_question(4, 8)
    given = answer(randn(4, 8, seed=7, dtype=DOUBLE), question)
    metric = assay.SensitivityN((2, 5), draws=60)
    many = [metric(question, given, seed=seed) for seed in range(150)]
    spread = torch.stack([score.values for score in many]).std(0)
    stated = torch.stack([score.error for score in many if score.error is not None])
    torch.testing.assert_close(stated.square().mean(0).sqrt(), spread, rtol=0.3, atol=0)


@pytest.mark.parametrize("kind", CORRELATIONS)
def test_worse_explanations_correlate_less(kind: Any) -> None:
    c = randn(200, 8, seed=1, dtype=DOUBLE)
    noise = randn(200, 8, seed=2, dtype=DOUBLE)
    question = additive(c)
    given = [answer(values, question) for values in (c, c + noise, noise, -c, 9.0 * c)]
    exact, noisy, by_chance, negated, scaled = kind(draws=30).each(question, given)
    assert exact.mean > noisy.mean + 0.1 > by_chance.mean + 0.2 > negated.mean + 0.3
    near(scaled.values, exact.values)
    near(negated.values, -exact.values)
    assert abs(by_chance.mean) < 4 * float(by_chance.values.std()) / 200**0.5


@pytest.mark.parametrize("kind", CORRELATIONS)
def test_no_variance_is_no_correlation(kind: Any) -> None:
    _, question = net_question()
    constant = kind()(question, answer(torch.full((5, 6), 0.1), question))
    assert constant.missing == 5
    assert "the same for all subsets" in repr(constant)
    flat = assay.Question(lambda x: 0 * x.sum(1) + 3.0, randn(5, 6, dtype=DOUBLE))
    assert kind()(flat, answer(randn(5, 6, seed=2, dtype=DOUBLE), flat)).missing == 5


def test_settings_and_inputs_that_have_no_correlation_are_refused() -> None:
    _, question = net_question()
    given = answer(torch.ones(5, 6), question)
    for kind in CORRELATIONS:
        with pytest.raises(SettingError, match="at least 3 subsets"):
            kind(draws=2)
    for sizes in ((), (0, 2)):
        with pytest.raises(SettingError, match="sizes of at least 1 feature"):
            assay.SensitivityN(sizes)
    with pytest.raises(InputError, match="a size below the 6 features"):
        assay.SensitivityN((6, 7))(question, given)
    for share in (0.0, 1.0):
        with pytest.raises(SettingError, match="between 0 and 1 for FaithfulnessCorrelation"):
            assay.FaithfulnessCorrelation(share)
    single = assay.Question(lambda x: x.sum(1), torch.ones(2, 1))
    grouped = assay.Question(
        lambda x: x.sum(1), torch.ones(2, 4), features=assay.Labels(torch.tensor([0, 0, 1, 1]))
    )
    for kind in CORRELATIONS:
        with pytest.raises(InputError, match="two features or more"):
            kind()(single, answer(torch.ones(2, 1), single))
        with pytest.raises(InputError, match=r"slopes of single elements .* TimesInput"):
            kind()(grouped, answer(torch.ones(2, 2), grouped, "slope"))


# --- monotonicity


def test_monotonicity_is_its_definition() -> None:
    net, question = net_question()
    values = randn(5, 6, seed=7, dtype=DOUBLE)
    score = assay.Monotonicity()(question, answer(values, question))
    for i in range(5):
        row = torch.full_like(question.x[i], 0.2)
        outputs = [float(net(row[None])[0, 0].detach())]
        for feature in values[i].argsort().tolist():
            row[feature] = question.x[i, feature]
            outputs.append(float(net(row[None])[0, 0].detach()))
        gains = np.diff(outputs)
        expected = spearmanr(range(6), gains).statistic
        assert float(score.values[i]) == pytest.approx(expected, abs=EXACT)
        assert float(score.details["rising"][i]) == pytest.approx(float((gains >= 0).mean()))


def test_monotonicity_of_an_additive_model() -> None:
    c = rows([4, 3, -2, 1])
    question = additive(c)
    given = [answer(values, question) for values in (c, -c, torch.ones(1, 4))]
    exact, negated, constant = assay.Monotonicity().each(question, given)
    near(exact.values, 1.0)
    near(negated.values, -1.0)
    near(constant.values, 0.0)
    near(exact.details["rising"], 0.75)
    flat = assay.Question(lambda x: 0 * x.sum(1) + 3.0, randn(5, 6, dtype=DOUBLE))
    score = assay.Monotonicity()(flat, answer(randn(5, 6, seed=2, dtype=DOUBLE), flat))
    assert score.missing == 5
