"""Names and numbers as pictures write them: data, never markup.

A number with an error is rounded to its error: the half width of its 95 % interval has two
significant digits, and the number the same decimals.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence

from assay.pictures.numbers import LARGEST, SMALLEST, number

Z = 1.959963984540054  # a standard error times this is half a 95 % interval
LETTERS = 32  # of a name on one line
_SIGNIFICANT = 2  # digits of an error


def signed(value: float, error: float | None = None) -> str:
    """A credit with its sign, and the half width of its 95 % interval where an error is known.

    >>> signed(-0.16234, 0.01479), signed(0.0481), signed(0.0), signed(4.1e-05)
    ('−0.162 ± 0.029', '+0.0481', '0', '+4.10e−05')
    """
    if error is None or math.isnan(error) or error == 0:
        text = number(value)
        if value > 0:
            return f"+{text}"
        return text
    half = Z * error
    # Negative from a half width of 100 on: whole digits are then rounded away.
    decimals = _SIGNIFICANT - 1 - math.floor(math.log10(half))
    # Rounding up may give the error a digit more: 0.0996 is 0.10.
    if round(half, decimals) >= 10 ** (_SIGNIFICANT - decimals):
        decimals -= 1
    if not SMALLEST <= max(half, abs(value)) < LARGEST:
        return f"{signed(value)} ± {half:.1e}".replace("-", "−")
    places = max(decimals, 0)
    rounded = f"{round(value, decimals):+.{places}f}"
    # A value that its error swallows has no sign to be shown.
    if float(rounded) == 0:
        rounded = rounded[1:]
    return f"{rounded} ± {round(half, decimals):.{places}f}".replace("-", "−")


def short(value: float) -> str:
    """A credit with its sign in two digits, for a cell.

    >>> short(-0.16234), short(0.0093), short(-4.36e-05), short(0.0), short(1234.0)
    ('−0.16', '+0.0093', '−4e−05', '0', '+1200')
    """
    if value == 0:
        return "0"
    size = abs(value)
    text = f"{size:.2g}" if SMALLEST <= size < 1 else f"{size:#.2g}".rstrip(".")
    if not SMALLEST <= size < LARGEST:
        text = f"{size:.0e}"
    elif size >= 100:
        text = f"{float(f'{size:.2g}'):.0f}"
    sign = "+" if value > 0 else "−"
    return sign + text.replace("-", "−")


def names(given: Sequence[str]) -> list[str]:
    """Names as one line each: no line breaks, none empty, none twice.

    >>> names(["age", "", "a\\nb", "age"])
    ['age', '(no name)', 'a b', 'age #2']
    """
    seen: Counter[str] = Counter()
    listed = []
    for name in given:
        # Any run of blanks and breaks is one blank: rows and legends are of one line.
        plain = " ".join(str(name).split()) or "(no name)"
        seen[plain] += 1
        listed.append(plain if seen[plain] == 1 else f"{plain} #{seen[plain]}")
    return listed


def lines(name: str) -> list[str]:
    """A name on at most two lines of 32 letters; of a longer one the middle is cut.

    >>> lines("mean radius"), lines("x" * 40), len(lines("y" * 99)[1])
    (['mean radius'], ['xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'xxxxxxxx'], 32)
    """
    if len(name) > 2 * LETTERS:
        name = f"{name[:LETTERS]}…{name[-LETTERS + 1 :]}"
    if len(name) <= LETTERS:
        return [name]
    # It breaks at the last blank that leaves a second line no longer than the first may be.
    blank = name.rfind(" ", 1, LETTERS + 1)
    cut = blank if blank > 0 and len(name) - blank - 1 <= LETTERS else LETTERS
    return [name[:cut].rstrip(), name[cut:].lstrip()]


def breadth(text: str) -> float:
    """How wide a text is, in heights of a letter, as a usual font has it.

    >>> breadth("abc") < breadth("年齢々")
    True
    """
    # Letters of East Asia fill their square; marks stand on the letter before them.
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    marks = sum(unicodedata.combining(letter) > 0 for letter in text)
    return 0.58 * (len(text) - wide - marks) + 1.0 * wide
