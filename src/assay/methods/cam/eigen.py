"""Eigen-CAM: the main direction of a layer's activations, with a sign that is fixed by a rule."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from assay.engine import torch_in_one_thread
from assay.methods.cam.maps import ActivationMap, Layer, activations_of

_SMALL = 256  # rows of a matrix that one thread decomposes in some milliseconds


@final
@dataclass(frozen=True)
class EigenCam(ActivationMap):
    """How far each place lies along the direction in which the activations vary most.

    M(u) = (A(u) - mean A) . v, v the first right singular vector of the centred activations
    (Muhammad and Yeasin 2020, equation 3)

    Settings:
        layer: its name or module; the last one with places where nothing is said.
        rectify: whether what is negative is cut off.
        grid: the grid of a layer of tokens.

    A singular vector has no sign of its own: here the place where the activations are largest in
    sum is positive (of several, the first). It says where the network looks and not for which
    class. Cost: one forward pass up to the layer. Values: a map in units of the activations,
    upsampled to the input's pixels.

    >>> EigenCam("layer4")
    EigenCam(layer='layer4', rectify=False, grid=None)
    """

    layer: str | nn.Module | None = None
    rectify: bool = False
    grid: tuple[int, int] | None = None
    cost: ClassVar[str] = "1 forward"

    def map_of(self, layer: Layer) -> Tensor:
        activations = activations_of(layer)
        places = activations.flatten(2).mT.to(torch.float64)
        centred = places - places.mean(1, keepdim=True)
        along = _along_first_direction(centred)
        # Which sign comes out differs between devices: a place decides and not the decomposition.
        strongest = places.abs().sum(2).argmax(1, keepdim=True)
        signs = torch.where(along.gather(1, strongest) >= 0, 1.0, -1.0)
        signed: Tensor = along * signs
        return signed.view(len(activations), *activations.shape[2:])


def _along_first_direction(centred: Tensor) -> Tensor:
    """How far places lie along the first right singular vector, (n, places), up to its sign.

    With C = U S V', C V = U S: both are eigenvectors, of C'C and of CC', and the smaller matrix is
    taken, since channels may be thousands and places some dozens. In double precision the square
    of the first singular value is as good as itself.
    """
    # Of two threads each waited for the other, forty times as long as one takes.
    with torch_in_one_thread() if min(centred.shape[1:]) <= _SMALL else nullcontext():
        return _along(centred)


def _along(centred: Tensor) -> Tensor:
    if centred.shape[1] > centred.shape[2]:
        directions: Tensor = torch.linalg.eigh(centred.mT @ centred).eigenvectors
        return (centred @ directions[:, :, -1:]).squeeze(2)
    squares, directions = torch.linalg.eigh(centred @ centred.mT)
    # Of activations that do not vary the square is 0, or less by rounding.
    along: Tensor = directions[:, :, -1] * squares[:, -1:].clamp_min(0).sqrt()
    return along
