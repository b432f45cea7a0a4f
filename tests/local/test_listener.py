"""Locally the database's announcements reach the same handler, whatever happens to the database."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from chalicelib.errors import DatabaseUnavailable, MalformedMessage
from local.listener import Listener

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]
SECONDS = 60
CHANNEL = "a_channel"


class Ear:
    """Notes what it is told; fails first as often as it should."""

    def __init__(self, *faults: Exception) -> None:
        self.heard: queue.Queue[Any] = queue.Queue()
        self._faults = list(faults)

    def __call__(self, event: Any) -> None:
        self.heard.put(event)
        if event and self._faults:
            raise self._faults.pop(0)

    def next(self) -> Any:
        return self.heard.get(timeout=SECONDS)


@pytest.fixture
def url(new_database: Callable[..., str]) -> str:
    return new_database()


@pytest.fixture
def listening(url: str) -> Iterator[Callable[[Ear], None]]:
    started: list[Listener] = []

    def listen(ear: Ear) -> None:
        started.append(Listener(url, CHANNEL, ear))
        assert ear.next() == {}

    yield listen
    for each in started:
        each.stop()


def run(url: str, statement: str, *given: Any) -> None:
    with closing(psycopg2.connect(url)) as held, held, held.cursor() as rows:
        rows.execute(statement, given)


def announce(url: str, payload: str) -> None:
    run(url, "SELECT pg_notify(%s, %s)", CHANNEL, payload)


def test_each_announcement_is_told_in_order(url: str, listening: Callable[[Ear], None]) -> None:
    ear = Ear()
    listening(ear)

    for number in range(3):
        announce(url, f'{{"decision_id": {number}}}')

    assert [ear.next() for _ in range(3)] == [{"decision_id": number} for number in range(3)]


def test_a_lost_connection_is_made_again_and_what_was_missed_is_asked_for(
    url: str, listening: Callable[[Ear], None]
) -> None:
    ear = Ear()
    listening(ear)

    run(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )

    assert ear.next() == {}
    announce(url, '{"decision_id": 1}')
    assert ear.next() == {"decision_id": 1}


def test_what_fails_for_now_is_told_again(url: str, listening: Callable[[Ear], None]) -> None:
    ear = Ear(DatabaseUnavailable("not now"), DatabaseUnavailable("not now"))
    listening(ear)

    announce(url, '{"decision_id": 1}')

    assert [ear.next() for _ in range(3)] == [{"decision_id": 1}] * 3


@pytest.mark.parametrize("fault", [MalformedMessage("nonsense"), RuntimeError("a mistake")])
def test_what_can_never_succeed_does_not_hold_up_what_comes_after(
    url: str, listening: Callable[[Ear], None], fault: Exception
) -> None:
    ear = Ear(fault)
    listening(ear)

    announce(url, '{"decision_id": 1}')
    announce(url, "not JSON")
    announce(url, '{"decision_id": 2}')

    assert [ear.next() for _ in range(2)] == [{"decision_id": 1}, {"decision_id": 2}]


def test_a_database_that_is_not_there_yet_is_waited_for(
    url: str, new_database: Callable[..., str]
) -> None:
    missing = f"{url}_later"
    ear = Ear()
    listener = Listener(missing, CHANNEL, ear)

    new_database(missing.rpartition("/")[2])

    assert ear.next() == {}
    listener.stop()
