"""A comparison as a folder: what every method answered and every metric said, to be read later.

`comparison.json` says what is where; each answer and each score is a file of its own, as its own
`save` writes it, so that `assay.load` reads it alone too. The model and the inputs are not kept:
whoever reads the folder brings the same question, which is told by its digest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.answers.attribution import Attribution
from assay.answers.files import saved_file, together, writable, write_file
from assay.answers.header import (
    MAPPING,
    TEXT,
    checked,
    damaged,
    listed,
    number,
    parsed,
    shown,
    whole,
)
from assay.answers.score import Score
from assay.errors import InputError, KindError, VersionError
from assay.question.question import Question

if TYPE_CHECKING:
    from assay.comparison.comparison import Comparison

FORMAT = 1  # rises by one whenever what is written changes

CONTENTS = "comparison.json"

_SCHEMA = {
    "format": whole(1),
    "question": TEXT,
    "asked": TEXT,
    "methods": listed(TEXT),
    "metrics": listed(TEXT),
    "references": listed(TEXT),
    "answers": listed(TEXT),
    "scores": listed(listed(TEXT)),
    "refusals": listed(listed(TEXT)),
    "directions": MAPPING,
    "seed": whole(),
    "level": number(0, 1),
}


def save(comparison: Comparison, folder: str | PathLike[str]) -> Path:
    """Writes a comparison into a folder, which is made where it is missing.

    Errors: InputError where no file can be written, or where the folder holds something else.

    >>> import tempfile, torch, assay
    >>> question = assay.Question(torch.nn.Linear(3, 1), torch.rand(4, 3))
    >>> found = assay.compare(question, ["Gradient"], ["MaxSensitivity"])
    >>> with tempfile.TemporaryDirectory() as place:
    ...     assay.comparison.comparison.Comparison.load(save(found, f"{place}/kept"), question)
    Comparison(1 method by 1 metric on 4 inputs; best mean: Gradient by MaxSensitivity)
    """
    contents = writable(_contents(folder))
    answers = list(comparison.attributions)
    scores = list(comparison.scores)
    stated = {
        "format": FORMAT,
        "question": comparison.question.digest,
        "asked": repr(comparison.question),
        "methods": list(comparison.methods),
        "metrics": list(comparison.metrics),
        "references": list(comparison.references),
        "answers": answers,
        "scores": [list(cell) for cell in scores],
        "refusals": [[*cell, reason] for cell, reason in comparison.refusals.items()],
        "directions": dict(comparison.directions),
        "seed": comparison.seed,
        "level": comparison.level,
    }
    with together(contents.parent, CONTENTS) as home:
        # By number: labels hold brackets and quotes, which not every file system takes.
        for place, name in enumerate(answers):
            comparison.attributions[name].save(_answer(home, place))
        for place, cell in enumerate(scores):
            comparison.scores[cell].save(_score(home, place))
        write_file(home / CONTENTS, json.dumps(stated, indent=1).encode())
    return contents.parent


def load(folder: str | PathLike[str], question: Question, kind: type[Comparison]) -> Comparison:
    """Reads what `save` wrote about this question, as a `kind` of comparison. No model is asked.

    Errors: KindError for what is no question, InputError for a folder that is missing or damaged or
    about another question, VersionError for one that this version cannot read.
    """
    if not isinstance(question, Question):
        raise KindError(
            expected="the Question that the comparison is about",
            got=shown(question),
            advice="Write Comparison.load(folder, question): the model is not kept in the folder.",
        )
    contents = saved_file(_contents(folder))
    stated = parsed(contents.read_text(encoding="utf-8", errors="replace"), str(contents))
    # Before the schema: other fields of a later format are no damage.
    _check_format(stated, contents)
    facts = checked(stated, _SCHEMA, str(contents))
    # The digest covers the model's weights and the inputs, which the text does not show.
    if facts["question"] != question.digest:
        raise InputError(
            expected=f"the question that {contents.parent} is about, {shown(facts['asked'])}",
            got=f"{shown(repr(question))}: another model, inputs, target, features or removal",
            advice="Make the question as it was made for the comparison.",
        )
    home = contents.parent
    answers = {
        name: Attribution.load(_answer(home, place)) for place, name in enumerate(facts["answers"])
    }
    cells = _cells(facts, "scores", 2, contents)
    scores = {
        (cell[0], cell[1]): Score.load(_score(home, place)) for place, cell in enumerate(cells)
    }
    refusals = _cells(facts, "refusals", 3, contents)
    _check_members(facts, answers, scores, question.n, contents)
    return kind(
        question=question,
        methods=tuple(facts["methods"]),
        metrics=tuple(facts["metrics"]),
        references=tuple(facts["references"]),
        attributions=answers,
        scores=scores,
        refusals={(method, metric): reason for method, metric, reason in refusals},
        seed=facts["seed"],
        level=facts["level"],
        directions=facts["directions"],
    )


def _contents(folder: Any) -> Path:
    if not isinstance(folder, str | PathLike):
        raise KindError(
            expected="the path of a folder",
            got=shown(repr(folder)),
            advice="Hand over a text or a path, such as 'answers/comparison'.",
        )
    if Path(folder).is_file():
        raise InputError(
            expected="a folder for a comparison",
            got=f"{folder}, which is a file",
            advice="A single answer is read by assay.load(path).",
        )
    return Path(folder) / CONTENTS


def _answer(home: Path, place: int) -> Path:
    return home / f"answer-{place}.safetensors"


def _score(home: Path, place: int) -> Path:
    return home / f"score-{place}.safetensors"


def _check_format(stated: Any, contents: Path) -> None:
    found = stated.get("format") if isinstance(stated, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise VersionError(
            expected=f"a comparison of format {FORMAT} in {contents}",
            got=f"format {shown(found)}",
            advice="Read it with the version that wrote it, or compare again.",
        )


def _cells(facts: Mapping[str, Any], name: str, length: int, contents: Path) -> list[list[str]]:
    """Lists of so many texts each."""
    cells: list[list[str]] = facts[name]
    if any(len(cell) != length for cell in cells):
        raise damaged(str(contents), f"lists of {length} texts as {name!r}", "others")
    return cells


def _check_members(
    facts: Mapping[str, Any],
    answers: Mapping[str, Attribution],
    scores: Mapping[tuple[str, str], Score],
    n: int,
    contents: Path,
) -> None:
    """Refuses answers and scores of other inputs, and directions that are none."""
    where = str(contents)
    # A file of another folder fits by its name; its number of inputs tells.
    counts = {*map(len, answers.values()), *map(len, scores.values())}
    if counts - {n}:
        raise damaged(where, f"answers and scores of {n} inputs", f"{sorted(counts)}")
    if not answers:
        raise damaged(where, "an answer at least", "none")
    directions = facts["directions"]
    if set(directions) - set(facts["metrics"]) or set(directions.values()) - {"lower", "higher"}:
        raise damaged(where, "'lower' or 'higher' for each metric", shown(directions))
