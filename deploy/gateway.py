"""What API Gateway answers by itself, said to it as problem documents like all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chalicelib.errors import (
    InvalidRequest,
    NotFound,
    OutOfTime,
    PayloadTooLarge,
    SightloopError,
    Unavailable,
)
from chalicelib.refusals import TooManyRequests
from chalicelib.settings import Settings
from chalicelib.web.api import CORRELATION_HEADER
from chalicelib.web.problems import MEDIA_TYPE, RETRY_AFTER_SECONDS, ProblemDocument
from deploy.cloud import log


@dataclass(frozen=True)
class Refusal:
    """An answer that API Gateway gives without asking our function."""

    kind: type[SightloopError]
    detail: str

    def settings(self) -> dict[str, Any]:
        """Return it as API Gateway takes it, which fills in what begins with ``$context``."""
        told = ProblemDocument(
            type=self.kind.type_uri(),
            title=self.kind.title,
            status=self.kind.status,
            detail=self.detail,
            instance="$context.path",
            correlation_id="$context.requestId",
            retry=self.kind.retry,
        )
        headers = {
            "Access-Control-Allow-Origin": "'*'",
            "Access-Control-Expose-Headers": f"'{CORRELATION_HEADER},Retry-After'",
            "Content-Type": f"'{MEDIA_TYPE}'",
            CORRELATION_HEADER: "context.requestId",
        }
        if self.kind.retry:
            headers["Retry-After"] = f"'{RETRY_AFTER_SECONDS}'"
        return {
            "statusCode": str(self.kind.status),
            "responseParameters": {
                f"gatewayresponse.header.{name}": value for name, value in headers.items()
            },
            "responseTemplates": {"application/json": told.model_dump_json(exclude_none=True)},
        }


REFUSALS = {
    "MISSING_AUTHENTICATION_TOKEN": Refusal(
        NotFound, "there is no such route, or not for this method: see openapi.json"
    ),
    # What an unknown route is to API Gateway where a bearer token was sent along.
    "INVALID_SIGNATURE": Refusal(
        NotFound, "there is no such route, or not for this method: see openapi.json"
    ),
    "REQUEST_TOO_LARGE": Refusal(
        PayloadTooLarge,
        "the body is over what a synchronous call carries: ask POST /v1/uploads for a form and "
        "send the image with it",
    ),
    "BAD_REQUEST_BODY": Refusal(InvalidRequest, "the body cannot be read"),
    "BAD_REQUEST_PARAMETERS": Refusal(InvalidRequest, "the path or the query cannot be read"),
    "INTEGRATION_TIMEOUT": Refusal(
        OutOfTime, "the call took too long: send fewer or smaller images, or use POST /v1/uploads"
    ),
    "INTEGRATION_FAILURE": Refusal(Unavailable, "the service does not answer: try again"),
    "THROTTLED": Refusal(TooManyRequests, "too many calls at the moment: try again"),
    "DEFAULT_5XX": Refusal(SightloopError, "something went wrong on our side"),
}


FORM_ROUTES = (
    "/v1/uploads",
    "/v1/pending-models/{model}/uploads",
    "/v1/models/{model}/imports",
    "/v1/pending-models/{model}/imports",
)
"""Routes that give out upload forms: a form costs little to ask for, and much once it is used."""


def finish(apigateway: Any, api_id: str, api_stage: str, settings: Settings) -> None:
    """Let API Gateway refuse in our words, and throttle; importing an API forgets the words.

    Parameters
    ----------
    apigateway : botocore API Gateway client
    api_id : str
    api_stage : str
        Of API Gateway, the last part of the address.
    settings : Settings
        The rates.
    """
    for response_type, refusal in REFUSALS.items():
        apigateway.put_gateway_response(
            restApiId=api_id, responseType=response_type, **refusal.settings()
        )
    apigateway.create_deployment(restApiId=api_id, stageName=api_stage)
    apigateway.update_stage(
        restApiId=api_id, stageName=api_stage, patchOperations=throttling(settings)
    )
    log.info("API Gateway's own refusals are problem documents; calls are throttled")


def throttling(settings: Settings) -> list[dict[str, str]]:
    """Return the changes of a stage that bound the calls of all callers together.

    Usage plans are not used: they count by API key, and our callers have none; the quotas in
    ``chalicelib/quotas.py`` bound each of them.
    """
    limits = {"*/*": (settings.throttle_calls_per_second, settings.throttle_burst)}
    of_forms = settings.throttle_forms_per_second, settings.throttle_forms_burst
    limits |= {f"{_escaped(path)}/POST": of_forms for path in FORM_ROUTES}
    return [
        {"op": "replace", "path": f"/{method}/throttling/{name}", "value": f"{value:g}"}
        for method, (rate, burst) in limits.items()
        for name, value in (("rateLimit", rate), ("burstLimit", burst))
    ]


def _escaped(path: str) -> str:
    """Return a path as a JSON pointer names it.

    >>> _escaped("/v1/uploads")
    '~1v1~1uploads'
    """
    return path.replace("~", "~0").replace("/", "~1")
