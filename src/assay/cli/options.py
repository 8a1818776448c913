"""The options that commands share, each declared once.

What makes a question is the signature of one function, `question_options`, and `asks` puts it into
the signature of a command, in the place of its parameter `question`. Nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

from assay.cli import completion
from assay.cli.exits import JSON

if TYPE_CHECKING:
    from assay.cli.asked import Asked


def _json(context: typer.Context, wanted: bool) -> bool:
    context.meta[JSON] = wanted or context.meta.get(JSON, False)
    return wanted


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="model.py:name, package.module:name (:name() has it built), .pt2, a TorchScript, a file of "
        "XGBoost, LightGBM or CatBoost, .onnx, .keras, .skops, a folder of Hugging Face; a .joblib or .pkl "
        "with --trust; cmd:'./predict', a program that reads rows as lines of JSON and prints scores",
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

Methods = Annotated[
    list[str] | None,
    typer.Option("--method", help="a method; may be repeated", autocompletion=completion.methods),
]

Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", help="a metric; may be repeated", autocompletion=completion.metrics),
]

AnswerFiles = Annotated[
    list[Path] | None,
    typer.Option("--answer", help="what `assay explain --out` wrote; may be repeated"),
]

Vary = Annotated[
    list[str] | None,
    typer.Option(
        "--vary",
        help="a metric with one other setting, by which the winner is asked again; may be repeated",
        autocompletion=completion.metrics,
    ),
]

Save = Annotated[Path | None, typer.Option("--save", help="a folder that keeps the comparison")]

Title = Annotated[str, typer.Option("--title", help="of the page")]

Seed = Annotated[int, typer.Option("--seed", envvar="ASSAY_SEED", help="decides every random draw")]

Quiet = Annotated[bool, typer.Option("--quiet", help="no words and no progress, only data")]

AsJson = Annotated[
    bool, typer.Option("--json", callback=_json, help="one object on standard output")
]

Markdown = Annotated[bool, typer.Option("--markdown", help="the whole page of the docs")]


@final
@dataclass(frozen=True)
class QuestionOptions:
    """What was typed about a question; nothing is loaded before it is asked for."""

    question: dict[str, Any]
    reading: dict[str, Any]

    def asked(self, model: str, data: Path) -> Asked:
        """What is asked of a model about its data."""
        from assay.cli.asked import Asked
        from assay.registry.data_files import Reading

        return Asked(model=model, data=data, reading=Reading(**self.reading), **self.question)


def question_options(
    target: Annotated[
        str | None, typer.Option("--target", help="an output's number, or such as 'Contrast(3, 5)'")
    ] = None,
    features: Annotated[
        str | None, typer.Option("--features", help="who receives credit, such as 'Patches(4)'")
    ] = None,
    removal: Annotated[
        str | None, typer.Option("--removal", help="what absent means, such as 'Blur(2.0)'")
    ] = None,
    background: Annotated[
        Path | None,
        typer.Option("--background", help="rows to average over, in the place of --removal"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", help="which answer of an estimator or graph, such as margin"),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="weights of a torch module, read without code")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="read a pickle, which runs code")] = False,
    trust_type: Annotated[
        list[str] | None, typer.Option("--trust-type", help="a type in a .skops; may be repeated")
    ] = None,
    rows: Annotated[str | None, typer.Option("--rows", help="such as 0:16")] = None,
    where: Annotated[str | None, typer.Option("--where", help="such as 'age > 40'")] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", help="so many rows, drawn by the seed")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--columns", help="a column to keep; may be repeated")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--drop", help="a column to leave out; may be repeated")
    ] = None,
    index_column: Annotated[
        str | None, typer.Option("--index-column", help="the column that numbers the rows")
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", help="a column of categories; may be repeated")
    ] = None,
    resize: Annotated[
        str | None, typer.Option("--resize", help="pictures become HEIGHTxWIDTH")
    ] = None,
    mean: Annotated[str | None, typer.Option("--mean", help="is taken from each channel")] = None,
    std: Annotated[str | None, typer.Option("--std", help="divides each channel then")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="a text file is one text")] = False,
    format: Annotated[
        str | None, typer.Option("--format", help="of standard input, such as csv")
    ] = None,
    seed: Seed = 0,
) -> QuestionOptions:
    """What makes a question beside the model and its data, which are arguments of a command."""
    return QuestionOptions(
        question={
            "target": target,
            "features": features,
            "removal": removal,
            "background": background,
            "output": output,
            "weights": weights,
            "trust": trust,
            "trusted": tuple(trust_type or ()),
            "seed": seed,
        },
        reading={
            "rows": rows,
            "where": where,
            "sample": sample,
            "columns": tuple(columns or ()),
            "drop": tuple(drop or ()),
            "index_column": index_column,
            "categories": tuple(category or ()),
            "resize": resize,
            "mean": mean,
            "std": std,
            "whole": whole,
            "format": format,
        },
    )


@cache
def _shared() -> Mapping[str, Parameter]:
    """The options of a question, read once for all commands."""
    return signature(question_options, eval_str=True).parameters


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the options of a question in the place of its parameter `question`."""
    own = signature(command, eval_str=True)
    shared = _shared()

    @wraps(command)
    def typed(**values: Any) -> None:
        question = question_options(**{name: values.pop(name) for name in shared})
        command(**values, question=question)

    # The options stand where the parameter stood, for they are shown in this order.
    parameters: list[Parameter] = []
    for parameter in own.parameters.values():
        if parameter.name == "question":
            parameters += [each.replace(kind=Parameter.KEYWORD_ONLY) for each in shared.values()]
        else:
            parameters.append(parameter)
    typed.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return typed
