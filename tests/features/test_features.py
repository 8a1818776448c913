"""Features: who receives credit, as a partition of the flat row; spread and pool are each other's
adjoint.
"""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import assay
from assay.errors import InputError, KindError, SettingError
from assay.features.partition import Features, Partition
from assay.inputs.layout import Layout
from toys import randn, seeded

IMAGES = randn(2, 3, 4, 6)
TABLE = randn(3, 5)


def partition(inputs: Any, features: Any) -> Partition:
    return assay.Question(lambda *x: torch.zeros(len(x[0])), inputs, features=features).partition


def labels_by_hand(shape: tuple[int, ...], size: int) -> list[int]:
    """The slow twin of Patches: pixel by pixel."""
    _, height, width = shape
    across = -(-width // size)
    return [
        (i // size) * across + j // size
        for _ in range(shape[0])
        for i in range(height)
        for j in range(width)
    ]


@pytest.mark.parametrize(
    ("features", "count", "shape", "labels"),
    [
        (assay.Elements(), 72, (3, 4, 6), list(range(72))),
        (assay.Pixels(), 24, (4, 6), list(range(24)) * 3),
        (assay.Patches(2), 6, (2, 3), labels_by_hand((3, 4, 6), 2)),
        (assay.Patches(5), 2, (1, 2), labels_by_hand((3, 4, 6), 5)),
        (assay.Labels(torch.arange(24).view(4, 6) // 12), 2, (2,), ([0] * 12 + [1] * 12) * 3),
    ],
)
def test_the_partition_of_an_image(
    features: Any, count: int, shape: tuple[int, ...], labels: list[int]
) -> None:
    made = partition(IMAGES, features)
    assert (made.count, made.shape, made.labels[0].tolist(), len(made.names)) == (
        count,
        shape,
        labels,
        count,
    )


def test_columns_with_names_and_groups() -> None:
    frame = pd.DataFrame(TABLE.numpy(), columns=["age", "red", "green", "blue", "pay"])
    made = partition(frame, assay.Columns(groups={"colour": ["red", "green", 3]}))
    assert made.names == ("age", "colour", "pay")
    assert made.labels.tolist() == [[0, 1, 1, 1, 2]]
    plain = partition(TABLE, assay.Columns(names=("a", "b", "c", "d", "e")))
    assert (plain.names, plain.identity) == (("a", "b", "c", "d", "e"), True)
    alike = partition(TABLE, assay.Columns(("a", "b", "c", "d", "e"), groups={"a": ["b", "c"]}))
    assert alike.labels.tolist() == [
        [0, 1, 1, 2, 3]
    ]  # a group may bear the name of a column outside it


def test_a_label_may_span_tensors_and_differ_by_input() -> None:
    pair = (torch.zeros(2, 3), torch.zeros(2, 2))
    made = partition(pair, assay.Labels((torch.tensor([0, 1, 1]), torch.tensor([1, -1]))))
    assert made.labels.tolist() == [[0, 1, 1, 1, -1]]
    each = partition(torch.zeros(2, 3), assay.Labels(torch.tensor([[0, 0, 1], [1, 0, 0]])))
    assert each.spread(torch.tensor([[True, False]] * 2), torch.arange(2)).tolist() == [
        [True, True, False],
        [False, True, True],
    ]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(2, 9), st.booleans(), st.integers(0, 999))
def test_spread_and_pool_are_adjoint(
    n: int, count: int, elements: int, each: bool, seed: int
) -> None:
    labels = torch.randint(-1, count, (n if each else 1, elements), generator=seeded(seed))
    made = Partition(labels, count, tuple("abcd"[:count]), (count,))
    masks, credit = (
        randn(n, count, seed=seed, dtype=torch.float64),
        randn(n, elements, seed=seed + 1, dtype=torch.float64),
    )
    owned = (labels >= 0).expand(n, -1)
    left = (made.spread(masks, torch.arange(n)) * credit * owned).sum(1)
    torch.testing.assert_close(left, (masks * made.pool(credit)).sum(1), rtol=0, atol=1e-10)


def test_pooling_adds_or_averages_and_leaves_out_what_nobody_owns() -> None:
    made = Partition(torch.tensor([[0, 0, 1, -1]]), 3, ("a", "b", "c"), (3,))
    values = torch.tensor([[1.0, 3.0, 5.0, 100.0]])
    assert made.pool(values).tolist() == [[4.0, 5.0, 0.0]]
    assert made.pool(values, pooling="mean").tolist() == [[2.0, 5.0, 0.0]]
    assert made.spread(
        torch.zeros(1, 3, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)
    ).tolist() == [[False] * 3 + [True]]


def test_pixels_pool_channels_by_sum_or_mean() -> None:
    question = assay.Question(
        lambda x: (x * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)).sum((1, 2, 3)), IMAGES
    )
    for pooling, expected in (("sum", 6.0), ("mean", 2.0)):
        asked = assay.Question(question.model, IMAGES, features=assay.Pixels(pooling))
        assert torch.allclose(assay.Gradient()(asked).values, torch.full((2, 24), expected))


@pytest.mark.parametrize(
    ("inputs", "features", "error", "message"),
    [
        (
            IMAGES,
            assay.Columns(),
            InputError,
            r"Expected a table .* got inputs of shape \(3, 4, 6\)",
        ),
        (TABLE, assay.Columns(names=("a", "b")), InputError, "Expected 5 column names, got 2"),
        (TABLE, assay.Columns(names=("a", "a", "b", "c", "d")), InputError, "names that differ"),
        (TABLE, assay.Columns(groups={"g": ["nope"]}), InputError, "nope"),
        (TABLE, assay.Columns(groups={"g": [0, 1], "h": [1]}), InputError, "one group at most"),
        (TABLE, assay.Pixels(), InputError, r"Expected images .* got \(5,\)"),
        (IMAGES, assay.Patches(7), InputError, "patch side from 1 to 6, got 7"),
        (
            IMAGES,
            assay.Labels(torch.zeros(4, 5, dtype=torch.int64)),
            InputError,
            r"shape \(3, 4, 6\).*got \(4, 5\)",
        ),
        (
            IMAGES,
            assay.Labels(torch.zeros(4, 6)),
            KindError,
            "Expected integers as labels, got torch.float32",
        ),
        (TABLE, assay.Labels(torch.tensor([0, 1, 2, 3, -2])), InputError, "labels from 0 on"),
        (TABLE, assay.Labels(torch.full((5,), -1)), InputError, "labels from 0 on"),
        (TABLE, assay.Labels(np.arange(5), names=("a",)), InputError, "Expected 5 names"),
        ((TABLE, TABLE), assay.Labels(torch.arange(5)), InputError, "Expected 2 maps of labels"),
        (TABLE, "pixels", KindError, "Expected features such as"),
    ],
)
def test_features_that_do_not_fit_are_refused(
    inputs: Any, features: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        partition(inputs, features)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: assay.Pixels("max"), "'sum' or 'mean', got 'max'"),
        (lambda: assay.Patches(0), "patch side of at least 1 pixel, got 0"),
        (lambda: assay.Superpixels(1), "at least 2 segments"),
    ],
)
def test_settings_that_no_input_fits_are_refused_when_they_are_made(
    make: Any, message: str
) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        make()
    assert caught.value.advice


