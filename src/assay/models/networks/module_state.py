"""The state of a module that a session may change, kept to be put back: the one list of it.

- attributes that were added: deleted
- attributes that were removed or rebound: set again
- the contents of what it holds (lists, dicts, sets, deques and their kinds; parameters, buffers,
  parts and hooks among them): refilled from a shallow copy, so that whoever holds the container
  sees it; and the same of the objects that it holds, and of what they hold
- the values of its buffers and other tensors of up to 65,536 elements, and of arrays: copied back
  where the version counter moved; what a forward has filled with activations lets go of the graph
- the training mode of each part
- which parameters learn (`requires_grad`)

Larger tensors are copied in the first session of a network, which tells whether its forward writes
to them; afterwards, and for parameters always, the counters are watched, and a write is named
(`written`). Grad mode, inference mode and the backends' flags belong to the session
(`Model.session`, `Network.session`), which opens and closes them as context managers.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import chain
from operator import is_
from types import FunctionType, MethodType, NoneType
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

_SMALL = 1 << 16  # elements of a tensor that is always copied: 256 KB in single precision

_COPIED = 1 << 28  # bytes of larger ones that are copied in the first session

_KEPT = 1 << 23  # bytes of copies that are kept from one session to the next

_WALKED = 1 << 12  # entries of a container, and objects, beyond which nothing further is looked for

# Values that nothing can be written to.
_PLAIN = frozenset(
    {bool, int, float, complex, str, bytes, NoneType, type, torch.dtype, torch.device, torch.Size}
    | {FunctionType, MethodType}
)

# Objects of these hold no state of a network, or hold all of Python.
_FOREIGN = sys.stdlib_module_names | {"torch", "numpy"}

_STATISTICS = ("running_mean", "running_var")

_PARAMETERS = (nn.Module.parameters, nn.Module.named_parameters)

_CONTAINERS = (dict, OrderedDict, list, set, deque)
_KINDS = frozenset(_CONTAINERS)


@final
@dataclass(frozen=True, eq=False)
class _CopiedTensor:
    """A tensor with its values and the counter that tells whether it was written to."""

    tensor: Tensor
    version: int
    values: Tensor
    leaf: bool
    learns: bool
    silent: bool

    @property
    def same(self) -> bool:
        """Whether a copy made now would be the same, written to by way of `.data` or not."""
        tensor, values = self.tensor, self.values
        # The cheapest first: numbers are read only where nothing else differs.
        if tensor._version != self.version or tensor.requires_grad != self.learns:
            return False
        if tensor.dtype != values.dtype or tensor.device != values.device:
            return False
        return tensor.is_leaf == self.leaf and _surely_equal(tensor, values)

    @property
    def written(self) -> bool:
        """Whether it was written to, put back or not."""
        if self.silent and not torch.equal(self.tensor, self.values):
            return True
        return self.tensor._version != self.version

    @classmethod
    def of(cls, tensor: Tensor, silent: bool = False) -> _CopiedTensor:
        """Copies a tensor; silent is one whose counter does not move when it is written to."""
        values = tensor.detach().clone()
        return cls(tensor, tensor._version, values, tensor.is_leaf, tensor.requires_grad, silent)

    def restore(self) -> None:
        # Copying only what was written to keeps the versions that other forms rely on.
        if not self.written:
            return
        if self.leaf and not self.tensor.is_leaf:
            # It was filled with activations, and would keep their graph alive.
            self.tensor.detach_().requires_grad_(self.learns)
        with torch.no_grad():
            self.tensor.copy_(self.values)


@final
@dataclass(frozen=True, eq=False)
class _CopiedArray:
    """An array or the like that can be written to in place, with what was in it."""

    held: Any
    contents: Any

    @property
    def same(self) -> bool:
        """Whether it holds what it held."""
        return np.array_equal(self.held, self.contents)

    def restore(self) -> None:
        if not self.same:
            self.held[...] = self.contents


@final
@dataclass(frozen=True, eq=False)
class _Container:
    """A list, dict, set or deque, with what was in it."""

    held: Any
    contents: Any

    @property
    def same(self) -> bool:
        """Whether it holds what it held."""
        return _same_objects(self.held, self.contents)

    def restore(self) -> None:
        if self.same:
            return
        # The container itself stays: a parent, a hook or an optimiser may hold it.
        contents = self.contents
        self.held.clear()
        if isinstance(self.held, dict):
            # One by one: the `update` of a counter would add up.
            for key, value in contents.items():
                self.held[key] = value
        elif isinstance(self.held, set):
            self.held.update(contents)
        else:
            self.held.extend(contents)


@final
@dataclass(frozen=True, eq=False)
class _Dictionaries:
    """All attributes and dicts at once, which a question compares several times: one by one they
    would take longer than a small network's forward.
    """

    held: tuple[dict[Any, Any], ...]
    sizes: list[int]
    keys: tuple[Any, ...]
    values: tuple[Any, ...]

    @classmethod
    def of(cls, kept: Iterable[_Attributes | _Container]) -> _Dictionaries:
        """Those of attributes and containers, with what was in them."""
        attributes = [(one.now, one.before) for one in kept if isinstance(one, _Attributes)]
        containers = [(one.held, one.contents) for one in kept if isinstance(one, _Container)]
        pairs = [pair for pair in attributes + containers if isinstance(pair[0], dict)]
        before = [contents for _, contents in pairs]
        return cls(
            held=tuple(held for held, _ in pairs),
            sizes=[len(contents) for contents in before],
            keys=tuple(chain.from_iterable(before)),
            values=tuple(chain.from_iterable(contents.values() for contents in before)),
        )

    @property
    def same(self) -> bool:
        """Whether they hold the same objects, under the same keys."""
        held = self.held
        # Of equal sizes, keys and values stand at the same places in the rows of all of them.
        if [*map(len, held)] != self.sizes or not all(
            map(is_, chain.from_iterable(held), self.keys)
        ):
            return False
        values = chain.from_iterable([one.values() for one in held])
        return all(map(is_, values, self.values))


@final
@dataclass(frozen=True, eq=False)
class _Empty:
    """Containers that were empty, as most of what a module holds."""

    held: list[Any]

    @property
    def same(self) -> bool:
        """Whether they are empty."""
        return not any(self.held)

    def restore(self) -> None:
        for container in self.held:
            if container:
                container.clear()


@final
@dataclass(frozen=True, eq=False)
class _Attributes:
    """The attributes of a part of the module, or of an object that it holds."""

    now: dict[str, Any]
    before: dict[str, Any]

    @property
    def same(self) -> bool:
        """Whether they are what they were."""
        return _same_objects(self.now, self.before)

    def restore(self) -> None:
        now = self.now
        if self.same:
            return
        # By way of `vars`, since a module's own setattr would sort parameters and parts anew.
        for name in now.keys() - self.before.keys():
            del now[name]
        for name, value in self.before.items():
            if now.get(name) is not value:
                now[name] = value


def parts_of(module: nn.Module) -> list[nn.Module]:
    """All parts of a module, itself among them, each once and in the order of `modules()`, which takes
    most of its time for their names.
    """
    seen: dict[int, nn.Module] = {}
    waiting: list[nn.Module | None] = [module]
    while waiting:
        part = waiting.pop()
        if part is None or id(part) in seen:
            continue
        seen[id(part)] = part
        # Most have none, and are not asked for them.
        if part._modules:
            waiting.extend(reversed(part._modules.values()))
    return [*seen.values()]


def parameters_of(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of a module, each once and in the order of `parameters()`."""
    kind = type(module)
    # A module that says itself which they are is asked.
    if (kind.parameters, kind.named_parameters) != _PARAMETERS:
        return list(module.parameters())
    held = chain.from_iterable([part._parameters.values() for part in parts_of(module)])
    return [*{id(parameter): parameter for parameter in held if parameter is not None}.values()]


