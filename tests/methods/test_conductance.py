"""Conductance against its definition and the values of the literature, and slopes through one unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.errors import AssayError, InputError, TargetError
from assay.numerics.integration import quadrature
from rule_networks import RELUS
from toys import randn, randomised

DOUBLE = torch.float64
TIGHT = {"rtol": 0, "atol": 1e-10}


class Layers(nn.Module):
    """A small network with known answers: its first rectifier opens on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.linear0 = nn.Linear(3, 3, bias=False)
        self.linear1 = nn.Linear(3, 4)
        self.relu = nn.ReLU()
        self.linear2 = nn.Linear(4, 2)
        with torch.no_grad():
            self.linear0.weight.copy_(torch.eye(3))
            self.linear1.weight.fill_(1)
            self.linear1.bias.copy_(torch.tensor([-10.0, 1, 1, 1]))
            self.linear2.weight.fill_(1)
            self.linear2.bias.copy_(torch.tensor([-1.0, 1]))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear2(self.relu(self.linear1(self.linear0(x))))
        return result


LAYERS = Layers().double()


def of_layers(x: list[float], start: list[float]) -> assay.Question:
    rows = [torch.tensor([row], dtype=DOUBLE) for row in (x, start)]
    return assay.Question(LAYERS, rows[0], target=0, removal=assay.Baseline(rows[1]))


HUNDRED = of_layers([0, 100, 0], [0, 0, 0])


@pytest.mark.parametrize(
    ("layer", "values"),
    [
        ("linear0", [0, 390, 0]),
        ("linear1", [90, 100, 100, 100]),
        ("relu", [90, 100, 100, 100]),
        ("linear2", [390, 0]),
    ],
)
def test_conductance_of_known_layers(layer: str, values: list[float]) -> None:
    """The rectifier opens at a tenth of the way, between two nodes of the rule: nothing is lost.

    Captum 0.9.0 gives 389.991 in the place of 390 with 500 steps.
    """
    exact = assay.Conductance(steps=10, rule="middle")
    made = exact(HUNDRED.after(layer)).values
    torch.testing.assert_close(made, torch.tensor([values], dtype=DOUBLE), **TIGHT)


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_conductance_of_a_rectifier_in_every_spelling(relu: Callable[[Tensor], Tensor]) -> None:
    class Spelled(Layers):
        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.linear2(relu(self.linear1(self.linear0(x))))
            return result

    x = torch.tensor([[0.0, 100, 0]], dtype=DOUBLE)
    question = assay.Question(Spelled().double(), x, target=0, removal=assay.Baseline(0.0))
    for method in (assay.Conductance(steps=10, rule="middle"), assay.Conductance(exact=True)):
        for layer, values in (("linear0", [0.0, 390, 0]), ("linear1", [90.0, 100, 100, 100])):
            made = method(question.after(layer)).values
            torch.testing.assert_close(made, torch.tensor([values], dtype=DOUBLE), **TIGHT)


@pytest.mark.parametrize(
    ("layer", "values"), [("linear0", [3.9, 3.9, 3.9]), ("linear1", [0.9, 1, 1, 1])]
)
def test_internal_influence_of_known_layers(layer: str, values: list[float]) -> None:
    mean = assay.Conductance(steps=10, rule="middle", multiply=False)
    made = mean(HUNDRED.after(layer)).values
    torch.testing.assert_close(made, torch.tensor([values], dtype=DOUBLE), **TIGHT)


def test_internal_influence_from_another_baseline() -> None:
    question = of_layers([0, 80, 0], [0, -20, 0])
    made = assay.Conductance(steps=100, rule="middle", multiply=False)(question.after("linear1"))
    # Captum's own test writes .8 for the last three.
    expected = torch.tensor([[0.7, 0.81, 0.81, 0.81]], dtype=DOUBLE)
    torch.testing.assert_close(made.values, expected, **TIGHT)


