"""Golden texts: the help and ten outputs, to the letter.

`ASSAY_GOLDEN=write` writes them anew; look at the difference before it is kept.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assay.cli.app import app

GOLDEN = Path(__file__).with_name("golden")

NET = ("model.py:net", "d.csv", "--target", "0")
CONTEST = ("--method", "InputXGradient", "--method", "Occlusion", "--metric", "Completeness")

CALLS = {
    "help": ("--help",),
    "help-explain": ("explain", "--help"),
    "help-compare": ("compare", "--help"),
    "explain": ("explain", *NET, "--method", "InputXGradient"),
    "explain-json": ("explain", *NET, "--method", "InputXGradient", "--json", "--rows", "0:1"),
    "explain-csv": ("explain", *NET, "--method", "InputXGradient", "--csv"),
    "explain-texts": ("explain", "words.py:good", "texts.txt"),
    "explain-refused": ("explain", "model.py:net", "d.csv", "--method", "IntegratedGradient"),
    "compare": ("compare", *NET, *CONTEST),
    "certify": ("certify", *NET[:2], "--select", "Occlusion:2", "--by", "HardStability"),
    "check": ("check", *NET),
    "methods-unknown": ("explain", *NET, "--method", "Shap"),
    "show": ("show", "kept.safetensors"),
    "score-refused": ("score", *NET[:2], "d.npy", "--metric", "Completeness"),
}


@pytest.mark.parametrize("name", CALLS)
def test_outputs(here: Path, name: str) -> None:
    if name == "show":
        asked = ("explain", *NET, "--method", "ExactShapley", "--quiet", "--out", CALLS[name][1])
        assert CliRunner().invoke(app, list(asked)).exit_code == 0
    done = CliRunner().invoke(app, list(CALLS[name]), env={"COLUMNS": "100"})
    assert done.exit_code in (0, 2), (done.output, done.exception)
    # Digests hold bytes of the models, versions those of the packages.
    text = re.sub(r'"versions": \{[^}]*\}', '"versions": {}', done.output)
    text = re.sub(r'"(plan|seconds|digest|key)": ("[^"]*"|[0-9.e-]+|\{.*?\})', r'"\1": ""', text)
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    kept = GOLDEN / f"{name}.txt"
    if os.environ.get("ASSAY_GOLDEN") == "write":
        kept.write_text(text, encoding="utf-8")
    assert text == kept.read_text(encoding="utf-8")
