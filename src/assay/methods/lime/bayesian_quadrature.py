"""LIME's moments by way of a Gaussian process: fitted to the draws, integrated exactly, corrected
by what it misses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.engine import one_thread
from assay.methods.lime import least_squares as sparse
from assay.methods.lime.neighbourhood import Cells, Sample
from assay.methods.lime.surrogate import Fit, Pick, Selection, jaccard, picker, solved
from assay.numerics import gaussian_process, rng
from assay.numerics.gaussian_process import leave_one_out_scale, residuals, maximum_a_posteriori

Floats = NDArray[np.float64]

_MOST_FITTED = 400  # draws that choose the settings

_MOST_KNOWN = 2000  # draws that the process is told; what it misses is learnt from all of them

_ROUNDS = 40

_LIKELY, _SPREAD = (
    np.array([-3.0, -3.0]),
    np.array([2.0, 2.0]),
)  # of logit(relevance) and log(noise), before any data

_REPEATS = (
    20  # pairs of surrogates drawn from the posterior, for the stability of the picked columns
)


def covariance(u: Floats, v: Floats) -> Floats:
    """The covariance of a Brownian path that is free at both ends, less its mean; over [0, 1], of
    mean variance 1.

    6 ((u - 1/2)(v - 1/2) + B_2(|u - v|) / 2), with B_2 Bernoulli's second polynomial (Gu 2013,
    section 2.3).
    """
    apart = np.abs(u - v)
    return 6 * ((u - 0.5) * (v - 0.5) + (apart**2 - apart + 1 / 6) / 2)


def covered(low: Floats, high: Floats, v: Floats) -> Floats:
    """The integral of `covariance` over u from low to high."""

    def until(end: Floats) -> Floats:
        apart = end - v
        return apart**3 / 6 - np.sign(apart) * apart**2 / 4 + apart / 12

    return 6 * ((high - low) * (high + low - 1) / 2 * (v - 0.5) + until(high) - until(low))


def covered_twice(low: Floats, high: Floats, start: Floats, stop: Floats) -> Floats:
    """The integral of `covariance` over u from low to high and v from start to stop."""

    def until(apart: Floats) -> Floats:
        return apart**4 / 24 - np.abs(apart) ** 3 / 12 + apart**2 / 24

    lines = (high - low) * (high + low - 1) * (stop - start) * (stop + start - 1) / 4
    return 6 * (
        lines + until(high - start) - until(low - start) - until(high - stop) + until(low - stop)
    )


@final
@dataclass(frozen=True, eq=False)
class Column:
    """Draws of one column as stretches of uniforms that give the same value, `start` to `stop`
    (m,), equal where they are points.

    Covariances are means over the stretches: what a path says of a value that many uniforms have.
    """

    start: Floats
    stop: Floats

    @cached_property
    def wide(self) -> NDArray[np.bool_]:
        """Which are more than a point."""
        return np.asarray(self.stop > self.start, dtype=np.bool_)

    def covered(self, low: float, high: float) -> Floats:
        """The integral over u from low to high of the covariance with every draw: (m,)."""
        out, wide = covered(np.array(low), np.array(high), self.start), self.wide
        start, stop = self.start[wide], self.stop[wide]
        out[wide] = covered_twice(np.array(low), np.array(high), start, stop) / (stop - start)
        return out

    def between(self, other: Column) -> Floats:
        """The covariance with the draws of another: (m, other m)."""
        out = covariance(self.start[:, None], other.start)
        mine, theirs = np.flatnonzero(self.wide), np.flatnonzero(other.wide)
        for at in np.unique(np.stack([self.start[mine], self.stop[mine]]), axis=1).T:
            out[mine[self.start[mine] == at[0]]] = other.covered(*at) / (at[1] - at[0])
        for at in np.unique(np.stack([other.start[theirs], other.stop[theirs]]), axis=1).T:
            into = theirs[other.start[theirs] == at[0]]
            out[:, into] = (self.covered(*at) / (at[1] - at[0]))[:, None]
        return out


@final
@dataclass(frozen=True, eq=False)
class Process:
    """A Gaussian process over draws of columns with covariance prod_j (1 + r_j k_j / size_j) and
    noise.

    k is `covariance`, which integrates to zero, so that r_j is the variance of column j's own
    effect, and an interaction of the columns T has variance prod_{j in T} r_j (Durrande,
    Ginsbourger, Roustant and Carraro 2013).
    """

    columns: tuple[Column, ...]
    size: Floats
    relevance: Floats
    noise: float

    def between(self, points: tuple[Column, ...]) -> Floats:
        """The covariance of points with the draws: (points, m)."""
        product = np.ones((len(points[0].start), len(self.columns[0].start)))
        for own, column, r in zip(points, self.columns, self.relevance / self.size):
            product *= 1 + r * own.between(column)
        return product

    @cached_property
    def factor(self) -> tuple[Floats, bool]:
        """The Cholesky factor of the draws' covariance with noise."""
        return gaussian_process.factor(self.between(self.columns), self.noise)

    def carried(self, cells: Cells, row: int) -> tuple[Floats, Floats]:
        """What a row's moments E[(z_j - E z_j) g] and its mean E[g] are of every draw's covariance:
        (m, d) and (m,).

        Columns are independent under the weighted law of the neighbourhood, so every integral is a
        product of integrals over one column; those are 0 over the whole of it, and so only the
        input's own cell counts.
        """
        ends = zip(self.columns, cells.low[row], cells.high[row])
        inside = np.stack([column.covered(low, high) for column, low, high in ends], axis=1)
        inside *= self.relevance / self.size / cells.total[row]
        among = 1 + (1 - cells.tilt) * inside
        whole = among.prod(axis=1)
        return (1 - cells.centre[row] * (1 - cells.tilt)) * inside * (whole[:, None] / among), whole

    def spread(self, cells: Cells) -> Floats:
        """The variance of every row's moments before any data: (n, d)."""
        inside = covered_twice(cells.low, cells.high, cells.low, cells.high) / cells.total**2
        inside *= self.relevance / self.size
        among = 1 + (1 - cells.tilt) ** 2 * inside
        own = (1 - cells.centre * (1 - cells.tilt)) ** 2 * inside
        return np.asarray(own * (among.prod(axis=1, keepdims=True) / among), dtype=np.float64)


