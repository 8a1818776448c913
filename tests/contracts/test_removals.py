"""What every removal must keep: replacements are a function of the input, the settings and, where
they depend on it, the mask; never of rows beside it, of chunks, or of what was asked before.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import assay
import assay.removals
from assay.removals import Removal
from toys import FEATURES, randn, tanh_net

for found in pkgutil.walk_packages(assay.removals.__path__, "assay.removals."):
    importlib.import_module(found.name)

DOUBLE = torch.float64
MASKS = torch.tensor([[True, False, True, False], [False, False, True, True]])


def rows_of_data(n: int = 6) -> Tensor:
    return randn(n, FEATURES, seed=3, dtype=DOUBLE)


def images() -> Tensor:
    return randn(6, 1, 2, 2, seed=3, dtype=DOUBLE)


def tokens() -> Tensor:
    return torch.randint(0, 9, (6, FEATURES), generator=torch.Generator().manual_seed(3))


def background() -> Tensor:
    return randn(8, FEATURES, seed=77, dtype=DOUBLE)


class Reads(nn.Module):
    """A small network of four numbers, whatever their shape and type."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tanh_net().double()

    def forward(self, x: Tensor) -> Tensor:
        numbers = x.flatten(1).to(next(self.parameters()).dtype)
        outputs: Tensor = self.net(numbers)
        return outputs


@dataclass(frozen=True)
class Case:
    """A removal, and six inputs of four elements each that it is bound to."""

    removal: Removal
    inputs: Callable[[], Tensor] = rows_of_data

    def ask(self, x: Tensor | None = None, model: Any = None) -> assay.Question:
        x = self.inputs() if x is None else x
        model = Reads().eval() if model is None else model
        return assay.Question(model, x, target=0, removal=self.removal)


_CASES: dict[str, Callable[[type[Any]], list[Case]]] = {
    "Baseline": lambda kind: [
        Case(kind(0.25)),
        Case(kind(background()[0].view(1, 2, 2)), images),
        Case(kind(11), tokens),
    ],
    "Mean": lambda kind: [Case(kind(background()))],
    "Background": lambda kind: [
        Case(kind(background())),
        Case(kind(tokens() + 9), tokens),
    ],
    "Blur": lambda kind: [Case(kind(1.0), images)],
    "Noise": lambda kind: [Case(kind(0.5)), Case(kind(0.5, mean=1.0, draws=4, seed=2))],
    "Conditional": lambda kind: [
        Case(kind(background(), draws=6)),
        Case(kind(background(), kind="kernel", draws=5, width=0.5)),
    ],
    "LinearImputation": lambda kind: [Case(kind(0.1), images), Case(kind(0.1, seed=3), images)],
    "MaskToken": lambda kind: [Case(kind(11), tokens)],
}


def below(kind: type[Any]) -> list[type[Any]]:
    return [kind, *(each for child in kind.__subclasses__() for each in below(child))]


def cases_of(kind: type[Any]) -> list[Case]:
    """The cases of a removal; one without a line above is made without settings, or fails here."""
    if kind.__name__ in _CASES:
        return _CASES[kind.__name__](kind)
    try:
        return [Case(kind())]
    except TypeError as error:
        raise AssertionError(
            f"{kind.__name__} needs settings ({error}): give it a line in _CASES of {__file__}"
        ) from error


KINDS = [
    kind
    for kind in below(Removal)
    # It stands for the removal that was not said, and is none that a user writes.
    if kind.__name__ != "Unstated"
    if kind.__module__.startswith("assay.removals.") and not inspect.isabstract(kind)
]
ALL = [case for kind in sorted(KINDS, key=lambda kind: kind.__name__) for case in cases_of(kind)]


@pytest.fixture(params=ALL, ids=lambda case: repr(case.removal)[:60])
def case(request: pytest.FixtureRequest) -> Case:
    made: Case = request.param
    return made


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def replaced(question: assay.Question, mask: Tensor | None = None) -> Tensor:
    """Every input under one mask, by default with nothing present: (n, draws, elements)."""
    draws = question.replacements
    mask = torch.zeros(FEATURES, dtype=torch.bool) if mask is None else mask
    rows = torch.arange(question.n).repeat_interleave(draws)
    draw = torch.arange(draws).repeat(question.n)
    made = question.masked(rows, mask.expand(len(rows), -1), draw)
    return made.view(question.n, draws, -1)


def test_every_removal_of_the_package_is_at_the_top_and_in_the_docs() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "questions.md").read_text("utf-8")
    for kind in KINDS:
        assert getattr(assay, kind.__name__) is kind
        assert f"| `{kind.__name__}(" in page, f"{kind.__name__} has no row in docs/questions.md"


# --- what replacements depend on


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_batch_size_changes_nothing(case: Case, rows: int) -> None:
    net = Reads().eval()
    small = case.ask(model=assay.wrap(net, batch_size=rows)).value(MASKS)
    close(small, case.ask(model=net).value(MASKS))


