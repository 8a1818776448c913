"""Shapley values by way of a small model of the game: fitted to the asked coalitions, explained
exactly, then corrected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.engine import one_thread
from assay.errors import InputError
from assay.methods.base import Axiom
from assay.methods.shapley.coalitions import Design, Floats, Weighting
from assay.methods.shapley.kernel_shap import KernelShap, regress, with_empty_and_full
from assay.methods.shapley.mask_method import MaskMethod, Solved
from assay.numerics import gaussian_process
from assay.numerics.gaussian_process import residuals, maximum_a_posteriori

_MOST_FITTED = 300  # coalitions that choose the proxy's settings; all of them fit it

_ROUNDS = 25

_LIKELY, _SPREAD = (
    np.array([-1.5, -6.0]),
    np.array([1.5, 3.0]),
)  # of logit(relevance) and log(noise), before any data


@final
@dataclass(frozen=True, eq=False)
class Proxy:
    """A Gaussian process over the odd part of a game, y(S) = (v(S) - v(S^c)) / 2, which alone
    decides Shapley values.

    Its covariance is the odd part of prod_j (1 + r_j s_j t_j) for coalitions s, t in {-1, 1}^d: an
    interaction of the features T has variance prod_{j in T} r_j, so that a feature's relevance r_j
    in (0, 1) says how it joins interactions. `signs` (m, d) are the asked coalitions.
    """

    signs: Floats
    relevance: Floats
    noise: float

    @cached_property
    def scale(self) -> float:
        """The logarithm of every coalition's own covariance, by which all are divided."""
        high, low = np.log1p(self.relevance).sum(), np.log1p(-self.relevance).sum()
        return float(high + np.log1p(-np.exp(low - high)) - np.log(2))

    @cached_property
    def halves(self) -> tuple[Floats, Floats]:
        """Half the covariance of every two coalitions, and of one and the other's complement;
        scaled.
        """
        high, low = np.log1p(self.relevance), np.log1p(-self.relevance)
        agree = self.signs * ((high - low) / 2) @ self.signs.T
        middle = (high + low).sum() / 2 - self.scale
        return np.exp(middle + agree) / 2, np.exp(middle - agree) / 2

    @cached_property
    def factor(self) -> tuple[Floats, bool]:
        """The Cholesky factor of the covariance with noise."""
        same, other = self.halves
        return gaussian_process.factor(same - other, self.noise)

    def pull(self, slope: Floats) -> Floats:
        """A slope in the covariance (m, m) as slopes in the relevances (d,)."""
        same, other = self.halves
        plus, minus = slope * same, slope * other
        quadratic = np.einsum("ij,ik,kj->j", self.signs, plus + minus, self.signs, optimize=True)
        r, total = self.relevance, (plus - minus).sum()
        high, low = np.log1p(r).sum() - self.scale, np.log1p(-r).sum() - self.scale
        shrink = (np.exp(high) / (1 + r) + np.exp(low) / (1 - r)) / 2
        return np.asarray((quadratic - r * total) / (1 - r**2) - total * shrink, dtype=np.float64)

    def carried(self) -> Floats:
        """The Shapley values of every coalition's covariance function: (m, d).

        phi_i = r_i t_i * Integral_{-1}^1 prod_{j != i} (1 + r_j t_j u) du, a polynomial that
        Gauss-Legendre integrates exactly.
        """
        out = np.zeros_like(self.signs)
        signed = self.signs * self.relevance
        for node, weight in zip(*np.polynomial.legendre.leggauss(self.signs.shape[1] // 2 + 1)):
            factors = 1 + signed * node
            out += (
                weight * np.exp(np.log(factors).sum(axis=1, keepdims=True) - self.scale) / factors
            )
        return np.asarray(out * signed, dtype=np.float64)

    def spread(self) -> Floats:
        """The variance of every feature's Shapley value before any data: (d,).

        sum over odd T with i of 4 prod_{j in T} r_j / |T|^2 = r_i * double integral of prod_{j !=
        i} (1 + r_j u w) over [-1, 1]^2.
        """
        nodes, weights = np.polynomial.legendre.leggauss(len(self.relevance) // 2 + 1)
        product, share = np.outer(nodes, nodes)[..., None], np.outer(weights, weights)
        factors = 1 + self.relevance * product
        each = np.exp(np.log(factors).sum(axis=2, keepdims=True) - self.scale) / factors
        return np.asarray(self.relevance * np.einsum("ab,abj->j", share, each), dtype=np.float64)


def fitted(signs: Floats, answers: Floats) -> Proxy:
    """The proxy whose relevances and noise are most probable after `answers` (m,); the last
    coalition is the full one.
    """
    count, features = signs.shape
    # the others lie sorted by size: steps of the golden ratio meet all sizes, where only some can choose the settings
    spaced = np.argsort(np.arange(count - 1) * 0.6180339887498949 % 1.0)
    chosen = np.append(count - 1, spaced)[:_MOST_FITTED]
    likely, spread = (np.repeat(part, [features, 1]) for part in (_LIKELY, _SPREAD))

    def kernel(relevance: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
        proxy = Proxy(signs[chosen], relevance, 0.0)
        same, other = proxy.halves
        return same - other, proxy.pull

    return Proxy(signs, *maximum_a_posteriori(kernel, answers[chosen], likely, spread, _ROUNDS))


def adjusted(table: Floats, design: Design) -> tuple[Floats, Floats]:
    """One game's values (d,) and their standard errors from its table (2 + 2 pairs,)."""
    from scipy.linalg import cho_solve

    half, other = table[2:].reshape(2, -1)
    total = table[1] - table[0]
    odd = np.append((half - other) / 2, total / 2)
    size = float(np.sqrt(np.mean(odd**2)))
    if size == 0.0 or design.complete:
        values, error = regress(torch.from_numpy(table), design)
        return values.numpy(), error.numpy()
    signs = np.where(np.vstack((design.half, np.ones(design.features, dtype=np.bool_))), 1.0, -1.0)
    proxy = fitted(signs, odd / size)
    carried = proxy.carried()
    weights = cho_solve(proxy.factor, odd / size)
    own = size * (carried.T @ weights)
    missed = size * residuals(proxy.noise, weights)
    residual = np.concatenate(([0.0, total - own.sum()], missed[:-1], -missed[:-1]))
    rest, doubt = regress(torch.from_numpy(residual), design)
    power = size**2 * float(odd @ weights) / size / len(odd)
    known = np.einsum("md,md->d", carried, cho_solve(proxy.factor, carried))
    variance = power * np.maximum(proxy.spread() - known, 0.0)
    return own + rest.numpy(), np.sqrt(variance + doubt.numpy() ** 2)


@final
@dataclass(frozen=True)
class ProxyShap(MaskMethod):
    """`KernelShap` with a small model of the game in between: fit it, explain it exactly, regress
    on what it misses.

    phi = phi(g) + KernelShap(v - g), with g a Gaussian process over coalitions whose interactions
    have variances that are products of feature relevances, fitted to each input and output by its
    likelihood (regression adjustment: Witter, Liu and Musco 2025, algorithm 1, there with boosted
    trees; a Gaussian process of games: Chau, Muandet and Sejdinovic 2023). g has exact Shapley
    values, and knows its own doubt: the standard error joins the posterior's to that of the
    regression. Complete by construction; exact where every coalition is asked. It pays where games
    have structure and evaluations are dear: arithmetic is O(pairs^3) per input and output. Cost:
    budget + 2 evaluations per input and draw of the removal; a budget below 5 per feature is
    refused (`InputError`), 10 are better.

    >>> ProxyShap(budget=2).solve(torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64), 2, seed=0)[0].tolist()
    [0.5, 0.5]
    """

    budget: int = 1024
    weighting: Weighting = "mixture"

    axioms = frozenset({Axiom.COMPLETENESS})
    cost: ClassVar[str] = "budget + 2"

    def design(self, features: int, seed: int) -> Design:
        """The pairs of coalitions that the budget buys."""
        needed = min(5 * features, int(2**features) - 2)
        if self.budget < needed:
            raise InputError(
                f"{features} features need a budget of at least {needed} coalitions for a proxy, got {self.budget}: "
                "raise the budget, or use KernelShap, which needs fewer"
            )
        return KernelShap(self.budget, weighting=self.weighting).design(features, seed)

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return with_empty_and_full(self.design(features, seed).half)

    def solve(self, table: Tensor, features: int, seed: int) -> Solved:
        design, games = self.design(features, seed), table.reshape(-1, table.shape[-1])
        with one_thread():
            solved = [adjusted(each, design) for each in games.cpu().numpy()]
        values, errors = (
            torch.from_numpy(np.stack(part)).to(table.device).reshape(*table.shape[:-1], features)
            for part in zip(*solved)
        )
        return values, errors
