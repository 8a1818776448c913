"""What was once wrong with the page, or lacking: errors and sums of bars, numbers of colours, long
facts, and photographs that look different beside others; which inputs are shown of many.
"""

from __future__ import annotations

import dataclasses
import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import assay
from assay.comparison.comparing import compare
from assay.pages.report_page import report
from assay.pages.telling import telling
from assay.pictures.numbers import number
from assay.question.question import Question


def written(comparison: object, folder: Path, **settings: object) -> str:
    return report(comparison, folder / "page.html", **settings).read_text(encoding="utf-8")  # type: ignore[arg-type]


def words(page: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", body.replace("<wbr>", ""))))


def sampled(features: int = 14) -> Question:
    rows = np.random.default_rng(0).normal(size=(2, features))
    return Question(lambda x: x.prod(1) + x[:, 0] * x[:, 1] + x.sum(1), rows)


# --- bars (finding 7)


def test_bars_show_their_errors_and_what_cannot_be_told_from_zero(tmp_path: Path) -> None:
    answer = assay.PermutationShapley(orderings=8)(sampled(4))
    assert answer.standard_error is not None
    # One credit that is surely there, and one that is not.
    values = torch.tensor([[2.0, 0.1, -1.0, 0.5]] * 2, dtype=torch.float64)
    errors = torch.tensor([[0.1, 0.2, 0.0, 0.1]] * 2, dtype=torch.float64)
    made = dataclasses.replace(answer, values=values, standard_error=errors)
    page = written((sampled(4), [made], {}), tmp_path)
    whiskers = re.findall(r'<b style="left:([0-9.]+)%;width:([0-9.]+)%"></b>', page)
    # The strongest, 2, is half a cell: an error of 0.1 is 1.96 * 0.1 / 2 * 50 = 4.9 to either side.
    assert [(float(left), float(width)) for left, width in whiskers[:3]] == [
        (pytest.approx(95.1, abs=0.01), pytest.approx(4.9, abs=0.01)),
        (pytest.approx(57.6, abs=0.01), pytest.approx(9.8, abs=0.01)),
        (pytest.approx(42.7, abs=0.01), pytest.approx(19.6, abs=0.01)),
    ]
    assert len(whiskers) == 6
    assert page.count('class="bar unsure"') == 2
    assert "± 0.20" in words(page)


def test_bars_add_up_to_the_prediction(tmp_path: Path) -> None:
    asked = sampled()
    answer = assay.ExactShapley()(asked)
    said = words(written((asked, [answer], {}), tmp_path))
    for i in range(2):
        credit = answer.values[i]
        shown = credit.abs().argsort(descending=True)[:10]
        others = float(credit.sum() - credit[shown].sum())
        told = re.findall(r"4 others together\s*(\S+)", said)[i]
        assert float(told.replace("−", "-")) == pytest.approx(others, abs=5e-3)
    assert said.count("not accounted for (gap)") == 2
    # Slopes are not added up.
    slopes = words(written((asked, [gradient_by_hand(asked)], {}), tmp_path))
    assert "others together" not in slopes
    assert "gap)" not in slopes


def gradient_by_hand(asked: Question) -> assay.Attribution:
    answer = assay.ExactShapley()(asked)
    return dataclasses.replace(answer, kind="slope", gap=None)


# --- maps and photographs (findings 8 and 16)


def image_question(x: torch.Tensor) -> Question:
    return Question(lambda rows: rows.reshape(len(rows), -1).sum(1), x)


def test_the_number_of_the_full_colour_is_told_and_what_lies_beyond(tmp_path: Path) -> None:
    credit = torch.full((1, 20, 20), 0.25)
    credit[0, 0, :6] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, -50.0])
    asked = image_question(credit)
    answer = assay.InputXGradient()(Question(Sums(), credit, removal=assay.Baseline(0.0)))
    assert torch.equal(answer.values.reshape(20, 20), credit[0])
    page = words(written((asked, [answer], {}), tmp_path))
    full = float(np.quantile(credit.abs().numpy(), 0.99))
    beyond = int((credit.abs() > full).sum())
    assert 0 < beyond < 6
    assert f"±{number(full)}{beyond} places beyond" in page.replace(" ", "").replace(
        "placesbeyond", " places beyond"
    )
    small = words(written(one_map(torch.tensor([[[1.0, -2.0], [0.5, 0.0]]])), tmp_path))
    assert "±2.00" in small
    assert "beyond" not in small.replace("may lie beyond", "")


class Sums(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).sum(1)


def one_map(x: torch.Tensor) -> object:
    asked = Question(Sums(), x)
    return asked, [assay.InputXGradient()(asked)], {}


def test_what_black_and_white_stand_for_is_said_where_nobody_could_know(tmp_path: Path) -> None:
    standard = torch.tensor([[[-2.0, 0.5], [1.0, 3.0]], [[0.0, 0.0], [0.0, 1.0]]])
    said = words(written(one_map(standard), tmp_path))
    assert "black stands for −2.00, white for 3.00, the ends of all 2 inputs together" in said
    for known in (standard.clamp(0, 1), standard.clamp(0, 1) * 255):
        assert "black stands for" not in words(written(one_map(known), tmp_path))


# --- facts (finding 11)


def test_many_numbers_of_a_fact_are_told_by_their_mean_and_range(tmp_path: Path) -> None:
    asked = sampled(3)
    answer = assay.ExactShapley()(asked)
    facts = {"r2": [0.1234567890123456, 0.5, 0.75, 0.9, 1.0], "few": [1, 2], "names": ["a"] * 9}
    page = words(written((asked, [dataclasses.replace(answer, facts=facts)], {}), tmp_path))
    assert "r2: 0.655 on average, 0.123 to 1.00; few: [1, 2]; names: ['a'," in page
    assert "0.1234567890123456" not in page


