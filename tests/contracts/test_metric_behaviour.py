"""What every metric makes of credit that is scaled, negated, mixed with noise or nothing but noise.

Each metric declares its behaviour in a line of the table; one without a line fails. Explanations are
exact ones of a linear network, under metrics that ask again as methods that give them at every input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.methods.base import Method
from assay.metrics import METRICS
from assay.metrics.base import Metric
from toys import randn

DOUBLE = torch.float64
INPUTS = 60
SIDE = 6
WAVES = 30 * randn(SIDE**2, SIDE**2, seed=9, dtype=DOUBLE)


@dataclass(frozen=True)
class Behaviour:
    """What a metric declares of itself.

    Settings:
        scale: of 7.5 times the credit: the "same" score, 7.5 times the score ("times"), or "worse",
            where credit is held against the target.
        sign: of the negated credit: the "same" score, its "negative", the "complement" to 1, or
            "other".
        order: "falls" from exact to noisy, random and negated credit; "even" falls to random alone,
            since a sign is not seen; "noise" the same, where the negated has reasons of its own;
            "exact" says that noisy and random are worse than exact.
    """

    scale: Literal["same", "times", "worse"] = "same"
    sign: Literal["same", "negative", "complement", "other"] = "other"
    order: Literal["falls", "even", "noise", "exact"] = "falls"


FALLS = Behaviour()
ODD = Behaviour(sign="negative")
EVEN = Behaviour(sign="same", order="even")
RATE_OF_CHANGE = Behaviour(scale="times", sign="same", order="even")
ACCOUNT = Behaviour(scale="worse")
# Noise has a proportion of its own, by chance a better one than half of the truth.
PROPORTION = Behaviour(order="exact")

DECLARED: dict[str, Behaviour] = {
    "Infidelity": ACCOUNT,
    "Completeness": ACCOUNT,
    "MaxSensitivity": EVEN,
    "LipschitzSensitivity": RATE_OF_CHANGE,
    "GradientSensitivity": RATE_OF_CHANGE,
    "ModelRandomisation": EVEN,
    "ClassSensitivity": EVEN,
    "InputShift": EVEN,
    "AOPC": FALLS,
    "Deletion": FALLS,
    "Insertion": FALLS,
    "LeastRelevantFirst": FALLS,
    "SymmetricRelevanceGain": ODD,
    "AverageDrop": FALLS,
    "AverageIncrease": FALLS,
    "AverageGain": FALLS,
    "NecessityOrdering": FALLS,
    "SufficiencyOrdering": FALLS,
    "NecessityProportionality": PROPORTION,
    # What speaks against the target never lets it rise: two curves of nothing are proportional.
    "SufficiencyProportionality": Behaviour(sign="same", order="exact"),
    "Comprehensiveness": FALLS,
    "Sufficiency": FALLS,
    "LogOddsChange": FALLS,
    "Road": FALLS,
    "SensitivityN": ODD,
    "FaithfulnessCorrelation": ODD,
    "Monotonicity": ODD,
    "Compactness": EVEN,
    "Gini": EVEN,
    "Entropy": EVEN,
    "EffectiveNumber": EVEN,
    # It does not see whether the place is right: what was least is as connected as what was most.
    "Connectedness": Behaviour(order="noise"),
    "PointingGame": FALLS,
    "MassAccuracy": FALLS,
    "RankAccuracy": FALLS,
    "InsideOutsideRatio": FALLS,
    "IntersectionOverUnion": FALLS,
    "RocArea": Behaviour(sign="complement"),
    "RankCorrelation": ODD,
    "TopKOverlap": FALLS,
    "SignAgreement": Behaviour(sign="complement"),
}

# The mean of ratios is that of the few largest: its logarithm is what orders explanations.
SETTINGS: dict[str, Any] = {
    "Road": lambda kind: kind(removal=None),
    "InsideOutsideRatio": lambda kind: kind(log=True),
}


@dataclass(frozen=True)
class Credit(Method):
    """The exact credit of a linear network, mixed with a share of waves of the same size."""

    noise: float = 0.0
    factor: float = 1.0

    def values(self, question: assay.Question, seed: int) -> Tensor:
        exact = question.x * question.slope()
        size = exact.norm(dim=1, keepdim=True) / SIDE
        # Smooth, so that it has a derivative, and so fast that neighbours have nothing in common.
        waves = 2**0.5 * size * torch.sin(question.x @ WAVES.to(question.x.dtype))
        return self.factor * ((1 - self.noise) * exact + self.noise * waves)


EXACT = Credit()
NOISY = Credit(noise=0.5)
RANDOM = Credit(noise=1.0)
NEGATED = Credit(factor=-1.0)
SCALED = Credit(factor=7.5)


def probability(outputs: Tensor) -> Tensor:
    return outputs.softmax(1)[:, 0]


def network() -> nn.Module:
    """Two classes; what speaks for the first lies in a disc, and speaks against the second."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 2)).double()
    place = torch.arange(SIDE, dtype=DOUBLE) - 2
    distance = place[:, None] ** 2 + place[None, :] ** 2
    weight = (torch.exp(-distance / 4) - 0.25).flatten()
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([weight, -weight]))
        net[1].bias.zero_()
    return net.eval()


