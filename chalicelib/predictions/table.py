"""The predictions table: records that change only if nobody else changed them meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from itertools import batched
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from chalicelib.aws import translated
from chalicelib.errors import Conflict, DatabaseUnavailable
from chalicelib.predictions.model import Prediction, epoch, utc_now

SMALLEST_NUMBER = Decimal("1e-130")
LARGEST_BATCH_GET = 100
CONTENDED_AFTER = 8


class PredictionTable:
    """The DynamoDB table of predictions, by id, with a time to live.

    Parameters
    ----------
    dynamodb : botocore DynamoDB client
    table : str
    now : callable, optional
        The clock by which records expire: DynamoDB deletes them hours or days late.
    """

    def __init__(self, dynamodb: Any, table: str, now: Callable[[], datetime] = utc_now) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._now = now

    def find(self, prediction_id: str) -> Prediction | None:
        """Return a record as last written, or ``None``."""
        found = self._read(prediction_id)
        return found[0] if found else None

    def find_all(self, prediction_ids: Iterable[str]) -> dict[str, Prediction]:
        """Return those of many records that exist, by id."""
        found: dict[str, Prediction] = {}
        for some in batched(dict.fromkeys(prediction_ids), LARGEST_BATCH_GET):
            found.update({each.prediction_id: each for each in self._read_batch(some)})
        return found

    def create(self, prediction: Prediction) -> Prediction:
        """Store a record unless its id has one; return the one that is stored."""
        written = self._write(
            prediction,
            revision=1,
            condition="attribute_not_exists(prediction_id) OR expires_at < :now",
            values={":now": epoch(self._now())},
        )
        return prediction if written else (self.find(prediction.prediction_id) or prediction)

    def update(
        self, prediction: Prediction, change: Callable[[Prediction], Prediction]
    ) -> Prediction:
        """Apply a change to a record as it is now, and again if another one came in between.

        Parameters
        ----------
        prediction : Prediction
            Says which record; it is stored first where there is none.
        change : callable
            Returns the record's next value, or the same one where there is nothing to change.

        Raises
        ------
        DatabaseUnavailable
            Others kept changing the record.
        """
        for _ in range(CONTENDED_AFTER):
            found = self._read(prediction.prediction_id)
            old, revision = found or (prediction, 0)
            new = change(old)
            if found and new == old:
                return old
            if self._replace(new, revision):
                return new
        raise DatabaseUnavailable(f"prediction {prediction.prediction_id} is contended")

    def _replace(self, new: Prediction, revision: int) -> bool:
        if not revision:
            return self._write(
                new,
                revision=1,
                condition="attribute_not_exists(prediction_id) OR expires_at < :now",
                values={":now": epoch(self._now())},
            )
        return self._write(
            new,
            revision=revision + 1,
            condition="revision = :read",
            values={":read": revision},
        )

    def _write(
        self, prediction: Prediction, *, revision: int, condition: str, values: Mapping[str, int]
    ) -> bool:
        try:
            with translated(DatabaseUnavailable, f"writing prediction {prediction.prediction_id}"):
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item=_to_item(prediction, revision),
                    ConditionExpression=condition,
                    ExpressionAttributeValues={k: {"N": str(v)} for k, v in values.items()},
                )
        except Conflict:
            return False
        return True

    def _read(self, prediction_id: str) -> tuple[Prediction, int] | None:
        with translated(DatabaseUnavailable, f"reading prediction {prediction_id}"):
            answer = self._dynamodb.get_item(
                TableName=self._table, Key=_key(prediction_id), ConsistentRead=True
            )
        return self._live(answer["Item"]) if "Item" in answer else None

    def _read_batch(self, prediction_ids: Iterable[str]) -> Iterable[Prediction]:
        wanted: Mapping[str, Any] = {
            self._table: {"Keys": [_key(each) for each in prediction_ids], "ConsistentRead": True}
        }
        while wanted:
            with translated(DatabaseUnavailable, "reading predictions"):
                answer = self._dynamodb.batch_get_item(RequestItems=wanted)
            for item in answer["Responses"].get(self._table, []):
                if found := self._live(item):
                    yield found[0]
            wanted = answer.get("UnprocessedKeys", {})

    def _live(self, item: Mapping[str, Any]) -> tuple[Prediction, int] | None:
        prediction, revision = _from_item(item)
        return (prediction, revision) if prediction.expires_at >= epoch(self._now()) else None


def _key(prediction_id: str) -> dict[str, Any]:
    return {"prediction_id": {"S": prediction_id}}


def _to_item(prediction: Prediction, revision: int) -> dict[str, Any]:
    """Turn a record into DynamoDB's types, which know decimals but no floats."""
    text = prediction.model_dump_json(exclude_none=True)
    plain = {**json.loads(text, parse_float=_decimal), "revision": revision}
    return {name: TypeSerializer().serialize(value) for name, value in plain.items()}


def _decimal(text: str) -> Decimal:
    """Return a number as DynamoDB can hold it: what is smaller is nothing."""
    number = Decimal(text)
    return number if abs(number) >= SMALLEST_NUMBER else Decimal(0)


def _from_item(item: Mapping[str, Any]) -> tuple[Prediction, int]:
    plain = {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
    return Prediction.model_validate(plain), int(plain["revision"])
