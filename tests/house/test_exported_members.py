"""The face: what is public is what stands in `__all__`, at the top and in every wing."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import version
from types import ModuleType

import pytest

import assay

WINGS = [entry.name for entry in pkgutil.walk_packages(assay.__path__, "assay.") if entry.ispkg]
BASES = {
    "assay.features": {"Features"},
    "assay.inputs": {"Layout"},
    "assay.methods": {"Axiom", "Estimate", "Kind", "Method"},
    "assay.methods.lime": {"Neighbourhood"},
    "assay.methods.shapley": {"MaskMethod", "Quantity"},
    "assay.metrics": {"Metric", "Reading"},
    "assay.models": {"Ability", "Model"},
    "assay.perturbations": {"Perturbation"},
    "assay.removals": {"Removal"},
    "assay.targets": {"Target"},
}


def of_the_house(module: ModuleType, name: str) -> bool:
    """Whether a name is a wing or file of the package itself, put there by its import."""
    value = getattr(module, name)
    return isinstance(value, ModuleType) and value.__name__ == f"{module.__name__}.{name}"


@pytest.mark.parametrize("wing", ["assay", *WINGS])
def test_public_names_stand_in_all(wing: str) -> None:
    module = importlib.import_module(wing)
    exported = list(getattr(module, "__all__", []))
    accidental = {
        name
        for name in dir(module)
        if not name.startswith("_") and name not in exported and not of_the_house(module, name)
    }
    assert accidental == set()
    assert [name for name in exported if not hasattr(module, name)] == []
    assert exported == sorted(set(exported), key=str.casefold), "sorted without case, each once"


def test_no_module_is_hidden_by_a_name() -> None:
    for wing in ["assay", *WINGS]:
        module = importlib.import_module(wing)
        for entry in pkgutil.iter_modules(module.__path__):
            if entry.name.startswith("_"):
                continue
            inner = importlib.import_module(f"{wing}.{entry.name}")
            assert getattr(module, entry.name) is inner, f"{wing}.{entry.name} is hidden"


def test_every_method_and_metric_is_at_the_top() -> None:
    names = {*assay.METHODS, *assay.METRICS}
    assert names <= set(assay.__all__)
    verbs = {"compare", "explain", "load", "masked_finetuning", "parse", "quiet", "register"}
    assert verbs | {"errors", "METHODS", "METRICS", "report", "wrap"} <= set(assay.__all__)
    namespace: dict[str, object] = {}
    exec("from assay import *", namespace)
    assert set(assay.__all__) <= set(namespace)


@pytest.mark.parametrize("wing", BASES)
def test_bases_are_public_under_their_wings(wing: str) -> None:
    module = importlib.import_module(wing)
    assert all(isinstance(getattr(module, name), type) for name in BASES[wing])
    if hasattr(module, "__path__"):
        assert BASES[wing] <= set(module.__all__)


def test_the_version_is_that_of_the_distribution() -> None:
    assert assay.__version__ == version("assay")
