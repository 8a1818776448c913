"""What single pictures claim: places of dots, scales of maps, bands, tests and ceilings, whole numbers."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import assay
from assay import pictures
from assay.comparison.ranking import ranking
from assay.errors import InputError, KindError, SettingError
from assay.numerics import statistics
from assay.pictures.described import intervals_of
from assay.pictures.drawing.kinds import hexagons
from assay.pictures.drawing.marks import Band, Box, Dots, Line, Mark, Raster
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Axis
from assay.pictures.graphs import laid_out
from assay.pictures.lines import simultaneous_band
from assay.pictures.many.drift import changes
from assay.pictures.numbers import number
from pictures.samples import (
    SAMPLES,
    answer_of,
    certificates,
    drawn,
    molecule_answer,
    picture_answers,
    picture_question,
    plain,
    region_question,
    table_answer,
    table_question,
    text_of,
)


def marks_of(panel: Panel, start: str) -> list[Mark]:
    return [mark for mark in panel.marks if mark.gid.startswith(start)]


def dots_of(panel: Panel, gid: str) -> Dots:
    [mark] = [mark for mark in panel.marks if mark.gid == gid]
    assert isinstance(mark, Dots)
    return mark


# --- swarms and dependence


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=60))
def test_dots_of_a_swarm_lie_at_their_credit_and_never_on_each_other(credit: list[float]) -> None:
    chart = pictures.swarm(answer_of(np.array(credit)[:, None]))
    [panel] = chart.panels
    dots = dots_of(panel, "dots-0")
    np.testing.assert_array_equal(dots.x, credit)
    pitch = (panel.x.high - panel.x.low) / 120
    bins = np.floor((dots.x - panel.x.low) / pitch)
    places = set(zip(bins.tolist(), dots.y.tolist()))
    assert len(places) == len(credit)
    assert (np.abs(dots.y) <= 0.45 + 1e-12).all()


def test_all_rows_of_a_swarm_have_one_thickness_for_a_dot() -> None:
    """Four dots in one place have the step of forty in the place of another row."""
    values = np.zeros((100, 2))
    values[:, 0] = np.linspace(-1, 1, 100)
    values[:40, 1] = 0.5
    values[40:, 1] = np.linspace(-1, 0.4, 60)
    values[:4, 0] = 0.5
    panel = pictures.swarm(answer_of(values)).panels[0]
    steps = []
    for row in range(2):
        up = np.unique(np.abs(dots_of(panel, f"dots-{row}").y - row).round(12))
        steps.append(up[up > 0].min())
    assert steps[0] == pytest.approx(steps[1], abs=1e-12)


def test_colours_of_a_swarm_are_ranks_of_values() -> None:
    chart = pictures.swarm(table_answer(), question=table_question())
    [panel] = chart.panels
    names = [text for _, text in panel.y.ticks]
    a = dots_of(panel, f"dots-{names.index('a')}")
    values = table_question().x[:, 0].numpy()
    order = np.argsort(values)
    lightness = [
        int(colour[1:3], 16) + int(colour[3:5], 16) for colour in np.array(a.colours)[order]
    ]
    assert lightness == sorted(lightness)
    b = dots_of(panel, f"dots-{names.index('b')}")
    assert b.colours[3] == "#8c8c8c"
    assert any(key.text == "missing (1)" for key in panel.keys)


def test_a_dot_of_a_dependence_lies_at_its_value() -> None:
    question, answer = table_question(), table_answer()
    panel = pictures.dependence(answer, "a", question=question).panels[0]
    dots = dots_of(panel, "dots-0")
    np.testing.assert_array_equal(dots.x, question.x[:, 0].double().numpy())
    np.testing.assert_array_equal(dots.y, answer.values[:, 0].double().numpy())
    missing = pictures.dependence(answer, 1, question=question)
    assert "1 inputs without a value" in missing.caption
    x = dots_of(missing.panels[0], "dots-0").x
    assert x[3] < np.delete(x, 3).min()
    with pytest.raises(InputError, match="a feature by name"):
        pictures.dependence(answer, "age", question=question)


def test_many_inputs_are_counted() -> None:
    answer = answer_of(np.random.default_rng(0).normal(size=(2500, 2)))
    [panel] = pictures.swarm(answer).panels
    rasters = [mark for mark in panel.marks if isinstance(mark, Raster)]
    assert [raster.values.sum() for raster in rasters] == [2500, 2500]
    assert len({raster.scale for raster in rasters}) == 1


# --- maps


def maps_of(chart: pictures.Chart) -> list[Raster]:
    return [mark for panel in chart.panels for mark in panel.marks if isinstance(mark, Raster)]


def test_maps_share_a_scale_in_one_unit_alone() -> None:
    question = picture_question()
    one, other = picture_answers()
    double = replace(one, values=2 * one.values)
    shared = pictures.image_map({"a": one, "b": double, "c": other}, [0, 1], question=question)
    scales = [raster.scale.high for raster in maps_of(shared)]
    largest = one.values.abs().amax(1).tolist()
    assert scales[:2] == [2 * largest[0]] * 2
    assert scales[3:5] == [2 * largest[1]] * 2
    assert scales[2] == pytest.approx(float(other.values[0].abs().max()), rel=1e-12)
    alike = maps_of(pictures.image_map(one, [0, 1], question=question, scale="all"))
    assert [raster.scale.high for raster in alike] == [max(largest)] * 2
    own = maps_of(pictures.image_map({"a": one, "b": double}, question=question, scale="own"))
    assert own[1].scale.high == 2 * own[0].scale.high
    with pytest.raises(SettingError, match="a credit above 0"):
        pictures.image_map(one, question=question, scale=-1.0)


def test_a_map_is_the_credit_and_what_is_surely_there_less_its_error() -> None:
    question, (one, _) = picture_question(), picture_answers()
    [raster] = maps_of(pictures.image_map(one, question=question))
    np.testing.assert_array_equal(raster.values, one.values[0].reshape(8, 8).numpy())
    errors = torch.full_like(one.values, 1e-3)
    sampled = replace(one, standard_error=errors)
    [sure] = maps_of(pictures.image_map(sampled, question=question, show="sure", joint=False))
    values = raster.values
    expected = np.sign(values) * np.maximum(0, np.abs(values) - 1.959963984540054e-3)
    np.testing.assert_allclose(sure.values, expected, atol=1e-15)
    with pytest.raises(InputError, match="sampling errors"):
        pictures.image_map(one, question=question, show="sure")
    table = assay.Question(torch.nn.Linear(3, 1), torch.rand(2, 3))
    with pytest.raises(InputError, match="pictures for a map"):
        pictures.image_map(assay.Gradient()(table), question=table)


def test_clipping_is_counted_in_words() -> None:
    chart = pictures.image_map(picture_answers()[0], question=picture_question(), clip=0.9)
    [raster] = maps_of(chart)
    beyond = int((np.abs(raster.values) > raster.scale.high).sum())
    assert beyond == 7
    assert f"{beyond} of 64 places beyond" in chart.caption
    assert raster.scale.beyond


def test_no_credit_is_the_colour_of_zero() -> None:
    one = replace(picture_answers()[0], values=torch.zeros(2, 64, dtype=torch.float64))
    chart = pictures.image_map(one, question=picture_question())
    [raster] = maps_of(chart)
    assert raster.scale.ticks == ((0.0, "0"),)
    assert "no credit anywhere" in chart.alt


# --- words


def test_the_ground_of_a_word_has_the_colour_of_its_credit() -> None:
    question, answer = text_of(plain)
    chart = pictures.words(answer, question=question)
    [panel] = chart.panels
    credit = dict(zip(answer.names_of(0), answer.values[0].tolist()))
    written = "".join(mark.text for mark in panel.marks if hasattr(mark, "text"))
    assert "film," in written
    for mark in marks_of(panel, "word-"):
        assert isinstance(mark, Box)
        word = mark.title.partition(":")[0]
        limit = max(abs(value) for value in credit.values())
        expected = round(127 + 127 * credit[word] / limit)
        from assay.pictures.drawing.scales import hexes

        assert mark.fill == hexes("RdBu_r")[expected]
    assert marks_of(panel, "against-")


def test_a_long_text_shows_the_lines_with_the_strongest_words() -> None:
    values = np.zeros(3000)
    values[2950] = 1.0
    labels = [f"word{k}" for k in range(3000)]
    chart = pictures.words(answer_of(values, labels=labels))
    [panel] = chart.panels
    assert panel.y.low == 60
    assert "lines without strong words are left out" in chart.caption
    assert any("word2950" in mark.text for mark in panel.marks if hasattr(mark, "text"))


@pytest.mark.parametrize(
    ("pieces", "joined"),
    [
        (["[CLS]", "rai", "##sin", "##s", "dry", "[SEP]"], ["[CLS]", "raisins", "dry", "[SEP]"]),
        (["A", "Ġgo", "od", "Ġfilm", "</s>"], ["A", "good", "film", "</s>"]),
        (["<s>", "▁a", "▁go", "od", "<pad>"], ["<s>", "a", "good", "<pad>"]),
        (["go", "od</w>", "film</w>"], ["good", "film"]),
        (["a", "good", "film"], ["a", "good", "film"]),
    ],
)
def test_pieces_of_words_are_joined_by_their_sums(pieces: list[str], joined: list[str]) -> None:
    credit = 2.0 ** np.arange(len(pieces))
    answer = answer_of(credit, np.full(len(pieces), 10.0), labels=pieces)
    told = pictures.words(answer, join=True).data
    assert told["word"].tolist() == joined
    assert told["credit"].sum() == credit.sum()
    # Of what is one piece the error is known, and no sum has one.
    alone = [word in pieces or f"Ġ{word}" in pieces or f"▁{word}" in pieces for word in joined]
    alone = [known or f"{word}</w>" in pieces for known, word in zip(alone, joined)]
    assert (told["error"] == 10.0).tolist() == alone
    assert told["error"].isna().tolist() == [not known for known in alone]
    # Without an error there is nothing that it could not be told from.
    unsure = marks_of(pictures.words(answer, join=True).panels[0], "unsure-")
    values = told["credit"][np.array(alone)]
    assert len(unsure) == int((values <= 19.6).sum())
    apart = pictures.words(answer).data
    assert apart["word"].tolist() == pieces
    assert apart["credit"].tolist() == credit.tolist()


def test_characters_of_a_text_are_joined_where_nothing_lies_between() -> None:
    def model(texts: list[str]) -> np.ndarray:
        return np.array([3.0 * ("g" in text) - ("m" in text) for text in texts])

    features = assay.Words(split="characters")
    question = assay.Question(model, ['"good" film, so'], features=features)
    answer = assay.Occlusion()(question)
    chart = pictures.words(answer, question=question, join=True)
    # Marks are characters with credit of their own, and belong to the word that they touch.
    words = dict(zip(chart.data["word"], chart.data["credit"]))
    assert words == {'"good"': 3.0, "film,": -1.0, "so": 0.0}
    written = "".join(mark.text for mark in chart.panels[0].marks if hasattr(mark, "text"))
    assert "film," in written
    assert "joined" in chart.caption
    assert "joined" not in pictures.words(answer, question=question).caption
    bag = assay.Question(model, ["good good"], features=assay.Words(bag=True))
    with pytest.raises(InputError, match="one place each"):
        pictures.words(assay.Occlusion()(bag), question=bag, join=True)


# --- statistics


def test_a_band_holds_the_whole_mean_line_at_once() -> None:
    """Of 300 bands 95 % hold the truth at all 20 points: at least 271, P < 0.001 below."""
    rng = np.random.default_rng(0)
    truth = np.sin(np.linspace(0, 3, 20))
    held = 0
    for _ in range(300):
        noise = np.cumsum(rng.normal(size=(40, 20)), axis=1) * 0.3
        low, high = simultaneous_band(truth + noise)
        held += bool(((low <= truth) & (truth <= high)).all())
    assert 271 <= held <= 299


def test_drift_has_few_false_alarms_and_finds_a_change() -> None:
    rng = np.random.default_rng(0)
    alarms = sum(changes(rng.normal(size=(60, 1)))[0][0] <= 0.05 for _ in range(200))
    assert alarms <= 21  # P(more than 21 of 200 at 5 %) < 0.001
    values = rng.normal(size=(200, 3))
    values[120:, 1] += 2
    p, places = changes(values)
    assert p[1] < 0.01
    assert min(p[0], p[2]) > 0.01
    assert abs(places[1] - 120) <= 5


def test_intervals_of_groups_cover_their_difference() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) < 12
    held = 0
    for _ in range(300):
        values = rng.normal(size=(60, 1)) * np.where(labels, 3.0, 1.0)[:, None] + labels[:, None]
        [row] = pictures.groups(answer_of(values), labels).rows
        held += row.low <= 1.0 <= row.high
    assert 271 <= held <= 298


def test_a_ceiling_is_what_two_runs_reach() -> None:
    rng = np.random.default_rng(0)
    truth = np.linspace(-1, 1, 12)
    errors = np.full(12, 0.4)
    runs = truth + errors * rng.normal(size=(400, 2, 12))
    ranks = runs.argsort(axis=2).argsort(axis=2)
    seen = np.mean([np.corrcoef(pair)[0, 1] for pair in ranks])
    one = answer_of(truth, errors)
    caption = pictures.duel(one, one).caption
    ceiling = float(caption.partition("(ceiling ")[2].partition(")")[0])
    assert ceiling == pytest.approx(seen, abs=0.02)
    exact = answer_of(truth)
    assert "ceiling 1.00), first 6 1.00 (ceiling 1.00)" in pictures.duel(exact, exact).caption
    table = pictures.agreement({"a": exact, "b": exact}).data
    assert table["correlation"].tolist() == pytest.approx([1, 1, 1], abs=1e-12)


def test_differences_of_a_duel_are_real_beyond_their_errors() -> None:
    one = answer_of(np.array([1.0, 1.0]), np.array([0.1, 0.1]))
    other = answer_of(np.array([1.27, 1.29]), np.array([0.1, 0.1]))
    assert pictures.duel(one, other).data["real"].tolist() == [False, True]
    shared = pictures.duel(one, other, shared=True)
    assert shared.data["real"].tolist() == [False, False]
    slopes = replace(other, kind="slope")
    with pytest.raises(InputError, match="in one unit"):
        pictures.duel(one, slopes)


def test_the_distance_from_the_diagonal_is_the_infidelity() -> None:
    question, answer = table_question(), table_answer()
    chart = pictures.faithfulness(answer, question=question, i=1, draws=50)
    squares = (chart.data["said"] - chart.data["lost"]) ** 2
    from assay.pictures.numbers import number

    assert f"Mean squared distance: ExactShapley {number(squares.mean())} [" in chart.alt
    # Of a sum the credit of what is removed is what the target loses.
    x = torch.tensor([[1.0, -2.0, 0.5], [3.0, 1.0, 2.0]], dtype=torch.float64)
    of_sum = assay.Question(lambda rows: rows.sum(1), x, removal=assay.Baseline(0.25))
    exact = assay.ExactShapley()(of_sum)
    whole = pictures.faithfulness(exact, question=of_sum, i=1, draws=30).data
    np.testing.assert_allclose(whole["said"], whole["lost"], rtol=0, atol=1e-10)
    assert whole["lost"].nunique() > 4
    with pytest.raises(KindError, match="contributions"):
        pictures.faithfulness(replace(answer, kind="slope"), question=question)


def test_fewer_than_8_inputs_draw_no_interval_and_say_why() -> None:
    """Curves, groups, running means, standings and differences; the eighth input makes an interval."""
    why = "fewer than 8 inputs give no interval: ask about 8 or more"
    rng = np.random.default_rng(0)
    apart = rng.normal(size=(40, 2)) + 9.0 * (np.arange(40) < 8)[:, None]
    for n in (7, 8):
        few = n < 8
        question = assay.Question(lambda x: x.sin().sum(1), torch.tensor(rng.normal(size=(n, 5))))
        curves = pictures.curves(assay.Deletion()(question, assay.InputXGradient()(question)))
        # Both groups count, and the smaller one decides.
        groups = [pictures.groups(answer_of(apart), side) for side in halves(n)]
        running = pictures.drift(answer_of(apart), window=n)
        scores = {
            name: assay.Score("M", torch.tensor(rng.normal(size=n)) + shift, "lower")
            for name, shift in (("a", 0.0), ("b", 9.0))
        }
        found = ranking("M", scores)
        standings = [pictures.standing(found), pictures.differences(found)]
        for chart in (curves, *groups, running, *standings):
            assert (why in chart.caption) == few
        assert bool(curves.data["low"].isna().all()) == few
        for chart in (*groups, *standings):
            assert all(math.isnan(row.low) == math.isnan(row.high) == few for row in chart.rows)
        for chart in groups:
            assert {row.role for row in chart.rows} == ({"reference"} if few else {"place"})
            assert f"; {0 if few else 2} of 2 significant" in chart.caption
            assert f": {0 if few else 2} of 2 features significant" in chart.alt
        bands = [mark for panel in running.panels for mark in panel.marks if isinstance(mark, Band)]
        assert all(bool(np.isnan(band.low).all()) == few for band in bands)
    # A tenth of 40 inputs are 4: the window is wide enough for an interval by itself.
    assert why not in pictures.drift(answer_of(apart)).caption
    assert "means over 8 inputs" in pictures.drift(answer_of(apart)).caption


def halves(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A group of the first n of 40 inputs, and one of all others."""
    first = np.arange(40) < n
    return first, ~first


