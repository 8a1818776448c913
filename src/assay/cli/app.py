"""The command line: a thin face over the library, whose refusals are said in one message."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any, final

import typer
from rich.console import Console
from typer.core import TyperGroup

from assay import engine
from assay.answers.attribution import Attribution
from assay.cli.demo import draw, run, unasked, write
from assay.comparison.comparison import compare
from assay.errors import AssayError, InputError, KindError
from assay.features.partition import Features
from assay.methods.base import Method
from assay.methods.choose import suited
from assay.metrics.base import Metric
from assay.pages.report_page import report as write_report
from assay.question.question import Question
from assay.registry import sources as files
from assay.registry import tables as catalogue
from assay.registry.settings import parse
from assay.removals.base import Removal
from assay.removals.fixed import Background
from assay.saved import load
from assay.targets import Target, as_target


@final
class Refusing(TyperGroup):
    """Says a refusal in one message and ends with code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except AssayError as refusal:
            typer.echo(f"{type(refusal).__name__}: {refusal}", err=True)
            raise typer.Exit(2) from refusal


app = typer.Typer(
    cls=Refusing,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Explains a model's prediction, measures how good the explanation is, and certifies what it can.",
)

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


@app.command()
def methods(markdown: Markdown = False) -> None:
    """Every method, with what it needs, what it promises and what it costs."""
    _catalogue(catalogue.methods(), markdown)


@app.command()
def metrics(markdown: Markdown = False) -> None:
    """Every metric, with what it measures and what it costs."""
    _catalogue(catalogue.metrics(), markdown)


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
    with _hushed(quiet):
        question = _question(predictor, inputs, target, features, removal, background)
        answer = (parse(method, Method) if method else suited(question))(question, seed=seed)
        if out is not None:
            answer.save(out)
        if not quiet:
            _show(answer)


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
    found = load(answer)
    if not isinstance(found, Attribution):
        raise KindError(
            expected=f"a saved Attribution in {answer}",
            got=f"a {type(found).__name__}",
            advice="",
        )
    with _hushed(quiet):
        question = _question(predictor, inputs, target, features, removal, background)
        if found.provenance.get("question") != question.digest:
            raise InputError(
                expected=f"the question that {answer} answers, {found.provenance.get('asked')}",
                got=f"{question!r}: another model, inputs, target, features or removal",
                advice="Give the options that `assay explain` was given.",
            )
        for text in metric:
            judge = parse(text, Metric)
            with contextlib.suppress(
                AssayError
            ):  # an answer of a method with data in it cannot be asked again
                judge = judge.for_method(parse(found.method, Method))
            scored = judge(question, found, seed=seed)
            if out is not None:
                scored.save(out)
            if not quiet:
                typer.echo(repr(scored))


@app.command()
def report(
    predictor: Predictor,
    inputs: Inputs,
    method: Annotated[list[str], typer.Option("--method", help="a method; may be repeated")],
    metric: Annotated[list[str], typer.Option("--metric", help="a metric; may be repeated")],
    out: Annotated[Path, typer.Option(help="where the page goes")] = Path("report.html"),
    target: TargetText = None,
    features: FeaturesText = None,
    removal: RemovalText = None,
    background: Rows = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Compares methods by metrics on the same inputs: a table, and one self-contained page."""
    with _hushed(quiet):
        question = _question(predictor, inputs, target, features, removal, background)
        asked, judges = (
            [parse(each, Method) for each in method],
            [parse(each, Metric) for each in metric],
        )
        comparison = compare(question, asked, judges, seed, references=True)
        page = write_report(comparison, out)
    _done(comparison, page, quiet)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="where the page goes")] = Path("demo/report.html"),
    picture: Annotated[
        Path | None, typer.Option(help="also a picture of a few answers, as .png")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Trains a small network on handwritten digits, asks every method why, and measures every
    answer.
    """
    with _hushed(quiet), engine.one_thread():
        comparison = run(seed)
        page = write(comparison, out, seed)
        if picture is not None:
            draw(comparison, picture)
        _done(comparison, page, quiet)
    if not quiet and (left := unasked()):
        typer.echo(f"Not asked, since they need data or a model of their own: {', '.join(left)}.")


def _console() -> Console:
    """A terminal as wide as it is, and room for whole names where the output goes elsewhere."""
    return Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=200)


def _hushed(quiet: bool) -> contextlib.AbstractContextManager[None]:
    return engine.quiet() if quiet else contextlib.nullcontext()


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
            advice="",
        )
    absent = parse(removal, Removal) if removal is not None else None
    if background is not None:
        absent = Background(files.inputs(background))
    players = parse(features, Features) if features is not None else None
    return Question(
        files.predictor(predictor), files.inputs(inputs), _target(target), players, absent
    )


def _target(text: str | None) -> Target | None:
    if text is None:
        return None
    return as_target(int(text)) if text.strip().lstrip("-").isdigit() else parse(text, Target)


def _catalogue(shown: catalogue.Catalogue, markdown: bool) -> None:
    if markdown:
        typer.echo(catalogue.page(), nl=False)
    else:
        _console().print(shown.table())


def _show(answer: Attribution, inputs: int = 10, features: int = 5) -> None:
    """The first inputs, each with the features that matter most."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"{answer.method}: credit by feature, {len(answer)} inputs", title_justify="left"
    )
    for column in ("input", "prediction", "base", "most credit"):
        table.add_column(column, justify="left" if column == "most credit" else "right")
    for i, values in enumerate(answer.values[:inputs]):
        top = values.abs().argsort(descending=True, stable=True)[:features].tolist()
        said = ", ".join(f"{answer.names[k]} {float(values[k]):+.3g}" for k in top)
        table.add_row(
            str(i), f"{float(answer.prediction[i]):.4g}", f"{float(answer.base[i]):.4g}", Text(said)
        )
    _console().print(table)


def _done(comparison: Any, page: Path, quiet: bool) -> None:
    if not quiet:
        _console().print(comparison.table())
    typer.echo(f"Wrote {page}.")
