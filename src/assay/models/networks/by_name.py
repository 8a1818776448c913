"""A module that is given its inputs by the names of its arguments, and is else the module it was.

Its parts, weights and state are those of the module behind it, under the same names: layers are
found and heard, weights are hashed, and what a session changes is put back where it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

from torch import nn


@final
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

    def named_modules(
        self, memo: Any = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        yield from self.behind.named_modules(memo, prefix, remove_duplicate)

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        return self.behind.state_dict(destination=destination, prefix=prefix, keep_vars=keep_vars)

    def __repr__(self) -> str:
        return f"{self.behind!r} by {', '.join(self.names)}"


def by_name(module: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """The module, given its inputs under these names of arguments."""
    return _ByName(module, names)


def behind_names(module: nn.Module) -> nn.Module:
    """The module itself, without the names it is called by."""
    return module.behind if isinstance(module, _ByName) else module
