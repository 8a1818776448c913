"""From tokens to inputs: which token stands for which part of an input, and what else there is.

A row of tokens belongs to an input of shape (length,), one number or id each, (length, width), one
row of numbers each, or (channels, height, width), whose patches lie on a grid. Tokens that stand
before those (class token, registers) belong to no part of the input, and are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from assay.errors import InputError
from assay.features.images import Pixels
from assay.inputs.places import Places, places_in
from assay.question.question import Question

Interpolation: TypeAlias = Literal["bilinear", "nearest"]
"""How a map of patches is laid on pixels."""


@final
@dataclass(frozen=True)
class Placing:
    """How tokens lie on the inputs of a question.

    Settings:
        shapes: of one input, tensor by tensor.
        grid: of patches, (rows, columns), where it was said.
        axes: which axes of an image are which, where the features say it.
        is_image: whether the features say that inputs are images.
        interpolation: how a map of patches is laid on pixels.
        who: the method, for refusals.
    """

    shapes: tuple[tuple[int, ...], ...]
    grid: tuple[int, int] | None
    axes: str | None
    is_image: bool
    interpolation: Interpolation
    who: str

    @classmethod
    def of(
        cls,
        question: Question,
        grid: tuple[int, int] | None,
        interpolation: Interpolation,
        who: str,
    ) -> Placing:
        """That of a question's inputs."""
        features = question.features
        is_image = isinstance(features, Pixels)
        axes = features.axes if isinstance(features, Pixels) else None
        return cls(question.layout.shapes, grid, axes, is_image, interpolation, who)

    def elements(self, relevance: Tensor, number: int, heard: tuple[int, ...] | None) -> Tensor:
        """Relevance (rows, tokens) for the elements of the input with this number.

        `heard` is the places of the convolution that the tokens came out of, where there was one.
        """
        shape = self.shapes[number]
        if len(shape) > 2 or (len(shape) == 2 and (self.is_image or self.grid is not None)):
            return self._pixels(relevance, shape, heard)
        if not shape:
            raise self._no_tokens("single numbers")
        kept = self._kept(relevance, shape[0], f"{shape[0]} rows of numbers, one a token")
        if len(shape) == 1:
            return kept
        # All numbers of a token have its credit, since features are pooled by their mean.
        return kept[:, :, None].expand(-1, -1, shape[1]).flatten(1)

    def _pixels(
        self, relevance: Tensor, shape: tuple[int, ...], heard: tuple[int, ...] | None
    ) -> Tensor:
        if len(shape) > 3:
            raise self._no_tokens(f"shape {shape}")
        places = places_in(shape, self.axes, self.who)
        grid = self._grid_of(relevance.shape[1], places, heard)
        kept = self._kept(relevance, math.prod(grid), f"a grid of {grid[0]} x {grid[1]} patches")
        return places.spread(self._enlarged(kept.view(-1, 1, *grid), places.shape).flatten(1))

    def _enlarged(self, maps: Tensor, shape: tuple[int, ...]) -> Tensor:
        if self.interpolation == "nearest":
            return interpolate(maps, size=shape, mode="nearest-exact")
        return interpolate(maps, size=shape, mode="bilinear", align_corners=False)

    def _grid_of(
        self, tokens: int, places: Places, heard: tuple[int, ...] | None
    ) -> tuple[int, ...]:
        """The grid that was said, that of the pixels themselves, or that of the convolution."""
        if self.grid is not None:
            return self.grid
        for grid in (places.shape, heard):
            # As many tokens in front as on the grid, or more, mean that it is not the tokens' grid.
            if grid is not None and 0 <= tokens - math.prod(grid) < math.prod(grid):
                return grid
        raise InputError(
            expected=f"the grid that the {tokens} tokens lie on, for {self.who} of images",
            got="none that the network's convolutions tell",
            advice=(
                "Say it, rows and columns of patches: grid=(14, 14) for 224 pixels and patches of "
                "16."
            ),
        )

    def _kept(self, relevance: Tensor, count: int, what: str) -> Tensor:
        """Without the tokens before those of the input, of which there are fewer than these."""
        before = relevance.shape[1] - count
        if not 0 <= before < max(count, 2):
            raise InputError(
                expected=f"{what} to fit the tokens of the network",
                got=f"{relevance.shape[1]} tokens",
                advice=(
                    "The grid is the image's side over the side of a patch, by rows and columns; "
                    "tokens that are made of several rows take a question behind the layer that "
                    "makes them: question.after(layer)."
                ),
            )
        return relevance[:, before:]

    def _no_tokens(self, got: str) -> InputError:
        return InputError(
            expected=f"inputs of shape (tokens,), (tokens, width) or of images for {self.who}",
            got=got,
            advice="Ask behind the layer whose output is tokens: question.after(layer).",
        )


def token_embedding(question: Question) -> str | None:
    """The layer that embeds the ids that a question is about; None where they are no ids."""
    embeddings = question.model.embeddings
    layout = question.layout
    x = question.x
    is_ids = len(layout.shapes) == 1 and len(layout.shapes[0]) == 1 and not x.is_floating_point()
    return embeddings[0] if is_ids and embeddings else None


def of_ids(elements: Tensor, behind: Question, ids: Question) -> Tensor:
    """Credit of embedded tokens (n, tokens * width) as that of their ids (n, tokens)."""
    shapes = behind.layout.shapes
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][0] != ids.x.shape[1]:
        raise InputError(
            expected=f"an embedding of each of the {ids.x.shape[1]} ids",
            got=f"{behind.layout.describe()} behind the first embedding",
            advice="Ask behind the layer that embeds them yourself: question.after(layer).",
        )
    width = shapes[0][1]
    return elements[:, torch.arange(0, elements.shape[1], width, device=elements.device)]
