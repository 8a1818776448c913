"""A map asks each input once, and takes along what the wrapper has learnt of its network; what has
changed since is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.errors import ModelError

DOUBLE = torch.float64
IMAGES = 5


class Switches:
    """What a forward reads that is no part of the module."""

    mixes = False
    doubles = False
    influence: Callable[[Tensor], Tensor] | None = None


class Small(nn.Module):
    """Two convolutions and a linear head, which counts its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 2)
        self.register_buffer("shift", torch.zeros(1))
        self.mixes = False

    def forward(self, x: Tensor) -> Tensor:
        if type(x) is Tensor:  # no stand-in of a trace
            LOG.append(len(x))
        h = torch.relu(self.second(torch.relu(self.first(x)))) + self.shift
        h = h.mean((2, 3))
        if self.mixes or Switches.mixes:
            h = h - h.mean(0)
        if Switches.doubles:
            h = 2 * h
        if Switches.influence is not None:
            h = h + Switches.influence(h)
        return self.head(h)


LOG: list[int] = []


@pytest.fixture(autouse=True)
def switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Switches, "mixes", False)
    monkeypatch.setattr(Switches, "doubles", False)
    monkeypatch.setattr(Switches, "influence", None)
    LOG.clear()


def small() -> Small:
    torch.manual_seed(0)
    return Small().to(DOUBLE).eval()


def images(n: int = IMAGES) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 1, 6, 6, dtype=DOUBLE, generator=generator)


def asked(model: object, n: int = IMAGES) -> assay.Question:
    return assay.Question(model, images(n), target=1, features=assay.Pixels())


