"""The command line: what may be typed, and what is called for it.

Nothing heavy is imported here: help, versions, misspelt words and completion need no torch. Every
command hands its options to a function of this wing that does the work, and ends with the code
which that returns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli import completion
from assay.cli.exits import JSON, TRACEBACK, Refusing

app = typer.Typer(
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


def _json(context: typer.Context, wanted: bool) -> bool:
    context.meta[JSON] = wanted or context.meta.get(JSON, False)
    return wanted


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


# --- arguments that commands share

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="model.py:name, package.module:name (:name() has it built), .pt2, a TorchScript, a file of "
        "XGBoost, LightGBM or CatBoost, .skops; a .joblib or .pkl with --trust",
        autocompletion=completion.models,
    ),
]

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help=".csv, .tsv, .parquet, .json, .jsonl, .npy, .npz, .safetensors, .txt, a picture, a folder of "
        "pictures or texts, or - with --format",
        autocompletion=completion.data,
    ),
]

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

OutputText = Annotated[
    str | None,
    typer.Option("--output", help="which answer of an estimator or booster, such as margin"),
]

Weights = Annotated[
    Path | None, typer.Option("--weights", help="weights of a torch module, read without code")
]

Trust = Annotated[bool, typer.Option("--trust", help="read a pickle, which runs code")]

Trusted = Annotated[
    list[str] | None, typer.Option("--trust-type", help="a type in a .skops; may be repeated")
]

RowsText = Annotated[str | None, typer.Option("--rows", help="such as 0:16")]

Where = Annotated[str | None, typer.Option("--where", help="such as 'age > 40'")]

Sample = Annotated[int | None, typer.Option("--sample", help="so many rows, drawn by the seed")]

ColumnNames = Annotated[
    list[str] | None, typer.Option("--columns", help="a column to keep; may be repeated")
]

Drop = Annotated[
    list[str] | None, typer.Option("--drop", help="a column to leave out; may be repeated")
]

IndexColumn = Annotated[
    str | None, typer.Option("--index-column", help="the column that numbers the rows")
]

Categories = Annotated[
    list[str] | None, typer.Option("--category", help="a column of categories; may be repeated")
]

Resize = Annotated[str | None, typer.Option("--resize", help="pictures become HEIGHTxWIDTH")]

Mean = Annotated[str | None, typer.Option("--mean", help="is taken from each channel")]

Std = Annotated[str | None, typer.Option("--std", help="divides each channel then")]

Whole = Annotated[bool, typer.Option("--whole", help="a text file is one text")]

Format = Annotated[str | None, typer.Option("--format", help="of standard input, such as csv")]

Seed = Annotated[int, typer.Option("--seed", envvar="ASSAY_SEED", help="decides every random draw")]

Quiet = Annotated[bool, typer.Option("--quiet", help="no words and no progress, only data")]

AsJson = Annotated[
    bool, typer.Option("--json", callback=_json, help="one object on standard output")
]

Markdown = Annotated[bool, typer.Option("--markdown", help="the whole page of the docs")]

MethodTexts = Annotated[
    list[str] | None,
    typer.Option("--method", help="a method; may be repeated", autocompletion=completion.methods),
]

MetricTexts = Annotated[
    list[str] | None,
    typer.Option("--metric", help="a metric; may be repeated", autocompletion=completion.metrics),
]

AnswerFiles = Annotated[
    list[Path] | None,
    typer.Option("--answer", help="what `assay explain --out` wrote; may be repeated"),
]

Save = Annotated[Path | None, typer.Option("--save", help="a folder that keeps the comparison")]

Title = Annotated[str, typer.Option("--title", help="of the page")]


def _asked(
    model: str,
    data: Path,
    target: str | None,
    features: str | None,
    removal: str | None,
    background: Path | None,
    output: str | None,
    weights: Path | None,
    trust: bool,
    trusted: list[str] | None,
    reading: Any,
    seed: int,
) -> Any:
    from assay.cli.asked import Asked

    return Asked(
        model=model,
        data=data,
        target=target,
        features=features,
        removal=removal,
        background=background,
        output=output,
        weights=weights,
        trust=trust,
        trusted=tuple(trusted or ()),
        reading=reading,
        seed=seed,
    )


def _reading(
    rows: str | None,
    where: str | None,
    sample: int | None,
    columns: list[str] | None,
    drop: list[str] | None,
    index_column: str | None,
    categories: list[str] | None,
    resize: str | None,
    mean: str | None,
    std: str | None,
    whole: bool,
    format: str | None,
) -> Any:
    from assay.registry.data_files import Reading

    return Reading(
        rows=rows,
        where=where,
        sample=sample,
        columns=tuple(columns or ()),
        drop=tuple(drop or ()),
        index_column=index_column,
        categories=tuple(categories or ()),
        resize=resize,
        mean=mean,
        std=std,
        whole=whole,
        format=format,
    )


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


@app.command()
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
    target: TargetText = None,
    features: FeaturesText = None,
    removal: RemovalText = None,
    background: Rows = None,
    output: OutputText = None,
    weights: Weights = None,
    trust: Trust = False,
    trust_type: Trusted = None,
    rows: RowsText = None,
    where: Where = None,
    sample: Sample = None,
    columns: ColumnNames = None,
    drop: Drop = None,
    index_column: IndexColumn = None,
    category: Categories = None,
    resize: Resize = None,
    mean: Mean = None,
    std: Std = None,
    whole: Whole = False,
    format: Format = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Answers why a predictor says what it says."""
    form = _form(json, jsonl, csv)
    reading = _reading(
        rows, where, sample, columns, drop, index_column, category, resize, mean, std, whole, format
    )
    asked = _asked(
        model,
        data,
        target,
        features,
        removal,
        background,
        output,
        weights,
        trust,
        trust_type,
        reading,
        seed,
    )
    from assay.cli import explaining

    _end(explaining.explain(asked, method, out, top, form, quiet))


