"""Which versions an answer came from."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch


@cache
def versions() -> dict[str, str]:
    """The versions that an answer depends on."""
    try:
        own = version("assay")
    except PackageNotFoundError:
        own = "unknown"
    return {
        "assay": own,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
