"""Occlusion against its definition, window by window, and Captum's published values."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import assay
from assay import Background, Baseline, Elements, Labels, Pixels, Question
from assay.errors import InputError, KindError, SettingError
from assay.methods import occlusion
from assay.methods.base import Axiom
from assay.methods.occlusion import Occlusion


def by_hand(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    window: tuple[int, ...],
    stride: tuple[int, ...],
    base: float,
) -> Tensor:
    """One input: every window in turn, its drop written into the features that it covers, and the
    mean of those.
    """
    starts = []
    for length, wide, step in zip(x.shape, window, stride):
        line = [0]
        while line[-1] + wide < length:
            line.append(line[-1] + step)
        starts.append(line)
    drops: list[list[float]] = [[] for _ in range(x.numel())]
    for corner in itertools.product(*starts):
        changed, inside = x.clone(), torch.zeros(x.shape, dtype=torch.bool)
        inside[tuple(slice(at, at + wide) for at, wide in zip(corner, window))] = True
        changed[inside] = base
        drop = float(f(x[None])[0] - f(changed[None])[0])
        for place in inside.flatten().nonzero().flatten().tolist():
            drops[place].append(drop)
    return torch.tensor([sum(each) / len(each) for each in drops], dtype=torch.float64)


def multilayer() -> nn.Sequential:
    """f_0 = relu(s - 10) + 3 relu(s + 1) - 1 with s the sum of three inputs."""
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[0].bias.copy_(torch.tensor([-10.0, 1.0, 1.0, 1.0]))
        net[2].weight.fill_(1.0)
        net[2].bias.copy_(torch.tensor([-1.0, 1.0]))
    return net.eval()


def asked(x: list[float], base: float = 0.0, **more: object) -> Question:
    return Question(
        multilayer(),
        torch.tensor([x], dtype=torch.float64),
        target=0,
        removal=Baseline(base),
        **more,
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "method", "expected"),
    [
        (asked([20, 50, 30]), Occlusion(), [80, 200, 120]),
        (asked([20, 50, 30], base=4), Occlusion(), [64, 184, 104]),
        (asked([20, 50, 30], features=Labels(torch.tensor([0, 0, 1]))), Occlusion(), [280, 120]),
        (asked([20, 50, 30], 4, features=Labels(torch.tensor([0, 0, 1]))), Occlusion(), [248, 104]),
        (asked([2, 10, 3]), Occlusion(), [8, 35, 12]),
        (asked([20, 50, 30], base=10), Occlusion(window=2), [200, 220, 240]),
        (asked([20, 50, 30]), Occlusion(window=2, stride=2), [280, 280, 120]),
    ],
)
def test_the_multilayer_network_gives_the_published_values(
    question: Question, method: Occlusion, expected: list[float]
) -> None:
    torch.testing.assert_close(
        method(question).values, torch.tensor([expected], dtype=torch.float64), rtol=0, atol=1e-10
    )


def test_integer_inputs_are_occluded_as_integers() -> None:
    question = Question(lambda x: 1 - torch.relu(1 - x[:, 0]).float(), torch.tensor([[-3, 1, 2]]))
    torch.testing.assert_close(Occlusion()(question).values, torch.tensor([[-3.0, 0.0, 0.0]]))


class TwoImages(nn.Module):
    """A convolution of the sum of two images (channels), 8 positions and channels weighed five
    times 1 and three times -1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3).double()
        with torch.no_grad():
            self.convolution.weight.fill_(1.0)
            self.convolution.bias.copy_(torch.tensor([-50.0, -75.0]))

    def forward(self, images: Tensor) -> Tensor:
        seen = torch.relu(self.convolution(images.sum(dim=1, keepdim=True))).flatten(1)
        return torch.relu(seen @ torch.tensor([1.0] * 5 + [-1.0] * 3, dtype=torch.float64))[:, None]