def test_what_takes_at_least_8_is_refused_or_left_out() -> None:
    question, answer = table_question(), table_answer()
    with pytest.raises(InputError, match="at least 8 draws, got 7"):
        pictures.faithfulness(answer, question=question, draws=7)
    # Each mean of a line along the values is of 8 inputs or more.
    for n, means in ((15, 0), (16, 2), (39, 4)):
        x = torch.linspace(-1, 1, n, dtype=torch.float64).unsqueeze(1)
        asked = assay.Question(lambda rows: rows[:, 0] ** 3, x)
        [panel] = pictures.dependence(assay.ExactShapley()(asked), 0, question=asked).panels
        lines = [mark for mark in panel.marks if isinstance(mark, Band)]
        assert [len(line.x) for line in lines] == ([means] if means else [])


# --- certificates


def test_radii_are_those_of_the_certificate() -> None:
    for certificate in certificates():
        chart = pictures.radius(certificate)  # type: ignore[arg-type]
        assert chart.data["proven"].tolist() == [certificate.incremental, certificate.decremental]  # type: ignore[attr-defined]
        for row, side in enumerate(("incremental", "decremental")):
            strips = marks_of(chart.panels[0], f"proven-{row}")
            end = strips[0].right if strips else 0  # type: ignore[union-attr]
            assert end == getattr(certificate, side)
    curve = pictures.certified_curve(certificates())  # type: ignore[arg-type]
    for radius, share in zip(curve.data["radius"], curve.data["share"]):
        kept = [certificate.incremental >= radius for certificate in certificates()]  # type: ignore[attr-defined]
        assert share == np.mean(kept)
    eps = math.sqrt(math.log(2 / 0.05) / (2 * len(kept)))
    np.testing.assert_allclose(
        curve.data["high"], np.clip(curve.data["share"] + eps, 0, 1), atol=1e-12
    )
    with pytest.raises(KindError, match="a Certificate"):
        pictures.radius(table_answer())  # type: ignore[arg-type]


