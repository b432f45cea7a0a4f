"""The rows of imports and exports, and the leases by which one worker at a time holds one.

A worker takes a transfer for a while, and says with every step that it is still there. One that
died lets go of it by itself; one that was slow finds on its next step that it is another's now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from psycopg2.extensions import cursor
from psycopg2.extras import Json

from chalicelib.database import Database
from chalicelib.errors import NotFound
from chalicelib.labels.transfers.records import WORKING, Kind, State, Transfer, is_id, new_id

LEASE_SECONDS = 300
COLUMNS = """
    transfer_id::text, kind, model, user_address, asked, state, key, etag,
    object_version, done, total, found,
    problem, attempts, lease::text, created_at, updated_at
"""
INSERT = f"""
INSERT INTO transfers (transfer_id, kind, model, user_address, asked, state, key)
VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING {COLUMNS}
"""
FIND = f"SELECT {COLUMNS} FROM transfers WHERE transfer_id = %s"
ARRIVE = """
UPDATE transfers SET state = 'checking', etag = %s, object_version = %s, updated_at = now()
WHERE transfer_id = %s AND key = %s AND state = 'waiting'
"""
TAKE = f"""
UPDATE transfers SET lease = %s, leased_until = now() + %s * interval '1 second',
    attempts = attempts + 1, updated_at = now()
WHERE transfer_id = (
    SELECT transfer_id FROM transfers
    WHERE transfer_id = %s AND state = ANY(%s) AND (leased_until IS NULL OR leased_until < now())
    FOR UPDATE SKIP LOCKED)
RETURNING {COLUMNS}
"""
SAVE = f"""
UPDATE transfers SET state = %(state)s, key = %(key)s, done = %(done)s, total = %(total)s,
    found = %(found)s, problem = %(problem)s, attempts = 0, updated_at = now(),
    lease = CASE WHEN %(over)s THEN NULL ELSE lease END,
    leased_until = CASE WHEN %(over)s THEN NULL
                        ELSE now() + %(seconds)s * interval '1 second' END
WHERE transfer_id = %(transfer_id)s AND lease = %(lease)s
RETURNING {COLUMNS}
"""
RELEASE = """
UPDATE transfers SET lease = NULL, leased_until = NULL, updated_at = now()
WHERE transfer_id = %s AND lease = %s
"""
LATE = f"""
SELECT {COLUMNS} FROM transfers
WHERE state = ANY(%s) AND updated_at < now() - %s * interval '1 second'
    AND (leased_until IS NULL OR leased_until < now())
ORDER BY updated_at LIMIT %s
"""
EXPIRE = """
UPDATE transfers SET state = 'failed', problem = %s, updated_at = now()
WHERE state = 'waiting' AND created_at < now() - %s * interval '1 second'
"""


class LostLease(Exception):
    """Whoever held a transfer was so slow that somebody else has it now."""


class Transfers:
    """The table of imports and exports.

    Parameters
    ----------
    database : Database
    lease_seconds : int
        For how long a worker that says nothing is still taken to be at work.
    """

    def __init__(self, database: Database, lease_seconds: int = LEASE_SECONDS) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

    def create(
        self,
        kind: Kind,
        model: str,
        user: str,
        asked: Mapping[str, Any],
        key_of: Callable[[str], str | None] = lambda transfer_id: None,
    ) -> Transfer:
        """Write a new transfer down: an import waits for its ZIP, an export for a worker.

        Parameters
        ----------
        kind : Kind
        model, user : str
        asked : mapping
            What the caller chose.
        key_of : callable, optional
            From the new id to the key of the ZIP that is awaited.
        """
        transfer_id = new_id()
        state = State.WAITING if kind is Kind.IMPORT else State.QUEUED
        key = key_of(transfer_id)
        with self._database.transaction() as rows:
            rows.execute(INSERT, (transfer_id, kind, model, user, Json(dict(asked)), state, key))
            return _one(rows)

    def find(self, transfer_id: str, kind: Kind) -> Transfer:
        """Return a transfer.

        Raises
        ------
        NotFound
            There is none with that id.
        """
        row = None
        if is_id(transfer_id):
            with self._database.transaction() as rows:
                rows.execute(FIND, (transfer_id,))
                row = rows.fetchone()
        if row is None or row[1] != kind:
            raise NotFound(f"there is no {kind} {transfer_id!r}")
        return _transfer(row)

    def arrive(self, transfer_id: str, key: str, etag: str, version: str = "") -> Transfer | None:
        """Note that an import's ZIP is there: from now on this one counts, and no later one.

        Returns
        -------
        Transfer or None
            As it is now; None where no import awaited that key.
        """
        with self._database.transaction() as rows:
            rows.execute(ARRIVE, (etag, version or None, transfer_id, key))
            rows.execute(FIND, (transfer_id,))
            row = rows.fetchone()
        return None if row is None or row[6] != key else _transfer(row)

    def take(self, transfer_id: str) -> Transfer | None:
        """Take a transfer to work on it; None: there is nothing to do, or somebody is at it."""
        with self._database.transaction() as rows:
            states = [state.value for state in WORKING]
            rows.execute(TAKE, (new_id(), self._lease_seconds, transfer_id, states))
            row = rows.fetchone()
        return _transfer(row) if row else None

    def save(self, held: Transfer, **changes: Any) -> Transfer:
        """Write down how far a transfer is, and hold it for another while.

        Raises
        ------
        LostLease
            It is somebody else's by now.
        """
        with self._database.transaction() as rows:
            return self.save_in(rows, held, **changes)

    def save_in(self, rows: cursor, held: Transfer, **changes: Any) -> Transfer:
        """Do so within the caller's transaction, which locks the row until it ends."""
        changed = replace(held, **changes)
        rows.execute(
            SAVE,
            {
                **asdict(changed),
                "found": Json(dict(changed.found)),
                "over": changed.is_over,
                "seconds": self._lease_seconds,
            },
        )
        row = rows.fetchone()
        if row is None:
            raise LostLease(held.transfer_id)
        return _transfer(row)

    def release(self, held: Transfer) -> None:
        """Let go of a transfer, so that another can take it at once."""
        with self._database.transaction() as rows:
            rows.execute(RELEASE, (held.transfer_id, held.lease))

    def late(self, seconds: float, most: int) -> list[Transfer]:
        """Return transfers that should be worked on and have not been for so long."""
        with self._database.transaction() as rows:
            rows.execute(LATE, ([state.value for state in WORKING], seconds, most))
            return [_transfer(row) for row in rows.fetchall()]

    def expire(self, seconds: float, problem: str) -> int:
        """Give up on imports that have waited for their ZIP for so long; return how many."""
        with self._database.transaction() as rows:
            rows.execute(EXPIRE, (problem, seconds))
            return int(rows.rowcount)


def _one(rows: cursor) -> Transfer:
    row = rows.fetchone()
    assert row
    return _transfer(row)


def _transfer(row: Sequence[Any]) -> Transfer:
    transfer_id, kind, model, user, asked, state, *others = row
    return Transfer(transfer_id, Kind(kind), model, user, asked, State(state), *others)
