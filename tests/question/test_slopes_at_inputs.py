"""The forward that slopes are taken of also says what is chosen on the clean inputs, and its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay import LRP, Composite, Deconvnet, Gradient, GuidedBackprop, InputXGradient
from assay.errors import AssayError, ModelError, TargetError
from assay.methods.rules.relevance import Passage, Rule, Zero
from assay.models.networks.operations import interception
from assay.models.networks.operations.decomposed import decomposed
from assay.models.networks.operations.operation import Operation
from rule_networks import calls
from toys import randn, randomised

DOUBLE = torch.float64
METHODS = [Gradient(), InputXGradient(), GuidedBackprop(), Deconvnet(), LRP()]
RULED = [GuidedBackprop(), LRP()]
TARGETS = [
    None,
    1,
    -1,
    [2, 0, 1, 1, 0, 2, 1],
    assay.LogProb(),
    assay.LogProb(assay.Output([2, 0, 1, 1, 0, 2, 1])),
    assay.Contrast(0, [1, 2, 1, 1, 2, 1, 2]),
    lambda outputs: outputs[:, 0] - 2 * outputs[:, 1],
]


def small_net() -> nn.Module:
    layers = nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)
    return randomised(nn.Sequential(*layers), 3).double()


def in_two_passes(method: Any, question: assay.Question) -> assay.Attribution:
    """The answer where the prediction was asked beforehand, forward only."""
    _ = question.prediction
    return method(question)


@pytest.mark.parametrize("batch", ["auto", 1, 2, 3, 7])
@pytest.mark.parametrize("target", TARGETS, ids=range(len(TARGETS)))
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_one_pass_says_what_two_say(method: Any, target: Any, batch: Any) -> None:
    net = assay.wrap(small_net(), batch_size=batch)
    x = randn(7, 4, seed=1, dtype=DOUBLE)
    one = method(assay.Question(net, x, target=target))
    two = in_two_passes(method, assay.Question(net, x, target=target))
    for name in ("values", "prediction", "base"):
        ours, theirs = getattr(one, name), getattr(two, name)
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert one.targets == two.targets
    for fact in ("operations", "conservation"):
        assert (fact in one.facts) == (fact in two.facts)
    assert one.facts.get("operations") == two.facts.get("operations")


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_input_goes_forward_once(method: Any) -> None:
    net = small_net()
    rows: list[int] = []
    net.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    x = randn(7, 4, seed=1, dtype=DOUBLE)
    answer = method(assay.Question(net, x))
    # Two rows alone and together, the inputs, one absent row for all of them.
    assert rows == [1, 1, 2, 7, 1]
    assert (answer.facts["forwards"], answer.facts["backwards"]) == (1, 7)


@pytest.mark.parametrize("method", RULED, ids=repr)
def test_a_row_of_every_chunk_is_asked_plainly(method: Any) -> None:
    """The first chunk has those that were asked alone."""
    x = randn(7, 4, seed=1, dtype=DOUBLE)
    answer = method(assay.Question(assay.wrap(small_net(), batch_size=2), x))
    assert (answer.facts["forwards"], answer.facts["backwards"]) == (1 + 3, 7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, DOUBLE])
def test_precision_is_that_of_the_prediction(dtype: torch.dtype) -> None:
    """Inputs of single precision into a network of double precision keep its differences."""
    for weights in (dtype, DOUBLE):
        net = small_net().to(weights)

        def model(x: Tensor, net: Any = net, weights: torch.dtype = weights) -> Tensor:
            answer: Tensor = net(x.to(weights))
            return answer

        x = randn(5, 4, seed=1).to(dtype)
        one, two = (assay.Question(model, x, target=1) for _ in range(2))
        answer = Gradient()(one)
        assert one.prediction.dtype == two.prediction.dtype
        is_double = DOUBLE in (weights, dtype)
        assert (one.prediction.dtype == DOUBLE) == is_double
        assert answer.values.dtype == in_two_passes(Gradient(), two).values.dtype


# --- what was compared stays compared


class _WhereWritten(nn.Module):
    """Writes on a view of a tensor that it uses again, of some rows alone."""

    def __init__(self, write: Callable[[Tensor, Tensor], None]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        self.write(h, x[:, :1] > 50)
        return self.last(torch.relu(h))


def _to_detached(h: Tensor, where: Tensor) -> None:
    h.detach().masked_fill_(where, 7.0)


def _to_data(h: Tensor, where: Tensor) -> None:
    h.data.masked_fill_(where, 7.0)


def _to_view(h: Tensor, where: Tensor) -> None:
    h.view(-1, 4)[:, 1:].masked_fill_(where, 7.0)


def _by_index(h: Tensor, where: Tensor) -> None:
    h[where[:, 0]] = 7.0


def _without_slopes(h: Tensor, where: Tensor) -> None:
    with torch.no_grad():
        h.masked_fill_(where, 7.0)


def _refused(ask: Callable[[], assay.Attribution]) -> tuple[str, assay.Attribution | None]:
    """What a refusal says, or the answer."""
    try:
        return "", ask()
    except AssayError as error:
        return str(error), None


WRITES = [_to_detached, _to_data, _to_view, _by_index, _without_slopes]


@pytest.mark.parametrize("method", RULED, ids=repr)
@pytest.mark.parametrize("write", WRITES)
def test_forwards_that_write_on_what_others_see_are_compared_row_by_row(
    write: Any, method: Any
) -> None:
    """Whether or not the heard forward loses what is written, the answer is that of two passes."""
    net = randomised(_WhereWritten(write), 1).double()
    x = randn(6, 4, seed=1, dtype=DOUBLE)
    x[4, 0] = 100.0
    one, two = (assay.Question(net, x, target=1) for _ in range(2))
    refusal, expected = _refused(lambda: in_two_passes(method, two))
    again, answer = _refused(lambda: method(one))
    assert again == refusal
    if answer is None or expected is None:
        return
    torch.testing.assert_close(answer.values, expected.values, rtol=0, atol=1e-10)
    torch.testing.assert_close(answer.prediction, expected.prediction, rtol=0, atol=1e-10)
    # Every row was asked plainly, and one for all of absence.
    assert answer.facts["forwards"] == len(x) + 1


@pytest.mark.parametrize("method", RULED, ids=repr)
def test_what_is_written_on_numbers_of_their_own_needs_no_comparison(method: Any) -> None:
    conv, norm = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)
    head = nn.Linear(3, 2)

    def forward(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        h = torch.relu_(layers["norm"](layers["conv"](x)))
        h = layers["norm"](h)
        h += x.sum(1, keepdim=True)
        return layers["head"](torch.relu_(h).mean((2, 3)))

    net = calls(forward, conv=conv, norm=norm, head=head)
    answer = method(assay.Question(net, randn(5, 2, 4, 4, seed=1, dtype=DOUBLE), target=1))
    assert answer.facts["forwards"] == 1


@dataclass(frozen=True)
class _WrongWhereLarge(Rule):
    """Hands on another value than the operation's, where it is large."""

    def passed(self, passage: Passage) -> Any:
        return torch.where(passage.value > 50, 7.0, passage.value)