# --- reached by keyboard (finding 13)


def test_every_region_that_scrolls_can_be_reached_and_has_a_name(tmp_path: Path) -> None:
    asked = image_question(torch.rand(3, 4, 4))
    page = written(
        compare(asked, ["Occlusion", "Rise(masks=80, grid=2)"], ["Completeness"]), tmp_path
    )
    regions = re.findall(r'<div class="scroll"([^>]*)>', page)
    assert len(regions) >= 4
    for attributes in regions:
        assert re.fullmatch(r' tabindex="0" role="region" aria-label="[^"]+"', attributes)
    names = re.findall(r'role="region" aria-label="([^"]+)"', page)
    assert len(set(names)) == len(names)


# --- of many inputs the most telling ones


def linear(n: int) -> Question:
    return Question(lambda x: x.sum(1), np.random.default_rng(1).normal(size=(n, 3)))


def test_of_many_inputs_the_most_telling_ones_are_shown_with_their_reasons(tmp_path: Path) -> None:
    asked = linear(500)
    right = assay.ExactShapley()(asked)
    wrong = right.values.clone()
    wrong[77] = -wrong[77]
    scores = torch.zeros(500, dtype=torch.float64)
    scores[123] = 9.0
    score = assay.Score("Error", scores, "lower")
    other = assay.Score("Error", scores + 1, "lower")
    answers = {"right": right, "turned": dataclasses.replace(right, values=wrong)}
    made = (asked, answers, {"Error": [score, other]})
    page = written(made, tmp_path, inputs=3)
    said = words(page)
    assert "3 of 500 inputs, the most telling ones; each says why it is here." in said
    assert "input 78 (the methods differ most)" in said
    assert "input 124 (right scores worst)" in said
    assert "(the methods agree most)" in said
    assert page.count("<h3>input ") == 3


def test_few_inputs_are_all_shown_and_one_method_shows_the_first(tmp_path: Path) -> None:
    few = compare(linear(4), ["ExactShapley", "Occlusion"], ["Completeness"])
    assert telling(few, 4) == dict.fromkeys(range(4), "")
    alone = (linear(9), [assay.ExactShapley()(linear(9))], {})
    assert words(written(alone, tmp_path, inputs=2)).count("without everything") == 2


@pytest.mark.parametrize("methods", [2, 20])
def test_two_methods_or_twenty(tmp_path: Path, methods: int) -> None:
    candidates = {f"m{k}": "Occlusion" if k % 2 else "ExactShapley" for k in range(methods)}
    page = written(compare(linear(8), candidates, ["Completeness"]), tmp_path)
    assert all(f">m{k}<" in page for k in range(methods))
    assert len(page) < 60_000 * methods


# --- what is proven, and how far to trust it


def test_certificates_are_on_the_page(tmp_path: Path) -> None:
    torch.manual_seed(0)
    asked = Question(torch.nn.Linear(6, 2), torch.randn(3, 6))
    answer = assay.Occlusion()(asked)
    proofs = assay.MultiplicativeSmoothing(kept=1, levels=8).certify(asked, answer.top(2))
    page = written((asked, [answer], {}), tmp_path, certificates={"the top two": proofs})
    said = words(page)
    assert "What is proven" in said
    for i, proof in enumerate(proofs):
        row = f"input {i + 1} 2 of 6 {proof.incremental} {proof.decremental}"
        assert re.search(re.sub(" ", r"\\s*", row), said)
    assert all(sentence in said for sentence in proofs[0].assumptions)
    assert "certainty" in said


def test_the_evidence_about_a_comparison_is_on_the_page(tmp_path: Path) -> None:
    asked = Question(
        lambda x: x[:, 0] * x[:, 1] + x[:, 2], np.random.default_rng(0).normal(size=(8, 3))
    )
    found = compare(
        asked, ["ExactShapley", "Occlusion", "KernelShap"], ["Infidelity(draws=8)", "Completeness"]
    )
    lasting = found.persistence("Infidelity(draws=8)", {"draws": [4, 16]})
    said = words(written(found, tmp_path, persistence=[lasting], skills=True))
    agreement = found.agreement
    assert f"Kendall's W of 2 metrics about 3 methods is {agreement.w:.2f} of their means" in said
    assert (
        f"of one input {agreement.per_input:.2f} [{agreement.low:.2f}, {agreement.high:.2f}]"
        in said
    )
    assert "has the best mean under" in said
    assert "of 2 other settings of its metric" in said
    assert f"have it with a chance of {lasting.chance:.2f}, on average" in said
    for row in found.skills().itertuples():
        assert number(row.skill) in said
    needed = found.inputs_needed()
    finite = needed[~needed.real & np.isfinite(needed.needed)]
    for row in finite.itertuples():
        assert f"{row.needed:,.0f}" in said
    # The optimum is asked for on request alone.
    assert "Skill:" not in words(written(found, tmp_path))


def test_a_page_that_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compare(linear(3), ["ExactShapley"], ["Completeness"])
    (tmp_path / "page.html").write_text("what was there")

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(assay.errors.InputError, match="No space left"):
        report(found, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "what was there"


def test_names_of_features_may_be_anything(tmp_path: Path) -> None:
    hostile = ["<script>", "$x$", "{{ 7 }}", "w" * 300, "\u202eright to left", "\U0001f600"]
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(3, 6)), columns=hostile)
    asked = Question(lambda x: x.to_numpy().sum(1), frame)
    page = written(compare(asked, ["Occlusion"], ["Completeness"]), tmp_path)
    assert "<script" not in page
    assert all(name in unescape(page) for name in hostile)
