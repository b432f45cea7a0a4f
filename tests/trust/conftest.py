"""An empty database with all our tables for each test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest

from chalicelib.database import Database
from chalicelib.trust.ledger import Ledger, Request

CONNECTIONS = 20


@dataclass(frozen=True)
class Sql:
    """One test's database, asked directly; every call is a connection and a transaction."""

    url: str

    def __call__(self, *statements: str, **given: object) -> list[tuple[Any, ...]]:
        """Run statements in one transaction; return the rows of the last, if it has any."""
        with closing(psycopg2.connect(self.url)) as held, held, held.cursor() as rows:
            for statement in statements:
                rows.execute(statement, given or None)
            return list(rows.fetchall()) if rows.description else []

    def counters(self) -> dict[str, tuple[Any, ...]]:
        """Return what the triggers counted for each user."""
        found = self("""SELECT user_address, num_accesses, total_score, suspicious_requests
                        FROM sightloop.users""")
        return {user: counted for user, *counted in found}

    def recount(self) -> dict[str, tuple[Any, ...]]:
        """Return the same, counted anew from the requests."""
        found = self("""SELECT u.user_address, u.deleted_requests + count(r),
                               u.deleted_score + coalesce(
                                   sum(greatest(r.score, r.replaced_score)::numeric), 0),
                               u.deleted_requests + count(r) FILTER (WHERE r.counted)
                        FROM sightloop.users u LEFT JOIN sightloop.requests r USING (user_address)
                        GROUP BY u.user_address""")
        return {user: counted for user, *counted in found}


@pytest.fixture
def sql(new_database: Callable[..., str], migrated: str) -> Sql:
    return Sql(new_database(template=migrated))


@pytest.fixture
def ledger(sql: Sql) -> Iterator[Ledger]:
    database = Database(sql.url)
    yield Ledger(database)
    database.close()


@pytest.fixture(scope="session")
def request_of() -> Callable[..., Request]:
    """Make a request; a suspicious one for another prediction where nothing else is said."""

    def make(user: str = "vandal", **other: Any) -> Request:
        given: dict[str, Any] = {
            "prediction_id": str(uuid.uuid4()),
            "model": "scratch",
            "model_version": 1,
            "score": 0.9,
            "predicted_boxes": 2,
            "submitted_boxes": 1,
            "state": "quarantined",
        }
        return Request(user_address=user, **{**given, **other})

    return make


@pytest.fixture
def at_once(sql: Sql) -> Callable[..., list[Any]]:
    """Call something for each of the given values, from twenty connections at once."""

    def run(call: Callable[[Ledger, Any], Any], values: list[Any]) -> list[Any]:
        database = Database(sql.url)

        def share(number: int) -> list[Any]:
            try:
                return [call(Ledger(database), value) for value in values[number::CONNECTIONS]]
            finally:
                database.close()

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return [one for part in pool.map(share, range(CONNECTIONS)) for one in part]

    return run
