"""The tutorials run on real data: skipped where it is absent, unless it was promised (CI)."""

from __future__ import annotations

import pytest

import zoo


def pytest_runtest_setup(item: pytest.Item) -> None:
    if zoo.must_skip():
        pytest.skip(zoo.needs_data.kwargs["reason"])
