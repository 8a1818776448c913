"""How a noun shows itself in a notebook, and in a terminal that rich draws.

Pages stand on a higher floor than nouns, so nothing of them is imported here: when a notebook asks,
the module of cards is looked up by its name, as `explain` looks up methods.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Shown:
    """A noun with a card of its own: `Question`, `Attribution`, `Score`, `Certificate`, `Comparison`."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        html: str = import_module("assay.pages.cards").html(self)
        return html

    def __rich__(self) -> Any:
        return import_module("assay.pages.terminal").rich(self)
