"""How a route is declared: once, and from that it is served, validated, and documented."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from chalice.app import Blueprint, CORSConfig, MultiDict, Request, Response
from pydantic import BaseModel, ConfigDict, ValidationError

from chalicelib.bounded import within
from chalicelib.callers import has_token
from chalicelib.errors import (
    Banned,
    InvalidRequest,
    PayloadTooLarge,
    SightloopError,
    UnsupportedMediaType,
)
from chalicelib.observability import logger
from chalicelib.quotas import Kind
from chalicelib.refusals import AddressBlocked
from chalicelib.web import once, problems
from chalicelib.web.identity import address, caller, caller_for_log, operator
from chalicelib.web.operation import Answers, Handler, Media, Operation
from chalicelib.wiring import services

__all__ = ["Answers", "Api", "Media", "Operation"]

CORRELATION_HEADER = "X-Correlation-Id"
ANY_ORIGIN = CORSConfig(
    allow_headers=[CORRELATION_HEADER, once.KEY_HEADER, "If-None-Match"],
    expose_headers=[
        CORRELATION_HEADER,
        once.REPLAYED_HEADER,
        "ETag",
        "Location",
        "Retry-After",
        "WWW-Authenticate",
    ],
    max_age=3600,
)


@dataclass
class Api:
    """A Chalice blueprint whose routes are declared by what goes in and what comes out.

    Parameters
    ----------
    import_name : str
        ``__name__`` of the module that declares the routes.
    tag : str
        Under which the document groups them.
    """

    import_name: str
    tag: str
    operations: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blueprint = Blueprint(self.import_name)

    @property
    def request(self) -> Request:
        """The request being answered."""
        return self.blueprint.current_request

    def route(  # noqa: PLR0913 - each says one thing about the route
        self,
        method: str,
        path: str,
        summary: str,
        answers: Answers,
        *,
        query: type[BaseModel] | None = None,
        body: type[BaseModel] | Media | None = None,
        errors: tuple[type[SightloopError], ...] = (),
        documented: bool = True,
        operators_only: bool = False,
        open_to_banned: bool = False,
        quota: Kind | None = None,
        makes: Callable[[Any], bool] | None = None,
    ) -> Callable[[Handler], Handler]:
        """Declare a route; one that answers GET answers HEAD too.

        The handler is called with the path's parameters, and with ``query`` and ``body`` where
        these are pydantic models. It returns a pydantic model (status: the first of ``answers``)
        or a Chalice ``Response``.

        Parameters
        ----------
        errors : tuple of SightloopError classes
            Those it may raise beyond the ones that follow from the declaration.
        documented : bool
            False for pages and files.
        operators_only : bool
            True where an operator's token is wanted; ``identity.operator`` names who called.
        open_to_banned : bool
            True where banned callers are let in: whatever they did, they may delete their photos.
        quota : Kind, optional
            Of which each call takes one; operators are not limited.
        makes : callable, optional
            From the query to whether such a call makes something.
        """

        def declare(handler: Handler) -> Handler:
            contract = (method, path, summary, self.tag, answers, query, body, errors, documented)
            callers = (operators_only, open_to_banned)
            operation = Operation(handler, *contract, *callers, quota, makes)
            self.operations.append(operation)
            self._register(operation)
            return handler

        return declare

    def _register(self, operation: Operation) -> None:
        # Content types are ours to judge: Chalice would answer 415 in words of its own.
        register = self.blueprint.route(
            operation.path,
            methods=operation.served_methods,
            name=operation.handler.__name__,
            content_types=[],
            cors=ANY_ORIGIN,
        )
        register(self._served(operation))

    def _served(self, operation: Operation) -> Handler:
        @functools.wraps(operation.handler)
        def serve(**path: str) -> Response:
            request = self.request
            answer = _guarded(
                operation, request, lambda: self._in_time(lambda: _answer(operation, request, path))
            )
            if request.method == "HEAD":
                answer.body = b""
            return answer

        return serve

    def _in_time(self, answer: Callable[[], Response]) -> Response:
        """Answer before API Gateway gives up, though a service that the call needs hangs."""
        app, request = self.blueprint.current_app, self.request

        def call() -> Response:
            app.current_request = request  # locally each thread has its own
            return answer()

        return within(services().settings.call_seconds, call)


def _guarded(operation: Operation, request: Request, make: Callable[[], Response]) -> Response:
    """Return an answer, or the problem document of what went wrong while it was made."""
    try:
        return make()
    except SightloopError as error:
        _log(error)
        if isinstance(error, Banned):
            _block_address(request)
        return problems.response(error, request.context.get("path"))
    except Exception:  # noqa: BLE001 - the process's edge: nothing may reach the caller raw
        logger.exception("unexpected error", extra={"route": operation.path})
        unexpected = SightloopError("unexpected error")
        return problems.response(unexpected, request.context.get("path"))


def _answer(operation: Operation, request: Request, path: Mapping[str, str]) -> Response:
    _admit(operation, request)
    # API Gateway decodes a path's parameters and Chalice's own server does not; what we look up
    # by them holds no percent sign, so decoding twice changes nothing.
    named = {name: unquote(value) for name, value in path.items()}
    parsed = _parsed(request, operation)

    def effect() -> Response:
        if operation.quota and operation.makes_something(parsed.get("query")):
            services().quotas.take(operation.quota, caller(request))
        answer = operation.handler(**named, **parsed)
        if isinstance(answer, Response):
            return answer
        return json_response(answer, next(iter(operation.answers)))

    if operation.takes_a_key and operation.makes_something(parsed.get("query")):
        return _once(operation, request, effect)
    return effect()


def _once(operation: Operation, request: Request, effect: Callable[[], Response]) -> Response:
    """Answer a call; under an Idempotency-Key, as the first call with that key was answered."""
    named = caller(request)
    key = once.key_in(request, named)
    if key is None:
        return effect()
    entry = once.entry_of(named, f"{operation.method} {operation.path}", key)
    guarded = functools.partial(_guarded, operation, request, effect)
    return once.answer_once(services().idempotency_keys, entry, request, guarded)


def _admit(operation: Operation, request: Request) -> None:
    """Refuse who may not call this."""
    if operation.operators_only:
        operator(request)
    elif operation.asks_who_calls:
        user = caller(request)
        if not operation.open_to_banned:
            _refuse_banned(user)
            if not has_token(user):
                _refuse_blocked(request)


def _refuse_banned(user_address: str) -> None:
    since = services().report_list.banned_since(user_address)
    if since is not None:
        raise Banned(user_address, since, services().settings.appeal_to)


def _refuse_blocked(request: Request) -> None:
    """Refuse an anonymous caller from where a banned token was used."""
    source = address(request)
    block = services().address_blocks.block_of(source) if source else None
    if source and block:
        raise AddressBlocked(source, block.until, services().settings.appeal_to)


def _block_address(request: Request) -> None:
    """Block the address from which a banned token was just refused."""
    user, source = caller_for_log(request), address(request)
    if has_token(user) and source:
        services().address_blocks.record(source, user)


def json_response(answer: BaseModel, status: int = 200) -> Response:
    """Return a model as JSON."""
    headers: dict[str, Any] = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(answer.model_dump_json().encode(), headers, status)


def _parsed(request: Request, operation: Operation) -> dict[str, BaseModel]:
    """Read what the handler is declared to take."""
    taken: dict[str, BaseModel] = {}
    query = _query(request, operation)
    if operation.query:
        taken["query"] = query
    if operation.body:
        check_body_size(request)
        _check_encoding(request)
    if isinstance(operation.body, type):
        taken["body"] = json_body(request, operation.body)
    return taken


class NoQuery(BaseModel):
    """The query of a route that takes none."""

    model_config = ConfigDict(extra="forbid")


def _query(request: Request, operation: Operation) -> BaseModel:
    """Read a route's query; what it does not know is refused, and so is what is said twice.

    Pages and files overlook theirs: people follow links to them that others have added to.
    """
    sent = request.query_params
    if not operation.documented or sent is None:
        sent = MultiDict({})
    if repeated := [name for name in sent if len(sent.getlist(name)) > 1]:
        raise InvalidRequest(f"{repeated[0]!r} is there more than once in the query: say it once")
    try:
        return (operation.query or NoQuery).model_validate(dict(sent.items()))
    except ValidationError as error:
        raise problems.InvalidFields(error, "query") from None


def json_body[Model: BaseModel](request: Request, model: type[Model]) -> Model:
    """Read a request's JSON body.

    Raises
    ------
    UnsupportedMediaType
        The body is not said to be JSON.
    InvalidRequest
        It is not what the model wants; every fault is named.
    """
    if media_type(request) != "application/json":
        raise UnsupportedMediaType("send the body as application/json")
    try:
        return _strictly(model, raw_body(request))
    except ValidationError as error:
        raise problems.InvalidFields(error, "body") from None


def _strictly[Model: BaseModel](model: type[Model], body: bytes) -> Model:
    """Validate JSON in which `true` and "7" are no numbers, but 7.0 is an integer, as it is to
    JSON Schema.
    """
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        inputs = [each["input"] for each in error.errors() if each["type"] == "int_type"]
        if not any(isinstance(each, float) and each.is_integer() for each in inputs):
            raise
    whole = json.dumps(json.loads(body, parse_float=_integer_if_whole))
    return model.model_validate_json(whole, strict=True)


def _integer_if_whole(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


def check_body_size(request: Request) -> None:
    """Refuse a body that is over the limit of a synchronous call.

    Raises
    ------
    PayloadTooLarge
        Says where larger images go.
    """
    most, sent = services().settings.max_body_bytes, len(raw_body(request))
    if sent > most:
        raise PayloadTooLarge(
            f"the body has {sent} bytes and a synchronous call carries {most}: "
            "ask POST /v1/uploads, or …/uploads of a pending model, for a form to send it with"
        )


def _check_encoding(request: Request) -> None:
    encoding = str(request.headers.get("content-encoding", "")).strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType(f"the body is encoded as {encoding!r}: send it as it is")


def base_path(request: Request) -> str:
    """Return the stage or base path that the caller came by: what stands before `/v1/`."""
    return str(request.context.get("path") or "").rpartition("/v1/")[0]


def prediction_path(request: Request, prediction_id: str) -> str:
    """Return a prediction's path, below the stage or base path that the caller came by."""
    return f"{base_path(request)}/v1/predictions/{prediction_id}"


def raw_body(request: Request) -> bytes:
    """Return a request's body as it was sent."""
    raw = request.raw_body
    return raw if isinstance(raw, bytes) else raw.encode()


def media_type(request: Request) -> str:
    """Return the body's media type in lower case, without parameters; empty where none is given."""
    return str(request.headers.get("content-type", "")).split(";")[0].strip().lower()


def _log(error: SightloopError) -> None:
    told = {"problem": type(error).__name__, "status": error.status, "detail": error.detail}
    if error.status >= 500:
        logger.error("request failed", exc_info=True, extra=told)
    else:
        logger.info("request refused", extra=told)
