"""The regression behind an optimal explanation: one row for each perturbation of each input.

Of a law that removes features a row says which (0 or 1), and the explanation is of contributions;
of a law that moves the input it is the step, and the explanation is of slopes. Rows are made a piece
at a time and again whenever they are needed: a law gives the same perturbation for the same number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.numerics.pieces import pieces
from assay.perturbations import Perturbation
from assay.question.question import Question

_CELLS = 1 << 21  # numbers of the rows held at once: 16 MiB


@final
@dataclass(frozen=True, eq=False)
class Design:
    """Rows (n or 1, count, features) of a regression, with a weight for each.

    Settings:
        question: whose inputs are perturbed.
        perturbation: the law.
        seed: of its draws.
        count: perturbations of each input.
        support: what is removed and with which probability, of a law that is known whole.
    """

    question: Question
    perturbation: Perturbation
    seed: int
    count: int
    support: tuple[Tensor, Tensor] | None

    @property
    def sampled(self) -> bool:
        """Whether the perturbations are drawn; else they are the whole law."""
        return self.support is None and not self.perturbation.listed(self.question)

    def pieces(self) -> Iterator[slice]:
        """Perturbations by number, as many as are held at once."""
        n, elements = self.question.x.shape
        width = max(elements, self.question.partition.count)
        # What is removed of all inputs alike is one row for all of them.
        owners = 1 if self.support is not None or self.perturbation.fixed else n
        return pieces(self.count, owners * width, _CELLS)

    def rows(self, piece: slice) -> Tensor:
        """Rows of some perturbations: (n or 1, k, features), float64."""
        if self.perturbation.removes:
            return self._removed(piece).to(torch.float64)
        return self._steps(piece).to(torch.float64)

    def weights(self, piece: slice) -> Tensor:
        """What some perturbations weigh, (k,); all weights add up to 1."""
        device = self.question.x.device
        if self.support is not None:
            return self.support[1][piece].to(device)
        length = piece.stop - piece.start
        return torch.full((length,), 1 / self.count, dtype=torch.float64, device=device)

    def changes(self, questions: Sequence[Question]) -> list[Tensor]:
        """What each of some questions, which differ in the output alone, loses: (n, count) each."""
        changes: list[list[Tensor]] = [[] for _ in questions]
        for piece in self.pieces():
            scores = self._scores(questions, piece)
            for parts, asked, of_one in zip(changes, questions, scores):
                # In double precision before the difference, which may be small beside both.
                prediction = asked.prediction.to(torch.float64).unsqueeze(1)
                parts.append(prediction - of_one.to(torch.float64))
        return [torch.cat(parts, dim=1) for parts in changes]

    def _scores(self, questions: Sequence[Question], piece: slice) -> list[Tensor]:
        """The targets at some perturbations, (n, k) each."""
        question = self.question
        if not self.perturbation.removes:
            points = question.x.unsqueeze(1) - self._steps(piece)
            return [asked.score(points) for asked in questions]
        present = ~self._removed(piece)
        # Masks that all inputs share are told by having no axis of inputs.
        masks = present[0] if len(present) == 1 else present
        if len(questions) == 1:
            return [question.value(masks)]
        # The model is asked once for all outputs, of which each question reads its column.
        outputs = question.outputs(masks, rounded=False)
        return [outputs[..., asked.column] for asked in questions]

    def _removed(self, piece: slice) -> Tensor:
        """What some perturbations remove: (n or 1, k, features), bool."""
        if self.support is not None:
            return self.support[0][piece].to(self.question.x.device).unsqueeze(0)
        draws = (piece.start, piece.stop)
        removed = self.perturbation.removed(self.question, self.seed, draws)
        if removed is None:
            removed = self.perturbation.draw(self.question, self.seed, draws).removed
        # A law that removes says what.
        return torch.as_tensor(removed)

    def _steps(self, piece: slice) -> Tensor:
        """Some steps I: (n, k, elements)."""
        draws = (piece.start, piece.stop)
        return self.perturbation.draw(self.question, self.seed, draws).step
