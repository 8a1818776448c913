"""A column is a number or a category: levels are joined, kept exactly, and never computed with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import assay
from assay.errors import AssayError, InputError

EXACT = assay.ExactShapley()
TOWNS = pd.DataFrame(
    {"x": [1.0, 2.0, 3.0], "town": ["Rome", "Rome", "Bonn"], "new": [True, True, False]}
)


def price(frame: pd.DataFrame) -> np.ndarray:
    rome = (frame["town"] == "Rome").to_numpy()
    return frame["x"].to_numpy() + 10.0 * rome + 5.0 * frame["new"].to_numpy().astype(float)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_table_with_categories_asks_for_a_removal(n: int) -> None:
    with pytest.raises(InputError, match=r"columns 'town'.*Background\(rows\).*background=rows"):
        assay.explain(price, TOWNS.iloc[:n])
    question = assay.Question(price, TOWNS.iloc[:n])
    assert question.prediction.tolist() == [16.0, 17.0, 3.0][:n]
    with pytest.raises(InputError, match="Expected a removal"):
        question.base  # noqa: B018


@pytest.mark.parametrize("n", [1, 2, 3])
def test_levels_are_joined_from_the_rows_of_the_removal(n: int) -> None:
    # Against the one row of Bonn, by hand: x - 3, 10 for Rome, 5 for new.
    expected = [[-2.0, 10.0, 5.0], [-1.0, 10.0, 5.0], [0.0, 0.0, 0.0]][:n]
    background = TOWNS.iloc[2:]
    for question in (
        assay.Question(price, TOWNS.iloc[:n], removal=assay.Background(background)),
        assay.Question(price, TOWNS.iloc[:n], removal=assay.Baseline(background)),
        assay.Question(assay.wrap(price, background=background), TOWNS.iloc[:n]),
        assay.Question(assay.wrap(assay.wrap(price), background=background), TOWNS.iloc[:n]),
    ):
        if n < 3:
            np.testing.assert_allclose(EXACT(question).values, expected)


def test_a_wrapper_is_not_told_of_the_background_of_another() -> None:
    wrapped = assay.wrap(price)
    assay.wrap(wrapped, background=TOWNS)
    assert wrapped.background is None


@pytest.mark.parametrize("n", [1, 2, 3])
def test_false_is_the_zero_of_truth_whatever_rows_are_asked(n: int) -> None:
    frame = TOWNS[["x", "new"]].iloc[:n]
    answer = EXACT(assay.Question(lambda f: price(f.assign(town="Rome")) - 10.0, frame))
    assert answer.values.tolist() == [[1.0, 5.0], [2.0, 5.0], [3.0, 0.0]][:n]


def test_columns_are_matched_by_name() -> None:
    mixed = TOWNS[["new", "town", "x"]].iloc[2:]
    answer = EXACT(assay.Question(price, TOWNS.iloc[:1], removal=assay.Background(mixed)))
    assert answer.values.tolist() == [[-2.0, 10.0, 5.0]]


@pytest.mark.parametrize("value", [0, 1, 0.99, 1.5, -1, 5, 1e39])
def test_no_number_stands_for_a_category(value: float) -> None:
    frame = pd.DataFrame({"c": pd.Categorical(["b"], list("abc")), "z": [1.0]})
    with pytest.raises(InputError, match=r"category of column 'c', one of \['a', 'b', 'c'\]"):
        assay.Question(lambda f: f["z"].to_numpy(), frame, removal=assay.Baseline(value))


@pytest.mark.parametrize("value", [0.5, -1, 2])
def test_truth_is_zero_or_one(value: float) -> None:
    frame = pd.DataFrame({"c": [True], "z": [1.0]})
    with pytest.raises(InputError, match=r"one of \[False, True\]"):
        assay.Question(lambda f: f["z"].to_numpy(), frame, removal=assay.Baseline(value))


# --- kept exactly


ORDER = ["S", "M", "L"]
PAIRS: dict[str, tuple[Any, Any]] = {
    "ordered": (pd.Categorical(["M"], ORDER, ordered=True), pd.Categorical(["L"], ORDER, True)),
    "object categories": (
        pd.Categorical(["x"], pd.Index(["x", "y"], dtype=object)),
        pd.Categorical(["y"], pd.Index(["x", "y"], dtype=object)),
    ),
    "objects": (pd.Series([1], dtype=object), pd.Series(["1"], dtype=object)),
    "objects like numbers": (pd.Series([1], dtype=object), pd.Series([True], dtype=object)),
    "strings": (pd.array(["u"], dtype="string"), pd.array(["v"], dtype="string")),
    "truth": ([True], [False]),
    "nullable truth": (pd.array([True], dtype="boolean"), pd.array([False], dtype="boolean")),
    "zoned": (
        pd.to_datetime(["2024-01-01 03:04:05.000006"]).tz_localize("Europe/Rome"),
        pd.to_datetime(["2024-08-01"]).tz_localize("Europe/Rome"),
    ),
    "seconds": (
        pd.Series(["1969-12-31T23:59:59"], dtype="datetime64[s]"),
        pd.Series(["2262-01-01"], dtype="datetime64[s]"),
    ),
    "duration": (pd.to_timedelta(["-1 days 02:00:00.000001"]), pd.to_timedelta(["3 days"])),
    "period": (pd.PeriodIndex(["2024-03"], freq="M"), pd.PeriodIndex(["1924-05"], freq="M")),
    "interval": (pd.cut([0.5], [0, 1, 2]), pd.cut([1.5], [0, 1, 2])),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_columns_arrive_as_they_were(kind: str) -> None:
    given, absent = (pd.DataFrame({"c": column, "z": [0.0]}) for column in PAIRS[kind])
    seen: list[pd.DataFrame] = []

    def model(frame: pd.DataFrame) -> np.ndarray:
        seen.append(frame)
        return frame["z"].to_numpy()

    question = assay.Question(model, given, removal=assay.Background(absent))
    assert question.prediction.tolist() == question.base.tolist() == [0.0]
    both = pd.concat([given, absent], ignore_index=True)
    both["c"] = both["c"].astype(given["c"].dtype)
    wanted = [given, absent, both]
    for frame in seen:
        assert any(frame.equals(one.astype({"c": given["c"].dtype})) for one in wanted)
        known = [(type(value), value) for value in both["c"].tolist()]
        assert all((type(value), value) in known for value in frame["c"].tolist())


def test_an_order_is_joined_with_an_order_that_has_more() -> None:
    small = pd.DataFrame({"c": pd.Categorical(["M"], ["S", "M"], ordered=True)})
    large = pd.DataFrame({"c": pd.Categorical(["XL", "S"], ["XS", "S", "M", "XL"], ordered=True)})
    question = assay.Question(
        lambda f: (f["c"] >= "M").to_numpy() * 1.0, small, removal=assay.Background(large)
    )
    assert (question.prediction.tolist(), question.base.tolist()) == ([1.0], [0.5])
    other = pd.DataFrame({"c": pd.Categorical(["M", "L"], ["M", "S", "L"], ordered=True)})
    with pytest.raises(InputError, match="lists every level in order"):
        assay.Question(lambda f: np.ones(len(f)), small, removal=assay.Background(other))


def test_a_list_of_levels_is_joined_with_another_list() -> None:
    one = pd.DataFrame({"c": pd.Categorical(["a"], ["a"])})
    rows = pd.DataFrame({"c": pd.Categorical(["b", "a", "b", "b"])})
    question = assay.Question(
        lambda f: (f["c"] == "a").to_numpy() * 1.0, one, removal=assay.Background(rows)
    )
    assert question.base.tolist() == [0.25]


def test_dates_are_days_and_ask_for_a_removal() -> None:
    start = pd.Timestamp("2024-01-01")
    frame = pd.DataFrame({"when": [start + pd.Timedelta("12h")], "z": [1.0]})
    rows = pd.DataFrame({"when": [start, start + pd.Timedelta("3D")], "z": [0.0, 0.0]})

    def days(table: pd.DataFrame) -> np.ndarray:
        since = (table["when"] - start).dt.total_seconds().to_numpy() / 86400
        return since + table["z"].to_numpy()

    for removal in (assay.Background(rows), assay.Mean(rows)):
        answer = EXACT(assay.Question(days, frame, removal=removal))
        np.testing.assert_allclose(answer.values, [[-1.0, 1.0]])
    with pytest.raises(InputError, match="0 means nothing in the columns 'when'"):
        assay.explain(days, frame)
    declared = assay.Question(
        days, frame, features=assay.Columns(categorical=["when"]), removal=assay.Mean(rows)
    )
    np.testing.assert_allclose(EXACT(declared).values, [[0.5, 1.0]])


def test_dates_that_a_float_does_not_hold_are_refused() -> None:
    frame = pd.DataFrame({"when": [pd.Timestamp("2024-01-01 00:00:00.000000001")]})
    with pytest.raises(InputError, match=r"whole microseconds.*dt\.round"):
        assay.Question(lambda f: np.ones(len(f)), frame)
    question = assay.Question(
        lambda f: f["when"].dt.nanosecond.to_numpy() * 1.0,
        frame,
        features=assay.Columns(categorical=["when"]),
    )
    assert question.prediction.tolist() == [1.0]


def test_declared_whole_numbers_are_exact_where_they_are_switched() -> None:
    frame = pd.DataFrame({"id": [2**53 + 1, 3], "z": [1.0, 2.0]})
    question = assay.Question(
        lambda f: (f["id"] % 10).to_numpy() * 1.0,
        frame.iloc[:1],
        features=assay.Columns(categorical=["id"]),
        removal=assay.Background(frame),
    )
    assert question.prediction.tolist() == [(2**53 + 1) % 10]
    assert question.base.tolist() == [((2**53 + 1) % 10 + 3) / 2]


def test_declared_columns_of_an_array_are_never_computed_with() -> None:
    x = np.array([[1.0, 2.0], [0.0, 3.0], [1.0, 7.0]])

    def model(rows: np.ndarray) -> np.ndarray:
        return 2.0 * (rows[:, 0] == 1) + rows[:, 1]

    columns = assay.Columns(("kind", "size"), categorical=["kind"])

    def ask(removal: Any = None) -> assay.Question:
        return assay.Question(model, x[1:2], features=columns, removal=removal)

    np.testing.assert_allclose(EXACT(ask(assay.Background(x))).values, [[-4 / 3, -1.0]])
    assert EXACT(ask(assay.Mean(x))).values.tolist() == [[-2.0, -1.0]]
    for removal in (assay.Noise(1.0), assay.Conditional(x)):
        with pytest.raises(InputError, match="categories in"):
            ask(removal)
    with pytest.raises(InputError, match="Expected a removal"):
        EXACT(ask())
    with pytest.raises(InputError, match="fractions"):
        assay.Question(model, x + 0.5, features=columns)
    with pytest.raises(InputError, match="a column out of"):
        assay.Question(model, x, features=assay.Columns(categorical=["colour"]))


def test_slopes_between_categories_are_refused() -> None:
    net = torch.nn.Linear(3, 1)
    question = assay.Question(
        net,
        torch.ones(2, 3),
        features=assay.Columns(categorical=[0]),
        removal=assay.Baseline(0.0),
    )
    for method in (assay.Gradient(), assay.IntegratedGradients()):
        with pytest.raises(InputError, match="between which nothing lies"):
            method(question)


def test_masks_that_blend_a_category_are_refused() -> None:
    question = assay.Question(price, TOWNS.iloc[:1], removal=assay.Background(TOWNS))
    with pytest.raises(InputError, match="switch categories, such as 'town'"):
        question.value(torch.tensor([[1.0, 0.5, 1.0]]))
    blended = question.value(torch.tensor([[0.5, 1.0, 1.0]]))
    np.testing.assert_allclose(blended, [[(1.0 + 2.0) / 2 + 15.0]])


@pytest.mark.parametrize("code", [0.5, -1.0, 7.0])
def test_points_between_levels_or_beyond_are_refused(code: float) -> None:
    question = assay.Question(price, TOWNS.iloc[:1], removal=assay.Background(TOWNS))
    point = question.x.clone()
    point[0, 1] = code
    with pytest.raises(InputError, match="levels of column 'town'"):
        question.score(point)


def test_columns_with_several_names_and_columns_of_lists() -> None:
    header = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")], names=["p", "q"])
    frame = pd.DataFrame([[1.0, 2.0]], columns=header)
    question = assay.Question(lambda f: f["a"].sum(axis=1).to_numpy(), frame)
    assert EXACT(question).values.tolist() == [[1.0, 2.0]]
    with pytest.raises(assay.errors.AssayError, match="in each cell of column 'l', got a list"):
        assay.Question(lambda f: np.ones(len(f)), pd.DataFrame({"l": [[1], [2]]}))


class Changeable:
    """A value that may become another one, and so has no hash."""

    __hash__ = None  # type: ignore[assignment]


def test_values_that_cannot_be_told_apart_are_no_levels() -> None:
    frame = pd.DataFrame({"l": [Changeable(), Changeable()]})
    with pytest.raises(assay.errors.KindError, match="plain values in column 'l', got a Changea"):
        assay.Question(lambda f: np.ones(len(f)), frame)


def test_a_category_with_gaps_is_handed_over_with_gaps() -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows = pd.DataFrame({"c": pd.Categorical(list("ab") * 40), "z": np.arange(80.0)})
    model = HistGradientBoostingRegressor(categorical_features="from_dtype")
    model.fit(rows, (rows["c"] == "a") * 1.0)
    gap = pd.DataFrame({"c": pd.Categorical([None], ["a", "b"]), "z": [3.0]})
    question = assay.Question(model, gap, removal=assay.Background(rows[:4]))
    np.testing.assert_allclose(question.prediction, model.predict(gap))


def test_every_refusal_is_the_projects_own() -> None:
    frame = pd.DataFrame({"when": pd.to_datetime(["2024-01-01"]), "z": [1.0]})
    for rows in (
        frame.assign(when="2024-01-01"),
        frame.assign(when=3.0),
        frame.assign(when=pd.to_datetime(["2024-01-01"]).tz_localize("UTC")),
        frame.assign(when=pd.PeriodIndex(["2024-01"], freq="M")),
    ):
        with pytest.raises(AssayError):
            assay.Question(lambda f: np.ones(len(f)), frame, removal=assay.Background(rows))


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_what_is_missing_among_objects_comes_back_as_it_was(missing: Any) -> None:
    """An encoder that was fitted with None does not know NaN: rows would be answered otherwise."""
    frame = pd.DataFrame({"word": pd.Series(["a", missing, "b"], dtype=object), "size": [1, 2, 3]})
    seen: list[Any] = []

    def model(rows: pd.DataFrame) -> np.ndarray:
        seen.extend(value for value in rows["word"] if not isinstance(value, str))
        return np.array([float(len(str(word))) for word in rows["word"]])

    question = assay.Question(
        assay.wrap(model, missing=True), frame, removal=assay.Background(frame)
    )
    assert question.prediction.tolist() == [1.0, float(len(str(missing))), 1.0]
    assert seen
    assert all(type(value) is type(missing) for value in seen)


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
def test_every_cell_keeps_its_own_kind_of_missing(batch_size: int | str) -> None:
    gaps = [None, float("nan"), pd.NaT, pd.NA]
    words = pd.Series(["a", *gaps, "b"], dtype=object)
    frame = pd.DataFrame({"word": words, "size": [1, 2, 3, 4, 5, 6]})

    def model(rows: pd.DataFrame) -> np.ndarray:
        return np.array([float(len(repr(word))) for word in rows["word"]])

    wrapped = assay.wrap(model, missing=True, batch_size=batch_size)
    question = assay.Question(wrapped, frame, removal=assay.Background(frame))
    by_hand = model(frame)
    assert question.prediction.tolist() == by_hand.tolist()
    assert question.base.tolist() == pytest.approx([float(by_hand.mean())] * 6, abs=1e-12)
    again = question.at(question.x.flip(0))
    assert again.prediction.tolist() == by_hand[::-1].tolist()


def test_another_kind_of_missing_is_a_change() -> None:
    """NaN in the place of None changes what an encoder says: such a column has credit."""
    frame = pd.DataFrame({"word": pd.Series([None], dtype=object), "size": [1.0]})
    gone = pd.DataFrame({"word": pd.Series([float("nan")], dtype=object), "size": [1.0]})
    model = assay.wrap(lambda f: np.array([float(w is None) for w in f["word"]]), missing=True)
    answer = EXACT(assay.Question(model, frame, removal=assay.Background(gone)))
    assert answer.values.tolist() == [[1.0, 0.0]]


def test_a_row_is_known_by_what_it_says_and_not_by_its_codes() -> None:
    frame = pd.DataFrame({"town": ["Rome", "Bonn", "Oslo"], "age": [1.0, 2.0, 3.0]})

    def keys(rows: pd.DataFrame) -> list[int]:
        removal = assay.Baseline(rows.iloc[[0]])
        question = assay.Question(lambda table: table.age.to_numpy(), rows, removal=removal)
        return question.keys.tolist()

    together = keys(frame)
    assert [keys(frame.iloc[[row]])[0] for row in range(3)] == together
    assert keys(frame.iloc[::-1]) == together[::-1]
    assert len(set(keys(frame.assign(age=1.0)))) == 3
