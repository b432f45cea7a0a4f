"""Sides decided over the database equal those decided in memory, whoever asks and what fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import deploy
from chalicelib.labels.dataset import Added, Dataset, NewLabel
from chalicelib.labels.fingerprint import Fingerprint
from chalicelib.labels.kept import KeptFingerprints
from chalicelib.labels.placing import Placing
from chalicelib.labels.split import Arrival, Decision, Split

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Shelf = Any
BLOCK = 3  # so that some images fill some
MIGRATION = next(Path(deploy.__file__).parent.parent.glob("sql/*_fingerprint_blocks.sql"))
LONG = "x" * 600  # a group that is known by its checksum


class Failed(Exception):
    """A transaction that is rolled back."""


def looks(family: int, differing: int) -> Fingerprint:
    """Return a fingerprint; those of a family differ in so many bits, those of two in very many."""
    bits = np.random.default_rng(family).integers(0, 2**62, 4).astype(np.uint64)
    bits[0] ^= np.uint64(2**differing - 1)
    return Fingerprint(bits, bits[None])


class World:
    """Datasets in a database that some processes use, and the same in memory."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.split = Split()
        self.model = f"m{next(NAMES)}"
        self.processes = [self.process(most) for most in (1_000, 1_000, 0)]

    def process(self, most: int = 1_000) -> Dataset:
        placing = Placing(KeptFingerprints(most, BLOCK))
        shelf = self.shelf
        return Dataset(shelf.database, shelf.store, shelf.prefix_of, placing)

    def label(self, number: int, group: str | None) -> NewLabel:
        # Of each family the first two and the last two are near, and all to the middle one.
        looked = looks(number // 5, [0, 20, 40, 60, 62][number % 5])
        made = self.shelf.label(f"{self.model} {number}", group=group)
        return replace(made, fingerprint=looked)

    def add(self, by: Dataset, labels: list[NewLabel], fails: bool = False) -> list[Added]:
        with self.shelf.database.transaction() as rows:
            added = by.add(rows, self.model, labels)
            if fails:
                raise Failed
        return added

    def expected(self, labels: list[NewLabel]) -> list[Decision]:
        return self.split.place([Arrival(n.sha256, n.fingerprint, n.group) for n in labels])

    def stored(self) -> list[tuple[Any, ...]]:
        found = self.shelf.sql(
            "SELECT sha256, side, groups, joins FROM samples WHERE model = %s ORDER BY sha256",
            self.model,
        )
        return [(name, side, tuple(groups), tuple(joins)) for name, side, groups, joins in found]


def numbers() -> Iterator[int]:
    yield from range(10**9)


NAMES = numbers()

image = st.tuples(st.integers(0, 29), st.sampled_from([None, None, None, "a", "b", LONG]))
batch = st.lists(image, min_size=1, max_size=6)


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_sides_are_those_that_a_split_in_memory_decides(shelf: Shelf, data: st.DataObject) -> None:
    """Whoever looked at what before, whichever process places, and which transaction fails."""
    world = World(shelf)
    batches = data.draw(st.lists(batch, min_size=1, max_size=7))
    for drawn in batches:
        labels = [world.label(*each) for each in drawn]
        by = data.draw(st.sampled_from([*world.processes, None])) or world.process()
        for looked in data.draw(st.lists(st.sampled_from(batches), max_size=2)):
            by.look(world.model, [world.label(*each) for each in looked])
        if data.draw(st.integers(0, 4)) == 0:
            with pytest.raises(Failed):
                world.add(by, labels, fails=True)
        added, expected = world.add(by, labels), world.expected(labels)

        assert [(a.side, a.reason) for a in added] == [(e.member.side, e.reason) for e in expected]
    members = sorted(world.split.members, key=lambda member: member.sha256)
    assert world.stored() == [(m.sha256, m.side, m.groups, m.joins) for m in members]
    assert world.processes[0].leaking(world.model) == world.split.leaking()


def test_fingerprints_are_packed_once_and_read_back_the_same(shelf: Shelf) -> None:
    world = World(shelf)
    for first in range(0, 40, 2):
        by = world.processes[first // 2 % 2]
        world.add(by, [world.label(first, None), world.label(first + 1, None)])

    [(blocks, last)] = shelf.sql("SELECT count(*), max(last_id) FROM fingerprint_blocks")
    packed = b"".join(bytes(row[0]) for row in shelf.sql(PACKED))
    loose = shelf.sql("SELECT bits FROM samples WHERE sample_id > %s", last)
    everything = shelf.sql("SELECT bits FROM samples ORDER BY sample_id")
    assert blocks >= (40 - 2 * BLOCK) // BLOCK  # no process lags by more than a block
    assert packed + b"".join(bytes(row[0]) for row in loose) == b"".join(
        bytes(row[0]) for row in everything
    )


PACKED = "SELECT bits FROM fingerprint_blocks ORDER BY last_id"


def test_a_cold_process_reads_no_packed_image_row_by_row(shelf: Shelf) -> None:
    world = World(shelf)
    world.add(world.processes[0], [world.label(n, None) for n in range(30)])
    # Whoever read the rows would find other fingerprints there.
    shelf.sql("UPDATE samples SET bits = decode(repeat('ff', 32), 'hex') RETURNING 1")

    [again] = world.add(world.process(), [replace(world.label(2, None), sha256="0" * 64)])

    assert again.reason == "joined"


def test_an_image_that_was_deleted_draws_nobody(shelf: Shelf) -> None:
    world = World(shelf)
    world.add(world.processes[0], [world.label(n * 5, None) for n in range(9)])
    gone = world.label(0, None)
    for table in ("label_terms", "labels", "samples"):
        shelf.sql(f"DELETE FROM {table} WHERE sample_id = {SAMPLE} RETURNING 1", gone.sha256)

    like_it = replace(gone, sha256="0" * 64)
    [first], [second] = (world.add(by, [like_it]) for by in (world.process(), world.processes[0]))

    assert (first.reason, second.reason) == ("drawn", "known")


SAMPLE = "(SELECT sample_id FROM samples WHERE sha256 = %s)"


def test_images_of_two_models_are_not_near_to_each_other(shelf: Shelf) -> None:
    one, other = World(shelf), World(shelf)
    by = one.processes[0]
    one.add(by, [one.label(n, None) for n in range(10)])
    [alone] = other.add(by, [other.label(0, None)])

    assert alone.reason == "drawn"


def test_the_migration_packs_and_counts_what_was_there(shelf: Shelf) -> None:
    world = World(shelf)
    world.add(world.processes[0], [world.label(n, None) for n in range(8)])
    counts = "SELECT model, side, n FROM dataset_counts WHERE fact = 'placed' ORDER BY 1, 2"
    before = shelf.sql(counts)
    shelf.sql("UPDATE dataset_counts SET n = 7 WHERE fact = 'placed' RETURNING 1")

    shelf.sql(MIGRATION.read_text())

    assert shelf.sql(counts) == before
    assert sum(n for _, _, n in before) == 8
