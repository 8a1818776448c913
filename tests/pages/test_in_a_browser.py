"""Every kind of page in Chromium: nothing for axe-core to find in light, dark and print, no sideways
scrolling on a phone, and hostile names that do nothing. Skipped where there is no Chromium; what asks
axe-core also where `ASSAY_AXE` names no axe.min.js (`npm pack axe-core`).
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import assay
from assay.comparison.comparison import Comparison
from assay.pages.report_page import report
from pictures.samples import SAMPLES, plain

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


def width_on_a_phone(page: str, folder: Path, pixels: int = 400) -> dict[str, int]:
    """How wide the page is in a window of so many pixels, with all that is folded away."""
    size = f'width="{pixels}" height="800"'
    frame = f'<iframe id="phone" {size} srcdoc="{html.escape(page)}"></iframe>'
    script = """
    onload = () => {
      const inside = document.getElementById("phone").contentDocument.documentElement;
      inside.querySelectorAll("details").forEach(each => each.open = true);
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
    """What axe-core has against a page, also where it is folded away."""
    script = """
    document.querySelectorAll("details").forEach(each => each.open = true);
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


def in_a_notebook() -> str:
    """The cards of every noun, one below the other, as a notebook shows them."""
    comparison = tables()
    question = comparison.question
    answer = comparison.attributions["PermutationShapley"]
    votes = assay.Question(
        lambda x: torch.stack([1.5 + 0 * x[:, 0], x[:, 1] + x[:, 3]], dim=1), torch.ones(1, 5)
    )
    proof = assay.HardStability().certify(votes, torch.arange(5) == 0)[0]
    score = comparison.scores["Occlusion()", "Completeness()"]
    maps = pictures().attributions["InputXGradient"]
    nouns: list[Any] = [question, answer, score, comparison, proof, maps]
    cards = "".join(noun._repr_html_() for noun in nouns)
    return bare(cards)


def gallery() -> str:
    """Every picture with its table, as pages and notebooks have them."""
    # Of a text the label is one word, of which there is a question to be asked.
    labels = {"words": plain}
    made = (sample(labels.get(name, names_of)) for name, sample in SAMPLES.items())
    return bare("".join(picture.html() for picture in made))


def saved_picture() -> str:
    """A picture in a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.html"
        SAMPLES["ladder"](names_of).save(file, theme="dark")
        return file.read_text(encoding="utf-8")


def names_of(name: str) -> str:
    return f"{name} {EVIL}"


def bare(inside: str) -> str:
    """A page that has nothing but what is shown in it."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    named = "<title>page</title></head><body><main><h1>page</h1>"
    return f'<!doctype html><html lang="en"><head>{head}{named}{inside}</main></body></html>'


PAGES = {"pictures": pictures, "tables": tables, "texts": texts}
OTHERS = {"notebook": in_a_notebook, "gallery": gallery, "saved picture": saved_picture}
EVERY = (*PAGES, *OTHERS)


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
    return found | {name: made() for name, made in OTHERS.items()}


@pytest.fixture(scope="module")
def demo_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the demo, with every method that it asks."""
    from assay.cli import demo

    file = tmp_path_factory.mktemp("demo") / "report.html"
    return demo.write(demo.run(), file).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EVERY)
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


@pytest.mark.parametrize("name", EVERY)
def test_hostile_names_do_nothing(pages: dict[str, str], tmp_path: Path, name: str) -> None:
    document = opened(pages[name], tmp_path)
    title = re.search(r"<title>(.*?)</title>", document, re.DOTALL)
    assert title is not None
    # Had the script in the names run, it would be another.
    assert html.unescape(title[1]).startswith("<script>" if name in PAGES else title[1][:4])
    assert title[1] != "run"
    assert "<script" not in document
    assert "{{ 7 * 7 }}" in document


DARK = "--blink-settings=preferredColorScheme=0"


def on_paper(page: str) -> str:
    """A page whose rules for print hold."""
    return page.replace("@media print", "@media all")


def test_paper_and_night_have_colours_of_their_own(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(9, 4))
    asked = assay.Question(lambda x: x[:, 0] * x[:, 1] + x[:, 2:].sum(1), rows)
    # Of more than six pairs the table is folded away.
    candidates = {f"method {k}": ("ExactShapley", "Occlusion")[k % 2] for k in range(5)}
    comparison = assay.compare(asked, candidates, ["Compactness"])
    page = report(comparison, tmp_path / "page.html").read_text(encoding="utf-8")
    script = """
    <script>
    onload = () => {
      const folded = [...document.querySelectorAll("details:not([open]) > :not(summary)")];
      const said = document.createElement("pre");
      said.id = "said";
      said.textContent = JSON.stringify({
        ground: getComputedStyle(document.body).backgroundColor,
        folded: folded.length,
        hidden: folded.filter(each => !each.checkVisibility({contentVisibilityAuto: true})).length,
      });
      document.body.append(said);
    };
    </script>
    """
    looks = {"light": (page, []), "dark": (page, [DARK]), "paper": (on_paper(page), [])}
    found = {
        look: said(opened(drawn.replace("</body>", f"{script}</body>"), tmp_path, *flags))
        for look, (drawn, flags) in looks.items()
    }
    assert found["light"]["ground"] == "rgb(245, 244, 241)"
    assert found["dark"]["ground"] == "rgb(21, 22, 26)"
    assert found["paper"]["ground"] == "rgb(255, 255, 255)"
    # What is folded away on a screen is read on paper.
    assert found["light"]["hidden"] == found["light"]["folded"] > 0
    assert found["paper"]["hidden"] == 0


@pytest.mark.skipif(not Path(AXE).is_file(), reason="ASSAY_AXE names no axe.min.js")
@pytest.mark.parametrize("look", ["light", "dark", "paper"])
@pytest.mark.parametrize("name", EVERY)
def test_axe_finds_nothing(pages: dict[str, str], tmp_path: Path, name: str, look: str) -> None:
    flags = [DARK] if look == "dark" else []
    page = on_paper(pages[name]) if look == "paper" else pages[name]
    assert found_by_axe(page, tmp_path, *flags) == []


@pytest.mark.long
@pytest.mark.skipif(not Path(AXE).is_file(), reason="ASSAY_AXE names no axe.min.js")
@pytest.mark.parametrize("look", ["light", "dark", "paper"])
def test_axe_finds_nothing_on_the_page_of_the_demo(
    demo_page: str, tmp_path: Path, look: str
) -> None:
    flags = [DARK] if look == "dark" else []
    page = on_paper(demo_page) if look == "paper" else demo_page
    assert found_by_axe(page, tmp_path, *flags) == []


@pytest.mark.long
def test_a_phone_shows_the_page_of_the_demo(demo_page: str, tmp_path: Path) -> None:
    width = width_on_a_phone(demo_page, tmp_path)
    assert 350 < width["seen"] <= 400
    assert width["whole"] == width["seen"]
