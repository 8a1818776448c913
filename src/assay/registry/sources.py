"""Predictors and inputs by address, for the command line.

A predictor is addressed as setuptools addresses a script, `package.module:name`; inputs are files
of numbers. Nothing is unpickled: a file of data cannot run code. An address does: it imports the
module that it names.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from assay.errors import AssayError, InputError, KindError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_READABLE = (".npy", ".npz", ".csv", ".safetensors")


def predictor(address: str) -> Any:
    """What `package.module:name` names; `name()` is called without arguments, so that a function
    may build it.

    >>> predictor("torch.nn:ReLU()")
    ReLU()
    """
    module, _, path = address.partition(":")
    # Brackets at the end ask for a call without arguments: settings have no place in an address.
    name = path.removesuffix("()")
    _check_address(address, module, name)
    # A command line starts where the user is: modules of that folder can be named, as by
    # `python -m`. An installed script does not put that folder on the path by itself.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        value: Any = import_module(module)
        for part in name.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise InputError(
            expected=f"a predictor at {address}",
            got=f"{error}, looked from {Path.cwd()}",
            advice="Name a module that Python can import from here, and what it defines.",
        ) from error
    if path.endswith("()"):
        return value()
    return value


def _check_address(address: str, module: str, name: str) -> None:
    parts = [*module.split("."), *name.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise InputError(
            expected="a predictor as package.module:name, or :name() to have it built",
            got=repr(address),
            advice="Settings cannot be given: name a function that builds it with them.",
        )


def inputs(path: Path) -> Any:
    """A tensor, several tensors (in the order of their names), an array or a table, by the file's
    ending.

    `.npy` and `.npz` give tensors, `.safetensors` likewise, `.csv` a DataFrame. Nothing is
    unpickled.
    """
    if path.suffix not in _READABLE:
        raise InputError(
            expected=f"inputs in a file that ends in {', '.join(_READABLE)}",
            got=repr(path.name),
            advice="Save them first: numpy.save, to_csv or safetensors.torch.save_file.",
        )
    if not path.is_file():
        raise InputError(
            expected=f"inputs in {path}",
            got="no file there",
            advice=f"Give a path from {Path.cwd()}, or a whole one.",
        )
    if path.suffix == ".csv":
        return _table(path)
    try:
        tensors = _tensors(path)
    except AssayError:
        raise
    # NumPy, zipfile and torch each have exceptions of their own for a damaged file.
    except Exception as error:
        raise InputError(
            expected=f"arrays of numbers in {path}",
            got=f"what cannot be read: {error}",
            advice="Save it again as plain numbers: objects and pickles are not read.",
        ) from error
    # A model with one input takes a tensor, one with several takes them in order.
    if len(tensors) == 1:
        return tensors[0]
    return tensors


def _table(path: Path) -> Any:
    import pandas as pd

    try:
        frame = pd.read_csv(path)
    # Empty, binary or ragged: ValueErrors of pandas and of Python's decoder.
    except (ValueError, OSError, MemoryError) as error:
        raise InputError(
            expected=f"a table with a line of column names in {path}",
            got=f"what cannot be read: {' '.join(str(error).split())}",
            advice="Write it by DataFrame.to_csv(path, index=False): one line a row, in UTF-8.",
        ) from error
    if frame.empty:
        raise InputError(
            expected=f"rows under the column names of {path}",
            got="none",
            advice="Add a line for each input.",
        )
    return frame


def _tensors(path: Path) -> tuple[torch.Tensor, ...]:
    if path.suffix == ".safetensors":
        return _safetensors(path)
    return _numpy(path)


def _safetensors(path: Path) -> tuple[torch.Tensor, ...]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        by_name = load_file(str(path))
    # A class of its own, outside the family of ValueError.
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    return tuple(by_name[name] for name in sorted(by_name))


def _numpy(path: Path) -> tuple[torch.Tensor, ...]:
    # Opened into memory as it is: a header may claim more than the file holds.
    archive = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None)
    # An .npy file is one array, an .npz file a mapping of several, read one by one.
    arrays = [archive]
    if not isinstance(archive, np.ndarray):
        arrays = [archive[name] for name in sorted(archive)]
    # Text arrays are not pickled, and would pass: torch would refuse them in its own words.
    if not all(_holds_numbers(array) for array in arrays):
        raise KindError(
            expected=f"arrays of numbers in {path}",
            got=", ".join(str(array.dtype) for array in arrays),
            advice="Save numbers, or a table with text columns as .csv.",
        )
    return tuple(torch.from_numpy(np.array(array)) for array in arrays)


def _holds_numbers(array: NDArray[Any]) -> bool:
    real = np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)
    return bool(real or array.dtype == np.bool_)
