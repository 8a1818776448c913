"""Files that answers are read from and written to: which paths can be, told before any work.

A saved answer is a regular file. Folders are made as they are needed; a file is written beside its
name and then renamed, so that a full disk leaves what was there before.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from assay.answers.header import shown
from assay.errors import InputError, KindError


def saved_file(path: Any) -> Path:
    """The path of a file to read, or a refusal: a folder or a device is no saved answer."""
    if not isinstance(path, str | PathLike):
        raise KindError(
            expected="the path of a file written by .save()",
            got=shown(repr(path)),
            advice="Hand over a text or a path, such as load('answer.safetensors').",
        )
    file = Path(path)
    try:
        regular = file.is_file()
    except (ValueError, OSError):  # a name that no file can have
        regular = False
    if not regular:
        raise InputError(
            expected="a file written by .save()",
            got=f"{file}, {_instead(file)}",
            advice="Look for a typing error in the path, or save an answer there first.",
        )
    return file


def _instead(file: Path) -> str:
    try:
        if file.is_dir():
            return "which is a folder"
        return "which is a device" if file.exists() else "where there is none"
    except (ValueError, OSError):
        return "where there is none"


def writable(path: Any) -> Path:
    """The path of a file to write, its folder made, or a refusal before there is anything to lose.

    Errors: KindError for what is no path, InputError for one where no file can be written.
    """
    if not isinstance(path, str | PathLike):
        raise KindError(
            expected="the path of a file to write",
            got=shown(repr(path)),
            advice="Hand over a text or a path, such as 'answers/answer.safetensors'.",
        )
    file = Path(path)
    try:
        if file.is_dir():
            raise IsADirectoryError("a folder is there")
        file.parent.mkdir(parents=True, exist_ok=True)
        target = file if file.exists() else file.parent
        if not os.access(target, os.W_OK):
            raise PermissionError("no right to write there")
    except (OSError, ValueError) as error:
        raise _unwritable(file, error) from error
    return file


def write_file(path: Any, data: bytes) -> None:
    """Writes a file whole, with the rights of any new file."""
    file = writable(path)
    try:
        if file.exists() and not file.is_file():  # a pipe or a device
            file.write_bytes(data)
            return
        # Beside the file itself, where a link leads to one.
        real = file.resolve()
        # By the number of the process: two that save at once do not write into one file.
        partial = real.with_name(f".{os.getpid()}.partial")
        try:
            partial.write_bytes(data)
            partial.replace(real)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(file, error) from error


@contextmanager
def together(folder: Path, last: str) -> Iterator[Path]:
    """A place for files of one folder, which are moved there at the end, all or none of them.

    A full disk or an interrupt inside the block leaves what the folder held.

    Settings:
        folder: where they go.
        last: the name of the file that is moved last: while it is missing the folder is not whole.
    """
    home = writable(folder / last).parent
    # Beside them, since a file is moved at once on its own disk alone.
    with tempfile.TemporaryDirectory(prefix=".", suffix=".partial", dir=home) as place:
        yield Path(place)
        # A contents of other files must not stand beside these.
        (home / last).unlink(missing_ok=True)
        names = sorted(file.name for file in Path(place).iterdir())
        for name in sorted(names, key=last.__eq__):
            (Path(place) / name).replace(home / name)


def _unwritable(file: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(
        expected=f"a path to write to: {file}",
        got=shown(reason),
        advice="Name a file in a folder that you may write to.",
    )
