"""The door: every kind of predictor, asked as it is used to and left as it was found."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC
from torch import Tensor, nn

import assay
import zoo
from assay.engine import ChunkSearch, Plan
from assay.errors import AbilityError, InputError, KindError, ModelError
from assay.models.networks import fast_forms, network
from toys import FEATURES, Residual, randn, randomised, state, tanh_net

X = randn(40, FEATURES, dtype=torch.float64)
Y = (X[:, 0] > 0).long().numpy()
IMAGES = randn(300, 1, 6, 6, dtype=torch.float64)  # enough rows for a network to be tuned


def everything(n: int = FEATURES) -> Tensor:
    return torch.ones(1, n, dtype=torch.bool)


# --- which kind of predictor


def test_an_estimator_answers_with_the_most_telling_of_its_methods() -> None:
    names = {
        LogisticRegression: "LogisticRegression.predict_proba",
        LinearSVC: "LinearSVC.decision_function",
        LinearRegression: "LinearRegression.predict",
    }
    for kind, name in names.items():
        assert assay.wrap(kind().fit(X.numpy(), Y)).name == name
    chosen = assay.wrap(LogisticRegression().fit(X.numpy(), Y), output="decision_function")
    made = assay.Question(chosen, X.numpy()).prediction
    np.testing.assert_allclose(made.numpy(), chosen.estimator.decision_function(X.numpy()))  # type: ignore[attr-defined]
    with pytest.raises(
        InputError, match=r"one of \['predict_proba', 'decision_function', 'predict'\]"
    ):
        assay.wrap(LogisticRegression(), output="transform")


def test_an_estimator_is_called_with_the_table_it_was_fitted_on(
    recwarn: pytest.WarningsRecorder,
) -> None:
    frame = pd.DataFrame(X.numpy(), columns=list("abcd"))
    on_frame, on_array = LogisticRegression().fit(frame, Y), LogisticRegression().fit(X.numpy(), Y)
    answers = [
        assay.Question(model, inputs, target=1).prediction
        for model in (on_frame, on_array)
        for inputs in (frame, X, X.numpy())
    ]
    for answer in answers:
        np.testing.assert_allclose(answer.numpy(), on_frame.predict_proba(frame)[:, 1])
    assert [str(w.message) for w in recwarn if "feature names" in str(w.message)] == []


def test_missing_values_pass_where_the_estimator_takes_them() -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    holes = X.numpy().copy()
    holes[0, 1] = np.nan
    model = HistGradientBoostingClassifier(max_iter=5).fit(holes, Y)
    assert assay.Question(model, holes, target=1).prediction.isfinite().all()
    with pytest.raises(InputError, match="NaN or infinity in 1 of 40 inputs, first in input 0"):
        assay.Question(LogisticRegression().fit(X.numpy(), Y), holes)


def test_a_function_is_called_with_what_the_question_was_given() -> None:
    seen: list[type] = []

    def model(x: Any) -> Any:
        seen.append(type(x))
        return x.sum(1) if not isinstance(x, pd.DataFrame) else x.sum(axis=1)

    for inputs in (X, X.numpy(), pd.DataFrame(X.numpy(), columns=list("abcd"))):
        seen.clear()
        made = assay.Question(model, inputs).prediction
        torch.testing.assert_close(made, X.sum(1))
        assert set(seen) == {type(inputs)}


@pytest.mark.parametrize("predictor", [3, "model", nn.Linear, LogisticRegression, None])
def test_what_is_no_predictor_is_refused(predictor: Any) -> None:
    with pytest.raises(KindError, match=r"Expected a torch module, an estimator .* or a callable"):
        assay.wrap(predictor)


@pytest.mark.parametrize("rows", [0, -1, 2.5, True, "many"])
def test_a_batch_size_is_auto_or_positive(rows: Any) -> None:
    with pytest.raises(InputError, match="'auto' or a positive int"):
        assay.wrap(tanh_net(), batch_size=rows)


def test_labels_as_answers_are_refused_with_advice() -> None:
    words = LogisticRegression().fit(X.numpy(), np.where(Y, "yes", "no"))
    with pytest.raises(KindError, match=r"Expected numbers .*output='predict_proba'"):
        _ = assay.Question(assay.wrap(words, output="predict"), X.numpy()).prediction


def test_the_batch_size_is_the_largest_chunk() -> None:
    seen: list[int] = []

    def model(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x.sum(1)

    assay.Question(assay.wrap(model, batch_size=7), X).value(everything())
    assert max(seen) == 7


# --- left as found


class Writes(nn.Module):
    """A forward that writes to itself in every way it can."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 3)
        self.norm = nn.BatchNorm1d(3)
        self.last: Tensor | None = None
        self.log: list[Tensor] = []
        self.table: dict[str, Tensor] = {}
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.norm(self.layer(x))
        self.last = h
        self.fresh = h
        self.log.append(h)
        self.table[str(len(self.table))] = h
        self.calls += 1
        self.count = self.count + 1
        return h


