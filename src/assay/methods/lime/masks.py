"""Neighbourhoods of masks for LIME: features switched off by coin or by the size of the coalition."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.answers.attribution import Kind
from assay.methods.lime.neighbourhood import (
    Neighbourhood,
    Sample,
    as_levels,
    check_settings,
    kernel,
)
from assay.numerics import rng
from assay.numerics.designs import Balanced, uniforms
from assay.question.question import Question


class Masks(Neighbourhood):
    """Features shown or hidden, under the kernel exp(-D^2 / (2 width^2)) on the distance D = 1 -
    sqrt(share shown).
    """

    samples: int
    width: float
    kind: ClassVar[Kind] = Kind.CONTRIBUTION

    @abstractmethod
    def draw(self, features: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.int64] | None]:
        """Masks (m, features), and the strata of a balanced design, where there are any."""

    def size(self) -> int:
        return self.samples

    @final
    def sample(self, question: Question, seed: int) -> Sample:
        def ask(masks: Tensor) -> Tensor:
            return torch.cat([question.prediction[:, None], question.value(masks)], dim=1)

        return self._asked(question, seed, ask)

    @final
    def sample_outputs(self, question: Question, seed: int) -> Sample:
        """The same for every output: answers (n * outputs, m), from the same evaluations."""

        def ask(masks: Tensor) -> Tensor:
            return (
                question.outputs(torch.cat([torch.ones_like(masks[:1]), masks]))
                .transpose(1, 2)
                .flatten(0, 1)
            )

        return self._asked(question, seed, ask)

    def _asked(self, question: Question, seed: int, ask: Callable[[Tensor], Tensor]) -> Sample:
        drawn, strata = self.draw(question.partition.count, seed)
        masks = torch.from_numpy(drawn).to(question.x.device)
        design = torch.cat([torch.ones_like(masks[:1]), masks]).to(torch.float64)
        apart = 1 - design.mean(dim=1).sqrt()
        weights, unit = kernel(apart.square(), self.width), torch.ones_like(design[0])
        return Sample(
            design[None],
            weights[None],
            ask(masks).to(torch.float64),
            unit,
            levels=as_levels(strata, masks),
        )


@final
@dataclass(frozen=True)
class CoinMasks(Masks):
    """Each feature is shown or hidden by a fair coin: superpixels and patches as in the original.

    Weight exp(-D^2 / (2 width^2)), D = 1 - sqrt(share of features shown), the cosine distance to
    the whole input.
    """

    samples: int = 1000
    width: float = 0.25
    design: Balanced = "orthogonal"

    def __post_init__(self) -> None:
        check_settings(self.samples, self.width, self.design, Balanced)

    def draw(self, features: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.int64] | None]:
        draws, strata = uniforms(self.samples, features, rng.shared(seed, "lime"), self.design)
        return draws < 0.5, strata


@final
@dataclass(frozen=True)
class SizeMasks(Masks):
    """A uniform number of features, from 1 to all, is hidden, chosen at random: words of a text as
    in the original.

    Weight exp(-D^2 / (2 width^2)), D = 1 - sqrt(share of features shown), the cosine distance to
    the whole input.
    """

    samples: int = 5000
    width: float = 0.25

    def __post_init__(self) -> None:
        check_settings(self.samples, self.width)

    def draw(self, features: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.int64] | None]:
        draw = rng.shared(seed, "lime")
        rank = np.argsort(np.argsort(draw.random((self.samples, features)), axis=1), axis=1)
        return rank >= draw.integers(1, features + 1, size=(self.samples, 1)), None
