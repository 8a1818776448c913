"""Whether the credit of random subsets goes with what removing them does: correlations.

Sensitivity-n (Ancona et al. 2018, section 3.3) and faithfulness correlation (Bhatt et al. 2020,
definition 4) are one number: the correlation, over random subsets S of one size, of sum_(i in S) phi_i
with f(x) - f(x without S). Over subsets of one input, never over inputs, so that no score depends on
those beside it; free of any unit of the credit, so that every explanation may be asked.
"""

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
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.question.question import Question

_CELLS = 1 << 22  # numbers of the draws held at once
_SIZES = 10  # sizes of subsets where nothing is said
_LARGEST = 0.8  # of the features: the largest of them (Ancona et al. 2018, section 5)
_FEWEST = 3  # subsets that a correlation with an error is made of
_SAME = 1e-12  # of the largest square: a variance below it is rounding

_WHY = "the credit, or the target, is the same for all subsets"


def credit_of_removal(question: Question, attribution: Attribution) -> Tensor:
    """What an attribution says that each feature loses by its removal: (n, features), float64.

    Slopes are multiplied by the step to what stands in, the mean of it where there is more than one.
    """
    credit = attribution.values.to(torch.float64)
    if attribution.kind != Kind.SLOPE.value:
        return credit
    replacements = question.fixed_replacements
    if not question.partition.identity or replacements is None:
        raise InputError(
            expected="contributions, or slopes of single elements under a fixed removal",
            got=f"slopes of {question.features!r} under {question.removal!r}",
            advice="Make contributions of them: TimesInput(method).",
        )
    # The account of a slope is linear in the step: the mean step has the mean account.
    step = question.x.to(torch.float64) - replacements.to(torch.float64).mean(1)
    return credit * step


