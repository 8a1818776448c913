"""The real networks are loaded right: they reach the accuracy that is stated with their files."""

import os

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.place import data_root, must_skip


def right(net: nn.Module, inputs: Tensor, labels: Tensor) -> int:
    with torch.inference_mode():
        answers = torch.cat([net(rows).argmax(1) for rows in inputs.split(50)])
    return int((answers == labels).sum())


def test_the_data_is_looked_for_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    monkeypatch.setenv("CI", "")
    assert str(data_root()) == str(tmp_path)
    assert must_skip()


def test_absent_data_fails_where_it_was_promised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    assert not must_skip()
    with pytest.raises(FileNotFoundError, match=r"mnist_test\.npz"):
        zoo.mnist()


def test_the_skip_says_how_to_get_the_data() -> None:
    assert "ASSAY_DATA" in zoo.needs_data.kwargs["reason"]
    with pytest.raises(AttributeError, match="no_such_thing"):
        zoo.no_such_thing  # noqa: B018


@zoo.needs_data
def test_digits_come_in_their_original_order() -> None:
    images, labels = zoo.mnist("train")
    assert (images.shape, labels[:10].tolist()) == (
        (60000, 1, 28, 28),
        [5, 0, 4, 1, 9, 2, 1, 3, 1, 4],
    )
    assert (round(float(images.mean()), 4), round(float(images.std()), 4)) == (0.1307, 0.3081)
    assert zoo.mnist("test", 10)[1].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@zoo.needs_data
def test_pictures_are_rgb_and_shuffled() -> None:
    images, labels = zoo.cifar10("train")
    assert [round(value, 2) for value in images.mean((0, 2, 3)).tolist()] == [0.49, 0.48, 0.45]
    assert labels.bincount().tolist() == [1000] * 10
    assert len(labels[:20].unique()) > 5
    assert zoo.cifar10("train", 20, shuffle=False)[1].tolist() == [0] * 20


# Counts on the first rows of the sets whose percentages are stated (first 2,000 of CIFAR: 92.45 %
# for ResNet-20); one row of slack for other arithmetic.
@zoo.needs_data
@pytest.mark.parametrize(
    ("depth", "count"),
    [
        (20, 469),
        pytest.param(32, 460, marks=pytest.mark.long),
        pytest.param(44, 462, marks=pytest.mark.long),
        pytest.param(56, 467, marks=pytest.mark.long),
    ],
)
def test_cifar_resnets(depth: int, count: int) -> None:
    assert abs(right(zoo.cifar_resnet(depth), *zoo.cifar10(count=500)) - count) <= 1


@zoo.needs_data
def test_vision_transformers() -> None:
    assert abs(right(zoo.cifar_vit(), *zoo.cifar10(count=500)) - 375) <= 1
    assert abs(right(zoo.mnist_vit(), *zoo.mnist(count=2000)) - 1943) <= 1


@zoo.needs_data
def test_imagenet_networks_know_the_photographs() -> None:
    images, labels, names = zoo.photographs(count=16)
    assert (images.shape, names[0], int(labels[0])) == ((16, 3, 224, 224), "tench", 0)
    assert abs(right(zoo.mobilenet_v2(), images, labels) - 16) <= 1
    crops, labels, _ = zoo.photographs(227, 227 / 256, count=16)
    assert abs(right(zoo.squeezenet("1_1"), crops, labels) - 13) <= 1
    assert abs(right(zoo.squeezenet("1_0"), crops, labels) - 12) <= 1


@zoo.needs_data
def test_a_digit_network_leaves_the_generator_alone_and_is_handed_out_as_a_copy() -> None:
    state = torch.get_rng_state()
    net = zoo.digit_net(images=3000)
    assert torch.equal(state, torch.get_rng_state())
    assert right(net, *zoo.mnist(count=1000)) > 850
    net.fc2.weight.data.zero_()
    assert zoo.digit_net(images=3000).fc2.weight.abs().sum() > 0


@pytest.mark.long
@zoo.needs_data
def test_a_digit_network_is_trained_in_seconds() -> None:
    assert right(zoo.digit_net(), *zoo.mnist(count=2000)) > 1880


@zoo.needs_data
@pytest.mark.parametrize(
    ("name", "share"), [("adult", 0.831), ("compas", 0.846), ("german", 0.675), ("heloc", 0.730)]
)
def test_table_networks(name: str, share: float) -> None:
    x, y = zoo.openxai(name)
    rows = torch.tensor(x.to_numpy(), dtype=torch.float32)
    assert (
        abs(right(zoo.openxai_network(name), rows, torch.tensor(y.to_numpy())) / len(y) - share)
        < 0.001
    )


