"""Maps whose weights are made of slopes, one formula each.

A is (n, channels, *places), G the slope of the target at it, Z the number of places; sums over places
are over everything behind the channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from assay.errors import AbilityError
from assay.methods.cam.maps import ActivationMap, Layer, activations_of, slopes_of
from assay.models.base import Ability

_LINEAR = 1e-4  # relative difference of slopes up to which they are those of a linear head


@final
@dataclass(frozen=True)
class CAM(ActivationMap):
    """The weights of a linear head over the mean of each channel, at every place.

    M(u) = sum_k w_k A_k(u)      (Zhou et al. 2016, equation 2)

    Settings:
        layer: the layer that is averaged over its places; the last one with places where nothing is
            said.
        rectify: whether what is negative is cut off.
        grid: the grid of a layer of tokens.

    For networks that end in global average pooling and one linear layer; whether this one does is
    seen from its slopes, which are then the same at every place and everywhere. Cost: two forward
    and backward passes behind the layer. Values: a signed map in units of the target, Z times the
    mean it is made of. Errors: AbilityError for another head.

    >>> import torch, assay
    >>> head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), head, torch.nn.Linear(2, 3))
    >>> CAM("0")(assay.Question(net, torch.rand(1, 3, 4, 4))).shape
    (4, 4)
    """

    layer: str | nn.Module | None = None
    rectify: bool = False
    grid: tuple[int, int] | None = None
    needs = frozenset({Ability.GRADIENT, Ability.LAYERS})
    cost: ClassVar[str] = "2 gradients behind the layer"

    def map_of(self, layer: Layer) -> Tensor:
        slopes = slopes_of(layer, repr(self))
        behind = layer.question
        # The slopes of a linear head are the same anywhere: half the activations is another point.
        halved = layer.unfolded(behind.slope(at=behind.x / 2))
        mean = _mean(slopes)
        scale = slopes.abs().max()
        same = (slopes - mean).abs().max() <= _LINEAR * scale
        linear = (slopes - halved).abs().max() <= _LINEAR * scale
        if not bool(same & linear):
            raise AbilityError(
                expected=f"global average pooling and one linear layer behind {self.layer!r} for CAM",
                got="a head whose slopes differ from place to place, or with the activations",
                advice="GradCam() is CAM for any head.",
            )
        places = slopes[0, 0].numel()
        # The head reads means over Z places, so that a slope at one of them is w_k / Z.
        return (places * mean * activations_of(layer)).sum(1)


@final
@dataclass(frozen=True)
class GradCam(ActivationMap):
    """The mean slope of each channel times its activation.

    M(u) = sum_k a_k A_k(u), a_k = (1 / Z) sum_u G_k(u)      (Selvaraju et al. 2017, equations 1, 2)

    Settings:
        layer: its name or module; the last one with places where nothing is said.
        rectify: the paper cuts off what is negative; the signed map says also what speaks against.
        grid: the grid of a layer of tokens.

    What speaks for another class is `GradCam()` of `Negated(target)`, the paper's counterfactual.
    Cost: one forward and backward pass behind the layer. Values: a map in units of the target per
    place, upsampled to the input's pixels; asked behind the layer, at its own. Errors: AbilityError
    for a layer that the target does not depend on.

    >>> import torch, assay
    >>> head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), head, torch.nn.Linear(2, 3))
    >>> GradCam()(assay.Question(net, torch.rand(1, 1, 4, 4))).facts["mapped"]
    '0'
    """

    layer: str | nn.Module | None = None
    rectify: bool = False
    grid: tuple[int, int] | None = None
    needs = frozenset({Ability.GRADIENT, Ability.LAYERS})

    def map_of(self, layer: Layer) -> Tensor:
        weights = _mean(slopes_of(layer, repr(self)))
        return (weights * activations_of(layer)).sum(1)


@final
@dataclass(frozen=True)
class GradCamPlusPlus(ActivationMap):
    """Slopes averaged with weights that share a class among its places.

    w_k = sum_u alpha_k(u) max(G_k(u), 0), alpha = G^2 / (2 G^2 + G^3 sum_v A_k(v))
    (Chattopadhay et al. 2018, equations 19 and 10, for the exponential of the score, whose higher
    slopes are powers of G)

    Settings:
        layer: its name or module; the last one with places where nothing is said.
        rectify: whether what is negative is cut off.
        grid: the grid of a layer of tokens.

    Cost: one forward and backward pass behind the layer. Values: a map, upsampled to the input's
    pixels; asked behind the layer, at its own.

    >>> GradCamPlusPlus("layer4")
    GradCamPlusPlus(layer='layer4', rectify=False, grid=None)
    """

    layer: str | nn.Module | None = None
    rectify: bool = False
    grid: tuple[int, int] | None = None
    needs = frozenset({Ability.GRADIENT, Ability.LAYERS})

    def map_of(self, layer: Layer) -> Tensor:
        # Cubes of small slopes underflow in single precision.
        slopes = slopes_of(layer, repr(self)).to(torch.float64)
        activations = activations_of(layer).to(torch.float64)
        rising = slopes.clamp_min(0)
        denominators = 2 * rising**2 + _sum(activations) * rising**3
        # Only rising slopes count, so only theirs are divided: no denominator of a falling one is 0.
        positive = rising > 0
        alpha = torch.where(positive, rising**2 / torch.where(positive, denominators, 1.0), 0.0)
        # Negative activations can bring a denominator to 0: such a place has no weight.
        weights = _sum(alpha.nan_to_num(posinf=0.0, neginf=0.0) * rising)
        return (weights * activations).sum(1)


@final
@dataclass(frozen=True)
class XGradCam(ActivationMap):
    """Slopes averaged with the activations as weights, so that the map adds up.

    w_k = sum_u G_k(u) A_k(u) / sum_u A_k(u)      (Fu et al. 2020, equation 8)

    Settings:
        layer: its name or module; the last one with places where nothing is said.
        rectify: whether what is negative is cut off.
        grid: the grid of a layer of tokens.

    A channel whose activations add up to 0 has no such mean, and gets the plain one. Cost: one
    forward and backward pass behind the layer. Values: a map, upsampled to the input's pixels.

    >>> XGradCam("layer4")
    XGradCam(layer='layer4', rectify=False, grid=None)
    """

    layer: str | nn.Module | None = None
    rectify: bool = False
    grid: tuple[int, int] | None = None
    needs = frozenset({Ability.GRADIENT, Ability.LAYERS})

    def map_of(self, layer: Layer) -> Tensor:
        slopes = slopes_of(layer, repr(self))
        activations = activations_of(layer)
        totals = _sum(activations)
        # A sum that is no more than the rounding of its terms would make a weight of noise.
        none = totals.abs() <= torch.finfo(totals.dtype).eps * _sum(activations.abs())
        weighted = _sum(slopes * activations) / torch.where(none, 1.0, totals)
        weights = torch.where(none, _mean(slopes), weighted)
        return (weights * activations).sum(1)


@final
@dataclass(frozen=True)
class HiResCam(ActivationMap):
    """The product of slope and activation at every place, with no mean in between.

    M(u) = sum_k G_k(u) A_k(u)      (Draelos and Carin 2020, equation 5)

    Settings:
        layer: its name or module; the last one with places where nothing is said.
        rectify: whether what is negative is cut off.
        grid: the grid of a layer of tokens.

    Where what follows the layer is one affine map, the map adds up to the score less its bias. Cost:
    one forward and backward pass behind the layer. Values: a map in units of the target, upsampled
    to the input's pixels.

    >>> HiResCam("layer4")
    HiResCam(layer='layer4', rectify=False, grid=None)
    """

    layer: str | nn.Module | None = None
    rectify: bool = False
    grid: tuple[int, int] | None = None
    needs = frozenset({Ability.GRADIENT, Ability.LAYERS})

    def map_of(self, layer: Layer) -> Tensor:
        return (slopes_of(layer, repr(self)) * activations_of(layer)).sum(1)


@final
@dataclass(frozen=True)
class LayerCam(ActivationMap):
    """Only what raises the score, at every place: M(u) = sum_k max(G_k(u), 0) A_k(u).

    (Jiang et al. 2021, equations 5 and 6)

    Settings:
        layer: its name or module; the last one with places where nothing is said. Made for early
            layers as well.
        rectify: whether what is negative is cut off.
        grid: the grid of a layer of tokens.

    Cost: one forward and backward pass behind the layer. Values: a map in units of the target,
    upsampled to the input's pixels.

    >>> LayerCam("layer2")
    LayerCam(layer='layer2', rectify=False, grid=None)
    """

    layer: str | nn.Module | None = None
    rectify: bool = False
    grid: tuple[int, int] | None = None
    needs = frozenset({Ability.GRADIENT, Ability.LAYERS})

    def map_of(self, layer: Layer) -> Tensor:
        rising = slopes_of(layer, repr(self)).clamp_min(0)
        return (rising * activations_of(layer)).sum(1)


def _sum(maps: Tensor) -> Tensor:
    """Over places: (n, channels, 1, ...)."""
    return maps.sum(tuple(range(2, maps.dim())), keepdim=True)


def _mean(maps: Tensor) -> Tensor:
    return maps.mean(tuple(range(2, maps.dim())), keepdim=True)
