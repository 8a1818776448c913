"""Marks as SVG that needs nothing else: geometry and colours are attributes, so that a page with a strict
policy of contents shows them, and texts are escaped.
"""

from __future__ import annotations

import base64
import html
import io
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np

from assay.pictures.drawing.labels import lines
from assay.pictures.drawing.marks import (
    TILE_EDGE,
    UNSURE,
    Band,
    Box,
    Dots,
    Floats,
    Key,
    Line,
    Mark,
    Photo,
    Raster,
    Tiles,
    Words,
)
from assay.pictures.drawing.panel import LETTER, LINE, Panel
from assay.pictures.drawing.scales import LEVELS, Scale
from assay.pictures.drawing.themes import Theme
from assay.pictures.numbers import clause

_SINGLE = 400  # dots up to which each is an element of its own
_POINT = 1.39  # units of a point: 100 to the inch, and not 72
_NOTE = 16.0


def svg(
    rows: Sequence[Sequence[Panel]],
    widths: Sequence[float],
    heights: Sequence[float],
    *,
    lefts: Sequence[float],
    notes: Sequence[str],
    alt: str,
    theme: Theme,
) -> str:
    """Panels in rows, with some lines below."""
    width = sum(widths)
    height = sum(heights) + _NOTE * len(notes) + 6.0
    # Patterns are found by name in a whole page: every picture has its own.
    name = f"{zlib.crc32(alt.encode('utf-8', 'replace')):08x}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'width="{width:.0f}" aria-label="{escaped(alt)}" font-family="sans-serif" '
        f'font-size="{LETTER:g}" style="max-width:100%;height:auto">',
        f"<desc>{escaped(alt)}</desc>",
        _patterns(name, theme),
        f'<rect width="100%" height="100%" fill="{theme.ground}"/>',
    ]
    top = 0.0
    for row, high in zip(rows, heights):
        left = 0.0
        for panel, wide, room in zip(row, widths, lefts):
            parts += _Writer(panel, left, left + room, top, theme, name).parts()
            left += wide
        top += high
    for number, note in enumerate(notes):
        parts.append(_text(width / 2, top + 12 + _NOTE * number, note, theme.text, "middle"))
    return "".join([*parts, "</svg>"])


