"""The report list says what the table says, whoever writes at once; and is read cheaply."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.database import Database
from chalicelib.errors import Conflict, StorageUnavailable
from chalicelib.storage import ObjectStore
from chalicelib.trust import report_list
from chalicelib.trust.ledger import Ledger
from chalicelib.trust.records import Ban
from chalicelib.trust.report_list import KEY, ReportList, ReportListWriter

THEN = datetime(2026, 11, 21, 9, 30, 0, 123456, tzinfo=UTC)
TTL = 10.0


def ban(user: str, since: datetime = THEN) -> Ban:
    return Ban(user, since, "sightloop", "11 suspicious requests")


class Table:
    """The bans, as a database would have them."""

    def __init__(self, *users: str) -> None:
        self.bans = {user: ban(user) for user in users}

    def __call__(self) -> list[Ban]:
        return list(self.bans.values())


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counting:
    """An S3 client that counts its calls, and answers nothing while it is down."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3
        self.calls: list[str] = []
        self.down = False

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        if self.down:
            raise StorageUnavailable("S3 does not answer")
        return getattr(self._s3, name)


@pytest.fixture
def s3() -> Iterator[Counting]:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="store")
        yield Counting(client)


@pytest.fixture
def store(s3: Counting) -> ObjectStore:
    return ObjectStore(s3, "store")


def listed(store: ObjectStore) -> list[str]:
    return [line.split("\t")[0] for line in store.get(KEY).body.decode().splitlines()]


def put(store: ObjectStore, text: str | bytes) -> None:
    store.put(KEY, text.encode() if isinstance(text, str) else text, "text/plain")


# What is written.


def test_a_line_is_a_user_and_when_they_were_banned(store: ObjectStore) -> None:
    in_tokyo = THEN.astimezone(timezone(timedelta(hours=9)))
    table = Table("2001:db8:1:2::/64", "user:ünï", "203.0.113.7")
    table.bans["203.0.113.7"] = ban("203.0.113.7", in_tokyo)

    assert ReportListWriter(store, table).rebuild() == 3
    assert store.get(KEY).body.decode() == (
        "2001:db8:1:2::/64\t2026-11-21T09:30:00.123456+00:00\n"
        "203.0.113.7\t2026-11-21T09:30:00.123456+00:00\n"
        "user:ünï\t2026-11-21T09:30:00.123456+00:00\n"
    )


def test_what_is_written_is_read_back(store: ObjectStore) -> None:
    ReportListWriter(store, Table("203.0.113.7", "user:ünï 日本".replace(" ", "_"))).rebuild()
    read = ReportList(store, TTL)

    assert read.banned_since("203.0.113.7") == THEN
    assert read.banned_since("user:ünï_日本") == THEN
    assert read.banned_since("203.0.113.70") is None
    assert read.banned_since("") is None


def test_writing_it_again_writes_nothing(store: ObjectStore, s3: Counting) -> None:
    writer = ReportListWriter(store, Table("ann", "bob"))
    writer.rebuild()
    s3.calls.clear()

    assert writer.rebuild() == 2
    assert "put_object" not in s3.calls


def test_who_is_not_banned_any_more_is_not_listed_any_more(store: ObjectStore) -> None:
    table = Table("ann", "bob")
    writer = ReportListWriter(store, table)
    writer.rebuild()

    del table.bans["ann"]
    writer.rebuild()
    assert listed(store) == ["bob"]
    table.bans.clear()
    assert writer.rebuild() == 0
    assert store.get(KEY).body == b""


@pytest.mark.parametrize(
    "injected", ["ann\t2020-01-01T00:00:00+00:00\nbob", "ann\nbob", "a\tb", "ann\rbob"]
)
def test_a_name_cannot_put_another_line_into_the_list(store: ObjectStore, injected: str) -> None:
    assert ReportListWriter(store, Table("zoe", injected)).rebuild() == 1
    assert listed(store) == ["zoe"]


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\u000b", "\u001c", "\u00a0"])
def test_a_name_that_looks_like_two_lines_is_one(store: ObjectStore, separator: str) -> None:
    odd = f"ann{separator}bob"
    ReportListWriter(store, Table(odd, "zoe")).rebuild()

    read = ReportList(store, TTL)
    assert read.banned_since(odd) == read.banned_since("zoe") == THEN
    assert read.banned_since("bob") is None


