"""Smoothed classifiers and their certificates: sound, stored, verified, and honest in refusal."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import zoo
from assay import engine
from assay.answers.attribution import Attribution
from assay.certificates.attack import Attack
from assay.certificates.certificate import Certificate
from assay.certificates.claims import Claims
from assay.certificates.hard_stability import HardStability
from assay.certificates.lipschitz import LipschitzCheck
from assay.certificates.noise import NoiseDesign
from assay.certificates.smoothing import MultiplicativeSmoothing
from assay.certificates.soft_stability import SoftStability
from assay.certificates.votes import MOST_ROWS, PROBABILITY_UNITS, Votes
from assay.errors import AssayError, InputError, KindError, ModelError, TargetError, VersionError
from assay.features.elements import Labels
from assay.features.images import Patches
from assay.question.question import Question
from assay.removals.fixed import Background, Baseline, Blur


def bits(features: int) -> np.ndarray:
    return (np.arange(2**features)[:, None] >> np.arange(features) & 1).astype(bool)


class Table(nn.Module):
    """Any classifier of n binary features: a row of scores for each of the 2^n masks."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores.to(torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        powers = 2 ** torch.arange(x.shape[1])
        return self.scores[((x > 0.5).long() * powers).sum(1)]


def table(seed: int, features: int = 5, classes: int = 3, dominance: float = 0.85) -> Table:
    rng = np.random.default_rng(seed)
    chosen = np.where(
        rng.random(2**features) < dominance, 0, rng.integers(classes, size=2**features)
    )
    return Table(torch.eye(classes)[torch.from_numpy(chosen)])


def asked(model: object, features: int = 5, n: int = 1) -> Question:
    return Question(model, torch.ones(n, features, dtype=torch.float64))


def small_net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
        ).eval()


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


SMOOTHINGS = [
    MultiplicativeSmoothing(2, 8),
    MultiplicativeSmoothing(1, 4, design="stratified", bound="strict"),
    MultiplicativeSmoothing(3, 8, output="probabilities"),
    MultiplicativeSmoothing.over(NoiseDesign.of(bits(5)[[3, 9, 17, 30, 8, 1]])),
]


@pytest.mark.parametrize(
    "smoothing",
    SMOOTHINGS,
    ids=lambda s: f"{s.design if isinstance(s.design, str) else 'masks'}-{s.output}",
)
def test_every_certificate_is_true_of_the_smoothed_classifier_it_is_about(smoothing):
    full = 0
    for seed in range(25):
        question = asked(table(seed))
        decided = smoothing.smooth(question).scores(torch.from_numpy(bits(5))).argmax(1).numpy()
        chosen = bits(5)[1:]
        for (proof,), selection in zip(
            smoothing.certify_all(question, torch.from_numpy(chosen)), chosen
        ):
            above = bits(5)[(bits(5) >= selection).all(1)]
            index = (above * 2 ** np.arange(5)).sum(1)
            added = (above & ~selection).sum(1)
            own = decided[index[added == 0][0]]
            assert (proof.selected, proof.predicted) == (own, decided[-1])
            assert (decided[index[added <= proof.incremental]] == own).all()
            if proof.consistent:
                assert (decided[index[added >= proof.room - proof.decremental]] == own).all()
            if proof.full:
                full += 1
                assert (decided[index] == own).all()
                assert proof.incremental == proof.decremental == proof.room
    assert full > 20


def test_the_smoothed_classifier_is_the_mean_over_the_design():
    model, smoothing = table(3), MultiplicativeSmoothing(3, 8, seed=2)
    question = asked(model)
    noise = smoothing.noise(5).masks
    expected = []
    for mask in bits(5):
        rows = torch.from_numpy((noise & mask).astype(float))
        expected.append(torch.eye(3, dtype=torch.float64)[model(rows).argmax(1)].mean(0))
    smooth = smoothing.smooth(question)
    assert torch.equal(smooth.scores(torch.from_numpy(bits(5))), torch.stack(expected).detach())
    again = Question(smooth, torch.ones(1, 5, dtype=torch.float64))
    assert torch.equal(
        again.outputs(torch.from_numpy(bits(5)))[0], smooth.scores(torch.from_numpy(bits(5)))
    )
    assert LipschitzCheck(constant=3 / 8).check(smooth).holds


