"""What holds of every picture: marks on both kinds of paper are those of its panels, nothing else is
touched, and names do no harm. A picture without a sample fails the first test.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from assay import pictures
from assay.errors import InputError
from assay.pictures.drawing.drawing import Drawing
from assay.pictures.drawing.marks import (
    UNSURE,
    Band,
    Box,
    Dots,
    Line,
    Mark,
    Photo,
    Raster,
    Tiles,
    Words,
)
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Axis
from assay.pictures.drawing.themes import THEMES, contrast, ink_on
from pictures.samples import SAMPLES, plain

HOSTILE = (
    "<script>alert(1)</script>",
    "price_$ and tax_$",
    r"$\frac{1}{",
    "_{x}^",
    "{{ 7 * 7 }}",
    "שלום עולם",
    "年齢",
    "😀👩‍👩‍👧",
    "x" * 300,
    "",
    "a\x00\x07\nb\tc",
    "\ud800",
)


@cache
def sample(name: str) -> Drawing:
    return SAMPLES[name](plain)


every_picture = pytest.mark.parametrize("name", sorted(SAMPLES))


def test_every_picture_has_a_sample() -> None:
    named = set()
    for name in pictures.__all__:
        made = getattr(pictures, name)
        if inspect.isfunction(made) and made.__annotations__.get("return") in ("Chart", "RowChart"):
            named.add(name)
    # A picture has further samples where its settings change its marks.
    assert {*named, "RowChart"} == {name.partition(":")[0] for name in SAMPLES}


# --- the data


@every_picture
def test_the_same_data_give_the_same_marks(name: str) -> None:
    again = SAMPLES[name](plain)
    assert again.data.equals(sample(name).data)
    assert again.svg() == sample(name).svg()
    assert again.alt == sample(name).alt


@every_picture
def test_marks_have_names_of_their_own(name: str) -> None:
    gids = [mark.gid for panel in sample(name).panels for mark in panel.marks]
    assert len(gids) == len(set(gids))
    assert all(re.fullmatch(r"[\w.+−-]+", gid) for gid in gids)


@every_picture
def test_every_mark_lies_within_its_panel(name: str) -> None:
    for panel in sample(name).panels:
        for mark in panel.marks:
            for x, y in points(mark):
                share = panel.x.share(x)[np.isfinite(x)]
                up = panel.y.share(y)[np.isfinite(y)]
                for shares in (share, up):
                    assert (shares >= -1e-9).all(), mark.gid
                    assert (shares <= 1 + 1e-9).all(), mark.gid


def points(mark: Mark) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The places that a mark touches."""
    if isinstance(mark, Line | Dots):
        yield np.asarray(mark.x, float), np.asarray(mark.y, float)
    elif isinstance(mark, Band):
        yield mark.x, mark.low
        yield mark.x, mark.high
    elif isinstance(mark, Box):
        yield np.array([mark.left, mark.right]), np.array([mark.low, mark.high])
    elif isinstance(mark, Tiles):
        corners = mark.outlines.reshape(-1, 2)
        yield corners[:, 0], corners[:, 1]
    elif isinstance(mark, Raster | Photo):
        left, right, bottom, top = mark.extent
        yield np.array([left, right]), np.array([bottom, top])
    else:
        yield np.array([mark.x]), np.array([mark.y])


@every_picture
def test_scales_of_credit_are_around_zero_and_clip_nothing_unsaid(name: str) -> None:
    for panel in sample(name).panels:
        for mark in panel.marks:
            if not isinstance(mark, Raster):
                continue
            if mark.scale.colours == "RdBu_r":
                assert mark.scale.low == -mark.scale.high
                assert mark.scale.colour(0.0) == "#f7f6f6"
            known = mark.values[np.isfinite(mark.values)]
            outside = (known < mark.scale.low).any() or (known > mark.scale.high).any()
            assert mark.scale.beyond or not outside
            if outside:
                assert "beyond" in sample(name).caption
            assert panel.bar == mark.scale


# --- the artists hold the data


