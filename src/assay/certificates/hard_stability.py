"""Hard stability: the class holds under every addition of up to r features to the selection.

The definition of Xue, Alur and Wong (2023), decided by brute force, for any model: what smoothed
certificates bound from below and `Attack` from above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from assay.certificates.certificate import Certificate
from assay.certificates.noise import Masks
from assay.certificates.saved.evidence import Evidence
from assay.certificates.selections import selected
from assay.certificates.supersets import supersets
from assay.certificates.votes import Votes, class_votes
from assay.errors import InputError
from assay.question.question import Question
from assay.settings import Settings


@final
@dataclass(frozen=True)
class HardStability(Settings):
    """The true radii of a selection, by asking the model about every superset.

    Incremental: the largest r such that all a >= phi with |a - phi|_1 <= r have the class of phi;
    decremental: the same for all a >= phi with |1 - a|_1 <= r (Xue, Alur and Wong 2023).

    Settings:
        limit: the most rows asked for one input; more are refused before any work.

    Cost: 2^(unselected features) rows per input. Errors: InputError above `limit` rows; ModelError
    for a model whose rows influence each other.

    >>> import torch
    >>> from assay import Question
    >>> question = Question(
    ...     lambda x: torch.stack([1 + 0 * x[:, 0], x[:, 1] + x[:, 2]], dim=1), torch.ones(1, 3)
    ... )
    >>> (proof,) = HardStability().certify(question, torch.tensor([True, False, False]))
    >>> proof.incremental, proof.consistent
    (1, False)
    """

    limit: int = 1 << 16  # 16 unselected features

    def certify(self, question: Question, selection: Any) -> tuple[Certificate, ...]:
        """One exact certificate per input, for masks (n, features) or (features,)."""
        masks = selected(selection, question).numpy()
        # Before any work: the input with the fewest selected features costs the most.
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
        return tuple(
            self._certificate(question.part(row, row + 1), mask) for row, mask in enumerate(masks)
        )

    def _certificate(self, question: Question, mask: Masks) -> Certificate:
        ballots = class_votes(question, supersets(mask))
        return Certificate(
            features=len(mask),
            selection=tuple(np.flatnonzero(mask).tolist()),
            classes=ballots.classes,
            bound="enumeration",
            # Nothing is claimed about close outputs here, so none of them is marked.
            at_selection=Votes(tuple(ballots.choices[0].tolist())),
            settings=repr(self),
            model=question.model.name,
            key=int(question.keys[0]),
            evidence=Evidence.of(question),
        )
