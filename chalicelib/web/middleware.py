"""What surrounds every call: a correlation id, one log line, metrics, and problems for all."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from chalice.app import Chalice, Request, Response

from chalicelib.errors import MethodNotAllowed, NotAcceptable, NotFound, SightloopError
from chalicelib.observability import MetricUnit, bind_correlation_id, logger, metrics
from chalicelib.web import problems
from chalicelib.web.api import CORRELATION_HEADER
from chalicelib.web.identity import caller_for_log

SANE_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")
CHALICE_ERRORS: dict[int, type[SightloopError]] = {405: MethodNotAllowed, 400: NotAcceptable}


class App(Chalice):
    """Chalice, where every answer may be binary.

    API Gateway decodes a binary answer for any client only where ``*/*`` is a binary type; Chalice
    then wants an ``Accept`` header of everybody, so one is put in where there is none.

    Chalice's own logger bears the app's name, which is ours too: let alone, it would raise our
    logger's level to ERROR.
    """

    def __init__(self, app_name: str) -> None:
        super().__init__(app_name, configure_logs=False)
        self.api.binary_types = ["*/*"]

    def __call__(self, event: dict[str, Any], context: Any) -> Any:
        """Answer an API Gateway proxy event."""
        headers = event.get("headers") or {}
        if not any(name.lower() == "accept" for name in headers):
            event = {**event, "headers": {**headers, "accept": "*/*"}}
        return super().__call__(event, context)


def surround_http(request: Request, get_response: Callable[[Request], Response]) -> Response:
    """Answer a request under a correlation id; what Chalice itself refuses becomes a problem."""
    started = time.perf_counter()
    bound = bind_correlation_id(_given_id(request))
    answer = _answer(request, get_response)
    answer.headers[CORRELATION_HEADER] = bound
    answer.headers["X-Content-Type-Options"] = "nosniff"
    _measure(request, answer.status_code, (time.perf_counter() - started) * 1000)
    return answer


def surround_all(event: Any, get_response: Callable[[Any], Any]) -> Any:
    """Send the metrics of a call when it ends, so that none leaks into the next."""
    try:
        return get_response(event)
    finally:
        metrics.flush_metrics()


def _answer(request: Request, get_response: Callable[[Request], Response]) -> Response:
    try:
        answer = get_response(request)
    except Exception:  # noqa: BLE001 - the process's edge: nothing may reach the caller raw
        logger.exception("unexpected error", route=request.path)
        return problems.response(SightloopError("unexpected error"), request.context.get("path"))
    refused_by_chalice = isinstance(answer.body, dict) and "Code" in answer.body
    return _as_problem(answer, request) if refused_by_chalice else answer


def _given_id(request: Request) -> str | None:
    """Return the caller's own id, or else API Gateway's; one that might garble a log is passed."""
    given = request.headers.get(CORRELATION_HEADER), request.context.get("requestId")
    return next((each for each in given if each and SANE_ID.fullmatch(str(each))), None)


def _as_problem(answer: Response, request: Request) -> Response:
    kind = CHALICE_ERRORS.get(answer.status_code, SightloopError)
    path = request.context.get("path")
    error = kind(str(answer.body.get("Message")))
    if answer.headers.get("Allow") == "":
        error = NotFound(f"there is nothing at {path!r}: see /openapi.json")
    told = problems.response(error, path)
    told.headers |= {k: v for k, v in answer.headers.items() if k.lower() != "content-type"}
    return told


def _measure(request: Request, status: int, milliseconds: float) -> None:
    logger.info(
        "answered",
        method=request.method,
        route=request.path,
        caller=caller_for_log(request),
        status=status,
        milliseconds=round(milliseconds, 1),
    )
    metrics.add_metric("Requests", MetricUnit.Count, 1)
    metrics.add_metric("RequestTime", MetricUnit.Milliseconds, milliseconds)
    if status >= 500:
        metrics.add_metric("RequestErrors", MetricUnit.Count, 1)
