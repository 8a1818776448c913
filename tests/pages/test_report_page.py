"""The page: self-contained, escaped, accessible, and saying what the numbers say."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from PIL import Image

from assay.answers.attribution import Attribution
from assay.answers.score import Score
from assay.comparison.comparing import compare
from assay.comparison.comparison import Comparison
from assay.comparison.ranking import ranking
from assay.errors import InputError, KindError
from assay.features.elements import Columns, Elements, Labels
from assay.features.images import Patches, Pixels
from assay.methods.gradients.gradient import Gradient, InputXGradient
from assay.methods.gradients.paths import IntegratedGradients
from assay.methods.shapley.sampling import SamplingShapley
from assay.metrics.faithfulness.completeness import Completeness
from assay.metrics.faithfulness.infidelity import Infidelity
from assay.metrics.sensitivity.max_sensitivity import MaxSensitivity
from assay.pages.report_page import _verdict, report
from assay.pages.strips import Scale
from assay.pictures import images as pictures
from assay.pictures.numbers import form_of, number
from assay.question.question import Question
from assay.removals.fixed import Baseline

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}


class Reader(HTMLParser):
    """Collects tags and checks that they close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def image_question(n: int = 5, channels: int = 1, side: int = 6, **settings: object) -> Question:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(channels * side * side, 8),
        torch.nn.Tanh(),
        torch.nn.Linear(8, 3),
    )
    return Question(net, torch.rand(n, channels, side, side), **settings)  # type: ignore[arg-type]


def compared(question: Question) -> Comparison:
    return compare(
        question,
        [InputXGradient(), IntegratedGradients(steps=4)],
        [Completeness()],
        references=True,
    )


def page_of(comparison: object, path: Path, **settings: object) -> str:
    return report(comparison, path / "page.html", **settings).read_text(encoding="utf-8")  # type: ignore[arg-type]


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    page = page_of(compared(image_question()), tmp_path)
    reader = Reader(page)
    assert reader.open == []
    assert page.startswith("<!doctype html>")
    assert not reader.all("script")
    assert not reader.all("link")
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:|//|file:)", page)
    assert all(
        str(image["src"]).startswith("data:image/png;base64,") for image in reader.all("img")
    )
    assert len(reader.all("img")) == 5 * 3
    assert "prefers-color-scheme: dark" in page


def test_the_page_can_be_read_aloud(tmp_path: Path) -> None:
    reader = Reader(page_of(compared(image_question()), tmp_path))
    assert reader.all("html")[0]["lang"] == "en"
    alts = [image["alt"] or "" for image in reader.all("img")]
    assert all(alts)
    assert any("most in favour [" in alt for alt in alts)
    assert all(head.get("scope") in ("col", "row") for head in reader.all("th"))
    ids = {attributes.get("id") for _, attributes in reader.tags} - {None}
    assert {section["aria-labelledby"] for section in reader.all("section")} <= ids


def test_text_from_data_is_escaped(tmp_path: Path) -> None:
    torch.manual_seed(0)
    names = (EVIL, "b", 'c" onload="x')
    asked = Question(
        torch.nn.Linear(3, 2), torch.randn(4, 3), target=0, features=Columns(names=names)
    )
    answers = [InputXGradient()(asked)]
    scores = {EVIL: [Score(EVIL, torch.ones(4), "lower", units=EVIL, why=EVIL)]}
    page = page_of((asked, {EVIL: answers[0]}, scores), tmp_path, labels=[EVIL] * 4, title=EVIL)
    assert "<script" not in page
    assert 'onload="x"' not in page
    assert page.count("&lt;script&gt;") >= 6
    image = page_of(compared(image_question(n=2)), tmp_path, labels=[EVIL, '" onerror="alert(1)'])
    assert "<script" not in image
    assert 'onerror="alert' not in image
    assert Reader(image).open == []


def test_the_page_says_what_the_comparison_says(tmp_path: Path) -> None:
    found = compare(
        image_question(n=8),
        [Gradient(), InputXGradient()],
        [Infidelity(draws=4), Completeness(), MaxSensitivity(draws=2)],
        references=True,
    )
    page = page_of(found, tmp_path)
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.replace("<wbr>", "")))
    for metric in found.metrics:
        ranked = found.rankings[metric]
        leader = ranked.places[0]
        said = form_of(place.mean for place in (*ranked.places, *ranked.references))
        assert said(leader.mean) in plain
        assert f"[{said(leader.low)}, {said(leader.high)}]" in plain
    assert "has the best mean" in plain or "is the best" in plain
    assert "asks the method again" in plain
    assert found.question.digest in plain
    assert "Gradient(), InputXGradient()" in plain
    assert "of 1 difference between two methods" in plain
    assert torch.__version__ in plain


