"""Numbers as a page writes them: one form for a column, so that digits stand below each other.

Three significant digits for a number by itself; a column has as many decimals as its smallest
number needs, or powers of ten throughout where its numbers lie decades apart. What is 0, or nothing
but the rounding of the others, is no such number: it asks for no powers of ten.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

# Numbers of one column that are further apart than this are all written with powers of ten.
FAR_APART = 1000

# What is smaller than this share of the largest number of its column is rounding, as a difference of
# two equal scores in single precision is (2^-24 for each of a few operations).
ROUNDING = 1e-6

SMALLEST = 1e-3  # what is written without a power of ten, from here
LARGEST = 1e6  # to there


def number(value: float) -> str:
    """Three significant digits, a real minus sign, and a dash for what is missing.

    >>> number(0.5), number(-1234.6), number(2.5e-7), number(float("nan"))
    ('0.500', '−1235', '2.50e−07', '–')
    """
    if math.isnan(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if 1000 <= size < LARGEST:
        text = f"{value:.0f}"
    elif SMALLEST <= size < 1000:
        # "#" keeps zeros at the end, and also a bare point behind three digits.
        text = f"{value:#.3g}".rstrip(".")
    else:
        text = f"{value:.2e}"
    return text.replace("-", "−")


def clause(words: str, given: object) -> str:
    """Words that are said only where something is given.

    >>> "12 features" + clause("; 3 are not shown", 3) + clause("; 0 are missing", 0)
    '12 features; 3 are not shown'
    """
    if given:
        return words
    return ""


@final
@dataclass(frozen=True)
class Form:
    """How the numbers of one column are written.

    Settings:
        decimals: behind the point; None for powers of ten.
    """

    decimals: int | None

    def __call__(self, value: float) -> str:
        if math.isnan(value):
            return "–"
        if math.isinf(value):
            if value > 0:
                return "∞"
            return "−∞"
        if value == 0:
            return "0"
        text = f"{value:.2e}" if self.decimals is None else f"{value:.{self.decimals}f}"
        # Not 0, and nothing of it is left by the decimals of its column.
        if float(text) == 0:
            return "≈ 0"
        return text.replace("-", "−")


def form_of(values: Iterable[float]) -> Form:
    """The form that suits all numbers of a column.

    >>> [form_of([0.00205, 0.0321])(value) for value in (0.00205, 0.0321)]
    ['0.0021', '0.0321']
    >>> [form_of([1e-5, 0.5])(value) for value in (1e-5, 0.5, 0.0)]
    ['1.00e−05', '5.00e−01', '0']
    >>> [form_of([-461.5, -5.5e-07, 0.0])(value) for value in (-461.5, -5.5e-07, 0.0)]
    ['−462', '≈ 0', '0']
    """
    sizes = [abs(value) for value in values if math.isfinite(value) and value != 0]
    if not sizes:
        return Form(2)
    high = max(sizes)
    # A number that is rounding alone must not turn its whole column into powers of ten.
    low = min(size for size in sizes if size >= ROUNDING * high)
    if high > FAR_APART * low or not SMALLEST <= high < LARGEST:
        return Form(None)
    # Three digits of the largest, two of the smallest.
    decimals = max(2 - _power(high), 1 - _power(low), 0)
    return Form(decimals)


def _power(size: float) -> int:
    """The power of ten of the first digit."""
    return math.floor(math.log10(size))


def chance(value: float) -> str:
    """A share in whole percents, which must not claim a certainty that sampling cannot give."""
    if math.isnan(value):
        return "–"
    if 0 < value < 0.005:
        return "< 1 %"
    if 0.995 < value < 1:
        return "> 99 %"
    return f"{100 * value:.0f} %"


def p_value(value: float) -> str:
    """Four decimals, whatever the column holds.

    >>> p_value(0.03125), p_value(0.00001), p_value(1.0)
    ('0.0312', '< 0.0001', '1')
    """
    if math.isnan(value):
        return "–"
    if value < 1e-4:
        return "< 0.0001"
    if value == 1:
        return "1"
    return f"{value:.4f}"


def content(value: Any) -> str:
    """What a column of a table holds: whole numbers whole, texts as they are."""
    # Python takes a bool for a whole number; a table means yes or no by it.
    if isinstance(value, bool) or not isinstance(value, int | float):
        if _is_missing(value):
            return "missing"
        return str(value)
    if isinstance(value, float) and math.isnan(value):
        return "missing"
    # As its table would show it: 27 and 7298 are no measurements to three digits.
    if float(value).is_integer() and abs(value) < LARGEST:
        return str(int(value)).replace("-", "−")
    return number(float(value))


def _is_missing(value: Any) -> bool:
    """None, and what pandas has for a missing value of each of its types."""
    return value is None or str(value) in ("<NA>", "NaT")
