"""Occlusion: slide a window over the features, remove what it covers, and see how much of the score
goes with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, SettingError
from assay.methods.base import Axiom, Method
from assay.models.base import Ability
from assay.question.question import Question

_MASK_CELLS = 1 << 24  # elements of one piece of the window masks: 16 MiB as bool


def cover(length: int, window: int, stride: int) -> Tensor:
    """The windows along one axis as rows of zeros and ones: (windows, length), float64.

    Windows start at 0, stride, 2 stride, ...; the last one is cut off at the border, so that every
    place is covered.
    """
    count = math.ceil(max(length - window, 0) / stride) + 1
    start = torch.arange(count)[:, None] * stride
    place = torch.arange(length)[None, :]
    return ((place >= start) & (place < start + window)).to(torch.float64)


def present(covers: list[Tensor], start: int, stop: int) -> Tensor:
    """The masks of windows `start` to `stop - 1`, in raster order: (m, features), bool, False
    inside the window.
    """
    index = torch.arange(start, stop, device=covers[0].device)
    inside = torch.ones(len(index), 1, dtype=torch.bool, device=covers[0].device)
    step = math.prod(len(axis) for axis in covers)
    for axis in covers:
        step //= len(axis)
        inside = (inside[:, :, None] & axis.bool()[index // step % len(axis)][:, None, :]).flatten(
            1
        )
    return ~inside


def overlap_sum(covers: list[Tensor], scores: Tensor) -> Tensor:
    """The sum, at every feature, of the scores of the windows that cover it: (n, windows) to (n,
    features).

    Windows are products of intervals, so the sum is one small matrix product per axis.
    """
    folded = scores.reshape(-1, *(len(axis) for axis in covers))
    for position, axis in enumerate(covers, start=1):
        folded = torch.tensordot(folded, axis, dims=([position], [0])).movedim(-1, position)
    return folded.flatten(1)


@final
@dataclass(frozen=True)
class Occlusion(Method):
    """The score that a sliding window takes away, averaged at every feature over the windows that
    cover it.

    phi_j = mean over windows W that cover j of f(x) - f(x without W)        (Zeiler and Fergus 2014, section 4.2)

    With the default window of one feature this is f(x) - f(x without j), the leave-one-out or
    feature ablation score. `window` and `stride` are one number for every axis of the feature map,
    or one per axis; a single number longer than an axis covers that axis whole. The last window of
    an axis is cut off at the border.

    Cost: one evaluation per window (times the draws of the removal).
    Values: (n, features), in units of the target; a window's score goes to each of its features in
    full, undivided. Errors: InputError where a window is longer than its axis, or a stride is
    longer than its window (features between two windows would never be removed).

    >>> from assay import Question
    >>> model = lambda x: 2 * x[:, 0] + x[:, 1] * x[:, 2]
    >>> question = Question(model, torch.tensor([[1.0, 2.0, 3.0]]))
    >>> Occlusion()(question).values
    tensor([[2., 6., 6.]])
    """

    window: int | tuple[int, ...] = 1
    stride: int | tuple[int, ...] = 1

    cost: ClassVar[str] = "windows"

    def __post_init__(self) -> None:
        for name, setting in (("window", self.window), ("stride", self.stride)):
            if any(
                number < 1 for number in (setting if isinstance(setting, tuple) else (setting,))
            ):
                raise SettingError(
                    expected=f"a {name} of at least 1",
                    got=repr(setting),
                    advice="",
                )

    @property
    def axioms(self) -> frozenset[Axiom]:
        single = all(
            length == 1
            for length in (self.window if isinstance(self.window, tuple) else (self.window,))
        )
        linear = frozenset({Axiom.LINEARITY})
        return linear | {Axiom.DUMMY, Axiom.SYMMETRY} if single else linear

    def values(self, question: Question, seed: int) -> Tensor:
        covers = [axis.to(question.x.device) for axis in self._covers(_map(question))]
        kept = [question.value(masks) for masks in _pieces(covers)]
        lost = question.prediction[:, None].to(torch.float64) - torch.cat(kept, dim=1).to(
            torch.float64
        )
        return overlap_sum(covers, lost) / overlap_sum(covers, torch.ones_like(lost[:1]))

    def _covers(self, shape: tuple[int, ...]) -> list[Tensor]:
        windows = _per_axis("window", self.window, shape)
        strides = _per_axis("stride", self.stride, shape)
        if isinstance(self.window, int):
            windows = tuple(min(window, length) for window, length in zip(windows, shape))
        if isinstance(self.stride, int):
            strides = tuple(min(stride, length) for stride, length in zip(strides, shape))
        for window, stride, length in zip(windows, strides, shape):
            if window > length:
                raise InputError(
                    expected=f"a window inside the feature map {shape}",
                    got=self.window,
                    advice="",
                )
            if stride > window and window < length:
                raise InputError(
                    f"stride {stride} is longer than the window {window}: features between two windows would never be "
                    f"removed; use a stride of at most {window}"
                )
        return [cover(*axis) for axis in zip(shape, windows, strides)]


def _map(question: Question) -> tuple[int, ...]:
    """The feature map, or one line of features where the features have no map of their own."""
    shape = tuple(question.partition.shape or ())
    return (
        shape
        if math.prod(shape) == question.partition.count and shape
        else (question.partition.count,)
    )


def _per_axis(name: str, setting: int | tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(setting, int):
        return (setting,) * len(shape)
    if len(setting) != len(shape):
        raise InputError(
            f"{name} {setting} has {len(setting)} numbers, but the feature map {shape} has {len(shape)} axes; "
            f"give one number, or one for each axis"
        )
    return setting


def _pieces(covers: list[Tensor]) -> Iterator[Tensor]:
    total = math.prod(len(axis) for axis in covers)
    step = max(1, _MASK_CELLS // math.prod(axis.shape[1] for axis in covers))
    for start in range(0, total, step):
        yield present(covers, start, min(start + step, total))
