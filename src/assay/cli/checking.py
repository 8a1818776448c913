"""`check`: what the library makes of a model and its data, and which methods can answer."""

from __future__ import annotations

from typing import Any

import typer

from assay.cli import records
from assay.cli.asked import Asked
from assay.cli.exits import DONE
from assay.cli.explaining import progress, say_left_out
from assay.errors import AssayError
from assay.methods import METHODS
from assay.methods.choose import suited
from assay.pages.explained import explained
from assay.question.question import Question
from assay.registry import parts, sources


def check(asked: Asked, form: str, quiet: bool) -> int:
    """One look at a question: its parts, its first outputs, and who can answer it."""
    with progress(True):
        question, dropped = asked.question()
        say_left_out(dropped, quiet)
        facts = _facts(asked, question)
    if form == "json":
        typer.echo(records.text(records.checked(facts, question)))
        return DONE
    for name, value in facts.items():
        if name != "methods":
            typer.echo(f"{name:<12} {value}")
    able = [name for name, reason in facts["methods"].items() if reason is None]
    typer.echo(f"{'can answer':<12} {', '.join(able)}")
    for name, reason in facts["methods"].items():
        if reason is not None:
            typer.echo(f"{'cannot':<12} {name}: {reason}")
    return DONE


def _facts(asked: Asked, question: Question) -> dict[str, Any]:
    model = question.model
    return {
        "model": model.name,
        "read as": sources.form_of(asked.model),
        "abilities": ", ".join(sorted(each.value for each in model.abilities)) or "predictions",
        "inputs": f"{question.n} of shape {question.layout.describe()}",
        "target": explained(question)[0],
        "prediction": float(question.prediction[0]),
        "features": f"{question.partition.count}, {question.features!r}",
        "removal": repr(question.removal),
        "base": float(question.base[0]),
        "by itself": repr(suited(question, says_absent=asked.says_absent)),
        "methods": {name: _reason(name, question) for name in METHODS},
    }


def _reason(name: str, question: Question) -> str | None:
    """Why a method cannot answer, None where nothing is known against it."""
    try:
        parts.method(name).check(question)
    except AssayError as refusal:
        return f"expected {refusal.expected}, got {refusal.got}"
    return None
