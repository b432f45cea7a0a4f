"""Who waits for whom: the order of locks that sql/0002_requests.sql promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection

from chalicelib.trust.ledger import Ledger, Request

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SECONDS = 60
INSERT = """
INSERT INTO sightloop.requests (prediction_id, user_address, model, model_version, score,
                                predicted_boxes, submitted_boxes, state)
SELECT gen_random_uuid(), named, 'scratch', 1, 0.9, 1, 1, 'accepted' FROM """
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.fixture
def held(sql: Any) -> Iterator[connection]:
    """A connection whose transaction a test holds open."""
    with closing(psycopg2.connect(sql.url)) as opened:
        yield opened


@pytest.fixture
def blocked(sql: Any, held: connection) -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    """Call something beside the test; go on as soon as it waits for a lock."""
    with ThreadPoolExecutor(1) as pool:

        def start(call: Callable[[], Any]) -> Future[Any]:
            begun = pool.submit(call)
            deadline = time.monotonic() + SECONDS
            while sql(WAITING) == [(0,)]:
                assert not begun.done(), "it waited for nobody"
                assert time.monotonic() < deadline
            return begun

        yield start
        held.close()  # else a test that fails would wait for whom it blocks


def test_users_are_locked_in_the_order_of_their_addresses(
    sql: Any, held: connection, blocked: Callable[..., Future[Any]]
) -> None:
    many = "SELECT 'user' || n FROM generate_series(1, 200) n"
    sql(f"{INSERT} ({many}) u (named)")
    sql(f"{INSERT} (VALUES ('ann')) u (named)")  # the first by name, the last in the table
    held.cursor().execute("SELECT FROM sightloop.users WHERE user_address = 'ann' FOR UPDATE")
    both = blocked(lambda: sql(f"{INSERT} ({many} UNION ALL SELECT 'ann') u (named)"))

    sql("SELECT FROM sightloop.users WHERE user_address <> 'ann' FOR UPDATE NOWAIT")
    held.rollback()
    both.result(SECONDS)
    assert sql.counters() == sql.recount()


def test_who_records_does_not_wait_for_who_lifts_by_hand(
    sql: Any, held: connection, blocked: Callable[..., Future[Any]], ledger: Ledger
) -> None:
    """A ban deleted in psql is locked before its user: the other way round than all else."""
    ledger.ban("ann", "olga", "test")
    sql(f"{INSERT} (SELECT 'ann' FROM generate_series(1, 11)) u (named)")
    rows = held.cursor()
    rows.execute("SELECT FROM sightloop.users WHERE user_address = 'ann' FOR UPDATE")
    lifting = blocked(lambda: sql("DELETE FROM sightloop.bans"))

    rows.execute(f"{INSERT} (VALUES ('ann')) u (named)")
    held.commit()
    lifting.result(SECONDS)
    assert not ledger.is_banned("ann")
    assert sql.counters() == sql.recount()


def test_a_lifting_waits_for_a_request_under_way_and_forgives_it(
    sql: Any,
    held: connection,
    blocked: Callable[..., Future[Any]],
    ledger: Ledger,
    request_of: Callable[..., Request],
) -> None:
    ledger.ban("ann", "olga", "test")
    held.cursor().execute(f"{INSERT} (VALUES ('ann')) u (named)")
    lifting = blocked(lambda: ledger.lift("ann", "olga", "test"))
    held.commit()

    assert lifting.result(SECONDS)
    outcomes = [ledger.record(request_of("ann")) for _ in range(11)]
    assert [outcome.banned_since is not None for outcome in outcomes] == [False] * 10 + [True]


def test_other_users_and_other_reviews_do_not_wait(
    sql: Any, held: connection, ledger: Ledger, request_of: Callable[..., Request]
) -> None:
    reviewed = ledger.record(request_of("bob")).request_id
    held.cursor().execute(f"{INSERT} (VALUES ('ann')) u (named)")

    sql("SET LOCAL lock_timeout = '1ms'", f"{INSERT} (VALUES ('eve')) u (named)")
    sql(
        "SET LOCAL lock_timeout = '1ms'",
        f"""UPDATE sightloop.requests
            SET state = 'accepted', reviewed_at = now(), reviewed_by = 'olga'
            WHERE request_id = {reviewed}""",
    )
    held.rollback()
    assert sorted(sql.counters()) == ["bob", "eve"]


def test_bulk_statements_over_the_same_users_do_not_deadlock(
    sql: Any, at_once: Callable[..., list[Any]]
) -> None:
    def bulk(_: Ledger, number: int) -> None:
        order = "ASC" if number % 2 else "DESC"
        users = f"SELECT 'user' || n FROM generate_series(1, 50) n ORDER BY n {order}"
        sql(f"{INSERT} ({users}) u (named)")

    at_once(bulk, list(range(60)))

    assert sql.counters() == sql.recount()
    assert sql("SELECT DISTINCT num_accesses FROM sightloop.users") == [(60,)]
    assert sql("SELECT count(*) FROM sightloop.decisions") == [(50,)]
