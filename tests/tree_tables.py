"""Tables on which libraries of trees differ: missing values, zeros, categories, ties at thresholds."""

from __future__ import annotations

import numpy as np
import pandas as pd

ROWS = 300


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def numbers(*, missing: bool = True) -> pd.DataFrame:
    """Three columns: a with holes, i of few whole numbers, b with zeros."""
    draws = generator()
    table = pd.DataFrame(
        {
            "a": draws.normal(size=ROWS),
            "i": draws.integers(0, 5, ROWS),
            "b": np.where(draws.random(ROWS) < 0.3, 0.0, draws.normal(size=ROWS)),
        }
    )
    if missing:
        table.loc[::7, "a"] = np.nan
    return table


def mixed() -> pd.DataFrame:
    """The same with a category of texts that has holes, and one of many whole numbers."""
    draws = generator(1)
    table = numbers()
    table.insert(1, "c", pd.Categorical(draws.choice(list("zyxw"), ROWS)))
    table.loc[::11, "c"] = np.nan
    return table.assign(d=pd.Categorical(draws.integers(0, 90, ROWS)))


def response(table: pd.DataFrame) -> np.ndarray:
    """A number that all columns have a say in."""
    y = np.asarray(table.i, dtype=float) + np.nan_to_num(table.a, nan=2.0) * (table.b == 0)
    y = y + generator(2).normal(size=len(table))
    if "c" in table:
        y = y + 3 * (table.c == "z") + np.asarray(table.d.astype(int)) % 7
    return np.asarray(y)


def columns(answers: object) -> np.ndarray:
    array = np.asarray(answers, dtype=float)
    return array.reshape(len(array), -1)


def with_words(table: pd.DataFrame) -> pd.DataFrame:
    """The table with two columns of words beside its numbers, `c` and `d`."""
    rows = len(table)
    c = generator(3).choice(list("zyxw"), rows)
    d = generator(4).choice(list("uvr"), rows)
    return table.assign(c=c, d=d)
