"""What all tests share: one thread per worker, hypothesis without clocks, no colours."""

from __future__ import annotations

import os

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
    torch.set_num_threads(
        1
    )  # workers share the cores; threads within each would only get in each other's way
