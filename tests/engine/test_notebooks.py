"""In a notebook without ipywidgets there is no bar, and no warning for each."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

from assay import engine


@pytest.mark.parametrize("installed", [False, True])
def test_a_bar_needs_something_to_show_it(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    found = importlib.util.find_spec("json") if installed else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    assert engine.visible() is installed
