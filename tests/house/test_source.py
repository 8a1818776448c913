"""The house rules that are read off the source: what a file, a class, a function and a setting may
be.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import assay
import assay.features
import assay.removals
import assay.targets

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "assay"
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = {path: path.relative_to(SOURCE).as_posix() for path in FILES}
TREES = {path: ast.parse(path.read_text()) for path in FILES}
COUNTERS = {"Tally", "ChunkSearch"}  # what the engine counts and learns while it works

MODULES = {
    "assay." + name.removesuffix(".py").replace("/", "."): path
    for path, name in NAMES.items()
    if "__init__" not in name
}
MODULES |= {
    ".".join(["assay", *Path(name).parent.parts]): path
    for path, name in NAMES.items()
    if Path(name).name == "__init__.py"
}


def shown(path: Path) -> str:
    return NAMES[path]


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_the_source_neither_asserts_nor_prints_nor_promises(path: Path) -> None:
    assert "util" not in path.name
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", path.read_text())
    for node in ast.walk(TREES[path]):
        assert not isinstance(node, ast.Assert), f"{shown(path)}: an assert in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "eval", "exec"), (
                f"{shown(path)}: {node.func.id} in line {node.lineno}"
            )
        assert not isinstance(node, ast.Global | ast.Nonlocal), (
            f"{shown(path)}: {ast.unparse(node)}"
        )


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_nobody_draws_from_a_global_generator_or_unpickles(path: Path) -> None:
    drawing = {
        "rand",
        "randn",
        "randint",
        "randperm",
        "normal",
        "bernoulli",
        "multinomial",
        "rand_like",
        "randn_like",
    }
    for name, call in calls(path):
        where = f"{shown(path)}: {name} in line {call.lineno}"
        assert name not in ("pickle.load", "pickle.loads", "random.seed", "np.random.seed"), where
        if name == "torch.load":
            assert any(
                k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in call.keywords
            ), where
        if name.startswith("torch.") and name.split(".")[-1] in drawing:
            assert any(keyword.arg == "generator" for keyword in call.keywords), where
        if name.startswith(("np.random.", "numpy.random.")):
            # `generators` looks whether a model has drawn, and draws nothing.
            looks = (
                shown(path) == "question/generators.py" and name == "np.random.get_bit_generator"
            )
            allowed = ("Generator", "Philox", "SeedSequence")
            assert looks or name.split(".")[-1] in allowed, where
        if name.startswith("random.") and name != "random.getstate":
            assert "import random" not in path.read_text(), where


def classes() -> list[type[Any]]:
    found = []
    for name, path in MODULES.items():
        if path.name == "__main__.py":
            continue
        module = importlib.import_module(name)
        found += [
            kind
            for kind in vars(module).values()
            if inspect.isclass(kind) and kind.__module__ == name
        ]
    return found


CLASSES = classes()


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_a_class_is_abstract_or_final_and_its_settings_are_frozen(kind: type[Any]) -> None:
    # What all settings, mappings by name and nouns share are bases of bases, and ask nothing of them.
    shared = kind.__name__ in ("Named", "Settings", "Shown")
    is_protocol = getattr(kind, "_is_protocol", False)
    if not issubclass(kind, BaseException | Enum) and not is_protocol and not shared:
        assert getattr(kind, "__final__", False) or inspect.isabstract(kind), (
            f"{kind} is neither final nor abstract"
        )
        for base in kind.__mro__[1:]:
            assert not (base.__module__.startswith("assay") and getattr(base, "__final__", False))
    if dataclasses.is_dataclass(kind) and kind.__name__ not in COUNTERS:
        assert kind.__dataclass_params__.frozen, f"{kind} is not frozen"  # type: ignore[attr-defined]


def public() -> Iterator[tuple[str, Any]]:
    """Everything with a public name, defined in the house."""
    for name, path in MODULES.items():
        if path.name == "__main__.py":
            continue
        module = importlib.import_module(name)
        yield name, module
        for key, value in vars(module).items():
            if key.startswith("_") or getattr(value, "__module__", None) != name:
                continue
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{name}.{key}", value
            if inspect.isclass(value):
                for part, member in vars(value).items():
                    if not part.startswith("_") and (
                        inspect.isfunction(member) or isinstance(member, property)
                    ):
                        yield f"{name}.{key}.{part}", getattr(value, part)


def test_public_things_say_what_they_are() -> None:
    silent = [name for name, thing in public() if not (inspect.getdoc(thing) or "").strip()]
    assert silent == []
    made = [
        name
        for name, thing in public()
        if (inspect.getdoc(thing) or "").startswith(f"{name.split('.')[-1]}(")
    ]
    assert made == []  # the signature that a dataclass writes when nobody does


def test_methods_and_metrics_say_their_cost_and_show_an_example() -> None:
    for kind in (*assay.METHODS.values(), *assay.METRICS.values()):
        said = inspect.getdoc(kind) or ""
        assert "Cost" in said, kind
        assert ">>> " in said, kind
        assert kind.cost, kind


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_settings_are_named_and_nothing_is_passed_through_unread(path: Path) -> None:
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef):
            # A class method hands settings to its class, a forward what the user's module takes, what
            # makes an object looks at the names alone, and a wrapper has the signature of what it wraps.
            maker = node.name in ("forward", "__new__") or any(
                ast.unparse(each) == "classmethod" or ast.unparse(each).startswith("wraps(")
                for each in node.decorator_list
            )
            assert maker or node.args.kwarg is None, (
                f"{shown(path)}: {node.name} takes keywords that it does not name"
            )
            for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                assert not isinstance(default, ast.List | ast.Dict | ast.Set), (
                    f"{shown(path)}: {node.name} keeps a default"
                )


def settings_classes() -> list[type[Any]]:
    """The features, removals and targets that a user writes down."""
    wings = ("assay.features", "assay.removals", "assay.targets")
    bases = (assay.features.Features, assay.removals.Removal, assay.targets.Target)
    return [
        kind
        for kind in CLASSES
        if kind.__module__.startswith(wings)
        and issubclass(kind, bases)
        and not kind.__name__.startswith("_")
        and not inspect.isabstract(kind)
        # What stands for nothing having been said is written down by nobody.
        and kind is not UNSAID
    ]


UNSAID = importlib.import_module("assay.removals.unstated").Unstated
UNITS = {"features": "Shapes:", "removals": "Units:", "targets": "Units:"}


@pytest.mark.parametrize("kind", settings_classes(), ids=lambda kind: kind.__name__)
def test_features_removals_and_targets_say_what_methods_say(kind: type[Any]) -> None:
    said = inspect.getdoc(kind) or ""
    first = said.partition("\n\n")[0]
    assert first.endswith("."), "one sentence that says what it is"
    for block in ("Errors:", UNITS[kind.__module__.split(".")[1]], ">>> "):
        assert block in said, f"{kind.__name__} has no {block}"
    if kind.__module__.startswith("assay.removals"):
        assert "Cost:" in said
    fields = [each.name for each in dataclasses.fields(kind) if not each.name.startswith("_")]
    assert ("Settings:" in said) == bool(fields)
    for name in fields:
        assert re.search(rf"^    {name}: ", said, flags=re.M), f"{kind.__name__} keeps {name} quiet"


def test_every_feature_removal_and_target_at_the_top_is_asked_for_its_words() -> None:
    asked = {kind.__name__ for kind in settings_classes()}
    assert len(asked) > 20
    bases = (assay.features.Features, assay.removals.Removal, assay.targets.Target)
    top = {
        name
        for name in assay.__all__
        if inspect.isclass(kind := getattr(assay, name)) and issubclass(kind, bases)
    }
    assert top <= asked
