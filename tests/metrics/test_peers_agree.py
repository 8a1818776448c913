"""Beside other libraries' metrics where they are right, in `make bench`'s environment.

Captum 0.9.0 and Quantus 0.6.0; where a library is absent its tests are skipped, and say so. What they
get wrong, and what is right there, is `test_defects_of_others`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import assay
from metrics.by_hand import DOUBLE, answer, net_question
from toys import randn

BENCH = Path(__file__).resolve().parents[2] / "bench"
ABSENT = "is not installed: see bench/requirements.txt"
PLAIN: dict[str, Any] = {"normalise": False, "disable_warnings": True}


@pytest.fixture
def quantus(monkeypatch: pytest.MonkeyPatch) -> Any:
    if importlib.util.find_spec("quantus") is None:
        pytest.skip(f"quantus {ABSENT}")
    # It asks for torchvision, whose Python parts alone are needed.
    monkeypatch.syspath_prepend(str(BENCH))
    if "torchvision" not in sys.modules:
        importlib.import_module("torchvision_names")
    return importlib.import_module("quantus")


@pytest.fixture
def captum_metrics() -> Any:
    pytest.importorskip("captum", reason=f"captum {ABSENT}")
    return importlib.import_module("captum.metrics")


def located(n: int = 6) -> tuple[assay.Question, Tensor, Tensor]:
    """Pictures of 4 x 5 with a region each, and credit without ties."""
    truth = torch.zeros(n, 1, 4, 5)
    truth[:, :, 1:3, 1:4] = 1
    credit = randn(n, 1, 4, 5, seed=2).double().abs() + 0.01
    credit[::2, 0, 2, 2] = 9.0  # the peak of every other input is inside
    question = assay.Question(
        lambda x: x.flatten(1).sum(1),
        torch.ones(n, 1, 4, 5, dtype=DOUBLE),
        features=assay.Elements(),
        truth=truth,
    )
    return question, truth, credit


def scored(metric: Any, question: assay.Question, credit: Tensor, **more: Any) -> Tensor:
    """What Quantus says of this credit; its model is asked by none of these metrics."""
    shape = question.n, 1, 4, 5
    found = metric(
        model=None,
        x_batch=question.x.reshape(shape).float().numpy(),
        y_batch=np.zeros(question.n, dtype=int),
        a_batch=credit.reshape(shape).numpy().copy(),
        **more,
    )
    return torch.as_tensor(np.asarray(found, dtype=np.float64).reshape(-1))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (assay.PointingGame(), "PointingGame"),
        (assay.MassAccuracy(), "RelevanceMassAccuracy"),
        (assay.RankAccuracy(), "RelevanceRankAccuracy"),
        (assay.RocArea(), "AUC"),
    ],
    ids=repr,
)
def test_localisation_of_positive_credit_without_ties(
    quantus: Any, ours: assay.Metric, theirs: str
) -> None:
    question, truth, credit = located()
    metric = getattr(quantus, theirs)(abs=False, **PLAIN)
    found = scored(metric, question, credit, s_batch=truth.numpy().astype(bool))
    torch.testing.assert_close(
        ours(question, answer(credit, question)).values, found, rtol=0, atol=1e-12
    )
    # Some inputs hit and some miss, or lie between: no two constants are compared.
    assert len(set(found.tolist())) > 1


@pytest.mark.parametrize(
    ("ours", "theirs", "atol"),
    # Quantus adds 1e-7 to every number for its sparseness, and 1e-12 or so for its entropy.
    [(assay.Gini(), "Sparseness", 1e-6), (assay.Entropy(), "Complexity", 1e-10)],
    ids=repr,
)
def test_complexity(quantus: Any, ours: assay.Metric, theirs: str, atol: float) -> None:
    question, _, credit = located()
    credit = credit * torch.where(randn(*credit.shape, seed=7) > 0, 1.0, -1.0)
    found = scored(getattr(quantus, theirs)(abs=True, **PLAIN), question, credit)
    torch.testing.assert_close(
        ours(question, answer(credit, question)).values, found, rtol=0, atol=atol
    )


class Weighted(torch.nn.Module):
    """Two outputs, the first linear in whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(20, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.arange(40.0).reshape(2, 20) - 9)
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))  # type: ignore[no-any-return]


def whole_numbers(n: int) -> Tensor:
    """Pictures with a 0 in each: what Quantus calls black is the smallest number of a picture."""
    x = torch.randint(1, 9, (n, 1, 4, 5), generator=torch.Generator().manual_seed(n)).float()
    x[:, 0, 0, 0] = 0.0
    return x


