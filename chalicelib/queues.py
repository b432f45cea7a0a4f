"""The seam to SQS: one queue that takes messages of ours."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from chalicelib.aws import translated
from chalicelib.errors import QueueUnavailable

LARGEST_RECEIVE = 10


class Queue:
    """One SQS queue.

    Parameters
    ----------
    sqs : botocore SQS client
    name : str
    """

    def __init__(self, sqs: Any, name: str) -> None:
        self._sqs = sqs
        self.name = name

    def send(self, message: BaseModel, delay_seconds: int = 0) -> None:
        """Put a message on the queue; it is there when this returns.

        Parameters
        ----------
        message : BaseModel
        delay_seconds : int
            How long nobody is to see it, at most 900.

        Raises
        ------
        QueueUnavailable
            SQS does not answer; the message may or may not be on the queue.
        """
        self.send_again(message.model_dump_json(exclude_none=True), delay_seconds)

    def send_again(self, body: str, delay_seconds: int = 0) -> None:
        """Put the body of a message that was received on the queue anew, as one of its own.

        Raises
        ------
        QueueUnavailable
            As for ``send``.
        """
        with translated(QueueUnavailable, f"sending to {self.name}"):
            self._sqs.send_message(QueueUrl=self._url, MessageBody=body, DelaySeconds=delay_seconds)

    def postpone(self, receipt: str, seconds: int) -> None:
        """Let a message that was received show again after so many seconds, at most 12 hours.

        Raises
        ------
        QueueUnavailable
            SQS does not answer, or the message shows already: it comes again when it would have.
        """
        with translated(QueueUnavailable, f"putting off a message of {self.name}"):
            self._sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=receipt, VisibilityTimeout=seconds
            )

    def peek(self, most: int, hidden_seconds: int) -> Iterator[str]:
        """Yield up to so many bodies; the messages stay and show again after a while."""
        seen = 0
        while seen < most and (bodies := self._receive(hidden_seconds)):
            yield from bodies[: most - seen]
            seen += len(bodies)

    def _receive(self, hidden_seconds: int) -> list[str]:
        with translated(QueueUnavailable, f"receiving from {self.name}"):
            received = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=LARGEST_RECEIVE,
                VisibilityTimeout=hidden_seconds,
                WaitTimeSeconds=1,
            )
        return [message["Body"] for message in received.get("Messages", [])]

    @functools.cached_property
    def _url(self) -> str:
        with translated(QueueUnavailable, f"looking up {self.name}"):
            return str(self._sqs.get_queue_url(QueueName=self.name)["QueueUrl"])