def test_bars_for_what_is_no_picture(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.tensor([[1.0, -2.0, 0.5] + [0.01] * 12])
    asked = Question(
        lambda rows: rows @ np.array([[2.0], [1.0], [1.0]] + [[1.0]] * 12, dtype=np.float32), x
    )
    answer = gathered_answer(asked)
    page = page_of((asked, [answer], {}), tmp_path)
    reader = Reader(page)
    widths = [str(each["style"]) for each in reader.all("i") if each.get("style")]
    assert len(widths) == 10
    assert widths[0] == "left:50.00%;width:50.00%"
    assert widths[1] == "left:0.00%;width:50.00%"
    assert widths[2] == "left:50.00%;width:12.50%"
    assert "5 more features with less credit" in page
    assert "No metric was asked." in page
    assert not reader.all("img")


def gathered_answer(asked: Question) -> Attribution:
    values = asked.x * torch.tensor([2.0, 1.0, 1.0] + [1.0] * 12)
    return Attribution(
        values,
        torch.zeros(1),
        values.sum(1),
        asked.partition.names,
        asked.partition.shape,
        "contribution",
    )


def test_bars_tell_the_standard_errors_of_the_answer(tmp_path: Path) -> None:
    asked = Question(lambda rows: rows.prod(1), torch.rand(2, 4, dtype=torch.float64))
    sampled = SamplingShapley(draws=5)(asked)
    assert sampled.standard_error is not None
    page = page_of((asked, [sampled], {}), tmp_path)
    told = re.findall(r'title="standard error (.*?)"', page)
    assert sorted(told) == sorted(
        number(error) for error in sampled.standard_error.flatten().tolist()
    )


def test_every_input_says_what_is_left_without_everything(tmp_path: Path) -> None:
    rows = torch.tensor([[1.0, -2.0], [0.5, 4.0]], dtype=torch.float64)
    asked = Question(lambda rows: 3 + rows.sum(1), rows, removal=Baseline(0.25))
    page = page_of((asked, [InputXGradient()(asked)], {}), tmp_path)
    assert page.count("without everything: 3.50") == 2
    assert "2.00; without everything" in page
    assert "7.50; without everything" in page


def test_who_is_better_by_more_than_chance_is_said_with_the_risk() -> None:
    far = np.random.default_rng(0).normal(size=(2, 30)) + np.array([[0.0], [5.0]])
    columns = dict(zip(["near", "far"], far))
    scores = {
        name: Score("Gap", torch.from_numpy(column), "lower") for name, column in columns.items()
    }
    assert _verdict(ranking("Gap", scores)) == (
        "near is the best: it differs from every other method by more than chance (significant at "
        "5 %, adjusted for all pairs)."
    )
    assert "significant at 10 %" in _verdict(ranking("Gap", scores, level=0.9))


def test_who_cannot_be_told_from_the_best_is_said() -> None:
    base = np.random.default_rng(0).normal(size=30)
    near = base + 0.01 * np.random.default_rng(1).normal(size=30)
    columns = {"a": base, "b": near, "c": base + 3}
    scores = {
        name: Score("Gap", torch.from_numpy(column), "lower") for name, column in columns.items()
    }
    first, second = sorted("ab", key=lambda name: columns[name].mean())
    said = _verdict(ranking("Gap", scores))
    assert said == f"{first} has the best mean; it cannot be told apart from {second}."
    two = {name: scores[name] for name in "ab"}
    assert _verdict(ranking("Gap", two)).endswith(
        "cannot be told apart from any other method here."
    )


def test_noise_is_warned_of_from_a_tenth_of_the_standard_error_on(tmp_path: Path) -> None:
    """Also where inputs are too few for an interval."""
    for n in (4, 9):
        values = torch.arange(n, dtype=torch.float64)
        question = Question(torch.nn.Linear(3, 1), torch.randn(n, 3), target=0)
        answer = InputXGradient()(question)
        for share, warned in ((0.09, False), (0.11, True)):
            # Errors of the mean: those of n inputs alike over the root of n, on both sides.
            errors = torch.full((n,), share * float(values.std()), dtype=torch.float64)
            score = Score("Gap", values, "lower", error=errors)
            page = page_of((question, {"a": answer}, {"Gap": [score]}), tmp_path)
            assert ("more draws would sharpen it" in page) is warned
            assert ("less than a tenth of each standard error" in page) is not warned


def test_too_few_inputs_for_any_difference_are_said() -> None:
    scores = {
        name: Score("Gap", torch.full((4,), value, dtype=torch.float64), "lower")
        for name, value in {"a": 0.45, "b": 1.1e8}.items()
    }
    assert _verdict(ranking("Gap", scores)) == (
        "a has the best mean. Between 2 methods no difference can be shown on 4 inputs: it takes 8. "
        "Fewer than 8 inputs give no interval: ask about 8 or more."
    )


def test_a_page_of_few_inputs_shows_no_interval_and_says_why(tmp_path: Path) -> None:
    why = "ewer than 8 inputs give no interval: ask about 8 or more"
    for n, few in ((7, True), (8, False)):
        page = page_of(compared(image_question(n=n)), tmp_path)
        # By metric: in what came out, and beside its scores.
        assert page.count(why) == (2 if few else 0)
        assert ('<span class="interval">[' in page) is not few
        assert bool(re.search(r'<td class="whole">\[', page)) is not few
        assert ('<td class="whole">–</td>' in page) is few
        assert "nan" not in re.sub(r"<style.*?</style>|data:[^\"]*", "", page, flags=re.S)


def test_answers_in_half_precision_are_drawn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2).bfloat16()
    asked = Question(net, torch.randn(2, 3), target=0)
    page = page_of(compare(asked, [InputXGradient()], [Completeness()]), tmp_path)
    assert "InputXGradient" in page


