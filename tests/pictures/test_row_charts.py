"""Ladders, bars, importances and rankings: their numbers, their marks, their words."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import assay
from assay.answers.attribution import Attribution
from assay.comparison.comparing import compare
from assay.errors import InputError, KindError, SettingError
from assay.pictures.credits import bars, importance, ladder
from assay.pictures.drawing.labels import Z, names, signed
from assay.pictures.drawing.row_chart import RowChart, joined_rows
from assay.pictures.drawing.themes import THEMES, contrast
from assay.pictures.standings import differences, standing


def answer_of(
    values: np.ndarray,
    errors: np.ndarray | None = None,
    *,
    gap: float = 0.0,
    labels: list[str] | None = None,
    kind: str = "contribution",
) -> Attribution:
    """An answer with these credits (n, features), whose prediction exceeds their sum by `gap`."""
    table = torch.tensor(np.atleast_2d(values), dtype=torch.float64)
    count = table.shape[1]
    base = torch.full((len(table),), 0.25, dtype=torch.float64)
    return Attribution(
        values=table,
        base=base,
        prediction=base + table.sum(1) + gap,
        names=tuple(labels or [f"x{k}" for k in range(count)]),
        shape=(count,),
        kind=kind,
        standard_error=None if errors is None else torch.tensor(np.atleast_2d(errors)),
        provenance={"method": "KernelShap()"},
    )


credits = st.lists(
    st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-9), min_size=1, max_size=60
)


@settings(max_examples=60)
@given(credits, st.integers(1, 70), st.floats(-10, 10))
def test_the_rows_of_a_ladder_add_up_to_the_prediction(
    values: list[float], top: int, gap: float
) -> None:
    answer = answer_of(np.array(values), gap=gap)
    chart = ladder(answer, top=top)
    base, *steps, prediction = chart.rows
    total = sum(row.value for row in steps)
    size = sum(abs(value) for value in values) + abs(gap) + 1
    # A gap below a millionth of the change has no row.
    assert total == pytest.approx(prediction.value - base.value, abs=2e-6 * size)
    for above, below in pairwise(steps):
        assert below.start == above.end
    assert steps[0].start == base.value
    sizes = [abs(row.value) for row in steps if row.role == "credit"]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == min(top, len(values))


@settings(max_examples=40)
@given(credits, st.randoms(), st.floats(1e-3, 1e3))
def test_order_of_features_and_scale_change_nothing_else(
    values: list[float], rng: random.Random, scale: float
) -> None:
    place = list(range(len(values)))
    rng.shuffle(place)
    labels = [f"x{k}" for k in place]
    plain = bars(answer_of(np.array(values)), top=100)
    permuted = bars(answer_of(np.array(values)[place], labels=labels), top=100)
    by_name = {row.name: row.value for row in permuted.rows}
    assert by_name == {row.name: row.value for row in plain.rows}
    scaled = bars(answer_of(np.array(values) * scale), top=100)
    for row, larger in zip(plain.rows, scaled.rows):
        assert larger.end == pytest.approx(row.end * scale, rel=1e-12)
    turned = bars(answer_of(-np.array(values)), top=100)
    assert [row.value for row in turned.rows] == [-row.value for row in plain.rows]


def test_ties_keep_the_order_of_the_features() -> None:
    chart = bars(answer_of(np.array([1.0, -2.0, 2.0, 1.0])))
    assert [row.name for row in chart.rows] == ["x1", "x2", "x0", "x3"]


def test_whiskers_are_intervals_and_hatching_says_not_told_from_zero() -> None:
    values = np.array([1.0, -0.5, 0.1])
    errors = np.array([0.1, 0.3, 0.01])
    chart = bars(answer_of(values, errors))
    for row in chart.rows:
        k = int(row.name[1:])
        assert row.low == pytest.approx(values[k] - 1.959963984540054 * errors[k], abs=1e-12)
        assert row.high == pytest.approx(values[k] + 1.959963984540054 * errors[k], abs=1e-12)
        assert row.unsure == (abs(values[k]) <= 1.959963984540054 * errors[k])
    assert [row.unsure for row in chart.rows] == [False, True, False]
    # 0.8 and 1.96 * 0.4 are told apart alone, not among three.
    alone = answer_of(np.array([0.8, 3.0, 2.0]), np.array([0.4, 0.1, 0.1]))
    assert not bars(alone).rows[2].unsure
    assert bars(alone, joint=True).rows[2].unsure


def test_a_feature_of_no_influence_is_hatched_in_19_of_20_runs() -> None:
    """Hatching of truly zero credit is missed at a rate of 5 %: binomial bounds of 400 runs."""
    rng = np.random.default_rng(0)
    missed = 0
    joint = 0
    for _ in range(400):
        errors = np.full(30, 0.2)
        chart = bars(answer_of(errors * rng.normal(size=30), errors), top=None)
        missed += not next(row for row in chart.rows if row.name == "x0").unsure
        together = bars(answer_of(errors * rng.normal(size=30), errors), top=None, joint=True)
        joint += not all(row.unsure for row in together.rows)
    assert missed <= 33  # P(more than 33 of 400 at 5 %) < 0.003
    assert joint <= 33


def test_neighbours_within_their_errors_are_bracketed() -> None:
    assert joined_rows([3.0, 2.9, 1.0], [0.1, 0.1, 0.0], Z) == [True, False, False]
    assert joined_rows([3.0, 2.9], [0.0, 0.1], Z) == [True, False]
    assert joined_rows([1.0, 1.0], [0.0, 0.0], Z) == [False, False]
    assert joined_rows([1.0], [0.5], Z) == [False]


def test_the_noise_floor_of_an_importance_is_the_mean_size_of_noise() -> None:
    rng = np.random.default_rng(1)
    errors = np.full((400, 2), 0.3)
    truth = np.stack([np.zeros(400), np.full(400, 2.0)], axis=1)
    answer = answer_of(truth + errors * rng.normal(size=(400, 2)), errors)
    chart = importance(answer)
    noise = next(row for row in chart.rows if row.name == "x0")
    assert noise.value == pytest.approx(0.3 * math.sqrt(2 / math.pi), rel=0.15)
    assert noise.unsure
    assert not next(row for row in chart.rows if row.name == "x1").unsure
    clean = {row.name: row.value for row in importance(answer, debias=True).rows}
    assert clean["x0"] < 0.1
    assert clean["x1"] == pytest.approx(2.0, abs=0.05)


def test_slopes_have_no_ladder_and_no_sum() -> None:
    slopes = answer_of(np.arange(1.0, 20.0), kind="slope")
    with pytest.raises(KindError, match="contributions for a ladder"):
        ladder(slopes)
    assert all(row.role == "credit" for row in bars(slopes).rows)
    with pytest.raises(InputError, match="between 0 and 0"):
        bars(slopes, 3)
    with pytest.raises(SettingError, match="1 to 200 rows"):
        bars(answer_of(np.ones(300)), top=None)
    with pytest.raises(KindError, match="an Attribution"):
        bars(np.ones(3))  # type: ignore[arg-type]
    bad = answer_of(np.array([1.0, math.nan]))
    with pytest.raises(InputError, match="NaN or infinity for x1"):
        bars(bad)


# --- the artists hold the data


def artists(chart: RowChart) -> tuple[Figure, dict[str, object]]:
    figure = chart.figure()
    return figure, {a.get_gid(): a for a in figure.findobj() if a.get_gid()}


def test_bars_on_paper_are_those_of_the_data() -> None:
    chart = ladder(answer_of(np.array([2.0, -1.0, 0.5]), np.array([0.1, 0.2, 0.4]), gap=0.3))
    figure, marks = artists(chart)
    for row in chart.rows:
        mark = marks[row.gid]
        if row.role in ("base", "prediction"):
            assert mark.get_offsets()[0][0] == row.end  # type: ignore[attr-defined]
            continue
        left, width = mark.get_x(), mark.get_width()  # type: ignore[attr-defined]
        assert (left, left + width) == pytest.approx((row.start, row.end), abs=1e-12)
        if not math.isnan(row.low):
            ends = marks[f"error-{row.gid}"].get_xdata()  # type: ignore[attr-defined]
            assert list(ends) == [row.low, row.high]
    figure.canvas.draw()
    ax = figure.axes[0]
    # Every word lies inside the figure, and no two names meet.
    boxes = [text.get_window_extent() for text in ax.get_yticklabels()]
    assert all(box.x0 >= 0 for box in boxes)
    assert all(one.y0 >= other.y1 for one, other in pairwise(boxes))
    assert [text.get_text() for text in ax.get_yticklabels()] == [row.name for row in chart.rows]


def test_a_svg_holds_the_same_marks_as_the_axes() -> None:
    chart = bars(answer_of(np.array([2.0, -1.0, 0.5]), np.array([0.1, 0.2, 0.4])))
    root = ElementTree.fromstring(chart.svg())
    low, high = chart.limits
    for row in chart.rows:
        [rect] = [node for node in root.iter() if node.get("id") == row.gid]
        panel = chart.panels[0]
        scale = panel.size[0] / (high - low)
        left = panel.margins[0] + (min(row.start, row.end) - low) * scale
        assert float(rect.get("x", "")) == pytest.approx(left, abs=0.01)
        assert float(rect.get("width", "")) == pytest.approx(abs(row.value) * scale, abs=0.02)


@settings(max_examples=80)
@given(st.lists(st.text(max_size=90), min_size=1, max_size=4))
def test_names_are_never_markup(texts: list[str]) -> None:
    texts = [text + '<script>"&$_{' for text in texts]
    chart = bars(answer_of(np.arange(1.0, len(texts) + 1), labels=texts))
    svg = chart.svg()
    ElementTree.fromstring(svg)
    assert "<script" not in svg
    assert "<script" not in chart._repr_html_()


def test_names_are_one_line_each_and_never_the_same() -> None:
    assert names(["a", "a", "", "b\tc\n"]) == ["a", "a #2", "(no name)", "b c"]


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9))
def test_a_number_is_rounded_to_its_error(value: float, error: float) -> None:
    text = signed(value, error).replace("−", "-")
    written, half = (float(part) for part in text.split(" ± "))
    assert half == pytest.approx(Z * error, rel=0.06)
    if "e" not in text:
        assert abs(written - value) <= 0.06 * Z * error + 1e-9 * abs(value)


# --- nothing else happened


def random_state() -> tuple[bytes, int]:
    """Of numpy's global generator: its numbers, and how many of them have been used."""
    _, numbers, used, *_ = np.random.get_state()  # noqa: NPY002
    return numbers.tobytes(), int(used)


