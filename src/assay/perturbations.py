"""Perturbations I of an input, for infidelity: laws over which the model's change is compared with
the attribution's account.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.errors import InputError, SettingError
from assay.numerics import rng
from assay.question.question import Question


@final
@dataclass(frozen=True, eq=False)
class PerturbationBatch:
    """A chunk of perturbations: `step` I (n, k, elements), and which features it removes (n or 1,
    k, features), or None.
    """

    step: Tensor
    removed: Tensor | None


class Perturbation(ABC):
    """A law of I: the model is asked at x - I."""

    fixed: ClassVar[bool] = False
    """Whether the perturbations are a finite list that is gone through once, without sampling."""

    def size(self, question: Question, draws: int) -> int:
        """How many perturbations of each input are asked."""
        return draws

    @abstractmethod
    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        """Perturbations number draws[0] to draws[1] - 1 of every input."""


def _keys(question: Question, seed: int, name: str) -> rng.Streams:
    return rng.streams(seed, question.keys, f"perturbation {name}")


def _positive(sigma: float) -> None:
    if not sigma > 0:
        raise InputError(
            expected="noise of positive sigma",
            got=sigma,
            advice="",
        )


def _removal(question: Question, removed: Tensor) -> PerturbationBatch:
    """The step that removes features: x - b on what they own, 0 elsewhere."""
    n, count = question.n, removed.shape[1]
    rows = torch.arange(n, device=question.x.device).repeat_interleave(count)
    own = removed.expand(n, -1, -1).reshape(n * count, -1)
    present = question.partition.spread(~own, rows).view(n, count, -1)
    way = (question.x - question.absent).unsqueeze(1)
    return PerturbationBatch(torch.where(present, torch.zeros_like(way), way), removed)


@final
@dataclass(frozen=True)
class DifferenceToBaseline(Perturbation):
    """I = x - x0: everything is removed at once; infidelity is then the squared completeness gap
    (Yeh et al. 2019, section 2.2).

    >>> DifferenceToBaseline()
    DifferenceToBaseline()
    """

    fixed: ClassVar[bool] = True

    def size(self, question: Question, draws: int) -> int:
        return 1

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        shape = (1, draws[1] - draws[0], question.partition.count)
        return _removal(question, torch.ones(shape, dtype=torch.bool, device=question.x.device))


@final
@dataclass(frozen=True)
class SubsetToBaseline(Perturbation):
    """I_S = x - x[x_S = (x0)_S]: every feature is removed with probability `share`, independently
    (Yeh et al. 2019, section 2.2).

    >>> SubsetToBaseline(share=0.25)
    SubsetToBaseline(share=0.25)
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise SettingError(
                expected="a share of removed features between 0 and 1",
                got=self.share,
                advice="",
            )

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        uniform = _keys(question, seed, "subset").uniform(
            draws, question.partition.count, torch.float64
        )
        return _removal(question, uniform < self.share)


@final
@dataclass(frozen=True)
class NoisyBaseline(Perturbation):
    """I = x - (x0 + e), e ~ N(0, sigma^2): everything is replaced by noise around the baseline (Yeh
    et al. 2019, section 4).

    >>> NoisyBaseline(0.2)
    NoisyBaseline(sigma=0.2)
    """

    sigma: float

    def __post_init__(self) -> None:
        _positive(self.sigma)

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        normal = _keys(question, seed, "noisy baseline").normal(
            draws, question.x.shape[1], question.x.dtype
        )
        return PerturbationBatch(
            (question.x - question.absent).unsqueeze(1) - self.sigma * normal, None
        )


@final
@dataclass(frozen=True)
class GaussianNoise(Perturbation):
    """I ~ N(0, sigma^2) on every element: what happens right around the input.

    >>> GaussianNoise(0.1)
    GaussianNoise(sigma=0.1)
    """

    sigma: float

    def __post_init__(self) -> None:
        _positive(self.sigma)

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        return PerturbationBatch(
            self.sigma
            * _keys(question, seed, "gaussian").normal(
                draws, question.x.shape[1], question.x.dtype
            ),
            None,
        )


@final
@dataclass(frozen=True)
class Squares(Perturbation):
    """Every axis-aligned square of the given sides at every position is removed once (Yeh et al.
    2019, section 4: Square).

    The feature map must be an image: elements or pixels (height, width). On 28 x 28 the sides 1 to
    10 make 5,605 squares. With `sampled=True` the draws are squares chosen uniformly instead.

    >>> Squares(sides=(3, 5))
    Squares(sides=(3, 5), sampled=False)
    """

    sides: tuple[int, ...] = field(default=tuple(range(1, 11)))
    sampled: bool = False

    @property
    def fixed(self) -> bool:  # type: ignore[override]
        return not self.sampled

    def size(self, question: Question, draws: int) -> int:
        return draws if self.sampled else len(self._places(question))

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        places = self._places(question)
        if self.sampled:
            which = _keys(question, seed, "squares").integers(draws, 1, len(places))[..., 0]
            return _removal(question, self._masks(question, places[which.cpu()]))
        return _removal(question, self._masks(question, places[draws[0] : draws[1]].unsqueeze(0)))

    def _grid(self, question: Question) -> tuple[int, int, int]:
        shape = question.partition.shape
        if len(shape) not in (2, 3):
            raise InputError(
                expected=f"features on an image for {self!r}",
                got=f"a feature map of shape {shape}",
                advice="Ask about Pixels().",
            )
        channels, height, width = (1, *shape) if len(shape) == 2 else shape
        if not self.sides or any(not 1 <= side <= min(height, width) for side in self.sides):
            raise InputError(
                expected=f"sides from 1 to {min(height, width)}",
                got=self.sides,
                advice="",
            )
        return channels, height, width

    def _places(self, question: Question) -> Tensor:
        """(squares, 3): side, top, left."""
        _, height, width = self._grid(question)
        parts = [
            torch.cartesian_prod(
                torch.tensor([s]), torch.arange(height - s + 1), torch.arange(width - s + 1)
            )
            for s in self.sides
        ]
        return torch.cat(parts)

    def _masks(self, question: Question, places: Tensor) -> Tensor:
        channels, height, width = self._grid(question)
        side, top, left = (places[..., i, None].to(question.x.device) for i in range(3))
        down, right = (
            torch.arange(height, device=side.device),
            torch.arange(width, device=side.device),
        )
        rows, columns = (down >= top) & (down < top + side), (right >= left) & (right < left + side)
        inside = rows.unsqueeze(-1) & columns.unsqueeze(-2)
        return (
            inside.flatten(-2)
            .repeat_interleave(1, dim=-1)
            .repeat(*([1] * (inside.dim() - 2)), channels)
        )
