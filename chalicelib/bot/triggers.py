"""What AWS calls by itself for the bot: updates and albums wait, predictions have their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chalice.app import Blueprint, SQSEvent

from chalicelib import settings
from chalicelib.errors import Conflict, SightloopError, TelegramUnavailable
from chalicelib.observability import bind_correlation_id, flushed, logger
from chalicelib.wiring import services

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

blueprint = Blueprint(__name__)
BATCH = 4
WAITS = (5, 30, 180, 900)  # seconds between attempts, unless Telegram asks for more
LONGEST_WAIT = 6 * 3600  # SQS hides nothing for over 12 hours in all


@blueprint.on_sqs_message(queue=settings.load().bot_queue, batch_size=BATCH)
@flushed
def converse(event: SQSEvent) -> Any:
    """Answer what people sent to the bot."""
    return _each(event, services().settings.bot_queue, converse_one)


@blueprint.on_sqs_message(queue=settings.load().results_queue, batch_size=BATCH)
@flushed
def reply(event: SQSEvent) -> Any:
    """Bring predictions to the chats that wait for them."""
    return _each(event, services().settings.results_queue, reply_one)


def converse_one(record: SQSRecord) -> None:
    """Answer one message of the bot's queue."""
    from telegram import Update  # noqa: PLC0415 - no other function needs it

    from chalicelib.bot.messages import AlbumDue, parse_message  # noqa: PLC0415

    bind_correlation_id(record.message_id)
    message = parse_message(record.body)
    if isinstance(message, AlbumDue):
        services().bot.albums.look_after(message, record.message_id)
        return
    update = Update.de_json(dict(message.update), None)
    services().bot.conversation.take(update, record.message_id)


def reply_one(record: SQSRecord) -> None:
    """Bring one prediction to its chat."""
    from chalicelib.predictions import ResultMessage  # noqa: PLC0415 - no other function needs it

    result = ResultMessage.parse(record.body)
    bind_correlation_id(result.correlation_id)
    if not services().secrets.read().telegram.token:
        logger.info("no bot to bring an answer", prediction_id=result.prediction_id)
        return
    services().bot.jobs.reply(result)


def _each(event: SQSEvent, queue: str, handle: Callable[[SQSRecord], None]) -> Any:
    """Handle every record; name those that have to come again, and see that they do in time."""
    from aws_lambda_powertools.utilities.batch import (  # noqa: PLC0415 - no other function needs it
        BatchProcessor,
        EventType,
        process_partial_response,
    )

    def one(record: SQSRecord) -> None:
        receives = int(record.attributes.approximate_receive_count)
        try:
            handle(record)
        except Exception as error:  # the process's edge: any fault counts as an attempt
            if isinstance(error, (Conflict, TelegramUnavailable)):
                logger.warning("message put off", why=error.detail, receives=receives)
            else:
                logger.exception("message not processed", receives=receives)
            _put_off(queue, record.receipt_handle, wait_seconds(error, receives))
            raise

    processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    return process_partial_response(event=event.to_dict(), record_handler=one, processor=processor)


def wait_seconds(error: Exception, receives: int) -> int:
    """Return after how long a message that failed is tried again.

    >>> [wait_seconds(ValueError(), receives) for receives in range(1, 6)]
    [5, 30, 180, 900, 900]
    >>> wait_seconds(TelegramUnavailable("busy", retry_after=45), 1)
    45
    """
    asked = error.retry_after if isinstance(error, TelegramUnavailable) else 0
    return min(max(asked, WAITS[min(receives, len(WAITS)) - 1]), LONGEST_WAIT)


def _put_off(queue: str, receipt: str, seconds: int) -> None:
    try:
        services().queue(queue).postpone(receipt, seconds)
    except SightloopError as error:
        logger.info("it comes again when the queue says", why=error.detail)
