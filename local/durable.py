"""Makes the stand-in for AWS, ministack, durable: what it acknowledges is on disk.

By itself ministack writes objects of S3 as they come, and everything else when it is stopped. Here
an answer to a request that changes something waits until the change is in a SQLite file, so that
nothing acknowledged is lost when the process is killed:

- the messages of each queue, and the items of DynamoDB, row by row: they change all the time;
- everything else (queues, tables, buckets, secrets), which changes rarely, as ministack saves it.

Where the disk is full the answer is 503 and the change is not acknowledged.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Awaitable, Callable, Container, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from ministack import app as ministack
from ministack.core import persistence
from ministack.services import dynamodb, s3, secretsmanager, sqs

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Key = tuple[str, ...]

READING = {"GET", "HEAD", "OPTIONS"}
MESSAGE_ACTIONS = {
    "SendMessage",
    "SendMessageBatch",
    "ReceiveMessage",
    "DeleteMessage",
    "DeleteMessageBatch",
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
}
READ_ACTIONS = ("Get", "List", "Describe", "Query", "Scan", "BatchGet", "TransactGet")
ITEM_ACTIONS = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"}
SNAPSHOTS = {"sqs": sqs, "dynamodb": dynamodb, "s3": s3, "secretsmanager": secretsmanager}
SERVICES = {"DynamoDB": "dynamodb", "AmazonSQS": "sqs", "secretsmanager": "secretsmanager"}
RETRIES = 5  # where another thread changes a queue while it is being written
FULL = b'{"__type": "ServiceUnavailable", "message": "the disk is full or cannot be written"}'


class Journal:
    """The SQLite file of messages and items.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rows = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing
        self._rows.execute("CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT)")
        self._queues: dict[str, str] = {}
        self._unsaved: set[Key] = set()
        self._unsaved_services: set[str] = set()

    def save(self, items: set[Key], services: set[str]) -> None:
        """Write the queues that have changed, these items, and these services.

        Raises
        ------
        OSError, sqlite3.Error
            The disk is full, say; they are written with the next change.
        """
        self._unsaved |= items
        self._unsaved_services |= services
        changed = dict(self._changed_queues())
        rows = [(_name("item", *key), _item(key)) for key in self._unsaved]
        rows += [(_name("queue", url), messages) for url, messages in changed.items()]
        if rows:
            with self._rows:
                self._rows.execute("BEGIN")
                self._rows.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", rows)
        self._queues |= changed
        self._unsaved.clear()
        for service in [*self._unsaved_services]:
            _snapshot(service)
            self._unsaved_services.discard(service)

    def restore(self) -> None:
        """Put messages and items where they were; queues and tables are there already."""
        for name, value in self._rows.execute("SELECT name, value FROM state"):
            kind, *key = json.loads(name)
            if kind == "queue":
                _restore_queue(key[0], json.loads(value))
            else:
                _restore_item(key, json.loads(value))
        self._queues = dict(self._changed_queues())

    def _changed_queues(self) -> Iterator[tuple[str, str]]:
        for scoped, queue in sqs._queues.all_items():
            url = json.dumps(scoped)
            messages = _dumped(queue["messages"])
            if self._queues.get(url, "[]") != messages:
                yield url, messages


def _dumped(value: Any) -> str:
    for _ in range(RETRIES):
        try:
            return json.dumps(value, default=persistence._json_default)
        except RuntimeError:  # it changed in between
            continue
    return json.dumps(value, default=persistence._json_default)


def _name(*parts: str) -> str:
    return json.dumps(parts)


def _item(key: Key) -> str:
    """Return an item as JSON; ``null`` where it was deleted."""
    account, region, table, partition, sort = key
    found = dynamodb._tables.get_scoped(account, region, table) or {"items": {}}
    return _dumped(found["items"].get(partition, {}).get(sort))


def _restore_item(key: list[str], item: Any) -> None:
    account, region, name, partition, sort = key
    table = dynamodb._tables.get_scoped(account, region, name)
    if table is None:
        return
    if item is not None:
        table["items"][partition][sort] = item
    elif partition in table["items"]:
        table["items"][partition].pop(sort, None)


def _restore_queue(url: str, messages: list[Any]) -> None:
    """Put a queue's messages back, those that were received as well: whoever had them may be gone.

    Otherwise they would come again only after their visibility timeout, up to 15 minutes later.
    """
    queue = sqs._queues.get_scoped(*json.loads(url))
    if queue is not None:
        for message in messages:
            if message["receive_count"]:
                message["visible_at"] = 0
        queue["messages"] = messages


def _received() -> dict[str, Any]:
    """Return the messages of all queues that were received and not deleted, by their receipt."""
    queues = [queue for _, queue in sqs._queues.all_items()]
    messages = [message for queue in queues for message in [*queue["messages"]]]
    return {each["receipt_handle"]: each for each in messages if each["receipt_handle"]}


def _undo_receipts(known: Container[str]) -> None:
    """Make messages visible whose receipts are not known yet, for nobody is told of these."""
    for receipt, message in _received().items():
        if receipt not in known:
            message["visible_at"] = 0
            message["receive_count"] -= 1


