"""Maps whose weights are what the score does when a channel is shown alone, or taken away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from assay.errors import InputError
from assay.features.images import Pixels
from assay.inputs.places import places_of
from assay.methods.cam.ablation import losses_of_channels
from assay.methods.cam.maps import ActivationMap, Layer, activations_of, upsampled
from assay.question.question import Question


@final
@dataclass(frozen=True)
class AblationCam(ActivationMap):
    """Each channel weighs what the score loses without it, relative to the score.

    w_k = (y - y_k) / y, y_k the score with A_k = 0      (Ramaswamy and Desai 2020, equation 3)

    Settings:
        layer: its name or module; the last one with places where nothing is said.
        rectify: whether what is negative is cut off.
        grid: the grid of a layer of tokens.
        relative: whether weights are divided by the score, as in the paper; a negative score then
            turns all signs. Without it they are in units of the target.

    Cost: one forward pass behind the layer for each channel; one forward and backward pass where the
    target is affine in the activations (global average pooling and a linear head), as the operations
    behind the layer say. Values: a map, upsampled to the input's pixels.

    >>> AblationCam("layer4", relative=False)
    AblationCam(layer='layer4', rectify=False, grid=None, relative=False)
    """

    layer: str | nn.Module | None = None
    rectify: bool = False
    grid: tuple[int, int] | None = None
    relative: bool = True
    cost: ClassVar[str] = "1 forward behind the layer for each channel"

    def map_of(self, layer: Layer) -> Tensor:
        activations = activations_of(layer)
        weights = losses_of_channels(layer, activations)
        if self.relative:
            # Of a score of 0 there is no share: its losses stay in units of the target.
            prediction = layer.question.prediction.to(weights)[:, None]
            weights = weights / torch.where(prediction == 0, 1.0, prediction)
        weights = weights.to(activations.device, activations.dtype)
        return (weights.view(*weights.shape, *[1] * (activations.dim() - 2)) * activations).sum(1)


@final
@dataclass(frozen=True)
class ScoreCam(ActivationMap):
    """Each channel weighs the score of the input seen through its own activation map.

    w = softmax_k(f(x o H_k) - f(b)), H_k = (U(A_k) - min) / (max - min), U upsampling
    (Wang et al. 2020, equations 4 to 7)

    Settings:
        layer: its name or module; the last one with places where nothing is said.
        rectify: whether what is negative is cut off.
        grid: the grid of a layer of tokens.
        softmax: whether the scores go through a softmax over channels, as in the paper; of logits
            that is near to picking one channel, so explain a probability, or leave it out.

    What H_k hides is what the removal says. A flat channel has no H_k, and gets no weight. Cost: one
    forward pass of the whole network for each other channel. Values: a map, upsampled to the input's
    pixels. Errors: InputError behind a layer: the input itself is masked.

    >>> ScoreCam("layer4", softmax=False)
    ScoreCam(layer='layer4', rectify=False, grid=None, softmax=False)
    """

    layer: str | nn.Module | None = None
    rectify: bool = False
    grid: tuple[int, int] | None = None
    softmax: bool = True
    cost: ClassVar[str] = "1 forward for each channel"

    def check(self, question: Question) -> None:
        super().check(question)
        question.require_one_replacement()
        if question.is_behind_layer:
            raise InputError(
                expected="a question about the network's own inputs for ScoreCam, which masks them",
                got="one behind a layer",
                advice="Ask the network, and name the layer: ScoreCam('layer4').",
            )

    def map_of(self, layer: Layer) -> Tensor:
        activations = activations_of(layer)
        weights = self._weights(layer.whole, activations)
        return (weights.view(*weights.shape, *[1] * (activations.dim() - 2)) * activations).sum(1)

    def _weights(self, question: Question, activations: Tensor) -> Tensor:
        n, channels = activations.shape[:2]
        axes = question.features.axes if isinstance(question.features, Pixels) else None
        places = places_of(question.layout, axes, repr(self))
        flat = activations.flatten(2)
        low, high = flat.amin(2, keepdim=True), flat.amax(2, keepdim=True)
        level = (high - low).squeeze(2)
        scores = torch.zeros(n, channels, dtype=torch.float64, device=activations.device)
        target = question.fixed_target
        absent = question.absent
        flat_channels = level == 0
        # Nothing is seen through a flat channel, and nothing asked: a fifth or so of those behind a
        # rectifier. Inputs and their channels folded into one number.
        asked = (~flat_channels).flatten().nonzero()[:, 0]

        def make(work: Tensor) -> tuple[Tensor, Tensor]:
            owners, shown = asked[work] // channels, asked[work] % channels
            maps = upsampled(activations[owners, shown].unsqueeze(1), places.shape).flatten(1)
            low, high = maps.amin(1, keepdim=True), maps.amax(1, keepdim=True)
            # By the extremes of the upsampled map, which may lie inside those of the layer's.
            masks = (maps - low) / torch.where(high > low, high - low, 1.0)
            masks = places.spread(masks)
            return absent[owners] + masks * (question.x[owners] - absent[owners]), owners

        def use(work: Tensor, owners: Tensor, outputs: Tensor) -> None:
            values = target.score(outputs, owners).to(torch.float64)
            scores[owners, asked[work] % channels] = values

        question.ask(len(asked), make, use, "through the map of a channel")
        scores = scores - question.base.to(torch.float64)[:, None]
        if self.softmax:
            # Kept out of the softmax, where a flat channel would take a share from the others.
            # Where all are flat it gives NaN, and they are 0 in the end.
            scores = scores.masked_fill(flat_channels, -torch.inf).softmax(1)
        return scores.masked_fill(flat_channels, 0.0).to(activations.dtype)
