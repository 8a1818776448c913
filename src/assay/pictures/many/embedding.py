"""Which inputs are explained alike: principal components of their credit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from assay.answers.attribution import Attribution
from assay.errors import InputError
from assay.pictures.described import (
    answers_by_name,
    target_of,
    told_apart,
    values_of,
)
from assay.pictures.drawing.drawing import Chart
from assay.pictures.drawing.marks import Dots, Floats, Key
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Scale, axis_of

_CATEGORIES = 8  # told apart by colour


def embedding(answer: Attribution, *, labels: ArrayLike | None = None) -> Chart:
    """Which inputs are explained alike: the first two principal components of their credit.

    Settings:
        answer: of at least three inputs.
        labels: a class for each input, up to eight; where nothing is said colour is the prediction.
    """
    [(name, answer)] = answers_by_name(answer).items()
    values = values_of(answer)
    n = len(values)
    if n < 3 or values.shape[1] < 2:
        raise InputError(
            expected="at least three inputs and two features for an embedding",
            got=f"{n} inputs with {values.shape[1]} features",
            advice="Ask about more inputs.",
        )
    places, shares = _components(values)
    prediction = np.asarray(answer.prediction.detach().cpu(), dtype=np.float64)
    bar: Scale | None = None
    keys: tuple[Key, ...] = ()
    if labels is None:
        low, high = float(prediction.min()), float(prediction.max())
        bar = Scale(
            low, high if high > low else low + 1.0, f"prediction, {target_of(answer)}", "viridis"
        )
        colours = bar.colours_of(prediction)
    else:
        colours, keys = _label_colours(labels, n)
    told = [
        f"component {k + 1}, {100 * share:.0f} % of the variance" for k, share in enumerate(shares)
    ]
    return Chart(
        drawn=(
            Panel(
                marks=(Dots("dots-0", places[:, 0], places[:, 1], colours, 4.0),),
                x=axis_of(places[:, 0].tolist(), told[0]),
                y=axis_of(places[:, 1].tolist(), told[1]),
                size=(360.0, 300.0),
                bar=bar,
                keys=keys,
            ),
        ),
        table={
            "input": list(range(n)),
            "component 1": places[:, 0].tolist(),
            "component 2": places[:, 1].tolist(),
            "prediction": prediction.tolist(),
        },
        caption=f"{name}, {n} inputs; principal components of the credit{told_apart(answer)}",
        alt=(
            f"The credit of {n} inputs by {name} in two components, which have {100 * shares[0]:.0f} % and "
            f"{100 * shares[1]:.0f} % of its variance."
        ),
    )


def _components(values: Floats) -> tuple[Floats, Floats]:
    centred = values - values.mean(axis=0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    # A direction has no sign of its own: its largest loading is made positive.
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    places = (left * sizes * np.where(signs == 0, 1.0, signs))[:, :2]
    total = float((sizes**2).sum()) or 1.0
    return np.asarray(places), np.asarray(sizes[:2] ** 2 / total)


def _label_colours(labels: ArrayLike, n: int) -> tuple[tuple[str, ...], tuple[Key, ...]]:
    given = [str(label) for label in np.asarray(labels).ravel().tolist()]
    different = sorted(set(given))
    if len(given) != n or len(different) > _CATEGORIES:
        raise InputError(
            expected=f"one of at most {_CATEGORIES} labels for each of {n} inputs",
            got=f"{len(different)} labels of {len(given)} inputs",
            advice="Leave labels out: colour is then the prediction.",
        )
    place = {text: f"series-{k}" for k, text in enumerate(different)}
    keys = tuple(Key(text, colour, "dot") for text, colour in place.items())
    return tuple(place[text] for text in given), keys
