"""Methods around another method: its absolute values, its product with the input, its mean over noise.

Compose, do not multiply: SmoothGrad is `Smoothed(Gradient())`, smoothed integrated gradients is
`Smoothed(IntegratedGradients())`, VarGrad is `Smoothed(Gradient(), statistic="variance")`, and none
needs a class of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import KindError, SettingError
from assay.features.partition import Partition
from assay.inputs.spreads import as_spread, check_moves, in_units, left_alone
from assay.methods.base import Axiom, Estimate, Method
from assay.models.base import Ability
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.question.question import Question

_NOISY_ELEMENTS = 1 << 21  # noisy copies held at once: 8 MiB in float32

ReadCopies: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Values (r, elements) at noisy copies of the inputs `owners` (r,), to numbers (r, features)."""


class Around(Method):
    """A method made around another: it needs what that one needs, and gives what that one gives."""

    method: Method
    around: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.method, Method):
            raise KindError(
                expected=f"a method inside {type(self).__name__}",
                got=repr(self.method),
                advice=f"Make one, such as {type(self).__name__}(Gradient()).",
            )

    @property
    def needs(self) -> frozenset[Ability]:
        return self.method.needs

    @property
    def kind(self) -> Kind:
        return self.method.kind

    def unit(self, partition: Partition) -> Kind:
        # A wrapper that changes the unit says so by its kind.
        kept = self.kind is self.method.kind
        return self.method.unit(partition) if kept else self.kind

    @property
    def pools_inputs(self) -> bool:
        return self.method.pools_inputs

    def check(self, question: Question) -> None:
        super().check(question)
        self.method.check(question)


@final
@dataclass(frozen=True)
class Absolute(Around):
    """The magnitude of another method's values: |phi_i|.

    Settings:
        method: the method whose values are taken.

    Cost: that of the method. Values: (n, features), without a sign and so without a sum.

    >>> from assay import Gradient
    >>> Absolute(Gradient())
    Absolute(method=Gradient())
    """

    method: Method
    cost: ClassVar[str] = "as inside"

    @property
    def kind(self) -> Kind:
        return Kind.WEIGHT

    @property
    def tells_prediction(self) -> bool:
        return self.method.tells_prediction

    def values(self, question: Question, seed: int) -> Estimate:
        return _absolute(self.method.estimate(question, seed))

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        return list(map(_absolute, self.method.estimates(questions, seed)))


def _absolute(signed: Estimate) -> Estimate:
    return Estimate(signed.values.abs(), signed.standard_error, signed.notes, signed.ends)


@final
@dataclass(frozen=True)
class TimesInput(Around):
    """A local method made global: what the slopes say of the way from the absent input.

    phi_i = (x_i - b_i) s_i, pooled over what feature i owns
    (Ancona et al. 2018, section 3: local and global)

    Settings:
        method: a method that gives slopes; it is asked for elements, so that pooling comes after
            the product.

    Cost: that of the method. Values: (n, features), in units of the target.

    >>> from assay import Gradient
    >>> TimesInput(Gradient())
    TimesInput(method=Gradient())
    """

    method: Method
    cost: ClassVar[str] = "as inside"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method.kind is not Kind.SLOPE:
            raise SettingError(
                expected="a local method (target per unit of input) inside TimesInput",
                got=f"{self.method!r} whose unit is {self.method.kind.value}",
                advice="It is to be multiplied once only: use the method as it is.",
            )

    @property
    def kind(self) -> Kind:
        return Kind.CONTRIBUTION

    @property
    def tells_prediction(self) -> bool:
        return self.method.tells_prediction

    def values(self, question: Question, seed: int) -> Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        question = questions[0]
        elements = [asked.by_elements() for asked in questions]
        way = question.x - question.absent
        if isinstance(self.method, Smoothed):

            def contributions(slopes: Tensor, owners: Tensor) -> Tensor:
                partition = question.partition.take(owners)
                return partition.pool(way[owners] * slopes)

            # Draw by draw: the errors of one feature's elements are not independent.
            return self.method.statistics_of(elements, seed, contributions)
        estimates = []
        solved = self.method.estimates(elements, seed)
        for asked, same in zip(questions, elements):
            asked.take_answers(same)
        for slopes in solved:
            standard_error = None
            if slopes.standard_error is not None:
                # How the errors of elements go together is not known: at worst they add up.
                standard_error = question.pool((way * slopes.standard_error).abs())
            values = question.pool(way * slopes.values)
            estimates.append(Estimate(values, standard_error, slopes.notes))
        return estimates


