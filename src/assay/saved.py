"""`load`: everything that was saved, read back by what its file says it holds.

Answers are safetensors files, which begin with the length of their header (`answers.storage`);
certificates are JSON, which begins with a brace. The first byte tells them apart: the length is a
multiple of 8, a brace is 123.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from assay.answers.attribution import Attribution
from assay.answers.files import saved_file
from assay.answers.header import shown
from assay.answers.score import Score
from assay.answers.storage import read
from assay.errors import InputError

if TYPE_CHECKING:
    from assay.certificates.certificate import Certificate

_NOUNS: dict[str, type[Attribution] | type[Score]] = {"Attribution": Attribution, "Score": Score}


def load(path: str | PathLike[str]) -> Attribution | Score | Certificate:
    """What `.save(path)` wrote: an Attribution, a Score or a Certificate.

    Errors: InputError for a file that is missing, damaged or holds something else, VersionError for
    one that this version cannot read, KindError for what is no path.

    >>> import tempfile, torch, assay
    >>> answer = assay.Gradient()(assay.Question(torch.nn.Linear(2, 1), torch.ones(1, 2)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     answer.save(f"{folder}/answer.safetensors")
    ...     load(f"{folder}/answer.safetensors")
    Attribution(Gradient(), 1 inputs, 2 features)
    """
    file = saved_file(path)
    if _is_json(file):
        # Read here, so that whoever loads answers alone need not load the
        # certificates.
        from assay.certificates.certificate import Certificate

        return Certificate.load(file)
    noun = read(file).noun
    if noun not in _NOUNS:
        raise InputError(
            expected=f"a saved Attribution, Score or Certificate in {file}",
            got=f"a {shown(noun)}",
            advice="Read it with the version that wrote it.",
        )
    return _NOUNS[noun].load(file)


def _is_json(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(1) == b"{"
    except OSError as error:
        raise InputError(
            expected="a file written by .save()",
            got=f"{file} which cannot be read: {error.strerror}",
            advice="Look whether you may read it.",
        ) from error
