"""What a network is known by: a hash of its description and of everything in its state.

The state is read tensor by tensor, so that no copy of the network is made. It cannot fail: what has
no bytes that could be read (weights on meta, objects of one's own) is known by its description. The
hash is kept until a tensor was written to: counters tell, and what is in small tensors or a sum over
large ones, since what is written through `.data` moves no counter.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn

from assay.models.networks.fast_forms import version_of
from assay.models.networks.module_state import parts_of

_Pieces: TypeAlias = list[Any]
"""Bytes, and arrays of bytes that are not copied."""

_COMPRESSED = {
    torch.sparse_csr: ("crow_indices", "col_indices"),
    torch.sparse_bsr: ("crow_indices", "col_indices"),
    torch.sparse_csc: ("ccol_indices", "row_indices"),
    torch.sparse_bsc: ("ccol_indices", "row_indices"),
}

_CONSTANTS = ("t", "i", "f", "s")  # tensors, integers, floats and texts, as torch calls them

_FEW = 256  # numbers of a tensor that are compared themselves: those of a norm's channels

_PLAIN_STATE = (
    nn.Module.state_dict,
    nn.Module._save_to_state_dict,
    nn.Module.get_extra_state,
)

_PER_TENSOR = (torch.per_tensor_affine, torch.per_tensor_symmetric)


@final
class Fingerprint:
    """The hash of one module, made anew when its state is no longer the same.

    Settings:
        module: whose state is hashed.
        plain: the module without a compiler around it, whose description is.
    """

    def __init__(self, module: nn.Module, plain: nn.Module) -> None:
        self._module = module
        self._plain = plain
        self._key: tuple[Any, ...] | None = None
        self._digest = b""

    def digest(self) -> bytes:
        """The hash."""
        description = _described(self._plain)
        entries = list(_entries(self._module))
        key = (description, *(_key(name, value) for name, value in entries))
        if key != self._key:
            self._digest = _hashed(description, entries)
            self._key = key
        return self._digest


def _hashed(description: bytes, entries: Iterable[tuple[str, Any]]) -> bytes:
    """The description and all entries, each with its length."""
    hashed = hashlib.blake2b(digest_size=16)
    hashed.update(len(description).to_bytes(8, "little") + description)
    for name, value in entries:
        pieces = [name.encode(), *_pieces(value)]
        length = sum(len(piece) for piece in pieces)
        hashed.update(length.to_bytes(8, "little"))
        for piece in pieces:
            hashed.update(piece)
    return hashed.digest()


def _described(module: nn.Module) -> bytes:
    try:
        return str(module).encode()
    except Exception:  # an `extra_repr` of one's own
        return type(module).__qualname__.encode()


# --- what there is to hash


def _entries(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The names of a module's state and what they stand for."""
    try:
        state = list(_state(module))
    except Exception:  # state of one's own may refuse to be read
        state = [*module.named_parameters(), *module.named_buffers()]
    for name, value in state:
        # Empty tensors say nothing.
        if not (isinstance(value, Tensor) and _is_empty(value)):
            yield str(name), value
    if isinstance(module, torch.jit.ScriptModule) and not hasattr(module, "training"):
        yield from _constants(module)


def _state(module: nn.Module) -> Iterable[tuple[str, Any]]:
    """What `state_dict()` gives, without what that does for others, where no part has a say in it."""
    if not all(map(_keeps_state_plainly, parts_of(module))):
        return module.state_dict().items()
    return _held(module, "")


def _keeps_state_plainly(part: nn.Module) -> bool:
    """Whether a part's state is its parameters and buffers, under their names."""
    kind = type(part)
    methods = (kind.state_dict, kind._save_to_state_dict, kind.get_extra_state)
    return methods == _PLAIN_STATE and not (part._state_dict_hooks or part._state_dict_pre_hooks)


