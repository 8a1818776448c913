"""What decides the outputs is in the digest, whatever holds it, and the digest never fails."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from torch import Tensor, nn

import assay
from assay.models.identity import identity
from toys import randn

ONE, TWO = torch.ones(3), 2 * torch.ones(3)
FACTORS = {"factor": 1.0}


def weighted(x: Tensor, w: Tensor) -> Tensor:
    return (x * w).sum(1)


def closing(w: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: (x * w).sum(1)


def defaulting(w: Tensor) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor, w: Tensor = w) -> Tensor:
        return (x * w).sum(1)

    return function


class Called:
    def __init__(self, w: Tensor) -> None:
        self.w = w

    def __call__(self, x: Tensor) -> Tensor:
        return (x * self.w).sum(1)

    def method(self, x: Tensor) -> Tensor:
        return (x * self.w).sum(1)


def digest(model: Any, **settings: Any) -> str:
    return assay.Question(model, torch.ones(2, 3), 0, **settings).digest


@pytest.mark.parametrize(
    "made",
    [
        closing,
        defaulting,
        Called,
        lambda w: Called(w).method,
        lambda w: functools.partial(weighted, w=w),
        lambda w: closing(w.numpy()),  # type: ignore[arg-type]
        lambda w: (lambda x: torch.sin(x).sum(1)) if w is ONE else (lambda x: torch.cos(x).sum(1)),
        lambda w: assay.wrap(nn.Identity(), output=lambda out: out * w),
        lambda w: assay.wrap(lambda x: (x, x), output=lambda out: (out[0] * w).sum(1)),
    ],
)
def test_what_a_function_holds_is_in_the_digest(made: Any) -> None:
    assert digest(made(ONE)) != digest(made(TWO))
    assert digest(made(ONE)) == digest(made(ONE))


def test_globals_context_removal_and_target_are_in_the_digest() -> None:
    def by_global(x: Tensor) -> Tensor:
        return x.sum(1) * FACTORS["factor"]

    before = digest(by_global)
    FACTORS["factor"] = 2.0
    assert digest(by_global) != before
    for kind in (assay.Shared, lambda w: assay.Aligned(w.expand(2, 3))):
        contexts = [{"w": kind(w)} for w in (ONE, TWO)]
        one, two = (digest(weighted, context=context) for context in contexts)
        assert one != two
    rows = randn(50, 3)
    removals = [assay.Conditional(rows), assay.Conditional(rows + 1)]
    one, two = (digest(closing(ONE), removal=removal) for removal in removals)
    assert one != two
    targets = [lambda y: y[:, 0], lambda y: y[:, 1]]
    digests = {assay.Question(nn.Identity(), torch.ones(2, 3), t).digest for t in targets}
    assert len(digests) == 2


def test_a_forest_is_the_same_wherever_it_was_loaded() -> None:
    rows = randn(60, 3).numpy()
    forests = [
        RandomForestClassifier(5, random_state=seed).fit(rows, rows[:, 0] > 0) for seed in (0, 1)
    ]
    one, two = (assay.wrap(forest).fingerprint() for forest in forests)
    assert one != two
    assert one == assay.wrap(pickle.loads(pickle.dumps(forests[0]))).fingerprint()
    assert one == assay.wrap(copy.deepcopy(forests[0])).fingerprint()
    bound = [assay.wrap(forest.predict_proba).fingerprint() for forest in forests]
    assert bound[0] != bound[1]


def test_what_cannot_be_read_takes_no_answer_with_it() -> None:
    class Session:
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise KeyError("no pickling")

        def __call__(self, x: Tensor) -> Tensor:
            return x.sum(1)

    circle: list[Any] = []
    circle.append(circle)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for held in (Session(), circle, deep, open(os.devnull), np.array([circle], dtype=object)):  # noqa: SIM115
        assert len(identity(held)) == 16
    assert assay.Gradient()(assay.Question(Session(), torch.ones(1, 2))).values.tolist() == [[1, 1]]


def test_what_a_function_counts_makes_it_no_other_function() -> None:
    asked = {"rows": 0}

    def counting(x: Tensor) -> Tensor:
        asked["rows"] += len(x)
        return x.sum(1)

    question = assay.Question(counting, torch.ones(2, 3))
    first = assay.Occlusion()(question).provenance["question"]
    assert assay.Occlusion()(question).provenance["question"] == first


def test_weights_that_were_written_to_are_others() -> None:
    net = nn.Linear(3, 2)
    wrapped = assay.wrap(net)
    before = wrapped.fingerprint()
    assert wrapped.fingerprint() == before
    with torch.no_grad():
        net.weight[0, 0] += 1
    assert wrapped.fingerprint() != before


def test_hashes_are_the_same_in_every_process() -> None:
    code = (
        "import torch, assay\n"
        "names = {'one', 'two', 'three'}\n"
        "w = torch.ones(3)\n"
        "inner = lambda x: (lambda y: y * w)(x).sum(1) + len(names)\n"
        "question = assay.Question(inner, torch.ones(1, 3), lambda y: y * 2)\n"
        "print(question.digest)\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


_PACKED = np.dtype([("threshold", np.float64), ("leaf", np.uint8), ("left", np.uint32)])
_LOOSE = np.dtype([("leaf", np.uint8), ("left", np.uint32)], align=True)
_NESTED = np.dtype([("pair", _LOOSE), ("gain", np.float64)])
_REPEATED = np.dtype([("pairs", _LOOSE, (2,)), ("gain", np.float64)])


@pytest.mark.parametrize("dtype", [_PACKED, _LOOSE, _NESTED, _REPEATED], ids=str)
def test_records_count_by_their_fields_and_not_by_what_lies_between(dtype: Any) -> None:
    """Nodes of trees are such records, hashed at once where no byte lies between fields."""
    size = np.zeros(3, dtype).nbytes
    zeros = np.zeros(size, np.uint8)
    seen = {identity(zeros.view(dtype))}
    for place in range(size):
        other = zeros.copy()
        other[place] = 1
        written = other.view(dtype)
        same = str(written) == str(zeros.view(dtype))
        known = identity(written)
        assert same == (known == identity(zeros.view(dtype)))
        seen.add(known)
    # Every byte of a field makes other records.
    assert len(seen) > size // 2
    assert identity(str(np.zeros(3, dtype))) not in seen


class Leaf:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Counted(Leaf):
    def __call__(self) -> int:
        return 1


class Kept(Leaf):
    def __getstate__(self) -> Any:
        return {"kept": 1}


class Slotted(Leaf):
    __slots__ = ("side",)


class Named(dict):  # type: ignore[type-arg]
    """A mapping with attributes."""


@dataclasses.dataclass
class Recorded:
    number: int = 1


def nested(depth: int) -> Leaf:
    return Leaf(inside=nested(depth - 1) if depth else 7)


PLAIN = {
    "alike": [Leaf(a=1), Leaf(a=1), Leaf(b=(1, "x"))],
    "without attributes": [Leaf(), Leaf(), Leaf(a=None), Leaf()],
    "of several classes": [Leaf(a=1), Counted(a=1), Leaf(a=2), Counted(a=2), Kept(a=3), Kept(a=4)],
    "with room of their own": [Leaf(a=1), Slotted(a=1), Slotted(a=1), Named(a=1), Recorded()],
    "with a way of their own": [Leaf(a=1), Leaf(a=1, __reduce_ex__=lambda _: (str, ("x",)))],
    "of arrays": [Leaf(a=np.zeros(k, dtype=kind)) for k in (0, 1, 4) for kind in "?ifFO"],
    "of arrays of all shapes": [
        Leaf(a=np.float64(2.0)),
        Leaf(a=np.array(2.0)),
        Leaf(a=np.ones((2, 3))),
        Leaf(a=np.ones((3, 2)).T),
        Leaf(a=np.array(["2026-01-01"], dtype="M8[D]")),
        Leaf(a=np.zeros(2, dtype=[("x", "<f8"), ("y", "u1")])),
        Leaf(a=np.zeros(2, dtype=np.dtype([("x", "<f8"), ("y", "u1")], align=True))),
    ],
    "deep": [Leaf(a=1), nested(40)],
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_objects_are_hashed_in_one_stroke_as_one_by_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = identity(PLAIN[name])
    read: list[bool] = []

    def refused(kind: type) -> bool:
        read.append(True)
        return False

    monkeypatch.setattr("assay.models.identity._pickles_plainly", refused)
    assert identity(PLAIN[name]) == quick
    assert read


def test_plain_objects_differ_by_their_class_and_attributes() -> None:
    first = Leaf(a=1)
    others = [Leaf(a=2), Leaf(b=1), Leaf(a=1.0), Leaf(), Counted(a=1), Kept(a=1), Named(a=1)]
    hashes = {identity([Leaf(a=0), first, other]) for other in [first, *others]}
    assert len(hashes) == 1 + len(others)


def test_every_byte_of_every_tree_counts() -> None:
    rows = np.random.default_rng(0).random((200, 3))
    model = HistGradientBoostingRegressor(max_iter=5).fit(rows, rows.sum(1))
    seen = {identity(model.predict)}
    for trees in model._predictors:
        trees[0].nodes["value"][-1] += 1e-9
        seen.add(identity(model.predict))
        trees[0].raw_left_cat_bitsets = np.zeros((1, 8), dtype=np.uint32)
        seen.add(identity(model.predict))
    assert len(seen) == 11


def test_no_copy_of_a_forest_is_made() -> None:
    """It is read as pickle would read it, and nothing of it is written."""
    rows = np.random.default_rng(0).normal(size=(3000, 5))
    forest = RandomForestClassifier(12, random_state=0).fit(rows, rows.sum(1) > 0.5 * rows[:, 0])
    size = len(pickle.dumps(forest))
    model = assay.wrap(forest)
    tracemalloc.start()
    model.fingerprint()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < size / 2
