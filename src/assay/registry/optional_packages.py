"""Packages that one kind of file needs, and nobody else: imported when such a file is read."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from assay.errors import MissingError


def optional(module: str, extra: str) -> Any:
    """A package that reads a kind of file, or the refusal that says how it is installed.

    Settings:
        module: its name when it is imported.
        extra: by which it is installed with this library.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingError(module.partition(".")[0], extra) from error
