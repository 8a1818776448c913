"""Methods and metrics of other people: named by entry points and by hand, skipped where broken."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from typer.testing import CliRunner

import assay
from assay import extensions
from assay.cli.app import app
from assay.comparison.comparing import compare
from assay.errors import AbilityError, InputError, KindError
from assay.methods.base import Method, able_methods
from assay.metrics.base import Metric
from assay.registry import tables
from assay.registry.settings import metrics, parse, words

MODULE = '''
from dataclasses import dataclass
from typing import final

import torch

from assay.methods.base import Method
from assay.metrics.base import Metric, Reading


@final
@dataclass(frozen=True)
class SignedGradient(Method):
    """The sign of the slope."""

    power: float = 1.0
    cost = "1 gradient"

    def values(self, question, seed):
        return question.slope().sign() * self.power


@final
@dataclass(frozen=True)
class Size(Metric):
    """The sum of the magnitudes."""

    direction = "higher"

    def read(self, question, attributions, seed):
        return [Reading(each.values.abs().sum(1)) for each in attributions]


@dataclass(frozen=True)
class Abstract(Method):
    pass


class Bare(Method):
    def values(self, question, seed):
        return question.x


@dataclass(frozen=True)
class Gradient(Method):
    def values(self, question, seed):
        return question.x
'''

GOOD = """
[assay.methods]
SignedGradient = their_package:SignedGradient

[assay.metrics]
Size = their_package:Size
"""


def install(folder: Path, name: str, points: str) -> None:
    """A distribution as an installer leaves it: a folder of metadata beside the module."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(points)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages on the path, which is forgotten afterwards."""
    (tmp_path / "their_package.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("their_package", None)


def question() -> assay.Question:
    torch.manual_seed(0)
    return assay.Question(torch.nn.Linear(3, 2), torch.randn(4, 3), target=0)


def test_an_entry_point_gives_a_name(site: Path) -> None:
    install(site, "theirs", GOOD)
    method = parse("SignedGradient(power=2.0)", Method)
    assert repr(method) == "SignedGradient(power=2.0)"
    assert parse("Smoothed(SignedGradient, draws=2)", Method) is not None
    found = compare(question(), ["SignedGradient"], ["Size", "Completeness"])
    assert found.score("SignedGradient", "Size").values.tolist() == [3.0] * 4
    run = CliRunner().invoke(app, ["methods"], env={"COLUMNS": "240"})
    assert "SignedGradient" in run.output
    assert "power=1.0" in run.output
    assert "Size" in CliRunner().invoke(app, ["metrics"], env={"COLUMNS": "240"}).output
    assert list(metrics())[-1] == "Size"
    assert "Did you mean SignedGradient" in refusal("SignedGradents")


def refusal(text: str) -> str:
    with pytest.raises(InputError) as refused:
        parse(text, Method)
    return str(refused.value)


def test_a_refusal_advises_it(site: Path) -> None:
    install(site, "theirs", GOOD)
    asked = assay.Question(lambda rows: rows.sum(1), torch.ones(2, 3).numpy())
    with pytest.raises(AbilityError, match=r"Methods that can answer: .*\bSignedGradient\b"):
        assay.Gradient()(asked)


def test_the_generated_page_is_of_this_library_alone(site: Path) -> None:
    before = tables.page()
    install(site, "theirs", GOOD)
    assert "SignedGradient" in words()
    assert tables.page() == before


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Broken = no_such_package:Method", "ModuleNotFoundError"),
        ("Absent = their_package:Nothing", "AttributeError"),
        ("Wrong = their_package:torch", "no subclass of Method"),
        ("Size = their_package:Size", "no subclass of Method"),
        ("Abstract = their_package:Abstract", "lacks values"),
        ("Bare = their_package:Bare", "no dataclass"),
        ("Gradient = their_package:Gradient", "whose name this library has itself"),
    ],
)
def test_a_broken_entry_point_is_skipped_with_a_warning(site: Path, line: str, reason: str) -> None:
    good = "[assay.methods]\nSignedGradient = their_package:SignedGradient\n"
    install(site, "mixed", good + line)
    with pytest.warns(UserWarning, match=rf"Skipped the entry point .* of mixed: .*{reason}"):
        known = words()
    assert "SignedGradient" in known
    assert known["Gradient"] is assay.Gradient
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert words() == known, "warned once, not at every name"


def test_a_class_is_registered_by_hand_and_may_be_replaced() -> None:
    @dataclasses.dataclass(frozen=True)
    class Own(Method):
        """Ones."""

        level: float = 1.0

        def values(self, question: assay.Question, seed: int) -> torch.Tensor:
            return question.x * 0 + self.level

    assert "Own" not in able_methods(frozenset())
    try:
        assert assay.register(Own) is Own
        assert parse("Own(level=2.0)", Method) == Own(2.0)
        assert "Own" in able_methods(frozenset())
        replacement = dataclasses.make_dataclass("Own", [], bases=(Own,), frozen=True)
        assay.register(replacement)
        assert words()["Own"] is replacement
    finally:
        extensions.METHODS.remove(Own)
    assert "Own" not in words()


def test_what_cannot_be_registered_is_refused() -> None:
    class Bare(Metric):
        direction: ClassVar[Any] = "lower"

        def read(self, question: Any, attributions: Any, seed: int) -> Any:
            return []

    for thing in (3, int, assay.Question, assay.Gradient(), torch):
        with pytest.raises(KindError, match="the class of a method or metric"):
            assay.register(thing)  # type: ignore[type-var]
    with pytest.raises(KindError, match="no dataclass"):
        assay.register(Bare)
    with pytest.raises(KindError, match="is abstract: it lacks values"):
        assay.register(Method)
    impostor = dataclasses.make_dataclass("Rise", [], bases=(assay.Gradient,), frozen=True)
    with pytest.raises(KindError, match="whose name this library has itself"):
        assay.register(impostor)


def test_a_table_of_settings_without_defaults_says_so() -> None:
    @dataclasses.dataclass(frozen=True)
    class Depends(Method):
        """By its settings."""

        inner: Any

        @property
        def needs(self) -> frozenset[assay.Ability]:
            return frozenset({self.inner})

        def values(self, question: assay.Question, seed: int) -> torch.Tensor:
            return question.x

    assay.register(Depends)
    try:
        row = next(row for row in tables.methods().rows if row[0] == "Depends")
    finally:
        extensions.METHODS.remove(Depends)
    assert row[2] == "by settings"
    assert row[-1] == "inner"
