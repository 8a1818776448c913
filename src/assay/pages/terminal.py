"""How nouns show themselves in a terminal, by rich: the words of their card, and bars of credit.

A bar is made of eighth blocks and says a size; the sign stands before the number, so that nothing
hangs on a colour. Colours, widths and wide letters are rich's: as many colours as a terminal has, and
none under NO_COLOR.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from assay.answers.attribution import Attribution, Kind
from assay.pages.cards import FIRST, card_of
from assay.pages.credit import names_of
from assay.pictures.numbers import clause, form_of, number

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

STRONGEST = 5  # features of an input that are shown
WIDTH = 16  # letters of the longest bar
_EIGHTHS = " ▏▎▍▌▋▊▉"
_CONFIDENCE = 1.96  # standard errors on either side of a 95 % interval
_SMALL = 1e-3  # of the longest bar
# Seen on black and on white; the sign says the same.
_FOR, _AGAINST = "#d6604d", "#4393c3"


@final
@dataclass(frozen=True)
class Credited:
    """One line below an input.

    Settings:
        name: the feature, or what others have together.
        credit: its number.
        error: half of its 95 % interval, NaN where there is none.
    """

    name: str
    credit: float
    error: float = math.nan

    @property
    def unsure(self) -> bool:
        """Whether the interval holds zero."""
        return abs(self.credit) <= self.error


def rich(noun: Any) -> RenderableType:
    """A noun as rich shows it."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    card = card_of(noun, pictures=False)
    entries = Table.grid(padding=(0, 2))
    entries.add_column(style="dim", no_wrap=True)
    entries.add_column(overflow="fold")
    # As text: a name may look like markup.
    for name, entry in card.entries:
        entries.add_row(name, Text(entry))
    parts: list[RenderableType] = [Text(card.heading, style="bold"), entries]
    if isinstance(noun, Attribution):
        for title, lines in _inputs(noun):
            parts += [Text(title), Padding(_table(lines), (0, 0, 0, 2))]
    heading, sentences = card.more
    if sentences:
        parts.append(Text(f"{heading}:"))
        parts += [Padding(Text(f"- {sentence}"), (0, 0, 0, 2)) for sentence in sentences]
    return Group(*parts)


def _inputs(answer: Attribution) -> Iterator[tuple[str, Sequence[Credited]]]:
    """The first inputs, each with the features of most credit."""
    for i in range(min(FIRST, len(answer))):
        names = names_of(answer, i)
        values = answer.values[i, : len(names)].double()
        kept = values.abs().argsort(descending=True, stable=True)[:STRONGEST].tolist()
        errors = answer.standard_error
        lines = [
            Credited(
                str(names[k]),
                float(values[k]),
                math.nan if errors is None else _CONFIDENCE * float(errors[i, k]),
            )
            for k in kept
        ]
        others = len(names) - len(kept)
        # Slopes are not added up.
        if others and answer.kind == Kind.CONTRIBUTION.value:
            lines.append(
                Credited(f"{others} others together", float(values.sum() - values[kept].sum()))
            )
        said = f"prediction {number(float(answer.prediction[i]))}"
        said += f", base {number(float(answer.base[i]))}"
        yield (
            f"input {i}: {said}" + clause(f"; {STRONGEST} of {len(names)} features", others),
            lines,
        )


def _table(lines: Sequence[Credited]) -> Table:
    from rich.table import Table
    from rich.text import Text

    # Each input on a scale of its own, as the ladders of a notebook are.
    sizes = [abs(line.credit) for line in lines if math.isfinite(line.credit)]
    longest = max(sizes, default=0.0)
    form = form_of([line.credit for line in lines])
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", max_width=40)
    table.add_column(no_wrap=True, min_width=WIDTH)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    for line in lines:
        colour = _FOR if line.credit >= 0 else _AGAINST
        style = f"dim {colour}" if line.unsure else colour
        sign = "+" if line.credit > 0 else ""
        # An error that no bar would show is rounding.
        error = f"± {form(line.error)}" if line.error > _SMALL * longest else ""
        table.add_row(
            Text(line.name),
            Text(bar(line.credit, longest), style=style),
            f"{sign}{form(line.credit)}",
            error,
        )
    return table


def bar(value: float, longest: float) -> str:
    """The size of a number in eighths of a letter.

    >>> bar(1.0, 1.0) == 16 * "█", bar(-0.25, 1.0), bar(0.0, 1.0), bar(0.1, 1.0)
    (True, '████', '', '█▋')
    """
    if not math.isfinite(value) or not longest:
        return ""
    eighths = round(8 * WIDTH * abs(value) / longest)
    # What is there is seen.
    eighths = max(eighths, int(value != 0))
    return eighths // 8 * "█" + _EIGHTHS[eighths % 8].strip()
