"""Colours of pictures: handed along as a value, never set for a process.

Red speaks for the target and blue against it, the two ends of a scale that stays readable under the
three colour-vision deficiencies. The sign is always shown by position or hatching as well.
"""

from __future__ import annotations

from dataclasses import dataclass
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
        hatched: whether the sign of a bar is hatched too, where ink has no colour.
    """

    ground: str
    text: str
    muted: str
    grid: str
    positive: str
    negative: str
    hatched: bool = False


THEMES: dict[str, Theme] = {
    "light": Theme("#ffffff", "#1a1a1a", "#6b6b6b", "#d9d9d9", "#b2182b", "#2166ac"),
    "dark": Theme("#14171a", "#f0f0f0", "#a3a3a3", "#3a3f44", "#f4886b", "#6bb1e0"),
    "print": Theme("#ffffff", "#000000", "#595959", "#cccccc", "#b2182b", "#2166ac", hatched=True),
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
