"""Fingerprints of whole datasets, kept by a process: read in blocks at first, then what is new."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from psycopg2.extensions import cursor

from chalicelib.labels.fingerprint import WORDS, Fingerprint, Index, UInt64

BLOCK = 4096  # samples
MOST = 4_000_000  # images of all datasets that are kept, 40 bytes each
BLOCKS = """
SELECT last_id, sample_ids, bits FROM fingerprint_blocks
WHERE model = %s AND last_id > %s ORDER BY last_id
"""
OTHERS = """
SELECT string_agg(int8send(sample_id), ''::bytea ORDER BY sample_id),
       string_agg(bits, ''::bytea ORDER BY sample_id)
FROM samples WHERE model = %s AND sample_id > %s
"""
PACK = "SELECT pack_fingerprints(%s, %s)"

Ids = npt.NDArray[np.int64]


class Kept:
    """The fingerprints of one dataset, to be searched while another thread reads on.

    Attributes
    ----------
    last_id : int
        The last sample that was read; 0: none was.
    packed_id : int
        The last that is known to be in a block.
    """

    def __init__(self) -> None:
        self._ids: Ids = np.empty(0, np.int64)
        self._index = Index()
        self.last_id = self.packed_id = 0

    def __len__(self) -> int:
        return len(self._index)

    @property
    def loose(self) -> int:
        """How many of them may be in no block yet."""
        return len(self) - int(self._ids[: len(self)].searchsorted(self.packed_id, "right"))

    def extend(self, ids: Ids, bits: UInt64) -> None:
        """Take in samples in the order of their ids; those that are known are passed over.

        Parameters
        ----------
        ids : int64 [N]
        bits : uint64 [N, 4]
        """
        fresh = ids > self.last_id
        if not fresh.any():
            return
        held, count = self._ids[: len(self)], len(self) + int(fresh.sum())
        if count > len(self._ids):
            self._ids = np.empty(max(count, 2 * len(held)), np.int64)
            self._ids[: len(held)] = held
        self._ids[len(held) : count] = ids[fresh]
        self._index.extend(bits[fresh])
        self.last_id = int(ids[-1])

    def near(self, asked: Fingerprint, after: int, until: int) -> list[tuple[int, int]]:
        """Return distance and sample_id of what is near among the samples of a range of ids.

        Parameters
        ----------
        asked : Fingerprint
        after, until : int
            Samples above the first and up to the second.
        """
        ids = self._ids
        start, stop = (int(ids[: len(self)].searchsorted(end, "right")) for end in (after, until))
        return [(far, int(ids[row])) for row, far in self._index.near(asked, start, stop)]


class KeptFingerprints:
    """What a process keeps of datasets.

    Parameters
    ----------
    most : int
        Images of all datasets together: beyond it the least lately used are given up.
    block : int
        Samples of a block.
    """

    def __init__(self, most: int = MOST, block: int = BLOCK) -> None:
        self._most, self._block = most, block
        self._of: dict[str, Kept] = {}

    def read(self, rows: cursor, model: str) -> Kept:
        """Return all fingerprints of a dataset that this transaction can see."""
        kept = self._of.pop(model, None) or Kept()
        rows.execute(BLOCKS, (model, kept.last_id))
        for last_id, ids, bits in rows.fetchall():
            kept.extend(_numbers(ids), unpacked(bits))
            kept.packed_id = last_id
        rows.execute(OTHERS, (model, kept.last_id))
        [(ids, bits)] = rows.fetchall()
        if ids is not None:
            kept.extend(_numbers(ids), unpacked(bits))
        self._of[model] = kept
        self._give_up()
        return kept

    def pack(self, rows: cursor, model: str, more: int) -> None:
        """Pack what makes up whole blocks, where so many more may do so.

        The dataset has to be locked; a transaction that rolls back takes its blocks along.
        """
        kept = self._of.get(model)
        if kept is None or kept.loose + more < self._block:
            return
        rows.execute(PACK, (model, self._block))
        [(kept.packed_id,)] = rows.fetchall()  # rolled back, it only makes the next block late

    def _give_up(self) -> None:
        held = sum(map(len, self._of.values()))
        for model in list(self._of)[:-1]:
            if held > self._most:
                held -= len(self._of.pop(model))


def unpacked(bits: bytes | memoryview) -> UInt64:
    """Return stored fingerprints as uint64 [N, 4]."""
    return np.frombuffer(bits, "<u8").astype(np.uint64).reshape(-1, WORDS)


def _numbers(ids: bytes | memoryview) -> Ids:
    return np.frombuffer(ids, ">i8").astype(np.int64)