# --- the others


def test_atoms_lie_as_far_apart_as_bonds_say() -> None:
    ring = [(k, (k + 1) % 6) for k in range(6)]
    places = laid_out(6, ring)
    lengths = [np.linalg.norm(places[a] - places[b]) for a, b in ring]
    assert np.ptp(lengths) < 1e-3
    apart = [np.linalg.norm(places[a] - places[b]) for a in range(6) for b in range(a)]
    assert min(apart) > 0.9 * min(lengths)
    np.testing.assert_array_equal(places, laid_out(6, ring))
    # Parts without a bond between them lie side by side, a single atom anywhere.
    assert np.isfinite(laid_out(4, [(0, 1)])).all()
    assert laid_out(1, []).shape == (1, 2)


def test_interactions_are_whole_below_the_diagonal() -> None:
    matrix = np.array([[1.0, 0.5], [0.5, -2.0]])
    answer = answer_of(matrix.ravel(), labels=["a", "a x b", "b x a", "b"], shape=(2, 2))
    chart = pictures.interactions(answer)
    rows = chart.data.values.tolist()
    assert rows == [["a", "a", 1.0], ["b", "a", 1.0], ["b", "b", -2.0]]
    with pytest.raises(InputError, match="pairs of features"):
        pictures.interactions(answer_of(np.ones(3)))


