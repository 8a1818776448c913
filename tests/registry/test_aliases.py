"""Names from elsewhere: each is understood, or refused with what to write instead."""

from __future__ import annotations

import pytest
import torch

import assay
from assay.comparison.comparing import compare
from assay.errors import InputError, KindError
from assay.methods import METHODS
from assay.methods.base import Method
from assay.metrics import METRICS
from assay.metrics.base import Metric
from assay.registry.aliases import ALIASES, LIBRARIES, Alias, find, normalised
from assay.registry.settings import parse, words

SETTINGS = [alias for alias in ALIASES if alias.answer == "settings"]
OTHERS = [alias for alias in ALIASES if alias.answer != "settings"]


def shown(alias: Alias) -> str:
    return f"{alias.library} {alias.name}"


def question(n: int = 3) -> assay.Question:
    torch.manual_seed(0)
    return assay.Question(torch.nn.Linear(3, 2), torch.randn(n, 3), target=0)


def asked_of_pictures() -> assay.Question:
    """Probabilities of small pictures of which a truth is known: what every metric takes."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2), torch.nn.Softmax(1))
    x = torch.randn(3, 1, 4, 4)
    return assay.Question(net, x, target=0, truth=x > 0, removal=assay.Baseline(0.1))


@pytest.mark.parametrize("alias", SETTINGS, ids=shown)
def test_every_alias_parses_to_a_working_object(alias: Alias) -> None:
    around = alias.here == "Smoothed"  # a wrapper has to be told what it is around
    text = f"{alias.name}(Gradient())" if around else alias.name
    value = parse(text, object)
    assert isinstance(value, Method | Metric)
    direct = alias.here if not around else "Smoothed(Gradient())"
    assert value == parse(direct, object)
    assert parse(text.swapcase() if not around else text, object) == value
    if isinstance(value, Metric):
        about = asked_of_pictures()
        answer = assay.Gradient()(about)
        assert len(value.for_method(assay.Gradient())(about, answer)) == 3


def test_an_alias_of_a_class_takes_settings_and_one_of_settings_does_not() -> None:
    assert parse("KernelExplainer(budget=12)", Method) == assay.KernelShap(budget=12)
    assert parse("SmoothGrad()", Method) == assay.Smoothed(assay.Gradient())
    nested = parse("NoiseTunnel(Saliency, draws=4)", Method)
    assert nested == assay.Smoothed(assay.Absolute(assay.Gradient()), draws=4)
    with pytest.raises(InputError, match=r"stands for Smoothed\(method=Gradient\(\)"):
        parse("SmoothGrad(draws=4)", Method)


def test_names_are_found_without_case_package_and_hyphens() -> None:
    for text in ("captum.attr.Saliency", "saliency", " SALIENCY "):
        assert parse(text, Method) == assay.Absolute(assay.Gradient())
    assert parse("leave-one-out", Method) == assay.Occlusion()
    assert parse("integrated gradients", Method) == assay.IntegratedGradients()
    assert normalised("Grad-CAM++") != normalised("Grad-CAM")


@pytest.mark.parametrize("alias", OTHERS, ids=shown)
def test_what_has_no_name_here_is_refused_with_what_to_write(alias: Alias) -> None:
    with pytest.raises(InputError) as refused:
        parse(alias.name, Method)
    advice = refused.value.advice
    if alias.answer == "code":
        assert alias.here in advice
    else:
        assert "has no equivalent here yet" in advice
    assert "Known: AblationCam, " in advice


def test_one_name_means_one_thing() -> None:
    for alias in ALIASES:
        found = find(alias.name)
        assert found is not None
        assert (found.answer, found.here.removesuffix("()")) == (
            alias.answer,
            alias.here.removesuffix("()"),
        )
    libraries = (
        "papers",
        "Captum",
        "shap",
        "lime",
        "zennit",
        "pytorch-grad-cam",
        "innvestigate",
        "Quantus",
    )
    assert libraries == LIBRARIES
    pairs = [(alias.library, normalised(alias.name)) for alias in ALIASES]
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("name", sorted([*METHODS, *METRICS]))
def test_every_method_and_metric_is_known_by_its_name(name: str) -> None:
    kind = {**METHODS, **METRICS}[name]
    assert words().get(name) is kind, (
        f"{name} of {kind.__module__} is on the list, but its name cannot be read as text. Has its "
        "folder no __init__.py, or is the class no dataclass, abstract, or without its own name?"
    )


def test_our_own_names_come_first() -> None:
    for name, kind in {**assay.METHODS, **assay.METRICS}.items():
        found = find(name)
        assert found is None or found.here.partition("(")[0] == kind.__name__


@pytest.mark.parametrize("code", [alias.here for alias in OTHERS if alias.here])
def test_code_names_what_there_is(code: str) -> None:
    import ast

    tree = ast.parse(code)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    places = {"answer", "question", "model", "inputs", "rows", "value", "mask", "map", "tensor"}
    places |= {"name", "layer", "unit", "method", "kept", "levels", "estimator", "answers"}
    places |= {"hierarchy", "token", "scale", "index", "removal", "features", "context", "target"}
    for name in names - places:
        assert name == "assay" or hasattr(assay, name), f"{name} of {code}"


BROUGHT = ["SmoothGrad", "Saliency", "GradientShap", "FeatureAblation", "LIME", "KernelSHAP", "QII"]


def test_names_that_people_bring_are_compared() -> None:
    asked = assay.Question(lambda x: x[:, 0] * x[:, 1] + x[:, 2], torch.rand(4, 3))
    found = compare(asked, BROUGHT, ["compute_convergence_delta", "infidelity"])
    assert found.methods == (
        "Smoothed(method=Gradient())",
        "Absolute(method=Gradient())",
        "ExpectedGradients()",
        "Occlusion()",
        "Lime()",
        "KernelShap()",
        "Qii()",
    )
    assert found.metrics == ("Completeness()", "Infidelity()")
    with pytest.raises(InputError, match=r"MultiplicativeSmoothing\(kept, levels\).*no method"):
        compare(asked, ["MuS"], ["Completeness"])


def test_compare_takes_settings_as_text() -> None:
    found = compare(question(), ["IntegratedGradients(steps=4)"], ["Infidelity(draws=8)"])
    assert found.methods == ("IntegratedGradients(steps=4)",)
    assert found.metrics == ("Infidelity(draws=8)",)
    with pytest.raises(KindError, match="Expected a Method, got MaxSensitivity"):
        compare(question(), ["sensitivity_max"], ["Completeness"])


@pytest.mark.parametrize(
    ("text", "close"),
    [
        ("Gradients", "Gradient"),
        ("IntegratedGradient", "IntegratedGradients"),
        ("SmothGrad", "SmoothGrad"),
        ("Smoothed(Gradiant())", "Gradient"),
        ("kernal_shap", "KernelShap"),
    ],
)
def test_an_unknown_name_is_refused_with_the_close_ones(text: str, close: str) -> None:
    with pytest.raises(InputError, match=rf"Did you mean .*\b{close}\b.*\? Known: AblationCam, "):
        parse(text, Method)


def test_a_name_like_no_other_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError) as refused:
        parse("Xyzzy", Metric)
    assert refused.value.advice == f"Known: {', '.join(sorted(METRICS))}."
    with pytest.raises(KindError, match="as text, got int"):
        parse(3, Method)  # type: ignore[arg-type]
