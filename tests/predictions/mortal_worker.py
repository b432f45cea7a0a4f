"""A worker process that can be told to die; run by `test_death.py`.

``main(when)``, where ``when`` is ``never`` or ``<service>.<operation>:<count>``, after whose
so-manieth call of that kind the process kills itself with SIGKILL. It takes one batch off the
identify queue, calls the very handler that AWS calls, and acknowledges what did not fail.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import boto3
import onnxruntime  # noqa: F401 - imported before the first fork
from chalice.local import LambdaContext

from chalicelib import settings
from chalicelib.predictions.triggers import identify
from chalicelib.wiring import services

SEEN_AGAIN_AFTER_SECONDS = 2


def die_after(when: str) -> None:
    operation, _, count = when.partition(":")
    service, _, name = operation.partition(".")
    calls = 0

    def count_and_die(**_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == int(count):
            os.kill(os.getpid(), signal.SIGKILL)

    events = services().client(service).meta.events
    events.register(f"after-call.{service}.{name}", count_and_die)


def work() -> int:
    """Return how many messages came."""
    sqs = services().client("sqs")
    url = sqs.get_queue_url(QueueName=services().settings.identify_queue)["QueueUrl"]
    received = sqs.receive_message(
        QueueUrl=url,
        VisibilityTimeout=SEEN_AGAIN_AFTER_SECONDS,
        WaitTimeSeconds=5,
        MessageSystemAttributeNames=["All"],
    ).get("Messages", [])
    records = [
        {
            "messageId": each["MessageId"],
            "receiptHandle": each["ReceiptHandle"],
            "body": each["Body"],
            "attributes": each["Attributes"],
            "eventSource": "aws:sqs",
        }
        for each in received
    ]
    if records:
        answer = identify({"Records": records}, LambdaContext("identify", 3008, 120_000))
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        for each in received:
            if each["MessageId"] not in failed:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
    return len(records)


def main(when: str) -> int:
    """Take one batch, unless the process dies before the end; return 3 where none came."""
    settings.load.cache_clear()  # the triggers read other settings when they were imported
    if when != "never":
        die_after(when)
    return 0 if work() else 3


for name in ("s3", "sqs", "dynamodb", "secretsmanager"):  # botocore reads their models once
    boto3.client(name, region_name="eu-central-1")
