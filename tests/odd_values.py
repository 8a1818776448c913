"""What no setting and no argument, or only some, can mean; and small questions to try it on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import assay

X = torch.arange(12.0).view(3, 4) / 10 + 0.1
NET = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).eval()
TRAINING = [(torch.ones(4), 0), (torch.zeros(4), 1)]


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no")


def itself() -> list[Any]:
    held: list[Any] = []
    held.append(held)
    return held


ODD: dict[str, Any] = {
    "None": None,
    "a word": "x",
    "a number as text": "8",
    "an empty text": "",
    "bytes": b"x",
    "a fraction": 2.5,
    "a whole float": 10.0,
    "nan": float("nan"),
    "infinity": float("inf"),
    "a negative": -1,
    "zero": 0,
    "True": True,
    "a huge int": 10**400,
    "a large int": 2**40,
    "complex": 1j,
    "a list": [1, 2],
    "words": ["a", "b"],
    "nested": [[0, 1], [2, 3]],
    "ragged": [[1], [1, 2]],
    "holds itself": itself(),
    "holds None": (None, 1),
    "pairs of words": (("a", "b"), ("c", "d")),
    "empty tuple": (),
    "dict": {},
    "dict of lists": {"b": [1, 2]},
    "set": {1, 2},
    "object": object(),
    "unprintable": Unprintable(),
    "numpy int": np.int64(3),
    "numpy float": np.float32(0.5),
    "numpy bool": np.bool_(True),
    "numpy text": np.str_("x"),
    "array": np.array([0, 1]),
    "array of objects": np.array([None, "a"], dtype=object),
    "tensor": torch.tensor(3),
    "tensor of several": torch.tensor([0.5, 0.25]),
    "series": pd.Series([0, 1], index=[5, 6]),
    "a class": assay.Gradient,
    "an instance": assay.Gradient(),
    "lambda": lambda: 3,
    "generator": iter([1, 2]),
    "module": torch,
    "type": int,
}
