"""Lipschitz sensitivity: how fast an explanation moves with its input, at most.

An estimate from samples of the local Lipschitz constant of Alvarez-Melis and Jaakkola (2018,
"Towards robust interpretability with self-explaining neural networks", definition 3.1; SENS_LIPS of
Yeh et al. 2019, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from assay.answers.score import Direction
from assay.metrics.sensitivity.neighbours import Changes, NeighbourSensitivity
from assay.metrics.sensitivity.upper_bounds import Movement


@final
@dataclass(frozen=True)
class LipschitzSensitivity(NeighbourSensitivity):
    """The fastest change of an explanation among sampled neighbours, for each unit of their distance.

    SENS_lips(phi, x, r) = max_{|d| <= r} |phi(x + d) - phi(x)|_2 / |d|_2
    (Alvarez-Melis and Jaakkola 2018, definition 3.1)

    Settings:
        method: the method that is asked again at every neighbour; `compare` fills it in.
        radius, ball, draws, neighbours, scale, ascent: as in `MaxSensitivity`.

    Details as in `MaxSensitivity`; `found` and `upper` are of this quotient. Of a rectified network
    slopes jump, and no bound of the quotient exists: `upper` is then NaN, unless no rectifier can
    change sign within the ball.

    Cost: `draws` and 3 `ascent` explanations per input. Units: those of the explanation, per unit of
    input: explanations of other units cannot be compared. Lower is better, but never alone.
    Errors: those of `MaxSensitivity`.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: (x**2).sum(1), torch.ones(1, 3, dtype=torch.float64))
    >>> metric = LipschitzSensitivity(assay.Gradient(), draws=5)
    >>> round(metric(question, assay.Gradient()(question)).mean, 9)
    2.0
    """

    direction: ClassVar[Direction] = "lower"
    units: ClassVar[str] = "credit per input"
    why: ClassVar[str] = ""

    def statistic(self, changes: Changes) -> Tensor:
        return changes.rate

    def bound(self, proved: Movement, norm: Tensor) -> Tensor:
        return proved.rate
