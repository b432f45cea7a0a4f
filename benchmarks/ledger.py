"""Measures what the triggers cost, and every query of the Ledger at a million requests.

    python benchmarks/ledger.py                     # some minutes
    python benchmarks/ledger.py --requests 50000    # smaller

On a PostgreSQL of its own, as `make run` starts it. Inserts: one request a transaction from one
connection and from several, over many users and over one, into the table with its triggers and
into the same table without them, in turn; the ratio is the median of the rounds' ratios. Then the
table is filled, and each query is timed from Python to Python, with its plan.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.database import Database  # noqa: E402
from chalicelib.trust import ledger as q  # noqa: E402
from chalicelib.trust.ledger import NEWEST, Ledger, Request  # noqa: E402
from deploy.migrate import migrate  # noqa: E402
from local.home import Home  # noqa: E402
from local.postgres import Postgres  # noqa: E402

USERS = 20_000
BUSIEST = "user0"  # has every hundredth request
AIM_MS = 200
BARE = "CREATE TABLE sightloop.bare (LIKE sightloop.requests INCLUDING ALL)"
INSERT = """
INSERT INTO sightloop.{table} (prediction_id, user_address, model, model_version, score,
                               predicted_boxes, submitted_boxes, state, detail)
VALUES (gen_random_uuid(), %s, 'scratch', 1, %s, 2, 2, 'accepted', '{{"parts": []}}')
"""
FILL = """
INSERT INTO sightloop.requests (prediction_id, user_address, model, model_version, score,
                                predicted_boxes, submitted_boxes, state, detail, created_at)
SELECT md5(n::text)::uuid,
       'user' || CASE WHEN n % 100 = 0 THEN 0 ELSE (n::bigint * 7919) % {users} END,
       'scratch', 1, CASE WHEN n % 50 = 0 THEN 0.9 ELSE n % 69 / 100.0 END, n % 7, n % 6,
       CASE WHEN n % 20 = 0 THEN 'quarantined' ELSE 'accepted' END,
       jsonb_build_object('predicted', to_jsonb(array_fill(0.5, ARRAY[n % 7 * 4])),
                          'submitted', to_jsonb(array_fill(0.5, ARRAY[n % 6 * 4]))),
       now() - make_interval(secs => {requests} - n)
FROM generate_series(1, {requests}) n
"""
REVIEWED = """
UPDATE sightloop.requests SET state = 'accepted', reviewed_at = now(), reviewed_by = 'operator'
WHERE state = 'quarantined' AND request_id % 200 <> 0
"""


def main() -> None:
    """Measure and print."""
    wanted = arguments()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load", end=" ")
    print(f"{os.getloadavg()[0]:.1f}")
    with server(wanted.durable) as url:
        with closing(psycopg2.connect(url)) as held:
            version = held.info.parameter_status("server_version")
            print(f"PostgreSQL {version}, {wanted.requests:,} requests")
            run(held, BARE)
        measure_inserts(url, wanted.rounds, wanted.inserts)
        fill(url, wanted.requests)
        measure_queries(url, wanted.requests, wanted.times)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000, help="rows in the table")
    parser.add_argument("--rounds", type=int, default=5, help="of inserts, in turn")
    parser.add_argument("--inserts", type=int, default=2_000, help="in each round")
    parser.add_argument("--times", type=int, default=100, help="that each query is run")
    parser.add_argument(
        "--not-durable",
        dest="durable",
        action="store_false",
        help="without waiting for the disk, to see the processor's work alone",
    )
    return parser.parse_args()


@contextmanager
def server(durable: bool) -> Iterator[str]:
    """Run a PostgreSQL with our tables; give its URL."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        postgres = Postgres(home)
        try:
            migrate(postgres.url)
            if not durable:
                with closing(psycopg2.connect(postgres.url)) as held:
                    run(held, "ALTER DATABASE sightloop SET synchronous_commit = off")
            yield postgres.url
        finally:
            postgres.stop()
            home.close()


def run(held: connection, statement: str, *given: object) -> None:
    """Run a statement in a transaction of its own."""
    with held, held.cursor() as rows:
        rows.execute(statement, given or None)


def measure_inserts(url: str, rounds: int, inserts: int) -> None:
    """Print how many requests a second are taken, with and without the triggers."""
    print(f"\n{'one request a transaction':34}{'bare/s':>9}{'counted/s':>11}{'ratio':>7}")
    for title, connections, users in (
        ("1 connection, many users", 1, USERS),
        ("8 connections, many users", 8, USERS),
        ("20 connections, one user", 20, 1),
    ):
        taken: dict[str, list[float]] = {"bare": [], "requests": []}
        for _ in range(rounds):
            for table, rates in taken.items():
                rates.append(rate(url, table, connections, users, inserts))
        bare, counted = (statistics.median(rates) for rates in taken.values())
        ratios = [with_them / without for without, with_them in zip(*taken.values(), strict=True)]
        print(f"{title:34}{bare:9.0f}{counted:11.0f}{statistics.median(ratios):7.2f}")


