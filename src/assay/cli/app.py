"""The command line: what may be typed, and what is called for it.

Nothing heavy is imported here: help, versions, misspelt words and completion need no torch. Every
command hands its options to a function of this wing that does the work, and ends with the code
which that returns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Annotated, Any, final

import typer

from assay.cli import completion
from assay.cli.exits import TRACEBACK, Completed, Refusing
from assay.cli.options import (
    AnswerFiles,
    AsJson,
    Data,
    Markdown,
    Methods,
    Metrics,
    Model,
    QuestionOptions,
    Quiet,
    Save,
    Seed,
    Title,
    Vary,
    asks,
)


@final
class _CommandLine(typer.Typer):
    """All commands, of which a call makes only the one that was typed: the others take as long as all
    that is left of its help.
    """

    def __call__(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        standalone_mode: bool = True,
    ) -> Any:
        """One call, of `args` or of what stands on the command line."""
        word = _typed() if args is None else "".join(args[:1])
        typed = [each for each in self.registered_commands if _name(each) == word]
        alone = copy(self)
        alone.registered_commands = typed or self.registered_commands
        return typer.Typer.__call__(
            alone, args=args, prog_name=prog_name, standalone_mode=standalone_mode
        )


def _name(command: Any) -> str:
    return str(command.name or command.callback.__name__)


def _typed() -> str:
    """The first word of a call, or of a line that a shell wants completed; empty where it is not whole."""
    words = sys.argv[1:2]
    if not words and "_ASSAY_COMPLETE" in os.environ:
        line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
        # Behind the program's name, and with more behind it.
        words = line.split()[1:-1][:1]
    return "".join(words)


app = _CommandLine(
    cls=Refusing,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain words: drawn help takes longer to load than all of the rest.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Explains a model's prediction, measures how good the explanation is, "
        "and certifies what it can."
    ),
    epilog="For example: assay explain model.py:net test.csv --method KernelShap",
)


def _version(wanted: bool) -> None:
    if wanted:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        # Of what is installed, without loading it.
        for package in ("assay", "torch"):
            try:
                typer.echo(f"{package} {version(package)}")
            except PackageNotFoundError:
                typer.echo(f"{package} unknown")
        typer.echo(f"python {platform.python_version()}")
        raise typer.Exit


def _trace(context: typer.Context, wanted: bool) -> None:
    context.meta[TRACEBACK] = wanted


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="which versions")
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", callback=_trace, help="where an exception was raised")
    ] = False,
) -> None:
    """Explains a model's prediction, measures how good that is, and certifies what it can."""


def _form(json: bool, jsonl: bool = False, csv: bool = False) -> str:
    forms = [name for name, said in (("json", json), ("jsonl", jsonl), ("csv", csv)) if said]
    if len(forms) > 1:
        raise typer.BadParameter(f"choose one of {', '.join(f'--{name}' for name in forms)}")
    if forms:
        return forms[0]
    return "table"


def _end(code: int) -> None:
    raise typer.Exit(code)


# --- what is asked


@app.command(cls=Completed)
@asks
def explain(
    model: Model,
    data: Data,
    method: Annotated[
        str | None,
        typer.Option(
            help="such as 'IntegratedGradients(steps=32)'", autocompletion=completion.methods
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="where the answer goes, as .safetensors")] = None,
    top: Annotated[int | None, typer.Option(help="so many features of most credit")] = None,
    json: AsJson = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="one answer a line, as they come")] = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="input, feature, value, credit, error")
    ] = False,
    *,
    question: QuestionOptions,
    quiet: Quiet = False,
) -> None:
    """Answers why a predictor says what it says."""
    form = _form(json, jsonl, csv)
    asked = question.asked(model, data)
    from assay.cli import explaining

    _end(explaining.explain(asked, method, out, top, form, quiet))


@app.command(cls=Completed)
@asks
def score(
    model: Model,
    data: Data,
    answer: Annotated[Path, typer.Argument(help="what `assay explain --out` wrote")],
    metric: Annotated[
        list[str],
        typer.Option(
            "--metric",
            help="such as 'Infidelity(draws=200)'; may be repeated",
            autocompletion=completion.metrics,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="where the score goes, as .safetensors; for one metric")
    ] = None,
    json: AsJson = False,
    *,
    question: QuestionOptions,
    quiet: Quiet = False,
) -> None:
    """Measures a saved answer.

    The options that made its question are given again.
    """
    form = _form(json)
    asked = question.asked(model, data)
    from assay.cli import explaining

    _end(explaining.score(asked, answer, metric, out, form, quiet))


