"""Answers on disk: one safetensors file, the arrays as they are, the facts as JSON in its header.

The header holds three texts: `noun` (which class it is), `format` (of this layout of the file) and
`facts` (all that is not an array, as JSON). Nothing is pickled, so that a file of unknown origin
can be read without running code of its own (https://huggingface.co/docs/safetensors).

Whatever a file says is checked before anything is made of it (`answers.header`). Reading takes at
most some 40 times the file's size: the arrays once, and JSON as Python's lists.

One rule of versions: a file is read if its format is `FORMAT`, else refused; `FORMAT` rises by one
whenever the header or the arrays change. Certificates are JSON alone, with a format of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, final

import numpy as np
from torch import Tensor

from assay.answers.files import saved_file, write_file
from assay.answers.header import damaged, parsed, shown
from assay.errors import InputError, VersionError

# "1" kept the facts under another key. A text, as all that a header of
# safetensors may hold.
FORMAT = "2"


@final
@dataclass(frozen=True, eq=False)
class SavedAnswer:
    """What stands in a saved file.

    Fields:
        noun: the class that was saved, "Attribution" or "Score".
        arrays: its tensors by name, on the CPU.
        facts: everything else, as JSON gives it back (tuples have become lists).
    """

    noun: str
    arrays: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def write(
    path: str | PathLike[str],
    noun: str,
    arrays: Mapping[str, Tensor | None],
    facts: Mapping[str, Any],
) -> None:
    """Writes one file; arrays that are None are left out."""
    from safetensors.torch import save

    # safetensors writes memory as it lies: strides and devices must be gone.
    tensors = {
        name: array.detach().cpu().contiguous()
        for name, array in arrays.items()
        if array is not None
    }
    header = {"noun": noun, "format": FORMAT, "facts": json.dumps(plain(facts))}
    # As bytes: safetensors would write a file that its owner alone may read.
    write_file(path, save(tensors, header))


def plain(value: Any) -> Any:
    """Facts as JSON can hold them: NumPy's numbers and arrays as Python's, what is neither as text.

    >>> plain({"seed": np.int64(3), "plan": (1, 2), "rows": {4: None}})
    {'seed': 3, 'plan': [1, 2], 'rows': {'4': None}}
    """
    if isinstance(value, np.generic | np.ndarray | Tensor):
        return plain(value.tolist())
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    return repr(value)


def read(path: str | PathLike[str], noun: str | None = None) -> SavedAnswer:
    """A saved file, checked for what it holds and for its format.

    Errors: InputError for a file that cannot be read or holds another noun, VersionError for one of
    another format.
    """
    from safetensors import SafetensorError, safe_open

    where = saved_file(path)
    try:
        with safe_open(str(where), framework="pt") as file:
            header = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # Types that torch does not know, shapes that it cannot hold, a file that may not be read.
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise InputError(
            expected="a file written by .save()",
            got=f"{path} which cannot be read: {shown(error)}",
            advice="Save the answer again: answer.save(path).",
        ) from error
    if "noun" not in header or noun not in (None, header["noun"]):
        raise InputError(
            expected=f"a saved {noun or 'answer'} in {path}",
            got=shown(header.get("noun", "another kind of file")),
            advice="Read whatever was saved with assay.load(path).",
        )
    # The noun is looked at first: a stranger's file has no format of ours to
    # complain about.
    if header.get("format") != FORMAT:
        raise VersionError(
            expected=f"a file of format {FORMAT} in {path}",
            got=f"format {shown(header.get('format'))}",
            advice="Read it with the version that wrote it, or ask again and save the new answer.",
        )
    facts = parsed(header.get("facts", ""), str(path))
    if not isinstance(facts, dict):
        raise damaged(str(path), "a mapping of facts", shown(facts))
    return SavedAnswer(header["noun"], arrays, facts)
