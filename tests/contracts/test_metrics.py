"""What every metric must keep: a function of question, attribution, settings, seed; paired draws."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import assay
from assay import perturbations
from assay.answers.attribution import Attribution
from assay.answers.score import Score
from assay.errors import (
    AbilityError,
    AssayError,
    InputError,
    KindError,
    ModelError,
    SettingError,
)
from assay.methods.base import Method
from assay.metrics import METRICS
from assay.metrics.base import Metric
from assay.metrics.faithfulness.completeness import Completeness
from assay.metrics.faithfulness.infidelity import Infidelity
from assay.metrics.sensitivity.max_sensitivity import MaxSensitivity
from assay.perturbations import (
    DifferenceToBaseline,
    GaussianNoise,
    NoisyBaseline,
    Perturbation,
    PerturbationBatch,
    Squares,
    SubsetToBaseline,
)
from toys import FEATURES, randn, state, tanh_net

DOUBLE = torch.float64
IG = assay.IntegratedGradients(16)
# For metrics that explain many neighbours of every input.
SHORT = assay.IntegratedGradients(2)


@dataclass(frozen=True)
class Case:
    metric: Metric
    method: Method = IG
    moves: bool | None = None
    """Whether scores move with the seed: the draws of the metric are each input's own, hashed from
    its bytes. None where nobody says: it is then found out by asking with two seeds.
    """
    target: Any = None
    """What is asked about in the place of output 0, for metrics that take only some targets."""

    def of(self, question: assay.Question) -> assay.Question:
        return question if self.target is None else question.of(self.target)

    def draws(self) -> bool:
        """Whether anything is drawn: as stated, or else as two seeds show."""
        if self.moves is not None:
            return self.moves
        one, other = (score(self, ask(), seed=seed) for seed in (0, 1))
        return not equal(one.values, other.values)


_CASES: dict[str, Callable[[type[Any]], list[Case]]] = {
    "Infidelity": lambda kind: [
        Case(kind(draws=20), moves=True),
        Case(kind(GaussianNoise(0.2), draws=20), assay.Gradient(), moves=True),
        Case(kind(NoisyBaseline(0.2), draws=20, scaled=True), assay.Gradient(), moves=True),
        Case(kind(DifferenceToBaseline()), moves=False),
    ],
    "MaxSensitivity": lambda kind: [
        Case(kind(assay.Gradient(), radius=0.1, draws=6), assay.Gradient(), moves=True),
        Case(kind(SHORT, radius=0.1, ball="l2", draws=6, ascent=2), SHORT, moves=True),
    ],
    "LipschitzSensitivity": lambda kind: [Case(kind(SHORT, draws=6, ascent=2), SHORT)],
    "GradientSensitivity": lambda kind: [Case(kind(SHORT), SHORT)],
    "Completeness": lambda kind: [Case(kind(), moves=False)],
    "Deletion": lambda kind: [
        Case(kind(), moves=False),
        Case(kind(pairs=3), TIED, moves=True),
        Case(kind(by="magnitude", removal=assay.Blur(0.5, axes="T")), moves=False),
    ],
    "AverageDrop": lambda kind: [
        Case(kind(), moves=False, target=probability),
        Case(kind("positive", outputs="scores"), moves=False),
    ],
    "AverageIncrease": lambda kind: [Case(kind(), moves=False, target=probability)],
    "AverageGain": lambda kind: [Case(kind(), moves=False, target=probability)],
    # The inputs of this contract are no images, which are what it imputes by default.
    "Road": lambda kind: [Case(kind(removal=None)), Case(kind(removal=None), TIED)],
}


def probability(outputs: Tensor) -> Tensor:
    return outputs.softmax(1)[:, 0]


@dataclass(frozen=True)
class Tied(Method):
    """Credit with ties: the signs of another answer."""

    def values(self, question: assay.Question, seed: int) -> Tensor:
        return question.slope().sign() * (question.x > 0)


TIED = Tied()


def cases_of(name: str, kind: type[Any]) -> list[Case]:
    """The cases of a metric; one without a line above is made without settings, or fails here."""
    if name in _CASES:
        return _CASES[name](kind)
    try:
        return [Case(kind().for_method(IG))]
    except TypeError as error:
        raise AssertionError(
            f"{name} needs settings ({error}): give it a line in _CASES of {__file__}"
        ) from error


ALL = [case for name, kind in sorted(METRICS.items()) for case in cases_of(name, kind)]


@pytest.fixture(params=ALL, ids=lambda case: repr(case.metric)[:60])
def case(request: pytest.FixtureRequest) -> Case:
    made: Case = request.param
    return made


def equal(one: Tensor, other: Tensor) -> bool:
    """Whether scores are the same numbers, and missing for the same inputs."""
    alike = (one == other) | (torch.isnan(one) & torch.isnan(other))
    return bool(alike.all())


def ask(n: int = 6, net: Any = None, x: Tensor | None = None, **more: Any) -> assay.Question:
    x = randn(n, FEATURES, seed=3, dtype=DOUBLE) if x is None else x
    # Of each input's own numbers, so that it follows them into any order.
    settings = {"target": 0, "truth": x > 0, **more}
    return assay.Question(tanh_net().to(x.dtype) if net is None else net, x, **settings)


def score(case: Case, question: assay.Question, seed: int = 0) -> Score:
    question = case.of(question)
    return case.metric(question, case.method(question), seed=seed)


def same(ours: Score, theirs: Score, rows: Any = slice(None), tolerance: float = 1e-9) -> None:
    pairs = [
        (ours.values, theirs.values),
        *((ours.details[name], theirs.details[name]) for name in theirs.details),
    ]
    if theirs.error is not None:
        assert ours.error is not None
        pairs.append((ours.error, theirs.error))
    for one, other in pairs:
        torch.testing.assert_close(one, other[rows], rtol=tolerance, atol=tolerance, equal_nan=True)


def test_every_metric_on_the_list_is_one() -> None:
    for name, kind in METRICS.items():
        assert issubclass(kind, Metric)
        assert kind.__name__ == name
        assert kind.cost
        assert kind.direction in ("lower", "higher")


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_batch_size_changes_nothing(case: Case, rows: int) -> None:
    net = tanh_net().double()
    same(score(case, ask(net=assay.wrap(net, batch_size=rows))), score(case, ask(net=net)))


def test_shards_change_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = score(case, ask(70), seed=3)
    monkeypatch.setattr("assay.question.derivations._SHARD", 1)
    same(score(case, ask(70), seed=3), whole)


def test_the_order_of_inputs_changes_nothing(case: Case) -> None:
    order, x = torch.tensor([4, 0, 5, 3, 1, 2]), randn(6, FEATURES, seed=3, dtype=DOUBLE)
    same(score(case, ask(x=x[order])), score(case, ask(x=x)), order)


def test_an_input_alone_gets_the_score_it_gets_in_a_crowd(case: Case) -> None:
    x = randn(6, FEATURES, seed=3, dtype=DOUBLE)
    same(score(case, ask(x=x[2:3])), score(case, ask(x=x)), slice(2, 3))


def test_the_seed_decides_the_draws_and_global_generators_do_not(case: Case) -> None:
    found, net = [], tanh_net().double()
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
        found.append(score(case, ask(net=net), seed=7))
        assert torch.equal(torch.random.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
        assert random.getstate() == before[2]
    assert equal(found[0].values, found[1].values)
    moved = not equal(score(case, ask(), seed=8).values, found[0].values)
    assert case.moves in (moved, None)


def test_a_metric_that_draws_nothing_is_found_out() -> None:
    assert not Case(Completeness()).draws()
    assert Case(Infidelity(draws=20)).draws()


def test_the_model_the_inputs_and_the_attribution_are_left_as_found(case: Case) -> None:
    net = tanh_net().double().train()
    before = state(net)
    inputs = randn(6, FEATURES, seed=3, dtype=DOUBLE)
    whole = inputs.clone()
    question = case.of(ask(net=net, x=inputs))
    attribution = case.method(question)
    held = (attribution.values, attribution.base, attribution.prediction, question.x)
    copies = [tensor.clone() for tensor in held]
    case.metric(question, attribution)
    assert state(net) == before
    assert torch.equal(inputs, whole)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(held, copies))


def test_the_callers_grad_mode_changes_nothing(case: Case) -> None:
    net = tanh_net().double()
    usual = score(case, ask(net=net))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            same(score(case, ask(net=net)), usual)


def test_single_precision_comes_near_double(case: Case) -> None:
    x = randn(6, FEATURES, seed=3)
    plain, fine = score(case, ask(x=x)), score(case, ask(x=x.double()))
    assert plain.values.dtype == fine.values.dtype == DOUBLE
    if not case.draws():
        torch.testing.assert_close(plain.values, fine.values, rtol=1e-3, atol=1e-5, equal_nan=True)
    coarse = score(case, ask(x=x.bfloat16())).values
    # No score but where a metric says why there may be none, and there is none in double either.
    none = torch.isnan(fine.values) & bool(case.metric.why)
    assert bool((torch.isfinite(coarse) | none).all())


def test_settings_are_frozen_and_their_repr_evaluates_back(case: Case) -> None:
    # The module of a class knows its name and, mostly, those of its settings.
    own = vars(sys.modules[type(case.metric).__module__])
    names = {**vars(perturbations), **own, **vars(assay)}
    assert eval(repr(case.metric), names) == case.metric
    with pytest.raises(AttributeError):
        case.metric.anything = 1  # type: ignore[attr-defined]


def test_a_saved_score_is_the_score(case: Case, tmp_path: Any) -> None:
    made = score(case, ask(), seed=2)
    made.save(tmp_path / "score.safetensors")
    loaded = Score.load(tmp_path / "score.safetensors")
    same(loaded, made, tolerance=0)
    assert (loaded.name, loaded.direction, loaded.units, loaded.provenance) == (
        made.name,
        made.direction,
        made.units,
        made.provenance,
    )


def test_attributions_are_compared_on_the_same_draws_and_the_same_answers(case: Case) -> None:
    question = case.of(ask())
    first = case.method(question)
    second = Attribution(
        2 * first.values,
        first.base,
        first.prediction,
        first.names,
        first.shape,
        first.kind,
        provenance=first.provenance,
    )
    together = case.metric.each(question, [first, second])
    same(together[0], case.metric(question, first), tolerance=0)
    same(together[1], case.metric(question, second), tolerance=0)


def test_the_answers_are_asked_once_for_all_that_are_compared() -> None:
    rows: list[int] = []
    net = tanh_net().double()

    def model(x: Tensor) -> Tensor:
        rows.append(len(x))
        out: Tensor = net(x)
        return out

    question = ask(net=model)
    attributions = [
        IG(question),
        assay.InputXGradient()(question),
        assay.TimesInput(assay.Gradient())(question),
    ]
    asked = []
    for some in (attributions[:1], attributions):
        rows.clear()
        Infidelity(draws=20).each(question, some)
        asked.append(sum(rows))
    assert asked[0] == asked[1] == 6 * 20


# --- twins


def infidelity_by_hand(
    question: assay.Question, attribution: Attribution, law: Any, draws: int, seed: int
) -> Tensor:
    """Definition 2.1 of Yeh et al. 2019, one input and one perturbation at a time."""
    total = law.size(question, draws)
    drawn = law.draw(question, seed, (0, total))
    out = torch.zeros(question.n, dtype=DOUBLE)
    for i in range(question.n):
        errors = []
        for k in range(total):
            step = drawn.step[i, k]
            if attribution.kind == "slope":
                account = float(step @ attribution.values[i])
            else:
                removed = drawn.removed[0 if len(drawn.removed) == 1 else i, k]
                account = sum(
                    float(attribution.values[i, f]) for f in range(len(removed)) if removed[f]
                )
            single = question.part(i, i + 1)
            change = float(single.prediction) - float(
                single.score((question.x[i] - step).unsqueeze(0))
            )
            errors.append((account - change) ** 2)
        out[i] = sum(errors) / total
    return out


IMAGES = randn(2, 1, 4, 4, seed=2, dtype=DOUBLE)


@pytest.mark.parametrize(
    ("law", "method"),
    [
        (SubsetToBaseline(0.3), IG),
        (SubsetToBaseline(), assay.Gradient()),
        (DifferenceToBaseline(), IG),
        (NoisyBaseline(0.3), assay.Gradient()),
        (GaussianNoise(0.3), assay.Gradient()),
        (Squares((1, 2, 3)), IG),
        (Squares((2,), sampled=True), IG),
    ],
)
@pytest.mark.parametrize("features", [assay.Elements(), assay.Pixels()])
def test_infidelity_is_its_definition(law: Any, method: Method, features: Any) -> None:
    question = assay.Question(
        lambda x: torch.sin(x).flatten(1).sum(1) * x[:, 0, 0, 0],
        IMAGES,
        features=features,
        removal=assay.Baseline(0.3),
    )
    attribution = method(question)
    made = Infidelity(law, draws=12)(question, attribution, seed=4)
    torch.testing.assert_close(
        made.values, infidelity_by_hand(question, attribution, law, 12, 4), rtol=1e-10, atol=1e-12
    )


def test_squares_are_every_square_once() -> None:
    question = assay.Question(lambda x: x.flatten(1).sum(1), IMAGES, features=assay.Pixels())
    drawn = Squares((1, 2, 3)).draw(question, 0, (0, 29))
    found = {tuple(mask.tolist()) for mask in drawn.removed[0]}  # type: ignore[index]
    by_hand = set()
    for side in (1, 2, 3):
        for top in range(4 - side + 1):
            for left in range(4 - side + 1):
                inside = torch.zeros(4, 4, dtype=torch.bool)
                inside[top : top + side, left : left + side] = True
                by_hand.add(tuple(inside.flatten().tolist()))
    assert found == by_hand
    assert len(found) == Squares((1, 2, 3)).size(question, 5) == 16 + 9 + 4


def test_removed_features_step_back_to_what_is_absent() -> None:
    question = assay.Question(
        lambda x: x.flatten(1).sum(1),
        IMAGES,
        features=assay.Patches(2),
        removal=assay.Baseline(0.5),
    )
    drawn = SubsetToBaseline().draw(question, 0, (0, 6))
    assert drawn.removed is not None
    rows = torch.arange(2).repeat_interleave(6)
    kept = question.partition.spread(~drawn.removed.flatten(0, 1), rows).view(2, 6, 16)
    expected = torch.where(kept, question.x.unsqueeze(1), question.absent.unsqueeze(1))
    torch.testing.assert_close(question.x.unsqueeze(1) - drawn.step, expected)


@pytest.mark.parametrize("ball", ["linf", "l2"])
def test_sensitivity_is_its_definition(ball: Any) -> None:
    question, radius, draws = ask(), 0.3, 9
    metric = MaxSensitivity(IG, radius, ball, draws)
    made = metric(question, IG(question), seed=5)
    from assay.numerics import rng

    moves = metric._moves(
        rng.streams(5, question.keys, "sensitivity"), (0, draws), FEATURES, DOUBLE
    )
    lengths = moves.abs().amax(2) if ball == "linf" else moves.norm(dim=2)
    assert bool((lengths <= radius).all())
    net, clean = tanh_net().double(), IG(question).values
    for i in range(6):
        ratios, slopes = [], []
        for k in range(draws):
            near = IG(ask(x=(question.x[i] + moves[i, k]).unsqueeze(0), net=net)).values[0]
            change = float((near - clean[i]).norm())
            ratios.append(change / float(clean[i].norm()))
            slopes.append(change / float(moves[i, k].norm()))
        assert float(made.values[i]) == pytest.approx(max(ratios), abs=1e-10)
        assert float(made.details["mean"][i]) == pytest.approx(sum(ratios) / draws, abs=1e-10)
        assert float(made.details["lipschitz"][i]) == pytest.approx(max(slopes), abs=1e-9)


def test_moves_are_uniform_in_their_ball() -> None:
    from assay.numerics import rng

    streams = rng.streams(0, rng.identities([b"a"]), "sensitivity")
    flat = MaxSensitivity(IG, 1.0, "l2")._moves(streams, (0, 40_000), 2, DOUBLE)[0]
    area = flat.norm(dim=1) ** 2  # uniform on [0, 1] for a uniform point of the disc
    assert abs(float(area.mean()) - 0.5) < 5 * (1 / 12 / 40_000) ** 0.5
    box = MaxSensitivity(IG, 1.0, "linf")._moves(streams, (0, 40_000), 2, DOUBLE)[0]
    assert abs(float(box.mean())) < 5 * (1 / 3 / 80_000) ** 0.5
    assert abs(float(box.var()) - 1 / 3) < 0.01


def test_completeness_is_the_gap_and_its_share() -> None:
    question = ask(removal=assay.Baseline(0.4))
    values = randn(6, FEATURES, seed=9, dtype=DOUBLE)
    attribution = Attribution(
        values, question.base, question.prediction, ("a",) * 4, (4,), "contribution"
    )
    made = Completeness()(question, attribution)
    due = question.prediction - question.base
    torch.testing.assert_close(made.values, (values.sum(1) - due).abs())
    torch.testing.assert_close(made.details["relative"], (values.sum(1) - due).abs() / due.abs())


def test_a_standard_error_says_how_far_the_draws_may_be_off() -> None:
    question = ask()
    attribution = assay.Gradient()(question)
    metric = Infidelity(GaussianNoise(0.3), draws=50)
    many = [metric(question, attribution, seed=seed) for seed in range(100)]
    spread = torch.stack([each.values for each in many]).std(0)
    stated = (
        torch.stack([each.error for each in many if each.error is not None]).square().mean(0).sqrt()
    )
    torch.testing.assert_close(stated, spread, rtol=0.35, atol=0)


# --- worse explanations score worse


def test_scores_fall_as_noise_is_mixed_in() -> None:
    question = ask(30)
    exact, noise = assay.Gradient()(question), randn(30, FEATURES, seed=8, dtype=DOUBLE)
    means = []
    for share in (0.0, 0.5, 1.0):
        values = (1 - share) * exact.values + share * noise
        mixed = Attribution(
            values, exact.base, exact.prediction, exact.names, exact.shape, exact.kind
        )
        means.append(Infidelity(GaussianNoise(0.1), 200)(question, mixed).mean)
    negated = Attribution(
        -exact.values, exact.base, exact.prediction, exact.names, exact.shape, exact.kind
    )
    assert means[0] < means[1] < means[2]
    assert means[0] < Infidelity(GaussianNoise(0.1), 200)(question, negated).mean


# --- refusals


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Infidelity(draws=1), InputError, "at least 2 draws"),
        (lambda: SubsetToBaseline(0.0), InputError, "between 0 and 1, got 0.0"),
        (lambda: SubsetToBaseline(1.0), InputError, "between 0 and 1, got 1.0"),
        (lambda: GaussianNoise(0.0), SettingError, "positive sigma, got 0.0"),
        (lambda: NoisyBaseline(-1.0), SettingError, "positive sigma, got -1.0"),
        (lambda: Squares(()), SettingError, r"at least 1 pixel, got \(\)"),
        (lambda: Squares((3, 0)), SettingError, r"at least 1 pixel, got \(3, 0\)"),
        (lambda: MaxSensitivity(IG, radius=0.0), InputError, "positive radius"),
        (lambda: MaxSensitivity(IG, draws=0), InputError, "at least one draw"),
        (lambda: MaxSensitivity(IG, ball="l1"), InputError, "'linf' or 'l2'"),
        (lambda: MaxSensitivity("gradient"), KindError, "Expected a method"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        make()
    assert caught.value.advice  # type: ignore[attr-defined]


def test_what_a_metric_cannot_measure_is_refused_before_the_work() -> None:
    calls: list[int] = []
    net = tanh_net().double()

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        out: Tensor = net(x)
        return out

    question = ask(net=model)
    slopes, contributions = assay.Gradient()(question), IG(question)
    grouped = ask(net=model, features=assay.Labels(torch.tensor([0, 0, 1, 1])))
    pooled = assay.Gradient()(grouped)
    calls.clear()
    refusals: list[tuple[Any, Any, Any, str]] = [
        (MaxSensitivity(), question, slopes, "method to ask again"),
        (Infidelity(GaussianNoise(0.1)), question, contributions, "Expected slopes"),
        (Infidelity(Squares()), question, slopes, "on an image"),
        (Infidelity(), grouped, pooled, r"TimesInput\(method\)"),
        (Infidelity(), grouped, slopes, r"shape \(6, 2\).*got \(6, 4\)"),
    ]
    for metric, asked, attribution, message in refusals:
        with pytest.raises(AssayError, match=f"(?s){message}") as caught:
            metric(asked, attribution)
        assert caught.value.advice
        assert caught.value.asked == f"{metric!r} of {asked!r}"
    assert calls == []
    with pytest.raises(KindError, match="Expected a Question"):
        Completeness()(net, slopes)  # type: ignore[arg-type]
    with pytest.raises(KindError, match="Expected an Attribution"):
        Completeness()(question, slopes.values)  # type: ignore[arg-type]
    broken = Attribution(
        slopes.values * torch.nan,
        slopes.base,
        slopes.prediction,
        slopes.names,
        slopes.shape,
        "slope",
    )
    with pytest.raises(InputError, match="finite attribution values"):
        Completeness()(question, broken)
    whole = assay.Question(lambda x: x.double().sum(1), torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises((KindError, AbilityError), match="floating inputs"):
        MaxSensitivity(IG)(
            whole,
            Attribution(torch.ones(2, 3), torch.ones(2), torch.ones(2), ("a",) * 3, (3,), "slope"),
        )


def test_a_model_that_fails_under_a_metric_says_which_metric_asked() -> None:
    """What goes wrong during the work bears the metric and the question, as it does for methods."""
    broken = False

    def model(x: Tensor) -> Tensor:
        return x.sum(1) * (torch.nan if broken else 1.0)

    question = ask(net=model)
    attribution = IG(question)
    broken = True
    metric = Infidelity(draws=2)
    with pytest.raises(ModelError, match="finite") as caught:
        metric(question, attribution)
    assert caught.value.asked == f"{metric!r} of {question!r}"
    assert caught.value.__notes__ == [f"Asked: {caught.value.asked}"]


@dataclass(frozen=True)
class OneAtATime(Perturbation):
    """A stranger's law: every feature is removed once."""

    fixed = True

    def size(self, question: assay.Question, draws: int) -> int:
        return question.partition.count

    def draw(
        self, question: assay.Question, seed: int, draws: tuple[int, int]
    ) -> PerturbationBatch:
        removed = torch.eye(question.partition.count, dtype=torch.bool)[slice(*draws)]
        difference = question.x - question.absent
        return PerturbationBatch(difference.unsqueeze(1) * removed, removed.unsqueeze(0))


def test_a_strangers_law_needs_draw_alone() -> None:
    question = ask()
    made = Infidelity(OneAtATime())(question, assay.Occlusion()(question))
    torch.testing.assert_close(made.values, torch.zeros(6, dtype=DOUBLE))
    assert made.error is None
