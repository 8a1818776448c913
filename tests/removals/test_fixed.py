"""Removals: what stands in for what is absent, against the definition written out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage

import assay
from assay.errors import InputError, KindError, SettingError
from assay.inputs.layout import Layout
from assay.removals.base import FixedAbsent, Removal, blend
from toys import randn

X = randn(3, 4, dtype=torch.float64)


def total(*x: torch.Tensor) -> torch.Tensor:
    return sum((part.flatten(1).sum(1) for part in x[1:]), x[0].flatten(1).sum(1))


def question(removal: Any, x: Any = X, **more: Any) -> assay.Question:
    return assay.Question(total, x, removal=removal, **more)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, torch.full((3, 4), 0.5)),
        (2, torch.full((3, 4), 2.0)),
        (np.float32(0.5), torch.full((3, 4), 0.5)),
        (torch.tensor(0.5), torch.full((3, 4), 0.5)),
        ([1.0, 2.0, 3.0, 4.0], torch.tensor([[1.0, 2.0, 3.0, 4.0]]).expand(3, -1)),
        (np.arange(4.0), torch.arange(4.0).expand(3, -1)),
        (torch.arange(4.0)[None], torch.arange(4.0).expand(3, -1)),
        (X.flip(0), X.flip(0)),
    ],
)
def test_a_baseline_is_a_number_a_row_or_one_for_each_input(
    value: Any, expected: torch.Tensor
) -> None:
    torch.testing.assert_close(question(assay.Baseline(value)).absent, expected.double())


def test_a_baseline_of_several_tensors_is_a_tuple() -> None:
    pair = (X, X[:, :2])
    made = question(assay.Baseline((0.0, torch.tensor([5.0, 6.0]))), pair).absent
    assert made.tolist() == [[0.0] * 4 + [5.0, 6.0]] * 3
    each = question(assay.Baseline((X, 1.0)), pair).absent
    torch.testing.assert_close(each, torch.cat([X, torch.ones(3, 2, dtype=torch.float64)], dim=1))


def test_the_mean_is_one_baseline_and_a_background_is_an_average_of_answers() -> None:
    rows = randn(7, 4, seed=3, dtype=torch.float64)
    square = lambda x: x.square().sum(1)  # noqa: E731
    torch.testing.assert_close(question(assay.Mean(rows)).absent, rows.mean(0).expand(3, -1))
    mean, over = (
        assay.Question(square, X, removal=kind(rows)) for kind in (assay.Mean, assay.Background)
    )
    torch.testing.assert_close(mean.base, rows.mean(0).square().sum().expand(3))
    torch.testing.assert_close(over.base, rows.square().sum(1).mean().expand(3))
    mask = torch.tensor([[True, False, True, False]])
    by_hand = [
        torch.stack([torch.where(mask[0], x, row).square().sum() for row in rows]).mean() for x in X
    ]
    torch.testing.assert_close(over.value(mask)[:, 0], torch.stack(by_hand))


@pytest.mark.parametrize("sigma", [0.5, 2.0, 30.0])
def test_a_blur_is_the_gaussian_filter_with_mirrored_borders(sigma: float) -> None:
    images = randn(2, 3, 7, 5, dtype=torch.float64)
    made = question(assay.Blur(sigma), images).absent.view(2, 3, 7, 5).numpy()
    expected = ndimage.gaussian_filter(
        images.numpy(),
        (0, 0, sigma, sigma),
        mode="reflect",
        radius=(0, 0) + (max(1, round(4 * sigma)),) * 2,
    )
    np.testing.assert_allclose(made, expected, atol=1e-10)


def test_a_blur_follows_the_input() -> None:
    images = randn(2, 1, 6, 6, dtype=torch.float64)
    asked = question(assay.Blur(1.0), images)
    moved = asked.at(asked.x + 1.0)
    torch.testing.assert_close(moved.absent, asked.absent + 1.0)
    fixed = question(assay.Baseline(0.3), images)
    torch.testing.assert_close(fixed.at(fixed.x + 1.0).absent, fixed.absent)


def test_noise_belongs_to_its_input_and_its_seed() -> None:
    whole = question(assay.Noise(0.5, mean=1.0)).absent
    torch.testing.assert_close(question(assay.Noise(0.5, mean=1.0), X[1:2]).absent, whole[1:2])
    assert not torch.equal(question(assay.Noise(0.5, mean=1.0, seed=1)).absent, whole)
    many = question(assay.Noise(0.5, mean=1.0, draws=4000))
    assert abs(float(many.base[0]) - 4 * 1.0) < 5 * 0.5 * 2 / 4000**0.5


@pytest.mark.parametrize("kind", [torch.bool, torch.float64])
def test_masks_switch_or_blend(kind: torch.dtype) -> None:
    asked = question(assay.Baseline(2.0))
    masks = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).to(kind)
    expected = X[:, 0] + X[:, 2] + 4.0
    torch.testing.assert_close(asked.value(masks)[:, 0], expected)
    if kind == torch.float64:
        half = asked.value(torch.full((1, 4), 0.25, dtype=kind))[:, 0]
        torch.testing.assert_close(half, 0.25 * X.sum(1) + 0.75 * 8.0)


KINDS = [
    torch.bool,
    torch.uint8,
    torch.int64,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_switch_takes_every_number_as_it_is(kind: torch.dtype) -> None:
    """Against a choice number by number, bit for bit (minus zero, NaN); nothing is written to."""
    odd = torch.tensor([-0.0, 0.0, float("nan"), float("inf"), 1.0, -2.5])
    x = (odd if kind.is_floating_point or kind.is_complex else odd.nan_to_num(3, 5).abs()).to(kind)
    other = x.flip(0)
    present = torch.tensor([[True, False] * 3, [False, False, True] * 2, [True] * 6, [False] * 6])
    given = [part.clone() for part in (x, other, present)]
    for left, right, masks in (
        (x, other, present),
        (x, torch.stack([other, x])[:, None], present[None]),
    ):
        rows = blend(left, right, masks)
        slow = torch.where(masks, left, right)
        assert rows.dtype == kind
        assert torch.equal(rows.view(torch.int8), slow.view(torch.int8))
    for part, before in zip((x, other, present), given):
        assert torch.equal(part.view(torch.int8), before.view(torch.int8))


def test_a_switch_lets_slopes_pass() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    blend(x, torch.zeros(2), torch.tensor([[True, False], [True, True]])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 1.0]


def test_whole_numbers_stay_whole() -> None:
    whole = torch.tensor([[1, 2, 3]])
    assert question(assay.Baseline(7), whole).absent.tolist() == [[7, 7, 7]]
    assert question(assay.Baseline(torch.tensor([1.0, 2.0, 4.0])), whole).absent.tolist() == [
        [1, 2, 4]
    ]


FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
IMAGES = randn(2, 1, 4, 4)


@pytest.mark.parametrize(
    ("removal", "inputs", "error", "message"),
    [
        (assay.Baseline(torch.zeros(5)), X, InputError, r"rows of shape \(4,\).*got .*\(5,\)"),
        (assay.Baseline(torch.zeros(2, 4)), X, InputError, "one row or of 3.*got 2.*Background"),
        (
            assay.Baseline((0.0, 0.0)),
            X,
            InputError,
            "Expected 1 baselines, one for each tensor, got 2",
        ),
        (assay.Baseline((0.0,)), (X, X), InputError, "Expected 2 baselines"),
        (assay.Baseline(float("nan")), X, InputError, "finite numbers in the baseline"),
        (
            assay.Baseline(torch.full((4,), torch.inf)),
            X,
            InputError,
            "finite numbers in the baseline",
        ),
        (assay.Baseline("grey"), X, KindError, "got str"),
        (
            assay.Baseline(0.5),
            X.long(),
            InputError,
            "whole number as baseline of inputs of torch.int64, got 0.5",
        ),
        (assay.Baseline(torch.full((4,), 0.5)), X.long(), InputError, "whole numbers"),
        (assay.Mean(X.long()), X.long(), InputError, "Mean.*Background"),
        (assay.Mean(X[:0]), X, InputError, "at least one row"),
        (assay.Mean(torch.full((2, 4), torch.nan)), X, InputError, "finite"),
        (assay.Background(randn(5, 3)), X, InputError, r"rows of shape \(4,\)"),
        (assay.Background(X[:0]), X, InputError, "at least one row in the background"),
        (assay.Background(FRAME[["a"]]), FRAME, InputError, "Expected rows with the columns"),
        (assay.Background(X), FRAME, KindError, "Expected a DataFrame"),
        (assay.Blur(1.0), X, InputError, "images"),
        (assay.Blur(1.0), IMAGES.long(), InputError, "of torch.int64"),
        (assay.Baseline(float("inf")), X.long(), InputError, "whole number as baseline"),
        (assay.Noise(1.0), X.long(), InputError, "floating inputs"),
        (0.0, X, KindError, "Expected removal such as"),
    ],
)
def test_removals_that_do_not_fit_are_refused(
    removal: Any, inputs: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        question(removal, inputs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: assay.Blur(0.0), "positive sigma in pixels, got 0.0"),
        (lambda: assay.Noise(-1.0), "positive sigma .* got sigma=-1.0"),
        (lambda: assay.Noise(1.0, draws=0), "at least one draw .* draws=0"),
    ],
)
def test_settings_that_no_input_fits_are_refused_when_they_are_made(
    make: Any, message: str
) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        make()
    assert caught.value.advice


def test_masks_that_do_not_fit_are_refused() -> None:
    asked = question(assay.Baseline(0.0))
    with pytest.raises(InputError, match=r"\(m, 4\) or \(3, m, 4\), got \(1, 5\)"):
        asked.value(torch.ones(1, 5, dtype=torch.bool))
    with pytest.raises(InputError, match=r"got \(2, 1, 4\)"):
        asked.value(torch.ones(2, 1, 4, dtype=torch.bool))
    with pytest.raises(KindError, match=r"bools or floats, got torch\.int64"):
        asked.value(torch.ones(1, 4, dtype=torch.int64))
    with pytest.raises(KindError, match=r"bools for inputs of torch\.int64"):
        question(assay.Baseline(0), X.long()).value(torch.full((1, 4), 0.5))


def test_one_baseline_is_asked_for_where_a_way_needs_one() -> None:
    with pytest.raises(
        InputError,
        match=r"one replacement for each input, got Background.*with 5.*ExpectedGradients",
    ):
        _ = question(assay.Background(randn(5, 4))).absent


def test_a_removal_says_what_it_holds_without_printing_it() -> None:
    assert repr(assay.Background(X)) == "Background(<Tensor of shape (3, 4)>)"
    assert repr(assay.Baseline(0.5)) == "Baseline(0.5)"


# --- a removal that removes nothing

HIDING = [
    *(
        assay.Occlusion(),
        assay.Occlusion(window=2),
        assay.Rise(masks=40, estimator="centred"),
        assay.Lime(assay.CoinMasks(30)),
        assay.Lime(assay.SizeMasks(30)),
    ),
    *(
        assay.ExactShapley(),
        assay.PermutationShapley(4),
        assay.KernelShap(),
        assay.KernelShap(until=1.0),
    ),
    *(
        assay.SamplingShapley(4),
        assay.ProxyShap(),
        assay.OwenValues(),
        assay.LowOrderShap(),
        assay.LinearShap(),
    ),
]


@pytest.mark.parametrize("method", HIDING, ids=repr)
def test_inputs_that_stay_as_they_are_get_zeros(method: assay.Method) -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    net = torch.nn.Linear(3, 1)
    answer = method(assay.Question(net, x, target=0))
    assert answer.values[1:].tolist() == [[0.0] * 3] * 2
    assert answer.facts["players"] == [3, 0, 0]
    alone = method(assay.Question(net, x[:1], target=0))
    torch.testing.assert_close(answer.values[:1], alone.values)
    with pytest.warns(UserWarning, match="leaves all 2 inputs as they are"):
        nothing = method(assay.Question(net, x[1:], target=0))
    assert nothing.values.tolist() == [[0.0] * 3] * 2
    if answer.standard_error is not None:
        assert answer.standard_error[1:].tolist() == [[0.0] * 3] * 2


def test_a_mean_score_over_masks_needs_a_removal() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    question = assay.Question(torch.nn.Linear(3, 1), x, target=0)
    with pytest.raises(
        InputError, match=r"got Baseline\(0\.0\), which leaves 2 of 3 as they are, first input 1"
    ):
        assay.Rise(masks=40, estimator="ratio")(question)


def test_one_draw_of_many_may_leave_an_input_as_it_is() -> None:
    rows = torch.tensor([[1.0, 2.0], [1.0, 3.0]])
    question = assay.Question(lambda x: x.prod(dim=1), rows[:1], removal=assay.Background(rows))
    assert assay.ExactShapley()(question).values.tolist() == [[0.0, -0.5]]
    again = assay.Question(
        lambda x: x.prod(dim=1), rows[:1], removal=assay.Background(rows[[0, 0]])
    )
    with pytest.warns(UserWarning, match="leaves all 1 inputs as they are"):
        assert assay.ExactShapley()(again).values.tolist() == [[0.0, 0.0]]


def test_what_nobody_owns_does_not_count_as_removed() -> None:
    features, x = assay.Labels(torch.tensor([0, 1, -1])), torch.tensor([[0.0, 0.0, 5.0]])
    question = assay.Question(torch.nn.Linear(3, 1), x, target=0, features=features)
    with pytest.warns(UserWarning, match="leaves all 1 inputs as they are"):
        assert assay.KernelShap()(question).values.tolist() == [[0.0, 0.0]]


def test_slopes_of_inputs_that_equal_their_baseline_are_slopes() -> None:
    question = assay.Question(torch.nn.Linear(2, 1), torch.zeros(1, 2), target=0)
    assert bool((assay.Gradient()(question).values != 0).all())


# --- a stranger's removal


@dataclass(frozen=True)
class Flipped(Removal):
    """What is absent changes its sign: made from the input itself."""

    follows = True

    def bind(
        self, layout: Layout, x: torch.Tensor, keys: Callable[[], torch.Tensor]
    ) -> FixedAbsent:
        return FixedAbsent(-x.unsqueeze(1))


def test_a_strangers_removal_needs_bind_alone() -> None:
    asked = question(Flipped())
    mask = torch.tensor([[True, False, True, False]])
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(asked.value(mask)[:, 0], (X * sign).sum(1))
    torch.testing.assert_close(asked.value(0.5 * torch.ones(1, 4)), torch.zeros(3, 1).double())
    torch.testing.assert_close(asked.part(1, 2).absent, -X[1:2])
    torch.testing.assert_close(asked.at(2 * X).absent, -2 * X)
    with pytest.raises(InputError, match="leaves 1 of 1 as they are"):
        question(Flipped(), torch.zeros(1, 4)).value(mask)


def scribbling(x: Any) -> torch.Tensor:
    """The sum of the positive part, written into what was handed over."""
    x *= x > 0
    x += 1
    return torch.as_tensor(x).flatten(1).sum(1)


def careful(x: Any) -> torch.Tensor:
    return scribbling(torch.as_tensor(x).clone())


ROWS = randn(12, 4, seed=3, dtype=torch.float64) - 1


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1, 1, -1])])
@pytest.mark.parametrize(
    "make",
    [
        lambda rows: assay.Baseline(-1.0),
        lambda rows: assay.Baseline(rows[0]),
        lambda rows: assay.Baseline(rows[:3]),
        assay.Mean,
        lambda rows: assay.Noise(1.0),
        lambda rows: assay.Noise(1.0, draws=3),
        lambda rows: assay.Background(rows[:1]),
        assay.Background,
        lambda rows: assay.Conditional(rows, draws=4),
        lambda rows: assay.Conditional(rows, kind="kernel", draws=4),
    ],
)
def test_a_model_that_writes_on_its_input_changes_nothing_that_is_held(
    make: Any, labels: torch.Tensor | None, as_array: bool
) -> None:
    kind = (lambda x: x.numpy().copy()) if as_array else torch.Tensor.clone
    x, rows = kind(X), kind(ROWS)
    features = None if labels is None else assay.Labels(labels)
    made, right = (
        assay.Question(model, x, removal=make(rows), features=features)
        for model in (scribbling, careful)
    )
    for _ in range(2):
        for method in (assay.ExactShapley(), assay.Occlusion()):
            torch.testing.assert_close(method(made).values, method(right).values)
            torch.testing.assert_close(method(made).base, method(right).base)
    assert np.array_equal(x, X)
    assert np.array_equal(rows, ROWS)
    torch.testing.assert_close(made.x, X, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.tensor([[1.0], [2.0], [3.0]]), [[1.0] * 4, [2.0] * 4, [3.0] * 4]),
        (torch.tensor([5.0]), [[5.0] * 4] * 3),
        (np.array([[5.0]]), [[5.0] * 4] * 3),
    ],
)
def test_a_dimension_of_one_is_repeated_along_the_inputs_own(
    value: Any, expected: list[list[float]]
) -> None:
    assert question(assay.Baseline(value)).absent.tolist() == expected


def test_a_baseline_may_be_one_number_for_each_channel() -> None:
    images, colour = randn(2, 3, 2, 2), torch.tensor([1.0, 2.0, 3.0])
    by_hand = colour.repeat_interleave(4).expand(2, -1)
    for value in (colour[:, None, None], colour[None, :, None, None]):
        torch.testing.assert_close(question(assay.Baseline(value), images).absent, by_hand)
    pair = question(assay.Baseline((colour[:, None, None], 4.0)), (images, images[:, 0])).absent
    torch.testing.assert_close(pair[:, :12], by_hand)
    with pytest.raises(InputError, match=r"\(3,\).*the shape \(2, 1, 1, 1\)"):
        question(assay.Baseline(colour), images)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        (None, (3, 7, 5)),
        ("HWC", (7, 5, 3)),
        ("CT", (2, 9)),
        ("TC", (9, 2)),
        (None, (2, 3, 4, 5)),
        ("DHWC", (3, 4, 5, 2)),
        ("DHW", (3, 4, 5)),
        ("T", (9,)),
    ],
)
@pytest.mark.parametrize("sigma", [0.7, 3.0])
def test_a_blur_goes_along_places_and_never_over_channels(
    axes: str | None, shape: tuple[int, ...], sigma: float
) -> None:
    x = randn(2, *shape, dtype=torch.float64)
    made = question(assay.Blur(sigma, axes), x).absent.view_as(x).numpy()
    letters = axes or "CDHW"[: len(shape)] if len(shape) != 3 else axes or "CHW"
    sigmas = [0.0, *(0.0 if letter == "C" else sigma for letter in letters)]
    reach = [max(1, round(4 * sigma)) if each else 0 for each in sigmas]
    expected = ndimage.gaussian_filter(x.numpy(), sigmas, mode="reflect", radius=reach)
    np.testing.assert_allclose(made, expected, rtol=1e-9, atol=1e-12)


def test_a_blur_of_what_seems_channels_last_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"channels first for Blur.*axes='HWC'"):
        question(assay.Blur(2.0), randn(1, 8, 9, 3))
