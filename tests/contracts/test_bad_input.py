"""What cannot be answered is refused before the expensive work: what was expected, what came, what
to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import assay
from assay import errors
from assay.errors import AbilityError, AssayError, InputError, KindError, ModelError, TargetError
from toys import FEATURES, randn, tanh_net

CHEAP = 40  # rows: a probe, the clean outputs and the base; the methods below would ask thousands
EXPENSIVE = (
    assay.IntegratedGradients(1000),
    assay.Smoothed(assay.Gradient(), draws=1000),
    assay.InputXGradient(),
    assay.ExpectedGradients(1000),
)


class Rows(nn.Module):
    """Counts the rows that were asked of a model."""

    def __init__(self, inner: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.asked = inner, []

    def forward(self, *x: Tensor) -> Any:
        self.asked.append(len(x[0]))
        return self.inner(*x)

    def __deepcopy__(self, memo: Any) -> Rows:
        return self


NET = tanh_net()
X = randn(6, FEATURES)
HOLES = X.clone()
HOLES[2, 1] = torch.nan
FAR = X.clone()
FAR[4, 0] = -torch.inf
IMAGES = randn(6, 1, 5, 5)


def flat(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


def unsure(x: Tensor) -> Tensor:
    return torch.where(x[:, :1] > 100, 1.0, torch.nan) * NET(x)


def far_from_zero(x: Tensor) -> Tensor:
    return (x.abs().sum(1, keepdim=True) - 1e-9).sqrt() * NET(x)


def crowd(x: Tensor) -> Tensor:
    out: Tensor = NET(x - x.mean(0))
    return out


def restless(x: Tensor) -> Tensor:
    out: Tensor = NET(x) + torch.rand(1)
    return out


@dataclass(frozen=True)
class Bad:
    """A question that must be refused, and the sentence that must be said."""

    ask: Callable[[Any], assay.Question]
    error: type[Exception]
    expected: str
    got: str
    advice: str = ""
    model: Any = NET
    method: Any = None


BAD = {
    "NaN inputs": Bad(
        lambda m: assay.Question(m, HOLES),
        InputError,
        "finite inputs",
        "1 of 6 inputs, first in input 2",
        "Fill or drop",
    ),
    "infinite inputs": Bad(
        lambda m: assay.Question(m, FAR),
        InputError,
        "finite inputs",
        "first in input 4",
        "Fill or drop",
    ),
    "empty batch": Bad(
        lambda m: assay.Question(m, X[:0]), InputError, "at least one input", r"\(0, 4\)"
    ),
    "inputs without elements": Bad(
        lambda m: assay.Question(m, X[:, :0]), InputError, "at least one element", r"\(6, 0\)"
    ),
    "a single number": Bad(
        lambda m: assay.Question(m, torch.tensor(1.0)),
        InputError,
        "first dimension counts",
        "single number",
    ),
    "no tensors": Bad(lambda m: assay.Question(m, ()), InputError, "at least one tensor", "none"),
    "unlike lengths": Bad(
        lambda m: assay.Question(m, (X, X[:3])),
        InputError,
        "share their first dimension",
        r"\[3, 6\]",
    ),
    "texts": Bad(
        lambda m: assay.Question(m, ["a word", "b"]),
        KindError,
        "tensors for the torch module",
        "list",
        "encode texts",
        method=assay.InputXGradient(),
    ),
    "a frame": Bad(
        lambda m: assay.Question(m, pd.DataFrame(X.numpy())),
        KindError,
        "tensors for the torch module",
        "DataFrame",
        "Columns",
    ),
    "an object": Bad(
        lambda m: assay.Question(m, object()), KindError, "a tensor, an array of numbers", "object"
    ),
    "target too large": Bad(
        lambda m: assay.Question(m, X, target=3),
        TargetError,
        r"inside outputs of shape \(3,\)",
        r"\(3,\)",
        "first output is 0",
    ),
    "target too small": Bad(
        lambda m: assay.Question(m, X, target=-4), TargetError, "inside outputs", "output number -4"
    ),
    "one bad target of many": Bad(
        lambda m: assay.Question(m, X, target=[0, 1, 2, 0, 1, 7]),
        TargetError,
        "inside outputs",
        "output number 7",
    ),
    "too few targets": Bad(
        lambda m: assay.Question(m, X, target=[0, 1]), TargetError, r"shape \(6,\)", r"\(2,\)"
    ),
    "a target by name": Bad(
        lambda m: assay.Question(m, X, target="cat"),
        TargetError,
        "a model whose classes have labels, for the target 'cat'",
        "which says none",
    ),
    "a target that averages": Bad(
        lambda m: assay.Question(m, X, target=lambda y: y.mean()),
        TargetError,
        r"shape \(1,\)",
        r"got \(\)",
    ),
    "log odds of one output": Bad(
        lambda m: assay.Question(m, X, target=assay.LogOdds()),
        TargetError,
        "two classes",
        r"\(1,\)",
        model=flat,
    ),
    "an unknown layer": Bad(
        lambda m: assay.Question(m, X, target=assay.Neuron("7", 0)),
        AbilityError,
        "name of a layer",
        "'7'",
        "Layers near",
    ),
    "a neuron out of range": Bad(
        lambda m: assay.Question(m, X, target=assay.Neuron("0", 8)),
        TargetError,
        r"shape \(8,\)",
        r"\(8,\)",
    ),
    "a feature map of the wrong shape": Bad(
        lambda m: assay.Question(
            m, IMAGES, features=assay.Labels(torch.zeros(4, 4, dtype=torch.int64))
        ),
        InputError,
        r"shape \(1, 5, 5\)",
        r"\(4, 4\)",
        model=flat,
    ),
    "a feature map for other inputs": Bad(
        lambda m: assay.Question(
            m, IMAGES, features=assay.Labels(torch.zeros(5, 1, 5, 5, dtype=torch.int64))
        ),
        InputError,
        "with 6 inputs in front",
        r"\(5, 1, 5, 5\)",
        model=flat,
    ),
    "patches of a table": Bad(
        lambda m: assay.Question(m, X, features=assay.Patches(2)), InputError, "images", r"\(4,\)"
    ),
    "features that are none": Bad(
        lambda m: assay.Question(m, X, features=assay.Baseline()),
        KindError,
        "features such as",
        "Baseline",
    ),
    "a removal of the wrong shape": Bad(
        lambda m: assay.Question(m, X, removal=assay.Baseline(torch.zeros(3))),
        InputError,
        r"shape \(4,\)",
        r"\(3,\)",
    ),
    "a removal for other inputs": Bad(
        lambda m: assay.Question(m, X, removal=assay.Baseline(X[:4])),
        InputError,
        "one row or of 6",
        "got 4",
        "Background",
    ),
    "a background of other columns": Bad(
        lambda m: assay.Question(m, X, removal=assay.Background(randn(9, 5))),
        InputError,
        r"shape \(4,\)",
        r"\(9, 5\)",
    ),
    "a removal of NaN": Bad(
        lambda m: assay.Question(m, X, removal=assay.Baseline(float("nan"))),
        InputError,
        "finite numbers in the baseline",
        "NaN",
    ),
    "a removal that is none": Bad(
        lambda m: assay.Question(m, X, removal=0.0), KindError, "removal such as", "float"
    ),
    "a blur of a table": Bad(
        lambda m: assay.Question(m, X, removal=assay.Blur(1.0)), InputError, "images", r"\(4,\)"
    ),
    "a model that returns NaN": Bad(
        lambda m: assay.Question(m, X, target=0),
        ModelError,
        "finite outputs",
        "NaN or infinity in 6 of 6 rows on the clean inputs",
        "preprocessing",
        unsure,
    ),
    "a model that returns NaN for what is absent": Bad(
        lambda m: assay.Question(m, X, target=0),
        ModelError,
        "finite outputs",
        "1 of 1 rows",
        "removal",
        far_from_zero,
    ),
    "rows that influence each other": Bad(
        lambda m: assay.Question(m, X, target=0),
        ModelError,
        "not to depend on its neighbours",
        "a difference of",
        "evaluation mode",
        crowd,
    ),
    "answers that change": Bad(
        lambda m: assay.Question(m, X, target=0),
        ModelError,
        "not to depend on its neighbours",
        "a difference of",
        "fix the randomness",
        restless,
    ),
    "no row for each input": Bad(
        lambda m: assay.Question(m, X),
        ModelError,
        "one output row for each of 1",
        r"\(4,\)",
        "first dimension",
        lambda x: x.sum(0),
    ),
    "a single number for all": Bad(
        lambda m: assay.Question(m, X),
        ModelError,
        "one output row for each",
        r"\(\)",
        "",
        lambda x: x.sum(),
    ),
    "a tuple": Bad(
        lambda m: assay.Question(m, X),
        KindError,
        "one tensor of outputs",
        "tuple",
        r"wrap\(model, output=0\)",
        lambda x: (NET(x), x),
    ),
    "a dict": Bad(
        lambda m: assay.Question(m, X),
        KindError,
        "one tensor of outputs",
        "dict",
        r"wrap\(model, output='logits'\)",
        lambda x: {"logits": NET(x)},
    ),
    "a list of numbers": Bad(
        lambda m: assay.Question(m, X),
        KindError,
        "one tensor of outputs",
        "list of float",
        "asarray",
        lambda x: [1.0] * len(x),
    ),
    "detached outputs": Bad(
        lambda m: assay.Question(m, X, target=0),
        AbilityError,
        "can be differentiated",
        "detached",
        "only asks for predictions",
        lambda x: NET(x).detach(),
    ),
    "a context that is not declared": Bad(
        lambda m: assay.Question(m, X, context={"mask": X}),
        KindError,
        r"Aligned\(tensor\) or Shared\(value\)",
        "Tensor",
        "shape alone",
    ),
    "a context for other inputs": Bad(
        lambda m: assay.Question(m, X, context={"mask": assay.Aligned(X[:2])}),
        InputError,
        "Expected 6 rows",
        r"\(2, 4\)",
    ),
    "integers": Bad(
        lambda m: assay.Question(m, X.long(), target=0),
        KindError,
        "floating inputs",
        "torch.int64",
        r"\.float\(\)",
        lambda x: NET(x.float()),
    ),
    "no way from a background": Bad(
        lambda m: assay.Question(m, X, target=0, removal=assay.Background(X)),
        InputError,
        "one replacement for each",
        "Background.*6",
        "ExpectedGradients",
        method=assay.IntegratedGradients(1000),
    ),
    "train mode": Bad(
        lambda m: assay.Question(nn.Sequential(m, nn.BatchNorm1d(3)).train(), X, target=0),
        ModelError,
        "evaluation mode",
        "train mode",
        r"model\.eval\(\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_answered_is_refused_early_and_in_a_helpful_sentence(name: str) -> None:
    bad = BAD[name]
    model = Rows(bad.model).eval()
    if (
        (isinstance(bad.model, nn.Module) and "Neuron" in str(name.title()))
        or "layer" in name
        or "neuron" in name
    ):
        model = bad.model
    for method in (bad.method,) if bad.method else EXPENSIVE:
        with pytest.raises(bad.error) as caught:
            method(bad.ask(model))
        said = str(caught.value)
        assert isinstance(caught.value, AssayError)
        for part in (bad.expected, bad.got, bad.advice):
            assert re.search(part, said, re.DOTALL), f"{part!r} not in {said!r}"
        assert re.search(r"Expected|expects", said)
    asked = getattr(model, "asked", [])
    assert sum(asked) <= CHEAP * (1 if bad.method else len(EXPENSIVE))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: assay.IntegratedGradients(1), InputError, "at least 2 steps, got 1"),
        (
            lambda: assay.IntegratedGradients(8, "simpson"),
            InputError,
            "one of the rules .*, got 'simpson'",
        ),
        (
            lambda: assay.IntegratedGradients(8, tolerance=0.0),
            InputError,
            "positive tolerance or None, got 0.0",
        ),
        (lambda: assay.Path(lambda a, b, x: x, steps=0), InputError, "at least 2 steps"),
        (lambda: assay.ExpectedGradients(1), InputError, "at least 2 draws"),
        (
            lambda: assay.Smoothed(assay.Gradient(), noise=0.0),
            InputError,
            "noise > 0.*got noise=0.0",
        ),
        (lambda: assay.Smoothed(assay.Gradient(), draws=1), InputError, "at least 2 draws"),
        (
            lambda: assay.Smoothed(assay.Gradient(), shape="box"),
            InputError,
            "'gaussian' or 'uniform'.*'box'",
        ),
        (lambda: assay.Smoothed("gradient"), KindError, "Expected a method inside Smoothed"),
        (lambda: assay.Absolute(assay.Gradient), KindError, "Expected a method inside Absolute"),
        (
            lambda: assay.TimesInput(assay.IntegratedGradients()),
            InputError,
            "local method.*contribution.*once only",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused_when_they_are_made(
    make: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        make()


def test_a_path_with_wrong_ends_is_refused_before_it_is_walked() -> None:
    model = Rows(NET).eval()
    for path, where in (
        (lambda a, b, x: x, "position 0 is the absent input"),
        (lambda a, b, x: b, "position 1 is the input"),
    ):
        with pytest.raises(InputError, match=where):
            assay.Path(path, steps=1000)(assay.Question(model, X, target=0))
    assert sum(model.asked) <= 2 * CHEAP


def test_a_method_asks_questions_and_nothing_else() -> None:
    with pytest.raises(KindError, match=r"Expected a Question, got Sequential\. Build one"):
        assay.Gradient()(NET)  # type: ignore[arg-type]


def test_a_refusal_names_methods_that_can_answer() -> None:
    question = assay.Question(lambda x: x.sum(axis=1), X.numpy())
    with pytest.raises(AbilityError, match="Methods that can answer: ") as caught:
        assay.Gradient()(question)
    named = str(caught.value).split("can answer: ")[1].rstrip(".").split(", ")
    assert "ExactShapley" in named
    assert not {"Gradient", "IntegratedGradients", "Absolute"} & set(named)


def test_frames_with_other_columns_are_refused() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    model = lambda frame: frame["a"].to_numpy()  # noqa: E731
    with pytest.raises(
        InputError, match=r"columns of the inputs, \['a', 'b'\], got rows without 'b'"
    ):
        assay.Question(model, frame, removal=assay.Background(frame.rename(columns={"b": "c"})))


def test_frames_with_words_in_the_place_of_numbers_are_refused() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    for other in (frame.astype({"a": str}), frame.astype({"a": object})):
        with pytest.raises(
            InputError,
            match=r"Expected numbers in the column 'a' as in the inputs, got .* pandas\.to_numeric",
        ):
            assay.Question(lambda x: x["a"].to_numpy(), frame, removal=assay.Background(other))
    assay.Question(
        lambda x: x["a"].to_numpy(), frame, removal=assay.Background(frame.astype({"a": int}))
    )


@pytest.mark.parametrize("amount", [-1, 5, 1.5, -0.1, True, "all", None])
def test_a_selection_is_a_number_of_features_or_a_share(amount: Any) -> None:
    answer = assay.Gradient()(assay.Question(NET, X, target=0))
    with pytest.raises((InputError, KindError), match=re.escape(f"got {amount!r}")):
        answer.top(amount)


@pytest.mark.parametrize("amount", [2, np.int64(2), 0.5, np.float32(0.5), 0.3])
def test_a_selection_may_be_any_number(amount: Any) -> None:
    answer = assay.Gradient()(assay.Question(NET, X, target=0))
    assert answer.top(amount).sum(1).tolist() == [2] * 6  # a share is rounded up


def test_files_of_another_kind_or_version_are_refused(tmp_path: Any) -> None:
    from safetensors.torch import save_file

    from assay.answers.attribution import Attribution
    from assay.answers.storage import read

    (tmp_path / "noise").write_bytes(b"not a file of numbers")
    with pytest.raises(InputError, match=r"written by \.save\(\)"):
        Attribution.load(tmp_path / "noise")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(InputError, match="saved Attribution"):
        Attribution.load(tmp_path / "other")
    save_file({"a": torch.zeros(1)}, tmp_path / "old", {"noun": "Attribution", "format": "0"})
    with pytest.raises(errors.VersionError, match=r"format 2 .* got format 0"):
        read(tmp_path / "old", "Attribution")


def test_every_refusal_is_of_one_family_and_what_python_users_expect() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    assert all(issubclass(kind, AssayError) for kind in kinds)
    for kind, beside in (
        (InputError, ValueError),
        (KindError, TypeError),
        (TargetError, ValueError),
        (AbilityError, TypeError),
    ):
        assert issubclass(kind, beside)
    missing = errors.MissingError("xgboost", "trees")
    assert isinstance(missing, ImportError)
    assert "pip install 'assay[trees]'" in str(missing)