def test_a_neuron_with_and_without_the_way() -> None:
    unit = HUNDRED.upto("linear2", 0)
    expected = torch.tensor([[0, 390, 0]], dtype=DOUBLE)
    torch.testing.assert_close(assay.ExactIntegratedGradients()(unit).values, expected, **TIGHT)
    through = of_layers([100, 100, 100], [0, 0, 0]).through("linear0", 0)
    local = assay.IntegratedGradients(steps=30, rule="middle", multiply=False)(through)
    expected = torch.tensor([[4 - 1 / 30, 0, 0]], dtype=DOUBLE)
    torch.testing.assert_close(local.values, expected, **TIGHT)


# --- smooth networks


class Skipping(nn.Module):
    """A layer with a shortcut around it."""

    def __init__(self, traced: bool = True) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 5)
        self.act = nn.Tanh()
        self.head = nn.Linear(5, 3)
        self.traced = traced

    def forward(self, x: Tensor) -> Tensor:
        # A branch on a value is none that a trace can follow.
        if not self.traced and bool(x.sum() > 1e9):
            return x
        result: Tensor = torch.tanh(self.head(self.act(self.inner(x)) * 1.5 + x))
        return result


def smooth() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
    made: nn.Sequential = randomised(net, 3).double()
    return made


X = randn(4, 5, seed=2, dtype=DOUBLE)
ABSENT = randn(4, 5, seed=8, dtype=DOUBLE) / 2


def ask(net: nn.Module, **more: Any) -> assay.Question:
    return assay.Question(net, X, **{"target": 1, "removal": assay.Baseline(ABSENT), **more})


@pytest.mark.parametrize("layer", ["0", "1", "2", "3"])
def test_ten_steps_are_complete_on_a_smooth_network(layer: str) -> None:
    """Captum 0.9.0 leaves out the ends of the way: 2.6e-5 with 1,000 steps on such a network."""
    gap = assay.Conductance(steps=10)(ask(smooth()).after(layer)).gap
    assert gap is not None
    assert float(gap.abs().max()) < 1e-6


def test_at_the_input_it_is_integrated_gradients() -> None:
    made = assay.Conductance(steps=9)(ask(smooth())).values
    torch.testing.assert_close(
        made, assay.IntegratedGradients(steps=9)(ask(smooth())).values, **TIGHT
    )


@pytest.mark.parametrize("traced", [True, False])
def test_it_is_a_sum_of_slopes_and_velocities_also_where_signals_skip_past(traced: bool) -> None:
    net = randomised(Skipping(traced), 4).double()
    behind = ask(net).after("act")
    made = assay.Conductance(steps=7)(behind)
    mean = assay.Conductance(steps=7, multiply=False)(behind)
    positions, weights = quadrature("gauss_legendre", 7)

    def rest(h: Tensor, x: Tensor) -> Tensor:
        out: Tensor = torch.tanh(net.head(h * 1.5 + x))[1]
        return out

    for i in range(len(X)):
        way = X[i] - ABSENT[i]
        total, average = torch.zeros(5, dtype=DOUBLE), torch.zeros(5, dtype=DOUBLE)
        for a, w in zip(positions.tolist(), weights.tolist()):
            point = ABSENT[i] + a * way
            h = torch.tanh(net.inner(point))
            jacobian = torch.autograd.functional.jacobian(lambda x: torch.tanh(net.inner(x)), point)
            slope = torch.autograd.functional.jacobian(lambda h, at=point: rest(h, at), h.detach())
            total += w * slope * (jacobian @ way)
            average += w * slope
        torch.testing.assert_close(made.values[i], total.detach(), **TIGHT)
        torch.testing.assert_close(mean.values[i], average.detach(), **TIGHT)