def correlations(
    question: Question, credits: Sequence[Tensor], size: int, draws: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """The correlation over random subsets of `size` features, and its error, for each credit: (n,)
    each, NaN where it is not defined.

    The same subsets for all credits; the model is asked once.
    """
    n = question.n
    features = question.partition.count
    streams = rng.streams(seed, question.keys, f"subsets of {size}")
    change = torch.zeros(n, draws, dtype=torch.float64, device=question.x.device)
    accounts = [torch.zeros_like(change) for _ in credits]
    existing = question.existing_features()
    rows = question.changeable_features().any(dim=1).nonzero()[:, 0]
    for piece in pieces(draws, n * features, _CELLS):
        uniform = streams.uniform((piece.start, piece.stop), features, torch.float64)
        # What an input does not have is never among the first.
        order = uniform.masked_fill(~existing.unsqueeze(1), 2.0).argsort(dim=2)
        chosen = torch.zeros_like(order, dtype=torch.bool).scatter_(2, order[..., :size], True)
        for account, credit in zip(accounts, credits):
            account[:, piece] = (chosen * credit.unsqueeze(1)).sum(2)
        # What every replacement leaves as it is loses nothing.
        if len(rows):
            asked = question if len(rows) == n else question.take(rows)
            left = asked.value(~chosen[rows]).to(torch.float64)
            # What removal takes from the target of these inputs, (r, k).
            change[rows, piece] = asked.prediction.to(torch.float64).unsqueeze(1) - left
    # Of all features, or of more than there are, there is one subset alone.
    one_subset = existing.sum(1) <= size
    found = []
    for account in accounts:
        value, error = _pearson(account, change)
        value = torch.where(one_subset, torch.nan, value)
        found.append((value, torch.where(torch.isnan(value), 0.0, error)))
    return found


def _pearson(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The correlation along each row (n, draws), and its error by leaving out one draw: (n,)."""
    draws = x.shape[1]
    scale = torch.stack([x, y]).square().mean(2)
    x = x - x.mean(1, keepdim=True)
    y = y - y.mean(1, keepdim=True)
    xx, yy, xy = (x * x), (y * y), (x * y)
    # Sums without draw i: those around the mean of the others.
    # The mean moves with the draw that is left out, which this factor makes up for.
    factor = draws / (draws - 1)
    left = [each.sum(1, keepdim=True) - factor * each for each in (xx, yy, xy)]
    # Relative to the raw squares: of equal numbers the centred ones are rounding alone.
    constant = (torch.stack([xx, yy]).mean(2) <= _SAME * scale).any(0)
    value = xy.sum(1) / (xx.sum(1) * yy.sum(1)).sqrt()
    without = left[2] / (left[0] * left[1]).clamp_min(0).sqrt()
    # Where one draw alone varies, nothing is left without it: it then counts as unmoved.
    without = torch.where(torch.isfinite(without), without, value.unsqueeze(1))
    spread = (without - without.mean(1, keepdim=True)).square().sum(1)
    # The jackknife's error, which does not take the draws to be normal.
    error = ((draws - 1) / draws * spread).sqrt()
    return torch.where(constant, torch.nan, value.clamp(-1, 1)), error


def _check_draws(draws: int, name: str) -> None:
    if draws < _FEWEST:
        raise SettingError(
            expected=f"at least {_FEWEST} subsets of each size for {name}",
            got=draws,
            advice="100 is the default.",
        )


def _check_features(question: Question, name: str) -> None:
    if question.partition.count < 2:
        raise InputError(
            expected=f"two features or more for {name}",
            got=f"{question.partition.count} of {question.features!r}",
            advice="Ask about finer features: Elements(), Pixels(), Patches(8).",
        )


@final
@dataclass(frozen=True)
class SensitivityN(Metric):
    """How the credit of random subsets of n features goes with what removing them does, over n.

    mean_n corr_S(sum_(i in S) phi_i, f(x) - f(x without S)), |S| = n  (Ancona et al. 2018, sec. 3.3)

    Settings:
        sizes: n; where nothing is said, ten from 1 to 0.8 of the features, evenly in their
            logarithm.
        draws: subsets of each size, at least 3, the same for all attributions.

    Details: `curve`, the correlation at each size, and `size` (n, sizes). NaN where a correlation is not
    defined, as for all of the features at once; the score is the mean of the others, and NaN where there
    is none: a constant explanation of a complete input has none. Slopes are multiplied by the step
    to what stands in, as in `Infidelity`. 1 is the optimum, an exact account of an additive model
    has it; a random explanation has 0 in expectation, a negated one the score with its sign turned.

    Units: correlation. Higher is better. Cost: `draws` evaluations per input and size, once for all
    attributions that are compared. Errors: SettingError for fewer than 3 draws or sizes below 1,
    InputError for one feature, for sizes that leave none, and for slopes of groups.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x @ torch.tensor([1.0, -2.0, 3.0]), torch.ones(1, 3))
    >>> round(SensitivityN()(question, assay.InputXGradient()(question)).mean, 6)
    1.0
    """

    sizes: tuple[int, ...] | None = None
    draws: int = 100
    direction: ClassVar[Direction] = "higher"
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    units: ClassVar[str] = "correlation"
    cost: ClassVar[str] = "draws evaluations for each size, shared by all attributions"
    why: ClassVar[str] = _WHY

    def __post_init__(self) -> None:
        _check_draws(self.draws, "SensitivityN")
        if self.sizes is not None and (not self.sizes or min(self.sizes) < 1):
            raise SettingError(
                expected="sizes of at least 1 feature for SensitivityN",
                got=self.sizes,
                advice="Leave them out, or write SensitivityN(sizes=(1, 5, 20)).",
            )

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        _check_features(question, "SensitivityN")
        features = question.partition.count
        if self.sizes is not None and min(self.sizes) >= features:
            raise InputError(
                expected=f"a size below the {features} features for SensitivityN",
                got=self.sizes,
                advice="Of all features there is one subset, which has no correlation.",
            )
        for attribution in attributions:
            # For its refusals: slopes of groups are refused before the model is asked.
            credit_of_removal(question, attribution)

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        sizes = self._sizes(question.partition.count)
        credits = [credit_of_removal(question, attribution) for attribution in attributions]
        by_size = [correlations(question, credits, size, self.draws, seed) for size in sizes]
        readings = []
        for which in range(len(attributions)):
            curve = torch.stack([found[which][0] for found in by_size], dim=1)
            errors = torch.stack([found[which][1] for found in by_size], dim=1)
            defined = (~torch.isnan(curve)).sum(1)
            # Subsets of each size have a stream of their own: the errors of sizes are independent.
            error = errors.square().sum(1).sqrt() / defined.clamp_min(1)
            # The sizes go with the curve, of which they are the axis.
            size = torch.tensor(sizes, dtype=torch.float64, device=curve.device)
            details = {"curve": curve, "size": size.expand_as(curve)}
            readings.append(Reading(curve.nanmean(1), error, details))
        return readings

    def _sizes(self, features: int) -> tuple[int, ...]:
        if self.sizes is not None:
            return self.sizes
        largest = max(1.0, _LARGEST * features)
        exponents = torch.linspace(0, 1, _SIZES, dtype=torch.float64)
        sizes = (largest**exponents).round().to(torch.int64)
        # Small sizes coincide when rounded; each is asked once.
        return tuple(sizes.unique().tolist())


@final
@dataclass(frozen=True)
class FaithfulnessCorrelation(Metric):
    """How the credit of random subsets of one size goes with what removing them does.

    corr_S(sum_(i in S) phi_i, f(x) - f(x without S)), |S| fixed   (Bhatt et al. 2020, definition 4)

    Settings:
        share: of the features, the size of a subset, at least one feature and not all.
        draws: subsets of each input, at least 3, the same for all attributions.

    NaN where the credit or the target is the same for all subsets, as of a constant explanation.
    Slopes are multiplied by the step to what stands in. 1 is the optimum, an exact account of an
    additive model has it; a random explanation has 0 in expectation, a negated one the score with
    its sign turned.

    Units: correlation. Higher is better. Cost: `draws` evaluations per input, once for all
    attributions that are compared. Errors: SettingError for settings out of range, InputError for
    one feature, and for slopes of groups.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x @ torch.tensor([1.0, -2.0, 3.0]), torch.ones(1, 3))
    >>> answer = assay.InputXGradient()(question)
    >>> round(FaithfulnessCorrelation(share=0.4)(question, answer).mean, 6)
    1.0
    """

    share: float = 0.2
    draws: int = 100
    direction: ClassVar[Direction] = "higher"
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    units: ClassVar[str] = "correlation"
    cost: ClassVar[str] = "draws evaluations, shared by all attributions"
    why: ClassVar[str] = _WHY

    def __post_init__(self) -> None:
        _check_draws(self.draws, "FaithfulnessCorrelation")
        if not 0 < self.share < 1:
            raise SettingError(
                expected="a share of the features between 0 and 1 for FaithfulnessCorrelation",
                got=self.share,
                advice="0.2 is the default; the paper's subsets are of fixed size.",
            )

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        _check_features(question, "FaithfulnessCorrelation")
        for attribution in attributions:
            credit_of_removal(question, attribution)

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        features = question.partition.count
        # All features at once would be a single subset, which has no correlation.
        size = min(max(1, round(self.share * features)), features - 1)
        credits = [credit_of_removal(question, attribution) for attribution in attributions]
        found = correlations(question, credits, size, self.draws, seed)
        return [Reading(value, error) for value, error in found]
