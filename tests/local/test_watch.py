"""What is looked at again and again, until nobody wants it any more."""

from __future__ import annotations

import itertools
import threading

from chalicelib.errors import QueueUnavailable
from local.watch import Watch

SECONDS = 60


def test_it_looks_again_though_a_look_failed() -> None:
    calls, third = itertools.count(1), threading.Event()

    def look() -> None:
        number = next(calls)
        if number == 3:
            third.set()
        raise QueueUnavailable("SQS does not answer")

    watch = Watch(look, seconds=0)

    assert third.wait(SECONDS)
    watch.stop()


def test_it_looks_no_more_when_it_is_stopped() -> None:
    looked = threading.Event()
    watch = Watch(looked.set, seconds=0)
    assert looked.wait(SECONDS)

    watch.stop()
    looked.clear()

    assert not watch._thread.is_alive()
    assert not looked.is_set()
