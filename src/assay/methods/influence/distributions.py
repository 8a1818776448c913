"""Distributions of interest: over which points an influence is a mean (Leino et al. 2018, section 2).

A distribution is a list of points with weights, for each input. It lives at the network's inputs, or,
by `at`, at the layer that is attributed, or at another one before it, by its name. There activations
themselves are moved, and what skips past that layer stays that of the input. A line has the weights
of a quadrature rule, so that it is the integral of the paper and not the plain mean over nodes and
ends, which is off by the order of a step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, final

import torch
from torch import Tensor

from assay.errors import InputError, SettingError
from assay.numerics import rng
from assay.numerics.integration import Rule, check_quadrature, quadrature
from assay.question.question import Question
from assay.settings import Settings, short_repr

Points: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Inputs (r,) and numbers of points (r,) to points (r, elements)."""


@final
@dataclass(frozen=True, eq=False)
class WeightedPoints:
    """The points of a distribution, as many for each input.

    Settings:
        weights: of the points, (k,), float64; they add up to 1.
        make: inputs (r,) and numbers of points (r,) to points (r, elements).
    """

    weights: Tensor
    make: Points


class Distribution(Settings, ABC):
    """Over which points an influence is a mean. A subclass is a frozen dataclass with these settings
    and `points`.

    Settings:
        at: where the points lie: "inputs", "layer" for activations of the layer that the question
            is asked behind, or the name of a layer before that one.
    """

    at: str
    sampled: ClassVar[bool] = False
    """Whether the points are a sample, whose mean has a standard error."""

    def __post_init__(self) -> None:
        if not self.at:
            raise SettingError(
                expected=f"{type(self).__name__} at the 'inputs', at the 'layer' or at a layer's name",
                got=repr(self.at),
                advice="The layer is the one that the question is asked behind: q.after(layer).",
            )

    def check(self, question: Question) -> None:  # may be overridden
        """Refuses before any work a question at whose inputs there is no such distribution."""
        return

    @abstractmethod
    def points(self, question: Question, seed: int) -> WeightedPoints:
        """The points around each input of a question: the network's own, or one behind a layer."""


@final
@dataclass(frozen=True)
class PointDistribution(Distribution):
    """The input itself and nothing else: what an infinitely small change would do.

    >>> PointDistribution()
    PointDistribution(at='inputs')
    """

    at: str = "inputs"

    def points(self, question: Question, seed: int) -> WeightedPoints:
        x = question.x
        return WeightedPoints(torch.ones(1, dtype=torch.float64), lambda rows, numbers: x[rows])


@final
@dataclass(frozen=True)
class LineDistribution(Distribution):
    """Uniform on the straight line from what is absent to the input.

    Points b + a_k (x - b) with the weights w_k of a quadrature rule; b is the question's removal.

    Settings:
        steps: nodes on the line; Gauss-Legendre is exact for polynomials of degree 2 steps - 1.
        rule: the quadrature rule.
        at: "inputs", "layer" or the name of a layer before it.

    Errors: InputError for a removal with several replacements.

    >>> LineDistribution(steps=8)
    LineDistribution(steps=8, rule='gauss_legendre', at='inputs')
    """

    steps: int = 64
    rule: Rule = "gauss_legendre"
    at: str = "inputs"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_quadrature(self.rule, self.steps)

    def check(self, question: Question) -> None:
        question.require_one_replacement()

    def points(self, question: Question, seed: int) -> WeightedPoints:
        x = question.x
        # One replacement for each input, which `check` has made sure of: a line has one beginning.
        start = question.absent
        nodes, weights = quadrature(self.rule, self.steps)
        alphas = nodes.to(x.device, x.dtype)

        def make(rows: Tensor, numbers: Tensor) -> Tensor:
            way = x[rows] - start[rows]
            return torch.addcmul(start[rows], alphas[numbers].unsqueeze(1), way)

        return WeightedPoints(weights, make)


@final
@dataclass(frozen=True)
class GaussianDistribution(Distribution):
    """Normal around the input: points x + e_k, e_k ~ N(0, scale^2).

    Settings:
        scale: the standard deviation, in units of the inputs, or of activations at a layer.
        draws: points for each input, two or more; they come from the seed and the input's bytes.
        at: "inputs", "layer" or the name of a layer before it.

    >>> GaussianDistribution(scale=0.2)
    GaussianDistribution(scale=0.2, draws=50, at='inputs')
    """

    scale: float
    draws: int = 50
    at: str = "inputs"
    sampled = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scale > 0 or self.draws < 2:
            raise SettingError(
                expected="a scale above 0 and at least 2 draws (one has no standard error)",
                got=f"scale={self.scale}, draws={self.draws}",
                advice="A tenth of the inputs' range and 50 draws are usual.",
            )

    def points(self, question: Question, seed: int) -> WeightedPoints:
        x = question.x
        # By the input's own key: its points are the same whatever inputs stand beside it.
        streams = rng.streams(seed, question.keys, "influence")

        def make(rows: Tensor, numbers: Tensor) -> Tensor:
            return x[rows] + self.scale * _noise(streams, rows, numbers, x)

        weights = torch.full((self.draws,), 1 / self.draws, dtype=torch.float64)
        return WeightedPoints(weights, make)


@final
@dataclass(frozen=True, eq=False)
class DataDistribution(Distribution):
    """A data set, every row alike: what matters for the target over inputs that are not the one
    asked about.

    The target is that of each input of the question (the class that it predicts), at every row.

    Settings:
        rows: inputs like those of the question, (m, *shape); activations at a layer.
        at: "inputs", "layer" or the name of a layer before it.

    >>> DataDistribution(torch.zeros(20, 3))
    DataDistribution(rows=<Tensor of shape (20, 3)>, at='inputs')
    """

    rows: Any
    at: str = "inputs"

    def __repr__(self) -> str:
        return f"DataDistribution(rows={short_repr(self.rows)}, at={self.at!r})"

    def check(self, question: Question) -> None:
        self._read(question)

    def points(self, question: Question, seed: int) -> WeightedPoints:
        rows = self._read(question)
        weights = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
        return WeightedPoints(weights, lambda owners, numbers: rows[numbers])

    def _read(self, question: Question) -> Tensor:
        rows = question.layout.flatten(self.rows)
        if len(rows) == 0 or not bool(torch.isfinite(rows).all()):
            raise InputError(
                expected="at least one row of finite numbers in a DataDistribution",
                got="none" if len(rows) == 0 else "NaN or infinity",
                advice="Hand over rows like the inputs, without gaps.",
            )
        return rows


def _noise(streams: rng.Streams, rows: Tensor, numbers: Tensor, x: Tensor) -> Tensor:
    """Draws `numbers` (r,) of the inputs `rows` (r,), input by input in their order: (r, elements)."""
    owners, counts = rows.unique_consecutive(return_counts=True)
    # The first number that each input's run has: runs are consecutive, so that says it all.
    firsts = numbers[counts.cumsum(0) - counts]
    # Inputs at the same draws are drawn together: the ends of a chunk and what lies between them.
    stretches, sizes = torch.stack([firsts, counts], dim=1).unique_consecutive(
        dim=0, return_counts=True
    )
    parts = []
    done = 0
    for (first, count), size in zip(stretches.tolist(), sizes.tolist()):
        alike = streams.take(owners[done : done + size])
        parts.append(alike.normal((first, first + count), x.shape[1], x.dtype).flatten(0, 1))
        done += size
    return torch.cat(parts)
