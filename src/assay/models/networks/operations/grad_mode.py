"""Whether a forward asks if slopes are asked of it, and so may answer otherwise where they are.

`nn.TransformerEncoder` answers padded rows by a faster path without slopes, and what it says at padded
places differs. Read off the code, without a forward: what cannot be read is taken to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from types import CellType, CodeType, FunctionType
from typing import Any

import torch
from torch import nn

_ASKING = frozenset(("is_grad_enabled", "is_inference_mode_enabled", "requires_grad"))


def minds_slopes(modules: Iterable[nn.Module]) -> bool:
    """Whether the code of one of these modules, or of a part, names the question."""
    parts = (part for module in modules for part in module.modules())
    return any(_part_minds(part) for part in parts)


def code_minds(function: Callable[..., Any]) -> bool:
    """Whether a function's code, or that of a function which it names, names the question."""
    plain = getattr(function, "__func__", function)
    if not isinstance(plain, FunctionType):
        # An object that is called; what is written in C++ has no code to read.
        plain = vars(type(function)).get("__call__")
    return not isinstance(plain, FunctionType) or _function_minds(plain)


def _part_minds(part: nn.Module) -> bool:
    own = vars(part)
    hooks = [*part._forward_hooks.values(), *part._forward_pre_hooks.values()]
    called = [own["forward"], *hooks] if "forward" in own else hooks
    kind: type = type(part)
    return _class_minds(kind) or any(map(code_minds, called))


@lru_cache(maxsize=4096)
def _class_minds(kind: type) -> bool:
    bases = kind.__mro__[: kind.__mro__.index(nn.Module)]
    # Recurrent layers look at their weights, to the same numbers.
    bases = tuple(base for base in bases if base.__module__ != nn.LSTM.__module__)
    methods = [method for base in bases for method in vars(base).values()]
    functions = [method for method in methods if isinstance(method, FunctionType)]
    return issubclass(kind, torch.jit.ScriptModule) or any(map(_function_minds, functions))


@lru_cache(maxsize=4096)
def _function_minds(function: FunctionType) -> bool:
    met: set[FunctionType] = set()
    ahead = [function]
    while ahead:
        one = ahead.pop()
        if one in met:
            continue
        met.add(one)
        names = {name for code in _codes(one.__code__) for name in code.co_names}
        if names & _ASKING:
            return True
        named = [one.__globals__.get(name) for name in names]
        enclosed = [_content(cell) for cell in one.__closure__ or ()]
        ahead += [other for other in (*named, *enclosed) if _is_users(other)]
    return False


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code with that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _content(cell: CellType) -> Any:
    """What a cell holds; a name that is bound later has an empty one."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _is_users(value: Any) -> bool:
    """Whether something is a function of the user: torch's own give the same numbers."""
    # Functions that are made by text belong to no module.
    module = getattr(value, "__module__", None) or ""
    return isinstance(value, FunctionType) and not module.startswith("torch.")