def test_drawing_on_an_axes_touches_nothing_outside_of_it() -> None:
    chart = bars(answer_of(np.array([1.0, -2.0])))
    figure = Figure(figsize=(5, 3))
    left, right = figure.subplots(1, 2)
    before = dict(matplotlib.rcParams)
    size = tuple(figure.get_size_inches())
    state = torch.random.get_rng_state()
    numbers = random_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert chart.draw(left) is left
        chart.draw(left)
    assert tuple(figure.get_size_inches()) == size
    assert not right.lines
    assert not right.patches
    assert dict(matplotlib.rcParams) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random_state() == numbers
    assert chart.svg() == chart.svg()


def test_pyplot_is_never_imported(tmp_path: Path) -> None:
    code = (
        "import sys, torch, assay\n"
        "from assay.pictures import bars\n"
        "question = assay.Question(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]))\n"
        f"bars(assay.Gradient()(question)).save({str(tmp_path / 'a.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".html", ".csv"])
@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_every_form_is_written(tmp_path: Path, suffix: str, theme: str) -> None:
    chart = bars(answer_of(np.array([1.0, -2.0]), labels=["price_$ and tax_$", "年齢"]))
    file = tmp_path / f"a{suffix}"
    with warnings.catch_warnings():
        # The one font that ships with matplotlib lacks these letters, and says so.
        warnings.filterwarnings("ignore", message="Glyph")
        chart.save(file, theme=theme)  # type: ignore[arg-type]
    assert file.stat().st_size > 50
    with pytest.raises(SettingError, match="ends in one of"):
        chart.save(tmp_path / "a.gif")


def test_colours_can_be_told_from_their_ground() -> None:
    for theme in THEMES.values():
        assert contrast(theme.text, theme.ground) >= 4.5
        for colour in (theme.positive, theme.negative, theme.muted):
            assert contrast(colour, theme.ground) >= 3


# --- the words


def test_the_sentence_says_what_the_picture_shows() -> None:
    values = np.array([0.3, -0.162, 0.01])
    chart = ladder(answer_of(values, np.array([0.01, 0.0148, 0.02])))
    assert chart.alt == (
        "Ladder of KernelShap for input 0: the target goes from 0.250 (nothing known) to 0.398. "
        "Strongest: x0 +0.300 ± 0.020, x1 −0.162 ± 0.029, x2 +0.010 ± 0.039 (not told from zero)."
    )
    assert repr(chart) == chart.alt
    short = ladder(answer_of(values), top=1)
    assert short.alt.endswith("Strongest: x0 +0.300. 2 further features −0.152 together.")
    assert short.rows[2].name == "2 others: 1 for, 1 against"


def test_rankings_are_drawn_as_they_are() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
    ).double()
    question = assay.Question(net, torch.randn(20, 5, dtype=torch.float64))
    methods = [assay.Gradient(), assay.InputXGradient(), assay.IntegratedGradients()]
    found = compare(question, methods, [assay.Infidelity()]).rankings["Infidelity()"]
    chart = standing(found)
    assert [row.name for row in chart.rows if row.role == "place"] == [
        place.method for place in found.places
    ]
    for row in chart.rows:
        place = found.place(row.name)
        assert place is not None
        assert (row.value, row.low, row.high) == (place.mean, place.low, place.high)
    pairs = differences(found)
    assert len(pairs.rows) == 3
    assert [row.role == "place" for row in pairs.rows] == [pair.real for pair in found.pairs]
    assert len(differences(found, best=True).rows) == 2
    assert found.winner in chart.alt
