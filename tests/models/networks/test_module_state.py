"""A network is left as it was found, and every forward starts from there, whatever it keeps."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import assay
from assay.errors import ModelError
from assay.models.networks.module_state import ModuleState, parameters_of, parts_of
from toys import randn, randomised

DOUBLE = torch.float64
X = randn(3, 4, dtype=DOUBLE)


@dataclass
class Memory:
    """An object that holds state, and another."""

    calls: int = 0
    seen: list[Any] = field(default_factory=list)
    inner: Any = None


class Keeping(nn.Module):
    """A network that keeps something, and whose answer depends on it."""

    def __init__(self, held: Any, write: Callable[[Any, Tensor], float]) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.write = write
        if isinstance(held, Tensor):
            self.register_buffer("held", held)
        else:
            self.held = held

    def forward(self, x: Tensor) -> Tensor:
        # Asked before writing: 0 in every forward that starts afresh.
        return self.fc(x) * (1 + self.write(self.held, x))  # type: ignore[no-any-return]


def filled(held: Any, x: Tensor) -> float:
    came = float(held.detach().abs().sum())
    held.copy_(x[:1].abs() + 1)
    return came


def added(held: Any, x: Tensor) -> float:
    came = float(held.sum())
    held += 1
    return came


def appended(held: Any, x: Tensor) -> float:
    held.append(1)
    return float(len(held) - 1)


def under_a_key(held: Any, x: Tensor) -> float:
    held["a"].append(1)
    return float(len(held["a"]) - 1)


def counted(held: Any, x: Tensor) -> float:
    held["a"] += 1
    return float(held["a"] - 1)


def by_an_object(held: Any, x: Tensor) -> float:
    memory = held.inner or held
    memory.calls += 1
    memory.seen.append(x)
    return float(memory.calls - 1 + len(memory.seen) - 1)


KEPT: dict[str, tuple[Callable[[], Any], Callable[[Any, Tensor], float]]] = {
    "buffer": (lambda: torch.zeros(3, dtype=DOUBLE), added),
    "large buffer": (lambda: torch.zeros(70_000, dtype=DOUBLE), added),
    "activations": (lambda: torch.zeros(1, 4, dtype=DOUBLE), filled),
    "deque": (lambda: deque(maxlen=9), appended),
    "defaultdict": (lambda: defaultdict(list), under_a_key),
    "ordered": (lambda: OrderedDict(a=[]), under_a_key),
    "nested": (lambda: {"a": deque()}, under_a_key),
    "counter": (Counter, counted),
    "array": (lambda: np.zeros(3), added),
    "tensor in a list": (
        lambda: [torch.zeros(3)],
        lambda held, x: added(held[0], x),
    ),
    "large tensor in a tuple": (
        lambda: (torch.zeros(70_000),),
        lambda held, x: added(held[0], x),
    ),
    "object": (Memory, by_an_object),
    "object in an object": (lambda: Memory(inner=Memory()), by_an_object),
}


def shown(held: Any) -> str:
    if isinstance(held, Tensor):
        return f"{float(held.detach().sum())} {held.requires_grad} {held.is_leaf}"
    return repr(held)


@pytest.mark.parametrize("size", [1, 2, 64])
@pytest.mark.parametrize("kind", KEPT)
def test_every_forward_starts_from_what_was_found_and_leaves_it(kind: str, size: int) -> None:
    make, write = KEPT[kind]
    net = randomised(Keeping(make(), write)).double()
    held, before = net.held, shown(net.held)
    question = assay.Question(assay.wrap(net, batch_size=size), X, target=1)
    answer = assay.IntegratedGradients(16)(question)
    weight = net.fc.weight[1].detach()
    torch.testing.assert_close(answer.values, X * weight, rtol=0, atol=1e-12)
    assert net.held is held
    assert shown(net.held) == before


class Late(nn.Module):
    """Writes to what cannot be copied in time."""

    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.register_buffer("large", torch.zeros(70_000))
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            with torch.no_grad():
                (self.fc.weight if self.weights else self.large).add_(1)
        out: Tensor = self.fc(x)
        return out


@pytest.mark.parametrize("weights", [True, False])
def test_what_cannot_be_put_back_is_refused_by_name(weights: bool) -> None:
    net = randomised(Late(weights)).double()
    name = "fc.weight" if weights else "large"
    question = assay.Question(net, X, target=1)
    assert question.prediction.shape == (3,)
    with pytest.raises(ModelError, match=rf"has written to {name}\."):
        assay.Gradient()(question)


def test_train_mode_comes_back_and_is_off_in_between() -> None:
    net = nn.Sequential(nn.Linear(4, 2), nn.Tanh()).double().train()
    net[1].eval()
    state = ModuleState.of(net)
    state.freeze()
    assert not any(part.training for part in net.modules())
    state.restore_parts()
    assert not any(part.training for part in net.modules())
    state.restore()
    assert [part.training for part in net.modules()] == [True, True, False]
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_what_was_not_written_to_keeps_its_counter() -> None:
    net = nn.BatchNorm1d(4).eval()
    before = [tensor._version for tensor in net.buffers()]
    state = ModuleState.of(net, large=True)
    net(torch.randn(3, 4))
    state.restore()
    assert [tensor._version for tensor in net.buffers()] == before


class Shifted(nn.Module):
    """Writes on what it is given beside the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor, given: Any) -> Tensor:
        scale = given if isinstance(given, Tensor) else given["scale"][0]
        scale.mul_(0.5)
        return self.fc(x * scale)  # type: ignore[no-any-return]


