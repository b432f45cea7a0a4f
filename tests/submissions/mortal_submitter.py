"""A process that takes one submission and can be told to die; run by `test_death.py`.

``main(when, prediction, user, answer)``, where ``when`` is ``never``,
``<service>.<operation>:<count>`` (after that call to AWS) or ``sql:<count>`` (after the so-manieth
statement on PostgreSQL, of all transactions; ``commit:<count>`` right after the so-manieth commit).
It kills itself with SIGKILL.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import psycopg2  # noqa: F401 - imported before the first fork, like what follows

import chalicelib.inference
import chalicelib.labels.parts  # noqa: F401
from chalicelib.database import Database
from chalicelib.labels.submitted import Verb
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


def main(when: str, prediction: str, user: str, answer: Verb) -> int:
    """Submit, unless the process dies before the end; return the exit status."""
    arm(when)
    services().submissions.submit("scratch", prediction, user, answer)
    return 0


for name in ("s3", "sqs", "dynamodb", "secretsmanager"):  # botocore reads their models once
    boto3.client(name, region_name="eu-central-1")