@pytest.mark.parametrize("traced", [True, False])
def test_slopes_through_a_unit_are_a_product_of_slopes(traced: bool) -> None:
    net = randomised(Skipping(traced), 4).double()
    question = ask(net)
    for unit in range(5):
        through = question.through("act", unit)
        assert torch.equal(through.prediction, question.prediction)
        outer = assay.Gradient()(question.after("act")).values[:, unit : unit + 1]
        inner = question.upto("act", unit).slope()
        torch.testing.assert_close(through.slope(), outer * inner, **TIGHT)


def test_what_passes_through_units_adds_up() -> None:
    question = ask(smooth())
    layer = assay.Conductance(steps=20)(question.after("1")).values
    units = [assay.IntegratedGradients(steps=20)(question.through("1", k)).values for k in range(6)]
    torch.testing.assert_close(torch.stack(units, 1).sum(2), layer, **TIGHT)
    whole = assay.IntegratedGradients(steps=20)(question).values
    torch.testing.assert_close(torch.stack(units).sum(0), whole, **TIGHT)
    some = assay.IntegratedGradients(steps=20)(question.through("1", slice(1, 3))).values
    torch.testing.assert_close(some, units[1] + units[2], **TIGHT)


def test_a_transformer_that_torch_fuses_where_nobody_asks_for_slopes() -> None:
    # Smooth throughout: a kink on the way is an error of the nodes.
    layer = nn.TransformerEncoderLayer(4, 2, 8, activation="gelu", batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    net = randomised(nn.Sequential(encoder, nn.Flatten(), nn.Linear(12, 2)), 3).double()
    x = randn(2, 3, 4, seed=1, dtype=DOUBLE)
    was = torch.backends.mha.get_fastpath_enabled()
    gap = assay.Conductance(steps=40)(assay.Question(net, x, target=0).after("0")).gap
    assert gap is not None
    assert float(gap.abs().max()) < 1e-6
    assert torch.backends.mha.get_fastpath_enabled() == was


def test_several_layers_and_images() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 2)
    )
    net = randomised(net, 1).double()
    x = randn(2, 1, 6, 6, dtype=DOUBLE)
    question = assay.Question(net, x, target=0)
    answer = assay.Conductance(steps=12)(question.after("1"))
    assert answer.shape == (3, 4, 4)
    assert answer.gap is not None
    assert float(answer.gap.abs().max()) < 1e-9
    part = assay.IntegratedGradients(steps=12)(question.through("1", (2, 1, 3)))
    place = 2 * 16 + 1 * 4 + 3
    torch.testing.assert_close(part.values.sum(1), answer.values[:, place], **TIGHT)


def test_all_outputs_at_once() -> None:
    behind = ask(smooth()).after("1")
    together = assay.Conductance(steps=8).for_outputs(behind)
    for output, answer in enumerate(together):
        alone = assay.Conductance(steps=8)(ask(smooth(), target=output).after("1"))
        torch.testing.assert_close(answer.values, alone.values, rtol=0, atol=1e-12)


def test_what_no_input_leads_to_is_refused() -> None:
    behind = ask(smooth()).after("1", removal=assay.Baseline(0.0))
    with pytest.raises(InputError, match="absent activations that the absent input leads to"):
        assay.Conductance()(behind)
    with pytest.raises(InputError, match="activations that inputs lead to"):
        assay.Smoothed(assay.Conductance(), draws=2)(ask(smooth()).after("1"))


@pytest.mark.parametrize("unit", [6, (0, 1), "0", True, slice(3, 3), None])
def test_units_that_are_none_are_refused(unit: Any) -> None:
    with pytest.raises(TargetError, match=r"units of an activation of shape \(6,\)"):
        ask(smooth()).through("1", unit)


def test_hiding_features_of_a_question_through_a_unit_is_refused() -> None:
    with pytest.raises(InputError, match="a method of slopes"):
        assay.ExactShapley()(ask(smooth()).through("1", 0))
    with pytest.raises(AssayError):
        ask(smooth()).through("1", 0).after("1")
