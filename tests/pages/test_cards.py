"""What a notebook shows of a noun: all of it escaped, small, and without anything from outside."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from torch import nn

import assay
from assay.answers.shown import Shown
from assay.pages import cards
from toys import randn, randomised

HOSTILE = '<script>alert("&")</script>'

TABLE = assay.Question(
    lambda x: x[:, 0] * x[:, 1] + x[:, 2],
    randn(9, 3, dtype=torch.float64),
    features=assay.Columns(groups={HOSTILE: [0], "b": [1], "c": [2]}),
)
ANSWER = assay.ExactShapley()(TABLE)
NET = randomised(nn.Sequential(nn.Flatten(), nn.Linear(3 * 80 * 80, 2)))
PICTURE = assay.Question(NET, randn(4, 3, 80, 80), target=1, features=assay.Elements())
COMPARISON = assay.compare(TABLE, ["ExactShapley", "Gradient"], ["Completeness", "Gini"])
VOTES = assay.Question(
    lambda x: torch.stack([1.5 + 0 * x[:, 0], x[:, 1] + x[:, 3]], dim=1), torch.ones(1, 5)
)
[CERTIFICATE] = assay.HardStability().certify(VOTES, torch.arange(5) == 0)

NOUNS: dict[str, Any] = {
    "question": TABLE,
    "contributions": ANSWER,
    "slopes": assay.Gradient()(assay.Question(randomised(nn.Linear(3, 1)), randn(5, 3))),
    "one input": assay.ExactShapley()(TABLE.part(0, 1)),
    "pixels": assay.Gradient()(PICTURE),
    "patches": assay.Occlusion()(
        assay.Question(NET, randn(2, 3, 80, 80), target=1, features=assay.Patches(40))
    ),
    "score": assay.Completeness()(TABLE, ANSWER),
    "comparison": COMPARISON,
    "certificate": CERTIFICATE,
}


class Read(HTMLParser):
    """The tags of a card and what they say; open tags are counted."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.depth = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        self.depth += tag not in ("br", "img")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag not in ("br", "img")

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("name", NOUNS)
def test_a_card_needs_nothing_and_is_small(name: str) -> None:
    text = NOUNS[name]._repr_html_()
    card = Read(text)
    assert card.depth == 0
    assert "script" not in card.tags
    assert len(text) < 100_000
    outside = [
        value
        for key, value in card.attributes
        if key in ("src", "href", "xlink:href") and not str(value).startswith(("data:", "#"))
    ]
    assert outside == []
    assert not [key for key, _ in card.attributes if key.startswith("on")]


def test_every_noun_that_shows_itself_has_a_card() -> None:
    assert {kind.__name__ for kind in Shown.__subclasses__()} == set(cards._MADE)


def test_what_came_out_is_on_the_card() -> None:
    said = Read(TABLE._repr_html_()).words
    assert f"9 of shape {TABLE.layout.describe()}" in said
    assert TABLE.digest in said
    for sentence in CERTIFICATE.assumptions:
        assert sentence in Read(CERTIFICATE._repr_html_()).words
    told = Read(COMPARISON._repr_html_()).words
    for method in COMPARISON.methods:
        assert str(method) in told
    score = NOUNS["score"]
    assert "9 of 9" in Read(score._repr_html_()).words


def test_names_do_nothing() -> None:
    text = ANSWER._repr_html_()
    assert HOSTILE not in text
    assert HOSTILE in Read(text).words


def test_maps_are_of_places_and_in_the_sum_of_their_channels() -> None:
    [chart] = cards._credit(NOUNS["pixels"])
    values = NOUNS["pixels"].maps.double()
    assert len(chart.panels) == 3
    assert chart.data["sum"].tolist() == pytest.approx(values[:3].sum((1, 2, 3)).tolist(), rel=1e-6)
    assert chart.data["greatest"].tolist() == pytest.approx(
        values.sum(1)[:3].amax((1, 2)).tolist(), rel=1e-6
    )
    assert "means of 2 x 2 places" in chart.caption


def test_contributions_are_ladders_and_slopes_bars() -> None:
    first, *others = cards._credit(ANSWER)
    assert "mean size" in first.panels[0].x.label
    assert [each.data["name"].tolist()[0] for each in others] == ["base"] * 3
    _, *others = cards._credit(NOUNS["slopes"])
    assert len(others) == 3
    assert all("base" not in each.data["name"].tolist() for each in others)
    [alone] = cards._credit(NOUNS["one input"])
    assert alone.data["name"].tolist()[0] == "base"