@pytest.mark.parametrize("nested", [False, True])
def test_what_all_inputs_share_is_the_same_in_every_chunk_and_stays(nested: bool) -> None:
    net, scale = randomised(Shifted()).double(), torch.ones(4, dtype=DOUBLE)
    given = assay.Shared({"scale": [scale]} if nested else scale)
    model = assay.wrap(net, batch_size=7)
    question = assay.Question(model, X, target=1, context={"given": given})
    values = assay.IntegratedGradients(16)(question).values
    torch.testing.assert_close(values, X * net.fc.weight[1].detach() / 2, rtol=0, atol=1e-12)
    assert torch.equal(scale, torch.ones(4, dtype=DOUBLE))


def trained() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double().train()


def keyword(x: Tensor, net: nn.Module) -> Tensor:
    return net(x)  # type: ignore[no-any-return]


IN_FUNCTIONS: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "closure": lambda net: lambda x: net(x),
    "method": lambda net: net.forward,
    "partial": lambda net: partial(keyword, net=net),
    "default": lambda net: lambda x, net=net: net(x),  # type: ignore[misc]
}


@pytest.mark.parametrize("kind", IN_FUNCTIONS)
def test_running_statistics_inside_a_function_are_left_also_when_it_is_refused(kind: str) -> None:
    net = trained()
    before = [buffer.clone() for buffer in net.buffers()]
    with pytest.raises((ModelError, ValueError)):
        assay.Gradient()(assay.Question(IN_FUNCTIONS[kind](net), X, target=1))
    assert all(torch.equal(now, then) for now, then in zip(net.buffers(), before))
    assert all(part.training for part in net.modules())


class Functional(nn.Module):
    """A batch norm by its function, in train mode whatever the mode of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.register_buffer("running_mean", torch.zeros(4))
        self.register_buffer("running_var", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        out: Tensor = self.fc(functional.batch_norm(x, mean, var, training=True))
        return out


def test_statistics_that_no_counter_tells_of_are_left() -> None:
    net = randomised(Functional()).double()
    with pytest.raises((ModelError, ValueError)):
        assay.Gradient()(assay.Question(net, X, target=1))
    assert net.running_mean.tolist() == [0.0] * 4
    assert net.running_var.tolist() == [1.0] * 4


def test_memory_of_a_network_inside_a_function_does_not_run_on() -> None:
    net = randomised(Keeping(torch.zeros(3, dtype=DOUBLE), added)).double()
    question = assay.Question(lambda x: net(x), X, target=1)
    values = assay.ExactShapley()(question).values
    torch.testing.assert_close(values, X * net.fc.weight[1].detach(), rtol=0, atol=1e-12)
    assert float(net.held.sum()) == 0


class Two(nn.Module):
    """Two dictionaries, one behind the other."""

    def __init__(self) -> None:
        super().__init__()
        self.one = {"a": 1.5, "b": 2.5}
        self.other = {"c": 3.5}


WRITES: dict[str, Callable[[Two], Any]] = {
    # Of all dictionaries in a row, keys and values stay where they were: one row or the other.
    "moved on": lambda net: (net.other.clear(), net.other.update(b=net.one.pop("b"), c=3.5)),
    "moved back": lambda net: net.other.update(a=net.one.pop("a")),
    "renamed": lambda net: net.one.update(z=net.one.pop("b")),
    "exchanged": lambda net: net.one.update(a=net.one["b"], b=net.one["a"]),
    "another": lambda net: net.one.update(a=7.5),
    "an attribute": lambda net: setattr(net, "one", {}),
}


@pytest.mark.parametrize("write", WRITES)
def test_every_write_to_a_dictionary_is_seen_among_all_of_them(write: str) -> None:
    net = Two().eval()
    held = net.one
    state = ModuleState.of(net)
    assert state.unchanged
    WRITES[write](net)
    assert not state.unchanged
    state.restore_parts()
    assert state.unchanged
    assert net.one is held
    assert (net.one, net.other) == ({"a": 1.5, "b": 2.5}, {"c": 3.5})


class OwnParameters(nn.Linear):
    """A part that says itself which parameters it has."""

    def named_parameters(self, *settings: Any, **more: Any) -> Any:
        return iter([("only", self.bias)])


def test_parts_and_parameters_are_those_of_torch_in_its_order() -> None:
    shared = nn.Linear(2, 2)
    tied = nn.Linear(2, 2)
    tied.weight = shared.weight
    net = nn.ModuleList([nn.Sequential(shared, nn.ReLU()), nn.ModuleDict({"x": shared, "y": tied})])
    net.register_module("none", None)
    net.append(nn.Sequential(nn.Linear(2, 1), nn.Sequential(nn.PReLU())))
    for found, expected in (
        (parts_of(net), list(net.modules())),
        (parameters_of(net), list(net.parameters())),
    ):
        assert len(found) == len(expected)
        assert all(one is other for one, other in zip(found, expected))
    own = OwnParameters(2, 2)
    assert [id(one) for one in parameters_of(own)] == [id(own.bias)]
