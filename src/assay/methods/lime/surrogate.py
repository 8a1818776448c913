"""The surrogate that LIME fits: weighted least squares, on all columns or on a few of them.

Ribeiro, Singh and Guestrin (2016) leave two questions open that a reader of the coefficients has:
how far would they move under other draws, and would the same columns be kept? The first is answered
by the heteroscedasticity-consistent covariance of White (1980), less what a balanced design takes
away (Owen 1992); the second by the bootstrap (Efron 1979) over blocks of draws.

A `MomentEstimate` is what a surrogate follows from: moments, and how sure they are. `DrawMoments`
reads both off the draws; `bayesian_quadrature.py` has the other kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from assay.methods.lime.least_squares import (
    Moments,
    forward_selection,
    highest_weights,
    inverse,
    lasso_path,
    moments_of,
    restrict,
    solve,
)
from assay.methods.lime.neighbourhood import Sample
from assay.numerics import rng
from assay.numerics.precision import varies

Selection = Literal["auto", "forward", "lasso", "highest"]

_BLOCKS = 20  # blocks of draws that the selection's stability is resampled from

_REPEATS = 20  # resampled selections, compared in pairs

_FORWARD_UP_TO = 6  # columns that "auto" keeps by forward selection, as the original does

_ROUNDINGS = 8  # last places of the answers that their spread must exceed to be one

_LEVELS = 4  # strata of a column in a balanced design: quarters of (0, 1)


@final
@dataclass(frozen=True)
class Selector:
    """Which columns have a coefficient: all, or `keep` of them by the rule `selection`.

    "auto" is forward selection up to six columns, and the highest weights above, as in the
    original. `ridge` is the penalty of the fits.
    """

    keep: int | None
    selection: Selection
    ridge: float

    def selects(self, columns: int) -> bool:
        """Whether there is anything to choose among so many columns."""
        return self.keep is not None and self.keep < columns

    @property
    def rule(self) -> Selection:
        """The rule that "auto" stands for."""
        if self.selection != "auto":
            return self.selection
        return "forward" if (self.keep or 0) <= _FORWARD_UP_TO else "highest"

    def support(self, gram: Tensor, moment: Tensor) -> Tensor:
        """The columns with a coefficient: (..., keep)."""
        keep = self.keep or 0
        rule = self.rule
        if rule == "lasso":
            return lasso_path(gram, moment, keep)
        if rule == "forward":
            return forward_selection(gram, moment, keep)
        return highest_weights(gram, moment, keep, self.ridge)


class MomentEstimate(ABC):
    """Estimated moments of a neighbourhood, and how far other draws would have moved them."""

    moments: Moments

    @abstractmethod
    def covariance(self, coefficients: Tensor, support: Tensor | None) -> Tensor:
        """The covariance (n, k, k) of the moments of the columns `support` (n, k), or of all.

        `coefficients` (n, d) are those of the surrogate.
        """

    @abstractmethod
    def stability(self, selector: Selector) -> Tensor:
        """The expected Jaccard similarity (n,) of the columns that two repeats would select."""


@final
@dataclass(frozen=True, eq=False)
class Surrogate:
    """Linear surrogates of n inputs.

    Settings:
        coefficients: (n, d), 0 outside of the support.
        standard_error: (n, d), given the support.
        support: the columns with a coefficient, (n, k); None where all have one.
        intercept: (n,).
        r2: the weighted share of the answers' variance that is explained, (n,).
        stability: the expected Jaccard similarity of the supports of two repeats, (n,).
    """

    coefficients: Tensor
    standard_error: Tensor
    support: Tensor | None
    intercept: Tensor
    r2: Tensor
    stability: Tensor


def fit(estimate: MomentEstimate, selector: Selector) -> Surrogate:
    """The weighted least squares surrogate of every input, from estimated moments.

    Coefficients b = B^-1 c with B the Gram matrix and c the moments of the selected columns; their
    covariance is the sandwich B^-1 Cov(c) B^-1.
    """
    moments = estimate.moments
    gram = moments.gram
    moment = moments.moment
    if not selector.selects(moment.shape[1]):
        support = None
        coefficients = solve(gram, moment, selector.ridge)
        bread = inverse(gram, selector.ridge)
        meat = estimate.covariance(coefficients, None)
        variance = _sandwich(bread, meat)
        stability = torch.ones_like(moments.answer_mean)
    else:
        # Refitted on the selected columns alone;
        # all others are 0, without an error.
        support = selector.support(gram, moment)
        zeros = torch.zeros_like(moment)
        bread = inverse(restrict(gram, support), selector.ridge)
        support_moment = moment.gather(1, support)
        solution = (bread @ support_moment[..., None]).squeeze(-1)
        coefficients = zeros.scatter(1, support, solution)
        meat = estimate.covariance(coefficients, support)
        variance = zeros.scatter(1, support, _sandwich(bread, meat))
        stability = estimate.stability(selector)
    mean_effect = (moments.design_mean * coefficients).sum(dim=1)
    return Surrogate(
        coefficients=coefficients,
        # Rounding may leave a variance of nothing below zero.
        standard_error=variance.clamp_min(0).sqrt(),
        support=support,
        intercept=moments.answer_mean - mean_effect,
        r2=_r2(moments, coefficients),
        stability=stability,
    )


def _sandwich(bread: Tensor, meat: Tensor) -> Tensor:
    """The diagonal of bread meat bread: (n, k)."""
    covariance = bread @ meat @ bread
    return covariance.diagonal(dim1=-2, dim2=-1)


def _r2(moments: Moments, coefficients: Tensor) -> Tensor:
    """1 - residual variance / variance, with Var(y - z b) = Var y - 2 b'c + b'Gb."""
    row = coefficients[:, None, :]
    column = coefficients[..., None]
    # From moments alone, since a proxy has no draws whose residuals could be squared.
    quadratic = (row @ moments.gram @ column).flatten()
    covariance = (coefficients * moments.moment).sum(dim=1)
    total = moments.answer_variance
    residual_variance = total - 2 * covariance + quadratic
    # Answers that are all alike, up to rounding, are explained by the intercept.
    rounding = _ROUNDINGS * torch.finfo(total.dtype).eps * moments.answer_mean
    spread = total > rounding.square()
    r2 = 1 - residual_variance / torch.where(spread, total, 1.0)
    return torch.where(spread, r2, 1.0)


@final
@dataclass(frozen=True, eq=False)
class DrawMoments(MomentEstimate):
    """The weighted moments of the draws themselves.

    The covariance is W = sum_i w_i^2 e_i^2 z_i z_i' over the random draws, e the residuals and z the
    centred design (White 1980), times m / (m - degrees of freedom).
    """

    sample: Sample
    moments: Moments
    seed: int

    @classmethod
    def of(cls, sample: Sample, seed: int) -> DrawMoments:
        """The moments of all draws of a sample, fixed ones too."""
        return cls(sample, moments_of(sample), seed)

    def covariance(self, coefficients: Tensor, support: Tensor | None) -> Tensor:
        sample = self.sample
        design_mean = self.moments.design_mean[:, None]
        centred_design = sample.design - design_mean
        residuals = self._residuals(centred_design, coefficients)
        weighted_residuals = sample.shares * residuals
        if support is not None:
            inputs, draws = residuals.shape
            index = support[:, None, :].expand(-1, draws, -1)
            expanded = centred_design.expand(inputs, -1, -1)
            centred_design = expanded.gather(2, index)
        # The estimating equations' scores w_i
        # e_i z_i: their sum is zero at the fit.
        scores = weighted_residuals[..., None] * centred_design
        # Fixed draws come out the same every time, and add no error.
        scores = scores[:, sample.fixed :]
        _, draws, columns = scores.shape
        degrees_of_freedom = columns + 1
        strata = sample.strata
        if strata is not None:
            # A balanced design adds no error from main effects (Owen
            # 1992), so they are taken out of the scores: three means and
            # a common one. With few draws they would take all there is.
            main_effects = (_LEVELS - 1) * strata.shape[1] + 1
            if draws > 2 * main_effects:
                scores = remove_main_effects(scores, strata)
                degrees_of_freedom = main_effects
        correction = draws / max(1, draws - degrees_of_freedom)
        meat = scores.mT @ scores * correction
        return meat + self._of_fixed_draws(centred_design, residuals, correction)

    def _of_fixed_draws(
        self, centred_design: Tensor, residuals: Tensor, correction: float
    ) -> Tensor:
        """What is added for columns that no random draw moves, such as a rare level that none has.

        Their coefficient is what the surrogate misses of the input alone, and would be another
        for another input: its variance is that of all residuals.
        """
        sample = self.sample
        random = centred_design[:, sample.fixed :]
        alone = ~varies(random, dim=1) & varies(centred_design, dim=1)
        variance = (sample.shares * residuals.square()).sum(dim=1) * correction
        fixed = sample.shares[..., None] * centred_design
        leverage = fixed[:, : sample.fixed].square().sum(dim=1)
        return torch.diag_embed(alone * leverage * variance[:, None])

    def _residuals(self, centred_design: Tensor, coefficients: Tensor) -> Tensor:
        """What the surrogate misses of the answers: (n, m)."""
        if len(centred_design) == 1:
            # One product for all inputs that share the design.
            slopes = coefficients @ centred_design[0].T
        else:
            column = coefficients[..., None]
            slopes = (centred_design @ column).squeeze(-1)
        answer_mean = self.moments.answer_mean[:, None]
        return self.sample.answers - answer_mean - slopes

    def stability(self, selector: Selector) -> Tensor:
        """By bootstrap repeats over blocks of draws; a balanced design agrees better than this."""
        grams, moments = self._block_sums()
        supports = []
        for count in bootstrap_counts(self.seed).to(grams):
            # Block 0 holds the draws that are not random: once in every repeat.
            once = torch.ones_like(count[:1])
            multiplicity = torch.cat([once, count])
            gram_sum = torch.tensordot(multiplicity, grams, 1)
            moment_sum = torch.tensordot(multiplicity, moments, 1)
            gram, moment = _central(gram_sum, moment_sum)
            supports.append(selector.support(gram, moment))
        columns = self.sample.design.shape[2]
        return jaccard(torch.stack(supports), columns)

    def _block_sums(self) -> tuple[Tensor, Tensor]:
        """Weighted Gram matrices (blocks, r, d + 1, d + 1) and moments (blocks, n, d + 1).

        With a column of ones first, so that sums of blocks still tell means and total weight. A
        bootstrap repeat is then a sum over blocks, whatever the number of draws.
        """
        sample = self.sample
        # Centred first: a mean far above the spread would drown it in what
        # sums of squares round off.
        centred = sample.design - self.moments.design_mean[:, None]
        ones = torch.ones_like(centred[..., :1])
        table = torch.cat([ones, centred], dim=2)
        grams = []
        moments = []
        for block in range(_BLOCKS + 1):
            members = draw_blocks(sample) == block
            rows = table[:, members]
            weights = sample.weights[:, members]
            weighted_rows = weights[..., None] * rows
            weighted_answers = weights * sample.answers[:, members]
            grams.append(rows.mT @ weighted_rows)
            moment = weighted_answers[:, None] @ rows
            moments.append(moment.squeeze(1))
        return torch.stack(grams), torch.stack(moments)


def bootstrap_counts(seed: int) -> Tensor:
    """How often each block of random draws counts in every repeat: (repeats, blocks)."""
    generator = rng.shared(seed, "lime stability")
    shares = [1 / _BLOCKS] * _BLOCKS
    return torch.from_numpy(generator.multinomial(_BLOCKS, shares, size=_REPEATS))


def draw_blocks(sample: Sample) -> Tensor:
    """The block of every draw (m,): 0 for fixed ones, 1 to 20 in turn for the random ones."""
    draws = sample.design.shape[1] - sample.fixed
    random_blocks = 1 + torch.arange(draws) % _BLOCKS
    fixed_blocks = torch.zeros(sample.fixed, dtype=torch.int64)
    blocks = torch.cat([fixed_blocks, random_blocks])
    return blocks.to(sample.design.device)


def _central(gram: Tensor, moment: Tensor) -> tuple[Tensor, Tensor]:
    """Sums with a column of ones first to central moments of the others.

    (r, d + 1, d + 1) and (n, d + 1) to (r, d, d) and (n, d).
    """
    total = gram[:, :1, :1]
    mean = gram[:, 0, 1:] / total[:, 0]
    gram = gram / total
    moment = moment / total[:, 0]
    outer = mean[:, :, None] * mean[:, None, :]
    central_gram = gram[:, 1:, 1:] - outer
    central_moment = moment[:, 1:] - mean * moment[:, :1]
    return central_gram, central_moment


def remove_main_effects(scores: Tensor, strata: Tensor) -> Tensor:
    """Scores (n, m, d) less their mean at every level of every column, strata (m, columns).

    In a balanced design the indicators of two columns are orthogonal given the mean, so that the
    effects are plain means and no regression is needed.
    """
    one_hot = torch.nn.functional.one_hot(strata, _LEVELS)
    indicators = one_hot.flatten(1).to(scores.dtype)
    # Draws first, so that one product serves all inputs.
    flat_scores = scores.transpose(0, 1).flatten(1)
    counts = indicators.sum(dim=0)[:, None].clamp_min(1)
    level_means = indicators.T @ flat_scores / counts
    grand_mean = flat_scores.mean(dim=0, keepdim=True)
    effects = level_means - grand_mean
    residuals = flat_scores - grand_mean - indicators @ effects
    inputs, draws, columns = scores.shape
    return residuals.view(draws, inputs, columns).transpose(0, 1)


def jaccard(supports: Tensor, columns: int) -> Tensor:
    """The mean Jaccard similarity (n,) of sets of columns (repeats, n, k), compared in pairs."""
    shape = (*supports.shape[:-1], columns)
    members = torch.zeros(shape, dtype=torch.bool, device=supports.device)
    members.scatter_(-1, supports, True)
    # Pairs share no repeat, so that their similarities are independent given the blocks.
    first = members[::2]
    second = members[1::2]
    common = (first & second).sum(dim=2)
    union = (first | second).sum(dim=2)
    return (common / union).mean(dim=0, dtype=torch.float64)
