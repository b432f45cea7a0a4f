"""Sides of images across processes: what was placed is in the database, and little of it is read.

To decide for an image one has to know which images are near to it, the clusters of those, and how
many images each side has. The last two are kept by the triggers of ``sql/``. For the first all
fingerprints have to be compared, so a process keeps those of the datasets that it was asked about
lately: it reads them in packed blocks, 40 bytes an image, and from then on what is new alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor

from chalicelib.labels.fingerprint import Fingerprint, Index
from chalicelib.labels.kept import Kept, KeptFingerprints, unpacked
from chalicelib.labels.split import (
    Arrival,
    Counts,
    Decision,
    Member,
    Side,
    Split,
    group_name,
    groups_of,
)

LOOKED_AHEAD = 100_000  # images that were looked at and are still to be placed
LOCK = "SELECT lock_dataset(%s)"
KNOWN = """
SELECT sha256, bits, side, groups, joins FROM samples WHERE model = %s AND sha256 = ANY(%s)
"""
PLACED = "SELECT sample_id, sha256, side FROM samples WHERE sample_id = ANY(%s)"
CLUSTERS = """
SELECT array_agg(k.name), c.train > 0, c.valid > 0
FROM cluster_names k JOIN clusters c USING (cluster_id)
WHERE k.model = %s AND k.name = ANY(%s) GROUP BY c.cluster_id
"""
COUNTS = """
SELECT side, n FROM dataset_counts WHERE model = %s AND side <> '' AND fact = 'placed' AND key = ''
"""
LEAKING = """
SELECT s.sha256
FROM clusters c JOIN cluster_names k USING (cluster_id)
JOIN samples s ON s.model = k.model AND s.sha256 = k.name
WHERE c.model = %s AND c.train > 0 AND c.valid > 0 AND s.side = 'valid'
"""


@dataclass(frozen=True)
class _Looked:
    """What is near to an image that is to be placed soon.

    Attributes
    ----------
    last_id : int
        The last sample that it was compared with.
    near : list[tuple[int, int]]
        Distances and samples.
    batch : frozenset[str]
        The images that are to be placed with it.
    among : mapping
        The distances of those of them that are near.
    """

    last_id: int
    near: list[tuple[int, int]]
    batch: frozenset[str]
    among: Mapping[str, int]


@dataclass(frozen=True, order=True)
class _Near:
    """An image that is near: the nearest come first, of those the oldest, and the new ones last.

    Attributes
    ----------
    distance : int
    is_new : bool
        Whether it is one of those that are to be placed.
    number : int
        Its sample_id, or its place among those.
    """

    distance: int
    is_new: bool
    number: int


class Placing:
    """Decides sides by all that was placed so far.

    The dataset has to be locked for the transaction (``lock``) by whoever calls ``place``: then all
    transactions before have ended, and what they did can be seen.

    Parameters
    ----------
    kept : KeptFingerprints, optional
    """

    def __init__(self, kept: KeptFingerprints | None = None) -> None:
        self._kept = kept or KeptFingerprints()
        self._looked: dict[tuple[str, str], _Looked] = {}
        self._one_at_a_time = threading.Lock()

    def lock(self, rows: cursor, model: str) -> None:
        """Lock a dataset until the transaction ends."""
        rows.execute(LOCK, (model,))

    def look(self, rows: cursor, model: str, arrivals: Sequence[Arrival]) -> None:
        """Do what takes long before the dataset is locked: read its fingerprints, if that was not
        done yet, and search them for what is near to images that are to be placed.
        """
        fresh = _fresh(arrivals, _known(rows, model, arrivals))
        kept = self._read(rows, model)
        last_id, batch, among = kept.last_id, frozenset(fresh), _among(fresh)
        if len(self._looked) > LOOKED_AHEAD:  # of those that never were placed
            self._looked.clear()
        for sha256, asked in fresh.items():
            near = kept.near(asked, 0, last_id)
            self._looked[model, sha256] = _Looked(last_id, near, batch, among[sha256])

    def near(self, rows: cursor, model: str, asked: Fingerprint) -> list[int]:
        """Return the samples of a dataset that are near to an image, nearest first."""
        kept = self._read(rows, model)
        return [sample_id for _, sample_id in kept.near(asked, 0, kept.last_id)]

    def place(self, rows: cursor, model: str, arrivals: Sequence[Arrival]) -> list[Decision]:
        """Decide for new images; what is decided has to be stored in the same transaction."""
        known = _known(rows, model, arrivals)
        near = self._near(_fresh(arrivals, known), model, self._read(rows, model))
        placed = _placed(rows, near)
        split = Split(known.values(), counts=_counts(rows, model))
        for sha256, side in placed.values():
            split.gather([sha256], [side])
        names = {sha256 for sha256, _ in placed.values()} | {each.sha256 for each in arrivals}
        names |= {group_name(group) for each in arrivals for group in groups_of(each)}
        _gather(rows, model, names, split)
        return split.place(arrivals, _named(near, placed))

    def pack(self, rows: cursor, model: str, more: int) -> None:
        """Pack fingerprints where so many more, added to a locked dataset, fill a block."""
        with self._one_at_a_time:
            self._kept.pack(rows, model, more)

    def leaking(self, rows: cursor, model: str) -> set[str]:
        """Return the validation images whose cluster is in training too."""
        rows.execute(LEAKING, (model,))
        return {sha256 for (sha256,) in rows.fetchall()}

    def _read(self, rows: cursor, model: str) -> Kept:
        with self._one_at_a_time:
            return self._kept.read(rows, model)

    def _near(
        self, fresh: Mapping[str, Fingerprint], model: str, kept: Kept
    ) -> dict[str, list[_Near]]:
        """Return what is near to each new image, in its order."""
        place_of = {sha256: place for place, sha256 in enumerate(fresh)}
        looked = {sha256: self._looked.pop((model, sha256), None) for sha256 in fresh}
        late = [one for one, seen in looked.items() if not seen or not fresh.keys() <= seen.batch]
        among = _among(fresh) if late else {}
        found = {}
        for sha256, asked in fresh.items():
            seen = looked[sha256]
            near = list(seen.near) if seen else []
            near += kept.near(asked, seen.last_id if seen else 0, kept.last_id)
            fellows = seen.among if seen and sha256 not in among else among[sha256]
            ordered = [_Near(distance, False, sample_id) for distance, sample_id in near]
            ordered += [_Near(far, True, place_of[n]) for n, far in fellows.items() if n in fresh]
            found[sha256] = sorted(ordered)
        return found


def _fresh(arrivals: Sequence[Arrival], known: Mapping[str, Member]) -> dict[str, Fingerprint]:
    return {each.sha256: each.fingerprint for each in arrivals if each.sha256 not in known}


def _among(fresh: Mapping[str, Fingerprint]) -> dict[str, dict[str, int]]:
    """Return for each new image the distances of those of the others, and itself, that are near."""
    names, index = list(fresh), Index()
    for asked in fresh.values():
        index.add(asked.bits)
    return {
        sha256: {names[row]: distance for row, distance in index.near(asked)}
        for sha256, asked in fresh.items()
    }


def _known(rows: cursor, model: str, arrivals: Sequence[Arrival]) -> dict[str, Member]:
    """Return those that were placed before."""
    rows.execute(KNOWN, (model, list({each.sha256 for each in arrivals})))
    return {
        sha256: Member(sha256, unpacked(bits)[0], side, tuple(groups), tuple(joins))
        for sha256, bits, side, groups, joins in rows.fetchall()
    }


def _placed(rows: cursor, near: Mapping[str, Sequence[_Near]]) -> dict[int, tuple[str, Side]]:
    """Return sha256 and side of the samples that are near; one may have been deleted."""
    ids = {each.number for found in near.values() for each in found if not each.is_new}
    if not ids:
        return {}
    rows.execute(PLACED, (sorted(ids),))
    return {sample_id: (sha256, side) for sample_id, sha256, side in rows.fetchall()}


def _counts(rows: cursor, model: str) -> Counts:
    rows.execute(COUNTS, (model,))
    n = dict(rows.fetchall())
    return Counts(n.get("train", 0) + n.get("valid", 0), n.get("valid", 0))


def _gather(rows: cursor, model: str, names: Iterable[str], split: Split) -> None:
    """Tell the split of the clusters that bear one of these names."""
    rows.execute(CLUSTERS, (model, list(names)))
    for joined, train, valid in rows.fetchall():
        sides: list[tuple[Side, bool]] = [("train", train), ("valid", valid)]
        split.gather(joined, [side for side, has in sides if has])


def _named(
    near: Mapping[str, Sequence[_Near]], placed: Mapping[int, tuple[str, Side]]
) -> dict[str, list[str]]:
    """Return the names of what is near to each new image."""
    fresh = list(near)
    return {
        sha256: [
            fresh[each.number] if each.is_new else placed[each.number][0]
            for each in found
            if each.is_new or each.number in placed
        ]
        for sha256, found in near.items()
    }
