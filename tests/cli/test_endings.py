"""How commands end: codes that mean something, closed pipes, full disks, interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from assay.answers import files
from assay.cli.app import app

ASSAY = [sys.executable, "-m", "assay"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


COMPARED = ("compare", "model.py:net", "d.npy", "--target", "0", "--method", "InputXGradient")
CERTIFIED = ("certify", "model.py:net", "d.npy", "--select", "Occlusion:2", "--by", "HardStability")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ((*COMPARED, "--metric", "Completeness"), 0),
        ((*COMPARED, "--metric", "Completeness", "--require", "Completeness<0.1"), 0),
        ((*COMPARED, "--metric", "Completeness", "--require", "Completeness>0.1"), 1),
        ((*CERTIFIED, "--require", "0"), 0),
        ((*CERTIFIED, "--require", "3"), 1),
        ((*COMPARED, "--metric", "Nothing"), 2),
        ((*COMPARED, "--metric", "Completeness", "--require", "Completeness"), 2),
        ((*CERTIFIED[:-1], "Prayer"), 2),
        (("explain", "model.py:net"), 2),
        # Nobody has said where the truth is, at which this metric looks.
        ((*COMPARED, "--metric", "Completeness", "--metric", "PointingGame"), 3),
        ((*COMPARED, "--metric", "Completeness", "--metric", "PointingGame", "--strict"), 1),
        (("explain", "words.py:cruel", "texts.txt"), 4),
    ],
)
def test_codes(here: Path, call: tuple[str, ...], code: int) -> None:
    done = run(*call)
    assert done.exit_code == code, (done.output, done.exception)
    assert "Traceback" not in done.output


def test_a_fault_of_the_library_is_code_70_and_asks_to_be_reported(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.cli import explaining

    monkeypatch.setattr(explaining, "suited", None)
    done = run("explain", "model.py:net", "d.npy")
    assert done.exit_code == 70
    assert "fault of assay: please report it" in done.stderr
    assert "Traceback" in done.stderr


def test_where_the_users_code_raised_is_shown_when_it_is_asked_for(here: Path) -> None:
    call = ("explain", "words.py:cruel", "texts.txt")
    assert "words.py" in run(*call).stderr
    assert "Traceback" not in run(*call).stderr
    traced = run("--traceback", *call)
    assert traced.exit_code == 4
    assert "ZeroDivisionError: the user's own" in traced.stderr
    assert "Traceback (most recent call last)" in traced.stderr


def test_a_certificate_holds_for_its_model_and_not_for_another(here: Path) -> None:
    by = ("--by", "MultiplicativeSmoothing(kept=1, levels=4)")
    made = run(*CERTIFIED[:-2], *by, "--out", "proofs")
    assert made.exit_code == 0, (made.output, made.exception)
    kept = "proofs/certificate-0.json"
    assert run("verify", kept, "model.py:net").exit_code == 0
    assert run("verify", kept, "model.py:net", "d.npy").exit_code == 0
    (here / "other.py").write_text(
        "import torch\nfrom model import net as right\nnet = torch.nn.Linear(4, 2, bias=False)\n"
        "with torch.no_grad():\n    net.weight.copy_(right.weight[[1, 0]])\n"
    )
    done = run("verify", kept, "other.py:net", "--json")
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["holds"] is False


# --- what is written


ASKED = ("model.py:net", "d.npy", "--target", "0")


@pytest.mark.parametrize(
    "call",
    [
        ("methods", "--json"),
        *(
            pytest.param(each, marks=pytest.mark.long)
            for each in (
                ("metrics",),
                ("check", *ASKED),
                ("explain", *ASKED, "--csv", "--quiet"),
                ("explain", *ASKED, "--jsonl", "--quiet"),
                (*COMPARED, "--metric", "Completeness", "--json", "--quiet"),
                (*CERTIFIED, "--json", "--quiet"),
                ("schema", "explain"),
                ("--help",),
            )
        ),
    ],
    ids=" ".join,
)
def test_a_closed_pipe_is_no_error(here: Path, call: tuple[str, ...]) -> None:
    # As behind `| head`, once that has seen enough.
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*ASSAY, *call], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_sentence(here: Path) -> None:
    with open("/dev/full", "w") as full:
        call = [*ASSAY, "explain", "model.py:net", "d.npy", "--json"]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    with open("/dev/full", "w") as full:
        call = [*ASSAY, "--help"]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    full_out = run("explain", "model.py:net", "d.npy", "--out", "/dev/full")
    assert full_out.exit_code == 2
    assert "No space left on device" in full_out.stderr


@pytest.mark.parametrize(
    "call",
    [
        ("explain", "model.py:net", "d.npy", "--out", "kept"),
        ("report", *COMPARED[1:], "--metric", "Completeness", "--out", "kept"),
        (*COMPARED, "--metric", "Completeness", "--report", "kept"),
        (*COMPARED, "--metric", "Completeness", "--save-config", "kept"),
        (*CERTIFIED, "--out", "proofs"),
        (*COMPARED, "--metric", "Completeness", "--save", "kept-comparison"),
        ("score", *ASKED, "a.safetensors", "--metric", "Completeness", "--out", "kept"),
        ("picture", "a.safetensors", "--out", "kept.svg"),
        ("picture", "a.safetensors", "--out", "kept.csv"),
    ],
    ids=" ".join,
)
def test_a_disk_that_fills_up_leaves_what_was_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[str, ...]
) -> None:
    (here / "kept").write_text("what was there")
    assert run("explain", *ASKED, "--out", "a.safetensors", "--quiet").exit_code == 0
    before = files_below(here)

    def half(path: Path, data: bytes) -> int:
        with open(path, "wb") as opened:
            opened.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.Path, "write_bytes", half)
    done = run(*call)
    assert done.exit_code == 2, (done.output, done.exception)
    assert "No space left on device" in done.stderr
    monkeypatch.undo()
    assert (here / "kept").read_text() == "what was there"
    assert files_below(here) == before


@pytest.mark.parametrize(
    "call",
    [
        ("explain", "model.py:net", "d.npy", "--out", "model.py/a"),
        ("report", *COMPARED[1:], "--metric", "Completeness", "--out", "model.py/a"),
        (*COMPARED, "--metric", "Completeness", "--save", "model.py/a"),
        (*CERTIFIED, "--out", "model.py/a"),
    ],
)
def test_where_nothing_can_be_written_is_told_before_the_model_is_loaded(
    here: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[str, ...]
) -> None:
    from assay.registry import sources

    monkeypatch.setattr(sources, "predictor", lambda *a, **k: pytest.fail("it was loaded"))
    done = run(*call)
    assert done.exit_code == 2, (done.output, done.exception)
    assert "path to write to" in done.stderr


def files_below(folder: Path) -> list[str]:
    """Files there, but for what Python keeps of modules; folders are made before the work."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if "__pycache__" not in name)