def asked_of(metric: Any, net: torch.nn.Module, x: Tensor, credit: Tensor) -> Tensor:
    found = metric(
        model=net,
        x_batch=x.numpy(),
        y_batch=np.zeros(len(x), dtype=int),
        a_batch=credit.numpy().copy(),
        device="cpu",
    )
    return torch.as_tensor(np.asarray(found, dtype=np.float64).reshape(-1))


def test_faithfulness_correlation_of_a_linear_model(quantus: Any) -> None:
    """1 for the exact account and -1 for its negative, on both sides."""
    net = Weighted().eval()
    x = whole_numbers(3)
    question = assay.Question(
        net, x, target=0, features=assay.Elements(), removal=assay.Baseline(0.0)
    )
    exact = net.head.weight[0].detach().reshape(1, 1, 4, 5) * x
    metric = quantus.FaithfulnessCorrelation(
        nr_runs=50,
        subset_size=6,
        perturb_baseline="black",
        abs=False,
        return_aggregate=False,
        **PLAIN,
    )
    for sign in (1.0, -1.0):
        found = asked_of(metric, net, x, sign * exact)
        ours = assay.FaithfulnessCorrelation(0.3, draws=50)(
            question, answer(sign * exact, question)
        )
        torch.testing.assert_close(ours.values, found, rtol=0, atol=1e-5)
        torch.testing.assert_close(found, torch.full_like(found, sign), rtol=0, atol=1e-5)


def test_completeness_of_whole_numbers(quantus: Any) -> None:
    """Where sums are exact in single precision its equality of floats is the right question."""
    net = Weighted().eval()
    x = whole_numbers(4)
    question = assay.Question(
        net, x, target=0, features=assay.Elements(), removal=assay.Baseline(0.0)
    )
    credit = net.head.weight[0].detach().reshape(1, 1, 4, 5) * x
    credit[1:3, 0, 0, 1] += torch.tensor([1.0, -2.0])
    metric = quantus.Completeness(abs=False, perturb_baseline="black", **PLAIN)
    ours = assay.Completeness()(question, answer(credit, question)).values
    assert (
        (ours == 0).double().tolist() == asked_of(metric, net, x, credit).tolist() == [1, 0, 0, 1]
    )


@pytest.mark.parametrize("normalize", [False, True])
def test_infidelity_of_every_coordinate(captum_metrics: Any, normalize: bool) -> None:
    """Each feature removed once: the same list on both sides, plain and with the best factor."""
    net, question = net_question(removal=assay.Baseline(0.0))
    x = question.x.reshape(question.n, -1)
    count = x.shape[1]
    credit = x * randn(*x.shape, seed=9).double()

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        # Copies of an input lie behind each other, one for each feature.
        one = torch.eye(count, dtype=DOUBLE).repeat(len(inputs) // count, 1)
        return one, inputs * (1 - one)

    # Its sum is of a step times the explanation: of a feature, all of its credit.
    found = captum_metrics.infidelity(
        net, perturb, x, credit, target=0, n_perturb_samples=count, normalize=normalize
    )
    metric = assay.Infidelity(assay.Coordinates(), scaled=normalize, negative=True)
    ours = metric(question, answer(credit, question)).values
    torch.testing.assert_close(ours, found.double(), rtol=0, atol=1e-10)


def test_largest_sensitivity_at_the_corners_of_a_box(captum_metrics: Any) -> None:
    """The gradient of a square moves most at the corners; all of them are asked there."""
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=DOUBLE)
    radius = 0.1

    def square(x: Tensor) -> Tensor:
        return (weights * x**2).sum(1)

    x = randn(4, 3, seed=3, dtype=DOUBLE)
    corners = torch.cartesian_prod(*[torch.tensor([-radius, radius], dtype=DOUBLE)] * 3)

    def perturb(inputs: Tensor, perturb_radius: float = 0.0) -> Tensor:
        return inputs + corners.repeat(len(inputs) // len(corners), 1)

    def slopes(inputs: Any, **_: Any) -> tuple[Tensor]:
        point = inputs[0] if isinstance(inputs, tuple) else inputs
        return (2 * weights * point,)

    found = captum_metrics.sensitivity_max(
        slopes, x, perturb_func=perturb, n_perturb_samples=len(corners)
    )
    question = assay.Question(square, x)
    metric = assay.MaxSensitivity(assay.Gradient(), radius=radius, ball="linf", draws=20)
    score = metric(question, assay.Gradient()(question))
    torch.testing.assert_close(score.details["found"], found.double(), rtol=1e-9, atol=0)
    # What was drawn inside the box has not reached them.
    assert bool((score.values < found).all())
