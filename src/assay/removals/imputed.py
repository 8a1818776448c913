"""Absent pixels imputed from those around them: noisy linear imputation (Rong et al. 2022, "ROAD").

Every absent pixel is the weighted mean of its eight neighbours, present or absent themselves, 1/6
for the four beside it and 1/12 for the four at its corners; a sparse linear system whose matrix is
a Laplacian, solved here for many images at once by conjugate gradients (Hestenes and Stiefel 1952). A
mask leaves no edge in the picture, and so says less by its own shape than a grey patch does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from assay.errors import InputError, KindError, SettingError
from assay.inputs.layout import Layout
from assay.inputs.places import Places, check_axes, places_of
from assay.numerics import rng
from assay.removals.base import Absent, Removal, blend

_BESIDE, _CORNER = 1 / 6, 1 / 12  # Rong et al. 2022, section 4.3
_CLOSE = 1e-13  # of the residual to the right side, at which an image is solved
_ITERATIONS = 10_000  # far beyond what an image of a megapixel takes


@final
@dataclass(frozen=True, eq=False)
class _Imputed(Absent):
    """Pixels from their neighbours, plus noise (n, elements) of each input's own."""

    x: Tensor
    noise: Tensor
    places: Places
    draws = 1
    shared = False

    def remove(self, x: Tensor, present: Tensor, rows: Tensor, draw: Tensor) -> Tensor:
        if present.dtype != torch.bool:
            raise KindError(
                expected="masks that switch, bool, for LinearImputation",
                got=present.dtype,
                advice="Masks that blend need one replacement for all: Mean(rows), Blur(5).",
            )
        # In double: single precision would not reach the residual at which an image is solved.
        images = self.places.channels_first(x.to(torch.float64))
        there = self.places.channels_first(present)
        # Channels are images of their own: a pixel may be absent in one of them alone.
        flat = imputed(images.flatten(0, 1), there.flatten(0, 1)).view_as(images)
        smooth = self.places.flat(flat) + self.noise[rows].to(torch.float64)
        return blend(x, smooth.to(x.dtype), present)

    def take(self, rows: Tensor) -> Absent:
        return _Imputed(self.x[rows], self.noise[rows], self.places)

    def everything_removed(self, rows: Tensor, draw: Tensor) -> Tensor:
        x = self.x[rows]
        return self.remove(x, torch.zeros_like(x, dtype=torch.bool), rows, draw)


def imputed(images: Tensor, present: Tensor) -> Tensor:
    """Images (r, height, width) with what is not `present` imputed; an image of which nothing is
    present becomes its mean.

    >>> ramp = torch.tensor([[[0.0, 9.0, 2.0]]], dtype=torch.float64)
    >>> imputed(ramp, ramp != 9).tolist()
    [[[0.0, 1.0, 2.0]]]
    """
    absent = (~present).to(images.dtype)
    known = torch.where(present, images, 0.0)
    # At the border there are fewer neighbours, whose weights still add up to 1.
    total = _around(torch.ones_like(images[:1]))
    solved = _conjugate_gradients(_around(known) * absent, absent, total)
    mean = images.mean((1, 2), keepdim=True).expand_as(images)
    nothing = ~present.flatten(1).any(1)[:, None, None]
    return torch.where(present, images, torch.where(nothing, mean, solved))


def _around(images: Tensor) -> Tensor:
    """The weighted sum of the eight neighbours of every pixel: (r, height, width)."""
    row = [_CORNER, _BESIDE, _CORNER]
    kernel = images.new_tensor([row, [_BESIDE, 0.0, _BESIDE], row])
    summed: Tensor = functional.conv2d(images.unsqueeze(1), kernel[None, None], padding=1)
    return summed[:, 0]


