"""Predictors and inputs by name, for the command line: `package.module:predictor`, and data from
files.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.errors import InputError, KindError

_READ = (".npy", ".npz", ".csv", ".safetensors")


def predictor(where: str) -> Any:
    """What `package.module:name` names; `name()` is called without arguments, so that a function
    may build it.

    >>> predictor("torch.nn:ReLU()")
    ReLU()
    """
    module, _, path = where.partition(":")
    name, call = (path[:-2], True) if path.endswith("()") else (path, False)
    if not module or not all(
        part.isidentifier() for part in (*module.split("."), *name.split("."))
    ):
        raise InputError(
            expected="a predictor as package.module:name, or :name() to have it built",
            got=repr(where),
            advice="",
        )
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"Expected a predictor at {where}, looked from {Path.cwd()}: {error}."
        ) from error
    return found() if call else found


def inputs(path: Path) -> Any:
    """A tensor, several tensors (in the order of their names), an array or a table, by the file's
    ending.

    `.npy` and `.npz` give tensors, `.safetensors` likewise, `.csv` a DataFrame. Nothing is
    unpickled.
    """
    if path.suffix not in _READ:
        raise InputError(
            expected=f"inputs in a file that ends in {', '.join(_READ)}",
            got=repr(path.name),
            advice="",
        )
    if not path.is_file():
        raise InputError(f"Expected inputs in {path}, where there is no file.")
    if path.suffix == ".csv":
        import pandas as pd

        return pd.read_csv(path)
    try:
        parts = _tensors(path)
    except (ValueError, OSError) as error:
        raise InputError(
            expected=f"arrays of numbers in {path}",
            got=f"what cannot be read: {error}",
            advice="",
        ) from error
    return parts[0] if len(parts) == 1 else parts


def _tensors(path: Path) -> tuple[torch.Tensor, ...]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            named = load_file(str(path))
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        return tuple(named[name] for name in sorted(named))
    loaded = np.load(path, allow_pickle=False)
    arrays = (
        [loaded] if isinstance(loaded, np.ndarray) else [loaded[name] for name in sorted(loaded)]
    )
    if any(not (np.issubdtype(each.dtype, np.number) or each.dtype == np.bool_) for each in arrays):
        raise KindError(
            expected=f"arrays of numbers in {path}",
            got=", ".join(str(each.dtype) for each in arrays),
            advice="",
        )
    return tuple(torch.from_numpy(each) for each in arrays)
