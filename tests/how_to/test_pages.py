"""The pages of docs/how-to and docs/tutorials: links, lines, and what happens where data is absent."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs" / "how-to").glob("*.md"),
        *(ROOT / "docs" / "tutorials").glob("*.md"),
    ]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not link.startswith("https://"):
            assert (page.parent / link).exists(), f"{page.name} points to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_index_and_the_readme_name_every_page(page: Path) -> None:
    for face in ("docs/index.md", "README.md"):
        assert page.name in (ROOT / face).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_code_are_short_enough_to_read(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert all(len(line) <= 120 for line in lines if line.startswith((">>>", "...")))


@pytest.mark.long
@pytest.mark.parametrize("ci", ["", "true"])
def test_tutorials_are_skipped_without_data_and_fail_where_it_was_promised(
    ci: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "docs/tutorials/texts.md", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "ASSAY_DATA": str(tmp_path), "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    if ci:
        assert done.returncode == 1
        assert "FileNotFoundError" in done.stdout
    else:
        assert done.returncode == 0
        assert "1 skipped" in done.stdout
        assert "real data not found: set ASSAY_DATA" in done.stdout
