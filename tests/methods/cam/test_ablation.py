"""What a target loses without a channel: asked channel by channel, and from slopes where it is affine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.methods.cam.ablation import affine_slopes
from toys import randn, randomised

DOUBLE = torch.float64
EXACT = {"rtol": 0, "atol": 1e-10}
CHANNELS = 64
"""With as many, and 32 x 32 places, looking for an affine rest pays."""


class Net(nn.Module):
    """A layer, and what is handed in behind it."""

    def __init__(self, rest: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.rest = rest()
        self.head = nn.Linear(CHANNELS, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.rest(self.layer(x))
        return self.head(h.mean((2, 3)) if h.dim() == 4 else h)


class Straight(torch.autograd.Function):
    """The number itself, with a slope that is not its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
        return 3 * cotangents[0]


class Lying(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Straight.apply(x)


class Gated(nn.Module):
    """Bends where no activation is: they lie between -30 and 30."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(-1e3, 1e3)


class Squared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x


def net(rest: Callable[[], nn.Module]) -> Net:
    made: Net = randomised(Net(rest)).to(DOUBLE).eval()
    return made


def inputs(n: int = 2, side: int = 32) -> Tensor:
    return randn(n, 1, side, side, seed=5, dtype=DOUBLE)


def losses(network: Net, x: Tensor, target: int) -> Tensor:
    """f - f without channel k, one by one: (n, channels)."""
    with torch.no_grad():
        whole = network(x)[:, target]
        parts = []
        for k in range(CHANNELS):

            def hook(module: nn.Module, given: Any, output: Tensor, k: int = k) -> Tensor:
                output = output.clone()
                output[:, k] = 0
                return output

            handle = network.layer.register_forward_hook(hook)
            parts.append(whole - network(x)[:, target])
            handle.remove()
    return torch.stack(parts, 1)


def mapped(network: Net, x: Tensor, target: int) -> Tensor:
    """The map by hand, (n, h, w)."""
    activations = network.layer(x).detach()
    return (losses(network, x, target)[:, :, None, None] * activations).sum(1)


AFFINE: dict[str, Callable[[], nn.Module]] = {
    "nothing": nn.Identity,
    "norm and average": lambda: nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.AvgPool2d(4)),
    "convolution": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Dropout(0.5)),
}
OTHERS: dict[str, Callable[[], nn.Module]] = {
    "rectifier": nn.ReLU,
    "rectifier in place": lambda: nn.ReLU(inplace=True),
    "bends elsewhere": Gated,
    "squares": Squared,
    "softmax": lambda: nn.Softmax2d(),
    "maximum": lambda: nn.AdaptiveMaxPool2d(1),
    "a slope that lies": Lying,
}


@pytest.mark.parametrize("name", [*AFFINE, *OTHERS])
def test_the_map_is_that_of_channels_one_by_one(name: str) -> None:
    network = net({**AFFINE, **OTHERS}[name])
    x = inputs()
    question = assay.Question(network, x, target=1, features=assay.Pixels())
    answer = assay.AblationCam("layer", relative=False)(question)
    expected = mapped(network, x, 1)
    size = float(expected.abs().max())
    torch.testing.assert_close(answer.values.view_as(expected) / size, expected / size, **EXACT)
    # One backward pass, and one channel that is asked all the same.
    if name in AFFINE:
        assert answer.facts["forwards"] + answer.facts["backwards"] < CHANNELS
    else:
        assert answer.facts["forwards"] >= 2 * CHANNELS


@pytest.mark.parametrize("name", [*AFFINE, *OTHERS])
def test_what_is_affine_is_seen_from_the_operations(name: str) -> None:
    """Not from answers: a bend that no activation passes counts. A slope of one's own does not lie in
    the forward, and is found out by the channel that is asked.
    """
    question = assay.Question(net({**AFFINE, **OTHERS}[name]), inputs(), target=1).after("layer")
    slopes = affine_slopes(question)
    assert (slopes is not None) == (name in AFFINE or name == "a slope that lies")
    if name in AFFINE:
        torch.testing.assert_close(slopes, question.slope(), **EXACT)


def test_a_target_that_is_not_affine_is_none() -> None:
    network = net(nn.Identity)
    question = assay.Question(network, inputs(), target=assay.LogProb(1)).after("layer")
    assert affine_slopes(question) is None
    contrast = assay.Question(network, inputs(), target=assay.Contrast(1, 0)).after("layer")
    assert affine_slopes(contrast) is not None


@pytest.mark.parametrize("batch", [1, 5, 64, 100])
@pytest.mark.parametrize("rest", [nn.ReLU, lambda: nn.ReLU(inplace=True)])
def test_chunks_of_any_size_have_the_same_map(batch: int, rest: Callable[[], nn.Module]) -> None:
    """Rows are written in place from chunk to chunk, and inputs change in the middle of one."""
    network = net(rest)
    x = inputs(3, side=6)
    model = assay.wrap(network, batch_size=batch)
    question = assay.Question(model, x, target=1, features=assay.Pixels())
    answer = assay.AblationCam("layer", relative=False)(question)
    expected = mapped(network, x, 1)
    torch.testing.assert_close(answer.values.view_as(expected), expected, **EXACT)