def test_inputs_are_in_the_order_that_is_asked() -> None:
    answer = drawn(12, 3, plain)
    by_prediction = pictures.heat(answer, order="prediction").panels[0]
    [line] = marks_of(by_prediction, "line-0")
    assert isinstance(line, Line)
    assert (np.diff(line.y) >= 0).all()
    given = pictures.heat(answer, order=list(range(12))[::-1])
    [line] = marks_of(given.panels[0], "line-0")
    np.testing.assert_array_equal(line.y, answer.prediction.numpy()[::-1])  # type: ignore[union-attr]
    with pytest.raises(InputError, match="each number from 0 to 11 once"):
        pictures.heat(answer, order=[1, 1])


def test_what_the_model_says_of_other_values_is_what_it_says() -> None:
    question = table_question()
    chart = pictures.what_if(question, "a", 2, points=5)
    b, red = float(question.x[2, 1]), 0.0
    kind = question.layout.fold(question.x[2:3])[0]["kind"].tolist()[0]
    red = float(kind == "red")
    for value, target in zip(chart.data["value"], chart.data["target"]):
        assert target == pytest.approx(value + b**2 + red, abs=1e-10)
    with pytest.raises(InputError, match="the category kind"):
        pictures.what_if(question, "kind", 0)


@given(st.floats(1e-6, 1e6), st.floats(1.01, 1e6))
def test_an_axis_has_its_ticks_within_its_ends(low: float, factor: float) -> None:
    for log in (False, True):
        axis = Axis(low, low * factor, log=log)
        ticks = axis.ticks
        assert len({text for _, text in ticks}) == len(ticks)
        for at, _ in ticks:
            assert low * (1 - 1e-9) <= at <= low * factor * (1 + 1e-9)