@zoo.needs_data
def test_the_california_network_reaches_the_published_error() -> None:
    _, x, _, y = zoo.california_split()
    with torch.inference_mode():
        error = (zoo.california_network()(x)[:, 0] - y).square().mean().sqrt()
    assert float(error) == pytest.approx(0.65797454, abs=1e-6)


@zoo.needs_data
def test_tables_have_the_stated_rows() -> None:
    shapes = {
        load.__name__: load()[0].shape
        for load in (zoo.california, zoo.adult, zoo.german, zoo.boston, zoo.nhanes)
    }
    assert shapes == {
        "california": (20640, 8),
        "adult": (32561, 14),
        "german": (1000, 20),
        "boston": (506, 12),
        "nhanes": (9932, 18),
    }
    assert round(float(zoo.adult()[1].mean()), 3) == 0.241


@zoo.needs_data
def test_texts_have_the_stated_rows() -> None:
    assert [len(zoo.trec(split)[0]) for split in ("train", "test")] == [5452, 500]
    assert set(zoo.trec()[1]) == {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}
    texts, labels = zoo.sst2("test")
    assert (len(texts), len(labels), set(labels.tolist())) == (872, 872, {0, 1})
    for task, sizes in {
        "emotion": (374, 1421),
        "irony": (955, 784),
        "sentiment": (2000, 12284),
    }.items():
        for split, size in zip(("val", "test"), sizes):
            texts, labels, names = zoo.tweeteval(task, split)
            assert (len(texts), len(labels), int(labels.max()) + 1) == (size, size, len(names))


@zoo.needs_data
def test_boxes_lie_inside_their_pictures() -> None:
    images, synsets, boxes = zoo.tiny_imagenet(50)
    assert (images.shape, len(synsets)) == ((50, 3, 64, 64), 50)
    assert np.all((boxes[:, :2] <= boxes[:, 2:]).numpy())
    assert int(boxes.max()) < 64


@pytest.mark.skipif(
    os.environ.get("CI", "").lower() == "true", reason="describes a machine without promised data"
)
def test_a_machine_without_the_data_skips(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    assert zoo.needs_data.args == (True,)


@zoo.needs_data
@pytest.mark.parametrize(
    ("task", "counts", "positive"),
    [("benzene", (10000, 2000), 999), ("logic7", (3840, 486), 47), ("crippen", (901, 226), None)],
)
def test_molecules_are_those_of_the_published_split(
    task: str, counts: tuple[int, int], positive: int | None
) -> None:
    data = zoo.molecules(task, "test", 60)
    train, test = (len(zoo.molecules(task, split)) for split in ("train", "test"))
    assert (train, test) == counts
    if positive is not None:
        assert int(data.y.sum()) == positive
    # One kind for each atom and each bond, a bond from both its ends, and nothing in padding.
    assert torch.equal(data.atoms.sum(2), data.mask)
    assert set(data.pairs.sum(3).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(data.pairs, data.pairs.transpose(1, 2))
    assert all(len(truth) == len(symbols) for truth, symbols in zip(data.truth, data.symbols))
    assert float((data.pairs.sum((2, 3)) * (1 - data.mask)).sum()) == 0
    # A class has true atoms, no class has none.
    if positive is not None:
        assert [bool(truth.any()) for truth in data.truth] == data.y.bool().tolist()


@zoo.needs_data
def test_questions_have_the_types_of_their_answers() -> None:
    texts, types = zoo.wikitable_questions()
    assert len(texts) == len(types) == 3070
    assert {kind: types.count(kind) for kind in set(types)} == {
        "STRING": 1489,
        "NUMERIC": 1357,
        "DATETIME": 186,
        "YESNO": 38,
    }


@zoo.needs_data
def test_canvases_hold_what_their_captions_say() -> None:
    data = zoo.canvases("test", 50)
    beside = data.captions[:, 1] == zoo.CAPTION_WORDS.index("beside")
    first, second = data.boxes[:, 0], data.boxes[:, 1]
    distance = torch.where(beside, second[:, 1] - first[:, 1], second[:, 0] - first[:, 0])
    assert int(distance.min()) >= zoo.DIGIT_SIDE
    for image, boxes in zip(data.images[:, 0], data.boxes.tolist()):
        left_over = image.clone()
        for top, left in boxes:
            part = left_over[top : top + zoo.DIGIT_SIDE, left : left + zoo.DIGIT_SIDE]
            assert float(part.sum()) > 0
            part.zero_()
        assert float(left_over.abs().sum()) == 0
    assert data.shifted[:, 1:].equal(data.captions[:, :-1])
    # Other canvases for another seed or split.
    assert not zoo.canvases("test", 50, seed=1).images.equal(data.images)
