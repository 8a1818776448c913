"""A study's page: its figures in a JSON beside it, and the part of its text that is written from them.

Imported first of all, it holds the threads of what is imported next, and finds the zoo of networks and data.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))  # the zoo of trained networks and data

START, END = "<!-- results -->", "<!-- end of results -->"


@dataclass(frozen=True)
class Page:
    """docs/studies/`name`.md, .json and .png."""

    name: str

    def file(self, ending: str) -> Path:
        """One of its files."""
        return REPOSITORY / "docs" / "studies" / f"{self.name}.{ending}"

    @property
    def picture(self) -> Path:
        """Where its picture goes."""
        return self.file("png")

    def kept(self) -> dict[str, Any]:
        """The figures of earlier runs."""
        found: dict[str, Any] = json.loads(self.file("json").read_text(encoding="utf-8"))
        return found

    def keep(self, figures: dict[str, Any]) -> None:
        """Keeps figures in the place of earlier ones."""
        self.file("json").write_text(json.dumps(figures) + "\n", encoding="utf-8")

    def fill(self, text: str) -> None:
        """Writes text between the page's markers."""
        page = self.file("md")
        before, rest = page.read_text(encoding="utf-8").split(START)
        page.write_text(f"{before}{START}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def merged(old: list[dict[str, Any]], new: list[dict[str, Any]], *key: str) -> list[dict[str, Any]]:
    """Records with those that were measured anew in their old places, and further ones behind."""
    fresh = {tuple(one[part] for part in key): one for one in new}
    kept = [fresh.pop(tuple(one[part] for part in key), one) for one in old]
    return kept + list(fresh.values())
