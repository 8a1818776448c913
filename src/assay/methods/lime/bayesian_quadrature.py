"""LIME's moments by Bayesian quadrature, with a Gaussian process for a control variate.

A surrogate follows from integrals of the model over the neighbourhood. Averages over draws estimate
them with an error that falls as 1 / sqrt(draws); a Gaussian process that was fitted to the same
draws is integrated exactly instead (O'Hagan 1991), and what it misses of the model is averaged over
the draws (a control variate: Oates, Girolami and Chopin 2017). The more of the model the process
explains, the less is left to chance; where it explains nothing, the plain average remains.

The process has a product kernel over the uniforms behind the draws, prod_j (1 + r_j k(u_j, v_j)),
with k the first-order spline kernel (Wahba 1990; Gu 2013, section 2.3), which integrates to zero:
the functional ANOVA of the process is then read off its kernel (Durrande, Ginsbourger, Roustant and
Carraro 2013), and every integral is a product of polynomials.

Derivation and measured gain: `docs/lime_proxy.md`. The plain path beside it, and its twin in tests:
`surrogate.DrawMoments`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.engine import one_thread
from assay.methods.lime.least_squares import Moments, moments_of
from assay.methods.lime.neighbourhood import Cells, Sample
from assay.methods.lime.surrogate import MomentEstimate, Selector, jaccard
from assay.numerics import gaussian_process, rng
from assay.numerics.gaussian_process import leave_one_out_scale, maximum_a_posteriori, residuals

Floats = NDArray[np.float64]

Gradient = Callable[[Floats], Floats]
"""A gradient in the covariance (m, m) to the gradient in the relevances (d,)."""

# Draws that choose the hyperparameters: every step of that search factors their covariance.
_HYPERPARAMETER_DRAWS = 400

# Draws that the process is conditioned on, at the cost of one factorisation; what it misses is
# averaged over all of them.
_CONDITIONING_DRAWS = 2000

_LEAST_VARIANCE = 1e-12  # of a column's kernel, which is of the order of one where it moves

_ITERATIONS = 40  # of the search for hyperparameters, each one factorisation or a few

# Before any data, of logit(relevance) and of log(noise): a column explains some 5 % of the variance,
# and so does noise; two standard deviations up are 73 % of it, so that draws can overrule the prior.
_PRIOR_MEAN = np.array([-3.0, -3.0])
_PRIOR_SD = np.array([2.0, 2.0])

_REPEATS = 20  # pairs of surrogates drawn from the posterior, for the stability of the support


# --- the kernel of one column, and its integrals


def covariance(u: Floats, v: Floats) -> Floats:
    """The first-order spline kernel on [0, 1]: it integrates to zero, and has mean variance 1.

    6 ((u - 1/2)(v - 1/2) + B_2(|u - v|) / 2), with B_2 Bernoulli's second polynomial (Gu 2013,
    section 2.3): the covariance of a Brownian path that is free at both ends, less its mean.
    """
    distance = np.abs(u - v)
    bernoulli = distance**2 - distance + 1 / 6
    return 6 * ((u - 0.5) * (v - 0.5) + bernoulli / 2)


def integral(low: Floats, high: Floats, v: Floats) -> Floats:
    """The integral of `covariance` over u from low to high."""

    def antiderivative(end: Floats) -> Floats:
        # Of B_2(|u - v|) / 2 in u, from v on.
        s = end - v
        return s**3 / 6 - np.sign(s) * s**2 / 4 + s / 12

    linear = (high - low) * (high + low - 1) / 2
    linear = linear * (v - 0.5)
    return 6 * (linear + antiderivative(high) - antiderivative(low))


def double_integral(low: Floats, high: Floats, start: Floats, stop: Floats) -> Floats:
    """The integral of `covariance` over u from low to high and v from start to stop."""

    def antiderivative(s: Floats) -> Floats:
        # Of B_2(|u - v|) / 2 in u and in v,
        # with s = u - v and the sign of v's.
        return s**4 / 24 - np.abs(s) ** 3 / 12 + s**2 / 24

    linear = (high - low) * (high + low - 1)
    linear = linear * (stop - start) * (stop + start - 1) / 4
    return 6 * (
        linear
        + antiderivative(high - start)
        - antiderivative(low - start)
        - antiderivative(high - stop)
        + antiderivative(low - stop)
    )


@final
@dataclass(frozen=True, eq=False)
class ColumnDraws:
    """Draws of one column as intervals of uniforms, `start` to `stop` (m,).

    Uniforms of one interval give the same value of the column, so the process is told of its mean
    over the interval: covariances are means over the intervals. A value that no other uniform gives
    is a point, start = stop.
    """

    start: Floats
    stop: Floats

    @cached_property
    def is_interval(self) -> NDArray[np.bool_]:
        """Which are more than a point: (m,)."""
        return np.asarray(self.stop > self.start, dtype=np.bool_)

    def integral(self, low: float, high: float) -> Floats:
        """The integral over u from low to high of the covariance with every draw: (m,)."""
        ends = (np.array(low), np.array(high))
        integrals = integral(*ends, self.start)
        wide = self.is_interval
        start = self.start[wide]
        stop = self.stop[wide]
        double = double_integral(*ends, start, stop)
        integrals[wide] = double / (stop - start)
        return integrals

    def covariance(self, other: ColumnDraws) -> Floats:
        """The covariance with the draws of another: (m, other m)."""
        matrix = covariance(self.start[:, None], other.start)
        # An interval holds all draws of one value, so there
        # are few of them: a row or a column of the matrix is
        # computed once for each, and copied to its draws.
        for start, stop in self._intervals():
            members = self._members(start)
            means = other.integral(start, stop) / (stop - start)
            matrix[members] = means
        # Last, so that where both are intervals the mean is over both.
        for start, stop in other._intervals():
            members = other._members(start)
            means = self.integral(start, stop) / (stop - start)
            matrix[:, members] = means[:, None]
        return matrix

    def _members(self, start: float) -> NDArray[np.bool_]:
        """The draws (m,) whose interval starts there."""
        members = self.is_interval & (self.start == start)
        return np.asarray(members, dtype=np.bool_)

    def _intervals(self) -> Floats:
        """The intervals that are more than a point, each once: (intervals, 2)."""
        wide = self.is_interval
        ends = np.stack([self.start[wide], self.stop[wide]], axis=1)
        return np.unique(ends, axis=0)


def column_draws(cells: Cells, rows: slice) -> tuple[ColumnDraws, ...]:
    """Some of the draws, column by column."""
    ends = zip(cells.start[rows].T, cells.stop[rows].T)
    return tuple(ColumnDraws(start, stop) for start, stop in ends)


# --- the process over all columns


@final
@dataclass(frozen=True, eq=False)
class Process:
    """A Gaussian process with covariance prod_j (1 + r_j k_j / scale_j) and noise, over m draws.

    k is `covariance`, which integrates to zero, so that r_j is the variance of column j's main
    effect, and an interaction of the columns T has variance prod_{j in T} r_j (Durrande,
    Ginsbourger, Roustant and Carraro 2013).

    Settings:
        columns: the draws it is conditioned on, column by column.
        scale: the variance of the kernel that counts as one, (d,).
        relevance: r, (d,), in (0, 1).
        noise: the variance of what no process of this kind explains.
    """

    columns: tuple[ColumnDraws, ...]
    scale: Floats
    relevance: Floats
    noise: float

    def covariance(self, points: tuple[ColumnDraws, ...]) -> Floats:
        """The covariance of points with the draws: (points, m)."""
        shape = (len(points[0].start), len(self.columns[0].start))
        product = np.ones(shape)
        relevance = self.relevance / self.scale
        for point, column, r in zip(points, self.columns, relevance):
            product *= 1 + r * point.covariance(column)
        return product

    @cached_property
    def factor(self) -> tuple[Floats, bool]:
        """The Cholesky factor of the draws' covariance with noise."""
        matrix = self.covariance(self.columns)
        return gaussian_process.factor(matrix, self.noise)

    def kernel_means(self, cells: Cells, row: int) -> tuple[Floats, Floats]:
        """The integrals E[(z_j - E z_j) K(u, draw)] (m, d) and E[K(u, draw)] (m,) for one input.

        Columns are independent under the weighted law of the neighbourhood, so every integral is a
        product of integrals over one column. The kernel of a column integrates to zero over the
        whole of it: with weight 1 inside the input's cell and `tilt` outside, (1 - tilt) times the
        integral over the cell is left.
        """
        ends = zip(self.columns, cells.low[row], cells.high[row])
        integrals = [column.integral(low, high) for column, low, high in ends]
        inside = np.stack(integrals, axis=1)
        relevance = self.relevance / self.scale
        inside *= relevance / cells.mass[row]
        lift = 1 - cells.tilt
        factors = 1 + lift * inside
        mean = factors.prod(axis=1)
        # E[(z_j - E z_j) (1 + r_j k_j)] of the column
        # itself, times the factors of all others.
        contrast = 1 - cells.inside[row] * lift
        column_factor = contrast * inside
        other_factors = mean[:, None] / factors
        return column_factor * other_factors, mean

    def prior_variance(self, cells: Cells) -> Floats:
        """The variance of every input's moments before any data: (n, d)."""
        ends = (cells.low, cells.high)
        inside = double_integral(*ends, *ends) / cells.mass**2
        inside *= self.relevance / self.scale
        # As in `kernel_means`, with both
        # arguments of the kernel integrated.
        lift = 1 - cells.tilt
        factors = 1 + lift**2 * inside
        product = factors.prod(axis=1, keepdims=True)
        contrast = 1 - cells.inside * lift
        variance: Floats = contrast**2 * inside * (product / factors)
        return variance