def test_the_order_of_inputs_changes_nothing(case: Case) -> None:
    order, x = torch.tensor([4, 0, 5, 3, 1, 2]), case.inputs()
    close(case.ask(x[order]).value(MASKS), case.ask(x).value(MASKS)[order])
    close(replaced(case.ask(x[order])), replaced(case.ask(x))[order])


def test_an_input_alone_gets_the_replacements_it_gets_in_a_crowd(case: Case) -> None:
    x = case.inputs()
    close(case.ask(x[2:3]).value(MASKS), case.ask(x).value(MASKS)[2:3])
    close(replaced(case.ask(x[2:3])), replaced(case.ask(x))[2:3])


def test_parts_of_a_question_answer_like_the_whole(case: Case) -> None:
    question = case.ask()
    close(question.part(1, 4).value(MASKS), question.value(MASKS)[1:4])
    close(replaced(question.take(torch.tensor([5, 1]))), replaced(question)[[5, 1]])


def test_global_generators_are_neither_read_nor_moved(case: Case) -> None:
    found, net = [], Reads().eval()
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
        found.append(replaced(case.ask(model=net), MASKS[0]))
        assert torch.equal(torch.random.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
        assert random.getstate() == before[2]
    assert torch.equal(*found)


def test_it_says_whether_it_follows_the_input(case: Case) -> None:
    """`follows` is what a question asks when it moves to other points of the same inputs."""
    question = case.ask()
    moved = replaced(question.at(question.x + 1))
    if case.removal.follows:
        assert not torch.equal(moved, replaced(question))
        close(moved, replaced(case.ask(case.inputs() + 1)))
    else:
        close(moved, replaced(question))


# --- what is left alone


def test_what_is_present_stays_and_what_is_absent_does_not(case: Case) -> None:
    question = case.ask()
    for mask in MASKS:
        made = replaced(question, mask)
        there = question.x[:, None, mask].expand_as(made[..., mask])
        assert torch.equal(made[..., mask], there)
        assert not torch.equal(
            made[..., ~mask], question.x[:, None, ~mask].expand_as(made[..., ~mask])
        )
    everything = torch.ones(1, FEATURES, dtype=torch.bool)
    close(question.value(everything)[:, 0], question.prediction)


def test_asking_and_slopes_leave_replacements_as_they_are(case: Case) -> None:
    x = case.inputs()
    question = case.ask(x.requires_grad_(x.is_floating_point()))
    before = replaced(question, MASKS[0])
    assert not before.requires_grad
    question.value(MASKS)
    # Whole numbers have no slope.
    if x.is_floating_point():
        assay.Gradient()(question)
        question.slope(question.x + 0.1)
    assert torch.equal(replaced(question, MASKS[0]), before)


def test_inputs_and_settings_are_left_as_found(case: Case) -> None:
    x = case.inputs()
    data = [
        getattr(case.removal, each.name)
        for each in dataclasses.fields(case.removal)  # type: ignore[arg-type]
    ]
    tensors = [x, *(value for value in data if isinstance(value, Tensor))]
    before = [tensor.clone() for tensor in tensors]
    assay.ExactShapley()(case.ask(x))
    assert all(torch.equal(*pair) for pair in zip(tensors, before, strict=True))


# --- what it is made of


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_replacements_are_finite_and_of_the_inputs_type(case: Case, dtype: torch.dtype) -> None:
    x = case.inputs()
    if x.is_floating_point():
        x = x.to(dtype)
    question = case.ask(x, Reads().to(dtype).eval())
    made = replaced(question, MASKS[0])
    assert made.dtype == question.x.dtype == x.dtype
    assert made.shape == (len(x), question.replacements, FEATURES)
    assert bool(torch.isfinite(made).all())


def test_settings_are_frozen_and_the_repr_is_short_and_reads_back(case: Case) -> None:
    removal = case.removal
    with pytest.raises(AttributeError):
        removal.anything = 1  # type: ignore[attr-defined]
    said = repr(removal)
    # Data in a repr would be data in the provenance of every answer.
    assert len(said) < 200
    assert "tensor(" not in said
    assert said in assay.Occlusion()(case.ask()).provenance["asked"]
    if " of shape " not in said:
        own = vars(sys.modules[type(removal).__module__])
        assert repr(eval(said, {**own, **vars(assay)})) == said


def test_values_add_up_whatever_is_removed(case: Case) -> None:
    gap = assay.ExactShapley()(case.ask()).gap
    assert gap is not None
    # Answers about whole numbers come in single precision.
    assert float(gap.abs().max()) < (1e-12 if gap.dtype == DOUBLE else 1e-6)


def test_the_digest_tells_settings_apart() -> None:
    digests = [case.ask().digest for case in ALL if case.inputs is rows_of_data]
    assert len(set(digests)) == len(digests)
