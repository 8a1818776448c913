"""What a predictor, its slopes or a target raises is told once, with the line that helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.utils.checkpoint
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

import assay
from assay.errors import AbilityError, AssayError, KindError, ModelError, TargetError
from toys import randn, randomised

Gradient, Occlusion, Exact = assay.Gradient(), assay.Occlusion(), assay.ExactShapley()
X = randn(2, 4)
ROWS = randn(60, 3).numpy()
FRAME = pd.DataFrame(ROWS, columns=list("abc"))
CLASSES = np.digitize(ROWS[:, 0], [-0.5, 0.5])
CONV = randomised(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 2)))
WORDS = randomised(nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2)))
LINEAR = randomised(nn.Linear(4, 2))


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.sum(1) + y.sum(1)


class Pictures(nn.Module):
    """Explained is the second argument."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, input_ids: Any = None, pixel_values: Any = None) -> Tensor:
        if pixel_values is None:
            raise ValueError("You have to specify pixel_values")
        out: Tensor = self.linear(pixel_values)
        return out if input_ids is None else out + input_ids.sum(1, keepdim=True)


class Exported(nn.Module):
    """Made for one row at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x.reshape(1, -1))
        return out


class WithoutBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x


def overwritten(x: Tensor) -> Tensor:
    e = x.exp()
    e += 1
    return e.sum(1)


def reentrant(x: Tensor) -> Tensor:
    out: Tensor = torch.utils.checkpoint.checkpoint(lambda t: t.sin().sum(1), x, use_reentrant=True)
    return out


def own_gradient(x: Tensor) -> Tensor:
    x = x.clone()
    return torch.autograd.grad((x**2).sum(), x)[0].sum(1)


def lost(x: Any) -> Any:
    raise OSError("connection lost")


def on_arrays(x: Any) -> Any:
    if not isinstance(x, np.ndarray):
        raise TypeError(f"requires ndarray, got {type(x)}")
    return x.sum(1)


def fitted(table: Any) -> LogisticRegression:
    return LogisticRegression().fit(table, CLASSES)


def ask(
    method: Any, model: Any, inputs: Any, target: Any = 0, **settings: Any
) -> Callable[[], Any]:
    return lambda: method(assay.Question(model, inputs, target, **settings))


BYTES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
IDS = torch.tensor([[1, 2, 3]])
FORWARDS = {
    "no batch": (ask(Gradient, LINEAR, X[0]), r"x\[None\]"),
    "image without batch": (ask(Gradient, CONV, randn(3, 8, 8)), r"x\[None\]"),
    "bytes": (ask(Occlusion, CONV, BYTES), r"It does answer x\.float\(\)"),
    "integers": (ask(Occlusion, LINEAR, X.long()), r"It does answer x\.float\(\)"),
    "photograph": (ask(Occlusion, CONV, BYTES[0].permute(1, 2, 0)), r"permute\(2, 0, 1\)\[None\]"),
    "photographs": (ask(Gradient, CONV, randn(2, 8, 8, 3)), r"permute\(0, 3, 1, 2\)"),
    "floats": (ask(Gradient, WORDS, IDS.float()), r"x\.long\(\)"),
    "ids outside": (ask(Occlusion, WORDS, IDS * 10), "from 10 to 30: outside of its vocabulary"),
    "absent ids outside": (
        ask(Occlusion, WORDS, IDS, removal=assay.Baseline(99)),
        r"failed on the absent input.*MaskToken\(id\)",
    ),
    "too few": (ask(Gradient, Two(), X), r"takes \(x, y\), and was given 1 by place.*as a tuple"),
    "too many": (ask(Gradient, Two(), (X, X, X)), "was given 3 by place"),
    "twice": (
        ask(Gradient, Pictures(), X, context={"input_ids": assay.Aligned(IDS[0, :2, None])}),
        r"two values for argument 'input_ids'.*wrap\(model, argument=",
    ),
    "by name": (ask(Gradient, Pictures(), X), r"wrap\(model, argument='pixel_values'\)"),
    "one at a time": (ask(Gradient, Exported(), X), r"wrap\(model, batch_size=1\)"),
    "own gradient": (ask(Occlusion, own_gradient, X), r"torch\.enable_grad"),
    "a lost connection": (ask(Occlusion, lost, X), "OSError: connection lost"),
    "arrays": (ask(Occlusion, on_arrays, X), r"hand over x\.numpy\(\)|x\.numpy\(\)"),
    "not fitted": (ask(Exact, LogisticRegression(), ROWS), r"model\.fit"),
    "columns": (ask(Exact, fitted(ROWS), ROWS[:, :2]), "fitted on 3 columns, and was handed 2"),
    "output=": (ask(Exact, assay.wrap(LINEAR, output=lambda out: out["scores"]), X), "output= to"),
}


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        (ask(Exact, fitted(ROWS), ROWS[0]), r"x\[None\] or frame\.iloc\[\[0\]\]"),
        (ask(Exact, fitted(FRAME), FRAME[["a", "b"]]), r"lacking \['c'\]"),
    ],
)
def test_an_estimator_is_not_asked_about_what_it_was_not_fitted_on(asked: Any, advice: str) -> None:
    with pytest.raises(ModelError, match=advice):
        asked()


@pytest.mark.parametrize("name", FORWARDS)
def test_a_forward_that_raises_is_told_with_what_helps(name: str) -> None:
    asked, advice = FORWARDS[name]
    with pytest.raises(ModelError, match=f"(?s){advice}") as told:
        asked()
    assert told.value.__cause__ is not None
    assert not isinstance(told.value.__cause__, AssayError)


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (overwritten, "inplace=False"),
        (reentrant, "use_reentrant=False"),
        (lambda x: WithoutBackward.apply(x).sum(1), "Write its backward"),
    ],
)
def test_slopes_that_torch_cannot_take_are_told(function: Any, advice: str) -> None:
    with pytest.raises(AbilityError, match=advice):
        ask(Gradient, function, X)()
    assert ask(Occlusion, function, X)().values.isfinite().all()


def test_memory_and_interrupts_are_the_engines_and_the_callers() -> None:
    rows: list[int] = []

    def narrow(x: Tensor) -> Tensor:
        rows.append(len(x))
        if len(x) > 2:
            raise MemoryError
        return x.sum(1)

    made = Occlusion(assay.Question(narrow, X))
    torch.testing.assert_close(made.values, X)
    assert max(rows) > 2

    def stopped(x: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(Occlusion, stopped, X)()


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (lambda y: y[:, 7], "the target function to score outputs of shape"),
        (lambda y: (-y[:, 0].abs()).log(), "finite numbers from"),
        (lambda y: y[:, 0].to(torch.complex64), "got torch.complex64"),
    ],
)
def test_target_functions_that_raise_or_give_no_numbers_are_refused(
    target: Any, sentence: str
) -> None:
    with pytest.raises(TargetError, match=sentence):
        ask(Gradient, LINEAR, X, target)()


def test_a_constant_target_is_not_blamed_on_the_model() -> None:
    with pytest.raises(AbilityError, match="a target that can be differentiated"):
        ask(Gradient, LINEAR, X, lambda y: torch.ones(len(y)))()


@pytest.mark.parametrize(
    "outputs",
    [
        lambda t: t.sum(1).to(torch.complex64),
        lambda t: t.to_sparse(),
        lambda t: t.to_sparse_csr(),
        lambda t: torch.nested.nested_tensor(list(t)),
        lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
        lambda t: t.to("meta"),
        lambda t: t[:, :0],
        lambda t: t.sum(1).numpy() + 1j,
        lambda t: np.ma.masked_array(t.sum(1).numpy(), mask=[True] * len(t)),
        lambda t: t.sum(1).numpy().astype("timedelta64[s]"),
        lambda t: [{"scores": row} for row in t],
    ],
)
def test_outputs_that_are_no_plain_real_numbers_are_refused(outputs: Any) -> None:
    with pytest.raises((KindError, ModelError), match=r"output|out:|numbers"):
        ask(Occlusion, outputs, X, None)()


def test_truth_values_and_bytes_are_numbers() -> None:
    made = Occlusion(assay.Question(lambda t: (t > 0).all(1), torch.ones(1, 2)))
    assert made.values.tolist() == [[1.0, 1.0]]
    # Several of them have a largest one.
    several = Occlusion(assay.Question(lambda t: t > 0, torch.tensor([[-1.0, 2.0]])))
    assert several.values.tolist() == [[0.0, 1.0]]
    # 1 - 2 is no byte.
    pair = assay.Question(
        lambda t: (t * torch.tensor([1, 2])).to(torch.uint8),
        torch.ones(1, 2),
        target=assay.Contrast(0, 1),
    )
    assert pair.prediction.tolist() == [-1.0]
    numbers = assay.Question(lambda t: t.sum(1).astype(object), np.ones((1, 2)))
    assert numbers.prediction.tolist() == [2.0]


def test_labels_are_refused_and_two_of_them_are_not() -> None:
    with pytest.raises(KindError, match="output='predict_proba'"):
        assay.wrap(fitted(ROWS), output="predict")
    with pytest.raises(KindError, match="== label"):
        assay.wrap(KMeans(3, n_init=1).fit(ROWS))
    two = LogisticRegression().fit(ROWS, CLASSES > 0)
    assert assay.wrap(two, output="predict").name == "LogisticRegression.predict"


# --- the explained argument by name


def test_the_explained_argument_by_name_keeps_its_layers() -> None:
    net = randomised(Pictures())
    named = assay.wrap(net, argument="pixel_values")
    made = Gradient(assay.Question(named, X, target=1))
    torch.testing.assert_close(made.values, net.linear.weight[1].detach().expand(2, 4))
    behind = assay.Question(named, X, target=1).after("linear")
    assert Gradient(behind).values.tolist() == [[0.0, 1.0]] * 2
    upto = assay.Question(named, X, target=1).upto("linear", 0)
    torch.testing.assert_close(Gradient(upto).values, net.linear.weight[0].detach().expand(2, 4))
    beside = assay.Question(
        named, X, target=1, context={"input_ids": assay.Aligned(torch.ones(2, 3))}
    )
    torch.testing.assert_close(beside.prediction, net(torch.ones(2, 3), X)[:, 1].detach())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_mapping_is_several_inputs_by_name() -> None:
    net, ids = randomised(Pictures()), torch.tensor([[1, 2], [3, 4]])
    both = {"pixel_values": X, "input_ids": ids}
    made = Occlusion(assay.Question(net, both, target=0))
    by_hand = torch.cat([X * net.linear.weight[0].detach(), ids.float()], dim=1)
    # Ids beside floats travel in double precision; the network adds up in single.
    torch.testing.assert_close(made.values.float(), by_hand, rtol=1e-5, atol=1e-6)
    # What the context names is none of the inputs.
    one = assay.Question(net, both, target=0, context={"input_ids": assay.Aligned(ids)})
    assert Gradient(one).values.shape == (2, 4)
    function = assay.Question(lambda a, b: a.sum(1) - b.sum(1), {"b": X, "a": 0 * X})
    torch.testing.assert_close(function.prediction, -X.sum(1))


def test_names_that_nobody_takes_are_refused() -> None:
    with pytest.raises(assay.errors.InputError, match="It takes: input_ids, pixel_values"):
        assay.wrap(Pictures(), argument="pixels")
    with pytest.raises(KindError, match="DataFrame"):
        assay.Question(fitted(FRAME), {"a": ROWS[:, 0]})


# --- functions that leave torch


@pytest.mark.parametrize("function", [lambda x: np.asarray(x).sum(1), lambda x: x.detach().sum(1)])
def test_functions_that_leave_torch_have_no_slopes(function: Any) -> None:
    made = assay.explain(function, X)
    assert made.method == "ExactShapley()"
    torch.testing.assert_close(made.values, X, check_dtype=False)
    with pytest.raises(AbilityError, match="Methods that can answer"):
        Gradient(assay.Question(function, X))


def test_context_reaches_a_function_on_arrays_as_arrays() -> None:
    seen: list[type] = []

    def weighted(x: Any, weights: Any) -> Any:
        seen.append(type(weights))
        return (x * weights).sum(1)

    context = {"weights": assay.Aligned(torch.ones(2, 4))}
    _ = assay.Question(weighted, X.numpy(), context=context).prediction
    assert set(seen) == {np.ndarray}


def test_the_row_that_fails_is_shown() -> None:
    texts = ["a good film", "so bad", "zzz is it", "a film", "good"]

    def read(rows: list[str]) -> np.ndarray:
        if any("zzz" in row for row in rows):
            raise ValueError("bad row")
        return np.array([float("good" in row) for row in rows])

    for given in (texts, texts[2:], texts[:3]):
        with pytest.raises(ModelError, match="It fails on the row 'zzz is it', and answers others"):
            assay.explain(read, given)

    def number(rows: np.ndarray) -> np.ndarray:
        if (rows[:, 0] == 7).any():
            raise ValueError("no sevens")
        return rows.sum(1)

    for at in range(6):
        rows = np.arange(12.0).reshape(6, 2) + 100
        rows[at] = [7.0, 3.0]
        with pytest.raises(ModelError, match=r"It fails on the row \[7.0, 3.0\]"):
            assay.explain(number, rows)
        frame = pd.DataFrame(rows, columns=["a", "b"])
        with pytest.raises(ModelError, match=r"the row \{'a': 7.0, 'b': 3.0\}"):
            assay.explain(lambda table: number(table.to_numpy()), frame)


def test_rows_that_fail_together_alone_are_not_blamed() -> None:
    def pairs(rows: list[str]) -> np.ndarray:
        if len(rows) > 1:
            raise ValueError("one at a time")
        return np.array([1.0])

    with pytest.raises(ModelError) as caught:
        assay.explain(pairs, ["a", "b c", "d"])
    assert "It fails on the row" not in str(caught.value)


def classified(texts: list[str]) -> list[list[dict[str, Any]]]:
    """What a pipeline says of texts with top_k=None: the largest score first."""
    rows = []
    for text in texts:
        good = text.count("good") / 4
        row = [{"label": "POSITIVE", "score": good}, {"label": "NEGATIVE", "score": 1 - good}]
        rows.append(sorted(row, key=lambda part: -part["score"]))  # type: ignore[arg-type]
    return rows


@pytest.mark.parametrize(
    "pipeline", [classified, lambda texts: [row[0] for row in classified(texts)]]
)
def test_records_of_labels_and_scores_are_told_the_line_that_helps(pipeline: Any) -> None:
    texts = ["a good film", "bad", "good good good"]
    with pytest.raises(KindError) as caught:
        assay.explain(pipeline, texts)
    said = str(caught.value)
    assert "all labels in every row (top_k=None)" in said
    # The line works as it stands.
    line = said.partition("wrap(model, output=")[2].partition(").\nAsked")[0].removesuffix(").")
    model = assay.wrap(classified, output=eval(line, {"torch": torch}))
    answer = assay.ExactShapley()(assay.Question(model, texts, target=1))
    assert answer.values[0].tolist() == pytest.approx([0.0, 0.25, 0.0], abs=1e-10)


def test_records_of_detectors_are_told_the_line_that_helps() -> None:
    """No array can be made of them: a number of each picture's record is asked about."""

    def detector(images: Tensor) -> list[dict[str, Tensor]]:
        return [{"boxes": image[:, :2], "scores": image[:, 2]} for image in images]

    images = randn(2, 4, 3)
    with pytest.raises(KindError, match=r"torch\.stack\(\[part\['scores'\]\.sum\(\)"):
        assay.explain(detector, images)
    answered = assay.wrap(
        detector, output=lambda out: torch.stack([part["scores"].sum() for part in out])
    )
    made = assay.explain(answered, images)
    torch.testing.assert_close(made.prediction, images[:, :, 2].sum(1))


