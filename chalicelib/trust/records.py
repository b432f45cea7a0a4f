"""What the ledger takes and gives: pure values, checked when they are made."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from chalicelib.callers import OPERATOR, TELEGRAM_USER, USER
from chalicelib.errors import InvalidRequest

ADDRESS = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}")
MODEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
ZERO = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
LARGEST = 2**31
# Signs what people agreed on, as it signs bans that follow from counters.
BY_AGREEMENT = "sightloop"
Change = Literal["new", "updated", "same"]


@dataclass(frozen=True)
class Request:
    """A scored submission, as it is to be recorded.

    Parameters
    ----------
    user_address : str
        One word of at most 255 characters.
    prediction_id : str
        A UUID. With the user it names the request: the same two again are a retry.
    model : str
    model_version : int
        The version that predicted; 0 where the model has none yet.
    score : float
        0 to 1.
    predicted_boxes, submitted_boxes : int
        How many there were.
    state : "accepted" or "quarantined"
        What becomes of it.
    detail : mapping, optional
        What a reviewer looks at, as JSON.
    waits_for : {"proof", "opinions", "operator"}, optional
        Where it is quarantined.
    audit : bool
        Others are asked about its image, though it is accepted.

    Raises
    ------
    InvalidRequest
        One of them cannot be recorded; the message names it.
    """

    user_address: str
    prediction_id: str
    model: str
    model_version: int
    score: float
    predicted_boxes: int
    submitted_boxes: int
    state: Literal["accepted", "quarantined"]
    detail: Mapping[str, Any] = field(default_factory=dict)
    waits_for: str | None = None
    audit: bool = False

    def __post_init__(self) -> None:
        check_address(self.user_address)
        check_id(self.prediction_id)
        if not MODEL.fullmatch(self.model) or not 0 <= self.model_version < LARGEST:
            raise InvalidRequest(f"no version {self.model_version} of a model {self.model!r}")
        if not 0 <= self.score <= 1:
            raise InvalidRequest(f"a score is 0 to 1, not {self.score}")
        if not (0 <= self.predicted_boxes < LARGEST and 0 <= self.submitted_boxes < LARGEST):
            raise InvalidRequest("boxes are counted from 0")
        as_json(self.detail)


@dataclass(frozen=True)
class Outcome:
    """What became of a request that was recorded.

    ``change`` is "new"; "updated" where a retry said something else than before, "same" where it
    did not: then a review of it stands. The other fields are as they are now.
    """

    request_id: int
    change: Change
    state: str
    num_accesses: int
    suspicious_requests: int
    banned_since: datetime | None
    waits_for: str | None = None


@dataclass(frozen=True)
class Recorded:
    """A row of ``requests``.

    ``suspicious``: it counts towards a ban, by the newest answer or by one that it replaced.
    """

    request_id: int
    prediction_id: str
    user_address: str
    model: str
    model_version: int
    score: float
    predicted_boxes: int
    submitted_boxes: int
    suspicious: bool
    state: str
    detail: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    reviewed_at: datetime | None
    reviewed_by: str | None
    waits_for: str | None = None


@dataclass(frozen=True)
class Standing:
    """A user's counters; the suspicious requests above the forgiven ones count towards a ban."""

    user_address: str
    num_accesses: int
    total_score: Decimal
    suspicious_requests: int
    forgiven_requests: int
    banned_since: datetime | None


@dataclass(frozen=True)
class Ban:
    """A ban in force, and who made it ("sightloop": the eleventh suspicious request did)."""

    user_address: str
    reported_at: datetime
    reported_by: str
    why: str


@dataclass(frozen=True)
class Decision:
    """A ban, the lifting of one, or a review of one request, as it was written down."""

    decision_id: int
    user_address: str
    decision: Literal["ban", "lift", "accept", "reject"]
    decided_by: str
    why: str
    decided_at: datetime
    request_id: int | None


def accepted_by_operator(request: str) -> str:
    """Return the SQL condition that an operator accepted a request, rather than people who agree.

    Parameters
    ----------
    request : str
        The table ``requests``, or its alias.

    Examples
    --------
    >>> accepted_by_operator("r")
    "(r.state = 'accepted' AND r.reviewed_at IS NOT NULL AND r.reviewed_by <> 'sightloop')"
    """
    return (
        f"({request}.state = 'accepted' AND {request}.reviewed_at IS NOT NULL"
        f" AND {request}.reviewed_by <> '{BY_AGREEMENT}')"
    )


def label_of_operator(label: str) -> str:
    """Return the SQL condition that an operator made or imported a label.

    Whoever asked for a model may import a ZIP into it: that is one person's word. Imports by
    nobody are of the time before their callers were recorded, when only operators imported.

    Parameters
    ----------
    label : str
        The table ``labels``, or its alias.
    """
    return (
        f"({label}.origin = 'operator' OR"
        f" coalesce(starts_with({label}.user_address, '{OPERATOR}'), {label}.origin = 'import'))"
    )


def of_member(user_address: str) -> str:
    """Return the SQL condition for :func:`chalicelib.callers.is_member`.

    Parameters
    ----------
    user_address : str
        The column that holds a caller's name.

    Examples
    --------
    >>> of_member("t.user_address")
    "(t.user_address ~ '^user:(?!telegram-)')"
    """
    # One operator, for an index can be used only where its expression stands as it is.
    return f"({user_address} ~ '^{USER}(?!{TELEGRAM_USER.removeprefix(USER)})')"


def is_address(text: str) -> bool:
    """Tell whether a text can name a user: one word of at most 255 characters."""
    return ADDRESS.fullmatch(text) is not None


def check_address(user_address: str) -> None:
    """Refuse what cannot name a user."""
    if not is_address(user_address):
        raise InvalidRequest(f"{user_address!r} cannot be a user: one word, 255 characters at most")


def check_id(prediction_id: str) -> None:
    """Refuse what is no UUID."""
    try:
        uuid.UUID(prediction_id)
    except ValueError:
        raise InvalidRequest(f"{prediction_id!r} is no prediction's id: a UUID is") from None


def is_storable(text: str) -> bool:
    """Tell whether PostgreSQL takes a text: it knows neither the character zero nor half pairs."""
    return UNSTORABLE.search(text) is None


def as_json(detail: Mapping[str, Any]) -> str:
    """Write a detail as PostgreSQL takes it, which knows no NaN either."""
    try:
        text = json.dumps(dict(detail), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"the detail is not JSON: {error}") from error
    if not is_storable(text) or ZERO.search(text):
        raise InvalidRequest("the detail has characters in it that cannot be stored")
    return text


def signature(by: str, why: str) -> dict[str, str]:
    """Return who decides and why, as statements take it.

    Raises
    ------
    InvalidRequest
        One of them says nothing, or cannot be stored.
    """
    for name, text in (("who decides", by), ("why", why)):
        if not text.strip() or not is_storable(text):
            raise InvalidRequest(f"a decision must say {name}")
    return {"by": by, "why": why}
