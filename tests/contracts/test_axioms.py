"""The axioms that methods claim, on random small networks: completeness, dummy, symmetry,
linearity, invariance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import assay
from assay.errors import AssayError, ModelError
from assay.methods import METHODS
from assay.methods.base import Axiom, Method
from assay.removals.fixed import Baseline
from toys import FEATURES, OF_TREES, Case, case_of, linear_net, randn, randomised, tanh_net

DOUBLE = torch.float64
TIGHT = {"rtol": 0, "atol": 1e-9}
SEEDS = st.integers(0, 10_000)
CASES = {name: case_of(name, kind) for name, kind in METHODS.items() if name not in OF_TREES}
GENERAL = {name: case for name, case in CASES.items() if case.net is tanh_net and case.reuse_model}


@pytest.fixture(params=sorted(GENERAL))
def case(request: pytest.FixtureRequest) -> Case:
    """Another module that imports `test_the_axioms_it_claims_hold` has a `case` of its own."""
    return GENERAL[request.param]


@dataclass(frozen=True)
class Claiming(Method):
    """Says what keeps no axiom but invariance, and claims anything."""

    claim: Axiom

    @property
    def axioms(self) -> frozenset[Axiom]:
        return frozenset({self.claim})

    def values(self, question: assay.Question, seed: int) -> Tensor:
        return question.x * question.prediction[:, None] ** 2 + torch.arange(FEATURES) + 1


class Sum(nn.Module):
    """2 f + 3 g."""

    def __init__(self, f: nn.Module, g: nn.Module) -> None:
        super().__init__()
        self.f, self.g = f, g

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = 2 * self.f(x) + 3 * self.g(x)
        return out


class Alike(nn.Module):
    """A network that sees its first two inputs through their sum alone."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        both = x[:, :2].sum(1, keepdim=True)
        out: Tensor = self.inner(torch.cat([both, both * 0.5, x[:, 2:]], dim=1))
        return out


def doubled(net: nn.Module) -> nn.Module:
    """The same function by other weights: every hidden unit twice, each with half of its say, in
    another order.
    """
    first, act, last = net[0], net[1], net[2]  # type: ignore[index]
    wide, narrow = nn.Linear(FEATURES, 16), nn.Linear(16, 3)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wide.weight.copy_(torch.cat([first.weight] * 2)[order])
        wide.bias.copy_(torch.cat([first.bias] * 2)[order])
        narrow.weight.copy_((torch.cat([last.weight] * 2, dim=1) / 2)[:, order])
        narrow.bias.copy_(last.bias)
    return nn.Sequential(wide.double(), act, narrow.double()).eval()


def ask(case: Case, net: Any, x: Tensor, **more: Any) -> assay.Question:
    return case.ask(x, net, **{"target": 1, **more})


# --- what is promised, one property for each axiom; `test_the_axioms_it_claims_hold` asks them


