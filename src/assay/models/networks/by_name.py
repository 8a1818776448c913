"""A module that is given its inputs by the names of its arguments, and is else the module it was.

Its parts, weights and state are those of the module behind it, under the same names: layers are
found and heard, weights are hashed, and what a session changes is put back where it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn


class _ByName(nn.Module):
    """Inputs in order, handed on as keywords.

    Settings:
        module: the module behind.
        names: the argument of each input, in order.
    """

    behind: Any
    names: Any

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        # Past nn.Module's own setattr: as a part it would change every layer's name.
        self.__dict__["behind"] = module
        self.__dict__["names"] = names
        # What a compiler was put around stays at hand without it.
        plain = getattr(module, "_orig_mod", None)
        if plain is not None:
            self.__dict__["_orig_mod"] = by_name(plain, names)

    def forward(self, *rows: Any, **context: Any) -> Any:
        return self.behind(**dict(zip(self.names, rows, strict=True)), **context)

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        yield from self.behind.named_modules(*args, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.behind.state_dict(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{self.behind!r} by {', '.join(self.names)}"


def by_name(module: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """The module, given its inputs under these names of arguments."""
    # Messages and provenance say the name of the module behind.
    kind = type(type(module).__name__, (_ByName,), {})
    named: nn.Module = kind(module, names)
    return named
