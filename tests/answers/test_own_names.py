"""The words of each text in the answer, in its table and in its file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import assay
from assay.errors import InputError
from assay.methods import Method

TEXTS = ["a good film", "so bad", "...", "bad"]
WORDS = (("a", "good", "film"), ("so", "bad"), (), ("bad",))


def praise(texts: list[str]) -> np.ndarray:
    return np.array([float("good" in text) - 2.0 * ("bad" in text) for text in texts])


@pytest.fixture
def answer() -> assay.Attribution:
    return assay.ExactShapley()(assay.Question(praise, TEXTS))


def test_the_words_of_each_text_stand_in_the_answer(answer: assay.Attribution) -> None:
    assert [answer.names_of(i) for i in range(4)] == list(WORDS)
    assert dict(zip(answer.names_of(1), answer.values[1].tolist())) == {"so": 0.0, "bad": -2.0}
    # Names that all inputs share are those of places, as they were.
    assert answer.names == ("word 0", "word 1", "word 2")
    cut = answer.rows(slice(1, 3))
    assert [cut.names_of(i) for i in range(2)] == [("so", "bad"), ()]


def test_an_input_that_is_not_there_has_no_names(answer: assay.Attribution) -> None:
    assert answer.names_of(-1) == ("bad",)
    for i in (4, -5):
        with pytest.raises(InputError, match="from 0 to 3"):
            answer.names_of(i)


def test_shared_names_are_those_of_every_input() -> None:
    question = assay.Question(torch.nn.Linear(2, 1), torch.ones(3, 2), target=0)
    answer = assay.Gradient()(question)
    assert answer.own_names is None
    assert list(answer.names_of(2)) == list(answer.names)
    alone = assay.ExactShapley()(assay.Question(praise, TEXTS[:1]))
    assert alone.names_of(0) == WORDS[0] == tuple(alone.names)


def test_shards_and_other_orders_carry_the_words_along() -> None:
    texts = [f"good w{number}" for number in range(1 << 5)] * 2 + ["bad"]
    question = assay.Question(praise, texts)
    assert question.take(torch.tensor([64, 3])).partition.own_names == (("bad",), ("good", "w3"))
    answer = assay.ExactShapley()(question)
    assert len(answer.own_names) == len(texts)
    assert answer.names_of(35) == ("good", "w3")


def test_a_table_has_the_words_as_labels_of_its_rows(answer: assay.Attribution) -> None:
    table = answer.to_pandas()
    assert list(table.index) == list(WORDS)
    assert list(table.columns) == ["word 0", "word 1", "word 2"]
    np.testing.assert_array_equal(table.to_numpy(), answer.values)


def test_a_file_has_the_words(answer: assay.Attribution, tmp_path: Path) -> None:
    answer.save(tmp_path / "a.safetensors")
    again = assay.Attribution.load(tmp_path / "a.safetensors")
    assert again.own_names == WORDS
    shared = assay.ExactShapley()(assay.Question(praise, TEXTS[:1]))
    shared.save(tmp_path / "b.safetensors")
    assert assay.Attribution.load(tmp_path / "b.safetensors").own_names is None


@pytest.mark.parametrize("own", [[["a"]], [["a", "b", "c", "d"], [], [], []], "abcd", [[1]] * 4])
def test_a_file_whose_words_do_not_fit_is_refused(
    answer: assay.Attribution, tmp_path: Path, own: object
) -> None:
    path = tmp_path / "a.safetensors"
    answer.save(path)
    with safe_open(str(path), framework="pt") as file:
        header = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header["facts"] = json.dumps({**json.loads(header["facts"]), "own_names": own})
    save_file(arrays, str(path), header)
    with pytest.raises(InputError, match="own_names"):
        assay.Attribution.load(path)


def test_the_top_features_are_features_that_an_input_has(answer: assay.Attribution) -> None:
    assert answer.top(2).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, False],
        [True, False, False],
    ]
    # A share is one of a text's own words, rounded up: 1.5 of 3, 1 of 2, 0 of 0, 0.5 of 1.
    assert answer.top(0.5, by="magnitude").sum(1).tolist() == [2, 1, 0, 1]


def test_a_report_shows_the_words_of_each_text(tmp_path: Path) -> None:
    question = assay.Question(praise, TEXTS)
    comparison = assay.compare(question, [assay.ExactShapley()], [assay.Completeness()])
    assay.report(comparison, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert ">film<" in page
    assert ">bad<" in page
    assert "word 1" not in page


REGIONS = torch.tensor([[0, 1, 1, 2], [0, 3, 3, 3], [-1, -1, -1, 2]])
"""Three inputs of four elements and, of four regions, their own: 0, 1, 2; 0, 3; 2."""


@pytest.mark.parametrize(
    "method",
    [
        assay.Gradient(),
        assay.TimesInput(assay.Gradient()),
        assay.IntegratedGradients(4),
        assay.ExactShapley(),
        assay.Occlusion(),
        assay.Lime(assay.CoinMasks(samples=64)),
        assay.Rise(masks=64),
    ],
    ids=repr,
)
def test_the_top_regions_are_regions_that_an_input_has(method: Method, tmp_path: Path) -> None:
    # All credit is negative: features without credit would be ranked before every own one.
    question = assay.Question(
        lambda x: -x.exp().sum(1), torch.rand(3, 4) + 1, features=assay.Labels(REGIONS)
    )
    answer = method(question)
    own = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 1], [0, 0, 1, 0]]).bool()
    assert torch.equal(answer.top(4), own)
    assert answer.top(1).sum(1).tolist() == [1, 1, 1]
    assert not bool((answer.top(1) & ~own).any())
    # A share is one of an input's own regions, rounded up.
    assert answer.top(0.5, by="magnitude").sum(1).tolist() == [2, 1, 1]
    answer.save(tmp_path / "a.safetensors")
    again = assay.Attribution.load(tmp_path / "a.safetensors")
    assert torch.equal(again.top(2), answer.top(2))
    assert torch.equal(again.rows(slice(1, 3)).top(4), own[1:])


def test_a_label_that_no_element_has_is_never_picked() -> None:
    labels = assay.Labels(torch.tensor([0, 2, 2]), names=("a", "nobody", "b"))
    question = assay.Question(lambda x: -x.sum(1), torch.ones(2, 3), features=labels)
    answer = assay.ExactShapley()(question)
    assert answer.top(2).tolist() == [[True, False, True]] * 2
    # Where all have all features nothing is kept.
    assert (
        assay.ExactShapley()(assay.Question(lambda x: x.sum(1), torch.ones(2, 3))).present is None
    )


def test_shuffled_credit_stays_with_the_regions_of_an_input() -> None:
    question = assay.Question(
        lambda x: -x.exp().sum(1), torch.rand(3, 4) + 1, features=assay.Labels(REGIONS)
    )
    made = assay.compare(question, [assay.ExactShapley()], [assay.Infidelity(draws=4)])
    answer, shuffled = (
        made.attributions[name] for name in ("ExactShapley()", "Shuffled(ExactShapley())")
    )
    assert answer.present is not None
    assert not bool(shuffled.values[~answer.present].any())
    assert torch.equal(shuffled.values.sort(dim=1).values, answer.values.sort(dim=1).values)


@pytest.mark.parametrize(
    "present",
    [torch.ones(3, 4), torch.ones(3, 5, dtype=torch.bool), torch.ones(4, dtype=torch.bool)],
)
def test_a_file_whose_features_do_not_fit_is_refused(present: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    labels = assay.Labels(REGIONS)
    assay.Gradient()(assay.Question(lambda x: x.sum(1), torch.ones(3, 4), features=labels)).save(
        path
    )
    with safe_open(str(path), framework="pt") as file:
        header = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file({**arrays, "present": present}, str(path), header)
    with pytest.raises(InputError, match="present"):
        assay.Attribution.load(path)
