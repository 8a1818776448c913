"""Hard stability: the class holds under every addition of up to r features to the selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from assay.certificates.certificate import Certificate
from assay.certificates.evidence import Evidence
from assay.certificates.noise import Masks
from assay.certificates.radii import supersets
from assay.certificates.selections import selected
from assay.certificates.votes import _as_votes, _classes
from assay.errors import InputError
from assay.question.question import Question


@final
@dataclass(frozen=True)
class HardStability:
    """The true radii of a selection, by asking the model about every superset.

    Incremental: the largest r such that all a >= phi with |a - phi|_1 <= r have the class of phi;
    decremental: the same for all a >= phi with |1 - a|_1 <= r (Xue, Alur and Wong 2023). Cost:
    2^(unselected features) rows per input. Errors: InputError above `limit` rows.

    >>> import torch
    >>> from assay import Question
    >>> question = Question(lambda x: torch.stack([1 + 0 * x[:, 0], x[:, 1] + x[:, 2]], dim=1), torch.ones(1, 3))
    >>> (proof,) = HardStability().certify(question, torch.tensor([True, False, False]))
    >>> proof.incremental, proof.consistent
    (1, False)
    """

    limit: int = 1 << 16

    def certify(self, question: Question, selection: Any) -> tuple[Certificate, ...]:
        """One exact certificate per input, for masks (n, features) or (features,)."""
        masks = selected(selection, question).numpy()
        most = int((~masks).sum(axis=1).max())
        if 2**most > self.limit:
            raise InputError(
                expected=f"at most {self.limit} supersets to enumerate",
                got=f"2^{most} of {most} unselected features",
                advice=(
                    "Use MultiplicativeSmoothing for a bound, SoftStability for a "
                    "probability, or a larger limit."
                ),
            )
        question.part(0, 1).fix_target()
        return tuple(self._one(question.part(row, row + 1), mask) for row, mask in enumerate(masks))

    def _one(self, question: Question, mask: Masks) -> Certificate:
        classes, count = _classes(question, supersets(mask, 0, 2 ** int((~mask).sum())))
        return Certificate(
            features=len(mask),
            selection=tuple(np.flatnonzero(mask).tolist()),
            classes=count,
            bound="enumeration",
            at_selection=_as_votes(classes),
            settings=repr(self),
            model=question.model.name,
            key=int(question.keys[0]),
            evidence=Evidence.of(question),
        )
