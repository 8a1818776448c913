"""The faster forms of a network behind one class: the fused graph, and the same asked about patches.

They are copies beside the network, made when work is long enough to pay for them and used only
where they answer like it. `wrap(net, speedups=False)` does without them: the network itself is then
their twin, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, fx, nn

from assay.inputs.layout import Rows
from assay.models.base import LocalChange
from assay.models.networks.fused import fits, fused, may_be_asked
from assay.models.networks.graph import listened
from assay.models.networks.incremental import IncrementalNetwork

PRECISIONS = (torch.float32, torch.float64)
"""In which the forms can be compared with their network."""

Version: TypeAlias = tuple[int, int, torch.dtype, torch.device]
"""What tells whether one tensor is still what it was, see `version_of`."""

WORTH_FROM = 256
"""Rows of work below which capturing the graph costs more than it saves."""


@final
class FastForms:
    """The faster forms of one module, and whether they still answer like it.

    They are stale when a weight or buffer was exchanged or written to since they were made (by the
    address and version counter of each tensor), or when a sample of rows is answered otherwise: what
    is written through `.data`, or read from an attribute by the forward, leaves no trace in the
    counters. Stale forms are made anew.
    """

    def __init__(self, module: nn.Module, output: Callable[[Any], Any]) -> None:
        self._module = module
        self._output = output
        # Made from the weights of this version; None where the module cannot be captured.
        self._version: tuple[Version, ...] | None = None
        self._fused: fx.GraphModule | None = None
        self._incremental: IncrementalNetwork | None = None
        # In use while a session that has checked them is open.
        self._open = False
        self._patches = False

    def open(self, rows: int, sample: Rows) -> None:
        """Makes or checks the forms for work on so many rows; the sample is some of them."""
        self.close()
        if rows < WORTH_FROM or listened(self._module) or not of_full_precision(sample):
            return
        version = self._current_version()
        if version != self._version or not self._answers_like_module(sample):
            self._make(sample)
            self._version = version
        self._open = self._fused is not None and may_be_asked(self._fused)
        self._patches = self._open and self._incremental is not None

    def close(self) -> None:
        """Stops using them, and lets go of what belongs to the inputs."""
        if self._incremental is not None:
            self._incremental.forget()
        self._open = False
        self._patches = False

    def runner(self, memory_format: int) -> Callable[..., Any]:
        """What to call on rows of a memory format.

        The fused form keeps its weights in the channels-last order, so plain rows go to the module.
        """
        if self._open and memory_format and self._fused is not None:
            # Its forward, since a graph that is called prints before it raises.
            forward: Callable[..., Any] = self._fused.forward
            return forward
        return self._module

    def changed_outputs(self, rows: Tensor, change: LocalChange) -> Tensor | None:
        """The outputs of images in channels-last order that differ from inputs in patches, or None
        where they cannot be had faster.
        """
        if not self._patches or self._incremental is None:
            return None
        outputs = self._incremental.checked_outputs(rows, change, self._output)
        self._patches = outputs is not None
        return outputs

    def _make(self, sample: Rows) -> None:
        self._fused = fused(self._module, sample, self._output)
        self._incremental = None
        if self._fused is not None:
            self._incremental = IncrementalNetwork(self._fused)

    def _answers_like_module(self, sample: Rows) -> bool:
        # A form without the network's slopes is not asked for them, and kept for its outputs.
        if self._fused is None or not may_be_asked(self._fused):
            return True
        return fits(self._fused, self._module, sample, self._output)

    def _current_version(self) -> tuple[Version, ...]:
        return version_of((*self._module.parameters(), *self._module.buffers()))


def of_full_precision(sample: Rows) -> bool:
    """Whether rows are in single or double precision, in which the forms can be compared."""
    return all(getattr(rows, "dtype", None) in PRECISIONS for rows in sample)


def version_of(tensors: Iterable[Tensor]) -> tuple[Version, ...]:
    """The address, version counter, number type and device of each tensor: what is written to it
    changes the counter, what is converted or moved the rest.
    """
    return tuple(
        (_address(tensor), _writes(tensor), tensor.dtype, tensor.device) for tensor in tensors
    )


def _address(tensor: Tensor) -> int:
    try:
        return tensor.data_ptr()
    except RuntimeError:  # sparse and opaque tensors have no one address
        return id(tensor)


def _writes(tensor: Tensor) -> int:
    # Tensors of inference mode have no counter, and cannot be written to outside of it.
    return 0 if tensor.is_inference() else tensor._version


def can_be_fast(module: nn.Module) -> bool:
    """Whether the forms may pay for a module: convolutions over images."""
    return any(isinstance(part, nn.Conv2d) for part in module.modules())
