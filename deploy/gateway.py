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
    "THROTTLED": Refusal(Unavailable, "too many calls at the moment: try again"),
    "DEFAULT_5XX": Refusal(SightloopError, "something went wrong on our side"),
}


def finish(apigateway: Any, api_id: str, api_stage: str) -> None:
    """Let API Gateway refuse in our words; importing an API, as Chalice does, forgets them.

    Parameters
    ----------
    apigateway : botocore API Gateway client
    api_id : str
    api_stage : str
        Of API Gateway, the last part of the address.
    """
    for response_type, refusal in REFUSALS.items():
        apigateway.put_gateway_response(
            restApiId=api_id, responseType=response_type, **refusal.settings()
        )
    apigateway.create_deployment(restApiId=api_id, stageName=api_stage)
    log.info("API Gateway's own refusals are problem documents")
