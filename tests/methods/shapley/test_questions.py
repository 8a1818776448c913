"""Shapley values as methods of a question: shared tables, known models, refusals, hierarchies."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import assay
from assay.answers.attribution import Attribution
from assay.errors import InputError
from assay.features.elements import Columns, Labels
from assay.methods.base import Method
from assay.methods.shapley.exact import ExactShapley
from assay.methods.shapley.games import shapley_values
from assay.methods.shapley.kernel_shap import KernelShap, LowOrderShap
from assay.methods.shapley.mask_method import MaskMethod
from assay.methods.shapley.owen import OwenValues, halves, members
from assay.methods.shapley.permutation import PermutationShapley
from assay.methods.shapley.proxy_shap import ProxyShap
from assay.methods.shapley.sampling import SamplingShapley
from assay.question.question import Question
from assay.removals.fixed import Background, Baseline
from coalition_games import TOLERANCE, dividends, looked_up

PROXY = ProxyShap(budget=40)
SAMPLED = [
    KernelShap(budget=40),
    KernelShap(budget=40, weighting="kernel"),
    KernelShap(budget=60, weighting="leverage"),
    PermutationShapley(orderings=8),
]


# --- as methods of a question


@pytest.mark.parametrize(
    "method",
    [*SAMPLED, PROXY, ExactShapley(), LowOrderShap(), OwenValues(), SamplingShapley(draws=5)],
    ids=repr,
)
def test_every_input_gets_the_answer_it_gets_alone(method: MaskMethod) -> None:
    draw = torch.Generator().manual_seed(0)
    x, rows = torch.randn(3, 6, generator=draw).double(), torch.randn(4, 6, generator=draw).double()

    def model(x: Tensor) -> Tensor:
        return torch.stack((x.prod(dim=1), x.sin().sum(dim=1) + x[:, 0] * x[:, 1] * x[:, 2]), dim=1)

    together = method(Question(model, x, target=1, removal=Background(rows)), seed=3).values
    for i in range(3):
        alone = method(
            Question(model, x[i : i + 1], target=1, removal=Background(rows)), seed=3
        ).values
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "method", [*SAMPLED, PROXY, ExactShapley(), LowOrderShap(), OwenValues()], ids=repr
)
def test_all_outputs_share_one_table(method: MaskMethod) -> None:
    calls = []

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        return torch.stack((x.prod(dim=1), x.sin().sum(dim=1)), dim=1)

    x = torch.randn(2, 5, generator=torch.Generator().manual_seed(1)).double()
    question = Question(model, x, target=0)
    answers = method.for_outputs(question, seed=2)
    # Beside the table: the clean inputs, those with everything removed, and the first check.
    assert sum(calls) <= 2 * len(method.resolved(question).masks(5, 2)) + 8
    assert len(answers) == 2
    for output, answer in enumerate(answers):
        assert answer.facts["outputs"] == 2
        assert answer.facts["forwards"] <= sum(calls)
        same_as_alone(answer, method(Question(model, x, target=output), seed=2))


def same_as_alone(answer: Attribution, alone: Attribution) -> None:
    for part in ("values", "prediction", "base", "gap", "standard_error"):
        shared, single = getattr(answer, part), getattr(alone, part)
        assert (shared is None) == (single is None), part
        if shared is not None:
            torch.testing.assert_close(shared, single, rtol=0, atol=TOLERANCE)
    # A function that counts its calls in a list is another one after each call.
    assert {**answer.provenance, "question": ""} == {**alone.provenance, "question": ""}


@pytest.mark.parametrize(
    ("method", "shared"),
    [
        (ExactShapley(), True),
        (KernelShap(budget=20), True),
        (assay.PermutationShapley(orderings=2), True),
        (assay.ProxyShap(budget=40), True),
        (assay.OwenValues(), True),
        (assay.LowOrderShap(), True),
        (assay.SamplingShapley(draws=4), False),
        (assay.LinearShap(), False),
    ],
    ids=lambda part: type(part).__name__,
)
def test_who_shares_the_rows_among_outputs(method: Method, shared: bool) -> None:
    weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    rows = []

    def model(x: Tensor) -> Tensor:
        rows.append(len(x))
        return x @ weights

    question = Question(model, torch.rand(2, 4).double(), target=0)
    method(question)
    one = sum(rows)
    rows.clear()
    method.for_outputs(Question(model, question.x, target=0))
    # Three outputs: one table of coalitions, or one for each.
    assert (sum(rows) < 1.5 * one) == shared
    assert shared or sum(rows) > 2 * one


def test_the_outputs_that_are_picked_are_answered() -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(2)).double()

    def model(x: Tensor) -> Tensor:
        return torch.stack((x.prod(dim=1), x.sum(dim=1), x.sin().sum(dim=1)), dim=1)

    answers = KernelShap().for_outputs(Question(model, x), outputs=(2, 0), seed=1)
    for answer, output in zip(answers, (2, 0), strict=True):
        same_as_alone(answer, KernelShap()(Question(model, x, target=output), seed=1))


def test_until_holds_for_each_output_and_asks_no_coalition_twice() -> None:
    tables, seen = [dividends(10, 2, seed=0), dividends(10, 6, seed=1)], []
    code = 2 ** torch.arange(10)

    def model(x: Tensor) -> Tensor:
        index = ((x > 0.5) * code).sum(1)
        seen.extend(index.tolist())
        return torch.stack([table[index] for table in tables], dim=1)

    x = torch.ones(2, 10, dtype=torch.float64)
    question, method = Question(model, x), KernelShap(until=0.02)
    answers = method.for_outputs(question, seed=4)
    shared = len(seen)
    alone = []
    for output, answer in enumerate(answers):
        seen.clear()
        same_as_alone(answer, method(Question(model, x, target=output), seed=4))
        alone.append(len(seen))
    assert alone[0] < alone[1]  # the easy output stops first
    assert shared <= alone[1] + 8


def test_until_spends_only_what_each_input_needs() -> None:
    easy, hard = dividends(12, 2, seed=0), dividends(12, 6, seed=1)
    code = 2 ** torch.arange(12)
    asked = {"easy": 0, "hard": 0}

    def model(x: Tensor) -> Tensor:
        which = x[:, 12] > 0.5
        asked["hard"] += int(which.sum())
        asked["easy"] += int((~which).sum())
        index = ((x[:, :12] > 0.5) * code).sum(1)
        return torch.where(which, hard[index], easy[index])

    x = torch.cat((torch.ones(2, 12), torch.tensor([[0.0], [1.0]])), dim=1).double()
    labels = Labels(torch.tensor([*range(12), -1]))
    answer = KernelShap(until=0.05)(Question(model, x, features=labels), seed=0)
    assert answer.standard_error is not None
    assert float(answer.standard_error.max()) <= 0.05
    assert asked["easy"] < 200 < asked["hard"]
    truth = torch.stack((shapley_values(easy), shapley_values(hard)))
    assert float((answer.values - truth).abs().max()) < 0.2


def test_until_asks_no_coalition_twice() -> None:
    table, seen = dividends(10, 6, seed=1), []
    code = 2 ** torch.arange(10)

    def model(x: Tensor) -> Tensor:
        index = ((x > 0.5) * code).sum(1)
        seen.extend(index.tolist())
        return table[index]

    answer = KernelShap(until=1e-9)(Question(model, torch.ones(1, 10, dtype=torch.float64)))
    torch.testing.assert_close(answer.values[0], shapley_values(table), rtol=0, atol=TOLERANCE)
    assert len(seen) <= 2**10 + 8


def test_captum_models_with_groups() -> None:
    """s = sum x; f0 = relu(s - 10) + 3 relu(s + 1) - 1 and its known values."""

    def model(x: Tensor) -> Tensor:
        s = x.sum(dim=1)
        return (s - 10).relu() + 3 * (s + 1).relu() - 1

    x = torch.tensor([[20.0, 50.0, 30.0], [2.0, 10.0, 3.0]], dtype=torch.float64)
    pair = Columns(groups={"pair": [0, 1]})
    for method in (
        ExactShapley(),
        KernelShap(),
        LowOrderShap(),
        OwenValues(),
        PermutationShapley(64),
    ):
        plain = method(Question(model, x)).values
        expected = torch.tensor(
            [[230 / 3, 590 / 3, 350 / 3], [7.0, 32.5, 10.5]], dtype=torch.float64
        )
        if not isinstance(method, OwenValues | PermutationShapley):
            torch.testing.assert_close(plain, expected, rtol=0, atol=1e-9)
        grouped = method(Question(model, x[:1], features=pair)).values
        torch.testing.assert_close(
            grouped.sort().values, torch.tensor([[115.0, 275.0]]).double(), rtol=0, atol=1e-9
        )
        based = method(Question(model, x[:1], features=pair, removal=Baseline(4.0))).values
        torch.testing.assert_close(
            based.sort().values, torch.tensor([[104.0, 248.0]]).double(), rtol=0, atol=1e-9
        )
    affine = Question(model, x[:1], removal=Baseline(torch.tensor([10.0, 20.0, 10.0])))
    torch.testing.assert_close(
        KernelShap()(affine).values, torch.tensor([[40.0, 120.0, 80.0]]).double(), rtol=0, atol=1e-9
    )


def test_groups_may_span_inputs_and_each_input_may_have_its_own() -> None:
    def model(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        s = a.sum(dim=1) + b.sum(dim=1) + c.sum(dim=1)
        return (s - 10).relu() + 3 * (s + 1).relu() - 1

    inputs = tuple(
        torch.tensor([row]).double() for row in ([20.0, 50, 30], [0.0, 100, 0], [2.0, 10, 3])
    )
    labels = Labels((torch.tensor([0, 1, 0]), torch.tensor([0, 1, 2]), torch.tensor([0, 0, 0])))
    net = torch.nn.Module()
    net.forward = model  # type: ignore[method-assign]
    answer = ExactShapley()(Question(net, inputs, features=labels))
    torch.testing.assert_close(
        answer.values, torch.tensor([[255.0, 595.0, 0.0]]).double(), rtol=0, atol=1e-9
    )
    own = Labels(torch.tensor([[0, 0, 1], [1, 1, 0]]))
    x = torch.tensor([[2.0, 10.0, 3.0], [20.0, 50.0, 30.0]], dtype=torch.float64)
    both = ExactShapley()(Question(lambda x: model(x, x[:, :0], x[:, :0]), x, features=own)).values
    torch.testing.assert_close(
        both, torch.tensor([[39.5, 10.5], [115.0, 275.0]]).double(), rtol=0, atol=1e-9
    )


def test_a_product_of_normals_is_shared_evenly() -> None:
    """phi_i = prod(x) / d when the absent expectation of each factor is zero."""
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
    x = torch.tensor([[2.0, 3.0, -5.0]], dtype=torch.float64)
    answer = ExactShapley()(Question(lambda x: x.prod(dim=1), x, removal=Background(signs)))
    torch.testing.assert_close(
        answer.values, torch.full((1, 3), -10.0).double(), rtol=0, atol=TOLERANCE
    )


# --- refusals


def test_a_budget_below_what_is_needed_is_refused_with_the_cost() -> None:
    with pytest.raises(
        InputError, match="a budget of at least 28 coalitions for 10 features, got 20"
    ):
        KernelShap(budget=20).masks(10, 0)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="even number of at least 2, got 3"):
        PermutationShapley(orderings=3)
    with pytest.raises(InputError, match="above zero as until, got -1"):
        KernelShap(until=-1.0)
    with pytest.raises(InputError, match="'leverage', 'kernel' or 'mixture', got 'uniform'"):
        KernelShap(weighting="uniform")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 3, got 2"):
        SamplingShapley(draws=2)
    with pytest.raises(
        InputError, match="at least 50 coalitions for a proxy of 10 features, got 49"
    ):
        ProxyShap(budget=49).masks(10, 0)
    with pytest.raises(InputError, match="at most 20 features to enumerate all coalitions, got 21"):
        LowOrderShap().masks(21, 0)


# --- Owen values


def by_allowed_orderings(table: Tensor, hierarchy: tuple) -> Tensor:
    """The slow twin: the mean contribution over all orderings that keep every group together."""

    def orders(part: int | tuple) -> list[tuple[int, ...]]:
        if isinstance(part, int):
            return [(part,)]
        inner = [orders(child) for child in part]
        return [
            tuple(itertools.chain.from_iterable(chosen))
            for arrangement in itertools.permutations(inner)
            for chosen in itertools.product(*arrangement)
        ]

    every = orders(hierarchy)
    values = torch.zeros(int(math.log2(len(table))), dtype=torch.float64)
    for order in every:
        joined = 0
        for i in order:
            values[i] += (table[joined | 1 << i] - table[joined]) / len(every)
            joined |= 1 << i
    return values


@pytest.mark.parametrize(
    "hierarchy",
    [
        ((0, 1), (2, 3, 4)),
        ((0, (1, 2)), 3, 4),
        (0, 1, 2, 3, 4),
        ((4, 0), ((3, 2), 1)),
        ((0,), (1, 2), (3, 4)),
    ],
    ids=repr,
)
def test_owen_values_are_mean_contributions_over_the_allowed_orderings(hierarchy: tuple) -> None:
    table, method = dividends(5, 5, seed=6), OwenValues(hierarchy)
    values, _ = method.solve(looked_up(table, method.masks(5, 0)), 5, 0)
    torch.testing.assert_close(
        values, by_allowed_orderings(table, hierarchy), rtol=0, atol=TOLERANCE
    )


def test_owen_values_without_groups_are_shapley_values() -> None:
    table, method = dividends(6, 6, seed=2), OwenValues((0, 1, 2, 3, 4, 5))
    values, _ = method.solve(looked_up(table, method.masks(6, 0)), 6, 0)
    torch.testing.assert_close(values, shapley_values(table), rtol=0, atol=TOLERANCE)


def test_halves_hold_every_pixel_once_and_cost_its_square() -> None:
    hierarchy = halves((5, 6))
    assert sorted(members(hierarchy)) == list(range(30))
    assert len(OwenValues(hierarchy).masks(30, 0)) <= 4 * 30**2


def test_a_hierarchy_that_misses_a_feature_or_costs_too_much_is_refused() -> None:
    with pytest.raises(InputError, match="features 0 to 2 once"):
        OwenValues(((0, 1), 1)).masks(3, 0)
    with pytest.raises(InputError, match="nest it deeper"):
        OwenValues(tuple(range(30))).masks(30, 0)


@pytest.mark.parametrize(
    "method",
    [
        *SAMPLED,
        PROXY,
        KernelShap(until=0.5),
        ExactShapley(),
        LowOrderShap(),
        OwenValues(((0, 1), 2)),
        SamplingShapley(7),
    ],
    ids=repr,
)
def test_settings_say_themselves(method: MaskMethod) -> None:
    assert eval(repr(method)) == method
