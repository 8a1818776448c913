"""How many inputs a paired comparison needs to find a difference of a given size."""

from __future__ import annotations

import math

from scipy.special import ncfdtr, stdtrit

from assay.errors import InputError

MOST_INPUTS = 10**9
"""A difference that needs more is said to need infinitely many."""


def paired_power(effect: float, n: int, level: float = 0.95) -> float:
    """The chance that a two-sided paired t test of n inputs finds a difference.

    P(|T| > t_{1 - alpha / 2, n - 1}), T noncentral with n - 1 degrees of freedom and the
    noncentrality effect * sqrt(n)      (Cohen 1988, section 2.3)

    Settings:
        effect: the mean difference in units of its standard deviation between inputs (Cohen's d_z).
        n: inputs, at least 2.
        level: 1 - alpha.

    >>> round(paired_power(0.5, 34), 3)
    0.808
    """
    freedom = n - 1
    shift = abs(effect) * math.sqrt(n)
    critical = float(stdtrit(freedom, 0.5 + level / 2))
    # The square of a noncentral t is a noncentral F, whose distribution holds out further.
    missed = float(ncfdtr(1.0, freedom, shift**2, critical**2))
    # Far out it gives up as well: nothing is missed there.
    return 1.0 if math.isnan(missed) else 1 - missed


def inputs_needed(effect: float, level: float = 0.95, power: float = 0.8) -> float:
    """The fewest inputs on which such a difference is found with the chance `power`.

    Infinite for no difference, and beyond a thousand million.

    >>> inputs_needed(0.5), inputs_needed(0.0)
    (34, inf)
    """
    if not 0 < power < 1:
        raise InputError(
            expected="a power between 0 and 1",
            got=power,
            advice="0.8 is what most fields plan with.",
        )
    if math.isnan(effect):
        return math.nan
    if effect == 0:
        return math.inf
    low = 2
    high = 2
    # Power grows with n: doubled until it is enough, and halved back.
    while paired_power(effect, high, level) < power:
        low = high
        high *= 2
        if low > MOST_INPUTS:
            return math.inf
    while low < high:
        middle = (low + high) // 2
        if paired_power(effect, middle, level) < power:
            low = middle + 1
        else:
            high = middle
    return high
