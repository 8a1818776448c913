"""The settings of a Gaussian process that are most probable after data: how relevant each feature
is, and the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

Kernel: TypeAlias = Callable[[Floats], tuple[Floats, Callable[[Floats], Floats]]]
"""Relevances (d,) to a covariance (m, m) and to what turns a slope in it (m, m) into slopes in the
relevances (d,).
"""

_JITTER = 1e-8

_RELEVANCES, _NOISES = (-8.0, 6.0), (-16.0, 2.0)  # bounds of logit(relevance) and log(noise)


def factor(covariance: Floats, noise: float) -> tuple[Floats, bool]:
    """The Cholesky factor of a covariance with noise on its diagonal."""
    from scipy.linalg import cho_factor

    noisy = covariance.copy()
    noisy[np.diag_indices_from(noisy)] += noise + _JITTER
    return cho_factor(noisy, lower=True, overwrite_a=True, check_finite=False)


def residuals(noise: float, weights: Floats) -> Floats:
    """What the posterior mean misses of the answers, given the weights (covariance + noise)^-1
    answers.
    """
    return (noise + _JITTER) * weights


def leave_one_out_scale(made: tuple[Floats, bool], weights: Floats) -> float:
    """How large a process is, by the errors with which it tells each answer from all others.

    The mean of e_i^2 / Var e_i = w_i^2 / (K^-1)_ii over unit variances (Rasmussen and Williams
    2006, equation 5.12): it stays honest where answers are smoother or rougher than the covariance
    supposes (Bachoc 2013).
    """
    from scipy.linalg import cho_solve

    inverse = cho_solve(made, np.eye(len(weights)), overwrite_b=True, check_finite=False)
    return float(np.mean(weights**2 / np.diagonal(inverse)))


def negative_log_likelihood(
    covariance: Floats, noise: float, answers: Floats
) -> tuple[float, Floats]:
    """The negative log likelihood of answers (m,), their size profiled out, and its slope in the
    covariance (m, m).

    The slope's trace is the slope in the noise (Rasmussen and Williams 2006, equations 5.8 and
    5.9).
    """
    from scipy.linalg import cho_solve

    count, made = len(answers), factor(covariance, noise)
    inverse = cho_solve(made, np.eye(count), overwrite_b=True, check_finite=False)
    weights = inverse @ answers
    power = float(answers @ weights) / count
    value = count / 2 * np.log(power) + np.log(np.diagonal(made[0])).sum()
    return float(value), (inverse - np.outer(weights, weights) / power) / 2


def maximum_a_posteriori(
    kernel: Kernel, answers: Floats, likely: Floats, spread: Floats, rounds: int
) -> tuple[Floats, float]:
    """The relevances (d,) in (0, 1) and the noise at the mode after answers (m,) of scale one.

    `likely` and `spread` (d + 1,): the mean and standard deviation of logit(relevance) and of
    log(noise) before any data.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    def negative(settings: Floats) -> tuple[float, Floats]:
        relevance, noise = expit(settings[:-1]), float(np.exp(settings[-1]))
        covariance, pull = kernel(relevance)
        value, slope = negative_log_likelihood(covariance, noise, answers)
        down = np.append(pull(slope) * relevance * (1 - relevance), np.trace(slope) * noise)
        apart = (settings - likely) / spread
        return value + float(apart @ apart) / 2, down + apart / spread

    bounds = [_RELEVANCES] * (len(likely) - 1) + [_NOISES]
    found = minimize(
        negative, likely, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": rounds}
    ).x
    return expit(found[:-1]), float(np.exp(found[-1]))
