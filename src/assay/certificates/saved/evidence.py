"""What a certificate was made from, in a form that can be saved and asked again."""

from __future__ import annotations

import base64
import math
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

_LARGE = 1 << 20  # bytes of a tensor from which it is looked at how well it packs

_WELL_PACKED = 32  # how many times smaller a large tensor may become


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
    def decoded(stored: dict[str, Any], limit: int) -> Evidence:
        """What `encoded` wrote, where its tensors take at most `limit` bytes together.

        Errors: ValueError for anything else.
        """
        tensors = {name: stored[name] for name in ("x", "absent", "labels")}
        # Before any of them is unpacked: a few bytes can stand for very many.
        if sum(map(_bytes_of, tensors.values())) > limit:
            raise ValueError(f"tensors of more than {limit} bytes")
        evidence = Evidence(
            **{name: _decoded(*parts) for name, parts in tensors.items()},
            parts=tuple(map(tuple, stored["parts"])),
            dtypes=tuple(stored["dtypes"]),
            arrays=stored["arrays"],
        )
        evidence._check()
        return evidence

    def _check(self) -> None:
        """Refuses tensors that do not fold into one input."""
        elements = sum(math.prod(shape) for shape in self.parts)
        shapes = (tuple(self.x.shape), tuple(self.absent.shape[1:]), tuple(self.labels.shape))
        if any(shape != (elements,) for shape in shapes) or len(self.absent) == 0:
            raise ValueError(f"tensors of one input of {elements} elements, got {shapes}")
        if len(self.dtypes) != len(self.parts) or not set(self.dtypes) <= _TYPES.keys():
            raise ValueError("one number type of torch for each part")
        if self.absent.dtype != self.x.dtype or self.labels.dtype != torch.int64:
            raise ValueError("other number types")


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone()


def _single(tensors: tuple[Any, ...]) -> Any:
    """One tensor as itself, several as the tuple that a question takes."""
    return tensors[0] if len(tensors) == 1 else tensors


def _name(dtype: torch.dtype) -> str:
    """Such as float32, under which torch has the type."""
    return str(dtype).partition(".")[2]


_TYPES: dict[str, torch.dtype] = {
    _name(dtype): dtype
    for dtype in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    )
}


def _encoded(tensor: Tensor) -> list[Any]:
    # Bytes, not numpy numbers: numpy does not know bfloat16.
    whole = tensor.contiguous()
    # One number that was expanded has a stride of 0, which no view as bytes has.
    flat = whole.as_strided((whole.numel(),), (1,))
    raw = flat.view(torch.uint8).numpy().tobytes()
    packed = zlib.compress(raw)
    # Whoever reads it bounds what a file may grow to: very regular rows are kept as they are.
    if len(raw) > _LARGE and len(packed) * _WELL_PACKED < len(raw):
        packed = zlib.compress(raw, level=0)
    return [_name(tensor.dtype), list(tensor.shape), base64.b64encode(packed).decode()]


def _bytes_of(stored: list[Any]) -> int:
    """How many bytes a stored tensor says it has."""
    if len(stored) != 3:
        raise ValueError("a type, a shape and bytes of each tensor")
    dtype, shape, packed = stored
    sizes = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    if not sizes or not isinstance(packed, str) or not isinstance(dtype, str):
        raise ValueError("a type, a shape and bytes of each tensor")
    if dtype not in _TYPES:
        raise ValueError(f"the number type {dtype[:20]!r}")
    return int(math.prod(shape) * _TYPES[dtype].itemsize)


def _decoded(dtype: str, shape: list[int], packed: str) -> Tensor:
    count = _bytes_of([dtype, shape, packed])
    if count == 0:
        raise ValueError("a tensor without numbers")
    unpacking = zlib.decompressobj()
    try:
        # One byte more than there may be, so that more of them are found out.
        raw = unpacking.decompress(base64.b64decode(packed, validate=True), count + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(raw) != count or unpacking.unconsumed_tail:
        raise ValueError(f"{count} bytes for the shape {shape}")
    # A bytearray, since torch takes over memory that can be written to.
    return torch.frombuffer(bytearray(raw), dtype=_TYPES[dtype]).reshape(shape)
