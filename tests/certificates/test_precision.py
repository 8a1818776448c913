"""Classes are the model's own: nothing is rounded before outputs are compared."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.certificates.attack import Attack
from assay.certificates.certificate import Certificate
from assay.certificates.hard_stability import HardStability
from assay.certificates.lipschitz import LipschitzCheck
from assay.certificates.noise import NoiseDesign
from assay.certificates.radii import leads
from assay.certificates.smoothing import MultiplicativeSmoothing
from assay.certificates.soft_stability import SoftStability
from assay.certificates.votes import Votes
from assay.question.question import Question
from assay.removals.fixed import Background

FEATURES = 5

# Single precision counts in steps of 8 here.
OFFSET = 1e8

TYPES = [np.float64, np.float32, np.float16, np.int64, np.int32, np.uint8]


def bits(features: int) -> np.ndarray:
    return (np.arange(2**features)[:, None] >> np.arange(features) & 1).astype(bool)


def close_scores(seed: int) -> np.ndarray:
    """Scores (32, 3) of every mask, less than one apart on an offset of 1e8."""
    rng = np.random.default_rng(seed)
    scores = rng.random((2**FEATURES, 3))
    scores[rng.random(2**FEATURES) < 0.8, 0] += 1
    return OFFSET + scores


def table(scores: np.ndarray):
    """The model that looks a mask's scores up, in double precision whatever the inputs are."""

    def predict(x: np.ndarray) -> np.ndarray:
        present = np.asarray(x) > 0.5
        return scores[present.astype(np.int64) @ 2 ** np.arange(FEATURES)]

    return predict


def true_radii(classes: np.ndarray, selection: np.ndarray) -> tuple[int, int]:
    """The largest radii of the definition: adding to the selection, removing from the whole."""
    above = np.flatnonzero((bits(FEATURES) >= selection).all(axis=1))
    added = bits(FEATURES)[above].sum(axis=1) - selection.sum()
    room = FEATURES - int(selection.sum())
    own = classes[above[added == 0][0]]
    broken = added[classes[above] != own]
    up = min(broken, default=room + 1) - 1
    down = min(room - broken, default=room + 1) - 1
    return int(up), int(down)


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.__name__)
def test_enumeration_has_the_radii_of_the_model_whatever_the_inputs_are(dtype):
    for seed in range(6):
        scores = close_scores(seed)
        classes = scores.argmax(axis=1)
        question = Question(table(scores), np.ones((1, FEATURES), dtype))
        for selection in bits(FEATURES)[1::3]:
            up, down = true_radii(classes, selection)
            (proof,) = HardStability().certify(question, selection)
            assert (proof.incremental, proof.decremental) == (up, max(down, 0))
            assert proof.consistent == (down >= 0)
            assert proof.full == (up == (~selection).sum())


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.__name__)
def test_smoothed_certificates_hold_for_the_smoothed_classifier_of_the_definition(dtype):
    for seed in range(6):
        scores = close_scores(seed)
        question = Question(table(scores), np.ones((1, FEATURES), dtype))
        smoothing = MultiplicativeSmoothing(1, 4, seed=seed, tolerance=0.0)
        noise = smoothing.noise(FEATURES).masks
        noisy = (bits(FEATURES)[:, None] & noise) @ 2 ** np.arange(FEATURES)
        votes = np.eye(3, dtype=int)[scores.argmax(axis=1)[noisy]].sum(axis=1)
        for selection in bits(FEATURES)[1::3]:
            up, down = true_radii(votes.argmax(axis=1), selection)
            (proof,) = smoothing.certify(question, selection)
            at_selection = votes[selection @ 2 ** np.arange(FEATURES)]
            assert proof.selected == at_selection.argmax()
            assert proof.at_selection.table(3).sum(axis=0).tolist() == at_selection.tolist()
            assert proof.incremental <= up
            if proof.consistent:
                assert proof.decremental <= down


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.__name__)
def test_rates_attacks_and_steepness_are_those_of_the_model(dtype):
    scores = close_scores(3)
    classes = scores.argmax(axis=1)
    question = Question(table(scores), np.ones((1, FEATURES), dtype))
    selection = np.arange(FEATURES) == 0
    above = bits(FEATURES)[(bits(FEATURES) >= selection).all(axis=1)]
    kept = classes[above @ 2 ** np.arange(FEATURES)] == classes[1]
    (rates,) = SoftStability(radius=4).certify(question, selection)
    assert rates.rate == (kept.mean(),)
    up, _ = true_radii(classes, selection)
    (found,) = Attack().search(question, selection)
    assert found.size is None or classes[1 + sum(2**i for i in found.flipped)] == found.other
    assert found.radius >= up
    neighbours = np.arange(2**FEATURES)[:, None] ^ 2 ** np.arange(FEATURES)
    largest = np.abs(scores[neighbours] - scores[:, None]).max()
    assert LipschitzCheck(constant=2.0).check(question).largest == largest


