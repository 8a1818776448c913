"""What commands print for people: tables as wide as the terminal, plain columns where it is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from assay.answers.attribution import Attribution
from assay.certificates.certificate import Certificate
from assay.pages.credit import names_of
from assay.pictures.numbers import form_of

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 200  # columns of a table that goes into a file


def show(table: Any) -> None:
    """A table on standard output, or whatever shows itself by rich."""
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    # What is read by other programs is words and blanks alone.
    if not terminal and isinstance(table, Table):
        table.box = None
    console = Console() if terminal or "COLUMNS" in os.environ else Console(width=WIDE)
    # Written here: rich ends with a code of its own where nobody reads any more.
    with console.capture() as drawn:
        console.print(table)
    typer.echo(drawn.get(), nl=False)


def say(words: str, quiet: bool = False) -> None:
    """Words beside the data, on the error stream."""
    if not quiet:
        typer.echo(words, err=True)


def credit(answer: Attribution, targets: Sequence[str], top: int | None, inputs: int = 10) -> Table:
    """The first inputs, each with what was explained and the features that matter most."""
    from rich.table import Table
    from rich.text import Text

    shown = min(inputs, len(answer))
    counted = f"{len(answer)} inputs"
    if shown < len(answer):
        counted = f"the first {shown} of {counted}; --out keeps all"
    title = f"{answer.method}: credit by feature, {counted}"
    # As text: a method's settings may look like markup.
    table = Table(title=Text(title), title_justify="left")
    table.add_column("input", justify="right")
    table.add_column("explained")
    table.add_column("prediction", justify="right")
    table.add_column("base", justify="right")
    table.add_column("most credit")
    predictions = form_of(answer.prediction[:shown].tolist())
    bases = form_of(answer.base[:shown].tolist())
    for i in range(shown):
        # As text: a feature's name may look like markup.
        table.add_row(
            str(i),
            Text(targets[i]),
            predictions(float(answer.prediction[i])),
            bases(float(answer.base[i])),
            Text(_strongest(answer, i, top or 5)),
        )
    return table


def _strongest(answer: Attribution, i: int, features: int) -> str:
    """The features that matter most to one input, with their credit."""
    names = names_of(answer, i)
    values = answer.values[i, : len(names)]
    # Stable: features of equal credit stand in their own order.
    top = values.abs().argsort(descending=True, stable=True)[:features].tolist()
    return ", ".join(f"{names[k]} {float(values[k]):+.3g}" for k in top)


def certificates(proofs: Sequence[Any]) -> Table:
    """One row for each input, with what is proven of its selection."""
    from rich.table import Table
    from rich.text import Text

    if not all(isinstance(proof, Certificate) for proof in proofs):
        table = Table(title="How often a random superset keeps the class", title_justify="left")
        for column in ("input", "radius", "rate", "at least"):
            table.add_column(column, justify="right")
        for i, rates in enumerate(proofs):
            for radius, rate, lower in zip(rates.radii, rates.rate, rates.lower):
                table.add_row(str(i), str(radius), f"{rate:.3f}", f"{lower:.3f}")
        return table
    table = Table(title="What is proven of each selection", title_justify="left")
    for column in ("input", "selected", "of", "class", "may be added", "may be removed"):
        table.add_column(column, justify="right")
    table.add_column("with")
    for i, proof in enumerate(proofs):
        sure = "certainty" if proof.exact else f"probability {proof.confidence:g}"
        # The class of the selection alone, where it is not that of the whole, proves nothing.
        kept = (
            sure if proof.consistent else f"{sure}; the selection alone has class {proof.selected}"
        )
        table.add_row(
            str(i),
            str(len(proof.selection)),
            str(proof.features),
            str(proof.predicted),
            str(proof.incremental),
            str(proof.decremental),
            Text(kept),
        )
    return table
