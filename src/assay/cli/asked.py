"""The options that make a question, and the question that they make.

Whatever can be told without the model is told before it is loaded: settings as text, files and
folders. Every command that asks takes the same options, by the same names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from assay.answers.attribution import Attribution
from assay.answers.files import writable
from assay.errors import InputError, KindError
from assay.question.question import Question
from assay.registry import parts, sources
from assay.registry.data_files import Reading
from assay.saved import load


@final
@dataclass(frozen=True)
class Asked:
    """What was typed about a question.

    Settings:
        model: the predictor's address.
        data: the file or folder of its inputs.
        target: which number is explained, as text.
        features: who receives credit, as text.
        removal: what absent means, as text.
        background: a file of rows to average over, in the place of `removal`.
        output: which answer of the predictor is meant.
        weights: a file of weights for a torch module.
        trust: whether code in a pickle may run.
        trusted: the types of a skops file that are trusted.
        reading: which part of the data is meant.
        seed: of every random draw.
    """

    model: str
    data: Path
    target: str | None = None
    features: str | None = None
    removal: str | None = None
    background: Path | None = None
    output: str | None = None
    weights: Path | None = None
    trust: bool = False
    trusted: tuple[str, ...] = ()
    reading: Reading = field(default_factory=Reading)
    seed: int = 0

    @property
    def says_absent(self) -> bool:
        """Whether it was said what absent means."""
        return self.removal is not None or self.background is not None

    def question(self) -> tuple[Question, tuple[str, ...]]:
        """The question, and the columns of the table that were left out of it."""
        if self.removal is not None and self.background is not None:
            raise InputError(
                expected="one of --removal and --background",
                got="both",
                advice="Rows to average over are a removal: leave the other out.",
            )
        target = parts.target(self.target)
        features = parts.features(self.features)
        absent = parts.removal(self.removal)
        data = sources.inputs(self.data, self.reading, self.seed)
        rows = None if self.background is None else sources.inputs(self.background)
        model = sources.wrapped(self.predictor(), self.output)
        data, done = sources.fitted(model, data, self.data)
        if rows is not None:
            absent = parts.background(sources.fitted(model, rows, self.data)[0])
        # A tensor that was a table keeps the names of its columns.
        if features is None and done.names:
            features = parts.columns(done.names)
        return Question(model, data, target, features, absent), done.dropped

    def predictor(self) -> Any:
        """The predictor as it is, before it is wrapped."""
        return sources.predictor(
            self.model, trust=self.trust, weights=self.weights, types=self.trusted
        )


def attribution(path: Path) -> Attribution:
    """A saved answer, and nothing else."""
    answer = load(path)
    if not isinstance(answer, Attribution):
        raise KindError(
            expected=f"a saved Attribution in {path}",
            got=f"a {type(answer).__name__}",
            advice="Give the file that `assay explain --out` wrote.",
        )
    return answer


def check_answers(question: Question, answer: Attribution, path: Path) -> None:
    """Refuses the answer to another question: its score would be a number without a meaning."""
    asked = answer.provenance
    if asked.get("question") != question.digest:
        raise InputError(
            expected=f"the question that {path} answers, {asked.get('asked')}",
            got=f"{question!r}: another model, inputs, target, features or removal",
            advice="Give the options that `assay explain` was given.",
        )


def check_out(*paths: Path | None) -> None:
    """Makes the folders, or refuses, before there is any work to lose."""
    for path in paths:
        if path is not None:
            writable(path)
