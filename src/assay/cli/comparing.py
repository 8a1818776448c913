"""`compare` and `report`: methods by metrics, as a table, as JSON, as a page, as a folder."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import typer

from assay.answers.attribution import Attribution
from assay.cli import printing, records
from assay.cli.asked import Asked, attribution, check_answers, check_out
from assay.cli.exits import DONE, IN_PART, NOT_HELD
from assay.cli.explaining import progress, say_left_out
from assay.cli.varying import Lasting, lasting, varied
from assay.comparison.comparing import compare
from assay.comparison.comparison import Comparison
from assay.comparison.persistence import Persistence
from assay.comparison.saved_comparison import CONTENTS
from assay.errors import InputError
from assay.methods.base import Method
from assay.pages.report_page import report as write_page
from assay.pages.soundness import persists
from assay.registry import parts

_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@final
@dataclass(frozen=True)
class Contest:
    """Who is compared, and where it goes.

    Settings:
        methods: as text.
        metrics: as text.
        answers: files of kept answers, which take part.
        references: whether reference points are scored beside the methods.
        save: a folder that keeps the comparison.
        page: where a page about it goes.
        title: of the page.
        require: such as "Infidelity<0.1", of the best mean.
        vary: metrics with one other setting, as text.
        strict: whether a refused cell counts as not holding.
    """

    methods: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    answers: tuple[Path, ...] = ()
    references: bool = True
    save: Path | None = None
    page: Path | None = None
    title: str = "Explanations, compared"
    require: tuple[str, ...] = ()
    vary: tuple[str, ...] = ()
    strict: bool = False


def compared(asked: Asked, contest: Contest, quiet: bool) -> Comparison:
    """The comparison, kept where it is asked for."""
    check_out(contest.page, None if contest.save is None else contest.save / CONTENTS)
    _check_contest(contest)
    # Read before the model is: a misspelt name costs nothing.
    methods = [parts.method(text) for text in contest.methods]
    metrics = [parts.metric(text) for text in contest.metrics]
    for text in contest.require:
        _requirement(text)
    varied(metrics, contest.vary)
    kept: list[tuple[Path, Attribution]] = [(path, attribution(path)) for path in contest.answers]
    question, dropped = asked.question()
    say_left_out(dropped, quiet)
    for path, answer in kept:
        check_answers(question, answer, path)
    candidates: list[Method | Attribution] = [*methods, *(answer for _, answer in kept)]
    found = compare(question, candidates, metrics, asked.seed, references=contest.references)
    if contest.save is not None:
        found.save(contest.save)
    return found


def _check_contest(contest: Contest) -> None:
    if not (contest.methods or contest.answers) or not contest.metrics:
        raise InputError(
            expected="at least one method and one metric",
            got=f"{len(contest.methods)} and {len(contest.metrics)}",
            advice="Add --method IntegratedGradients --metric Infidelity; either may be repeated.",
        )


def run(asked: Asked, contest: Contest, form: str, quiet: bool) -> int:
    """Compares, prints and writes."""
    with progress(quiet):
        found = compared(asked, contest, quiet)
        lasted = _lasted(found, contest)
        if contest.page is not None:
            write_page(found, contest.page, title=contest.title, persistence=_known(lasted))
    if form == "json":
        typer.echo(records.text(records.comparison(found, lasted)))
    elif not quiet or (contest.page is None and contest.save is None):
        _show(found, lasted)
    for path in (contest.save, contest.page):
        if path is not None:
            printing.say(f"Wrote {path}.", quiet)
    return _ending(found, contest)


def _lasted(found: Comparison, contest: Contest) -> list[Lasting]:
    """Whether winners stay winners, as far as it was asked for."""
    if not contest.vary:
        return []
    return lasting(found, varied([parts.metric(label) for label in found.metrics], contest.vary))


def _known(lasted: Sequence[Lasting]) -> list[Persistence]:
    return [each.found for each in lasted if each.found is not None]


def _show(found: Comparison, lasted: Sequence[Lasting]) -> None:
    printing.show(found.table())
    for each in lasted:
        told = each.refusal if each.found is None else persists(each.found)
        typer.echo(f"{each.metric}: {told}")


def _ending(found: Comparison, contest: Contest) -> int:
    unmet = [text for text in contest.require if not _holds(found, text)]
    if unmet:
        printing.say(f"Does not hold: {', '.join(unmet)}.")
        return NOT_HELD
    # A reference point that a metric refuses is nothing that was asked for.
    refused = [cell for cell in found.refusals if cell[0] in found.methods]
    if not refused:
        return DONE
    if contest.strict:
        return NOT_HELD
    return IN_PART


def _requirement(text: str) -> tuple[str, str, float]:
    """A metric, a sign and a number."""
    found = re.fullmatch(r"\s*(.+?)\s*(<=|>=|<|>)\s*(\S+)\s*", text)
    try:
        if found is not None:
            return found[1], found[2], float(found[3])
    except ValueError:
        pass
    raise InputError(
        expected="a requirement as METRIC<NUMBER, with <, <=, > or >=",
        got=repr(text),
        advice="Write --require 'Infidelity<0.1'.",
    )


def _holds(found: Comparison, text: str) -> bool:
    metric, sign, number = _requirement(text)
    best = found.score(found.winner(metric), metric).mean
    return _SIGNS[sign](best, number)


def page(asked: Asked, contest: Contest, saved: Path | None, form: str, quiet: bool) -> int:
    """A page about a comparison, of a kept one where there is one."""
    if saved is None:
        return _page_of(asked, contest, form, quiet)
    if contest.methods or contest.metrics or contest.answers or contest.save:
        raise InputError(
            expected="--saved alone",
            got="--method, --metric, --answer or --save beside it",
            advice="A saved comparison has its methods and metrics: leave these out.",
        )
    check_out(contest.page)
    with progress(quiet):
        question, _ = asked.question()
        found = Comparison.load(saved, question)
        # Of what was kept its metrics are known.
        varied([parts.metric(label) for label in found.metrics], contest.vary)
        _write(found, contest, form, quiet)
    return DONE


def _page_of(asked: Asked, contest: Contest, form: str, quiet: bool) -> int:
    with progress(quiet):
        found = compared(asked, contest, quiet)
        _write(found, contest, form, quiet)
    return DONE


def _write(found: Comparison, contest: Contest, form: str, quiet: bool) -> None:
    lasted = _lasted(found, contest)
    written = write_page(
        found, contest.page or "report.html", title=contest.title, persistence=_known(lasted)
    )
    if form == "json":
        typer.echo(records.text({**records.comparison(found, lasted), "page": str(written)}))
        return
    if not quiet:
        _show(found, lasted)
    # Also when quiet: where the page went is the answer of the command.
    typer.echo(f"Wrote {written}.")