def test_windows_over_one_of_two_images_give_the_published_values() -> None:
    images = torch.stack([torch.arange(16.0).view(4, 4), torch.ones(4, 4)]).double()[None]
    answer = Occlusion(window=(1, 4, 4))(Question(TwoImages(), images))
    expected = torch.tensor([67.0, 13.0], dtype=torch.float64).repeat_interleave(16)[None]
    torch.testing.assert_close(answer.values, expected, rtol=0, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    st.integers(0, 1000),
)
@example((2, 5, 4), (1, 3, 2), (1, 1, 1), 0)
@example((1, 5, 5), (1, 4, 3), (1, 2, 2), 1)
def test_any_window_and_stride_agree_with_the_definition(
    shape: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...], seed: int
) -> None:
    window = tuple(min(pair) for pair in zip(window, shape))
    stride = tuple(min(pair) for pair in zip(stride, window))
    draw = torch.Generator().manual_seed(seed)
    x, w = (torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))

    def f(images: Tensor) -> Tensor:
        return (images * w).flatten(1).sum(dim=1).tanh() + images.flatten(1).prod(dim=1)

    answer = Occlusion(window, stride)(Question(f, x[None], removal=Baseline(0.3)))
    torch.testing.assert_close(
        answer.values[0], by_hand(f, x, window, stride, 0.3), rtol=0, atol=1e-10
    )


def test_masks_made_in_pieces_are_the_masks_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    question = Question(
        lambda images: images.flatten(1).square().sum(dim=1).tanh(), x, features=Pixels()
    )
    whole = Occlusion(3, 2)(question).values
    monkeypatch.setattr(occlusion, "_MASK_CELLS", 100)
    assert torch.equal(Occlusion(3, 2)(question).values, whole)


def test_one_evaluation_per_window_is_spent() -> None:
    asked_rows = []

    def f(images: Tensor) -> Tensor:
        asked_rows.append(len(images))
        return images.flatten(1).sum(dim=1)

    question = Question(f, torch.ones(1, 1, 8, 8), features=Pixels())
    assert question.prediction.tolist() == [64.0]
    asked_rows.clear()
    assert Occlusion(4, 2).estimate(question, 0).values.shape == (1, 64)
    assert sum(asked_rows) == 9


def test_what_is_there_twice_is_missed() -> None:
    either = assay.Question(lambda x: x.amax(dim=1), torch.ones(1, 2))
    assert assay.Occlusion()(either).values.tolist() == [[0.0, 0.0]]
    assert assay.ExactShapley()(either).values.tolist() == [[0.5, 0.5]]


def test_a_background_is_averaged_over() -> None:
    rows = torch.tensor([[0.0, 2.0], [4.0, 6.0]], dtype=torch.float64)
    question = Question(
        lambda x: x[:, 0] * x[:, 1], torch.tensor([[3.0, 5.0]]).double(), removal=Background(rows)
    )
    assert Occlusion()(question).values.tolist() == [[5.0, 3.0]]


def test_a_number_longer_than_an_axis_covers_it() -> None:
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    question = Question(
        lambda images: images.flatten(1).square().sum(dim=1), x, features=Elements()
    )
    assert torch.equal(
        Occlusion(4, 2)(question).values, Occlusion((3, 4, 4), (1, 2, 2))(question).values
    )