@app.command()
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
    target: TargetText = None,
    features: FeaturesText = None,
    removal: RemovalText = None,
    background: Rows = None,
    output: OutputText = None,
    weights: Weights = None,
    trust: Trust = False,
    trust_type: Trusted = None,
    rows: RowsText = None,
    where: Where = None,
    sample: Sample = None,
    columns: ColumnNames = None,
    drop: Drop = None,
    index_column: IndexColumn = None,
    category: Categories = None,
    resize: Resize = None,
    mean: Mean = None,
    std: Std = None,
    whole: Whole = False,
    format: Format = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Measures a saved answer.

    The options that made its question are given again.
    """
    form = _form(json)
    reading = _reading(
        rows, where, sample, columns, drop, index_column, category, resize, mean, std, whole, format
    )
    asked = _asked(
        model,
        data,
        target,
        features,
        removal,
        background,
        output,
        weights,
        trust,
        trust_type,
        reading,
        seed,
    )
    from assay.cli import explaining

    _end(explaining.score(asked, answer, metric, out, form, quiet))


@app.command()
def compare(
    model: Model,
    data: Data,
    method: MethodTexts = None,
    metric: MetricTexts = None,
    answer: AnswerFiles = None,
    references: Annotated[
        bool, typer.Option(help="whether Zero and shuffled credit are scored")
    ] = True,
    require: Annotated[
        list[str] | None,
        typer.Option("--require", help="such as 'Infidelity<0.1', of the best; may be repeated"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="a refused cell is a failure")] = False,
    save: Save = None,
    report: Annotated[Path | None, typer.Option("--report", help="also a page")] = None,
    save_config: Annotated[
        Path | None, typer.Option("--save-config", help="this call as a file for `assay run`")
    ] = None,
    title: Title = "Explanations, compared",
    json: AsJson = False,
    target: TargetText = None,
    features: FeaturesText = None,
    removal: RemovalText = None,
    background: Rows = None,
    output: OutputText = None,
    weights: Weights = None,
    trust: Trust = False,
    trust_type: Trusted = None,
    rows: RowsText = None,
    where: Where = None,
    sample: Sample = None,
    columns: ColumnNames = None,
    drop: Drop = None,
    index_column: IndexColumn = None,
    category: Categories = None,
    resize: Resize = None,
    mean: Mean = None,
    std: Std = None,
    whole: Whole = False,
    format: Format = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Compares methods by metrics on the same inputs."""
    form = _form(json)
    reading = _reading(
        rows, where, sample, columns, drop, index_column, category, resize, mean, std, whole, format
    )
    asked = _asked(
        model,
        data,
        target,
        features,
        removal,
        background,
        output,
        weights,
        trust,
        trust_type,
        reading,
        seed,
    )
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
        strict=strict,
    )
    if save_config is not None:
        from assay.cli import run_file

        run_file.write(save_config, asked, contest)
    _end(comparing.run(asked, contest, form, quiet))