def test_the_gallery_shows_pictures_that_its_script_makes() -> None:
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs" / "gallery.md").read_text(encoding="utf-8")
    script = (root / "studies" / "gallery.py").read_text(encoding="utf-8")
    shown = re.findall(r"\]\(gallery/(\w+)\.png\)", page)
    assert len(shown) == len(set(shown)) >= 9
    made = set(re.findall(r'"(\w+)": pictures\.\w+\(', script))
    assert set(shown) <= made
    for name in shown:
        file = root / "docs" / "gallery" / f"{name}.png"
        assert file.stat().st_size < 300_000
    sizes = [file.stat().st_size for file in (root / "docs" / "gallery").glob("*.png")]
    assert sum(sizes) < 1_200_000


@pytest.mark.parametrize("edges", [3, [], [[0, 1], [2]], [[0, 99]], [[0.5, 1.0]], "C-O"])
def test_edges_that_are_no_pairs_of_atoms_are_refused(edges: object) -> None:
    with pytest.raises(InputError, match="pairs of atoms"):
        pictures.molecule(molecule_answer(), edges=edges)  # type: ignore[arg-type]


# --- what settings add


def test_a_bar_of_an_importance_is_what_is_for_and_what_is_against() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 6)) * np.linspace(3, 0.5, 6)
    errors = rng.uniform(0.1, 0.4, size=(40, 6))
    chart = pictures.importance(answer_of(values, errors), top=4)
    for row in chart.rows[:4]:
        k = int(row.name[1:])
        assert row.toward == pytest.approx(np.clip(values[:, k], 0, None).mean(), abs=1e-12)
        assert row.toward + row.against == pytest.approx(row.value, abs=1e-12)
        floor = math.sqrt(2 / math.pi) * errors[:, k].mean()
        assert row.floor == pytest.approx(floor, abs=1e-12)
        assert row.unsure == (row.value <= 2 * floor)
    # Of the others the size of their sum, and never the sum of their sizes.
    kept = [int(row.name[1:]) for row in chart.rows[:4]]
    rest = np.delete(values, kept, axis=1)
    assert chart.rows[4].role == "rest"
    assert chart.rows[4].value == pytest.approx(np.abs(rest.sum(axis=1)).mean(), abs=1e-12)
    [panel] = chart.panels
    boxes = {mark.gid: mark for mark in panel.marks if isinstance(mark, Box)}
    for row in chart.rows[:4]:
        toward, against = boxes[f"toward-{row.gid}"], boxes[f"against-{row.gid}"]
        assert (toward.left, against.right) == pytest.approx((0.0, row.end), abs=1e-12)
        assert toward.right == against.left
    slopes = replace(answer_of(values), kind="slope")
    assert all(row.role == "size" for row in pictures.importance(slopes, top=4).rows)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-2, 9)), min_size=1, max_size=60))
