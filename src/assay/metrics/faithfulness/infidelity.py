"""Infidelity: whether an attribution accounts for what the model does under perturbations.

A perturbation I is a question with a known answer, f(x) - f(x - I), and an attribution predicts
that answer; infidelity is the prediction's mean squared error (Yeh et al. 2019). Of each perturbation
only its share in a few sums per input is kept, so that memory does not grow with their number, and
one pass serves the raw and the scaled form, the skill and the standard error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution, Kind
from assay.answers.score import Direction
from assay.errors import InputError, SettingError
from assay.methods.optimal.optimal import Optimal
from assay.metrics.base import Metric, Reading
from assay.metrics.faithfulness.units import check_adds_up
from assay.numerics.pieces import pieces
from assay.numerics.precision import rounding_floor
from assay.perturbations import (
    GaussianNoise,
    NoisyBaseline,
    Perturbation,
    PerturbationBatch,
    Squares,
    StackedPatches,
    SubsetToBaseline,
)
from assay.question.question import Question

_CELLS = 1 << 21  # perturbed elements at once; another number would add up in another order


_PRESETS: dict[str, tuple[Perturbation, int, bool]] = {
    "yeh2019-local": (NoisyBaseline(0.2, limits=(0.0, 1.0)), 10_000, True),
    "yeh2019-global": (Squares(), 100, True),
    "captum": (GaussianNoise(0.003), 10, False),
    "quantus": (StackedPatches(4), 100, False),
}
"""A law, how many draws, and whether there is a free factor."""


@final
@dataclass(frozen=True)
class Infidelity(Metric):
    """The squared error of an attribution's account of what perturbations do.

    INFD(phi, x) = E_I [(I . phi - (f(x) - f(x - I)))^2]      (Yeh et al. 2019, definition 2.1)

    I . phi multiplies slopes by the step I; contributions are added over the features that I
    removes. Under a removal with several replacements, `Background(rows)` or `Conditional(rows)`,
    both are averaged over them first: the change is f(x) - v(S), S what I leaves.

    Settings:
        perturbation: the law of I, which decides what a good account is; `SubsetToBaseline()`
            suits slopes and contributions alike.
        draws: perturbations of each input, at least 2; laws that are a finite list ignore it.
        scaled: whether the scaled form is the score: explanations whose unit is arbitrary are then
            judged by their direction.
        negative: whether that factor may be below 0, as in the reference code of Yeh et al. (2019):
            an explanation and its negative then score alike.

    Details, each (n,), with s = I . phi and d = f(x) - f(x - I): `raw` as above; `scaled`, the same
    for beta phi with the best beta >= 0 (any, where `negative`), beta = E[s d] / E[s^2];
    `skill` = 1 - raw / E[d^2] (0 for phi = 0, 1 for a perfect account); `beta`.

    Units: target squared. Lower is better. Cost: `draws` forward passes per input (and replacement
    of the removal), once for all attributions that are compared. Errors: SettingError for one draw,
    InputError for contributions under noise, or slopes of features that own several elements.

    >>> import torch, assay
    >>> question = assay.Question(torch.nn.Linear(4, 1), torch.randn(3, 4))
    >>> score = Infidelity()(question, assay.IntegratedGradients(steps=2)(question))
    >>> bool(score.mean < 1e-8)
    True
    """

    perturbation: Perturbation = SubsetToBaseline()
    draws: int = 100
    scaled: bool = False
    negative: bool = False
    direction: ClassVar[Direction] = "lower"
    units: ClassVar[str] = "target^2"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    cost: ClassVar[str] = "draws evaluations, shared by all attributions"

    def __post_init__(self) -> None:
        if self.draws < 2:
            raise SettingError(
                expected="at least 2 draws for Infidelity",
                got=self.draws,
                advice="A standard error needs two; 100 is the default.",
            )

    @classmethod
    def preset(
        cls,
        name: Literal["yeh2019-local", "yeh2019-global", "captum", "quantus"],
        draws: int | None = None,
    ) -> Infidelity:
        """The definition behind published figures, by name; `draws` takes the place of theirs.

        "yeh2019-local" is the noisy baseline of the paper's reference code, for inputs in [0, 1]: all
        is replaced by the positive half of noise of 0.2 (10,000 draws). "yeh2019-global" is its
        squares of sides 1 to 10. Both have a free factor of any sign. "captum" is the example of
        its `infidelity`: noise of 0.003, 10 draws, no factor. "quantus" is its `Infidelity`: patches
        of 4 by 4 that pile up. They ask for slopes ("yeh2019-local", "captum", "quantus", whose I
        is the step) or contributions ("yeh2019-global", whose I is binary).

        >>> Infidelity.preset("yeh2019-global").scaled
        True
        """
        if name not in _PRESETS:
            raise SettingError(
                expected=f"a preset among {', '.join(_PRESETS)}",
                got=repr(name),
                advice="Or settings of your own: Infidelity(SubsetToBaseline(), draws=100).",
            )
        law, published, free = _PRESETS[name]
        return cls(law, draws=draws or published, scaled=free, negative=free)

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        # A free factor gives weights a unit; without it their size would decide the score.
        if not self.scaled:
            check_adds_up(attributions, repr(self), "Infidelity(scaled=True) allows a free factor.")
        kinds = {attribution.kind for attribution in attributions}
        if Kind.SLOPE.value in kinds and not question.partition.identity:
            raise InputError(
                expected="features that own one element each for slopes",
                got=f"{question.features!r}, and a slope meets a step element by element",
                advice=("Ask about Elements(), or make contributions of them: TimesInput(method)."),
            )
        # One perturbation of one input tells what the law is like.
        first = question.part(0, 1)
        removed = self._removed(first, 0, (0, 1))
        if removed is None:
            removed = self.perturbation.draw(first, 0, (0, 1)).removed
        if removed is None and kinds - {Kind.SLOPE.value}:
            raise InputError(
                expected=f"slopes (target per unit of input) for {self.perturbation!r}",
                got="contributions, which have no product with noise",
                advice=(
                    "Use a perturbation that removes features: SubsetToBaseline(), "
                    "Squares(), DifferenceToBaseline()."
                ),
            )

    def optimum(self, question: Question, seed: int) -> Tensor:
        """The infidelity of `Optimal` under the same law, (n,): the least that credit can have."""
        best = Optimal(self.perturbation, draws=self.draws)(question, seed=seed)
        return self(question, best, seed=seed).values

    def notes(self, question: Question) -> dict[str, str]:
        return self.perturbation.notes(question)

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        n, elements = question.x.shape
        # A finite list has its own number of perturbations, whatever the draws say.
        count = self.perturbation.size(question, self.draws)
        prediction = question.prediction.unsqueeze(1).to(torch.float64)
        moments_of_each = [_Moments(n, question.x.device, self.negative) for _ in attributions]
        for piece in pieces(count, n * elements, _CELLS):
            draws = (piece.start, piece.stop)
            removed = self._removed(question, seed, draws)
            # d = f(x) - f(x - I), (n, k): asked once for all attributions.
            if removed is None:
                batch = self.perturbation.draw(question, seed, draws)
                points = question.x.unsqueeze(1) - batch.step
                scores = question.score(points)
            else:
                batch = PerturbationBatch(_mean_step(question, removed, attributions), removed)
                scores = _averaged_scores(question, removed)
            change = prediction - scores.to(torch.float64)
            for attribution, moments in zip(attributions, moments_of_each):
                account = _account(attribution, batch)
                moments.add(account, change)
        readings = []
        sampled = not self.perturbation.listed(question)
        # A model that moves by less than that does not move.
        still = rounding_floor(question.prediction, prediction[:, 0].abs())
        for attribution, moments in zip(attributions, moments_of_each):
            # What the account and the change may be off by, as sums that were rounded.
            credit = attribution.values.to(torch.float64).abs().sum(1)
            size = prediction[:, 0].abs() + torch.maximum(credit, (moments.ss / count).sqrt())
            floor = rounding_floor(attribution.values, size)
            readings.append(self._reading(moments, count, floor**2, still**2, sampled))
        return readings

    def _removed(self, question: Question, seed: int, draws: tuple[int, int]) -> Tensor | None:
        """What is removed (n or 1, k, features) where no single step says by what: the removal has
        several replacements, or replaces by what is left.
        """
        if question.replacements == 1 and question.fixed_replacements is not None:
            return None
        return self.perturbation.removed(question, seed, draws)

    def _reading(
        self, moments: _Moments, count: int, floor: Tensor, still: Tensor, sampled: bool
    ) -> Reading:
        # Below the floor a smaller error is no better one.
        raw = moments.raw(count)
        raw = torch.where(raw <= floor, 0.0, raw)
        scaled = moments.scaled(count)
        scaled = torch.where(scaled <= floor, 0.0, scaled)
        beta = moments.beta()
        # What phi = 0 would have: E[d^2].
        power = moments.dd / count
        # Where no perturbation changes the model, only zero is an account of it.
        unchanged = torch.where(raw > 0, torch.nan, 1.0)
        skill = torch.where(power > still, 1 - raw / power, unchanged)
        details = {
            "raw": raw,
            "scaled": scaled,
            "skill": skill,
            "beta": beta,
        }
        values = scaled if self.scaled else raw
        # A finite list is gone through whole: no sampling error.
        if not sampled:
            return Reading(values, None, details)
        scale = beta if self.scaled else torch.ones_like(beta)
        return Reading(values, moments.error(count, scale), details)


@final
class _Moments:
    """Sums over perturbations of the account s and the change d, each (n,), in float64.

    `ss`, `sd`, `dd` are the second moments, `squared_error` is that of s against d, and `fourth`
    (5, n) holds the sums of s^p d^(4 - p).
    """

    def __init__(self, n: int, device: torch.device, negative: bool) -> None:
        self.negative = negative
        zeros = torch.zeros(n, dtype=torch.float64, device=device)
        self.ss = zeros.clone()
        self.sd = zeros.clone()
        self.dd = zeros.clone()
        self.squared_error = zeros.clone()
        self.fourth = zeros.repeat(5, 1)

    def add(self, account: Tensor, change: Tensor) -> None:
        """Adds a chunk (n, k) of accounts and changes."""
        self.ss += (account**2).sum(1)
        self.sd += (account * change).sum(1)
        self.dd += (change**2).sum(1)
        # Not from ss - 2 sd + dd: a difference of large sums would
        # drown a small error, or turn it negative.
        self.squared_error += ((account - change) ** 2).sum(1)
        for power in range(5):
            products = account**power * change ** (4 - power)
            self.fourth[power] += products.sum(1)

    def beta(self) -> Tensor:
        """The best scale, not below zero unless it may be; zero for an account that is zero."""
        tiny = torch.finfo(torch.float64).tiny
        best = self.sd / self.ss.clamp_min(tiny)
        best = torch.where(self.ss > 0, best, 0.0)
        return best if self.negative else best.clamp_min(0)

    def raw(self, count: int) -> Tensor:
        """The mean squared error."""
        return self.squared_error / count

    def scaled(self, count: int) -> Tensor:
        """The mean squared error at the best scale."""
        return self._at_scale(self.beta()).clamp_min(0) / count

    def error(self, count: int, beta: Tensor) -> Tensor:
        """The standard error of the mean squared error at a scale, from its fourth moments."""
        mean = self._at_scale(beta) / count
        # (beta s - d)^4 by the binomial theorem, in powers of s.
        coefficients = (1.0, -4.0, 6.0, -4.0, 1.0)
        fourth = sum(
            coefficient * beta**power * self.fourth[power]
            for power, coefficient in enumerate(coefficients)
        )
        # Mean square less squared mean: rounding may take it below 0.
        variance = (fourth / count - mean**2).clamp_min(0)
        return (variance / max(count - 1, 1)).sqrt()

    def _at_scale(self, beta: Tensor) -> Tensor:
        """The sum of (beta s - d)^2, up to rounding, which may take it below zero."""
        return beta**2 * self.ss - 2 * beta * self.sd + self.dd


def _averaged_scores(question: Question, removed: Tensor) -> Tensor:
    """The target without features `removed` (n or 1, k, features), over all replacements: (n, k)."""
    changeable = question.changeable_features().any(dim=1)
    scores = question.prediction[:, None].repeat(1, removed.shape[1])
    rows = changeable.nonzero()[:, 0]
    # An input that every replacement leaves as it is has no game to be asked about.
    if len(rows):
        present = ~removed[0] if len(removed) == 1 else ~removed[rows]
        scores[rows] = question.take(rows).value(present).to(scores.dtype)
    return scores


def _mean_step(question: Question, removed: Tensor, attributions: Sequence[Attribution]) -> Tensor:
    """The mean of x - b on what features `removed` own, over all replacements b, where some slope
    has a product with it: (n, k, elements).
    """
    n, elements = question.x.shape
    k = removed.shape[1]
    step = question.x.new_zeros(n, k, elements)
    if all(attribution.kind != Kind.SLOPE.value for attribution in attributions):
        return step
    rows = torch.arange(n, device=step.device).repeat_interleave(k)
    # Every mask of every input as a row, (n k, features), in the order of `rows`.
    masks = ~removed.expand(n, -1, -1).reshape(n * k, -1)
    for draw in range(question.replacements):
        replaced = question.masked(rows, masks, torch.full_like(rows, draw))
        # One replacement at a time: all of them together would be the largest tensor here.
        step += (question.x[rows] - replaced).view_as(step)
    return step / question.replacements


def _account(attribution: Attribution, batch: PerturbationBatch) -> Tensor:
    """What the attribution says the perturbations do, I . phi: (n, k), float64."""
    values = attribution.values.to(torch.float64)
    if attribution.kind == Kind.SLOPE.value or batch.removed is None:
        step = batch.step.to(torch.float64)
        return torch.einsum("nkd,nd->nk", step, values)
    removed = batch.removed.to(torch.float64)
    # Masks that all inputs share are one product of two matrices.
    if len(removed) == 1:
        return values @ removed[0].T
    return torch.einsum("nkf,nf->nk", removed, values)
