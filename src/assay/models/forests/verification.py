"""A forest that was read is asked beside the library that grew it, and refused where they differ.

Both add up the same leaves, in another order and maybe in another precision; what they may differ by
follows from that, and from nothing else: (trees + 8) u times the sum of the absolute values that are
added (Higham 2002, "Accuracy and Stability of Numerical Algorithms", equation 4.4), with u = 2^-53, or
2^-24 where the library adds in float32. A misread split, weight or intercept is larger by far.
"""

from __future__ import annotations

import numpy as np

from assay.errors import ModelError
from assay.models.forests.forest import Booleans, Floats, Forest

_MORE = 8  # additions beside those of the trees: intercept, scale, averages
_DOUBLE, _SINGLE = 2.0**-53, 2.0**-24


def tolerance(forest: Forest, rows: Floats, *, single_sums: bool) -> Floats:
    """(rows, outputs) what two right sums of the same leaves may differ by."""
    unit = _SINGLE if single_sums else _DOUBLE
    return (forest.trees + _MORE) * unit * forest.sizes(rows)


def check_margins(
    forest: Forest, rows: Floats, native: Floats, *, single_sums: bool, who: str
) -> None:
    """Refuses a forest whose margin is not the library's own.

    Args:
        forest: what was read.
        rows: (rows, features) as the forest takes them.
        native: (rows, outputs) the library's own margin of the same rows.
        single_sums: whether the library adds in float32.
        who: the predictor's name.
    """
    # NumPy's twin: nothing compiled has to be trusted here.
    margin = forest.margin(rows)
    if native.shape != margin.shape:
        raise ModelError(
            expected=f"a margin of shape {margin.shape} from {who}",
            got=native.shape,
            advice="Explain it as a black box: wrap(model.predict).",
        )
    allowed = tolerance(forest, rows, single_sums=single_sums)
    differs = np.abs(margin - native)
    # Written so that NaN counts as wrong.
    wrong: Booleans = np.asarray(~(differs <= allowed))
    if wrong.any():
        raise _mismatch(forest, rows, native - margin, wrong, who)


def _mismatch(
    forest: Forest, rows: Floats, missed: Floats, wrong: Booleans, who: str
) -> ModelError:
    # The row that is shown is the worst one: what is no number misses by more than any.
    rows_wrong: Booleans = np.asarray(wrong.any(axis=1))
    size = np.where(np.isnan(missed), np.inf, np.abs(missed))
    row, output = np.unravel_index(int(np.argmax(size)), missed.shape)
    shown = np.array2string(rows[row], precision=9, threshold=8, separator=", ")
    return ModelError(
        expected=f"the trees read from {who} to give its own margin",
        got=(
            f"{int(rows_wrong.sum())} of {len(rows)} rows that differ, by "
            f"{missed[row, output]:.3g} at most, in output {int(output)} of the row {shown}; "
            f"likely cause: {_cause(forest, rows, missed, rows_wrong)}"
        ),
        advice=(
            "The model is of a version or with an option that is not read exactly. Explain it as a "
            "black box: wrap(model.predict), with KernelShap or ExactShapley."
        ),
    )


def _cause(forest: Forest, rows: Floats, missed: Floats, wrong: Booleans) -> str:
    """What the pattern of the differences speaks for."""
    spread = np.ptp(missed, axis=0).max(initial=0.0)
    if wrong.all() and spread <= 1e-4 * np.abs(missed).max(initial=0.0):
        return "the intercept (base score, bias or initial estimate): all rows miss the same"
    missing = np.isnan(rows).any(axis=1)
    if not (wrong & ~missing).any():
        return "missing values: rows without NaN agree"
    if forest.zero_missing.any() and not (wrong & (rows != 0).all(axis=1)).any():
        return "zeros that count as missing: rows without a zero agree"
    if (forest.category_start >= 0).any():
        return "categories: their codes, or where unknown ones go"
    if wrong.all():
        return "weights of trees: every row differs, each by another number"
    return "splits: some rows agree, and some go elsewhere"
