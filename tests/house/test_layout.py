"""The layout of the house: floors and families (import-linter), rooms and arrows between the wings,
a place for every file.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import grimp
import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "assay"
WINGS = sorted(path.parent for path in SOURCE.rglob("__init__.py") if path.parent != SOURCE)
ROOMS, ARROWS = 25, 120  # at most, on the plan of the wings
IN_A_WING = 16  # rooms


def shown(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def plan() -> tuple[set[str], set[tuple[str, str]]]:
    """The wings and files directly under `assay`, and which of them import which."""
    graph = grimp.build_graph("assay", exclude_type_checking_imports=True)
    rooms = set(graph.find_children("assay"))
    arrows = {
        (one, other)
        for one in rooms
        for other in rooms - {one}
        if graph.direct_import_exists(importer=one, imported=other, as_packages=True)
    }
    return rooms, arrows


def test_arrows_point_down_and_families_do_not_know_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS, (
        "lint-imports says which import points up"
    )


def test_the_plan_stays_small() -> None:
    rooms, arrows = plan()
    assert len(rooms) <= ROOMS
    assert len(arrows) <= ARROWS, sorted(arrows)


def test_no_module_imports_in_a_circle() -> None:
    graph = grimp.build_graph("assay", exclude_type_checking_imports=True)
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module not in done:
            for imported in graph.find_modules_directly_imported_by(module):
                walk(imported, (*way, module))
            done.add(module)

    for module in graph.modules:
        walk(module, ())


@pytest.mark.parametrize("wing", WINGS, ids=shown)
def test_every_file_has_its_place_on_the_page_of_its_wing(wing: Path) -> None:
    """A wing's docstring is its page: what it is for, and each of its rooms."""
    page = ast.get_docstring(ast.parse((wing / "__init__.py").read_text()))
    assert page, f"{shown(wing)}/__init__.py: say what the wing is for, and name its rooms"
    named = set(re.findall(r"`(\w+)`", page))
    rooms = {path.stem for path in wing.glob("*.py")} | {
        each.name for each in WINGS if each.parent == wing
    }
    for room in sorted(rooms - {"__init__"}):
        assert room in named, (
            f"{shown(wing)}/{room} is put nowhere: if it belongs to what {shown(wing)} is for, name it "
            f"in the docstring of {shown(wing)}/__init__.py; if not, the table of docs/architecture.md "
            "says which wing it belongs to"
        )
    assert len(rooms) <= IN_A_WING


def test_every_wing_and_file_at_the_top_is_on_the_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tops = {f"{path.name}/" for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    tops |= {path.name for path in SOURCE.glob("*.py") if not path.name.startswith("__")}
    for top in sorted(tops):
        assert f"`{top}`" in page, (
            f"{top} stands on no floor of docs/architecture.md: give it a row of the table of wings"
        )
