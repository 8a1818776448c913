"""Every shell line of the docs is run, in a folder that holds what it names."""

from __future__ import annotations

import doctest
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from assay.cli.app import app
from assay.registry import settings as registry_settings
from kinds_of_files import table

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Stands for a program in any language.
PROGRAM = """
import json
import sys

for line in sys.stdin:
    row = json.loads(line)
    print(json.dumps([row["age"], row["income"] * row["debt"]]))
"""

NETS = """
import torch


def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(ELEMENTS, 5)).eval()


model = build()
"""


def lines(page: Path) -> Iterator[str]:
    """The lines of a page's shell blocks that call the command."""
    for kind, block in re.findall(
        r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S
    ):
        if kind in ("", "sh", "bash", "shell", "console"):
            yield from (line for line in block.splitlines() if line.startswith("assay "))


BLOCKS = {page.relative_to(ROOT).as_posix(): list(lines(page)) for page in PAGES}
SHOWN = {name: calls for name, calls in BLOCKS.items() if calls}


def _nets(folder: Path, shape: tuple[int, ...]) -> None:
    """A network and inputs of one shape."""
    elements = int(np.prod(shape))
    (folder / "my_package" / "nets.py").write_text(NETS.replace("ELEMENTS", str(elements)))
    inputs = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    np.save(folder / "inputs.npy", inputs)


@pytest.fixture
def folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    table().iloc[:5].to_csv(here / "test.csv", index=False)
    (here / "predict.py").write_text(PROGRAM)
    (here / "my_package").mkdir()
    (here / "my_package" / "__init__.py").write_text("")
    _nets(here, (3, 4))
    monkeypatch.syspath_prepend(here)
    for name in ("my_package", "my_package.nets"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return here


def told(page: Path) -> dict[str, object]:
    """What a page defines in its examples."""
    names: dict[str, object] = {"__name__": "__main__"}
    for example in doctest.DocTestParser().get_examples(page.read_text(encoding="utf-8")):
        try:
            exec(compile(example.source, str(page), "single"), names)
        except Exception:
            # An example of a refusal; whether it is the right one is for the page's own test.
            continue
    return names


def make_known(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the page's own method, metric or removal known by name, as a package of ours is."""
    own = [
        value
        for value in told(page).values()
        if isinstance(value, type) and value.__module__ == "__main__"
    ]
    known = dict(registry_settings._own_words())
    known |= {kind.__name__: kind for kind in own if registry_settings._is_setting(kind)}
    monkeypatch.setattr(registry_settings, "_own_words", lambda: known)


def test_the_docs_show_the_command() -> None:
    assert {"README.md", "docs/command-line.md", "docs/how-to/write-a-method.md"} <= set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_shell_lines_run(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    calls = SHOWN[name]
    if name == "docs/how-to/write-a-removal.md":
        # Its rows have two elements.
        _nets(folder, (2,))
    if name.startswith("docs/how-to/"):
        make_known(ROOT / name, monkeypatch)
        # The page scores an answer that the reader has.
        asked = "explain my_package.nets:model inputs.npy --out answer.safetensors --quiet"
        assert CliRunner().invoke(app, asked.split()).exit_code == 0
    for line in calls:
        words = shlex.split(line, comments=True)[1:]
        source = None
        if "<" in words:
            source = (folder / words.pop()).read_text()
            words.pop()
        done = CliRunner().invoke(app, words, input=source)
        assert done.exit_code == 0, (line, done.output, done.exception)


def test_the_run_of_the_page_is_one(folder: Path) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    [text] = re.findall(r"^```toml\n(.*?)^```", page, flags=re.M | re.S)
    (folder / "assay.toml").write_text(text)
    done = CliRunner().invoke(app, ["run"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert (folder / "report.html").is_file()
