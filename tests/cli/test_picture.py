"""`picture`: what a file holds, drawn as a file, as numbers or in words."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from assay import pictures
from assay.cli import completion, listing
from assay.cli.app import app
from assay.saved import load

ANSWER = "a.safetensors"
PROOF = "proofs/certificate-0.json"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def kept(here: Path) -> Path:
    net = ("model.py:net", "d.csv", "--target", "0")
    made = run("explain", *net, "--method", "ExactShapley", "--out", ANSWER, "--quiet")
    assert made.exit_code == 0, made.output
    proved = ("--select", f"{ANSWER}:2", "--by", "MultiplicativeSmoothing(kept=1, levels=4)")
    made = run("certify", *net, *proved, "--out", "proofs", "--quiet")
    assert made.exit_code == 0, made.output
    return here


def test_every_kind_is_offered_and_drawn(kept: Path) -> None:
    assert tuple(completion.pictures("")) == listing.KINDS
    assert completion.pictures("la") == ["ladder"]
    for kind in listing.KINDS:
        file = PROOF if kind in ("radius", "votes") else ANSWER
        done = run("picture", file, "--kind", kind, "--out", f"{kind}.svg")
        assert done.exit_code == 0, (kind, done.output, done.exception)
        text = (kept / f"{kind}.svg").read_text(encoding="utf-8")
        assert text.startswith("<svg")
        assert "script" not in text


def test_it_is_the_picture_of_the_library_in_every_form(kept: Path) -> None:
    answer = load(ANSWER)
    right = pictures.ladder(answer, 1)  # type: ignore[arg-type]
    asked = ("picture", ANSWER, "--input", "1")
    assert run(*asked).stdout == f"{right.alt}\n"
    assert run(*asked, "--csv").stdout == right.data.to_csv(index=False)
    rows = list(csv.DictReader(io.StringIO(run(*asked, "--csv").stdout)))
    assert rows[0]["name"] == "base"
    for ending in ("svg", "png", "pdf", "html", "csv"):
        for theme in ("light", "dark"):
            done = run(*asked, "--out", f"p.{ending}", "--theme", theme)
            assert done.exit_code == 0, (ending, done.output, done.exception)
            right.save(kept / f"right.{ending}", theme=theme)  # type: ignore[arg-type]
            found = (kept / f"p.{ending}").read_bytes()
            assert found == (kept / f"right.{ending}").read_bytes()
    few = run(*asked, "--kind", "bars", "--top", "1", "--csv").stdout
    assert few == pictures.bars(answer, 1, top=1).data.to_csv(index=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ((ANSWER, "--kind", "lader"), "Did you mean ladder?"),
        ((ANSWER, "--kind", "votes"), "ladder, bars, importance, swarm, heat"),
        ((PROOF, "--kind", "heat"), "radius, votes"),
        ((ANSWER, "--theme", "pink"), "light, dark, print"),
        ((ANSWER, "--input", "9"), "9"),
        ((ANSWER, "--top", "0"), "0"),
        ((ANSWER, "--width", "0", "--out", "a.png"), "1 to 100 inches"),
        ((ANSWER, "--out", "a.gif"), "got a.gif. The ending"),
        ((ANSWER, "--out", "model.py/a.svg"), "path to write to"),
        ((ANSWER, "--out", "a.svg", "--csv"), "one of --csv and --out"),
        (("missing.safetensors",), "missing.safetensors"),
        (("d.csv",), "d.csv"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(kept: Path, call: tuple[str, ...], said: str) -> None:
    before = sorted(path.name for path in kept.iterdir())
    done = run("picture", *call)
    assert done.exit_code == 2, (done.output, done.exception)
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert sorted(path.name for path in kept.iterdir()) == before


def test_it_needs_no_model(kept: Path) -> None:
    (kept / "model.py").unlink()
    call = [sys.executable, "-m", "assay", "picture", ANSWER, "--kind", "importance"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