METHODS = [
    assay.GradCam("second"),
    assay.GradCamPlusPlus("second"),
    assay.LayerCam(),
    assay.EigenCam("second"),
    assay.AblationCam("second"),
    assay.HiResCam("second"),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("n", [1, 2, IMAGES])
def test_what_a_wrapper_has_learnt_changes_no_answer(method: assay.Method, n: int) -> None:
    model = assay.wrap(small())
    first = method(asked(model, n))
    again = method(asked(model, n))
    afresh = method(asked(small(), n))
    for answer in (again, afresh):
        torch.testing.assert_close(answer.values, first.values, rtol=0, atol=1e-12)
        torch.testing.assert_close(answer.prediction, first.prediction, rtol=0, atol=1e-12)
        torch.testing.assert_close(answer.base, first.base, rtol=0, atol=1e-12)
    behind = asked(small(), n).after("second", features=assay.Pixels())
    plain = type(method)()(behind)
    torch.testing.assert_close(plain.prediction, first.prediction, rtol=0, atol=1e-12)


def test_a_second_map_asks_each_input_once_and_one_beside_the_absent_one() -> None:
    model = assay.wrap(small())
    first = assay.GradCam("second")(asked(model))
    LOG.clear()
    second = assay.GradCam("second")(asked(model))
    assert LOG == [2, IMAGES]
    assert (second.facts["forwards"], second.facts["backwards"]) == (1, IMAGES)
    torch.testing.assert_close(second.base, first.base, rtol=0, atol=1e-12)


def test_a_third_map_asks_all_at_once_beside_a_row_that_was_answered_alone() -> None:
    model = assay.wrap(small())
    first = assay.GradCam("second")(asked(model))
    assay.GradCam("second")(asked(model))
    LOG.clear()
    third = assay.GradCam("second")(asked(model))
    assert LOG == [1 + IMAGES + 1]
    assert (third.facts["forwards"], third.facts["backwards"]) == (1, IMAGES)
    for field in ("values", "base", "prediction"):
        expected = getattr(first, field)
        torch.testing.assert_close(getattr(third, field), expected, rtol=0, atol=1e-12)


def test_the_row_that_was_answered_alone_is_another_one_after_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What no session sees, and no influence of rows: all is checked again, and again learnt."""
    model = assay.wrap(small())
    for _ in range(3):
        first = assay.GradCam("second")(asked(model))
    monkeypatch.setattr(Switches, "doubles", True)
    changed = assay.GradCam("second")(asked(model))
    assert not torch.equal(changed.prediction, first.prediction)
    for _ in range(2):
        again = assay.GradCam("second")(asked(model))
        torch.testing.assert_close(again.prediction, changed.prediction, rtol=0, atol=1e-12)
    assert LOG[-1] == 1 + IMAGES + 1


def test_a_network_that_has_come_to_draw_is_checked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its answer is the same this time: another draw may be another answer."""
    model = assay.wrap(small())
    for _ in range(2):
        assay.GradCam("second")(asked(model))
    monkeypatch.setattr(Switches, "influence", lambda h: 0 * torch.rand_like(h))
    LOG.clear()
    assay.GradCam("second")(asked(model))
    assert LOG[:3] == [1 + IMAGES + 1, 1, 1]


INFLUENCES: dict[str, Callable[[Tensor], Tensor]] = {
    "the first": lambda h: h[:1] - h,
    "the one before": lambda h: torch.cat([0 * h[:1], h[:-1]]),
    "the step from the one before": lambda h: h - torch.cat([h[:1], h[:-1]]),
    "all before": lambda h: h.cumsum(0) - h,
    "the mean": lambda h: h.mean(0),
    "their number": lambda h: len(h) * torch.ones_like(h),
    "the place": lambda h: torch.arange(len(h), dtype=h.dtype)[:, None],
}


@pytest.mark.parametrize("before", [1, 2])
@pytest.mark.parametrize(("n", "among"), [(1, None), *product([2, 3, IMAGES], [None, 0, 1, 2])])
@pytest.mark.parametrize("influence", INFLUENCES)
def test_whatever_influences_rows_is_refused_in_a_later_map(
    influence: str, among: int | None, n: int, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the absent input is one of the images, and so a neighbour of the one compared."""
    x = images(n)
    if among is not None:
        x[min(among, n - 1)] = 0.0

    def question() -> assay.Question:
        return assay.Question(model, x, target=1, features=assay.Pixels())

    model = assay.wrap(small())
    for _ in range(before):
        assay.GradCam("second")(question())
    monkeypatch.setattr(Switches, "influence", INFLUENCES[influence])
    with pytest.raises(ModelError, match="neighbours"):
        assay.GradCam("second")(question())


def test_rows_that_have_come_to_influence_each_other_are_refused() -> None:
    net = small()
    model = assay.wrap(net)
    assay.GradCam("second")(asked(model))
    net.mixes = True
    with pytest.raises(ModelError, match="neighbours"):
        assay.GradCam("second")(asked(model))


@pytest.mark.parametrize("n", [1, 2, IMAGES])
def test_an_influence_that_no_session_sees_is_refused(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = assay.wrap(small())
    assay.GradCam("second")(asked(model, n))
    monkeypatch.setattr(Switches, "mixes", True)
    with pytest.raises(ModelError, match="neighbours"):
        assay.GradCam("second")(asked(model, n))


def test_a_graph_that_no_longer_answers_like_its_network_is_captured_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = assay.wrap(small())
    method = assay.AblationCam("second", relative=False)
    method(asked(model))
    asked(model).after("second").slope()
    monkeypatch.setattr(Switches, "doubles", True)
    expected = method(asked(small()))
    torch.testing.assert_close(method(asked(model)).values, expected.values, rtol=0, atol=1e-12)
    slope = asked(model).after("second").slope()
    afresh = asked(small()).after("second").slope()
    torch.testing.assert_close(slope, afresh, rtol=0, atol=1e-12)


def test_weights_that_have_moved_are_those_that_are_mapped() -> None:
    net = small()
    model = assay.wrap(net)
    for method in METHODS:
        method(asked(model))
    with torch.no_grad():
        net.second.weight.mul_(-1)
        net.shift.data.add_(1)
    for method in METHODS:
        afresh = small()
        afresh.load_state_dict(net.state_dict())
        expected = method(asked(afresh))
        torch.testing.assert_close(method(asked(model)).values, expected.values, rtol=0, atol=1e-12)
    assert bool((net.shift == 1).all())


def test_a_layer_that_was_exchanged_is_the_one_that_is_mapped() -> None:
    net = small()
    model = assay.wrap(net)
    assay.GradCam()(asked(model))
    net.head = nn.Linear(4, 2).to(DOUBLE)
    afresh = small()
    afresh.head = net.head
    method = assay.GradCam()
    torch.testing.assert_close(
        method(asked(model)).values, method(asked(afresh)).values, rtol=0, atol=1e-12
    )