def test_probabilities_are_averaged_and_can_be_differentiated():
    net = nn.Sequential(small_net(), nn.Softmax(1))
    question = Question(net, pictures(3), features=Patches(2))
    smooth = MultiplicativeSmoothing(2, 4, output="probabilities").smooth(question)
    outer = Question(smooth, pictures(3), features=Patches(2), target=1)
    noise = torch.tensor(smooth.design.masks)

    def twin(x: torch.Tensor) -> torch.Tensor:
        masks = noise.view(-1, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
        return torch.stack([net(x * mask)[:, 1] for mask in masks]).mean(0)

    x = pictures(3).requires_grad_()
    (slope,) = torch.autograd.grad(twin(x).sum(), x)
    # Whole numbers are averaged; the network's own are of single precision, and so is the answer.
    assert torch.allclose(outer.prediction, twin(x).detach(), atol=1e-6)
    assert torch.allclose(outer.slope().view_as(slope), slope, atol=1e-6)
    whole = smooth.scores(torch.ones(1, 16, dtype=torch.bool))[0, 1]
    assert float(whole * PROBABILITY_UNITS * 4) == round(float(whole * PROBABILITY_UNITS * 4))
    assert abs(float(whole) - float(outer.prediction[0])) < 2 / PROBABILITY_UNITS


def test_a_lipschitz_check_finds_noise_that_is_redrawn():
    question, calls = asked(table(0, dominance=0.0)), iter(range(10_000))

    def redrawn(masks: torch.Tensor) -> torch.Tensor:
        return MultiplicativeSmoothing(2, 8, seed=next(calls)).smooth(question).scores(masks)

    assert not LipschitzCheck(constant=2 / 8).check(redrawn, features=5).holds
    fixed = LipschitzCheck(constant=2 / 8).check(MultiplicativeSmoothing(2, 8).smooth(question))
    assert fixed.holds
    assert fixed.exhaustive
    assert fixed.pairs == 5 * 2**4


def test_votes_do_not_depend_on_batch_order_neighbours_or_global_seed():
    net, x = small_net(), pictures(7)
    selection = torch.rand(7, 16, generator=torch.Generator().manual_seed(1)) < 0.3
    selection[:, 0] = True
    smoothing = MultiplicativeSmoothing(4, 16)
    first = smoothing.certify(Question(net, x, features=Patches(2)), selection)
    from assay.models.wrapping import wrap

    for size in (1, 3, 1000):
        torch.manual_seed(size)
        state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        again = smoothing.certify(
            Question(wrap(net, batch_size=size), x, features=Patches(2)), selection
        )
        assert [(p.at_selection.draws, p.at_whole.draws) for p in again] == [
            (p.at_selection.draws, p.at_whole.draws) for p in first
        ]
        assert torch.equal(torch.random.get_rng_state(), state[0])
        assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    turned = smoothing.certify(Question(net, x.flip(0), features=Patches(2)), selection.flip(0))
    alone = smoothing.certify(Question(net, x[2:3], features=Patches(2)), selection[2:3])
    assert [p.at_whole.draws for p in turned] == [p.at_whole.draws for p in reversed(first)]
    assert alone[0].at_selection.draws == first[2].at_selection.draws


def test_renaming_the_classes_renames_the_votes_and_keeps_the_radii():
    model = table(4, dominance=0.7)
    renamed = Table(model.scores.detach()[:, [2, 0, 1]])
    selection = torch.tensor([True, False, True, False, False])
    (one,), (two,) = (
        MultiplicativeSmoothing(2, 8).certify(asked(m), selection) for m in (model, renamed)
    )
    assert (two.incremental, two.decremental) == (one.incremental, one.decremental)
    assert [(d + 1) % 3 for d in one.at_selection.draws] == list(two.at_selection.draws)


def test_the_cost_is_one_row_per_draw_for_the_whole_and_for_each_selection():
    question = Question(small_net(), pictures(6), features=Patches(2))
    selections = [torch.eye(16, dtype=torch.bool)[:6], ~torch.eye(16, dtype=torch.bool)[:6]]
    with engine.tally() as spent:
        proofs = MultiplicativeSmoothing(2, 8).certify_all(question, selections)
    # And one row for the class of the bare model.
    assert spent.forwards <= 6 * (8 * 3 + 1) + 1
    assert [len(each) for each in proofs] == [6, 6]


@pytest.mark.parametrize(("n", "draws"), [(70, 64), (2, 5000)])
def test_what_is_held_at_once_does_not_grow_with_inputs_or_draws(monkeypatch, n, draws):
    held, outputs = [], Question.outputs

    def spy(self: Question, masks: torch.Tensor, **how: bool) -> torch.Tensor:
        held.append(self.n * masks.shape[-2])
        return outputs(self, masks, **how)

    monkeypatch.setattr(Question, "outputs", spy)
    proofs = MultiplicativeSmoothing(1, 8, "bernoulli", draws=draws).certify(
        asked(table(0), n=n), torch.arange(5) == 0
    )
    # Selections, whole inputs, and one row of each input for the bare class.
    assert sum(held) == n * draws * 2 + n
    assert max(held) <= MOST_ROWS
    assert [len(proof.at_whole.draws) for proof in proofs] == [draws] * n


def test_keeping_everything_certifies_radius_zero_and_abstains():
    (proof,) = MultiplicativeSmoothing(4, 4).certify(
        asked(table(0, dominance=1.0)), torch.arange(5) < 2
    )
    assert (proof.incremental, proof.decremental, proof.consistent, proof.abstains) == (
        0,
        0,
        True,
        True,
    )
    assert proof.published == 0.5
    (proof,) = MultiplicativeSmoothing(1, 4).certify(
        asked(table(0, dominance=1.0)), torch.arange(5) < 2
    )
    assert (proof.incremental, proof.abstains, proof.exact) == (3, False, True)
    assert proof.shares == (3 / 5, 3 / 5)


def test_a_selection_with_another_class_keeps_its_own_radius_and_abstains():
    scores = torch.tensor([[1.0, 0.0]] * 15 + [[0.0, 1.0]])
    (proof,) = MultiplicativeSmoothing(4, 4).certify(asked(Table(scores), 4), torch.arange(4) == 0)
    assert (proof.selected, proof.predicted, proof.consistent, proof.abstains) == (
        0,
        1,
        False,
        True,
    )
    assert (proof.incremental, proof.decremental, proof.full) == (0, 0, False)
    arcs = NoiseDesign.of([[1, 0, 0, 1]] * 7 + [[1, 1, 1, 1]] * 9)
    (proof,) = MultiplicativeSmoothing.over(arcs).certify(
        asked(Table(scores), 4), torch.tensor([True, True, True, False])
    )
    assert (proof.selected, proof.predicted, proof.consistent, proof.decremental) == (
        0,
        1,
        False,
        0,
    )


def test_close_outputs_count_against_the_claim():
    scores = torch.tensor([[1.0, 1.0 - 1e-9]], dtype=torch.float64).expand(32, 2)
    sure, careless = (
        MultiplicativeSmoothing(1, 4, tolerance=t).certify(
            asked(Table(scores)), torch.arange(5) == 0
        )[0]
        for t in (1e-6, 0)
    )
    assert (careless.incremental, careless.consistent) == (1, True)
    assert (sure.incremental, sure.consistent, sure.at_selection.unsure) == (0, False, (0, 1, 2, 3))
    assert sure.at_selection.closest == pytest.approx(1e-9, rel=1e-10)


def test_bernoulli_certificates_are_true_as_often_as_they_say():
    levels, kept, wrong, gained = 8, 1, 0, 0
    every = bits(4)
    weight = np.where(every, kept, levels - kept).prod(1) / levels**4
    for seed in range(200):
        model = table(seed, features=4, dominance=0.9)
        votes = torch.eye(3)[model.scores.detach().argmax(1)].numpy()
        expected = np.stack(
            [weight @ votes[((every & mask) * 2 ** np.arange(4)).sum(1)] for mask in every]
        )
        decided = expected.argmax(1)
        smoothing = MultiplicativeSmoothing(
            kept, levels, "bernoulli", seed=seed, draws=300, confidence=0.9
        )
        (proof,) = smoothing.certify(asked(model, 4), torch.arange(4) == 0)
        above = np.flatnonzero(every[:, 0])
        added = every[above].sum(1) - 1
        kept_up = decided[above[added <= proof.incremental]] == proof.selected
        kept_down = decided[above[added >= 3 - proof.decremental]] == proof.predicted
        wrong += not (kept_up.all() and (kept_down.all() or not proof.consistent))
        gained += proof.incremental
    assert wrong <= 20
    assert gained > 200
    assert (proof.bound, proof.exact, proof.confidence) == ("bernoulli", False, 0.9)


def test_the_bernoulli_radius_follows_from_the_bound_on_the_gap():
    def predict(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([0.5 + 0 * x[:, 0], x[:, 1], 0 * x[:, 0]], dim=1)

    for confidence in (0.9, 0.999999):
        smoothing = MultiplicativeSmoothing(1, 16, "bernoulli", draws=100, confidence=confidence)
        (proof,) = smoothing.certify(asked(predict, 60), torch.arange(60) == 0)
        least = ((1 - confidence) / 2 / 6) ** (
            1 / 100
        )  # Clopper and Pearson at 100 of 100, for three classes and both masks
        assert proof.incremental == math.ceil(math.log(2 * least) / -math.log(15 / 16)) - 1
    assert proof.incremental < 9


def test_additions_are_counted_from_the_selection_and_removals_from_the_whole():
    def predict(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([1 + 0 * x[:, 0], 2 * x[:, 7]], dim=1)

    for bound in ("strict", "vote-aware"):
        (proof,) = MultiplicativeSmoothing(1, 8, bound=bound).certify(
            asked(predict, 8), torch.arange(8) == 0
        )
        assert sum(draw == 1 for draw in proof.at_whole.draws) == 1
        assert sum(draw == 1 for draw in proof.at_selection.draws) == 0
        assert (proof.incremental, proof.decremental, proof.full, proof.consistent) == (
            3,
            2,
            False,
            True,
        )


def test_the_smallest_stable_selection_is_found_by_a_scan():
    answer = Attribution(
        torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]),
        torch.zeros(1),
        torch.zeros(1),
        tuple("abcde"),
        (5,),
        "slope",
    )
    smoothing, found = MultiplicativeSmoothing(2, 8), []
    for seed in range(12):
        question, stable = asked(table(seed, dominance=0.4)), []
        for k in range(1, 6):
            (proof,) = smoothing.certify(question, answer.top(k))
            stable.append(
                proof.consistent and min(proof.incremental, proof.decremental) >= min(1, proof.room)
            )
        found.append(smoothing.sparsest(question, answer))
        assert found[-1] == (stable.index(True) + 1,)
    assert len(set(found)) > 2
    # Every draw shows one feature; the first 13 win a draw for class 0, blanks and the last three
    # go to class 1.
    credit = torch.arange(16.0, 0, -1)[None]
    ranks = Attribution(credit, torch.zeros(1), torch.zeros(1), tuple("x" * 16), (16,), "slope")
    seen = asked(lambda x: torch.stack([x[:, :13].sum(1), 0.5 + 0 * x[:, 0]], dim=1), 16)
    for bound, size in (("strict", 10), ("vote-aware", 9)):
        assert MultiplicativeSmoothing(1, 16, "stratified", bound=bound).sparsest(seen, ranks) == (
            size,
        )
    assert smoothing.sparsest(question, answer, radius=5, sizes=[]) == (None,)


def test_a_certificate_is_saved_loaded_and_verified(tmp_path):
    net, x = small_net(), pictures(3)
    question = Question(net, x, features=Patches(2), removal=Background(pictures(2, seed=5)))
    selection = torch.rand(3, 16, generator=torch.Generator().manual_seed(1)) < 0.5
    for smoothing in (
        MultiplicativeSmoothing(2, 8),
        MultiplicativeSmoothing(2, 8, "bernoulli", draws=50),
    ):
        proof = smoothing.certify(question, selection)[1]
        again = Certificate.load(proof.save(tmp_path / "proof.json"))
        assert again == proof
        assert eval(again.settings) == smoothing
        for one in (proof, again):
            for model in (net, question):
                verdict = one.verify(model)
                assert (bool(verdict), verdict.changed, verdict.draws) == (
                    True,
                    0,
                    2 * len(proof.design.rows),
                )
        facts = json.loads((tmp_path / "proof.json").read_text(), parse_constant=pytest.fail)
        assert any(
            "Nothing is claimed about removing selected features" in said
            for said in facts["assumptions"]
        )


def test_a_certificate_does_not_hold_for_another_model_and_says_why():
    proof = MultiplicativeSmoothing(1, 8).certify(
        asked(table(0, dominance=1.0)), torch.arange(5) == 0
    )[0]
    opposite = Table(torch.eye(3)[torch.ones(32, dtype=torch.long)])
    verdict = proof.verify(opposite)
    assert not verdict
    assert "predicted is 1, not 0" in verdict.why
    assert verdict.changed == 16
    assert not proof.verify(Table(torch.rand(32, 4)))


def test_claims_that_were_edited_are_refused(tmp_path):
    proof = MultiplicativeSmoothing(2, 8).certify(asked(table(1)), torch.arange(5) == 0)[0]
    facts = json.loads(proof.to_json())
    edits = {"incremental": facts["incremental"] + 1, "format": 99, "kind": "Score"}
    for name, error in (
        ("incremental", InputError),
        ("format", VersionError),
        ("kind", InputError),
    ):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({**facts, name: edits[name]}))
        with pytest.raises(error, match="Expected"):
            Certificate.load(path)
    (tmp_path / "text.json").write_text("no certificate")
    with pytest.raises(InputError, match="JSON"):
        Certificate.load(tmp_path / "text.json")