def columns_of(cells: Cells, rows: slice) -> tuple[Column, ...]:
    """Some of the draws, column by column."""
    return tuple(Column(*pair) for pair in zip(cells.start[rows].T, cells.stop[rows].T))


def fitted(cells: Cells, answers: Floats) -> Process:
    """The process of the first draws whose relevances and noise are most probable after answers
    (m,) of mean 0 and scale 1.
    """
    told, some = (
        columns_of(cells, slice(len(answers))),
        columns_of(cells, slice(min(len(answers), _MOST_FITTED))),
    )
    kernels = np.stack([column.between(column) for column in some])
    # In units in which a column's own effect has variance r, and no product of the process is negative.
    size = np.maximum(kernels.diagonal(axis1=1, axis2=2).mean(axis=1), -kernels.min(axis=(1, 2)))
    size = np.where(size > 0, size, 1.0)
    kernels /= size[:, None, None]
    likely, spread = (np.repeat(part, [len(told), 1]) for part in (_LIKELY, _SPREAD))

    def kernel(relevance: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
        product = np.ones_like(kernels[0])
        for own, r in zip(kernels, relevance):
            product *= 1 + r * own

        def pull(slope: Floats) -> Floats:
            pulled = slope * product
            return np.array(
                [float(np.sum(pulled * own / (1 + r * own))) for own, r in zip(kernels, relevance)]
            )

        return product, pull

    return Process(
        told,
        size,
        *maximum_a_posteriori(kernel, answers[: len(kernels[0])], likely, spread, _ROUNDS),
    )


Known: TypeAlias = tuple[Floats, Floats, Floats, Floats]
"""Of rows that share their answers: moments (n, d), their variances (n, d), means (n,), and what
the process misses (n, m).
"""


def known(cells: Cells, answers: Floats) -> Known:
    """What a process says of the moments of all rows of `cells`, after answers (m,)."""
    from scipy.linalg import cho_solve

    count, columns = cells.low.shape
    told = answers[:_MOST_KNOWN]
    middle, size = float(told.mean()), float(told.std())
    if size == 0.0:
        nothing = np.zeros((count, columns))
        return nothing, nothing, np.full(count, middle), np.tile(answers - middle, (count, 1))
    scaled, rest = (told - middle) / size, columns_of(cells, slice(len(told), None))
    process = fitted(cells, scaled)
    weights = cho_solve(process.factor, scaled)
    moments, explained, means = (
        np.zeros((count, columns)),
        np.zeros((count, columns)),
        np.zeros(count),
    )
    for row in range(count):
        carried, mean = process.carried(cells, row)
        moments[row], means[row] = carried.T @ weights, mean @ weights
        explained[row] = np.einsum("md,md->d", carried, cho_solve(process.factor, carried))
    variance = (
        size**2
        * leave_one_out_scale(process.factor, weights)
        * np.maximum(process.spread(cells) - explained, 0.0)
    )
    missed = np.append(
        size * residuals(process.noise, weights),
        answers[len(told) :] - middle - size * process.between(rest) @ weights,
    )
    return size * moments, variance, middle + size * means, np.tile(missed, (count, 1))


def known_of_all(cells: Cells, answers: Tensor) -> list[Tensor]:
    """`known` of rows of which only some share their answers (n, m)."""
    groups, member = torch.unique(answers.cpu(), dim=0, return_inverse=True)
    with one_thread():
        parts = [
            known(cells.take((member == at).nonzero().flatten().numpy()), row.numpy())
            for at, row in enumerate(groups)
        ]
    back = member.argsort(stable=True).argsort()
    return [torch.from_numpy(np.concatenate(part))[back].to(answers) for part in zip(*parts)]


def smooth_fit(
    sample: Sample, cells: Cells, keep: int | None, selection: Selection, ridge: float, seed: int
) -> Fit:
    """The surrogate of every row, from the moments of a process and of what it misses.

    c_j = E[(z_j - E z_j) g] + sum_i w_i (z_ij - mean z_j) (f - g)(u_i); columns are independent
    under the weighted law, so the Gram matrix is the diagonal of E z_j (1 - E z_j), and b_j = c_j /
    (G_jj + ridge). The standard error joins the posterior's to that of the correction.
    """
    data, variance = _moments(sample, cells)

    def stability(pick: Pick) -> Tensor:
        draw = rng.shared(seed, "lime stability").normal(size=(2 * _REPEATS, 1, variance.shape[1]))
        repeats = data.moment + variance.sqrt() * torch.from_numpy(draw).to(variance)
        members = torch.zeros(repeats.shape, dtype=torch.bool, device=repeats.device)
        for member, moment in zip(members, repeats):
            member.scatter_(1, pick(data.gram, moment), True)
        return jaccard(members)

    def scatter(coefficients: Tensor, picked: Tensor | None) -> Tensor:
        return torch.diag_embed(variance if picked is None else variance.gather(1, picked))

    return solved(data, keep, picker(keep, selection, ridge), ridge, scatter, stability)


def _moments(sample: Sample, cells: Cells) -> tuple[sparse.Moments, Tensor]:
    """The moments of all rows, joined from the process and from what it misses, and the variance of
    their errors (n, d).
    """
    design, weights, answers = (
        part[:, sample.fixed :] for part in (sample.design, sample.weights, sample.answers)
    )
    moment, variance, mean, missed = known_of_all(cells, answers)
    rest = sparse.moments(design, weights, missed)
    share = weights / weights.sum(dim=1, keepdim=True)
    scores = (share * (missed - rest.mean[:, None]))[..., None] * (design - rest.centre[:, None, :])
    centre = torch.from_numpy(cells.centre).to(design)
    gram, power = (
        torch.diag_embed(centre * (1 - centre)),
        sparse.moments(design, weights, answers).power,
    )
    joined = sparse.Moments(gram, moment + rest.moment, centre, mean + rest.mean, power)
    return joined, variance + scores.square().sum(dim=1)