def test_every_point_is_counted_in_the_hexagon_around_it(points: list[tuple[float, float]]) -> None:
    x, y = np.array(points).T
    axes, size = (Axis(-6.0, 6.0), Axis(-3.0, 10.0)), (460.0, 300.0)
    tiles, scale = hexagons("density-0", x, y, axes, size, "inputs")
    counts = [int(title.split()[0]) for title in tiles.titles]
    assert sum(counts) == len(points)
    assert scale.high == max(counts)
    # On paper: the nearest centre, at most a corner away, of hexagons with six equal sides.
    unit = np.array([size[0] / 12, size[1] / 13])
    centres = np.stack([tiles.x, tiles.y], axis=1) * unit
    away = np.linalg.norm(np.stack([x, y], axis=1)[:, None] * unit - centres, axis=2)
    assert (away.min(axis=1) <= 9 / math.sqrt(3) + 1e-9).all()
    nearest = away <= away.min(axis=1, keepdims=True) + 1e-9
    only = nearest.sum(axis=1) == 1
    least = nearest[only].sum(axis=0)
    assert (least <= counts).all()
    corners = tiles.corners * unit
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    np.testing.assert_allclose(sides, 9 / math.sqrt(3), rtol=1e-12)


def test_the_partial_dependence_of_a_sum_is_its_credit() -> None:
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(30, 3)))
    question = assay.Question(
        lambda rows: rows[:, 0] ** 2 + 3 * rows[:, 1] - rows[:, 2],
        x,
        removal=assay.Background(torch.tensor(rng.normal(size=(7, 3)))),
    )
    answer = assay.ExactShapley()(question)
    chart = pictures.dependence(answer, 0, question=question, partial=9)
    [line] = marks_of(chart.panels[0], "line-1")
    assert isinstance(line, Line)
    credit = dict(zip(x[:, 0].tolist(), answer.values[:, 0].tolist()))
    assert len(line.x) == 9
    assert (line.x[0], line.x[-1]) == (x[:, 0].min(), x[:, 0].max())
    for value, target in zip(line.x.tolist(), line.y.tolist()):
        assert target == pytest.approx(credit[value], abs=1e-10)
    assert "partial dependence at 9 values" in chart.caption
    with pytest.raises(SettingError, match="at least 2 values"):
        pictures.dependence(answer, 0, question=question, partial=1)
    with pytest.raises(InputError, match="a feature that is measured"):
        pictures.dependence(table_answer(), "kind", question=table_question(), partial=5)


def test_borders_of_regions_lie_where_labels_change() -> None:
    question = region_question()
    chart = pictures.image_map(assay.KernelShap(budget=40)(question), [0, 1], question=question)
    for i in range(2):
        labels = question.partition.labels[i].reshape(3, 16, 16)[0].numpy()
        edges = (labels[:, 1:] != labels[:, :-1]).sum() + (labels[1:] != labels[:-1]).sum()
        assert edges > 0
        for gid in (f"regions-{i}", f"regions-map-{i}"):
            [line] = [mark for panel in chart.panels for mark in panel.marks if mark.gid == gid]
            assert isinstance(line, Line)
            assert np.isnan(line.x).sum() == edges
            # Every edge has another region on either side.
            for k in range(0, len(line.x), 3):
                (a, b), (c, d) = line.x[k : k + 2], line.y[k : k + 2]
                if a == b:
                    row = int(min(c, d) + 0.5)
                    assert labels[row, int(a - 0.5)] != labels[row, int(a + 0.5)]
                else:
                    column = int(min(a, b) + 0.5)
                    assert labels[int(c - 0.5), column] != labels[int(c + 0.5), column]
    # Pixels have no borders, which would hide the map.
    plain_map = pictures.image_map(picture_answers()[0], question=picture_question())
    assert not [mark for panel in plain_map.panels for mark in panel.marks if "regions" in mark.gid]


def test_a_certified_curve_has_the_accuracy_of_the_model() -> None:
    listed = certificates()
    right = [certificate.selected for certificate in listed]  # type: ignore[attr-defined]
    bare = [certificate.bare for certificate in listed]  # type: ignore[attr-defined]
    labels = [right[0], right[1], (right[2] + 1) % 3, right[3]]
    chart = pictures.certified_curve(listed, labels=labels)  # type: ignore[arg-type]
    [line] = marks_of(chart.panels[0], "accuracy")
    assert line.y.tolist() == [np.mean([a == b for a, b in zip(bare, labels)])] * 2  # type: ignore[union-attr]
    for radius, share in zip(chart.data["radius"], chart.data["share, right"]):
        known = [
            certificate.incremental >= radius and certificate.selected == label  # type: ignore[attr-defined]
            for certificate, label in zip(listed, labels)
        ]
        assert share == np.mean(known)
    with pytest.raises(InputError, match="the right class of each of 4"):
        pictures.certified_curve(listed, labels=[1, 2])  # type: ignore[arg-type]


