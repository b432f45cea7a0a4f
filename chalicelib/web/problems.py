"""Every failure leaves as an RFC 9457 problem document; here is the one place that makes them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from chalice.app import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chalicelib.errors import (
    InvalidRequest,
    ModelUnavailable,
    NoDatabase,
    NotReady,
    OutOfTime,
    SightloopError,
    Unavailable,
)
from chalicelib.moment import Moment
from chalicelib.observability import correlation_id

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = "2"
MOST_FAULTS = 100
LONGEST_PATH = 200
EXAMPLE_ID = "3f0c2a6e-5d1b-4a57-9a55-0f3f6f0d7c11"
OURS = "something went wrong on our side; it is logged under the correlation id"
OURS_FOR_NOW = "a part of the service does not answer: try again in a moment"


class Overloaded(Unavailable):
    """More requests wait than can be answered soon: send it again after `Retry-After`."""

    title = "Overloaded"


TOLD = (
    NotReady,
    ModelUnavailable,
    OutOfTime,
    Overloaded,
    NoDatabase,
)  # ours as well, but what failed inside is no secret


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="path of the field, such as query.confidence")
    what: str


class ProblemDocument(BaseModel):
    """Why a request failed and what to do about it (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="stable name of the kind of problem, a URN")
    title: str = Field(description="the kind of problem in words")
    status: int = Field(description="that of the answer")
    detail: str = Field(description="what was wrong and what to do")
    instance: str | None = Field(None, description="the path that was asked for")
    correlation_id: str = Field(description="name this when you report the problem")
    retry: bool = Field(False, description="the same request may succeed later")
    faults: list[Fault] | None = Field(default=None, description="each field that is wrong")
    since: Moment | None = Field(default=None, description="when a ban began")
    until: Moment | None = Field(default=None, description="when the refusal of an address ends")
    appeal: str | None = Field(default=None, description="how to have a ban lifted")


class InvalidFields(InvalidRequest):
    """Fields of a request that do not hold what they should; the first hundred are named."""

    title = "Invalid fields"

    def __init__(self, error: ValidationError, where: str) -> None:
        found = error.errors(include_input=False, include_url=False)
        self.faults = [
            Fault(where=_short(".".join([where, *map(str, fault["loc"])])), what=fault["msg"])
            for fault in found[:MOST_FAULTS]
        ]
        super().__init__("; ".join(f"{fault.where}: {fault.what}" for fault in self.faults[:10]))


def _short(where: str) -> str:
    """Return a field's path: its names are the caller's own and may be of any length."""
    return where if len(where) <= LONGEST_PATH else f"{where[:LONGEST_PATH]}…"


def document(error: SightloopError, path: str | None = None) -> ProblemDocument:
    """Describe an error to the caller; what failed inside is for the log alone."""
    kind = type(error)
    return ProblemDocument(
        type=kind.type_uri(),
        title=error.title,
        status=error.status,
        detail=_told(kind, error.detail),
        instance=path,
        correlation_id=correlation_id(),
        retry=error.retry,
        faults=getattr(error, "faults", None),
        since=getattr(error, "since", None),
        until=getattr(error, "until", None),
        appeal=getattr(error, "appeal", None),
    )


def example(kind: type[SightloopError]) -> ProblemDocument:
    """Return what a problem of a kind looks like, with the kind's own words for the detail."""
    return ProblemDocument(
        type=kind.type_uri(),
        title=kind.title,
        status=kind.status,
        detail=_told(kind, (kind.__doc__ or kind.title).split("\n")[0]),
        instance="/v1/models/scratch/detections",
        correlation_id=EXAMPLE_ID,
        retry=kind.retry,
    )


def _told(kind: type[SightloopError], detail: str) -> str:
    if kind.status < 500 or issubclass(kind, TOLD):
        return detail
    return OURS_FOR_NOW if kind.retry else OURS


def response(error: SightloopError, path: str | None = None) -> Response:
    """Return an error's HTTP answer."""
    headers: dict[str, Any] = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry:
        headers["Retry-After"] = str(getattr(error, "retry_after", 0) or RETRY_AFTER_SECONDS)
    told = document(error, path).model_dump_json(exclude_none=True)
    return Response(told.encode(), headers, error.status)
