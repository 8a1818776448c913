"""The state of a module that a session may change, kept to be put back: the one list of it.

- attributes that were added: deleted
- attributes that were removed or rebound: set again
- the contents of its lists, dicts and sets (parameters, buffers, parts and hooks among them):
  refilled from a shallow copy, so that whoever holds the container sees it
- the values of buffers of up to 65,536 elements: copied back where their version counter moved
- the training mode of each part
- which parameters learn (`requires_grad`)

Grad mode, inference mode and the backends' flags belong to the session (`Model.session`,
`Network.session`), which opens and closes them as context managers. Larger buffers are not copied:
no layer of torch writes to one in evaluation mode.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

_SMALL = 1 << 16  # elements of a buffer that is copied before the work: 256 KB in single precision


@final
@dataclass(frozen=True, eq=False)
class _Buffer:
    """A buffer with its values and the counter that tells whether it was written to."""

    tensor: Tensor
    version: int
    values: Tensor

    def restore(self) -> None:
        # Copying only what was written to keeps the versions that other forms rely on.
        if self.tensor._version != self.version:
            with torch.no_grad():
                self.tensor.copy_(self.values)


@final
@dataclass(frozen=True, eq=False)
class _Container:
    """A list, dict or set that a module holds, with what was in it."""

    held: Any
    contents: Any

    def restore(self) -> None:
        # Most of what a module holds is empty.
        if not self.held and not self.contents:
            return
        if _same_objects(self.held, self.contents):
            return
        # The container itself stays: a parent, a hook or an optimiser may hold it.
        self.held.clear()
        if isinstance(self.held, list):
            self.held.extend(self.contents)
        else:
            self.held.update(self.contents)


@final
@dataclass(frozen=True, eq=False)
class _PartState:
    """One part of the module: its attributes, what is inside of them, and its small buffers."""

    part: nn.Module
    attributes: dict[str, Any]
    containers: tuple[_Container, ...]
    buffers: tuple[_Buffer, ...]

    @classmethod
    def of(cls, part: nn.Module) -> _PartState:
        attributes = dict(vars(part))
        containers = tuple(
            _Container(value, value.copy())
            for value in attributes.values()
            if type(value) in (dict, OrderedDict, list, set)
        )
        buffers = tuple(
            _Buffer(buffer, buffer._version, buffer.clone())
            for buffer in part._buffers.values()
            if buffer is not None and buffer.numel() <= _SMALL and not buffer.is_inference()
        )
        return cls(part, attributes, containers, buffers)

    def restore(self) -> None:
        """Undoes what a forward has written."""
        # By way of `vars`, since a module's own setattr would sort parameters and parts anew.
        now = vars(self.part)
        for name in now.keys() - self.attributes.keys():
            del now[name]
        for name, value in self.attributes.items():
            if now.get(name) is not value:
                now[name] = value
        for container in self.containers:
            container.restore()
        for buffer in self.buffers:
            buffer.restore()


def in_training(part: nn.Module) -> bool:
    """Whether a part is in train mode; a frozen script module has no mode."""
    return bool(getattr(part, "training", False))


def _same_objects(held: Any, contents: Any) -> bool:
    """Whether two containers of a kind hold the same objects, under the same keys."""
    if len(held) != len(contents):
        return False
    return all(one is other for one, other in zip(_objects(held), _objects(contents)))


def _objects(container: Any) -> Iterable[Any]:
    if isinstance(container, dict):
        return (*container, *container.values())
    return tuple(container)


@final
@dataclass(frozen=True, eq=False)
class ModuleState:
    """What a session may change on a module."""

    parts: tuple[_PartState, ...]
    training: tuple[nn.Module, ...]
    learning: tuple[nn.Parameter, ...]

    @classmethod
    def of(cls, module: nn.Module) -> ModuleState:
        """The state of a module and all its parts, as they are now."""
        # The attributes of scripted parts live outside of Python, where no forward rebinds them.
        parts = tuple(
            _PartState.of(part)
            for part in module.modules()
            if not isinstance(part, torch.jit.ScriptModule)
        )
        # Only leaves can be told; what is computed from them follows.
        learning = tuple(
            parameter
            for parameter in module.parameters()
            if parameter.requires_grad and parameter.is_leaf and not parameter.is_inference()
        )
        training = tuple(part for part in module.modules() if in_training(part))
        return cls(parts, training, learning)

    def freeze(self) -> None:
        """Evaluation mode, and no gradients for parameters."""
        for part in self.training:
            part.training = False
        for parameter in self.learning:
            parameter.requires_grad_(False)

    def restore_parts(self) -> None:
        """Puts back what a forward has written, so that the next one starts as the first did."""
        for part in self.parts:
            part.restore()

    def restore(self) -> None:
        """Puts everything back."""
        self.restore_parts()
        for trained in self.training:
            trained.training = True
        for parameter in self.learning:
            parameter.requires_grad_(True)