@final
@dataclass(frozen=True)
class Smoothed(Around):
    """Another method averaged over noisy copies of the input (SmoothGrad).

    phi = mean_k phi(x + e_k), e_k ~ N(0, noise^2)      (Smilkov et al. 2017, equation 1);
    mean_k phi(x + e_k)^2 (SmoothGrad squared, Hooker et al. 2019, section 3) and
    sum_k (phi(x + e_k) - mean)^2 / (draws - 1) (VarGrad, Adebayo et al. 2018) by `statistic`

    Settings:
        method: the method that is asked at every copy.
        noise: the standard deviation, in units of the inputs; with the shape "uniform" the
            half-side of a box (Yeh et al. 2019). Categories get none.
        draws: copies per input, two or more.
        shape: "gaussian" or "uniform".
        statistic: what is taken over the copies: "mean", "square" (the mean square) or "variance"
            (unbiased: the sum of squares over draws - 1). The last two have no sign and no sum.
        scale: rows of data; the noise then counts in standard deviations of each of their columns.

    The noise comes from the seed and each input's own bytes. Cost: `draws` times that of the
    method. Values: those of the method, or their squares; the standard error is that of the
    statistic over draws, of the variance by its fourth moment.

    >>> from assay import Gradient
    >>> Smoothed(Gradient(), noise=0.2, draws=10)
    Smoothed(method=Gradient(), noise=0.2, draws=10, shape='gaussian', statistic='mean', scale=None)
    """

    method: Method
    noise: float = 0.1
    draws: int = 50
    shape: Literal["gaussian", "uniform"] = "gaussian"
    statistic: Literal["mean", "square", "variance"] = "mean"
    scale: Any = None
    cost: ClassVar[str] = "draws x inside"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "scale", as_spread(self.scale))
        if not self.noise > 0 or self.draws < 2 or self.shape not in ("gaussian", "uniform"):
            raise SettingError(
                expected=(
                    "noise > 0, at least 2 draws (one has no standard error), and shape "
                    "'gaussian' or 'uniform' for Smoothed"
                ),
                got=f"noise={self.noise}, draws={self.draws}, shape={self.shape!r}",
                advice="A tenth of the inputs' range and 50 draws are usual.",
            )
        if self.statistic not in ("mean", "square", "variance"):
            raise SettingError(
                expected="the statistic 'mean', 'square' or 'variance' for Smoothed",
                got=repr(self.statistic),
                advice="SmoothGrad is 'mean', SmoothGrad squared 'square', VarGrad 'variance'.",
            )
        if self.method.pools_inputs:
            raise SettingError(
                expected="a method with an answer for each input inside Smoothed",
                got=f"{self.method!r}, whose answer is about all inputs together",
                advice="Ask it without smoothing.",
            )

    @property
    def kind(self) -> Kind:
        # Squares have no sign, and their unit is no longer that of the method.
        return self.method.kind if self.statistic == "mean" else Kind.WEIGHT

    @property
    def axioms(self) -> frozenset[Axiom]:
        # Noise moves the sum away from f(x) - f(absent), and breaks ties between equal features.
        kept = self.method.axioms - {Axiom.COMPLETENESS, Axiom.SYMMETRY}
        if self.statistic == "mean":
            return kept
        return kept - {Axiom.LINEARITY, Axiom.MONOTONICITY}

    def check(self, question: Question) -> None:
        super().check(question)
        if not question.x.is_floating_point():
            raise KindError(
                expected=f"floating inputs for {self!r}, which adds noise to them",
                got=question.x.dtype,
                advice="Convert real numbers with .float(), or ask the method without smoothing.",
            )
        check_moves(question.layout, repr(self))

    def values(self, question: Question, seed: int) -> Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        return self.statistics_of(questions, seed, lambda values, owners: values)

    def statistics_of(
        self, questions: Sequence[Question], seed: int, read: ReadCopies
    ) -> list[Estimate]:
        """The statistic of what `read` makes of the method's values at each noisy copy, for each of
        some questions that differ in the output alone.
        """
        x = questions[0].x
        n, elements = x.shape
        streams = rng.streams(seed, questions[0].keys, "smoothing")
        inner_seed = rng.derive(seed, "smoothed")
        moments = [_Moments(self.draws, self.statistic) for _ in questions]
        for piece in pieces(self.draws, n * elements, _NOISY_ELEMENTS):
            noise = self._noise(streams, (piece.start, piece.stop), x)
            noise = in_units(noise, self.scale, questions[0].layout)
            copies = (x.unsqueeze(1) + noise).flatten(0, 1)
            owners = torch.arange(n, device=x.device).repeat_interleave(noise.shape[1])
            # The target stays what it is on the clean input: a noisy copy is not another class.
            moved = [asked.at(copies, owners) for asked in questions]
            for answers, of_one in zip(self.method.estimates(moved, inner_seed), moments):
                values = read(answers.values, owners).to(torch.float64).unflatten(0, (n, -1))
                of_one.add(values)
        notes = left_alone(questions[0].layout)
        return [replace(of_one.estimate(), notes=notes) for of_one in moments]

    def _noise(self, streams: rng.Streams, draws: tuple[int, int], x: Tensor) -> Tensor:
        if self.shape == "gaussian":
            return streams.normal(draws, x.shape[1], x.dtype) * self.noise
        return (streams.uniform(draws, x.shape[1], x.dtype) * 2 - 1) * self.noise


