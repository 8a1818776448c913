"""Signed credit over the outline of a picture: the data of a figure, without a pixel of it drawn.

The outline is what remains recognisable of the picture when its colours are needed for credit: the
size of the slope of its grey values. Credit is scaled about zero, so that a drawing has green for
what speaks for the target, red for what speaks against, and grey where there is neither (Sundararajan
et al. 2017, figure 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from assay.answers.attribution import Attribution
from assay.errors import InputError
from assay.numerics.statistics import Floats
from assay.pictures.images import credit_maps, is_image, photos, reach
from assay.question.question import Question

_LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)


@final
@dataclass(frozen=True, eq=False)
class SignedOverlay:
    """Credit over the outline of each picture.

    Settings:
        outline: the outline (n, height, width) in [0, 1], 1 at the sharpest edge of each picture.
        credit: credit (n, height, width) in [-1, 1], 0 where there is none.
        reach: the credit that 1 stands for, (n,), in the units of the answer.
    """

    outline: Floats
    credit: Floats
    reach: Floats


def signed_overlay(
    question: Question, answer: Attribution, images: ArrayLike | None = None
) -> SignedOverlay:
    """Credit over the outline of each picture of a question.

    outline = |grad g| / max |grad g|, g the grey picture, by central differences;
    credit = clip(c / r, -1, 1), r the largest |c|, of maps of 256 places or more the 99th percentile

    Settings:
        question: what was asked, about pictures.
        answer: what a method said.
        images: what people should see, where the inputs are not it: (n, height, width) or
            (n, height, width, 3).

    Errors: InputError for inputs that are no pictures, and for images of another size.

    >>> import torch, assay
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1))
    >>> question = assay.Question(net, torch.rand(2, 1, 4, 4))
    >>> overlay = signed_overlay(question, assay.Gradient()(question))
    >>> overlay.credit.shape, float(abs(overlay.credit).max()), float(overlay.outline.max())
    ((2, 4, 4), 1.0, 1.0)
    """
    seen = photos(question, images) if is_image(question) else None
    if seen is None:
        raise InputError(
            expected="pictures that people can see, of one or three channels",
            got=f"inputs of shape {question.layout.describe()}",
            advice="Hand over what should be seen: signed_overlay(question, answer, images).",
        )
    maps = credit_maps(question, answer)
    if seen.shape[1:3] != maps.shape[1:]:
        raise InputError(
            expected=f"images of {maps.shape[1]} x {maps.shape[2]}, the size of the map",
            got=f"{seen.shape[1]} x {seen.shape[2]}",
            advice="Hand over images of the inputs' own size.",
        )
    # Every picture on a scale of its own: weak credit of one would vanish beside another's.
    reaches = np.array([reach(credit) for credit in maps])
    credit = np.clip(maps / reaches[:, None, None], -1, 1)
    return SignedOverlay(_outline(seen), credit, reaches)


def _outline(images: Floats) -> Floats:
    """The size of the slope of each grey picture, 1 where it is largest."""
    grey = images @ np.array(_LUMA) if images.ndim == 4 else images
    down, across = np.gradient(grey, axis=(1, 2))
    size = np.hypot(down, across)
    largest = size.max(axis=(1, 2), keepdims=True)
    # A picture of one colour has no outline.
    outline: Floats = size / np.where(largest > 0, largest, 1.0)
    return outline
