"""The door: what holds numbers comes in as it is, what only looks like it is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch import nn

import assay
from assay.errors import AssayError, InputError, KindError
from assay.inputs.number_types import common_type


def total(*x: Any) -> torch.Tensor:
    return sum(
        part.to(torch.float64).reshape(len(part), -1).sum(1) for part in map(torch.as_tensor, x)
    )


class Wide(nn.Module):
    """Token numbers beside dense features."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(4096, 2)
        self.fc = nn.Linear(5, 1)

    def forward(self, ids: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.cat([self.emb(ids), dense], 1))


IDS = torch.tensor([257, 1001, 2999])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_whole_numbers_beside_floats_arrive_as_they_were(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net, dense = Wide().to(dtype).eval(), torch.randn(3, 3)
    question = assay.Question(net, (IDS, dense))
    folded, beside = question.layout.fold(question.x)
    assert (folded.tolist(), beside.dtype) == (IDS.tolist(), dtype)
    right = net(IDS, dense.to(dtype))[:, 0].detach()
    torch.testing.assert_close(question.prediction, right.to(question.prediction.dtype))
    torch.testing.assert_close(question.x[:, 1:].to(dtype), dense.to(dtype), rtol=0, atol=0)
    # A change of one element is the same network's own difference.
    answer = assay.Occlusion()(question).values[:, 0]
    by_hand = right - net(torch.zeros_like(IDS), dense.to(dtype))[:, 0].detach()
    torch.testing.assert_close(answer.to(dtype), by_hand, rtol=0.05, atol=0.02)


@pytest.mark.parametrize(
    ("floats", "whole"),
    [
        (torch.bfloat16, [0, 255, 257]),
        (torch.float16, [2047, 2049, 65_537]),
        (torch.float32, [16_777_217, 2_000_000_001, -(2**24) - 1]),
        (torch.float64, [2**53, -(2**53), 1_700_000_000_000_000_001]),
    ],
)
def test_no_float_beside_them_rounds_whole_numbers(floats: torch.dtype, whole: list[int]) -> None:
    ids = torch.tensor([number for number in whole if abs(number) <= 2**53])
    beside = torch.ones(len(ids), 2, dtype=floats)
    last = lambda ids, t: (ids % 10).double() + 0 * t.double().sum(1)  # noqa: E731
    assert assay.Question(last, (ids, beside)).prediction.tolist() == (ids % 10).tolist()
    if len(ids) < len(whole):
        with pytest.raises(InputError, match=r"input0, which is torch.int64.*context="):
            assay.Question(last, (torch.tensor(whole), torch.ones(3, 2, dtype=floats)))


def test_whole_numbers_alone_stay_exact() -> None:
    odd = [[2**53 + 1], [2**62 + 1]]
    digit = lambda x: x[:, 0] % 10  # noqa: E731
    for made in (odd, np.array(odd), torch.tensor(odd)):
        assert assay.Question(digit, made).prediction.tolist() == [3, 5]
    with pytest.raises(InputError, match=r"torch.uint64, got 9223372036854775809"):
        assay.Question(digit, np.array([[2**63 + 1]], dtype=np.uint64))
    with pytest.raises(InputError, match="9007199254740993, which a float does not hold"):
        assay.Question(digit, [[2**53 + 1, 0.5]])


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64]
)
@pytest.mark.parametrize("beside", [None, torch.int32, torch.int64, torch.float32, torch.bfloat16])
def test_every_type_of_whole_numbers_is_answered(dtype: torch.dtype, beside: Any) -> None:
    x = torch.tensor([[1, 0, 1], [0, 1, 1]]).to(dtype)
    inputs: Any = x if beside is None else (x, torch.ones(2, 1).to(beside))
    question = assay.Question(total, inputs)
    assert question.layout.fold(question.x)[0].dtype == dtype
    assert assay.Occlusion()(question).values[:, :3].tolist() == [[1, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize(
    ("dtypes", "common"),
    [
        ((torch.float32, torch.int64), torch.float64),
        ((torch.bfloat16, torch.int64), torch.float64),
        ((torch.bfloat16, torch.int32), torch.float64),
        ((torch.float16, torch.int16), torch.float32),
        ((torch.bfloat16, torch.uint8), torch.bfloat16),
        ((torch.float32, torch.bool), torch.float32),
        ((torch.float32, torch.float64), torch.float64),
        ((torch.bfloat16, torch.float16), torch.float32),
        ((torch.uint16, torch.int32), torch.int64),
        ((torch.uint8, torch.int8), torch.int16),
        ((torch.bool,), torch.int64),
        ((torch.float32,), torch.float32),
    ],
)
def test_flat_rows_hold_every_tensor_exactly(dtypes: Any, common: torch.dtype) -> None:
    assert common_type(dtypes) == common


class Stored(nn.Module):
    """Weights kept in eight bits, of which sixteen are made to compute with."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.ones(1, 3).to(torch.float8_e4m3fn)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.to(x.dtype).T


def test_weights_of_eight_bits_do_not_turn_the_inputs_into_eight_bits() -> None:
    x = torch.tensor([[0.1, 0.2, 0.3]])
    question = assay.Question(Stored().eval(), x)
    assert question.x.dtype == torch.float32
    torch.testing.assert_close(question.prediction, x.sum(1))
    both = nn.Sequential(Stored(), nn.Linear(1, 1).bfloat16()).eval()
    assert assay.Question(both, x).x.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda pair: assay.Question(total, pair).value(torch.full((1, 3), 0.5)), "fractions"),
        (lambda pair: assay.Question(total, pair, removal=assay.Noise(0.1)).base, "fractions"),
        (
            lambda pair: (
                assay.Question(
                    total, pair, removal=assay.Mean((torch.tensor([1, 2]), torch.ones(2, 2)))
                ).base
            ),
            "fractions",
        ),
        (
            lambda pair: assay.Question(total, pair, removal=assay.Baseline((0.5, 0.0))),
            "input0, which is torch.int64",
        ),
    ],
)
def test_no_fraction_is_cut_where_whole_numbers_stand_beside_floats(ask: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        ask((IDS, torch.randn(3, 2)))


def test_numbers_that_the_models_type_makes_infinite_are_named() -> None:
    net = nn.Linear(2, 1).half()
    with pytest.raises(InputError, match=r"6.55e\+04 in the input.*infinite in torch.float16"):
        assay.Question(net, torch.full((1, 2), 1e5))


@pytest.mark.parametrize(
    ("value", "inputs", "match"),
    [
        (1e39, torch.ones(1, 2), "infinite in torch.float32"),
        (10**30, torch.ones(1, 2, dtype=torch.int32), "from -2147483648 to 2147483647"),
        (10**400, torch.ones(1, 2), "hold"),
        (float("nan"), torch.ones(1, 2, dtype=torch.int32), "whole number"),
        (float("inf"), torch.ones(1, 2, dtype=torch.int64), "whole number"),
        (300, torch.ones(1, 2, dtype=torch.uint8), "from 0 to 255"),
        (-1, torch.ones(1, 2, dtype=torch.uint8), "from 0 to 255"),
        (2, torch.ones(1, 2, dtype=torch.bool), "from 0 to 1"),
        (torch.tensor([300, 1]), torch.ones(1, 2, dtype=torch.uint8), "from 0 to 255"),
        (torch.tensor([float("inf"), 1]), torch.ones(1, 2, dtype=torch.int64), "fractions or no"),
    ],
)
def test_a_baseline_that_the_inputs_type_does_not_hold_is_refused(
    value: Any, inputs: torch.Tensor, match: str
) -> None:
    with pytest.raises(InputError, match=match):
        assay.Question(total, inputs, removal=assay.Baseline(value))


def test_a_mask_token_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="whole numbers from"):
        assay.Question(total, torch.ones(1, 2).long(), removal=assay.MaskToken(10**30))


FULL = np.eye(2) + 1
ODD = {
    "coo": (torch.ones(2, 2).to_sparse(), r"to_dense\(\)"),
    "csr": (torch.ones(2, 2).to_sparse_csr(), r"to_dense\(\)"),
    "mkldnn": (torch.ones(2, 2).to_mkldnn(), r"to_dense\(\)"),
    "nested": (torch.nested.nested_tensor([torch.ones(2), torch.ones(1)]), "to_padded_tensor"),
    "meta": (torch.ones(2, 2, device="meta"), "meta device"),
    "eight bits": (torch.ones(2, 2).to(torch.float8_e5m2), r"to\(torch.float32\)"),
    "complex": (torch.ones(2, 2) + 1j, r"two inputs, \(x.real, x.imag\)"),
    "complex array": (FULL * 1j, r"two inputs, \(x.real, x.imag\)"),
    "masked": (np.ma.masked_array(FULL, FULL > 1), r"x.filled\(value\)"),
    "objects": (FULL.astype(object), r"astype\(float\)"),
    "long double": (FULL.astype(np.longdouble), r"astype\(float\)"),
    "csr matrix": (sparse.csr_matrix(FULL), r"toarray\(\)"),
    "coo array": (sparse.coo_array(FULL), r"toarray\(\)"),
    "series of texts": (pd.Series(["a", "b"]), r"tolist\(\)"),
    "dates": (np.array([["2020-01-01"] * 2] * 2, dtype="M8[D]"), "Encode"),
    "None": (None, "Encode"),
    "ragged": ([[1.0, 2.0], [3.0]], "Encode"),
}
ENTRIES = {
    "inputs": lambda odd: assay.Question(total, odd),
    "Baseline": lambda odd: _absent(assay.Baseline(odd)),
    "Mean": lambda odd: _absent(assay.Mean(odd)),
    "Background": lambda odd: _absent(assay.Background(odd)),
    "Labels": lambda odd: assay.Question(total, torch.ones(2, 2), features=assay.Labels(odd)),
    "Aligned": lambda odd: assay.Question(
        total, torch.ones(2, 2), context={"c": assay.Aligned(odd)}
    ),
}


def _absent(removal: Any) -> Any:
    return assay.Question(total, torch.ones(2, 2), removal=removal)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_plain_array_is_refused_by_name(odd: str, entry: str) -> None:
    value, match = ODD[odd]
    # Texts in a column are texts, where inputs are read.
    if (odd, entry) == ("series of texts", "inputs"):
        assert assay.Question(len, value, 0).n == 2
        return
    # Nothing at all is no value of a setting, before it is no array.
    if value is None and entry == "Aligned":
        match = "one row per input"
    with pytest.raises(KindError, match=f"^Expected .*{match}"):
        ENTRIES[entry](value)


def test_a_masked_array_among_several_is_refused() -> None:
    with pytest.raises(KindError, match="masked"):
        assay.Question(total, (FULL, np.ma.masked_array(FULL, FULL > 1)))


def test_memory_in_another_order_of_bytes_or_with_other_signs_is_read() -> None:
    swapped = np.arange(4.0).reshape(2, 2).astype(">f8")
    assert assay.Question(total, swapped).x.tolist() == [[0, 1], [2, 3]]
    negative = torch.tensor([[1 + 2j]]).conj().imag
    assert assay.Question(total, negative).x.tolist() == [[-2]]


def test_refusals_at_the_door_are_the_projects_own() -> None:
    for value, _ in ODD.values():
        with pytest.raises(AssayError):
            assay.explain(total, value, target=0)


@pytest.mark.parametrize("value", [5, 0.5, -1, 1e39])
def test_a_number_that_is_no_category_is_refused(value: float) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "c": ["p", "q"]})
    with pytest.raises(InputError, match=r"category of column 'c', one of \['p', 'q'\]"):
        assay.Question(lambda f: f["a"].to_numpy(), frame, removal=assay.Baseline(value))


@pytest.mark.parametrize("value", [10**30, -3, 7])
def test_a_number_that_is_no_word_is_refused(value: int) -> None:
    with pytest.raises(InputError, match=r"removal of words for texts.*MaskToken"):
        assay.Question(lambda texts: np.ones(len(texts)), ["a b"], removal=assay.Baseline(value))
