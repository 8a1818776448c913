"""Superpixels: connected, frozen on the clean image, and all channels of a pixel together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import assay
from assay.errors import InputError


def squares() -> torch.Tensor:
    """Two images of four flat quarters of different colours."""
    image = torch.zeros(2, 3, 16, 16)
    for index, (top, left) in enumerate([(0, 0), (0, 8), (8, 0), (8, 8)]):
        image[0, :, top : top + 8, left : left + 8] = torch.tensor(
            [index, 3 - index, index % 2]
        ).view(3, 1, 1)
    image[1] = image[0].flip(-1)
    return image


def mean(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1).mean(1)


def test_flat_quarters_are_found_as_they_are() -> None:
    images = squares()
    question = assay.Question(mean, images, features=assay.Superpixels(4))
    labels = question.partition.labels.view(2, 3, 16, 16)
    assert question.partition.count == 4
    for image in labels:
        assert all(torch.equal(image[0], channel) for channel in image)
        for top, left in [(0, 0), (0, 8), (8, 0), (8, 8)]:
            assert image[0, top : top + 8, left : left + 8].unique().numel() == 1


def test_regions_stay_those_of_the_clean_image() -> None:
    images = squares()
    question = assay.Question(mean, images, features=assay.Superpixels(4))
    moved = question.at(question.x + torch.rand_like(question.x))
    assert torch.equal(moved.partition.labels, question.partition.labels)


def test_a_linear_model_gives_each_region_its_own_sum() -> None:
    images = squares()
    question = assay.Question(mean, images, features=assay.Superpixels(4))
    answer = assay.ExactShapley()(question)
    expected = question.partition.pool(question.x / question.x.shape[1])
    torch.testing.assert_close(answer.values, expected, atol=1e-6, rtol=0)


def test_quickshift_answers_too_and_tables_are_refused() -> None:
    assert (
        assay.Question(
            mean, squares(), features=assay.Superpixels(algorithm="quickshift")
        ).partition.count
        >= 1
    )
    with pytest.raises(InputError, match="images"):
        assay.Question(mean, torch.zeros(2, 5), features=assay.Superpixels())
    with pytest.raises(InputError, match="algorithm"):
        assay.Superpixels(algorithm="sam")


@pytest.mark.parametrize("algorithm", ["slic", "quickshift"])
def test_superpixels_of_channels_last_are_those_of_channels_first(algorithm: Any) -> None:
    image = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    model = lambda x: x.flatten(1).sum(1)  # noqa: E731
    first = assay.Question(model, image, features=assay.Superpixels(6, algorithm=algorithm))
    last = assay.Question(
        model,
        image.movedim(1, 3),
        features=assay.Superpixels(6, algorithm=algorithm, axes="HWC"),
    )
    labels = last.partition.labels.reshape(2, 16, 20, 3).movedim(3, 1).flatten(1)
    assert last.partition.count == first.partition.count
    assert torch.equal(labels, first.partition.labels)


def test_superpixels_of_a_series_are_refused() -> None:
    with pytest.raises(InputError, match=r"height and a width.*Patches"):
        assay.Question(
            lambda x: x.flatten(1).sum(1),
            torch.rand(1, 2, 9),
            features=assay.Superpixels(4, axes="CT"),
        )
