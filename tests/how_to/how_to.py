"""The names that a page of docs/how-to defines: its examples, run in order."""

from __future__ import annotations

import doctest
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"


@cache
def names(page: str) -> dict[str, Any]:
    """What stands in the page's namespace after its last example."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    # A module of its own: classes are looked up by theirs when they are copied or pickled.
    module = ModuleType(f"page_{page.replace('-', '_')}")
    sys.modules[module.__name__] = module
    for example in doctest.DocTestParser().get_examples(text):
        exec(compile(example.source, f"{page}.md", "exec"), vars(module))
    return vars(module)