def test_claims_are_made_by_name_so_that_the_two_classes_cannot_be_swapped(tmp_path):
    scores = torch.tensor([[1.0, 0.0]] * 15 + [[0.0, 1.0]])
    (proof,) = MultiplicativeSmoothing(4, 4).certify(asked(Table(scores), 4), torch.arange(4) == 0)
    (whole,) = MultiplicativeSmoothing(4, 4).certify(asked(Table(scores), 4), [True] * 4)
    expected = Claims(
        predicted=1, selected=0, consistent=False, incremental=0, decremental=0, full=False
    )
    assert proof.claims == expected
    assert (whole.claims.predicted, whole.claims.selected) == (1, 1)
    with pytest.raises(TypeError, match="positional"):
        Claims(1, 0, False, 0, 0, False)
    swapped = {**json.loads(proof.to_json()), "predicted": 0, "selected": 1}
    (tmp_path / "swapped.json").write_text(json.dumps(swapped))
    with pytest.raises(InputError, match="predicted is 0, not 1; selected is 1, not 0"):
        Certificate.load(tmp_path / "swapped.json")
    # The votes at the two ends are no more to be swapped than the classes.
    mirrored = replace(proof, at_selection=proof.at_whole, at_whole=proof.at_selection)
    assert (mirrored.predicted, mirrored.selected) == (0, 1)
    assert proof.claims.unsupported(mirrored.claims) == [
        "predicted is 0, not 1",
        "selected is 1, not 0",
    ]