def test_the_worst_neighbour_is_the_one_that_changes_most() -> None:
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    x = torch.tensor([[1.0, 1.0, 1.0], [2.0, 0.5, -1.0]], dtype=torch.float64)
    question = assay.Question(lambda rows: rows @ weights, x, removal=assay.Baseline(0.0))
    score = assay.Score("MaxSensitivity", torch.tensor([0.1, 0.4]), "lower")
    chart = pictures.stability(
        score, question=question, method=assay.ExactShapley(), radius=0.2, draws=7
    )
    from assay.numerics import rng

    steps = rng.shared(0, "worst neighbour").uniform(-0.2, 0.2, (7, 3))
    credit = (x[1] * weights).numpy()
    changes = np.linalg.norm(steps * weights.numpy(), axis=1)
    change = changes.max() / np.linalg.norm(credit)
    assert f"of 7 neighbours within 0.2 the worst changes it by {number(change)}" in chart.caption
    [own], [other] = marks_of(chart.panels[1], "dots-0"), marks_of(chart.panels[1], "dots-1")
    order = np.argsort(
        -np.maximum(np.abs(credit), np.abs(credit + steps[changes.argmax()] * weights.numpy()))
    )
    np.testing.assert_allclose(own.x, credit[order], atol=1e-12)  # type: ignore[union-attr]
    moved = (credit + steps[changes.argmax()] * weights.numpy())[order]
    np.testing.assert_allclose(other.x, moved, atol=1e-12)  # type: ignore[union-attr]
    with pytest.raises(InputError, match="a worst neighbour"):
        pictures.stability(score, question=question)
    with pytest.raises(InputError, match="a score of 2 inputs"):
        pictures.stability(
            assay.Score("M", torch.ones(3), "lower"), question=question, method=assay.ExactShapley()
        )


def test_votes_of_many_classes_are_pooled_and_add_up() -> None:
    chart = SAMPLES["votes: many"](plain)
    for panel in chart.panels:
        shares = [mark.right for mark in panel.marks if isinstance(mark, Box)]
        assert sum(shares) == pytest.approx(1.0, abs=1e-12)
        assert len(shares) <= 21
    assert any("further classes" in text for panel in chart.panels for _, text in panel.y.ticks)


def test_agreement_has_its_intervals_in_the_cells() -> None:
    chart = SAMPLES["agreement"](plain)
    below = {mark.gid: mark.text for mark in chart.panels[0].marks if mark.gid.startswith("below")}  # type: ignore[union-attr]
    for _, row in chart.data.iterrows():
        a, b = (("one", "other", "third").index(row[key]) for key in ("method", "with"))
        written = f"{row['low']:.2f} to {row['high']:.2f}".replace("-", "−")
        assert below[f"below-methods-{a}-{b}"] == below[f"below-methods-{b}-{a}"] == written


def test_a_standing_far_apart_has_a_log_axis() -> None:
    chart = SAMPLES["standing"](plain)
    ends = [end for row in chart.rows for end in (row.end, row.low, row.high)]  # type: ignore[attr-defined]
    assert chart.panels[0].x.log == (min(ends) > 0 and max(ends) > 30 * min(ends))
    scores = {f"m{k}": torch.full((12,), 10.0**-k) * torch.linspace(1, 2, 12) for k in range(4)}
    listed = {name: assay.Score(name, values, "lower") for name, values in scores.items()}
    far = pictures.standing(ranking("M", listed))
    assert far.panels[0].x.log
    assert "a log axis" in far.caption


def test_a_picture_of_several_targets_says_so() -> None:
    """Credit for one class is credit against another: who asks each input for its own class is told."""
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(40, 3)))
    net = torch.nn.Linear(3, 2).double()
    own = assay.Question(net, x)
    answer = assay.InputXGradient()(own)
    assert len(set(answer.targets or ())) == 2
    one = assay.Question(net, x, target=1)
    single = assay.InputXGradient()(one)
    for question, credit, several in ((own, answer, True), (one, single, False)):
        made = [
            pictures.swarm(credit, question=question),
            pictures.heat(credit),
            pictures.groups(credit, np.arange(40) < 20),
            pictures.drift(credit),
            pictures.embedding(credit),
            pictures.importance(credit),
            pictures.dependence(credit, 0, question=question),
        ]
        for chart in made:
            assert ("2 different targets" in chart.caption) == several
    with pytest.raises(InputError, match="one target of all inputs"):
        pictures.dependence(answer, 0, question=own, partial=5)


def test_the_overlay_and_the_map_beside_it_have_one_full_colour() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(400, 1)).double()
    question = assay.Question(net, torch.rand(1, 1, 20, 20, dtype=torch.float64))
    answer = assay.InputXGradient()(question)
    chart = pictures.retina(answer, question=question)
    [raster] = maps_of(chart)
    full = float(np.quantile(np.abs(raster.values), 0.99))
    assert raster.scale.high == pytest.approx(full, abs=1e-15)
    assert raster.scale.beyond
    assert "4 of 400 places beyond" in chart.caption
    assert chart.data["full colour of the overlay"].tolist() == [raster.scale.high]


