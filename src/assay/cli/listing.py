"""`methods`, `metrics`, `names`, `axioms`, `show` and `picture`: what there is, and what a file holds.

Drawn is only what the file itself says: photographs and sentences stand beside credit in the library,
which is given the question, and on the page.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import typer

from assay.answers.attribution import Attribution, Kind
from assay.answers.files import write_file
from assay.answers.score import Score
from assay.certificates.certificate import Certificate
from assay.cli import printing, records
from assay.cli.asked import check_out
from assay.cli.exits import DONE
from assay.errors import InputError
from assay.metrics.axioms import methods_table
from assay.pictures.credits import bars, importance, ladder
from assay.pictures.drawing.drawing import Drawing
from assay.pictures.many.heat import heat
from assay.pictures.many.swarm import swarm
from assay.pictures.proofs import radius, votes
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


# --- pictures


_ENDINGS = (".svg", ".png", ".pdf", ".html", ".csv")
THEMES = ("light", "dark", "print")


@final
@dataclass(frozen=True)
class Wish:
    """What is to be drawn, and how.

    Settings:
        kind: which picture; None for the one that suits.
        input: whose, where it is of one input.
        top: features with a row, None for as many as the picture has by itself.
        theme: colours.
        width: in inches, None for that of the picture.
    """

    kind: str | None = None
    input: int = 0
    top: int | None = None
    theme: str = "light"
    width: float | None = None


def _few(wish: Wish) -> dict[str, Any]:
    return {} if wish.top is None else {"top": wish.top}


# By what a file holds: each picture, and how it is made.
_OF_ANSWERS: Mapping[str, Callable[[Any, Wish], Drawing]] = {
    "ladder": lambda answer, wish: ladder(answer, wish.input, **_few(wish)),
    "bars": lambda answer, wish: bars(answer, wish.input, **_few(wish)),
    "importance": lambda answer, wish: importance(answer, **_few(wish)),
    "swarm": lambda answer, wish: swarm(answer, **_few(wish)),
    "heat": lambda answer, wish: heat(answer, **_few(wish)),
}
_OF_CERTIFICATES: Mapping[str, Callable[[Any, Wish], Drawing]] = {
    "radius": lambda certificate, wish: radius(certificate),
    "votes": lambda certificate, wish: votes(certificate),
}
KINDS = (*_OF_ANSWERS, *_OF_CERTIFICATES)


def picture(file: Path, wish: Wish, out: Path | None, csv: bool, quiet: bool) -> int:
    """One picture of what a file holds."""
    _check(wish, out, csv)
    check_out(out)
    made = _made(load(file), file, wish)
    if csv:
        typer.echo(made.data.to_csv(index=False, lineterminator="\n"), nl=False)
    if out is not None:
        write_file(out, _as_bytes(made, out.suffix, wish))
        printing.say(f"Wrote {out}.", quiet)
    elif not csv:
        typer.echo(made.alt)
    return DONE


def _check(wish: Wish, out: Path | None, csv: bool) -> None:
    if wish.kind is not None and wish.kind not in KINDS:
        near = difflib.get_close_matches(wish.kind, KINDS, n=1)
        raise InputError(
            expected=f"a kind of picture: {', '.join(KINDS)}",
            got=repr(wish.kind),
            advice=f"Did you mean {near[0]}?" if near else "Leave it out for the one that suits.",
        )
    if wish.theme not in THEMES:
        raise InputError(
            expected=f"a theme: {', '.join(THEMES)}",
            got=repr(wish.theme),
            advice="Leave it out for light.",
        )
    if wish.width is not None and not 1 <= wish.width <= 100:
        raise InputError(
            expected="a width of 1 to 100 inches",
            got=wish.width,
            advice="Leave it out for that of the picture.",
        )
    if out is not None and out.suffix not in _ENDINGS:
        raise InputError(
            expected=f"a file that ends in one of {', '.join(_ENDINGS)}",
            got=str(out),
            advice="The ending says what is written.",
        )
    if csv and out is not None:
        raise InputError(
            expected="one of --csv and --out",
            got="both",
            advice="Give --out a name that ends in .csv.",
        )


def _made(found: Any, file: Path, wish: Wish) -> Drawing:
    if isinstance(found, Attribution):
        pictures = _OF_ANSWERS
        # Contributions add up, and are drawn so; slopes are not.
        suited = "ladder" if found.kind == Kind.CONTRIBUTION.value else "bars"
    elif isinstance(found, Certificate):
        pictures, suited = _OF_CERTIFICATES, "radius"
    else:
        pictures, suited = {}, ""
    kind = wish.kind or suited
    if kind not in pictures:
        raise InputError(
            expected=f"a file of which there is a picture{f' {kind!r}' if kind else ''}",
            got=f"{type(found).__name__} in {file}",
            advice=f"Of it there are: {', '.join(pictures) or 'none; see assay show'}.",
        )
    return pictures[kind](found, wish)


def _as_bytes(made: Drawing, suffix: str, wish: Wish) -> bytes:
    """Drawn whole before anything is written where it is wanted."""
    theme: Any = wish.theme
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / f"picture{suffix}"
        made.save(drawn, theme=theme, width=wish.width)
        return drawn.read_bytes()
