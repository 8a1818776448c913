"""A panel: marks with their two axes, and what stands around them."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from assay.pictures.drawing.labels import breadth, lines
from assay.pictures.drawing.marks import Key, Mark
from assay.pictures.drawing.scales import Axis, Scale, Ticks

Frame: TypeAlias = Literal["axes", "rows", "none"]

LETTER = 12.0  # height of a letter, in the units of a panel's size
LINE = 16.0  # of a line of a label
_MOST = 210.0  # of the room for names on the left


@final
@dataclass(frozen=True, eq=False)
class Panel:
    """Marks in two directions.

    Settings:
        marks: what is drawn, the first behind the others.
        x, y: the two directions.
        size: of what the axes enclose, in hundredths of an inch.
        title: what stands above.
        frame: "axes" on two sides, "rows" with names and no line on the left, "none" at all.
        right: ticks on the right side.
        bar: the scale whose colours stand beside the panel.
        keys: what colours mean, above the panel.
        equal: whether a unit is as long in both directions.
        turned: whether the ticks below are read upwards, as they are where they have no room.
    """

    marks: tuple[Mark, ...]
    x: Axis
    y: Axis
    size: tuple[float, float] = (420.0, 240.0)
    title: str = ""
    frame: Frame = "axes"
    right: Ticks = ()
    bar: Scale | None = None
    keys: tuple[Key, ...] = ()
    equal: bool = False
    turned: bool = False

    @property
    def margins(self) -> tuple[float, float, float, float]:
        """The room left, right, above and below of what the axes enclose."""
        return self._left(), self._right(), self._above(), self._below()

    def _left(self) -> float:
        if self.frame == "none":
            return 10.0
        names = max((_widest(text) for _, text in self.y.ticks), default=0.0)
        return min(names, _MOST) + 14.0 + LINE * len(self.y_label)

    def _right(self) -> float:
        room = 14.0 + self.beside
        if self.bar is not None:
            # Colours, numbers beside them, and the unit along them.
            room += 40.0 + max(breadth(text) for _, text in self.bar.ticks) * LETTER
            room += LINE * len(self.bar_label)
        return room

    def _above(self) -> float:
        # Half a letter of the uppermost tick rises above the axes.
        return 10.0 + (20.0 if self.title else 0.0) + self.key_height * self.key_rows

    def _below(self) -> float:
        if self.frame == "none":
            return 8.0
        room = 8.0
        if self.x.ticks:
            longest = max(_widest(text) for _, text in self.x.ticks)
            room += min(longest, _MOST) + 6.0 if self.upwards else 18.0
        return room + LINE * len(self.x_label)

    @property
    def beside(self) -> float:
        """The room of the ticks on the right side."""
        return max((breadth(text) for _, text in self.right), default=0.0) * LETTER

    @property
    def upwards(self) -> bool:
        """Whether the ticks below are read upwards."""
        room = self.size[0] / max(1, len(self.x.ticks))
        named = self.x.marked is not None and not self.x.log
        return self.turned or (named and any(_widest(text) > room for _, text in self.x.ticks))

    @property
    def x_label(self) -> list[str]:
        """The label of the horizontal axis, line by line."""
        return _wrapped(self.x.label, self.size[0])

    @property
    def y_label(self) -> list[str]:
        """The label of the vertical axis."""
        return _wrapped(self.y.label, self.size[1])

    @property
    def bar_label(self) -> list[str]:
        """The label of the colours."""
        return _wrapped(self.bar.label if self.bar else "", self.size[1])

    @property
    def key_rows(self) -> int:
        """How many lines the legend has."""
        return len(self.keys_by_row)

    @property
    def key_height(self) -> float:
        """The height of a line of the legend, in which its largest sample stays."""
        return max([18.0, *(key.room + 4.0 for key in self.keys)])

    @property
    def keys_by_row(self) -> list[list[tuple[float, Key]]]:
        """The entries of the legend line by line, each with where it starts."""
        rows: list[list[tuple[float, Key]]] = []
        at = 0.0
        for key in self.keys:
            wide = key.room + 12.0 + breadth(key.text) * LETTER
            if not rows or at + wide > max(self.size[0], wide):
                rows.append([])
                at = 0.0
            rows[-1].append((at, key))
            at += wide + 8.0
        return rows


def _wrapped(label: str, room: float) -> list[str]:
    """A label in as many lines as its side of the panel asks for."""
    if label:
        return textwrap.wrap(label, max(12, int(room / (0.6 * LETTER))))
    return []


def _widest(text: str) -> float:
    return max(breadth(line) for line in lines(text)) * LETTER
