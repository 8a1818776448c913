"""Settings of a wrong kind are refused in one sentence, in every class that has settings.

Every class of the package that holds settings is found by walking it, and every setting is given
what no setting, or only some, can mean: it is taken, or refused by the family, when it is made and
when it is used.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import assay
from assay import targets
from assay.certificates.finetuning import MaskedDataset
from assay.certificates.noise import NoiseDesign
from assay.errors import AssayError, MissingError
from assay.settings import Settings

X = torch.arange(12.0).view(3, 4) / 10 + 0.1
IMAGES = torch.arange(32.0).view(2, 1, 4, 4) / 10 + 0.1
NET = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).eval()
TRAINING = [(torch.ones(4), 0), (torch.zeros(4), 1)]


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
    targets.Function: {"function": lambda outputs: outputs[:, 0]},
    assay.GaussianNoise: {"sigma": 0.1},
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
    assay.Output: {"index": 0},
    assay.Patches: {"size": 2},
    assay.Path: {"path": lambda a, b, x: b + a * (x - b)},
    assay.Quartiles: {"rows": torch.randn(20, 4)},
    assay.Sequence: {"words": [0, 1]},
    assay.ShapleyRegression: {"estimator": None, "rows": X, "answers": [0.0, 1.0, 2.0]},
    assay.Shared: {"value": X},
    assay.Smoothed: {"method": assay.Gradient()},
    assay.SoftStability: {"radius": 1},
    assay.TimesInput: {"method": assay.Gradient()},
}


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no")


def itself() -> list[Any]:
    held: list[Any] = []
    held.append(held)
    return held


ODD: dict[str, Any] = {
    "None": None,
    "a word": "x",
    "a number as text": "8",
    "an empty text": "",
    "bytes": b"x",
    "a fraction": 2.5,
    "a whole float": 10.0,
    "nan": float("nan"),
    "infinity": float("inf"),
    "a negative": -1,
    "zero": 0,
    "True": True,
    "a huge int": 10**400,
    "a large int": 2**40,
    "complex": 1j,
    "a list": [1, 2],
    "words": ["a", "b"],
    "nested": [[0, 1], [2, 3]],
    "ragged": [[1], [1, 2]],
    "holds itself": itself(),
    "holds None": (None, 1),
    "pairs of words": (("a", "b"), ("c", "d")),
    "empty tuple": (),
    "dict": {},
    "dict of lists": {"b": [1, 2]},
    "set": {1, 2},
    "object": object(),
    "unprintable": Unprintable(),
    "numpy int": np.int64(3),
    "numpy float": np.float32(0.5),
    "numpy bool": np.bool_(True),
    "numpy text": np.str_("x"),
    "array": np.array([0, 1]),
    "array of objects": np.array([None, "a"], dtype=object),
    "tensor": torch.tensor(3),
    "tensor of several": torch.tensor([0.5, 0.25]),
    "series": pd.Series([0, 1], index=[5, 6]),
    "a class": assay.Gradient,
    "an instance": assay.Gradient(),
    "lambda": lambda: 3,
    "generator": iter([1, 2]),
    "module": torch,
    "type": int,
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
    ("kind", "name"), CASES, ids=[f"{kind.__name__}.{name}" for kind, name in CASES]
)
def test_a_setting_is_taken_or_refused_by_the_family(kind: type, name: str) -> None:
    for value in ODD.values():
        instance = made(kind, name, value)
        if instance is None or type(value) is Unprintable:
            continue
        repr(instance)
        dataclasses.replace(instance)
