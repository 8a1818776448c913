"""No certified radius is ever broken: all tables, selections and supersets of small problems."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.certificates.noise import NoiseDesign, kept_levels, pack, unpack
from assay.certificates.radii import (
    bernoulli_radius,
    binomial_bounds,
    expected_gap,
    fully_stable,
    leads,
    linear_radius,
    strict_radius,
    vote_aware_radius,
    winner,
)
from assay.errors import InputError

RINGS = [(2, 1), (4, 1), (4, 2), (5, 2), (8, 1), (8, 2), (8, 3), (5, 5)]


def bits(features: int) -> np.ndarray:
    """All masks, (2^features, features), row number = value of its bits."""
    return (np.arange(2**features)[:, None] >> np.arange(features) & 1).astype(bool)


def value(masks: np.ndarray) -> np.ndarray:
    return (masks.astype(int) << np.arange(masks.shape[-1])).sum(axis=-1)


def one_hot(rng: np.random.Generator, features: int, classes: int, dominance: float) -> np.ndarray:
    """A random classifier of masks, (2^features, classes), whose class 0 has the given share."""
    other = rng.integers(classes, size=2**features)
    chosen = np.where(rng.random(2**features) < dominance, 0, other)
    return np.eye(classes, dtype=np.int64)[chosen]


def ballots(table: np.ndarray, masks: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The scores of every draw at one mask, (draws, classes)."""
    return table[value(masks & at)]


