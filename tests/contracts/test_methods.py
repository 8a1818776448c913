"""What every method must keep, asked of every one on the list: the answer depends on the question,
the settings and the seed.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import assay
import assay.methods
from assay.answers.attribution import Attribution
from assay.errors import AbilityError, AssayError, KindError, TargetError
from assay.methods import METHODS
from assay.methods.base import Method
from assay.models.base import Ability
from toys import FEATURES, OF_TREES, Breaks, Case, case_of, randn, randomised, state

for found in pkgutil.walk_packages(assay.methods.__path__, "assay.methods."):
    importlib.import_module(found.name)


def below(kind: type[Any]) -> list[type[Any]]:
    return [kind, *(each for child in kind.__subclasses__() for each in below(child))]


ALL = {
    kind.__name__: kind
    for kind in below(Method)
    if kind.__module__.startswith("assay.methods.") and not inspect.isabstract(kind)
}
NAMES = sorted(set(ALL) - OF_TREES)
SAMPLES = 5  # inputs of a contract question


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return case_of(request.param, ALL[request.param])


def inputs(n: int = SAMPLES, dtype: torch.dtype = torch.float32) -> Tensor:
    return randn(n, FEATURES, seed=3, dtype=dtype)


ANSWERS: dict[tuple[str, str], Attribution] = {}


@pytest.fixture
def usual(case: Case, request: pytest.FixtureRequest) -> Attribution:
    """What a method answers about the inputs of most tests, asked once; also of other modules' cases."""
    asked = request.module.__name__, request.node.callspec.params["case"]
    if asked not in ANSWERS:
        ANSWERS[asked] = case.method(case.ask(inputs()))
    return ANSWERS[asked]


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-6) -> None:
    scale = max(1.0, float(theirs.abs().max()))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * scale)


def test_every_method_is_on_the_list() -> None:
    assert {name: ALL[name] for name in METHODS} == METHODS
    assert set(ALL) == set(METHODS)


def test_every_method_can_be_made() -> None:
    for name in NAMES:
        assert isinstance(case_of(name, ALL[name]).method, ALL[name])


# --- the answer depends on question, settings and seed alone


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_batch_size_changes_nothing(case: Case, usual: Attribution, rows: int) -> None:
    model = assay.wrap(case.net(), batch_size=rows)
    close(case.method(case.ask(inputs(), model)).values, usual.values)


def test_shards_change_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    x, net = inputs(70), case.net()
    whole = case.method(case.ask(x, net), seed=4)
    monkeypatch.setattr("assay.question.derivations._SHARD", 1)
    question = case.ask(x, net)
    assert len(list(question.shards())) == 3
    sharded = case.method(question, seed=4)
    close(sharded.values, whole.values)
    for name in ("gap", "standard_error", "base", "prediction"):
        one, other = getattr(sharded, name), getattr(whole, name)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            close(one, other, 1e-5)
    for name, note in whole.facts.items():
        if isinstance(note, list):
            np.testing.assert_allclose(sharded.facts[name], note, atol=1e-4)


def test_parts_of_a_question_answer_like_the_whole(case: Case) -> None:
    question = case.ask(inputs())
    whole = case.method(question, seed=1).values
    parts = [case.method(question.part(a, b), seed=1).values for a, b in ((0, 2), (2, 5))]
    close(torch.cat(parts), whole)


def test_the_order_of_inputs_changes_nothing(case: Case, usual: Attribution) -> None:
    order = torch.tensor([3, 0, 4, 2, 1])
    close(case.method(case.ask(inputs()[order])).values, usual.values[order])


def test_an_input_alone_gets_the_answer_it_gets_in_a_crowd(case: Case) -> None:
    x, net = inputs(), case.net()
    crowd = case.method(case.ask(x, net), seed=2).values
    for i in (0, SAMPLES - 1):
        close(case.method(case.ask(x[i : i + 1], net), seed=2).values, crowd[i : i + 1])


