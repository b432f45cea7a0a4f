"""A process that takes one submission and can be told to die; run by `test_death.py`.

Usage: mortal_submitter.py WHEN PREDICTION USER ANSWER, where WHEN is ``never``,
``<service>.<operation>:<count>`` (after that call to AWS) or ``sql:<count>`` (after the so-manieth
statement on PostgreSQL, of all transactions; ``commit:<count>`` right after the so-manieth commit).
It kills itself with SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chalicelib.database import Database
from chalicelib.wiring import services


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Dies at the so-manieth call."""

    def __init__(self, count: int) -> None:
        self._left = count

    def __call__(self, **_: Any) -> None:
        self._left -= 1
        if not self._left:
            die()


class Cursor:
    """A cursor that counts its statements."""

    def __init__(self, rows: Any, count: Countdown) -> None:
        self._rows = rows
        self._count = count

    def execute(self, *given: Any) -> None:
        self._rows.execute(*given)
        self._count()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)


class MortalDatabase(Database):
    """The real one, in which somebody dies."""

    def __init__(self, url: str, kind: str, count: int) -> None:
        super().__init__(url)
        self._kind = kind
        self._countdown = Countdown(count)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with super().transaction() as rows:
            yield Cursor(rows, self._countdown) if self._kind == "sql" else rows
        if self._kind == "commit":
            self._countdown()


def arm(when: str) -> None:
    name, _, count = when.partition(":")
    if name in ("sql", "commit"):
        url = services().settings.database_url
        services().database = MortalDatabase(url, name, int(count))
    elif name != "never":
        service, _, operation = name.partition(".")
        events = services().client(service).meta.events
        events.register(f"after-call.{service}.{operation}", Countdown(int(count)))


if __name__ == "__main__":
    moment, prediction, user, answer = sys.argv[1:]
    arm(moment)
    told = services().submissions.submit("scratch", prediction, user, answer)  # type: ignore[arg-type]
    print(told.change, told.state)
