"""An attribution: credit for a prediction, input by input and feature by feature, as plain data.

Additive feature attribution in the sense of Lundberg and Lee (2017): where a method promises
completeness, base + sum of the values = prediction, and `gap` is what is missing (the convergence
delta of Captum). It knows where it came from, not how to draw itself; `storage` knows its file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from numbers import Integral, Real
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor

from assay.answers.header import (
    MAPPING,
    TEXT,
    checked,
    damaged,
    listed,
    one_of,
    optional,
    product,
    whole,
)
from assay.answers.storage import SavedAnswer, plain, read, write
from assay.errors import InputError, KindError
from assay.settings import argument

if TYPE_CHECKING:
    import pandas as pd

_SHARE_DIGITS = 9  # 0.07 * 100 is 7.000000000000001: rounding up must not make it 8


@final
@dataclass(frozen=True, eq=False)
class Attribution:
    """Credit for a prediction: `values` (n, features), the raw signed numbers of the method.

    Fields:
        values: (n, features), in the unit that `kind` names.
        base: (n,), the target with everything removed.
        prediction: (n,), the target on the input.
        names: one name per feature.
        shape: the shape of the features, such as (height, width) for pixels.
        kind: the unit of the values: "slope", "contribution" or "weight" (`Kind`).
        gap: (n,), prediction - base - sum of the values; None for methods that do not promise it.
        standard_error: (n, features), the Monte-Carlo error; None where the method does not sample.
        facts: what it cost and what is worth knowing, by name.
        provenance: what it takes to ask again: method, question, seed, versions.
        own_names: for each input the names of the features that it has, from feature 0 on, where
            they differ from input to input (the words of texts); else None. See `names_of`.

    >>> answer = Attribution(
    ...     torch.tensor([[3.0, -4.0, 1.0]]), torch.zeros(1), torch.zeros(1),
    ...     ("a", "b", "c"), (3,), "slope", provenance={"method": "Gradient()"})
    >>> answer
    Attribution(Gradient(), 1 inputs, 3 features)
    """

    values: Tensor
    base: Tensor
    prediction: Tensor
    names: Sequence[str]
    shape: tuple[int, ...]
    kind: str
    gap: Tensor | None = None
    standard_error: Tensor | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    own_names: Sequence[Sequence[str]] | None = None

    @property
    def method(self) -> str:
        """The method's repr, which evaluates back to it."""
        # Answers that were made by hand need not say where they came from.
        return str(self.provenance.get("method", ""))

    @property
    def maps(self) -> Tensor:
        """The values in the shape of the features: (n, height, width) for pixels and patches."""
        return self.values.reshape(len(self.values), *self.shape)

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The values tensor by tensor, each in the shape of its input, where several tensors (or
        several layers) were asked about together and every element is a feature; else `maps` alone.

        >>> import assay
        >>> f = lambda pixels, ages: pixels.sum((1, 2)) + ages.sum(1)
        >>> question = assay.Question(f, (torch.ones(2, 3, 4), torch.ones(2, 5)))
        >>> [tuple(part.shape) for part in assay.Gradient()(question).parts]
        [(2, 3, 4), (2, 5)]
        """
        shapes = self.facts.get("shapes")
        if not shapes:
            return (self.maps,)
        pieces = self.values.split(list(map(math.prod, shapes)), dim=1)
        return tuple(
            piece.reshape(len(self.values), *shape) for piece, shape in zip(pieces, shapes)
        )

    def __len__(self) -> int:
        return len(self.values)

    def names_of(self, i: int) -> Sequence[str]:
        """The names of the features of input i: its own words where inputs are several texts.

        A text has as many as it has words, which may be fewer than there are features; those
        beyond belong to longer texts, and have 0 here.

        >>> import numpy as np, assay
        >>> length = lambda texts: np.array([float(len(text)) for text in texts])
        >>> answer = assay.ExactShapley()(assay.Question(length, ["a good film", "so bad"]))
        >>> dict(zip(answer.names_of(1), answer.values[1].tolist()))
        {'so': 2.5, 'bad': 3.5}
        """
        if not -len(self) <= i < len(self):
            raise InputError(
                expected=f"the number of an input, from 0 to {len(self) - 1}",
                got=repr(i),
                advice="Inputs are counted from 0, in the order of the question.",
            )
        return self.names if self.own_names is None else self.own_names[i]

    def rows(self, part: slice) -> Attribution:
        """The answer for some of the inputs, everything that belongs to an input cut alike."""
        # Every tensor here has one row per input; what is no tensor is common to
        # all of them.
        per_input: dict[str, Any] = {
            name: value[part] for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        if self.own_names is not None:
            per_input["own_names"] = tuple(self.own_names)[part]
        return replace(self, **per_input)

    def top(self, amount: int | float, *, by: Literal["value", "magnitude"] = "value") -> Tensor:
        """Masks (n, features) of the features with the most credit. Ties go in order.

        Of several texts each has its own words only, also where it has fewer than `amount`.

        Settings:
            amount: an int is a number of features, a float a share of them, rounded up.
            by: "value" ranks by the signed credit, "magnitude" by its absolute value.

        >>> answer = Attribution(
        ...     torch.tensor([[3.0, -4.0, 1.0]]), torch.zeros(1), torch.zeros(1),
        ...     ("a", "b", "c"), (3,), "slope")
        >>> answer.top(1).tolist(), answer.top(0.5, by="magnitude").tolist()
        ([[True, False, False]], [[True, True, False]])
        """
        by = argument("top", "by", by, Literal["value", "magnitude"])
        features = self.values.shape[1]
        k = _feature_count(amount, features)
        credit = self.values.abs() if by == "magnitude" else self.values
        mask = torch.zeros_like(self.values, dtype=torch.bool)
        if self.own_names is None:
            # A stable sort leaves ties in the order of the features.
            ranked = credit.argsort(dim=1, descending=True, stable=True)
            return mask.scatter_(1, ranked[:, :k], True)
        for row, own, chosen in zip(credit, map(len, self.own_names), mask):
            # A share is one of the features that an input has.
            share = not isinstance(amount, Integral)
            k = _feature_count(amount, own if share else features)
            ranked = row[:own].argsort(descending=True, stable=True)
            chosen[ranked[:k]] = True
        return mask

    def to_pandas(self) -> pd.DataFrame:
        """One row per input, one column per feature.

        Of several texts, a row's label is the tuple of its words, in the order of the columns.
        """
        import pandas as pd

        index = None
        if self.own_names is not None:
            # Tuples as labels, not as levels: texts have words in different numbers.
            labels = list(map(tuple, self.own_names))
            index = pd.Index(labels, tupleize_cols=False, name="names", dtype=object)
        return pd.DataFrame(self.values.cpu().numpy(), index=index, columns=list(self.names))

    def save(self, path: str | PathLike[str]) -> None:
        """Writes one file: the arrays as safetensors, the facts as JSON in its header. Nothing is
        pickled.
        """
        arrays = {
            "values": self.values,
            "base": self.base,
            "prediction": self.prediction,
            "gap": self.gap,
            "standard_error": self.standard_error,
        }
        facts = {
            "names": list(self.names),
            "shape": self.shape,
            "kind": self.kind,
            "facts": self.facts,
            "provenance": self.provenance,
        }
        # Left out of the file where there are none, as arrays are.
        if self.own_names is not None:
            facts["own_names"] = list(map(list, self.own_names))
        given = {name: array for name, array in arrays.items() if array is not None}
        # Nothing is written that could not be read again.
        _checked(SavedAnswer("Attribution", given, plain(facts)), "the answer to save")
        write(path, "Attribution", arrays, facts)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Attribution:
        """Reads what `save` wrote.

        Errors: InputError for a file that holds something else, VersionError for one that this
        version cannot read.
        """
        saved = read(path, "Attribution")
        facts = _checked(saved, str(path))
        # JSON has no tuples.
        names = tuple(facts.pop("names"))
        shape = tuple(facts.pop("shape"))
        if facts["own_names"] is not None:
            facts["own_names"] = tuple(map(tuple, facts["own_names"]))
        fields: dict[str, Any] = {**saved.arrays, **facts}
        return cls(**fields, names=names, shape=shape)

    def __repr__(self) -> str:
        return f"Attribution({self.method}, {len(self)} inputs, {self.values.shape[1]} features)"


def _feature_count(amount: Any, features: int) -> int:
    """How many features an amount is: an int counts them, a float is a share, rounded up."""
    # True is an int to Python, and NumPy's numbers are neither int nor float.
    if isinstance(amount, bool) or not isinstance(amount, Real):
        raise KindError(
            expected="a number of features or a share of them",
            got=repr(amount),
            advice="Use an int, as in top(3), or a float, as in top(0.1).",
        )
    number: int | float = int(amount) if isinstance(amount, Integral) else float(amount)
    limit = features if isinstance(number, int) else 1.0
    if not 0 <= number <= limit:
        raise InputError(
            expected=f"a number of features from 0 to {features} or a share from 0.0 to 1.0",
            got=repr(number),
            advice="Use an int to count features, a float for a share of them.",
        )
    if isinstance(number, int):
        return number
    return math.ceil(round(number * features, _SHARE_DIGITS))


class Kind(Enum):
    """The unit of a method's numbers."""

    SLOPE = "slope"
    """Target per unit of input: local."""
    CONTRIBUTION = "contribution"
    """Target: what a feature adds. Global."""
    WEIGHT = "weight"
    """A saliency without a unit of its own."""


