"""Calibration of a model: closed forms, bias and coverage in a simulation, temperature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from scipy.stats import t as student

import assay
from assay.errors import AssayError
from assay.metrics.calibration.figures import loss_intervals
from assay.metrics.calibration.reliability import reliability
from assay.numerics import statistics

P = np.array([0.25, 0.25, 0.55, 0.75, 0.75])
Y = np.array([0, 0, 1, 1, 1])


def test_the_figures_of_five_answers() -> None:
    """ECE .29, RMSCE .29183, MCE .31667, the mean over bins .28333, Brier .0905, log loss .349713."""
    made = assay.calibration(P, Y, kind="probabilities", of="positive", bins=2)
    assert made.ece.value == pytest.approx(0.29, abs=1e-12)
    # The bins miss by 1/4, of two answers, and by 1 - 2.05 / 3 = 19/60, of three.
    square = 2 / 5 * (1 / 4) ** 2 + 3 / 5 * (19 / 60) ** 2
    assert made.reliability.root_mean_square == pytest.approx(math.sqrt(square), abs=1e-12)
    assert made.mce.value == pytest.approx(19 / 60, abs=1e-12)
    assert made.reliability.of_bins == pytest.approx(17 / 60, abs=1e-12)
    assert made.brier.value == pytest.approx(0.0905, abs=1e-12)
    loss = -(4 * math.log(0.75) + math.log(0.55)) / 5
    assert made.log_loss.value == pytest.approx(loss, abs=1e-12)
    assert made.reliability.count.tolist() == [2, 3]
    low, high = made.reliability.intervals[1]
    assert low < 1.0 <= high + 1e-12


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    """p = (.95, 1), y = (1, 0), 10 bins: .475; with a bin of its own for 1 it would be .525."""
    made = assay.calibration(
        np.array([0.95, 1.0]), [1, 0], kind="probabilities", of="positive", bins=10
    )
    assert made.ece.value == pytest.approx(0.475, abs=1e-12)
    assert len(made.reliability.count) == 1


def test_a_confidence_beyond_one_by_its_rounding_is_in_the_last_bin() -> None:
    curve = reliability(np.array([1.0 + 2**-52, 0.93]), np.array([1.0, 1.0]), 10, "width")
    assert (curve.count.tolist(), curve.low.tolist()) == ([2], [0.9])


def test_a_confidence_on_an_edge_is_in_the_lower_bin() -> None:
    curve = reliability(np.array([0.0, 0.5, 0.7]), np.array([0.0, 1.0, 1.0]), 2, "width")
    assert curve.count.tolist() == [2, 1]


def test_the_predicted_class_is_another_question_than_the_positive_one() -> None:
    made = assay.calibration(P, Y, kind="probabilities", bins=2)
    # Confidences .75, .75, .55, .75, .75, all right.
    assert made.ece.value == pytest.approx(1 - (4 * 0.75 + 0.55) / 5, abs=1e-12)
    assert made.brier.value == pytest.approx(2 * 0.0905, abs=1e-12)
    assert made.accuracy.value == 1.0


def test_what_outputs_are_is_said_and_not_guessed() -> None:
    logits = np.array([[0.0, 1.0], [1.0, 0.0]])
    made = assay.calibration(logits, [1, 0], kind="logits", bins=1)
    assert made.log_loss.value == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-12)
    one = assay.calibration(np.array([0.2, 0.9]), [0, 1], kind="logits", bins=1)
    expected = (math.log(1 + math.exp(0.2)) + math.log(1 + math.exp(-0.9))) / 2
    assert one.log_loss.value == pytest.approx(expected, abs=1e-12)
    same = assay.calibration(torch.from_numpy(logits), torch.tensor([1, 0]), kind="probabilities")
    assert same.log_loss.value == 0.0


def test_bins_of_equal_mass_hold_as_many_answers() -> None:
    p = np.linspace(0.5, 1.0, 100, endpoint=False) ** 0.2
    y = np.ones(100, dtype=int)
    made = assay.calibration(p, y, kind="probabilities", of="positive", bins=5)
    assert made.adaptive.count.tolist() == [20] * 5
    assert made.ace.value == pytest.approx(1 - p.mean(), abs=1e-12)


def simulated(n: int, tilt: float, seed: int) -> tuple[Any, Any]:
    """Confidences p, of which p - tilt are right: the calibration error is tilt."""
    generator = np.random.default_rng(seed)
    p = generator.uniform(0.6, 0.95, n)
    return p, (generator.uniform(size=n) < p - tilt).astype(int)


def test_the_correction_takes_off_what_chance_adds() -> None:
    means = {}
    for tilt in (0.0, 0.2):
        curves = []
        for seed in range(100):
            p, y = simulated(300, tilt, seed)
            curves.append(reliability(p, y.astype(float), 15, "width"))
        plain = np.mean([curve.error for curve in curves])
        means[tilt] = plain, np.mean([curve.corrected for curve in curves])
    # Perfectly calibrated, a sample has an error of .044.
    assert means[0.0][0] > 0.04
    assert means[0.0][1] < 0.5 * means[0.0][0]
    assert abs(means[0.2][1] - 0.2) < 0.005


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_correction_is_what_chance_adds_to_a_typical_gap(seed: int) -> None:
    """E|N(g, s^2)| - g in every bin, g^2 the mean square of gaps less that of chance."""
    p, y = simulated(1000, 0.04, seed)
    curve = reliability(p, y.astype(float), 10, "width")
    share, spread = curve.count / 1000, curve.spread
    gap = curve.confidence - curve.accuracy
    typical = math.sqrt(share @ gap**2 - share @ spread**2)
    added = share @ stats.foldnorm(typical / spread, scale=spread).mean() - typical
    assert added > 1e-4
    assert curve.corrected == pytest.approx(share @ np.abs(gap) - added, abs=1e-9)


def uneven(n: int, tilt: float, seed: int) -> tuple[Any, Any]:
    """All of the gap in a quarter of the answers: the calibration error is tilt."""
    generator = np.random.default_rng(seed)
    p = generator.uniform(0.6, 1.0, n)
    off = 4 * tilt * (p > 0.9)
    return p, (generator.uniform(size=n) < p - off).astype(int)


@pytest.mark.long
@pytest.mark.parametrize("draw", [simulated, uneven])
@pytest.mark.parametrize("tilt", [0.0, 0.02, 0.05, 0.1])
def test_the_intervals_cover_what_they_are_about(draw: Any, tilt: float) -> None:
    hits, largest, runs = 0, 0, 1000
    for seed in range(runs):
        p, y = draw(400, tilt, seed)
        # Edges of bins at 0.6, 0.7, ...: what is off is off in whole bins.
        curve = reliability(p, y.astype(float), 10, "width")
        low, high = curve.error_interval
        hits += low <= tilt + 1e-12 and tilt <= high
        low, high = curve.largest_interval
        gap = 4 * tilt if draw is uneven else tilt
        largest += low <= gap + 1e-12 and gap <= high
    # 95 % less three standard errors of a share of 1,000.
    assert hits / runs >= 0.929
    assert largest / runs >= 0.929


@pytest.mark.long
@pytest.mark.parametrize("tilt", [0.0, 0.1])
def test_the_interval_of_the_brier_score_covers_it(tilt: float) -> None:
    # E (p - y)^2 = E[p^2 - 2 p q + q], q = p - tilt.
    p = np.linspace(0.6, 0.95, 100_001)
    truth = float((p**2 - 2 * p * (p - tilt) + p - tilt).mean())
    hits = 0
    for seed in range(60):
        answers = simulated(400, tilt, seed)
        made = assay.calibration(*answers, kind="probabilities", of="positive", bins=8)
        hits += made.brier.interval[0] <= truth <= made.brier.interval[1]
    # 95 % less three standard errors of a share of 60.
    assert hits / 60 >= 0.86


# --- temperature


@pytest.mark.parametrize("a", [4.0, 40.0, 0.01])
@pytest.mark.parametrize("q", [0.8, 0.6, 0.99])
def test_two_logits_have_a_temperature_in_closed_form(a: float, q: float) -> None:
    n = 1000
    labels = np.array([0] * round(q * n) + [1] * (n - round(q * n)))
    found = assay.temperature(np.tile([a, 0.0], (n, 1)), labels)
    assert found.value == pytest.approx(a / math.log(q / (1 - q)), rel=1e-9)
    assert found.after == pytest.approx(-q * math.log(q) - (1 - q) * math.log(1 - q), rel=1e-9)
    assert found.after <= found.before
    scaled = np.tile([a, 0.0], (n, 1)) / found.value
    after = assay.calibration(scaled, labels, kind="logits", bins=10)
    assert after.ece.value == pytest.approx(0.0, abs=1e-8)


def test_the_minimum_of_many_classes_is_one() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(400, 5)) * 6
    labels = (logits / 3 + generator.gumbel(size=logits.shape)).argmax(1)
    found = assay.temperature(logits, labels)
    assert 2 < found.value < 4

    def loss(t: float) -> float:
        scaled = torch.from_numpy(logits / t)
        return float(torch.nn.functional.cross_entropy(scaled, torch.from_numpy(labels)))

    assert found.after == pytest.approx(loss(found.value), rel=1e-12)
    assert loss(found.value) <= min(loss(found.value * 1.001), loss(found.value * 0.999))


def test_extreme_temperatures_say_what_they_mean() -> None:
    separable = assay.temperature([[2.0, 0.0], [0.0, 1.0]], [0, 1])
    assert (separable.value, separable.why) == (0.0, "every answer is right")
    assert separable.after < 1e-9
    chance = assay.temperature([[2.0, 0.0], [2.0, 0.0]], [0, 1])
    assert math.isinf(chance.value)
    assert chance.after == pytest.approx(math.log(2))
    assert chance.why


def test_answers_that_do_not_fit_are_refused() -> None:
    for make in (
        lambda: assay.calibration([[0.5, 0.7]], [0], kind="probabilities"),
        lambda: assay.calibration([[0.5, 0.5]], [2], kind="probabilities"),
        lambda: assay.calibration([[0.5, 0.5]], [0, 1], kind="probabilities"),
        lambda: assay.calibration([[0.5, 0.5]], [0], kind="odds"),  # type: ignore[arg-type]
        lambda: assay.calibration([[1.0, 0, 0]], [0], kind="probabilities", of="positive"),
        lambda: assay.temperature([["a"]], [0]),
        lambda: assay.temperature([[math.nan, 0.0]], [0]),
    ):
        with pytest.raises(AssayError) as caught:
            make()
        assert caught.value.advice


@pytest.mark.parametrize("n", [7, 8])
def test_fewer_than_8_answers_have_no_interval_and_say_so(n: int) -> None:
    p = np.array([0.25, 0.35, 0.55, 0.65, 0.75, 0.8, 0.9, 0.95])[:n]
    y = np.array([0, 1, 1, 0, 1, 1, 0, 1])[:n]
    made = assay.calibration(p, y, kind="probabilities", bins=3)
    for figure in (made.accuracy, made.ece, made.mce, made.ace, made.brier, made.log_loss):
        assert [math.isnan(end) for end in figure.interval] == [n < 8] * 2
        assert (statistics.TOO_FEW in repr(figure)) == (n < 8)
        assert ("[" in repr(figure)) != (n < 8)


# --- coverage, in every run


def test_answers_that_are_all_right_leave_room_for_an_error() -> None:
    """Ten sure answers, all right: an error of 0.04 is no surprise, and 0 is not all that there is."""
    p = np.linspace(0.93, 0.99, 10)
    # Bins of two answers each, and of four, three and three.
    for bins in (5, 3):
        curve = reliability(p, np.ones(10), bins, "mass")
        low, high = curve.error_interval
        assert low == 0
        # The upper end of the gap of all answers: Wilson's lower end of 10 of 10 is 0.722.
        assert high == pytest.approx(p.mean() - 1 / (1 + 1.959963984540054**2 / 10), abs=1e-9)
        # And of answers that are all wrong, whose confidence is as small.
        wrong = reliability(1 - p, np.zeros(10), bins, "mass")
        assert wrong.error_interval == pytest.approx((low, high), abs=1e-9)


def test_the_upper_end_is_the_largest_equal_gap_that_is_no_surprise() -> None:
    """Of an error larger than chance makes it, whatever the gap of all answers together may be."""
    p, y = simulated(400, 0.1, 3)
    curve = reliability(p, y.astype(float), 10, "width")
    _, high = curve.error_interval
    share = curve.count / 400
    smooth = (curve.accuracy * curve.count + 1) / (curve.count + 2)
    spread = np.sqrt(smooth * (1 - smooth) / curve.count)
    sizes = np.abs(curve.confidence - curve.accuracy)
    between = (share @ sizes**2 - (share @ sizes) ** 2) / 400

    def surprise(gap: float) -> float:
        folded = stats.foldnorm(gap / spread, scale=spread)
        deviation = math.sqrt(share**2 @ folded.var() + between)
        return float(share @ folded.mean() - stats.norm.ppf(0.975) * deviation - curve.error)

    assert high == pytest.approx(optimize.brentq(surprise, 1e-6, 1), abs=1e-8)
    whole = p.mean() - statistics.wilson(int(y.sum()), 400)[0]
    assert whole > high + 1e-3


def test_clear_gaps_have_nothing_taken_off_by_chance() -> None:
    """One bin is off by 0.4, twenty standard errors, and takes no part in what chance may add."""
    p = np.concatenate([np.full(500, 0.65), np.full(500, 0.95)])
    right = np.concatenate([np.arange(500) % 20 < 13, np.arange(500) % 20 < 11]).astype(float)
    curve = reliability(p, right, 10, "width")
    assert curve.error == pytest.approx(0.2, abs=1e-12)
    spread = curve.spread
    added = 0.5 * spread[0] * math.sqrt(2 / math.pi)
    folded = spread[0] ** 2 * (1 - 2 / math.pi)
    shares = (0.5 * 0.4**2 - 0.2**2) / 1000
    deviation = math.sqrt(0.25 * (folded + spread[1] ** 2) + shares)
    low, _ = curve.error_interval
    assert low == pytest.approx(0.2 - added - 1.959963984540054 * deviation, abs=1e-9)


def test_the_upper_end_of_the_largest_gap_is_that_of_its_own_bin() -> None:
    p = np.concatenate([np.full(50, 0.65), np.full(50, 0.95)])
    right = np.concatenate([np.arange(50) < 32, np.arange(50) < 30]).astype(float)
    _, high = reliability(p, right, 10, "width").largest_interval
    assert high == pytest.approx(0.95 - statistics.wilson(30, 50)[0], abs=1e-12)


def outdone(curve: Any, gap: float) -> bool:
    """From the definition: every bin and way, every whole number of hits that is as rare as the rarest."""
    tails = []
    laws = []
    for n, confidence, accuracy in zip(curve.count, curve.confidence, curve.accuracy, strict=True):
        hits = round(accuracy * n)
        for rate, seen in ((confidence + gap, hits), (1 - confidence + gap, int(n) - hits)):
            rate = min(rate, 1.0)
            chances = [
                math.comb(int(n), k) * rate**k * (1 - rate) ** (int(n) - k)
                for k in range(int(n) + 1)
            ]
            above = [sum(chances[k:]) for k in range(int(n) + 1)]
            tails.append(above[seen])
            laws.append(above)
    rarest = min(tails)
    as_rare = [[tail for tail in above if tail <= rarest * (1 + 1e-9)] for above in laws]
    return sum(max(found, default=0.0) for found in as_rare) <= 0.05


@pytest.mark.parametrize("seed", range(12))
def test_the_lower_end_of_the_largest_gap_is_the_last_that_is_outdone(seed: int) -> None:
    draw = np.random.default_rng(seed)
    n = [12, 40, 90][seed % 3]
    p = draw.uniform(0, 1, n)
    curve = reliability(p, (draw.uniform(size=n) < p * (p < 0.7)).astype(float), 5, "width")
    low, high = curve.largest_interval
    assert low <= curve.largest <= high
    assert outdone(curve, 0.0) == (low > 0)
    if low > 0:
        assert outdone(curve, low - 1e-6)
        assert not outdone(curve, low + 1e-6)


def test_a_few_sure_answers_are_no_gap() -> None:
    """Two of five come true that are unlikely (0.06): once in thirty such bins, and there are ten."""
    confidence = np.repeat(np.arange(0.06, 1, 0.1), 5)
    hits = [2, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    right = np.concatenate([np.arange(5) < count for count in hits]).astype(float)
    curve = reliability(confidence, right, 10, "width")
    assert curve.largest_interval[0] == 0
    # Wilson's intervals in all bins together leave this one out.
    assert statistics.wilson(2, 5, 1 - 0.05 / 10)[0] > 0.06


def test_a_loss_of_sure_answers_thinks_of_one_that_is_wrong() -> None:
    p = np.array([0.9, 0.95, 0.97, 0.99, 0.92, 0.96, 0.98, 0.94, 0.999, 0.91])
    outputs = np.stack([p, (1 - p) * 0.75, (1 - p) * 0.25], axis=1)
    found = assay.calibration(outputs, [0] * 10, kind="probabilities").log_loss
    # Of wrong answers the second class is the likely one; the median of their losses.
    every = np.append(-np.log(p), np.median(-np.log(outputs[:, 1])))
    weights = np.array([1.0] * 10 + [0.25])
    centre = np.average(every, weights=weights)
    variance = np.average((every - centre) ** 2, weights=weights)
    reach = student.ppf(0.975, 9) * math.sqrt(variance / 10)
    assert found.interval[1] == pytest.approx(found.value + reach, rel=1e-12)
    assert found.interval[1] > 2 * statistics.interval(-np.log(p))[1]


def mostly_sure(n: int, seed: int) -> tuple[Any, Any]:
    """Most confidences are nearly 1, and a twentieth of the sure answers is wrong."""
    draw = np.random.default_rng(seed)
    p = 1 - 0.5 * draw.uniform(1e-3, 1, n) ** 3
    return p, (draw.uniform(size=n) < 0.5 + 0.9 * (p - 0.5)).astype(int)


def test_the_interval_of_the_log_loss_of_a_sure_model_covers_it() -> None:
    """91.4 to 91.8 % before it thought of a wrong answer."""
    p, _ = mostly_sure(1_000_000, 0)
    true = 0.5 + 0.9 * (p - 0.5)
    truth = -float((true * np.log(p) + (1 - true) * np.log(1 - p)).mean())
    p, right = mostly_sure(10 * 4000, 1)
    # The losses of 4,000 samples, and what they would be of wrong answers.
    losses = -np.log(np.where(right, p, 1 - p)).reshape(10, -1)
    low, high = loss_intervals(losses, -np.log(1 - p).reshape(10, -1), resamples=999).T
    covered = ((low <= truth) & (truth <= high)).mean()
    # Three standard errors of a share of 4,000 below 95 %.
    assert 0.94 <= covered <= 0.98


@pytest.mark.long
@pytest.mark.parametrize("n", [10, 50, 400])
def test_the_largest_gap_of_a_calibrated_model_is_held(n: int) -> None:
    """By Wilson's intervals in all bins 91.0, 91.3 and 94.5 %."""
    hits, runs = 0, 2000
    for seed in range(runs):
        draw = np.random.default_rng(seed)
        p = draw.uniform(0.02, 0.98, n)
        curve = reliability(p, (draw.uniform(size=n) < p).astype(float), 10, "width")
        hits += curve.largest_interval[0] <= 1e-9
    # 95 % less three standard errors of a share of 2,000; whole numbers of few answers cover more.
    assert 0.935 <= hits / runs <= 0.985


@pytest.mark.parametrize("tilt", [0.0, 0.1])
def test_the_error_of_400_answers_is_held(tilt: float) -> None:
    hits = 0
    for seed in range(40):
        p, y = simulated(400, tilt, seed)
        low, high = reliability(p, y.astype(float), 10, "width").error_interval
        hits += low <= tilt + 1e-12 and tilt <= high
    # 92 % less two and a half standard errors of a share of 40.
    assert hits / 40 >= 0.81
