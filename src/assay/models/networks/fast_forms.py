"""The faster forms of a network: the fused graph, the same asked about patches, and one for rules.

They are copies beside the network, made when work is long enough to pay for them and used only
where they answer like it. `wrap(net, speedups=False)` does without them: the network itself is then
their twin, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, fx, nn

from assay.inputs.layout import Rows
from assay.models.base import LocalChange
from assay.models.networks.fused import fits, folded, fused, may_be_asked
from assay.models.networks.graph import agree, copies, listened
from assay.models.networks.incremental import IncrementalNetwork

PRECISIONS = (torch.float32, torch.float64)
"""In which the forms can be compared with their network."""

Version: TypeAlias = tuple[int, int, torch.dtype, torch.device]
"""What tells whether one tensor is still what it was, see `version_of`."""

WORTH_FROM = 256
"""Rows of work below which capturing the graph costs more than it saves."""

HEARD_FROM = 64
"""Rows of work from which on rules hear a form; of fewer it costs more than it saves."""

_HEARD = "heard form"
_SAMPLED = 4


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


@final
class HeardForm:
    """The form of one module that rules hear in its place, as long as the module is what it was.

    Guided slopes and multipliers of DeepLIFT are the same behind a convolution and a batch norm as
    behind the one convolution that both are, so less has to be heard, and to be gone back through.
    It pays where many rows are heard, and is kept for the next question.

    Settings:
        module: what rules hear otherwise.
        output: what is picked of its answers.
        digest: a hash of its weights, which changes also with what is written through `.data`.
    """

    def __init__(
        self, module: nn.Module, output: Callable[[Any], Any], digest: Callable[[], bytes]
    ) -> None:
        self._module = module
        self._output = output
        self._digest = digest
        # Chosen once for a session, so that a reference and its inputs go through the same.
        self._is_chosen = False
        self._chosen: fx.GraphModule | None = None

    def close(self) -> None:
        """A session has ended: the next one chooses anew."""
        self._is_chosen = False
        self._chosen = None

    def chosen(
        self, rows: Rows, learnt: MutableMapping[Any, Any], *, compared: bool
    ) -> fx.GraphModule | None:
        """The form to be heard in this session, or None for the module itself.

        `learnt` is forgotten when the module is found changed. The form's answer is compared with
        the module's for one row, unless the answers for some rows are `compared` anyway.
        """
        if not self._is_chosen:
            self._chosen = self._choice(tuple(rows), learnt, compared=compared)
            self._is_chosen = True
        return self._chosen

    def _choice(
        self, rows: Rows, learnt: MutableMapping[Any, Any], *, compared: bool
    ) -> fx.GraphModule | None:
        if listened(self._module):
            return None
        weights = self._digest()
        known, form = learnt.get(_HEARD, (None, None))
        if known != weights:
            form = folded(self._module, tuple(row[:_SAMPLED] for row in rows), self._output)
            learnt[_HEARD] = (weights, form)
        elif form is not None and not compared and not self._answers_like_module(form, rows):
            # It was made of something that leaves no trace in the module, such as a global.
            learnt.pop(_HEARD)
            return None
        chosen: fx.GraphModule | None = form
        return chosen

    def _answers_like_module(self, form: fx.GraphModule, rows: Rows) -> bool:
        sample = tuple(row[:1].detach() for row in rows)
        ours = self._output(form.forward(*copies(sample)))
        return agree(ours, self._output(self._module(*copies(sample))))


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
