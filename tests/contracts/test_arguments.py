"""What is no argument is refused by name, at every entry; seeds and levels are numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import assay
from assay.certificates.noise import NoiseDesign
from assay.comparison.comparing import from_scores
from assay.errors import AssayError, InputError, KindError, SettingError, SettingKindError
from odd_values import NET, ODD, TRAINING, X

QUESTION = assay.Question(NET, X, target=0)
ANSWER = assay.Gradient()(QUESTION)
SCORE = assay.Completeness()(QUESTION, ANSWER)
COMPARISON = assay.compare(QUESTION, ["Gradient"], ["Completeness"])
FIRST = torch.arange(4) == 0
SMOOTHING = assay.MultiplicativeSmoothing(1, 4)


def sums(x: torch.Tensor, **context: Any) -> torch.Tensor:
    return x.sum(1)


ENTRIES: dict[str, Callable[[Any], Any]] = {
    "wrap device": lambda v: assay.wrap(NET, device=v),
    "wrap batch size": lambda v: assay.wrap(NET, batch_size=v),
    "wrap output": lambda v: assay.wrap(NET, output=v),
    "wrap plan": lambda v: assay.wrap(NET, plan=v),
    "wrap reproducible": lambda v: assay.wrap(NET, reproducible=v),
    "wrap speedups": lambda v: assay.wrap(NET, speedups=v),
    "context": lambda v: assay.Question(sums, X, context=v),
    "a context value": lambda v: assay.Question(sums, X, context={"mask": v}),
    "truth": lambda v: assay.Question(sums, X, truth=v).part(0, 1),
    "features": lambda v: assay.Question(sums, X, features=v),
    "removal": lambda v: assay.Question(sums, X, removal=v),
    "compare": lambda v: assay.compare(v, ["Gradient"], ["Completeness"]),
    "compare methods": lambda v: assay.compare(QUESTION, v, ["Completeness"]),
    "compare metrics": lambda v: assay.compare(QUESTION, ["Gradient"], v),
    "compare a method": lambda v: assay.compare(QUESTION, [v], ["Completeness"]),
    "compare a metric": lambda v: assay.compare(QUESTION, ["Gradient"], [v]),
    "compare level": lambda v: assay.compare(QUESTION, ["Gradient"], ["Completeness"], level=v),
    "compare references": lambda v: assay.compare(
        QUESTION, ["Gradient"], ["Completeness"], references=v
    ),
    "scores": lambda v: from_scores(QUESTION, [ANSWER], v),
    "scores of a metric": lambda v: from_scores(QUESTION, [ANSWER], {"gap": v}),
    "attributions": lambda v: from_scores(QUESTION, v, {"gap": [SCORE]}),
    "explain method": lambda v: assay.explain(NET, X, 0, method=v),
    "explain context": lambda v: assay.explain(sums, X, context=v),
    "explain truth": lambda v: assay.explain(sums, X, truth=v),
    "a question": lambda v: assay.Gradient()(v),
    "an attribution": lambda v: assay.Completeness()(QUESTION, v),
    "attributions to score": lambda v: assay.Completeness().each(QUESTION, v),
    "outputs": lambda v: assay.Gradient().for_outputs(QUESTION, v),
    "top": lambda v: ANSWER.top(1, by=v),
    "report": lambda v: assay.report(v, "nowhere.html"),
    "selection": lambda v: assay.HardStability().certify(QUESTION, v),
    "selections": lambda v: SMOOTHING.certify_all(QUESTION, v),
    "masks": lambda v: assay.LipschitzCheck(1.0).check(v, features=3),
    "features of masks": lambda v: assay.LipschitzCheck(1.0).check(
        lambda masks: masks.float(), features=v
    ),
    "sparsest": lambda v: SMOOTHING.sparsest(QUESTION, v),
    "sparsest radius": lambda v: SMOOTHING.sparsest(QUESTION, ANSWER, radius=v),
    "sparsest sizes": lambda v: SMOOTHING.sparsest(QUESTION, ANSWER, sizes=v),
    "a share": lambda v: assay.MultiplicativeSmoothing.at(v),
    "a design": lambda v: assay.MultiplicativeSmoothing.over(v),
    "an error": lambda v: assay.SoftStability.samples_for(v, 0.9),
    "a confidence": lambda v: assay.SoftStability.samples_for(0.1, v),
    "fixed masks": lambda v: NoiseDesign.of(v),
    "offsets": lambda v: NoiseDesign.cyclic(v, 1, 4),
    "features of noise": lambda v: NoiseDesign.structured(v, 1, 4),
    "draws of noise": lambda v: NoiseDesign.bernoulli(4, 1, 4, v),
    "a keep share": lambda v: assay.masked_finetuning(
        NET, TRAINING, features=torch.arange(4), share=v
    ),
    "labels to mask": lambda v: assay.masked_finetuning(NET, TRAINING, features=v, share=0.5),
    "a network": lambda v: assay.masked_finetuning(
        v, TRAINING, features=torch.arange(4), share=0.5
    ),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_argument_is_taken_or_refused_by_the_family(entry: str) -> None:
    for what, value in ODD.items():
        if what == "a large int":
            continue
        try:
            ENTRIES[entry](value)
        except AssayError as refusal:
            said = refusal
            assert said.advice


REPORTS: dict[str, Callable[[Any, Path], Any]] = {
    "images": lambda v, folder: assay.report(COMPARISON, folder / "a.html", images=v),
    "labels": lambda v, folder: assay.report(COMPARISON, folder / "a.html", labels=v),
    "title": lambda v, folder: assay.report(COMPARISON, folder / "a.html", title=v),
    "inputs": lambda v, folder: assay.report(COMPARISON, folder / "a.html", inputs=v),
    "scores": lambda v, folder: assay.report((QUESTION, [ANSWER], v), folder / "a.html"),
}


@pytest.mark.parametrize("entry", REPORTS)
def test_a_page_is_made_or_refused_by_the_family(entry: str, tmp_path: Path) -> None:
    for value in ODD.values():
        try:
            REPORTS[entry](value, tmp_path)
        except AssayError as refusal:
            said = refusal
            assert said.advice


@pytest.mark.parametrize("path", [None, 3, b"x", [], object()])
def test_a_page_goes_to_a_path(path: Any) -> None:
    with pytest.raises(KindError, match="path of report"):
        assay.report(COMPARISON, path)


# --- seeds and levels

SEEDED: dict[str, Callable[[Any], Any]] = {
    "a method": lambda seed: assay.ExpectedGradients(2)(QUESTION, seed=seed),
    "outputs": lambda seed: assay.ExpectedGradients(2).for_outputs(QUESTION, [0], seed=seed),
    "a metric": lambda seed: assay.Infidelity(draws=2)(QUESTION, ANSWER, seed=seed),
    "each": lambda seed: assay.Infidelity(draws=2).each(QUESTION, [ANSWER], seed=seed),
    "compare": lambda seed: assay.compare(QUESTION, ["Gradient"], ["Completeness"], seed),
    "scores": lambda seed: from_scores(QUESTION, [ANSWER], {"gap": [SCORE]}, seed),
    "explain": lambda seed: assay.explain(NET, X, 0, seed=seed),
    "an attack": lambda seed: assay.Attack().search(QUESTION, FIRST, seed=seed),
    "soft stability": lambda seed: assay.SoftStability(1).certify(QUESTION, FIRST, seed=seed),
    "a check": lambda seed: assay.LipschitzCheck(9.0).check(QUESTION, seed=seed),
    "noise": lambda seed: NoiseDesign.structured(4, 1, 4, seed),
    "stratified noise": lambda seed: NoiseDesign.stratified(4, 1, 4, seed),
    "independent noise": lambda seed: NoiseDesign.bernoulli(4, 1, 4, 8, seed),
    "fine-tuning": lambda seed: assay.masked_finetuning(
        NET, TRAINING, features=torch.arange(4), share=0.5, seed=seed
    ),
    "a removal": lambda seed: assay.Noise(0.1, seed=seed),
    "smoothing": lambda seed: assay.MultiplicativeSmoothing(1, 4, seed=seed),
}


@pytest.mark.parametrize("entry", SEEDED)
def test_a_seed_is_a_whole_number_and_nothing_else(entry: str) -> None:
    for seed in (None, "a", "1", 1.5, 1.0, True, [1], float("nan"), torch.tensor([1, 2])):
        with pytest.raises(SettingKindError, match=r"seed of .* to be a whole number"):
            SEEDED[entry](seed)
    for seed in (3, np.int64(3), torch.tensor(3)):
        SEEDED[entry](seed)


def test_a_seed_of_numpy_is_the_same_seed_and_can_be_saved(tmp_path: Path) -> None:
    method = assay.Smoothed(assay.Gradient(), draws=4)
    answer = method(QUESTION, seed=np.int64(3))
    torch.testing.assert_close(answer.values, method(QUESTION, seed=3).values, rtol=0, atol=0)
    answer.save(tmp_path / "answer.safetensors")
    assert assay.load(tmp_path / "answer.safetensors").provenance["seed"] == 3


@pytest.mark.parametrize("level", [None, "x", 0, 1, 95, float("nan"), -0.5, True])
def test_a_level_is_between_0_and_1(level: Any) -> None:
    for ask in (
        lambda: assay.compare(QUESTION, ["Gradient"], ["Completeness"], level=level),
        lambda: from_scores(QUESTION, [ANSWER], {"gap": [SCORE]}, level=level),
    ):
        with pytest.raises(SettingError, match="level"):
            ask()


# --- one line


@pytest.mark.parametrize(
    ("method", "answered"),
    [
        ("KernelShap", "KernelShap("),
        ("KernelShap(budget=10)", "KernelShap(budget=10"),
        ("smoothgrad", "Smoothed("),
        (assay.KernelShap, "KernelShap(budget=None"),
        (assay.Gradient, "Gradient()"),
        (assay.Gradient(), "Gradient()"),
    ],
)
def test_explain_takes_a_method_by_name_by_class_or_itself(method: Any, answered: str) -> None:
    answer = assay.explain(NET, X, 0, method=method)
    assert answer.method.startswith(answered)


def test_explain_refuses_what_is_no_method() -> None:
    with pytest.raises(InputError, match="Did you mean KernelShap"):
        assay.explain(NET, X, method="KernelShop")
    with pytest.raises(KindError, match="Expected a Method, got Completeness"):
        assay.explain(NET, X, method="Completeness")
    with pytest.raises(SettingError, match=r"settings for Smoothed\(.*Make one: Smoothed"):
        assay.explain(NET, X, method=assay.Smoothed)
    for odd in (3, assay.Completeness(), assay.Completeness, [assay.Gradient()]):
        with pytest.raises(KindError, match="a method, its class or its name"):
            assay.explain(NET, X, method=odd)


def test_compare_takes_classes_too() -> None:
    made = assay.compare(QUESTION, [assay.Gradient, "InputXGradient"], [assay.Completeness])
    assert made.methods == ("Gradient()", "InputXGradient()")
    assert made.metrics == ("Completeness()",)


def test_explain_takes_whatever_a_question_takes() -> None:
    def masked(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (x * mask).sum(1)

    mask = torch.tensor([[1.0, 0, 1, 0]]).expand(3, -1)
    context = {"mask": assay.Aligned(mask)}
    answer = assay.explain(masked, X, context=context, truth=[0, 1, 2])
    torch.testing.assert_close(answer.values, X * mask)


# --- the door


def test_a_device_that_is_not_there_is_refused() -> None:
    for device in ("gpu", "cuda:99", 3.5, object()):
        with pytest.raises(InputError, match="a device of this machine"):
            assay.wrap(NET, device=device)
    assert assay.wrap(NET, device="cpu").device == torch.device("cpu")


def test_context_is_a_dict_of_what_follows_and_what_is_shared() -> None:
    for odd in ("x", [("mask", X)], {3: assay.Shared(1)}):
        with pytest.raises(KindError, match="the context as a dict"):
            assay.Question(sums, X, context=odd)
    for value in (None, "x", 3, {}):
        with pytest.raises(SettingKindError, match="one row per input in Aligned"):
            assay.Aligned(value)
    with pytest.raises(KindError, match="an array of numbers"):
        assay.Question(sums, X, context={"words": assay.Aligned(["good", "so", "bad"])})


def test_truth_has_an_entry_for_each_input() -> None:
    for odd in ("x", "abc", 3, {"a": 1}, [0, 1], torch.zeros(2), torch.tensor(1)):
        with pytest.raises(InputError, match="a truth with one entry for each of 3 inputs"):
            assay.Question(NET, X, truth=odd)
    boxes = [[0], [1, 2], [3, 4, 5]]
    assert assay.Question(NET, X, truth=boxes).part(1, 3).truth == [[1, 2], [3, 4, 5]]


def test_functions_of_masks_that_fail_are_refused_by_name() -> None:
    for odd, got in (
        (lambda: 3, "TypeError"),
        (lambda masks: None, "RuntimeError"),
        (lambda masks: masks.float().sum(1), r"\(4,\)|\(12,\)"),
    ):
        with pytest.raises(InputError, match=got):
            assay.LipschitzCheck(1.0).check(odd, features=3)