@final
class _Writer:
    """Writes one panel."""

    def __init__(
        self, panel: Panel, edge: float, left: float, top: float, theme: Theme, name: str
    ) -> None:
        self.panel = panel
        self.theme = theme
        self.name = name
        self.left = left
        self.top = top + panel.margins[2]
        self.width, self.height = panel.size
        # Labels stand where the panel's own margin begins.
        self.edge = max(edge, left - panel.margins[0])
        if panel.equal:
            self._make_equal()

    def _make_equal(self) -> None:
        """Makes one direction shorter, so that a unit is as long in both."""
        across = abs(self.panel.x.high - self.panel.x.low)
        down = abs(self.panel.y.high - self.panel.y.low)
        unit = min(self.width / across, self.height / down)
        self.left += (self.width - unit * across) / 2
        self.top += (self.height - unit * down) / 2
        self.width, self.height = unit * across, unit * down

    def across(self, x: float | Floats) -> Floats:
        return self.left + self.width * self.panel.x.share(x)

    def down(self, y: float | Floats) -> Floats:
        return self.top + self.height * (1 - self.panel.y.share(y))

    def parts(self) -> list[str]:
        behind = [mark for mark in self.panel.marks if isinstance(mark, Line) and mark.behind]
        before = [mark for mark in self.panel.marks if mark not in behind]
        drawn = [self.mark(mark) for mark in (*behind, *before)]
        return [*self._keys(), self._title(), *drawn, *self._axes(), *self._bar()]

    # --- marks

    def mark(self, mark: Mark) -> str:
        write: dict[type, Callable[[Any], str]] = {
            Box: self._box,
            Line: self._line,
            Band: self._band,
            Dots: self._dots,
            Words: self._words,
            Raster: self._raster,
            Photo: self._photo,
            Tiles: self._tiles,
        }
        return write[type(mark)](mark)

    def _box(self, box: Box) -> str:
        colour = self.theme.colour(box.fill)
        # SVG knows no negative width: bars to the left start at their end.
        left, right = sorted(self.across(np.array([box.left, box.right])).tolist())
        high, low = sorted(self.down(np.array([box.low, box.high])).tolist())
        place = (
            f'x="{left:.2f}" y="{high:.2f}" width="{right - left:.2f}" height="{low - high:.2f}"'
        )
        soft = clause(f' fill-opacity="{UNSURE}"', box.hatch in ("unsure", "open"))
        drawn = f'<rect id="{box.gid}" {place} fill="{colour}"{soft}>{_titled(box.title)}</rect>'
        hatched = box.hatch in ("unsure", "open") or (box.hatch and self.theme.hatched)
        if hatched:
            drawn += f'<rect {place} fill="url(#{self.name}-{box.hatch})"/>'
        return drawn

    def _line(self, line: Line) -> str:
        dash = {False: "", True: ' stroke-dasharray="6 4"', "dots": ' stroke-dasharray="2 3"'}
        drawn = _path(self.across(line.x), self.down(line.y))
        return (
            f'<path id="{line.gid}" d="{drawn}" fill="none" '
            f'stroke="{self.theme.colour(line.colour)}" stroke-width="{line.width * _POINT:.2f}"'
            f"{dash[line.dashed]}>{_titled(line.title)}</path>"
        )

    def _band(self, band: Band) -> str:
        known = np.isfinite(band.low) & np.isfinite(band.high)
        x = self.across(band.x[known])
        low, high = self.down(band.low[known]), self.down(band.high[known])
        around = _path(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]))
        return (
            f'<path id="{band.gid}" d="{around}Z" fill="{self.theme.colour(band.colour)}" '
            'fill-opacity="0.2"/>'
        )

    def _dots(self, dots: Dots) -> str:
        count = len(dots.x)
        x, y = self.across(dots.x), self.down(dots.y)
        size = np.broadcast_to(np.asarray(dots.size, dtype=np.float64) * _POINT, (count,))
        hollow = np.broadcast_to(dots.hollow, (count,))
        given = (dots.colours,) * count if isinstance(dots.colours, str) else dots.colours
        colours = [self.theme.colour(colour) for colour in given]
        if dots.shape == "x":
            inside = _crosses(x, y, size, colours)
        elif dots.shape == "d":
            inside = _diamonds(x, y, size, colours, dots.titles)
        elif count <= _SINGLE:
            inside = self._single(x, y, size, hollow, colours, dots.titles)
        else:
            inside = self._many(x, y, size, hollow, colours)
        return f'<g id="{dots.gid}">{inside}</g>'

    def _single(
        self,
        x: Floats,
        y: Floats,
        size: Floats,
        hollow: Any,
        colours: Sequence[str],
        titles: Sequence[str],
    ) -> str:
        parts = []
        said = titles or ("",) * len(x)
        for a, b, s, ring, colour, title in zip(x, y, size, hollow, colours, said):
            fill = self.theme.ground if ring else colour
            parts.append(
                f'<circle cx="{a:.2f}" cy="{b:.2f}" r="{s / 2:.2f}" fill="{fill}" '
                f'stroke="{colour}">{_titled(title)}</circle>'
            )
        return "".join(parts)

    def _many(self, x: Floats, y: Floats, size: Floats, hollow: Any, colours: Sequence[str]) -> str:
        # A line of no length with round ends is a dot: a fifth of the letters of a circle, and
        # dots of one colour and size are one path.
        groups: dict[tuple[str, float, bool], list[str]] = defaultdict(list)
        for a, b, s, ring, colour in zip(
            x.tolist(), y.tolist(), size.tolist(), hollow.tolist(), colours
        ):
            groups[colour, s, ring].append(f"M{a:.1f} {b:.1f}h0")
        parts = []
        for (colour, s, ring), places in groups.items():
            drawn = "".join(places)
            parts.append(_round_dots(drawn, colour, s))
            if ring:
                parts.append(_round_dots(drawn, self.theme.ground, max(s - 1.6, 0.5)))
        return "".join(parts)

    def _tiles(self, tiles: Tiles) -> str:
        outlines = tiles.outlines
        x, y = self.across(outlines[..., 0]), self.down(outlines[..., 1])
        # Each is an element of its own, so that it says its number when it is pointed at.
        said = tiles.titles or ("",) * len(x)
        parts = [
            f'<path d="{_path(a, b)}Z" fill="{self.theme.colour(colour)}">{_titled(title)}</path>'
            for a, b, colour, title in zip(x, y, tiles.colours, said)
        ]
        edge = f'stroke="{self.theme.muted}" stroke-width="{TILE_EDGE * _POINT:.2f}"'
        return f'<g id="{tiles.gid}" {edge}>{"".join(parts)}</g>'

    def _words(self, words: Words) -> str:
        x, y = float(self.across(words.x)), float(self.down(words.y))
        colour = self.theme.colour(words.colour)
        size = words.size * _POINT
        fitted = ""
        if words.cell is not None:
            breadth = abs(float(self.across(words.x + words.cell[0])) - x)
            size = abs(float(self.down(words.y + words.cell[1])) - y)
            fitted = f' textLength="{breadth:.2f}" lengthAdjust="spacingAndGlyphs" '
            fitted += 'font-family="DejaVu Sans Mono, monospace"'
        turned = clause(f' transform="rotate(-90 {x:.2f} {y:.2f})"', words.turned)
        # The middle of a letter, and not its foot, stands at y.
        return (
            f'<text id="{words.gid}" x="{x:.2f}" y="{y + 0.35 * size:.2f}" fill="{colour}" '
            f'font-size="{size:.2f}" text-anchor="{words.anchor}"{fitted}{turned}>'
            f"{escaped(words.text)}</text>"
        )

    def _raster(self, raster: Raster) -> str:
        return self._image(raster.gid, raster.scale.pixels(raster.values), raster.extent)

    def _photo(self, photo: Photo) -> str:
        # Rounded and not cut off, so that bytes come back as the bytes that they were.
        pixels = np.round(np.clip(photo.pixels, 0, 1) * 255).astype(np.uint8)
        return self._image(photo.gid, pixels, photo.extent)

    def _image(self, gid: str, pixels: Any, extent: tuple[float, float, float, float]) -> str:
        left, right = self.across(np.array(extent[:2])).tolist()
        bottom, top = self.down(np.array(extent[2:])).tolist()
        return (
            f'<image id="{gid}" x="{left:.2f}" y="{top:.2f}" width="{right - left:.2f}" '
            f'height="{bottom - top:.2f}" preserveAspectRatio="none" image-rendering="pixelated" '
            f'href="{_address(pixels)}"/>'
        )

    # --- around

    def _axes(self) -> list[str]:
        if self.panel.frame == "none":
            return []
        colour = self.theme.muted
        bottom, right = self.top + self.height, self.left + self.width
        parts = [f'<path d="M{self.left:.1f} {bottom:.1f}H{right:.1f}" stroke="{colour}"/>']
        if self.panel.frame == "axes":
            parts.append(
                f'<path d="M{self.left:.1f} {self.top:.1f}V{bottom:.1f}" stroke="{colour}"/>'
            )
        parts += self._ticks_below(bottom)
        parts += self._ticks_beside(right)
        return [*parts, *self._labels()]

    def _ticks_below(self, bottom: float) -> list[str]:
        parts = []
        for at, text in self.panel.x.ticks:
            x = float(self.across(at))
            if not self.panel.upwards:
                parts.append(self._text(x, bottom + 16, text, "middle"))
                continue
            turned = f' transform="rotate(-90 {x:.1f} {bottom + 6:.1f})"'
            for number, line in enumerate(lines(text)):
                down = bottom + 10 + LETTER * number
                parts.append(_text(x, down, line, self.theme.text, "end", turned))
        return parts

    def _ticks_beside(self, right: float) -> list[str]:
        parts = []
        for at, text in self.panel.y.ticks:
            middle = float(self.down(at))
            listed = lines(text)
            for number, line in enumerate(listed):
                # Letters of 12 units are centred where their line lies 4 units below the middle.
                down = middle + 4 + LETTER * (number - (len(listed) - 1) / 2)
                parts.append(self._text(self.left - 8, down, line, "end"))
        for at, text in self.panel.right:
            parts.append(self._text(right + 10, float(self.down(at)) + 4, text, "start"))
        return parts

    def _labels(self) -> list[str]:
        parts = []
        below = self.panel.margins[3]
        middle = self.left + self.width / 2
        lines_below = self.panel.x_label
        for number, line in enumerate(lines_below):
            down = self.top + self.height + below - 8 - LINE * (len(lines_below) - 1 - number)
            parts.append(self._text(middle, down, line, "middle"))
        middle = self.top + self.height / 2
        for number, line in enumerate(self.panel.y_label):
            parts.append(self._turned(self.edge + 14 + LINE * number, middle, line))
        return parts

    def _title(self) -> str:
        if not self.panel.title:
            return ""
        down = self.top - 6 - self.panel.key_height * self.panel.key_rows
        return self._text(self.left + self.width / 2, down, self.panel.title, "middle")

    def _keys(self) -> list[str]:
        parts = []
        rows = self.panel.keys_by_row
        high = self.panel.key_height
        for number, row in enumerate(rows):
            down = self.top - 5 - high * (len(rows) - 0.5 - number)
            for at, key in row:
                parts.append(_sample(key, self.left + at, down, self.theme))
                parts.append(self._text(self.left + at + key.room + 6, down + 4, key.text, "start"))
        return parts

    def _bar(self) -> list[str]:
        scale = self.panel.bar
        if scale is None:
            return []
        left = self.left + self.width + 12 + self.panel.beside
        parts = [_gradient(scale, left, self.top, self.height)]
        for at, text in scale.ticks:
            share = (at - scale.low) / (scale.high - scale.low)
            down = self.top + self.height * (1 - share)
            parts.append(self._text(left + 20, down + 4, text, "start"))
        if scale.beyond:
            # Points at both ends: numbers lie beyond them.
            parts += _arrows(scale, left, self.top, self.height)
        listed = self.panel.bar_label
        for number, line in enumerate(listed):
            away = self.panel.margins[1] - LINE * (len(listed) - number) - 2
            x = self.left + self.width + away
            parts.append(self._turned(x, self.top + self.height / 2, line))
        return parts

    def _text(self, x: float, y: float, text: str, anchor: str) -> str:
        return _text(x, y, text, self.theme.text, anchor)

    def _turned(self, x: float, y: float, text: str) -> str:
        turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"'
        return _text(x, y, text, self.theme.text, "middle", turned)