_SLOW = ("slow.py:slow", "many.npy", "--quiet")
_LONG = "PermutationShapley(orderings=64)"
INTERRUPTED = {
    "explain": ("explain", *_SLOW, "--method", _LONG, "--out", "a.safetensors"),
    "compare": (
        *("compare", *_SLOW, "--method", _LONG, "--metric", "Completeness"),
        *("--save", "kept", "--report", "page.html"),
    ),
    "certify": ("certify", *_SLOW, "--select", f"{_LONG}:1", "--out", "proofs"),
    "check": ("check", *_SLOW),
}


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        ("explain", signal.SIGINT, 130),
        ("explain", signal.SIGTERM, 143),
        *(
            pytest.param(command, signal.SIGINT, 130, marks=pytest.mark.long)
            for command in ("compare", "certify", "check")
        ),
    ],
)
def test_an_interrupted_run_leaves_nothing_behind(
    here: Path, command: str, number: signal.Signals, code: int
) -> None:
    np.save(here / "many.npy", np.ones((400, 3)))
    (here / "slow.py").write_text(
        "import sys, time\ndef slow(x):\n"
        "    print('asked', file=sys.stderr, flush=True)\n    time.sleep(0.2)\n"
        "    return x.sum(1) + x.prod(1)\n"
    )
    before = files_below(here)
    call = [*ASSAY, *INTERRUPTED[command]]
    asked = subprocess.Popen(
        call,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background ignores interrupts, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert asked.stderr is not None
        line = asked.stderr.readline()
        assert line == "asked\n", line + asked.stderr.read()
        time.sleep(0.3)
        asked.send_signal(number)
        out, errors = asked.communicate(timeout=60)
    finally:
        asked.kill()
    assert asked.returncode == code, errors
    assert out == ""
    assert "Traceback" not in errors
    if number == signal.SIGINT:
        assert "Interrupted" in errors
    assert files_below(here) == before
    # No child outlives it: a group without members takes no signal.
    with pytest.raises(ProcessLookupError):
        os.killpg(asked.pid, 0)
