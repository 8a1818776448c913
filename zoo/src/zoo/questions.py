"""Questions and the type of their answers, and a small network that reads them."""

from __future__ import annotations

import copy
import csv
import functools
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.place import data_root
from zoo.tables import trec

Corpus = Literal["trec", "wikitable"]
TYPES = ("DATETIME", "NUMERIC", "STRING", "YESNO")

_NUMBER = re.compile(r"[-+$£€]?\s*\d[\d,.]*\s*(?:%|\w{1,10})?$")
_YEAR = re.compile(r"(?:1[0-9]|20)\d\d$")
_DATE = re.compile(
    r"\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?\s+\d|\d{4}-\d\d-\d\d|"
    r"\b\d{1,2}\s+(?:january|february|march|april|may|june|july|august|september|october|november|"
    r"december)\b|^(?:january|february|march|april|may|june|july|august|september|october|"
    r"november|december|(?:mon|tues|wednes|thurs|fri|satur|sun)day)$"
)


def answer_type(answer: str) -> str:
    """The type of an answer of WikiTableQuestions: one of `TYPES`, by its looks."""
    plain = answer.strip().lower()
    if plain in ("yes", "no"):
        return "YESNO"
    if _YEAR.match(plain) or _DATE.search(plain):
        return "DATETIME"
    return "NUMERIC" if _NUMBER.match(plain) else "STRING"


def wikitable_questions() -> tuple[list[str], list[str]]:
    """The 3,131 questions of WikiTableQuestions that are at hand (Pasupat and Liang 2015), in small
    letters, and the types of their answers.
    """
    folder = data_root() / "text" / "wikitablequestions" / "data"
    texts, types = [], []
    for name in ("random-split-1-dev.tsv", "training-before300.tsv"):
        with open(folder / name, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                texts.append(row["utterance"].lower())
                types.append(answer_type(row["targetValue"]))
    # The 300 examples of the one file may be among those of the other.
    pairs = list(dict.fromkeys(zip(texts, types)))
    return [text for text, _ in pairs], [kind for _, kind in pairs]


def words_of(text: str) -> list[str]:
    """Words and marks in small letters, each by itself."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


class QuestionNet(nn.Module):
    """Embeddings, convolutions over two and three words, the largest of each channel (Kim 2014)."""

    def __init__(self, words: int, classes: int, width: int = 32, channels: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.one = nn.Conv1d(width, channels, 1)
        self.two = nn.Conv1d(width, channels, 2, padding=1)
        self.three = nn.Conv1d(width, channels, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(3 * channels, classes)

    def forward(self, input_ids: Tensor) -> Tensor:
        words = self.embedding(input_ids).transpose(1, 2)
        parts = [torch.relu(part(words)).amax(2) for part in (self.one, self.two, self.three)]
        return self.head(self.dropout(torch.cat(parts, 1)))


@dataclass(frozen=True, eq=False)
class Reader:
    """A trained network with what it takes to ask it.

    Fields:
        net: from numbers of words (n, length) to logits.
        vocabulary: words by their numbers; 0 is padding, 1 any word that is not known.
        classes: the names of the outputs.
        texts, ids, labels: questions, their numbers and classes; first those that it was not
            trained on.
        held: how many it was not trained on.
        accuracy: on these.
    """

    net: QuestionNet
    vocabulary: tuple[str, ...]
    classes: tuple[str, ...]
    texts: tuple[str, ...]
    ids: Tensor
    labels: Tensor
    held: int
    accuracy: float


def _numbers(texts: list[str], number: dict[str, int]) -> Tensor:
    rows = [torch.tensor([number.get(word, 1) for word in words_of(text)]) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


@functools.cache
def _question_reader(corpus: Corpus, epochs: int, seed: int) -> Reader:
    if corpus == "trec":
        (texts, kinds), (held, held_kinds) = trec("train"), trec("test")
    else:
        found, types = wikitable_questions()
        # Every fifth question is held back.
        texts, held = [t for i, t in enumerate(found) if i % 5], found[::5]
        kinds, held_kinds = [t for i, t in enumerate(types) if i % 5], types[::5]
    classes = tuple(sorted(set(kinds)))
    counts = Counter(word for text in texts for word in words_of(text))
    vocabulary = ("[PAD]", "[UNK]", *(word for word, count in counts.items() if count > 1))
    number = {word: place for place, word in enumerate(vocabulary)}
    every = _numbers([*held, *texts], number)
    every_label = torch.tensor([classes.index(kind) for kind in [*held_kinds, *kinds]])
    ids, labels = every[len(held) :], every_label[len(held) :]
    weights = torch.ones(len(classes))
    # One answer in eighty is yes or no: a rare class counts as much as a frequent one there.
    if corpus == "wikitable":
        weights = len(labels) / (len(classes) * labels.bincount(minlength=len(classes)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = QuestionNet(len(vocabulary), len(classes))
        optimiser = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-5)
        for _ in range(epochs):
            for rows in torch.randperm(len(ids)).split(50):
                optimiser.zero_grad()
                F.cross_entropy(net(ids[rows]), labels[rows], weights).backward()
                optimiser.step()
    net.zero_grad()
    net.eval()
    with torch.inference_mode():
        right = net(every[: len(held)]).argmax(1) == every_label[: len(held)]
    accuracy = float(right.double().mean())
    asked = (*held, *texts)
    return Reader(net, vocabulary, classes, asked, every, every_label, len(held), accuracy)


def question_reader(corpus: Corpus = "trec", epochs: int = 8, seed: int = 0) -> Reader:
    """A `QuestionNet` trained on TREC or on WikiTableQuestions: some 20 seconds."""
    return copy.deepcopy(_question_reader(corpus, epochs, seed))
