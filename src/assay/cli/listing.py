"""`methods`, `metrics`, `names`, `axioms` and `show`: what there is, and what a file holds."""

from __future__ import annotations

from pathlib import Path

import typer

from assay.answers.attribution import Attribution
from assay.answers.score import Score
from assay.cli import printing, records
from assay.metrics.axioms import methods_table
from assay.registry import tables
from assay.registry.tables import Catalogue
from assay.saved import load


def show(what: str, markdown: bool, form: str) -> None:
    """One of the tables, or the whole page of the docs."""
    if markdown:
        # To the byte: `make docs` writes what is printed here.
        typer.echo(_page(what), nl=False)
        return
    table = _table(what)
    if form == "json":
        typer.echo(records.text(records.catalogue(what, table)))
    else:
        printing.show(table.table())


def _page(what: str) -> str:
    if what == "axioms":
        return methods_table.page()
    if what == "names":
        return tables.names_page()
    return tables.page()


def _table(what: str) -> Catalogue:
    if what == "axioms":
        cells = methods_table.table()
        columns = ("method", *next(iter(cells.values())))
        return Catalogue(
            "Axioms", columns, tuple((name, *cell.values()) for name, cell in cells.items())
        )
    made = {"methods": tables.methods, "metrics": tables.metrics, "names": tables.names}
    return made[what]()


def saved(file: Path, form: str) -> None:
    """What a saved file holds, in words or as JSON."""
    found = load(file)
    if form != "json":
        # Some, such as rates of soft stability, have nothing but their words.
        if hasattr(found, "__rich__"):
            printing.show(found)
        else:
            typer.echo(repr(found))
        return
    if isinstance(found, Attribution):
        held = {
            "noun": "Attribution",
            "method": found.method,
            "target": found.target,
            "unit": found.kind,
            "inputs": len(found),
            "features": list(found.names),
            "prediction": found.prediction.tolist(),
            "base": found.base.tolist(),
            "values": found.values.tolist(),
            "facts": dict(found.facts),
            "provenance": dict(found.provenance),
        }
    elif isinstance(found, Score):
        held = {"noun": "Score", **records.scored(found), "provenance": dict(found.provenance)}
    else:
        held = {"noun": "Certificate", **records.proved(found)}
    typer.echo(records.text({**records.head("show"), **held}))
