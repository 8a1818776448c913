"""The page in Chromium: nothing for axe-core to find, no sideways scrolling on a phone, and no picture
of it without its words. Skipped where there is no Chromium, or where `ASSAY_AXE` names no axe.min.js.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import assay
from assay.comparison.comparison import Comparison
from assay.pages.report_page import report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
AXE = os.environ.get("ASSAY_AXE", "")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

EVIL = (
    "<script>document.title='run'</script> $x$ {{ 7 * 7 }} \u202ereversed \U0001f600 " + "long" * 40
)


def opened(page: str, folder: Path, *flags: str) -> str:
    """The page's document after its scripts have run."""
    file = folder / "opened.html"
    file.write_text(page, encoding="utf-8")
    call = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'profile'}",
        # Whatever the page asks of another host is answered by nobody.
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=20000",
        *flags,
        "--dump-dom",
        file.as_uri(),
    ]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout


def said(document: str) -> Any:
    """What a script left for us."""
    found = re.search(r'<pre id="said">(.*?)</pre>', document, re.DOTALL)
    assert found is not None, document[-500:]
    return json.loads(html.unescape(found[1]))


def width_on_a_phone(page: str, folder: Path) -> dict[str, int]:
    """How wide the page is in a window of 400 pixels."""
    frame = f'<iframe id="phone" width="400" height="800" srcdoc="{html.escape(page)}"></iframe>'
    script = """
    onload = () => {
      const inside = document.getElementById("phone").contentDocument.documentElement;
      const said = document.createElement("pre");
      said.id = "said";
      said.textContent = JSON.stringify({seen: inside.clientWidth, whole: inside.scrollWidth});
      document.body.append(said);
    };
    """
    body = f"<!doctype html><body>{frame}<script>{script}</script></body>"
    found: dict[str, int] = said(opened(body, folder))
    return found


def found_by_axe(page: str, folder: Path, *flags: str) -> list[str]:
    """What axe-core has against a page."""
    script = """
    axe.run(document, {resultTypes: ["violations"]}).then(found => {
      const said = document.createElement("pre");
      said.id = "said";
      said.textContent = JSON.stringify(found.violations.map(
        each => `${each.id} (${each.impact}): ${each.nodes[0].html.slice(0, 200)}`));
      document.body.append(said);
    });
    """
    code = f"<script>{Path(AXE).read_text(encoding='utf-8')}</script><script>{script}</script>"
    found: list[str] = said(opened(page.replace("</body>", f"{code}</body>"), folder, *flags))
    return found


def pictures() -> Comparison:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3))
    asked = assay.Question(net, torch.randn(3, 3, 4, 4), features=assay.Pixels())
    methods = ["Gradient", "InputXGradient", "Occlusion", "Rise(masks=80, grid=2)"]
    return assay.compare(asked, methods, ["Completeness", "Compactness", "Infidelity(draws=8)"])


def tables() -> Comparison:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(9, 14)), columns=[*"abcdefghijklm", EVIL])
    asked = assay.Question(lambda x: x.to_numpy().prod(1) + x.to_numpy().sum(1), frame)
    methods = ["PermutationShapley(orderings=8)", "Occlusion"]
    return assay.compare(asked, methods, ["Completeness", "Infidelity(draws=8)"])


def texts() -> Comparison:
    def praise(sentences: list[str]) -> Any:
        return np.array([("good" in text) - 2.0 * ("dull" in text) for text in sentences])

    asked = assay.Question(praise, [f"A good film {EVIL}", "So dull", "neither"])
    return assay.compare(asked, ["Occlusion", "KernelShap"], ["Completeness"])


PAGES = {"pictures": pictures, "tables": tables, "texts": texts}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for name, made in PAGES.items():
        comparison = made()
        labels = [EVIL] * comparison.question.n
        page = (
            report(comparison, folder / f"{name}.html", title=EVIL, labels=labels, inputs=3)
            if (comparison.question.n > 3)
            else report(comparison, folder / f"{name}.html", title=EVIL, labels=labels)
        )
        found[name] = page.read_text(encoding="utf-8")
    return found


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_shows_the_page_without_sideways_scrolling(
    pages: dict[str, str], tmp_path: Path, name: str
) -> None:
    width = width_on_a_phone(pages[name], tmp_path)
    assert 350 < width["seen"] <= 400
    assert width["whole"] == width["seen"]


@pytest.mark.parametrize("inputs", [16, pytest.param(500, marks=pytest.mark.long)])
@pytest.mark.parametrize("methods", [2, 20])
def test_a_phone_shows_few_and_many_methods_and_inputs(
    tmp_path: Path, methods: int, inputs: int
) -> None:
    rows = np.random.default_rng(0).normal(size=(inputs, 12))
    asked = assay.Question(lambda x: x[:, 0] * x[:, 1] + x[:, 2:].sum(1), rows)
    candidates = {f"method {k}": ("ExactShapley", "Occlusion")[k % 2] for k in range(methods)}
    found = assay.compare(asked, candidates, ["Completeness", "Compactness"])
    page = report(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<h3>input ") == 16
    assert all(f">method {k}<" in page for k in range(methods))
    width = width_on_a_phone(page, tmp_path)
    assert 350 < width["seen"] <= 400
    assert width["whole"] == width["seen"]


@pytest.mark.parametrize("name", PAGES)
def test_hostile_names_do_nothing(pages: dict[str, str], tmp_path: Path, name: str) -> None:
    document = opened(pages[name], tmp_path)
    title = re.search(r"<title>(.*?)</title>", document, re.DOTALL)
    assert title is not None
    assert html.unescape(title[1]).startswith("<script>")
    assert "<script" not in document
    assert "{{ 7 * 7 }}" in document


@pytest.mark.skipif(not Path(AXE).is_file(), reason="ASSAY_AXE names no axe.min.js")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(pages: dict[str, str], tmp_path: Path, name: str, dark: bool) -> None:
    flags = ["--blink-settings=preferredColorScheme=0"] if dark else []
    assert found_by_axe(pages[name], tmp_path, *flags) == []
