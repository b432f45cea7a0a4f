"""Sides of images across processes: what was placed is in the database, and is read once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from psycopg2.extensions import cursor

from chalicelib.labels.split import Arrival, Decision, Member, Split

LOCK = "SELECT lock_dataset(%s)"
PLACED = """
SELECT sha256, bits, side, groups, joins, placed FROM samples
WHERE model = %s AND placed > %s ORDER BY placed
"""


@dataclass
class _Kept:
    """What this process knows of one dataset.

    Attributes
    ----------
    split : Split
    placed : int
        The revision up to which it was read.
    unproved : set[str]
        Images placed here that were not read back yet: their transaction may have failed.
    """

    split: Split = field(default_factory=Split)
    placed: int = 0
    unproved: set[str] = field(default_factory=set)


class Placing:
    """Decides sides by all that was placed so far, and reads only what it has not read yet.

    The dataset has to be locked for the transaction (``lock``) by whoever calls ``place`` or
    ``split``: then all transactions before have ended, and what they did can be seen.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._one_at_a_time = threading.Lock()

    def lock(self, rows: cursor, model: str) -> None:
        """Lock a dataset until the transaction ends."""
        rows.execute(LOCK, (model,))

    def look(self, rows: cursor, model: str, arrivals: Sequence[Arrival]) -> None:
        """Do what takes long before the dataset is locked: read it, if that was not done yet, and
        search it for what is near to images that are to be placed.
        """
        with self._one_at_a_time:
            if model not in self._kept:
                self._kept[model] = _read_on(rows, model, _Kept())
            split = self._kept[model].split
        split.look(arrivals)

    def split(self, rows: cursor, model: str) -> Split:
        """Return the sides as they are; for reading."""
        with self._one_at_a_time:
            return self._present(rows, model).split

    def place(self, rows: cursor, model: str, arrivals: Sequence[Arrival]) -> list[Decision]:
        """Decide for new images; what is decided has to be stored in the same transaction."""
        with self._one_at_a_time:
            kept = self._present(rows, model)
            before = {each.sha256: kept.split.find(each.sha256) for each in arrivals}
            decisions = kept.split.place(arrivals)
            placed = (decision.member for decision in decisions)
            kept.unproved.update(m.sha256 for m in placed if m is not before[m.sha256])
            return decisions

    def _present(self, rows: cursor, model: str) -> _Kept:
        kept = _read_on(rows, model, self._kept.get(model) or _Kept())
        if kept.unproved:  # a transaction was rolled back
            kept = _read_on(rows, model, _Kept())
        self._kept[model] = kept
        return kept


def _read_on(rows: cursor, model: str, kept: _Kept) -> _Kept:
    rows.execute(PLACED, (model, kept.placed))
    members = []
    for row in rows.fetchall():
        members.append(_member(row))
        kept.placed = row[-1]
    kept.split.enter(members)
    kept.unproved.difference_update(member.sha256 for member in members)
    return kept


def _member(row: tuple[Any, ...]) -> Member:
    sha256, bits, side, groups, joins, _ = row
    words = np.frombuffer(bytes(bits), "<u8").astype(np.uint64)
    return Member(sha256, words, side, tuple(groups), tuple(joins))
