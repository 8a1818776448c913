"""What a certificate was made from, in a form that can be saved and asked again."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from assay.features.elements import Labels
from assay.inputs.tensors import TensorLayout
from assay.models.black_box import Function
from assay.question.question import Question
from assay.removals.fixed import Background, Baseline


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """The input of a certificate as a flat row, with what it takes to ask about it again."""

    x: Tensor  # (elements,)
    absent: Tensor  # its replacements (draws, elements)
    labels: Tensor  # the feature that owns each element, -1 for none: (elements,)
    parts: tuple[tuple[int, ...], ...]  # shapes of the tensors that a row folds into
    dtypes: tuple[str, ...]  # and their types
    arrays: bool = False  # whether the model is a function that was called with NumPy's arrays

    @staticmethod
    def of(question: Question) -> Evidence | None:
        """The evidence of a question about one input, where its parts can be written down."""
        layout = question.layout
        replacements = question.fixed_replacements
        model = question.model
        # Tables, texts, contexts and replacements that depend on the mask cannot be written down.
        if not isinstance(layout, TensorLayout):
            return None
        if replacements is None or question.has_context:
            return None
        return Evidence(
            x=_detached(question.x[0]),
            absent=_detached(replacements[0]),
            labels=_detached(question.partition.labels[0]),
            parts=layout.parts,
            dtypes=tuple(_name(dtype) for dtype in layout.dtypes),
            arrays=isinstance(model, Function) and not model.tensors,
        )

    def question(self, model: Any) -> Question:
        """The same question asked of a model."""
        dtypes = tuple(getattr(torch, name) for name in self.dtypes)
        layout = TensorLayout(self.parts, dtypes, torch.device("cpu"))
        inputs = layout.fold(self.x[None])
        # A function computes otherwise on tensors: it is asked as it was asked before.
        if self.arrays:
            inputs = tuple(part.numpy() for part in inputs)
        absent = layout.fold(self.absent)
        labels = tuple(
            owners.reshape(shape)
            for owners, shape in zip(self.labels.split(layout.sizes), self.parts)
        )
        # One replacement is a baseline; several are averaged over, as they were.
        kind = Baseline if len(self.absent) == 1 else Background
        return Question(
            model, _single(inputs), features=Labels(labels), removal=kind(_single(absent))
        )

    def encoded(self) -> dict[str, Any]:
        """As JSON holds it: every tensor as type, shape and its compressed bytes in base 64."""
        return {
            "x": _encoded(self.x),
            "absent": _encoded(self.absent),
            "labels": _encoded(self.labels),
            "parts": self.parts,
            "dtypes": self.dtypes,
            "arrays": self.arrays,
        }

    @staticmethod
    def decoded(stored: dict[str, Any]) -> Evidence:
        """What `encoded` wrote."""
        return Evidence(
            x=_decoded(*stored["x"]),
            absent=_decoded(*stored["absent"]),
            labels=_decoded(*stored["labels"]),
            parts=tuple(map(tuple, stored["parts"])),
            dtypes=tuple(stored["dtypes"]),
            # Files of before this was kept do not say: tensors.
            arrays=stored.get("arrays", False),
        )


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone()


def _single(tensors: tuple[Any, ...]) -> Any:
    """One tensor as itself, several as the tuple that a question takes."""
    return tensors[0] if len(tensors) == 1 else tensors


def _name(dtype: torch.dtype) -> str:
    """Such as float32, under which torch has the type."""
    return str(dtype).partition(".")[2]


def _encoded(tensor: Tensor) -> list[Any]:
    # Bytes, not numpy numbers: numpy does not know bfloat16.
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    packed = base64.b64encode(zlib.compress(raw)).decode()
    return [_name(tensor.dtype), list(tensor.shape), packed]


def _decoded(dtype: str, shape: list[int], packed: str) -> Tensor:
    # A bytearray, since torch takes over memory that can be written to.
    raw = bytearray(zlib.decompress(base64.b64decode(packed)))
    return torch.frombuffer(raw, dtype=getattr(torch, dtype)).reshape(shape)