def fit_process(cells: Cells, answers: Floats) -> Process:
    """The process of the first draws whose relevances and noise are most probable after answers
    (m,) of mean 0 and scale 1.
    """
    columns = column_draws(cells, slice(len(answers)))
    count = min(len(answers), _HYPERPARAMETER_DRAWS)
    first_draws = column_draws(cells, slice(count))
    matrices = [draws.covariance(draws) for draws in first_draws]
    kernels = np.stack(matrices)
    # In these units the kernel has mean variance 1 over the draws, so
    # that relevances of different columns compare; or a larger one,
    # so that 1 + r k is never negative, nor any product of them.
    variances = kernels.diagonal(axis1=1, axis2=2)
    least = kernels.min(axis=(1, 2))
    scale = np.maximum(variances.mean(axis=1), -least)
    # A column with one value has no variance but what rounding leaves.
    scale = np.where(scale > _LEAST_VARIANCE, scale, 1.0)
    kernels /= scale[:, None, None]

    def kernel(relevance: Floats) -> tuple[Floats, Gradient]:
        product = np.ones_like(kernels[0])
        for column_kernel, r in zip(kernels, relevance):
            product *= 1 + r * column_kernel

        def relevance_gradient(covariance_gradient: Floats) -> Floats:
            # The derivative of the product in r_j
            # is k_j times all factors but the j-th.
            weighted = covariance_gradient * product
            gradient = []
            for column_kernel, r in zip(kernels, relevance):
                factor = 1 + r * column_kernel
                terms = weighted * column_kernel / factor
                gradient.append(float(np.sum(terms)))
            return np.array(gradient)

        return product, relevance_gradient

    # One prior for all relevances, and one for the noise.
    repeats = [len(columns), 1]
    relevance, noise = maximum_a_posteriori(
        kernel,
        answers[:count],
        np.repeat(_PRIOR_MEAN, repeats),
        np.repeat(_PRIOR_SD, repeats),
        _ITERATIONS,
    )
    return Process(columns, scale, relevance, noise)