@pytest.mark.parametrize("name", ["predicted", "selected", "consistent", "full"])
def test_every_claim_of_a_saved_certificate_is_counted_again(tmp_path, name):
    proof = MultiplicativeSmoothing(2, 8).certify(asked(table(1)), torch.arange(5) == 0)[0]
    facts = json.loads(proof.to_json())
    (tmp_path / "edited.json").write_text(json.dumps({**facts, name: 1 - facts[name]}))
    with pytest.raises(InputError, match=f"{name} is"):
        Certificate.load(tmp_path / "edited.json")


def test_larger_radii_support_smaller_ones_and_another_class_supports_nothing():
    claims = Claims(
        predicted=1, selected=1, consistent=True, incremental=2, decremental=1, full=False
    )
    assert claims.unsupported(replace(claims, incremental=3, decremental=2, full=True)) == []
    assert claims.unsupported(replace(claims, incremental=1)) == ["incremental is 1, not 2"]
    for other in (0, 2):
        assert len(claims.unsupported(replace(claims, predicted=other, selected=other))) == 2


def test_a_certificate_shows_its_claims_and_not_its_votes():
    (proof,) = MultiplicativeSmoothing(1, 64).certify(asked(table(1)), torch.arange(5) == 0)
    assert repr(proof.claims) in repr(proof)
    assert "1 of 5 features" in repr(proof)
    assert len(repr(proof)) < 250


