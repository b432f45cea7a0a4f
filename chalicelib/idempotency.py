"""Answers that are kept for a day under the key that a caller chose, so that a retry repeats them.

Powertools' idempotency utility is not used: it stores what a function returns and releases the key
when one raises, whereas here every failure is an answer already; it compares payloads only once the
first call is over, and needs a Lambda context for its lease, which the local server does not have.
"""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.aws import translated
from chalicelib.bounded import LIMITS_SECONDS, within
from chalicelib.errors import Conflict, DatabaseUnavailable
from chalicelib.refusals import IdempotencyKeyInUse, IdempotencyKeyReused

KEY = "entry"
EXPIRES = "expires_at"
KEEP_SECONDS = 24 * 60 * 60
# Longer than the function may run: a call that has not ended by then was killed.
LEASE_SECONDS = 35
SHORTEST_WAIT = 2  # seconds after which a call whose key is in use may be sent again
LARGEST_BODY = 350_000  # bytes, compressed; an item takes 400 KB with all else in it
IS_FREE = "attribute_not_exists(#entry) OR #expires <= :now OR busy_until <= :now"
MINE = "call_id = :call"


@dataclass(frozen=True)
class KeptAnswer:
    """An HTTP answer.

    Attributes
    ----------
    status : int
    headers : mapping
    body : bytes or None
        None where it was too large to be kept.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True)
class Lease:
    """The right to answer the first call with a key."""

    entry: str
    call_id: str


class IdempotencyKeys:
    """The calls that bore a key, and their answers.

    Parameters
    ----------
    dynamodb : botocore DynamoDB client
    table : str
    now : callable
        The clock: DynamoDB deletes expired items hours late, so they are looked at here.
    """

    def __init__(self, dynamodb: Any, table: str, now: Callable[[], datetime]) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._now = now

    def begin(self, entry: str, request: str) -> Lease | KeptAnswer:
        """Take the lease of a key, or return the answer that the first call with it got.

        Parameters
        ----------
        entry : str
            Stands for caller, route and key.
        request : str
            Digest of everything else that the request consists of.

        Raises
        ------
        IdempotencyKeyReused
            The first call was another request.
        IdempotencyKeyInUse
            It is not answered yet.
        DatabaseUnavailable
        """
        return within(LIMITS_SECONDS, lambda: self._begin(entry, request), _late())

    def _begin(self, entry: str, request: str) -> Lease | KeptAnswer:
        lease = Lease(entry, uuid.uuid4().hex)
        now = int(self._now().timestamp())
        item = {
            KEY: {"S": entry},
            "request": {"S": request},
            "call_id": {"S": lease.call_id},
            "busy_until": {"N": str(now + LEASE_SECONDS)},
            EXPIRES: {"N": str(now + KEEP_SECONDS)},
        }
        first = self._put(item, now)
        # Where the table's answer is lost, the client sends the item again and finds it there.
        if first is None or first["call_id"] == item["call_id"]:
            return lease
        return _answer(first, request, now)

    def finish(self, lease: Lease, answer: KeptAnswer) -> None:
        """Keep an answer, unless the lease ran out and another call has it.

        Raises
        ------
        DatabaseUnavailable
        """
        packed = gzip.compress(answer.body or b"", mtime=0)
        fits = answer.body is not None and len(packed) <= LARGEST_BODY
        values = {
            ":call": {"S": lease.call_id},
            ":status": {"N": str(answer.status)},
            ":headers": {"S": json.dumps(dict(answer.headers))},
            ":body": {"B": packed} if fits else {"NULL": True},
        }
        update = "SET answer_status = :status, headers = :headers, body = :body REMOVE busy_until"
        self._change(lease, self._dynamodb.update_item, values, UpdateExpression=update)

    def release(self, lease: Lease) -> None:
        """Let the next call with the key be the first.

        Raises
        ------
        DatabaseUnavailable
        """
        self._change(lease, self._dynamodb.delete_item, {":call": {"S": lease.call_id}})

    def _put(self, item: Mapping[str, Any], now: int) -> Mapping[str, Any] | None:
        """Write an item where its key is free; return None, or the item that has the key."""
        with translated(DatabaseUnavailable, "taking an idempotency key"):
            try:
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression=IS_FREE,
                    ExpressionAttributeNames={"#entry": KEY, "#expires": EXPIRES},
                    ExpressionAttributeValues={":now": {"N": str(now)}},
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
                existing: Mapping[str, Any] = error.response["Item"]
                return existing
        return None

    def _change(
        self, lease: Lease, call: Callable[..., Any], values: Mapping[str, Any], **more: str
    ) -> None:
        try:
            within(LIMITS_SECONDS, lambda: self._change_item(lease, call, values, **more), _late())
        except Conflict:
            return  # another call took the key over

    def _change_item(
        self, lease: Lease, call: Callable[..., Any], values: Mapping[str, Any], **more: str
    ) -> None:
        with translated(DatabaseUnavailable, "keeping an answer"):
            call(
                TableName=self._table,
                Key={KEY: {"S": lease.entry}},
                ConditionExpression=MINE,
                ExpressionAttributeValues=dict(values),
                **more,
            )


def _late() -> DatabaseUnavailable:
    return DatabaseUnavailable(f"the table of limits did not answer within {LIMITS_SECONDS:g} s")


def _in_use(item: Mapping[str, Any], now: int) -> IdempotencyKeyInUse:
    """Return the refusal of a call whose key is being answered.

    A first call of which nobody heard may be killed: then its key is free when its lease ends. So
    the wait is as long as that call has taken, and ends with the lease: four waits reach it.
    """
    lease_left = int(item["busy_until"]["N"]) - now
    wait = min(max(LEASE_SECONDS - lease_left, SHORTEST_WAIT), lease_left)
    return IdempotencyKeyInUse(
        "the first call with this Idempotency-Key is not answered yet: send it again later", wait
    )


def _answer(item: Mapping[str, Any], request: str, now: int) -> KeptAnswer:
    """Return the answer of the first call, where it was the same request and has one."""
    if item["request"]["S"] != request:
        raise IdempotencyKeyReused(
            "this Idempotency-Key came with another request before: choose a new key for each"
        )
    if "answer_status" not in item:
        raise _in_use(item, now)
    packed = item["body"].get("B")
    return KeptAnswer(
        int(item["answer_status"]["N"]),
        json.loads(item["headers"]["S"]),
        None if packed is None else gzip.decompress(bytes(packed)),
    )
