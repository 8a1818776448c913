"""A run as a file: what it does, what it refuses, and that a call writes the file that repeats it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from assay.cli.app import app

RUN = """
model = "model.py:net"
data = "d.csv"
target = 0
rows = "0:2"
methods = ["InputXGradient", "Occlusion"]
metrics = ["Completeness"]
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def test_a_run_compares_certifies_and_reports(here: Path) -> None:
    proofs = '[certify]\nselect = "Occlusion:2"\nby = "MultiplicativeSmoothing(kept=1, levels=4)"\n'
    page = 'out = "proofs"\n[report]\nout = "page.html"\ntitle = "Mine"\n'
    (here / "assay.toml").write_text(RUN.replace("target = 0\n", "") + proofs + page)
    done = run("run")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "<h1>Mine</h1>" in (here / "page.html").read_text(encoding="utf-8")
    assert (here / "proofs" / "certificate-1.json").is_file()
    assert not (here / "proofs" / "certificate-2.json").exists()
    assert "may be added" in done.stdout


def test_a_call_is_kept_as_a_file_that_repeats_it(here: Path) -> None:
    call = (
        "compare",
        "model.py:net",
        "d.csv",
        "--target",
        "0",
        "--rows",
        "0:2",
        "--seed",
        "3",
        "--drop",
        "years",
        "--method",
        "ExactShapley",
        "--method",
        "Occlusion",
        "--metric",
        "Infidelity",
        "--json",
        "--no-references",
    )
    (here / "narrow.py").write_text("def net(x):\n    return x.sum(1)\n")
    call = ("compare", "narrow.py:net", "d.csv", *call[3:])
    made = run(*call, "--save-config", "again.toml")
    assert made.exit_code == 0, (made.output, made.exception)
    again = run("run", "again.toml", "--json")
    assert again.exit_code == 0, (again.output, again.exception)
    assert again.stdout == made.stdout
    assert json.loads(made.stdout)["seed"] == 3


def test_the_table_of_a_pyproject_is_a_run(here: Path) -> None:
    (here / "pyproject.toml").write_text("[tool.assay]" + RUN)
    assert run("run", "pyproject.toml").exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "model and data"),
        ("model = ", "TOML"),
        (RUN + 'metirc = "x"', "Did you mean metrics?"),
        (RUN + "[report]\ntile = 'x'", "Did you mean title?"),
        (RUN + "[certify]\nby = 'HardStability'", "select"),
        (RUN.replace("target = 0", "target = true"), "target"),
        (RUN.replace('["Completeness"]', '"Completeness"'), "metrics"),
        (RUN.replace('["Completeness"]', "[1]"), "metrics"),
        (RUN.replace('["Completeness"]', '["Complete"]'), "Completeness"),
        (RUN + "report = 3", "report"),
    ],
)
def test_what_is_no_run_is_refused(here: Path, text: str, said: str) -> None:
    (here / "assay.toml").write_text(text)
    done = run("run")
    assert done.exit_code == 2, (done.output, done.exception)
    assert said in done.stderr
    assert run("run", "missing.toml").exit_code == 2
