"""Proxy SHAP: a small model of the game, explained exactly, then corrected by its residuals.

Regression adjustment (Witter, Liu and Musco 2025): fit a proxy g of which Shapley values are known
exactly to the asked coalitions, and add an unbiased estimate of what it misses,
phi(v) = phi(g) + phi(v - g). The proxy here is a Gaussian process over coalitions (Chau, Muandet
and Sejdinovic 2023). The other half of the algebra, likelihood and posterior, is in
`numerics/gaussian_process.py`.

Shapley values depend on the odd part of a game alone, y(S) = (v(S) - v(S^c)) / 2, and so does the
proxy. Coalitions are written as signs s in {-1, 1}^d: then the odd interactions are the products
of an odd number of signs, which are orthogonal.
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
from assay.methods.shapley.kernel_shap import (
    KernelShap,
    regress,
    with_empty_and_full,
)
from assay.methods.shapley.mask_method import MaskMethod, Solution
from assay.numerics import gaussian_process
from assay.numerics.gaussian_process import (
    maximum_a_posteriori,
    residuals,
)
from assay.question.question import Question

_DEFAULT_BUDGET = 1024  # coalitions where nothing is said
_LEAST_PER_FEATURE = 5  # coalitions without which a proxy is not fitted

_MAX_TRAINING = 300  # coalitions that choose the proxy's hyperparameters; all of them fit it

_ROUNDS = 25  # of the optimiser

# The prior of logit(relevance) and log(noise): relevances around 0.18, noise around 0.0025.
_PRIOR_MEAN = np.array([-1.5, -6.0])
_PRIOR_SD = np.array([1.5, 3.0])

_FAR_WORSE = 10.0  # times the squared error of the regression that rule a proxy out

_LEAST_FREEDOM = 1e-6  # 1 - leverage of a pair that alone decides a coefficient

_GOLDEN_RATIO = 0.6180339887498949


@final
@dataclass(frozen=True, eq=False)
class Proxy:
    """A Gaussian process over the odd part of a game, y(S) = (v(S) - v(S^c)) / 2.

    Its covariance is the odd part of prod_j (1 + r_j s_j t_j) for coalitions s, t in {-1, 1}^d: an
    interaction of the features T has variance prod_{j in T} r_j. All covariances are divided by a
    coalition's own, prod_j (1 + r_j) / 2 - prod_j (1 - r_j) / 2, which is the same for all.

    Settings:
        signs: the asked coalitions, (m, d).
        relevance: r_j in (0, 1), how much feature j joins interactions, (d,).
        noise: the variance that the process does not explain, as a share of its own.
    """

    signs: Floats
    relevance: Floats
    noise: float

    @cached_property
    def log_scale(self) -> float:
        """The logarithm of every coalition's own covariance, by which all are divided."""
        # Products of hundreds of factors overflow: logarithms do not.
        plus = np.log1p(self.relevance).sum()
        minus = np.log1p(-self.relevance).sum()
        return float(plus + np.log1p(-np.exp(minus - plus)) - np.log(2))

    @cached_property
    def half_covariances(self) -> tuple[Floats, Floats]:
        """Half the covariance of every two coalitions, and of one and the other's complement.

        prod_j (1 + r_j s_j t_j) / 2 and prod_j (1 - r_j s_j t_j) / 2, scaled: (m, m) each. Their
        difference is the covariance of the odd part.
        """
        plus = np.log1p(self.relevance)
        minus = np.log1p(-self.relevance)
        # log(1 + r s t) is linear in s t, which is 1 or
        # -1: all products are one matrix product.
        agreement = self.signs * ((plus - minus) / 2) @ self.signs.T
        middle = (plus + minus).sum() / 2 - self.log_scale
        same = np.exp(middle + agreement) / 2
        complement = np.exp(middle - agreement) / 2
        return same, complement

    @cached_property
    def cholesky(self) -> tuple[Floats, bool]:
        """The Cholesky factor of the covariance with noise."""
        same, complement = self.half_covariances
        return gaussian_process.factor(same - complement, self.noise)

    def relevance_gradient(self, covariance_gradient: Floats) -> Floats:
        """A gradient in the covariance (m, m) as the gradient in the relevances (d,)."""
        same, complement = self.half_covariances
        weighted_same = covariance_gradient * same
        weighted_complement = covariance_gradient * complement
        # d log(1 + r s t) / dr = (s t - r) / (1 - r^2),
        # and the same with -s t for the complement.
        quadratic = np.einsum(
            "ij,ik,kj->j",
            self.signs,
            weighted_same + weighted_complement,
            self.signs,
            optimize=True,
        )
        r = self.relevance
        total = (weighted_same - weighted_complement).sum()
        # The scale depends on the relevances too.
        log_plus = np.log1p(r).sum() - self.log_scale
        log_minus = np.log1p(-r).sum() - self.log_scale
        plus_gradient = np.exp(log_plus) / (1 + r)
        minus_gradient = np.exp(log_minus) / (1 - r)
        scale_gradient = (plus_gradient + minus_gradient) / 2
        product_gradient = (quadratic - r * total) / (1 - r**2)
        gradient = product_gradient - total * scale_gradient
        return np.asarray(gradient, dtype=np.float64)

    def covariance_values(self) -> Floats:
        """The Shapley values of the game t -> cov(s, t), for every asked coalition s: (m, d).

        phi_i = r_i s_i * Integral_{-1}^1 prod_{j != i} (1 + r_j s_j u) du, a polynomial that
        Gauss-Legendre integrates exactly.
        """
        integral = np.zeros_like(self.signs)
        signed = self.signs * self.relevance
        node_count = self.signs.shape[1] // 2 + 1
        nodes, weights = np.polynomial.legendre.leggauss(node_count)
        for node, weight in zip(nodes, weights):
            factors = 1 + signed * node
            # The product over all features, divided
            # by the factor of i, for every i.
            log_product = np.log(factors).sum(axis=1, keepdims=True)
            log_product -= self.log_scale
            integral += weight * np.exp(log_product) / factors
        return np.asarray(integral * signed, dtype=np.float64)

    def prior_variances(self) -> Floats:
        """The variance of every feature's Shapley value before any data: (d,).

        sum over odd T with i of 4 prod_{j in T} r_j / |T|^2 = r_i * double integral of prod_{j !=
        i} (1 + r_j u w) over [-1, 1]^2.
        """
        node_count = len(self.relevance) // 2 + 1
        nodes, weights = np.polynomial.legendre.leggauss(node_count)
        node_products = np.outer(nodes, nodes)[..., None]
        node_weights = np.outer(weights, weights)
        factors = 1 + self.relevance * node_products
        log_product = np.log(factors).sum(axis=2, keepdims=True)
        log_product -= self.log_scale
        without_i = np.exp(log_product) / factors
        integral = np.einsum("ab,abj->j", node_weights, without_i)
        return np.asarray(self.relevance * integral, dtype=np.float64)


