"""Every method, asked about a table of numbers and categories: it answers or refuses in a sentence."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from typing import Any

import numpy as np
import pandas as pd
import pytest

import assay
import assay.methods
from assay.errors import AssayError
from assay.methods import METHODS
from toys import case_of

for found in pkgutil.walk_packages(assay.methods.__path__, "assay.methods."):
    importlib.import_module(found.name)

DRAW = np.random.default_rng(0)
TABLE = pd.DataFrame({"x": DRAW.normal(size=12), "n": DRAW.integers(1, 9, 12)})
TABLE["town"] = DRAW.choice(["Rome", "Bonn", "Oslo"], 12)
TABLE["size"] = pd.Categorical(DRAW.choice(["S", "M"], 12), ["S", "M"], ordered=True)
SWITCHING = ("ExactShapley", "KernelShap", "PermutationShapley", "Occlusion", "Rise", "Lime", "Qii")


def price(rows: pd.DataFrame) -> np.ndarray:
    # What is none of the table's values is none of the method's business.
    assert set(rows["town"]) <= {"Rome", "Bonn", "Oslo"}
    assert rows["size"].dtype == TABLE["size"].dtype
    words = (rows["town"] == "Rome") * 2.0 + (rows["size"] > "S")
    return rows["x"].to_numpy() + 0.5 * rows["n"].to_numpy() + words.to_numpy()


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_answers_or_refuses_a_table_of_numbers_and_categories(name: str) -> None:
    method: Any = case_of(name, METHODS[name]).method
    question = assay.Question(price, TABLE.iloc[:3], removal=assay.Background(TABLE.iloc[3:7]))
    # Methods that switch features answer; of others a refusal is an answer, but no other exception.
    may_refuse = contextlib.nullcontext() if name in SWITCHING else contextlib.suppress(AssayError)
    with may_refuse:
        answer = method(question)
        assert answer.values.shape[-1] in (4, 16)
        assert bool(answer.values.isfinite().all())
