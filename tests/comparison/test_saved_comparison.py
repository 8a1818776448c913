"""A comparison that was saved is the same comparison, and nobody else's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import assay
from assay.comparison.comparing import compare
from assay.comparison.comparison import Comparison
from assay.errors import InputError, KindError, VersionError
from assay.pages.report_page import report
from assay.question.question import Question


def question(shift: float = 0.0) -> Question:
    rows = np.arange(24, dtype=np.float64).reshape(8, 3) + shift
    return Question(lambda x: x[:, 0] * x[:, 1] + x[:, 2], rows)


def compared(asked: Question) -> Comparison:
    methods = {"fair": "ExactShapley", "slopes": assay.Gradient()}
    return compare(asked, methods, ["Completeness", assay.Infidelity(draws=8)], seed=3, level=0.9)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    found = compared(question())
    found.save(tmp_path / "new" / "kept")
    again = Comparison.load(tmp_path / "new" / "kept", question())
    assert repr(again) == repr(found)
    assert again.refusals == found.refusals
    assert (again.seed, again.level, again.directions) == (3, 0.9, dict(found.directions))
    for cell, score in found.scores.items():
        assert torch.equal(again.scores[cell].values, score.values)
    assert again.to_pandas().equals(found.to_pandas())
    pages = [report(each, tmp_path / f"{k}.html") for k, each in enumerate((found, again))]
    assert pages[0].read_text() == pages[1].read_text()
    alone = assay.load(tmp_path / "new" / "kept" / "answer-0.safetensors")
    assert torch.equal(alone.values, found.attributions["fair"].values)  # type: ignore[union-attr]


def test_another_question_is_refused(tmp_path: Path) -> None:
    compared(question()).save(tmp_path)
    with pytest.raises(InputError, match="another model, inputs"):
        Comparison.load(tmp_path, question(1.0))
    with pytest.raises(KindError, match="the model is not kept"):
        Comparison.load(tmp_path, "question")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"comparison\.json"):
        Comparison.load(tmp_path / "nowhere", question())


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("format", 2, VersionError),
        ("format", "1", InputError),
        ("scores", [["fair"]], InputError),
        ("refusals", [["a", "b"]], InputError),
        ("answers", [], InputError),
        ("answers", ["../x"] * 99, InputError),
        ("directions", {"Completeness()": "up"}, InputError),
        ("directions", {"Other": "lower"}, InputError),
        ("level", 7, InputError),
        ("methods", None, InputError),
    ],
)
def test_a_damaged_folder_is_refused(
    tmp_path: Path, field: str, value: object, error: type[Exception]
) -> None:
    compared(question()).save(tmp_path)
    file = tmp_path / "comparison.json"
    stated = json.loads(file.read_text())
    file.write_text(json.dumps(stated | {field: value}))
    with pytest.raises(error):
        Comparison.load(tmp_path, question())
    file.write_text("[" * 100_000)
    with pytest.raises(InputError):
        Comparison.load(tmp_path, question())
