"""Every method, in one list: name -> class. The command line, the contract tests and the tables of the docs are made from it."""

from __future__ import annotations

from assay.method import Method
from assay.methods.gradient import Absolute, Gradient, InputXGradient, Smoothed, TimesInput
from assay.methods.path import ExpectedGradients, IntegratedGradients, Path

METHODS: dict[str, type[Method]] = {
    kind.__name__: kind
    for kind in (
        Gradient,
        InputXGradient,
        Absolute,
        TimesInput,
        Smoothed,
        IntegratedGradients,
        Path,
        ExpectedGradients,
    )
}
