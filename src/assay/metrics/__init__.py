"""Every metric, in one list: name -> class. The command line, the contract tests and the tables of the docs are made from it."""

from __future__ import annotations

from assay.metric import Metric
from assay.metrics.faithfulness import Completeness, Infidelity
from assay.metrics.sensitivity import MaxSensitivity

METRICS: dict[str, type[Metric]] = {kind.__name__: kind for kind in (Infidelity, MaxSensitivity, Completeness)}