@app.command()
def report(
    model: Model,
    data: Data,
    method: MethodTexts = None,
    metric: MetricTexts = None,
    answer: AnswerFiles = None,
    saved: Annotated[
        Path | None, typer.Option(help="a folder that --save wrote: the page alone is made")
    ] = None,
    save: Save = None,
    title: Title = "Explanations, compared",
    out: Annotated[Path, typer.Option(help="where the page goes")] = Path("report.html"),
    json: AsJson = False,
    target: TargetText = None,
    features: FeaturesText = None,
    removal: RemovalText = None,
    background: Rows = None,
    output: OutputText = None,
    weights: Weights = None,
    trust: Trust = False,
    trust_type: Trusted = None,
    rows: RowsText = None,
    where: Where = None,
    sample: Sample = None,
    columns: ColumnNames = None,
    drop: Drop = None,
    index_column: IndexColumn = None,
    category: Categories = None,
    resize: Resize = None,
    mean: Mean = None,
    std: Std = None,
    whole: Whole = False,
    format: Format = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Compares, and writes one self-contained page."""
    form = _form(json)
    reading = _reading(
        rows, where, sample, columns, drop, index_column, category, resize, mean, std, whole, format
    )
    asked = _asked(
        model,
        data,
        target,
        features,
        removal,
        background,
        output,
        weights,
        trust,
        trust_type,
        reading,
        seed,
    )
    from assay.cli import comparing

    contest = comparing.Contest(
        methods=tuple(method or ()),
        metrics=tuple(metric or ()),
        answers=tuple(answer or ()),
        save=save,
        page=out,
        title=title,
    )
    _end(comparing.page(asked, contest, saved, form, quiet))


@app.command()
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
    target: TargetText = None,
    features: FeaturesText = None,
    removal: RemovalText = None,
    background: Rows = None,
    output: OutputText = None,
    weights: Weights = None,
    trust: Trust = False,
    trust_type: Trusted = None,
    rows: RowsText = None,
    where: Where = None,
    sample: Sample = None,
    columns: ColumnNames = None,
    drop: Drop = None,
    index_column: IndexColumn = None,
    category: Categories = None,
    resize: Resize = None,
    mean: Mean = None,
    std: Std = None,
    whole: Whole = False,
    format: Format = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Proves what it can of a selection of features.

    Ends with code 1 where less is proven than --require asks for.
    """
    form = _form(json)
    reading = _reading(
        rows, where, sample, columns, drop, index_column, category, resize, mean, std, whole, format
    )
    asked = _asked(
        model,
        data,
        target,
        features,
        removal,
        background,
        output,
        weights,
        trust,
        trust_type,
        reading,
        seed,
    )
    from assay.cli import certifying

    _end(certifying.certify(asked, select, by, out, require, form, quiet))


@app.command()
def verify(
    certificate: Annotated[Path, typer.Argument(help="what `assay certify --out` wrote")],
    model: Model,
    data: Annotated[
        Path | None, typer.Argument(help="the inputs, where the certificate does not hold its own")
    ] = None,
    json: AsJson = False,
    target: TargetText = None,
    features: FeaturesText = None,
    removal: RemovalText = None,
    background: Rows = None,
    output: OutputText = None,
    weights: Weights = None,
    trust: Trust = False,
    trust_type: Trusted = None,
    rows: RowsText = None,
    where: Where = None,
    sample: Sample = None,
    columns: ColumnNames = None,
    drop: Drop = None,
    index_column: IndexColumn = None,
    category: Categories = None,
    resize: Resize = None,
    mean: Mean = None,
    std: Std = None,
    whole: Whole = False,
    format: Format = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Asks a model again what a certificate rests on.

    Ends with code 1 where a claim does not hold.
    """
    form = _form(json)
    reading = _reading(
        rows, where, sample, columns, drop, index_column, category, resize, mean, std, whole, format
    )
    asked = _asked(
        model,
        data or Path(),
        target,
        features,
        removal,
        background,
        output,
        weights,
        trust,
        trust_type,
        reading,
        seed,
    )
    from assay.cli import certifying

    _end(certifying.verify(certificate, asked, data is not None, form, quiet))


@app.command()
def check(
    model: Model,
    data: Data,
    json: AsJson = False,
    target: TargetText = None,
    features: FeaturesText = None,
    removal: RemovalText = None,
    background: Rows = None,
    output: OutputText = None,
    weights: Weights = None,
    trust: Trust = False,
    trust_type: Trusted = None,
    rows: RowsText = None,
    where: Where = None,
    sample: Sample = None,
    columns: ColumnNames = None,
    drop: Drop = None,
    index_column: IndexColumn = None,
    category: Categories = None,
    resize: Resize = None,
    mean: Mean = None,
    std: Std = None,
    whole: Whole = False,
    format: Format = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Looks at a model and its data: who can answer?"""
    form = _form(json)
    reading = _reading(
        rows, where, sample, columns, drop, index_column, category, resize, mean, std, whole, format
    )
    asked = _asked(
        model,
        data,
        target,
        features,
        removal,
        background,
        output,
        weights,
        trust,
        trust_type,
        reading,
        seed,
    )
    from assay.cli import checking

    _end(checking.check(asked, form, quiet))


# --- the rest


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="a run, in TOML")] = Path("assay.toml"),
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Does what a file says: compares, certifies, reports."""
    from assay.cli import run_file

    _end(run_file.run(file, _form(json), quiet))


@app.command()
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


@app.command()
def methods(markdown: Markdown = False, json: AsJson = False) -> None:
    """Every method, its needs, its promises, its cost."""
    from assay.cli import listing

    listing.show("methods", markdown, _form(json))


@app.command()
def metrics(markdown: Markdown = False, json: AsJson = False) -> None:
    """Every metric, with what it measures and what it costs."""
    from assay.cli import listing

    listing.show("metrics", markdown, _form(json))


@app.command()
def names(markdown: Markdown = False, json: AsJson = False) -> None:
    """Names from elsewhere, and what answers them here.

    From papers, Captum, shap, lime, zennit and Quantus.
    """
    from assay.cli import listing

    listing.show("names", markdown, _form(json))


@app.command()
def axioms(markdown: Markdown = False, json: AsJson = False) -> None:
    """Every method against every axiom.

    What was found on small networks, beside what is claimed; it takes minutes.
    """
    from assay.cli import listing

    listing.show("axioms", markdown, _form(json))


@app.command()
def schema(
    command: Annotated[str, typer.Argument(help="whose output, such as explain")],
) -> None:
    """The JSON Schema of what a command prints with --json."""
    from assay.cli import records

    typer.echo(records.schema(command), nl=False)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="an answer, a score or a certificate")],
    json: AsJson = False,
) -> None:
    """What a saved file holds."""
    from assay.cli import listing

    listing.saved(file, _form(json))
