"""The pointing game: whether the feature with the most credit lies where it should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.score import RATE
from assay.errors import InputError, SettingError
from assay.metrics.base import Reading
from assay.metrics.localisation.located import LocatedMetric
from assay.question.question import Question


@final
@dataclass(frozen=True)
class PointingGame(LocatedMetric):
    """Whether the feature with the most credit lies in the truth, or near it.

    1[argmax_i phi_i in the truth]; of tied maxima the share that does   (Zhang et al. 2018, sec. 4.1)

    Settings:
        tolerance: a maximum counts that is less than this far from the truth, in steps of the
            feature map; the paper's is 15 pixels.
        by: "value" asks for the largest signed credit, "magnitude" for the largest size.

    Details, each (n,): `area`, the share of features in the truth, which is what a constant explanation
    has without a tolerance, and a random one in expectation; `ties`, how many features share
    the maximum. A negated one points at what speaks against the target most; 1 is the optimum. An empty
    truth is no hit and no miss: NaN. Published figures are means over the images of a class, then
    over classes.

    Units: rate. Higher is better. Cost: none. Errors: SettingError for a negative tolerance,
    InputError for a question without a truth, or one of another shape.

    >>> import torch, assay
    >>> x = torch.tensor([[1.0, 3.0, 3.0, 0.0]])
    >>> question = assay.Question(lambda x: x.sum(1), x, truth=torch.tensor([[0, 0, 1, 1]]))
    >>> PointingGame()(question, assay.InputXGradient()(question)).mean            # one of two
    0.5
    """

    tolerance: float = 0.0
    by: Literal["value", "magnitude"] = "value"
    ideal: ClassVar[float | None] = 1.0
    units: ClassVar[str] = RATE

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < float("inf"):
            raise SettingError(
                expected="a tolerance of PointingGame that is not negative, and finite",
                got=self.tolerance,
                advice="15 is the paper's, in pixels of the image.",
            )

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        super().check(question, attributions)
        shape = question.partition.shape
        if self.tolerance > 0 and question.partition.identity and len(shape) > 2:
            raise InputError(
                expected="features on a map of places for a tolerance",
                got=f"a feature map of shape {shape}",
                advice="Ask about Pixels(): channels are no places.",
            )

    def _locate(self, question: Question, credit: Tensor, truth: Tensor, own: Tensor) -> Reading:
        # What an input does not have is no maximum, even where all its credit is negative.
        credit = credit.masked_fill(~own, -torch.inf)
        # All places of the maximum: the first by its number would be a choice that nobody made.
        largest = (credit == credit.amax(1, keepdim=True)) & own
        near = self._near(truth, question.partition.shape) if self.tolerance > 0 else truth
        ties = largest.sum(1).to(torch.float64)
        hits = (largest & near).sum(1) / ties
        return Reading(hits, None, {"ties": ties})

    def _near(self, truth: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Features less than the tolerance from the truth: (n, features)."""
        from scipy import ndimage

        near = truth.clone()
        for i, mask in enumerate(truth.reshape(-1, *shape).cpu().numpy()):
            # Of an empty truth everything would be infinitely near.
            if mask.any():
                # Euclidean, in features of the map, to the nearest one of the truth.
                distance = torch.from_numpy(ndimage.distance_transform_edt(~mask))
                near[i] |= (distance < self.tolerance).flatten().to(near.device)
        return near
