"""Methods around another method: its absolute values, its product with the input, its mean over
noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, KindError, SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.models.base import Ability
from assay.numerics import rng
from assay.question.question import Question

_DRAW_ELEMENTS = 1 << 21  # noisy elements held at once


class Around(Method):
    """A method made around another: it needs what that one needs."""

    method: Method
    around: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.method, Method):
            raise KindError(
                expected=f"a method inside {type(self).__name__}, such as Gradient()",
                got=repr(self.method),
                advice="",
            )

    @property
    def needs(self) -> frozenset[Ability]:
        return self.method.needs

    @property
    def kind(self) -> Kind:
        return self.method.kind

    def check(self, question: Question) -> None:
        super().check(question)
        self.method.check(question)


@final
@dataclass(frozen=True)
class Absolute(Around):
    """The magnitude of another method's values: |phi_i|.

    Cost: that of the method.

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
        inner = self.method.estimate(question, seed)
        return Estimate(inner.values.abs(), inner.standard_error, inner.notes)


@final
@dataclass(frozen=True)
class TimesInput(Around):
    """A local method made global: what the slopes say of the way from the absent input.

    phi_i = (x_i - b_i) s_i, pooled over what feature i owns      (Ancona et al. 2018, section 3: local and global)
    Cost: that of the method. Units: target. Asks the method for elements, so that pooling comes
    after the product.

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
        inner = self.method.estimate(question.by_elements(), seed)
        way = question.x - question.absent
        error = (
            None
            if inner.standard_error is None
            else question.pool((way * inner.standard_error) ** 2, pooling="sum").sqrt()
        )
        return Estimate(question.pool(way * inner.values), error, inner.notes)


@final
@dataclass(frozen=True)
class Smoothed(Around):
    """Another method averaged over noisy copies of the input (SmoothGrad).

    phi = mean_k phi(x + e_k), e_k ~ N(0, noise^2), or uniform in a box of half-side `noise` with
    shape="uniform" (Smilkov et al. 2017, equation 1; Yeh et al. 2019 use the box). The noise comes
    from the seed and each input's own bytes. Cost: `draws` times that of the method. Its standard
    error is that of the mean over draws.

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
                advice="",
            )

    @property
    def axioms(self) -> frozenset[Axiom]:
        return self.method.axioms - {Axiom.COMPLETENESS, Axiom.SYMMETRY}

    def check(self, question: Question) -> None:
        super().check(question)
        if not question.x.is_floating_point():
            raise KindError(
                expected=f"floating inputs for {self!r}, which adds noise to them",
                got=question.x.dtype,
                advice="",
            )

    def values(self, question: Question, seed: int) -> Estimate:
        n, elements = question.x.shape
        streams = rng.streams(seed, question.keys, "smoothing")
        total = torch.zeros(
            n, question.partition.count, dtype=torch.float64, device=question.x.device
        )
        squares = torch.zeros_like(total)
        step = max(1, _DRAW_ELEMENTS // (n * elements))
        for start in range(0, self.draws, step):
            draws = (start, min(start + step, self.draws))
            noisy = question.x.unsqueeze(1) + self._noise(streams, draws, question.x)
            rows = torch.arange(n, device=question.x.device).repeat_interleave(draws[1] - draws[0])
            inner = self.method.estimate(
                question.at(noisy.flatten(0, 1), rows), rng.derive(seed, "smoothed")
            )
            values = inner.values.to(torch.float64).unflatten(0, (n, -1))
            total += values.sum(1)
            squares += (values**2).sum(1)
        mean = total / self.draws
        variance = (squares / self.draws - mean**2).clamp_min(0) * self.draws / (self.draws - 1)
        return Estimate(mean, (variance / self.draws).sqrt())

    def _noise(self, streams: rng.Streams, draws: tuple[int, int], x: Tensor) -> Tensor:
        if self.shape == "gaussian":
            return streams.normal(draws, x.shape[1], x.dtype) * self.noise
        return (streams.uniform(draws, x.shape[1], x.dtype) * 2 - 1) * self.noise