# Two at once.


def test_who_read_the_table_earlier_does_not_write_over_who_read_it_later(
    store: ObjectStore,
) -> None:
    table = Table("ann")

    def read_then_be_overtaken() -> list[Ban]:
        seen = table()
        if "bob" not in table.bans:
            table.bans["bob"] = ban("bob")
            ReportListWriter(store, table).rebuild()
        return seen

    ReportListWriter(store, read_then_be_overtaken).rebuild()

    assert listed(store) == ["ann", "bob"]


def test_a_list_that_was_replaced_twice_and_is_as_it_was_deceives_nobody(
    store: ObjectStore,
) -> None:
    """S3 tells the lists apart by a checksum, so the condition alone would let this through."""
    table = Table("ann")
    ReportListWriter(store, table).rebuild()
    reads = 0

    def read_then_be_overtaken_twice() -> list[Ban]:
        nonlocal reads
        reads += 1
        if reads > 1:
            return table()
        table.bans["bob"] = ban("bob")
        seen = table()
        ReportListWriter(store, table).rebuild()
        del table.bans["bob"]
        ReportListWriter(store, table).rebuild()
        return seen

    ReportListWriter(store, read_then_be_overtaken_twice).rebuild()

    assert listed(store) == ["ann"]


def test_the_first_list_of_all_is_made_by_one_of_two(store: ObjectStore) -> None:
    table = Table("ann")

    def read_then_be_overtaken() -> list[Ban]:
        if "bob" not in table.bans:
            seen = table()
            table.bans["bob"] = ban("bob")
            store.put(KEY, b"bob\t2026-11-21T09:30:00+00:00\n", "text/plain")
            return seen
        return table()

    ReportListWriter(store, read_then_be_overtaken).rebuild()

    assert listed(store) == ["ann", "bob"]


def test_appending_as_it_was_done_before_would_have_lost_a_ban(store: ObjectStore) -> None:
    """Why the list is rebuilt and never appended to."""
    put(store, "")
    both_read = threading.Barrier(2)

    def append(user: str) -> None:
        read = store.get(KEY).body
        both_read.wait()
        store.put(KEY, read + f"{user}\t{THEN.isoformat()}\n".encode(), "text/plain")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(append, ["ann", "bob"]))

    assert len(listed(store)) == 1


def test_somebody_who_never_gets_a_turn_gives_up(store: ObjectStore) -> None:
    written = 0

    def read_while_somebody_writes() -> list[Ban]:
        nonlocal written
        written += 1
        put(store, f"somebody-{written}\t{THEN.isoformat()}\n")
        return [ban("ann")]

    with pytest.raises(Conflict, match=f"{report_list.ATTEMPTS} times"):
        ReportListWriter(store, read_while_somebody_writes).rebuild()


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_bans_that_come_at_once_are_all_in_the_list(
    store: ObjectStore, sql: Any, at_once: Callable[..., list[Any]]
) -> None:
    """Twenty connections ban and lift, each followed by a rebuild, as the Lambda would be."""

    def decide(ledger: Ledger, number: int) -> None:
        ledger.ban(f"user-{number}", "ada", "spam")
        if number % 3 == 0:
            ledger.lift(f"user-{number}", "ada", "a mistake")
        ReportListWriter(store, ledger.bans).rebuild()

    at_once(decide, list(range(60)))

    database = Database(sql.url)
    expected = [each.user_address for each in Ledger(database).bans()]
    database.close()
    assert len(expected) == 40
    assert listed(store) == expected


# What is read.


def test_a_stage_in_which_nobody_was_banned_yet_has_no_list(store: ObjectStore) -> None:
    assert ReportList(store, TTL).banned_since("ann") is None


