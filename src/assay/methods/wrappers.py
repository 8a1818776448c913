"""Methods around another method: its absolute values, its product with the input, its mean over noise.

Compose, do not multiply: SmoothGrad is `Smoothed(Gradient())`, smoothed integrated gradients is
`Smoothed(IntegratedGradients())`, and neither needs a class of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import KindError, SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.models.base import Ability
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.question.question import Question

_NOISY_ELEMENTS = 1 << 21  # noisy copies held at once: 8 MiB in float32


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

    def values(self, question: Question, seed: int) -> Estimate:
        signed = self.method.estimate(question, seed)
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
    >>> TimesInput(Smoothed(Gradient(), noise=0.1))
    TimesInput(method=Smoothed(method=Gradient(), noise=0.1, draws=50, shape='gaussian'))
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

    def values(self, question: Question, seed: int) -> Estimate:
        slopes = self.method.estimate(question.by_elements(), seed)
        way = question.x - question.absent
        standard_error = None
        if slopes.standard_error is not None:
            # Errors of elements are taken as independent: their squares add up.
            squares = (way * slopes.standard_error) ** 2
            standard_error = question.pool(squares, pooling="sum").sqrt()
        return Estimate(question.pool(way * slopes.values), standard_error, slopes.notes)


@final
@dataclass(frozen=True)
class Smoothed(Around):
    """Another method averaged over noisy copies of the input (SmoothGrad).

    phi = mean_k phi(x + e_k), e_k ~ N(0, noise^2)      (Smilkov et al. 2017, equation 1)

    Settings:
        method: the method that is asked at every copy.
        noise: the standard deviation, in units of the inputs; with the shape "uniform" the
            half-side of a box (Yeh et al. 2019).
        draws: copies per input, two or more.
        shape: "gaussian" or "uniform".

    The noise comes from the seed and each input's own bytes. Cost: `draws` times that of the
    method. Values: those of the method; the standard error is that of the mean over draws.

    >>> from assay import Gradient
    >>> Smoothed(Gradient(), noise=0.2, draws=10)
    Smoothed(method=Gradient(), noise=0.2, draws=10, shape='gaussian')
    """

    method: Method
    noise: float = 0.1
    draws: int = 50
    shape: Literal["gaussian", "uniform"] = "gaussian"
    cost: ClassVar[str] = "draws x inside"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.noise > 0 or self.draws < 2 or self.shape not in ("gaussian", "uniform"):
            raise SettingError(
                expected=(
                    "noise > 0, at least 2 draws (one has no standard error), and shape "
                    "'gaussian' or 'uniform' for Smoothed"
                ),
                got=f"noise={self.noise}, draws={self.draws}, shape={self.shape!r}",
                advice="A tenth of the inputs' range and 50 draws are usual.",
            )
        if self.method.pools_inputs:
            raise SettingError(
                expected="a method with an answer for each input inside Smoothed",
                got=f"{self.method!r}, whose answer is about all inputs together",
                advice="Ask it without smoothing.",
            )

    @property
    def axioms(self) -> frozenset[Axiom]:
        # Noise moves the sum away from f(x) - f(absent), and breaks ties between equal features.
        return self.method.axioms - {Axiom.COMPLETENESS, Axiom.SYMMETRY}

    def check(self, question: Question) -> None:
        super().check(question)
        if not question.x.is_floating_point():
            raise KindError(
                expected=f"floating inputs for {self!r}, which adds noise to them",
                got=question.x.dtype,
                advice="Convert real numbers with .float(), or ask the method without smoothing.",
            )

    def values(self, question: Question, seed: int) -> Estimate:
        x = question.x
        n, elements = x.shape
        streams = rng.streams(seed, question.keys, "smoothing")
        inner_seed = rng.derive(seed, "smoothed")
        shape = (n, question.partition.count)
        total = torch.zeros(shape, dtype=torch.float64, device=x.device)
        squares = torch.zeros_like(total)
        for piece in pieces(self.draws, n * elements, _NOISY_ELEMENTS):
            noise = self._noise(streams, (piece.start, piece.stop), x)
            copies = (x.unsqueeze(1) + noise).flatten(0, 1)
            owners = torch.arange(n, device=x.device).repeat_interleave(noise.shape[1])
            # The target stays what it is on the clean input: a noisy copy is not another class.
            answers = self.method.estimate(question.at(copies, owners), inner_seed)
            values = answers.values.to(torch.float64).unflatten(0, (n, -1))
            total += values.sum(1)
            squares += (values**2).sum(1)
        mean = total / self.draws
        variance = (squares / self.draws - mean**2).clamp_min(0) * self.draws / (self.draws - 1)
        return Estimate(mean, (variance / self.draws).sqrt())

    def _noise(self, streams: rng.Streams, draws: tuple[int, int], x: Tensor) -> Tensor:
        if self.shape == "gaussian":
            return streams.normal(draws, x.shape[1], x.dtype) * self.noise
        return (streams.uniform(draws, x.shape[1], x.dtype) * 2 - 1) * self.noise
