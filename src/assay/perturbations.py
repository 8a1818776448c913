"""Perturbations I of an input x: the laws that infidelity takes its expectation over.

The model is asked at x - I, and what it loses there, f(x) - f(x - I), is compared with what an
attribution says of that step. The laws are those of Yeh et al. (2019, "On the (in)fidelity and
sensitivity of explanations"): to a baseline at once, in a random subset, one coordinate at a time or
in coalitions weighted as Shapley values weigh them (section 2.2), to noise around it, and squares of
an image (section 4). Which law is chosen decides what a good explanation is, so that scores under
different ones cannot be compared; the explanation that a law likes best is `Optimal(law)`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from assay.errors import InputError, SettingError
from assay.features.images import Patches, Pixels
from assay.inputs.places import Places, check_axes, places_in
from assay.inputs.spreads import as_spread, check_moves, in_units
from assay.numerics import rng
from assay.question.question import Question
from assay.settings import Settings

_MOST_LISTED = 10_000  # squares that are gone through one by one where nothing is said


@final
@dataclass(frozen=True, eq=False)
class PerturbationBatch:
    """k perturbations of each of n inputs.

    Settings:
        step: I (n, k, elements), in the inputs' type.
        removed: which features I removes (n or 1, k, features), bool, or None where it removes
            none but moves the input; contributions have no product with such a step.
    """

    step: Tensor
    removed: Tensor | None


class Perturbation(Settings, ABC):
    """A law of I: the model is asked at x - I.

    A subclass is a frozen dataclass whose fields are its settings.

    Must write: `draw`, which gives the perturbations draws[0] to draws[1] - 1 of every input as a
    `PerturbationBatch`, step (n, k, elements). Number i of an input depends on the seed, the input
    and i alone, never on where a batch is cut; `rng.streams(seed, question.keys, name)` draws so.
    May write: `fixed` (or `listed`) and `size`, for a finite list that is gone through once without
    sampling; `support`, for a finite law whose members do not weigh alike; `notes`, for what is to
    be said beside the score; `removed`, without which it is refused under a removal with several
    replacements.

    Gets for free: batches of bounded memory, the model's answers shared by all attributions that
    are compared, standard errors where draws are sampled.
    """

    fixed: ClassVar[bool] = False  # may be overridden
    """Whether the perturbations are a finite list that is gone through once, without sampling."""
    complete: ClassVar[bool] = False  # may be overridden
    """Whether removing everything weighs infinitely: the best account of it is exact."""

    @property
    def removes(self) -> bool:
        """Whether it removes features, so that contributions have a product with it."""
        return type(self).removed is not Perturbation.removed

    def support(  # may be overridden
        self, features: int, most: int
    ) -> tuple[Tensor, Tensor] | None:
        """The whole law: what it removes (k, features), bool, and the probability of each, (k,),
        float64. None where it is not finite, has more than `most` members, or is listed.
        """
        return None

    def listed(self, question: Question) -> bool:  # may be overridden
        """Whether that list is gone through for this question: `fixed`, but for a law that draws
        where its list is long.
        """
        return self.fixed

    def notes(self, question: Question) -> dict[str, str]:  # may be overridden
        """What is to be said of how this question's perturbations were chosen, beside the score."""
        return {}

    def size(self, question: Question, draws: int) -> int:  # may be overridden
        """How many perturbations of each input are asked, where the metric would draw `draws`."""
        return draws

    def removed(  # may be overridden
        self, question: Question, seed: int, draws: tuple[int, int]
    ) -> Tensor | None:
        """Which features the same perturbations remove (n or 1, k, features), bool; None where they
        move the input. It is asked where a removal has several replacements, over which the change
        is averaged: no single step says that.
        """
        return None

    @abstractmethod
    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        """Perturbations number draws[0] to draws[1] - 1 of every input."""


def _streams(question: Question, seed: int, law: str) -> rng.Streams:
    """Each input's own stream for a law."""
    # Two laws never share draws: the name is part of the seed.
    return rng.streams(seed, question.keys, f"perturbation {law}")


