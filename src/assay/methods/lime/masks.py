"""Neighbourhoods of masks for LIME: features shown or hidden, by a coin or by number.

The interpretable vector z of Ribeiro, Singh and Guestrin (2016) says which features are present;
what "absent" means is the question's removal. Draws are weighted by the cosine distance between z
and the whole input, as `lime_image` and `lime_text` of the original implementation weight them.
"""

from __future__ import annotations

from abc import abstractmethod
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
    check_settings,
    kernel,
    strata_like,
)
from assay.numerics import rng
from assay.numerics.designs import Balanced, uniforms
from assay.question.question import Question


@final
@dataclass(frozen=True)
class MaskTable:
    """Masks over features with their weights, before the model is asked: no input is in them.

    Settings:
        masks: what is present in every draw, (m, features).
        design: the whole input and then the masks as numbers, (1, m + 1, features).
        weights: their proximities, (1, m + 1).
        strata: the quarters that a balanced design drew from, (m, features).
    """

    masks: Tensor
    design: Tensor
    weights: Tensor
    strata: Tensor | None

    def sample(self, prediction: Tensor, values: Tensor) -> Sample:
        """With the target on the clean inputs (n,) and under the masks (n, m)."""
        answers = torch.cat([prediction[:, None], values], dim=1)
        return Sample(
            design=self.design,
            weights=self.weights,
            answers=answers.to(torch.float64),
            unit=torch.ones_like(self.design[0, 0]),
            strata=self.strata,
        )


class Masks(Neighbourhood):
    """Features shown or hidden, under the kernel exp(-D^2 / (2 width^2)).

    D = 1 - sqrt(share of features shown) is the cosine distance to the whole input.
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
        table = self.table(question, seed)
        prediction = question.prediction
        return table.sample(prediction, question.value(table.masks))

    @final
    def table(self, question: Question, seed: int) -> MaskTable:
        """The masks for the features of a question, of any of its inputs and outputs."""
        drawn_masks, strata = self.draw(question.partition.count, seed)
        masks = torch.from_numpy(drawn_masks).to(question.x.device)
        # The input itself comes first: every feature present, weight 1.
        whole = torch.ones_like(masks[:1])
        design = torch.cat([whole, masks]).to(torch.float64)
        # The cosine of a 0-1 vector with ones is the root of its share of ones.
        distance = 1 - design.mean(dim=1).sqrt()
        weights = kernel(distance.square(), self.width)
        return MaskTable(
            masks=masks,
            design=design[None],
            weights=weights[None],
            strata=strata_like(strata, masks),
        )


@final
@dataclass(frozen=True)
class CoinMasks(Masks):
    """Each feature is shown or hidden by a fair coin: superpixels and patches as in the original.

    Weight exp(-D^2 / (2 width^2)), D = 1 - sqrt(share of features shown), the cosine distance to
    the whole input.

    Settings:
        samples: masks, and so evaluations per input and draw of the removal.
        width: of the kernel, in units of D (0 to 1); 0.25 as in the original.
        design: "orthogonal" takes the error of main effects away, "independent" is plain chance.
    """

    samples: int = 1000
    width: float = 0.25
    design: Balanced = "orthogonal"

    def __post_init__(self) -> None:
        check_settings(self.samples, self.width, self.design, Balanced)

    def draw(self, features: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.int64] | None]:
        generator = rng.shared(seed, "lime")
        u, strata = uniforms(self.samples, features, generator, self.design)
        return u < 0.5, strata


@final
@dataclass(frozen=True)
class SizeMasks(Masks):
    """A uniform number of features, from 1 to all, is hidden, chosen at random: words of a text as
    in the original.

    Weight exp(-D^2 / (2 width^2)), D = 1 - sqrt(share of features shown), the cosine distance to
    the whole input.

    Settings:
        samples: masks, and so evaluations per input and draw of the removal; 5,000 as in the original.
        width: of the kernel, in units of D (0 to 1); 0.25 as in the original.
    """

    samples: int = 5000
    width: float = 0.25

    def __post_init__(self) -> None:
        check_settings(self.samples, self.width)

    def draw(self, features: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.int64] | None]:
        generator = rng.shared(seed, "lime")
        keys = generator.random((self.samples, features))
        # Sorting random keys shuffles the features of
        # every mask; the first so many are hidden.
        order = np.argsort(keys, axis=1)
        rank = np.argsort(order, axis=1)
        hidden = generator.integers(1, features + 1, size=(self.samples, 1))
        return rank >= hidden, None