_SCHEMA = {
    "names": listed(TEXT),
    "shape": listed(whole()),
    "kind": one_of(*(kind.value for kind in Kind)),
    "facts": MAPPING,
    "provenance": MAPPING,
    "own_names": optional(listed(listed(TEXT))),
}


def _checked(saved: SavedAnswer, where: str) -> dict[str, Any]:
    """The facts of a saved attribution, whose names, shape and arrays fit each other."""
    facts = checked({"own_names": None, **saved.facts}, _SCHEMA, where)
    values = saved.arrays.get("values")
    if values is None or values.dim() != 2:
        raise damaged(where, "values (n, features)", "none of that shape")
    n, features = values.shape
    shapes = {
        "values": (n, features),
        "base": (n,),
        "prediction": (n,),
        "gap": (n,),
        "standard_error": (n, features),
    }
    for name in ("base", "prediction"):
        if name not in saved.arrays:
            raise damaged(where, f"the array {name!r}", "none")
    for name, array in saved.arrays.items():
        _check_array(name, array, shapes.get(name), where)
    if len(facts["names"]) != features or product(facts["shape"]) != features:
        raise damaged(
            where,
            f"names and a shape of {features} features",
            f"{len(facts['names'])} names and the shape {facts['shape']}",
        )
    own_names = facts["own_names"]
    if own_names is not None and (len(own_names) != n or max(map(len, own_names)) > features):
        raise damaged(
            where,
            f"names of at most {features} features for each of {n} inputs as 'own_names'",
            f"{len(own_names)} lists of names",
        )
    return facts


def _check_array(name: str, array: Tensor, shape: tuple[int, ...] | None, where: str) -> None:
    if tuple(array.shape) != shape:
        expected = f"an array {name!r} of shape {shape}"
        if shape is None:
            expected = "no other arrays"
        raise damaged(where, expected, f"{name[:60]!r} of shape {tuple(array.shape)}")
    # A standard error may be unknown.
    finite = name == "standard_error" or bool(torch.isfinite(array).all())
    if array.is_complex() or not finite:
        raise damaged(where, f"finite numbers as {name!r}", "NaN, infinity or complex numbers")
