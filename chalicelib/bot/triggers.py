"""What AWS calls by itself for the bot: updates and albums wait, predictions have their answers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chalice.app import Blueprint, SQSEvent

from chalicelib import settings
from chalicelib.errors import Conflict, SightloopError, TelegramUnavailable
from chalicelib.observability import bind_correlation_id, flushed, logger
from chalicelib.queues import Queue
from chalicelib.wiring import services

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

blueprint = Blueprint(__name__)
BATCH = 1  # a picture that kills its worker takes nobody else's answer with it
BUSY_SECONDS = 10  # after which somebody else may be done
LONGEST_DELAY = 900  # seconds; SQS delays no new message for longer
MOST_DELAYS = 100  # of one piece of work; then it counts as failed
WAITS = (5, 30, 180, 900)  # seconds between attempts


@blueprint.on_sqs_message(queue=settings.load().bot_queue, batch_size=BATCH)
@flushed
def converse(event: SQSEvent) -> Any:
    """Answer what people sent to the bot."""
    return _each(event, services().settings.bot_queue, converse_one, _job_of)


@blueprint.on_sqs_message(queue=settings.load().results_queue, batch_size=BATCH)
@flushed
def reply(event: SQSEvent) -> Any:
    """Bring predictions to the chats that wait for them."""
    return _each(event, services().settings.results_queue, reply_one, _reply_of)


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


def _each(
    event: SQSEvent,
    queue: str,
    handle: Callable[[SQSRecord], None],
    name_of: Callable[[str], str],
) -> Any:
    """Handle every record; name those that have to come again, and see that they do in time."""
    from aws_lambda_powertools.utilities.batch import (  # noqa: PLC0415 - no other function needs it
        BatchProcessor,
        EventType,
        process_partial_response,
    )

    def one(record: SQSRecord) -> None:
        try:
            handle(record)
        except Exception as error:  # the process's edge: any fault counts as an attempt
            if not _put_off(error, record, services().queue(queue)):
                _fail(error, record, queue, name_of)
                raise

    processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    return process_partial_response(event=event.to_dict(), record_handler=one, processor=processor)


def _put_off(error: Exception, record: SQSRecord, queue: Queue) -> bool:
    """Put a message on its queue anew where nothing failed and it only has to wait; else not.

    Letting it come again by itself would count as an attempt, and after a few, which a busy hour
    has, it would be a dead letter.
    """
    seconds = BUSY_SECONDS if isinstance(error, Conflict) else _asked_for(error)
    if not seconds:
        return False
    try:
        name = hashlib.sha256(record.body.encode()).hexdigest()
        if services().bot.account.table.add(f"delays#{name}") > MOST_DELAYS:
            return False
        queue.send_again(record.body, min(seconds, LONGEST_DELAY))
    except SightloopError as fault:
        logger.warning("it counts as an attempt", why=fault.detail)
        return False
    logger.info("message put off", why=str(error), seconds=seconds)
    return True


def _asked_for(error: Exception) -> int:
    """Return for how many seconds Telegram wants us to wait; 0: it said nothing."""
    return math.ceil(error.retry_after) if isinstance(error, TelegramUnavailable) else 0


def _fail(error: Exception, record: SQSRecord, queue: str, name_of: Callable[[str], str]) -> None:
    """Have a message come again; after its last attempt, tell who waits that it was in vain."""
    receives = int(record.attributes.approximate_receive_count)
    if isinstance(error, (Conflict, TelegramUnavailable)):
        logger.warning("message not processed", why=error.detail, receives=receives)
    else:
        logger.exception("message not processed", receives=receives)
    try:
        if receives < services().settings.identify_max_receives:
            services().queue(queue).postpone(record.receipt_handle, wait_seconds(receives))
        elif name := name_of(record.body):
            services().bot.jobs.give_up(name)
    except SightloopError as fault:
        logger.info("it comes again when the queue says, or is given up untold", why=fault.detail)


def _job_of(body: str) -> str:
    """Return the name of the note about the answer to a message of the bot's queue."""
    from chalicelib.bot.messages import AlbumDue, parse_message  # noqa: PLC0415 - no other needs it

    message = parse_message(body)
    if isinstance(message, AlbumDue):
        return services().bot.albums.job_of(message)
    return f"job#{message.update['update_id']}"


def _reply_of(body: str) -> str:
    from chalicelib.predictions import ResultMessage  # noqa: PLC0415 - no other function needs it

    return f"reply#{ResultMessage.parse(body).prediction_id}"


def wait_seconds(receives: int) -> int:
    """Return after how long a message that failed is tried again.

    >>> [wait_seconds(receives) for receives in range(1, 6)]
    [5, 30, 180, 900, 900]
    """
    return WAITS[min(receives, len(WAITS)) - 1]
