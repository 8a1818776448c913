"""What there is, as tables: made from the lists of methods and metrics, for the terminal and for
the docs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from inspect import getdoc
from typing import TYPE_CHECKING, Any, final

from assay.answers.attribution import Kind
from assay.methods import METHODS
from assay.methods.base import Axiom, Method, declared
from assay.metrics import METRICS
from assay.metrics.base import Metric

if TYPE_CHECKING:
    from rich.table import Table

_SHORT = {Axiom.IMPLEMENTATION_INVARIANCE: "invariance"}

_UNITS = {
    Kind.SLOPE: "target per input",
    Kind.CONTRIBUTION: "target",
    Kind.WEIGHT: "none of its own",
}


@final
@dataclass(frozen=True)
class Catalogue:
    """A table of texts: a title, the names of its columns, and its rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def table(self) -> Table:
        """For a terminal."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.title, title_justify="left", show_lines=False)
        for i, column in enumerate(self.columns):
            table.add_column(column, style="bold" if i == 0 else "", no_wrap=i == 0)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def markdown(self) -> str:
        """For the docs."""

        def line(cells: Sequence[str]) -> str:
            return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

        return (
            "\n".join(
                [line(self.columns), line(["---"] * len(self.columns)), *map(line, self.rows)]
            )
            + "\n"
        )


def methods() -> Catalogue:
    """Every method: what it says, what it needs of the model, the axioms it keeps, its unit and its
    cost.
    """
    columns = ("method", "what it says", "needs", "axioms", "unit", "cost per input", "settings")
    return Catalogue(
        "Methods", columns, tuple(_method(name, kind) for name, kind in METHODS.items())
    )


def metrics() -> Catalogue:
    """Every metric: what it measures, which way is better, its unit and its cost."""
    columns = ("metric", "what it measures", "better", "unit", "cost per input", "settings")
    return Catalogue(
        "Metrics", columns, tuple(_metric(name, kind) for name, kind in METRICS.items())
    )


def page() -> str:
    """The page `docs/methods.md`, whole."""
    return (
        "# Every method and every metric\n\n"
        "This page is written by `make docs` from `assay.METHODS` and `assay.METRICS`; `assay methods` and\n"
        "`assay metrics` show the same on a terminal. Axioms are those that a method claims and the tests hold it to;\n"
        "what a method made around another keeps depends on that one.\n\n"
        f"## Methods\n\n{methods().markdown()}\n## Metrics\n\n{metrics().markdown()}"
    )


def _method(name: str, kind: type[Method]) -> tuple[str, ...]:
    sentence, settings = _sentence(kind), _settings(kind)
    # A method around another needs, keeps and gives what that one does.
    if kind.around:
        inside = "as inside"
        return name, sentence, inside, inside, inside, kind.cost, settings
    abilities, kept = declared(kind, "needs"), declared(kind, "axioms")
    needs = ", ".join(sorted(ability.value for ability in abilities)) or "predictions"
    axioms = ", ".join(_SHORT.get(axiom, axiom.value) for axiom in Axiom if axiom in kept) or "none"
    return name, sentence, needs, axioms, _UNITS[declared(kind, "kind")], kind.cost, settings


def _metric(name: str, kind: type[Metric]) -> tuple[str, ...]:
    return name, _sentence(kind), kind.direction, kind.units, kind.cost, _settings(kind)


def _sentence(kind: type) -> str:
    """The first sentence of a docstring, which is its first paragraph."""
    return " ".join((getdoc(kind) or "").partition("\n\n")[0].split()).rstrip(".")


def _settings(kind: Any) -> str:
    """The settings with their defaults."""
    return ", ".join(f"{each.name}{_default(each)}" for each in fields(kind) if each.init) or "none"


def _default(setting: Any) -> str:
    if setting.default is not MISSING:
        return f"={setting.default!r}"
    return "" if setting.default_factory is MISSING else f"={setting.default_factory()!r}"