def _check_sigma(sigma: float) -> None:
    if not sigma > 0:
        raise SettingError(
            expected="noise of positive sigma",
            got=sigma,
            advice="Give a standard deviation in the inputs' units, such as 0.1.",
        )


def _removal_batch(question: Question, removed: Tensor) -> PerturbationBatch:
    """The steps that remove features (n or 1, k, features): x - b on what they own, 0 elsewhere."""
    n = question.n
    k = removed.shape[1]
    # Masks are spread row by row: those of the first input come first.
    inputs = torch.arange(n, device=question.x.device)
    rows = inputs.repeat_interleave(k)
    masks = removed.expand(n, -1, -1).reshape(n * k, -1)
    present = question.partition.spread(~masks, rows)
    difference = (question.x - question.absent).unsqueeze(1)
    # x - I is x where features stay, and b up to rounding where they go.
    stay = torch.zeros_like(difference)
    step = torch.where(present.view(n, k, -1), stay, difference)
    return PerturbationBatch(step, removed)


@final
@dataclass(frozen=True)
class DifferenceToBaseline(Perturbation):
    """Everything is removed at once: I = x - x0.

    Infidelity is then the squared completeness gap (Yeh et al. 2019, section 2.2). One perturbation
    of each input, whatever the number of draws.

    >>> DifferenceToBaseline()
    DifferenceToBaseline()
    """

    fixed: ClassVar[bool] = True

    def size(self, question: Question, draws: int) -> int:
        return 1

    def removed(self, question: Question, seed: int, draws: tuple[int, int]) -> Tensor:
        # All inputs lose the same features: one mask serves them.
        shape = (1, draws[1] - draws[0], question.partition.count)
        return torch.ones(shape, dtype=torch.bool, device=question.x.device)

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        return _removal_batch(question, self.removed(question, seed, draws))


