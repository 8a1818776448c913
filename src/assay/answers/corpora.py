"""Which words push a class, over all texts of a corpus: trigger words of a classifier.

Credit of one text tells about one text. Over a corpus the same word comes up again and again, and its
credit there is a sample: its mean says what the model has learnt to make of it, wanted ("how many" for
a number) or not (a first name). The idea and the examples are those of Mudrakarta et al. (2018, "Did
the model understand the question?", section 4) and Sundararajan, Taly and Yan (2017, section 6.3).
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import final

import numpy as np

from assay.answers.attribution import Attribution
from assay.errors import InputError
from assay.numerics import statistics
from assay.numerics.statistics import Floats
from assay.settings import argument, checked_level, checked_seed

# Of the bootstrap, a tenth of the usual 9,999: every word of a corpus has an interval of its own.
_RESAMPLES = 999


@final
@dataclass(frozen=True)
class TriggerWord:
    """A word, or several in a row, and its credit for one class over the texts that hold it.

    Fields:
        words: the word in small letters, or the words with spaces between.
        target: what was explained of these texts, in words: their class.
        texts: how many texts of this class hold it.
        first: in how many of them nothing of its length has more credit.
        mean: its mean credit, in units of the target; occurrences in one text are added.
        low, high: the interval of the mean, as of `Score`; NaN in fewer than 8 texts.
        p: that of a mean of zero, adjusted by Holm over everything that was looked at.
    """

    words: str
    target: str
    texts: int
    first: int
    mean: float
    low: float
    high: float
    p: float


def trigger_words(
    answer: Attribution, *, length: int = 1, least: int = 5, level: float = 0.95, seed: int = 0
) -> tuple[TriggerWord, ...]:
    """Which words push each class most, with intervals, over the texts of a corpus.

    mean_w = sum_i phi_i(w) / n_w over the n_w texts of a class that hold w, phi_i(w) the credit of
    all its occurrences in text i. The interval is that of `Score`, Student's widened by the bootstrap; p
    is Student's two-sided one, but never below 2^(1 - n_w), which is all that the signs of n_w texts
    can say, and adjusted by Holm (1979) over all words of all classes. Sorted by class, and within it
    by `low`: what a word adds at least comes first. Words of fewer than 8 texts have no interval and
    stand behind the others, by their mean.

    Settings:
        answer: credit of words or tokens, as of `Words()`, `Tokens()` or `TokenWords()`, of many
            texts; a class is what `answer.targets` says of a text.
        length: how many words in a row are looked at together; 2 finds "how many".
        least: texts of a class that have to hold the words.
        level: that of the interval.
        seed: that of the bootstrap.

    Units: those of the target. Cost: no evaluations of the model. Errors: InputError for answers whose
    features have no names of their own.

    >>> import numpy as np, assay
    >>> many = lambda texts: np.array([2.0 * ("how many" in text) for text in texts])
    >>> texts = [f"how many {things}" for things in ("cars", "dogs", "cats", "days", "years", "oxen")]
    >>> (found,) = trigger_words(assay.ExactShapley()(assay.Question(many, texts)), length=2)
    >>> found.words, found.texts, found.first, found.mean, found.p
    ('how many', 6, 6, 2.0, 0.03125)
    """
    length = argument("trigger_words", "length", length, int)
    least = argument("trigger_words", "least", least, int)
    level = checked_level(level, "trigger_words")
    seed = checked_seed(seed, "trigger_words")
    if length < 1 or least < 2:
        raise InputError(
            expected="at least 1 word in a row, in at least 2 texts",
            got=f"length={length}, least={least}",
            advice="One text has no interval: write trigger_words(answer, length=1, least=5).",
        )
    if answer.own_names is None:
        raise InputError(
            expected="an answer about several texts, whose words have names",
            got="features that all inputs share",
            advice="Ask with Words(), Tokens(padding, vocabulary) or TokenWords(texts, offsets).",
        )
    credits, first = _gathered(answer, length)
    found = {key: np.array(values) for key, values in credits.items() if len(values) >= least}
    if not found:
        return ()
    # Words that are too rare have been left out before: what is not tested costs no power.
    adjusted = statistics.holm([_p_value(values) for values in found.values()])
    words = [
        _trigger_word(key, values, first[key], float(p), level, seed)
        for (key, values), p in zip(found.items(), adjusted)
    ]
    return tuple(sorted(words, key=_in_order))


def _in_order(word: TriggerWord) -> tuple[str, bool, float, str]:
    """By class, then by what a word adds at least, or by its mean where that is not known."""
    unknown = math.isnan(word.low)
    return word.target, unknown, -(word.mean if unknown else word.low), word.words


_Key = tuple[str, str]
"""A class and words."""


def _gathered(answer: Attribution, length: int) -> tuple[dict[_Key, list[float]], Counter[_Key]]:
    """The credit of each class's words, text by text, and in how many of them they come first."""
    credits: dict[_Key, list[float]] = defaultdict(list)
    first: Counter[_Key] = Counter()
    # In double, since credit in half precision is added up over occurrences.
    values = answer.values.double().cpu().numpy()
    for number in range(len(answer)):
        target = "" if answer.targets is None else answer.targets[number]
        totals = _totals(
            [_folded(name) for name in answer.names_of(number)], values[number], length
        )
        for words, total in totals.items():
            credits[target, words].append(total)
        if totals:
            first[target, max(totals, key=totals.__getitem__)] += 1
    return credits, first


def _totals(words: list[str], credit: Floats, length: int) -> dict[str, float]:
    """The credit of each run of so many words in one text, its occurrences added."""
    totals: dict[str, float] = defaultdict(float)
    for start in range(len(words) - length + 1):
        run = slice(start, start + length)
        totals[" ".join(words[run])] += float(credit[run].sum())
    return totals


def _folded(word: str) -> str:
    """What a word has in common with itself in another case, and however its marks are coded."""
    return unicodedata.normalize("NFC", word).casefold()


def _p_value(values: Floats) -> float:
    """Student's two-sided p value of a mean of zero, as small as the signs of n values allow."""
    from scipy.special import stdtr

    n = len(values)
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(n)
    # Values without a spread, up to rounding, say no more than their signs do.
    if error <= 1e-12 * abs(mean):
        student = 1.0 if mean == 0.0 else 0.0
    else:
        student = 2 * float(stdtr(n - 1, -abs(mean) / error))
    return max(student, 2.0 ** (1 - n))


def _trigger_word(
    key: _Key, values: Floats, first: int, p: float, level: float, seed: int
) -> TriggerWord:
    target, words = key
    low, high = statistics.interval(values, level, seed, _RESAMPLES)
    return TriggerWord(words, target, len(values), first, float(values.mean()), low, high, p)