def test_rules_of_somebody_else_are_compared_row_by_row() -> None:
    x = randn(7, 4, seed=1, dtype=DOUBLE)
    method = LRP(Composite({"activation": _WrongWhereLarge()}, otherwise=Zero()))
    answer = method(assay.Question(small_net(), x, target=1))
    assert answer.facts["forwards"] == len(x) + 1
    # No row that is asked alone, and not the first of its chunk.
    x[4] = 1000.0
    assert float(small_net()[0](x).detach()[4].max()) > 50
    with pytest.raises(ModelError, match="the same while its operations are heard"):
        method(assay.Question(small_net(), x, target=1))


def test_operations_said_in_plainer_ones_are_compared_row_by_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = nn.Linear(4, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 3)
    net = randomised(nn.Sequential(*layers), 3).double()
    x = randn(7, 4, seed=1, dtype=DOUBLE)
    assert LRP()(assay.Question(net, x, target=1)).facts["forwards"] == len(x) + 1

    def wrong(operation: Operation) -> Any:
        given = decomposed(operation)
        # Of the row that is the fifth of seven.
        return given + (torch.arange(len(given)) == 4).unsqueeze(1) if len(given) == 7 else given

    monkeypatch.setattr(interception, "decomposed", wrong)
    with pytest.raises(ModelError, match="the same while its operations are heard"):
        LRP()(assay.Question(net, x, target=1))