def _conjugate_gradients(right: Tensor, absent: Tensor, total: Tensor) -> Tensor:
    """v with total * v - (the sum around v) = right wherever absent (1 or 0), 0 elsewhere.

    Every image stops by itself, so that none depends on those beside it.
    """
    v = torch.zeros_like(right)
    residual = right.clone()
    # By the diagonal of the matrix (Jacobi), which is 1 but where the border lacks neighbours.
    preconditioned = residual / total
    direction = preconditioned.clone()
    product = (residual * preconditioned).sum((1, 2), keepdim=True)
    # `product` is a square, and so is what it is compared with.
    enough = _CLOSE**2 * product
    for _ in range(_ITERATIONS):
        running = product > enough
        if not bool(running.any()):
            break
        image = (total * direction - _around(direction)) * absent
        curvature = (direction * image).sum((1, 2), keepdim=True)
        step = torch.where(running, product / curvature, 0.0)
        # Without anything to start from the system has no solution, and none is taken.
        step = torch.where(torch.isfinite(step), step, 0.0)
        v = v + step * direction
        residual = residual - step * image
        preconditioned = residual / total
        new = (residual * preconditioned).sum((1, 2), keepdim=True)
        turn = torch.where(running, new / product, 0.0)
        direction = preconditioned + torch.where(torch.isfinite(turn), turn, 0.0) * direction
        product = torch.where(running, new, product)
    return v


@final
@dataclass(frozen=True)
class LinearImputation(Removal):
    """Absent pixels from the present ones around them, plus noise (Rong et al. 2022, section 4.3).

    v_p = sum_q w_pq v_q + e_p, q the eight neighbours, w 1/6 beside and 1/12 at the corners, over
    those that the image has; e_p ~ N(0, noise^2). What the mask hides leaves no edges behind.

    Settings:
        noise: standard deviation, in the inputs' units; the noise is each input's own, hashed from
            its bytes, and the same under all masks.
        axes: what the axes of one input are, in letters, as in `Blur`: "HWC" for channels last.
        seed: of the streams.

    With nothing present every channel is its mean. Bool masks alone; channels are imputed one by one.

    Units: those of the inputs. Cost: 1 evaluation per mask, and some hundred passes over the image.
    Errors: SettingError for negative noise, InputError for what is no floating image, KindError for
    masks that blend.

    >>> import torch, assay
    >>> dot = torch.zeros(1, 1, 3, 3).index_fill(3, torch.tensor([0]), 1.0)
    >>> question = assay.Question(
    ...     lambda x: x[:, 0, 1, 0], dot, features=assay.Pixels(),
    ...     removal=LinearImputation(noise=0.0))
    >>> round(float(question.value(torch.arange(9)[None] != 3)), 4)  # 2/6 of 2/6 + 1/6 + 2/12 shown
    0.5
    """

    noise: float = 0.01
    axes: str | None = None
    seed: int = 0
    follows = True

    def __post_init__(self) -> None:
        check_axes(self.axes, "LinearImputation")
        if not 0 <= self.noise < float("inf"):
            raise SettingError(
                expected="noise of LinearImputation that is not negative, and finite",
                got=self.noise,
                advice="0.01 is the authors', for images in [0, 1].",
            )

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        if len(layout.shapes) != 1 or not x.is_floating_point():
            raise InputError(
                expected="floating images (channels, height, width) to impute",
                got=f"{layout.describe()} of {x.dtype}",
                advice="Use Mean(rows) or Background(rows) for other inputs.",
            )
        places = places_of(layout, self.axes, "LinearImputation")
        if len(places.shape) != 2:
            raise InputError(
                expected="images for LinearImputation, places with a height and a width",
                got=f"places of shape {places.shape}",
                advice="Use Blur(sigma) for series and volumes.",
            )
        # By each input's own key: its noise does not depend on the inputs beside it.
        streams = rng.streams(self.seed, keys(), "linear imputation")
        noise = self.noise * streams.normal((0, 1), x.shape[1], x.dtype)[:, 0]
        return _Imputed(x, noise, places)
