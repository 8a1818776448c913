"""Where the real data lies, and the mark for tests that need it."""

from __future__ import annotations

import os
from pathlib import Path


def data_root() -> Path:
    """The folder of the real data: ASSAY_DATA, or `../shared/data` beside the repository."""
    default = Path(__file__).resolve().parents[4] / "shared" / "data"
    return Path(os.environ.get("ASSAY_DATA", default))


def must_skip() -> bool:
    """Whether tests on real data are skipped: it is absent, and nobody promised it.

    Continuous integration promises it: there the test runs and fails on the missing file.
    """
    return not (data_root() / "mnist").is_dir() and os.environ.get("CI", "").lower() != "true"
