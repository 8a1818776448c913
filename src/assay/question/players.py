"""Which features are players of an input: what it has, and what a removal can change in it.

A feature that owns no element of an input (a word that a shorter text does not have), or whose
elements every replacement leaves as they are (a zero of a sparse row under a baseline of zeros), is
a dummy of that input's game: no coalition is worth more or less with it. Shapley values do not
depend on dummies (Shapley 1953, section 2: a game is determined on any carrier), so a game may be
solved on an input's own players. They are read off the data, without asking the model.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from assay.features.partition import Partition
from assay.numerics.pieces import pieces
from assay.removals.base import Absent, FixedAbsent


def existing_features(x: Tensor, partition: Partition) -> Tensor:
    """Which features own an element of each input x (n, elements): (n, features), bool."""
    if partition.identity:
        return torch.ones_like(x, dtype=torch.bool)
    shape = (len(partition.labels), x.shape[1])
    elements = torch.ones(shape, dtype=torch.bool, device=x.device)
    return _owners_of(elements, partition).expand(len(x), -1)


def changeable_features(x: Tensor, partition: Partition, absent: Absent) -> Tensor:
    """Which features some replacement changes in each input x (n, elements): (n, features), bool.

    Replacements that depend on the mask may change any element.
    """
    if isinstance(absent, FixedAbsent):
        return _owners_of(_changed(x, absent.rows), partition)
    return existing_features(x, partition)


def _changed(x: Tensor, replacements: Tensor) -> Tensor:
    """Which elements some replacement (1 or n, draws, elements) changes: (n, elements)."""
    if x.is_complex():
        # Complex numbers have no order.
        return (replacements != x.unsqueeze(1)).any(dim=1)
    # All replacements are equal to x where the least and the greatest are.
    changed = (replacements.amin(dim=1) != x) | (replacements.amax(dim=1) != x)
    missing = x.isnan()
    if bool(missing.any()):
        # What is missing in x and in every replacement stays missing.
        changed &= ~(missing & _missing_alike(x, replacements).all(dim=1))
    return changed


def _missing_alike(x: Tensor, replacements: Tensor) -> Tensor:
    """Which replacements are missing as x is: None is not NaN to an encoder (`inputs/levels.py`)."""
    missing = replacements.isnan()
    if x.dtype == torch.float64:
        bits = replacements.view(torch.int64) ^ x.view(torch.int64).unsqueeze(1)
        missing = missing & (bits & 0xFF == 0)
    return missing


def _owners_of(elements: Tensor, partition: Partition) -> Tensor:
    """The features that own at least one of some elements (r, elements): (r, features)."""
    if partition.identity:
        return elements
    count = partition.count
    owners = elements.new_zeros(len(elements), count + 1)
    for piece in pieces(len(elements), elements.shape[1]):
        rows = torch.arange(piece.start, piece.stop, device=elements.device)
        labels = partition.of(rows)
        # What nobody owns, and what does not count, gathers in one more slot.
        counted = elements[piece] & (labels >= 0)
        slots = torch.where(counted, labels, count)
        owners[piece].scatter_(1, slots, True)
    return owners[:, :-1]


def on_players(partition: Partition, players: Tensor) -> Partition:
    """The partition of some inputs with their players (r, features) as features, k of each.

    An element of anybody else belongs to nobody, and so is never replaced.
    """
    alike = bool((players == players[:1]).all())
    # One row of labels and of players is one row of labels again.
    if alike and len(partition.labels) == 1:
        players = players[:1]
    labels = partition.labels.expand(len(players), -1)
    number = players.cumsum(dim=1) - 1
    owner = labels.clamp_min(0)
    plays = (labels >= 0) & players.gather(1, owner)
    count = int(number[0, -1]) + 1
    chosen = players[0].tolist()
    return replace(
        partition,
        labels=torch.where(plays, number.gather(1, owner), -1),
        count=count,
        names=tuple(name for name, plays_on in zip(partition.names, chosen) if plays_on),
        shape=(count,),
        identity=False,
    )
