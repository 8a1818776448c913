"""A score: one number per input, averaged late, with an interval of the mean over inputs.

Means over inputs are never taken before this class, so that its interval (Student's, widened by the
studentised bootstrap, Hall 1988, or Wilson's, 1927, for rates: `assay.numerics.statistics`) holds
what varies between inputs. Fewer than 8 inputs give none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import torch
from torch import Tensor

from assay.answers.header import MAPPING, TEXT, Field, checked, damaged, one_of
from assay.answers.named import Named
from assay.answers.shown import Shown
from assay.answers.storage import read, write
from assay.errors import InputError
from assay.numerics import statistics

if TYPE_CHECKING:
    import pandas

Direction: TypeAlias = Literal["lower", "higher"]

RATE = "rate"  # the units of a share of inputs, whose interval is Wilson's

ANYTHING = (-math.inf, math.inf)  # the bounds of a score that may be any number


def _are_bounds(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    if not all(end is None or type(end) in (int, float) for end in value):
        return False
    low, high = _from_stored(value)
    return low < high


def _from_stored(ends: Sequence[float | None]) -> tuple[float, float]:
    """Bounds as a file holds them: JSON knows no infinity, and null stands for it."""
    low, high = ends
    return (-math.inf if low is None else low, math.inf if high is None else high)


_SCHEMA = {
    "name": TEXT,
    "direction": one_of("lower", "higher"),
    "units": TEXT,
    "why": TEXT,
    "provenance": MAPPING,
    "bounds": Field("two numbers or nulls, the lower first", _are_bounds),
}

_DETAIL = "details/"  # what the arrays of `details` are called by in a file, before their names


@final
@dataclass(frozen=True, eq=False, repr=False)
class Score(Shown):
    """What a metric says of one attribution: one number per input, in the metric's units.

    Scores of the same inputs are compared with `assay.numerics.statistics.paired`.

    Fields:
        name: the metric's name.
        values: (n,), float64; NaN where an input has no score. Such inputs are left out of `mean`
            and `interval` and counted in `missing`.
        direction: "lower" or "higher", whichever is better.
        units: the unit of the values; "rate" says that they are shares, whose interval is Wilson's.
        error: (n,), the Monte-Carlo standard error of each value; None where nothing is sampled.
        details: further numbers per input, each (n,): raw, scaled, skill; or a curve of each input,
            (n, points).
        why: why an input may have no score, in words.
        bounds: the least and the greatest number that a score can be; an interval reaches no
            further. A rate lies in [0, 1] by itself.
        provenance: what was scored and how to do it again.

    >>> score = Score("Infidelity", torch.tensor([0.25, 0.5, 0.75]), "lower")
    >>> score.mean, score.missing
    (0.5, 0)
    >>> score
    Infidelity 0.5, lower is better, n=3 (fewer than 8 inputs give no interval: ask about 8 or more)
    """

    name: str
    values: Tensor
    direction: Direction
    units: str = ""
    error: Tensor | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict)
    why: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    bounds: tuple[float, float] = ANYTHING

    def __post_init__(self) -> None:
        if self.direction not in ("lower", "higher"):
            raise InputError(
                expected="the direction 'lower' or 'higher', whichever is better",
                got=repr(self.direction),
                advice="Set direction='lower' for an error, 'higher' for a skill.",
            )
        values = _column("values", self.values)
        n = len(values)
        self._check_bounds()
        self._check_range(values)
        columns = {
            "values": values,
            "error": None if self.error is None else _column("error", self.error, n),
            "details": Named(
                (key, _column(f"details[{key!r}]", column, n, curves=True))
                for key, column in self.details.items()
            ),
            "provenance": Named(self.provenance),
        }
        # Copies in double precision: a frozen class is written past its own
        # guard, once.
        for key, column in columns.items():
            object.__setattr__(self, key, column)

    def _check_bounds(self) -> None:
        low, high = self.bounds
        if not low < high:
            raise InputError(
                expected=f"bounds of {self.name}, the lower before the upper",
                got=f"{low:g} and {high:g}",
                advice="An error has bounds=(0, math.inf); leave them out where there are none.",
            )

    def _check_range(self, values: Tensor) -> None:
        if bool(torch.isinf(values).any()):
            raise InputError(
                expected=f"values of {self.name} that are finite, or NaN where there is no score",
                got="infinite ones",
                advice="Set NaN where an input has no score, and say in `why` what that means.",
            )
        low, high = (0.0, 1.0) if self.units == RATE else self.bounds
        # NaN lies outside of nothing.
        outside = (values < low) | (values > high)
        if not bool(outside.any()):
            return
        got = f"{float(values[outside][0]):.3g}"
        if self.units == RATE:
            raise InputError(
                expected=f"values of {self.name} in [0, 1], since its units are {RATE!r}",
                got=got,
                advice="Give each input's share of hits, or name other units.",
            )
        raise InputError(
            expected=f"values of {self.name} within its bounds, {low:g} to {high:g}",
            got=got,
            advice="Name the bounds that its values keep, or none.",
        )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> int:
        """How many inputs have no score."""
        return int(torch.isnan(self.values).sum())

    @property
    def mean(self) -> float:
        """The mean over the inputs that have a score."""
        # Without any score there is no mean.
        if self.missing == len(self):
            return math.nan
        return float(torch.nanmean(self.values))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean over inputs, see `interval_at`."""
        return self.interval_at(0.95)

    def interval_at(self, level: float) -> tuple[float, float]:
        """The interval of the mean over inputs: Student's, widened by the studentised bootstrap, or
        Wilson's where the units are a rate. It ends where no score can be; NaN where fewer than 8
        inputs have a score.
        """
        if self.no_interval:
            return math.nan, math.nan
        if self.units == RATE:
            # Hits may be shares of one, as with partial credit.
            successes = float(torch.nansum(self.values))
            return statistics.wilson(successes, len(self) - self.missing, level)
        # NaN values are left out there. The mean of numbers within bounds lies within them.
        low, high = statistics.interval(self.values.numpy(), level)
        least, greatest = self.bounds
        # Cutting loses no coverage: the mean cannot be in the part that is cut off.
        return max(low, least), min(high, greatest)

    @property
    def no_interval(self) -> str:
        """Why the mean has no interval, and what gives it one; empty where it has one."""
        if len(self) - self.missing < statistics.FEWEST:
            return statistics.TOO_FEW
        return ""

    @property
    def noise(self) -> float:
        """The part of the mean's standard error that sampling inside the metric causes; zero
        without sampling.
        """
        if self.error is None:
            return 0.0
        errors = self.error[~torch.isnan(self.values)]
        if not len(errors):
            return math.nan
        # Draws of different inputs are independent: the variances add.
        return float(errors.square().sum().sqrt() / len(errors))

    def __repr__(self) -> str:
        low, high = self.interval
        parts = [f"{self.name} {self.mean:.3g}{statistics.bracket(low, high, '{:.3g}'.format)}"]
        if self.units:
            parts[0] += f" {self.units}"
        parts += [f"{self.direction} is better", f"n={len(self) - self.missing}"]
        if self.missing:
            parts[-1] += f" of {len(self)}"
        reasons = [self.why] if self.missing else []
        told = "; ".join(reason for reason in (*reasons, self.no_interval) if reason)
        if told:
            parts[-1] += f" ({told})"
        return ", ".join(parts)

    def to_pandas(self) -> pandas.DataFrame:
        """One row per input: the score, its Monte-Carlo standard error where there is one, and the
        details.
        """
        import pandas

        columns = {self.name: self.values.numpy()}
        if self.error is not None:
            columns["standard error"] = self.error.numpy()
        for key, column in self.details.items():
            # A curve has a column for each of its points.
            points = {key: column} if column.dim() == 1 else _points(key, column)
            columns |= {name: numbers.numpy() for name, numbers in points.items()}
        index = pandas.RangeIndex(len(self), name="input")
        return pandas.DataFrame(columns, index=index)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the arrays as safetensors with the facts as JSON in its header; `Score.load` reads
        it back.
        """
        # A file holds one flat set of arrays: details are told by a prefix.
        details = {_DETAIL + key: column for key, column in self.details.items()}
        facts = {
            "name": self.name,
            "direction": self.direction,
            "units": self.units,
            "why": self.why,
            "provenance": self.provenance,
            "bounds": [end if math.isfinite(end) else None for end in self.bounds],
        }
        arrays = {"values": self.values, "error": self.error, **details}
        write(path, "Score", arrays, facts)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Score:
        """Reads what `save` wrote.

        Errors: InputError for a file that holds something else, VersionError for one that this
        version cannot read.
        """
        saved = read(path, "Score")
        where = str(path)
        # Files that were written before scores had bounds say nothing of them.
        facts = checked({"bounds": [None, None], **saved.facts}, _SCHEMA, where)
        facts["bounds"] = _from_stored(facts["bounds"])
        for key, array in saved.arrays.items():
            if key not in ("values", "error") and not key.startswith(_DETAIL):
                raise damaged(where, "the arrays of a score", repr(key[:60]))
            most = 2 if key.startswith(_DETAIL) else 1
            if array.is_complex() or not 1 <= array.dim() <= most:
                raise damaged(where, f"numbers, one per input, as {key!r}", "others")
        if "values" not in saved.arrays:
            raise damaged(where, "the array 'values'", "none")
        details = {
            key.removeprefix(_DETAIL): column
            for key, column in saved.arrays.items()
            if key.startswith(_DETAIL)
        }
        return cls(
            values=saved.arrays["values"],
            error=saved.arrays.get("error"),
            details=details,
            **facts,
        )


def _points(name: str, curve: Tensor) -> dict[str, Tensor]:
    """A curve (n, points) as a column for each point."""
    return {f"{name} {point}": curve[:, point] for point in range(curve.shape[1])}


def _column(name: str, values: object, n: int | None = None, *, curves: bool = False) -> Tensor:
    """One number per input (n,) as float64 on the CPU, a copy that nobody else can change; a curve
    (n, points) where there may be `curves`.
    """
    column = torch.as_tensor(values).detach().to("cpu", torch.float64, copy=True)
    dims = (1, 2) if curves else (1,)
    if column.ndim not in dims or n not in (None, len(column)):
        raise InputError(
            expected=f"{name} to be one number per input, shape ({'n' if n is None else n},)",
            got=tuple(column.shape),
            advice="Hand over every input's own number: average nothing before.",
        )
    return column
