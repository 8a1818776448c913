"""Units: credit that a metric adds up has to be in units of the target.

A saliency without a unit (an absolute value, a mean over random masks, the loss of a whole window)
has a size that no sum of it explains; scored as if it had, its square would be a number as large as
the factor that somebody chose.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.answers.attribution import Attribution, Kind
from assay.errors import InputError


def check_adds_up(attributions: Sequence[Attribution], metric: str, advice: str = "") -> None:
    """Refuses weights where credit is added up and compared with the target."""
    for attribution in attributions:
        if attribution.kind == Kind.WEIGHT.value:
            raise InputError(
                expected=f"credit in units of the target for {metric}, which adds it up",
                got=f"{attribution.method}, whose values are weights without a unit",
                advice=advice or "Ask a method that gives contributions, such as KernelShap().",
            )
