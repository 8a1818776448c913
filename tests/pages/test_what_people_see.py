"""The page shows what people handed in: names of categories, words in their sentence, classes by
their label, levels as levels; and one form of numbers in a column.
"""

from __future__ import annotations

import base64
import io
import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import colormaps
from PIL import Image
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import assay
from assay.comparison.comparing import compare
from assay.pages.explained import explained
from assay.pages.report_page import report
from assay.pictures import images as pictures
from assay.pictures.numbers import form_of
from assay.question.question import Question


def plain(comparison: object, path: Path, **settings: object) -> str:
    """The words of a page, without its tags and style."""
    page = report(comparison, path / "page.html", **settings).read_text(encoding="utf-8")  # type: ignore[arg-type]
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", body.replace("<wbr>", ""))))


def decoded(picture: pictures.Picture) -> np.ndarray:
    raw = base64.b64decode(picture.address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")).astype(int)


def people() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": [27, 45, 31, 60, 38, 52],
            "job": ["Private", "State-gov", "Private", "State-gov", "Private", "State-gov"],
            "gain": [7298.0, 0.0, 0.0, 15024.0, 0.0, 2.5],
        }
    )


def fitted(table: pd.DataFrame) -> object:
    encoder = make_column_transformer((OneHotEncoder(), ["job"]), remainder="passthrough")
    wealthy = np.array(["<=50K", ">50K", "<=50K", ">50K", "<=50K", ">50K"])
    return make_pipeline(encoder, LogisticRegression(max_iter=5000)).fit(table, wealthy)


def asked_of_a_table(target: object) -> Question:
    table = people()
    return Question(fitted(table), table, target=target, removal=assay.Background(table[:2]))  # type: ignore[arg-type]


def test_a_category_is_shown_by_its_name_and_a_class_by_its_label(tmp_path: Path) -> None:
    found = compare(asked_of_a_table(1), ["ExactShapley"], ["Completeness"])
    said = plain(found, tmp_path)
    assert "job = State-gov" in said
    assert "job = Private" in said
    assert "age = 27 " in said
    assert "gain = 7298 " in said
    assert "P(class 1 = >50K): " in said


def test_every_row_names_its_own_class() -> None:
    asked = asked_of_a_table(assay.Predicted())
    labels = ["<=50K", ">50K"]
    classes = [int(value) for value in asked.fixed_target.index]  # type: ignore[attr-defined]
    assert explained(asked) == tuple(f"P(class {k} = {labels[k]})" for k in classes)
    assert len(set(classes)) == 2


def test_the_score_of_two_classes_is_that_of_the_second() -> None:
    rows = np.array([[0.0], [1.0], [2.0], [3.0]])
    model = LogisticRegression().fit(rows, np.array(["bad", "bad", "good", "good"]))
    scores = Question(assay.wrap(model, output="decision_function"), rows[:1])
    assert explained(scores) == ("score of class 1 = good",)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1], "P(class 1)"),
        ([0.0, 1.0], "P(class 1)"),
        ([1, 2], "P(class 1 = 2)"),
        (["0", "1"], "P(class 1 = 1)"),
        ([False, True], "P(class 1 = True)"),
    ],
)
def test_a_label_that_is_the_number_of_its_class_is_said_once(
    labels: list[object], said: str
) -> None:
    rows = np.array([[0.0], [1.0], [2.0], [3.0]])
    model = LogisticRegression().fit(rows, np.array(labels)[[0, 0, 1, 1]])
    assert explained(Question(model, rows[:1], assay.Output(1))) == (said,)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (2, "output 2"),
        (assay.Negated(0), "minus output 0"),
        (assay.Contrast(1, 2), "output 1 rather than output 2"),
        (assay.LogOdds(1), "log-odds of output 1"),
    ],
)
def test_targets_in_words(target: object, said: str) -> None:
    net = torch.nn.Linear(2, 3)
    asked = Question(net, torch.ones(1, 2), target=target)  # type: ignore[arg-type]
    assert explained(asked) == (said,)


def test_a_text_stands_in_its_sentence(tmp_path: Path) -> None:
    praise = lambda texts: np.array([("good" in text) - 2.0 * ("dull" in text) for text in texts])  # noqa: E731
    asked = Question(praise, ["A good film, though.", "So dull"])
    found = compare(asked, ["ExactShapley"], ["Completeness"])
    said = plain(found, tmp_path)
    assert "A good film, though." in said
    assert "So dull" in said
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'style="background:rgba(192,57,43,0.65)" title="1.00">good</span> ' in page
    assert 'style="background:rgba(47,111,176,0.65)" title="−2.00">dull</span>' in page