def _path(x: Floats, y: Floats) -> str:
    """The letters of a line; where a point is not known it is broken."""
    parts = []
    pen = "M"
    for a, b in zip(x.tolist(), y.tolist()):
        if not np.isfinite(a + b):
            pen = "M"
            continue
        parts.append(f"{pen}{a:.2f} {b:.2f}")
        pen = "L"
    return "".join(parts)


def _round_dots(places: str, colour: str, size: float) -> str:
    return (
        f'<path d="{places}" stroke="{colour}" stroke-width="{size:.2f}" '
        'stroke-linecap="round" fill="none"/>'
    )


def _crosses(x: Floats, y: Floats, size: Floats, colours: Sequence[str]) -> str:
    parts = []
    for a, b, s, colour in zip(x.tolist(), y.tolist(), (size / 2).tolist(), colours):
        strokes = f"M{a - s:.2f} {b - s:.2f}l{2 * s:.2f} {2 * s:.2f}m0 {-2 * s:.2f}"
        strokes += f"l{-2 * s:.2f} {2 * s:.2f}"
        parts.append(f'<path d="{strokes}" stroke="{colour}" stroke-width="2"/>')
    return "".join(parts)


def _diamonds(
    x: Floats, y: Floats, size: Floats, colours: Sequence[str], titles: Sequence[str]
) -> str:
    parts = []
    said = titles or ("",) * len(x)
    for a, b, s, colour, title in zip(x, y, size / 2, colours, said):
        # As high as it says, and six tenths as wide, as matplotlib has it.
        sides = f"M{a:.2f} {b - s:.2f}l{0.6 * s:.2f} {s:.2f}l{-0.6 * s:.2f} {s:.2f}"
        sides += f"l{-0.6 * s:.2f} {-s:.2f}z"
        parts.append(f'<path d="{sides}" fill="{colour}">{_titled(title)}</path>')
    return "".join(parts)