def rate(url: str, table: str, connections: int, users: int, inserts: int) -> float:
    """Return inserts a second, one a transaction, all below suspicion."""
    statement = INSERT.format(table=table)

    def insert(number: int) -> None:
        with closing(psycopg2.connect(url)) as held:
            run(held, statement, "warm", 0.1)
            ready.append(number)
            while len(ready) < connections:
                time.sleep(0.001)
            begun.append(time.perf_counter())
            for each in range(number, inserts, connections):
                run(held, statement, f"user{each * 7919 % users}", each % 70 / 100)
            ended.append(time.perf_counter())

    ready: list[int] = []
    begun: list[float] = []
    ended: list[float] = []
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(insert, range(connections)))
    return inserts / (max(ended) - min(begun))


def fill(url: str, requests: int) -> None:
    """Fill the table, by one statement, through the triggers."""
    with closing(psycopg2.connect(url)) as held:
        run(held, "TRUNCATE sightloop.requests, sightloop.bare RESTART IDENTITY")
        begun = time.perf_counter()
        run(held, FILL.format(users=USERS, requests=requests))
        took = time.perf_counter() - begun
        run(held, REVIEWED)
        held.autocommit = True
        held.cursor().execute("VACUUM ANALYZE")
        with held.cursor() as rows:
            rows.execute("SELECT pg_size_pretty(pg_total_relation_size('sightloop.requests'))")
            [(size,)] = rows.fetchall()
    print(f"\n{requests:,} in one statement: {took:.0f} s, {requests / took:,.0f}/s; {size}")


def measure_queries(url: str, requests: int, times: int) -> None:
    """Print the median and the slowest of each call, then the plan of its query."""
    print(f"\n{'call':40}{'rows':>6}{'median ms':>11}{'worst ms':>10}")
    measured = list(calls(requests))
    database = Database(url)
    for title, call, _, _ in measured:
        rows, took = timed(lambda call=call: call(Ledger(database)), times)  # type: ignore[misc]
        median = statistics.median(took)
        print(f"{title:40}{rows:6}{median:11.2f}{max(took):10.2f}{over(median)}")
    database.close()
    with closing(psycopg2.connect(url, options="-c search_path=sightloop,public")) as held:
        for title, _, query, given in measured:
            print("\n  ".join([f"\n{title}", *plan(held, query, given)]))


def calls(requests: int) -> Iterator[tuple[str, Callable[[Ledger], object], str, dict[str, Any]]]:
    """Give each call of the Ledger with its query and what that is given."""
    half = requests // 2
    user = {"user_address": BUSIEST}
    known = str(uuid.UUID(hashlib.md5(b"100", usedforsecurity=False).hexdigest()))
    said = {**user, "prediction_id": known}
    page = {"limit": q.PAGE}
    yield "record, new", lambda held: held.record(request(str(uuid.uuid4()))), q.OUTCOME, said
    yield "record, the same again", lambda held: held.record(request(known)), q.OUTCOME, said
    yield "is_banned", lambda held: held.is_banned(BUSIEST), q.BANNED_SINCE, user
    yield "standing", lambda held: held.standing(BUSIEST), q.ONE_STANDING, user
    yield (
        "of_user",
        lambda held: held.of_user(BUSIEST),
        q.BY_USER,
        {**user, **page, "before": NEWEST},
    )
    yield (
        "of_user, halfway down",
        lambda held: held.of_user(BUSIEST, half),
        q.BY_USER,
        {**user, **page, "before": half},
    )
    yield "to_review", lambda held: held.to_review(), q.TO_REVIEW, {**page, "after": 0}
    yield (
        "to_review, halfway down",
        lambda held: held.to_review(half),
        q.TO_REVIEW,
        {**page, "after": half},
    )
    yield "of_prediction", lambda held: held.of_prediction(known), q.BY_PREDICTION, said
    yield "bans", lambda held: held.bans(), q.BANS, {}
    yield (
        "decisions",
        lambda held: held.decisions("user50"),
        q.DECISIONS,
        {"user_address": "user50"},
    )
    yield "has_decided", lambda held: held.has_decided(1), q.HAS_DECIDED, {"decision_id": 1}


def request(prediction_id: str) -> Request:
    """Return a request of the busiest user."""
    return Request(BUSIEST, prediction_id, "scratch", 1, 0.5, 2, 2, "accepted")


def timed(call: Callable[[], object], times: int) -> tuple[int, list[float]]:
    """Return how many rows a call gives, and the milliseconds that it took each time."""
    answer = call()
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        took.append((time.perf_counter() - begun) * 1000)
    return len(answer) if isinstance(answer, list) else 1, took


def over(median_ms: float) -> str:
    """Mark what is slower than it may be."""
    return "" if median_ms < AIM_MS else f"  over {AIM_MS} ms"


def plan(held: connection, query: str, given: dict[str, Any]) -> list[str]:
    """Return the plan by which PostgreSQL answered a query."""
    with held, held.cursor() as rows:
        rows.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, SUMMARY OFF) {query}", given)
        return [str(line) for (line,) in rows.fetchall()]


if __name__ == "__main__":
    main()
