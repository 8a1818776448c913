"""Rules that hear a form of the network say what they say of the network itself."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay import LRP, Deconvnet, DeepLift, GuidedBackprop
from assay.engine import Replay
from assay.methods.rules import Composite, ZPlus, rectified, rectifiers
from assay.models.networks import network
from toys import randn, randomised

DOUBLE = torch.float64
X = randn(6, 2, 8, 8, seed=1, dtype=DOUBLE)
ROWS = randn(9, 2, 8, 8, seed=2, dtype=DOUBLE)


class Net(nn.Module):
    """Batch norms behind convolutions, a residual sum, a rectifier that has a ceiling."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(2))
        self.head = nn.Linear(64, 3)
        self.factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norms[0](self.one(x)))
        h = nn.functional.relu6(self.norms[1](self.two(h)) + h) * self.factor
        return self.head(nn.functional.avg_pool2d(h, 2).flatten(1))


def made() -> Net:
    return randomised(Net(), 3).double().eval()


METHODS = [GuidedBackprop(), Deconvnet(), DeepLift(), DeepLift("reveal_cancel")]
REMOVALS = [assay.Baseline(0.1), assay.Background(ROWS)]


@pytest.fixture(autouse=True)
def _few_rows_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "HEARD_FROM", 1)


def ask(model: Any, method: Any, removal: Any, x: Tensor = X) -> assay.Attribution:
    return method(assay.Question(model, x, target=1, removal=removal))


def wrapped(net: nn.Module) -> Any:
    """The network with its rows in channels-last order, as the clock says on real networks."""
    model: Any = assay.wrap(net)
    model.pace = lambda purpose: Replay(purpose, [[16, 1, 10**6]])
    return model


def merged(answer: assay.Attribution) -> dict[str, int]:
    table: dict[str, int] = answer.facts["operations"].get("merged", {})
    return table


@pytest.mark.parametrize("removal", REMOVALS, ids=["baseline", "background"])
@pytest.mark.parametrize("method", METHODS)
def test_the_answer_is_that_of_the_network(method: Any, removal: Any) -> None:
    net = made()
    expected = ask(assay.wrap(net, speedups=False), method, removal)
    model = wrapped(net)
    first, second = (ask(model, method, removal) for _ in range(2))
    assert merged(first) == merged(second) == {"batch_norm": 2}
    assert torch.equal(first.values, second.values)
    for answer in (first, second):
        torch.testing.assert_close(answer.values, expected.values, rtol=0, atol=1e-10)