def test_the_radius_of_a_count_is_one_for_whole_numbers_too():
    # Class 1 from three features on: beside the selected one, one more is harmless.
    def count(x: np.ndarray) -> np.ndarray:
        total = x.sum(axis=1, dtype=np.float64)
        return np.stack([np.full(len(x), 1e8), 1e8 + total - 2.5], axis=1)

    for dtype in TYPES:
        question = Question(count, np.ones((1, 6), dtype))
        (proof,) = HardStability().certify(question, torch.arange(6) < 1)
        assert (proof.incremental, proof.consistent, proof.full) == (1, False, False)
        # The model alone is asked about the input as it was: whole numbers stay arrays of them.
        assert proof.verify(count).changed == 0


def test_means_over_a_background_are_compared_before_they_are_rounded():
    # Means of single numbers: 0.5 + 2^-25 and 0.5, which are alike in single precision.
    def single(x: torch.Tensor) -> torch.Tensor:
        lone = torch.where(x[:, 0] > 1, 0.5 + 2**-24, 0.5)
        return torch.stack([torch.full_like(lone, 0.5), lone], dim=1)

    background = Background(torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
    for model in (single, lambda x: single(x).double()):
        question = Question(model, torch.ones(1, 2), removal=background)
        (proof,) = HardStability().certify(question, torch.tensor([False, True]))
        assert proof.selected == 1


@pytest.mark.parametrize(("ahead", "certain"), [(2, False), (3, True)])
def test_both_scores_of_a_lead_may_be_off(ahead, certain):
    # Each off by one unit: a lead of two may be a tie, one of three is at least one.
    scores = np.array([[50 + ahead, 50, 0]])
    assert leads(scores, 0, 100, rounding_tolerance=1).tolist() == [[ahead - 2, 48 + ahead]]
    one_draw = NoiseDesign.of(np.ones((1, 2), dtype=bool))
    votes = Votes.from_lists(scores.tolist(), (), None)
    proof = Certificate(
        features=2,
        selection=(0, 1),
        classes=3,
        bound="strict",
        at_selection=votes,
        at_whole=votes,
        design=one_draw,
        scale=100,
        tolerance=0.01,
    )
    assert proof.consistent is certain


def test_the_smoothed_model_counts_probabilities_in_whole_units():
    # Thirds are no whole numbers of 2^-20: 349525.33 of them.
    def thirds(x: torch.Tensor) -> torch.Tensor:
        one = (1 + x.sum(1)) / 3
        return torch.stack([one, 1 - one], dim=1).clamp(0, 1)

    base = Question(thirds, torch.ones(1, 3, dtype=torch.float64))
    smooth = MultiplicativeSmoothing(1, 4, output="probabilities").smooth(base)
    masks = torch.from_numpy(bits(3))
    units = smooth.scores(masks) * 4 * 2**20
    assert torch.equal(units, units.round())
    again = Question(smooth, torch.ones(1, 3, dtype=torch.float64))
    assert torch.equal(again.outputs(masks)[0], smooth.scores(masks))
