"""What AWS calls by itself for imports and exports: a ZIP arrived, a job waits."""

from __future__ import annotations

from typing import Any

from chalice.app import Blueprint, SQSEvent

from chalicelib import settings
from chalicelib.labels.transfers.records import UPLOADS, JobMessage
from chalicelib.observability import bind_correlation_id, flushed
from chalicelib.predictions.triggers import UploadEvent
from chalicelib.wiring import services

blueprint = Blueprint(__name__)


@blueprint.on_s3_event(
    bucket=settings.load().uploads_bucket, events=["s3:ObjectCreated:*"], prefix=UPLOADS
)
@flushed
def on_import(event: UploadEvent) -> None:
    """Set to work on ZIPs that arrived."""
    for file in event.files:
        bind_correlation_id()
        services().transfers.receive(file.key, file.etag, file.version)


on_import.event_class = UploadEvent


@blueprint.on_sqs_message(queue=settings.load().jobs_queue, batch_size=1)
@flushed
def work_jobs(event: SQSEvent) -> None:
    """Get an import or export on; what cannot be noted in its row comes again."""
    context: Any = event.context  # Lambda's, which Chalice's types take for a mapping
    for record in event:
        message = JobMessage.model_validate_json(record.body)
        bind_correlation_id(message.id)
        services().transfer_worker.work(
            message, lambda: context.get_remaining_time_in_millis() / 1000
        )