def test_facts_of_answers_by_hand_may_be_anything(tmp_path: Path) -> None:
    asked = image_question(n=2)
    made = InputXGradient()(asked)
    facts = {"forwards": "many", "seconds": None, "backwards": np.int64(1234), "why": [1, 2]}
    page = page_of((asked, [dataclasses.replace(made, facts=facts)], {}), tmp_path)
    assert "forwards: many; seconds: None; why: [1, 2]" in page
    assert "<td>1,234</td>" in page


def test_the_page_says_the_level_that_was_asked_for(tmp_path: Path) -> None:
    found = compare(
        image_question(), [Gradient(), InputXGradient()], [Infidelity(draws=4)], level=0.9
    )
    page = page_of(found, tmp_path)
    assert page.count("90 % interval") >= 5
    assert "95 %" not in page


def test_tables_scroll_sideways_alone_and_long_names_break(tmp_path: Path) -> None:
    page = page_of(compared(image_question()), tmp_path)
    rules = dict(re.findall(r"^([^{}@]+?) \{ (.*?) \}", page, re.MULTILINE))
    assert "overflow-x: auto; overflow-y: hidden;" in rules[".scroll"]
    assert "overflow-wrap: anywhere" in page.partition("ul.verdicts li {")[2].partition("}")[0]
    assert "break-inside: avoid" in page.partition("@media print")[2].partition("\n")[0]


def test_sixteen_inputs_are_drawn_unless_another_number_is_said(tmp_path: Path) -> None:
    found = compared(image_question(n=17))
    assert len(Reader(page_of(found, tmp_path)).all("img")) == 16 * 3
    assert len(Reader(page_of(found, tmp_path, inputs=17)).all("img")) == 17 * 3


def test_only_some_inputs_are_drawn(tmp_path: Path) -> None:
    page = page_of(compared(image_question(n=5)), tmp_path, inputs=2)
    assert "2 of 5 inputs, the most telling ones; each says why it is here." in page
    assert len(Reader(page).all("img")) == 2 * 3


def test_refusals(tmp_path: Path) -> None:
    found = compared(image_question())
    with pytest.raises(InputError, match="one label for each of 5"):
        report(found, tmp_path / "a.html", labels=["a"])
    with pytest.raises(InputError, match="for 5 inputs"):
        report(found, tmp_path / "a.html", images=np.zeros((4, 6, 6)))
    with pytest.raises(InputError, match="1 or 3 channels"):
        report(found, tmp_path / "a.html", images=np.zeros((5, 7, 6, 7)))
    with pytest.raises(KindError, match="Comparison"):
        report("nothing", tmp_path / "a.html")  # type: ignore[arg-type]
    assert not (tmp_path / "a.html").exists()


