"""Who calls, and what a forged header, a forged token and a stranger's token get."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from chalice.app import Request

from chalicelib import wiring
from chalicelib.errors import OperatorsOnly, SightloopError, Unauthorized
from chalicelib.settings import Settings
from chalicelib.web import middleware
from chalicelib.web.api import Api
from chalicelib.web.identity import caller, caller_for_log, operator

Stack = Any
Gateway = Any

KEY = "a key that signs tokens, 32 bytes or more"
TOKENS = {"ada": "token-of-ada-0123456789", "bob": "tokén-of-bob-0123456789"}
SECRET = {"operators": TOKENS, "subjects_key": KEY}


class Manager:
    """Secrets Manager with one secret."""

    def __init__(self, secret: dict[str, Any]) -> None:
        self.secret = secret

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803 - botocore's name
        return {"SecretString": json.dumps(self.secret)}


class Untouched:
    """What must not be asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")


def provide(manager: Any) -> None:
    wiring.provide(wiring.Services(Settings(), {"secretsmanager": manager}))


@pytest.fixture(autouse=True)
def provided() -> Iterator[None]:
    before = wiring.services()
    provide(Manager(SECRET))
    yield
    wiring.provide(before)


def asked(
    authorization: str | None = None, *, address: str | None = "203.0.113.7", **told: Any
) -> Request:
    """Return a request as API Gateway hands it over."""
    headers = dict(told.pop("headers", {}))
    if authorization is not None:
        headers["authorization"] = authorization
    context = {
        "httpMethod": "POST",
        "resourcePath": "/",
        "identity": {"sourceIp": address},
        **told,
    }
    return Request(
        {
            "headers": headers,
            "requestContext": context,
            "multiValueQueryStringParameters": None,
            "pathParameters": None,
            "body": None,
            "stageVariables": None,
            "isBase64Encoded": False,
        },
        None,
    )


def token(**claims: Any) -> str:
    return jwt.encode({"sub": "alice", "exp": time.time() + 600, **claims}, KEY, "HS256")


def by(token: str) -> str:
    return f"Bearer {token}"


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:aaaa:bbbb:cccc:dddd", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("test-invoke-source-ip", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_without_a_token_a_caller_is_the_address(address: str | None, named: str) -> None:
    assert caller(asked(address=address)) == named


def test_another_address_of_the_same_household_is_the_same_caller() -> None:
    one, other = "2001:db8:1:2::1", "2001:db8:1:2:9:9:9:9"

    assert caller(asked(address=one)) == caller(asked(address=other))
    assert caller(asked(address=one)) != caller(asked(address="2001:db8:1:3::1"))


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "Forwarded", "X-Real-Ip", "True-Client-Ip", "X-Amzn-Sourceip"]
)
def test_a_forged_header_changes_nothing(header: str) -> None:
    forged = asked(headers={header.lower(): "6.6.6.6"})

    assert caller(forged) == "203.0.113.7"


def test_a_caller_without_a_token_costs_no_secret() -> None:
    provide(Untouched())

    assert caller(asked()) == "203.0.113.7"


def test_a_users_token_names_them_wherever_they_call_from() -> None:
    assert caller(asked(by(token()))) == "user:alice"
    assert caller(asked(f"bearer   {token(sub='ünï:日本')} ", address="::1")) == "user:ünï:日本"


def test_an_operator_who_calls_as_anybody_does_is_named_too() -> None:
    assert caller(asked(by(TOKENS["ada"]))) == "operator:ada"


@pytest.mark.parametrize(
    "context",
    [
        {"authorizer": {"claims": {"sub": "alice"}}},
        {"authorizer": {"principalId": "alice"}},
    ],
)
def test_whom_an_authorizer_of_api_gateway_verified_is_believed(context: dict[str, Any]) -> None:
    assert caller(asked(**context)) == "user:alice"


def test_a_user_cannot_pass_for_an_address_or_an_operator() -> None:
    assert caller(asked(by(token(sub="203.0.113.8")))) == "user:203.0.113.8"
    assert caller(asked(by(token(sub="operator:ada")))) == "user:operator:ada"


def forged(header: dict[str, Any], key: bytes, method: Any = hashlib.sha256) -> str:
    def part(text: bytes) -> str:
        return base64.urlsafe_b64encode(text).rstrip(b"=").decode()

    claims = {"sub": "alice", "exp": int(time.time()) + 600}
    signed = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims).encode())}"
    return f"{signed}.{part(hmac.new(key, signed.encode(), method).digest()) if key else ''}"


BAD_TOKENS = {
    "signed by somebody else": lambda: forged({"alg": "HS256", "typ": "JWT"}, b"x" * 32),
    "not signed": lambda: forged({"alg": "none"}, b""),
    "not signed, shouting": lambda: forged({"alg": "NoNe"}, b""),
    "signed another way": lambda: forged({"alg": "HS512"}, KEY.encode(), hashlib.sha512),
    "of no algorithm": lambda: forged({"typ": "JWT"}, KEY.encode()),
    "of an algorithm that is no word": lambda: forged({"alg": ["HS256"]}, KEY.encode()),
    "names its own key": lambda: forged(
        {"alg": "HS256", "jwk": {"kty": "oct", "k": "eA"}, "kid": "../../dev/null"}, b"x"
    ),
    "expired": lambda: token(exp=time.time() - 60),
    "never expires": lambda: jwt.encode({"sub": "alice"}, KEY, "HS256"),
    "expires at no time": lambda: token(exp="soon"),
    "not yet good": lambda: token(nbf=time.time() + 600),
    "of nobody": lambda: jwt.encode({"exp": time.time() + 600}, KEY, "HS256"),
    "of an empty subject": lambda: token(sub=""),
    "of a number": lambda: jwt.encode({"sub": "7", "exp": time.time() + 9}, KEY, "HS256")[:-1],
    "of two words": lambda: token(sub="alice\tbob"),
    "of a line": lambda: token(sub="alice\n203.0.113.7\t2020-01-01T00:00:00Z"),
    "of a very long name": lambda: token(sub="x" * 256),
    "for somebody else": lambda: token(aud="another-service"),
    "no token": lambda: "garbage",
    "three parts of nothing": lambda: "..",
    "no text": lambda: "\x00\xff",
    "half a character": lambda: "\udc80",
    "huge": lambda: "x" * 100_000,
    "huge, and a token": lambda: token(more="x" * 8000),
    "deep": lambda: forged({"alg": "HS256", "x": 0}, KEY.encode()).replace(".", "." + "W" * 3000),
}


