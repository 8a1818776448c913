"""One operation of a forward: what is called, on what, and by which line of the user's code."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from assay.models.networks.operations.kinds import OperationKind

# Modules whose lines are not the user's. By name: the folder of an environment may be a link.
_OURS = ("assay", "torch")


def tensors_in(values: Sequence[Any]) -> Iterator[Tensor]:
    """The tensors among operands; lists of tensors are operands, too (`cat`)."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


@final
@dataclass(frozen=True, eq=False)
class Operation:
    """What is called, and on what.

    Settings:
        name: the plain name, whatever the spelling: `add` for `x += y`.
        kind: what it does to the signal.
        call: the same out of place, on other operands.
        args, kwargs: its operands as they were given.
        layer: the name of the module whose weights it works with, where there is one.
        heard: the `id` of each operand that carries signal.
    """

    name: str
    kind: OperationKind | None
    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    layer: str | None = None
    heard: frozenset[int] = frozenset()

    def __call__(self) -> Any:
        """What the operation gives."""
        return self.call(*self.args, **self.kwargs)

    @property
    def operands(self) -> list[Tensor]:
        """All tensors among the operands."""
        return list(tensors_in((*self.args, *self.kwargs.values())))

    @property
    def signals(self) -> list[Tensor]:
        """The operands that carry signal."""
        return [tensor for tensor in self.operands if self.carries(tensor)]

    @property
    def constants(self) -> list[Tensor]:
        """The operands that do not."""
        return [tensor for tensor in self.operands if not self.carries(tensor)]

    def carries(self, operand: Any) -> bool:
        """Whether an operand carries signal."""
        return id(operand) in self.heard

    def on(self, exchanged: Mapping[int, Tensor]) -> Operation:
        """The same on other operands, by the `id` of those that they stand for."""
        args = _exchanged(self.args, exchanged)
        kwargs = {name: _exchanged(value, exchanged) for name, value in self.kwargs.items()}
        carrying = {id(exchanged[key]) if key in exchanged else key for key in self.heard}
        return replace(self, args=args, kwargs=kwargs, heard=frozenset(carrying))

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An operand by its place or its name."""
        if len(self.args) > place:
            return self.args[place]
        return self.kwargs.get(name, default)


def slopes_of(operation: Operation, x: Tensor) -> Tensor:
    """The slopes of an operation element by element at its operand x."""
    # A leaf of its own: the slope is that of this operation, and not of all before it.
    leaf = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = operation.on({id(x): leaf})()
        (slopes,) = torch.autograd.grad(value.sum(), leaf)
    return slopes


def _exchanged(value: Any, exchanged: Mapping[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        return exchanged.get(id(value), value)
    # Not isinstance: a named tuple is not made from one iterable of its parts.
    if type(value) in (list, tuple):
        return type(value)(_exchanged(part, exchanged) for part in value)
    return value


def caller() -> str:
    """The line of the user's code that is running, in words; nothing where there is none."""
    for frame, number in traceback.walk_stack(None):
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        path = Path(frame.f_code.co_filename)
        if package not in _OURS and path.exists():
            text = linecache.getline(str(path), number).strip()
            return f"{path.name}, line {number}: {text}"
    return ""