def _sample(key: Key, x: float, y: float, theme: Theme) -> str:
    colour = theme.colour(key.colour)
    if key.shape == "box":
        return (
            f'<rect x="{x:.1f}" y="{y - 5:.1f}" width="14" height="10" fill="{colour}" '
            f'stroke="{theme.muted}" stroke-width="0.5"/>'
        )
    if key.shape in ("line", "dashed"):
        dash = "" if key.shape == "line" else ' stroke-dasharray="5 3"'
        return f'<path d="M{x:.1f} {y:.1f}h16" stroke="{colour}" stroke-width="2"{dash}/>'
    fill = theme.ground if key.shape == "ring" else colour
    place = f'cx="{x + key.room / 2:.1f}" cy="{y:.1f}" r="{key.size * _POINT / 2:.1f}"'
    return f'<circle {place} fill="{fill}" stroke="{colour}"/>'


def _gradient(scale: Scale, left: float, top: float, height: float) -> str:
    column = np.linspace(scale.high, scale.low, LEVELS)[:, None]
    return (
        f'<image x="{left:.1f}" y="{top:.2f}" width="14" height="{height:.2f}" '
        'preserveAspectRatio="none" image-rendering="pixelated" '
        f'href="{_address(scale.pixels(column))}"/>'
    )