def test_levels_are_drawn_from_their_lowest(tmp_path: Path) -> None:
    values = np.array([[0.9, 0.91], [0.92, 1.0]])
    pixels = decoded(pictures.heat(values, "", level=True))
    ends = [np.round(255 * np.array(colormaps["viridis"](share)[:3])) for share in (0.0, 1.0)]
    np.testing.assert_array_equal(pixels[0, 0], ends[0])
    np.testing.assert_array_equal(pixels[1, 1], ends[1])
    flat = decoded(pictures.heat(np.full((2, 2), 0.7), "", level=True))
    np.testing.assert_array_equal(flat[0, 0], ends[0])
    words = pictures.in_words([0.5, 0.25], ["a", "b"], level=True)
    assert words == "highest a (0.5), lowest b (0.25)"


def test_a_published_rise_is_a_level_and_the_default_is_none(tmp_path: Path) -> None:
    asked = Question(lambda x: 3 + x[:, 0, :2].mean(1), np.ones((2, 4, 4), dtype=np.float32))
    methods = [assay.Rise(masks=80, grid=2, estimator="ratio"), assay.Rise(masks=80, grid=2)]
    found = compare(asked, methods, ["MaxSensitivity(draws=2)"])
    level, centred = (found.attributions[name] for name in found.methods)
    assert "level" in level.facts
    # Four places share a cell of the grid.
    assert (centred.kind, "level" in centred.facts) == ("weight", False)
    said = plain(found, tmp_path)
    assert "highest score: Rise(masks=80, grid=2, estimator='ratio') gives levels" in said


def test_a_column_has_one_form_of_numbers() -> None:
    near = form_of([8.03e-4, 0.00205, -0.0123])
    assert [near(value) for value in (8.03e-4, 0.00205, -0.0123)] == [
        "0.00080",
        "0.00205",
        "−0.01230",
    ]
    far = form_of([1.5e-5, 9.8, 0.0])
    assert [far(value) for value in (1.5e-5, 9.8, 0.0)] == ["1.50e−05", "9.80e+00", "0"]
    assert form_of([])(0.25) == "0.25"
    assert form_of([1.0])(float("nan")) == "–"


def test_a_winner_that_is_worse_than_saying_nothing_is_called_so(tmp_path: Path) -> None:
    # The slope of a cube times the input is three times what the input adds.
    asked = Question(lambda x: (x**3).sum(1), torch.ones(8, 3))
    worse = plain(compare(asked, ["InputXGradient"], ["Infidelity"]), tmp_path)
    assert "Saying nothing (all zeros) scores better than the best of them" in worse
    right = plain(compare(asked, ["ExactShapley"], ["Infidelity"]), tmp_path)
    assert "Saying nothing" not in right


def test_what_is_nothing_asks_for_no_powers_of_ten() -> None:
    # A zero, and the difference of two equal scores in single precision.
    form = form_of([-19.2, 0.0, 17.84, -5.53e-7])
    shown = [form(value) for value in (-19.2, 0.0, 17.84, -5.53e-7, -0.004)]
    assert shown == ["−19.2", "0", "17.8", "≈ 0", "≈ 0"]


def test_no_column_of_a_page_has_powers_of_ten_for_rounding(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    asked = Question(
        lambda x: (x**2).sum(1) + x[:, 0] * x[:, 1], 5 * torch.rand(12, 4, generator=generator)
    )
    # The first two are exact for a quadratic: their scores differ by rounding alone.
    found = compare(asked, ["ExactShapley", "IntegratedGradients", "Gradient"], ["Infidelity"])
    steps = [abs(pair.facts.difference) for pair in found.rankings["Infidelity()"].pairs]
    assert 0 < min(steps) < 1e-6 < 100 < max(steps)
    said = plain(found, tmp_path)
    assert re.search(r"\d+e\+\d", said) is None
    assert "≈ 0" in said


def test_maps_are_as_large_as_there_is_room_and_enlarge(tmp_path: Path) -> None:
    asked = Question(
        lambda x: x[:, 0, :2].mean(axis=1), np.random.default_rng(0).random((2, 20, 20))
    )
    found = compare(asked, ["Occlusion"], ["Completeness"], references=False)
    page = report(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "width: 260px; height: auto;" in page
    assert re.findall(r'<a class="map" id="(.*?)" href="#(.*?)">', page) == [
        ("map-1-1", "map-1-1"),
        ("map-2-1", "map-2-1"),
    ]
    assert page.count('<tr style="--photo:url(data:image/png;base64,') == 2


def test_names_of_ones_own_are_how_to_do_it_again(tmp_path: Path) -> None:
    asked = Question(lambda x: x.sum(1), np.ones((3, 2)))
    found = compare(asked, {"fair shares": "ExactShapley"}, ["Completeness"])
    said = plain(found, tmp_path)
    assert "fair shares is the only method with a score." in said
    assert 'methods={ "fair shares": ExactShapley()' in said
