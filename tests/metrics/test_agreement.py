"""Whether explanations agree: definitions, ties, references and known credit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

import assay
from assay.errors import InputError, KindError, SettingError
from assay.metrics.agreement import agreement_between
from metrics.by_hand import DOUBLE, answer, net_question, rows
from toys import randn

AGREEMENT = [assay.RankCorrelation, assay.TopKOverlap, assay.SignAgreement]


def near(ours: Tensor, theirs: Any, tolerance: float = 1e-10) -> None:
    expected = torch.as_tensor(theirs, dtype=ours.dtype)
    torch.testing.assert_close(
        ours, expected.expand_as(ours), rtol=0, atol=tolerance, equal_nan=True
    )


def compared(metric: Any, values: Tensor, truth: Tensor) -> Tensor:
    question = assay.Question(lambda x: x.sum(1), torch.ones_like(values), truth=truth)
    found: Tensor = metric(question, answer(values, question)).values
    return found


def test_agreement_is_its_definition() -> None:
    values = randn(6, 9, seed=1, dtype=DOUBLE).round(decimals=1)
    known = randn(6, 9, seed=2, dtype=DOUBLE).round(decimals=1)
    ranks = [spearmanr(a, b).statistic for a, b in zip(values, known, strict=True)]
    near(compared(assay.RankCorrelation(), values, known), ranks)
    by_size = [spearmanr(a.abs(), b.abs()).statistic for a, b in zip(values, known, strict=True)]
    near(compared(assay.RankCorrelation(by="magnitude"), values, known), by_size)
    signs = [
        sum(float(a.sign() == b.sign()) for a, b in zip(row, other, strict=True) if b != 0)
        / int((other != 0).sum())
        for row, other in zip(values, known, strict=True)
    ]
    near(compared(assay.SignAgreement(), values, known), signs)
    distinct = randn(6, 9, seed=3, dtype=DOUBLE), randn(6, 9, seed=4, dtype=DOUBLE)
    for k, count in ((3, 3), (0.4, 4), (99, 9)):
        shares = [
            len(set(a.argsort()[-count:].tolist()) & set(b.argsort()[-count:].tolist())) / count
            for a, b in zip(*distinct, strict=True)
        ]
        near(compared(assay.TopKOverlap(k=k), *distinct), shares)


def test_ties_are_shared() -> None:
    tied = rows([1, 1, 1, 0])
    # Two thirds of each of the three are among the first two.
    near(compared(assay.TopKOverlap(k=2), tied, rows([5, 4, 0, 0])), (2 / 3 + 2 / 3) / 2)
    near(compared(assay.RankCorrelation(), tied, rows([2, 2, 2, 1])), 1.0)


@pytest.mark.parametrize("kind", AGREEMENT)
def test_agreement_falls_with_noise_and_scale_says_nothing(kind: Any) -> None:
    known = randn(300, 12, seed=1, dtype=DOUBLE)
    noise = randn(300, 12, seed=2, dtype=DOUBLE)
    metric = kind()
    means = [
        float(compared(metric, values, known).mean())
        for values in (known, known + noise, noise, -known)
    ]
    assert means == sorted(means, reverse=True)
    assert len(set(means)) == 4
    assert means[0] == pytest.approx(1.0)
    assert kind.direction == "higher"
    near(compared(metric, 5 * noise, known), compared(metric, noise, known))


def test_a_reference_is_asked_about_the_same_question() -> None:
    _, question = net_question(truth=torch.zeros(5, 6))
    shapley = assay.ExactShapley()(question)
    given = assay.Gradient()(question)
    for kind in AGREEMENT:
        by_method = kind(assay.ExactShapley())(question, given).values
        near(by_method, compared(kind(), given.values, shapley.values))


def test_what_has_no_order_or_sign_does_not_agree() -> None:
    known = rows([1, 2, 3], [0, 0, 0])
    values = rows([5, 5, 5], [1, 2, 3])
    assert torch.isnan(compared(assay.RankCorrelation(), values, known)).tolist() == [True, True]
    assert torch.isnan(compared(assay.SignAgreement(), values, known)).tolist() == [False, True]
    near(compared(assay.SignAgreement(), rows([0, 1, -1]), known[:1]), 1 / 3)


@pytest.mark.parametrize("kind", AGREEMENT)
def test_nothing_to_agree_with_is_refused(kind: Any) -> None:
    _, question = net_question()
    given = answer(torch.ones(5, 6), question)
    with pytest.raises(InputError, match=r"(?s)something to agree with .*reference=ExactShapley"):
        kind()(question, given)
    for truth in (torch.ones(5, 7), ["a"] * 5):
        _, question = net_question(truth=truth)
        with pytest.raises(InputError, match=r"credit of shape \(5, 6\)"):
            kind()(question, answer(torch.ones(5, 6), question))
    _, question = net_question(truth=torch.full((5, 6), torch.nan))
    with pytest.raises(InputError, match="finite credit"):
        kind()(question, answer(torch.ones(5, 6), question))
    for k in (0, -1, 1.5, 0.0):
        with pytest.raises(SettingError, match="for TopKOverlap"):
            assay.TopKOverlap(k=k)


def test_a_table_of_pairs() -> None:
    _, question = net_question()
    given = {
        "slope": assay.Gradient()(question),
        "shapley": assay.ExactShapley()(question),
        "turned": answer(-assay.ExactShapley()(question).values, question),
    }
    table = agreement_between(given)
    assert list(table.columns) == list(table.index) == list(given)
    assert table.loc["shapley", "turned"] == pytest.approx(-1.0)
    assert table.loc["slope", "shapley"] == table.loc["shapley", "slope"]
    expected = compared(assay.RankCorrelation(), given["slope"].values, given["shapley"].values)
    assert table.loc["slope", "shapley"] == pytest.approx(float(expected.mean()))
    assert agreement_between(given, "top", k=6).to_numpy().min() == 1.0
    assert agreement_between(given, "sign").loc["turned", "shapley"] == 0.0
    with pytest.raises(KindError, match="attributions by name"):
        agreement_between(list(given.values()))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="of one question"):
        agreement_between({})
    with pytest.raises(KindError):
        agreement_between(given, "size")  # type: ignore[arg-type]
