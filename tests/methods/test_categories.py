"""What computes with numbers leaves categories alone and says so, or refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import assay
from assay.errors import InputError

EXACT = assay.ExactShapley()
ROWS = pd.DataFrame(
    {
        "c": pd.Categorical(list("abbbaccbab"), ["a", "b", "c", "d"]),
        "z": [0.1, -0.4, 1.3, 0.2, 2.2, -1.0, 0.7, 0.3, -2.0, 0.6],
    }
)


def model(frame: pd.DataFrame) -> np.ndarray:
    return (frame["c"] == "b").to_numpy() * 1.0 + frame["z"].to_numpy()


def ask(removal: Any = None) -> assay.Question:
    return assay.Question(model, ROWS[1:4], removal=removal or assay.Background(ROWS))


def test_a_radius_moves_numbers_alone() -> None:
    question = ask()
    answer = EXACT(question)
    score = assay.MaxSensitivity(EXACT, radius=1e-6, draws=5)(question, answer)
    # The credit of z moves by as much as z does.
    assert bool((score.values < 2e-6).all())
    assert bool((score.values > 0).all())
    assert score.provenance["left alone"] == "categories: c"
    scaled = assay.MaxSensitivity(EXACT, radius=1e-6, draws=5, scale=ROWS.assign(z=ROWS["z"] * 9))
    assert "scale=<spread of DataFrame of shape (10, 2)>" in repr(scaled)
    spread = 9 * ROWS["z"].std()
    np.testing.assert_allclose(scaled(question, answer).values, score.values * spread, rtol=1e-9)


def test_smoothing_moves_numbers_alone() -> None:
    question = ask()
    answer = assay.Smoothed(EXACT, noise=0.1, draws=4)(question)
    np.testing.assert_allclose(answer.values[:, 0], EXACT(question).values[:, 0])
    assert answer.facts["left alone"] == "categories: c"
    small = assay.Smoothed(EXACT, noise=0.1, draws=4, scale=ROWS)(question)
    moved = small.values[:, 1] - EXACT(question).values[:, 1]
    plain = answer.values[:, 1] - EXACT(question).values[:, 1]
    np.testing.assert_allclose(moved, plain * ROWS["z"].std(), rtol=1e-10)


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (assay.Smoothed(EXACT), r"a column of numbers for Smoothed\(.*got categories alone"),
        (assay.LinearShap("gaussian"), "numbers for dependence='gaussian', got categories in 'c'"),
    ],
    ids=["Smoothed", "LinearShap"],
)
def test_categories_alone_cannot_be_moved(method: Any, sentence: str) -> None:
    question = assay.Question(
        lambda f: (f["c"] == "b").to_numpy() * 1.0,
        ROWS[["c"]][1:4],
        removal=assay.Background(ROWS[["c"]]),
    )
    with pytest.raises(InputError, match=sentence):
        method(question)


def test_the_mean_of_a_category_is_the_most_frequent() -> None:
    kinds = ["oslo", "paris", "rome", "tokyo"]
    frame = pd.DataFrame({"city": pd.Categorical(["rome"], kinds), "age": [40.0]})
    cities = pd.Categorical(["oslo", "tokyo", "tokyo", "oslo", "oslo"], kinds)
    rows = pd.DataFrame({"city": cities, "age": [1.0, 2, 3, 4, 6]})
    seen = []

    def paris(table: pd.DataFrame) -> np.ndarray:
        seen.extend(table["city"])
        return table["age"].to_numpy() + 10.0 * (table["city"] == "paris").to_numpy()

    answer = EXACT(assay.Question(paris, frame, removal=assay.Mean(rows)))
    np.testing.assert_allclose(answer.values, [[0.0, 36.8]])
    assert set(seen) == {"rome", "oslo"}


@pytest.mark.parametrize("removal", [assay.Noise(1.0), assay.Conditional(ROWS)], ids=type)
def test_laws_of_numbers_refuse_categories(removal: Any) -> None:
    with pytest.raises(InputError, match=r"categories in 'c'.*Background\(rows\)"):
        ask(removal)


def test_rows_near_by_are_equal_in_their_categories() -> None:
    question = ask(assay.Conditional(ROWS, kind="kernel", draws=10))
    # Nothing present: every row once. c present: the rows of its level, here "b" four times of 10.
    np.testing.assert_allclose(question.base, [np.mean(model(ROWS))] * 3)
    import torch

    given = question.value(torch.tensor([[True, False]]))
    alike = ROWS[ROWS["c"] == "b"]
    mean = float(np.mean(model(alike)))
    assert abs(float(given[0, 0]) - mean) < 0.5
    seen = question.removed(torch.zeros(10, dtype=torch.int64), torch.arange(10))
    assert sorted(seen[:, 1].tolist()) == sorted(ROWS["z"])


def test_noise_of_infidelity_leaves_categories() -> None:
    question = ask(assay.Mean(ROWS))
    batch = assay.GaussianNoise(0.1, scale=ROWS).draw(question, 0, (0, 4))
    plain = assay.GaussianNoise(0.1).draw(question, 0, (0, 4))
    assert not bool(batch.step[..., 0].any())
    assert not bool(plain.step[..., 0].any())
    np.testing.assert_allclose(batch.step[..., 1], plain.step[..., 1] * ROWS["z"].std())


@pytest.mark.parametrize(
    "method",
    [
        EXACT,
        assay.KernelShap(),
        assay.PermutationShapley(),
        assay.SamplingShapley(draws=8),
        assay.OwenValues(),
        assay.ProxyShap(),
        assay.Occlusion(),
        assay.Rise(masks=40),
        assay.Lime(assay.CoinMasks(samples=20)),
        assay.Smoothed(EXACT, draws=3),
    ],
    ids=lambda method: type(method).__name__,
)
def test_a_row_alone_gets_the_answer_it_gets_in_a_crowd(method: Any) -> None:
    rows = ROWS.assign(c=ROWS["c"].astype(str), b=ROWS["z"] > 0, n=range(10))

    def mixed(frame: pd.DataFrame) -> np.ndarray:
        numbers = frame["n"].to_numpy() * frame["b"].to_numpy()
        return model(frame) + 0.1 * numbers * (frame["c"] != "a").to_numpy()

    background = assay.Background(rows[5:])
    crowd = method(assay.Question(mixed, rows[:4], removal=background)).values
    for row in range(4):
        alone = method(assay.Question(mixed, rows[row : row + 1], removal=background)).values
        np.testing.assert_allclose(alone[0], crowd[row], atol=1e-9)


def test_retraining_hands_categories_to_the_estimator() -> None:
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rows = pd.DataFrame({"c": pd.Categorical(list("abcd") * 5)})
    answers = rows["c"].isin(["a", "c"]).to_numpy() * 1.0

    def truth(frame: pd.DataFrame) -> np.ndarray:
        return frame["c"].isin(["a", "c"]).to_numpy() * 1.0

    question = assay.Question(truth, rows[:4])
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
        remainder="passthrough",
    )
    one_hot = make_pipeline(columns, LinearRegression())
    values = assay.ShapleyRegression(one_hot, rows, answers)(question).values
    np.testing.assert_allclose(values, [[0.5], [-0.5], [0.5], [-0.5]], atol=1e-9)
    with pytest.raises(InputError, match="OneHotEncoder"):
        assay.ShapleyRegression(LinearRegression(), rows, answers)(question)