@dataclass(frozen=True)
class Halves(Features):
    """A stranger's rule, as the docstring of the base class asks for it."""

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        elements = x.shape[1]
        labels = (torch.arange(elements, device=x.device) >= elements // 2).long()
        return Partition(labels.unsqueeze(0), 2, ("first", "second"), (2,))


def test_a_strangers_rule_needs_bind_alone() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 1)).eval()
    for question in (
        assay.Question(net, TABLE, features=Halves()),
        assay.Question(net, TABLE).after("0", Halves()),
    ):
        made = assay.ExactShapley()(question)
        assert (made.names, made.shape, made.values.shape) == (("first", "second"), (2,), (3, 2))
        torch.testing.assert_close(made.values.sum(1), made.prediction - made.base)
        part = assay.ExactShapley()(question.part(1, 2))
        torch.testing.assert_close(part.values, made.values[1:2])


def test_as_many_maps_as_channels_are_read_in_no_way() -> None:
    images = randn(3, 3, 2, 2)
    maps = torch.tensor([[[0, 0], [1, 1]], [[0, 1], [0, 1]], [[0, 1], [2, 2]]])
    with pytest.raises(InputError, match=r"one way.*3 channels of one map or 3 maps.*Labels\("):
        partition(images, assay.Labels(maps))
    # Both sentences of the advice.
    each = partition(images, assay.Labels(maps[:, None].expand(-1, 3, -1, -1)))
    assert each.labels.tolist() == [one.flatten().tolist() * 3 for one in maps]
    one = partition(images, assay.Labels(maps.expand(3, -1, -1, -1)))
    assert one.labels.tolist() == [maps.flatten().tolist()] * 3
    # What means the same in both readings, and what is plainly one map of channels, is answered.
    same = partition(images, assay.Labels(maps[:1].expand(3, -1, -1)))
    assert same.labels.tolist() == [maps[0].flatten().tolist() * 3]
    channels = torch.arange(3)[:, None, None].expand(3, 2, 2)
    assert partition(images, assay.Labels(channels)).labels.tolist() == [
        [0] * 4 + [1] * 4 + [2] * 4
    ]
    # Two images of three channels leave no doubt.
    two = partition(images[:2], assay.Labels(maps[:2]))
    assert two.labels.tolist() == [one.flatten().tolist() * 3 for one in maps[:2]]


