"""Occlusion: slide a window over the features, remove what it covers, and see what the score loses.

Zeiler and Fergus (2014) slide a grey square over an image; with a window of one feature it is
leave-one-out, or feature ablation. Windows are products of intervals, one for each axis of the
feature map, so that neither their masks nor their sums are ever held whole: masks are made in
pieces, and sums over the windows that cover a feature are one small matrix product per axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.errors import InputError, SettingError
from assay.methods.base import Axiom, Method
from assay.numerics.pieces import pieces
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
    """The masks of windows `start` to `stop - 1`, in raster order: (m, features).

    Bool, False inside the window.
    """
    device = covers[0].device
    numbers = torch.arange(start, stop, device=device)
    inside = torch.ones(len(numbers), 1, dtype=torch.bool, device=device)
    # A window's number in mixed radix gives its position along each axis, the last axis fastest.
    period = math.prod(len(axis) for axis in covers)
    for axis in covers:
        period //= len(axis)
        along = axis.bool()[numbers // period % len(axis)]
        inside = (inside[:, :, None] & along[:, None, :]).flatten(1)
    return ~inside


def overlap_sum(covers: list[Tensor], scores: Tensor) -> Tensor:
    """The sum at every feature of the scores of the windows that cover it.

    (n, windows) to (n, features). Windows are products of intervals, so the sum is one small matrix
    product per axis.
    """
    sums = scores.reshape(-1, *(len(axis) for axis in covers))
    for position, axis in enumerate(covers, start=1):
        sums = torch.tensordot(sums, axis, dims=([position], [0])).movedim(-1, position)
    return sums.flatten(1)


@final
@dataclass(frozen=True)
class Occlusion(Method):
    """The score that a sliding window takes away, averaged at every feature over the windows that cover it.

    phi_j = mean over windows W that cover j of f(x) - f(x without W)
    (Zeiler and Fergus 2014, section 4.2)

    Settings:
        window: features that are removed together, one number for every axis of the feature map, or
            one per axis; a single number longer than an axis covers that axis whole. With 1 this is
            f(x) - f(x without j), the leave-one-out or feature ablation score.
        stride: from one window to the next, likewise; the last window of an axis is cut off at the
            border.

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
            if any(length < 1 for length in _lengths(setting)):
                raise SettingError(
                    expected=f"a {name} of at least 1",
                    got=repr(setting),
                    advice=f"Count features: {name}=1 for every axis, or one number for each.",
                )

    @property
    def axioms(self) -> frozenset[Axiom]:
        # A window over several features gives a dummy the score of its neighbours.
        if all(length == 1 for length in _lengths(self.window)):
            return frozenset({Axiom.LINEARITY, Axiom.DUMMY, Axiom.SYMMETRY})
        return frozenset({Axiom.LINEARITY})

    def players(self, question: Question) -> Tensor | None:
        changeable = question.changeable_features()
        changed = changeable.any(dim=1, keepdim=True).expand_as(changeable)
        # On a map windows cover places, whatever stands there.
        if len(_map_shape(question)) > 1:
            return changed
        if all(length == 1 for length in _lengths(self.window)):
            return changeable
        # A shorter text is a shorter line: windows end where it does.
        return changed & question.existing_features()

    def values(self, question: Question, seed: int) -> Tensor:
        covers = [axis.to(question.x.device) for axis in self._covers(_map_shape(question))]
        scores = torch.cat([question.value(masks) for masks in _window_masks(covers)], dim=1)
        prediction = question.prediction[:, None].to(torch.float64)
        losses = prediction - scores.to(torch.float64)
        windows_per_feature = overlap_sum(covers, torch.ones_like(losses[:1]))
        return overlap_sum(covers, losses) / windows_per_feature

    def _covers(self, shape: tuple[int, ...]) -> list[Tensor]:
        """The windows along each axis of the feature map."""
        windows = _per_axis("window", self.window, shape)
        strides = _per_axis("stride", self.stride, shape)
        covers = []
        for window, stride, length in zip(windows, strides, shape):
            if window > length:
                raise InputError(
                    expected=f"a window inside the feature map {shape}",
                    got=self.window,
                    advice=f"Use at most {length} along the axis of length {length}.",
                )
            if stride > window and window < length:
                raise InputError(
                    expected=f"a stride of at most the window, {window}",
                    got=stride,
                    advice="Features between two windows would never be removed.",
                )
            covers.append(cover(length, window, stride))
        return covers


def _lengths(setting: int | tuple[int, ...]) -> tuple[int, ...]:
    return setting if isinstance(setting, tuple) else (setting,)


def _map_shape(question: Question) -> tuple[int, ...]:
    """The feature map, or one line of features where the features have no map of their own."""
    partition = question.partition
    shape = tuple(partition.shape or ())
    if shape and math.prod(shape) == partition.count:
        return shape
    return (partition.count,)


def _per_axis(name: str, setting: int | tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """One number for each axis; a single one is cut to the axis."""
    if isinstance(setting, int):
        return tuple(min(setting, length) for length in shape)
    if len(setting) != len(shape):
        raise InputError(
            expected=f"a {name} with one number for each axis of the feature map {shape}",
            got=setting,
            advice=f"Give {len(shape)} numbers, or one for all axes.",
        )
    return setting


def _window_masks(covers: list[Tensor]) -> Iterator[Tensor]:
    """The masks of all windows, piece by piece."""
    windows = math.prod(len(axis) for axis in covers)
    features = math.prod(axis.shape[1] for axis in covers)
    for piece in pieces(windows, features, _MASK_CELLS):
        yield present(covers, piece.start, piece.stop)