@final
@dataclass(frozen=True)
class SubsetToBaseline(Perturbation):
    """Every feature is removed by chance: I_S = x - x[x_S = (x0)_S] (Yeh et al. 2019, section 2.2).

    Settings:
        share: the probability with which each feature is removed, independently of the others.

    Errors: SettingError for a share outside (0, 1).

    >>> SubsetToBaseline(share=0.25)
    SubsetToBaseline(share=0.25)
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise SettingError(
                expected="a share of removed features between 0 and 1",
                got=self.share,
                advice="Use DifferenceToBaseline() to remove everything at once.",
            )

    def removed(self, question: Question, seed: int, draws: tuple[int, int]) -> Tensor:
        streams = _streams(question, seed, "subset")
        # In float64 always: the inputs' precision does not change the law.
        count = question.partition.count
        uniform = streams.uniform(draws, count, torch.float64)
        return uniform < self.share

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        return _removal_batch(question, self.removed(question, seed, draws))

    def support(self, features: int, most: int) -> tuple[Tensor, Tensor] | None:
        if not _few_subsets(features, most):
            return None
        subsets = _subsets(features)
        size = subsets.sum(1).to(torch.float64)
        return subsets, self.share**size * (1 - self.share) ** (features - size)


@final
@dataclass(frozen=True)
class Coordinates(Perturbation):
    """Every feature is removed alone, once: I_i = (x - x0)_i e_i (Yeh et al. 2019, section 2.2).

    The best account of these is what each feature takes away, occlusion with a window of one. As
    many perturbations of each input as there are features, whatever the number of draws.

    >>> Coordinates()
    Coordinates()
    """

    fixed: ClassVar[bool] = True

    def size(self, question: Question, draws: int) -> int:
        return question.partition.count

    def removed(self, question: Question, seed: int, draws: tuple[int, int]) -> Tensor:
        features = torch.arange(question.partition.count, device=question.x.device)
        # All inputs lose the same features: one list serves them.
        return (features == features[draws[0] : draws[1], None]).unsqueeze(0)

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        return _removal_batch(question, self.removed(question, seed, draws))


@final
@dataclass(frozen=True)
class ShapleyKernel(Perturbation):
    """Some features are removed, S with 0 < |S| < d, by the Shapley kernel.

    P(S) ~ (d - 1) / (C(d, |S|) |S| (d - |S|))      (Lundberg and Lee 2017, theorem 2)

    That kernel weighs S = everything infinitely, which no average can: infidelity is taken over the
    other S, and `Optimal(ShapleyKernel())`, the Shapley value, is complete. Of d = 1 features that
    one is removed.

    >>> ShapleyKernel()
    ShapleyKernel()
    """

    complete: ClassVar[bool] = True

    def removed(self, question: Question, seed: int, draws: tuple[int, int]) -> Tensor:
        streams = _streams(question, seed, "shapley kernel")
        count = question.partition.count
        uniform = streams.uniform(draws, count + 1, torch.float64)
        # The first number draws the size, the order of the others which features.
        limits = _kernel_of_sizes(count).cumsum(0).to(uniform.device)
        which = uniform[..., 0].contiguous()
        # Without the last limit, which rounding may leave below 1.
        sizes = 1 + torch.searchsorted(limits[:-1].contiguous(), which, right=True)
        # The order of an order is the rank: the lowest are a subset, all of a size alike likely.
        ranks = uniform[..., 1:].argsort(dim=-1).argsort(dim=-1)
        return ranks < sizes.unsqueeze(-1)

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        return _removal_batch(question, self.removed(question, seed, draws))

    def support(self, features: int, most: int) -> tuple[Tensor, Tensor] | None:
        if not _few_subsets(features, most):
            return None
        subsets = _subsets(features)
        sizes = subsets.sum(1)
        # Nothing and everything have no finite weight; of one feature there is no other set.
        inner = (sizes > 0) & ((sizes < features) | (features == 1))
        subsets = subsets[inner]
        sizes = sizes[inner]
        of_size = _kernel_of_sizes(features)[sizes - 1]
        members = torch.tensor([math.comb(features, size) for size in sizes.tolist()])
        return subsets, of_size / members


def _kernel_of_sizes(features: int) -> Tensor:
    """The probability that the Shapley kernel gives the sizes 1 to features - 1: float64."""
    if features == 1:
        return torch.ones(1, dtype=torch.float64)
    sizes = torch.arange(1, features, dtype=torch.float64)
    # Times C(d, z) subsets of a size, the kernel is (d - 1) / (z (d - z)).
    weights = 1 / (sizes * (features - sizes))
    return weights / weights.sum()


def _few_subsets(features: int, most: int) -> bool:
    # Bits first: 2^features of a picture would be a number of a hundred thousand bits.
    return features < most.bit_length() and 1 << features <= most


def _subsets(features: int) -> Tensor:
    """All subsets, (2^features, features), bool."""
    numbers = torch.arange(1 << features).unsqueeze(1)
    return (numbers >> torch.arange(features) & 1).to(torch.bool)


@final
@dataclass(frozen=True)
class NoisyBaseline(Perturbation):
    """Everything is replaced by noise around the baseline: I = x - (x0 + e), e ~ N(0, sigma^2).

    The noisy baseline of Yeh et al. (2019, section 4). It moves every element, and so suits slopes;
    contributions are refused.

    Settings:
        sigma: standard deviation of the noise, in the inputs' units, or in those of `scale`.
        scale: rows of data; sigma then counts in standard deviations of each of their columns.
        limits: the least and the largest value that the replacement may have, such as (0, 1) for
            pictures: what lies beyond is set to them.

    Categories get no noise. Errors: SettingError for a sigma that is not positive, or limits that
    hold nothing.

    >>> NoisyBaseline(0.2)
    NoisyBaseline(sigma=0.2, scale=None, limits=None)
    """

    sigma: float
    scale: Any = None
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", as_spread(self.scale))
        _check_sigma(self.sigma)
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise SettingError(
                expected="limits in ascending order",
                got=self.limits,
                advice="Write NoisyBaseline(0.2, limits=(0.0, 1.0)).",
            )

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        streams = _streams(question, seed, "noisy baseline")
        x = question.x
        noise = streams.normal(draws, x.shape[1], x.dtype)
        noise = self.sigma * in_units(noise, self.scale, question.layout)
        difference = (x - question.absent).unsqueeze(1)
        if self.limits is None:
            return PerturbationBatch(difference - noise, None)
        replaced = (question.absent.unsqueeze(1) + noise).clamp(*self.limits)
        return PerturbationBatch(x.unsqueeze(1) - replaced, None)


@final
@dataclass(frozen=True)
class GaussianNoise(Perturbation):
    """Noise on every element: I ~ N(0, sigma^2), what happens right around the input.

    It suits slopes; contributions are refused.

    Settings:
        sigma: standard deviation of the noise, in the inputs' units, or in those of `scale`.
        scale: rows of data; sigma then counts in standard deviations of each of their columns.

    Categories get no noise. Errors: SettingError for a sigma that is not positive.

    >>> GaussianNoise(0.1)
    GaussianNoise(sigma=0.1, scale=None)
    """

    sigma: float
    scale: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", as_spread(self.scale))
        _check_sigma(self.sigma)

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        streams = _streams(question, seed, "gaussian")
        x = question.x
        # No feature is removed: every element moves.
        noise = streams.normal(draws, x.shape[1], x.dtype)
        check_moves(question.layout, "GaussianNoise")
        return PerturbationBatch(self.sigma * in_units(noise, self.scale, question.layout), None)


@final
@dataclass(frozen=True)
class Squares(Perturbation):
    """Every axis-aligned square of some sides, at every position, is removed once; of very many,
    some are drawn.

    The law "Square" of Yeh et al. (2019, section 4). The feature map must be an image: elements or
    pixels (height, width); of a series squares are stretches, of a volume cubes. On 28 x 28 the
    sides 1 to 10 make 5,605 squares.

    Settings:
        sides: in pixels, each at least 1 and at most the image's smaller side.
        sampled: whether the draws are squares chosen uniformly (with replacement), in the place of
            all of them; where nothing is said, above 10,000 squares. The score's provenance then
            says of how many ("squares").
        axes: what the axes of the feature map are where every element is a feature, as in
            `Pixels`: "HWC" for channels last, "CT" for series.

    Errors: SettingError for sides below 1 or none, InputError for what is no image or too small.

    >>> Squares(sides=(3, 5))
    Squares(sides=(3, 5), sampled=None, axes=None)
    """

    sides: tuple[int, ...] = field(default=tuple(range(1, 11)))
    sampled: bool | None = None
    axes: str | None = None

    def __post_init__(self) -> None:
        check_axes(self.axes, "Squares")
        if not self.sides or min(self.sides) < 1:
            raise SettingError(
                expected="sides of at least 1 pixel",
                got=self.sides,
                advice="Write Squares(sides=(3, 5)) for squares of 3 by 3 and of 5 by 5.",
            )

    @property
    def fixed(self) -> bool:  # type: ignore[override]
        return not self.sampled

    def listed(self, question: Question) -> bool:
        if self.sampled is not None:
            return not self.sampled
        return self._count(question) <= _MOST_LISTED

    def notes(self, question: Question) -> dict[str, str]:
        if self.listed(question):
            return {}
        return {"squares": f"drawn from {self._count(question):,}"}

    def size(self, question: Question, draws: int) -> int:
        return self._count(question) if self.listed(question) else draws

    def removed(self, question: Question, seed: int, draws: tuple[int, int]) -> Tensor:
        squares = self._squares(question)
        if self.listed(question):
            # The same for all inputs: one list (1, k, 3) serves them.
            squares = squares[draws[0] : draws[1]].unsqueeze(0)
        else:
            streams = _streams(question, seed, "squares")
            chosen = streams.integers(draws, 1, len(squares))
            # (n, k, 1) numbers of squares; their list lies on the CPU.
            squares = squares[chosen[..., 0].cpu()]
        return self._masks(question, squares)

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        return _removal_batch(question, self.removed(question, seed, draws))

    def _places(self, question: Question) -> Places:
        """The places of the feature map, and its channels."""
        shape = question.partition.shape
        axes = self.axes
        # Pixels and patches have no channels any more: their map is places alone.
        places_alone = isinstance(question.features, Pixels | Patches)
        if axes is not None and (places_alone or len(axes) != len(shape)):
            # Letters are those of the input: a map of pixels or patches has no axis of channels.
            axes = axes.replace("C", "")
        if axes is None and places_alone:
            places = Places(shape, 1, None)
        else:
            self._check_map(shape, axes)
            places = places_in(shape, axes, "Squares")
        # A square lies inside the image as a whole.
        largest = min(places.shape)
        if max(self.sides) > largest:
            raise InputError(
                expected=f"sides from 1 to {largest}",
                got=self.sides,
                advice=f"Leave out sides above {largest}: Squares(sides=(...)).",
            )
        return places

    def _check_map(self, shape: tuple[int, ...], axes: str | None) -> None:
        if axes is None and len(shape) not in (2, 3, 4):
            raise InputError(
                expected=f"features on an image for {self!r}",
                got=f"a feature map of shape {shape}",
                advice="Ask about Pixels(), of a series about Pixels(axes='CT').",
            )

    def _count(self, question: Question) -> int:
        """How many squares there are."""
        shape = self._places(question).shape
        return sum(math.prod(length - side + 1 for length in shape) for side in self.sides)

    def _squares(self, question: Question) -> Tensor:
        """Every square as side, top, left: (squares, 3), or with as many corners as axes."""
        places = self._places(question)
        squares_of_sides = []
        # In this order they are numbered: by side, then row by row.
        for side in self.sides:
            corners = [torch.arange(length - side + 1) for length in places.shape]
            squares = torch.cartesian_prod(torch.tensor([side]), *corners)
            squares_of_sides.append(squares)
        return torch.cat(squares_of_sides)

    def _masks(self, question: Question, squares: Tensor) -> Tensor:
        """Masks of the features inside squares (n or 1, k, 3): (n or 1, k, features)."""
        places = self._places(question)
        squares = squares.to(question.x.device)
        # Each (n or 1, k, 1), against the places along one axis.
        side, *corners = squares.unsqueeze(-2).unbind(-1)
        inside = torch.ones_like(side, dtype=torch.bool)
        for corner, length in zip(corners, places.shape):
            place = torch.arange(length, device=side.device)
            along = (place >= corner) & (place < corner + side)
            inside = (inside.unsqueeze(-1) & along.unsqueeze(-2)).flatten(-2)
        # A square goes through all channels.
        return places.spread(inside)


@final
@dataclass(frozen=True)
class StackedPatches(Perturbation):
    """Patches of an image are removed one after the other, in raster order, and stay removed.

    What Quantus' `Infidelity` does. One perturbation for each patch, whatever the number of draws;
    patches at the border are cut off.

    Settings:
        side: of a patch, in pixels.

    Errors: SettingError for a side below 1, InputError for features that are no image.

    >>> StackedPatches(4)
    StackedPatches(side=4)
    """

    side: int = 4
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.side < 1:
            raise SettingError(
                expected="patches of at least 1 pixel",
                got=self.side,
                advice="Write StackedPatches(4) for patches of 4 by 4.",
            )

    def size(self, question: Question, draws: int) -> int:
        height, width = self._places(question).shape
        return -(-height // self.side) * -(-width // self.side)

    def removed(self, question: Question, seed: int, draws: tuple[int, int]) -> Tensor:
        places = self._places(question)
        height, width = places.shape
        rows = torch.arange(height, device=question.x.device) // self.side
        columns = torch.arange(width, device=question.x.device) // self.side
        # The number of the patch that each place belongs to.
        patch = (rows[:, None] * -(-width // self.side) + columns).flatten()
        numbers = torch.arange(*draws, device=patch.device)
        return places.spread((patch <= numbers[:, None]).unsqueeze(0))

    def draw(self, question: Question, seed: int, draws: tuple[int, int]) -> PerturbationBatch:
        return _removal_batch(question, self.removed(question, seed, draws))

    def _places(self, question: Question) -> Places:
        places = Squares(sides=(1,))._places(question)
        if len(places.shape) != 2:
            raise InputError(
                expected=f"features on an image for {self!r}",
                got=f"a feature map of shape {question.partition.shape}",
                advice="Ask about Pixels().",
            )
        return places
