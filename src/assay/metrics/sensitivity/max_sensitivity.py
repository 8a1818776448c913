"""How much an explanation moves when its input hardly does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.score import Direction
from assay.errors import InputError, KindError, SettingError
from assay.methods.base import Method
from assay.metrics.base import Metric, Reading
from assay.numerics import rng
from assay.question.question import Question

_CHUNK = 1 << 21  # moved elements held at once


@final
@dataclass(frozen=True)
class MaxSensitivity(Metric):
    """The largest relative change of an explanation among sampled neighbours of the input.

    SENS_max(phi, x, r) = max_{|d| <= r} |phi(x + d) - phi(x)|_2 / |phi(x)|_2   (Yeh et al. 2019, definition 3.1; their norm)
    The neighbours are uniform in the ball, and so the maximum is a lower bound of the supremum that
    grows with `draws`: compare at equal draws. Details: `max`, `mean`, and `lipschitz`, the largest
    |phi(x + d) - phi(x)|_2 / |d|_2. 0 / 0 counts as 0. The target stays what it is on the clean
    input; a method that samples is asked anew at every neighbour. Cost: `draws` explanations per
    input. Lower is better, but never alone: a constant explanation has 0.

    >>> import torch, assay
    >>> question = assay.Question(torch.nn.Linear(4, 1), torch.randn(3, 4))
    >>> MaxSensitivity(assay.Gradient(), radius=0.1, draws=5)(question, assay.Gradient()(question)).mean
    0.0
    """

    method: Method | None = None
    radius: float = 0.1
    ball: Literal["linf", "l2"] = "linf"
    draws: int = 50
    direction: ClassVar[Direction] = "lower"
    units: ClassVar[str] = "relative"
    cost: ClassVar[str] = "draws explanations"
    asks_again: ClassVar[bool] = True
    why: ClassVar[str] = "the explanation is zero and its neighbours are not"

    def __post_init__(self) -> None:
        if self.method is not None and not isinstance(self.method, Method):
            raise KindError(
                expected="a method to ask again in MaxSensitivity",
                got=repr(self.method),
                advice="",
            )
        if not self.radius > 0 or self.draws < 1 or self.ball not in ("linf", "l2"):
            raise SettingError(
                expected=(
                    "a positive radius, at least one draw and the ball 'linf' or 'l2' "
                    "for MaxSensitivity"
                ),
                got=f"radius={self.radius}, draws={self.draws}, ball={self.ball!r}",
                advice="",
            )

    def for_method(self, method: Method) -> MaxSensitivity:
        return self if self.method is not None else replace(self, method=method)

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        if self.method is None:
            raise InputError(
                "Expected the method to ask again: MaxSensitivity(method, radius=...), or .for_method(method)."
            )
        if not question.x.is_floating_point():
            raise KindError(
                expected="floating inputs for MaxSensitivity, which moves them a little",
                got=question.x.dtype,
                advice="",
            )
        self.method.check(question)

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        n, elements = question.x.shape
        streams = rng.streams(seed, question.keys, "sensitivity")
        clean = [attribution.values.to(torch.float64) for attribution in attributions]
        norms = [values.norm(dim=1) for values in clean]
        step = max(1, _CHUNK // (n * elements))
        found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in attributions]
        for start in range(0, self.draws, step):
            draws = (start, min(start + step, self.draws))
            moves = self._moves(streams, draws, elements, question.x.dtype)
            moved = self._explain(question, moves, seed)
            lengths = moves.to(torch.float64).norm(dim=2)
            for mine, values, norm in zip(found, clean, norms, strict=True):
                change = (moved - values.unsqueeze(1)).norm(dim=2)
                relative = torch.where(change > 0, change / norm.unsqueeze(1), 0.0)
                mine.append((relative, change / lengths))
        return [self._reading(mine) for mine in found]

    def _explain(self, question: Question, moves: Tensor, seed: int) -> Tensor:
        """The explanations at the neighbours: (n, k, features)."""
        if self.method is None:
            raise InputError(
                "Expected the method to ask again: MaxSensitivity(method, radius=...)."
            )
        rows = torch.arange(question.n, device=moves.device).repeat_interleave(moves.shape[1])
        near = question.at((question.x.unsqueeze(1) + moves).flatten(0, 1), rows)
        values = self.method.estimate(near, seed).values.to(torch.float64)
        return values.view(question.n, moves.shape[1], -1)

    def _moves(
        self, streams: rng.Streams, draws: tuple[int, int], elements: int, dtype: torch.dtype
    ) -> Tensor:
        """Steps uniform in the ball: (n, k, elements)."""
        if self.ball == "linf":
            return (streams.uniform(draws, elements, dtype) * 2 - 1) * self.radius
        normal = streams.normal(draws, elements + 2, dtype)
        # The first d of d + 2 coordinates of a uniform point on the sphere are uniform in the d-ball.
        sphere: Tensor = normal / normal.norm(dim=2, keepdim=True)
        return sphere[..., :elements] * self.radius

    def _reading(self, found: list[tuple[Tensor, Tensor]]) -> Reading:
        relative = torch.cat([each[0] for each in found], dim=1)
        lipschitz = torch.cat([each[1] for each in found], dim=1).amax(1)
        # No explanation to be relative to: the input has no score.
        most = torch.where(torch.isinf(relative), torch.nan, relative).amax(1)
        return Reading(
            most,
            None,
            {
                "max": most,
                "mean": relative.mean(1).nan_to_num(posinf=torch.nan),
                "lipschitz": lipschitz,
            },
        )
