"""Checkpoints in the user's network: a part that would be asked again on the way back, unheard."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import assay
from assay import LRP, Deconvnet, DeepLift, FullGrad, GuidedBackprop
from assay.errors import AbilityError
from assay.methods.rules import AttentionAware, EpsilonAlpha2Beta1Flat, EpsilonGammaBox
from toys import randn, randomised

DOUBLE = torch.float64
X = randn(3, 2, 6, 6, seed=1, dtype=DOUBLE)
METHODS = [
    DeepLift(),
    DeepLift("reveal_cancel"),
    DeepLift("genomics"),
    LRP(),
    LRP(EpsilonGammaBox(-4.0, 4.0)),
    LRP(EpsilonAlpha2Beta1Flat()),
    LRP(AttentionAware(gamma=0.25)),
    GuidedBackprop(),
    Deconvnet(),
    FullGrad(),
]


class Net(nn.Module):
    """Two blocks and a head; the blocks may be checkpoints, and may write in place."""

    def __init__(self, way: str, writes: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(36, 2)
        self.way, self.writes = way, writes

    def block(self, h: Tensor) -> Tensor:
        given = torch.sigmoid(self.norm(self.second(h)))
        if self.writes:
            # What the sigmoid needs on its way back is written over.
            given += h
            given *= 2
            return given
        return (given + h) * 2

    def forward(self, x: Tensor) -> Tensor:
        parts = [nn.Sequential(self.first, nn.ReLU()), self.block, nn.MaxPool2d(2)]
        if self.way == "sequential":
            modules = nn.Sequential(*(Part(part) for part in parts))
            h = checkpoint_sequential(modules, 3, x, use_reentrant=False)
        else:
            h = x
            for part in parts:
                h = self.asked(part, h)
        return self.head(h.flatten(1))

    def asked(self, part: Any, h: Tensor) -> Tensor:
        if self.way == "plain":
            return part(h)
        return checkpoint(part, h, use_reentrant=self.way == "reentrant")


class Part(nn.Module):
    def __init__(self, call: Any) -> None:
        super().__init__()
        self.call = call

    def forward(self, h: Tensor) -> Tensor:
        return self.call(h)


def ask(way: str, writes: bool = False) -> assay.Question:
    net = randomised(Net(way, writes), 3).double()
    return assay.Question(net, X, target=1, removal=assay.Baseline(0.1))


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("way", ["checkpoint", "sequential"])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_checkpoint_changes_no_answer(method: Any, way: str, writes: bool) -> None:
    expected = method(ask("plain")).values
    values = method(ask(way, writes)).values
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", [DeepLift(), LRP(), GuidedBackprop(), FullGrad()], ids=repr)
def test_a_reentrant_one_is_refused_by_name(method: Any) -> None:
    with pytest.raises(AbilityError, match="CheckpointFunctionBackward"):
        method(ask("reentrant"))


def test_tensors_that_the_user_packs_are_held_as_well() -> None:
    """`save_on_cpu` and its kin are hooks of the same kind."""

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net("plain", writes=False)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autograd.graph.save_on_cpu():
                return self.net(x)

    packed = randomised(Packed(), 3).double()
    question = assay.Question(packed, X, target=1, removal=assay.Baseline(0.1))
    expected = DeepLift("reveal_cancel")(ask("plain")).values
    torch.testing.assert_close(
        DeepLift("reveal_cancel")(question).values, expected, rtol=0, atol=1e-10
    )
