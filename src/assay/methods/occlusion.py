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
from numbers import Integral
from typing import Any, ClassVar, TypeAlias, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, KindError, SettingError
from assay.methods.base import Axiom, Method
from assay.numerics.pieces import pieces
from assay.question.question import Question

Lengths: TypeAlias = int | tuple[int, ...]
"""One number for every axis, or one for each."""

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
            one per axis; a single number longer than an axis covers that axis whole. Over several
            tensors windows slide tensor by tensor: a single number serves all of them, a tuple of
            tuples such as ((2, 2), (3,)) gives each its own. With 1 this is f(x) - f(x without j),
            the leave-one-out or feature ablation score.
        stride: from one window to the next, likewise; the last window of an axis is cut off at the
            border.

    Cost: one evaluation per window (times the draws of the removal).
    Values: (n, features), in units of the target; a window's score goes to each of its features in
    full, undivided. Errors: KindError for what is no whole number, InputError where a window is
    longer than its axis, or a stride is longer than its window (features between two windows would
    never be removed).

    >>> from assay import Question
    >>> model = lambda x: 2 * x[:, 0] + x[:, 1] * x[:, 2]
    >>> question = Question(model, torch.tensor([[1.0, 2.0, 3.0]]))
    >>> Occlusion()(question).values
    tensor([[2., 6., 6.]])
    """

    window: Lengths | tuple[Lengths, ...] = 1
    stride: Lengths | tuple[Lengths, ...] = 1

    cost: ClassVar[str] = "windows"

    def __post_init__(self) -> None:
        # Lists and NumPy's integers are taken, and kept as what reads back from text.
        object.__setattr__(self, "window", _read("window", self.window))
        object.__setattr__(self, "stride", _read("stride", self.stride))

    @property
    def _single(self) -> bool:
        """Whether every window is one feature."""
        return set(_flat(self.window)) <= {1}

    @property
    def kind(self) -> Kind:
        # The loss of a whole window is no contribution of each of its features.
        return Kind.CONTRIBUTION if self._single else Kind.WEIGHT

    @property
    def axioms(self) -> frozenset[Axiom]:
        # A window over several features gives a dummy the score of its neighbours.
        if self._single:
            return frozenset({Axiom.LINEARITY, Axiom.DUMMY, Axiom.SYMMETRY})
        return frozenset({Axiom.LINEARITY})

    def players(self, question: Question) -> Tensor | None:
        changeable = question.changeable_features()
        changed = changeable.any(dim=1, keepdim=True).expand_as(changeable)
        # On a map windows cover places, whatever stands there; several tensors keep their maps.
        shapes = _map_shapes(question)
        if len(shapes) > 1 or len(shapes[0]) > 1:
            return changed
        if self._single:
            return changeable
        # A shorter text is a shorter line: windows end where it does.
        return changed & question.existing_features()

    def rows_each(self, question: Question, players: int) -> int:
        if self._single:
            return question.replacements * players
        windows = 0
        for window, stride, shape in self._maps(question):
            windows += math.prod(map(len, self._covers(window, stride, shape)))
        return question.replacements * windows

    def values(self, question: Question, seed: int) -> Tensor:
        prediction = question.prediction[:, None].to(torch.float64)
        features = question.partition.count
        credit = []
        first = 0
        # Windows slide over one tensor at a time: two tensors have no neighbours in common.
        for window, stride, shape in self._maps(question):
            covers = [axis.to(question.x.device) for axis in self._covers(window, stride, shape)]
            masks = (_among(part, first, features) for part in _window_masks(covers))
            scores = torch.cat([question.value(part) for part in masks], dim=1)
            losses = prediction - scores.to(torch.float64)
            windows_per_feature = overlap_sum(covers, torch.ones_like(losses[:1]))
            credit.append(overlap_sum(covers, losses) / windows_per_feature)
            first += math.prod(shape)
        return torch.cat(credit, dim=1)

    def _maps(self, question: Question) -> Iterator[tuple[Lengths, Lengths, tuple[int, ...]]]:
        """Window, stride and shape of each map of features that windows slide over."""
        shapes = _map_shapes(question)
        windows = _per_tensor("window", self.window, shapes)
        strides = _per_tensor("stride", self.stride, shapes)
        return zip(windows, strides, shapes)

    @staticmethod
    def _covers(window: Lengths, stride: Lengths, shape: tuple[int, ...]) -> list[Tensor]:
        """The windows along each axis of the feature map."""
        windows = _per_axis("window", window, shape)
        strides = _per_axis("stride", stride, shape)
        covers = []
        for wide, step, length in zip(windows, strides, shape):
            if wide > length:
                raise InputError(
                    expected=f"a window inside the feature map {shape}",
                    got=window,
                    advice=f"Use at most {length} along the axis of length {length}.",
                )
            if step > wide and wide < length:
                raise InputError(
                    expected=f"a stride of at most the window, {wide}",
                    got=step,
                    advice="Features between two windows would never be removed.",
                )
            covers.append(cover(length, wide, step))
        return covers


def _read(name: str, setting: Any) -> Any:
    """Whole numbers, in tuples where they were in tuples or lists."""
    if isinstance(setting, list | tuple) and setting:
        return tuple(_read(name, part) for part in setting)
    # True is an int to Python.
    if isinstance(setting, bool) or not isinstance(setting, Integral):
        raise KindError(
            expected=f"whole numbers as {name} of Occlusion",
            got=repr(setting),
            advice=f"Count features: {name}=3 for every axis, or {name}=(3, 3) for one axis each.",
        )
    if setting < 1:
        raise SettingError(
            expected=f"a {name} of at least 1",
            got=repr(setting),
            advice=f"Count features: {name}=1 for every axis, or one number for each.",
        )
    return int(setting)


def _flat(setting: Any) -> Iterator[int]:
    """Every length in a setting."""
    if isinstance(setting, int):
        yield setting
        return
    for part in setting:
        yield from _flat(part)


def _map_shapes(question: Question) -> list[tuple[int, ...]]:
    """The feature map, or one for each of several tensors whose elements are the features."""
    shapes = question.layout.shapes
    if len(shapes) > 1 and question.partition.identity:
        return [shape or (1,) for shape in shapes]
    return [_map_shape(question)]


def _per_tensor(name: str, setting: Any, shapes: list[tuple[int, ...]]) -> list[Lengths]:
    """The window or stride of each tensor."""
    if isinstance(setting, int):
        return [setting] * len(shapes)
    each = any(isinstance(part, tuple) for part in setting)
    # Among several tensors (2, 3) could be one for each, or one for each axis.
    if not each and len(shapes) == 1:
        return [setting]
    if not each or len(setting) != len(shapes):
        example = ", ".join(str((2,) * len(shape)) for shape in shapes)
        raise InputError(
            expected=f"one {name} for each tensor, of the maps {shapes}",
            got=setting,
            advice=f"Give a tuple of tuples, such as {name}=({example},), or one number for all.",
        )
    return list(setting)


def _among(masks: Tensor, first: int, features: int) -> Tensor:
    """Masks over the features of one tensor as masks over all, where the others are present."""
    if masks.shape[1] == features:
        return masks
    whole = masks.new_ones(len(masks), features)
    whole[:, first : first + masks.shape[1]] = masks
    return whole


def _map_shape(question: Question) -> tuple[int, ...]:
    """The feature map, or one line of features where the features have no map of their own."""
    partition = question.partition
    shape = tuple(partition.shape or ())
    if shape and math.prod(shape) == partition.count:
        return shape
    return (partition.count,)


def _per_axis(name: str, setting: Lengths, shape: tuple[int, ...]) -> tuple[int, ...]:
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
