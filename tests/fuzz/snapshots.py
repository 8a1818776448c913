"""Everything that must be found again after a question: the model, the inputs, the process."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def _bytes(tensor: Tensor) -> Any:
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return str(tensor.layout)
    plain = tensor.detach().resolve_conj().resolve_neg()
    return plain.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def _of_tensor(tensor: Tensor) -> Any:
    grad = None if tensor.grad_fn is not None or tensor.grad is None else _bytes(tensor.grad)
    return (tensor.dtype, tuple(tensor.shape), _bytes(tensor), tensor.requires_grad, grad)


def _of_attribute(value: Any) -> Any:
    if isinstance(value, Tensor):
        return ("tensor", id(value))
    if isinstance(value, list | dict):
        return (type(value).__name__, len(value))
    if isinstance(value, int | float | str | bool | type(None)):
        return value
    return type(value).__name__


def _of_module(net: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, part in net.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            continue
        for key, value in vars(part).items():
            found[f"{name}.{key}"] = _of_attribute(value)
            if "hooks" in key and isinstance(value, dict):
                found[f"{name}.{key}"] = list(value)
        found[f"{name}.training"] = part.training
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        found[f"{name} numbers"] = (id(tensor), _of_tensor(tensor))
    return found


def of_model(model: Any) -> dict[str, Any]:
    """A model as it is."""
    if isinstance(model, nn.Module):
        return _of_module(model)
    return {}


def of_inputs(raw: Any) -> dict[str, Any]:
    """Inputs as they are."""
    parts = raw if isinstance(raw, tuple) else (raw,)
    found: dict[str, Any] = {}
    for number, part in enumerate(parts):
        if isinstance(part, Tensor) and not part.is_nested and part.dtype.itemsize > 1:
            found[f"input {number}"] = _of_tensor(part)
        elif isinstance(part, np.ndarray) and part.dtype != object:
            found[f"input {number}"] = (part.dtype, part.shape, part.tobytes())
        elif hasattr(part, "to_numpy"):
            found[f"input {number}"] = (
                tuple(getattr(part, "columns", ())),
                part.to_numpy().tobytes(),
            )
        elif isinstance(part, list):
            found[f"input {number}"] = repr(part)
    return found


def of_process() -> dict[str, Any]:
    """Global state."""
    numpy_state = np.random.get_state()  # noqa: NPY002
    return {
        "torch rng": torch.get_rng_state().numpy().tobytes(),
        "numpy rng": (numpy_state[1].tobytes(), numpy_state[2]),
        "python rng": hash(random.getstate()),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "living threads": threading.active_count(),
    }


def difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The first thing that is not as it was; empty where everything is."""
    for key in sorted(before.keys() | after.keys()):
        if before.get(key, "absent") != after.get(key, "absent"):
            return key
    return ""