def test_a_first_ban_is_seen_within_the_time_that_the_list_is_kept(store: ObjectStore) -> None:
    clock = Clock()
    read = ReportList(store, TTL, clock)
    assert read.banned_since("ann") is None
    ReportListWriter(store, Table("ann")).rebuild()

    clock.now += TTL - 0.1
    assert read.banned_since("ann") is None
    clock.now += 0.1
    assert read.banned_since("ann") == THEN


def test_s3_is_asked_once_in_a_while_and_sends_the_list_only_if_it_changed(
    store: ObjectStore, s3: Counting
) -> None:
    clock = Clock()
    read = ReportList(store, TTL, clock)
    ReportListWriter(store, Table("ann")).rebuild()
    s3.calls.clear()

    for _ in range(100):
        read.banned_since("ann")
    assert s3.calls == ["get_object"]
    before = read._known
    clock.now += TTL
    read.banned_since("ann")
    assert s3.calls == ["get_object", "get_object"]
    assert read._known is before


def test_while_s3_does_not_answer_the_last_known_list_counts(
    store: ObjectStore, s3: Counting
) -> None:
    clock = Clock()
    read = ReportList(store, TTL, clock)
    ReportListWriter(store, Table("ann")).rebuild()
    assert read.banned_since("ann") == THEN

    s3.down = True
    clock.now += 1000
    s3.calls.clear()
    for _ in range(10):
        assert read.banned_since("ann") == THEN
        assert read.banned_since("bob") is None
    assert s3.calls == ["get_object"]

    s3.down = False
    ReportListWriter(store, Table("bob")).rebuild()
    clock.now += TTL
    assert read.banned_since("ann") is None
    assert read.banned_since("bob") == THEN


def test_a_list_that_is_gone_lets_nobody_back_in(store: ObjectStore) -> None:
    clock = Clock()
    read = ReportList(store, TTL, clock)
    ReportListWriter(store, Table("ann")).rebuild()
    read.banned_since("ann")

    store.delete(KEY)
    clock.now += TTL
    assert read.banned_since("ann") == THEN


def test_a_list_that_was_never_read_and_cannot_be_is_a_fault(
    store: ObjectStore, s3: Counting
) -> None:
    s3.down = True

    with pytest.raises(StorageUnavailable):
        ReportList(store, TTL).banned_since("ann")


@pytest.mark.parametrize(
    "line",
    [
        b"no tab at all",
        b"\t2026-11-21T09:30:00+00:00",
        b"ann\tyesterday",
        b"ann\t2026-11-21T09:30:00",  # of no time zone
        b"ann\t",
        b"ann\t2026-11-21T09:30:00+00:00\textra",
        b"\xff\xfe\x00",
        b"x" * 100_000,
        b"",
        b"   ",
    ],
)
def test_a_line_that_cannot_be_read_spoils_no_other(store: ObjectStore, line: bytes) -> None:
    good = f"zoe\t{THEN.isoformat()}".encode()
    put(store, b"\n".join([line, good, line]))
    read = ReportList(store, TTL)

    assert read.banned_since("zoe") == THEN
    assert read.banned_since("ann") is None


def test_a_list_that_went_through_an_editor_of_windows_is_read(store: ObjectStore) -> None:
    put(store, f"ann\t{THEN.isoformat()}\r\nbob\t{THEN.isoformat()}\r\n")
    read = ReportList(store, TTL)

    assert read.banned_since("ann") == read.banned_since("bob") == THEN


def test_only_one_thread_asks_and_the_others_go_on_with_what_they_know(
    store: ObjectStore, s3: Counting
) -> None:
    clock = Clock()
    ReportListWriter(store, Table("ann")).rebuild()
    asked, answer = threading.Event(), threading.Event()

    class Slow(ObjectStore):
        def get_if_changed(self, key: str, etag: str | None) -> Any:
            if etag is not None:
                asked.set()
                assert answer.wait(30)
            return super().get_if_changed(key, etag)

    read = ReportList(Slow(s3, "store"), TTL, clock)
    read.banned_since("ann")
    clock.now += TTL
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(read.banned_since, "ann")
        assert asked.wait(30)
        assert read.banned_since("ann") == THEN
        answer.set()
        assert slow.result(30) == THEN