def test_votes_that_do_not_fit_are_refused_when_the_certificate_is_made():
    (proof,) = MultiplicativeSmoothing(2, 8).certify(asked(table(1)), torch.arange(5) == 0)
    with pytest.raises(InputError, match="in each of 8 draws"):
        replace(proof, at_whole=Votes((0, 0)))
    with pytest.raises(InputError, match="each of 16 supersets"):
        replace(proof, design=None)


def test_a_smoothed_certificate_of_many_features_is_verified_without_listing_supersets():
    def predict(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([1 + 0 * x[:, 0], x.sum(1) - 32], dim=1)

    question = Question(predict, torch.ones(1, 64))
    (proof,) = MultiplicativeSmoothing(1, 8).certify(question, torch.arange(64) < 2)
    assert proof.verify(question).draws == 16


def test_a_certificate_without_its_input_asks_for_a_question():
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 4)), columns=list("abcd"))
    fitted = LogisticRegression().fit(frame, (frame["a"] + frame["b"] > 0).astype(int))
    question = Question(fitted, frame[:3])
    proof = MultiplicativeSmoothing(1, 4, output="probabilities").certify(
        question, torch.tensor([True, True, False, False])
    )[0]
    assert proof.verify(question)
    with pytest.raises(InputError, match=r"verify\(question\)"):
        proof.verify(fitted)
    with pytest.raises(InputError, match="other bytes"):
        proof.verify(Question(fitted, frame[10:12]))


