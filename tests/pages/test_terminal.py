"""What a terminal shows of a noun by rich: words and bars, of any width, with colours or without."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console

import assay
from assay.answers.shown import Shown
from assay.pages import cards
from assay.pages.terminal import WIDTH, bar
from toys import randn

NAMES = ["[red]x[/]", "温度", "a" * 60, "d", "e", "f", "g", "h"]
TABLE = assay.Question(
    lambda x: x[:, 0] * x[:, 1] + x[:, 2:].sum(1),
    randn(9, 8, dtype=torch.float64),
    features=assay.Columns(names=NAMES),
)
ANSWER = assay.ExactShapley()(TABLE)
VOTES = assay.Question(
    lambda x: torch.stack([1.5 + 0 * x[:, 0], x[:, 1] + x[:, 3]], dim=1), torch.ones(1, 5)
)
[CERTIFICATE] = assay.HardStability().certify(VOTES, torch.arange(5) == 0)

NOUNS: dict[str, Any] = {
    "question": TABLE,
    "answer": ANSWER,
    "slopes": assay.Gradient()(TABLE),
    "score": assay.Completeness()(TABLE, ANSWER),
    "certificate": CERTIFICATE,
    "comparison": assay.compare(TABLE, ["Occlusion", "ExactShapley"], ["Completeness"]),
}


def shown(noun: Any, width: int = 100, **settings: Any) -> str:
    file = io.StringIO()
    Console(file=file, width=width, **settings).print(noun)
    return file.getvalue()


def test_every_noun_is_here() -> None:
    assert {type(noun) for noun in NOUNS.values()} == set(Shown.__subclasses__())


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("name", NOUNS)
def test_lines_are_as_wide_as_the_terminal_at_most(name: str, width: int) -> None:
    lines = shown(NOUNS[name], width).splitlines()
    assert len(lines) > 2
    assert max(map(cell_len, lines)) <= width
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("name", NOUNS)
def test_a_card_and_a_terminal_say_the_same(name: str) -> None:
    if name == "comparison":
        assert "Occlusion" in shown(NOUNS[name])
        return
    said = " ".join(shown(NOUNS[name], 1000).split())
    for entry in cards.card_of(NOUNS[name]).entries:
        assert " ".join(" ".join(entry).split()) in said


def test_bars_are_as_long_as_credit_is_large_and_signs_are_written() -> None:
    values = torch.tensor([[2.0, -1.0, 0.5, 0.0, 0.25, 0.1, 0.1, -0.05]], dtype=torch.float64)
    made = dataclasses.replace(
        assay.ExactShapley()(TABLE.part(0, 1)), values=values, standard_error=values.abs() / 4
    )
    lines = {line.split()[0]: line.split() for line in shown(made).splitlines() if "±" in line}
    assert lines["[red]x[/]"][1:] == ["█" * 16, "+2.000", "±", "0.980"]
    assert lines["温度"][1:] == ["█" * 8, "−1.000", "±", "0.490"]
    assert lines["e"][1:] == ["██", "+0.250", "±", "0.122"]
    # What is not shown adds up with what is: 0.1 + 0.0 - 0.05.
    assert "3 others together" in shown(made)
    assert "+0.050" in shown(made)
    assert "others together" not in shown(NOUNS["slopes"])


def test_bars_of_any_size() -> None:
    assert bar(3.0, 3.0) == "█" * WIDTH
    assert bar(1e-9, 1.0) == "▏"
    for eighths in range(1, 8 * WIDTH):
        made = bar(-eighths, 8 * WIDTH)
        full, rest = divmod(eighths, 8)
        assert made == "█" * full + ("" if not rest else " ▏▎▍▌▋▊▉"[rest])
    for nothing in (0.0, math.nan, math.inf):
        assert bar(nothing, 1.0) == ""
    assert bar(1.0, 0.0) == ""


def test_signs_have_colours_and_none_where_none_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = shown(ANSWER, force_terminal=True, color_system="truecolor")
    assert "\x1b[38;2;214;96;77m" in many
    assert "\x1b[38;2;67;147;195m" in many
    monkeypatch.setenv("NO_COLOR", "1")
    none = shown(ANSWER, force_terminal=True, color_system="truecolor")
    assert "38;2" not in none
    # The words are the same.
    assert "[red]x[/]" in none


def test_what_cannot_be_told_from_zero_is_pale() -> None:
    values = torch.tensor([[2.0] + [-1.0] * 7], dtype=torch.float64)
    errors = torch.tensor([[0.1] + [0.6] * 7], dtype=torch.float64)
    made = dataclasses.replace(
        assay.ExactShapley()(TABLE.part(0, 1)), values=values, standard_error=errors
    )
    text = shown(made, force_terminal=True, color_system="truecolor")
    assert "\x1b[38;2;214;96;77m" in text
    assert "\x1b[2;38;2;67;147;195m" in text
    # Of what others have together no error is known.
    assert text.count("\x1b[38;2;67;147;195m") == 1
