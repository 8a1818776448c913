"""One door for everything that was saved: the file says which noun it holds."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from assay.answers.attribution import Attribution
from assay.answers.score import Score
from assay.answers.storage import read
from assay.errors import InputError

if TYPE_CHECKING:
    from assay.certificates.certificate import Certificate


def load(path: str | PathLike[str]) -> Attribution | Score | Certificate:
    """What `.save(path)` wrote: an Attribution, a Score or a Certificate.

    Errors: InputError for a file that is missing or holds something else, VersionError for one that
    this version cannot read.

    >>> import tempfile, torch, assay
    >>> answer = assay.Gradient()(assay.Question(torch.nn.Linear(2, 1), torch.ones(1, 2)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     answer.save(f"{folder}/answer.safetensors")
    ...     load(f"{folder}/answer.safetensors")
    Attribution(Gradient(), 1 inputs, 2 features)
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            expected="a file written by .save()",
            got=f"{file}, where there is none",
            advice="",
        )
    with file.open("rb") as opened:
        written_as_json = opened.read(1) == b"{"
    if written_as_json:
        from assay.certificates.certificate import Certificate

        return Certificate.load(file)
    _, header = read(file)
    kinds: dict[str, type[Attribution] | type[Score]] = {"Attribution": Attribution, "Score": Score}
    if header["noun"] not in kinds:
        raise InputError(
            expected=f"a saved Attribution, Score or Certificate in {file}",
            got=f"a {header['noun']}",
            advice="",
        )
    return kinds[header["noun"]].load(file)
