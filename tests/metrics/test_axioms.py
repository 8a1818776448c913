"""Axioms as gaps: counterexamples that are known, and every claim of every method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.errors import AssayError
from assay.methods import METHODS
from assay.methods.base import Axiom, Method
from assay.metrics import axioms
from assay.metrics.axioms import methods_table
from assay.metrics.axioms.kinds import KINDS
from assay.metrics.axioms.methods_table import reports, standard_questions
from toys import randn, state, tanh_net

DOUBLE = torch.float64
ROOT = Path(__file__).resolve().parents[2]


def rows(net: Any = None, **more: Any) -> assay.Question:
    net = tanh_net().double() if net is None else net
    return assay.Question(net, randn(3, 4, seed=3, dtype=DOUBLE), **{"target": 1, **more})


@dataclass(frozen=True)
class Claims(Method):
    """x f(x)^2 and some more: keeps invariance and input axioms only by chance; claims all."""

    @property
    def axioms(self) -> frozenset[Axiom]:
        return frozenset(Axiom) - {Axiom.COMPLETENESS}

    def values(self, question: assay.Question, seed: int) -> Tensor:
        return -question.x * question.prediction[:, None] ** 2 + torch.arange(4) + 1


@dataclass(frozen=True)
class Nothing(Method):
    """No credit at all."""

    def values(self, question: assay.Question, seed: int) -> Tensor:
        return torch.zeros(question.n, question.partition.count, dtype=DOUBLE)


# --- gaps that are known


def test_the_gaps_of_the_gradient_are_as_by_hand() -> None:
    net = tanh_net().double()
    question = rows(net)
    report = axioms.check(assay.Gradient(), question)
    slopes = assay.Gradient()(question).values
    gap = (slopes.sum(1) - (question.prediction - question.base)).abs()
    finding = report["completeness"]
    assert finding.kept is False
    assert finding.input == int(gap.argmax())
    assert finding.gap == pytest.approx(float(gap.max()), rel=1e-12)
    assert torch.equal(finding.evidence["x"], question.x[finding.input])
    # A feature that is 0 already still has its slope.
    worst = 0.0
    for feature in (0, 2, 3):
        x = question.x.clone()
        x[:, feature] = 0
        there = assay.Gradient()(assay.Question(net, x, target=1)).values[:, feature]
        worst = max(worst, float(there.abs().max()))
    missing = report["missingness"]
    assert missing.kept is False
    assert missing.gap == pytest.approx(worst, rel=1e-12)
    assert report["sensitivity (b)"].kept
    assert report["linearity"].kept
    assert report["input invariance"].kept


def test_integrated_gradients_depend_on_the_origin_and_keep_the_rest() -> None:
    report = axioms.check(assay.IntegratedGradients(), rows())
    assert [name for name in report if not report[name].kept] == ["input invariance"]
    assert report.broken_claims == ()


def test_no_credit_fails_where_something_changes() -> None:
    report = axioms.check(Nothing(), rows())
    broken = [name for name in report if report[name].kept is False]
    assert broken == ["completeness", "sensitivity (a)", "local accuracy"]
    question = rows()
    alone = torch.zeros(3, 3, 4, dtype=DOUBLE)
    for place, feature in enumerate((0, 2, 3)):
        alone[:, place, feature] = question.x[:, feature]
    net = tanh_net().double()
    with torch.no_grad():
        change = (net(alone.flatten(0, 1)) - net(torch.zeros(1, 4, dtype=DOUBLE)))[:, 1].abs()
    assert report["sensitivity (a)"].gap == pytest.approx(float(change.max()), rel=1e-9)


def test_a_claim_that_does_not_hold_is_found() -> None:
    report = axioms.check(Claims(), rows())
    assert set(report.broken_claims) == {"sensitivity (b)", "linearity", "symmetry", "consistency"}
    assert "not kept, claimed, gap" in repr(report["linearity"])


def test_a_rule_that_looks_at_rectifiers_is_no_function_of_the_function() -> None:
    net = tanh_net(activation=nn.ReLU).double()
    report = axioms.check(assay.GuidedBackprop(), rows(net), axioms=["implementation invariance"])
    assert report["implementation invariance"].kept is False
    assert "activations by other formulas" in report["implementation invariance"].why
    plain = axioms.check(assay.Gradient(), rows(net), axioms=["implementation invariance"])
    assert plain["implementation invariance"].kept


def test_a_twin_of_ones_own_has_to_be_the_same_function() -> None:
    net = tanh_net().double()
    names = ["implementation invariance"]
    same = axioms.check(assay.Gradient(), rows(net), axioms=names, twin=lambda x: net(x + 0.0))
    assert same[names[0]].kept
    other = axioms.check(assay.Gradient(), rows(net), axioms=names, twin=tanh_net(5).double())
    assert not other[names[0]].asked
    assert "twin that computes" in other[names[0]].why


def test_a_feature_that_counts_for_more_must_not_get_less() -> None:
    @dataclass(frozen=True)
    class Perverse(Method):
        """Minus the Shapley values."""

        def values(self, question: assay.Question, seed: int) -> Tensor:
            return -assay.ExactShapley()(question).values

    question = rows()
    finding = axioms.check(Perverse(), question, axioms=["consistency"])["consistency"]
    assert finding.kept is False
    # A half of |f(x)|, of at least 1, is added to the feature, and all of it goes the wrong way.
    expected = 0.5 * float(question.prediction.abs().clamp_min(1.0).max())
    assert finding.gap == pytest.approx(expected, rel=1e-9)
    assert axioms.check(assay.ExactShapley(), question, axioms=["consistency"])["consistency"].kept


def test_two_features_that_enter_alike() -> None:
    @dataclass(frozen=True)
    class Numbered(Method):
        """Credit by place."""

        def values(self, question: assay.Question, seed: int) -> Tensor:
            return torch.arange(4.0, dtype=DOUBLE).expand(question.n, 4)

    finding = axioms.check(Numbered(), rows(), axioms=["symmetry"])["symmetry"]
    assert finding.gap == 3.0
    shapley = axioms.check(assay.ExactShapley(), rows(), axioms=["symmetry"])["symmetry"]
    assert shapley.kept
    assert shapley.gap < 1e-12


def test_sampled_answers_are_allowed_their_error() -> None:
    method = assay.SamplingShapley(draws=50)
    report = axioms.check(method, rows(), axioms=["sensitivity (b)", "linearity"])
    assert report["linearity"].kept
    loud = axioms.check(assay.ExpectedGradients(draws=20), rows(removal=assay.Baseline(0.1)))
    assert loud.broken_claims == ()


def test_the_models_that_are_asked_are_left_as_they_were() -> None:
    net = tanh_net().double().train()
    before = state(net)
    for method in (assay.Gradient(), assay.ExactShapley()):
        axioms.check(method, rows(net))
    assert state(net) == before


def test_what_cannot_be_checked_is_refused_or_said() -> None:
    with pytest.raises(AssayError, match="axioms among"):
        axioms.check(assay.Gradient(), rows(), axioms=["honesty"])
    with pytest.raises(AssayError, match="a method and a Question"):
        axioms.check("Gradient", rows())  # type: ignore[arg-type]
    shares = axioms.check(assay.Gradient(), rows(target=assay.LogProb(1)), axioms=["linearity"])
    assert "linear in the outputs" in shares["linearity"].why
    background = rows(removal=assay.Background(randn(5, 4, dtype=DOUBLE)))
    report = axioms.check(assay.ExactShapley(), background)
    assert not report["missingness"].asked
    assert report["completeness"].kept


# --- every method

PAGE = (ROOT / "docs" / "axioms.md").read_text(encoding="utf-8").splitlines()


def written(found: dict[str, axioms.Report | None], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of the page with what was found already."""
    monkeypatch.setattr(methods_table, "reports", lambda methods=None: found)
    return methods_table.page().splitlines()


@pytest.mark.parametrize("name", METHODS)
def test_every_claim_of_every_method_holds_and_its_row_in_the_docs_is_current(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = reports({name: METHODS[name]})[name]
    [row] = [
        line for line in written({name: report}, monkeypatch) if line.startswith(f"| {name} |")
    ]
    assert row in PAGE, "docs/axioms.md is out of date: make docs"
    if report is None:
        pytest.skip("it answers neither standard question")
    assert set(report) == set(KINDS)
    assert report.broken_claims == (), repr(report)


def test_the_page_of_the_docs_holds_every_method_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = written(dict.fromkeys(METHODS), monkeypatch)
    for line, kept in zip(frame, PAGE, strict=True):
        # Of a row the name: what was found is held above.
        length = 2 if line.startswith("| ") else None
        assert line.split("|")[:length] == kept.split("|")[:length], "out of date: make docs"


def test_most_methods_are_asked() -> None:
    asked = [line for line in PAGE if line.startswith("| ") and "kept" in line]
    assert len(asked) > 30
    about_rows, about_pictures = standard_questions()
    assert about_rows.partition.shape == (4,)
    assert about_pictures.partition.count == 12
