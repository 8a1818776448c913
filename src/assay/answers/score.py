"""A score is data: one number per input, averaged late, with an interval."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import torch
from torch import Tensor

from assay.answers.storage import FORMAT, read
from assay.errors import InputError
from assay.numerics import statistics

if TYPE_CHECKING:
    import pandas

Direction: TypeAlias = Literal["lower", "higher"]

RATE = "rate"  # the units of a share of inputs, whose interval is Wilson's


@final
@dataclass(frozen=True, eq=False, repr=False)
class Score:
    """What a metric says of one attribution: `values` (n,) in float64, one number per input, in the
    metric's `units`.

    NaN is a metric's way to say that an input has no score (`why`); such inputs are left out of
    `mean` and `interval` and counted in `missing`. `error` (n,) is the Monte-Carlo standard error
    of each value where the metric samples, `details` are further numbers per input (raw, scaled,
    skill), `provenance` says what was scored and how to do it again. Scores of the same inputs are
    compared with `assay.numerics.statistics.paired`.

    >>> score = Score("Infidelity", torch.tensor([0.25, 0.5, 0.75]), "lower")
    >>> score.mean, score.missing
    (0.5, 0)
    """

    name: str
    values: Tensor
    direction: Direction
    units: str = ""
    error: Tensor | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict)
    why: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.direction not in ("lower", "higher"):
            raise InputError(
                f"direction must be 'lower' or 'higher', whichever is better, got {self.direction!r}"
            )
        values = _column("values", self.values)
        n = len(values)
        error = None if self.error is None else _column("error", self.error, n)
        details = {
            key: _column(f"details[{key!r}]", column, n) for key, column in self.details.items()
        }
        if bool(torch.isinf(values).any()):
            raise InputError(
                f"values of {self.name} must be finite, or NaN where an input has no score; got infinite ones"
            )
        if self.units == RATE and bool(((values < 0) | (values > 1)).any()):
            raise InputError(
                f"values of {self.name} must lie in [0, 1], since its units are {RATE!r}"
            )
        settled = {
            "values": values,
            "error": error,
            "details": details,
            "provenance": dict(self.provenance),
        }
        for key, value in settled.items():
            object.__setattr__(self, key, value)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> int:
        """How many inputs have no score."""
        return int(torch.isnan(self.values).sum())

    @property
    def mean(self) -> float:
        """The mean over the inputs that have a score."""
        return float(torch.nanmean(self.values)) if self.missing < len(self) else math.nan

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean over inputs: BCa bootstrap, or Wilson's where the units are
        a rate.
        """
        if self.units == RATE:
            return statistics.wilson(float(torch.nansum(self.values)), len(self) - self.missing)
        return statistics.interval(self.values.numpy())

    @property
    def noise(self) -> float:
        """The part of the mean's standard error that sampling inside the metric causes; zero
        without sampling.
        """
        if self.error is None:
            return 0.0
        there = self.error[~torch.isnan(self.values)]
        return float(there.square().sum().sqrt() / len(there)) if len(there) else math.nan

    def __repr__(self) -> str:
        low, high = self.interval
        units = f" {self.units}" if self.units else ""
        count = f"n={len(self) - self.missing}"
        if self.missing:
            count += f" of {len(self)}" + (f" ({self.why})" if self.why else "")
        return f"{self.name} {self.mean:.3g} [{low:.3g}, {high:.3g}]{units}, {self.direction} is better, {count}"

    def to_pandas(self) -> pandas.DataFrame:
        """One row per input: the score, its Monte-Carlo standard error where there is one, and the
        details.
        """
        import pandas

        columns = {self.name: self.values.numpy()}
        if self.error is not None:
            columns["standard error"] = self.error.numpy()
        columns |= {key: column.numpy() for key, column in self.details.items()}
        return pandas.DataFrame(columns, index=pandas.RangeIndex(len(self), name="input"))

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the arrays as safetensors with the facts as JSON in its header; `Score.load` reads
        it back.
        """
        from safetensors.torch import save_file

        tensors = {"values": self.values} | {
            f"details/{key}": column for key, column in self.details.items()
        }
        if self.error is not None:
            tensors["error"] = self.error
        said = {
            "name": self.name,
            "direction": self.direction,
            "units": self.units,
            "why": self.why,
            "provenance": self.provenance,
        }
        save_file(tensors, str(path), {"noun": "Score", "format": FORMAT, "said": json.dumps(said)})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Score:
        """Reads what `save` wrote."""
        tensors, header = read(path, "Score")
        said = json.loads(header["said"])
        details = {
            key.removeprefix("details/"): column
            for key, column in tensors.items()
            if key.startswith("details/")
        }
        return cls(values=tensors["values"], error=tensors.get("error"), details=details, **said)


def _column(name: str, values: object, n: int | None = None) -> Tensor:
    column = torch.as_tensor(values).detach().to("cpu", torch.float64, copy=True)
    if column.ndim != 1 or (n is not None and len(column) != n):
        raise InputError(
            f"{name} must be one number per input, shape ({'n' if n is None else n},), got {tuple(column.shape)}: "
            "average nothing before handing it over"
        )
    return column