@app.command(cls=Completed)
@asks
def compare(
    model: Model,
    data: Data,
    method: Methods = None,
    metric: Metrics = None,
    answer: AnswerFiles = None,
    references: Annotated[
        bool, typer.Option(help="whether Zero and shuffled credit are scored")
    ] = True,
    require: Annotated[
        list[str] | None,
        typer.Option("--require", help="such as 'Infidelity<0.1', of the best; may be repeated"),
    ] = None,
    vary: Vary = None,
    strict: Annotated[bool, typer.Option("--strict", help="a refused cell is a failure")] = False,
    save: Save = None,
    report: Annotated[Path | None, typer.Option("--report", help="also a page")] = None,
    save_config: Annotated[
        Path | None, typer.Option("--save-config", help="this call as a file for `assay run`")
    ] = None,
    title: Title = "Explanations, compared",
    json: AsJson = False,
    *,
    question: QuestionOptions,
    quiet: Quiet = False,
) -> None:
    """Compares methods by metrics on the same inputs."""
    form = _form(json)
    asked = question.asked(model, data)
    from assay.cli import comparing

    contest = comparing.Contest(
        methods=tuple(method or ()),
        metrics=tuple(metric or ()),
        answers=tuple(answer or ()),
        references=references,
        save=save,
        page=report,
        title=title,
        require=tuple(require or ()),
        vary=tuple(vary or ()),
        strict=strict,
    )
    if save_config is not None:
        from assay.cli import run_file

        run_file.write(save_config, asked, contest)
    _end(comparing.run(asked, contest, form, quiet))


@app.command(cls=Completed)
@asks
def report(
    model: Model,
    data: Data,
    method: Methods = None,
    metric: Metrics = None,
    answer: AnswerFiles = None,
    saved: Annotated[
        Path | None, typer.Option(help="a folder that --save wrote: the page alone is made")
    ] = None,
    vary: Vary = None,
    save: Save = None,
    title: Title = "Explanations, compared",
    out: Annotated[Path, typer.Option(help="where the page goes")] = Path("report.html"),
    json: AsJson = False,
    *,
    question: QuestionOptions,
    quiet: Quiet = False,
) -> None:
    """Compares, and writes one self-contained page."""
    form = _form(json)
    asked = question.asked(model, data)
    from assay.cli import comparing

    contest = comparing.Contest(
        methods=tuple(method or ()),
        metrics=tuple(metric or ()),
        answers=tuple(answer or ()),
        save=save,
        page=out,
        title=title,
        vary=tuple(vary or ()),
    )
    _end(comparing.page(asked, contest, saved, form, quiet))


@app.command(cls=Completed)
@asks
def certify(
    model: Model,
    data: Data,
    select: Annotated[
        str,
        typer.Option(
            "--select",
            help="ANSWER:TOP, a method or a kept answer and how many features or which share",
        ),
    ],
    by: Annotated[
        str, typer.Option("--by", help="who certifies, with settings")
    ] = "MultiplicativeSmoothing(kept=16, levels=64)",
    out: Annotated[Path | None, typer.Option(help="a folder for the certificates")] = None,
    require: Annotated[
        float | None, typer.Option("--require", help="features, or a share, that may be added")
    ] = None,
    json: AsJson = False,
    *,
    question: QuestionOptions,
    quiet: Quiet = False,
) -> None:
    """Proves what it can of a selection of features.

    Ends with code 1 where less is proven than --require asks for.
    """
    form = _form(json)
    asked = question.asked(model, data)
    from assay.cli import certifying

    _end(certifying.certify(asked, select, by, out, require, form, quiet))


