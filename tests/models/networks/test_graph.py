"""A captured graph is used only where it answers like the network itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.models.networks import graph
from toys import FEATURES, randn, randomised

DOUBLE = torch.float64
X = randn(5, FEATURES, dtype=DOUBLE)


class Optional(nn.Module):
    """A forward with optional arguments and a branch that a trace may take wrongly."""

    def __init__(self, branch: Callable[..., bool]) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(FEATURES, 4), nn.Linear(4, 3)
        self.branch = branch

    def forward(
        self, x: Tensor, mask: Any = None, flag: bool = True, size: int = 2, **further: Any
    ) -> Tensor:
        h = torch.tanh(self.first(x))
        h = 3 * h if self.branch(x, mask, flag, size, further) else h * mask
        out: Tensor = self.head(h)
        return out


class Undecided(Optional):
    """The same, where the other branch runs as well."""

    def forward(
        self, x: Tensor, mask: Any = None, flag: bool = True, size: int = 2, **further: Any
    ) -> Tensor:
        h = torch.tanh(self.first(x))
        if self.branch(x, mask, flag, size, further):
            h = 3 * h
        out: Tensor = self.head(h)
        return out


OF_DEFAULTS: dict[str, Callable[..., bool]] = {
    "is None": lambda x, mask, flag, size, further: mask is None,
    "== None": lambda x, mask, flag, size, further: mask == None,  # noqa: E711
    "not": lambda x, mask, flag, size, further: not mask,
    "is True": lambda x, mask, flag, size, further: flag is True,
    "isinstance int": lambda x, mask, flag, size, further: isinstance(size, int),
    "no further": lambda x, mask, flag, size, further: "scale" not in further,
}
OF_INPUTS: dict[str, Callable[..., bool]] = {
    "isinstance": lambda x, mask, flag, size, further: isinstance(x, Tensor),
    "is_tensor": lambda x, mask, flag, size, further: torch.is_tensor(x),
    "type": lambda x, mask, flag, size, further: type(x) is Tensor,
    "no proxy": lambda x, mask, flag, size, further: not hasattr(x, "node"),
}
ALL = OF_DEFAULTS | OF_INPUTS


@pytest.mark.parametrize("kind", [Optional, Undecided])
@pytest.mark.parametrize("branch", ALL)
def test_behind_a_layer_the_branch_of_the_network_is_taken(
    kind: type[Optional], branch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    net = randomised(kind(ALL[branch])).double()
    behind = assay.Question(net, X, target=1).after("first")
    torch.testing.assert_close(behind.prediction, net(X)[:, 1].detach())
    leaf = net.first(X).detach().requires_grad_()
    (slope,) = torch.autograd.grad(net.head(3 * torch.tanh(leaf))[:, 1].sum(), leaf)
    torch.testing.assert_close(assay.Gradient()(behind).values, slope)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("branch", OF_DEFAULTS)
def test_a_branch_on_a_default_is_no_hindrance_to_a_capture(branch: str) -> None:
    net = randomised(Undecided(OF_DEFAULTS[branch])).double()
    assert graph.split(net, "first", (X[:2],), lambda out: out) is not None


@pytest.mark.parametrize("branch", OF_INPUTS)
def test_a_trace_that_takes_another_branch_is_no_capture(branch: str) -> None:
    net = randomised(Undecided(OF_INPUTS[branch])).double()
    assert graph.split(net, "first", (X[:2],), lambda out: out) is None


class Scaled(nn.Module):
    """A branch before the layer: the part behind it is right, whatever a trace makes of this one."""

    def __init__(self, branch: Callable[..., bool]) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(FEATURES, 4), nn.Linear(4, 3)
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        if self.branch(x, None, True, 2, {}):
            x = x / 3
        out: Tensor = self.head(torch.tanh(self.first(x)))
        return out


@pytest.mark.parametrize("branch", OF_INPUTS)
def test_a_trace_that_takes_another_branch_before_the_layer_is_no_capture(branch: str) -> None:
    net = randomised(Scaled(OF_INPUTS[branch])).double()
    assert graph.split(net, "first", (X[:2],), lambda out: out) is None
    behind = assay.Question(net, X, target=1).after("first")
    torch.testing.assert_close(behind.x, net.first(X / 3).detach())
    torch.testing.assert_close(behind.prediction, net(X)[:, 1].detach())


def test_an_optional_argument_that_is_an_input_stays_one() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(FEATURES, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 2.0) -> Tensor:
            h = torch.tanh(self.first(x))
            if mask is not None:
                h = h * mask
            out: Tensor = self.head(scale * h)
            return out

    net, mask = randomised(Masked()).double(), randn(5, 4, seed=3, dtype=DOUBLE)
    parts = graph.split(net, "first", (X, mask), lambda out: out)
    assert parts is not None
    torch.testing.assert_close(parts.behind(*parts.before(X, mask)), net(X, mask))


def test_a_forward_that_writes_on_its_input_is_captured_without_harm_to_the_sample() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(FEATURES, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(torch.tanh(self.first(x.mul_(2))))
            return out

    net, sample = randomised(Overwriting()).double(), X[:2].clone()
    parts = graph.split(net, "first", (sample,), lambda out: out)
    assert torch.equal(sample, X[:2])
    assert parts is not None
    torch.testing.assert_close(
        parts.behind(*parts.before(X[:2].clone())).detach(), net(X[:2].clone()).detach()
    )


class Nearest(nn.Module):
    """Distances to two places, which are made beside the inputs: as many as the sample has rows."""

    def __init__(self, read: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(FEATURES, 2), nn.Linear(2, 3)
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        places = x.new_tensor([[-0.5, 0.2], [0.5, 0.1]])
        h = torch.tanh(self.first(x))
        out: Tensor = self.head(h * self.read(h, places))
        return out


@pytest.mark.parametrize(
    "read",
    [
        lambda h, places: torch.cdist(h, places).amin(1, keepdim=True),
        lambda h, places: torch.cdist(h, places).mean(1, keepdim=True),
    ],
    ids=["nearest", "mean"],
)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_what_only_looks_as_if_it_had_a_row_for_each_input_is_not_carried(
    read: Callable[[Tensor, Tensor], Tensor], n: int
) -> None:
    net = randomised(Nearest(read)).double()
    behind = assay.Question(net, X[:n], target=1).after("first")
    torch.testing.assert_close(behind.prediction, net(X[:n])[:, 1].detach())
    leaf = net.first(X[:n]).detach().requires_grad_()
    h = torch.tanh(leaf)
    places = X.new_tensor([[-0.5, 0.2], [0.5, 0.1]])
    (slope,) = torch.autograd.grad(net.head(h * read(h, places))[:, 1].sum(), leaf)
    torch.testing.assert_close(assay.Gradient()(behind).values, slope)
