"""What all class activation maps have in common: a layer, its activations and slopes, and places.

A subclass makes of activations A and slopes G, both (n, channels, *places), a signed map over the
places. Asked behind a layer the answer is the map at the layer's own resolution; asked of the network
it is upsampled to the places of the input (bilinear, pixel centres aligned, as in the paper).
Rectifying and scaling are not done behind anybody's back: `rectify` says the one, a picture does the
other.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from assay.answers.attribution import Kind
from assay.errors import AbilityError, AssayError, InputError, SettingError
from assay.features.images import Pixels
from assay.inputs.places import Places, places_in, places_of
from assay.methods.base import Estimate, Method
from assay.models.base import Ability
from assay.models.networks.layered import Layered
from assay.question.layers import Passing
from assay.question.question import Question

_TRIED = 24  # layers, from the last, that are tried for a refusal that names some
_NAMED = 3

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@final
@dataclass(frozen=True, eq=False)
class Layer:
    """What inputs pass at a layer, whose activations lie at places.

    Settings:
        passing: activations and slopes in rows.
        whole: what was asked, of the network or of the rest behind the layer.
        name: the layer, where the network was asked.
        places: where in a row of activations each place is.
        skipped: how many tokens come before those that lie on the grid.
    """

    passing: Passing
    whole: Question
    name: str | nn.Module | None
    places: Places
    skipped: int = 0

    @cached_property
    def question(self) -> Question:
        """The question behind the layer, whose inputs are the activations."""
        return self.whole.behind_passing(self.name, self.passing)

    def unfolded(self, rows: Tensor) -> Tensor:
        """Rows of activations or of slopes as (n, channels, *places)."""
        if not self.skipped:
            return self.places.channels_first(rows)
        channels = self.places.channels
        # The class token and registers stand first, and have no place on the grid.
        tokens = rows.reshape(len(rows), -1, channels)[:, self.skipped :]
        return tokens.movedim(-1, 1).reshape(len(rows), channels, *self.places.shape)


class ActivationMap(Method):
    """A map over the places of a layer. A subclass is a frozen dataclass with these settings and
    `map_of`.

    Settings:
        layer: its name or module; on a question behind a layer that one, else the last layer whose
            output has places.
        rectify: whether what is negative in the map is cut off, as the papers do.
        grid: the grid of a layer of tokens, (rows, columns): the tokens before it (class, registers)
            are left out.
    """

    layer: str | nn.Module | None
    rectify: bool
    grid: tuple[int, int] | None
    needs = frozenset({Ability.LAYERS})
    cost: ClassVar[str] = "1 gradient behind the layer"

    @property
    def kind(self) -> Kind:
        return Kind.WEIGHT

    def check(self, question: Question) -> None:
        # Half a network has no layers to cut at, and needs none.
        if not question.is_behind_layer:
            super().check(question)
        if self.grid is not None and min(self.grid) < 1:
            raise SettingError(
                expected="a grid of at least one row and column of tokens",
                got=self.grid,
                advice="A vision transformer of 224 pixels and patches of 16 has grid=(14, 14).",
            )

    @property
    def _by_slopes(self) -> bool:
        return Ability.GRADIENT in self.needs

    def _shards(self, question: Question) -> Iterator[Question]:
        for shard in super()._shards(question):
            # One forward tells what passes the layer and what is predicted.
            if not question.is_behind_layer:
                name = _named(question, self.layer)
                shard.keep_passing(name, slopes=self._by_slopes)
            yield shard

    @abstractmethod
    def map_of(self, layer: Layer) -> Tensor:
        """The signed map (n, *places) at the layer's resolution."""

    def values(self, question: Question, seed: int) -> Estimate:
        layer, name = self._layer(question)
        signed = self.map_of(layer).to(question.x.dtype)
        if self.rectify:
            # Before it is upsampled, as in the papers: else both signs would be averaged first.
            signed = signed.clamp_min(0)
        if question.is_behind_layer:
            return Estimate(_at_layer(question, layer, signed))
        notes = {"map": "x".join(map(str, layer.places.shape)), "mapped": name}
        return Estimate(_at_inputs(question, signed), notes=notes)

    def _layer(self, question: Question) -> tuple[Layer, str]:
        who = type(self).__name__
        return layer_of(question, self.layer, self.grid, who, slopes=self._by_slopes)


def layer_of(
    question: Question,
    layer: str | nn.Module | None,
    grid: tuple[int, int] | None,
    who: str,
    *,
    slopes: bool,
) -> tuple[Layer, str]:
    """A layer with its places, and what it is called: the one that the question is asked behind,
    the one that is named, or the last one with places; or a refusal that says what it may be.
    """
    # Behind a layer the question has one already, and a name in the settings is not asked.
    name = None if question.is_behind_layer else _named(question, layer)
    passing = question.passing(name, slopes=slopes)
    called = "the layer" if name is None else str(name)
    places, skipped = _places(passing, grid, "the layer" if name is None else repr(name), who)
    return Layer(passing, question, name, places, skipped), called


