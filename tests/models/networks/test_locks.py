"""Several threads in one network: each is answered as if it were alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.models.networks import locks
from toys import randn, randomised

DOUBLE = torch.float64
THREADS = 4


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.second, self.out = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3 * 144, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.norm(self.conv(x)))
        out: Tensor = self.out(torch.tanh(self.second(h)).flatten(1))
        return out


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """What each thread came back with, an exception if that is what it met."""
    came: list[Any] = [None] * THREADS
    together = threading.Barrier(THREADS)

    def run(index: int) -> None:
        together.wait()
        try:
            came[index] = [work(index) for _ in range(3)]
        except BaseException as error:
            came[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return came


ASKED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "occlusion": lambda net, x: assay.Occlusion(window=(1, 3, 3))(question(net, x)).values,
    "path": lambda net, x: assay.IntegratedGradients(64)(question(net, x)).values,
    "behind": lambda net, x: assay.Gradient()(question(net, x).after("conv")).values,
    "up to": lambda net, x: assay.Gradient()(unit(net, x)).values,
}


def question(net: Any, x: Tensor) -> assay.Question:
    return assay.Question(net, x, target=1)


def unit(net: Any, x: Tensor) -> assay.Question:
    return assay.Question(net, x).upto("second", (0, 3, 3))


@pytest.mark.parametrize("shared", [True, False], ids=["one wrapper", "wrapped by each"])
@pytest.mark.parametrize("kinds", [[kind] for kind in ASKED] + [list(ASKED)], ids=str)
def test_threads_are_answered_as_if_alone(kinds: list[str], shared: bool) -> None:
    net = randomised(Net()).double().train()
    net.norm.eval()
    model = assay.wrap(net) if shared else net
    inputs = [randn(2, 1, 12, 12, seed=index, dtype=DOUBLE) for index in range(THREADS)]
    asks = [ASKED[kinds[index % len(kinds)]] for index in range(THREADS)]
    alone = [ask(net, x) for ask, x in zip(asks, inputs)]
    for came, expected in zip(at_once(lambda i: asks[i](model, inputs[i])), alone):
        assert not isinstance(came, BaseException), repr(came)
        for values in came:
            torch.testing.assert_close(values, expected, rtol=0, atol=1e-10)
    assert [part.training for part in net.modules()] == [True, True, False, True, True]
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(part._forward_hooks for part in net.modules())


def test_networks_that_share_a_part_share_a_lock_and_others_do_not() -> None:
    shared = nn.Linear(2, 2)
    first, second = nn.Sequential(shared, nn.ReLU()), nn.Sequential(shared, nn.Tanh())
    other = nn.Sequential(nn.Linear(2, 2))
    (lock,) = locks._locks_of(first)
    assert locks._locks_of(second) == [lock]
    assert locks._locks_of(shared) == [lock]
    (far,) = locks._locks_of(other)
    assert far is not lock
    # One that holds both takes both, always in the same order.
    assert locks._locks_of(nn.Sequential(other, first)) == [lock, far]


def test_a_session_within_a_session_is_no_deadlock() -> None:
    net = randomised(Net()).double()
    model, again = assay.wrap(net), assay.wrap(net)
    with model.session(slopes=False), again.session(slopes=True):
        assert torch.is_grad_enabled()
