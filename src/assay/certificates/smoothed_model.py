"""A model smoothed multiplicatively: the mean of its votes over a noise design.

It answers in two ways. `scores(masks)` is the classifier that certificates are about: the smoothed
class scores of one input under masks, counted in whole numbers. `call(rows, context)` is what every
`Model` has: it smooths any rows of the same kind, so that methods can explain the smoothed
classifier and metrics can score it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor

from assay.certificates.noise import NoiseDesign
from assay.certificates.selections import as_masks
from assay.certificates.votes import MOST_ROWS, cast_votes, check_probabilities
from assay.errors import InputError, TargetError
from assay.inputs.layout import Rows
from assay.models.base import Ability, Model, digest, finite
from assay.numerics.pieces import pieces
from assay.question.question import Question
from assay.removals.base import blend

_TOGETHER = 64  # base rows held at once by a call: draws are added up one group after the other


@final
class SmoothedModel(Model):
    """A classifier averaged over the fixed noise of a design.

    As a `Model` it smooths any input of the same kind; probabilities can be differentiated, votes
    cannot. Made by `MultiplicativeSmoothing.smooth(question)`.

    Settings:
        question: holds the base model, the features, and what stands in for absent ones.
        design: the noise.
        scale: units of a vote: 1 counts classes, 2^20 probabilities.
        tolerance: relative distance below which two outputs are too close to tell apart.

    Cost: a base row per draw for each row.
    """

    def __init__(
        self, question: Question, design: NoiseDesign, scale: int, tolerance: float
    ) -> None:
        self.base = question.model
        self.design = design
        self.scale = scale
        self._question = question
        self._tolerance = tolerance
        # Each row asks the base model once per draw.
        self.largest_chunk = _TOGETHER * 4
        self.device = self.base.device
        self.dtype = self.base.dtype
        # Averages are taken in double; the numbers are those of the base.
        self.single = self.base.single or self.base.dtype == torch.float32
        # The argmax of a vote has no slope.
        kept = {Ability.GRADIENT} if scale > 1 else set()
        self.abilities = self.base.abilities & kept

    @property
    def name(self) -> str:
        return f"smoothed {self.base.name}"

    # --- the classifier that certificates are about

    def scores(self, masks: Any) -> Tensor:
        """The smoothed class scores (m, classes) of the question's first input, float64 in [0, 1].

        Under masks (m, features) of bools, counted in whole numbers.

        >>> from assay.certificates.smoothing import MultiplicativeSmoothing
        >>> question = Question(lambda x: torch.stack([0.5 + 0 * x[:, 0], x[:, 1]], 1), torch.ones(1, 2))
        >>> MultiplicativeSmoothing(kept=1, levels=4).smooth(question).scores(torch.eye(2).bool())
        tensor([[1.0000, 0.0000],
                [0.7500, 0.2500]], dtype=torch.float64)
        """
        masks = as_masks(masks)
        count = self.design.features
        if masks.dim() != 2 or masks.shape[1] != count or masks.dtype != torch.bool:
            raise InputError(
                expected=f"masks of bools of shape (m, {count})",
                got=f"{masks.dtype} {tuple(masks.shape)}",
                advice="Such as torch.ones(1, features).bool() for the whole.",
            )
        noise = torch.tensor(self.design.masks)
        single = self._question.part(0, 1)
        draws = len(noise)
        sums: list[Tensor] = []
        for piece in pieces(len(masks), draws, MOST_ROWS):
            # Each mask under every draw: (masks * draws, features).
            noisy = (masks[piece][:, None] & noise).flatten(0, 1)
            ballots = cast_votes(single, noisy[None], self.scale, self._tolerance)
            for start in range(0, len(noisy), draws):
                votes = ballots.votes(0, slice(start, start + draws))
                sums.append(torch.from_numpy(votes.table(ballots.classes).sum(axis=0)))
        return torch.stack(sums).to(torch.float64) / (draws * self.scale)

    # --- a model that any question can hold

    def call(self, rows: Rows, context: Mapping[str, Any], memory_format: int = 0) -> Tensor:
        replacements = self._shared_replacements()
        present = self._present()
        x = self._flattened(rows)
        total = x.new_zeros(())
        for piece in pieces(len(present), len(x), _TOGETHER):
            # Draw by draw, all rows of x: (draws * r, elements).
            masks = present[piece]
            repeated = x.repeat(len(masks), 1)
            masked_by = masks.repeat_interleave(len(x), dim=0)
            outputs = [
                self._base_outputs(
                    blend(repeated, replacement.expand(len(repeated), -1), masked_by), context
                )
                for replacement in replacements
            ]
            # Replacements are averaged over before the vote, as a question does.
            mean = finite(torch.stack(outputs).mean(0), self.base.name, "when masked")
            total = total + self._counted(mean).view(len(masks), len(x), -1).sum(0)
        return total / (len(self.design.rows) * self.scale)

    def _flattened(self, rows: Rows) -> Tensor:
        """What a predictor is called with, as flat rows (r, elements)."""
        if not isinstance(rows[0], Tensor):
            return self._question.layout.flatten(rows[0])
        # Not by the layout, which cuts off slopes.
        parts = [part.reshape(len(part), -1) for part in rows]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _base_outputs(self, rows: Tensor, context: Mapping[str, Any]) -> Tensor:
        folded = self._question.layout.fold(rows)
        return self.base.call(folded, context).to(torch.float64)

    def _counted(self, outputs: Tensor) -> Tensor:
        """Whole-number scores (r, classes); slopes pass through the rounding of probabilities."""
        if outputs.dim() != 2 or outputs.shape[1] < 2:
            raise TargetError(
                expected=f"scores (rows, classes >= 2) of {self.base.name} to smooth",
                got=tuple(outputs.shape),
                advice="Let the model return one column for each class.",
            )
        if self.scale == 1:
            classes = outputs.argmax(1)
            votes = torch.nn.functional.one_hot(classes, outputs.shape[1])
            return votes.to(torch.float64)
        check_probabilities(outputs.detach(), self.base.name)
        scaled = outputs * self.scale
        rounded = scaled.round().clamp(0, self.scale)
        # Straight through: the value is rounded, the slope is the probability's.
        return scaled + (rounded - scaled).detach()

    def _present(self) -> Tensor:
        """Which elements each draw keeps: (draws, elements)."""
        noise = torch.tensor(self.design.masks).to(self._question.x.device)
        # Features are those of the first input, as of all others.
        first = torch.zeros(len(noise), dtype=torch.int64, device=noise.device)
        return self._question.partition.spread(noise, first)

    def _shared_replacements(self) -> Tensor:
        """What stands in for absent elements of any input: (replacements, elements)."""
        replacements = self._question.fixed_replacements
        shared = replacements is not None and len(replacements) == 1
        same_features = len(self._question.partition.labels) == 1
        if (
            replacements is None
            or not (shared and same_features)
            or self._question.has_aligned_context
        ):
            raise InputError(
                expected=(
                    "features and a removal that are the same for every input, since the "
                    "smoothed model masks inputs it has not seen"
                ),
                got=f"{self._question.features!r} and {self._question.removal!r}",
                advice=(
                    "A segmentation or blur made anew on masked inputs certifies nothing: "
                    "ask about one input, or masks."
                ),
            )
        return replacements[0]

    @contextmanager
    def session(self, *, slopes: bool) -> Iterator[None]:
        with self.base.session(slopes=slopes):
            yield

    def fingerprint(self) -> bytes:
        # The tolerance marks votes and changes none.
        return digest(self.base.fingerprint(), repr((self.design, self.scale)).encode())
