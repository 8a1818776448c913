"""What a certificate was made from, in a form that can be saved and counted again."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from assay.features.elements import Labels
from assay.inputs.tensors import TensorLayout
from assay.question.question import Question
from assay.removals.base import FixedAbsent
from assay.removals.fixed import Background, Baseline


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """The input of a certificate as flat rows: x (elements,), absent (draws, elements), labels
    (elements,).
    """

    x: Tensor
    absent: Tensor
    labels: Tensor
    parts: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]

    @staticmethod
    def of(question: Question) -> Evidence | None:
        """The evidence of a question about one input, where its parts can be written down."""
        evaluation, layout = question._evaluation, question.layout
        if (
            not isinstance(layout, TensorLayout)
            or not isinstance(evaluation.absent, FixedAbsent)
            or evaluation.aligned
            or evaluation.shared
        ):
            return None
        labels = evaluation.partition.of(
            torch.zeros(1, dtype=torch.int64, device=evaluation.x.device)
        )[0]
        kept = (evaluation.x[0], evaluation.absent.rows[0], labels)
        x, absent, labels = (each.detach().cpu().clone() for each in kept)
        return Evidence(
            x,
            absent,
            labels,
            layout.parts,
            tuple(str(each).partition(".")[2] for each in layout.dtypes),
        )

    def question(self, model: Any) -> Question:
        """The same question asked of a model."""
        layout = TensorLayout(
            self.parts, tuple(getattr(torch, name) for name in self.dtypes), torch.device("cpu")
        )
        pieces = self.labels.split(layout.sizes)
        labels = tuple(piece.reshape(shape) for piece, shape in zip(pieces, self.parts))
        folded = [layout.fold(rows) for rows in (self.x[None], self.absent)]
        inputs, absent = (parts[0] if len(parts) == 1 else parts for parts in folded)
        removal = Baseline(absent) if len(self.absent) == 1 else Background(absent)
        return Question(model, inputs, features=Labels(labels), removal=removal)


def _encode(evidence: Evidence) -> dict[str, Any]:
    arrays = {}
    for name in ("x", "absent", "labels"):
        tensor: Tensor = getattr(evidence, name).contiguous()
        packed = base64.b64encode(
            zlib.compress(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        )
        arrays[name] = [str(tensor.dtype).partition(".")[2], list(tensor.shape), packed.decode()]
    return {**arrays, "parts": evidence.parts, "dtypes": evidence.dtypes}


def _decode(stored: dict[str, Any]) -> Evidence:
    def tensor(name: str) -> Tensor:
        dtype, shape, packed = stored[name]
        raw = bytearray(zlib.decompress(base64.b64decode(packed)))
        return torch.frombuffer(raw, dtype=getattr(torch, dtype)).reshape(shape)

    x, absent, labels = (tensor(name) for name in ("x", "absent", "labels"))
    return Evidence(x, absent, labels, tuple(map(tuple, stored["parts"])), tuple(stored["dtypes"]))
