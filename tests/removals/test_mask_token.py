"""Masks in the place of words: what the model is asked with, letter by letter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import assay


def asked(texts: list[str], present: list[int], mask: str, split: str = "words") -> list[str]:
    """The texts under one mask over features, as the model sees them."""
    seen: list[str] = []

    def listen(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        return np.zeros(len(texts))

    question = assay.Question(
        listen, texts, features=assay.Words(split=split), removal=assay.MaskToken(mask)
    )
    question.value(torch.tensor([present]).bool())
    return seen[-len(texts) :]


@pytest.mark.parametrize(
    ("text", "present", "mask", "split", "expected"),
    [
        ("One, two!", [0, 1], "[MASK]", "words", "[MASK] two!"),
        ("One, two!", [1, 0], "[MASK]", "words", "One, [MASK]"),
        ("well-made film", [0, 1, 1], "[MASK]", "words", "[MASK] made film"),
        # No space stood between these words, and none is written between their masks.
        ("我喜欢巴黎。", [1, 0, 0, 1, 0], "_", "words", "我__巴_"),
        ("ok😡😡", [1, 0, 1], "[MASK]", "words", "ok[MASK]😡"),
        ("a cat", [1, 1, 0, 1], "_", "characters", "a c_t"),
        ("a cat", [1, 1, 0, 1], "", "characters", "a ct"),
    ],
)
def test_a_mask_stands_as_the_word_stood(
    text: str, present: list[int], mask: str, split: str, expected: str
) -> None:
    assert asked([text], present, mask, split) == [expected]


def test_no_mask_is_written_behind_a_shorter_text() -> None:
    seen: list[str] = []

    def listen(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        return np.zeros(len(texts))

    # Every place is a feature here, also those behind a text's end.
    features, removal = assay.Elements(), assay.MaskToken("[MASK]")
    question = assay.Question(listen, ["one", "one two"], features=features, removal=removal)
    question.value(torch.tensor([[True, False]]))
    assert seen[-2:] == ["one", "one [MASK]"]
