"""Which words push a question's class? TREC and WikiTableQuestions, over a corpus.

    python studies/trigger_words.py            writes docs/studies/trigger_words.md, .json and .png
    python studies/trigger_words.py --quick    a hundred questions of each; keeps nothing
    python studies/trigger_words.py --render   the page again from the kept figures

Sundararajan, Taly and Yan (2017, section 6.3): integrated gradients from the embedding of zeros, word
by word. Mudrakarta et al. (2018): over a corpus they show what a model has learnt, wanted or not.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import numpy as np

import assay
import zoo
from page import Page, conditions

PAGE = Page("trigger_words")
CORPORA = {"trec": "TREC", "wikitable": "WikiTableQuestions"}
COUNT = 3000  # questions of a corpus, those that were held back first
STEPS = 32
SHOWN = 6  # words of a class in the table
NAMED = ("how many", "total number", "charles")  # what the sources say was found
LEAST = {"single": 5, "pairs": 5, "wrong": 2}


def asked(reader: zoo.Reader, rows: slice, target: Any, removal: assay.Removal) -> assay.Question:
    """Words behind the embedding, what is absent there by the removal."""
    model = assay.wrap(reader.net, classes=list(reader.classes))
    tokens = assay.Tokens(padding=0, vocabulary=reader.vocabulary)
    question = assay.Question(
        model, reader.ids[rows], target, features=tokens, removal=assay.MaskToken(1)
    )
    return question.after("embedding", features=assay.Inherited(), removal=removal)


def wrong(reader: zoo.Reader, answer: assay.Attribution) -> assay.Attribution:
    """The answer for the questions that the network gets wrong."""
    true = [reader.classes[label] for label in reader.labels[: len(answer)].tolist()]
    rows = [row for row, name in enumerate(answer.targets or ()) if name != true[row]]
    return dataclasses.replace(
        answer,
        values=answer.values[rows],
        base=answer.base[rows],
        prediction=answer.prediction[rows],
        gap=None,
        present=None,
        own_names=tuple(answer.names_of(row) for row in rows),
        targets=tuple((answer.targets or ())[row] for row in rows),
    )


def rows_of(found: tuple[assay.TriggerWord, ...]) -> list[dict[str, Any]]:
    """Trigger words as plain data."""
    return [dataclasses.asdict(word) for word in found]


def named(answer: assay.Attribution, phrase: str) -> list[dict[str, Any]]:
    """A phrase in every class, however seldom it comes."""
    found = assay.trigger_words(answer, length=len(phrase.split()), least=2)
    return rows_of(tuple(word for word in found if word.words == phrase))


def toward(reader: zoo.Reader, kind: str, word: str) -> dict[str, Any] | None:
    """The credit of a word for one class in every question that holds it, whatever is predicted."""
    number = reader.vocabulary.index(word) if word in reader.vocabulary else -1
    rows = (reader.ids == number).any(1).nonzero()[:, 0]
    if not len(rows) or kind not in reader.classes:
        return None
    model = assay.wrap(reader.net, classes=list(reader.classes))
    tokens = assay.Tokens(padding=0, vocabulary=reader.vocabulary)
    question = assay.Question(
        model, reader.ids[rows], kind, features=tokens, removal=assay.MaskToken(1)
    )
    behind = question.after("embedding", features=assay.Inherited(), removal=assay.Baseline(0.0))
    answer = assay.IntegratedGradients(STEPS)(behind)
    credit = [
        float(
            sum(c for name, c in zip(answer.names_of(i), answer.values[i].tolist()) if name == word)
        )
        for i in range(len(answer))
    ]
    # How much of the credit by size falls on this one word?
    sizes = answer.values.abs().sum(1).tolist()
    return {
        "questions": len(rows),
        "credit": credit,
        "share": float(np.mean([abs(c) / max(s, 1e-12) for c, s in zip(credit, sizes)])),
        "first": sum(c >= float(answer.values[i].max()) for i, c in enumerate(credit)),
    }


def measure(corpus: str, count: int) -> dict[str, Any]:
    """Trigger words of a corpus, by the embedding of zeros, and how far a mask token agrees."""
    reader = zoo.question_reader(corpus)
    rows = slice(0, count)
    start = time.process_time()
    answer = assay.IntegratedGradients(STEPS)(
        asked(reader, rows, assay.Predicted(), assay.Baseline(0.0))
    )
    seconds = time.process_time() - start
    masked = reader.net.embedding.weight[1].detach().expand(reader.ids.shape[1], -1)
    other = assay.IntegratedGradients(STEPS)(
        asked(reader, rows, assay.Predicted(), assay.Baseline(masked))
    )
    alike = [
        float(np.corrcoef(one[own], two[own])[0, 1])
        for one, two, own in zip(
            answer.values.double().numpy(), other.values.double().numpy(), _own(answer)
        )
        if own.sum() > 2
    ]
    gap = answer.gap
    found = {
        "questions": len(answer),
        "held": reader.held,
        "accuracy": reader.accuracy,
        "seconds": seconds,
        "gap": 0.0 if gap is None else float(gap.abs().max()),
        "alike": float(np.nanmean(alike)),
        "single": rows_of(assay.trigger_words(answer, least=LEAST["single"])),
        "pairs": rows_of(assay.trigger_words(answer, length=2, least=LEAST["pairs"])),
        "wrong": rows_of(assay.trigger_words(wrong(reader, answer), least=LEAST["wrong"])),
        "named": {phrase: named(answer, phrase) for phrase in NAMED},
    }
    if corpus == "wikitable":
        found["charles"] = toward(reader, "YESNO", "charles")
    # The tables show the first few; the rest is kept as a number alone.
    for part in ("single", "pairs", "wrong"):
        words = found[part]
        found[f"{part} looked at"] = len(words)
        found[f"{part} told from zero"] = sum(word["p"] <= 0.05 for word in words)
        found[part] = [word for kind in reader.classes for word in _first(words, kind)]
    print(corpus, {key: value for key, value in found.items() if key not in ("single", "pairs")})
    return found


def _own(answer: assay.Attribution) -> np.ndarray:
    lengths = np.array([len(answer.names_of(row)) for row in range(len(answer))])
    return np.arange(answer.values.shape[1]) < lengths[:, None]


def _first(words: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [word for word in words if word["target"] == kind][:SHOWN]


def lines_of(words: list[dict[str, Any]]) -> list[str]:
    """Rows of a table."""
    lines = [
        "| class | words | questions | first in | mean credit | 95 % interval | p |",
        "|---" * 7 + "|",
    ]
    for word in words:
        p = "< .001" if word["p"] < 0.001 else f"{word['p']:.3f}"
        low, high = word["low"], word["high"]
        cells = (word["target"], word["words"], word["texts"], word["first"], f"{word['mean']:.2f}")
        lines.append("| " + " | ".join(map(str, cells)) + f" | {low:.2f} to {high:.2f} | {p} |")
    return lines


def tables(found: dict[str, Any]) -> str:
    """Trigger words of each corpus."""
    lines = []
    for corpus, title in CORPORA.items():
        part = found[corpus]
        lines += [
            f"## {title}",
            "",
            f"{part['accuracy']:.1%} of {part['held']} questions right that were held back. "
            f"{part['questions']:,} questions asked in {part['seconds']:.0f} s, largest gap "
            f"{part['gap']:.3f}. Credit from zeros and from the token of unknown words correlate by "
            f"{part['alike']:.2f} in a question, on average.",
            "",
        ]
        for name, what in (("single", "Words"), ("pairs", "Two in a row")):
            lines += [
                f"{what}: {part[f'{name} looked at']} looked at, {part[f'{name} told from zero']} told from "
                "zero. The first of each class:",
                "",
                *lines_of(
                    [word for kind in _kinds(part[name]) for word in _first(part[name], kind)]
                ),
                "",
            ]
        lines += ["What pushed wrong predictions (class: the one that was predicted):", ""]
        lines += [
            *lines_of(
                [w for kind in _kinds(part["wrong"]) for w in _first(part["wrong"], kind)[:3]]
            ),
            "",
        ]
        listed = [word for phrase in NAMED for word in part["named"][phrase]]
        if listed:
            lines += ["What the sources name, wherever two questions of a class hold it:", ""]
            lines += [*lines_of(listed), ""]
    charles = found["wikitable"].get("charles")
    if charles:
        credit = ", ".join(f"{number:+.2f}" for number in charles["credit"])
        lines += [
            f'"charles" for YESNO, in all {charles["questions"]} questions that hold it: {credit}; '
            f"first in {charles['first']}, {charles['share']:.0%} of the credit by size.",
        ]
    return "\n".join(lines)


def _kinds(words: list[dict[str, Any]]) -> list[str]:
    return sorted({word["target"] for word in words})


def draw(found: dict[str, Any]) -> None:
    """The first words of each class, and those of the sources, with their intervals."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12, 8), layout="constrained")
    for axis, (corpus, title) in zip(axes, CORPORA.items()):
        shown = []
        for kind in _kinds(found[corpus]["single"]):
            shown += _first(found[corpus]["single"], kind)[:3]
            shown += _first(found[corpus]["pairs"], kind)[:2]
        # Last what the sources name, where it is not among the first anyway.
        known = {(word["target"], word["words"]) for word in shown}
        named = [word for phrase in NAMED for word in found[corpus]["named"][phrase]]
        shown += [word for word in named if (word["target"], word["words"]) not in known]
        heights = np.arange(len(shown))[::-1]
        mean = np.array([word["mean"] for word in shown])
        spread = [mean - [w["low"] for w in shown], [w["high"] for w in shown] - mean]
        colours = [f"C{_kinds(shown).index(word['target'])}" for word in shown]
        for place, height, colour, low, high in zip(mean, heights, colours, *spread):
            axis.errorbar(place, height, xerr=[[low], [high]], fmt="o", color=colour)
        labels = [f"{word['target']}: {word['words']} ({word['texts']})" for word in shown]
        axis.set_yticks(heights, labels)
        axis.axvline(0, color="lightgrey")
        axis.set_title(title)
        axis.set_xlabel("mean credit, logits")
    figure.savefig(PAGE.picture, dpi=80)


def main() -> None:
    """Runs, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundred questions; keeps nothing")
    parser.add_argument("--render", action="store_true", help="the page from the kept figures")
    options = parser.parse_args()
    conditions()
    if options.render:
        found = PAGE.kept()
    else:
        count = 100 if options.quick else COUNT
        found = {corpus: measure(corpus, count) for corpus in CORPORA}
    print(tables(found))
    if options.quick:
        return
    if not options.render:
        PAGE.keep(found)
    PAGE.fill(tables(found))
    draw(found)


if __name__ == "__main__":
    main()
