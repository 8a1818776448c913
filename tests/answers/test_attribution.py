"""Attributions: plain data that is cut, ranked, and saved without pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import assay
from assay.answers.attribution import Attribution
from assay.answers.score import Score
from assay.answers.storage import FORMAT
from assay.errors import InputError, KindError, VersionError


def full() -> Attribution:
    return Attribution(
        values=torch.arange(12.0, dtype=torch.float64).reshape(3, 4) - 5,
        base=torch.tensor([0.0, 1.0, 2.0]),
        prediction=torch.tensor([3.0, 4.0, 5.0]),
        names=("a", "b", "c", "d"),
        shape=(2, 2),
        kind="contribution",
        gap=torch.tensor([0.1, 0.2, 0.3]),
        standard_error=torch.full((3, 4), 0.5),
        facts={"forwards": 7, "seconds": 0.25},
        provenance={"method": "Gradient()", "seed": 3},
    )


def plain() -> Attribution:
    return replace(full(), gap=None, standard_error=None)


PER_INPUT = ("values", "base", "prediction", "gap", "standard_error")


@pytest.mark.parametrize("make", [full, plain])
@pytest.mark.parametrize("part", [slice(0, 1), slice(1, 3), slice(None), slice(2, 2)])
def test_rows_are_the_answer_for_some_of_the_inputs(
    make: Callable[[], Attribution], part: slice
) -> None:
    answer = make()
    some = answer.rows(part)
    for field in fields(Attribution):
        whole, cut = getattr(answer, field.name), getattr(some, field.name)
        if field.name in PER_INPUT and whole is not None:
            assert torch.equal(cut, whole[part])
        else:
            assert cut == whole


@pytest.mark.parametrize("make", [full, plain])
def test_save_and_load_give_back_every_field(
    make: Callable[[], Attribution], tmp_path: Path
) -> None:
    answer = make()
    answer.save(tmp_path / "answer")
    for back in (Attribution.load(tmp_path / "answer"), assay.load(tmp_path / "answer")):
        for field in fields(Attribution):
            ours, theirs = getattr(answer, field.name), getattr(back, field.name)
            if isinstance(ours, torch.Tensor):
                assert ours.dtype == theirs.dtype
                assert torch.equal(ours, theirs)
            else:
                assert ours == theirs


def score() -> Score:
    return Score("Gap", torch.ones(2), "lower", provenance={"seed": 3})


@pytest.mark.parametrize("make", [full, score])
def test_the_header_of_a_file_keeps_the_facts_under_their_name(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    make().save(tmp_path / "answer")
    with safe_open(str(tmp_path / "answer"), framework="pt") as file:
        header = file.metadata()
    assert set(header) == {"noun", "format", "facts"}
    assert header["format"] == FORMAT
    assert json.loads(header["facts"])["provenance"]["seed"] == 3


@pytest.mark.parametrize("noun", [Attribution, Score])
@pytest.mark.parametrize("header", [{"format": "1"}, {"format": str(int(FORMAT) + 1)}, {}])
def test_a_file_of_another_format_is_refused_with_advice(
    noun: Any, header: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "old"
    metadata = {"noun": noun.__name__, "said": "{}", **header}
    save_file({"values": torch.ones(2)}, str(path), metadata=metadata)
    for load in (noun.load, assay.load):
        with pytest.raises(VersionError, match=f"format {FORMAT}.*version that wrote it") as caught:
            load(path)
        assert caught.value.advice


def test_load_says_what_a_file_holds_instead(tmp_path: Path) -> None:
    path = tmp_path / "other"
    score().save(path)
    with pytest.raises(InputError, match=r"saved Attribution.*got Score.*assay\.load"):
        Attribution.load(path)
    metadata = {"noun": "Poem", "format": FORMAT, "facts": "{}"}
    save_file({"values": torch.ones(2)}, str(path), metadata=metadata)
    with pytest.raises(InputError, match="got a Poem"):
        assay.load(path)


@pytest.mark.parametrize(
    ("amount", "count"),
    [(0, 0), (1, 1), (4, 4), (np.int64(2), 2), (0.0, 0), (0.3, 2), (0.5, 2), (1.0, 4)],
)
def test_top_counts_features_or_takes_a_share_rounded_up(amount: Any, count: int) -> None:
    mask = full().top(amount)
    assert mask.sum(dim=1).tolist() == [count] * 3
    largest = full().values.argsort(dim=1, descending=True)[:, :count]
    assert bool(mask.gather(1, largest).all())


def test_a_share_is_not_rounded_up_by_rounding_errors() -> None:
    answer = Attribution(
        torch.randn(1, 100, generator=torch.Generator().manual_seed(0)),
        torch.zeros(1),
        torch.zeros(1),
        tuple(map(str, range(100))),
        (100,),
        "slope",
    )
    assert 0.07 * 100 > 7
    assert answer.top(0.07).sum() == 7


@pytest.mark.parametrize(
    ("amount", "error", "words"),
    [
        (True, KindError, "top.3."),
        ("all", KindError, "a share of them"),
        (5, InputError, "from 0 to 4"),
        (-1, InputError, "got -1"),
        (1.5, InputError, "got 1.5"),
        (math.nan, InputError, "got nan"),
    ],
)
def test_amounts_that_are_none_are_refused(amount: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        full().top(amount)


def test_to_pandas_has_one_row_per_input_and_one_column_per_feature() -> None:
    frame = full().to_pandas()
    assert list(frame.columns) == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(frame.to_numpy(), full().values.numpy())


def test_the_callers_own_index_stands_in_the_answer() -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, index=["north", "south"])
    answer = assay.explain(lambda rows: rows["a"].to_numpy() * rows["b"].to_numpy(), frame)
    assert answer.index == ("north", "south")
    assert answer.to_pandas().index.tolist() == ["north", "south"]
    assert answer.rows(slice(1, 2)).to_pandas().index.tolist() == ["south"]