@every_picture
def test_artists_are_the_marks(name: str) -> None:
    chart = sample(name)
    theme: Any = "print"
    figure = chart.figure(theme=theme)
    axes = [ax for ax in figure.axes if ax.get_xlabel() is not None]
    assert len(axes) == len(chart.panels)
    for panel, ax in zip(chart.panels, axes):
        artists = {artist.get_gid(): artist for artist in ax.findobj() if artist.get_gid()}
        assert (*ax.get_xlim(), *ax.get_ylim()) == (
            panel.x.low,
            panel.x.high,
            panel.y.low,
            panel.y.high,
        )
        for mark in panel.marks:
            check_artist(mark, artists[mark.gid], panel, theme)
        if panel.bar is not None:
            cax = artists["scale"]
            assert cax.get_ylim() == pytest.approx((panel.bar.low, panel.bar.high))  # type: ignore[attr-defined]


def check_artist(mark: Mark, artist: Any, panel: Panel, theme: str) -> None:
    if isinstance(mark, Box):
        assert (artist.get_x(), artist.get_y()) == (mark.left, mark.low)
        assert artist.get_width() == pytest.approx(mark.right - mark.left, abs=1e-12)
        colour = matplotlib.colors.to_hex(artist.get_facecolor())
        assert colour == THEMES[theme].colour(mark.fill)
        if mark.hatch == "unsure":
            assert artist.get_hatch()
    elif isinstance(mark, Line):
        np.testing.assert_array_equal(artist.get_xdata(), mark.x)
        np.testing.assert_array_equal(artist.get_ydata(), mark.y)
    elif isinstance(mark, Dots):
        places = np.ma.filled(np.ma.asarray(artist.get_offsets(), float), np.nan)
        np.testing.assert_array_equal(places, np.stack([mark.x, mark.y], axis=1))
    elif isinstance(mark, Raster):
        np.testing.assert_array_equal(np.ma.filled(artist.get_array(), np.nan), mark.values)
        assert artist.get_clim() == (mark.scale.low, mark.scale.high)
        assert tuple(artist.get_extent()) == mark.extent
    elif isinstance(mark, Photo):
        np.testing.assert_array_equal(np.asarray(artist.get_array()), mark.pixels)
        assert tuple(artist.get_extent()) == mark.extent
    elif isinstance(mark, Band):
        corners = np.concatenate([path.vertices for path in artist.get_paths()])
        expected = {*zip(mark.x, mark.low), *zip(mark.x, mark.high)}
        assert {tuple(corner) for corner in corners.tolist()} >= {
            tuple(map(float, corner)) for corner in expected if not np.isnan(corner).any()
        }
    elif isinstance(mark, Tiles):
        corners = np.stack([path.vertices[:-1] for path in artist.get_paths()])
        np.testing.assert_array_equal(corners, mark.outlines)
        colours = [matplotlib.colors.to_hex(colour) for colour in artist.get_facecolor()]
        assert colours == list(mark.colours)
    elif mark.cell is None:
        assert artist.get_position() == (mark.x, mark.y)
        assert artist.get_text() == mark.text
    else:
        assert artist.get_label().strip() == mark.text.strip()


@every_picture
def test_panels_are_as_large_as_they_say_and_stand_in_line(name: str) -> None:
    """The figure grows around them: no panel shrinks for its words."""
    chart = sample(name)
    figure = chart.figure()
    axes = iter(figure.axes)
    for row in chart.panel_rows:
        for panel in row:
            box = next(axes).get_window_extent()
            expected = [side * figure.dpi / 100 for side in panel.size]
            if not panel.equal:
                assert [box.width, box.height] == pytest.approx(expected, abs=1e-6)
    for column in range(chart.columns):
        own = figure.axes[column :: chart.columns]
        lefts = {round(ax.get_position(original=True).x0, 9) for ax in own}
        assert len(lefts) <= 1
    # No two panels lie on each other.
    boxes = [ax.get_window_extent() for ax in figure.axes]
    for one, other in itertools.combinations(boxes, 2):
        apart = one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0
        assert apart


