"""Two notebooks for people, written from the pages that the tests run: a table and a photograph.

A page of `docs/tutorials` is text and code with prompts. Here the text becomes cells of text and the code
cells of code; a cell that ends by naming an answer shows it. Each is run once, and what it shows is kept.

    python studies/notebooks.py          # docs/notebooks/tables.ipynb, docs/notebooks/photographs.ipynb
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("tables", "photographs")

_BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def cells(page: str) -> list[dict[str, Any]]:
    """The cells of a page, not yet run."""
    made: list[dict[str, Any]] = []
    # Text and the insides of blocks take turns.
    for k, part in enumerate(_BLOCK.split(page)):
        if k % 2:
            made += [_cell("code", code, outputs=[], execution_count=None) for code in _codes(part)]
        elif part.strip():
            made.append(_cell("markdown", part.strip()))
    return made


def _cell(kind: str, source: str, **more: Any) -> dict[str, Any]:
    lines = source.splitlines(keepends=True)
    return {"cell_type": kind, "metadata": {}, "source": lines, **more}


def _codes(block: str) -> Iterator[str]:
    """What is typed, without prompts and without what was expected: a cell for what is made, which
    shows what was made last, and one for each question about it.
    """
    examples = doctest.DocTestParser().get_examples(block)
    for asked, group in groupby(examples, key=lambda example: bool(example.want)):
        if asked:
            yield from (example.source.rstrip() for example in group)
            continue
        code = "".join(example.source for example in group)
        last = ast.parse(code).body[-1]
        if isinstance(last, ast.Assign) and isinstance(last.targets[0], ast.Name):
            code += last.targets[0].id
        yield code.rstrip()


def run(made: list[dict[str, Any]]) -> None:
    """Runs the cells of code, one after another, and keeps what they show."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for count, cell in enumerate((cell for cell in made if cell["cell_type"] == "code"), start=1):
        cell["execution_count"] = count
        cell["outputs"] = _shown("".join(cell["source"]), names, count)


def _shown(code: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    tree = ast.parse(code)
    last = tree.body[-1]
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        else:
            exec(compile(tree, "cell", "exec"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        html = value._repr_html_() if hasattr(value, "_repr_html_") else None
        # What needs a script does nothing where notebooks are read, and takes much room.
        if html and "<script" not in html:
            data["text/html"] = html.splitlines(keepends=True)
        outputs.append(
            {
                "output_type": "execute_result",
                "data": data,
                "metadata": {},
                "execution_count": count,
            }
        )
    return outputs


def notebook(page: str) -> dict[str, Any]:
    """A page as a notebook, not yet run."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells(page),
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 4,
    }


def main() -> None:
    """Writes both."""
    for name in PAGES:
        page = (ROOT / "docs" / "tutorials" / f"{name}.md").read_text(encoding="utf-8")
        made = notebook(page)
        run(made["cells"])
        text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        (ROOT / "docs" / "notebooks" / f"{name}.ipynb").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
