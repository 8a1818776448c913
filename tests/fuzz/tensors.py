"""Random inputs: the numbers, then a type, strides, a layout and a container for them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fuzz.predictors import Predictor


@dataclass(frozen=True)
class Inputs:
    """What is handed in, and the plain tensors it should be read as; None where it is nonsense."""

    kind: str
    raw: Any
    plain: tuple[Tensor, ...] | None


def _strided(x: Tensor) -> Tensor:
    wide = torch.zeros(len(x) * 2, *x.shape[1:], dtype=x.dtype)
    wide[::2] = x
    return wide[::2]


def _transposed(x: Tensor) -> Tensor:
    return x.transpose(0, -1).contiguous().transpose(0, -1)


def _channels_last(x: Tensor) -> Tensor:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if x.dim() in formats:
        return x.contiguous(memory_format=formats[x.dim()])
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def _inference(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return x.clone()


def _leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_() if x.is_floating_point() else x


def _in_a_graph(x: Tensor) -> Tensor:
    return _leaf(x) * 1 if x.is_floating_point() else x


def _parameter(x: Tensor) -> Tensor:
    return torch.nn.Parameter(x.clone(), requires_grad=x.is_floating_point())


def _buffer(x: Tensor) -> Tensor:
    return torch.as_strided(torch.cat([x.new_zeros(3), x.flatten()]), x.shape, x.stride(), 3)


GOOD: dict[str, Any] = {
    "plain": lambda x: x,
    "strided": _strided,
    "transposed": _transposed,
    "channels last": _channels_last,
    "inference": _inference,
    "leaf": _leaf,
    "in a graph": _in_a_graph,
    "parameter": _parameter,
    "offset": _buffer,
    "numpy": lambda x: x.numpy(),
    "fortran": lambda x: np.asfortranarray(x.numpy()),
    "negative stride": lambda x: np.ascontiguousarray(x.numpy()[..., ::-1])[..., ::-1],
    "read only": lambda x: _read_only(x.numpy().copy()),
    "big endian": lambda x: x.numpy().astype(x.numpy().dtype.newbyteorder(">")),
    "list": lambda x: x.tolist(),
    "conjugate": lambda x: torch.complex(x.double(), x.double()).conj().real.to(x.dtype),
    "negative bit": lambda x: torch.complex(-x.double(), -x.double()).conj().imag.to(x.dtype),
}
"""Other ways to hold the same numbers."""


def _read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


BAD: dict[str, Any] = {
    "zero rows": lambda x: x[:0],
    "zero columns": lambda x: x[..., :0],
    "nan": lambda x: _with(x, float("nan")),
    "infinite": lambda x: _with(x, float("inf")),
    "complex": lambda x: torch.complex(x.double(), x.double()),
    "sparse": lambda x: x.to_sparse(),
    "csr": lambda x: x.flatten(1).to_sparse_csr(),
    "meta": lambda x: x.to("meta"),
    "number": lambda x: x.flatten()[0],
    "one row": lambda x: x[0],
    "wide": lambda x: torch.cat([x, x], dim=-1),
    "strings": lambda x: np.full(tuple(x.shape), "a"),
    "objects": lambda x: np.full(tuple(x.shape), None),
    "none": lambda x: None,
    "dict": lambda x: {"x": x},
    "set": lambda x: {1, 2},
    "nested": lambda x: torch.nested.nested_tensor([x[0], x[0]]),
    "ragged": lambda x: [[1.0, 2.0], [1.0]],
    "dates": lambda x: np.full(tuple(x.shape), np.datetime64("2020-01-01")),
    "empty tuple": lambda x: (),
    "tuple of numbers": lambda x: (1.0, 2.0),
    "twice": lambda x: (x, x),
    "generator": lambda x: (row for row in x),
    "quantised": lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.qint8),
    "float8": lambda x: x.float().to(torch.float8_e4m3fn),
    "uint16": lambda x: x.abs().round().to(torch.uint16),
    "masked": lambda x: np.ma.masked_less(x.double().numpy(), 0),
    "matrix": lambda x: np.asmatrix(x.flatten(1).double().numpy()),
    "longdouble": lambda x: x.double().numpy().astype(np.longdouble),
    "series": lambda x: _series(x),
    "bytes": lambda x: b"abc",
}


def _series(x: Tensor) -> Any:
    import pandas as pd

    return pd.Series(x.flatten().double().numpy())


def _with(x: Tensor, value: float) -> Tensor:
    x = x.double().clone()
    x.view(-1)[0] = value
    return x


TYPES = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.int32,
    torch.uint8, torch.int8, torch.bool,
)  # fmt: skip


def _numbers(draw: random.Random, predictor: Predictor, n: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(draw.randrange(10**6))
    if predictor.tokens:
        return [
            torch.randint(1, 11, (n, *shape), generator=generator) for shape in predictor.shapes
        ]
    return [
        torch.randn(n, *shape, generator=generator, dtype=torch.float64)
        for shape in predictor.shapes
    ]


def read_as(x: Tensor, predictor: Predictor) -> Tensor:
    """The number type that a predictor is to be called with."""
    if predictor.family == "network" and x.is_floating_point():
        return x.to(predictor.dtype)
    return x


def inputs(draw: random.Random, predictor: Predictor) -> Inputs:
    """Random inputs of a predictor, mostly sensible ones."""
    n = draw.choice((1, 2, 2, 3, 4))
    parts = _numbers(draw, predictor, n)
    if n > 1 and draw.random() < 0.1:
        parts = [part[:1].expand_as(part).clone() for part in parts]
    if predictor.takes == "frame":
        import pandas as pd

        return Inputs("frame", pd.DataFrame(parts[0].numpy(), columns=list("abcd")), tuple(parts))
    parts = [_typed(draw, part, predictor) for part in parts]
    if draw.random() < 0.04:
        name = draw.choice(list(BAD))
        return Inputs(name, BAD[name](parts[0]), None)
    return _held(draw, parts, predictor)


def _typed(draw: random.Random, part: Tensor, predictor: Predictor) -> Tensor:
    if predictor.tokens:
        return part.to(draw.choice((torch.int64,) * 12 + (torch.int32, torch.uint8, torch.float32)))
    if draw.random() < 0.08:
        dtype = draw.choice(TYPES)
        return (part * 2).abs().to(dtype) if dtype == torch.uint8 else (part * 2).to(dtype)
    return part.to(predictor.dtype)


def _held(draw: random.Random, parts: list[Tensor], predictor: Predictor) -> Inputs:
    name = draw.choice(list(GOOD)) if draw.random() < 0.5 else "plain"
    if predictor.takes == "array" and name in _TENSORS:
        name = "numpy"
    if predictor.takes == "tensor" and predictor.family == "function" and name not in _TENSORS:
        name = "plain"
    plain = tuple(read_as(part, predictor).clone() for part in parts)
    try:
        held = tuple(GOOD[name](part) for part in parts)
    except (TypeError, RuntimeError, ValueError):  # no such layout of this type
        name = "plain" if predictor.takes == "tensor" else "numpy"
        held = tuple(parts) if name == "plain" else tuple(part.float().numpy() for part in parts)
        if name == "numpy":
            plain = tuple(part.float() for part in parts)
    if name == "list":
        # Written out, numbers have the type that their container gives them.
        plain = tuple(read_as(torch.as_tensor(np.asarray(part)), predictor) for part in held)
    if len(held) > 1:
        return Inputs(name, held if name != "list" else tuple(map(np.asarray, held)), plain)
    return Inputs(name, held[0], plain)


_TENSORS = frozenset({
    "plain", "strided", "transposed", "channels last", "inference", "leaf", "in a graph",
    "parameter", "offset", "conjugate", "negative bit",
})  # fmt: skip