def test_dots_on_paper_have_their_colours() -> None:
    """A thousand dots of which those of one look are drawn at once: each has its own colour."""
    rng = np.random.default_rng(0)
    down, across = np.divmod(rng.permutation(900), 30)
    colours = tuple(
        f"#{r:02x}{g:02x}{b:02x}" for r, g, b in rng.integers(0, 200, size=(900, 3)) // 40 * 40
    )
    hollow = rng.random(900) < 0.2
    dots = Dots("dots-0", across.astype(float), down.astype(float), colours, 9.0, hollow)
    ends = {"low": -0.5, "high": 29.5, "marked": ()}
    panel = Panel((dots,), Axis(**ends), Axis(**ends), size=(600.0, 600.0))
    figure = pictures.Chart((panel,), {"x": [0]}, caption="", alt="Dots.").figure()
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
    [ax] = figure.axes
    places = ax.transData.transform(np.stack([dots.x, dots.y], axis=1))
    for (x, y), colour, ring in zip(places, colours, hollow):
        seen = pixels[len(pixels) - 1 - int(y), int(x), :3].tolist()
        own = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        assert seen == ([255, 255, 255] if ring else own)


@every_picture
def test_every_word_lies_inside_the_figure(name: str) -> None:
    figure = sample(name).figure()
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()  # type: ignore[attr-defined]
    for text in figure.findobj(Text):
        if not text.get_text().strip() or not text.get_visible():
            continue
        box = text.get_window_extent()
        # Ticks of a hidden axis are measured, too, and lie nowhere.
        if not text.figure or box.width == 0:
            continue
        assert box.x0 >= -1.5, text.get_text()
        assert box.x1 <= width + 1.5, text.get_text()
        assert box.y0 >= -1.5, text.get_text()
        assert box.y1 <= height + 1.5, text.get_text()


# --- SVG holds the same marks


@every_picture
@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_svg_holds_the_same_marks(name: str, theme: Any) -> None:
    chart = sample(name)
    root = ElementTree.fromstring(chart.svg(theme))
    elements = {node.get("id"): node for node in root.iter() if node.get("id")}
    assert root.get("aria-label") == chart.alt
    top = 0.0
    for row, height in zip(chart.panel_rows, chart.heights):
        left = 0.0
        for panel, width, room in zip(row, chart.widths, chart.lefts):
            paper = Paper(panel, left + room, top + panel.margins[2])
            for mark in panel.marks:
                check_element(mark, elements[mark.gid], paper)
            left += width
        top += height


class Paper:
    """Where values lie, from the size of the panel alone."""

    def __init__(self, panel: Panel, left: float, top: float) -> None:
        self.panel = panel
        self.left, self.top = left, top
        self.width, self.height = panel.size
        if panel.equal:
            across = abs(panel.x.high - panel.x.low)
            down = abs(panel.y.high - panel.y.low)
            unit = min(self.width / across, self.height / down)
            self.left += (self.width - unit * across) / 2
            self.top += (self.height - unit * down) / 2
            self.width, self.height = unit * across, unit * down

    def x(self, value: Any) -> np.ndarray:
        low, high = self.panel.x.low, self.panel.x.high
        if self.panel.x.log:
            low, high, value = math.log(low), math.log(high), np.log(value)
        return self.left + self.width * (np.asarray(value, float) - low) / (high - low)

    def y(self, value: Any) -> np.ndarray:
        low, high = self.panel.y.low, self.panel.y.high
        if self.panel.y.log:
            low, high, value = math.log(low), math.log(high), np.log(value)
        return self.top + self.height * (high - np.asarray(value, float)) / (high - low)


