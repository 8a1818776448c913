"""A model smoothed multiplicatively: the mean of its votes over a noise design."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from assay.certificates.noise import NoiseDesign
from assay.certificates.votes import ROWS, cast_votes
from assay.engine import ChunkSearch
from assay.errors import InputError, TargetError
from assay.inputs.layout import Rows
from assay.models.base import Ability, Model, digest, finite
from assay.question.question import Question

_TOGETHER = (
    64  # base rows of a chunk of the smoothed model: draws are added up one group after the other
)


@final
class SmoothedModel(Model):
    """A classifier averaged over the fixed noise of a design.

    Called with masks (m, features) it gives the smoothed class scores (m, classes) of the first
    input of its question, counted in whole numbers. As a `Model` it smooths any input of the same
    kind: every method can explain it and every metric can score it; probabilities can be
    differentiated, votes cannot. Cost: a base row per draw for each row.
    """

    def __init__(
        self, question: Question, design: NoiseDesign, scale: int, tolerance: float
    ) -> None:
        self.base = question.model
        self.design = design
        self.scale = scale
        self._question = question
        self._tolerance = tolerance
        self._paces: dict[str, ChunkSearch] = {}
        self.device, self.dtype = self.base.device, self.base.dtype
        self.abilities = self.base.abilities & ({Ability.GRADIENT} if scale > 1 else set())

    @property
    def name(self) -> str:
        return f"smoothed {self.base.name}"

    def __call__(self, masks: Any) -> Tensor:
        """The smoothed class scores (m, classes) under masks (m, features), float64 in [0, 1]."""
        asked = torch.as_tensor(np.asarray(masks) if not isinstance(masks, Tensor) else masks).cpu()
        count, q = self.design.features, len(self.design.rows)
        if asked.dim() != 2 or asked.shape[1] != count or asked.dtype != torch.bool:
            raise InputError(
                expected=f"masks of bools of shape (m, {count})",
                got=f"{asked.dtype} {tuple(asked.shape)}",
                advice="",
            )
        noise, first, sums = torch.tensor(self.design.masks), self._question.part(0, 1), []
        for chunk in torch.split(asked, max(1, ROWS // q)):
            ballots = cast_votes(
                first, (chunk[:, None] & noise).flatten(0, 1)[None], self.scale, self._tolerance
            )
            sums += [
                torch.from_numpy(
                    ballots.votes(0, i * q, (i + 1) * q).table(ballots.classes).sum(axis=0)
                )
                for i in range(len(chunk))
            ]
        return torch.stack(sums).to(torch.float64) / (q * self.scale)

    def call(self, rows: Rows, context: Mapping[str, Any], layout: int = 0) -> Tensor:
        present, fill = self._frozen()
        x = _flat(rows) if isinstance(rows[0], Tensor) else self._question.layout.flatten(rows[0])
        total, group = x.new_zeros(()), max(1, _TOGETHER // len(x))
        for masks in torch.split(present, group):
            made = fill(x.repeat(len(masks), 1), masks.repeat_interleave(len(x), dim=0))
            outputs = [self.base.call(self._question.layout.fold(one), context) for one in made]
            mean = finite(
                torch.stack([each.to(torch.float64) for each in outputs]).mean(0),
                self.base.name,
                "when masked",
            )
            total = total + self._scores(mean).view(len(masks), len(x), -1).sum(0)
        return total / (len(self.design.rows) * self.scale)

    def _scores(self, outputs: Tensor) -> Tensor:
        """Whole-number scores (r, classes); slopes pass through the rounding of probabilities."""
        if outputs.dim() != 2 or outputs.shape[1] < 2:
            raise TargetError(
                expected=f"scores (rows, classes >= 2) of {self.base.name} to smooth",
                got=tuple(outputs.shape),
                advice="",
            )
        if self.scale == 1:
            return torch.nn.functional.one_hot(outputs.argmax(1), outputs.shape[1]).to(
                torch.float64
            )
        if float(outputs.detach().min()) < -1e-6 or float(outputs.detach().max()) > 1 + 1e-6:
            raise InputError(
                f"Expected probabilities in [0, 1] of {self.base.name} to smooth. Let it end in a softmax."
            )
        scaled = outputs * self.scale
        return scaled + (scaled.round().clamp(0, self.scale) - scaled).detach()

    def _frozen(self) -> tuple[Tensor, Callable[[Tensor, Tensor], Iterator[Tensor]]]:
        """Element masks of the draws (q, elements), and what fills in rows: one batch for each draw
        of the removal.
        """
        evaluation = self._question._evaluation
        if (
            len(evaluation.partition.labels) > 1
            or not evaluation.absent.shared
            or evaluation.aligned
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
        zero = torch.zeros(1, dtype=torch.int64, device=evaluation.x.device)
        noise = torch.tensor(self.design.masks).to(evaluation.x.device)
        present = torch.cat([evaluation.partition.spread(row[None], zero) for row in noise])

        def fill(x: Tensor, masks: Tensor) -> Iterator[Tensor]:
            owners = zero.expand(len(x))
            for draw in range(evaluation.absent.draws):
                yield evaluation.absent.remove(x, masks, owners, torch.full_like(owners, draw))

        return present, fill

    @contextmanager
    def session(self, *, slopes: bool) -> Iterator[None]:
        with self.base.session(slopes=slopes):
            yield

    def pace(self, purpose: str) -> ChunkSearch:
        return self._paces.setdefault(purpose, ChunkSearch(limit=_TOGETHER * 4))

    def fingerprint(self) -> bytes:
        return digest(self.base.fingerprint(), repr((self.design, self.scale)).encode())


def _flat(rows: Rows) -> Tensor:
    flat = [row.reshape(len(row), -1) for row in rows]
    return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)
