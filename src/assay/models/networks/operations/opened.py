"""Python functions of torch that are made of other operations, opened so that those are heard.

torch runs an overridable Python function with the mode that heard it switched off, so that what it
calls inside is silent: `F.multi_head_attention_forward` is one call. The same code whose question
"does anybody override me?" is answered with no goes on to its body, whose calls are heard.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

_QUESTIONS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


def _no(*operands: Any) -> bool:
    return False


def may_be_opened(func: Callable[..., Any]) -> bool:
    """Whether a function is Python code of torch that asks whether it is overridden."""
    if not isinstance(func, FunctionType):
        return False
    return any(name in func.__globals__ for name in _QUESTIONS)


@lru_cache(maxsize=512)
def opened(func: FunctionType) -> Callable[..., Any]:
    """The same function, whose body runs although a mode listens."""
    # A copy: torch's own module must go on asking, for everybody else in the process.
    answered = {**func.__globals__, **dict.fromkeys(_QUESTIONS, _no)}
    twin = FunctionType(func.__code__, answered, func.__name__, func.__defaults__, func.__closure__)
    # The constructor takes only the defaults of operands by place.
    twin.__kwdefaults__ = func.__kwdefaults__
    return twin