@app.command(cls=Completed)
@asks
def verify(
    certificate: Annotated[Path, typer.Argument(help="what `assay certify --out` wrote")],
    model: Model,
    data: Annotated[
        Path | None, typer.Argument(help="the inputs, where the certificate does not hold its own")
    ] = None,
    json: AsJson = False,
    *,
    question: QuestionOptions,
    quiet: Quiet = False,
) -> None:
    """Asks a model again what a certificate rests on.

    Ends with code 1 where a claim does not hold.
    """
    form = _form(json)
    asked = question.asked(model, data or Path())
    from assay.cli import certifying

    _end(certifying.verify(certificate, asked, data is not None, form, quiet))


@app.command(cls=Completed)
@asks
def check(
    model: Model,
    data: Data,
    json: AsJson = False,
    *,
    question: QuestionOptions,
    quiet: Quiet = False,
) -> None:
    """Looks at a model and its data: who can answer?"""
    form = _form(json)
    asked = question.asked(model, data)
    from assay.cli import checking

    _end(checking.check(asked, form, quiet))


# --- the rest


@app.command(cls=Completed)
def run(
    file: Annotated[Path, typer.Argument(help="a run, in TOML")] = Path("assay.toml"),
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Does what a file says: compares, certifies, reports."""
    from assay.cli import run_file

    _end(run_file.run(file, _form(json), quiet))


@app.command(cls=Completed)
def picture(
    file: Annotated[Path, typer.Argument(help="an answer or a certificate that was kept")],
    kind: Annotated[
        str | None,
        typer.Option(
            help="ladder, bars, importance, swarm or heat of an answer; radius or votes of a "
            "certificate",
            autocompletion=completion.pictures,
        ),
    ] = None,
    input: Annotated[int, typer.Option("--input", help="which input, counted from 0")] = 0,
    top: Annotated[int | None, typer.Option(help="so many features of most credit")] = None,
    out: Annotated[
        Path | None, typer.Option(help="where it goes: .svg, .png, .pdf, .html or .csv")
    ] = None,
    theme: Annotated[str, typer.Option(help="light, dark or print")] = "light",
    width: Annotated[float | None, typer.Option(help="in inches, of .png and .pdf")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="its numbers, one mark a line")] = False,
    quiet: Quiet = False,
) -> None:
    """Draws what a saved file holds; without --out in words."""
    from assay.cli import listing

    wish = listing.Wish(kind=kind, input=input, top=top, theme=theme, width=width)
    _end(listing.picture(file, wish, out, csv, quiet))


@app.command(cls=Completed)
def demo(
    out: Annotated[Path, typer.Option(help="where the page goes")] = Path("demo/report.html"),
    picture: Annotated[
        Path | None, typer.Option(help="also a picture of a few answers, as .png")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Asks every method about a network for digits."""
    from assay.cli import demo as digits

    digits.command(out, picture, seed, quiet)


# --- what there is


@app.command(cls=Completed)
def methods(markdown: Markdown = False, json: AsJson = False) -> None:
    """Every method, its needs, its promises, its cost."""
    from assay.cli import listing

    listing.show("methods", markdown, _form(json))


@app.command(cls=Completed)
def metrics(markdown: Markdown = False, json: AsJson = False) -> None:
    """Every metric, with what it measures and what it costs."""
    from assay.cli import listing

    listing.show("metrics", markdown, _form(json))


@app.command(cls=Completed)
def names(markdown: Markdown = False, json: AsJson = False) -> None:
    """Names from elsewhere, and what answers them here.

    From papers, Captum, shap, lime, zennit and Quantus.
    """
    from assay.cli import listing

    listing.show("names", markdown, _form(json))


@app.command(cls=Completed)
def axioms(markdown: Markdown = False, json: AsJson = False) -> None:
    """Every method against every axiom.

    What was found on small networks, beside what is claimed; it takes minutes.
    """
    from assay.cli import listing

    listing.show("axioms", markdown, _form(json))


@app.command(cls=Completed)
def schema(
    command: Annotated[str, typer.Argument(help="whose output, such as explain")],
) -> None:
    """The JSON Schema of what a command prints with --json."""
    from assay.cli import records

    typer.echo(records.schema(command), nl=False)


@app.command(cls=Completed)
def show(
    file: Annotated[Path, typer.Argument(help="an answer, a score or a certificate")],
    json: AsJson = False,
) -> None:
    """What a saved file holds."""
    from assay.cli import listing

    listing.saved(file, _form(json))