def test_few_rows_are_heard_by_the_network_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one is heard follows from the question, and not from what was asked before."""
    monkeypatch.undo()
    model, many = wrapped(made()), X.repeat(11, 1, 1, 1)[: network.HEARD_FROM]
    for x, expected in ((many[1:], {}), (many, {"batch_norm": 2}), (many[1:], {})):
        for _ in range(2):
            assert merged(ask(model, GuidedBackprop(), assay.Baseline(0.1), x)) == expected


def test_relevance_hears_the_network() -> None:
    """A rule of signed parts is another one behind a convolution that a norm was merged into."""
    net = made()
    model = wrapped(net)
    removal = assay.Baseline(0.0)
    method = LRP(Composite({"convolution": ZPlus()}, merge_batch_norm=False))
    expected = ask(assay.wrap(net, speedups=False), method, removal)
    first, second = (ask(model, method, removal) for _ in range(2))
    assert torch.equal(first.values, second.values)
    torch.testing.assert_close(first.values, expected.values, rtol=0, atol=1e-10)
    for answer in (first, second):
        assert answer.facts["operations"] == expected.facts["operations"]


def _written(net: Net) -> None:
    net.two.weight.mul_(2)


def _written_unseen(net: Net) -> None:
    net.two.weight.data[0, 0, 0, 0] = 3.0


def _of_the_norm(net: Net) -> None:
    net.norms[1].running_mean.data += 0.5


def _set(net: Net) -> None:
    net.factor = 2.0


CHANGES = [_written, _written_unseen, _of_the_norm, _set]


@pytest.mark.parametrize("removal", REMOVALS, ids=["baseline", "background"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("method", [GuidedBackprop(), DeepLift()])
def test_a_network_that_has_changed_is_heard_as_it_is(
    method: Any, change: Callable[[Net], None], removal: Any
) -> None:
    net = made()
    model = wrapped(net)
    for _ in range(2):
        ask(model, method, removal)
    with torch.no_grad():
        change(net)
    expected = ask(assay.wrap(net, speedups=False), method, removal).values
    for _ in range(3):
        torch.testing.assert_close(ask(model, method, removal).values, expected, rtol=0, atol=1e-10)


SCALE = [1.0]


@pytest.mark.parametrize("method", [GuidedBackprop(), DeepLift()])
@pytest.mark.parametrize("removal", REMOVALS, ids=["baseline", "background"])
def test_what_leaves_no_trace_in_the_network_is_seen_in_its_answers(
    method: Any, removal: Any
) -> None:
    """A form has the numbers built in that a forward takes from elsewhere."""

    class Scaled(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * SCALE[0]

    net = randomised(Scaled(), 3).double().eval()
    model = wrapped(net)
    SCALE[0] = 1.0
    for _ in range(2):
        ask(model, method, removal)
    SCALE[0] = 3.0
    expected = ask(assay.wrap(net, speedups=False), method, removal).values
    answer = ask(model, method, removal).values
    SCALE[0] = 1.0
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-10)


class Mixing(Net):
    """From some number on, rows are compared with their mean."""

    mixes = False

    def forward(self, x: Tensor) -> Tensor:
        given = super().forward(x)
        return given - given.mean(0) if self.mixes else given


def test_rows_that_were_apart_and_are_no_more_are_refused() -> None:
    net = randomised(Mixing(), 3).double().eval()
    model = wrapped(net)
    for _ in range(2):
        ask(model, GuidedBackprop(), assay.Baseline(0.0))
    net.mixes = True
    with pytest.raises(assay.errors.ModelError, match="neighbours"):
        ask(model, GuidedBackprop(), assay.Baseline(0.0))


def test_a_target_that_mixes_rows_is_refused_of_a_known_network_too() -> None:
    model = wrapped(made())
    for _ in range(2):
        ask(model, GuidedBackprop(), assay.Baseline(0.0))
    question = assay.Question(model, X, target=lambda outputs: outputs[:, 0] - outputs.mean())
    with pytest.raises(assay.errors.TargetError):
        GuidedBackprop()(question)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("wrap", [wrapped, lambda net: assay.wrap(net, speedups=False)])
@pytest.mark.parametrize("removal", REMOVALS, ids=["baseline", "background"])
@pytest.mark.parametrize("method", [GuidedBackprop(), DeepLift()])
def test_one_pass_through_memory_gives_the_same_bits(
    method: Any, removal: Any, wrap: Callable[[nn.Module], Any], threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Where an input is in part its reference, too, and in images of either order."""
    net, x = made(), X.clone()
    x[:, :, :4] = 0.1
    x[0] = 0.1
    expected = ask(wrap(net), method, removal, x).values
    loops: list[int] = []

    def counted(loop: Any, arrays: Any, low: float, high: float, count: int) -> None:
        loops.append(count)
        in_threads(loop, arrays, low, high, count)

    in_threads = rectified._in_threads
    monkeypatch.setattr(rectified, "_in_threads", counted)
    monkeypatch.setattr(rectifiers, "_LARGE", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert torch.equal(ask(wrap(net), method, removal, x).values, expected)
    # Both rectifiers of the network, in every chunk.
    assert loops
    assert len(loops) % 2 == 0


def test_a_signal_that_another_shares_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a sum both ways back start from one signal."""
    monkeypatch.setattr(rectifiers, "_LARGE", 1)
    value = randn(2, 3, 4, 4, seed=1, dtype=DOUBLE)
    for order in (torch.contiguous_format, torch.channels_last):
        signal = randn(2, 3, 4, 4, seed=2, dtype=DOUBLE).contiguous(memory_format=order)
        before = signal.clone()
        given = rectified.guided(value, signal, 0.0, 0.5)
        assert torch.equal(signal, before)
        open_there = (value > 0) & (value < 0.5) & (before > 0)
        assert torch.equal(given, torch.where(open_there, before, 0.0))
        assert given._base is None
        assert given.stride() == value.stride()


def test_where_a_rectifier_meets_its_reference_the_slope_is_the_multiplier() -> None:
    z, z0 = (
        torch.tensor([[-2.0, 0.0, 1.0, 6.0, 7.0, 4.0]]),
        torch.tensor([[-2.0, 0.0, 1.0, 6.0, 7.0, 8.0]]),
    )
    given = rectified.rescaled(z, z0[None], torch.full((1, 1, 6), 3.0), 0.0, 6.0)
    assert given.tolist() == [[[0.0, 0.0, 3.0, 0.0, 0.0, 1.5]]]


def test_many_calls_hold_no_more_than_a_few() -> None:
    """The form is kept by the wrapper; what goes through it is not."""
    model = wrapped(made())
    methods = [GuidedBackprop(), DeepLift()]

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    def ask_all() -> None:
        for method in methods:
            ask(model, method, assay.Baseline(0.0), X[:2])

    for _ in range(3):
        ask_all()
    before = tensors()
    for _ in range(12):
        ask_all()
    assert tensors() <= before
