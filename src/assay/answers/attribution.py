"""The answer, as plain data: it knows where it came from, not how to draw itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from numbers import Integral, Real
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor

from assay.answers.storage import FORMAT, read
from assay.errors import InputError, KindError

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True, eq=False)
class Attribution:
    """Credit for a prediction: `values` (n, features), the raw signed numbers of the method.

    `base` (n,) is the target with everything removed, `prediction` (n,) the target on the input,
    `gap` (n,) what the values' sum misses of their difference (None for methods that do not promise
    it), `standard_error` (n, features) the Monte-Carlo error where the method samples, `facts` what
    it cost and what is worth knowing, `provenance` what it takes to ask again.
    """

    values: Tensor
    base: Tensor
    prediction: Tensor
    names: tuple[str, ...]
    shape: tuple[int, ...]
    kind: str
    gap: Tensor | None = None
    standard_error: Tensor | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The method's repr, which evaluates back to it."""
        return str(self.provenance.get("method", ""))

    @property
    def maps(self) -> Tensor:
        """The values in the shape of the features: (n, height, width) for pixels and patches."""
        return self.values.reshape(len(self.values), *self.shape)

    def __len__(self) -> int:
        return len(self.values)

    def top(self, amount: int | float, *, by: Literal["value", "magnitude"] = "value") -> Tensor:
        """Masks (n, features) of the features with the most credit: a number of them, or a share
        rounded up. Ties go in order.

        >>> answer = Attribution(torch.tensor([[3.0, -4.0, 1.0]]), torch.zeros(1), torch.zeros(1), ("a", "b", "c"), (3,), "slope")
        >>> answer.top(1).tolist(), answer.top(0.5, by="magnitude").tolist()
        ([[True, False, False]], [[True, True, False]])
        """
        count = self.values.shape[1]
        given: Any = amount
        if isinstance(given, bool) or not isinstance(given, Real):
            raise KindError(
                expected="a number of features or a share of them",
                got=repr(given),
                advice="",
            )
        amount = int(given) if isinstance(given, Integral) else float(given)
        if not 0 <= amount <= (count if isinstance(amount, int) else 1.0):
            raise InputError(
                expected=f"a number of features from 0 to {count} or a share from 0.0 to 1.0",
                got=repr(amount),
                advice="",
            )
        k = amount if isinstance(amount, int) else math.ceil(round(amount * count, 9))
        ranked = (self.values.abs() if by == "magnitude" else self.values).argsort(
            dim=1, descending=True, stable=True
        )
        return torch.zeros_like(self.values, dtype=torch.bool).scatter_(1, ranked[:, :k], True)

    def to_pandas(self) -> pd.DataFrame:
        """One row per input, one column per feature."""
        import pandas as pd

        return pd.DataFrame(self.values.cpu().numpy(), columns=list(self.names))

    def save(self, path: str | PathLike[str]) -> None:
        """Writes one file: the arrays as safetensors, the facts as JSON in its header. Nothing is
        pickled.
        """
        from safetensors.torch import save_file

        arrays = {"values": self.values, "base": self.base, "prediction": self.prediction}
        arrays |= {"gap": self.gap} if self.gap is not None else {}
        arrays |= {"standard_error": self.standard_error} if self.standard_error is not None else {}
        said = {
            "names": self.names,
            "shape": self.shape,
            "kind": self.kind,
            "facts": self.facts,
            "provenance": self.provenance,
        }
        header = {"noun": "Attribution", "format": FORMAT, "said": json.dumps(said)}
        save_file(
            {name: array.detach().cpu().contiguous() for name, array in arrays.items()},
            str(path),
            header,
        )

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Attribution:
        """Reads what `save` wrote."""
        arrays, header = read(path, "Attribution")
        said = json.loads(header["said"])
        return cls(
            **arrays,
            names=tuple(said["names"]),
            shape=tuple(said["shape"]),
            kind=said["kind"],
            facts=said["facts"],
            provenance=said["provenance"],
        )

    def __repr__(self) -> str:
        return f"Attribution({self.method}, {len(self)} inputs, {self.values.shape[1]} features)"


class Kind(Enum):
    """The unit of a method's numbers."""

    SLOPE = "slope"
    """Target per unit of input: local."""
    CONTRIBUTION = "contribution"
    """Target: what a feature adds. Global."""
    WEIGHT = "weight"
    """A saliency without a unit of its own."""


def cut(attribution: Attribution, rows: slice) -> Attribution:
    """The answer for some of the inputs."""
    error = attribution.standard_error
    return Attribution(
        attribution.values[rows],
        attribution.base[rows],
        attribution.prediction[rows],
        attribution.names,
        attribution.shape,
        attribution.kind,
        None if attribution.gap is None else attribution.gap[rows],
        None if error is None else error[rows],
        attribution.facts,
        attribution.provenance,
    )
