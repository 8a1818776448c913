"""The laws of draws: uniform inside strata, truncated normals in bins; and a likelihood's slope."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import kstest, truncnorm

from assay.methods.lime.bins import Bins
from assay.numerics import rng
from assay.numerics.designs import Draw, uniforms
from assay.numerics.gaussian_process import maximum_a_posteriori, negative_log_likelihood


@pytest.mark.parametrize("rows", [64, 200])
def test_the_place_inside_a_stratum_is_uniform(rows: int) -> None:
    design: Draw = "orthogonal"
    places = []
    for seed in range(10):
        points, _ = uniforms(rows, 5, rng.shared(seed, "test"), design)
        # A Latin hypercube: every stratum of width 1 / rows holds one point of each column.
        strata = np.sort(np.floor(points * rows), axis=0)
        assert np.array_equal(strata, np.tile(np.arange(rows)[:, None], 5))
        places.append(points * rows % 1.0)
    assert kstest(np.concatenate(places).ravel(), "uniform").pvalue > 0.01


def test_a_bins_law_is_cut_off_at_its_ends() -> None:
    draw = np.random.default_rng(0)
    column = draw.exponential(size=400)
    bins = Bins.of(column)
    drawn, values = bins.draw(draw.random(40_000))
    for b in range(4):
        mine = values[drawn == b]
        low, high, mean, sd = bins.lower[b], bins.upper[b], bins.mean[b], bins.sd[b]
        law = truncnorm((low - mean) / sd, (high - mean) / sd, mean, sd)
        # Clipping a whole normal law to the bin would heap its tails up at the ends.
        assert kstest(mine, law.cdf).pvalue > 0.001
        assert not np.isin(mine, (low, high)).any()


def test_the_most_probable_noise_is_a_maximum() -> None:
    draw = np.random.default_rng(1)
    points = draw.normal(size=(40, 2))
    distance = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    answers = np.sin(2 * points[:, 0]) + 0.4 * draw.normal(size=40)
    answers = (answers - answers.mean()) / answers.std()

    def kernel(relevance: np.ndarray):  # type: ignore[no-untyped-def]
        covariance = np.exp(-distance * relevance[0])

        def pullback(gradient: np.ndarray) -> np.ndarray:
            return np.array([float((gradient * covariance * -distance).sum())])

        return covariance, pullback

    mean, sd = np.array([0.0, -2.0]), np.array([2.0, 2.0])

    def objective(logit: float, log_noise: float) -> float:
        covariance, _ = kernel(np.array([expit(logit)]))
        value, _ = negative_log_likelihood(covariance, float(np.exp(log_noise)), answers)
        standardised = (np.array([logit, log_noise]) - mean) / sd
        return value + float(standardised @ standardised) / 2

    relevance, noise = maximum_a_posteriori(kernel, answers, mean, sd, rounds=200)
    logit = float(np.log(relevance[0] / (1 - relevance[0])))
    log_noise = float(np.log(noise))
    assert -10 < log_noise < 1
    best = objective(logit, log_noise)
    for step in (-0.05, 0.05):
        assert objective(logit + step, log_noise) > best
        assert objective(logit, log_noise + step) > best
