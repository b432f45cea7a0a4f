"""Measures the list of bans: writing it, reading it, looking into it, and what it weighs.

    python benchmarks/bans.py                   # 100,000 bans
    python benchmarks/bans.py --bans 1000

The table is on a PostgreSQL of its own, as `make run` starts it; S3 is a dictionary, for what S3
takes is not ours. Side by side with what each call would cost without the list: one query.
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
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from botocore.exceptions import ClientError  # noqa: E402

from chalicelib.database import Database  # noqa: E402
from chalicelib.storage import ObjectStore  # noqa: E402
from chalicelib.trust.ledger import Ledger  # noqa: E402
from chalicelib.trust.report_list import KEY, ReportList, ReportListWriter  # noqa: E402
from deploy.migrate import migrate  # noqa: E402
from local.home import Home  # noqa: E402
from local.postgres import Postgres  # noqa: E402

ROUNDS = 7
LOOK_UPS = 100_000
QUERIES = 2_000
FILL = """
INSERT INTO sightloop.users (user_address)
SELECT CASE WHEN n % 2 = 0 THEN '2001:db8:' || to_hex(n) || ':1::/64'
            ELSE 'user:' || md5(n::text) END FROM generate_series(1, {bans}) n;
INSERT INTO sightloop.bans (user_address, reported_by, why)
SELECT user_address, 'sightloop', '11 suspicious requests' FROM sightloop.users;
"""


class Shelf:
    """S3 as far as the list needs it: one object at a time, and its ETag."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self._etags: dict[str, str] = {}

    def get_object(self, Bucket: str, Key: str, IfNoneMatch: str = "") -> dict[str, Any]:  # noqa: N803
        """Return an object, or say as S3 does that it is missing or the same."""
        if Key not in self.held:
            raise _error("NoSuchKey")
        if self._etags[Key] == IfNoneMatch:
            raise _error("304")
        return {"Body": BytesIO(self.held[Key]), "ETag": self._etags[Key]}

    def put_object(self, Key: str, Body: bytes, **_: Any) -> None:  # noqa: N803 - botocore's names
        """Write an object; here nobody else does."""
        self.held[Key] = Body
        self._etags[Key] = hashlib.md5(Body, usedforsecurity=False).hexdigest()


def _error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "GetObject")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_As_it_stands)
    parser.add_argument("--bans", type=int, default=100_000)
    bans = parser.parse_args().bans
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load", end=" ")
    print(f"{os.getloadavg()[0]:.1f}; {bans:,} bans")
    with server() as url:
        migrate(url)
        database = Database(url)
        with database.transaction() as rows:
            rows.execute(FILL.format(bans=bans))
        shelf = Shelf()
        store = ObjectStore(shelf, "store")
        measure_writing(Ledger(database), store, shelf)
        measure_reading(store, Ledger(database))
        database.close()


_As_it_stands = argparse.RawDescriptionHelpFormatter


def measure_writing(ledger: Ledger, store: ObjectStore, shelf: Shelf) -> None:
    """Print what a rebuild takes: of everything, and where nothing changed."""

    def anew() -> None:
        shelf.held.clear()
        ReportListWriter(store, ledger.bans).rebuild()

    whole = median_ms(anew)
    same = median_ms(ReportListWriter(store, ledger.bans).rebuild)
    size = len(shelf.held[KEY]) / 1e6
    print(f"write    {whole:9.1f} ms   the whole list, {size:.2f} MB, and look at it again")
    print(f"compare  {same:9.1f} ms   where nothing changed")


def measure_reading(store: ObjectStore, ledger: Ledger) -> None:
    """Print what a process pays to know the list, and a call to look into it."""
    tracemalloc.start()
    kept = ReportList(store, ttl_seconds=1e9)
    kept.banned_since("nobody")
    now, peak = (each / 2**20 for each in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    parse = median_ms(lambda: ReportList(store, 1e9).banned_since("nobody"))
    asked_each_time = ReportList(store, ttl_seconds=0)
    unchanged = median_ms(lambda: asked_each_time.banned_since("nobody"))
    banned = ledger.some_bans(limit=1)[0].user_address
    print(f"read     {parse:9.1f} ms   the first time, and whenever it changed")
    print(f"memory   {now:9.1f} MiB  kept; at most {peak:.1f} while it is read")
    print(f"ask      {unchanged:9.3f} ms   whether it changed (S3's own time not counted)")
    for name, user in (("nobody", "203.0.113.7"), ("banned", banned)):
        listed = per_call_us(lambda user=user: kept.banned_since(user), LOOK_UPS)  # type: ignore[misc]
        queried = per_call_us(lambda user=user: ledger.is_banned(user), QUERIES)  # type: ignore[misc]
        print(f"look up  {listed:9.2f} us   {name}; one query instead: {queried:.0f} us")


def median_ms(call: Callable[[], object]) -> float:
    """Return the median time of a few calls."""
    return statistics.median(_timed(call) for _ in range(ROUNDS)) * 1e3


def per_call_us(call: Callable[[], object], times: int) -> float:
    """Return the mean time of many calls, in microseconds; the median of three series."""

    def series() -> None:
        for _ in range(times):
            call()

    return statistics.median(_timed(series) for _ in range(3)) / times * 1e6


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


@contextmanager
def server() -> Iterator[str]:
    """Start a PostgreSQL of our own; give its URL."""
    with tempfile.TemporaryDirectory(prefix="sightloop-bench-") as folder:
        Path(folder).chmod(0o755)
        home = Home(Path(folder) / "home")
        postgres = Postgres(home)
        try:
            yield postgres.url
        finally:
            postgres.stop()
            home.close()


if __name__ == "__main__":
    main()