def test_names_of_elements_are_made_when_they_are_asked_for(tmp_path: Any) -> None:
    images = torch.zeros(1, 3, 2, 4)
    by_hand = [f"[{c},{i},{j}]" for c in range(3) for i in range(2) for j in range(4)]
    made = partition(images, assay.Elements()).names
    assert list(made) == by_hand
    assert made == tuple(by_hand)
    assert tuple(by_hand) == made
    assert [made[i] for i in range(-24, 24)] == by_hand * 2
    assert made[3:9:2] == tuple(by_hand[3:9:2])
    assert (hash(made), repr(made)) == (hash(tuple(by_hand)), repr(tuple(by_hand)))
    assert (made.index("[1,0,2]"), "[2,1,3]" in made, "x" in made) == (10, True, False)
    assert made != tuple(by_hand[:-1])
    with pytest.raises(IndexError):
        made[24]
    pair = partition((torch.zeros(2, 2), torch.zeros(2)), assay.Elements()).names
    assert list(pair) == ["input0[0]", "input0[1]", "input1"]
    assert (pair[0], pair[2]) == ("input0[0]", "input1")
    assert partition(images, assay.Pixels()).names[5] == "[1,1]"
    assert partition(images, assay.Patches(2)).names == ("[0,0]", "[0,1]")

    question = assay.Question(lambda x: x.flatten(1).sum(1), images, removal=assay.Baseline(1.0))
    answer = assay.TimesInput(assay.Gradient())(question)
    answer.save(tmp_path / "answer")
    back = assay.Attribution.load(tmp_path / "answer")
    assert back.names == answer.names == made == back.names
    assert list(answer.to_pandas().columns) == by_hand
    assert pickle.loads(pickle.dumps(answer)).names == made
    assert copy.deepcopy(answer).names == made


def test_no_name_of_a_large_picture_is_made_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: Any) -> str:
        raise AssertionError("a name was made that nobody asked for")

    monkeypatch.setattr("assay.inputs.names._called", made)
    picture = torch.zeros(1, 3, 64, 64)
    for features in (assay.Elements(), assay.Pixels(), assay.Patches(2)):
        question = assay.Question(
            lambda x: x.flatten(1).sum(1), picture, features=features, removal=assay.Baseline(1.0)
        )
        for method in (assay.Gradient(), assay.TimesInput(assay.Gradient())):
            method(question).rows(slice(0, 1)).top(3)


