"""Colours of pictures: handed along as a value, never set for a process.

Red speaks for the target and blue against it, the two ends of a scale that stays readable under the
three colour-vision deficiencies. The sign is always shown by position or hatching as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

from assay.errors import SettingError

ThemeName: TypeAlias = Literal["light", "dark", "print"]


@final
@dataclass(frozen=True)
class Theme:
    """The colours of one look, as `#rrggbb`.

    Settings:
        ground: what a picture is drawn on.
        text: names and numbers.
        muted: axes, totals, references; at least 3 : 1 against the ground.
        grid: thin lines that guide the eye.
        positive: credit for the target.
        negative: credit against it.
        proven: what is certified.
        flipped: where the class has changed.
        series: of lines and dots that are told apart, after Okabe and Ito (2008), each at least 3 : 1
            against the ground.
        hatched: whether the sign of a bar is hatched too, where ink has no colour.
    """

    ground: str
    text: str
    muted: str
    grid: str
    positive: str
    negative: str
    proven: str
    flipped: str
    series: tuple[str, ...]
    hatched: bool = False

    def colour(self, role: str) -> str:
        """The colour of a role, such as `positive` or `series-3`; a colour is its own."""
        if role.startswith("#"):
            return role
        if role.startswith("series-"):
            return self.series[int(role.removeprefix("series-")) % len(self.series)]
        return str(getattr(self, role))


_ON_WHITE = ("#0072b2", "#c44e00", "#007f5f", "#a8447f", "#6a5acd", "#8a6d00", "#3d3d3d", "#1f8ac0")
_ON_BLACK = ("#56b4e9", "#f0a050", "#35c79b", "#e79bc4", "#a99cf0", "#e6c84f", "#d0d0d0", "#8fd0ff")

_LIGHT = Theme(
    ground="#ffffff",
    text="#1a1a1a",
    muted="#6b6b6b",
    grid="#d9d9d9",
    positive="#b2182b",
    negative="#2166ac",
    proven="#1b7837",
    flipped="#762a83",
    series=_ON_WHITE,
)

THEMES: dict[str, Theme] = {
    "light": _LIGHT,
    "dark": Theme(
        ground="#14171a",
        text="#f0f0f0",
        muted="#a3a3a3",
        grid="#3a3f44",
        positive="#f4886b",
        negative="#6bb1e0",
        proven="#7fc98f",
        flipped="#c9a0dc",
        series=_ON_BLACK,
    ),
    "print": replace(_LIGHT, text="#000000", muted="#595959", grid="#cccccc", hatched=True),
}


def theme_of(name: str) -> Theme:
    """A theme by its name.

    >>> theme_of("light").ground
    '#ffffff'
    """
    if name not in THEMES:
        raise SettingError(
            expected=f"one of the themes {', '.join(THEMES)}",
            got=repr(name),
            advice="Leave it out for light.",
        )
    return THEMES[name]


def luminance(colour: str) -> float:
    """The relative luminance of a colour (WCAG 2.2), from 0 to 1."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    # The transfer curve of sRGB (IEC 61966-2-1), a straight line near black.
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (WCAG 2.2), from 1 to 21.

    >>> round(contrast("#ffffff", "#000000"))
    21
    """
    # 0.05 stands for the light that a screen reflects (WCAG).
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def ink_on(colour: str) -> str:
    """Black or white, whichever is read better on a colour.

    >>> ink_on("#ffffff"), ink_on("#053061")
    ('#000000', '#ffffff')
    """
    return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, colour))
