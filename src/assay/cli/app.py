"""The command line: a thin face over the library.

Every command reads its arguments as text (`assay.registry`), does what one or two calls of the
library do, and prints tables. A refusal of the library is one message and the exit code 2.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, final

import typer
from rich.console import Console
from typer.core import TyperGroup

from assay import engine
from assay.answers.attribution import Attribution
from assay.answers.files import writable
from assay.answers.provenance import versions
from assay.cli import demo as digits
from assay.comparison.comparing import compare
from assay.comparison.comparison import Comparison
from assay.comparison.saved_comparison import CONTENTS
from assay.errors import AssayError, InputError, KindError
from assay.features.partition import Features
from assay.methods.base import Method
from assay.methods.choose import suited
from assay.metrics.axioms import methods_table
from assay.metrics.base import Metric
from assay.pages.credit import names_of
from assay.pages.explained import explained
from assay.pages.report_page import report as write_report
from assay.pictures.numbers import form_of
from assay.question.question import Question
from assay.registry import sources, tables
from assay.registry.settings import parse
from assay.removals.base import Removal
from assay.removals.fixed import Background
from assay.saved import load
from assay.targets import Target, as_target

_MANY = 20_000  # rows from which on a forecast is said before they are asked
_PACKAGE = Path(__file__).parent.parent


@final
class Refusing(TyperGroup):
    """Says a refusal in one message and ends with code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except AssayError as refusal:
            typer.echo(f"{type(refusal).__name__}: {refusal}", err=True)
            # What the user's own predictor raised is found in the user's own file.
            place = _outside(refusal.__cause__) if refusal.__cause__ else ""
            if place:
                typer.echo(f"Raised in {place}, which is no part of assay.", err=True)
            raise typer.Exit(2) from refusal
        # Any other exception shows its traceback: a fault of the library, or of the module that was
        # named, which is then told.
        except Exception as error:
            place = _outside(error)
            if place:
                error.add_note(f"Raised in {place}, which is no part of assay.")
            raise


def _outside(error: BaseException) -> str:
    """Where an exception was raised, if that is neither this library nor what it stands on."""
    frames = traceback.extract_tb(error.__traceback__)
    # Installed packages lie below the interpreter's own folders.
    installed = (str(_PACKAGE), sys.prefix, sys.base_prefix)
    theirs = [frame for frame in frames if not frame.filename.startswith(installed)]
    return f"{theirs[-1].filename}, line {theirs[-1].lineno}" if theirs else ""


app = typer.Typer(
    cls=Refusing,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Explains a model's prediction, measures how good the explanation is, "
        "and certifies what it can."
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"assay {versions()['assay']}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="which version")
    ] = False,
) -> None:
    """Explains a model's prediction, measures how good that is, and certifies what it can."""


# --- arguments that commands share

Predictor = Annotated[
    str, typer.Argument(help="package.module:predictor, or :build() to have it built")
]

Inputs = Annotated[Path, typer.Argument(help=".npy, .npz, .csv or .safetensors")]

TargetText = Annotated[
    str | None, typer.Option("--target", help="an output's number, or such as 'Contrast(3, 5)'")
]

FeaturesText = Annotated[
    str | None, typer.Option("--features", help="who receives credit, such as 'Patches(4)'")
]

RemovalText = Annotated[
    str | None, typer.Option("--removal", help="what absent means, such as 'Blur(2.0)'")
]

Rows = Annotated[
    Path | None,
    typer.Option("--background", help="rows to average over, in the place of --removal"),
]

Seed = Annotated[int, typer.Option("--seed", help="decides every random draw")]

Quiet = Annotated[bool, typer.Option("--quiet", help="no progress bars and no tables")]

Markdown = Annotated[bool, typer.Option("--markdown", help="the whole page of the docs")]


# --- what there is


@app.command()
def methods(markdown: Markdown = False) -> None:
    """Every method, with what it needs, what it promises and what it costs."""
    _print(tables.methods(), tables.page() if markdown else None)


@app.command()
def metrics(markdown: Markdown = False) -> None:
    """Every metric, with what it measures and what it costs."""
    _print(tables.metrics(), tables.page() if markdown else None)


@app.command()
def names(markdown: Markdown = False) -> None:
    """Names from papers, Captum, shap, lime, zennit and Quantus, and what answers them here."""
    _print(tables.names(), tables.names_page() if markdown else None)