class Training(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.mark.parametrize(
    ("model", "smoothing", "selection", "error", "match"),
    [
        (
            nn.Linear(5, 1).double(),
            SMOOTHINGS[0],
            [True] + [False] * 4,
            TargetError,
            "two classes|at least two",
        ),
        (nn.Linear(5, 2).double(), SMOOTHINGS[2], [True] + [False] * 4, InputError, "softmax"),
        (table(0), SMOOTHINGS[0], [False] * 5, InputError, "at least one selected"),
        (table(0), SMOOTHINGS[0], [True] * 4, InputError, "shape"),
        (table(0), SMOOTHINGS[0], [1.0, 0.0, 0.0, 0.0, 0.0], KindError, "bools"),
        (
            table(0),
            MultiplicativeSmoothing.over(NoiseDesign.of(bits(3))),
            [True] + [False] * 4,
            InputError,
            "5 features",
        ),
    ],
)
def test_what_cannot_be_certified_is_refused(model, smoothing, selection, error, match):
    with pytest.raises(error, match=match) as told:
        smoothing.certify(asked(model), selection)
    assert isinstance(told.value, AssayError)


@pytest.mark.parametrize(
    "settings",
    [
        {"kept": 9, "levels": 8},
        {"kept": 0, "levels": 8},
        {"kept": 1, "levels": 8, "design": "gaussian"},
        {"kept": 1, "levels": 8, "output": "logits"},
        {"kept": 1, "levels": 8, "bound": "inclusive"},
        {"kept": 1, "levels": 8, "confidence": 1.0},
        {"kept": 1, "levels": 8, "tolerance": -1.0},
        {"kept": 1, "levels": 8, "design": NoiseDesign.of(bits(3))},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(InputError, match="Expected"):
        MultiplicativeSmoothing(**settings)


def test_shares_and_reprs():
    assert MultiplicativeSmoothing.at(0.29, 100).kept == 29
    for smoothing in SMOOTHINGS:
        assert eval(repr(smoothing)) == smoothing


def test_a_model_in_train_mode_is_refused():
    with pytest.raises(ModelError, match=r"eval\(\)"):
        MultiplicativeSmoothing(1, 4).certify(
            Question(Training(), pictures(2), features=Patches(4)), torch.arange(4) == 0
        )


def crowd(x: torch.Tensor) -> torch.Tensor:
    """A model whose rows influence each other, as a batch norm in train mode does."""
    weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    return torch.tanh(x - x.mean(0)) @ weights


@pytest.mark.parametrize(
    "ask",
    [
        lambda question, masks: MultiplicativeSmoothing(2, 4).smooth(question).scores(masks),
        lambda question, masks: MultiplicativeSmoothing(2, 4).certify(question, masks[0]),
        lambda question, masks: SoftStability(1).certify(question, masks[0]),
        lambda question, masks: HardStability().certify(question, masks[0]),
        lambda question, masks: Attack().search(question, masks[0]),
        lambda question, masks: LipschitzCheck(1.0).check(question),
    ],
    ids=["smooth", "certify", "soft", "hard", "attack", "lipschitz"],
)
@pytest.mark.parametrize("n", [1, 3])
def test_a_model_whose_rows_influence_each_other_is_refused(ask, n):
    rows = torch.tensor([[1.0, -2, 0.5, 3], [5, 1, -4, 2], [-9, 7, 8, -6]])[:n]
    with pytest.raises(ModelError, match="neighbours"):
        ask(Question(crowd, rows, target=0), torch.eye(4, dtype=torch.bool))


def test_a_segmentation_or_a_blur_of_masked_inputs_is_refused_as_a_model():
    x = pictures(2)
    maps = torch.stack([torch.arange(64).view(8, 8) // 8, torch.arange(64).view(8, 8) % 8])
    for question in (
        Question(small_net(), x, features=Labels(maps)),
        Question(small_net(), x, features=Patches(2), removal=Blur(2.0)),
    ):
        smooth = MultiplicativeSmoothing(1, 4).smooth(question)
        assert smooth.scores(torch.ones(2, question.partition.count, dtype=torch.bool)).shape == (
            2,
            3,
        )
        with pytest.raises(InputError, match="masked inputs"):
            Question(smooth, x).outputs(torch.ones(1, 64, dtype=torch.bool))
        (proof, _) = MultiplicativeSmoothing(1, 4).certify(
            question, question.partition.count * [True]
        )
        assert proof.verify(small_net())


@zoo.needs_data
def test_certificates_of_a_real_network_survive_an_attack():
    x, _ = zoo.mnist("test", 3)
    net = zoo.digit_net(images=3000)
    question = Question(net, x, features=Patches(7), removal=Baseline(0.0))
    ink = question.pool(question.x)
    selection = ink >= ink.topk(6, dim=1).values[:, -1:]
    smoothing = MultiplicativeSmoothing(1, 16, design="stratified")
    proofs = smoothing.certify(question, selection)
    smooth = Question(smoothing.smooth(question), x, features=Patches(7))
    attacks = [
        Attack(side, restarts=2).search(smooth, selection)
        for side in ("incremental", "decremental")
    ]
    for proof, up, down in zip(proofs, *attacks):
        assert proof.incremental <= up.radius
        assert not proof.consistent or proof.decremental <= down.radius
    assert max(proof.incremental for proof in proofs) >= 1
    assert all(proof.verify(net) for proof in proofs)
