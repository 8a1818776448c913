"""Work that inputs share with a background changes no number: beside one input and one row at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay import engine
from assay.methods.rules import DeepLift
from assay.methods.rules.deep_lift import NonlinearRule


class _Wide(nn.Module):
    """Grouped and dilated convolutions, in-place rectifiers, a sum, a norm, pooling, a view."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, stride=2)
        self.second = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)
        self.worded = nn.Conv2d(4, 4, 3, padding="same")
        self.norm = nn.BatchNorm2d(4)
        self.hidden, self.last = nn.Linear(16, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.relu(self.first(x), inplace=True)
        h = nn.functional.relu6(self.norm(self.second(h)) + h)
        h += 0.1
        h = torch.tanh(self.worded(h))
        h = nn.functional.max_pool2d(h, 2)
        h = h.view(h.shape[0], -1)
        return self.last(nn.functional.gelu(self.hidden(h)))


class _Attentive(nn.Module):
    """A class token, attention by heads, and a norm: rows are folded into other dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.embed, self.last = nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.reshape(len(x), -1, 16))
        h = torch.cat([self.token.expand(len(x), -1, -1), h], 1)
        return self.last(self.layer(h)[:, 0])


def _networks() -> dict[str, Callable[[Tensor], Tensor]]:
    torch.manual_seed(0)
    wide = _Wide().double().eval()
    wide.norm.running_var.uniform_(0.5, 2.0)
    return {
        "wide": wide,
        "attentive": _Attentive().double().eval(),
    }


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
@pytest.mark.parametrize("name", ["wide", "attentive"])
@pytest.mark.parametrize("count", [1, 5, 11])
def test_a_background_beside_one_row_at_a_time(name: str, rule: NonlinearRule, count: int) -> None:
    net = _networks()[name]
    x = torch.randn(count, 2, 8, 8, dtype=torch.float64)
    rows = torch.randn(6, 2, 8, 8, dtype=torch.float64)
    method = DeepLift(rule=rule)
    with engine.tally() as spent:
        question = assay.Question(net, x, target=0, removal=assay.Background(rows))
        together = method(question)
    # The first, one in between and the last stand for all of them.
    some = sorted({0, count // 2, count - 1})
    singly = [
        torch.stack([
            method(assay.Question(net, x[[i]], target=0, removal=assay.Baseline(row))).values[0]
            for row in rows
        ])
        for i in some
    ]  # fmt: skip
    assert torch.allclose(
        together.values[some], torch.stack([part.mean(0) for part in singly]), atol=1e-12
    )
    errors = torch.stack([part.std(0) / 6**0.5 for part in singly])
    assert torch.allclose(together.standard_error[some], errors, atol=1e-9)
    assert spent.backwards == 6 * count
    if name == "wide" and count == 5:
        # Six rows and a few for checks instead of thirty: the references' forward is shared.
        assert spent.forwards < 30


def test_targets_of_their_own_beside_a_shared_reference() -> None:
    net = _networks()["wide"]
    x = torch.randn(4, 2, 8, 8, dtype=torch.float64)
    target = assay.Output(torch.tensor([0, 1, 2, 1]))
    answer = DeepLift()(assay.Question(net, x, target=target, removal=assay.Baseline(0.3)))
    assert float(answer.gap.abs().max()) < 1e-12
    for row in range(4):
        alone = DeepLift()(
            assay.Question(
                net, x[row : row + 1], target=int(target.index[row]), removal=assay.Baseline(0.3)
            )
        )
        assert torch.allclose(alone.values[0], answer.values[row], atol=1e-12)


@pytest.mark.parametrize("count", [2, 5, 6, 16])
def test_inputs_and_references_go_forward_once_each(count: int) -> None:
    """2 B R rows in captum 0.9.0 and shap 0.51.0; as many inputs as references are told apart, too."""
    net = _networks()["wide"]
    x, rows = torch.randn(count, 2, 8, 8).double(), torch.randn(6, 2, 8, 8).double()
    answer = DeepLift()(assay.Question(net, x, target=0, removal=assay.Background(rows)))
    assert answer.facts["backwards"] == 6 * count
    # The clean inputs, the references, and one of these plainly; one more to tell their rows apart.
    assert answer.facts["forwards"] == count + 6 + 1 + (count == 6)
    base = assay.Question(net, x, target=0, removal=assay.Background(rows)).base
    torch.testing.assert_close(answer.base, base, rtol=1e-12, atol=1e-12)
    assert float(answer.gap.abs().max()) < 1e-12


@pytest.mark.parametrize("wrapped", [assay.Absolute, assay.TimesInput])
def test_the_forward_that_is_compared_says_the_prediction(wrapped: Any) -> None:
    net = _networks()["wide"]
    x = torch.randn(5, 2, 8, 8).double()

    def question() -> assay.Question:
        return assay.Question(net, x, removal=assay.Baseline(0.1))

    answer = DeepLift()(question())
    torch.testing.assert_close(answer.prediction, question().prediction, rtol=1e-12, atol=1e-12)
    # Forward alone: the one reference under rules, and once more plainly for the base.
    assert (answer.facts["forwards"], answer.facts["backwards"]) == (2, 5)
    inner = DeepLift() if wrapped is assay.Absolute else assay.Gradient()
    ours, theirs = wrapped(inner)(question()), inner(question())
    for fact in ("forwards", "backwards"):
        assert ours.facts[fact] == theirs.facts[fact]


def _twice_written(x: Tensor) -> Tensor:
    """What an activation gave, and what a convolution was given, are written over later."""
    h = torch.relu(x @ _MIX)
    h += 1.0
    k = torch.nn.functional.linear(h, _MIX)
    h *= 3.0
    k = torch.nn.functional.batch_norm(k, _MIX[0], _MIX[1] ** 2 + 1.0)
    return torch.tanh(k) + h


_MIX = torch.randn(4, 4, generator=torch.Generator().manual_seed(3)).double()


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_what_is_written_over_later_counts_as_it_was(rule: NonlinearRule) -> None:
    x, rows = torch.randn(3, 4).double(), torch.randn(5, 4).double()

    def written_once(x: Tensor) -> Tensor:
        h = torch.relu(x @ _MIX) + 1.0
        k = torch.nn.functional.linear(h, _MIX)
        k = torch.nn.functional.batch_norm(k, _MIX[0], _MIX[1] ** 2 + 1.0)
        return torch.tanh(k) + h * 3.0

    def added_to(x: Tensor) -> Tensor:
        h = torch.relu(x @ _MIX)
        h += 1.0
        return torch.tanh(h)

    def added(x: Tensor) -> Tensor:
        return torch.tanh(torch.relu(x @ _MIX) + 1.0)

    twins = [(_twice_written, written_once), (added_to, added)]
    removals = [assay.Background(rows), assay.Baseline(0.2)]
    for removal, twin in itertools.product(removals, twins):
        ours, theirs = (
            DeepLift(rule)(assay.Question(f, x, target=1, removal=removal)) for f in twin
        )
        torch.testing.assert_close(ours.values, theirs.values, rtol=1e-12, atol=1e-12)
        assert float(ours.gap.abs().max()) < 1e-12


@pytest.mark.parametrize("activation", ["relu", "relu6", "hardtanh", "leaky_relu", "prelu", "elu"])
def test_where_input_and_reference_meet_the_slope_is_taken(activation: str) -> None:
    """Both inputs differ from their reference, what is given to the activation does not."""
    call = getattr(torch.nn.functional, activation)
    extra = (torch.tensor([0.3]).double(),) if activation == "prelu" else ()
    at = torch.tensor([-2.0, -0.5, 0.25, 0.5, 7.0]).double()

    def net(x: Tensor) -> Tensor:
        return call(x[:, :1] - x[:, 1:] + at, *extra).sum(1)

    leaf = at.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(call(leaf, *extra).sum(), leaf)
    expected = torch.tensor([[1.0, -1.0], [3.0, -3.0]]).double() * slopes.sum()
    x = torch.tensor([[1.0, 1.0], [3.0, 3.0]]).double()
    for removal in (assay.Baseline(0.0), assay.Background(torch.zeros(3, 2).double())):
        values = DeepLift()(assay.Question(net, x, removal=removal)).values
        torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12)
