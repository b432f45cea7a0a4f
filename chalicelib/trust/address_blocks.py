"""Addresses from which a banned token was used: nothing is written from there without a token.

Without this, whoever is banned by token drops the token and goes on as an anonymous caller. Each
address has one item in the table ``limits``, which expires by itself. An item counts only while the
ban that it names is in force, so that lifting the ban frees the address.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.aws import translated
from chalicelib.bounded import Revalidator
from chalicelib.errors import Conflict, DatabaseUnavailable, SightloopError
from chalicelib.observability import logger
from chalicelib.settings import Settings

KEY = "entry"
EXPIRES = "expires_at"
CHECK_SECONDS = 15.0  # for how long a process takes what it read as true
WRITE_SECONDS = 3600  # between two writes for one address
MOST_CACHED = 4096  # addresses, some 300 bytes each
IS_DUE = "attribute_not_exists(#entry) OR recorded_at <= :due"


@dataclass(frozen=True)
class AddressBlock:
    """That anonymous writes from an address are refused for a while.

    Attributes
    ----------
    banned_user : str
        Whose token was used from there.
    until : datetime
    """

    banned_user: str
    until: datetime


@dataclass(frozen=True)
class _Cached:
    """What the table said of an address, and until when (monotonic seconds) it need not be read."""

    block: AddressBlock | None
    fresh_until: float


class AddressBlocks:
    """The blocked addresses: recorded when a banned token is refused, read before anonymous writes.

    Parameters
    ----------
    dynamodb : botocore DynamoDB client
    settings : Settings
        ``address_block_hours``: 0 blocks no address. Trusted callers' addresses are never blocked.
    now : callable
        The clock: DynamoDB deletes expired items hours late, so they are checked here.
    banned_since : callable
        From a user to when they were banned; None: they are not.
    check_seconds : float, optional
        For how long a process takes what it read as true. A check costs a read only after that.
    """

    def __init__(
        self,
        dynamodb: Any,
        settings: Settings,
        now: Callable[[], datetime],
        banned_since: Callable[[str], datetime | None],
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self._dynamodb = dynamodb
        self._table = settings.limits_table
        self._duration = timedelta(hours=settings.address_block_hours)
        self._trusted = frozenset(settings.trusted)
        self._now = now
        self._banned_since = banned_since
        self._check_seconds = check_seconds
        self._cached: dict[str, _Cached] = {}
        self._written_at: dict[str, datetime] = {}
        self._lock = threading.Lock()
        self._revalidator = Revalidator()

    def record(self, address: str, banned_user: str) -> None:
        """Block an address from which a banned token was used.

        One process writes at most once an hour for an address, and all processes together change
        its item at most once an hour. A table that does not answer only costs a line in the log.
        """
        now = self._now()
        written_at = self._written_at.get(address)
        is_recent = written_at and now - written_at < timedelta(seconds=WRITE_SECONDS)
        if is_recent or not self._applies_to(address):
            return
        block = AddressBlock(banned_user, now + self._duration)
        self._remember(address, block)
        self._attempt(f"write/{address}", lambda: self._write(address, block, now))

    def block_of(self, address: str) -> AddressBlock | None:
        """Return the block of an address, None where anonymous callers may write from there.

        Where the table does not answer, what was known last counts; nothing known: no block.
        """
        if not self._applies_to(address):
            return None
        cached = self._cached.get(address)
        if cached is None or time.monotonic() >= cached.fresh_until:
            self._attempt(f"read/{address}", lambda: self._remember(address, self._read(address)))
            cached = self._cached.get(address)
        block = cached.block if cached else None
        if block is None or block.until <= self._now():
            return None
        return block if self._banned_since(block.banned_user) else None

    def _applies_to(self, address: str) -> bool:
        return bool(self._duration) and address not in self._trusted

    def _remember(self, address: str, block: AddressBlock | None) -> None:
        cached = _Cached(block, time.monotonic() + self._check_seconds)
        with self._lock:
            _put_bounded(self._cached, address, cached)

    def _attempt(self, key: str, call: Callable[[], object]) -> None:
        try:
            self._revalidator.refresh(key, call)
        except SightloopError as error:
            logger.warning("blocked addresses: the table does not answer", why=error.detail)

    def _write(self, address: str, block: AddressBlock, now: datetime) -> None:
        recorded_at, until = now.timestamp(), int(block.until.timestamp())
        item = {
            KEY: {"S": _entry(address)},
            "banned_user": {"S": block.banned_user},
            "recorded_at": {"N": str(int(recorded_at))},
            EXPIRES: {"N": str(until)},
        }
        try:
            with translated(DatabaseUnavailable, "blocking an address"):
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression=IS_DUE,
                    ExpressionAttributeNames={"#entry": KEY},
                    ExpressionAttributeValues={
                        ":due": {"N": str(int(recorded_at) - WRITE_SECONDS)}
                    },
                )
        except Conflict:
            pass  # another process recorded it within the hour
        with self._lock:
            _put_bounded(self._written_at, address, now)

    def _read(self, address: str) -> AddressBlock | None:
        with translated(DatabaseUnavailable, "reading whether an address is blocked"):
            answer = self._dynamodb.get_item(
                TableName=self._table, Key={KEY: {"S": _entry(address)}}
            )
        item = answer.get("Item")
        if item is None:
            return None
        until = datetime.fromtimestamp(int(item[EXPIRES]["N"]), UTC)
        return AddressBlock(item["banned_user"]["S"], until)


def _entry(address: str) -> str:
    return f"blocked/{address}"


def _put_bounded[Value](cache: dict[str, Value], key: str, value: Value) -> None:
    """Set a value as the newest of at most ``MOST_CACHED``; the oldest goes."""
    cache.pop(key, None)
    cache[key] = value
    if len(cache) > MOST_CACHED:
        del cache[next(iter(cache))]
