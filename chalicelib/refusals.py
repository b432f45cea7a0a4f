"""Errors of calls that are refused for how many there are, or for the key that they bear.

A branch of the tree in ``errors.py``, which is as long as a file may be::

    SightloopError
    ├── IdempotencyKeyInUse          409  the first call with this key is not answered yet: retry
    ├── IdempotencyKeyReused         422  another request was sent with this key
    └── TooManyRequests              429  a quota is used up: retry when Retry-After says
"""

from __future__ import annotations

from chalicelib.errors import SightloopError


class IdempotencyKeyInUse(SightloopError):
    """The first call with this Idempotency-Key is still being answered."""

    status = 409
    title = "Idempotency key in use"
    retry = True


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