def in_training(part: nn.Module) -> bool:
    """Whether a part is in train mode; a frozen script module has no mode."""
    return bool(getattr(part, "training", False))


def _surely_equal(tensor: Tensor, values: Tensor) -> bool:
    """Whether two tensors hold the same; kinds that torch cannot compare (sparse, nested, without
    numbers) are taken for changed.
    """
    try:
        return bool(torch.equal(tensor, values))
    except (RuntimeError, AttributeError, TypeError):
        return False


def _same_objects(held: Any, contents: Any) -> bool:
    """Whether two containers of a kind hold the same objects, under the same keys."""
    if len(held) != len(contents) or not all(map(is_, held, contents)):
        return False
    return not isinstance(held, dict) or all(map(is_, held.values(), contents.values()))


@final
class _Walk:
    """Goes through all that the parts of a module hold, each once.

    Settings:
        large: bytes of larger tensors that may be copied.
        frozen: whether train mode is off while the state is kept.
    """

    def __init__(self, large: int, frozen: bool) -> None:
        self.attributes: list[_Attributes] = []
        self.containers: list[_Container] = []
        self.tensors: list[_CopiedTensor] = []
        self.arrays: list[_CopiedArray] = []
        # Tensors that are too large to be copied, and parameters: with their counters.
        self.watched: list[tuple[Tensor, int]] = []
        self.large: list[_CopiedTensor] = []
        self.empty = _Empty([])
        self._large = large
        self._frozen = frozen
        # Tensors whose counters do not move: running statistics, which torch's kernels write to.
        self._silent: set[int] = set()
        self._seen: dict[int, Any] = {}
        self._waiting: list[Any] = []
        self._objects = 0

    def add_part(self, part: nn.Module) -> None:
        """A part of the module, whose train mode is the session's business."""
        self._seen[id(part)] = part
        before = dict(vars(part))
        if self._frozen and before.get("training"):
            before["training"] = False
        self.attributes.append(_Attributes(vars(part), before))
        # In evaluation mode torch's own layers leave them.
        if not (self._frozen and isinstance(part, nn.modules.batchnorm._NormBase)):
            self._silent.update(id(part._buffers.get(name)) for name in _STATISTICS)
        self._wait(before.values())

    def finish(self) -> None:
        """Goes through what the parts hold."""
        while self._waiting:
            held = self._waiting.pop()
            if id(held) in self._seen:
                continue
            self._seen[id(held)] = held
            self._add(held)

    def _wait(self, values: Iterable[Any]) -> None:
        for value in values:
            kind = type(value)
            if kind in _PLAIN:
                continue
            if kind in _KINDS and not value:
                self.empty.held.append(value)
            else:
                self._waiting.append(value)

    def _add(self, held: Any) -> None:
        if isinstance(held, Tensor):
            self._add_tensor(held)
        elif isinstance(held, _CONTAINERS):
            self._add_container(held)
        elif isinstance(held, tuple | frozenset):
            self._wait(held)
        elif isinstance(held, np.ndarray):
            if held.size <= _SMALL and held.dtype != object and held.flags.writeable:
                self.arrays.append(_CopiedArray(held, held.copy()))
        elif _holds_state(held) and self._objects < _WALKED:
            self._objects += 1
            before = dict(vars(held))
            self.attributes.append(_Attributes(vars(held), before))
            self._wait(before.values())

    def _add_container(self, held: Any) -> None:
        self.containers.append(_Container(held, held.copy()))
        if len(held) <= _WALKED:
            self._wait(held.values() if isinstance(held, dict) else held)

    def _add_tensor(self, tensor: Tensor) -> None:
        # Tensors of inference mode cannot be written to outside of it.
        if tensor.is_inference():
            return
        if isinstance(tensor, nn.Parameter):
            self.watched.append((tensor, tensor._version))
            return
        try:
            if tensor.numel() <= _SMALL:
                self.tensors.append(_CopiedTensor.of(tensor, id(tensor) in self._silent))
                return
            if tensor.nbytes <= self._large:
                self.large.append(_CopiedTensor.of(tensor))
                self._large -= tensor.nbytes
                return
        except RuntimeError:  # kinds of tensors that cannot be copied: watched
            pass
        self.watched.append((tensor, tensor._version))


