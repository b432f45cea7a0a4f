"""What a route is declared to be: what goes in, what comes out, who may call it, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from chalicelib.errors import (
    Banned,
    DatabaseUnavailable,
    InvalidRequest,
    OperatorsOnly,
    OutOfTime,
    PayloadTooLarge,
    SecretsUnavailable,
    SightloopError,
    StorageUnavailable,
    Unauthorized,
    UnsupportedMediaType,
)
from chalicelib.quotas import Kind
from chalicelib.refusals import (
    AddressBlocked,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    TooManyRequests,
)
from chalicelib.web import problems

Handler = Callable[..., Any]
Answers = Mapping[int, "type[BaseModel] | Media"]


@dataclass(frozen=True)
class Media:
    """An answer or a body that is not one JSON model.

    Attributes
    ----------
    types : mapping
        Media type to JSON schema, pydantic model, or models of which it is one; none: no body.
    headers : mapping
        Header of the answer to what it tells.
    links : mapping
        OpenAPI link objects: which operation to go on with, and what to give it.
    """

    types: Mapping[str, dict[str, Any] | type[BaseModel] | tuple[type[BaseModel], ...]]
    description: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One route, as declared.

    Attributes
    ----------
    handler : callable
        Its name is the operation's, its docstring the description; the annotations of its
        parameters describe those of the path.
    operators_only : bool
        Whether an operator's token is wanted.
    open_to_banned : bool
        Whether banned callers are let in as well.
    quota : Kind or None
        Of which each call takes one.
    makes : callable or None
        From the query to whether such a call makes something; one that makes nothing takes
        nothing of a quota and needs no Idempotency-Key. None: every call makes something.
    """

    handler: Handler
    method: str
    path: str
    summary: str
    tag: str
    answers: Answers
    query: type[BaseModel] | None = None
    body: type[BaseModel] | Media | None = None
    errors: tuple[type[SightloopError], ...] = ()
    documented: bool = True
    operators_only: bool = False
    open_to_banned: bool = False
    quota: Kind | None = None
    makes: Callable[[Any], bool] | None = None

    @property
    def description(self) -> str:
        """What the handler says of itself, on one line."""
        return " ".join((self.handler.__doc__ or "").split())

    @property
    def served_methods(self) -> list[str]:
        """The declared method, and HEAD wherever there is a GET."""
        return ["GET", "HEAD"] if self.method == "GET" else [self.method]

    @property
    def asks_who_calls(self) -> bool:
        """Whether bad tokens and banned callers are refused; who only reads may be anybody."""
        return self.operators_only or self.method != "GET"

    @property
    def takes_a_key(self) -> bool:
        """Whether a call may bear an Idempotency-Key."""
        return self.method == "POST"

    def makes_something(self, query: BaseModel | None) -> bool:
        """Tell whether a call with this query has an effect that must not be doubled."""
        return self.makes is None or self.makes(query)

    def all_errors(self) -> tuple[type[SightloopError], ...]:
        """Return the declared errors, down to their leaves, and those that follow from the rest."""
        expected = [leaf for error in self.errors for leaf in _leaves(error)]
        if self.asks_who_calls:
            expected += [Unauthorized, SecretsUnavailable]
            if self.operators_only:
                expected += [OperatorsOnly]
            elif not self.open_to_banned:
                expected += [Banned, AddressBlocked, StorageUnavailable]
        expected += [InvalidRequest, problems.InvalidFields]
        if self.takes_a_key:
            expected += [IdempotencyKeyInUse, IdempotencyKeyReused, DatabaseUnavailable]
        if self.quota:
            expected += [TooManyRequests]
        if self.body:
            expected += [PayloadTooLarge, UnsupportedMediaType]
        return tuple(dict.fromkeys([*expected, OutOfTime, SightloopError]))


def _leaves(kind: type[SightloopError]) -> list[type[SightloopError]]:
    return [leaf for below in kind.__subclasses__() for leaf in _leaves(below)] or [kind]
