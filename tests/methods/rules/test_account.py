"""What is left of relevance, and forwards that are heard in another memory format than they like."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import assay
from assay.errors import AbilityError
from assay.methods.rules import LRP, AlphaBeta, Composite, DeepLift, EpsilonPlus, GuidedBackprop
from toys import randn, randomised


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), 2)


class Views(nn.Module):
    """Images go through `view`, which refuses the channels-last order, where slopes are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(2, 3, 3, padding=1)
        self.last = nn.Linear(3 * 4 * 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.pad(functional.relu(self.one(x)), (0, 0, 0, 0))
        h = h.view(len(x), -1) if torch.is_grad_enabled() else h.flatten(1)
        return self.last(h)


@pytest.mark.parametrize("method", [GuidedBackprop(), LRP(EpsilonPlus()), DeepLift()])
def test_a_network_that_reads_no_input_is_said_to_read_none(method: assay.Method) -> None:
    question = assay.Question(Constant(), torch.rand(2, 3), target=0)
    with pytest.raises(AbilityError, match="the same whatever the input"):
        method(question)


@pytest.mark.parametrize("method", [GuidedBackprop(), LRP(EpsilonPlus()), DeepLift()])
def test_a_forward_that_refuses_channels_last_is_heard_in_the_plain_order(
    method: assay.Method,
) -> None:
    net = randomised(Views(), 1).double().eval()
    images = randn(4, 2, 4, 4, seed=2, dtype=torch.float64)
    answer = method(assay.Question(net, images, target=0))
    plain = method(assay.Question(assay.wrap(net, batch_size=4), images, target=0))
    assert torch.allclose(answer.values, plain.values, rtol=1e-10, atol=1e-12)
    assert answer.facts["operations"] == plain.facts["operations"]


def test_the_account_says_how_large_its_rounding_is() -> None:
    torch.manual_seed(0)
    layers = [part for _ in range(8) for part in (nn.Linear(16, 16), nn.ReLU())]
    net = nn.Sequential(*layers, nn.Linear(16, 1)).eval()
    rule = AlphaBeta(2.0)
    question = assay.Question(net, torch.randn(4, 16), target=0)
    account = LRP(Composite({"dense": rule}))(question).facts["conservation"]
    through = abs(account["output"]) + abs(account["input"])
    through += sum(abs(value) for value in account["absorbed"].values())
    assert account["rounding"] == pytest.approx(torch.finfo(torch.float32).eps * through)
    assert abs(account["unaccounted"]) < 10 * account["rounding"]
