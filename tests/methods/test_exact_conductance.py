"""Conductance without error, where a network is linear piece by piece."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.errors import AbilityError
from toys import randn, randomised

DOUBLE = torch.float64
TIGHT = {"rtol": 0, "atol": 1e-10}
EXACT = assay.Conductance(exact=True)


class Net(nn.Module):
    """Convolutions and rectifiers, a shortcut around the second, and a head."""

    def __init__(self, activation: Any = torch.relu) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(12, 3)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        h = self.activation(self.first(x))
        h = self.activation(self.second(h)) + h
        return self.head(self.pool(h).flatten(1))


X = randn(3, 2, 4, 4, seed=1, dtype=DOUBLE)
ABSENT = randn(3, 2, 4, 4, seed=2, dtype=DOUBLE)


def ask(net: nn.Module, **more: Any) -> assay.Question:
    removal = assay.Baseline(ABSENT)
    return assay.Question(net, X, **{"target": 1, "removal": removal, **more})


NET = randomised(Net(), 1).double()


@pytest.mark.parametrize("layer", ["first", "pool", "head"])
def test_it_adds_up_to_the_last_digit(layer: str) -> None:
    """Captum 0.9.0 gives 389.991 for 390 with 500 steps, whose nodes lie on both sides of a kink."""
    answer = EXACT(ask(NET).after(layer))
    torch.testing.assert_close(
        answer.values.flatten(1).sum(1), answer.prediction - answer.base, **TIGHT
    )
    assert min(answer.facts["pieces"]) > 3


def test_at_the_input_it_is_exact_integrated_gradients() -> None:
    expected = assay.ExactIntegratedGradients()(ask(NET))
    answer = EXACT(ask(NET))
    torch.testing.assert_close(answer.values, expected.values, **TIGHT)
    assert answer.facts["pieces"] == expected.facts["pieces"]


@pytest.mark.parametrize("multiply", [True, False])
@pytest.mark.parametrize("layer", ["first", "second", "pool"])
def test_quadrature_comes_near_it(layer: str, multiply: bool) -> None:
    behind = ask(NET).after(layer)
    answer = assay.Conductance(exact=True, multiply=multiply)(behind).values
    errors = [
        float((assay.Conductance(steps, multiply=multiply)(behind).values - answer).abs().max())
        for steps in (16, 1024)
    ]
    assert errors[1] <= max(errors[0] / 8, 1e-12)
    assert errors[1] < 5e-3


def test_all_outputs_share_the_search() -> None:
    # Each output bends at places of its own.
    net = nn.Sequential(NET, nn.ReLU())
    behind = ask(net).after("0.first")
    for output, answer in enumerate(EXACT.for_outputs(behind)):
        alone = EXACT(ask(net, target=output).after("0.first")).values
        torch.testing.assert_close(answer.values, alone, **TIGHT)


def test_between_two_kinks_by_hand() -> None:
    """relu(x - 1) + relu(x - 3) from 0 to 4: 3 and 1 through the units."""

    class Kinks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.units = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.units(x - torch.tensor([1.0, 3.0], dtype=DOUBLE)).sum(1, keepdim=True)

    question = assay.Question(Kinks(), torch.tensor([[4.0]], dtype=DOUBLE), target=0)
    answer = EXACT(question.after("units"))
    expected = torch.tensor([[3.0, 1.0]], dtype=DOUBLE)
    torch.testing.assert_close(answer.values, expected, rtol=0, atol=1e-14)
    assert answer.facts["pieces"] == [3]


def test_what_is_not_linear_piece_by_piece_is_refused_by_its_name() -> None:
    net = randomised(Net(torch.tanh), 1).double()
    with pytest.raises(AbilityError, match="tanh"):
        EXACT(ask(net).after("pool"))
