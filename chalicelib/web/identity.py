"""Who calls: an operator by their token, a user by theirs, anybody else by their address.

An address is the one that API Gateway saw. Never a header that a client can set.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

from chalice.app import Request

from chalicelib.callers import OPERATOR, USER
from chalicelib.errors import OperatorsOnly, SightloopError, Unauthorized
from chalicelib.wiring import services

if TYPE_CHECKING:
    from chalicelib.secrets import Secret

UNKNOWN = "unknown"
NAMED_BY = ("user", "operator")  # what stands before the colon of a name
ALGORITHM = "HS256"  # pinned: what a token says of itself decides nothing
LEEWAY_SECONDS = 10
LONGEST_TOKEN = 4096
ONE_HOUSEHOLD = 64  # bits of an IPv6 address that a subscriber cannot choose


def caller(request: Request) -> str:
    """Return who calls, by the name under which requests are recorded and users are banned.

    ``user:<subject>`` of a verified token, ``operator:<name>`` of an operator's; without a token
    the source address, of which IPv6 gives the network that one subscriber has (/64).

    Raises
    ------
    Unauthorized
        There is a token, and it is not good.
    SecretsUnavailable, ConfigurationError
        There is a token, and what it is checked against cannot be read.
    """
    subject = _subject_by_gateway(request)
    if subject is not None:
        return _user(subject)
    token = _bearer(request)
    if token is None:
        return _address(request)
    return _named_by(token, services().secrets.read())


def caller_for_log(request: Request) -> str:
    """Return who calls; a caller whose token is not good is the address it came from.

    The secret is not read for a line of the log: where it is not known yet, a token names nobody.
    """
    try:
        subject = _subject_by_gateway(request)
        if subject is not None:
            return _user(subject)
        token, secret = _bearer(request), services().secrets.known
        if token is None or secret is None:
            return _address(request)
        return _named_by(token, secret)
    except SightloopError:
        return _address(request)


def _named_by(token: str, secret: Secret) -> str:
    name = _operator_by(token, secret)
    return f"{OPERATOR}{name}" if name else _user_by(token, secret)


def operator(request: Request) -> str:
    """Return the name of the operator who calls.

    Raises
    ------
    Unauthorized
        There is no token, or it is not good.
    OperatorsOnly
        It is the token of a user.
    SecretsUnavailable, ConfigurationError
        What it is checked against cannot be read.
    """
    token = _bearer(request)
    if token is None:
        raise Unauthorized("this is for operators: send Authorization: Bearer <your token>")
    secret = services().secrets.read()
    name = _operator_by(token, secret)
    if name is None:
        _user_by(token, secret)
        raise OperatorsOnly("this is for operators, and your token is a user's")
    return name


def _bearer(request: Request) -> str | None:
    """Return the token that was sent, if one was."""
    header = str(request.headers.get("authorization") or "").strip()
    if not header:
        return None
    scheme, _, token = header.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("send Authorization: Bearer <your token>, or no such header")
    if len(token) > LONGEST_TOKEN:
        raise Unauthorized(f"the token is longer than {LONGEST_TOKEN} characters")
    return token


def _operator_by(token: str, secret: Secret) -> str | None:
    """Return whose token it is. How long that takes tells nothing of the tokens there are."""
    sent, found = _digest(token), None
    for name, theirs in secret.operators.items():
        if hmac.compare_digest(sent, _digest(theirs)):
            found = name
    return found


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _user_by(token: str, secret: Secret) -> str:
    import jwt  # noqa: PLC0415 - most callers send no token

    if not secret.subjects_key:
        raise Unauthorized("no such token is known here")
    try:
        claims = jwt.decode(
            token,
            secret.subjects_key,
            algorithms=[ALGORITHM],
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "sub"]},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthorized("the token has expired: get another") from None
    except (jwt.PyJWTError, ValueError, OverflowError, RecursionError):
        raise Unauthorized("the token is not good: get another, or send none") from None
    return _user(str(claims["sub"]))


def _subject_by_gateway(request: Request) -> str | None:
    """Return the subject that an authorizer of API Gateway has verified, where there is one."""
    told: Mapping[str, Any] = request.context.get("authorizer") or {}
    claims: Mapping[str, Any] = told.get("claims") or {}
    subject = claims.get("sub") or told.get("principalId")
    return str(subject) if subject else None


def _user(subject: str) -> str:
    from chalicelib.trust.records import is_address  # noqa: PLC0415 - most callers send no token

    named = f"{USER}{subject}"
    if not subject or "%" in subject or not is_address(named):  # a path would garble a %
        raise Unauthorized("the token's subject has to be one word, at most 250 characters, no %")
    return named


def address(request: Request) -> str | None:
    """Return where a request comes from, whatever token it bears: an IPv4 address or an IPv6 /64.

    None where the gateway says nothing of it.
    """
    named = _address(request)
    return None if named == UNKNOWN else named


def _address(request: Request) -> str:
    identity = request.context.get("identity") or {}
    return _by_address(str(identity.get("sourceIp") or "")) or UNKNOWN


def canonical(user: str) -> str:
    """Return a user's name as callers are named; what is no address is a name already.

    >>> canonical("2001:DB8:1:2:aaaa::1"), canonical("2001:db8:1:2::/64"), canonical("user:ann")
    ('2001:db8:1:2::/64', '2001:db8:1:2::/64', 'user:ann')
    """
    return _by_address(user.removesuffix(f"/{ONE_HOUSEHOLD}")) or user


def callable_name(user: str) -> str:
    """Return a user's canonical name, if a caller can have it.

    >>> callable_name("2001:DB8:1:2:aaaa::1")
    '2001:db8:1:2::/64'

    Raises
    ------
    ValueError
        No caller is named so; the message says how callers are named.
    """
    name = canonical(user)
    prefix, _, rest = name.partition(":")
    if user == UNKNOWN or (prefix in NAMED_BY and rest):
        return name
    is_ipv4_network = user.endswith(f"/{ONE_HOUSEHOLD}") and ":" not in name
    if _by_address(name.removesuffix(f"/{ONE_HOUSEHOLD}")) == name and not is_ipv4_network:
        return name
    raise ValueError(
        "no caller is named so: give an IPv4 address such as 203.0.113.7, an IPv6 address or its "
        "/64 such as 2001:db8:1:2::/64, user:<subject> or operator:<name>"
    )


def _by_address(told: str) -> str | None:
    """Return how the caller at an address is named.

    >>> _by_address("::ffff:203.0.113.7"), _by_address("nowhere")
    ('203.0.113.7', None)
    """
    try:
        address = ip_address(told)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), ONE_HOUSEHOLD), strict=False))
