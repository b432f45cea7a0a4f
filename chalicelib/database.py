"""The seam to PostgreSQL: short transactions on connections that are kept and mended.

psycopg2 is loaded with the first transaction: many a cold start names a database and asks nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from chalicelib.errors import DatabaseUnavailable, NoDatabase

if TYPE_CHECKING:
    from psycopg2.extensions import connection, cursor

MOST_CONNECTIONS = 20  # of one process; PostgreSQL takes a hundred of all, as it comes
WAIT_SECONDS = 20.0
# A server whose machine is gone is noticed within half a minute, rather than in hours.
CONNECTING: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 25_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Database:
    """A PostgreSQL database. Connections are made when needed, kept, and shared by threads.

    A transaction has a connection to itself; who wants one while all are taken waits. So a thread
    must not begin a transaction within another.

    Parameters
    ----------
    url : str, or callable that returns one
        ``postgresql://user:password@host:port/name``; empty where none is attached. It is called
        for each new connection, so that a password may change.
    most : int, optional
        Connections at a time.
    wait_seconds : float, optional
        For how long a transaction waits for one.
    """

    def __init__(
        self,
        url: str | Callable[[], str],
        most: int = MOST_CONNECTIONS,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._url = url
        self._idle: list[connection] = []
        self._free = threading.BoundedSemaphore(most)
        self._wait_seconds = wait_seconds

    def require(self) -> str:
        """Return the address of the database that is attached.

        Raises
        ------
        NoDatabase
            None is.
        """
        url = self._url if isinstance(self._url, str) else self._url()
        if not url:
            raise NoDatabase(
                "no database is attached to this deployment: it detects, but takes no submissions "
                "and no requests for models; whoever runs it can set SIGHTLOOP_DATABASE_URL"
            )
        return url

    @contextmanager
    def transaction(self) -> Iterator[cursor]:
        """Give a cursor; commit when the block ends, roll back when it raises.

        Raises
        ------
        NoDatabase
            None is attached.
        DatabaseUnavailable
            The server does not answer or broke the connection, or all connections are busy; the
            transaction did not happen.
        """
        if not self._idle:
            self.require()  # before the driver is loaded, which nobody needs without a database
        import psycopg2  # noqa: PLC0415

        if not self._free.acquire(timeout=self._wait_seconds):
            raise DatabaseUnavailable(
                f"all connections to PostgreSQL were busy for {self._wait_seconds:g} s"
            )
        try:
            held = self._connection()
            try:
                with held, held.cursor() as rows:
                    yield rows
            finally:
                self._put_back(held)
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            self.close()
            raise DatabaseUnavailable(f"PostgreSQL: {error}") from error
        finally:
            self._free.release()

    def close(self) -> None:
        """Close the connections that nobody uses at the moment."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread was quicker
                return

    def _connection(self) -> connection:
        """Return the connection that was used last, or a new one."""
        while self._idle:
            try:
                held = self._idle.pop()
            except IndexError:
                break
            if not held.closed:
                return held
        return self._connect()

    def _put_back(self, held: connection) -> None:
        """Keep a connection for the next transaction, unless it is in the middle of one."""
        from psycopg2.extensions import TRANSACTION_STATUS_IDLE  # noqa: PLC0415

        if held.closed:
            return
        if held.info.transaction_status == TRANSACTION_STATUS_IDLE:
            self._idle.append(held)
        else:
            held.close()

    def _connect(self) -> connection:
        url = self.require()
        import psycopg2  # noqa: PLC0415

        options = "-c search_path=sightloop,public"
        made: connection = psycopg2.connect(url, options=options, **CONNECTING)
        return made


def storable(text: str) -> str:
    """Replace NUL, the one character that PostgreSQL refuses in text, by U+FFFD."""
    return text.replace("\x00", "\ufffd")