class _Minding(nn.Module):
    """Answers some rows otherwise where slopes are asked, as the fast path of transformers does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out + (x[:, :1] > 50) if torch.is_grad_enabled() else out


def test_predictions_are_those_without_slopes() -> None:
    net = randomised(_Minding(), 1).double()
    x = randn(6, 4, seed=1, dtype=DOUBLE)
    x[4, 0] = 100.0
    with torch.no_grad():
        expected = net(x)[:, 1]
    answer = Gradient()(assay.Question(net, x, target=1))
    torch.testing.assert_close(answer.prediction, expected, rtol=0, atol=1e-10)
    with pytest.raises(ModelError, match="answer the same while its operations are heard"):
        GuidedBackprop()(assay.Question(net, x, target=1))


@pytest.mark.filterwarnings("ignore")
def test_padded_rows_of_the_fast_path_of_transformers() -> None:
    """Its places of padding are zeros without slopes, and numbers with them."""
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    encoder = randomised(nn.TransformerEncoder(layer, 1), 1).eval()

    def model(x: Tensor) -> Tensor:
        flat: Tensor = encoder(x, src_key_padding_mask=x[:, :, 0] > 50)
        return flat.mean(1)

    x = randn(4, 3, 4, seed=1)
    x[3, 2, 0] = 100.0
    with torch.no_grad():
        expected = model(x)[:, 1]
    answer = Gradient()(assay.Question(model, x, target=1))
    torch.testing.assert_close(answer.prediction, expected)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_refusals_are_those_of_two_passes(method: Any) -> None:
    net, x = small_net(), randn(5, 4, seed=1, dtype=DOUBLE)
    with pytest.raises(TargetError, match="output number 3"):
        method(assay.Question(net, x, target=[0, 1, 2, 3, 0]))
    # A row that is not among those asked alone.
    broken = calls(lambda layers, x: torch.where(x[:, :1] > 50, torch.nan, 1.0) * x)
    x[3, 0] = 100.0
    with pytest.raises(ModelError, match="on the clean inputs"):
        method(assay.Question(broken, x, target=0))


class _MindingUnseen(nn.Module):
    """The same of an output that is not explained, by code that does not say so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        other = torch.tensor([0.0, 0.0, 1.0], dtype=x.dtype)
        return out + other * (x[:, :1] > 50) if _asked() else out


_asked = getattr(torch, "is_" + "grad_enabled")


def test_what_one_pass_has_counted_before_it_fails_is_taken_back() -> None:
    """The row that tells is in the third chunk: it is the first that is unlike the first."""
    net = randomised(_MindingUnseen(), 1).double()
    x = torch.ones(6, 4, dtype=DOUBLE)
    x[4, 0] = 100.0
    one, two = (assay.Question(assay.wrap(net, batch_size=2), x, target=1) for _ in range(2))
    answer, expected = LRP()(one), in_two_passes(LRP(), two)
    assert answer.facts["conservation"] == expected.facts["conservation"]
    # Four inputs were answered in vain.
    assert (answer.facts["backwards"], expected.facts["backwards"]) == (10, 6)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_memory_that_runs_out_halves_the_chunk(method: Any) -> None:
    net = small_net()
    failed: list[int] = []

    def backward_hook(gradient: Tensor) -> None:
        if len(gradient) > 3:
            failed.append(len(gradient))
            raise torch.OutOfMemoryError("out of memory")

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(backward_hook)

    x = randn(7, 4, seed=1, dtype=DOUBLE)
    expected = method(assay.Question(net, x))
    net[2].register_forward_hook(hook)
    answer = method(assay.Question(net, x))
    assert failed
    assert answer.targets == expected.targets
    for name in ("values", "prediction"):
        torch.testing.assert_close(
            getattr(answer, name), getattr(expected, name), rtol=0, atol=1e-12
        )