@final
class _Moments:
    """Power sums of values (n, k, features) over their draws, and the statistics made of them."""

    origin: Tensor

    def __init__(self, draws: int, statistic: Literal["mean", "square", "variance"]) -> None:
        self.draws = draws
        self.statistic = statistic
        self.sums: list[Tensor] = []

    def add(self, values: Tensor) -> None:
        """Adds the draws of one piece, float64."""
        if self.statistic == "square":
            values = values**2
        if not self.sums:
            first = values[:, 0]
            self.sums = [torch.zeros_like(first) for _ in range(self._powers)]
            self.origin = first.unsqueeze(1).clone()
        # Powers about the first draw: those about 0 cancel where the mean is large.
        if self.statistic == "variance":
            values = values - self.origin
        power = values
        for total in self.sums:
            total += power.sum(1)
            power = power * values

    @property
    def _powers(self) -> int:
        # The error of a variance is told by the fourth moment.
        return 4 if self.statistic == "variance" else 2

    def estimate(self) -> Estimate:
        """The statistic with its standard error."""
        draws = self.draws
        first, second, *higher = [total / draws for total in self.sums]
        variance = (second - first**2).clamp_min(0) * draws / (draws - 1)
        if self.statistic != "variance":
            return Estimate(first, (variance / draws).sqrt())
        third, fourth = higher
        # The fourth moment about the mean, from those about the first draw.
        central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
        # Var(s^2) = (mu_4 - sigma^4 (k - 3) / (k - 1)) / k for k draws.
        spread = central - variance**2 * (draws - 3) / (draws - 1)
        return Estimate(variance, (spread.clamp_min(0) / draws).sqrt())