def _arrows(scale: Scale, left: float, top: float, height: float) -> list[str]:
    above, below = scale.colour(scale.high), scale.colour(scale.low)
    return [
        f'<path d="M{left:.1f} {top:.1f}h14l-7 -9z" fill="{above}"/>',
        f'<path d="M{left:.1f} {top + height:.1f}h14l-7 9z" fill="{below}"/>',
    ]


def _patterns(name: str, theme: Theme) -> str:
    """Hatches, drawn in the colour of texts."""
    stroke = f'stroke="{theme.text}" stroke-width="1"'
    dot = f'<circle cx="3" cy="3" r="1" fill="{theme.text}"/>'
    lines_of = f'<path d="M0 6L6 0" {stroke}/>'
    head = 'width="6" height="6" patternUnits="userSpaceOnUse"'
    return (
        f'<defs><pattern id="{name}-unsure" {head}>{lines_of}</pattern>'
        f'<pattern id="{name}-open" {head}>{dot}</pattern>'
        f'<pattern id="{name}-against" {head}>{dot}</pattern></defs>'
    )


def _address(pixels: Any) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    # Inside the picture itself, which stays whole when it is sent or moved.
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _text(x: float, y: float, text: str, colour: str, anchor: str, more: str = "") -> str:
    return (
        f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" fill="{colour}"{more}>'
        f"{escaped(text)}</text>"
    )


def _titled(text: str) -> str:
    return clause(f"<title>{escaped(text)}</title>", text)


def escaped(text: str) -> str:
    """Text for XML: markup is shown and never read, and letters that XML forbids are left out."""
    allowed = (letter for letter in text if letter in "\t\n" or _allowed(ord(letter)))
    return html.escape("".join(allowed))


def _allowed(code: int) -> bool:
    """Whether XML 1.0 allows a letter."""
    return 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