def examples(count: int) -> settings:
    """The same networks every time, without a clock; also where no conftest has said so."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


@given(seed=SEEDS)
@examples(8)
def values_add_up_to_what_they_explain(case: Case, seed: int) -> None:
    net, x = tanh_net(seed).double(), randn(3, FEATURES, seed=seed + 1, dtype=DOUBLE)
    method = case.method
    if isinstance(method, assay.IntegratedGradients | assay.Path):
        # A smooth network's quadrature error is then below rounding.
        method = replace(method, steps=64)
    made = method(ask(case, net, x))
    assert made.gap is not None
    torch.testing.assert_close(made.gap, made.prediction - made.base - made.values.sum(1))
    assert float(made.gap.abs().max()) <= 1e-9 * max(1.0, float(made.values.abs().max()))


@given(seed=SEEDS, dummy=st.integers(0, FEATURES - 1))
@examples(6)
def a_feature_without_influence_gets_nothing(case: Case, seed: int, dummy: int) -> None:
    net, x = tanh_net(seed).double(), randn(3, FEATURES, seed=seed + 1, dtype=DOUBLE)
    with torch.no_grad():
        net[0].weight[:, dummy] = 0  # type: ignore[index,union-attr]
    made = case.method(ask(case, net, x))
    error = made.standard_error
    if error is None:
        torch.testing.assert_close(made.values[:, dummy], torch.zeros(3, dtype=DOUBLE), **TIGHT)
    else:
        assert bool((made.values[:, dummy].abs() <= 5 * error[:, dummy] + 1e-9).all())


@given(seed=SEEDS)
@examples(6)
def features_of_the_same_influence_get_the_same(case: Case, seed: int) -> None:
    net = Alike(tanh_net(seed)).double().eval()
    x = randn(3, FEATURES, seed=seed + 1, dtype=DOUBLE)
    x[:, 1] = x[:, 0]
    made = case.method(ask(case, net, x, removal=Baseline(0.2)))
    if made.standard_error is None:
        torch.testing.assert_close(made.values[:, 0], made.values[:, 1], **TIGHT)
    else:
        spread = 5 * (made.standard_error[:, 0] + made.standard_error[:, 1]) + 1e-9
        assert bool(((made.values[:, 0] - made.values[:, 1]).abs() <= spread).all())


@given(seed=SEEDS)
@examples(6)
def the_answer_for_a_sum_is_the_sum_of_the_answers(case: Case, seed: int) -> None:
    f, g = tanh_net(seed).double(), tanh_net(seed + 1).double()
    x = randn(3, FEATURES, seed=seed + 2, dtype=DOUBLE)
    parts = [case.method(ask(case, net, x)).values for net in (f, g)]
    made = case.method(ask(case, Sum(f, g).eval(), x)).values
    torch.testing.assert_close(made, 2 * parts[0] + 3 * parts[1], rtol=1e-8, atol=1e-8)


@given(seed=SEEDS)
@examples(5)
def two_networks_that_compute_the_same_get_the_same(case: Case, seed: int) -> None:
    net, x = tanh_net(seed).double(), randn(3, FEATURES, seed=seed + 1, dtype=DOUBLE)
    one, other = (case.method(ask(case, each, x)).values for each in (net, doubled(net)))
    torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


PROPERTIES: dict[Axiom, Callable[..., None]] = {
    Axiom.COMPLETENESS: values_add_up_to_what_they_explain,
    Axiom.DUMMY: a_feature_without_influence_gets_nothing,
    Axiom.SYMMETRY: features_of_the_same_influence_get_the_same,
    Axiom.LINEARITY: the_answer_for_a_sum_is_the_sum_of_the_answers,
    Axiom.IMPLEMENTATION_INVARIANCE: two_networks_that_compute_the_same_get_the_same,
}


def asked_of(case: Case) -> list[Axiom]:
    """The claims, and invariance in any case: a network's way of computing is no input of any."""
    return [
        axiom
        for axiom in Axiom
        if axiom in case.method.axioms or axiom is Axiom.IMPLEMENTATION_INVARIANCE
    ]


def test_the_axioms_it_claims_hold(case: Case) -> None:
    if case.net is not tanh_net or not case.reuse_model:
        pytest.skip("axioms are tested on networks of their own, which this method is not asked of")
    for axiom in asked_of(case):
        assert axiom in PROPERTIES, f"{axiom.value} is claimed, and nothing here tests it"
        PROPERTIES[axiom](case=case)


@pytest.mark.parametrize("axiom", sorted(set(Axiom) - {Axiom.IMPLEMENTATION_INVARIANCE}, key=str))
def test_a_false_claim_is_found(axiom: Axiom) -> None:
    case = Case(Claiming(axiom))
    assert axiom in asked_of(case)
    if axiom not in PROPERTIES:
        with pytest.raises(AssertionError, match="nothing here tests it"):
            test_the_axioms_it_claims_hold(case)
        return
    # The first network shows it: no smaller one is looked for.
    claim = PROPERTIES[axiom].hypothesis.inner_test  # type: ignore[attr-defined]
    first = {name: 0 for name in ("seed", "dummy") if name in signature(claim).parameters}
    # Completeness that is not kept is refused by every answer, before any test of it.
    with pytest.raises(ModelError if axiom is Axiom.COMPLETENESS else AssertionError):
        claim(case=case, **first)


