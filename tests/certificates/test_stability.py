"""True, sampled and attacked stability against closed forms, enumeration and each other."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from assay import engine
from assay.certificates.attack import Attack
from assay.certificates.certificate import Certificate
from assay.certificates.hard_stability import HardStability
from assay.certificates.lipschitz import LipschitzCheck
from assay.certificates.smoothing import MultiplicativeSmoothing
from assay.certificates.soft_stability import (
    SoftStability,
    drawn_supersets,
    rate_bounds,
    size_chances,
)
from assay.certificates.supersets import count_supersets, subsets, supersets
from assay.errors import InputError
from assay.question.question import Question


def bits(features: int) -> np.ndarray:
    return (np.arange(2**features)[:, None] >> np.arange(features) & 1).astype(bool)


def table(scores: torch.Tensor):
    """A model of n binary features: a row of scores for each of the 2^n masks."""

    def predict(x: torch.Tensor) -> torch.Tensor:
        return scores[((x > 0.5).long() * 2 ** torch.arange(x.shape[1])).sum(1)]

    return predict


def random_table(seed: int, features: int, dominance: float) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.random((2**features, 3)))
    scores[torch.from_numpy(rng.random(2**features) < dominance), 0] += 1
    return scores


def asked(model, features: int, n: int = 1) -> Question:
    return Question(model, torch.ones(n, features, dtype=torch.float64))


def poison(room: int, count: int = 1, at_least: int = 1) -> tuple[Question, torch.Tensor]:
    """A model that flips when `at_least` of `count` features are there; feature 0 is selected."""

    def predict(x: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [torch.full_like(x[:, 0], at_least - 0.5), x[:, 1 : count + 1].sum(1)], dim=1
        )

    return asked(predict, room + 1), torch.arange(room + 1) == 0


def brute_force(classes: np.ndarray, selection: np.ndarray) -> tuple[int, int]:
    """The true radii from the definition, radius by radius; -1 for none."""
    features, start = len(selection), int((selection * 2 ** np.arange(len(selection))).sum())
    up = down = -1
    for radius in range(int((~selection).sum()) + 1):
        near = [
            a for a in bits(features) if (a >= selection).all() and (a & ~selection).sum() <= radius
        ]
        far = [a for a in bits(features) if (a >= selection).all() and (~a).sum() <= radius]
        if up == radius - 1 and all(
            classes[(a * 2 ** np.arange(features)).sum()] == classes[start] for a in near
        ):
            up = radius
        if down == radius - 1 and all(
            classes[(a * 2 ** np.arange(features)).sum()] == classes[start] for a in far
        ):
            down = radius
    return up, down


@pytest.mark.parametrize("dominance", [0.0, 0.7, 0.95])
def test_enumeration_finds_the_radii_of_the_definition_and_attacks_stay_above(dominance):
    for seed in range(12):
        scores = random_table(seed, 5, dominance)
        classes, question = scores.argmax(1).numpy(), asked(table(scores), 5)
        for selection in bits(5)[1::3]:
            up, down = brute_force(classes, selection)
            (proof,) = HardStability().certify(question, selection)
            assert (proof.incremental, proof.decremental) == (up, max(down, 0))
            assert proof.consistent == (down >= 0)
            assert proof.full == (up == (~selection).sum())
            attacks = [
                Attack(s, restarts=3).search(question, selection)[0]
                for s in ("incremental", "decremental")
            ]
            assert attacks[0].radius >= up
            assert attacks[1].radius >= down
            for found, start in zip(attacks, (selection, np.ones(5, dtype=bool))):
                if found.size is not None:
                    flipped = start.copy()
                    flipped[list(found.flipped)] ^= True
                    assert (
                        classes[(flipped * 2 ** np.arange(5)).sum()]
                        == found.other
                        != found.selected
                    )
                    assert len(found.flipped) == found.size


def test_certified_true_and_attacked_radii_are_in_order():
    compared = 0
    for seed in range(15):
        base = asked(table(random_table(seed, 6, 0.9)), 6)
        smoothing = MultiplicativeSmoothing(1, 8, seed=seed)
        smooth = Question(smoothing.smooth(base), base.x)
        for selection in bits(6)[1::9]:
            (proof,), (true,) = (
                smoothing.certify(base, selection),
                HardStability().certify(smooth, selection),
            )
            for side in ("incremental", "decremental"):
                if side == "incremental" or proof.consistent:
                    (found,) = Attack(side, restarts=2).search(smooth, selection)
                    assert getattr(proof, side) <= getattr(true, side) <= found.radius
                    compared += 1
    assert compared > 100


def test_exact_certificates_by_enumeration_are_kept_and_verified(tmp_path):
    scores = random_table(1, 4, 0.9)
    question, selection = asked(table(scores), 4), torch.arange(4) < 2
    (proof,) = HardStability().certify(question, selection)
    again = Certificate.load(proof.save(tmp_path / "proof.json"))
    assert again == proof
    assert (again.bound, again.exact, eval(again.settings)) == (
        "enumeration",
        True,
        HardStability(),
    )
    assert again.verify(table(scores))
    assert not again.verify(table(scores.roll(1, 1)))
    assert "every superset was asked" in again.assumptions[0]


@pytest.mark.parametrize("count", [0, 1, 4, 6])
def test_subsets_are_listed_once_in_binary_order_and_by_size(count):
    assert (subsets(count) == bits(count)).all()
    for most in range(count + 2):
        listed = subsets(count, at_most=most)
        assert len(np.unique(listed, axis=0)) == len(listed) == count_supersets(count, most)
        assert (np.diff(listed.sum(axis=1)) >= 0).all() or most >= count
        assert listed.sum(axis=1).max() == min(most, count)


@pytest.mark.parametrize("radius", [None, 0, 1, 2, 9])
def test_supersets_begin_with_the_selection_and_add_to_it_alone(radius):
    selection = np.array([False, True, False, True, False])
    listed = supersets(selection, radius)
    most = 3 if radius is None else min(radius, 3)
    every = [mask for mask in bits(5) if (mask >= selection).all() and mask.sum() - 2 <= most]
    assert (listed[0] == selection).all()
    assert {tuple(mask) for mask in listed} == {tuple(mask) for mask in every}
    assert len(listed) == len(every)
    wide = supersets(np.arange(70) < 1, radius=1)
    assert (len(wide), wide[:, 0].all()) == (70, True)


def test_enumeration_refuses_what_it_cannot_finish():
    question = asked(lambda x: torch.stack([x.sum(1), -x.sum(1)], 1), 20)
    with pytest.raises(InputError, match=r"2\^19 of 19 unselected"):
        HardStability().certify(question, torch.arange(20) == 0)
    with pytest.raises(InputError, match="at least one selected"):
        HardStability().certify(question, torch.zeros(20, dtype=torch.bool))


@pytest.mark.parametrize(
    ("room", "expected"),
    [(5, {1: 0.833333, 2: 0.6875, 3: 0.576923, 5: 0.5}), (9, {1: 0.9, 2: 37 / 46, 9: 0.5})],
)
def test_one_poisonous_feature_has_a_closed_form(room, expected):
    question, selection = poison(room)
    (found,) = SoftStability(tuple(expected), samples=1000).certify(question, selection)
    for radius, rate, exact, low, high in zip(
        expected, found.rate, found.exact, found.lower, found.upper
    ):
        closed = sum(math.comb(room - 1, j) for j in range(radius + 1)) / sum(
            math.comb(room, j) for j in range(radius + 1)
        )
        assert rate == pytest.approx(closed, abs=1e-12)
        assert rate == pytest.approx(expected[radius], abs=1e-6)
        assert (exact, low, high) == (True, rate, rate)
    assert found.confidence == 1.0
    assert found.evaluations <= 2**room


@pytest.mark.parametrize(("room", "least"), [(6, 2), (6, 4), (1, 1), (1, 2)])
def test_a_threshold_has_a_closed_form(room, least):
    question, selection = poison(room, count=room, at_least=least)
    radii = tuple(range(room + 2))
    (found,) = SoftStability(radii).certify(question, selection)
    for radius, rate in zip(radii, found.rate):
        ways = [math.comb(room, j) for j in range(min(room, radius) + 1)]
        assert rate == pytest.approx(sum(ways[:least]) / sum(ways), abs=1e-12)
    (proof,) = HardStability().certify(question, selection)
    assert proof.incremental == min(least - 1, room)


def test_a_constant_model_and_a_whole_selection_are_stable_for_certain():
    question, _ = poison(4, count=0)
    (found,) = SoftStability((0, 2, 9)).certify(question, torch.ones(5, dtype=torch.bool))
    assert (found.rate, found.exact) == ((1.0,) * 3, (True,) * 3)
    (found,) = SoftStability(30, samples=50).certify(poison(40, count=0)[0], torch.arange(41) == 0)
    assert (found.rate, found.exact, found.upper) == ((1.0,), (False,), (1.0,))
    assert 0.9 < found.lower[0] < 1


def test_sizes_of_drawn_supersets_follow_the_exact_distribution():
    chances = size_chances(24, 2)
    assert chances == pytest.approx([0.003322, 0.079734, 0.916944], abs=1e-6)
    rng, selection = np.random.default_rng(0), np.arange(30) < 6
    masks = drawn_supersets(selection, 2, rng.random(6000), rng.random((6000, 30)))
    assert masks[:, :6].all()
    seen = np.bincount(masks[:, 6:].sum(1), minlength=3)
    assert chisquare(seen, chances * 6000).pvalue > 0.01
    assert seen[0] > 0
    room = drawn_supersets(np.arange(5) < 1, 2, rng.random(6000), rng.random((6000, 5)))
    pairs = Counter(tuple(np.flatnonzero(row)) for row in room[room.sum(1) == 3].tolist())
    assert set(pairs) == {(0, *which) for which in combinations(range(1, 5), 2)}
    assert chisquare(list(pairs.values())).pvalue > 0.01


@pytest.mark.parametrize("bound", ["hoeffding", "clopper-pearson"])
def test_intervals_cover_the_rate_as_often_as_they_say(bound):
    closed, rng, selection = 0.920266, np.random.default_rng(1), np.arange(25) < 1
    assert sum(math.comb(23, j) for j in range(3)) / sum(
        math.comb(24, j) for j in range(3)
    ) == pytest.approx(closed, abs=1e-6)
    missed = above = 0
    for _ in range(2000):
        masks = drawn_supersets(selection, 2, rng.random(150), rng.random((150, 25)))
        low, high = rate_bounds(int((~masks[:, 1]).sum()), 150, 0.1, bound)
        missed += not low <= closed <= high
        above += low > closed
    assert missed <= 200
    assert above <= 100
    assert above > 0 or bound == "hoeffding"
    assert rate_bounds(150, 150, 0.2)[0] == pytest.approx(0.985, abs=5e-4)
    assert rate_bounds(150, 150, 0.1, "hoeffding")[0] == pytest.approx(
        1 - math.sqrt(math.log(20) / 300), abs=1e-12
    )


def test_one_sample_serves_a_curve_of_radii_and_the_union_bound_widens_it():
    question, selection = poison(24)
    with engine.tally() as spent:
        (curve,) = SoftStability((2, 3, 4), samples=100).certify(question, selection)
    (single,) = SoftStability(3, samples=100).certify(question, selection)
    assert curve.evaluations <= 300
    assert spent.forwards <= curve.evaluations + 1
    assert curve.rate[1] == single.rate[0]
    assert curve.lower[1] < single.lower[0] <= single.rate[0] <= single.upper[0] < curve.upper[1]
    assert single.lower == pytest.approx([rate_bounds(round(100 * single.rate[0]), 100, 0.05)[0]])
    assert SoftStability.samples_for(0.05, 0.95) == 738


def test_the_sample_depends_on_the_seed_alone():
    question, selection = poison(24)
    two = Question(question.model, torch.cat([question.x, question.x * 0.9 + 0.1]))
    state = torch.random.get_rng_state()
    first, again, other = (
        SoftStability(3, samples=60).certify(question, selection, seed=s)[0] for s in (0, 0, 1)
    )
    assert first == again
    assert SoftStability(3, samples=60).certify(two, selection)[0] == first
    assert other.evaluations != first.evaluations or other.rate != first.rate
    assert torch.equal(torch.random.get_rng_state(), state)


def test_smoothing_by_random_masks_scales_the_moebius_and_mixes_the_fourier_coefficients():
    rng, every, rate = np.random.default_rng(2), bits(4), 0.375
    game = rng.normal(size=16)
    keep = np.where(every, rate, 1 - rate).prod(1)
    index = 2 ** np.arange(4)
    smooth = np.array([keep @ game[((every & mask) * index).sum(1)] for mask in every])

    def moebius(values: np.ndarray) -> np.ndarray:
        below = (every[None] <= every[:, None]).all(-1)
        sign = (-1.0) ** (every[:, None].sum(-1) - every[None].sum(-1))
        return (below * sign) @ values

    assert moebius(smooth) == pytest.approx(rate ** every.sum(1) * moebius(game), abs=1e-12)
    for subset in every:
        parity = (-1.0) ** (every & subset).sum(1)
        mixed = np.array([keep @ parity[((every & mask) * index).sum(1)] for mask in every])
        inside = [s for s in every if (s <= subset).all()]
        terms = [
            rate ** s.sum() * (1 - rate) ** (subset & ~s).sum() * (-1.0) ** (every & s).sum(1)
            for s in inside
        ]
        assert mixed == pytest.approx(sum(terms), abs=1e-12)


def test_the_greedy_attack_finds_the_smallest_set_of_an_additive_model_and_pruning_trims_the_random_one():
    weights = torch.tensor([0.0, 1.0, 4.0, 2.0, 3.0, 0.5], dtype=torch.float64)

    def predict(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.full_like(x[:, 0], 6.5), x @ weights], dim=1)

    question, selection = asked(predict, 6), torch.arange(6) == 0
    (found,) = Attack(restarts=0).search(question, selection)
    assert (found.size, found.flipped, found.selected, found.other, found.radius) == (
        2,
        (2, 4),
        0,
        1,
        1,
    )
    (random,) = Attack(restarts=40, reach=0).search(question, selection)
    assert random.size == 2
    (none,) = Attack(restarts=2).search(poison(4, count=0)[0], torch.arange(5) == 0)
    assert (none.size, none.flipped, none.other, none.radius) == (None, (), None, 4)
    (whole,) = Attack("decremental").search(question, selection)
    assert (whole.size, whole.radius) == (0, -1)


def test_pruning_drops_features_that_a_found_change_does_not_need():
    question, selection = poison(6, count=1)
    for seed in range(6):
        (found,) = Attack(restarts=1, reach=0).search(question, selection, seed=seed)
        assert (found.size, found.flipped) == (1, (1,))


def test_the_lipschitz_check_samples_neighbours_where_there_are_too_many():
    weights = torch.arange(1.0, 31.0, dtype=torch.float64) / 30
    question = asked(lambda x: torch.stack([x @ weights, x @ weights.flip(0)], 1), 30)
    found = LipschitzCheck(constant=0.9, pairs=500).check(question)
    assert (found.exhaustive, found.pairs, found.holds) == (False, 500, False)
    assert found.largest == pytest.approx(1.0, abs=1e-9)
    assert len(set(found.pair[0]) ^ set(found.pair[1])) == 1
    with pytest.raises(InputError, match="features=n"):
        LipschitzCheck(constant=1.0).check(lambda masks: masks.double())


@pytest.mark.parametrize(
    "make",
    [
        lambda: SoftStability(-1),
        lambda: SoftStability(()),
        lambda: SoftStability(1, confidence=1.0),
        lambda: SoftStability(1, samples=0),
        lambda: SoftStability(1, bound="normal"),
        lambda: Attack("sideways"),
        lambda: Attack(restarts=-1),
        lambda: LipschitzCheck(constant=-1.0),
        lambda: LipschitzCheck(constant=1.0, pairs=0),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(InputError, match="Expected"):
        make()


@pytest.mark.parametrize(
    "settings",
    [SoftStability((1, 2)), Attack("decremental", 3), HardStability(), LipschitzCheck(0.5)],
)
def test_settings_evaluate_back(settings):
    assert eval(repr(settings)) == settings
