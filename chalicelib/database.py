"""The seam to PostgreSQL: short transactions on a connection that is kept and mended.

psycopg2 is loaded with the first transaction: many a cold start names a database and asks nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chalicelib.errors import DatabaseUnavailable, NoDatabase

if TYPE_CHECKING:
    from psycopg2.extensions import connection, cursor


class Database:
    """A PostgreSQL database, one connection a thread, made on first use.

    Parameters
    ----------
    url : str, or callable that returns one
        ``postgresql://user:password@host:port/name``; empty where none is attached. It is called
        for each new connection, so that a password may change.
    """

    def __init__(self, url: str | Callable[[], str]) -> None:
        self._url = url
        self._local = threading.local()

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
            The server does not answer or broke the connection; the transaction did not happen.
        """
        if getattr(self._local, "held", None) is None:
            self.require()  # before the driver is loaded, which nobody needs without a database
        import psycopg2  # noqa: PLC0415

        try:
            held = self._connection()
            with held, held.cursor() as rows:
                yield rows
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            self.close()
            raise DatabaseUnavailable(f"PostgreSQL: {error}") from error

    def close(self) -> None:
        """Close this thread's connection."""
        held: connection | None = getattr(self._local, "held", None)
        if held is not None:
            held.close()
            self._local.held = None

    def _connection(self) -> connection:
        from psycopg2.extensions import TRANSACTION_STATUS_IDLE  # noqa: PLC0415

        held: connection | None = getattr(self._local, "held", None)
        if held is None or held.closed:
            held = self._local.held = self._connect()
        elif held.info.transaction_status != TRANSACTION_STATUS_IDLE:
            held.rollback()
        return held

    def _connect(self) -> connection:
        url = self.require()
        import psycopg2  # noqa: PLC0415

        return psycopg2.connect(url, connect_timeout=5, options="-c search_path=sightloop,public")
