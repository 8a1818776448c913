"""What real networks brought to light: merged batch norms, constants beside the signal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.methods.rules import (
    LRP,
    AttentionAware,
    Composite,
    Composition,
    DeepLift,
    Epsilon,
    EpsilonPlus,
    Pass,
    WSquare,
    Zero,
)


class _Normed(nn.Module):
    """A convolution with a batch norm of its own scale, and a sum around a second pair."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(2))
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norms[0](self.first(x)))
        h = torch.relu(self.norms[1](self.second(h)) + h)
        return self.last(h.mean((2, 3)))


@pytest.fixture
def normed() -> nn.Module:
    torch.manual_seed(0)
    net = _Normed().double().eval()
    for norm in net.norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return net


@pytest.fixture
def pictures() -> Tensor:
    return torch.randn(3, 2, 5, 5, dtype=torch.float64)


@pytest.mark.parametrize(
    "composite",
    [
        AttentionAware(),
        Composite({"convolution": Zero()}),
        Composite({"convolution": Epsilon(0.1)}, bias="ignore"),
        Composite({"convolution": Zero()}, bias="ignore"),
        Composite({"convolution": Epsilon()}, first=WSquare()),
        EpsilonPlus(),
    ],
)
def test_a_merged_batch_norm_leaves_the_answer_as_it_is(
    normed: nn.Module, pictures: Tensor, composite: Composition
) -> None:
    answer = LRP(composite)(assay.Question(normed, pictures))
    report = answer.facts["conservation"]
    assert abs(report["unaccounted"]) < 1e-10 * abs(report["output"])


def test_pass_at_a_merged_convolution_gives_its_value(normed: nn.Module, pictures: Tensor) -> None:
    composite = Composite({"convolution": Epsilon()}, layers={"second": Pass()})
    answer = LRP(composite)(assay.Question(normed, pictures))
    assert bool(answer.values.isfinite().all())


class _Beside(nn.Module):
    """A class token beside the words, a mask, and a filled edge: constants that reach the output."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.token = nn.Parameter(torch.randn(1, 3))
        self.last = nn.Linear(12, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "cat":
            x = torch.cat([self.token.expand(len(x), -1).unsqueeze(1), x], 1)
        if self.way == "where":
            x = torch.where(torch.arange(3) > 0, x, self.token)
        if self.way == "masked_fill":
            x = x.masked_fill(torch.arange(3) > 1, 2.0)
        if self.way == "pad":
            x = nn.functional.pad(x, (0, 0, 0, 1), value=1.5)
        x = x.flatten(1)
        return nn.functional.linear(x, self.last.weight[:, : x.shape[1]])


@pytest.mark.parametrize("way", ["cat", "where", "masked_fill", "pad", "none"])
def test_constants_beside_the_signal_absorb_what_they_get(way: str) -> None:
    torch.manual_seed(0)
    net = _Beside(way).double().eval()
    answer = LRP()(assay.Question(net, torch.randn(2, 3, 3, dtype=torch.float64)))
    report = answer.facts["conservation"]
    assert abs(report["unaccounted"]) < 1e-10
    absorbed = {name for name, value in report["absorbed"].items() if abs(value) > 1e-3}
    assert absorbed == ({way} - {"none"})


def test_reveal_cancel_looks_through_a_batch_norm(normed: nn.Module, pictures: Tensor) -> None:
    merged = _Normed().double().eval()
    merged.load_state_dict(normed.state_dict())
    for name, norm in (("first", merged.norms[0]), ("second", merged.norms[1])):
        convolution = torch.nn.utils.fuse_conv_bn_eval(getattr(merged, name), norm)
        setattr(merged, name, convolution)
    merged.norms = nn.ModuleList(nn.Identity() for _ in range(2))
    answers = [
        DeepLift(rule="reveal_cancel")(
            assay.Question(net, pictures, target=0, removal=assay.Baseline(0.0))
        )
        for net in (normed, merged)
    ]
    assert torch.allclose(answers[0].values, answers[1].values, rtol=1e-10, atol=1e-12)
    assert answers[0].facts["operations"]["reveal_cancel"] == {"relu": 1}


def test_two_batch_norms_behind_a_transposed_convolution() -> None:
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(4) for _ in range(2)]
    for norm in norms:
        nn.init.normal_(norm.weight)
        norm.running_var.uniform_(0.5, 2.0)
    net = nn.Sequential(
        nn.ConvTranspose2d(2, 4, 3), *norms, nn.ReLU(), nn.Flatten(), nn.Linear(196, 2)
    )
    question = assay.Question(net.double().eval(), torch.randn(2, 2, 5, 5, dtype=torch.float64))
    report = LRP(AttentionAware())(question).facts["conservation"]
    assert abs(report["unaccounted"]) < 1e-10 * abs(report["output"])
