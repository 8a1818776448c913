"""Whether an attribution accounts for what the model does: infidelity and completeness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution, Kind
from assay.answers.score import Direction
from assay.errors import InputError, SettingError
from assay.metrics.base import Metric, Reading
from assay.perturbations import PerturbationBatch, Perturbation, SubsetToBaseline
from assay.question.question import Question

_CHUNK = 1 << 21  # perturbed elements held at once


def chunks(question: Question, total: int) -> list[tuple[int, int]]:
    """The draws 0..total in parts small enough to hold for all inputs of the shard."""
    step = max(1, _CHUNK // (question.n * question.x.shape[1]))
    return [(start, min(start + step, total)) for start in range(0, total, step)]


@final
@dataclass(frozen=True)
class Infidelity(Metric):
    """The squared error of an attribution's account of what perturbations do.

    INFD(phi, x) = E_I [(I . phi - (f(x) - f(x - I)))^2]      (Yeh et al. 2019, definition 2.1)
    I . phi multiplies slopes by the step I; contributions are added over the features that I
    removes. Details: `raw` as above; `scaled`, the same for beta phi with the best beta >= 0, beta
    = E[s d] / E[s^2], s = I . phi, d = f(x) - f(x - I); `skill` = 1 - raw / E[d^2] (0 for phi = 0,
    1 for a perfect account); `beta`. `scaled=True` makes the scaled form the score. Units: target
    squared. Lower is better. Cost: `draws` forward passes per input, once for all attributions that
    are compared.

    >>> import torch, assay
    >>> question = assay.Question(torch.nn.Linear(4, 1), torch.randn(3, 4))
    >>> score = Infidelity()(question, assay.IntegratedGradients(steps=2)(question))
    >>> bool(score.mean < 1e-8)
    True
    """

    perturbation: Perturbation = SubsetToBaseline()
    draws: int = 100
    scaled: bool = False
    direction: ClassVar[Direction] = "lower"
    units: ClassVar[str] = "target^2"
    cost: ClassVar[str] = "draws evaluations, shared by all attributions"

    def __post_init__(self) -> None:
        if self.draws < 2:
            raise SettingError(
                expected="at least 2 draws for Infidelity",
                got=self.draws,
                advice="",
            )

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        kinds = {attribution.kind for attribution in attributions}
        if Kind.SLOPE.value in kinds and not question.partition.identity:
            raise InputError(
                "Expected features that own one element each for slopes, whose product with a perturbation is taken element by "
                "element. Ask about Elements(), or make contributions of them: TimesInput(method)."
            )
        probe = self.perturbation.draw(question.part(0, 1), 0, (0, 1))
        if probe.removed is None and kinds - {Kind.SLOPE.value}:
            raise InputError(
                expected=f"slopes (target per unit of input) for {self.perturbation!r}",
                got="contributions, which have no product with noise",
                advice=(
                    "Use a perturbation that removes features: SubsetToBaseline(), "
                    "Squares(), DifferenceToBaseline()."
                ),
            )

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        total = self.perturbation.size(question, self.draws)
        sums = [_Sums(question.n, question.x.device) for _ in attributions]
        for draws in chunks(question, total):
            drawn = self.perturbation.draw(question, seed, draws)
            points = question.x.unsqueeze(1) - drawn.step
            change = question.prediction.unsqueeze(1).to(torch.float64) - question.score(points).to(
                torch.float64
            )
            for attribution, own in zip(attributions, sums, strict=True):
                own.add(_account(attribution, drawn), change)
        return [self._reading(own, total) for own in sums]

    def _reading(self, sums: _Sums, total: int) -> Reading:
        raw, scaled, beta = sums.raw(total), sums.scaled(total), sums.beta()
        power = sums.dd / total
        # A model that no perturbation moves is accounted for by zero alone: skill is then 1 or undefined.
        skill = torch.where(
            power > 0, 1 - raw / power, torch.where(raw > 0, torch.nan, torch.ones_like(raw))
        )
        details = {"raw": raw, "scaled": scaled, "skill": skill, "beta": beta}
        values = scaled if self.scaled else raw
        if self.perturbation.fixed:
            return Reading(values, None, details)
        return Reading(
            values, sums.error(total, beta if self.scaled else torch.ones_like(beta)), details
        )


@final
class _Sums:
    """Running sums over perturbations of the account s and the change d, in float64."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.ss, self.sd, self.dd = (
            torch.zeros(n, dtype=torch.float64, device=device) for _ in range(3)
        )
        self.residual = torch.zeros_like(self.ss)
        self.fourth = torch.zeros(5, n, dtype=torch.float64, device=device)

    def add(self, account: Tensor, change: Tensor) -> None:
        """Adds a chunk (n, k) of accounts and changes."""
        self.ss += (account**2).sum(1)
        self.sd += (account * change).sum(1)
        self.dd += (change**2).sum(1)
        # Not from ss - 2 sd + dd: a difference of large sums would drown a small residual, or turn it negative.
        self.residual += ((account - change) ** 2).sum(1)
        for power in range(5):
            self.fourth[power] += (account**power * change ** (4 - power)).sum(1)

    def beta(self) -> Tensor:
        """The best scale, not below zero; zero for an account that is zero."""
        return torch.where(
            self.ss > 0, (self.sd / self.ss.clamp_min(torch.finfo(torch.float64).tiny)), 0.0
        ).clamp_min(0)

    def raw(self, total: int) -> Tensor:
        """The mean squared residual."""
        return self.residual / total

    def scaled(self, total: int) -> Tensor:
        """The mean squared residual at the best scale."""
        beta = self.beta()
        return (beta**2 * self.ss - 2 * beta * self.sd + self.dd).clamp_min(0) / total

    def error(self, total: int, beta: Tensor) -> Tensor:
        """The standard error of the mean squared residual, from its fourth moments."""
        mean = (beta**2 * self.ss - 2 * beta * self.sd + self.dd) / total
        coefficients = (1.0, -4.0, 6.0, -4.0, 1.0)
        fourth = sum(c * beta**power * self.fourth[power] for power, c in enumerate(coefficients))
        return ((fourth / total - mean**2).clamp_min(0) / max(total - 1, 1)).sqrt()


def _account(attribution: Attribution, drawn: PerturbationBatch) -> Tensor:
    """What the attribution says the perturbations do: (n, k), float64."""
    values = attribution.values.to(torch.float64)
    if attribution.kind == Kind.SLOPE.value or drawn.removed is None:
        return torch.einsum("nkd,nd->nk", drawn.step.to(torch.float64), values)
    if len(drawn.removed) == 1:
        return values @ drawn.removed[0].to(torch.float64).T
    return torch.einsum("nkf,nf->nk", drawn.removed.to(torch.float64), values)