SHAPES = {"HWC": (4, 6, 3), "TC": (6, 3), "DHWC": (2, 4, 6, 3), "HCW": (4, 3, 6)}


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize(
    "make", [lambda axes: assay.Pixels(axes=axes), lambda axes: assay.Patches(4, axes)]
)
def test_channels_may_stand_anywhere(axes: str, make: Any) -> None:
    """The same inputs with channels first, axis by axis the same features."""
    last = randn(2, *SHAPES[axes])
    first = last.movedim(1 + axes.index("C"), 1)
    usual = "C" + axes.replace("C", "")
    moved, plain = partition(last, make(axes)), partition(first, make(usual))
    assert (moved.count, moved.shape, moved.names) == (plain.count, plain.shape, plain.names)
    labels = moved.labels.reshape(SHAPES[axes]).movedim(axes.index("C"), 0)
    assert labels.flatten().tolist() == plain.labels[0].tolist()


@pytest.mark.parametrize(
    ("shape", "features", "count", "labels"),
    [
        ((2, 5), assay.Pixels(axes="CT"), 5, [0, 1, 2, 3, 4] * 2),
        ((5, 2), assay.Pixels(axes="TC"), 5, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        ((5,), assay.Pixels(axes="T"), 5, [0, 1, 2, 3, 4]),
        ((2, 5), assay.Patches(2, axes="CT"), 3, [0, 0, 1, 1, 2] * 2),
        ((2, 3, 2, 2), assay.Pixels(), 12, list(range(12)) * 2),
        ((1, 2, 2, 4), assay.Patches(2), 2, [0, 0, 1, 1] * 4),
        ((2, 2, 4), assay.Patches(2, axes="DHW"), 2, [0, 0, 1, 1] * 4),
    ],
)
def test_series_and_volumes_have_places_too(
    shape: tuple[int, ...], features: Any, count: int, labels: list[int]
) -> None:
    made = partition(randn(3, *shape), features)
    assert (made.count, made.labels[0].tolist(), len(made.names)) == (count, labels, count)


@pytest.mark.parametrize("shape", [(40, 60, 3), (8, 8, 1), (5, 7, 4), (2, 8, 8, 3)])
@pytest.mark.parametrize("features", [assay.Pixels(), assay.Patches(2), assay.Superpixels(4)])
def test_channels_that_seem_to_come_last_are_refused_by_name(
    shape: tuple[int, ...], features: Any
) -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    turned = "HWC" if len(shape) == 3 else "DHWC"
    with pytest.raises(InputError, match=f"channels first.*axes='{turned}'.*axes='C"):
        partition(randn(1, *shape), features)


@pytest.mark.parametrize("axes", ["", "C", "HH", "XY", "chw", 3, ("H", "W")])
@pytest.mark.parametrize("make", [assay.Pixels, assay.Patches, assay.Blur, assay.Squares])
def test_letters_that_name_no_axes_are_refused(axes: Any, make: Any) -> None:
    more = {assay.Patches: (2,), assay.Blur: (1.0,)}.get(make, ())
    with pytest.raises(
        SettingError, match=r"^Expected axes (in letters.*'HWC'|of \w+ to be a text)"
    ):
        make(*more, axes=axes)
    with pytest.raises(InputError, match="every axis of one input"):
        partition(randn(1, 3, 4, 6), assay.Pixels(axes="HW"))


def test_superpixels_do_not_depend_on_the_units_of_colours() -> None:
    draw = torch.Generator().manual_seed(0)
    blocks = torch.rand(1, 3, 4, 4, generator=draw, dtype=torch.float64)
    image = blocks.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    image += 0.05 * torch.rand(1, 3, 32, 32, generator=draw, dtype=torch.float64)
    for features in (assay.Superpixels(12), assay.Superpixels(algorithm="quickshift")):
        maps = []
        for scale, offset in ((1.0, 0.0), (256.0, 0.0), (0.5**10, 0.0)):
            question = assay.Question(
                lambda x: x.sum(dim=(1, 2, 3)), scale * image + offset, features=features
            )
            maps.append(question.partition.labels)
        assert len(maps[0].unique()) > 1
        assert torch.equal(maps[0], maps[1])
        assert torch.equal(maps[0], maps[2])
