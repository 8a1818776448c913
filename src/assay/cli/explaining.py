"""`explain` and `score`: an answer, and what a metric says of a kept one."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator
from pathlib import Path

import typer

from assay import engine
from assay.answers.attribution import Attribution
from assay.cli import printing, records
from assay.cli.asked import Asked, attribution, check_answers, check_out
from assay.cli.exits import DONE
from assay.errors import AssayError, InputError
from assay.methods.base import Method
from assay.methods.choose import suited
from assay.metrics.base import Metric
from assay.pages.explained import explained
from assay.question.question import Question
from assay.registry import parts

_MANY = 20_000  # rows from which on a forecast is said before they are asked


def progress(quiet: bool) -> contextlib.AbstractContextManager[None]:
    """Nothing on the error stream where it is asked to be quiet."""
    if quiet:
        return engine.quiet()
    return contextlib.nullcontext()


def say_left_out(dropped: tuple[str, ...], quiet: bool) -> None:
    """Which columns of a table the predictor was not given."""
    if dropped:
        listed = ", ".join(map(repr, dropped[:5]))
        printing.say(f"Left out, since the model was not fitted on it: {listed}.", quiet)


def explain(
    asked: Asked, method: str | None, out: Path | None, top: int | None, form: str, quiet: bool
) -> int:
    """Answers why the predictor says what it says about each input."""
    check_out(out)
    named = None if method is None else parts.method(method)
    _check_top(top)
    with progress(quiet):
        question, dropped = asked.question()
        say_left_out(dropped, quiet)
        asker = named or suited(question, says_absent=asked.says_absent)
        if form == "jsonl":
            return _by_line(asker, question, asked.seed, out, top)
        if not quiet:
            _say_forecast(asker, question)
        answer = asker(question, seed=asked.seed)
    # Kept before it is shown: who stops reading does not lose it.
    if out is not None:
        answer.save(out)
    if form == "json":
        typer.echo(records.text(records.explanation(answer, question, top)))
    elif form == "csv":
        typer.echo(_csv(answer, question, top), nl=False)
    # Silence is for words, and never for the data: without a file they are what is printed.
    elif not quiet or out is None:
        printing.show(printing.credit(answer, explained(question), top))
    if out is not None:
        printing.say(
            f"Wrote {out}. Measure it: assay score MODEL DATA {out} --metric Infidelity", quiet
        )
    return DONE


def _check_top(top: int | None) -> None:
    if top is not None and top < 1:
        raise InputError(
            expected="at least one feature of --top",
            got=top,
            advice="Leave it out for all of them.",
        )


def _by_line(
    method: Method, question: Question, seed: int, out: Path | None, top: int | None
) -> int:
    """One answer a line, each as soon as it is there."""
    if out is not None:
        raise InputError(
            expected="one of --jsonl and --out",
            got="both",
            advice="Answers by line are asked one by one: keep them with --out alone.",
        )
    method.check(question)
    for i in range(question.n):
        part = question.part(i, i + 1)
        [answer] = records.answers(method(part, seed=seed), part, top)
        # Flushed, so that a long run is seen to move.
        typer.echo(records.text({**answer, "input": i}))
    return DONE


def _csv(answer: Attribution, question: Question, top: int | None) -> str:
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(["input", "feature", "value", "credit", "error"])
    rows.writerows(_long(answer, question, top))
    return written.getvalue()


def _long(answer: Attribution, question: Question, top: int | None) -> Iterator[list[object]]:
    for each in records.answers(answer, question, top):
        for cell in each["credit"]:
            error = "" if cell["error"] is None else repr(cell["error"])
            value = "" if cell["value"] is None else cell["value"]
            yield [each["input"], cell["feature"], value, repr(cell["credit"]), error]


def _say_forecast(method: Method, question: Question) -> None:
    """How much will be asked, before long work."""
    rows = method.forecast(question)
    if rows is not None and rows >= _MANY:
        printing.say(f"{method!r} asks up to {rows:,} rows of {question.model.name}.")


def score(
    asked: Asked, answer: Path, metrics: list[str], out: Path | None, form: str, quiet: bool
) -> int:
    """Measures a saved answer; the options that made the question must be given again."""
    if out is not None and len(metrics) > 1:
        raise InputError(
            expected=f"one metric to save in {out}",
            got=len(metrics),
            advice="Ask for each in a run of its own.",
        )
    check_out(out)
    # Before the model is loaded: a wrong file is told at once.
    found = attribution(answer)
    judges = [_judge(text, found) for text in metrics]
    with progress(quiet):
        question, dropped = asked.question()
        say_left_out(dropped, quiet)
        check_answers(question, found, answer)
        measured = [judge(question, found, seed=asked.seed) for judge in judges]
    if out is not None:
        measured[0].save(out)
    if form == "json":
        typer.echo(records.text(records.scores(measured, question)))
    elif not quiet or out is None:
        for each in measured:
            typer.echo(repr(each))
    return DONE


def _judge(text: str, answer: Attribution) -> Metric:
    metric = parts.metric(text)
    # A metric may ask the method again, which its saved repr makes anew; a method with data in it
    # cannot be made from text, and the metric then refuses in its own words.
    with contextlib.suppress(AssayError):
        metric = metric.for_method(parts.method(answer.method))
    return metric