def test_single_features_keep_more_axioms_than_windows() -> None:
    assert Occlusion().axioms == {Axiom.LINEARITY, Axiom.DUMMY, Axiom.SYMMETRY}
    assert Occlusion(window=2).axioms == {Axiom.LINEARITY}


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (lambda: Occlusion(window=0), "at least 1"),
        (lambda: Occlusion(stride=(1, 0)), "at least 1"),
        (lambda: Occlusion(window=(1, 2))(asked([1, 2, 3])), "one number for each axis"),
        (lambda: Occlusion(window=(5,))(asked([1, 2, 3])), "inside the feature map"),
        (lambda: Occlusion(window=1, stride=2)(asked([1, 2, 3])), "never be removed"),
    ],
)
def test_settings_that_cannot_work_are_refused(method: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        method()


def sums(a: Tensor, b: Tensor) -> Tensor:
    return a.flatten(1).sum(1) + (b**2).flatten(1).sum(1) * a.flatten(1)[:, 0]


PICTURE = torch.arange(1.0, 10, dtype=torch.float64).reshape(1, 1, 3, 3)
SERIES = torch.tensor([[1.0, -2.0, 3.0, 0.5]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("window", "stride", "windows", "strides"),
    [
        (2, 1, ((1, 2, 2), (2,)), ((1, 1, 1), (1,))),
        (1, 1, ((1, 1, 1), (1,)), ((1, 1, 1), (1,))),
        (((1, 3, 2), (3,)), 1, ((1, 3, 2), (3,)), ((1, 1, 1), (1,))),
        ([[1, 2, 2], 4], ((1, 2, 2), (3,)), ((1, 2, 2), (4,)), ((1, 2, 2), (3,))),
        ((2, (3,)), ((1, 2, 2), 1), ((1, 2, 2), (3,)), ((1, 2, 2), (1,))),
    ],
)
def test_windows_slide_tensor_by_tensor(
    window: Any, stride: Any, windows: Any, strides: Any
) -> None:
    question = Question(sums, (PICTURE, SERIES), removal=Baseline(0.0))
    expected = torch.cat(
        [
            by_hand(lambda a: sums(a, SERIES), PICTURE[0], windows[0], strides[0], 0.0),
            by_hand(lambda b: sums(PICTURE, b), SERIES[0], windows[1], strides[1], 0.0),
        ]
    )
    torch.testing.assert_close(Occlusion(window, stride)(question).values[0], expected)


def test_a_window_over_two_pictures_is_the_window_over_each() -> None:
    both = lambda a, b=None: a.sum((1, 2, 3)) + (0 if b is None else b.sum((1, 2, 3)))  # noqa: E731
    ones = torch.ones(1, 1, 3, 3)
    picture = PICTURE.float()
    alone = [12.0, 14.0, 16.0, 18.0, 20.0, 22.0, 24.0, 26.0, 28.0]
    assert Occlusion(2)(Question(both, picture)).values.tolist() == [alone]
    pair = Occlusion(2)(Question(both, (picture, ones))).values
    assert pair.tolist() == [alone + [4.0] * 9]
    one = Occlusion(((1, 2, 2),))(Question(both, picture)).values
    assert one.tolist() == [alone]


@pytest.mark.parametrize("window", [np.int64(2), [2], (np.int32(2),), np.uint8(2)])
def test_numbers_of_numpy_and_lists_are_taken(window: Any) -> None:
    method = Occlusion(window)
    expected = Occlusion(2)(asked([1.0, 2.0, 3.0])).values
    assert torch.equal(method(asked([1.0, 2.0, 3.0])).values, expected)
    assert eval(repr(method)) == method


@pytest.mark.parametrize(
    ("window", "kind"),
    [
        (2.5, KindError),
        ("3", KindError),
        (None, KindError),
        (True, KindError),
        ((), KindError),
        ((2, "x"), KindError),
        (0, SettingError),
        (((2,), (0,)), SettingError),
    ],
)
@pytest.mark.parametrize("name", ["window", "stride"])
def test_lengths_of_a_wrong_kind_are_refused(window: Any, kind: Any, name: str) -> None:
    with pytest.raises(kind, match=f"^Expected .*{name}"):
        Occlusion(**{name: window})


@pytest.mark.parametrize("window", [(2, 2), (1,), ((1, 2, 2),), ((1, 2, 2), (2,), (1,)), ((9,), 1)])
def test_windows_that_could_be_meant_otherwise_are_refused(window: Any) -> None:
    question = Question(sums, (PICTURE, SERIES))
    with pytest.raises(InputError, match=r"^Expected "):
        Occlusion(window)(question)
