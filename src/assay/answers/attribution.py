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
    Field,
    checked,
    damaged,
    listed,
    one_of,
    optional,
    product,
    whole,
)
from assay.answers.named import Named
from assay.answers.shown import Shown
from assay.answers.storage import SavedAnswer, plain, read, write
from assay.errors import InputError, KindError
from assay.settings import argument

if TYPE_CHECKING:
    import pandas as pd

_TARGETS = 3  # different targets that are told in one text
_LABEL_TYPES = (str, int, float, bool, type(None))
_SHARE_DIGITS = 9  # 0.07 * 100 is 7.000000000000001: rounding up must not make it 8


@final
@dataclass(frozen=True, eq=False)
class Attribution(Shown):
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
        targets: for each input what was explained of it, in words: its class by label where that
            is known. `target` is the same in one text.
        index: what the caller counts the inputs by, the index of a frame; None for 0, 1, 2, ...
        present: (n, features), bool: which features an input has at all (words of a shorter text,
            regions of another photograph are none of its own); None where all have all of them.

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
    targets: Sequence[str] | None = None
    index: Sequence[Any] | None = None
    present: Tensor | None = None

    def __post_init__(self) -> None:
        # Copies, in which a name that there is not is refused.
        object.__setattr__(self, "facts", Named(self.facts))
        object.__setattr__(self, "provenance", Named(self.provenance))

    @property
    def target(self) -> str:
        """What was explained, in words: the class by its label where all inputs share it, else the
        classes of all of them, in the order in which they first come.
        """
        different = list(dict.fromkeys(self.targets or ()))
        shown = ", ".join(different[:_TARGETS])
        return f"{shown}, ..." if len(different) > _TARGETS else shown

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
        for name in ("targets", "index"):
            listed_ones = getattr(self, name)
            per_input[name] = None if listed_ones is None else tuple(listed_ones)[part]
        return replace(self, **per_input)

    def top(self, amount: int | float, *, by: Literal["value", "magnitude"] = "value") -> Tensor:
        """Masks (n, features) of the features with the most credit. Ties go in order.

        Each input has its own features only (a text its words, a photograph its regions), also
        where it has fewer than `amount`; a share is one of those.

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
        _feature_count(amount, features)
        credit = self.values.abs() if by == "magnitude" else self.values
        own = self.own_features()
        if own is not None:
            # What an input does not have comes last, whatever its credit.
            credit = credit.masked_fill(~own, -math.inf)
        counts = [features] * len(self) if own is None else own.sum(dim=1).tolist()
        share = not isinstance(amount, Integral)
        chosen = [min(_feature_count(amount, k if share else features), k) for k in counts]
        # A number of its own for each input, against which the ranks are compared.
        most = torch.tensor(chosen, device=credit.device).reshape(-1, 1)
        # A stable sort leaves ties in the order of the features.
        ranked = credit.argsort(dim=1, descending=True, stable=True)
        place = torch.arange(features, device=credit.device)
        mask = torch.zeros_like(self.values, dtype=torch.bool)
        return mask.scatter_(1, ranked, place < most)

    def own_features(self) -> Tensor | None:
        """Which features each input has (n, features); None where all have all of them."""
        if self.present is not None or self.own_names is None:
            return self.present
        lengths = torch.tensor(list(map(len, self.own_names)), device=self.values.device)
        return torch.arange(self.values.shape[1], device=self.values.device) < lengths[:, None]

    def to_pandas(self, *, ends: bool = False) -> pd.DataFrame:
        """One row per input, one column per feature, under the caller's own index.

        What was explained stands over the columns (`frame.columns.name`), and for each input in
        `frame.attrs["targets"]`.

        Settings:
            ends: whether columns follow that say what was explained, the base and the prediction.
        """
        import pandas as pd

        ends = argument("to_pandas", "ends", ends, bool)
        index = _pandas_index(self.index)
        # Of several texts a row's label is the tuple of its words, unless the caller has his own.
        if self.index is None and self.own_names is not None:
            # Without `tupleize_cols=False` pandas would make levels of an index out of the words.
            labels = list(map(tuple, self.own_names))
            index = pd.Index(labels, tupleize_cols=False, name="names", dtype=object)
        frame = pd.DataFrame(self.values.cpu().numpy(), columns=list(self.names), index=index)
        if self.targets is not None:
            frame.attrs["targets"] = list(self.targets)
            frame.columns.name = self.target
        if ends:
            frame["target"] = None if self.targets is None else list(self.targets)
            frame["base"] = self.base.cpu().numpy()
            frame["prediction"] = self.prediction.cpu().numpy()
        return frame

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
            "present": self.present,
        }
        facts = {
            "names": list(self.names),
            "shape": self.shape,
            "kind": self.kind,
            "facts": self.facts,
            "provenance": self.provenance,
            # One text where all inputs share it.
            "targets": _saved_targets(self.targets),
            "index": None if self.index is None else list(map(_plain_label, self.index)),
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
        n = len(saved.arrays["values"])
        if facts["targets"] is not None:
            # One text stands for all inputs: see `save`.
            facts["targets"] = tuple(facts["targets"]) * (n if len(facts["targets"]) == 1 else 1)
        if facts["index"] is not None:
            facts["index"] = tuple(map(_as_label, facts["index"]))
        fields: dict[str, Any] = {**saved.arrays, **facts}
        return cls(**fields, names=names, shape=shape)

    def __repr__(self) -> str:
        told = f"{self.method}, {len(self)} inputs, {self.values.shape[1]} features"
        # Outputs without labels are known by the question.
        if self.targets and not self.target.startswith(("output ", "the output")):
            told += f", of {self.target}"
        return f"Attribution({told})"


def _pandas_index(index: Sequence[Any] | None) -> Any:
    if index is None:
        return None
    import pandas as pd

    # Tuples are the labels of an index of several levels.
    return pd.Index(list(index))


def _plain_label(label: Any) -> Any:
    """A label of an input as JSON holds it: dates and the like by their text."""
    if isinstance(label, tuple):
        return list(map(_plain_label, label))
    if isinstance(label, float) and not math.isfinite(label):
        return str(label)
    return label if isinstance(label, _LABEL_TYPES) else str(label)


def _as_label(label: Any) -> Any:
    return tuple(map(_as_label, label)) if isinstance(label, list) else label


def _saved_targets(targets: Sequence[str] | None) -> list[str] | None:
    if targets is None:
        return None
    return list(targets[:1]) if len(set(targets)) == 1 else list(targets)


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


def _is_label(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(part, _LABEL_TYPES) for part in value)
    return isinstance(value, _LABEL_TYPES)


_LABEL = Field("a label, a number, or a list of those", _is_label)

_SCHEMA = {
    "names": listed(TEXT),
    "shape": listed(whole()),
    "kind": one_of(*(kind.value for kind in Kind)),
    "facts": MAPPING,
    "provenance": MAPPING,
    "own_names": optional(listed(listed(TEXT))),
    "targets": optional(listed(TEXT)),
    "index": optional(listed(_LABEL)),
}


def _checked(saved: SavedAnswer, where: str) -> dict[str, Any]:
    """The facts of a saved attribution, whose names, shape and arrays fit each other."""
    # Files of earlier versions say neither.
    absent = {"own_names": None, "targets": None, "index": None}
    facts = checked({**absent, **saved.facts}, _SCHEMA, where)
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
        "present": (n, features),
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
    _check_per_input("targets", facts["targets"], (1, n), where)
    _check_per_input("index", facts["index"], (n,), where)
    return facts


def _check_per_input(name: str, listed_ones: Any, counts: tuple[int, ...], where: str) -> None:
    if listed_ones is not None and len(listed_ones) not in counts:
        raise damaged(where, f"{counts[-1]} entries in {name!r}", f"{len(listed_ones)}")


def _check_array(name: str, array: Tensor, shape: tuple[int, ...] | None, where: str) -> None:
    if tuple(array.shape) != shape:
        expected = f"an array {name!r} of shape {shape}"
        if shape is None:
            expected = "no other arrays"
        raise damaged(where, expected, f"{name[:60]!r} of shape {tuple(array.shape)}")
    if (array.dtype == torch.bool) != (name == "present"):
        raise damaged(
            where, "numbers, and truth values as 'present' alone", f"{name!r} of {array.dtype}"
        )
    # A standard error may be unknown.
    finite = name == "standard_error" or bool(torch.isfinite(array).all())
    if array.is_complex() or not finite:
        raise damaged(where, f"finite numbers as {name!r}", "NaN, infinity or complex numbers")