def fit_proxy(signs: Floats, answers: Floats) -> Proxy:
    """The proxy with the most probable hyperparameters after `answers` (m,).

    Of the coalitions `signs` (m, d) the last is the full one.
    """
    features = signs.shape[1]
    training = _training_coalitions(len(signs))
    prior_mean = np.repeat(_PRIOR_MEAN, [features, 1])
    prior_sd = np.repeat(_PRIOR_SD, [features, 1])

    def kernel(
        relevance: Floats,
    ) -> tuple[Floats, Callable[[Floats], Floats]]:
        proxy = Proxy(signs[training], relevance, 0.0)
        same, complement = proxy.half_covariances
        return same - complement, proxy.relevance_gradient

    relevance, noise = maximum_a_posteriori(
        kernel, answers[training], prior_mean, prior_sd, _ROUNDS
    )
    return Proxy(signs, relevance, noise)


def _training_coalitions(count: int) -> NDArray[np.int64]:
    """Which of `count` coalitions choose the hyperparameters: the full one, and some of the rest.

    The rest lie sorted by size, and steps of the golden ratio meet all sizes evenly.
    """
    order = np.argsort(np.arange(count - 1) * _GOLDEN_RATIO % 1.0)
    return np.append(count - 1, order)[:_MAX_TRAINING]


def regression_adjusted(table: Floats, design: Design) -> tuple[Floats, Floats]:
    """One game's values (d,) and their standard errors from its table (2 + 2 pairs,)."""
    half, complement = table[2:].reshape(2, -1)
    total = table[1] - table[0]
    odd = np.append((half - complement) / 2, total / 2)
    scale = float(np.sqrt(np.mean(odd**2)))
    # A constant game, or one that is known whole, needs no proxy.
    if scale == 0.0 or design.complete:
        values, error = regress(torch.from_numpy(table), design)
        return values.numpy(), error.numpy()
    # The full coalition is an answer like the others, and comes last.
    full = np.ones(design.features, dtype=np.bool_)
    signs = np.where(np.vstack((design.half, full)), 1.0, -1.0)
    proxy = fit_proxy(signs, odd / scale)
    if _misleads(proxy, odd / scale, design):
        values, error = regress(torch.from_numpy(table), design)
        return values.numpy(), error.numpy()
    return _adjusted_by(proxy, odd, scale, design)


def _misleads(proxy: Proxy, answers: Floats, design: Design) -> bool:
    """Whether the proxy tells pairs from all others far worse than the plain regression does.

    By leave-one-out errors (Rasmussen and Williams 2006, equation 5.12), which both know without
    another fit. Of hundreds of features a process of products may take a sum for interactions of
    high order, go through every answer, and miss the sum.
    """
    weights, variance = gaussian_process.leave_one_out(proxy.cholesky, answers)
    proxy_errors = (weights / variance)[:-1]
    offset = 2 * answers[-1] * (design.layer / design.features - 0.5)
    odd = answers[:-1] - offset
    fitted = design.centred @ (design.projector @ odd)
    freedom = np.maximum(1.0 - design.leverage, _LEAST_FREEDOM)
    regression_errors = (odd - fitted) / freedom
    return bool(np.mean(proxy_errors**2) > _FAR_WORSE * np.mean(regression_errors**2))


