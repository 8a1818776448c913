"""Eigen-CAM: the main direction of a layer's activations, with a sign that is fixed by a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from assay.methods.cam.maps import ActivationMap, Layer, activations_of
from assay.numerics.threads import few_threads

_SQUARINGS = 7  # to the power 128, that of a second eigenvalue of 0.75 times the first is 1e-16
_SETTLED = 1e-14  # of the eigenvalue: what may be left of C v - lambda v


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
    with few_threads(min(centred.shape[1:])):
        return _along(centred)


def _along(centred: Tensor) -> Tensor:
    if centred.shape[1] > centred.shape[2]:
        _, direction = _first_eigenvector(centred.mT @ centred)
        return (centred @ direction[:, :, None]).squeeze(2)
    square, direction = _first_eigenvector(centred @ centred.mT)
    # Of activations that do not vary the square is 0, or less by rounding.
    return direction * square.clamp_min(0).sqrt()[:, None]


def _first_eigenvector(squares: Tensor) -> tuple[Tensor, Tensor]:
    """The greatest eigenvalue (n,) of each matrix (n, m, m) and its eigenvector (n, m).

    A matrix to the power 2^k is, up to its size, v v' where the greatest eigenvalue stands out; the
    other vectors, which nobody asked for, are most of a decomposition's time. It decomposes what has
    not settled.
    """
    powers = squares
    for _ in range(_SQUARINGS):
        powers = powers @ powers
        powers = powers / powers.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    # Of the columns of v v' the one with the largest entry of v.
    rows = torch.arange(len(powers), device=powers.device)
    largest = powers.diagonal(dim1=1, dim2=2).argmax(1)
    vectors = torch.nn.functional.normalize(powers[rows, :, largest], dim=1)
    moved = (squares @ vectors[:, :, None]).squeeze(2)
    values = (vectors * moved).sum(1)
    settled = (moved - values[:, None] * vectors).norm(dim=1) <= _SETTLED * values
    if not settled.all():
        unsettled = ~settled
        decomposed = torch.linalg.eigh(squares[unsettled])
        values[unsettled] = decomposed.eigenvalues[:, -1]
        vectors[unsettled] = decomposed.eigenvectors[:, :, -1]
    return values, vectors
