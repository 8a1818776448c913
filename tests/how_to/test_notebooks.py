"""The notebooks hold the code of the tutorials, which run as they stand, and what it showed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import zoo

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("notebooks", ROOT / "studies" / "notebooks.py")
assert SPEC is not None
assert SPEC.loader is not None
notebooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(notebooks)


def kept(name: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        (ROOT / "docs" / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    )
    return made


def sources(notebook: dict[str, Any]) -> list[tuple[str, str]]:
    return [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


@pytest.mark.parametrize("name", notebooks.PAGES)
def test_the_notebook_is_its_page(name: str) -> None:
    page = (ROOT / "docs" / "tutorials" / f"{name}.md").read_text(encoding="utf-8")
    current = notebooks.notebook(page)
    assert sources(kept(name)) == sources(current), "python studies/notebooks.py"
    assert any(kind == "code" for kind, _ in sources(current))


@pytest.mark.parametrize("name", notebooks.PAGES)
def test_every_answer_is_shown(name: str) -> None:
    cells = [cell for cell in kept(name)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    shown = [
        "".join(output["data"].get("text/html", []))
        for cell in cells
        for output in cell["outputs"]
        if output["output_type"] == "execute_result"
    ]
    cards = [html for html in shown if "assay-card" in html]
    assert len(cards) >= 2
    assert any("<svg" in card for card in cards)
    assert not [html for html in shown if "<script" in html]


@zoo.needs_data
def test_the_notebook_about_a_table_runs() -> None:
    made = kept("tables")["cells"]
    for cell in made:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    notebooks.run(made)
    assert any(
        "<svg" in "".join(output.get("data", {}).get("text/html", []))
        for cell in made
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
    )
