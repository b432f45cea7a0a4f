"""What AWS calls by itself: a file arrived, messages wait, half an hour went by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from chalice.app import BaseLambdaEvent, Blueprint, CloudWatchEvent, Rate, SQSEvent

from chalicelib import settings, upkeep
from chalicelib.errors import OutOfTime, QueueUnavailable
from chalicelib.observability import MetricUnit, bind_correlation_id, flushed, logger, metrics
from chalicelib.predictions.keys import PREFIX
from chalicelib.predictions.messages import IdentifyMessage
from chalicelib.predictions.model import ArrivedFile
from chalicelib.wiring import services

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

blueprint = Blueprint(__name__)
MOST_PUBLISHED = 5_000  # images in one run; the next goes on
MOST_CLEARED = 5_000
MOST_DELETED = 500
LARGEST_BATCH = 4  # a message that kills its worker holds up at most three others
LEAST_SECONDS = 60  # left of a call, for another message to be begun: half of what a call has


class UploadEvent(BaseLambdaEvent):
    """An S3 notification. Chalice's own knows one record only, and breaks on ``s3:TestEvent``."""

    def _extract_attributes(self, event_dict: dict[str, Any]) -> None:
        self.files = [_arrived(record) for record in event_dict.get("Records", [])]


def _arrived(record: dict[str, Any]) -> ArrivedFile:
    told = record["s3"]["object"]
    return ArrivedFile(
        key=unquote_plus(told["key"]),
        etag=told["eTag"].strip('"'),
        arrived_at=datetime.fromisoformat(record["eventTime"]),
        version=told.get("versionId", ""),
    )


@blueprint.on_s3_event(
    bucket=settings.load().uploads_bucket, events=["s3:ObjectCreated:*"], prefix=PREFIX
)
@flushed
def on_upload(event: UploadEvent) -> None:
    """Put files that arrived on the identify queue."""
    for file in event.files:
        bind_correlation_id()
        services().intake.receive(file)


on_upload.event_class = UploadEvent


@blueprint.on_sqs_message(queue=settings.load().identify_queue, batch_size=LARGEST_BATCH)
@flushed
def identify(event: SQSEvent) -> Any:
    """Detect what is on uploaded pictures; name the messages that have to come again."""
    from aws_lambda_powertools.utilities.batch import (  # noqa: PLC0415 - no other function needs it
        BatchProcessor,
        EventType,
        process_partial_response,
    )

    return process_partial_response(
        event=event.to_dict(),
        record_handler=_while_time_is_left(event.context),
        processor=BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False),
    )


def _while_time_is_left(context: Any) -> Callable[[SQSRecord], None]:
    """Return what answers one message, or gives it back where earlier ones took too long.

    The first one is always begun. So a slow picture fails no other message of its batch.

    Parameters
    ----------
    context : Lambda's context
    """
    begun = 0

    def identify_in_time(record: SQSRecord) -> None:
        nonlocal begun
        if begun and context.get_remaining_time_in_millis() < LEAST_SECONDS * 1000:
            _give_back(record)
            return
        begun += 1
        identify_one(record)

    return identify_in_time


def _give_back(record: SQSRecord) -> None:
    """Let another call receive a message at once that was not begun.

    On its last receive it would be a dead letter then: it is sent anew instead.

    Raises
    ------
    OutOfTime
        It is to be named as failed, so that it stays on the queue.
    """
    queue = services().queue(services().settings.identify_queue)
    metrics.add_metric("MessagesNotBegun", MetricUnit.Count, 1)
    logger.info("message not begun: too little time is left", message_id=record.message_id)
    receives = int(record.attributes.approximate_receive_count)
    if receives >= services().settings.identify_max_receives:
        queue.send_again(record.body)
        return
    try:
        queue.postpone(record.receipt_handle, 0)
    except QueueUnavailable as error:
        logger.info("it comes again when the queue says", why=error.detail)
    raise OutOfTime("too little time is left: it comes again")


def identify_one(record: SQSRecord) -> None:
    """Answer one message; on its last attempt, answer that we could not."""
    bind_correlation_id(record.message_id)
    worker = services().worker
    receives = int(record.attributes.approximate_receive_count)
    try:
        worker.identify(IdentifyMessage.parse(record.body))
    except Exception as error:  # the process's edge: any fault counts as an attempt, and is raised
        logger.exception("message not processed", receives=receives)
        if receives >= services().settings.identify_max_receives:
            worker.give_up(record.body, error, receives)
        raise


@blueprint.schedule(Rate(30, unit=Rate.MINUTES))
@flushed
def reconcile(event: CloudWatchEvent) -> dict[str, int]:
    """Drive again what was lost on the way."""
    bind_correlation_id(event.event_id)
    done = upkeep.run(
        {
            "uploads": _reconcile_uploads,
            "bans": _reconcile_bans,
            "transfers": _reconcile_transfers,
            "quarantine": _clear_quarantine,
            "deletions": _finish_deletions,
        }
    )
    logger.info("reconciled", extra=done)
    return done


def _reconcile_uploads() -> dict[str, int]:
    done = services().reconciler.run()
    return {"driven": done.driven, "given_up": done.given_up}


def _reconcile_transfers() -> dict[str, int]:
    return {"transfers": services().transfers.drive()} if services().has_database() else {}


def _clear_quarantine() -> dict[str, int]:
    """Delete the images of submissions that nobody looks at any more."""
    if not services().has_database():
        return {}
    return {"cleared": services().submissions.clear_quarantine(MOST_CLEARED)}


def _finish_deletions() -> dict[str, int]:
    return {"deletions": services().deletions.finish(MOST_DELETED)}


def _reconcile_bans() -> dict[str, int]:
    """Write the report list anew, for an announcement can be lost, and let datasets follow."""
    if not services().has_database():
        return {}
    banned = services().ban_follow_up.run()
    return {"banned": banned, "published": services().submissions.reconcile(MOST_PUBLISHED)}