def _holds_state(value: Any) -> bool:
    """Whether an object has attributes that a forward may write to."""
    if isinstance(value, Enum) or callable(getattr(value, "__torch_function__", None)):
        return False
    if type(value).__module__.partition(".")[0] in _FOREIGN and not isinstance(value, nn.Module):
        return False
    return type(getattr(value, "__dict__", None)) is dict


@final
@dataclass(frozen=True, eq=False)
class ModuleState:
    """What a session may change on a module."""

    module: nn.Module
    dictionaries: _Dictionaries
    others: tuple[Any, ...]
    """What is kept beside them."""
    restored: tuple[Callable[[], None], ...]
    others_restored: tuple[Callable[[], None], ...]
    """What is left to do where all dictionaries are what they were."""
    large: tuple[_CopiedTensor, ...]
    watched: tuple[tuple[Tensor, int], ...]
    training: tuple[nn.Module, ...]
    learning: tuple[nn.Parameter, ...]
    parameters: tuple[tuple[nn.Parameter, bool], ...]
    """All of them, and which learn."""

    @classmethod
    def of(cls, module: nn.Module, large: bool = False, frozen: bool = True) -> ModuleState:
        """The state of a module and all its parts, as they are now; with copies of what is large,
        too. Frozen, it is in evaluation mode until everything is put back.
        """
        walk = _Walk(_COPIED if large else 0, frozen)
        # The attributes of scripted parts live outside of Python, where no forward rebinds them.
        for part in parts_of(module):
            if isinstance(part, torch.jit.ScriptModule):
                walk._wait([*part.parameters(recurse=False), *part.buffers(recurse=False)])
            else:
                walk.add_part(part)
        walk.finish()
        dictionaries = _Dictionaries.of([*walk.attributes, *walk.containers])
        others: tuple[Any, ...] = (
            walk.empty,
            *(one for one in walk.containers if not isinstance(one.held, dict)),
            *walk.tensors,
            *walk.large,
            *walk.arrays,
        )
        # Attributes first: what a container or tensor is put back in may have been rebound.
        kept: tuple[Any, ...] = (*walk.attributes, *walk.containers, *others)
        parameters = tuple(
            (parameter, parameter.requires_grad) for parameter in parameters_of(module)
        )
        # Only leaves can be told; what is computed from them follows.
        learning = tuple(
            parameter
            for parameter, _ in parameters
            if parameter.requires_grad and parameter.is_leaf and not parameter.is_inference()
        )
        training = tuple(part for part in parts_of(module) if in_training(part))
        return cls(
            module=module,
            dictionaries=dictionaries,
            others=others,
            restored=tuple(one.restore for one in kept),
            others_restored=tuple(one.restore for one in others),
            large=tuple(walk.large),
            watched=tuple(walk.watched),
            training=training,
            learning=learning,
            parameters=parameters,
        )

    @property
    def can_be_kept(self) -> bool:
        """Whether it may serve the next session, too: nothing large is held for it, and all that a
        forward may change is seen from Python.
        """
        if self.large or any(not isinstance(tensor, nn.Parameter) for tensor, _ in self.watched):
            return False
        copied = sum(
            one.values.numel() * one.values.element_size()
            for one in self.others
            if isinstance(one, _CopiedTensor)
        )
        scripted = (isinstance(part, torch.jit.ScriptModule) for part in parts_of(self.module))
        return copied <= _KEPT and not any(scripted)

    @property
    def unchanged(self) -> bool:
        """Whether the module is what it was when this was made, put back since: the same objects
        hold the same objects, no tensor was written to, and the same parameters learn.

        Parameters are told by their counters, as within a session.
        """
        return (
            self.dictionaries.same
            and all(one.same for one in self.others)
            and all(tensor._version == version for tensor, version in self.watched)
            and all(parameter.requires_grad == learns for parameter, learns in self.parameters)
        )

    def freeze(self) -> None:
        """Evaluation mode, and no gradients for parameters."""
        for part in self.training:
            part.training = False
        for parameter in self.learning:
            parameter.requires_grad_(False)

    def restore_parts(self) -> None:
        """Puts back what a forward has written, so that the next one starts as the first did."""
        for restore in self.others_restored if self.dictionaries.same else self.restored:
            restore()

    @property
    def large_written(self) -> bool:
        """Whether a large tensor was written to, and put back from its copy."""
        return any(copied.written for copied in self.large)

    def written(self) -> str | None:
        """The name of a parameter or large tensor that was written to, which nothing can put back."""
        for tensor, version in self.watched:
            if tensor._version != version:
                return self._name_of(tensor)
        return None

    def _name_of(self, tensor: Tensor) -> str:
        named = chain(self.module.named_parameters(), self.module.named_buffers())
        return next((name for name, held in named if held is tensor), "a tensor that it holds")

    def restore(self) -> None:
        """Puts everything back."""
        self.restore_parts()
        for trained in self.training:
            trained.training = True
        for parameter in self.learning:
            parameter.requires_grad_(True)


def modules_in(function: Any) -> list[nn.Module]:
    """The modules that a function calls, as far as they can be seen: what it is bound to, closes
    over, has as a default, or names among the globals of its file.
    """
    if isinstance(function, partial):
        bound = (*function.args, *function.keywords.values())
        return [*_only_modules(bound), *modules_in(function.func)]
    held = [getattr(function, "__self__", None)]
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is not None:
        held.extend(function.__defaults__ or ())
        held.extend((function.__kwdefaults__ or {}).values())
        held.extend(function.__globals__.get(name) for name in code.co_names)
        for cell in function.__closure__ or ():
            # A name that is bound later has an empty cell.
            with suppress(ValueError):
                held.append(cell.cell_contents)
    return _only_modules(held)


def _only_modules(values: Iterable[Any]) -> list[nn.Module]:
    return [value for value in values if isinstance(value, nn.Module)]
