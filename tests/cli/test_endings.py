"""How commands end: codes that mean something, closed pipes, full disks, interrupts."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from assay.answers import files
from assay.cli.app import app
from assay.comparison.comparing import compare
from assay.comparison.comparison import Comparison

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


PRINTING: dict[str, tuple[str, ...]] = {
    "version": ("--version",),
    "help": ("explain", "--help"),
    "metrics": ("metrics", "--json"),
    "names": ("names",),
    "schema": ("schema", "compare"),
    "check": ("check", *ASKED),
    "explain": ("explain", *ASKED),
    "explain by line": ("explain", *ASKED, "--jsonl", "--quiet"),
    "score": ("score", *ASKED, "a.safetensors", "--metric", "Completeness"),
    "compare": (*COMPARED, "--metric", "Completeness"),
    "report": ("report", *COMPARED[1:], "--metric", "Completeness"),
    "certify": CERTIFIED,
    "verify": ("verify", "proofs/certificate-0.json", "model.py:net"),
    "run": ("run", "assay.toml", "--json"),
    "show": ("show", "a.safetensors"),
    "show a certificate": ("show", "proofs/certificate-0.json", "--json"),
    "picture": ("picture", "a.safetensors", "--csv"),
    "picture in words": ("picture", "a.safetensors"),
}


@pytest.fixture
def kept(here: Path) -> Path:
    """The folder with an answer, certificates and a run beside the models and data."""
    for call in (
        ("explain", *ASKED, "--out", "a.safetensors", "--quiet"),
        (*CERTIFIED, "--out", "proofs", "--quiet"),
        (*COMPARED, "--metric", "Completeness", "--save-config", "assay.toml", "--quiet"),
    ):
        done = run(*call)
        assert done.exit_code == 0, (done.output, done.exception)
    return here


def written_to(stdout: int, call: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> object:
    """The code of a command in this process, whose output goes to a file by its number."""
    with os.fdopen(stdout, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended:
            app(list(call))
        # What is left in the stream is written when it is closed.
    monkeypatch.undo()
    return ended.value.code


@pytest.mark.parametrize("name", PRINTING)
def test_who_stops_reading_and_a_full_disk_end_no_command_in_a_traceback(
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert written_to(writing, PRINTING[name], monkeypatch) == 0
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.chdir(kept)
    if Path("/dev/full").exists():
        full = os.open("/dev/full", os.O_WRONLY)
        assert written_to(full, PRINTING[name], monkeypatch) == 2
        said = capsys.readouterr().err
        assert "No space left on device" in said
        assert "Traceback" not in said


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


def failing(error: BaseException, nth: int, written: list[Path]) -> Callable[[Path, bytes], int]:
    """Writes files, up to the middle of the n-th."""
    write = files.Path.write_bytes

    def half(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) < nth:
            return write(path, data)
        write(path, data[: len(data) // 2])
        raise error

    return half


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
        ("demo", "--out", "kept", "--picture", "kept.png"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("nth", [1, 2], ids=["first", "second"])
def test_a_full_disk_and_an_interrupt_leave_what_was_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[str, ...], nth: int
) -> None:
    from assay.cli import demo

    # The demo is about digits, and takes its time.
    monkeypatch.setattr(demo, "run", lambda seed: digits())
    (here / "kept").write_text("what was there")
    assert run("explain", *ASKED, "--out", "a.safetensors", "--quiet").exit_code == 0
    # What other runs have left in the folders.
    for folder in ("proofs", "kept-comparison"):
        (here / folder).mkdir()
        for name in ("certificate-0.json", "answer-0.safetensors", "comparison.json"):
            (here / folder / name).write_text("of another run")
    for error, code, said in (
        (OSError(28, "No space left on device"), 2, "No space left on device"),
        (KeyboardInterrupt(), 130, "Interrupted"),
    ):
        before = files_below(here)
        written: list[Path] = []

        with monkeypatch.context() as broken:
            broken.setattr(files.Path, "write_bytes", failing(error, nth, written))
            done = run(*call)
        if len(written) < nth:
            # It writes a single file.
            assert (done.exit_code, nth) == (0, 2), (done.output, done.exception)
            return
        assert done.exit_code == code, (done.output, done.exception)
        assert said in done.stderr
        after = files_below(here)
        assert after.keys() == before.keys()
        # Of a page and a picture the page is written first, and whole.
        if call[0] != "demo" or nth == 1:
            assert after == before


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


def files_below(folder: Path) -> dict[str, bytes]:
    """Files there with their contents, but for what Python keeps of modules; folders are made before
    the work.
    """
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {name: data for name, data in found.items() if "__pycache__" not in name}


@cache
def digits() -> Comparison:
    """A comparison as the demo makes it, of few digits and methods."""
    from assay.cli import demo

    read = demo.Digits.read()
    net = demo.train(read, epochs=1)
    # As many as there are rows in its picture.
    asked = demo.ask(net, read, 3)
    return compare(asked, ["Gradient", "Occlusion"], ["Completeness"], references=True)


STOPPING = """
import signal
from pathlib import Path

