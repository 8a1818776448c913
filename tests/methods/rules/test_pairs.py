"""Work that inputs share with a background changes no number: beside one input and one row at a time."""

from __future__ import annotations

from collections.abc import Callable

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
    singly = [
        torch.stack([
            method(assay.Question(net, one[None], target=0, removal=assay.Baseline(row))).values[0]
            for row in rows
        ])
        for one in x
    ]  # fmt: skip
    assert torch.allclose(
        together.values, torch.stack([part.mean(0) for part in singly]), atol=1e-12
    )
    errors = torch.stack([part.std(0) / 6**0.5 for part in singly])
    assert torch.allclose(together.standard_error, errors, atol=1e-9)
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
