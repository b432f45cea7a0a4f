"""Errors of calls that are refused for how many there are, for their key, or for their address.

A branch of the tree in ``errors.py``, which is as long as a file may be::

    SightloopError
    ├── Forbidden                    403
    │   └── AddressBlocked               a banned token was used there: send a token of your own
    ├── IdempotencyKeyInUse          409  the first call with this key is not answered yet: retry
    ├── IdempotencyKeyReused         422  another request was sent with this key
    └── TooManyRequests              429  a quota is used up: retry when Retry-After says
"""

from __future__ import annotations

from datetime import UTC, datetime

from chalicelib.errors import Forbidden, SightloopError


class AddressBlocked(Forbidden):
    """A banned token was used from the caller's address: a token of one's own is needed to write.

    Parameters
    ----------
    address : str
    until : datetime
        When anonymous callers may write from there again.
    appeal : str
        How to have the ban lifted.
    """

    title = "Address blocked"

    def __init__(self, address: str, until: datetime, appeal: str) -> None:
        super().__init__(
            f"a banned token was used from {address}: until "
            f"{until.astimezone(UTC):%Y-%m-%d %H:%M} UTC nothing can be written from there without "
            f"a token. With a token of your own you can go on. To appeal: {appeal}"
        )
        self.until = until
        self.appeal = appeal


class IdempotencyKeyInUse(SightloopError):
    """The first call with this Idempotency-Key is still being answered.

    Parameters
    ----------
    detail : str
    retry_after : int
        Whole seconds, at least 1.
    """

    status = 409
    title = "Idempotency key in use"
    retry = True

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class IdempotencyKeyReused(SightloopError):
    """Another request was sent with this Idempotency-Key: choose a new key."""

    status = 422
    title = "Idempotency key reused"


class TooManyRequests(SightloopError):
    """A quota is used up; the same call may succeed after some seconds.

    Parameters
    ----------
    detail : str
    retry_after : int
        Whole seconds, at least 1.
    """

    status = 429
    title = "Too many requests"
    retry = True

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