def _snapshot(service: str) -> None:
    """Have ministack save a service, and raise what it only logs."""
    persistence.save_state(service, SNAPSHOTS[service].get_state())
    probe = Path(persistence.STATE_DIR) / "probe"
    probe.write_bytes(b"\0" * 4096)  # ministack swallows the error of a full disk
    probe.unlink()


def _keys_written(action: str, body: bytes) -> set[Key]:
    """Return the keys of the items that a request to DynamoDB writes."""
    request = json.loads(body)
    if action == "BatchWriteItem":
        pairs = [
            (table, write.get("PutRequest", {}).get("Item") or write["DeleteRequest"]["Key"])
            for table, writes in request["RequestItems"].items()
            for write in writes
        ]
    elif action == "TransactWriteItems":
        writes = [write for each in request["TransactItems"] for write in each.values()]
        pairs = [(write["TableName"], write.get("Item") or write["Key"]) for write in writes]
    else:
        pairs = [(request["TableName"], request.get("Item") or request["Key"])]
    return {key for table, attributes in pairs for key in _keys(table, attributes)}


def _keys(name: str, attributes: dict[str, Any]) -> Iterator[Key]:
    name = name.rpartition("/")[2]  # of an ARN
    for (account, region, table_name), table in dynamodb._tables.all_items():
        if table_name == name:
            sort = table["sk_name"]
            yield (
                account,
                region,
                name,
                dynamodb._extract_key_val(attributes.get(table["pk_name"])),
                dynamodb._extract_key_val(attributes.get(sort)) if sort else "__no_sort__",
            )


def _written(scope: Message, body: bytes) -> tuple[set[Key], set[str]] | None:
    """Return the items and services that a request may change; ``None`` where it only reads."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    service, _, action = headers.get(b"x-amz-target", "").rpartition(".")
    if action.startswith(READ_ACTIONS):
        return None
    if action in ITEM_ACTIONS:
        return _keys_written(action, body), set()
    if action in MESSAGE_ACTIONS:
        return set(), set()
    for prefix, name in SERVICES.items():
        if service.startswith(prefix):
            return set(), {name}
    if scope["method"] in READING:
        return None
    is_of_bucket = scope["method"] != "POST" and "/" not in scope["path"].strip("/")
    return set(), {"s3", "sqs"} if is_of_bucket else set()


class Durable:
    """An ASGI app: ministack's, whose answers wait until what they acknowledge is on disk.

    Parameters
    ----------
    journal : Journal
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.failed_objects = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the start and the stop."""
        if scope["type"] == "lifespan":
            await ministack_app(scope, receive, self._restoring(send))
        elif scope["type"] != "http":
            await ministack_app(scope, receive, send)
        else:
            body = bytearray()
            is_read = any(value.startswith(b"DynamoDB") for _, value in scope["headers"])
            source = _recorded(receive, body) if is_read else receive
            await ministack_app(scope, source, self._saving(scope, body, send))

    def _restoring(self, send: Send) -> Send:
        async def restored(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._journal.restore()
            await send(message)

        return restored

    def _saving(self, scope: Message, body: bytearray, send: Send) -> Send:
        failed_before, refused = self.failed_objects, False
        receipts = frozenset(_received()) if _receives(scope) else None

        async def saved(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                refused = not self._save(scope, bytes(body), failed_before)
                if refused:
                    if receipts is not None:
                        _undo_receipts(receipts)
                    await _refuse(send)
            if not refused:
                await send(message)

        return saved

    def _save(self, scope: Message, body: bytes, failed_before: int) -> bool:
        try:
            written = _written(scope, body)
            if written is not None:
                self._journal.save(*written)
        except (OSError, sqlite3.Error) as error:
            with contextlib.suppress(OSError):  # of the log, which is on the same disk
                print(f"cannot save: {error}", flush=True)
            return False
        return scope["method"] in READING or self.failed_objects == failed_before


def _receives(scope: Message) -> bool:
    """Tell whether a request asks for messages of a queue."""
    return (b"x-amz-target", b"AmazonSQS.ReceiveMessage") in [*map(tuple, scope["headers"])]


def _recorded(receive: Receive, body: bytearray) -> Receive:
    async def recorded() -> Message:
        message = await receive()
        body.extend(message.get("body", b""))
        return message

    return recorded


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(FULL))]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": FULL})


def _announce_objects_at_once() -> None:
    """Have the event of an object on its queue before the object is acknowledged."""

    def fire(bucket_name: str, key: str, event_name: str, *given: Any, **named: Any) -> None:
        if bucket_name in s3._bucket_notifications:
            named["sequencer"] = s3._next_event_sequencer(event_name)
            s3._fire_s3_event(bucket_name, key, event_name, *given, **named)

    s3._fire_s3_event_async = fire


def _count_failed_objects(durable: Durable) -> None:
    """Notice objects that cannot be written, of which ministack only logs a line."""
    write = s3._atomic_write

    def counted(*given: Any, **named: Any) -> None:
        try:
            write(*given, **named)
        except OSError:
            durable.failed_objects += 1
            raise

    s3._atomic_write = counted


ministack_app = ministack.app


def durable_app(folder: Path) -> Durable:
    """Return ministack's ASGI application with its journal in a folder.

    Once a process: it changes ministack itself.
    """
    durable = Durable(Journal(folder / "journal.sqlite"))
    _count_failed_objects(durable)
    _announce_objects_at_once()
    return durable
