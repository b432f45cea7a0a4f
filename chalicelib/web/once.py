"""The header ``Idempotency-Key``: a call that is sent again has no second effect."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chalice.app import Request, Response

from chalicelib.callers import has_token
from chalicelib.errors import Conflict, InvalidRequest, SightloopError
from chalicelib.observability import logger

if TYPE_CHECKING:
    from chalicelib.idempotency import IdempotencyKeys, KeptAnswer, Lease

KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
LONGEST_KEY = 255
VISIBLE = rf"^[!-~]{{1,{LONGEST_KEY}}}$"
# Who shares an address must not come by another's answer by guessing: 16 characters of a UUID
# have more than 60 bits.
SHORTEST_UNNAMED_KEY = 16
TOO_MANY_REQUESTS = 429


def key_in(request: Request, caller: str) -> str | None:
    """Return the key that a request bears, None where it bears none.

    Raises
    ------
    InvalidRequest
        It is not a key that this caller may use.
    """
    key = request.headers.get(KEY_HEADER.lower())
    if key is None:
        return None
    if not re.fullmatch(VISIBLE, str(key)):
        raise InvalidRequest(
            f"{KEY_HEADER} has to be 1 to {LONGEST_KEY} visible ASCII characters, such as a UUID"
        )
    if len(key) < SHORTEST_UNNAMED_KEY and not has_token(caller):
        raise InvalidRequest(
            f"without a token {KEY_HEADER} has to have at least {SHORTEST_UNNAMED_KEY} characters: "
            "send a random UUID, for others may call from the same address"
        )
    return str(key)


def answer_once(
    keys: IdempotencyKeys,
    entry: str,
    request: Request,
    answer: Callable[[], Response],
) -> Response:
    """Answer a call, or repeat the answer that the first call with its key got.

    Parameters
    ----------
    keys : IdempotencyKeys
    entry : str
        As ``entry_of`` returns it.
    request : Request
    answer : callable
        Does what the call asks for. It raises nothing of ours: failures are answers.

    Raises
    ------
    IdempotencyKeyReused, IdempotencyKeyInUse, DatabaseUnavailable
        As ``IdempotencyKeys.begin``.
    """
    from chalicelib.idempotency import KeptAnswer  # noqa: PLC0415 - few calls bear a key

    begun = keys.begin(entry, digest_of(request))
    if isinstance(begun, KeptAnswer):
        return _replayed(begun)
    made = answer()
    _keep(keys, begun, made)
    return made


def entry_of(caller: str, route: str, key: str) -> str:
    """Return the name under which an answer is kept: nobody else's key leads to it."""
    return f"answer/{_digest([caller, route, key])}"


def digest_of(request: Request) -> str:
    """Return a digest of what a request asks for: method, path, query, media type and body."""
    query: dict[str, str] = dict((request.query_params or {}).items())
    raw = request.raw_body
    return _digest(
        [
            request.method,
            str(request.context.get("path") or request.path),
            sorted(query.items()),
            str(request.headers.get("content-type", "")),
            hashlib.sha256(raw if isinstance(raw, bytes) else raw.encode()).hexdigest(),
        ]
    )


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _is_kept(status: int) -> bool:
    """Tell whether a retry is to get the same: not where the same call may succeed later."""
    return status < 500 and status != TOO_MANY_REQUESTS


def _keep(keys: IdempotencyKeys, lease: Lease, made: Response) -> None:
    """Keep an answer or release the key; the effect is done, so a failure here is only logged."""
    from chalicelib.idempotency import KeptAnswer  # noqa: PLC0415 - few calls bear a key

    body = made.body if isinstance(made.body, bytes) else None
    headers = {name: str(value) for name, value in made.headers.items()}
    try:
        if _is_kept(made.status_code):
            keys.finish(lease, KeptAnswer(made.status_code, headers, body))
        else:
            keys.release(lease)
    except SightloopError:
        logger.exception("an answer was not kept under its idempotency key")


def _replayed(kept: KeptAnswer) -> Response:
    if kept.body is None:
        raise Conflict("this was done, and its answer is too large to be repeated")
    return Response(kept.body, {**kept.headers, REPLAYED_HEADER: "true"}, kept.status)
