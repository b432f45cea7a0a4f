"""What the bot remembers: a DynamoDB table of small notes, each with a time to live.

Lambdas share nothing else, so whatever must be known by the next instance is here: which updates
were taken, which photos of an album have come, to whom an answer goes. A note is changed by
conditions and additions only, so two instances at once never undo each other's work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from chalicelib.aws import translated
from chalicelib.errors import Conflict, DatabaseUnavailable

KEY = "note"
EXPIRES = "expires_at"
KEEP_SECONDS = 2 * 86_400  # Telegram sends for a day what nobody took
LEASE_SECONDS = 360  # as long as the bot's queue hides a message that somebody works on

Note = dict[str, Any]


class BotTable:
    """Notes by their name.

    Parameters
    ----------
    dynamodb : botocore DynamoDB client
    table : str
    clock : callable, optional
        Seconds since 1970: DynamoDB deletes expired notes hours late, so they are looked at here.
    """

    def __init__(self, dynamodb: Any, table: str, clock: Callable[[], float] = time.time) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._clock = clock

    def read(self, name: str) -> Note | None:
        """Return a note, or None where there is none that is still good."""
        with translated(DatabaseUnavailable, f"reading {name}"):
            found = self._dynamodb.get_item(
                TableName=self._table, Key=_key(name), ConsistentRead=True
            ).get("Item")
        note = _plain(found) if found else None
        return note if note and note[EXPIRES] >= self._clock() else None

    def note(
        self, name: str, fields: Mapping[str, object], keep_seconds: int = KEEP_SECONDS
    ) -> Note:
        """Set fields of a note, which is made where it is missing; return all of it."""
        until = int(self._clock()) + keep_seconds
        names, values = _expression({**fields, EXPIRES: until})
        sets = ", ".join(f"{field} = :{field[1:]}" for field in names)
        return self._update(name, f"SET {sets}", names, values)

    def add(self, name: str, amount: int = 1, keep_seconds: int = KEEP_SECONDS) -> int:
        """Count up by an amount; return how far."""
        until = int(self._clock()) + keep_seconds
        names, values = _expression({"count": amount, EXPIRES: until})
        update = "ADD #f0 :f0 SET #f1 = :f1"
        return int(self._update(name, update, names, values)["count"])

    def claim(self, name: str, owner: str, seconds: int = LEASE_SECONDS) -> Note | None:
        """Give a note to an owner for a while; return it, or None where it is another's.

        Who works on a queue's message is named by it: a message that comes again finds itself the
        owner, and goes on. Others find that it is taken, until the owner's time is up. How often
        it was given to anybody is in ``tries``.
        """
        now = int(self._clock())
        until = now + KEEP_SECONDS
        names, values = _expression(
            {"owner": owner, "held_until": now + seconds, EXPIRES: until, "tries": 1}
        )
        update = "SET #f0 = :f0, #f1 = :f1, #f2 = :f2 ADD #f3 :f3"
        is_free = "attribute_not_exists(#f0) OR #f0 = :f0 OR #f1 <= :now"
        try:
            return self._update(name, update, names, values | _item({":now": now}), is_free)
        except Conflict:
            return None

    def release(self, name: str) -> None:
        """Let others have a note that was claimed."""
        self.note(name, {"held_until": 0})

    def take_turn(self, name: str, field: str, seconds: int) -> bool:
        """Let one at a time find out what a field is to be; tell whether that is us.

        It is nobody once the field is set. Who has the turn and sets nothing, be it that they were
        killed, loses it after so many seconds.
        """
        now = int(self._clock())
        names, values = _expression({f"{field}_until": now + seconds, EXPIRES: now + KEEP_SECONDS})
        is_open = "attribute_not_exists(#field) AND (attribute_not_exists(#f0) OR #f0 <= :now)"
        names, values = {**names, "#field": field}, {**values, **_item({":now": now})}
        try:
            self._update(name, "SET #f0 = :f0, #f1 = :f1", names, values, is_open)
        except Conflict:
            return False
        return True

    def _update(
        self,
        name: str,
        update: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
        condition: str = "",
    ) -> Note:
        only_if = {"ConditionExpression": condition} if condition else {}
        with translated(DatabaseUnavailable, f"changing {name}"):
            changed = self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(name),
                UpdateExpression=update,
                ExpressionAttributeNames=dict(names),
                ExpressionAttributeValues=dict(values),
                ReturnValues="ALL_NEW",
                **only_if,
            )
        return _plain(changed["Attributes"])


def _expression(fields: Mapping[str, object]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return names and values for an expression: `#f0` and `:f0` for the first field, and on."""
    names = {f"#f{at}": field for at, field in enumerate(fields)}
    return names, _item({f":f{at}": value for at, value in enumerate(fields.values())})


def _key(name: str) -> dict[str, Any]:
    return {KEY: {"S": name}}


def _item(note: Mapping[str, Any]) -> dict[str, Any]:
    return {field: TypeSerializer().serialize(value) for field, value in note.items()}


def _plain(item: Mapping[str, Any]) -> Note:
    return {field: TypeDeserializer().deserialize(value) for field, value in item.items()}