@pytest.fixture(scope="module")
def scores() -> Any:
    """By metric and method, each asked once."""
    known: dict[tuple[str, str], Any] = {}
    net = network()
    x = randn(INPUTS, 1, SIDE, SIDE, seed=4, dtype=DOUBLE).abs() + 0.1
    truth = (x.flatten(1) * net[1].weight[0].detach() > 0.2).view_as(x)  # type: ignore[index]

    def score(name: str, method: Credit) -> Any:
        key = name, repr(method)
        if key not in known:
            kind: Any = METRICS[name]
            metric: Metric = SETTINGS.get(name, lambda kind: kind())(kind)
            target = probability if name.startswith("Average") else 0
            question = assay.Question(net, x, target=target, truth=truth, features=assay.Pixels())
            known[key] = metric.for_method(method)(question, method(question))
        return known[key]

    return score


def test_every_metric_declares_its_behaviour() -> None:
    assert set(DECLARED) == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_scale_does_what_is_declared(name: str, scores: Any) -> None:
    exact, scaled = scores(name, EXACT), scores(name, SCALED)
    declared = DECLARED[name].scale
    if declared == "worse":
        assert scaled.mean > exact.mean + 1
        return
    factor = 7.5 if declared == "times" else 1.0
    torch.testing.assert_close(
        scaled.values, factor * exact.values, rtol=1e-6, atol=1e-9, equal_nan=True
    )


@pytest.mark.parametrize("name", METRICS)
def test_sign_does_what_is_declared(name: str, scores: Any) -> None:
    exact, negated = scores(name, EXACT), scores(name, NEGATED)
    expected = {
        "same": exact.values,
        "negative": -exact.values,
        "complement": 1 - exact.values,
    }
    alike = [
        kind
        for kind, values in expected.items()
        if torch.allclose(negated.values, values, rtol=1e-6, atol=1e-9, equal_nan=True)
    ]
    declared = DECLARED[name].sign
    assert declared in alike if declared != "other" else "same" not in alike


@pytest.mark.parametrize("name", METRICS)
def test_exact_noisy_random_negated_score_in_that_order(name: str, scores: Any) -> None:
    worse = 1 if METRICS[name].direction == "lower" else -1
    methods = (EXACT, NOISY, RANDOM, NEGATED)
    means = [worse * scores(name, method).mean for method in methods]
    declared = DECLARED[name].order
    if declared == "exact":
        assert means[0] < min(means[1:3]) - 0.1
        return
    counted = 4 if declared == "falls" else 3
    assert means[:counted] == sorted(means[:counted]), means
    assert len(set(means[:counted])) == counted
