"""What there is, as tables: methods, metrics and names from elsewhere.

They are made from the classes themselves and from `assay.registry.aliases`, for a terminal
(`assay methods`) and for the generated pages of the docs, which a test holds current.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from inspect import getdoc
from typing import TYPE_CHECKING, Any, final

from assay.methods import METHODS, Kind
from assay.methods.base import Axiom, Method, declared
from assay.metrics import METRICS
from assay.metrics.base import Metric
from assay.registry import settings
from assay.registry.aliases import ALIASES, LIBRARIES, Alias

if TYPE_CHECKING:
    from rich.table import Table

_SHORT_AXIOMS = {Axiom.IMPLEMENTATION_INVARIANCE: "invariance"}  # the column is narrow

_UNITS = {
    Kind.SLOPE: "target per input",
    Kind.CONTRIBUTION: "target",
    Kind.WEIGHT: "none of its own",
}

_METHOD_COLUMNS = (
    "method",
    "what it says",
    "needs",
    "axioms",
    "unit",
    "cost per input",
    "settings",
)

_METRIC_COLUMNS = (
    "metric",
    "what it measures",
    "better",
    "unit",
    "cost per input",
    "settings",
)

_BY_SETTINGS = "by settings"  # of a class whose settings decide, and have no defaults


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
        # The name is what a reader looks for: bold, and never broken.
        first, *others = self.columns
        table.add_column(first, style="bold", no_wrap=True)
        for column in others:
            table.add_column(column)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def markdown(self) -> str:
        """For the docs."""
        lines = [_line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line(row) for row in self.rows]
        return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    # A bar inside a cell would end the cell.
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def methods() -> Catalogue:
    """Every method, also those that others have registered: what it says, what it needs of the
    model, the axioms it keeps, its unit and its cost.
    """
    return _methods(settings.methods())


def _methods(kinds: Mapping[str, type[Method]]) -> Catalogue:
    rows = [_method(name, kind) for name, kind in kinds.items()]
    return Catalogue("Methods", _METHOD_COLUMNS, tuple(rows))


def metrics() -> Catalogue:
    """Every metric, also those that others have registered: what it measures, which way is better,
    its unit and its cost.
    """
    return _metrics(settings.metrics())


def _metrics(kinds: Mapping[str, type[Metric]]) -> Catalogue:
    rows = [_metric(name, kind) for name, kind in kinds.items()]
    return Catalogue("Metrics", _METRIC_COLUMNS, tuple(rows))


def names() -> Catalogue:
    """Names from papers and other libraries, and what answers them here."""
    columns = ("name", "from", "here", "remark")
    rows = [_name(alias) for alias in ALIASES]
    return Catalogue("Names from elsewhere", columns, tuple(rows))


def _name(alias: Alias) -> tuple[str, ...]:
    here = alias.here or "not here yet"
    return alias.name, alias.library, here, alias.remark


def completion() -> str:
    """What a shell offers at the TAB, as JSON: names, their sentences, their settings."""
    kinds: dict[str, Mapping[str, Any]] = {"methods": METHODS, "metrics": METRICS}
    offered = {
        noun: {name: _offered(kind) for name, kind in sorted(known.items())}
        for noun, known in kinds.items()
    }
    return json.dumps(offered, indent=1, ensure_ascii=False) + "\n"


def _offered(kind: Any) -> dict[str, Any]:
    settings_of = [setting for setting in fields(kind) if setting.init]
    defaults = [next(iter(_with_defaults([setting]))) for setting in settings_of]
    return {
        "says": _sentence(kind),
        "settings": {setting.name: text for setting, text in zip(settings_of, defaults)},
    }


def page() -> str:
    """The page `docs/methods.md`, whole: of this library alone, whatever else is installed."""
    return (
        "# Every method and every metric\n\n"
        "This page is written by `make docs` from `assay.METHODS` and `assay.METRICS`; "
        "`assay methods` and\n"
        "`assay metrics` show the same on a terminal. Axioms are those that a method claims and "
        "the tests hold it to;\n"
        "what a method made around another keeps depends on that one.\n\n"
        f"## Methods\n\n{_methods(METHODS).markdown()}\n"
        f"## Metrics\n\n{_metrics(METRICS).markdown()}"
    )


def names_page() -> str:
    """The page `docs/names.md`, whole."""
    sections = [_section(library) for library in LIBRARIES]
    return _NAMES_INTRODUCTION + "".join(sections)


# Lines are broken by hand, for those who read the page as text.
_NAMES_INTRODUCTION = (
    "# Names from papers and other libraries\n\n"
    "This page is written by `make docs` from `assay.registry.aliases`; `assay names` shows "
    "the same on a terminal.\n"
    "Where a name stands for settings, `parse`, `compare` and the command line understand it, "
    "in any case:\n"
    '`compare(question, ["SmoothGrad", "KernelExplainer"], ["sensitivity_max"])`. Where it '
    "stands for a line of code, or\n"
    "for nothing yet, the refusal says so. Defaults are those of this library.\n"
)


def _section(library: str) -> str:
    members = [alias for alias in ALIASES if alias.library == library]
    answered = []
    absent = []
    for alias in members:
        name = f"`{alias.name}`"
        if alias.answer == "missing":
            absent.append(name)
        else:
            answered.append((name, f"`{alias.here}`", alias.remark))
    # What is missing has nothing to show beside it: a list, and no rows.
    table = Catalogue(library, ("there", "here", "remark"), tuple(answered)).markdown()
    section = f"\n## {library[0].upper()}{library[1:]}\n\n{table}"
    if absent:
        section += f"\nNot here yet: {', '.join(absent)}.\n"
    return section


def _method(name: str, kind: type[Method]) -> tuple[str, ...]:
    sentence = _sentence(kind)
    defaults = _settings(kind)
    # A method around another needs, keeps and gives what that one does.
    if kind.around:
        inside = "as inside"
        return name, sentence, inside, inside, inside, kind.cost, defaults
    needs = _needs(kind)
    axioms = _axioms(kind)
    unit = _unit(kind)
    return name, sentence, needs, axioms, unit, kind.cost, defaults


def _needs(kind: type[Method]) -> str:
    abilities = declared(kind, "needs")
    if abilities is None:
        return _BY_SETTINGS
    return ", ".join(sorted(ability.value for ability in abilities)) or "predictions"


def _axioms(kind: type[Method]) -> str:
    kept = declared(kind, "axioms")
    if kept is None:
        return _BY_SETTINGS
    # In the order of the definition, which is the same in every row.
    shown = [_SHORT_AXIOMS.get(axiom, axiom.value) for axiom in Axiom if axiom in kept]
    return ", ".join(shown) or "none"


def _unit(kind: type[Method]) -> str:
    # None, of settings without defaults, is no key.
    return _UNITS.get(declared(kind, "kind"), _BY_SETTINGS)


def _metric(name: str, kind: type[Metric]) -> tuple[str, ...]:
    return name, _sentence(kind), kind.direction, kind.units, kind.cost, _settings(kind)


def _sentence(kind: type) -> str:
    """The first sentence of a docstring, which is its first paragraph."""
    # A test asks our own classes for a docstring; one of somebody else may have none.
    paragraph = (getdoc(kind) or "").partition("\n\n")[0]
    return " ".join(paragraph.split()).rstrip(".")


def _settings(kind: Any) -> str:
    """The settings with their defaults."""
    return ", ".join(_with_defaults(fields(kind))) or "none"


def _with_defaults(settings_of_kind: Iterable[Any]) -> Iterable[str]:
    for setting in settings_of_kind:
        # A field that is computed is nothing that a user could give.
        if not setting.init:
            continue
        if setting.default is not MISSING:
            yield f"{setting.name}={setting.default!r}"
        elif setting.default_factory is not MISSING:
            yield f"{setting.name}={setting.default_factory()!r}"
        else:
            yield setting.name
