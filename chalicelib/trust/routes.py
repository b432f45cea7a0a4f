"""`/v1/bans` and `/v1/decisions`: who is banned, and what was decided. For operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import quote

from chalice.app import Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from chalicelib.errors import BanNotFound, DatabaseUnavailable
from chalicelib.moment import Moment
from chalicelib.web.api import Api, Media, base_path, json_response
from chalicelib.web.identity import callable_name, canonical, operator
from chalicelib.wiring import services

if TYPE_CHECKING:
    from chalicelib.trust.records import Ban, Decision

api = Api(__name__, tag="trust")

MOST = 500
NEWEST = 2**63 - 1
# One word, without the percent sign, which a path would garble; no control character anywhere.
Name = Annotated[
    str,
    Field(
        description="as callers are named: an address, of IPv6 the /64, or user:<subject>",
        pattern=r"^[^\s%\x00-\x1f\x7f-\x9f]+$",
        max_length=255,
        examples=["203.0.113.7"],
    ),
]
User = Annotated[Name, AfterValidator(canonical)]
Bannable = Annotated[Name, AfterValidator(callable_name)]
Why = Annotated[
    str,
    Field(
        description="in words, for whoever looks at it later",
        pattern=r"^[^\x00-\x08\x0b-\x1f]*[^\s\x00-\x1f][^\x00-\x08\x0b-\x1f]*$",
        max_length=2000,
        examples=["random boxes on every photo"],
    ),
]
UserInPath = Annotated[str, Field(description="URL-encoded: 2001%3Adb8%3A1%3A2%3A%3A%2F64")]


class BanView(BaseModel):
    """A ban in force."""

    user: str = Field(examples=["203.0.113.7"])
    since: Moment
    by: str = Field(description="an operator; sightloop: the eleventh suspicious request did it")
    why: str

    @classmethod
    def of(cls, ban: Ban) -> Self:
        """Show a ban as the ledger has it."""
        return cls(user=ban.user_address, since=ban.reported_at, by=ban.reported_by, why=ban.why)


class BanPage(BaseModel):
    """Bans in force, sorted by user."""

    bans: list[BanView]
    after: str | None = Field(description="ask for the next page with it; null: this is the last")


class BansAsked(BaseModel):
    """Which page of the bans."""

    model_config = ConfigDict(extra="forbid")

    after: str = Field(
        "",
        pattern=r"^[^\x00]*$",
        max_length=255,
        description="the user that the last page ended with",
    )
    limit: int = Field(50, ge=1, le=MOST, description="how many at most")


class NewBan(BaseModel):
    """Whom to ban, and why."""

    model_config = ConfigDict(extra="forbid")

    user: Bannable
    why: Why


class WhyLifted(BaseModel):
    """Why a ban is lifted."""

    model_config = ConfigDict(extra="forbid")

    why: Why


class Lifted(BaseModel):
    """What became of a ban."""

    user: str = Field(examples=["203.0.113.7"])
    lifted: bool = Field(description="false: there was none")


class DecisionView(BaseModel):
    """What was decided, by whom and when."""

    decision_id: int
    user: str = Field(description="whom it concerns", examples=["203.0.113.7"])
    decision: Literal["ban", "lift", "accept", "reject"]
    by: str = Field(description="an operator; sightloop: the eleventh suspicious request did it")
    why: str
    at: Moment
    submission_id: int | None = Field(description="what was accepted or rejected")

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """Show a decision as the ledger has it."""
        return cls(
            decision_id=decision.decision_id,
            user=decision.user_address,
            decision=decision.decision,
            by=decision.decided_by,
            why=decision.why,
            at=decision.decided_at,
            submission_id=decision.request_id,
        )


class DecisionPage(BaseModel):
    """Decisions, newest first."""

    decisions: list[DecisionView]
    before: int | None = Field(description="ask for the next page with it; null: this is the last")


class DecisionsAsked(BaseModel):
    """Whose decisions, and which page of them."""

    model_config = ConfigDict(extra="forbid")

    user: User | None = Field(None, description="those that concern one user; none: all")
    before: int = Field(NEWEST, ge=0, le=NEWEST, description="older than this decision")
    limit: int = Field(50, ge=1, le=MOST, description="how many at most")


@api.route(
    "GET",
    "/v1/bans",
    "List who is banned",
    {200: BanPage},
    query=BansAsked,
    errors=(DatabaseUnavailable,),
    operators_only=True,
)
def list_bans(query: BansAsked) -> BanPage:
    """Return the bans in force, sorted by user, page by page."""
    found = services().ledger.some_bans(query.after, query.limit)
    bans = [BanView.of(ban) for ban in found]
    return BanPage(bans=bans, after=bans[-1].user if len(bans) == query.limit else None)


@api.route(
    "POST",
    "/v1/bans",
    "Ban a user",
    {
        201: Media({"application/json": BanView}, headers={"Location": "the ban's path"}),
        200: Media({"application/json": BanView}, "the ban in force, for there was one already"),
    },
    body=NewBan,
    errors=(DatabaseUnavailable,),
    operators_only=True,
)
def ban_user(body: NewBan) -> Response:
    """Ban a user from all that writes, within half a minute. A ban in force stays as it is."""
    ledger = services().ledger
    made = ledger.ban(body.user, operator(api.request), body.why)
    answer = json_response(_ban_of(body.user), 201 if made else 200)
    answer.headers["Location"] = _link(body.user)
    return answer


@api.route(
    "GET",
    "/v1/bans/{user}",
    "Show one user's ban",
    {200: BanView},
    errors=(BanNotFound, DatabaseUnavailable),
    operators_only=True,
)
def show_ban(user: UserInPath) -> BanView:
    """Return the ban of a user, if there is one."""
    return _ban_of(canonical(user))


@api.route(
    "DELETE",
    "/v1/bans/{user}",
    "Lift a ban",
    {200: Lifted},
    query=WhyLifted,
    errors=(DatabaseUnavailable,),
    operators_only=True,
)
def lift_ban(user: UserInPath, query: WhyLifted) -> Lifted:
    """Lift a user's ban and forgive what led to it: the next takes eleven more."""
    from chalicelib.trust.records import is_address  # noqa: PLC0415 - few calls need it

    named = canonical(user)
    may_exist = is_address(named)
    lifted = may_exist and services().ledger.lift(named, operator(api.request), query.why)
    return Lifted(user=named, lifted=lifted)


@api.route(
    "GET",
    "/v1/decisions",
    "List what was decided",
    {200: DecisionPage},
    query=DecisionsAsked,
    errors=(DatabaseUnavailable,),
    operators_only=True,
)
def list_decisions(query: DecisionsAsked) -> DecisionPage:
    """Return bans, liftings, acceptances and rejections, newest first, page by page."""
    found = services().ledger.latest_decisions(query.user, query.before, query.limit)
    decisions = [DecisionView.of(decision) for decision in found]
    more = len(decisions) == query.limit
    return DecisionPage(decisions=decisions, before=decisions[-1].decision_id if more else None)


def _ban_of(user: str) -> BanView:
    found = services().ledger.ban_of(user)
    if found is None:
        raise BanNotFound(f"{user!r} is not banned")
    return BanView.of(found)


def _link(user: str) -> str:
    """Return a ban's path, below the stage or base path that the caller came by."""
    return f"{base_path(api.request)}/v1/bans/{quote(user, safe='')}"