def test_what_a_forward_writes_to_itself_is_undone() -> None:
    net = randomised(Writes()).double()
    before = state(net)
    for method in (
        assay.Gradient(),
        assay.IntegratedGradients(4),
        assay.Smoothed(assay.Gradient(), draws=3),
    ):
        method(assay.Question(net, X, target=0))
        assert state(net) == before
    assert (net.log, net.table, hasattr(net, "fresh")) == ([], {}, False)


def test_hooks_of_the_caller_stay_and_are_heard() -> None:
    net, heard = tanh_net().double(), []
    net[1].register_forward_hook(lambda module, inputs, output: heard.append(len(output)))
    before = state(net)
    question = assay.Question(net, X, target=0)
    assay.Gradient()(question)
    assay.Gradient()(question.after("0"))
    assay.Gradient()(question.upto("0", 1))
    assert state(net) == before
    assert sum(heard) > 0


def test_parameters_get_no_gradients() -> None:
    net = tanh_net()
    assay.IntegratedGradients(4)(assay.Question(net, randn(3, FEATURES), target=0))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


class Dropped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = nn.functional.dropout(self.layer(x), 0.5, self.training)
        return out


def test_a_functional_dropout_is_silent_and_the_mode_is_put_back() -> None:
    net = Dropped().train()
    x = randn(5, FEATURES)
    made = assay.Question(net, x, target=0).prediction
    assert net.training
    torch.testing.assert_close(made, net.layer(x)[:, 0].detach())


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(FEATURES),
        nn.Dropout(0.5),
        nn.RReLU(),
        nn.BatchNorm1d(FEATURES, track_running_stats=False),
    ],
)
def test_a_model_that_acts_differently_in_train_mode_is_refused_there(layer: nn.Module) -> None:
    net = nn.Sequential(layer, nn.Linear(FEATURES, 2)).train()
    before = state(net)
    with pytest.raises(
        ModelError, match=r"(?s)evaluation mode.*in train mode with .*Call model\.eval\(\) first"
    ):
        assay.Gradient()(assay.Question(net, randn(4, FEATURES), target=0))
    assert state(net) == before