@given(
    seed=SEEDS,
    steps=st.integers(2, 40),
    rule=st.sampled_from(["gauss_legendre", "left", "right", "middle", "trapezoid"]),
)
def test_integrated_gradients_of_any_linear_network_are_exact(
    seed: int, steps: int, rule: Any
) -> None:
    net, x = linear_net(seed).double(), randn(2, FEATURES, seed=seed + 1, dtype=DOUBLE)
    base = randn(FEATURES, seed=seed + 2, dtype=DOUBLE)
    made = assay.IntegratedGradients(steps, rule)(
        assay.Question(net, x, target=2, removal=Baseline(base))
    )
    expected = (x - base) * net.weight[2].detach()  # type: ignore[union-attr]
    torch.testing.assert_close(made.values, expected, rtol=0, atol=1e-10)


@given(seed=SEEDS, factor=st.floats(-3, 3).filter(lambda v: abs(v) > 0.1))
def test_integrated_gradients_follow_a_rescaled_input(seed: int, factor: float) -> None:
    """phi of f(x / c) at c x is phi of f at x: units of the input do not matter."""
    net, x = tanh_net(seed).double(), randn(2, FEATURES, seed=seed + 1, dtype=DOUBLE)
    method, scaled = assay.IntegratedGradients(8), nn.Sequential(Scale(1 / factor), net).eval()
    one = method(assay.Question(net, x, target=0)).values
    other = method(assay.Question(scaled, factor * x, target=0)).values
    torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


@given(seed=SEEDS, activation=st.sampled_from([nn.Tanh, nn.Softplus, nn.Sigmoid, nn.GELU]))
def test_smooth_networks_leave_a_gap_below_a_millionth(seed: int, activation: Any) -> None:
    net = tanh_net(seed, activation=activation).double()
    x = randn(2, FEATURES, seed=seed + 1, dtype=DOUBLE)
    made = assay.IntegratedGradients(64)(assay.Question(net, x))
    assert made.gap is not None
    assert float(made.gap.abs().max()) < 1e-6


@given(seed=SEEDS)
@settings(max_examples=15)
def test_rectified_networks_reach_the_tolerance_or_say_that_they_did_not(seed: int) -> None:
    net = tanh_net(seed, activation=nn.ReLU).double()
    x = randn(2, FEATURES, seed=seed + 1, dtype=DOUBLE)
    made = assay.IntegratedGradients(16, tolerance=1e-3)(assay.Question(net, x, target=0))
    assert made.gap is not None
    assert made.facts["converged"] == (float(made.gap.abs().max()) < 1e-3)


@given(seed=SEEDS, kept=st.lists(st.booleans(), min_size=FEATURES, max_size=FEATURES))
def test_infidelity_of_shapley_like_values_of_an_additive_model_is_zero(
    seed: int, kept: list[bool]
) -> None:
    assume(any(kept))
    weights = randn(FEATURES, seed=seed, dtype=DOUBLE)
    x = randn(2, FEATURES, seed=seed + 1, dtype=DOUBLE)
    question = assay.Question(lambda x: torch.sin(x * weights).sum(1), x)
    made = assay.IntegratedGradients(32)(question)
    mask = torch.tensor([kept])
    torch.testing.assert_close(
        question.value(mask)[:, 0], (made.values * mask).sum(1), rtol=0, atol=1e-9
    )


def test_every_axiom_that_is_claimed_is_tested_here() -> None:
    claimed = set().union(*(case.method.axioms for case in GENERAL.values()))
    assert claimed <= set(PROPERTIES)
    with pytest.raises(AssayError):
        assay.Gradient()(assay.Question(randomised(nn.Linear(2, 2)), torch.full((1, 2), torch.nan)))
