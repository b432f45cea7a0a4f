"""Waiting has an end: for a call, and for a fresh value of which there is a stale copy."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from chalicelib.bounded import Revalidator, within
from chalicelib.errors import ObjectNotFound, OutOfTime


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """Return what a call waits for that hangs; it is let go when the test ends."""
    event = threading.Event()
    yield event
    event.set()


def test_a_result_is_returned_and_an_error_raised() -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(ObjectNotFound, match="gone"):
        within(5, lambda: (_ for _ in ()).throw(ObjectNotFound("gone")))


def test_a_call_that_hangs_is_not_waited_for(hanging: threading.Event) -> None:
    with pytest.raises(OutOfTime, match=r"0\.05 s"):
        within(0.05, hanging.wait)


def test_only_one_caller_waits_for_a_refresh_that_hangs(hanging: threading.Event) -> None:
    revalidator, calls = Revalidator(wait_seconds=30), []
    started = threading.Event()

    def read() -> None:
        calls.append(1)
        started.set()
        hanging.wait()

    first = threading.Thread(target=lambda: revalidator.refresh("a", read), daemon=True)
    first.start()
    assert started.wait(10)
    for _ in range(20):
        revalidator.refresh("a", read)  # returns at once

    assert len(calls) == 1
    hanging.set()
    first.join(10)
    revalidator.refresh("a", read)
    assert len(calls) == 2


def test_after_a_refresh_that_hung_nothing_is_refreshed_for_a_while(
    hanging: threading.Event,
) -> None:
    revalidator, calls = Revalidator(wait_seconds=0.05, pause_seconds=60), []
    revalidator.refresh("a", lambda: hanging.wait() and None)

    revalidator.refresh("b", lambda: calls.append(1))

    assert calls == []


def test_a_refresh_that_fails_is_no_reason_for_a_pause() -> None:
    revalidator, calls = Revalidator(), []
    with pytest.raises(ZeroDivisionError):
        revalidator.refresh("a", lambda: 1 / 0 and None)

    revalidator.refresh("a", lambda: calls.append(1))

    assert calls == [1]
