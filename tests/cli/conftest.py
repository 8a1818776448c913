"""A folder with one model of every kind and one data file of every kind, made once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import kinds_of_files


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; what a test writes goes elsewhere."""
    return kinds_of_files.filled(tmp_path_factory.mktemp("models"))


@pytest.fixture
def here(kinds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with links to all of these, in which the command is run."""
    for entry in kinds.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    for name in ("model", "words"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path
