"""Operators list, make and lift bans, and see what was decided."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from chalicelib.trust.ledger import Ledger
from chalicelib.web.routes import documented

Caller = Any
Stack = Any
Operate = Callable[..., Any]

OF_OPERATORS = [each for each in documented if each.operators_only]


@pytest.fixture
def operate(call: Caller, as_operator: dict[str, str]) -> Operate:
    """Call as an operator; a body is sent as JSON."""

    def send(method: str, target: str, body: dict[str, Any] | None = None) -> Any:
        if body is None:
            return call(method, target, **as_operator)
        sent = json.dumps(body).encode()
        return call(method, target, sent, content_type="application/json", **as_operator)

    return send


@pytest.fixture
def ledger(stack: Stack) -> Ledger:
    return stack.services.ledger  # type: ignore[no-any-return]


def new_user() -> str:
    return f"user:{uuid.uuid4()}"


def in_path(user: str) -> str:
    return f"/v1/bans/{quote(user, safe='')}"


@pytest.mark.parametrize("operation", OF_OPERATORS, ids=lambda each: f"{each.method} {each.path}")
def test_what_is_for_operators_is_closed_to_everybody_else(call: Caller, operation: Any) -> None:
    answer = call(operation.method, operation.path.replace("{", "").replace("}", ""))

    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    "user",
    [
        "203.0.113.9",
        "2001:db8:9:9::/64",
        "user:ann",
        "user:ünï:日本/☃",
        "user:a+b&c=d?e#f",
        "user:../../v1/bans",
        "user:'; DROP TABLE bans; --",
    ],
)
def test_any_user_can_be_banned_found_and_let_in_again(operate: Operate, user: str) -> None:
    user = user.replace(" ", "_")
    banned = operate("POST", "/v1/bans", {"user": user, "why": "spam"})
    assert banned.status == 201
    assert (banned.json["user"], banned.json["by"], banned.json["why"]) == (
        user,
        "operator",
        "spam",
    )
    assert banned.headers["location"].endswith(in_path(user))

    assert operate("GET", in_path(user)).json == banned.json
    assert banned.json in operate("GET", "/v1/bans?limit=500").json["bans"]

    lifted = operate("DELETE", f"{in_path(user)}?why=a%20mistake")
    assert (lifted.status, lifted.json) == (200, {"user": user, "lifted": True})
    assert operate("GET", in_path(user)).json["type"] == "urn:sightloop:problem:ban-not-found"


@pytest.mark.parametrize(
    "given", ["2001:DB8:7:7::1", "2001:db8:7:7:aaaa:bbbb:cccc:dddd", "2001:0db8:0007:0007::/64"]
)
def test_an_address_of_ipv6_is_banned_with_its_household(operate: Operate, given: str) -> None:
    assert operate("POST", "/v1/bans", {"user": given, "why": "x"}).json["user"] == (
        "2001:db8:7:7::/64"
    )
    assert operate("GET", in_path(given)).status == 200
    assert operate("DELETE", f"{in_path(given)}?why=x").json["lifted"] is True


def test_an_address_of_ipv4_in_the_clothes_of_ipv6_is_banned_as_what_it_is(
    operate: Operate, ledger: Ledger
) -> None:
    operate("POST", "/v1/bans", {"user": "::ffff:203.0.113.8", "why": "x"})

    assert ledger.is_banned("203.0.113.8")
    operate("DELETE", "/v1/bans/203.0.113.8?why=x")


def test_a_ban_in_force_stays_as_it_is(operate: Operate) -> None:
    user = new_user()
    first = operate("POST", "/v1/bans", {"user": user, "why": "spam"})

    again = operate("POST", "/v1/bans", {"user": user, "why": "more spam"})

    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json


def test_lifting_a_ban_that_is_not_there_says_so(operate: Operate) -> None:
    for user in (new_user(), "x" * 300, "a b", "\x00", "a%b"):
        answer = operate("DELETE", f"{in_path(user)}?why=x")
        assert (answer.status, answer.json["lifted"]) == (200, False)


def test_a_name_that_no_caller_has_is_answered_with_what_to_send(operate: Operate) -> None:
    answer = operate("POST", "/v1/bans", {"user": "203.0.113.007", "why": "x"})

    [fault] = answer.json["faults"]
    assert "an IPv4 address such as 203.0.113.7" in fault["what"]


def test_a_ban_from_before_by_such_a_name_can_be_lifted(operate: Operate, ledger: Ledger) -> None:
    ledger.ban("203.0.113.007", "olga", "mistyped")

    lifted = operate("DELETE", f"{in_path('203.0.113.007')}?why=x")
    assert lifted.json == {"user": "203.0.113.007", "lifted": True}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"user": "a b", "why": "x"}, "body.user"),
        ({"user": "a\tb", "why": "x"}, "body.user"),
        ({"user": "a\n203.0.113.1\t2020-01-01T00:00:00Z", "why": "x"}, "body.user"),
        ({"user": "a\u2028b", "why": "x"}, "body.user"),
        ({"user": "user:a%2Fb", "why": "x"}, "body.user"),
        ({"user": "", "why": "x"}, "body.user"),
        ({"user": "x" * 256, "why": "x"}, "body.user"),
        ({"user": 7, "why": "x"}, "body.user"),
        ({"user": "ann", "why": "x"}, "body.user"),
        ({"user": "user:", "why": "x"}, "body.user"),
        ({"user": "203.0.113.007", "why": "x"}, "body.user"),
        ({"user": "203.0.113", "why": "x"}, "body.user"),
        ({"user": "203.0.113.7/32", "why": "x"}, "body.user"),
        ({"user": "203.0.113.7/64", "why": "x"}, "body.user"),
        ({"user": "3405803783", "why": "x"}, "body.user"),
        ({"user": "0xcb007107", "why": "x"}, "body.user"),
        ({"user": "2001:db8:1:2::/63", "why": "x"}, "body.user"),
        ({"user": "2001:db8:1:2::/128", "why": "x"}, "body.user"),
        ({"user": "[2001:db8::1]", "why": "x"}, "body.user"),
        ({"user": "fe80::1%eth0", "why": "x"}, "body.user"),
        ({"user": "Operator:olga", "why": "x"}, "body.user"),
        ({"user": "user:ann"}, "body.why"),
        ({"user": "user:ann", "why": ""}, "body.why"),
        ({"user": "user:ann", "why": " \n\t "}, "body.why"),
        ({"user": "user:ann", "why": "nul \x00"}, "body.why"),
        ({"user": "user:ann", "why": "x" * 2001}, "body.why"),
        ({"user": "user:ann", "why": "x", "by": "somebody else"}, "body.by"),
    ],
)
def test_a_ban_that_cannot_be_says_which_field_is_wrong(
    operate: Operate, body: dict[str, Any], where: str
) -> None:
    answer = operate("POST", "/v1/bans", body)

    assert answer.status == 400
    assert [fault["where"] for fault in answer.json["faults"]] == [where]


def test_lifting_wants_a_reason(operate: Operate) -> None:
    answer = operate("DELETE", "/v1/bans/ann")

    assert answer.json["faults"][0]["where"] == "query.why"


def test_bans_come_page_by_page_and_none_is_left_out(operate: Operate, ledger: Ledger) -> None:
    users = {new_user() for _ in range(7)}
    for user in users:
        ledger.ban(user, "ada", "spam")

    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = operate("GET", f"/v1/bans?limit=3&after={quote(after)}").json
        found += [ban["user"] for ban in page["bans"]]
        after = page["after"]

    assert found == sorted(found)
    assert len(found) == len(set(found))
    assert users <= set(found)


def test_every_decision_is_shown_with_who_and_why_and_when(operate: Operate) -> None:
    user = new_user()
    operate("POST", "/v1/bans", {"user": user, "why": "spam"})
    operate("DELETE", f"{in_path(user)}?why=a%20mistake")

    told = operate("GET", f"/v1/decisions?user={quote(user)}").json["decisions"]

    shown = [(each["decision"], each["by"], each["why"]) for each in told]
    assert shown == [("lift", "operator", "a mistake"), ("ban", "operator", "spam")]
    assert all(each["user"] == user and each["at"] for each in told)


def test_decisions_come_page_by_page_newest_first(operate: Operate, ledger: Ledger) -> None:
    user = new_user()
    for _ in range(3):
        ledger.ban(user, "ada", "spam")
        ledger.lift(user, "ada", "no spam")

    first = operate("GET", f"/v1/decisions?user={quote(user)}&limit=4").json
    second = operate("GET", f"/v1/decisions?user={quote(user)}&before={first['before']}").json

    ids = [each["decision_id"] for each in (*first["decisions"], *second["decisions"])]
    assert ids == sorted(ids, reverse=True)
    assert (len(first["decisions"]), len(second["decisions"])) == (4, 2)
    assert second["before"] is None
    assert operate("GET", "/v1/decisions?limit=1").json["decisions"][0]["decision_id"] == ids[0]


def test_the_eleventh_suspicious_request_is_signed_by_nobody(
    operate: Operate, stack: Stack
) -> None:
    user = new_user()
    with stack.services.database.transaction() as rows:
        rows.execute(
            """INSERT INTO requests (prediction_id, user_address, model, model_version, score,
                                     predicted_boxes, submitted_boxes, state)
               SELECT gen_random_uuid(), %s, 'scratch', 1, 0.9, 2, 2, 'quarantined'
               FROM generate_series(1, 11)""",
            (user,),
        )

    ban = operate("GET", in_path(user)).json
    assert (ban["by"], ban["why"]) == ("sightloop", "11 suspicious requests")


def test_a_page_after_nobody_who_could_be_is_refused(operate: Operate) -> None:
    answer = operate("GET", "/v1/bans?after=%00")

    assert answer.json["faults"][0]["where"] == "query.after"
