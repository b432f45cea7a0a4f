"""The seam to PostgreSQL: transactions that happen or do not, on a connection that is mended."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from chalicelib.database import Database
from chalicelib.errors import DatabaseUnavailable, SightloopError

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]


@pytest.fixture
def url(new_database: Callable[..., str]) -> str:
    return new_database()


def disconnect_everybody(url: str) -> None:
    with closing(psycopg2.connect(url)) as held, held, held.cursor() as rows:
        rows.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def name_of(database: Database) -> str:
    with database.transaction() as rows:
        rows.execute("SELECT current_database()")
        [(name,)] = rows.fetchall()
    return str(name)


def test_an_address_that_changes_is_asked_for_at_each_new_connection(
    url: str, new_database: Callable[..., str]
) -> None:
    """So a password may change in the secret, without a new process."""
    other = new_database()
    named = [url]
    database = Database(lambda: named[-1])
    first = name_of(database)

    named.append(other)
    assert name_of(database) == first
    disconnect_everybody(url)
    with pytest.raises(DatabaseUnavailable):
        name_of(database)

    assert name_of(database) == other.rpartition("/")[2]
    database.close()


def test_what_raises_did_not_happen(url: str) -> None:
    database = Database(url)
    with database.transaction() as rows:
        rows.execute("CREATE TABLE seen (number int)")

    with pytest.raises(RuntimeError), database.transaction() as rows:
        rows.execute("INSERT INTO seen VALUES (1)")
        raise RuntimeError("no")

    with database.transaction() as rows:
        rows.execute("SELECT count(*) FROM seen")
        assert rows.fetchall() == [(0,)]
    database.close()


def connections(url: str) -> int:
    with closing(psycopg2.connect(url)) as held, held.cursor() as rows:
        rows.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        [(count,)] = rows.fetchall()
    return int(count) - 1


def test_many_threads_share_few_connections(url: str) -> None:
    database = Database(url, most=3)

    def ask(number: int) -> int:
        with database.transaction() as rows:
            rows.execute("SELECT pg_sleep(0.01), %s", (number,))
            [(_, told)] = rows.fetchall()
        return int(told)

    with ThreadPoolExecutor(40) as pool:
        assert list(pool.map(ask, range(200))) == list(range(200))

    assert 1 <= connections(url) <= 3
    database.close()


def test_who_waits_too_long_for_a_connection_is_told(url: str) -> None:
    database = Database(url, most=1, wait_seconds=0.01)
    with database.transaction(), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(name_of, database)
        with pytest.raises(DatabaseUnavailable, match="busy"):
            waiting.result()

    assert name_of(database)
    database.close()


def test_after_the_server_was_away_one_transaction_fails_and_not_one_a_connection(url: str) -> None:
    database = Database(url, most=5)
    with ThreadPoolExecutor(5) as pool:
        together = threading.Barrier(5)

        def ask(_: int) -> None:
            with database.transaction():
                together.wait(60)

        list(pool.map(ask, range(5)))
    disconnect_everybody(url)
    with pytest.raises(DatabaseUnavailable):
        name_of(database)

    for _ in range(5):
        assert name_of(database)
    database.close()


def test_where_none_is_attached_it_says_what_to_set() -> None:
    for url in ("", lambda: ""):
        with pytest.raises(SightloopError, match="SIGHTLOOP_DATABASE_URL"):
            name_of(Database(url))


def test_naming_a_database_loads_no_driver() -> None:
    code = "import sys, chalicelib.database; print('psycopg2' in sys.modules)"

    seen = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)

    assert seen.stdout.strip() == b"False"
