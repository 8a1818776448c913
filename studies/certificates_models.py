"""The three classifiers of the certificate study, trained without and with masks, and the questions
asked of them.

Trained weights are kept in `studies/build/certificates`, which is not under version control.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import zoo
from assay import Baseline, Labels, Patches, Question, masked_finetuning

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "studies" / "build" / "certificates"
SIDE = 4  # pixels of a patch
SHORTEST, LONGEST = 8, 56  # words of a sentence
PAD = 0
MASK = 1
UNKNOWN = 2
Asked = list[tuple[Tensor, Question]]


class SentenceNet(nn.Module):
    """A convolution over three words and the maximum over places (Kim 2014), on words numbered by
    frequency.
    """

    def __init__(self, words: int, width: int = 64, filters: int = 100, classes: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width, padding_idx=PAD)
        self.head = SentenceHead(width, filters, classes)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.head(self.embed(numbers), numbers == PAD)


class SentenceHead(nn.Module):
    """What comes behind the embeddings (n, words, width)."""

    def __init__(self, width: int, filters: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, filters, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(filters, classes)

    def forward(self, rows: Tensor, padding: Tensor | None = None) -> Tensor:
        found = functional.relu(self.conv(rows.transpose(1, 2)))
        if padding is not None:
            found = found.masked_fill(padding[:, None], 0.0)
        return self.linear(self.drop(found.amax(2)))


@dataclass(frozen=True, eq=False)
class Task:
    """A classifier in several states of training, and the inputs it is asked about.

    `networks`: 0 without masked training, k trained with masks at lambda = k/8 and half of it.
    `spent`: processor seconds of each training.
    """

    name: str
    networks: dict[int, nn.Module]
    inputs: Any
    labels: Tensor
    spent: dict[int, float]

    def ask(self, eighths: int, count: int) -> Asked:
        """Questions about the first inputs, and which they are: one for pictures, one per length
        for sentences.
        """
        network = self.networks[eighths]
        if not isinstance(network, SentenceNet):
            rows = torch.arange(count)
            return [
                (
                    rows,
                    Question(
                        network, self.inputs[:count], features=Patches(SIDE), removal=Baseline(0.0)
                    ),
                )
            ]
        lengths: dict[int, list[int]] = {}
        for row, sentence in enumerate(self.inputs[:count]):
            lengths.setdefault(len(sentence), []).append(row)
        return [
            (torch.tensor(rows), self._sentences(network, rows))
            for _, rows in sorted(lengths.items())
        ]

    def _sentences(self, network: SentenceNet, rows: list[int]) -> Question:
        numbers = torch.tensor([self.inputs[row] for row in rows])
        with torch.no_grad():
            embedded = network.embed(numbers)
            mask = network.embed(torch.tensor(MASK))
        places = torch.arange(numbers.shape[1])[:, None].expand(embedded.shape[1:])
        absent = mask.expand(embedded.shape[1:]).clone()
        return Question(network.head, embedded, features=Labels(places), removal=Baseline(absent))


def mnist() -> Task:
    """Digits of 28 x 28 pixels, 49 patches; a small convolutional network (Madry et al. 2018,
    narrower).
    """
    data = list(zip(*zoo.mnist("train", 10000)))
    base = _kept("mnist-0", zoo.digit_net)
    settings = {"features": Patches(SIDE), "absent": 0.0, "epochs": 2, "rate": 1e-3, "batch": 64}
    return _task("mnist", base, data, settings, *zoo.mnist("test"))


def cifar() -> Task:
    """Pictures of 32 x 32 pixels, 64 patches; the trained ResNet-20 of He et al. (2016)."""
    data = list(zip(*zoo.cifar10("train", 5000)))
    settings = {"features": Patches(SIDE), "absent": 0.0, "epochs": 1, "rate": 1e-3, "batch": 64}
    base = zoo.cifar_resnet().to(memory_format=torch.channels_last)
    return _task("cifar", (base, 0.0), data, settings, *zoo.cifar10("test"))


def text() -> Task:
    """Film reviews, favourable or not (SST-2), words as features; a small convolutional network on
    embeddings.
    """
    phrases, labels = zoo.sst2("train")
    counts = Counter(word for phrase in phrases for word in phrase.split())
    known = [word for word, count in counts.most_common() if count > 1]
    number = {word: index for index, word in enumerate(known, start=3)}

    def read(phrase: str) -> list[int]:
        return [number.get(word, UNKNOWN) for word in phrase.split()][:LONGEST]

    def make() -> nn.Module:
        return SentenceNet(len(known) + 3)

    rows = torch.tensor([row + [PAD] * (LONGEST - len(row)) for row in map(read, phrases)])
    truth = torch.from_numpy(labels)
    base = _kept("text-0", lambda: _train_sentences(make, rows, truth))
    long = ((rows != PAD).sum(1) >= SHORTEST).nonzero().flatten()[:10000]
    settings = {"features": torch.arange(LONGEST), "absent": MASK, "protected": (PAD,)}
    settings |= {"epochs": 2, "rate": 1e-3, "batch": 64}
    tests, expected = zoo.sst2("test")
    kept = [
        (read(one), label) for one, label in zip(tests, expected) if len(one.split()) >= SHORTEST
    ]
    sentences, answers = zip(*kept)
    data = list(zip(rows[long], truth[long]))
    return _task("text", base, data, settings, sentences, torch.tensor(answers))


def _task(
    name: str,
    base: tuple[nn.Module, float],
    data: Any,
    settings: dict[str, Any],
    inputs: Any,
    labels: Any,
) -> Task:
    networks = {0: base[0]}
    spent = {0: base[1]}
    for eighths in (8, 4, 3, 2, 1):

        def train(share: float = eighths / 8) -> nn.Module:
            return masked_finetuning(base[0], data, share=share, **settings).network

        networks[eighths], spent[eighths] = _kept(f"{name}-{eighths}", train)
    return Task(name, networks, inputs, labels, spent)


def _kept(name: str, train: Any) -> tuple[nn.Module, float]:
    """A trained network and the processor seconds its training took; trained once, then read."""
    path = BUILD / f"{name}.pt"
    if path.exists():
        stored = torch.load(path, weights_only=False)
        return stored["network"].eval(), stored["seconds"]
    start = time.process_time()
    network = train()
    spent = time.process_time() - start
    BUILD.mkdir(parents=True, exist_ok=True)
    torch.save({"network": network, "seconds": spent}, path)
    return network.eval(), spent


def _train_sentences(make: Any, rows: Tensor, labels: Tensor, epochs: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make()
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(epochs):
            for batch in torch.randperm(len(rows)).split(128):
                used = int((rows[batch] != PAD).sum(1).max())
                optimiser.zero_grad()
                functional.cross_entropy(network(rows[batch, :used]), labels[batch]).backward()
                optimiser.step()
    return network.eval()


TASKS = {"mnist": mnist, "cifar": cifar, "text": text}