# --- what it says of the moments


@final
@dataclass(frozen=True, eq=False)
class Posterior:
    """What a process says of n inputs that share their m answers.

    Settings:
        moment: posterior means of the moments E[(z_j - E z_j) f], (n, d).
        variance: their posterior variances, (n, d).
        mean: posterior mean of E[f], (n,).
        residuals: what the process misses of each answer, (n, m).
    """

    moment: Tensor
    variance: Tensor
    mean: Tensor
    residuals: Tensor


def posterior(cells: Cells, answers: Floats) -> Posterior:
    """What the process says of all inputs of `cells`, after answers (m,)."""
    from scipy.linalg import cho_solve

    inputs, columns = cells.low.shape
    conditioning = answers[:_CONDITIONING_DRAWS]
    level = float(conditioning.mean())
    size = float(conditioning.std())
    if size == 0.0:
        # Answers that are all alike have no scale
        # to learn; what differs later is residual.
        zeros = torch.zeros(inputs, columns, dtype=torch.float64)
        mean = torch.full((inputs,), level, dtype=torch.float64)
        missed = torch.from_numpy(answers - level)
        return Posterior(zeros, zeros, mean, missed.expand(inputs, -1))
    # In units of mean 0 and scale 1, which the priors are about.
    standardised = (conditioning - level) / size
    process = fit_process(cells, standardised)
    weights = cho_solve(process.factor, standardised)

    moments = np.zeros((inputs, columns))
    reduction = np.zeros((inputs, columns))
    means = np.zeros(inputs)
    for row in range(inputs):
        integrals, mean_integrals = process.kernel_means(cells, row)
        moments[row] = integrals.T @ weights
        means[row] = mean_integrals @ weights
        # Of the prior variance, by the draws: k' (K + noise)^-1 k.
        inverse_integrals = cho_solve(process.factor, integrals)
        reduction[row] = np.einsum("md,md->d", integrals, inverse_integrals)
    # Intervals stay honest for models that are
    # rougher or smoother than the kernel supposes.
    error_scale = leave_one_out_scale(process.factor, weights)
    difference = process.prior_variance(cells) - reduction
    # Rounding may leave less than nothing.
    posterior_variance = np.maximum(difference, 0.0)
    variance = size**2 * error_scale * posterior_variance

    # Where the process was conditioned its residuals
    # come with the weights; elsewhere it predicts.
    count = len(conditioning)
    first_missed = size * residuals(process.noise, weights)
    later = column_draws(cells, slice(count, None))
    predictions = size * process.covariance(later) @ weights
    later_missed = answers[count:] - level - predictions
    missed_by_draw = np.append(first_missed, later_missed)
    return Posterior(
        moment=torch.from_numpy(size * moments),
        variance=torch.from_numpy(variance),
        mean=torch.from_numpy(level + size * means),
        residuals=torch.from_numpy(missed_by_draw).expand(inputs, -1),
    )


