"""Tensors that the way back needs are held as they are, whatever the forward has said of them.

A checkpoint (`torch.utils.checkpoint`, Chen et al. 2016) drops them and asks its part of the forward
once more on the way back. Nobody hears that second forward, so it has other operations than the one
that was heard: it raises, or gives the tensors of one operation to another. What is heard is therefore
held, at the memory that the checkpoint was to save.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

_Held: TypeAlias = tuple[Tensor, int]
"""A tensor, and how often it had been written to."""

# Which hooks are in force is told by torch since 2.4; where it is not, they are taken to be.
_in_force = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", lambda ignoring: True)


def held() -> AbstractContextManager[object]:
    """Inside, operations hold what their slopes need, where a checkpoint would drop it."""
    return nullcontext() if _in_force(False) is None else saved_tensors_hooks(_pack, _unpack)


def _pack(tensor: Tensor) -> _Held:
    return tensor, tensor._version


def _unpack(kept: _Held) -> Tensor:
    tensor, version = kept
    # torch looks at versions itself only where there are no hooks; it says the same then.
    if tensor._version != version:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace "
            f"operation: {tuple(tensor.shape)} is at version {tensor._version}, expected {version}"
        )
    return tensor