def _held(part: nn.Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """The parameters and persistent buffers of a part and of those in it, in the order of state."""
    passing = part._non_persistent_buffers_set
    for name, tensor in chain(part._parameters.items(), part._buffers.items()):
        if tensor is not None and name not in passing:
            yield prefix + name, tensor
    for name, inner in part._modules.items():
        if inner is not None:
            yield from _held(inner, f"{prefix}{name}.")


def _is_empty(tensor: Tensor) -> bool:
    try:
        return tensor.numel() == 0
    except RuntimeError:  # a nested one with sizes of its own
        return False


def _constants(frozen: torch.jit.ScriptModule) -> Iterator[tuple[str, Any]]:
    """What a frozen module has in the place of weights: its operations and the constants in them."""
    graph: Any = frozen.graph
    try:
        # Not the graph as text, in which scripted classes are numbered as they came.
        yield "operations", [node.kind() for node in graph.nodes()]
        for index, node in enumerate(graph.findAllNodes("prim::Constant")):
            kind = node.kindOf("value") if node.hasAttribute("value") else ""
            if kind in _CONSTANTS:
                yield f"constant {index}", getattr(node, kind)("value")
    except Exception:  # internals of torch, which may change
        yield "operations", type(frozen).__qualname__


def _key(name: str, value: Any) -> Any:
    """What changes with an entry and is cheap to read, or its hash where nothing is."""
    if isinstance(value, Tensor) and type(value) in (Tensor, nn.Parameter, nn.Buffer):
        try:
            numbers = _few_numbers(value)
            # Where all numbers are known, no counter says more.
            if numbers is not None:
                return name, value.dtype, value.shape, numbers
            (version,) = version_of([value])
            return name, version, value.shape, value.stride(), _sum(value)
        except (RuntimeError, TypeError):  # sparse, quantised, on meta
            pass
    return name, _hashed(b"", [(name, value)])


def _few_numbers(tensor: Tensor) -> bytes | None:
    """The bytes of a tensor of few numbers, which are read faster than they are added up; None of
    others.
    """
    if not tensor.is_cpu or tensor.numel() > _FEW:
        return None
    try:
        return tensor.detach().numpy().tobytes()
    except TypeError:  # a number type that NumPy lacks
        return None


def _sum(tensor: Tensor) -> int:
    """A sum over a tensor's bits, for the price of reading them."""
    flat = tensor.detach().flatten()
    # One number that was expanded has a stride of 0, which no view as bytes has.
    if flat.numel() == 1:
        flat = flat.clone()
    # Eight bytes at a time where they can be had: torch adds up smaller ones slowly.
    if flat.nbytes % 8 == 0 and flat.storage_offset() * flat.element_size() % 8 == 0:
        return int(flat.view(torch.int64).sum())
    return int(flat.view(torch.uint8).sum(dtype=torch.int64))


# --- bytes


def _pieces(value: Any) -> _Pieces:
    """The bytes of an entry; of what cannot be read, those of its description."""
    try:
        return _tensor_pieces(value) if isinstance(value, Tensor) else _object_pieces(value)
    except Exception:  # whatever a tensor or object of another kind may raise
        return [_outline(value)]


def _outline(value: Any) -> bytes:
    """The kind of a value, with its shape and number type if it has them."""
    kind = type(value)
    parts = [kind.__module__, kind.__qualname__]
    for name in ("shape", "dtype", "layout"):
        try:
            parts.append(str(getattr(value, name, "")))
        except Exception:  # shapes that a kind of tensor refuses to tell
            continue
    return " ".join(parts).encode()


def _tensor_pieces(tensor: Tensor) -> _Pieces:
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return _several(_outline(tensor), *(getattr(tensor, name) for name in names))
    if tensor.is_meta:
        return [_outline(tensor)]
    if tensor.is_nested:
        return _several(_outline(tensor), *tensor.unbind())
    if tensor.is_quantized:
        return _several(_outline(tensor), tensor.int_repr(), *_scales(tensor))
    if tensor.is_mkldnn:
        return _several(_outline(tensor), tensor.to_dense())
    if tensor.layout is torch.sparse_coo:
        inner = (tensor._indices(), tensor._values())
        return _several(_outline(tensor), *inner)
    if tensor.layout in _COMPRESSED:
        inner = tuple(getattr(tensor, name)() for name in _COMPRESSED[tensor.layout])
        return _several(_outline(tensor), *inner, tensor.values())
    # A conjugate or negative view has the bytes of the tensor itself until it is resolved.
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    # A tensor without dimensions has no view as bytes: all of them get one dimension first.
    flat = plain.as_strided((plain.numel(),), (1,))
    return [flat.view(torch.uint8).numpy()]


def _scales(tensor: Tensor) -> tuple[Any, ...]:
    """What turns the integers of a quantised tensor into numbers."""
    if tensor.qscheme() in _PER_TENSOR:
        return tensor.q_scale(), tensor.q_zero_point()
    return (
        tensor.q_per_channel_scales(),
        tensor.q_per_channel_zero_points(),
        tensor.q_per_channel_axis(),
    )


def _object_pieces(value: Any) -> _Pieces:
    if isinstance(value, bytes):
        return [value]
    if isinstance(value, Mapping):
        return _several(b"mapping", *(part for item in value.items() for part in item))
    if isinstance(value, list | tuple):
        return _several(b"sequence", *value)
    if isinstance(value, set | frozenset):
        # A set of texts has another order in every process, since Python salts their hashes.
        return _several(b"set", *sorted(value, key=repr))
    if value is None or isinstance(value, str | int | float | complex | torch.dtype):
        return [repr(value).encode()]
    return [pickle.dumps(value)]


def _several(*values: Any) -> _Pieces:
    """The bytes of several values, each with its length."""
    pieces: _Pieces = []
    for value in values:
        inner = _pieces(value)
        # Without lengths, "ab" before "c" would be the same bytes as "a" before "bc".
        pieces.append(sum(len(piece) for piece in inner).to_bytes(8, "little"))
        pieces.extend(inner)
    return pieces
