"""What PostgreSQL calls: bans changed."""

from __future__ import annotations

from typing import Any

from chalice.app import Blueprint
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chalicelib.errors import MalformedMessage
from chalicelib.observability import bind_correlation_id, flushed, logger
from chalicelib.wiring import services

blueprint = Blueprint(__name__)


class BansChanged(BaseModel):
    """What the database announces. Without a decision: look what there is."""

    model_config = ConfigDict(strict=True, extra="ignore")

    decision_id: int | None = Field(None, ge=0, lt=2**63)


@blueprint.lambda_function(name="update_reported_list")
@flushed
def update_reported_list(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Rewrite the report list and settle labels; called by the database, by NOTIFY locally."""
    bind_correlation_id(getattr(context, "aws_request_id", None))
    try:
        announced = BansChanged.model_validate(event)
    except ValidationError as error:
        raise MalformedMessage(f"{event!r} announces no decision: {error}") from error
    banned = services().ban_follow_up.run(announced.decision_id)
    services().submissions.settle(publish=False)  # files are made by reconcile, and by submissions
    logger.info("report list is up to date", banned=banned, decision_id=announced.decision_id)
    return {"banned": banned}
