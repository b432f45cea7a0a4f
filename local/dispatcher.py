"""What AWS does between the services: calls the handlers in `app.py` on events, messages and time.

It walks the app's event sources and feeds them what AWS would: S3 events, batches of SQS messages
(those that the handler does not name as failed are deleted, the others come again and end in the
dead-letter queue), and the schedule.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from botocore.exceptions import BotoCoreError, ClientError
from chalice.app import Chalice, S3EventConfig, ScheduledEventConfig, SQSEventConfig
from chalice.local import LambdaContext

from local.standin import REGION

S3_EVENTS_QUEUE = "sightloop-local-s3-events"
ACCOUNT = "000000000000"
LONG_POLL_SECONDS = 2
RETRY_SECONDS = 5  # AWS waits for the visibility timeout; nobody wants to at home
UNIT_SECONDS = {"minute": 60, "minutes": 60, "hour": 3600, "hours": 3600, "day": 86400}
FIRST_RUN_SECONDS = 1

log = logging.getLogger("sightloop.local")


class Dispatcher:
    """Feeds an app's handlers until it is stopped.

    Parameters
    ----------
    app : Chalice
    client : callable
        From a service's name to a boto3 client.
    """

    def __init__(self, app: Chalice, client: Callable[[str], Any]) -> None:
        self._app = app
        self._sqs = client("sqs")
        self._s3 = client("s3")
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in self._loops()]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the calls that are running end, and start no more."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _loops(self) -> list[Callable[[], None]]:
        """Return one loop for each event source."""
        loops: list[Callable[[], None]] = []
        uploads = [s for s in self._app.event_sources if isinstance(s, S3EventConfig)]
        if uploads:
            queue = self._watch_buckets({source.bucket for source in uploads})
            loops.append(lambda: self._poll(queue, 10, lambda m: self._s3_events(uploads, m)))
        for source in self._app.event_sources:
            if isinstance(source, SQSEventConfig):
                loops.append(self._queue_loop(source))
            elif isinstance(source, ScheduledEventConfig):
                loops.append(self._schedule_loop(source))
        return loops

    def _queue_loop(self, source: SQSEventConfig) -> Callable[[], None]:
        name = str(source.queue)
        queue = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]

        def consume(messages: list[dict[str, Any]]) -> set[str]:
            event = {"Records": [_sqs_record(message, name) for message in messages]}
            answer = self.call(source.name, event) or {}
            failures = answer.get("batchItemFailures", [])
            return {failure["itemIdentifier"] for failure in failures}

        return lambda: self._poll(queue, source.batch_size, consume)

    def _schedule_loop(self, source: ScheduledEventConfig) -> Callable[[], None]:
        seconds = _seconds(source.schedule_expression)

        def tick() -> None:
            wait: float = FIRST_RUN_SECONDS
            while not self._stopped.wait(wait):
                self._survive(source.name, lambda: self.tick(source.name))
                wait = seconds

        return tick

    def _watch_buckets(self, buckets: set[str]) -> str:
        """Have the buckets tell a queue of ours what arrives in them, and return that queue."""
        queue = self._sqs.create_queue(QueueName=S3_EVENTS_QUEUE)["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{S3_EVENTS_QUEUE}"
        policy = json.dumps(_policy_for_s3(arn))
        self._sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
        told = {
            "QueueArn": arn,
            "Events": ["s3:ObjectCreated:*"],
        }
        for bucket in buckets:
            self._s3.put_bucket_notification_configuration(
                Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [told]}
            )
        return str(queue)

    def _s3_events(self, sources: list[S3EventConfig], messages: list[dict[str, Any]]) -> set[str]:
        """Call the handlers that watch for what messages tell; return those that failed."""
        failed = set()
        for message in messages:
            arrived = json.loads(message["Body"]).get("Records", [])
            for source in sources:
                records = [record for record in arrived if _watches(source, record)]
                if records:
                    call = self._caller(source.name, {"Records": records})
                    if not self._survive(source.name, call):
                        failed.add(message["MessageId"])
        return failed

    def _caller(self, name: str, event: dict[str, Any]) -> Callable[[], Any]:
        return lambda: self.call(name, event)

    def _poll(
        self, queue: str, batch: int, consume: Callable[[list[dict[str, Any]]], set[str]]
    ) -> None:
        """Receive batches until stopped; delete what was consumed, let the rest come again."""
        while not self._stopped.is_set():
            self._survive(queue, lambda: self._poll_once(queue, batch, consume))

    def _poll_once(
        self, queue: str, batch: int, consume: Callable[[list[dict[str, Any]]], set[str]]
    ) -> None:
        messages = self._sqs.receive_message(
            QueueUrl=queue,
            MaxNumberOfMessages=batch,
            WaitTimeSeconds=LONG_POLL_SECONDS,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        if not messages:
            return
        try:
            failed = consume(messages)
        except Exception:
            log.exception("a batch of %s failed as a whole", queue)
            failed = {message["MessageId"] for message in messages}
        for message in messages:
            handle = message["ReceiptHandle"]
            if message["MessageId"] in failed:
                self._sqs.change_message_visibility(
                    QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=RETRY_SECONDS
                )
            else:
                self._sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)

    def _survive(self, what: str, call: Callable[[], Any]) -> bool:
        """Make a call whose failure must not end the loop; tell whether it succeeded."""
        try:
            call()
        except (ClientError, BotoCoreError) as error:
            if not self._stopped.is_set():
                log.warning("%s: %s", what, error)
                self._stopped.wait(1)
            return False
        except Exception:
            log.exception("%s failed", what)
            return False
        return True

    def tick(self, name: str) -> Any:
        """Call a scheduled function of the app as its schedule does."""
        return self.call(name, _scheduled_event())

    def call(self, name: str, event: dict[str, Any]) -> Any:
        """Call a function of the app by its name, as AWS would."""
        return self._app.handler_map[name](event, LambdaContext(name, 3008, 900_000))


def _policy_for_s3(queue_arn: str) -> dict[str, Any]:
    """Return the queue policy that lets S3 send events, which S3 checks for."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _watches(source: S3EventConfig, record: dict[str, Any]) -> bool:
    told = record["s3"]
    key = unquote_plus(told["object"]["key"])
    return bool(
        told["bucket"]["name"] == source.bucket
        and key.startswith(source.prefix or "")
        and key.endswith(source.suffix or "")
    )


def _seconds(expression: Any) -> float:
    """Return the period of ``rate(30 minutes)``."""
    text = expression if isinstance(expression, str) else expression.to_string()
    value, unit = text.removeprefix("rate(").removesuffix(")").split()
    return int(value) * UNIT_SECONDS[unit]


def _sqs_record(message: dict[str, Any], queue: str) -> dict[str, Any]:
    """Return a message as Lambda is given it."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {},
        "md5OfBody": message.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
        "awsRegion": REGION,
    }


def _scheduled_event() -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [],
        "detail": {},
    }
