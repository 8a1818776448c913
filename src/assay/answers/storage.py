"""Answers on disk: one safetensors file whose header says what it is; nothing is pickled."""

from __future__ import annotations

from os import PathLike

from torch import Tensor

from assay.errors import InputError, VersionError

FORMAT = "1"


def read(
    path: str | PathLike[str], noun: str | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The arrays and the header of a saved file, checked for what it holds and its format."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            header = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(
            expected="a file written by .save()",
            got=f"{path} which cannot be read: {error}",
            advice="",
        ) from error
    if "noun" not in header or (noun is not None and header["noun"] != noun):
        raise InputError(
            expected=f"a saved {noun or 'answer'} in {path}",
            got=header.get("noun", "another kind of file"),
            advice="",
        )
    if header.get("format") != FORMAT:
        raise VersionError(
            expected=f"a file of format {FORMAT} in {path}",
            got=f"format {header.get('format')}",
            advice="Read it with the version that wrote it, or ask again.",
        )
    return arrays, header