def smoothed(table: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The summed scores at every mask, (2^features, classes), from the definition."""
    return np.stack([ballots(table, masks, at).sum(axis=0) for at in bits(masks.shape[1])])


def true_radii(classes: np.ndarray, selection: np.ndarray) -> tuple[int, int]:
    """The largest radii at which every addition, or removal from the whole, keeps the class; -1 for
    none.
    """
    every, room = bits(len(selection)), int((~selection).sum())
    above = every[(every >= selection).all(axis=1)]
    kept = classes[value(above)] == classes[value(selection)]
    added = (above & ~selection).sum(axis=1)
    broken_up = added[~kept].min(initial=room + 1)
    broken_down = (room - added)[~kept].min(initial=room + 1)
    return int(broken_up) - 1, int(broken_down) - 1


def certified(
    table: np.ndarray, masks: np.ndarray, counts: np.ndarray, at: np.ndarray, free: np.ndarray
) -> tuple[int, int]:
    scores = ballots(table, masks, at)
    scale = int(table.max(initial=1))
    ahead = leads(scores, winner(scores), scale)
    return linear_radius(ahead, counts[free], scale), vote_aware_radius(
        ahead, masks[:, free], scale
    )


@pytest.mark.parametrize("levels", [2, 3, 4, 8, 10, 64])
def test_each_feature_is_kept_in_exactly_kept_draws_and_the_float_form_agrees(levels):
    rng = np.random.default_rng(levels)
    for kept in range(1, levels + 1):
        offsets = rng.integers(levels, size=9)
        masks = NoiseDesign.cyclic(offsets, kept, levels).masks
        base = (2 * np.arange(levels) + 1) / (2 * levels)
        published = (offsets[None, :] / levels + base[:, None]) % 1 <= kept / levels
        assert masks.shape == (levels, 9)
        assert (masks.sum(axis=0) == kept).all()
        assert (masks == published).all()


@pytest.mark.parametrize("features", [1, 3, 8, 9, 64, 70])
def test_stratified_offsets_keep_the_marginals_and_spread_the_sizes(features):
    design = NoiseDesign.stratified(features, 2, 8, seed=3)
    assert (design.counts == 2).all()
    sizes = design.masks.sum(axis=1)
    assert sizes.max() - sizes.min() <= 1
    assert design == NoiseDesign.stratified(features, 2, 8, seed=3)
    assert len({NoiseDesign.stratified(features, 2, 8, seed=seed) for seed in range(20)}) >= min(
        features, 5
    )


def test_a_design_evaluates_back_and_packs_without_loss():
    design = NoiseDesign.structured(13, 3, 8, seed=1)
    assert eval(repr(design)) == design
    mask = np.random.default_rng(0).random(13) < 0.5
    assert (unpack(pack(mask), 13) == mask).all()
    with pytest.raises(InputError, match="2 bytes"):
        unpack("ff", 13)


def test_shares_are_rounded_and_never_floored():
    assert kept_levels(0.29, 100) == 29
    assert kept_levels(15 / 22, 22) == 15
    assert all(kept_levels(k / q, q) == k for q in range(1, 129) for k in range(1, q + 1))
    for wrong in (0.295, 0.0051):
        with pytest.raises(InputError, match="multiple of 1/100"):
            kept_levels(wrong, 100)


@pytest.mark.parametrize(("kept", "levels"), [(0, 8), (9, 8), (-1, 8), (0, 0), (0.5, 8), (True, 8)])
def test_keep_rates_outside_the_ring_are_refused(kept, levels):
    with pytest.raises(InputError, match="Expected"):
        NoiseDesign.structured(4, kept, levels)


@pytest.mark.parametrize(
    "bad", [np.zeros((0, 3)), np.full((2, 3), 0.5), np.ones(3), np.zeros((2, 0))]
)
def test_masks_that_are_no_masks_are_refused(bad):
    with pytest.raises(InputError, match="zeros and ones"):
        NoiseDesign.of(bad)
    with pytest.raises(InputError, match="one draw"):
        NoiseDesign.bernoulli(3, 1, 2, draws=0)


def lipschitz_excess(sums: np.ndarray, constants: np.ndarray) -> int:
    """The largest violation of |f(a) - f(a')| <= sum of the flipped features' constants, in whole
    votes.
    """
    every = bits(len(constants))
    allowed = np.abs(every[:, None] ^ every[None, :]).astype(np.int64) @ constants
    change = np.abs(sums[:, None] - sums[None, :]).max(axis=-1)
    return int((change - allowed).max())


@pytest.mark.parametrize("levels", [2, 4, 5, 8])
def test_lipschitz_for_all_pairs_of_masks(levels):
    rng = np.random.default_rng(levels)
    for kept in range(1, levels + 1):
        design = NoiseDesign.structured(5, kept, levels, seed=kept)
        for _ in range(8):
            votes = one_hot(rng, 5, 3, 0.4)
            assert lipschitz_excess(smoothed(votes, design.masks), design.counts) <= 0
            shares = rng.integers(0, 1001, size=(32, 3))
            assert lipschitz_excess(smoothed(shares, design.masks), 1000 * design.counts) <= 0


def test_noise_that_is_redrawn_for_every_call_breaks_the_lipschitz_bound():
    rng, broken = np.random.default_rng(0), 0
    for trial in range(100):
        table = one_hot(rng, 5, 3, 0.0)
        at = rng.random(5) < 0.5
        other = at.copy()
        other[rng.integers(5)] ^= True
        first, second = (NoiseDesign.structured(5, 2, 8, seed=2 * trial + call) for call in (0, 1))
        change = ballots(table, first.masks, at).sum(axis=0) - ballots(
            table, second.masks, other
        ).sum(axis=0)
        broken += bool(np.abs(change).max() > 2)
    assert broken > 5


def test_any_fixed_masks_have_one_constant_per_feature():
    rng = np.random.default_rng(1)
    for _ in range(30):
        design = NoiseDesign.of(rng.random((7, 4)) < rng.random(4))
        assert lipschitz_excess(smoothed(one_hot(rng, 4, 3, 0.3), design.masks), design.counts) <= 0
        assert design.kept == design.counts.max()
        assert design.levels == 7


@pytest.mark.parametrize(("kept", "levels"), [(1, 4), (3, 8), (8, 8)])
def test_closed_forms_of_degenerate_offsets(kept, levels):
    rng = np.random.default_rng(2)
    table = one_hot(rng, 3, 3, 0.2)
    same = smoothed(table, NoiseDesign.cyclic([0, 0, 0], kept, levels).masks)
    assert (same == kept * table + (levels - kept) * table[0]).all()
    alone = smoothed(table, NoiseDesign.cyclic([0, 1, 2], 1, levels).masks)
    every = bits(3)
    single = [table[value(every * unit)] for unit in np.eye(3, dtype=bool)]
    assert (alone == sum(single) + (levels - 3) * table[0]).all()


def test_keeping_everything_is_the_base_model_with_radius_zero():
    table = one_hot(np.random.default_rng(3), 4, 3, 0.2)
    design = NoiseDesign.structured(4, 5, 5)
    assert (smoothed(table, design.masks) == 5 * table).all()
    assert strict_radius(gap=5, kept=5) == 0


@pytest.mark.parametrize(
    ("levels", "kept", "radius"),
    [(64, 8, 3), (64, 4, 7), (8, 1, 3), (16, 2, 3), (12, 2, 2), (10, 3, 1)],
)
def test_the_strict_radius_is_tight_on_disjoint_arcs_and_the_inclusive_one_too_large(
    levels, kept, radius
):
    features = levels // kept
    design = NoiseDesign.cyclic([-i * kept % levels for i in range(features)], kept, levels)
    none = np.zeros(features, dtype=bool)

    def votes(at: np.ndarray) -> np.ndarray:
        return np.eye(2, dtype=np.int64)[(design.masks & at).any(axis=1).astype(int)]

    ahead = leads(votes(none), 0, scale=1)
    assert strict_radius(levels, kept) == linear_radius(ahead, design.counts, 1) == radius
    assert vote_aware_radius(ahead, design.masks, 1) == radius

    def class_after(added: int) -> int:
        return int(votes(np.arange(features) < added).sum(axis=0).argmax())

    assert all(class_after(added) == 0 for added in range(radius + 1))
    tied_or_lost = votes(np.arange(features) < radius + 1).sum(axis=0)
    assert tied_or_lost[1] >= tied_or_lost[0]
    inclusive = levels // (2 * kept)
    assert inclusive == radius + (levels % (2 * kept) == 0)


def test_the_smallest_counterexample_to_the_inclusive_radius():
    masks = NoiseDesign.cyclic([0], 1, 2).masks
    table = np.eye(2, dtype=np.int64)[[1, 0]]
    scores = ballots(table, masks, np.array([False]))
    gap = int(scores[:, 1].sum() - scores[:, 0].sum())
    assert (winner(scores), gap) == (1, 2)
    assert winner(ballots(table, masks, np.array([True]))) == 0
    assert gap // (2 * 1) == 1
    assert strict_radius(gap, 1) == vote_aware_radius(leads(scores, 1, 1), masks, 1) == 0


def brute_force(tables: int, seed: int, inclusive: bool = False) -> tuple[int, int, int, int, int]:
    """How many selections were tried, broke a radius, were full, full in vain, gained by votes."""
    rng = np.random.default_rng(seed)
    tried = broken = full = vain = gained = 0
    for trial in range(tables):
        features, classes = int(rng.integers(1, 7)), int(rng.integers(2, 4))
        levels, kept = RINGS[trial % len(RINGS)]
        design = NoiseDesign.structured(features, kept, levels, seed=trial)
        masks, counts, table = (
            design.masks,
            design.counts,
            one_hot(rng, features, classes, (0.5, 0.85, 0.93)[trial % 3]),
        )
        sums = smoothed(table, masks)
        decided = sums.argmax(axis=1)
        whole = np.ones(features, dtype=bool)
        for selection in bits(features):
            free = ~selection
            up, down = true_radii(decided, selection)
            add, add_votes = certified(table, masks, counts, selection, free)
            cut, cut_votes = certified(table, masks, counts, whole, free)
            if inclusive:
                ordered = np.sort(sums[value(selection)])
                add = add_votes = min(int(ordered[-1] - ordered[-2]) // (2 * kept), int(free.sum()))
            consistent = decided[value(selection)] == decided[-1]
            tried += 1
            gained += add_votes > add
            broken += add > up or add_votes > up or add_votes < add
            broken += bool(consistent) and (cut > down or cut_votes > down or cut_votes < cut)
            if consistent and fully_stable(add_votes, cut_votes, int(free.sum())):
                full, vain = full + 1, vain + (up < free.sum())
    return tried, broken, full, vain, gained


def test_no_certified_radius_is_ever_broken():
    tried, broken, full, vain, gained = brute_force(tables=600, seed=0)
    assert tried > 10_000
    assert (broken, vain) == (0, 0)
    assert full > 400
    assert gained > 40


def test_the_inclusive_radius_is_found_out():
    _, broken, _, _, _ = brute_force(tables=300, seed=1, inclusive=True)
    assert broken > 20


def test_scores_of_many_levels_are_certified_too():
    rng = np.random.default_rng(5)
    for trial in range(200):
        features, (levels, kept) = int(rng.integers(1, 6)), RINGS[trial % len(RINGS)]
        design = NoiseDesign.structured(features, kept, levels, seed=trial)
        raw = rng.random((2**features, 3)) ** 4 + np.array([1.5, 0, 0])
        table = (raw / raw.sum(axis=1, keepdims=True) * 1000).astype(np.int64)
        table[0, 0] = 1000
        decided = smoothed(table, design.masks).argmax(axis=1)
        for selection in bits(features):
            up, _ = true_radii(decided, selection)
            strict, aware = certified(table, design.masks, design.counts, selection, ~selection)
            assert strict <= aware <= up


def test_scores_known_up_to_a_slack_are_certified_for_every_true_score():
    rng = np.random.default_rng(6)
    design = NoiseDesign.structured(4, 2, 8, seed=0)
    for _ in range(100):
        table = rng.integers(0, 101, size=(16, 3)) // np.array([1, 3, 3])
        decided = smoothed(table, design.masks).argmax(axis=1)
        for selection in bits(4)[:-1]:
            top = int(decided[value(selection)])
            flattered = np.where(np.arange(3) == top, 2, -2)
            seen = np.clip(ballots(table, design.masks, selection) + flattered, 0, 100)
            reach = vote_aware_radius(
                leads(seen, top, 100, rounding_tolerance=2), design.masks[:, ~selection], 100
            )
            assert reach <= true_radii(decided, selection)[0]


def test_unsure_draws_are_certified_whichever_way_they_go():
    rng = np.random.default_rng(7)
    for trial in range(300):
        design = NoiseDesign.structured(4, 1 + trial % 2, 8, seed=trial)
        table = one_hot(rng, 4, 3, 0.93)
        decided = smoothed(table, design.masks).argmax(axis=1)
        for selection in bits(4)[:-1]:
            seen = ballots(table, design.masks, selection)
            doubtful = rng.random(8) < 0.2
            seen[doubtful] = np.roll(seen[doubtful], 1, axis=1)
            top = int(decided[value(selection)])
            ahead = leads(seen, top, 1, unsure=doubtful)
            assert (
                linear_radius(ahead, design.counts[~selection], 1)
                <= true_radii(decided, selection)[0]
            )
            assert (
                vote_aware_radius(ahead, design.masks[:, ~selection], 1)
                <= true_radii(decided, selection)[0]
            )


def test_the_selection_alone_is_stable_to_any_radius_and_a_dictator_flips_below_one_half():
    every = bits(4)
    selection = np.array([True, True, False, False])
    design = NoiseDesign.structured(4, 2, 8, seed=0)
    inside = np.eye(2, dtype=np.int64)[(every[:, 0] ^ every[:, 1]).astype(int)]
    assert true_radii(smoothed(inside, design.masks).argmax(axis=1), selection)[0] == 2
    dictator = np.eye(2, dtype=np.int64)[every[:, 0].astype(int)]
    for kept, expected in ((3, 0), (4, 0), (5, 1)):
        sums = smoothed(dictator, NoiseDesign.structured(4, kept, 8, seed=0).masks)
        assert sums[value(selection)].tolist() == [8 - kept, kept]
        assert sums[value(selection)].argmax() == sums[-1].argmax() == expected


def test_selective_smoothing_holds_for_the_other_features_alone():
    rng = np.random.default_rng(8)
    selection = np.array([True, False, False, False, False])
    design = NoiseDesign.structured(5, 1, 8, seed=0).keeping(selection)
    assert design.counts.tolist() == [8, 1, 1, 1, 1]
    for _ in range(100):
        table = one_hot(rng, 5, 3, 0.3)
        scores = ballots(table, design.masks, selection)
        assert (scores == scores[0]).all()
        strict, aware = certified(table, design.masks, design.counts, selection, ~selection)
        assert strict == math.ceil(8 / 2) - 1 == 3
        assert 3 <= aware <= true_radii(smoothed(table, design.masks).argmax(axis=1), selection)[0]


@pytest.mark.parametrize("kept", [1, 2, 3, 4])
def test_bernoulli_radii_are_never_broken_and_never_below_the_linear_ones(kept):
    levels, rng, tried = 4, np.random.default_rng(kept), 0
    for trial in range(120):
        features = int(rng.integers(1, 6))
        every = bits(features)
        weight = np.where(every, kept, levels - kept).prod(axis=1)
        table = one_hot(rng, features, 3, (0.5, 0.85, 0.97)[trial % 3])
        sums = np.stack([(weight[:, None] * table[value(every & at)]).sum(axis=0) for at in every])
        decided, total = sums.argmax(axis=1), levels**features
        for selection in every:
            room = int((~selection).sum())
            for side, at in (("incremental", value(selection)), ("decremental", 2**features - 1)):
                ordered = np.sort(sums[at])
                gap = Fraction(int(ordered[-1] - ordered[-2]), total)
                reach = bernoulli_radius(gap, kept, levels, room, side)
                linear = min(max(0, math.ceil(gap / Fraction(2 * kept, levels)) - 1), room)
                assert reach >= linear
                if side == "incremental":
                    assert reach <= true_radii(decided, selection)[0]
                elif decided[value(selection)] == decided[-1]:
                    assert reach <= true_radii(decided, selection)[1]
                tried += 1
    assert tried > 2000


@pytest.mark.parametrize(
    ("gap", "kept", "levels", "expected"),
    [(1, 1, 8, 5), (1, 1, 16, 10), (Fraction(1, 2), 1, 16, 6), (0, 1, 8, 0)],
)
def test_bernoulli_radii_by_the_formula(gap, kept, levels, expected):
    assert bernoulli_radius(Fraction(gap), kept, levels, 100, "incremental") == expected
    if gap:
        formula = math.ceil(math.log(1 + gap) / -math.log(1 - kept / levels)) - 1
        assert formula == expected


def test_a_unanimous_whole_is_unbounded_under_removal():
    assert bernoulli_radius(Fraction(1), 1, 8, 1000, "decremental") == 1000
    assert bernoulli_radius(Fraction(1), 8, 8, 1000, "decremental") == 0
    half = bernoulli_radius(Fraction(1, 2), 1, 8, 1000, "decremental")
    assert half == math.ceil(math.log(0.5) / math.log(7 / 8)) - 1 == 5


def test_clopper_pearson_inverts_the_binomial_tail():
    lower, upper = binomial_bounds(np.array([0, 3, 10]), 10, 0.05)

    def tail(p: float, low: int) -> float:
        return sum(math.comb(10, k) * p**k * (1 - p) ** (10 - k) for k in range(low, 11))

    assert lower[0] == 0
    assert upper[2] == 1
    assert tail(lower[1], 3) == pytest.approx(0.05, abs=1e-9)
    assert 1 - tail(upper[1], 4) == pytest.approx(0.05, abs=1e-9)
    assert lower[2] == pytest.approx(0.05 ** (1 / 10), abs=1e-9)
    assert binomial_bounds(np.array([150]), 150, 0.1)[0][0] == pytest.approx(0.985, abs=5e-4)


@pytest.mark.parametrize("scale", [1, 100])
def test_the_bound_on_an_expected_gap_holds_as_often_as_it_says(scale):
    rng, truth, wrong = np.random.default_rng(9), np.array([0.6, 0.3, 0.1]), 0
    for _ in range(400):
        scores = rng.multinomial(scale, truth, size=80)
        top = winner(scores)
        wrong += expected_gap(scores, top, scale, miss=0.1) > Fraction(
            truth[top] - np.delete(truth, top).max()
        )
    assert wrong <= 40
    many = expected_gap(np.tile([scale, 0, 0], (4000, 1)), 0, scale, 0.01)
    assert Fraction(9, 10) < many < 1


@settings(max_examples=200, deadline=None)
@given(
    votes=st.lists(st.integers(0, 2), min_size=8, max_size=8),
    offsets=st.lists(st.integers(0, 7), min_size=1, max_size=6),
    kept=st.integers(1, 8),
    order=st.permutations([0, 1, 2]),
)
def test_counting_votes_never_loses_and_classes_may_be_renamed(votes, offsets, kept, order):
    design = NoiseDesign.cyclic(offsets, kept, 8)
    scores = np.eye(3, dtype=np.int64)[votes]
    top = winner(scores)
    ahead = leads(scores, top, 1)
    strict = linear_radius(ahead, design.counts, 1)
    aware = vote_aware_radius(ahead, design.masks, 1)
    assert strict == min(strict_radius(int(ahead.sum(axis=0).min()), kept), len(offsets))
    assert 0 <= strict <= aware <= len(offsets)
    renamed = leads(scores[:, list(order)], list(order).index(top), 1)
    assert vote_aware_radius(renamed, design.masks, 1) == aware