def decoded(picture: pictures.Picture) -> np.ndarray:
    raw = base64.b64decode(picture.address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")).astype(int)


def test_heat_is_symmetric_around_white() -> None:
    values = np.array([[-2.0, -1.0, 0.0], [1.0, 2.0, 0.0]])
    pixels = decoded(pictures.heat(values, ""))
    assert pixels.shape == (2, 3, 3)
    assert (pixels[0, 2] >= 245).all()
    assert pixels[1, 1, 0] > pixels[1, 1, 2] + 50
    assert pixels[0, 0, 2] > pixels[0, 0, 0] + 50
    expected = [np.round(255 * np.array(colormaps["RdBu_r"](x)[:3])) for x in (0.0, 1.0)]
    np.testing.assert_array_equal(pixels[0, 0], expected[0])
    np.testing.assert_array_equal(pixels[1, 1], expected[1])
    assert (decoded(pictures.heat(np.zeros((2, 2)), "")) >= 245).all()


def test_one_strong_place_does_not_bleach_a_large_map() -> None:
    values = np.full((40, 40), 1.0)
    values[0, 0] = 1000.0
    pixels = decoded(pictures.heat(values, ""))
    np.testing.assert_array_equal(pixels[5, 5], pixels[0, 0])


def test_credit_maps_for_every_kind_of_feature() -> None:
    elements = image_question(channels=3, features=Elements())
    answer = InputXGradient()(elements)
    expected = answer.values.double().reshape(5, 3, 6, 6).sum(1).numpy()
    np.testing.assert_allclose(pictures.credit_maps(elements, answer), expected, atol=1e-10)
    pixels = image_question(channels=3, features=Pixels())
    np.testing.assert_allclose(
        pictures.credit_maps(pixels, InputXGradient()(pixels)), expected, atol=1e-6
    )
    patches = image_question(channels=3, features=Patches(4))
    credit = InputXGradient()(patches)
    drawn = pictures.credit_maps(patches, credit)
    for i, (row, column) in enumerate([(0, 0), (0, 5), (5, 0), (5, 5)]):
        np.testing.assert_allclose(
            drawn[:, row, column], credit.values[:, i].double().numpy(), atol=1e-10
        )
    labels = torch.zeros(6, 6, dtype=torch.int64)
    labels[0], labels[1] = -1, 1
    mapped = image_question(channels=3, features=Labels(labels))
    credit = InputXGradient()(mapped)
    drawn = pictures.credit_maps(mapped, credit)
    assert (drawn[:, 0] == 0).all()
    np.testing.assert_allclose(drawn[:, 1, 2], credit.values[:, 1].double().numpy(), atol=1e-10)


def test_photos_accept_what_people_have() -> None:
    asked = image_question(n=2)
    whole = np.zeros((2, 4, 4, 3))
    whole[..., 0] = 255
    seen = pictures.photos(asked, whole)
    assert seen is not None
    assert seen.shape == (2, 4, 4, 3)
    assert seen[0, 0, 0].tolist() == [1.0, 0.0, 0.0]
    first = pictures.photos(asked, np.moveaxis(whole, -1, 1))
    np.testing.assert_array_equal(first, seen)
    own = pictures.photos(asked, None)
    assert own is not None
    np.testing.assert_allclose(own, asked.x.double().numpy().reshape(2, 6, 6), atol=1e-12)
    standard = pictures.photos(asked, np.linspace(-2, 2, 2 * 16).reshape(2, 4, 4))
    assert standard is not None
    assert (standard.min(), standard.max()) == (0.0, 1.0)
    assert pictures.photos(image_question(n=2, channels=5), None) is None


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_linear_scale_holds_its_range(low: float, width: float) -> None:
    scale = Scale.linear(low, low + width)
    rounding_tolerance = 1e-6 * (abs(low) + width + 1e-12)
    assert scale.low <= low + rounding_tolerance
    assert scale.high >= low + width - rounding_tolerance
    assert 2 <= len(scale.ticks) <= 7
    assert scale.at(scale.low) == 0.0
    assert scale.at(scale.high) == pytest.approx(100.0, rel=1e-12)
    assert list(scale.ticks) == sorted(scale.ticks)


def test_a_logarithmic_scale_is_even_in_decades() -> None:
    scale = Scale.logarithmic(0.02, 500)
    assert (scale.low, scale.high) == (0.01, 1000.0)
    assert [scale.at(tick) for tick in scale.ticks] == pytest.approx(
        [0, 20, 40, 60, 80, 100], abs=1e-9
    )
    assert scale.at(1e9) == 100.0
    assert math.isclose(scale.at(1e-9), 0.0, abs_tol=1e-12)


def test_words_for_a_map() -> None:
    assert pictures.in_words([0.0, 0.0], ["a", "b"]) == "no credit anywhere"
    assert (
        pictures.in_words([0.5, -0.25], ["a", "b"])
        == "most in favour a (+0.5), most against b (-0.25)"
    )
    assert pictures.in_words([0.5, 0.25], ["a", "b"]) == "most in favour a (+0.5)"
