"""What a shell offers at the TAB, asked as bash asks it; and that nothing of it waits for torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from assay.cli import completion
from assay.registry import tables

ASSAY = [sys.executable, "-m", "assay"]
HEAVY = ("torch", "numpy", "pandas", "sklearn", "scipy", "matplotlib", "numba")


def asked_by_bash(line: str, *python: str) -> subprocess.CompletedProcess[str]:
    """The protocol of typer's script for bash: the words so far, and which one is being typed."""
    words = line.split(" ")
    there = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    environment = {**os.environ, **there, "_PYTHON_M_ASSAY_COMPLETE": "complete_bash"}
    code = "from assay.cli.app import app; app(prog_name='assay')"
    environment["_ASSAY_COMPLETE"] = "complete_bash"
    call = [sys.executable, *python, "-c", code]
    return subprocess.run(call, env=environment, capture_output=True, text=True, check=False)


def offered(line: str) -> list[str]:
    return asked_by_bash(line).stdout.split()


def loaded(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The modules that a call with `-X importtime` has loaded."""
    return {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}


def test_bash_is_offered_commands_options_and_names() -> None:
    assert "compare" in offered("assay com")
    assert "--method" in offered("assay explain model.py:net d.csv --me")
    assert "KernelShap" in offered("assay explain model.py:net d.csv --method Kern")


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("", "AblationCam"),
        ("Int", "IntegratedGradients"),
        ("Kernel", "KernelShap"),
        ("Li", "Lime"),
        ("Occ", "Occlusion"),
        ("Per", "PermutationShapley"),
        ("IntegratedGradients(", "IntegratedGradients(steps="),
        ("IntegratedGradients(st", "IntegratedGradients(steps="),
        ("IntegratedGradients(steps=32,r", "IntegratedGradients(steps=32, rule="),
        ("IntegratedGradients(steps=32, r", "IntegratedGradients(steps=32, rule="),
        ("Gradient(", None),
        ("Nothing(", None),
        ("kernel", None),
    ],
)
def test_methods_and_their_settings(typed: str, first: str | None) -> None:
    found = [text for text, _ in completion.methods(typed)]
    assert (found[0] if found else None) == first
    assert all(text.startswith(typed.replace(",r", ", r")) for text in found)


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("Inf", "Infidelity"),
        ("Del", "Deletion"),
        ("Infidelity(dr", "Infidelity(draws="),
        ("Z", None),
    ],
)
def test_metrics_and_their_settings(typed: str, first: str | None) -> None:
    found = [text for text, _ in completion.metrics(typed)]
    assert (found[0] if found else None) == first


def test_files_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.py", "net.pt2", "rows.csv", "notes.md", ".hidden.py"):
        Path(name).write_text("")
    Path("deep").mkdir()
    Path("deep/rows.npy").write_text("")
    assert completion.models("") == ["deep/", "net.pt2", "net.py"]
    assert completion.data("r") == ["rows.csv"]
    assert completion.data("deep/") == ["deep/rows.npy"]
    assert completion.data("missing/") == []


def test_the_names_are_current() -> None:
    kept = Path(completion.__file__).with_name("names.json").read_text(encoding="utf-8")
    assert kept == tables.completion(), "src/assay/cli/names.json is out of date: make docs"


@pytest.mark.parametrize(
    "call", [["--help"], ["explain", "--help"], ["--version"], ["explian"], ["explain", "--mehtod"]]
)
def test_nothing_heavy_is_imported_to_say_hello(call: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "assay", *call],
        capture_output=True,
        text=True,
        check=False,
    )
    modules = loaded(done)
    assert "typer" in modules
    assert not modules & set(HEAVY)


@pytest.mark.parametrize("command", ["explain", "compare", "verify", "picture"])
def test_help_and_the_tab_do_not_wait_for_pydantic(command: str) -> None:
    """It reads the values of typer's options, and takes twice as long to load as all of the rest."""
    call = [sys.executable, "-X", "importtime", "-m", "assay", command, "--help"]
    helped = subprocess.run(call, capture_output=True, text=True, check=True)
    tabbed = asked_by_bash(f"assay {command} model.py:net d.csv --", "-X", "importtime")
    assert "--help" in tabbed.stdout.split()
    for done in (helped, tabbed):
        assert "typer" in loaded(done)
        assert "pydantic" not in loaded(done)


def said(*call: str) -> str:
    done = subprocess.run([*ASSAY, *call], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("command", ["explain", "show"])
def test_one_command_made_alone_is_the_same_as_among_all(command: str) -> None:
    # Behind a flag all are made, and for a flag alone, which lists them.
    assert said(command, "--help") == said("--traceback", command, "--help")
    assert "compare" in said("--help")


def test_a_call_of_the_app_from_python_has_its_own_words() -> None:
    code = "from assay.cli.app import app; app(['compare', '--help'])"
    call = [sys.executable, "-c", code, "explain"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert "--require" in done.stdout


def test_what_is_typed_is_looked_at_where_it_is_the_last_word() -> None:
    assert offered("assay explain") == ["explain"]
    assert offered("assay s") == ["score", "schema", "show"]
    assert "--method" in offered("assay --traceback explain --me")
    assert offered("assay explain model.py:net d.csv --top many --metho") == ["--method"]


def test_a_misspelt_word_is_answered_by_the_nearest_one() -> None:
    for call, said in ((["explian"], "explain"), (["explain", "--mehtod", "x"], "--method")):
        done = subprocess.run([*ASSAY, *call], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert said in done.stderr


def test_the_version_tells_what_it_stands_on() -> None:
    done = subprocess.run([*ASSAY, "--version"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["assay", "torch", "python"]
