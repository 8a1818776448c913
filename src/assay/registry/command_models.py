"""Programs in any language as predictors: rows go in as lines of JSON, scores come out as such.

Each chunk of rows is one run of the program. A line of its standard input is a row: an object by the
names of the columns where inputs are a table, a list (of lists) of numbers where they are an array, a
text in quotes where they are texts. A line of its standard output is the answer to the row in the same
place: a number, or a list of as many numbers for every row.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from assay.errors import InputError, ModelError

PREFIX = "cmd:"

SECONDS = 600.0  # of one run

_NAME = 40  # letters of what it is called
_SHOWN = 200  # letters of what a program writes that are repeated


@final
class CommandModel:
    """A program that answers rows.

    Settings:
        words: the program and its arguments. No shell reads them.
        seconds: how long one run may take.
    """

    def __init__(self, words: Sequence[str], seconds: float = SECONDS) -> None:
        self.words = tuple(words)
        self.seconds = seconds
        # As it is typed, without the folder of the program.
        self.__qualname__ = shlex.join([Path(self.words[0]).name, *self.words[1:]])[:_NAME]

    def __reduce__(self) -> tuple[Any, ...]:
        # What decides the answers: the words, and the files that they name.
        return CommandModel, (self.words, self.seconds), {"files": _digests(self.words)}

    def __call__(self, rows: Any) -> NDArray[Any]:
        lines = [json.dumps(row, allow_nan=False) for row in _plain_rows(rows)]
        written = self._run("".join(f"{line}\n" for line in lines))
        # Empty lines are how programs end what they print.
        answers = [line for line in written.splitlines() if line.strip()]
        if len(answers) != len(lines):
            raise ModelError(
                expected=f"{len(lines)} lines from {self._named()}, one for each row",
                got=f"{len(answers)}",
                advice="Print one number, or one list of numbers, for each line that is read.",
            )
        scores = [self._scores(place, line) for place, line in enumerate(answers, 1)]
        widths = {len(each) for each in scores}
        if len(widths) > 1:
            raise ModelError(
                expected=f"as many numbers for every row from {self._named()}",
                got=f"lists of {' and '.join(map(str, sorted(widths)))}",
                advice="Print a score for each class, also where it is 0.",
            )
        return np.array(scores, dtype=np.float64)

    def _run(self, text: str) -> str:
        """What the program prints when it is given these lines."""
        # A group of its own, so that what it starts can be ended with it.
        program = subprocess.Popen(
            self.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        with program:
            try:
                written, errors = program.communicate(text, timeout=self.seconds)
            except subprocess.TimeoutExpired as error:
                _end(program)
                raise ModelError(
                    expected=f"{self._named()} to answer {text.count(chr(10))} rows in time",
                    got=f"no end after {self.seconds:g} seconds",
                    advice="Ask about fewer rows, --rows 0:16, or have the program load less.",
                ) from error
            except BaseException:
                # An interrupt, above all: nothing is left running.
                _end(program)
                raise
        if program.returncode:
            raise ModelError(
                expected=f"{self._named()} to end with code 0",
                got=f"code {program.returncode}{_last_line(errors)}",
                advice="Run it by itself first, with a line of JSON on its standard input.",
            ) from subprocess.CalledProcessError(program.returncode, self.words)
        return written

    def _scores(self, place: int, line: str) -> list[float]:
        """The numbers on one line."""
        try:
            found = json.loads(line)
        # Lists in lists without end are no answer either.
        except (ValueError, RecursionError):
            found = None
        numbers = found
        if not isinstance(found, list):
            numbers = [found]
        if not numbers or not all(map(_is_number, numbers)):
            raise ModelError(
                expected=f"a number or a list of numbers on line {place} of {self._named()}",
                got=repr(line[:_SHOWN]),
                advice="Print scores alone, and everything else to the error stream.",
            )
        return [float(number) for number in numbers]

    def _named(self) -> str:
        return shlex.join(self.words)[:_SHOWN]


def command_model(address: str) -> CommandModel:
    """The program that is typed behind `cmd:`.

    Errors: InputError for what names no program.
    """
    typed = address.removeprefix(PREFIX)
    try:
        words = shlex.split(typed)
    except ValueError as error:  # a quotation without an end
        raise _no_program(typed, str(error)) from error
    if not words:
        raise _no_program(typed, "nothing")
    if shutil.which(words[0]) is None:
        raise _no_program(typed, f"nothing that can be run at {words[0]}, from {Path.cwd()}")
    return CommandModel(words)


def _no_program(typed: str, got: str) -> InputError:
    return InputError(
        expected=f"a program and its arguments, {PREFIX}{typed}",
        got=got,
        advice="Write cmd:'./predict --stdin' or cmd:'python predict.py'; a file needs the right to run.",
    )


def _end(program: subprocess.Popen[str]) -> None:
    """Ends a program with all that it has started."""
    if hasattr(os, "killpg"):
        # It may have ended by itself in between.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
    else:
        program.kill()


def _last_line(errors: str) -> str:
    lines = errors.strip().splitlines()
    if lines:
        return f", {lines[-1][:_SHOWN]}"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- rows as JSON


def _plain_rows(rows: Any) -> Iterator[Any]:
    """Rows as what JSON knows: objects, lists, texts and numbers."""
    if hasattr(rows, "columns"):
        for record in rows.to_dict("records"):
            yield {str(name): _plain(value) for name, value in record.items()}
        return
    if isinstance(rows, torch.Tensor):
        rows = rows.detach().cpu().numpy()
    if isinstance(rows, np.ndarray):
        # Of pixels there are many, and all of them numbers.
        if rows.dtype.kind in "biuf" and np.isfinite(rows).all():
            yield from rows.tolist()
            return
        rows = rows.tolist()
    yield from map(_plain, rows)


def _plain(value: Any) -> Any:
    """A value as JSON has it: what there is not, such as NaN, is null."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    # Dates, and what else a table may hold, as they are written.
    return str(value)


def _digests(words: Sequence[str]) -> tuple[str, ...]:
    """Of the files among the words: a program of another content is another predictor."""
    return tuple(
        hashlib.sha256(Path(word).read_bytes()).hexdigest()
        for word in words
        if Path(word).is_file()
    )
