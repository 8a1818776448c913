"""A forward that decides by numbers of its rows is asked one row at a time, and others are not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.models.networks.decisions import watched
from toys import randn, randomised, tanh_net

METHODS = [assay.IntegratedGradients(steps=5), assay.Occlusion(), assay.ExactShapley()]


class Branching(nn.Module):
    """A Python branch on all rows at once: `decides` takes the number out."""

    def __init__(self, decides: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.decides = decides
        self.first = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.decides(x):
            return x.tanh()
        return x.tanh() * 2


DECISIONS = {
    "float": lambda x: float(x.detach().sum()) > 0.3,
    "item": lambda x: x.max().item() > 1.1,
    "truth": lambda x: x.sum() > 0.3,
    "any": lambda x: (x > 1.1).any(),
    "equal": lambda x: torch.equal(x.abs().round(), x.round()),
    "index": lambda x: [0, 1, 1][x.sum(0).argmax()],
    "written into a part": lambda x: _written(x)[0] > 0.3,
}


def _written(x: Tensor) -> Tensor:
    whole = torch.zeros(2, dtype=x.dtype)
    whole[:1].copy_(x.detach().sum().reshape(1))
    return whole


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("layer", [None, "first"])
@pytest.mark.parametrize("kind", DECISIONS)
def test_rows_are_answered_as_they_are_alone(
    kind: str, layer: str | None, method: assay.Method
) -> None:
    net = randomised(Branching(DECISIONS[kind])).double()
    x = randn(6, 3).double()

    def asked(rows: Tensor) -> assay.Attribution:
        question = assay.Question(net, rows, target=0)
        return method(question if layer is None else question.after(layer))

    together = asked(x)
    for row in range(6):
        alone = asked(x[row : row + 1])
        torch.testing.assert_close(together.values[row], alone.values[0], rtol=1e-10, atol=1e-12)
    assert together.facts["rows"].startswith("asked one by one")


def test_slopes_of_a_branch_are_those_of_autograd_by_hand() -> None:
    net = randomised(Branching(DECISIONS["float"])).double()
    x = randn(6, 3).double()
    slopes = assay.Gradient()(assay.Question(net, x, target=0)).values
    for row in range(6):
        leaf = x[row : row + 1].clone().requires_grad_()
        (expected,) = torch.autograd.grad(net(leaf)[0, 0], leaf)
        torch.testing.assert_close(slopes[row], expected[0], rtol=1e-10, atol=1e-12)


class Masked(nn.Module):
    """Looks whether anything of the context is masked, as language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if float(self.head.weight.sum()) == 0.0 or mask.all():
            return self.head(x)
        return self.head(x * mask)


@pytest.mark.parametrize("masked", [True, False])
def test_numbers_of_weights_and_context_decide_nothing_about_rows(masked: bool) -> None:
    x = randn(4, 3)
    if masked:
        context = {"mask": assay.Aligned(torch.ones(4, 3))}
        question = assay.Question(randomised(Masked()), x, target=0, context=context)
    else:
        question = assay.Question(tanh_net(), randn(4, 4), target=0)
    answer = assay.Occlusion()(question)
    assert "rows" not in answer.facts
    assert not question.model.one_by_one


def test_a_call_that_cannot_be_watched_is_made_again() -> None:
    def unwatchable(rows: Any, context: Any) -> Tensor:
        if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            raise NotImplementedError("There was no rule registered for this operator and mode")
        return rows[0] * 2

    outputs, taken_out = watched(unwatchable, (torch.ones(1, 2),), {})
    torch.testing.assert_close(outputs, torch.full((1, 2), 2.0))
    assert not taken_out


def test_a_compiled_network_is_still_compiled() -> None:
    compiled = []

    def backend(graph: Any, example: Any) -> Any:
        compiled.append(graph)
        return graph

    net = torch.compile(tanh_net(), backend=backend)
    _ = assay.Question(net, randn(4, 4), target=0).prediction
    assert compiled


def test_watching_does_not_load_the_compiler() -> None:
    asks = (
        "import sys, torch, assay; net = torch.nn.Linear(3, 2).eval(); "
        "assay.Question(net, torch.ones(2, 3), target=0).prediction; "
        "print('torch._dynamo' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
