"""Hyperparameters of a Gaussian process: the most probable ones after data.

A zero-mean process with a covariance over points and independent noise is fitted by maximising the
marginal likelihood times a normal prior (type II maximum a posteriori). How relevant each feature is
(automatic relevance determination) and the noise are searched with analytic gradients (L-BFGS-B);
the scale of the process is profiled out. Formulas and names are those of Rasmussen and Williams,
"Gaussian processes for machine learning" (2006), chapter 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

Kernel: TypeAlias = Callable[[Floats], tuple[Floats, Callable[[Floats], Floats]]]
"""Relevances (d,) to a covariance (m, m) and to its pullback, which turns a gradient in the
covariance (m, m) into the gradient in the relevances (d,).
"""

_JITTER = 1e-8  # variance added to the diagonal, of a process of variance one: keeps it definite

# Bounds of the search: relevances from 0.0003 to 0.9975, noise variances
# from 1e-7 to 7.4.
_LOGIT_RELEVANCE_BOUNDS = (-8.0, 6.0)

_LOG_NOISE_BOUNDS = (-16.0, 2.0)


def factor(covariance: Floats, noise: float) -> tuple[Floats, bool]:
    """The Cholesky factor of a covariance with noise on its diagonal."""
    from scipy.linalg import cho_factor

    # Factoring in place would destroy the caller's covariance.
    noisy = covariance.copy()
    noisy[np.diag_indices_from(noisy)] += noise + _JITTER
    return cho_factor(noisy, lower=True, overwrite_a=True, check_finite=False)


def _inverse(cholesky: tuple[Floats, bool], size: int) -> Floats:
    """The inverse (m, m) of the matrix that was factored."""
    from scipy.linalg import cho_solve

    return cho_solve(cholesky, np.eye(size), overwrite_b=True, check_finite=False)


def residuals(noise: float, weights: Floats) -> Floats:
    """What the posterior mean misses of the answers, given the weights (covariance + noise)^-1
    answers.
    """
    return (noise + _JITTER) * weights


def leave_one_out(cholesky: tuple[Floats, bool], answers: Floats) -> tuple[Floats, Floats]:
    """The weights (K + noise)^-1 answers (m,), and the diagonal of (K + noise)^-1.

    Their quotient is the error with which the process tells each answer from all others (Rasmussen
    and Williams 2006, equation 5.12).
    """
    inverse = _inverse(cholesky, len(answers))
    return inverse @ answers, np.diagonal(inverse)


def leave_one_out_scale(cholesky: tuple[Floats, bool], weights: Floats) -> float:
    """The variance of the process, by the errors with which it tells each answer from all others.

    The mean of e_i^2 / Var e_i = w_i^2 / (K^-1)_ii over unit variances (Rasmussen and Williams
    2006, equation 5.12): it stays honest where answers are smoother or rougher than the covariance
    supposes (Bachoc 2013).
    """
    inverse = _inverse(cholesky, len(weights))
    return float(np.mean(weights**2 / np.diagonal(inverse)))


def negative_log_likelihood(
    covariance: Floats, noise: float, answers: Floats
) -> tuple[float, Floats]:
    """The negative log likelihood of answers (m,), their scale profiled out, and its gradient in
    the covariance (m, m).

    The gradient's trace is the derivative in the noise (Rasmussen and Williams 2006, equations 5.8
    and 5.9).
    """
    count = len(answers)
    cholesky = factor(covariance, noise)
    inverse = _inverse(cholesky, count)
    weights = inverse @ answers
    # The scale that maximises the likelihood: y' K^-1 y / m.
    scale = float(answers @ weights) / count
    half_log_determinant = np.log(np.diagonal(cholesky[0])).sum()
    value = count / 2 * np.log(scale) + half_log_determinant
    gradient = (inverse - np.outer(weights, weights) / scale) / 2
    return float(value), gradient


def maximum_a_posteriori(
    kernel: Kernel, answers: Floats, prior_mean: Floats, prior_sd: Floats, rounds: int
) -> tuple[Floats, float]:
    """The relevances (d,) in (0, 1) and the noise at the mode after answers (m,) of scale one.

    `prior_mean` and `prior_sd` (d + 1,): the mean and standard deviation of logit(relevance) and of
    log(noise) before any data. `rounds`: iterations of L-BFGS-B at most.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    def negative_log_posterior(settings: Floats) -> tuple[float, Floats]:
        relevance = expit(settings[:-1])
        noise = float(np.exp(settings[-1]))
        covariance, pullback = kernel(relevance)
        value, slope = negative_log_likelihood(covariance, noise, answers)
        # The chain rule: d relevance / d logit = r (1 - r), d noise / d
        # log(noise) = noise.
        relevance_gradient = pullback(slope) * relevance * (1 - relevance)
        gradient = np.append(relevance_gradient, np.trace(slope) * noise)
        standardised = (settings - prior_mean) / prior_sd
        penalty = float(standardised @ standardised) / 2
        return value + penalty, gradient + standardised / prior_sd

    relevances = len(prior_mean) - 1
    bounds = [_LOGIT_RELEVANCE_BOUNDS] * relevances + [_LOG_NOISE_BOUNDS]
    # The search starts where the prior is highest.
    mode = minimize(
        negative_log_posterior,
        prior_mean,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": rounds},
    ).x
    return expit(mode[:-1]), float(np.exp(mode[-1]))