@app.command()
def axioms(markdown: Markdown = False) -> None:
    """Every method against every axiom: what was found on small networks, beside what is claimed."""
    if markdown:
        typer.echo(methods_table.page(), nl=False)
        return
    cells = methods_table.table()
    columns = ("method", *next(iter(cells.values())))
    rows = tuple((name, *found.values()) for name, found in cells.items())
    _print(tables.Catalogue("Axioms", columns, rows), None)


# --- what is asked


@app.command()
def explain(
    predictor: Predictor,
    inputs: Inputs,
    target: TargetText = None,
    method: Annotated[
        str | None, typer.Option(help="such as 'IntegratedGradients(steps=32)'")
    ] = None,
    features: FeaturesText = None,
    removal: RemovalText = None,
    background: Rows = None,
    out: Annotated[Path | None, typer.Option(help="where the answer goes, as .safetensors")] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Answers why the predictor says what it says about each input."""
    _check_out(out)
    with _progress(quiet):
        question = _question(predictor, inputs, target, features, removal, background)
        asker = _asker(method, question, removal or background)
        if not quiet:
            _print_forecast(asker, question)
        answer = asker(question, seed=seed)
    if out is not None:
        answer.save(out)
    if not quiet:
        _print_credit(answer, explained(question))
        if out is not None:
            typer.echo(f"Wrote {out}.")


def _asker(method: str | None, question: Question, absent: object) -> Method:
    """The method that was named, or one that suits the question."""
    if method:
        return parse(method, Method)
    return suited(question, says_absent=absent is not None)


@app.command()
def score(
    predictor: Predictor,
    inputs: Inputs,
    answer: Annotated[Path, typer.Argument(help="what `assay explain --out` wrote")],
    metric: Annotated[
        list[str], typer.Option("--metric", help="such as 'Infidelity(draws=200)'; may be repeated")
    ],
    target: TargetText = None,
    features: FeaturesText = None,
    removal: RemovalText = None,
    background: Rows = None,
    out: Annotated[
        Path | None, typer.Option(help="where the score goes, as .safetensors; for one metric")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Measures a saved answer; the options that made the question must be given again."""
    if out is not None and len(metric) > 1:
        raise InputError(
            expected=f"one metric to save in {out}",
            got=len(metric),
            advice="Ask for each in a run of its own.",
        )
    _check_out(out)
    # Before the model is loaded: a wrong file is told at once.
    attribution = _attribution(answer)
    with _progress(quiet):
        question = _question(predictor, inputs, target, features, removal, background)
        _check_answers(question, attribution, answer)
        for text in metric:
            judge = _judge(text, attribution)
            measured = judge(question, attribution, seed=seed)
            if out is not None:
                measured.save(out)
            if not quiet:
                typer.echo(repr(measured))


@app.command()
def report(
    predictor: Predictor,
    inputs: Inputs,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="a method; may be repeated")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="a metric; may be repeated")
    ] = None,
    answer: Annotated[
        list[Path] | None,
        typer.Option("--answer", help="what `assay explain --out` wrote; may be repeated"),
    ] = None,
    saved: Annotated[
        Path | None,
        typer.Option("--saved", help="a folder that --save wrote: the page alone is made"),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="a folder that keeps the comparison")
    ] = None,
    title: Annotated[str, typer.Option(help="of the page")] = "Explanations, compared",
    out: Annotated[Path, typer.Option(help="where the page goes")] = Path("report.html"),
    target: TargetText = None,
    features: FeaturesText = None,
    removal: RemovalText = None,
    background: Rows = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Compares methods by metrics on the same inputs: a table, and one self-contained page."""
    _check_out(out)
    if save is not None:
        _check_out(save / CONTENTS)
    if saved is not None and (method or metric or answer or save):
        raise InputError(
            expected="--saved alone",
            got="--method, --metric, --answer or --save beside it",
            advice="A saved comparison has its methods and metrics: leave these out.",
        )
    answers = [(path, _attribution(path)) for path in answer or ()]
    with _progress(quiet):
        question = _question(predictor, inputs, target, features, removal, background)
        for path, attribution in answers:
            _check_answers(question, attribution, path)
        if saved is not None:
            comparison = Comparison.load(saved, question)
        else:
            asked = [*(method or ()), *(attribution for _, attribution in answers)]
            comparison = compare(question, asked, metric or (), seed)
        if save is not None:
            comparison.save(save)
        page = write_report(comparison, out, title=title)
    _print_comparison(comparison, page, quiet)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="where the page goes")] = Path("demo/report.html"),
    picture: Annotated[
        Path | None, typer.Option(help="also a picture of a few answers, as .png")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Trains a small network on handwritten digits, and asks and measures every method."""
    _check_out(out)
    _check_out(picture)
    # One thread: sums split over threads round in another order, and the page is to be the same.
    with _progress(quiet), engine.one_thread():
        comparison = digits.run(seed)
        page = digits.write(comparison, out, seed)
        if picture is not None:
            digits.draw(comparison, picture)
        _print_comparison(comparison, page, quiet)
    unasked = digits.unasked()
    if unasked and not quiet:
        listed = ", ".join(unasked)
        typer.echo(f"Not asked, since they need data or a model of their own: {listed}.")


