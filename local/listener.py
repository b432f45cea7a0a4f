"""Hears what PostgreSQL announces, and passes it on as the extension aws_lambda would on RDS."""

from __future__ import annotations

import json
import logging
import select
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection

from chalicelib.errors import SightloopError

AGAIN_SECONDS = 1

log = logging.getLogger("sightloop.local")
Event = dict[str, Any]


class Listener:
    """Listens in a thread of its own until it is stopped, to a database that may come and go.

    Parameters
    ----------
    url : str
        Of the database.
    channel : str
    tell : callable
        Is given each announcement; and an empty one whenever listening begins, for what was
        announced before that is not announced again.
    """

    def __init__(self, url: str, channel: str, tell: Callable[[Event], object]) -> None:
        self._url = url
        self._channel = channel
        self._tell = tell
        self._stopped = threading.Event()
        self._woken, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the call that is running end, and listen no more."""
        self._stopped.set()
        self._wake.send(b"x")
        self._thread.join()
        self._wake.close()
        self._woken.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with closing(psycopg2.connect(self._url, connect_timeout=5)) as held:
                    self._listen(held)
            except psycopg2.Error as error:
                log.warning("not listening to the database: %s", str(error).strip())
                self._stopped.wait(AGAIN_SECONDS)

    def _listen(self, held: connection) -> None:
        held.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
        with held.cursor() as rows:
            rows.execute(f"LISTEN {self._channel}")
        self._pass_on({})
        while not self._stopped.is_set():
            sources: list[connection | socket.socket] = [held, self._woken]
            select.select(sources, [], [])
            held.poll()
            while held.notifies:
                self._hear(held.notifies.pop(0).payload)

    def _hear(self, payload: str) -> None:
        try:
            event = json.loads(payload)
        except ValueError:
            log.warning("%s: %r is not JSON", self._channel, payload)
        else:
            self._pass_on(event)

    def _pass_on(self, event: Event) -> None:
        """Tell of an announcement, again and again while a retry may help."""
        while not self._stopped.is_set():
            try:
                self._tell(event)
            except SightloopError as error:
                log.warning("%s %s: %s", self._channel, event, error.detail)
                if not error.retry:
                    return
            except Exception:
                log.exception("%s %s failed", self._channel, event)
                return
            else:
                return
            self._stopped.wait(AGAIN_SECONDS)
