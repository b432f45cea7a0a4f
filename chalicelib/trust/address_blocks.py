"""Addresses from which a banned token was used: nothing is written from there without a token.

Without this, whoever is banned by token drops the token and goes on as an anonymous caller. Each
address has one item in the table ``limits``, which expires by itself. It says of each banned token
when it was used there last, and the address is blocked while one of these uses is recent and its
ban stands: so lifting a ban frees the address of that token, and of no other. Each use is an
attribute of its own, so that processes that record several at once lose none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
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
USED = "used/"  # and whose token: the name of an attribute
CHECK_SECONDS = 15.0  # for how long a process takes what it read as true
WRITE_SECONDS = 3600  # between two writes for one address and token
MOST_CACHED = 4096  # addresses, some 300 bytes each; more where several tokens were used
# Somebody may own many banned tokens. Names have up to 255 characters: an item of ten takes 3 KB,
# which DynamoDB reads as one unit. Beyond it the tokens are dropped that were used longest ago.
MOST_TOKENS = 10
IS_DUE = "attribute_not_exists(#used) OR #used <= :due"

Uses = Mapping[str, datetime]  # from whose token to when it was used last


@dataclass(frozen=True)
class AddressBlock:
    """That anonymous writes from an address are refused for a while.

    Attributes
    ----------
    banned_user : str
        Whose token was used from there; of several the one whose use is the last.
    until : datetime
    """

    banned_user: str
    until: datetime


@dataclass(frozen=True)
class _Cached:
    """What the table said of an address, and until when (monotonic seconds) it need not be read."""

    uses: Uses
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

        One process writes at most once an hour for an address and token, and all processes
        together change that use at most once an hour. A table that does not answer only costs a
        line in the log.
        """
        now, use = self._now(), f"{address} {banned_user}"
        written_at = self._written_at.get(use)
        is_recent = written_at and now - written_at < timedelta(seconds=WRITE_SECONDS)
        if is_recent or not self._applies_to(address):
            return
        known = self._cached.get(address)
        self._remember(address, {**(known.uses if known else {}), banned_user: now})
        self._attempt(f"write/{use}", lambda: self._write(address, banned_user, now))

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
        recent = self._newest_first(cached.uses) if cached else {}
        for banned_user, used_at in recent.items():
            if self._banned_since(banned_user):
                return AddressBlock(banned_user, used_at + self._duration)
        return None

    def _applies_to(self, address: str) -> bool:
        return bool(self._duration) and address not in self._trusted

    def _newest_first(self, uses: Uses) -> dict[str, datetime]:
        """Return the uses that still count, ``MOST_TOKENS`` at most."""
        since = self._now() - self._duration
        ordered = sorted(uses.items(), key=lambda use: use[1], reverse=True)
        return {user: used_at for user, used_at in ordered[:MOST_TOKENS] if used_at > since}

    def _remember(self, address: str, uses: Uses) -> None:
        cached = _Cached(self._newest_first(uses), time.monotonic() + self._check_seconds)
        with self._lock:
            _put_bounded(self._cached, address, cached)

    def _attempt(self, key: str, call: Callable[[], object]) -> None:
        try:
            self._revalidator.refresh(key, call)
        except SightloopError as error:
            logger.warning("blocked addresses: the table does not answer", why=error.detail)

    def _write(self, address: str, banned_user: str, now: datetime) -> None:
        """Note a use, and drop those that count no more or are too many."""
        moment = int(now.timestamp())
        values = {":used": moment, ":due": moment - WRITE_SECONDS}
        values[":expires"] = int((now + self._duration).timestamp())
        try:
            uses = self._update(
                address,
                "SET #used = :used, #expires = :expires",
                {"#used": USED + banned_user, "#expires": EXPIRES},
                values,
                IS_DUE,
            )
        except Conflict:
            pass  # another process recorded it within the hour
        else:
            self._remember(address, uses)
            kept = self._newest_first(uses)
            self._drop(address, {user: at for user, at in uses.items() if user not in kept})
        with self._lock:
            _put_bounded(self._written_at, f"{address} {banned_user}", now)

    def _drop(self, address: str, uses: Uses) -> None:
        """Remove uses from an address's item, unless one of them is a newer one by now.

        A process that is killed before leaves them to the next one that writes.
        """
        if not uses:
            return
        names = {f"#u{at}": USED + user for at, user in enumerate(uses)}
        values = {f":u{at}": int(used_at.timestamp()) for at, used_at in enumerate(uses.values())}
        unchanged = " AND ".join(f"#{name[1:]} = {name}" for name in values)
        try:
            self._update(address, f"REMOVE {', '.join(names)}", names, values, unchanged)
        except Conflict:
            logger.info("a banned token was used again meanwhile", address=address)

    def _update(
        self,
        address: str,
        update: str,
        names: Mapping[str, str],
        values: Mapping[str, int],
        condition: str,
    ) -> Uses:
        with translated(DatabaseUnavailable, "blocking an address"):
            changed = self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(address),
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames=dict(names),
                ExpressionAttributeValues={name: {"N": str(n)} for name, n in values.items()},
                ReturnValues="ALL_NEW",
            )
        return _uses(changed["Attributes"])

    def _read(self, address: str) -> Uses:
        with translated(DatabaseUnavailable, "reading whether an address is blocked"):
            answer = self._dynamodb.get_item(TableName=self._table, Key=_key(address))
        return _uses(answer.get("Item", {}))


def _key(address: str) -> dict[str, Any]:
    return {KEY: {"S": f"blocked/{address}"}}


def _uses(item: Mapping[str, Any]) -> dict[str, datetime]:
    """Return when each token was used that an item names."""
    return {
        name.removeprefix(USED): datetime.fromtimestamp(int(value["N"]), UTC)
        for name, value in item.items()
        if name.startswith(USED)
    }


def _put_bounded[Value](cache: dict[str, Value], key: str, value: Value) -> None:
    """Set a value as the newest of at most ``MOST_CACHED``; the oldest goes."""
    cache.pop(key, None)
    cache[key] = value
    if len(cache) > MOST_CACHED:
        del cache[next(iter(cache))]