def test_letters_of_atoms_are_read_in_every_theme() -> None:
    """Each on what lies below it: a disc that is larger, its plate, or within a ring the ground."""
    from assay.pictures.drawing.themes import THEMES, contrast

    answer = molecule_answer()
    values = answer.values.clone()
    values[0, answer.names_of(0).index("C1")] = 0.01
    chart = pictures.molecule(replace(answer, values=values))
    marks = {mark.gid: mark for mark in chart.panels[0].marks}
    plates, discs = marks["ground"], marks["atoms"]
    assert isinstance(plates, Dots)
    assert isinstance(discs, Dots)
    sizes = np.broadcast_to(discs.size, (6,))
    rings = np.broadcast_to(discs.hollow, (6,))
    assert sizes.min() < 9 < sizes.max()
    assert 0 < rings.sum() < 6
    # A ring of nothing would be white on white.
    assert all((colour == "muted") == ring for colour, ring in zip(discs.colours, rings))
    for theme in THEMES.values():
        for n in range(6):
            below = {discs.colours[n]}
            if sizes[n] <= 9:
                # The letter reaches over a disc that is smaller than it.
                below.add(str(plates.colours))
            if rings[n]:
                below = {theme.ground}
            ink = theme.colour(marks[f"symbol-{n}"].colour)  # type: ignore[union-attr]
            for colour in below:
                assert contrast(ink, theme.colour(colour)) >= 4.5


def test_what_is_the_rounding_of_the_largest_is_drawn_as_zero() -> None:
    """Its sign is that of the machine: sums in another order have another one."""
    values = torch.tensor([[1.0, -3e-16, 2e-16, 1e-12]], dtype=torch.float64)
    question = assay.Question(lambda x: x.sum(1), torch.ones(1, 4, dtype=torch.float64))
    answer = replace(assay.ExactShapley()(question), values=values)
    drawn = dict(pictures.bars(answer, 0).data[["name", "value"]].to_numpy().tolist())
    assert [drawn[name] for name in answer.names] == [1.0, 0.0, 0.0, 1e-12]


def test_the_legend_of_a_molecule_says_three_sizes() -> None:
    answer = molecule_answer()
    [panel] = pictures.molecule(answer).panels
    numbers = [float(key.text) for key in panel.keys]
    largest = float(answer.values.abs().max())
    np.testing.assert_allclose(numbers, np.array([0.25, 0.5, 1.0]) * largest, rtol=0.02)
    # By their areas, as the discs of the atoms.
    discs = {mark.gid: mark for mark in panel.marks}["atoms"]
    assert isinstance(discs, Dots)
    own = np.abs(answer.values[0, :6].numpy())
    area = np.asarray(discs.size)[own == own.max()][0] ** 2 / own.max()
    sizes = np.array([key.size for key in panel.keys])
    np.testing.assert_allclose(sizes**2 / (np.array([0.25, 0.5, 1.0]) * largest), area, rtol=1e-9)
    # On a scale that is given, and of nothing.
    scaled = pictures.molecule(answer, scale=8.0).panels[0].keys
    assert [key.text for key in scaled] == ["2.00", "4.00", "8.00"]
    nothing = replace(answer, values=torch.zeros_like(answer.values))
    assert pictures.molecule(nothing).panels[0].keys == ()


@pytest.mark.parametrize("size", [2.0, 5.76, 22.0, 40.0])
def test_large_samples_of_a_legend_have_room(size: float) -> None:
    from assay.pictures.drawing.marks import Key

    keys = tuple(Key(text, "muted", "dot", size) for text in ("one", "two", "three" * 12))
    [made] = pictures.ladder(drawn(1, 3, plain)).panels
    panel = replace(made, keys=keys)
    # In SVG no disc reaches another, the words beside it, or the panel.
    places = [(at, row) for row, line in enumerate(panel.keys_by_row) for at, _ in line]
    for (at, row), (after, other) in itertools.pairwise(places):
        assert other > row or after - at >= size * 100 / 72
    assert panel.key_height >= size * 100 / 72
    assert panel.margins[2] >= 10 + panel.key_height * panel.key_rows


# --- intervals


def test_intervals_of_a_table_are_those_of_its_columns() -> None:
    """From one set of resampled inputs: 9,999 resamples of up to 200 values, 999 of more, as alone."""
    rng = np.random.default_rng(0)
    table = rng.lognormal(size=(260, 6))
    table[:70, 1] = np.nan
    table[:255, 2] = np.nan
    table[:, 3] = 2.0
    table[1::40, 4] = np.nan
    table[150:, 5] = np.nan
    found = intervals_of(table, 0.9)
    for column, bounds in zip(table.T, found):
        values = column[~np.isnan(column)]
        resamples = 9999 if len(values) <= 200 else 999
        alone = statistics.interval(values, 0.9, resamples=resamples)
        np.testing.assert_allclose(bounds, alone, rtol=1e-12)
    assert np.isnan(found[2]).all()
