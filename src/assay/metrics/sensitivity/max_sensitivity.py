"""Max-sensitivity: how much an explanation moves when its input hardly does.

An estimate from samples of the supremum in definition 3.1 of Yeh et al. (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from assay.answers.score import Direction
from assay.errors import SettingError
from assay.methods.base import Method
from assay.metrics.sensitivity.neighbours import Changes, NeighbourSensitivity
from assay.metrics.sensitivity.upper_bounds import Movement

_PRESETS = {
    "yeh2019-local": (0.2, 50),
    "yeh2019-global": (0.1, 50),
    "captum": (0.02, 10),
    "quantus": (0.2, 200),
}  # radius and draws


@final
@dataclass(frozen=True)
class MaxSensitivity(NeighbourSensitivity):
    """The largest relative change of an explanation among sampled neighbours of the input.

    SENS_max(phi, x, r) = max_{|d| <= r} |phi(x + d) - phi(x)|_2 / |phi(x)|_2
    (Yeh et al. 2019, definition 3.1; their norm).

    Settings:
        method: the method that is asked again at every neighbour; `compare` fills it in.
        radius: of the ball, in the inputs' units, or in those of `scale`. Categories do not move.
        ball: "linf", where every element moves by up to the radius, or "l2", where the whole step
            is no longer than that.
        draws: neighbours of each input. The maximum is a lower bound of the supremum that grows
            with them: compare at equal draws.
        neighbours: other neighbours than those of the ball: a perturbation I, which gives x - I, or
            a function of the inputs x (n, elements) and the number of the draw, which gives points
            of the same shape. Radius and ball then have no part.
        scale: rows of data; the radius then counts in standard deviations of each of their columns.
        ascent: steps that look for a larger change than the sampled ones, from the largest of them.

    Details, each (n,): `max`, `mean`, and `lipschitz`, the largest
    |phi(x + d) - phi(x)|_2 / |d|_2, over the samples; `found`, the largest that samples or ascent
    met, a lower bound of the supremum like `max`; and `upper`, an upper bound where one is proved:
    gradients, their product with the input, integrated gradients with a fixed baseline, of networks
    of linear and convolutional layers, rectifiers, smooth activations and pooling; else NaN. 0 / 0
    counts as 0. The target stays what it is on the clean input; a method that samples is asked anew
    at every neighbour.

    Cost: `draws` and 3 `ascent` explanations per input. Lower is better, but never alone: a
    constant explanation has 0. Errors: SettingError for settings out of range, KindError for integer inputs,
    InputError for the answer of another method, and whatever the method refuses.

    >>> import torch, assay
    >>> question = assay.Question(torch.nn.Linear(4, 1), torch.randn(3, 4))
    >>> metric = MaxSensitivity(assay.Gradient(), radius=0.1, draws=5)
    >>> metric(question, assay.Gradient()(question)).mean
    0.0
    """

    direction: ClassVar[Direction] = "lower"
    units: ClassVar[str] = "relative"
    why: ClassVar[str] = "the explanation is zero and its neighbours are not"

    @classmethod
    def preset(
        cls,
        name: Literal["yeh2019-local", "yeh2019-global", "captum", "quantus"],
        method: Method | None = None,
    ) -> MaxSensitivity:
        """The definition behind published figures, by name.

        "yeh2019-local" and "yeh2019-global" are those of the paper's reference code (a box of 0.2
        and of 0.1, 50 draws), for inputs in [0, 1]; "captum" its `sensitivity_max` (0.02, 10 draws)
        and "quantus" its `MaxSensitivity` (0.2, 200 draws), without their clipping and scaling.

        >>> MaxSensitivity.preset("captum").radius
        0.02
        """
        if name not in _PRESETS:
            raise SettingError(
                expected=f"a preset among {', '.join(_PRESETS)}",
                got=repr(name),
                advice="Or settings of your own: MaxSensitivity(method, radius=0.1, draws=50).",
            )
        radius, draws = _PRESETS[name]
        return cls(method, radius=radius, draws=draws)

    def statistic(self, changes: Changes) -> Tensor:
        return changes.relative

    def bound(self, proved: Movement, norm: Tensor) -> Tensor:
        # The longest step of the ball, at the fastest rate.
        reach = self.radius * (proved.elements**0.5 if self.ball == "linf" else 1.0)
        return torch.minimum(proved.farthest.norm(dim=1), proved.rate * reach) / norm
