"""What studies share: a page with its figures, and the conditions under which they are measured.

A page's figures lie in a JSON beside it, and a part of its text is written from them. Nothing is
set by an import: a study calls `conditions()` in its `main()`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
START = "<!-- results -->"
END = "<!-- end of results -->"


def conditions() -> None:
    """One thread, so that processor seconds are comparable, and no warnings of other libraries."""
    import torch
    from threadpoolctl import threadpool_limits

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    # Holds the thread pools of every library loaded so far (OpenMP, BLAS).
    threadpool_limits(1)


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


def outcomes(cases: Sequence[Any], cell: Callable[[Any], str]) -> tuple[list[str], list[str]]:
    """A row for each method and a column for each network, and what was said of refusals.

    A case has `network`, `method`, `outcome` and `detail`; a detail is numbered in its cell and
    stands below the table. Cases that were not asked have an empty cell.
    """
    names = list(dict.fromkeys(case.network for case in cases))
    methods = list(dict.fromkeys(case.method for case in cases))
    by_place = {(case.network, case.method): case for case in cases}
    details = dict.fromkeys(case.detail for case in cases if case.detail)
    numbers = {detail: number for number, detail in enumerate(details, start=1)}

    def shown(case: Any | None) -> str:
        if case is None:
            return ""
        return f"{case.outcome} ({numbers[case.detail]})" if case.detail else cell(case)

    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for method in methods:
        cells = " | ".join(shown(by_place.get((name, method))) for name in names)
        lines.append(f"| {method} | {cells} |")
    if not numbers:
        return lines, []
    told = [f"{number}. {' '.join(detail.split())}" for detail, number in numbers.items()]
    return lines, ["", "Refusals:", "", *told]