def check_element(mark: Mark, node: Any, paper: Paper) -> None:
    if isinstance(mark, Box):
        assert float(node.get("x")) == pytest.approx(
            min(paper.x(mark.left), paper.x(mark.right)), abs=0.01
        )
        wide = abs(paper.x(mark.right) - paper.x(mark.left))
        assert float(node.get("width")) == pytest.approx(wide, abs=0.011)
        high = abs(paper.y(mark.high) - paper.y(mark.low))
        assert float(node.get("height")) == pytest.approx(high, abs=0.011)
    elif isinstance(mark, Line):
        known = np.isfinite(mark.x) & np.isfinite(mark.y)
        places = np.array(re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", node.get("d")), float)
        expected = np.stack([paper.x(mark.x[known]), paper.y(mark.y[known])], axis=1)
        np.testing.assert_allclose(places.reshape(-1, 2), expected, atol=0.011)
    elif isinstance(mark, Dots):
        check_dots(mark, node, paper)
    elif isinstance(mark, Tiles):
        check_tiles(mark, node, paper)
    elif isinstance(mark, Words):
        assert "".join(node.itertext()) == mark.text
        assert float(node.get("x")) == pytest.approx(float(paper.x(mark.x)), abs=0.01)
    elif isinstance(mark, Raster | Photo):
        left, right, bottom, top = mark.extent
        assert float(node.get("x")) == pytest.approx(float(paper.x(left)), abs=0.01)
        assert float(node.get("y")) == pytest.approx(float(paper.y(top)), abs=0.01)
        assert float(node.get("width")) == pytest.approx(
            float(paper.x(right) - paper.x(left)), abs=0.011
        )
        assert float(node.get("height")) == pytest.approx(
            float(paper.y(bottom) - paper.y(top)), abs=0.011
        )
        assert pixels_of(node).shape[:2] == (
            mark.values.shape if isinstance(mark, Raster) else mark.pixels.shape[:2]
        )
        if isinstance(mark, Raster):
            np.testing.assert_array_equal(pixels_of(node), mark.scale.pixels(mark.values))
    else:
        places = np.array(re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", node.get("d")), float)
        count = int((np.isfinite(mark.low) & np.isfinite(mark.high)).sum())
        assert len(places) == 2 * count


def pixels_of(node: Any) -> np.ndarray:
    import base64
    import io

    from PIL import Image

    data = node.get("href").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def check_tiles(mark: Tiles, node: Any, paper: Paper) -> None:
    drawn = [child for child in node if child.tag.endswith("path")]
    for child, outline, colour in zip(drawn, mark.outlines, mark.colours, strict=True):
        places = np.array(re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", child.get("d")), float)
        expected = np.stack([paper.x(outline[:, 0]), paper.y(outline[:, 1])], axis=1)
        np.testing.assert_allclose(places, expected, atol=0.011)
        assert child.get("fill") == colour


def check_dots(mark: Dots, node: Any, paper: Paper) -> None:
    circles = [child for child in node.iter() if child.tag.endswith("circle")]
    expected = np.stack([paper.x(mark.x), paper.y(mark.y)], axis=1)
    if circles:
        places = np.array([[child.get("cx"), child.get("cy")] for child in circles], float)
        np.testing.assert_allclose(places, expected, atol=0.011)
    elif mark.shape == "o" and len(mark.x):
        # Many are grouped by their look: all of them are there, wherever they stand.
        drawn = " ".join(child.get("d") for child in node if "h0" in child.get("d"))
        places = np.array(re.findall(r"M(-?[\d.]+) (-?[\d.]+)h0", drawn), float)
        counted = {tuple(place) for place in places.round(1).tolist()}
        assert counted == {tuple(place) for place in (expected.round(1) + 0.0).tolist()}


# --- nothing else happened


def random_state() -> tuple[bytes, int]:
    """Of numpy's global generator: its numbers, and how many of them have been used."""
    _, numbers, used, *_ = np.random.get_state()  # noqa: NPY002
    return numbers.tobytes(), int(used)


@every_picture
def test_nothing_of_the_process_is_touched(name: str) -> None:
    before = dict(matplotlib.rcParams)
    state = torch.random.get_rng_state()
    numbers = random_state()
    chart = sample(name)
    figure = Figure(figsize=(9, 5))
    own, other = figure.subfigures(1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SAMPLES[name](plain)
        chart.draw(own)
        chart.draw(own)
        if len(chart.panels) == 1:
            ax = other.subplots()
            assert chart.draw(ax) is ax
            assert chart.draw(ax) is ax
        else:
            with pytest.raises(InputError, match="panels"):
                chart.draw(other.subplots())
        assert isinstance(chart.draw(), Axes)
        figure.canvas.draw()
    assert tuple(figure.get_size_inches()) == (9, 5)
    assert dict(matplotlib.rcParams) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random_state() == numbers


def test_threads_draw_the_same_pictures() -> None:
    names = sorted(SAMPLES)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: sample(name).svg(), names))
    assert found == [sample(name).svg() for name in names]


def test_no_picture_imports_pyplot() -> None:
    code = (
        "import sys\n"
        "sys.path.insert(0, 'tests')\n"
        "from pictures.samples import SAMPLES, plain\n"
        "for make in SAMPLES.values():\n"
        "    chart = make(plain)\n"
        "    chart.figure(), chart.svg()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# --- the words


@every_picture
def test_the_sentence_is_one(name: str) -> None:
    chart = sample(name)
    assert chart.alt.endswith(".")
    assert 5 <= len(chart.alt.split()) <= 90
    for text in (chart.alt, chart.caption):
        assert "nan" not in text.lower().split()
        assert not re.search(r"[+−]0(\.0+)?(?![\d.])", text)
    assert repr(chart) == chart.alt
    assert chart.alt in chart.svg() or "&" in chart.svg()
    assert "<table" in chart._repr_html_()
    assert len(chart.data)


@every_picture
def test_names_do_no_harm(name: str) -> None:
    bad = itertools.cycle(HOSTILE)
    made = SAMPLES[name](lambda label: f"{next(bad)}{label}")
    svg = made.svg()
    ElementTree.fromstring(svg)
    page = made._repr_html_()
    assert "<script" not in svg
    assert "<script" not in page
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.figure(theme="dark").canvas.draw()


@every_picture
@settings(max_examples=4, deadline=None)
@given(names=st.lists(st.text(max_size=60), min_size=1, max_size=5, unique=True))
def test_any_name_is_only_a_name(name: str, names: list[str]) -> None:
    """Whatever names are: the SVG is XML, its words are those of the picture, and nothing is markup."""
    given_names = itertools.cycle(names)
    made = SAMPLES[name](lambda label: f"{next(given_names)}<script>{label}$_{{")
    root = ElementTree.fromstring(made.svg())
    assert not [node for node in root.iter() if node.tag.endswith("script")]
    assert "<script" not in made._repr_html_()
    gids = {mark.gid for panel in made.panels for mark in panel.marks}
    assert gids <= {node.get("id") for node in root.iter()}


@every_picture
def test_a_picture_needs_nothing_from_elsewhere(name: str) -> None:
    """No address but of its own pixels and patterns, no script, no handler, no frame."""
    page = sample(name)._repr_html_()
    root = ElementTree.fromstring(sample(name).svg())
    for node in root.iter():
        assert node.tag.rpartition("}")[2] not in ("script", "foreignObject", "iframe", "style")
        for key, value in node.attrib.items():
            assert not key.startswith("on")
            if key.endswith("href"):
                assert value.startswith("data:image/png;base64,")
            if "url(" in value:
                assert re.fullmatch(r"url\(#[\w-]+\)", value)
    assert not re.search(r"<(script|iframe|link|object|embed|img)\b", page)
    # It shrinks with its page, and its table scrolls by itself.
    assert 'style="max-width:100%;height:auto"' in page
    assert 'overflow-x:auto" tabindex="0" role="group"' in page


# --- looks


def colourless(svg: str) -> str:
    """What is drawn, and where: without colours, and without the hatches that stand for them in print."""
    unhatched = re.sub(r'<rect [^>]*fill="url\(#[0-9a-f]+-against\)"/>', "", svg)
    return re.sub(r"#[0-9a-f]{6}\b", "#", unhatched)


@every_picture
@pytest.mark.parametrize("theme", ["dark", "print"])
def test_looks_differ_in_their_colours_alone(name: str, theme: Any) -> None:
    chart = sample(name)
    assert chart.svg(theme) != chart.svg()
    assert colourless(chart.svg(theme)) == colourless(chart.svg())


@every_picture
@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_every_word_is_read_on_its_ground(name: str, theme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1, for words around panels and for those on marks."""
    colours = THEMES[theme]
    chart = sample(name)
    own = set()
    for panel in chart.panels:
        for place, mark in enumerate(panel.marks):
            if isinstance(mark, Words):
                own.add(mark.gid)
                ground = ground_of(mark, panel.marks[:place], panel, theme)
                assert contrast(colours.colour(mark.colour), ground) >= 4.5, (mark.text, ground)
    root = ElementTree.fromstring(chart.svg(theme))  # type: ignore[arg-type]
    around = [node for node in root.iter() if node.tag.endswith("text")]
    for node in around:
        if node.get("id") not in own:
            assert contrast(node.get("fill", ""), colours.ground) >= 4.5, node.text


def ground_of(words: Words, below: tuple[Mark, ...], panel: Panel, theme: str) -> str:
    """The colour on which the middle of a text stands: of the last mark that covers it."""
    ground = THEMES[theme].ground
    x, y = words.x, words.y
    if words.cell is not None:
        x += words.cell[0] * {"start": 0.5, "middle": 0.0, "end": -0.5}[words.anchor]
    for mark in below:
        if isinstance(mark, Box) and between(mark.left, x, mark.right):
            if between(mark.low, y, mark.high):
                # Soft where it is not sure.
                share = UNSURE if mark.hatch in ("unsure", "open") else 1.0
                ground = mixed(THEMES[theme].colour(mark.fill), THEMES[theme].ground, share)
        elif isinstance(mark, Raster):
            left, right, bottom, top = mark.extent
            down = math.floor((y - top) / (bottom - top) * len(mark.values))
            across = math.floor((x - left) / (right - left) * mark.values.shape[1])
            if 0 <= down < len(mark.values) and 0 <= across < mark.values.shape[1]:
                ground = mark.scale.colour(float(mark.values[down, across]))
        elif isinstance(mark, Dots):
            away = np.hypot(*distances(mark, x, y, panel))
            sizes = np.broadcast_to(np.asarray(mark.size, float), away.shape) / 72 * 100 / 2
            colours = (mark.colours,) * len(away) if isinstance(mark.colours, str) else mark.colours
            rings = np.broadcast_to(mark.hollow, away.shape)
            for k in np.flatnonzero(away < sizes):
                ground = THEMES[theme].colour("ground" if rings[k] else colours[k])
    return ground


def between(one: float, value: float, other: float) -> bool:
    return min(one, other) <= value <= max(one, other)


def mixed(colour: str, ground: str, share: float) -> str:
    parts = [
        round(share * int(colour[k : k + 2], 16) + (1 - share) * int(ground[k : k + 2], 16))
        for k in (1, 3, 5)
    ]
    return "#" + "".join(f"{part:02x}" for part in parts)


def distances(dots: Dots, x: float, y: float, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """From dots to a place, in hundredths of an inch."""
    paper = Paper(panel, 0.0, 0.0)
    return paper.x(dots.x) - paper.x(x), paper.y(dots.y) - paper.y(y)


# --- contrast


def test_letters_are_read_on_every_colour_of_credit() -> None:
    from assay.pictures.drawing.scales import hexes

    for scale in ("RdBu_r", "cividis", "viridis", "Greys"):
        for colour in hexes(scale):
            assert contrast(ink_on(colour), colour) >= 4.5


def test_marks_are_seen_on_their_ground() -> None:
    for theme in THEMES.values():
        for colour in (*theme.series, theme.proven, theme.flipped, theme.muted):
            assert contrast(colour, theme.ground) >= 3
