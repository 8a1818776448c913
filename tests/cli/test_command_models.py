"""Programs as predictors: the numbers of the function that they hold, rows as JSON, every way to fail in
a sentence, and nothing left running.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner, Result

from assay.cli.app import app
from assay.errors import InputError, ModelError
from assay.models.wrapping import wrap
from assay.registry.command_models import CommandModel, command_model
from assay.registry.sources import form_of, predictor

PYTHON = shlex.join([sys.executable, "-S"])

# The numbers of `kinds_of_files.network`.
PREDICT = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    age, income, debt, years = row.values() if isinstance(row, dict) else row
    print(json.dumps([age - 2 * income + 0.5 * debt, income + 4 * debt - years]))
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def program(folder: Path, text: str, name: str = "predict.py") -> str:
    (folder / name).write_text(text)
    return f"cmd:{PYTHON} {name}"


@pytest.mark.parametrize("data", ["d.csv", "d.npy"])
def test_a_program_answers_as_the_network_that_it_holds(here: Path, data: str) -> None:
    asked = (data, "--target", "1", "--method", "ExactShapley", "--json", "--quiet")
    credit = []
    for model in (program(here, PREDICT), "model.py:net"):
        done = run("explain", model, *asked)
        assert done.exit_code == 0, (done.output, done.exception)
        answers = json.loads(done.stdout)["answers"]
        credit.append([[cell["credit"] for cell in each["credit"]] for each in answers])
    # The network counts in single precision.
    np.testing.assert_allclose(credit[0], credit[1], rtol=0, atol=5e-7)


def test_texts_are_asked_and_the_rule_is_told(here: Path) -> None:
    counts = "import json, sys\nfor line in sys.stdin:\n    print(json.loads(line).count('good'))\n"
    done = run("explain", program(here, counts), "texts.txt", "--csv", "--quiet")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "0,good,,1.0," in done.stdout
    assert form_of("cmd:python3 model.py") == "a program"
    told = run("check", program(here, PREDICT), "d.csv")
    assert "a program" in told.stdout
    assert "Gradient: expected" in told.stdout


def test_rows_are_lines_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copying = "import sys\nread = sys.stdin.read()\nopen('read', 'w').write(read)\n"
    model = predictor(
        program(tmp_path, copying + "print('\\n'.join('1' for _ in read.split('\\n')[1:]))")
    )
    frame = pd.DataFrame({"a": [1.5, float("nan")], "city": ["Röm\n", None], 3: [True, False]})
    asked = {
        '{"a": 1.5, "city": "R\\u00f6m\\n", "3": true}\n{"a": null, "city": null, "3": false}\n': frame,
        "[[1.0, 2.0]]\n[[3.0, 4.0]]\n": torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]),
        "[1, 2]\n": np.array([[1, 2]]),
        "[0.5, null]\n": np.array([[0.5, np.inf]]),
        '"a \\"good\\" film"\n': ['a "good" film'],
    }
    for written, rows in asked.items():
        assert model(rows).tolist() == [[1.0]] * len(rows)
        assert (tmp_path / "read").read_text() == written


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("import sys\nsys.exit('no weights')", 4, "code 1, no weights"),
        ("import sys\nsys.stdin.read()\nprint(1)\nraise ValueError('mine')", 4, "ValueError: mine"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", 4, "code -9"),
        ("import sys\nfor line in sys.stdin:\n    print(1)\n    print(2)", 2, "row, got 2"),
        ("import sys\nsys.stdin.read()\nprint(1)", 2, "one row at a time"),
        ("import sys\nfor line in sys.stdin:\n    print('cat')", 2, "on line 1 of"),
        ("import sys\nfor line in sys.stdin:\n    print('\"cat\"')", 2, "got '\"cat\"'"),
        ("import sys\nfor line in sys.stdin:\n    print('true')", 2, "got 'true'"),
        ("import sys\nfor line in sys.stdin:\n    print('[]')", 2, "got '[]'"),
        ("import sys\nfor line in sys.stdin:\n    print('[' * 100000)", 2, "got '[["),
        ("import sys\nfor line in sys.stdin:\n    print('NaN')", 2, "finite"),
        (
            "import sys\nfor n, line in enumerate(sys.stdin):\n    print([1] * (n + 1))",
            2,
            "1 and 2",
        ),
        ("import sys\nsys.stdout.buffer.write(b'\\xff')", 2, "on line 1 of"),
    ],
)
def test_what_goes_wrong_is_one_sentence(here: Path, text: str, code: int, said: str) -> None:
    done = run("explain", program(here, text), "d.npy", "--json")
    assert done.exit_code == code, (done.output, done.exception)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["error"]["kind"] == "ModelError"


@pytest.mark.parametrize("typed", ["", " ", "./nowhere --stdin", "'no end", "./d.csv"])
def test_what_names_no_program_is_told_before_any_work(here: Path, typed: str) -> None:
    (here / "d.csv").unlink()
    (here / "d.csv").write_text("a\n1\n")
    done = run("explain", f"cmd:{typed}", "d.npy")
    assert done.exit_code == 2, (done.output, done.exception)
    assert "a program and its arguments" in done.stderr
    with pytest.raises(InputError, match="needs the right to run"):
        command_model(f"cmd:{typed}")


def test_no_shell_reads_the_words(here: Path) -> None:
    model = command_model(f"{program(here, PREDICT)} ; touch made > other $(touch made)")
    assert model(np.ones((1, 4))).tolist() == [[-0.5, 4.0]]
    assert not (here / "made").exists()
    assert not (here / "other").exists()


def test_another_content_is_another_model(here: Path) -> None:
    address = program(here, PREDICT)
    one, same = (wrap(predictor(address)).fingerprint() for _ in range(2))
    assert one == same
    asked = (address, "d.csv", "--target", "0")
    assert run("explain", *asked, "--out", "a.safetensors", "--quiet").exit_code == 0
    scored = ("score", *asked[:2], "a.safetensors", *asked[2:], "--metric", "Completeness")
    done = run(*scored)
    assert done.exit_code == 0, (done.output, done.exception)
    program(here, PREDICT.replace("0.5", "0.75"))
    assert wrap(predictor(address)).fingerprint() != one
    assert "another model" in run(*scored).stderr


# --- what does not end


SLEEPING = """#!/bin/sh
sleep 600 &
echo $$ $! > started
wait
"""


@pytest.fixture
def sleeping(here: Path) -> Path:
    """A folder with a program that starts another, and ends of itself no sooner than it."""
    (here / "sleeping").write_text(SLEEPING)
    (here / "sleeping").chmod(stat.S_IRWXU)
    return here


def gone(folder: Path) -> bool:
    """Whether what was started has ended; what nobody has waited for is not running either."""
    for number in map(int, (folder / "started").read_text().split()):
        for _ in range(100):
            try:
                state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
            except FileNotFoundError:
                break
            if state == "Z":
                break
            time.sleep(0.05)
        else:
            os.kill(number, signal.SIGKILL)
            return False
    return True


def test_a_program_that_takes_too_long_is_ended_with_what_it_started(sleeping: Path) -> None:
    with pytest.raises(ModelError, match=r"no end after 0\.5 seconds"):
        CommandModel(["./sleeping"], seconds=0.5)(np.ones((2, 4)))
    assert gone(sleeping)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_the_program_with_what_it_started(
    sleeping: Path, number: signal.Signals, code: int
) -> None:
    def interrupt(alarm: int, frame: object) -> None:
        # Not before there is something to end.
        if not (sleeping / "started").exists() or not (sleeping / "started").read_text():
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            return
        signal.raise_signal(number)

    before = signal.signal(signal.SIGALRM, interrupt)
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        done = run("explain", "cmd:./sleeping", "d.npy", "--out", "kept", "--quiet")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGINT, ignored)
    assert done.exit_code == code, (done.output, done.exception)
    assert not (sleeping / "kept").exists()
    assert gone(sleeping)
