"""Channels of a layer as words: how much each matters for a class, and what it is called.

`neuron_importance` gives every channel of a layer its Grad-CAM weight, with its sign: the channels
that raise the score most are the persuasive ones, those that lower it most the inhibitive ones.
`name_neurons` names channels after the concepts whose masks they fire on, as Network Dissection does;
names from anywhere else do as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor, nn

from assay.errors import InputError, KindError, SettingError
from assay.methods.cam.maps import activations_of, layer_of, slopes_of, upsampled
from assay.numerics.pieces import pieces
from assay.question.question import Question

Measure: TypeAlias = Literal["slope", "contribution"]
"""Whether a channel counts by its mean slope, or by that times its mean activation."""

_NUMBERS = 1 << 22  # numbers of upsampled maps held at once: 16 MiB in single precision


@final
@dataclass(frozen=True, eq=False)
class NeuronImportance:
    """How much each channel of a layer matters for the target of each input.

    Settings:
        slope: a_k, the mean slope over places (n, channels), in target per unit of activation.
        contribution: a_k times the mean activation (n, channels), in units of the target: what is
            important and absent counts nothing.
        names: what channels are called; others go by their number.
        layer: the layer.
    """

    slope: Tensor
    contribution: Tensor
    names: Mapping[int, str] = field(default_factory=dict)
    layer: str = ""

    def persuasive(
        self, count: int = 5, by: Measure = "slope"
    ) -> list[list[tuple[int, str, float]]]:
        """For each input the channels that raise its score most: number, name, importance."""
        return self._most(count, by, sign=1)

    def inhibitive(
        self, count: int = 5, by: Measure = "slope"
    ) -> list[list[tuple[int, str, float]]]:
        """For each input the channels that lower its score most: number, name, importance."""
        return self._most(count, by, sign=-1)

    def _most(self, count: int, by: Measure, sign: int) -> list[list[tuple[int, str, float]]]:
        if by not in ("slope", "contribution"):
            raise SettingError(
                expected="channels by 'slope' or by 'contribution'",
                got=repr(by),
                advice="'slope' is the paper's; 'contribution' leaves out what is absent.",
            )
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise SettingError(
                expected="a count of at least one channel",
                got=repr(count),
                advice="Write persuasive(5).",
            )
        signed = sign * getattr(self, by)
        order = signed.argsort(dim=1, descending=True, stable=True)[:, :count]
        return [
            [
                (channel, self.names.get(channel, str(channel)), sign * float(row[channel]))
                for channel in chosen
                # What does not point that way is neither.
                if float(row[channel]) > 0
            ]
            for row, chosen in zip(signed, order.tolist())
        ]


@torch.inference_mode(False)
@torch.no_grad()
def neuron_importance(
    question: Question,
    layer: str | nn.Module | None = None,
    names: Mapping[int, str] | None = None,
    *,
    grid: tuple[int, int] | None = None,
) -> NeuronImportance:
    """How much each channel of a layer matters for the target, with its sign.

    a_k = (1 / Z) sum_u d y / d A_k(u), the weights of Grad-CAM before anything is rectified
    (Selvaraju et al. 2020, section 7: textual explanations)

    Settings:
        question: about the network, or behind the layer.
        layer: its name or module; the last one with places where nothing is said.
        names: what channels are called, by number: by hand, or of `name_neurons`.
        grid: the grid of a layer of tokens.

    Cost: one forward and backward pass behind the layer. Errors: AbilityError for a layer that the
    target does not depend on.

    >>> import torch, assay
    >>> head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), head, torch.nn.Linear(3, 2))
    >>> net[2].weight.data[0] = torch.tensor([4.0, -8.0, 0.0])
    >>> question = assay.Question(net, torch.rand(1, 1, 2, 2), target=0)
    >>> importance = neuron_importance(question, "0", names={0: "stripes", 1: "sky"})
    >>> importance.persuasive(), importance.inhibitive()
    ([[(0, 'stripes', 1.0)]], [[(1, 'sky', -2.0)]])
    """
    if not isinstance(question, Question):
        raise KindError(
            expected="a Question for neuron_importance",
            got=type(question).__name__,
            advice="Build one: Question(model, inputs, target=...).",
        )
    placed, name = layer_of(question, layer, grid, "neuron_importance", slopes=True)
    # With both signs: what Grad-CAM would cut off is what makes a channel inhibitive.
    slope = slopes_of(placed, "neuron_importance").flatten(2).mean(2)
    contribution = slope * activations_of(placed).flatten(2).mean(2)
    return NeuronImportance(slope, contribution, _names(names, slope.shape[1]), name)


def _names(names: Mapping[int, str] | None, channels: int) -> dict[int, str]:
    known = dict(names or {})
    lost = [number for number in known if not isinstance(number, int) or not 0 <= number < channels]
    if lost:
        raise InputError(
            expected=f"names of channels from 0 to {channels - 1}",
            got=f"one of {lost[0]!r}",
            advice="Write names={3: 'stripes'}, channels counted from 0.",
        )
    return {number: str(name) for number, name in known.items()}


@final
@dataclass(frozen=True, eq=False)
class NeuronNames:
    """How well channels and concepts coincide.

    Settings:
        overlap: intersection over union (channels, concepts), over all images.
        concepts: the concepts, in the order of `overlap`.
        thresholds: the activation above which a channel fires (channels,).
        least: the overlap from which on a channel is named.
    """

    overlap: Tensor
    concepts: tuple[str, ...]
    thresholds: Tensor
    least: float

    @property
    def names(self) -> dict[int, str]:
        """The concept that each channel coincides with best, for channels that have one."""
        best, which = self.overlap.max(1)
        return {
            channel: self.concepts[concept]
            for channel, (value, concept) in enumerate(zip(best.tolist(), which.tolist()))
            if value > self.least
        }


@torch.inference_mode(False)
@torch.no_grad()
def name_neurons(
    model: Any,
    layer: str | nn.Module,
    images: Tensor,
    concepts: Mapping[str, Tensor],
    *,
    quantile: float = 0.005,
    least: float = 0.04,
    grid: tuple[int, int] | None = None,
) -> NeuronNames:
    """Names of a layer's channels, by the concepts that they fire on.

    IoU_kc = sum |M_k and L_c| / sum |M_k or L_c|, M_k where the upsampled activation of channel k is
    above T_k, P(A_k > T_k) = quantile over all images and places, L_c the masks of the concept
    (Bau et al. 2017, section 2.3: Network Dissection)

    Settings:
        model: the network.
        layer: its name or module.
        images: (n, channels, height, width).
        concepts: masks (n, height, width) of each concept by name, of any size that all share.
        quantile: the share of places at which a channel fires.
        least: the overlap that a name takes.
        grid: the grid of a layer of tokens.

    Maps are upsampled bilinearly to the size of the masks. Cost: one forward pass up to the layer;
    memory for the activations of all images.

    >>> import torch, assay
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.Flatten(), torch.nn.Linear(64, 2))
    >>> _ = net[0].weight.data.fill_(1.0)
    >>> images = torch.zeros(4, 1, 8, 8)
    >>> images[0, 0, 2, 3] = 1.0
    >>> name_neurons(net, "0", images, {"dot": images[:, 0] > 0}).names
    {0: 'dot'}
    """
    if not 0 < quantile < 1:
        raise SettingError(
            expected="a quantile between 0 and 1 for name_neurons",
            got=quantile,
            advice="0.005 lets a channel fire at one place in 200.",
        )
    placed, _ = layer_of(Question(model, images), layer, grid, "name_neurons", slopes=False)
    activations = activations_of(placed)
    labels, shape = _labels(concepts, len(activations))
    # One threshold for a channel over all images, so that it is the same concept in each.
    spread = activations.transpose(0, 1).flatten(1)
    thresholds = _thresholds(spread, quantile)
    n, channels = activations.shape[:2]
    labels = labels.to(activations.device)
    shared = torch.zeros(channels, len(labels), dtype=torch.float64, device=labels.device)
    fired = torch.zeros(channels, dtype=torch.float64, device=labels.device)
    # Image by image, as many as can be held at the size of the masks.
    for piece in pieces(n, channels * labels[0, 0].numel(), _NUMBERS):
        maps = upsampled(activations[piece], shape)
        # (channels, images * places), so that one product of matrices counts all overlaps.
        fires = (maps > thresholds.view(1, -1, *[1] * len(shape))).transpose(0, 1).flatten(1)
        # Places of many images are more than 2^24, from where on single precision skips numbers.
        counted = fires.to(torch.float64)
        shared += counted @ labels[:, piece].flatten(1).to(torch.float64).T
        fired += counted.sum(1)
    there = labels.flatten(1).sum(1).to(torch.float64)
    union = fired[:, None] + there[None] - shared
    overlap = torch.where(union > 0, shared / union.clamp_min(1), 0.0)
    return NeuronNames(overlap, tuple(concepts), thresholds, least)


def _thresholds(spread: Tensor, quantile: float) -> Tensor:
    """T with a share of at most `quantile` of a channel's activations (channels, values) above."""
    count = spread.shape[1]
    # At the threshold itself nothing fires, so that ties make the share smaller and never larger.
    above = int(quantile * count)
    return spread.sort(dim=1, descending=True).values[:, min(above, count - 1)]


def _labels(concepts: Mapping[str, Tensor], n: int) -> tuple[Tensor, tuple[int, ...]]:
    """The masks of all concepts (concepts, n, *size), and their size."""
    if not isinstance(concepts, Mapping) or not concepts:
        raise KindError(
            expected="masks of concepts by name for name_neurons",
            got=type(concepts).__name__ if not isinstance(concepts, Mapping) else "none",
            advice="Write {'stripes': masks} with boolean masks (n, height, width).",
        )
    masks = [torch.as_tensor(mask).bool() for mask in concepts.values()]
    size = masks[0].shape[1:]
    for name, mask in zip(concepts, masks):
        if mask.shape != (n, *size) or not size:
            raise InputError(
                expected=f"a mask for each of the {n} images, all of one size",
                got=f"shape {tuple(mask.shape)} for {name!r}",
                advice="Masks are (n, height, width); a concept that an image lacks is all false there.",
            )
    return torch.stack(masks), tuple(size)