def posterior_of_all(cells: Cells, answers: Tensor) -> Posterior:
    """`posterior` for inputs of which only some share their answers (n, m): one process for each
    distinct row of answers.
    """
    rows = answers.cpu()
    groups, group_of_input = torch.unique(rows, dim=0, return_inverse=True)
    parts = []
    # Many small matrices, of which each is
    # too little work for several threads.
    with one_thread():
        for group, group_answers in enumerate(groups):
            is_member = group_of_input == group
            members = is_member.nonzero().flatten()
            group_cells = cells.take(members.numpy())
            parts.append(posterior(group_cells, group_answers.numpy()))
    # Groups stand one after the other;
    # the inputs' own order is put back.
    order = group_of_input.argsort(stable=True).argsort()

    def join(values: list[Tensor]) -> Tensor:
        return torch.cat(values)[order].to(answers)

    return Posterior(
        moment=join([part.moment for part in parts]),
        variance=join([part.variance for part in parts]),
        mean=join([part.mean for part in parts]),
        residuals=join([part.residuals for part in parts]),
    )


# --- the surrogate


@final
@dataclass(frozen=True, eq=False)
class QuadratureMoments(MomentEstimate):
    """Moments by Bayesian quadrature, corrected by what the process misses of the draws.

    c_j = E[(z_j - E z_j) g] + sum_i w_i (z_ij - mean z_j) (f - g)(u_i), g the posterior mean.
    Columns are independent under the weighted law, so the Gram matrix is known: the diagonal of
    E z_j (1 - E z_j). `variance` (n, d) joins the posterior's to that of the correction.
    """

    moments: Moments
    variance: Tensor
    seed: int

    @classmethod
    def of(cls, sample: Sample, cells: Cells, seed: int) -> QuadratureMoments:
        """The moments of all inputs of a sample whose draws come from `cells`."""
        # The input itself is no draw of the neighbourhood's law.
        sample = sample.without_fixed()
        process = posterior_of_all(cells, sample.answers)
        # The control variate: the same weighted moments,
        # of the residuals in place of the answers.
        missed = process.residuals
        correction = moments_of(replace(sample, answers=missed))
        inside = torch.from_numpy(cells.inside).to(missed)
        moments = Moments(
            gram=torch.diag_embed(inside * (1 - inside)),
            moment=process.moment + correction.moment,
            design_mean=inside,
            answer_mean=process.mean + correction.answer_mean,
            answer_variance=moments_of(sample).answer_variance,
        )
        # The sandwich's meat, of the correction alone.
        centred_residuals = missed - correction.answer_mean[:, None]
        weighted_residuals = sample.shares * centred_residuals
        design_mean = correction.design_mean[:, None, :]
        centred_design = sample.design - design_mean
        scores = weighted_residuals[..., None] * centred_design
        variance = process.variance + scores.square().sum(dim=1)
        return cls(moments, variance, seed)

    def covariance(self, coefficients: Tensor, support: Tensor | None) -> Tensor:
        # The Gram matrix is diagonal: no covariance
        # of two moments reaches a standard error.
        if support is None:
            return torch.diag_embed(self.variance)
        variance = self.variance.gather(1, support)
        return torch.diag_embed(variance)

    def stability(self, selector: Selector) -> Tensor:
        """By selections from moments that are drawn from their estimated law."""
        variance = self.variance
        columns = variance.shape[1]
        generator = rng.shared(self.seed, "lime stability")
        # Shared by all inputs, as draws are.
        noise = generator.normal(size=(2 * _REPEATS, 1, columns))
        errors = variance.sqrt() * torch.from_numpy(noise).to(variance)
        gram = self.moments.gram
        supports = []
        for moment in self.moments.moment + errors:
            supports.append(selector.support(gram, moment))
        return jaccard(torch.stack(supports), columns)
