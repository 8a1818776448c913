"""Where methods stand by a metric, and which differences between them are significant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from assay.errors import InputError
from assay.pictures.drawing.row_chart import Row, RowChart
from assay.pictures.numbers import clause, form_of, number

if TYPE_CHECKING:
    from assay.comparison.ranking import Pair, Place, Ranking

_FAR_APART = 30  # ends of an axis of numbers above 0 from which it is a log axis


def standing(ranking: Ranking) -> RowChart:
    """A metric's ranking as a forest of means with their intervals, best first, references last.

    Methods that share a letter could not be told apart. Where the ends are 30 times apart, and all above
    0, the axis is a log axis. `comparison.rankings["Infidelity()"]` is a ranking.
    """
    places = [place for place in ranking.places if not math.isnan(place.mean)]
    if not places:
        raise InputError(
            expected=f"a method with a score by {ranking.metric}",
            got="none",
            advice="See the refusals of the comparison for the reasons.",
        )
    # One form for methods and references, so that digits stand below each other.
    form = form_of([place.mean for place in (*places, *ranking.references)])
    rows = [_place("place", k, place, form(place.mean)) for k, place in enumerate(places)]
    rows += [
        _place("reference", k, place, form(place.mean))
        for k, place in enumerate(ranking.references)
        if not math.isnan(place.mean)
    ]
    # In the order of the means over common inputs: the first is the winner.
    best = places[0]
    equals = [name for name in ranking.leaders if name != best.method]
    told = f"not told from {', '.join(equals)}" if equals else "better than every other"
    unit = clause(f", {ranking.units}", ranking.units)
    ends = [end for row in rows for end in (row.end, row.low, row.high) if not math.isnan(end)]
    log = min(ends) > 0 and max(ends) > _FAR_APART * min(ends)
    way = "lower" if ranking.direction == "lower" else "higher"
    return RowChart(
        rows=tuple(rows),
        axis=f"{ranking.metric}{unit} ({way} is better)",
        marked=(),
        caption=(
            f"mean over {ranking.n} inputs, {100 * ranking.level:g} % intervals; methods that share "
            f"a letter could not be told apart{clause('; a log axis', log)}"
            f"{clause(f'; {ranking.no_interval}', ranking.no_interval)}"
        ),
        alt=(
            f"{len(places)} methods by {ranking.metric}, {way} is better, on {ranking.n} inputs. "
            f"Best mean: {best.method} {form(best.mean)}, {told}."
        ),
        log=log,
    )


def _place(role: str, index: int, place: Place, mean: str) -> Row:
    # Letters are dealt among the candidates: references have none.
    letters = clause(f" {place.letters}", place.letters)
    return Row(
        role="reference" if role == "reference" else "place",
        index=index,
        name=place.method,
        value=place.mean,
        text=mean + letters,
        start=place.mean,
        end=place.mean,
        low=place.low,
        high=place.high,
    )


def differences(ranking: Ranking, *, best: bool = False) -> RowChart:
    """Every paired difference of two methods, first less second, with its interval.

    Settings:
        ranking: by one metric.
        best: only those of the method with the best mean.

    Differences that are significant (Holm over all pairs) are solid, the others grey.
    """
    pairs = [
        pair for pair in ranking.pairs if not best or ranking.winner in (pair.first, pair.second)
    ]
    if not pairs:
        raise InputError(
            expected="two methods with scores of the same inputs",
            got=f"{len(ranking.places)} by {ranking.metric}",
            advice="Compare more methods.",
        )
    rows = tuple(_difference(k, pair) for k, pair in enumerate(pairs))
    real = sum(pair.real for pair in pairs)
    return RowChart(
        rows=rows,
        axis=f"difference in {ranking.metric}, first less second",
        marked=(("zero-line", 0.0),),
        caption=(
            f"paired by input; {real} of {len(pairs)} significant after Holm, the others grey"
            f"{clause(f'; {ranking.no_interval}', ranking.no_interval)}"
        ),
        alt=(
            f"{len(pairs)} differences of methods by {ranking.metric}, {real} of them significant."
        ),
    )


def _difference(index: int, pair: Pair) -> Row:
    facts = pair.facts
    p = "< 0.0001" if pair.adjusted < 1e-4 else f"{pair.adjusted:.4f}"
    return Row(
        role="place" if pair.real else "reference",
        index=index,
        name=f"{pair.first} − {pair.second}",
        value=facts.difference,
        text=f"{number(facts.difference)}, p {p}",
        start=facts.difference,
        end=facts.difference,
        low=facts.low,
        high=facts.high,
    )