import numpy as np

ASKED = []


def slow(x):
    ASKED.append(len(x))
    if len(ASKED) == int(Path("stop").read_text()):
        signal.raise_signal(signal.SIGINT)
    return np.stack([x.sum(1) + x.prod(1), x[:, 0]], axis=1)
"""
_STOPPED = ("stopping.py:slow", "d.npy", "--target", "0", "--quiet")
_CONTEST = ("--method", "ExactShapley", "--metric", "Infidelity(draws=8)")
_PROOF = ("--select", "Occlusion:1", "--by", "MultiplicativeSmoothing(kept=1, levels=4)")
STOPPED: dict[str, tuple[str, ...]] = {
    "check": ("check", *_STOPPED),
    "explain": ("explain", *_STOPPED, "--out", "kept"),
    "explain by line": ("explain", *_STOPPED, "--jsonl"),
    "score": ("score", *_STOPPED, "a.safetensors", *_CONTEST[2:], "--out", "kept"),
    "compare": ("compare", *_STOPPED, *_CONTEST, "--save", "comparison", "--report", "kept"),
    "report": ("report", *_STOPPED, *_CONTEST, "--save", "comparison", "--out", "kept"),
    "certify": ("certify", *_STOPPED, *_PROOF, "--out", "other"),
    "verify": ("verify", "proofs/certificate-0.json", _STOPPED[0]),
    "run": ("run", "assay.toml", "--quiet"),
}


@pytest.fixture
def stoppable(here: Path) -> Iterator[Path]:
    """A folder with a model that is interrupted when it is asked for the n-th time, and what it was
    once asked for without.
    """
    (here / "stopping.py").write_text(STOPPING)
    (here / "stop").write_text("0")
    for call in (
        ("explain", *_STOPPED, "--out", "a.safetensors"),
        ("certify", *_STOPPED, *_PROOF, "--out", "proofs"),
        ("compare", *_STOPPED, *_CONTEST, "--report", "kept", "--save-config", "assay.toml"),
    ):
        done = run(*call)
        assert done.exit_code == 0, (done.output, done.exception)
    (here / "kept").write_text("what was there")
    # Whoever runs the tests in the background ignores interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield here
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("nth", [1, 2, 4])
@pytest.mark.parametrize("command", STOPPED)
def test_every_command_is_interrupted_while_the_model_works(
    stoppable: Path, command: str, nth: int
) -> None:
    before = files_below(stoppable)
    (stoppable / "stop").write_text(str(nth))
    done = run(*STOPPED[command])
    assert done.exit_code == 130, (done.output, done.exception)
    assert "Interrupted" in done.stderr
    assert done.stdout == "" or command == "explain by line"
    (stoppable / "stop").write_text("0")
    assert files_below(stoppable) == before
    assert multiprocessing.active_children() == []


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
    "report": ("report", *_SLOW, "--method", _LONG, "--metric", "Completeness", "--out", "page"),
}


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        ("explain", signal.SIGINT, 130),
        ("explain", signal.SIGTERM, 143),
        *(
            pytest.param(command, signal.SIGINT, 130, marks=pytest.mark.long)
            for command in ("compare", "certify", "check", "report")
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
