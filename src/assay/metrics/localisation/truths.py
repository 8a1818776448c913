"""Where the truth lies: masks or boxes of a question, as masks over its features.

A truth belongs to the question (`Question(..., truth=masks)`), one entry for each input, and so follows
its inputs into any order and any part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError
from assay.inputs.places import places_of
from assay.question.question import Question

_HALF = 0.5  # of what a feature owns has to lie inside for the feature to
_CORNERS = 4  # left, top, right, bottom


def required_truth(question: Question, metric: str) -> Any:
    """The truth of a question; without one, the refusal says where it belongs."""
    if question.truth is None:
        raise InputError(
            expected=f"a truth to compare with for {metric}",
            got="a question without one",
            advice=(
                "Hand it to the question, one entry for each input: Question(model, inputs, "
                "truth=masks), or boxes (left, top, right, bottom) in pixels."
            ),
        )
    return question.truth


def true_masks(question: Question, metric: str) -> Tensor:
    """Which features lie in the truth of each input: (n, features), bool; none where it is empty.

    Masks over the features, (n, features) or in the shape of their map, or over the input's pixels or
    elements; what is not 0 is inside. Or boxes, (4,) or (k, 4) for each input, left, top, right and bottom
    in pixels, the last two behind the last pixel. Of features that own several elements those are
    inside of which half lies inside.
    """
    truth = required_truth(question, metric)
    array = _as_numbers(truth)
    if array is not None:
        mask = _as_mask(question, array)
        if mask is not None:
            return mask
    boxes = _as_boxes(truth if array is None else array)
    if boxes is None:
        shape = None if array is None else tuple(array.shape)
        features = question.partition.shape
        raise InputError(
            expected=f"masks over a feature map of shape {features}, or boxes, for {metric}",
            got="entries of another kind" if shape is None else f"a truth of shape {shape}",
            advice=(
                "Masks are (n, features), or (n, height, width) in pixels of the input; boxes are "
                "lists of (left, top, right, bottom)."
            ),
        )
    return _boxes_as_masks(question, boxes, metric)


def _as_numbers(truth: Any) -> Tensor | None:
    """The truth as one tensor, None where its entries are of several shapes."""
    if isinstance(truth, list | tuple) and truth and isinstance(truth[0], Tensor):
        # Entries of several shapes are no masks, but may still be boxes.
        same = {entry.shape for entry in truth if isinstance(entry, Tensor)}
        return torch.stack(list(truth)) if len(same) == 1 else None
    try:
        return _tensor(truth)
    except (ValueError, TypeError, RuntimeError):
        return None


def _tensor(numbers: Any) -> Tensor:
    if isinstance(numbers, Tensor):
        return numbers
    # A copy: a frame hands out what may not be written on.
    return torch.as_tensor(np.array(numbers))


def _as_mask(question: Question, truth: Tensor) -> Tensor | None:
    """Masks over features or elements as masks over features; None for what is of no such shape."""
    # NaN is not 0, and would be taken for inside.
    if truth.is_complex() or bool(torch.isnan(truth).any()):
        return None
    partition = question.partition
    n = question.n
    shape = tuple(truth.shape)
    inside = truth.to(question.x.device) != 0
    on_map = shape == (n, *partition.shape)
    if on_map or (shape == (n, partition.count) and not _looks_like_boxes(question, truth)):
        return inside.reshape(n, -1)
    elements = question.x.shape[1]
    if shape in ((n, *question.layout.shapes[0]), (n, elements)) and inside[0].numel() == elements:
        return _pooled(question, inside.reshape(n, -1))
    if len(shape) == 3 and len(question.layout.shapes) == 1:
        places = places_of(question.layout, _axes(question), "a truth in pixels")
        # A mask in pixels holds for every channel of the input.
        if shape[1:] == places.shape:
            return _pooled(question, places.spread(inside.reshape(n, -1)))
    return None


def _looks_like_boxes(question: Question, truth: Tensor) -> bool:
    """Whether four numbers of each input are corners: of four pixels, unless they are a mask."""
    on_image = len(question.partition.shape) > 1
    return on_image and truth.shape[1] == _CORNERS and truth.dtype != torch.bool


def _pooled(question: Question, inside: Tensor) -> Tensor:
    """Masks over elements (n, elements) as masks over features (n, features)."""
    weight = inside.to(torch.float64)
    # Features own different numbers of elements, by which their sums are divided.
    owned = question.pool(torch.ones_like(weight))
    share = question.pool(weight) / owned
    # 0 / 0 of a feature that owns nothing in this input: it lies outside.
    return torch.nan_to_num(share) >= _HALF


def _as_boxes(truth: Any) -> list[Tensor] | None:
    """Boxes (k, 4) of each input; None for what are none."""
    boxes = []
    for entry in truth:
        try:
            corners = _tensor(entry).to("cpu", torch.float64)
        except (ValueError, TypeError, RuntimeError):
            return None
        # No box at all is an empty truth: it has no score, and is no fault.
        if corners.numel() == 0:
            corners = corners.reshape(0, _CORNERS)
        if corners.dim() not in (1, 2) or corners.shape[-1] != _CORNERS:
            return None
        # One box of an input may come without an axis of its own.
        corners = corners.reshape(-1, _CORNERS)
        if not bool(torch.isfinite(corners).all()):
            return None
        boxes.append(corners)
    return boxes


def _boxes_as_masks(question: Question, boxes: list[Tensor], metric: str) -> Tensor:
    places = places_of(question.layout, _axes(question), metric)
    if len(places.shape) != 2:
        raise InputError(
            expected=f"images for boxes in {metric}",
            got=f"places of shape {places.shape}",
            advice="Hand over masks in the shape of the features.",
        )
    height, width = places.shape
    # Middles of pixels, counted from the upper left corner of the image.
    row = torch.arange(height, dtype=torch.float64)[:, None] + 0.5
    column = torch.arange(width, dtype=torch.float64)[None] + 0.5
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, corners in zip(masks, boxes):
        for left, top, right, bottom in corners.tolist():
            # A pixel is inside where its middle is.
            mask |= (row >= top) & (row < bottom) & (column >= left) & (column < right)
    inside = masks.flatten(1).to(question.x.device)
    return _pooled(question, places.spread(inside))


def _axes(question: Question) -> str | None:
    """What the features say of the axes of the inputs."""
    axes = getattr(question.features, "axes", None)
    return axes if isinstance(axes, str) else None