def _named(question: Question, layer: str | nn.Module | None) -> str | nn.Module:
    """The layer that is mapped: the last one with places where none is named."""
    return question.last_layer_with_places() if layer is None else layer


def _places(
    passing: Passing, grid: tuple[int, int] | None, name: str, who: str
) -> tuple[Places, int]:
    """Where places lie in a row of activations, and how many tokens come before those."""
    shapes = passing.layout.shapes
    if grid is not None and len(shapes) == 1 and len(shapes[0]) == 2:
        tokens, channels = shapes[0]
        skipped = tokens - math.prod(grid)
        if skipped < 0:
            raise InputError(
                expected=f"{name} to have a token for each place of the grid {grid}",
                got=f"{tokens} tokens",
                advice="The grid is the image's side over the side of a patch, by rows and columns.",
            )
        return Places(grid, channels, len(grid)), skipped
    if len(shapes) != 1 or len(shapes[0]) < 3:
        raise InputError(
            expected=f"{name} to have places, (channels, height, width)",
            got=passing.layout.describe(),
            advice=(
                f"A layer of tokens is mapped with {who}(layer, grid=(14, 14)); "
                "else name a convolution."
            ),
        )
    # Whether the grid that was said is that of the first axes: Swin's layers are (h, w, c).
    is_channels_last = grid is not None and len(shapes[0]) == 3 and shapes[0][:2] == grid
    axes = "HWC" if is_channels_last else None
    return places_in(shapes[0], axes, who), 0


def slopes_of(layer: Layer, who: str) -> Tensor:
    """The slopes of the target at the activations, or the refusal of a layer that it does not reach."""
    # Kept with the forward where they were; else they take a pass of their own.
    rows = layer.passing.slopes
    slopes = _precise(layer.unfolded(layer.question.slope() if rows is None else rows))
    if not bool(slopes.any()):
        working = _working_layers(layer, who)
        named = f" Layers that it does depend on: {', '.join(map(repr, working))}." * bool(working)
        raise AbilityError(
            expected=f"a layer that the target depends on, for {who}",
            got="slopes that are 0 everywhere",
            advice=(
                "The last block of a transformer hands its class token on alone: take the block "
                "before it, or the norm inside it. A target of saturated probabilities has slopes "
                f"of 0, too: explain the logit.{named}"
            ),
        )
    return slopes


def _working_layers(layer: Layer, who: str) -> list[str]:
    """The last layers with such places that the target of the first input depends on."""
    model = layer.whole.model
    if layer.whole.is_behind_layer or not isinstance(model, Layered):
        return []
    # On one input, since these layers are tried for the words of a refusal alone.
    one = layer.whole.part(0, 1)
    names = [name for name, _ in model.plain.named_modules() if name]
    # Of tokens the grid that they were said to lie on.
    is_tokens = len(layer.passing.layout.shapes[0]) == 2
    grid = (layer.places.shape[0], layer.places.shape[1]) if is_tokens else None
    working: list[str] = []
    for name in reversed(names[-_TRIED:]):
        try:
            slopes = layer_of(one, name, grid, who, slopes=True)[0].passing.slopes
        except AssayError:
            continue
        if slopes is not None and bool(slopes.any()):
            working.append(name)
        if len(working) == _NAMED:
            break
    return working


def activations_of(layer: Layer) -> Tensor:
    """The activations (n, channels, *places), in the precision that maps are worked out in."""
    return _precise(layer.unfolded(layer.passing.activations))


def _precise(maps: Tensor) -> Tensor:
    """At least single precision: powers of half-precision slopes underflow."""
    return maps if maps.dtype == torch.float64 else maps.to(torch.float32)


def upsampled(maps: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Maps (n, k, *places) at another resolution, linear between the centres of places."""
    return interpolate(maps, size=shape, mode=_MODES[len(shape)], align_corners=False)


def _at_inputs(question: Question, signed: Tensor) -> Tensor:
    """A map at the input's places, averaged over what a feature owns."""
    axes = question.features.axes if isinstance(question.features, Pixels) else None
    places = places_of(question.layout, axes, "a class activation map")
    # On pixels first and then averaged over features, which need not be rectangles.
    larger = upsampled(signed.unsqueeze(1), places.shape).flatten(1)
    return question.pool(places.spread(larger), pooling="mean")


def _at_layer(question: Question, layer: Layer, signed: Tensor) -> Tensor:
    """A map at the layer's own places, averaged over what a feature owns."""
    if layer.skipped:
        raise InputError(
            expected="a map of tokens at the input's pixels",
            got="a question behind the layer, whose other tokens are on no place",
            advice="Ask the network itself, and name the layer in the method's settings.",
        )
    return question.pool(layer.places.spread(signed.flatten(1)), pooling="mean")
