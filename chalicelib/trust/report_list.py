"""``trust/report_list.txt``: who is banned since when, written from the table, read on the way in.

One line a ban, sorted by address: ``user_address<TAB>reported_at``, the time in ISO 8601, UTC.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from chalicelib.bounded import Revalidator
from chalicelib.errors import Conflict, ObjectNotFound, SightloopError, StorageUnavailable
from chalicelib.observability import logger
from chalicelib.storage import ObjectStore, StoredObject
from chalicelib.trust.records import Ban

KEY = "trust/report_list.txt"
MEDIA_TYPE = "text/plain; charset=utf-8"
ATTEMPTS = 50
UNWRITABLE = "\t\n\r"  # the database lets none of these into an address
SHOWN = 5
FIRST_READ_SECONDS = 10.0


class ReportListWriter:
    """Writes the list anew from the table; any number may do so at once.

    Parameters
    ----------
    store : ObjectStore
    bans : callable
        Returns the bans in force, as the database has them at that moment.
    """

    def __init__(self, store: ObjectStore, bans: Callable[[], Iterable[Ban]]) -> None:
        self._store = store
        self._bans = bans

    def rebuild(self) -> int:
        """Make the list say what the table says, and return how many are banned.

        The table is read after the list, and the list is written only over what was read: so what
        is written is never older than what it replaces. Then it is compared once more, for S3
        tells two lists apart by their content: one that was replaced twice may be as it was.

        Raises
        ------
        Conflict
            Others kept writing; it is as good as certain that one of them wrote what is due.
        DatabaseUnavailable, StorageUnavailable
            The list is as it was.
        """
        for _ in range(ATTEMPTS):
            held = _held(self._store)
            lines = _lines(self._bans())
            body = "".join(lines).encode()
            if held is not None and held.body == body:
                return len(lines)
            try:
                etag = held.etag if held else None
                self._store.put_over(KEY, body, MEDIA_TYPE, etag=etag)
            except Conflict:
                logger.info("somebody else wrote the report list meanwhile")
        raise Conflict(f"the report list was written by others {ATTEMPTS} times in a row")


def _held(store: ObjectStore) -> StoredObject | None:
    try:
        return store.get(KEY)
    except ObjectNotFound:
        return None


def _lines(bans: Iterable[Ban]) -> list[str]:
    lines = []
    for ban in sorted(bans, key=lambda ban: ban.user_address):
        if any(sign in ban.user_address for sign in UNWRITABLE):
            logger.error("a banned user cannot be listed", user=repr(ban.user_address))
            continue
        lines.append(f"{ban.user_address}\t{ban.reported_at.astimezone(UTC).isoformat()}\n")
    return lines


@dataclass(frozen=True)
class _Known:
    since: Mapping[str, str]
    etag: str | None


NOBODY = _Known({}, None)


class ReportList:
    """The list as this process knows it: asked at every call that writes, so it is kept.

    Parameters
    ----------
    store : ObjectStore
    ttl_seconds : float
        For how long it is taken as true before S3 is asked again, which costs one conditional GET.
    clock : callable, optional
        Monotonic seconds.
    """

    def __init__(
        self, store: ObjectStore, ttl_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._ttl = ttl_seconds
        self._clock = clock
        self._known: _Known | None = None
        self._ask_at = clock()
        self._lock = threading.Lock()
        self._revalidator = Revalidator()

    def banned_since(self, user_address: str) -> datetime | None:
        """Return when a user was banned, ``None`` where they are not.

        Where S3 does not answer in time, the list that was known last counts.

        Raises
        ------
        StorageUnavailable, ConfigurationError
            The list cannot be read and was never known.
        """
        known = self._known
        if known is None or self._clock() >= self._ask_at:
            known = self._asked(known)
        since = known.since.get(user_address)
        return datetime.fromisoformat(since) if since else None

    def _asked(self, known: _Known | None) -> _Known:
        """Ask S3, once for all threads: those that know a list do not wait for a newer one."""
        if known is None:
            return self._first()
        self._revalidator.refresh(KEY, self._update)
        return self._known or known

    def _first(self) -> _Known:
        """Read the list for the first time; of several callers one reads, the others wait."""
        if not self._lock.acquire(timeout=FIRST_READ_SECONDS):
            raise StorageUnavailable("the report list was not read in time")
        try:
            return self._known or self._update()
        finally:
            self._lock.release()

    def _update(self) -> _Known:
        self._known = known = self._read(self._known)
        self._ask_at = self._clock() + self._ttl
        return known

    def _read(self, known: _Known | None) -> _Known:
        try:
            found = self._store.get_if_changed(KEY, known.etag if known else None)
        except ObjectNotFound:
            if known is None or known.etag is None:
                return NOBODY  # nobody was banned yet
            logger.error("the report list is gone: the last known one is used")
            return known
        except SightloopError as error:
            if known is None:
                raise
            logger.error("the last known report list is used", why=error.detail)
            return known
        if found is None and known is not None:
            return known
        return _parsed(found) if found else NOBODY


def _parsed(found: StoredObject) -> _Known:
    """Read a list; a line that cannot be read spoils no other."""
    since: dict[str, str] = {}
    unread = []
    for line in found.body.decode(errors="replace").split("\n"):
        user, tab, told = line.rstrip("\r").partition("\t")
        if user and tab and _is_time(told):
            since.setdefault(user, told)
        elif line.strip():
            unread.append(line[:100])
    if unread:
        logger.error("lines of the report list are no bans", count=len(unread), some=unread[:SHOWN])
    return _Known(since, found.etag)


def _is_time(told: str) -> bool:
    try:
        return datetime.fromisoformat(told).tzinfo is not None
    except ValueError:
        return False