# --- from text to objects


def _check_out(path: Path | None) -> None:
    """Makes the folder, or refuses, before there is any work to lose."""
    if path is not None:
        writable(path)


def _question(
    predictor: str,
    inputs: Path,
    target: str | None,
    features: str | None,
    removal: str | None,
    background: Path | None,
) -> Question:
    if removal is not None and background is not None:
        raise InputError(
            expected="one of --removal and --background",
            got="both",
            advice="Rows to average over are a removal: leave the other out.",
        )
    players = None
    if features is not None:
        players = parse(features, Features)
    absent = None
    if removal is not None:
        absent = parse(removal, Removal)
    # Rows are data, which settings as text cannot hold.
    if background is not None:
        absent = Background(sources.inputs(background))
    return Question(
        sources.predictor(predictor),
        sources.inputs(inputs),
        _target(target),
        players,
        absent,
    )


def _target(text: str | None) -> Target | None:
    if text is None:
        return None
    # A bare number is an output's index, as it is in the library.
    if re.fullmatch(r"-?[0-9]{1,18}", text.strip()):
        return as_target(int(text))
    return parse(text, Target)


def _attribution(path: Path) -> Attribution:
    answer = load(path)
    if not isinstance(answer, Attribution):
        raise KindError(
            expected=f"a saved Attribution in {path}",
            got=f"a {type(answer).__name__}",
            advice="Give the file that `assay explain --out` wrote.",
        )
    return answer


def _check_answers(question: Question, attribution: Attribution, path: Path) -> None:
    """A score of the answer to another question would be a number without a meaning."""
    asked = attribution.provenance
    if asked.get("question") != question.digest:
        raise InputError(
            expected=f"the question that {path} answers, {asked.get('asked')}",
            got=f"{question!r}: another model, inputs, target, features or removal",
            advice="Give the options that `assay explain` was given.",
        )


def _judge(text: str, attribution: Attribution) -> Metric:
    metric = parse(text, Metric)
    # A metric may ask the method again, which its saved repr makes anew; a method with data in it
    # cannot be made from text, and the metric then refuses in its own words.
    with contextlib.suppress(AssayError):
        metric = metric.for_method(parse(attribution.method, Method))
    return metric


# --- what is printed


def _console() -> Console:
    """A terminal as wide as it is, and room for whole names where the output goes elsewhere."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console()
    return Console(width=200)


def _progress(quiet: bool) -> contextlib.AbstractContextManager[None]:
    return engine.quiet() if quiet else contextlib.nullcontext()


def _print_forecast(method: Method, question: Question) -> None:
    """How much will be asked, before long work."""
    rows = method.forecast(question)
    if rows is not None and rows >= _MANY:
        typer.echo(f"{method!r} asks up to {rows:,} rows of {question.model.name}.", err=True)


def _print(catalogue: tables.Catalogue, page: str | None) -> None:
    if page is None:
        _console().print(catalogue.table())
    else:
        # To the byte: `make docs` writes what is printed here.
        typer.echo(page, nl=False)


def _print_credit(
    answer: Attribution, targets: Sequence[str], inputs: int = 10, features: int = 5
) -> None:
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
            Text(_strongest(answer, i, features)),
        )
    _console().print(table)


def _strongest(answer: Attribution, i: int, features: int) -> str:
    """The features that matter most to one input, with their credit."""
    names = names_of(answer, i)
    values = answer.values[i, : len(names)]
    # Stable: features of equal credit stand in their own order.
    top = values.abs().argsort(descending=True, stable=True)[:features].tolist()
    return ", ".join(f"{names[k]} {float(values[k]):+.3g}" for k in top)


def _print_comparison(comparison: Comparison, page: Path, quiet: bool) -> None:
    if not quiet:
        _console().print(comparison.table())
    # Also when quiet: where the page went is the answer of the command.
    typer.echo(f"Wrote {page}.")