def _adjusted_by(proxy: Proxy, odd: Floats, scale: float, design: Design) -> tuple[Floats, Floats]:
    """The proxy's values plus the regression on its residuals, and their joint standard error.

    `odd` (pairs + 1,): the odd part of the game, the full coalition last; `scale` its size.
    """
    from scipy.linalg import cho_solve

    covariance_values = proxy.covariance_values()
    weights = cho_solve(proxy.cholesky, odd / scale)
    proxy_values = scale * (covariance_values.T @ weights)
    missed = scale * residuals(proxy.noise, weights)
    # The residual game: the full coalition keeps what the
    # values do not yet add up to, and a pair misses the odd
    # residual on one side and its opposite on the other.
    total = 2 * odd[-1]
    ends = [0.0, total - proxy_values.sum()]
    residual_table = np.concatenate((ends, missed[:-1], -missed[:-1]))
    correction, doubt = regress(torch.from_numpy(residual_table), design)
    # The posterior's variance: the prior's less what the
    # data say, in the size that is most probable after
    # them (profiled out of the likelihood).
    power = scale**2 * float(odd @ weights) / scale / len(odd)
    solved = cho_solve(proxy.cholesky, covariance_values)
    explained = np.einsum("md,md->d", covariance_values, solved)
    remaining = np.maximum(proxy.prior_variances() - explained, 0.0)
    variance = power * remaining
    # The two doubts are added as if they were independent.
    error = np.sqrt(variance + doubt.numpy() ** 2)
    return proxy_values + correction.numpy(), error


@final
@dataclass(frozen=True)
class ProxyShap(MaskMethod):
    """A small model of the game, explained exactly, plus `KernelShap` on what it misses.

    phi = phi(g) + KernelShap(v - g), with g a Gaussian process over coalitions whose interactions
    have variances that are products of feature relevances, fitted to each input and output by its
    likelihood (regression adjustment: Witter, Liu and Musco 2025, algorithm 1, there with boosted
    trees; a Gaussian process of games: Chau, Muandet and Sejdinovic 2023). g has exact Shapley
    values, and knows its own doubt: the standard error joins the posterior's to that of the
    regression. It takes the game for a smooth one: of jumps (rules, votes of few trees) the error says
    too little, and `KernelShap` is the one to trust. Where the regression tells the asked coalitions
    far better than the proxy, it answers alone. Complete by construction; exact where every coalition
    is asked. It pays where games
    have structure and evaluations are dear: arithmetic is O(pairs^3) per input and output.

    Settings:
        budget: coalitions besides the empty and the full one; at least 5 per feature, 10 are
            better. Where nothing is said, 1,024, and 5 per feature of more than 204.
        weighting: how sizes share the coalitions, as for `KernelShap`.

    Cost: budget + 2 evaluations per input and draw of the removal. Values (n, features) in units of
    the target. Errors: InputError for a budget below 5 per feature.

    >>> table = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    >>> ProxyShap(budget=2).solve(table, 2, seed=0)[0].tolist()
    [0.5, 0.5]
    """

    budget: int | None = None
    weighting: Weighting = "mixture"

    axioms = frozenset({Axiom.COMPLETENESS})
    cost: ClassVar[str] = "budget + 2"

    def design(self, features: int, seed: int) -> Design:
        """The pairs of coalitions that the budget buys."""
        needed = min(_LEAST_PER_FEATURE * features, int(2**features) - 2)
        budget = self._coalitions(features)
        if budget < needed:
            raise InputError(
                expected=(
                    f"a budget of at least {needed} coalitions for a proxy of {features} features"
                ),
                got=self.budget,
                advice=(
                    f"Raise the budget, leave it out (then it is {max(_DEFAULT_BUDGET, needed)}), "
                    "or use KernelShap, which needs fewer."
                ),
            )
        method = KernelShap(budget, weighting=self.weighting)
        return method.design(features, seed)

    def _coalitions(self, features: int) -> int:
        if self.budget is not None:
            return self.budget
        # Nobody chose a number that could be too small.
        return max(_DEFAULT_BUDGET, _LEAST_PER_FEATURE * features)

    def players(self, question: Question) -> Tensor | None:
        return question.changeable_features()

    def held(self, features: int) -> int:
        return 2 + int(min(self._coalitions(features), 2**features))

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return with_empty_and_full(self.design(features, seed).half)

    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        design = self.design(features, seed)
        games = table.reshape(-1, table.shape[-1]).cpu().numpy()
        # The matrices are small: threads of BLAS
        # would cost more than they save.
        with one_thread():
            estimates = [regression_adjusted(game, design) for game in games]
        shape = (*table.shape[:-1], features)
        values, errors = (
            torch.from_numpy(np.stack(part)).to(table.device).reshape(shape)
            for part in zip(*estimates)
        )
        return values, errors
