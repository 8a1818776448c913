"""Credit of pictures: maps beside the photograph, its contours over it, several on one scale.

- `image_map`: where credit lies, one map for each answer and input
- `contours`: the same as lines over the photograph
- `retina`: the published signed overlay, green for and red against, beside a map that all can read

A map lies beside the photograph and never under it: half transparent colours cannot be read off, since
what they are mixed with changes them. Nothing is clipped unless `clip` says so, and then it is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike

from assay.answers.attribution import Attribution
from assay.errors import InputError, SettingError
from assay.pictures.described import (
    Answers,
    answers_by_name,
    errors_of,
    method_of,
    row_number,
    sampled,
    surely,
    unit_of,
    values_of,
    z_of,
)
from assay.pictures.drawing.drawing import Chart
from assay.pictures.drawing.kinds import border, photo_panel, raster_panel
from assay.pictures.drawing.labels import signed
from assay.pictures.drawing.marks import Floats, Key, Line, Mark
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Scale, around_zero
from assay.pictures.images import CLIPPED, credit_maps, is_image, photos, spread_over_places
from assay.pictures.numbers import clause, number
from assay.pictures.overlay import signed_overlay
from assay.question.question import Question
from assay.settings import argument

Show: TypeAlias = Literal["credit", "sure", "error"]
MapScale: TypeAlias = Literal["input", "all", "own"] | float

_PLACES = 1024  # a side of a map as it is drawn
_CLIPPED = 0.995  # the share of places that is worth being drawn by itself
_REGIONS = 1000  # features of a picture whose borders can be told apart
_LEVELS = (0.25, 0.5)  # of the largest credit, where contours lie
_SMOOTH = 0.02  # of the picture's side: how far credit is smoothed before contours are drawn


@final
@dataclass(frozen=True, eq=False)
class _Map:
    """One map of one input.

    Settings:
        name: of the answer.
        input: its number.
        values: (height, width) as drawn.
        kind: the unit of its numbers, with which it shares a scale.
        unit: in words.
        level: whether its numbers have no neutral zero.
        factor: of places that share one that is drawn.
    """

    name: str
    input: int
    values: Floats
    kind: str
    unit: str
    level: bool
    factor: int


def image_map(
    answers: Answers,
    inputs: int | Sequence[int] = 0,
    *,
    question: Question,
    images: ArrayLike | None = None,
    scale: MapScale = "input",
    show: Show = "credit",
    clip: float | None = None,
    outline: ArrayLike | None = None,
    joint: bool = True,
) -> Chart:
    """Where credit lies: each photograph with a map beside it for every answer.

    Regions (patches, superpixels) have hair lines around them on both.

    Settings:
        answers: one, several, or by name, all to one question.
        inputs: a number, or several, each in a row of its own.
        question: what was asked, about pictures.
        images: what people should see, where the inputs are not it.
        scale: "input" has one scale for all maps of an input in one unit, "all" one for all, "own" one
            for each; a number is the credit of the full colour.
        show: "credit"; "sure", what is surely there, sign(v) max(0, |v| - z s); or "error", s.
        clip: the share of places that the scale holds, such as 0.995; None for all.
        outline: a selection (features,) or a region (height, width), drawn as a border.
        joint: whether "sure" holds for all places together (Bonferroni).

    Errors: InputError for inputs that are no pictures, and for "sure" or "error" of an answer without
    errors.

    >>> import torch, assay
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1))
    >>> question = assay.Question(net, torch.rand(2, 1, 4, 4))
    >>> chart = image_map(assay.Gradient()(question), question=question)
    >>> len(chart.panels), chart.panels[1].bar.low == -chart.panels[1].bar.high
    (2, True)
    """
    show = argument("image_map", "show", show, Show)
    named = answers_by_name(answers)
    _check_pictures(question)
    chosen = [inputs] if isinstance(inputs, int) else list(inputs)
    first = next(iter(named.values()))
    rows = [row_number(first, i) for i in chosen]
    maps = [
        _map(name, answer, i, question, show, joint) for i in rows for name, answer in named.items()
    ]
    limits = _limits(maps, scale, clip)
    seen = photos(question, images)
    panels: list[Panel] = []
    for i in rows:
        if seen is not None:
            over = _regions(question, i, f"regions-{i}", "#ffffff")
            over += _outlined(outline, question, i, f"outline-photo-{i}")
            panels.append(photo_panel(f"photo-{i}", seen[i], title=f"input {i}", over=over))
        for k, (each, limit) in enumerate(zip(maps, limits)):
            if each.input != i:
                continue
            over = []
            if each.factor == 1:
                over = _regions(question, i, f"regions-map-{k}", "#6b6b6b")
                over += _outlined(outline, question, i, f"outline-{k}")
            colours = _scale(each, limit, show)
            panels.append(
                raster_panel(f"map-{k}", each.values, colours, title=each.name, over=over)
            )
    return Chart(
        drawn=tuple(panels),
        table=_table(maps, limits),
        caption=_caption(maps, limits, scale, show, joint),
        alt=_alt(maps, show),
        columns=len(named) + (seen is not None),
    )


def contours(
    answer: Attribution,
    i: int = 0,
    *,
    question: Question,
    images: ArrayLike | None = None,
    joint: bool = True,
) -> Chart:
    """Where credit lies, as lines over the photograph: solid for, dashed against.

    Lines of the map, smoothed, at a quarter and a half of its largest credit; where the answer has
    errors, of what is surely there.

    Settings: as of `image_map`.
    """
    [(name, answer)] = answers_by_name(answer).items()
    _check_pictures(question)
    i = row_number(answer, i)
    seen = photos(question, images)
    if seen is None:
        raise InputError(
            expected="pictures that people can see, of one or three channels",
            got=f"inputs of shape {question.layout.describe()}",
            advice="Hand over what should be seen: contours(answer, question=question, images=...).",
        )
    show: Show = "sure" if sampled(answer) else "credit"
    found = _map(name, answer, i, question, show, joint, factor=1)
    from scipy.ndimage import gaussian_filter

    smoothed = gaussian_filter(found.values, _SMOOTH * max(found.values.shape))
    limit = float(np.abs(smoothed).max())
    # Paler than it is, so that lines stand out.
    grey = seen[i].mean(axis=-1) if seen[i].ndim == 3 else seen[i]
    pale = 0.2 + 0.6 * grey
    marks, table = _contour_lines(smoothed, limit)
    panel = photo_panel(f"photo-{i}", pale, title=f"{name}, input {i}", side=360.0, over=marks)
    sure = clause("; of what is surely there", show == "sure")
    return Chart(
        drawn=(replace(panel, keys=_contour_keys(table)),),
        table=table,
        caption=(
            f"{unit_of(answer, i)}; smoothed by {100 * _SMOOTH:g} % of the side; lines at 1/4 and 1/2 of "
            f"{number(limit)}, the largest{sure}"
        ),
        alt=_alt([found], show).replace("Map", "Contours", 1),
    )


def retina(
    answer: Attribution, i: int = 0, *, question: Question, images: ArrayLike | None = None
) -> Chart:
    """Signed credit over the grey outline of a picture, as it is published: green for, red against
    (Sundararajan et al. 2017, figure 3), beside a map that those who cannot tell the two can read.

    Settings: as of `image_map`; see `signed_overlay` for the numbers. The strongest percent of a large
    map shares the full colour, on both, and the caption says how much that is and counts them.
    """
    [(name, answer)] = answers_by_name(answer).items()
    i = row_number(answer, i)
    parts = signed_overlay(question, answer, images)
    credit, outline = parts.credit[i], parts.outline[i]
    strength = np.abs(credit)[..., None]
    green, red = np.array([0.0, 0.8, 0.2]), np.array([0.9, 0.1, 0.1])
    colours = np.where(credit[..., None] > 0, green, red)
    # Where there is no credit the outline shows, grey on black.
    drawn = (1 - strength) * 0.6 * outline[..., None] + strength * colours
    # Both have one full colour, or a few places would bleach the one that can be read.
    full = float(parts.reach[i])
    safe = image_map({name: answer}, i, question=question, images=images, scale=full)
    seen, beside = safe.panels[0], safe.panels[-1]
    overlay = photo_panel(f"overlay-{i}", drawn, title="green for, red against")
    return Chart(
        drawn=(seen, overlay, beside),
        table={**safe.table, "full colour of the overlay": [full]},
        caption=(
            f"{safe.caption}; overlay: full colour at {number(full)}, too; one man in twelve cannot tell "
            "its two colours, and reads the map on the right"
        ),
        alt=safe.alt.replace("Map", "Signed overlay and map", 1),
        columns=3,
    )


# --- parts


def _check_pictures(question: Question) -> None:
    if not is_image(question):
        raise InputError(
            expected="a question about pictures for a map",
            got=f"inputs of shape {question.layout.describe()}",
            advice="Draw bars(answer, i), or words(answer, i) of texts.",
        )


def _map(
    name: str,
    answer: Attribution,
    i: int,
    question: Question,
    show: Show,
    joint: bool,
    factor: int | None = None,
) -> _Map:
    values = values_of(answer)
    level = "level" in answer.facts
    if show == "credit":
        drawn = credit_maps(question, answer)[i]
    else:
        if not sampled(answer):
            raise InputError(
                expected=f"an answer with sampling errors for show={show!r}",
                got=f"{method_of(answer)}, which has none",
                advice="Leave `show` out: the credit was computed, and not sampled.",
            )
        errors = errors_of(answer, values)
        shown = errors
        if show == "sure":
            shown = surely(values, errors, z_of(joint, values.shape[1]))
        drawn = spread_over_places(question, shown)[i]
    # As many places as paper has: means, which keep the sum.
    factor = factor or max(1, -(-max(drawn.shape) // _PLACES))
    unit = unit_of(answer, i)
    if show == "error":
        unit = f"standard error of the {unit}"
    return _Map(name, i, reduced(drawn, factor), answer.kind, unit, level, factor)


def reduced(values: Floats, factor: int) -> Floats:
    """A map of fewer places: means of `factor` by `factor` of them, which keep its picture."""
    if factor == 1:
        return values
    height, width = values.shape
    rows = np.arange(0, height, factor)
    columns = np.arange(0, width, factor)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    counts = np.outer(np.diff(np.append(rows, height)), np.diff(np.append(columns, width)))
    return np.asarray(sums / counts)


def _limits(maps: Sequence[_Map], scale: MapScale, clip: float | None) -> list[float]:
    """The credit of the full colour of each map."""
    if isinstance(scale, int | float) and not isinstance(scale, bool):
        if not 0 < float(scale) < np.inf:
            raise SettingError(
                expected="a credit above 0 as the scale",
                got=scale,
                advice='Leave it out for "input", or write scale="all".',
            )
        return [float(scale)] * len(maps)
    scope: str = argument("image_map", "scale", scale, Literal["input", "all", "own"])
    share = 1.0 if clip is None else argument("image_map", "clip", clip, float)
    if not 0 < share <= 1:
        raise SettingError(
            expected="a share of places from 0 to 1 to clip at",
            got=clip,
            advice="Such as clip=0.995; leave it out to clip nothing.",
        )
    return [
        _limit([other for other in maps if _shared(each, other, scope)], share) for each in maps
    ]


def _shared(one: _Map, other: _Map, scope: str) -> bool:
    """Whether two maps have one scale: never in different units."""
    if one is other:
        return True
    if scope == "own" or (one.kind, one.level) != (other.kind, other.level):
        return False
    return scope == "all" or one.input == other.input


def _limit(maps: Sequence[_Map], share: float) -> float:
    values = np.concatenate([np.abs(each.values).ravel() for each in maps])
    largest = float(values.max())
    # Of a map with credit in few places the quantile is 0, and nothing is clipped.
    return float(np.quantile(values, share)) or largest


def _scale(each: _Map, limit: float, show: Show) -> Scale:
    beyond = bool((np.abs(each.values) > limit).any())
    if show == "error":
        return Scale(0.0, limit or 1.0, each.unit, "cividis", beyond=beyond)
    if each.level:
        low, high = float(each.values.min()), float(each.values.max())
        return Scale(low, high if high > low else low + 1.0, each.unit, "viridis")
    return around_zero(limit, each.unit, beyond=beyond)


def _outlined(outline: ArrayLike | None, question: Question, i: int, gid: str) -> list[Mark]:
    if outline is None:
        return []
    mask = np.asarray(outline, dtype=bool)
    shape = question.layout.shapes[0][-2:]
    if mask.shape != shape:
        if mask.size != question.partition.count:
            raise InputError(
                expected=f"a selection of {question.partition.count} features or a region {shape}",
                got=f"shape {mask.shape}",
                advice="Hand over a mask of the features: answer.top(0.1)[i].",
            )
        # As credit of one where a feature is selected.
        flat = np.zeros((question.n, mask.size))
        flat[i] = mask.ravel()
        mask = spread_over_places(question, flat)[i] > 0
    x, y = border(mask)
    # White below and black above is seen on any ground.
    return [
        Line(f"{gid}-ground", x, y, "#ffffff", 2.6),
        Line(gid, x, y, "#000000", 1.0, title="selection"),
    ]


def _regions(question: Question, i: int, gid: str, colour: str) -> list[Mark]:
    """Hair lines between the features of a picture whose features are regions of more than a place."""
    partition = question.partition
    height, width = question.layout.shapes[0][-2:]
    if partition.identity or not 1 < partition.count <= min(_REGIONS, height * width // 4):
        return []
    labels = partition.labels[i if len(partition.labels) > 1 else 0].reshape(-1, height, width)
    # All channels belong to a region together: the first shows it as well as any.
    x, y = border(labels[0].cpu().numpy())
    if not len(x):
        return []
    return [Line(gid, x, y, colour, 0.5)]


def _table(maps: Sequence[_Map], limits: Sequence[float]) -> dict[str, list[Any]]:
    return {
        "input": [each.input for each in maps],
        "method": [each.name for each in maps],
        "largest": [float(each.values.max()) for each in maps],
        "smallest": [float(each.values.min()) for each in maps],
        "sum": [float(each.values.sum() * each.factor**2) for each in maps],
        "full colour": list(limits),
        "places beyond": [_beyond(each, limit) for each, limit in zip(maps, limits)],
    }


def _beyond(each: _Map, limit: float) -> int:
    if each.level:
        return 0
    return int((np.abs(each.values) > limit).sum())


def _bleached(each: _Map, limit: float) -> bool:
    """Whether a few places take the colours of all others."""
    if each.level or each.values.size < CLIPPED:
        return False
    return float(np.quantile(np.abs(each.values), _CLIPPED)) < limit / 4


def _caption(
    maps: Sequence[_Map], limits: Sequence[float], scale: MapScale, show: Show, joint: bool
) -> str:
    told = {
        "credit": "credit place by place",
        "sure": f"what is surely there, {clause('simultaneous ', joint)}95 % intervals",
        "error": "standard errors",
    }
    scales = {"input": "one scale for each input", "all": "one scale", "own": "own scales"}
    parts = [told[show], scales.get(str(scale), "a given scale")]
    if len({(each.kind, each.level) for each in maps}) > 1:
        parts.append("maps in different units have scales of their own")
    for each, limit in zip(maps, limits):
        beyond = _beyond(each, limit)
        if beyond:
            largest = number(float(np.abs(each.values).max()))
            parts.append(
                f"{each.name}, input {each.input}: {beyond:,} of {each.values.size:,} places beyond "
                f"±{number(limit)}, largest {largest}"
            )
        elif _bleached(each, limit):
            most = number(float(np.quantile(np.abs(each.values), _CLIPPED)))
            parts.append(
                f"{each.name}, input {each.input}: {100 * _CLIPPED:g} % of the places lie within "
                f"±{most}, which clip={_CLIPPED:g} draws"
            )
    factor = max(each.factor for each in maps)
    if factor > 1:
        parts.append(f"means over {factor} x {factor} places")
    return "; ".join(parts)


def _alt(maps: Sequence[_Map], show: Show) -> str:
    told = []
    for each in maps[:3]:
        values = each.values
        low, high = float(values.min()), float(values.max())
        if not values.any():
            told.append(f"{each.name} has no credit anywhere")
            continue
        ends = []
        if high > 0 or each.level:
            down, across = np.unravel_index(int(values.argmax()), values.shape)
            ends.append(f"largest {signed(high)} at row {down}, column {across}")
        if low < 0 or each.level:
            down, across = np.unravel_index(int(values.argmin()), values.shape)
            ends.append(f"smallest {signed(low)} at row {down}, column {across}")
        told.append(f"{each.name}, input {each.input}: {', '.join(ends)}")
    what = {"credit": "", "sure": " of what is surely there", "error": " of standard errors"}[show]
    more = clause(f" {len(maps) - 3} further maps.", len(maps) > 3)
    noun = "Map" if len(maps) == 1 else f"Maps ({len(maps)})"
    return f"{noun}{what}. {'. '.join(told)}.{more}"


def _contour_lines(values: Floats, limit: float) -> tuple[list[Mark], dict[str, list[Any]]]:
    from contourpy import contour_generator

    marks: list[Mark] = []
    table: dict[str, list[Any]] = {"level": [], "sign": [], "lines": []}
    if limit == 0:
        return marks, table
    drawer = contour_generator(z=values)
    for sign, colour, word in ((1, "#b2182b", "for"), (-1, "#2166ac", "against")):
        for level in (sign * share * limit for share in _LEVELS):
            lines = [line for line in drawer.lines(level) if len(line) > 1]
            table["level"].append(level)
            table["sign"].append(word)
            table["lines"].append(len(lines))
            for k, line in enumerate(lines):
                gid = f"contour-{level:.6g}-{k}"
                x, y = np.asarray(line, dtype=np.float64).T
                # A white line below is seen on dark and on red ground.
                marks.append(Line(f"{gid}-ground", x, y, "#ffffff", 3.0))
                marks.append(Line(gid, x, y, colour, 1.6, sign < 0, title=signed(level)))
    return marks, table


def _contour_keys(table: Mapping[str, Sequence[Any]]) -> tuple[Key, ...]:
    """What the lines mean, with their credit; of those alone that there are."""
    keys = []
    for word, colour in (("for", "#b2182b"), ("against", "#2166ac")):
        levels = [
            signed(level)
            for level, sign, count in zip(table["level"], table["sign"], table["lines"])
            if sign == word and count
        ]
        if levels:
            text = f"{word}, at {' and '.join(levels)}"
            keys.append(Key(text, colour, "line" if word == "for" else "dashed"))
    return tuple(keys)