@pytest.mark.parametrize("make", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_a_bad_token_is_refused_and_names_nobody(make: Any) -> None:
    request = asked(by(make()))

    with pytest.raises(Unauthorized):
        caller(request)
    with pytest.raises(Unauthorized):
        operator(request)
    assert caller_for_log(request) == "203.0.113.7"


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer ", "token-of-ada-0123456789"])
def test_another_way_to_say_who_one_is_is_refused_rather_than_overlooked(header: str) -> None:
    with pytest.raises(Unauthorized, match="Bearer <your token>"):
        caller(asked(header))


def test_an_empty_header_is_none() -> None:
    assert caller(asked("  ")) == "203.0.113.7"


def test_clocks_may_differ_a_little() -> None:
    assert caller(asked(by(token(exp=time.time() - 5)))) == "user:alice"


def test_users_have_no_tokens_where_nothing_signs_them() -> None:
    provide(Manager({"operators": TOKENS}))

    with pytest.raises(Unauthorized):
        caller(asked(by(jwt.encode({"sub": "alice", "exp": time.time() + 600}, "x" * 32, "HS256"))))


@pytest.mark.parametrize("name", TOKENS)
def test_an_operator_is_known_by_their_token(name: str) -> None:
    assert operator(asked(by(TOKENS[name]))) == name


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (None, Unauthorized),
        ("Bearer token-of-eve-0123456789", Unauthorized),
        (by(TOKENS["ada"][:-1]), Unauthorized),
        (by(TOKENS["ada"] + "x"), Unauthorized),
        (by(TOKENS["ada"].upper()), Unauthorized),
    ],
)
def test_a_stranger_is_no_operator(header: str | None, error: type[SightloopError]) -> None:
    with pytest.raises(error):
        operator(asked(header))


def test_a_user_is_no_operator_and_is_told_so() -> None:
    with pytest.raises(OperatorsOnly):
        operator(asked(by(token())))


def test_whom_the_gateway_verified_is_no_operator_by_that() -> None:
    with pytest.raises(Unauthorized):
        operator(asked(authorizer={"principalId": "ada"}))


def app_of_two_routes() -> Any:
    """Return an app with a route for operators and one that writes."""
    made = middleware.App("two")
    made.register_middleware(middleware.surround_all, "all")
    made.register_middleware(middleware.surround_http, "http")
    api = Api(__name__, tag="two")

    def decide() -> Settings:
        """Decide."""
        return Settings(stage=operator(api.request))

    def write() -> Settings:
        """Write."""
        return Settings(secret_name=caller(api.request))

    api.route("GET", "/decide", "Decide", {200: Settings}, operators_only=True)(decide)
    api.route("POST", "/write", "Write", {200: Settings})(write)
    made.register_blueprint(api.blueprint)
    return made


def test_a_route_for_operators_lets_them_in_and_nobody_else(gateway: Gateway) -> None:
    ask = type(gateway)(app_of_two_routes())

    let_in = ask("GET", "/decide", authorization=by(TOKENS["ada"]))
    strangers, users = ask("GET", "/decide"), ask("GET", "/decide", authorization=by(token()))

    assert (let_in.status, let_in.json["stage"]) == (200, "ada")
    assert (strangers.status, strangers.headers["www-authenticate"]) == (401, "Bearer")
    assert strangers.json["type"] == "urn:sightloop:problem:unauthorized"
    assert (users.status, users.json["type"]) == (403, "urn:sightloop:problem:operators-only")


def test_a_route_that_writes_takes_anybody_but_those_with_a_bad_token(gateway: Gateway) -> None:
    ask = type(gateway)(app_of_two_routes())

    assert ask("POST", "/write").json["secret_name"] == "203.0.113.7"
    assert ask("POST", "/write", authorization=by(token())).json["secret_name"] == "user:alice"
    assert ask("POST", "/write", authorization=by("nonsense")).status == 401


def test_a_secret_that_cannot_be_read_closes_what_needs_it_and_nothing_else(
    gateway: Gateway,
) -> None:
    class Silent:
        def get_secret_value(self, SecretId: str) -> Any:  # noqa: N803 - botocore's name
            from botocore.exceptions import EndpointConnectionError  # noqa: PLC0415

            raise EndpointConnectionError(endpoint_url="https://secret-endpoint")

    provide(Silent())
    ask = type(gateway)(app_of_two_routes())

    refused = ask("GET", "/decide", authorization=by(TOKENS["ada"]))
    assert (refused.status, refused.headers["retry-after"]) == (503, "2")
    assert b"secret-endpoint" not in refused.body
    assert ask("POST", "/write").status == 200