def test_two_threads_get_their_own_answers() -> None:
    nets, found = [tanh_net(seed) for seed in (0, 1)], {}

    def ask(i: int) -> None:
        found[i] = assay.IntegratedGradients(16)(
            assay.Question(nets[i], randn(20, FEATURES), target=0)
        ).values

    threads = [threading.Thread(target=ask, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in (0, 1):
        again = assay.IntegratedGradients(16)(
            assay.Question(nets[i], randn(20, FEATURES), target=0)
        ).values
        torch.testing.assert_close(found[i], again)


def test_weights_made_in_inference_mode_answer_and_say_why_they_have_no_slopes() -> None:
    with torch.inference_mode():
        net = tanh_net().double()
    before = state(net)
    question = assay.Question(net, X, target=0)
    with torch.no_grad():
        torch.testing.assert_close(question.prediction, net(X)[:, 0])
    with pytest.raises(ModelError, match="weights made in inference mode"):
        assay.Gradient()(question)
    assert state(net) == before


def test_lazy_weights_are_refused_before_they_are_made() -> None:
    with pytest.raises(ModelError, match="weights exist"):
        assay.wrap(nn.LazyLinear(3))


# --- a tuned form: batch norms folded, memory reordered, rectifiers that overwrite


def resnet() -> Residual:
    return randomised(Residual()).double()  # type: ignore[return-value]


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each capture gave a tuned form, which is then the one that every chunk is asked of."""
    made: list[bool] = []
    real = fast_forms.fused

    def noted(*args: Any) -> Any:
        form = real(*args)
        made.append(form is not None)
        return form

    monkeypatch.setattr(fast_forms, "fused", noted)
    monkeypatch.setattr(
        network.Network,
        "pace",
        lambda self, purpose: ChunkSearch(memory_formats=2, best=Plan(64, 1)),
    )
    return made


def direct(net: nn.Module, x: Tensor, target: int = 0) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    out = net(leaf)[:, target]
    (slope,) = torch.autograd.grad(out.sum(), leaf)
    return out.detach(), slope.reshape(len(x), -1)


def test_a_tuned_network_gives_the_same_answers_and_is_left_alone(forms: list[bool]) -> None:
    net = resnet()
    prediction, slope = direct(net, IMAGES)
    before = state(net)
    question = assay.Question(net, IMAGES, target=0)
    answer = assay.Gradient()(question)
    assert forms == [True]
    torch.testing.assert_close(answer.prediction, prediction, rtol=0, atol=1e-10)
    torch.testing.assert_close(answer.values, slope, rtol=0, atol=1e-10)
    assert state(net) == before


class Tempered(Residual):
    temperature = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / self.temperature


def _step(net: Any) -> None:
    with torch.no_grad():
        net.norm1.weight.mul_(3)


def _behind_the_version(net: Any) -> None:
    net.norm1.weight.data.fill_(2.5)


def _attribute(net: Any) -> None:
    net.temperature = 4.0


def _exchanged(net: Any) -> None:
    net.first = nn.Conv2d(4, 4, 3, padding=1, bias=False).double()


def _hooked(net: Any) -> None:
    net.norm1.register_forward_hook(lambda module, inputs, output: output * 2)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("change", [_step, _behind_the_version, _attribute, _exchanged, _hooked])
def test_a_network_changed_after_it_was_tuned_is_asked_as_it_is_now(
    change: Any, wrapped: bool, forms: list[bool]
) -> None:
    net = randomised(Tempered()).double()
    # A wrapper keeps its forms, a network is wrapped anew by each question.
    model = assay.wrap(net) if wrapped else net
    _ = assay.Question(model, IMAGES, target=0).prediction
    assert forms == [True]
    change(net)
    answer = assay.Gradient()(assay.Question(model, IMAGES, target=0))
    prediction, slope = direct(net, IMAGES)
    torch.testing.assert_close(answer.prediction, prediction, rtol=0, atol=1e-10)
    torch.testing.assert_close(answer.values, slope, rtol=0, atol=1e-10)


class Branches(Residual):
    """Control flow that depends on the data cannot be captured."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if float(x.detach().abs().max()) >= 0 else x


def test_a_network_that_cannot_be_captured_is_asked_itself(forms: list[bool]) -> None:
    net = randomised(Branches()).double()
    answer = assay.Gradient()(assay.Question(net, IMAGES, target=0))
    # It decides by numbers of its rows, is asked one row at a time, and no form is looked for.
    assert forms == []
    torch.testing.assert_close(answer.values, direct(net, IMAGES)[1], rtol=0, atol=1e-10)


@zoo.needs_data
def test_a_trained_residual_network_answers_the_same_tuned_and_is_left_alone(
    forms: list[bool],
) -> None:
    net = zoo.cifar_resnet(20).double()
    x = zoo.cifar10("test", 2)[0].double()
    many = x.repeat(128, 1, 1, 1)  # enough rows for the tuned form
    before = state(net)
    answer = assay.Gradient()(assay.Question(net, many, target=3, features=assay.Elements()))
    assert forms == [True]
    prediction, slope = direct(net, x, 3)
    torch.testing.assert_close(answer.prediction[:2], prediction, rtol=0, atol=1e-10)
    torch.testing.assert_close(answer.values[:2], slope, rtol=0, atol=1e-10)
    assert state(net) == before


# --- compiled and scripted


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_answers_like_the_model_itself() -> None:
    net = tanh_net().double()
    compiled = torch.compile(net, backend="eager")
    usual, question = assay.Question(net, X, target=0), assay.Question(compiled, X, target=0)
    torch.testing.assert_close(
        assay.IntegratedGradients(8)(question).values, assay.IntegratedGradients(8)(usual).values
    )
    for made in (lambda q: q.after("0"), lambda q: q.upto("0", 2)):
        ours, theirs = assay.Gradient()(made(question)), assay.Gradient()(made(usual))
        torch.testing.assert_close(ours.values, theirs.values)
    assert question.model.name == "Sequential"


@pytest.mark.filterwarnings("ignore")
def test_a_scripted_model_answers_and_says_that_it_has_no_layers() -> None:
    net = tanh_net().double()
    scripted = torch.jit.trace(net, X[:2])
    question = assay.Question(scripted, X, target=0)
    torch.testing.assert_close(
        assay.Gradient()(question).values, assay.Gradient()(assay.Question(net, X, target=0)).values
    )
    with pytest.raises(AbilityError, match="layer"):
        question.after("0")


def test_a_fingerprint_tells_weights_and_functions_apart() -> None:
    one, two = tanh_net(0), tanh_net(1)
    assert (
        assay.wrap(one).fingerprint()
        == assay.wrap(copy.deepcopy(one)).fingerprint()
        != assay.wrap(two).fingerprint()
    )
    functions = [
        assay.wrap(lambda x: x + 1).fingerprint(),
        assay.wrap(lambda x: x + 2).fingerprint(),
    ]
    assert functions[0] != functions[1]
    fitted = [
        assay.wrap(LogisticRegression(C=c).fit(X.numpy(), Y)).fingerprint() for c in (1.0, 0.1)
    ]
    assert fitted[0] != fitted[1]


def test_weights_without_numbers_are_refused() -> None:
    for module in (nn.Linear(3, 2, device="meta"), nn.BatchNorm1d(3, device="meta")):
        with pytest.raises(ModelError, match="meta device"):
            assay.wrap(module.eval())
