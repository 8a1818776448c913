"""Settings of a wrong kind are refused in one sentence, in every class that has settings.

Every class of the package that holds settings is found by walking it, and every setting is given
what no setting, or only some, can mean: it is taken, or refused by the family, when it is made and
when it is used.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import Tensor

import assay
from assay import perturbations, targets
from assay.certificates.finetuning import MaskedDataset
from assay.certificates.noise import NoiseDesign
from assay.errors import AssayError, KindError, MissingError, SettingError, SettingKindError
from assay.methods.influence.distributions import Distribution
from assay.methods.lime.neighbourhood import Neighbourhood
from assay.methods.rules import Composition, Rule
from assay.methods.shapley.qii import Quantity
from assay.settings import Settings
from odd_values import NET, ODD, TRAINING, Unprintable, X, itself

IMAGES = torch.arange(32.0).view(2, 1, 4, 4) / 10 + 0.1


def class_of_each(package: Any) -> Iterator[type]:
    for entry in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if entry.name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(entry.name)
        except MissingError:
            continue
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                yield kind


CLASSES = sorted(
    {
        kind
        for kind in class_of_each(assay)
        if issubclass(kind, Settings)
        and dataclasses.is_dataclass(kind)
        and not inspect.isabstract(kind)
        # What a user cannot write down is given by the library alone.
        and not kind.__name__.startswith("_")
    },
    key=lambda kind: kind.__name__,
)

# What a class cannot do without.
NEEDED: dict[type, dict[str, Any]] = {
    assay.Absolute: {"method": assay.Gradient()},
    assay.Aligned: {"value": X},
    assay.Background: {"rows": X},
    assay.Blur: {"sigma": 1.0},
    assay.Conditional: {"rows": torch.randn(9, 4)},
    assay.Contrast: {"a": 0, "b": 1},
    assay.Disparity: {"first": (0,)},
    assay.EpsilonGammaBox: {"low": -1.0, "high": 1.0},
    assay.DataDistribution: {"rows": X},
    assay.GaussianDistribution: {"scale": 0.1},
    targets.Function: {"function": lambda outputs: outputs[:, 0]},
    assay.GaussianNoise: {"sigma": 0.1},
    assay.Guided: {"map": assay.GradCam()},
    assay.Instances: {"rows": torch.randn(9, 4)},
    assay.Labels: {"map": torch.tensor([0, 0, 1, 1])},
    assay.LipschitzCheck: {"constant": 0.25},
    MaskedDataset: {"data": TRAINING, "features": torch.arange(4), "shares": (0.5,)},
    assay.Mean: {"rows": X},
    assay.MultiplicativeSmoothing: {"kept": 1, "levels": 4},
    assay.Neuron: {"layer": "0", "unit": 0},
    assay.Noise: {"sigma": 0.1},
    NoiseDesign: {"features": 4, "rows": ("f0",), "kept": 1, "levels": 1},
    assay.NoisyBaseline: {"sigma": 0.1},
    assay.Optimal: {"perturbation": assay.SubsetToBaseline()},
    assay.Output: {"index": 0},
    assay.Patches: {"size": 2},
    assay.Path: {"path": lambda a, b, x: b + a * (x - b)},
    assay.Quartiles: {"rows": torch.randn(20, 4)},
    assay.Sequence: {"words": [0, 1]},
    assay.ShapleyRegression: {
        "estimator": LinearRegression(),
        "rows": X,
        "answers": [0.0, 1.0, 2.0],
    },
    assay.Shared: {"value": X},
    assay.Smoothed: {"method": assay.Gradient()},
    assay.SoftStability: {"radius": 1},
    assay.TimesInput: {"method": assay.Gradient()},
    assay.Tokens: {"padding": 0},
    assay.TokenWords: {"texts": ("so good",), "offsets": [[(0, 2), (3, 7)]]},
}


def settings_of(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.init]


CASES = [(kind, name) for kind in CLASSES for name in settings_of(kind)]


def made(kind: type, name: str, value: Any) -> Any:
    """The instance, or None where the family refuses it."""
    try:
        return kind(**{**NEEDED.get(kind, {}), name: value})
    except AssayError as refusal:
        said = refusal
    assert said.advice
    assert len(str(said)) < 1000
    return None


def test_every_class_with_settings_is_found_and_can_be_made() -> None:
    assert len(CLASSES) > 50
    for kind in CLASSES:
        kind(**NEEDED.get(kind, {}))


@pytest.mark.parametrize(
    "kind", [kind for kind in NEEDED if NEEDED[kind]], ids=lambda kind: kind.__name__
)
def test_settings_without_defaults_have_to_be_given(kind: type) -> None:
    """Also where nothing is given at all, which is what Python says of copies as well."""
    fields = [field for field in dataclasses.fields(kind) if field.init]
    missing = dataclasses.MISSING
    if all(f.default is not missing or f.default_factory is not missing for f in fields):
        pytest.skip("all of its settings have defaults; these are needed for another reason")
    with pytest.raises(SettingKindError, match="Expected the settings of"):
        kind()
    made = kind(**NEEDED[kind])
    assert repr(copy.deepcopy(made)) == repr(made)


@pytest.mark.parametrize(
    ("kind", "name"), CASES, ids=[f"{kind.__name__}.{name}" for kind, name in CASES]
)
def test_a_setting_is_taken_or_refused_by_the_family(kind: type, name: str) -> None:
    for value in ODD.values():
        instance = made(kind, name, value)
        if instance is None or type(value) is Unprintable:
            continue
        repr(instance)
        dataclasses.replace(instance)


# --- used


ROWS = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))


def asked(instance: Any) -> None:  # noqa: C901
    """Uses the settings for what they are made for, on something small."""
    if isinstance(instance, assay.Method):
        removal = assay.Background(ROWS[:2])
        if isinstance(instance, assay.Path | assay.IntegratedGradients | assay.TimesInput):
            removal = assay.Baseline(0.0)
        instance(assay.Question(NET, X, target=0, removal=removal))
    elif isinstance(instance, assay.Metric):
        question = assay.Question(NET, X, target=0)
        instance(question, assay.Gradient()(question))
    elif isinstance(instance, Rule):
        _ = assay.LRP(assay.Composite(first=instance))(assay.Question(NET, X, target=0))
    elif isinstance(instance, Composition):
        _ = assay.LRP(instance)(assay.Question(NET, X, target=0))
    elif isinstance(instance, Neighbourhood):
        assay.Lime(instance)(assay.Question(NET, X, target=0))
    elif isinstance(instance, Distribution):
        assay.InternalInfluence(instance)(assay.Question(NET, X, target=0).after("0"))
    elif isinstance(instance, Quantity):
        assay.Qii("unary", quantity=instance)(assay.Question(NET, X, target=0))
    elif isinstance(instance, perturbations.Perturbation):
        instance.draw(assay.Question(lambda x: x.sum((1, 2)), IMAGES[:, 0]), 0, (0, 2))
    elif isinstance(instance, assay.features.Features):
        for inputs in (X, IMAGES, ["a text", "of words"]):
            refused_at_most(assay.Question, lambda x: 0, inputs, features=instance)
    elif isinstance(instance, assay.removals.Removal):
        for inputs in (X, X.long(), IMAGES, ["a text", "of words"]):
            refused_at_most(assay.Question, lambda x: 0, inputs, removal=instance)
    elif isinstance(instance, targets.Target):
        _ = assay.Question(NET, X, target=instance).prediction
    elif isinstance(instance, assay.Aligned | assay.Shared):
        assay.Question(lambda x, mask: x, X, context={"mask": instance})
    elif isinstance(instance, MaskedDataset):
        _ = instance[0]
    elif isinstance(instance, assay.LipschitzCheck):
        instance.check(assay.Question(NET, X, target=0))
    elif isinstance(instance, assay.Attack):
        instance.search(assay.Question(NET, X, target=0), torch.arange(4) == 0)
    elif isinstance(instance, NoiseDesign):
        _ = instance.masks
    else:
        instance.certify(assay.Question(NET, X, target=0), torch.arange(4) == 0)


def refused_at_most(make: Any, *given: Any, **named: Any) -> None:
    try:
        make(*given, **named)
    except AssayError as refusal:
        said = refusal
        assert said.advice


TOO_LARGE = {"a large int"}  # is meant, and takes its time

# Data and functions, whose own tests try more than this.
TRIED_ELSEWHERE = {
    (assay.Labels, "map"),
    (assay.LogOdds, "output"),
    (assay.LogProb, "output"),
    (assay.Path, "path"),
}


@pytest.mark.parametrize(
    ("kind", "name"), CASES, ids=[f"{kind.__name__}.{name}" for kind, name in CASES]
)
def test_what_was_taken_can_be_used_or_is_refused_by_the_family(kind: type, name: str) -> None:
    for what, value in ODD.items():
        instance = made(kind, name, value)
        tried = what in TOO_LARGE or (kind, name) in TRIED_ELSEWHERE
        if instance is not None and not tried:
            refused_at_most(asked, instance)


# --- the mechanism


@dataclass(frozen=True)
class Mine(assay.Method):
    """A method of somebody else, who does nothing for its settings to be checked."""

    steps: int = 4
    share: float = 0.5
    loud: bool = False
    names: tuple[str, ...] = ()
    window: int | tuple[int, ...] = 1
    word: Literal["a", "b"] = "a"
    size: int | Literal["all"] = 1
    inner: assay.Method | None = None
    function: Callable[[Tensor], Tensor] | None = None
    table: dict[str, float] | None = None
    pair: tuple[int, str] = (0, "")
    later: Unknown = 0  # type: ignore[name-defined]  # noqa: F821
    data: Any = None

    def values(self, question: assay.Question, seed: int) -> Tensor:
        return torch.zeros_like(question.x)


TAKEN = [
    ("steps", np.int64(3), 3),
    ("steps", np.uint8(3), 3),
    ("steps", torch.tensor(3), 3),
    ("steps", np.array(3), 3),
    ("share", 1, 1.0),
    ("share", np.float32(0.25), 0.25),
    ("share", torch.tensor(0.25), 0.25),
    ("share", float("inf"), float("inf")),
    ("loud", np.bool_(True), True),
    ("names", ["a", np.str_("b")], ("a", "b")),
    ("names", pd.Index(["a", "b"]), ("a", "b")),
    ("names", np.array(["a", "b"]), ("a", "b")),
    ("window", [1, 2], (1, 2)),
    ("window", np.array([1, 2]), (1, 2)),
    ("window", torch.tensor([1, 2]), (1, 2)),
    ("window", range(1, 3), (1, 2)),
    ("window", pd.Series([1, 2], index=[7, 8]), (1, 2)),
    ("window", np.int64(2), 2),
    ("word", np.str_("b"), "b"),
    ("size", "all", "all"),
    ("size", np.int32(7), 7),
    ("inner", assay.Gradient(), assay.Gradient()),
    ("table", {"a": np.float64(1)}, {"a": 1.0}),
    ("pair", [np.int64(1), "x"], (1, "x")),
    ("later", object, object),
    ("data", [1, 2], [1, 2]),
]


@pytest.mark.parametrize(("name", "given", "meant"), TAKEN)
def test_what_means_the_same_becomes_what_the_annotation_says(
    name: str, given: Any, meant: Any
) -> None:
    made = Mine(**{name: given})
    value = getattr(made, name)
    assert value == meant
    assert type(value) is type(meant)
    if isinstance(value, tuple | int | float | str):
        json.dumps(value)


REFUSED = [
    ("steps", "8", r"steps of Mine to be a whole number, got '8'\. Write Mine\(steps=8\)"),
    ("steps", 10.0, r"got 10\.0\. Write Mine\(steps=10\)"),
    ("steps", 2.5, r"got 2\.5\. Leave it out: Mine\(\) has steps=4"),
    ("steps", True, "a whole number, got True"),
    ("steps", None, "a whole number, got None"),
    ("steps", np.float64(3), "a whole number"),
    ("share", "half", "share of Mine to be a number, got 'half'"),
    ("share", float("nan"), "a number, got nan"),
    ("share", True, "a number, got True"),
    ("share", 10**400, "a number"),
    ("share", 1j, "a number"),
    ("share", torch.tensor([0.5]), "a number"),
    ("loud", 1, "True or False, got 1"),
    ("loud", "yes", "True or False"),
    ("names", "abc", "a tuple of texts, got 'abc'"),
    ("names", ("a", 1), "a tuple of texts"),
    ("names", {"a"}, "a tuple of texts"),
    ("window", (1, 2.5), "a whole number or a tuple of whole numbers"),
    ("window", [[1]], "a whole number or a tuple of whole numbers"),
    ("word", "c", "'a' or 'b', got 'c'"),
    ("word", ["a"], "'a' or 'b'"),
    ("size", "some", "a whole number or 'all', got 'some'"),
    ("size", 2.5, "a whole number or 'all'"),
    ("inner", "Gradient", "a Method or None, got 'Gradient'"),
    ("inner", assay.Gradient, r"an instance, not a class: inner=Gradient\(\.\.\.\)"),
    ("function", 3, "a function or None"),
    ("table", {"a": "x"}, "a dict from a text to a number"),
    ("pair", (1,), r"a tuple \(a whole number, a text\)"),
]


@pytest.mark.parametrize(("name", "given", "message"), REFUSED)
def test_another_kind_is_refused_with_the_line_to_write(
    name: str, given: Any, message: str
) -> None:
    with pytest.raises(SettingKindError, match=message) as caught:
        Mine(**{name: given})
    # Whoever caught settings out of range, or things of the wrong kind, catches this.
    assert isinstance(caught.value, SettingError)
    assert isinstance(caught.value, KindError)


def test_a_class_speaks_first_of_its_objects_and_may_replace_them() -> None:
    @dataclass(frozen=True)
    class Wrapping(assay.Method):
        inner: assay.Method
        seen: bool = False

        def __post_init__(self) -> None:
            if self.inner == "gradient":  # type: ignore[comparison-overlap]
                object.__setattr__(self, "inner", assay.Gradient())
            self.inner.check  # noqa: B018

        def values(self, question: assay.Question, seed: int) -> Tensor:
            return torch.zeros_like(question.x)

    assert Wrapping("gradient").inner == assay.Gradient()  # type: ignore[arg-type]
    # What it trips over is what the refusal says.
    with pytest.raises(SettingKindError, match="inner of Wrapping to be a Method") as caught:
        Wrapping(3)  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, AttributeError)


def test_classes_of_others_owe_nothing() -> None:
    class Named:
        def __post_init__(self) -> None:
            object.__setattr__(self, "name", "set by a second parent")

    @dataclass(frozen=True)
    class Beside(assay.Method, Named):
        steps: int = 1

        def values(self, question: assay.Question, seed: int) -> Tensor:
            return torch.zeros_like(question.x)

    @dataclass(frozen=True)
    class Before(Named, assay.Method):
        steps: int = 1
        lie: int = None  # type: ignore[assignment]
        kept: int = dataclasses.field(default=3, init=False)

        def values(self, question: assay.Question, seed: int) -> Tensor:
            return torch.zeros_like(question.x)

    class Plain(assay.Method):
        """No dataclass at all."""

        def __init__(self, steps: Any) -> None:
            self.steps = steps

        def values(self, question: assay.Question, seed: int) -> Tensor:
            return torch.zeros_like(question.x)

    for kind in (Beside, Before):
        made: Any = kind(np.int64(2))
        assert made.name == "set by a second parent"
        assert type(made.steps) is int
        with pytest.raises(SettingKindError):
            kind("2")  # type: ignore[arg-type]
    assert Plain("x").steps == "x"
    assert Plain("x")(assay.Question(NET, X, target=0)).values.shape == X.shape


def test_an_answer_of_settings_of_numpy_reads_back_and_can_be_saved(tmp_path: Path) -> None:
    question = assay.Question(NET, X, target=0)
    method = assay.Smoothed(assay.Gradient(), noise=np.float32(0.5), draws=np.int64(4))
    answer = method(question)
    assert answer.method.startswith("Smoothed(method=Gradient(), noise=0.5, draws=4, shape=")
    assert assay.parse(answer.method, assay.Method) == method
    answer.save(tmp_path / "a.safetensors")
    assert assay.Rise(masks=np.int64(60)).masks == 60


def test_rows_of_a_group_are_numbers_or_a_mask() -> None:
    values = torch.tensor([[1.0], [5.0], [3.0], [9.0]])
    # |(1 + 3) / 2 - (5 + 9) / 2| = 5
    mask = np.array([True, False, True, False])
    for first in ((0, 2), [0, 2], np.array([0, 2]), mask, pd.Series(mask, index=list("abcd"))):
        assert assay.Disparity(first).of(values).tolist() == [[5.0]]
        assert assay.Disparity(first, second=[1]).of(values).tolist() == [[3.0]]
        assert assay.Group(first).of(values).tolist() == [[2.0]]
    with pytest.raises(AssayError, match=r"a mask over the 4 inputs .* got 3 truth values"):
        assay.Disparity(mask[:3]).of(values)


@pytest.mark.parametrize(
    "columns",
    [slice(1, 3), np.array([1, 2]), torch.tensor([1, 2]), pd.Index([1, 2]), {1, 2}, range(1, 3)],
)
def test_a_group_of_columns_may_be_a_slice_or_an_array_of_numbers(columns: Any) -> None:
    features = assay.Columns(groups={"b": columns})
    question = assay.Question(NET, X, features=features)
    assert question.partition.labels.tolist() == [[0, 1, 1, 2]]


@pytest.mark.parametrize(
    "groups", [[["a", "b"]], [[0, 1], [2, 3]], {"b": "red"}, {"b": 1}, {"b": None}]
)
def test_groups_of_columns_that_are_none_are_refused(groups: Any) -> None:
    with pytest.raises(SettingError, match=r"groups of Columns|a list of columns as group 'b'"):
        assay.Columns(groups=groups)


def test_a_hierarchy_of_lists_is_one_of_tuples() -> None:
    assert assay.OwenValues([[0, 1], [2, [3]]]).hierarchy == ((0, 1), (2, (3,)))
    for odd in (0, (("a", "b"), ("c", "d")), itself()):
        with pytest.raises(SettingKindError, match="hierarchy of OwenValues"):
            assay.OwenValues(odd)


def test_steps_that_no_machine_has_are_refused_before_they_are_computed() -> None:
    for steps in (10**5, 2**40):
        with pytest.raises(AssayError, match="at most 8192 steps"):
            assay.IntegratedGradients(steps=steps)
