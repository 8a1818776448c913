"""What all tests share: one thread per worker, hypothesis without clocks, no colours."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

# Workers share the cores, and threads within each, or within the processes that tests start, would
# only get in each other's way: said before torch and BLAS are loaded, which read it then. Boosters
# set the threads of scikit-learn, too, which then must not wait for each other at full speed.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "house",
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
settings.load_profile("house")

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    """torch compiles the forward of one class eight times and then no more, whoever asked for it."""
    yield
    compiler = sys.modules.get("torch._dynamo")
    if compiler is not None:
        compiler.reset()


def pytest_make_parametrize_id(val: Any) -> str | None:
    """Objects go by their type: where they lie in memory differs from worker to worker."""
    return type(val).__name__ if " at 0x" in repr(val) and not callable(val) else None
