"""Two digits on a canvas, a caption that says which and how they lie, and a network that writes it."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.pictures import mnist

CANVAS_SIDE = 64
DIGIT_SIDE = 28
CAPTION_WORDS = (
    "[START]",
    *["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "beside",
    "above",
    "[END]",
)
_START, _BESIDE, _ABOVE, _END = 0, 11, 12, 13


@dataclass(frozen=True, eq=False)
class Canvases:
    """Pictures with their captions and boxes.

    Fields:
        images: (n, 1, 64, 64) in [0, 1].
        captions: numbers of words (n, 4), such as seven above three [END]: the left or upper digit
            comes first.
        shifted: what a network is shown of them when it writes, (n, 4): [START] and all but the last.
        boxes: top and left corner of both digits, in the order of the caption, (n, 2, 2); each box
            has 28 x 28 pixels.
    """

    images: Tensor
    captions: Tensor
    shifted: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Any) -> Canvases:
        """Some of them."""
        parts = (self.images, self.captions, self.shifted, self.boxes)
        return Canvases(*(part[rows] for part in parts))


def canvases(split: str = "test", count: int = 1000, seed: int = 0) -> Canvases:
    """Canvases of two MNIST digits each, which do not overlap; the digits are those of the split."""
    digits, labels = mnist(split)
    generator = np.random.default_rng([seed, split == "test"])
    images = torch.zeros(count, 1, CANVAS_SIDE, CANVAS_SIDE)
    captions = torch.full((count, 4), _END)
    boxes = torch.zeros(count, 2, 2, dtype=torch.int64)
    room = CANVAS_SIDE - 2 * DIGIT_SIDE
    middle = (CANVAS_SIDE - DIGIT_SIDE) // 2
    for number in range(count):
        beside = bool(generator.integers(2))
        captions[number, 1] = _BESIDE if beside else _ABOVE
        # One digit in each half, and both near the middle of the other axis.
        along = generator.integers(0, room // 2 + 1, 2) + np.array([0, CANVAS_SIDE // 2])
        across = middle + generator.integers(-5, 6, 2)
        for place, digit in enumerate(generator.integers(0, len(digits), 2).tolist()):
            top, left = (across[place], along[place]) if beside else (along[place], across[place])
            images[number, 0, top : top + DIGIT_SIDE, left : left + DIGIT_SIDE] = digits[digit, 0]
            captions[number, 2 * place] = 1 + int(labels[digit])
            boxes[number, place] = torch.tensor([int(top), int(left)])
    start = torch.full((count, 1), _START)
    shifted = torch.cat([start, captions[:, :-1]], dim=1)
    return Canvases(images, captions, shifted, boxes)


class Captioner(nn.Module):
    """Convolutions, whose features begin a GRU that writes the caption (Vinyals et al. 2015)."""

    def __init__(self, hidden: int = 96) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 5, 2, 2)
        self.conv2 = nn.Conv2d(12, 24, 5, 2, 2)
        self.norm2 = nn.BatchNorm2d(24)
        self.conv3 = nn.Conv2d(24, 48, 3, 2, 1)
        self.norm3 = nn.BatchNorm2d(48)
        self.conv4 = nn.Conv2d(48, 64, 3, 1, 1)
        self.relu4 = nn.ReLU()
        self.begin = nn.Linear(64 * 64, hidden)
        self.words = nn.Embedding(len(CAPTION_WORDS), 16)
        self.gru = nn.GRU(16 + hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, len(CAPTION_WORDS))

    def forward(self, images: Tensor, shifted: Tensor) -> Tensor:
        """Logits (n, steps, words) of each word, given the picture and the words before it."""
        features = torch.relu(self.norm2(self.conv2(torch.relu(self.conv1(images)))))
        features = torch.relu(self.norm3(self.conv3(features)))
        # A place sees 41 pixels here, a whole digit.
        features = self.relu4(self.conv4(features))
        picture = torch.relu(self.begin(features.flatten(1)))
        # The picture is shown at every step.
        shown = picture[:, None].expand(-1, shifted.shape[1], -1)
        steps, _ = self.gru(torch.cat([self.words(shifted), shown], dim=2))
        return self.head(steps)


@functools.cache
def _captioner(count: int, epochs: int, seed: int) -> Captioner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Captioner()
        optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
        steps = epochs * -(-count // 100)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
        for epoch in range(epochs):
            # Other pairs of digits at other places in every epoch.
            data = canvases("train", count, seed=epoch + 1000 * seed)
            for rows in torch.randperm(count).split(100):
                optimiser.zero_grad()
                logits = net(data.images[rows], data.shifted[rows])
                F.cross_entropy(logits.flatten(0, 1), data.captions[rows].flatten()).backward()
                optimiser.step()
                schedule.step()
    net.zero_grad()
    return net.eval()


def captioner(count: int = 8000, epochs: int = 6, seed: int = 0) -> Captioner:
    """A `Captioner` trained on canvases: a minute or two."""
    return copy.deepcopy(_captioner(count, epochs, seed))
