"""A removal's repr is a line, however much data it holds."""

from __future__ import annotations

import pytest

from assay.removals.fixed import Baseline


@pytest.mark.parametrize("kind", [list, tuple])
def test_data_of_many_entries_are_told_by_their_number(kind):
    assert repr(Baseline(kind([0.5, 1.0]))) == f"Baseline({kind([0.5, 1.0])!r})"
    many = kind([0.25] * 5000)
    assert repr(Baseline(many)) == f"Baseline(<{kind.__name__} of 5000 entries>)"
    nested = kind([kind([0.25] * 5000)] * 3)
    assert len(repr(Baseline(nested))) < 1000