@pytest.mark.parametrize("method", [assay.ExactShapley(), assay.PermutationShapley()], ids=repr)
def test_a_service_that_fails_midway_is_asked_for_what_is_missing(method: assay.Method) -> None:
    """Rows that were answered are told, and a function that remembers them need not pay twice."""
    x = np.arange(12.0).reshape(2, 6)
    paid: list[bytes] = []
    kept: dict[bytes, float] = {}

    def service(rows: np.ndarray, limit: int) -> np.ndarray:
        for row in rows:
            if row.tobytes() not in kept:
                if len(paid) >= limit:
                    raise ConnectionError("429 Too Many Requests")
                paid.append(row.tobytes())
                kept[row.tobytes()] = float(row[0] * row[1] + row.sum())
        return np.array([kept[row.tobytes()] for row in rows])

    def asked(limit: int) -> assay.Attribution:
        model = assay.wrap(lambda rows: service(rows, limit), batch_size=8)
        return method(assay.Question(model, x), seed=3)

    with pytest.raises(ModelError, match="rows were answered before, and are lost here") as raised:
        asked(40)
    # The clean inputs and the absent ones are among them; the last chunk is not, and nor is what
    # showed that rows do not influence each other.
    assert 40 - 8 < raised.value.answered < 2 * 64 + 4
    done = asked(10**6)
    assert len(paid) == len(set(paid)) > 40
    assert raised.value.answered < done.facts["forwards"]
