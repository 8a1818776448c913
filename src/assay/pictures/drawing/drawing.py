"""What every picture can do: be drawn, be written as SVG, be a table, and be said in a sentence."""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from assay.errors import InputError, SettingError
from assay.pictures.drawing.panel import LETTER, Panel
from assay.pictures.drawing.themes import ThemeName, theme_of
from assay.pictures.numbers import clause

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

NOTE = 16.0  # height of a line of the caption
_SUFFIXES = (".png", ".svg", ".pdf", ".html", ".csv")
_TABLE = 200  # rows of a table on a page


class Drawing(ABC):
    """A picture: panels of marks, with a caption and a sentence.

    Must have: `panels`, `data`, and the two texts below. pyplot is never imported, nothing of a
    process is set, and the same picture gives the same marks.

    Settings:
        caption: how it was got, in small letters; empty for none.
        alt: the picture in one sentence, for those who do not see it.
        columns: how many panels stand beside each other.
    """

    caption: str
    alt: str
    columns: int = 1

    @property
    @abstractmethod
    def panels(self) -> tuple[Panel, ...]:
        """What is drawn, row by row."""

    @property
    @abstractmethod
    def data(self) -> pandas.DataFrame:
        """All that is drawn, in numbers: one row per mark."""

    @property
    def panel_rows(self) -> list[tuple[Panel, ...]]:
        """The panels, as many beside each other as `columns` says."""
        panels = self.panels
        return [panels[k : k + self.columns] for k in range(0, len(panels), self.columns)]

    @property
    def lefts(self) -> list[float]:
        """The room left of each column of panels, so that those below each other are in line."""
        return [max(panel.margins[0] for panel in column) for column in self._columns]

    @property
    def widths(self) -> list[float]:
        """Of the columns of panels, margins included, in hundredths of an inch."""
        return [
            left + max(panel.size[0] + panel.margins[1] for panel in column)
            for left, column in zip(self.lefts, self._columns)
        ]

    @property
    def _columns(self) -> list[list[Panel]]:
        count = min(self.columns, len(self.panels))
        return [[row[k] for row in self.panel_rows if k < len(row)] for k in range(count)]

    @property
    def heights(self) -> list[float]:
        """Of the rows of panels, margins included."""
        return [max(map(_height, row)) for row in self.panel_rows]

    @property
    def notes(self) -> list[str]:
        """The caption, line by line."""
        letters = max(30, int(sum(self.widths) / (0.6 * LETTER)))
        return textwrap.wrap(self.caption, letters)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height, in hundredths of an inch."""
        return sum(self.widths), sum(self.heights) + NOTE * len(self.notes) + 6.0

    def figure(self, width: float | None = None, theme: ThemeName = "light") -> Figure:
        """A figure of its own, `width` inches wide, or as wide as suits it, and as high as it needs."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        from assay.pictures.drawing.on_axes import sheet

        across, down = self.size
        if width is None:
            figure = Figure(figsize=(across / 100, down / 100))
            FigureCanvasAgg(figure)
            sheet(self.panel_rows, self.notes, figure, theme_of(theme))
            return figure
        figure = Figure(figsize=(width, width * down / across), layout="constrained")
        # A canvas that can measure words: without one the layout makes no room for them.
        FigureCanvasAgg(figure)
        self.draw(figure, theme=theme)
        if any((panel.bar and panel.right) or panel.keys for panel in self.panels):
            # What stands around a panel moves as it shrinks for that: a layout takes two steps.
            layout: Any = figure.get_layout_engine()
            layout.execute(figure)
        return figure

    def draw(
        self, ax: Axes | SubFigure | Figure | None = None, *, theme: ThemeName = "light"
    ) -> Axes:
        """Draws on an axes, or on one of a figure of its own, and returns it.

        With `ax` nothing outside of it is touched: no size, no layout, no title, no settings. A
        picture of several panels takes a (sub)figure, and returns the first of its axes.
        """
        from matplotlib.axes import Axes

        from assay.pictures.drawing.on_axes import grid, paint

        if ax is None:
            first: Axes = self.figure(theme=theme).axes[0]
            return first
        if not isinstance(ax, Axes):
            return grid(self.panel_rows, self.widths, self.heights, self.notes, ax, theme_of(theme))
        if len(self.panels) > 1:
            raise InputError(
                expected=f"a figure for a picture of {len(self.panels)} panels",
                got="a single axes",
                advice="Hand over a SubFigure: picture.draw(figure.add_subfigure(...)).",
            )
        # Below the axis, in lines that are not much longer than it.
        letters = max(30, int(self.panels[0].size[0] / (0.6 * LETTER)))
        paint(self.panels[0], ax, theme_of(theme), textwrap.wrap(self.caption, letters))
        return ax

    def svg(self, theme: ThemeName = "light") -> str:
        """The same marks as an SVG that needs nothing else: for pages and notebooks."""
        from assay.pictures.drawing.as_svg import svg

        return svg(
            self.panel_rows,
            self.widths,
            self.heights,
            lefts=self.lefts,
            notes=self.notes,
            alt=self.alt,
            theme=theme_of(theme),
        )

    def html(self, theme: ThemeName = "light") -> str:
        """The SVG with its table, folded away: for pages and notebooks."""
        data = self.data
        shown = data.head(_TABLE)
        table = shown.to_html(index=False, border=0, na_rep="–", justify="left")
        more = clause(f", the first {_TABLE} of {len(data)} rows", len(data) > _TABLE)
        # A wide table scrolls by itself, also by keyboard, and not its page.
        region = '<div style="overflow-x:auto" tabindex="0" role="group" aria-label="Table">'
        return (
            f"<figure>{self.svg(theme)}<details><summary>Table{more}</summary>{region}{table}</div>"
            "</details></figure>"
        )

    def _page(self, theme: ThemeName) -> str:
        """A page with the picture alone, which says its letters, its language and its name."""
        from assay.pictures.drawing.as_svg import escaped

        look = theme_of(theme)
        # What it is: the sentence says further what came out.
        name = escaped(self.alt.partition(":")[0])
        return (
            '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{name}</title><style>body{{margin:1rem;background:{look.ground};"
            f"color:{look.text};font-family:sans-serif}}h1{{font-size:1rem;overflow-wrap:anywhere}}"
            "figure{margin:0}</style></head>\n"
            f"<body><main><h1>{name}</h1>{self.html(theme)}</main></body>\n</html>\n"
        )

    def save(
        self, path: str | PathLike[str], *, theme: ThemeName = "light", width: float | None = None
    ) -> None:
        """Writes a picture (.png, .svg, .pdf), a page with its table (.html), or the data (.csv)."""
        file = Path(path)
        if file.suffix not in _SUFFIXES:
            raise SettingError(
                expected=f"a file that ends in one of {', '.join(_SUFFIXES)}",
                got=str(path),
                advice="The ending says what is written.",
            )
        if file.suffix == ".csv":
            self.data.to_csv(file, index=False)
        elif file.suffix == ".svg":
            file.write_text(self.svg(theme), encoding="utf-8")
        elif file.suffix == ".html":
            file.write_text(self._page(theme), encoding="utf-8")
        else:
            # A PDF has a subject and a PNG a description: either holds the picture in words.
            described: dict[str, Any] = {
                "Title": "assay",
                "Subject": self.alt,
                "CreationDate": None,
            }
            if file.suffix == ".png":
                described = {"Description": self.alt, "Software": None}
            dots = 300 if theme == "print" else 200
            self.figure(width, theme).savefig(file, dpi=dots, metadata=described)

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        return self.alt


@final
@dataclass(frozen=True, eq=False, repr=False)
class Chart(Drawing):
    """A picture of some panels.

    Settings:
        drawn: the panels.
        table: all that is drawn, in numbers: a name and as many entries for each column.
        caption: how it was got, in small letters.
        alt: the picture in one sentence.
        columns: how many panels stand beside each other.
    """

    drawn: tuple[Panel, ...]
    table: Mapping[str, Sequence[Any]]
    caption: str
    alt: str
    columns: int = field(default=1)

    @property
    def panels(self) -> tuple[Panel, ...]:
        return self.drawn

    @property
    def data(self) -> pandas.DataFrame:
        import pandas

        return pandas.DataFrame(dict(self.table))


def _height(panel: Panel) -> float:
    _, _, above, below = panel.margins
    return above + panel.size[1] + below