def test_global_generators_are_neither_read_nor_moved(case: Case) -> None:
    x, net = inputs(), case.net()
    answers = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
        answers.append(case.method(case.ask(x, net)).values)
        assert torch.equal(torch.random.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
        assert random.getstate() == before[2]
    assert torch.equal(answers[0], answers[1])


def test_the_seed_decides_the_draws(case: Case) -> None:
    question = case.ask(inputs())
    first, again, other = (case.method(question, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first.values, again.values)
    if case.own_draws:
        assert not torch.equal(first.values, other.values)
    if first.standard_error is None:
        close(other.values, first.values)


# --- all outputs at once


def test_all_outputs_at_once_are_the_answers_one_by_one(case: Case) -> None:
    x, net = inputs(dtype=torch.float64), case.net().double()
    outputs = list(range(net(x[:1]).reshape(-1).numel()))
    if case.reuse_model:
        together = case.method.for_outputs(case.ask(x, net), seed=3)
    else:
        outputs = outputs[:1]  # its own models have one output
        together = case.method.for_outputs(case.ask(x, net), outputs, seed=3)
    assert len(together) == len(outputs)
    for output, answer in enumerate(together):
        alone = case.method(case.ask(x, net, target=output), seed=3)
        for part in ("values", "base", "prediction", "gap", "standard_error"):
            ours, theirs = getattr(answer, part), getattr(alone, part)
            assert (ours is None) == (theirs is None), part
            if ours is not None:
                close(ours, theirs, 1e-9)
        assert answer.provenance == alone.provenance
        assert (answer.names, answer.shape, answer.kind) == (alone.names, alone.shape, alone.kind)


def test_some_outputs_in_shards_are_those_outputs(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, net = inputs(70), case.net()
    outputs = net(x[:1]).reshape(-1).numel()
    wanted = [outputs - 1, 0] if case.reuse_model else [0]
    whole = {output: case.method(case.ask(x, net, target=output)) for output in wanted}
    monkeypatch.setattr("assay.question.derivations._SHARD", 1)
    sharded = case.method.for_outputs(case.ask(x, net), wanted)
    for output, answer in zip(wanted, sharded, strict=True):
        close(answer.values, whole[output].values)
    with pytest.raises(TargetError, match=rf"outputs from 0 to {outputs - 1}"):
        case.method.for_outputs(case.ask(x, net), [outputs])


# --- the model is left as it was found


def test_the_model_is_left_as_found(case: Case) -> None:
    net = case.net()
    for i, parameter in enumerate(net.parameters()):
        parameter.requires_grad_(i % 2 == 0)
        parameter.grad = torch.full_like(parameter, 3.0)
    net.train()  # nothing in it acts differently in train mode: run in evaluation mode and put back
    before = state(net)
    case.method(case.ask(inputs(), net))
    assert state(net) == before


@pytest.mark.parametrize("at", [0, 3, 4])
def test_the_model_is_left_as_found_when_its_forward_breaks(case: Case, at: int) -> None:
    net = randomised(Breaks(case.net(), at))
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    next(net.parameters()).requires_grad_(False)
    before = state(net)
    question = case.ask(inputs(), assay.wrap(net, batch_size=2))
    with pytest.raises((RuntimeError, AssayError)) as caught:
        case.method(question)
    assert "broke on purpose" in str(caught.value) or isinstance(caught.value, AssayError)
    assert state(net) == before


def test_inputs_are_left_as_found(case: Case) -> None:
    x = inputs().requires_grad_()
    before = x.detach().clone()
    case.method(case.ask(x))
    assert torch.equal(x.detach(), before)
    assert x.grad is None
    assert x.requires_grad


# --- number types, layouts and modes


def test_float64_in_float64_out_and_near_float32(case: Case, usual: Attribution) -> None:
    fine = case.method(case.ask(inputs(dtype=torch.float64), case.net().double()))
    assert fine.values.dtype == fine.base.dtype == fine.prediction.dtype == torch.float64
    assert usual.values.dtype == usual.base.dtype == usual.prediction.dtype == torch.float32
    if not case.own_draws:
        close(usual.values.double(), fine.values, 2e-4)


def test_bfloat16_works(case: Case) -> None:
    net = case.net()
    half = copy.deepcopy(net).bfloat16()
    answer = case.method(case.ask(inputs().bfloat16(), half))
    assert answer.values.dtype == torch.float32
    if not case.own_draws and case.reuse_model:
        close(answer.values, case.method(case.ask(inputs().bfloat16().float(), net)).values, 0.25)
    assert bool(torch.isfinite(answer.values).all())


def test_strided_inputs_are_the_same_inputs(case: Case, usual: Attribution) -> None:
    x, net = inputs(), case.net()
    strided = torch.stack([x, x], dim=2)[..., 0]
    assert not strided.is_contiguous()
    close(case.method(case.ask(strided, net)).values, usual.values)
    close(case.method(case.ask(x.numpy(), net)).values, usual.values)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_grad_mode_changes_nothing(
    case: Case, usual: Attribution, mode: Callable[[], Any]
) -> None:
    net = case.net()
    with mode():
        answer = case.method(case.ask(inputs() + 0, net))
    close(answer.values, usual.values)
    assert not answer.values.requires_grad


def test_frozen_parameters_change_nothing(case: Case, usual: Attribution) -> None:
    net = case.net()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    close(case.method(case.ask(inputs(), net)).values, usual.values)


class WithHead(nn.Module):
    """An auxiliary head that only some callers read."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.aside = inner, nn.Linear(FEATURES, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.aside(x.flatten(1))
        return self.inner(x)


class Structured(nn.Module):
    def __init__(self, inner: nn.Module, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.make = inner, make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.inner(x))


def test_an_unused_head_changes_nothing(case: Case, usual: Attribution) -> None:
    headed = WithHead(case.net()).eval()
    close(case.method(case.ask(inputs(), headed)).values, usual.values)


@pytest.mark.parametrize(
    ("make", "part"),
    [(lambda y: (y, y * 2), 0), (lambda y: {"logits": y, "loss": y.sum()}, "logits")],
)
def test_structured_outputs_are_refused_with_the_way_out(
    case: Case, usual: Attribution, make: Any, part: Any
) -> None:
    structured = Structured(case.net(), make).eval()
    with pytest.raises(
        KindError, match=r"Expected one tensor of outputs .* got (tuple|dict).*wrap\(model, output="
    ):
        case.method(case.ask(inputs(), structured))
    model = assay.wrap(structured, output=part)
    close(case.method(case.ask(inputs(), model)).values, usual.values)


def test_integers_are_refused_where_slopes_are_asked_for(case: Case) -> None:
    if not case.reuse_model:
        pytest.skip("asks models of its own, fitted on floating rows")
    whole = torch.randint(0, 5, (SAMPLES, FEATURES), generator=torch.Generator().manual_seed(0))
    net = case.net()
    rows = assay.Background(torch.zeros(2, FEATURES, dtype=torch.int64))

    def ask(x: Tensor) -> Tensor:
        answer: Tensor = net(x.float())
        return answer

    question = assay.Question(
        ask, whole, target=0, removal=assay.Baseline(0) if case.removal.follows else rows
    )
    if Ability.LAYERS in case.method.needs:
        with pytest.raises(AbilityError, match=r"a model with (gradient, )?layers for"):
            case.method(question)
    elif Ability.GRADIENT in case.method.needs:
        with pytest.raises(KindError, match=r"(?s)floating inputs.*int64.*\.float\(\)"):
            case.method(question)
    else:
        floats = assay.Question(
            ask, whole.float(), target=0, removal=assay.Background(torch.zeros(2, FEATURES))
        )
        try:
            expected = case.method(floats).values
        except AssayError:
            pytest.skip(f"{case.method!r} does not take this removal")
        close(case.method(question).values, expected, 1e-5)


def test_a_model_without_slopes_is_refused_or_answered(case: Case) -> None:
    net = case.net().double()

    def ask(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(torch.from_numpy(x)).numpy()

    question = case.ask(inputs(dtype=torch.float64).numpy(), ask)
    if case.method.needs:
        with pytest.raises(
            AbilityError,
            match=r"a model with (gradient|layers)(, \w+)* for .* got .*ask.*(can answer: |No method)",
        ):
            case.method(question)
    else:
        close(
            case.method(question).values,
            case.method(case.ask(inputs(dtype=torch.float64), net)).values,
            1e-9,
        )


# --- the answer as data


def test_settings_are_frozen_and_their_repr_evaluates_back(case: Case, usual: Attribution) -> None:
    with pytest.raises(AttributeError):
        case.method.anything = 1  # type: ignore[attr-defined]
    if case.settings_evaluate:
        assert eval(repr(case.method), vars(assay)) == case.method
    assert usual.method == repr(case.method)


def test_a_saved_answer_is_the_answer(case: Case, tmp_path: Any) -> None:
    answer = case.method(case.ask(inputs()), seed=5)
    answer.save(tmp_path / "answer.safetensors")
    loaded = Attribution.load(tmp_path / "answer.safetensors")
    for name in ("values", "base", "prediction", "gap", "standard_error"):
        ours, theirs = getattr(answer, name), getattr(loaded, name)
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    assert (loaded.names, loaded.shape, loaded.kind) == (answer.names, answer.shape, answer.kind)
    assert dict(loaded.facts) == dict(answer.facts)
    assert loaded.provenance == answer.provenance
    assert loaded.provenance["seed"] == 5


def test_the_cost_is_counted_as_stated(case: Case, usual: Attribution) -> None:
    assert case.method.cost
    assert usual.facts["forwards"] > 0
    if case.evaluations is not None:
        assert (usual.facts["forwards"], usual.facts["backwards"]) == case.evaluations(SAMPLES)


def test_shapes_and_diagnostics_fit_the_question(case: Case, usual: Attribution) -> None:
    assert usual.values.shape == (SAMPLES, case.credited)
    assert usual.base.shape == usual.prediction.shape == (SAMPLES,)
    assert usual.maps.shape == (SAMPLES, *usual.shape)
    assert usual.kind == case.method.kind.value
    if usual.standard_error is not None:
        assert usual.standard_error.shape == usual.values.shape
        assert bool((usual.standard_error >= 0).all())
    if usual.gap is not None:
        close(usual.gap, usual.prediction - usual.base - usual.values.sum(1))


def test_the_digest_tells_questions_apart(case: Case) -> None:
    net = case.net()
    same = case.ask(inputs(), net).digest, case.ask(inputs(), net).digest
    assert same[0] == same[1]
    assert case.ask(inputs() + 1, net).digest != same[0]
    assert case.ask(inputs(), net, removal=assay.Baseline(0.2)).digest != same[0]
    assert case.ask(inputs(), net, target=assay.Negated(0)).digest != same[0]
    with torch.no_grad():
        next(iter(net.parameters())).add_(1)
    assert case.ask(inputs(), net).digest != same[0]
