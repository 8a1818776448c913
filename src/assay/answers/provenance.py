"""Provenance: which versions an answer came from, so that a difference later can be traced.

What else it takes to ask again (method, question, seed) is written by those who answer, beside these.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch


@cache
def versions() -> dict[str, str]:
    """The versions that an answer depends on."""
    # A source tree on the path without an installation has no metadata.
    try:
        assay_version = version("assay")
    except PackageNotFoundError:
        assay_version = "unknown"
    return {
        "assay": assay_version,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
