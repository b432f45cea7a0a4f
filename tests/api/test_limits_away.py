"""Calls that make something while the table of limits hangs, or refuses connections."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.idempotency import LEASE_SECONDS, IdempotencyKeys, KeptAnswer, Lease
from chalicelib.quotas import Quotas
from chalicelib.refusals import IdempotencyKeyInUse

Gateway = Any
Stack = Any
MakePicture = Callable[..., bytes]
JSON = {"content_type": "application/json"}
DETECTIONS = "/v1/models/scratch/detections?keep=true"
WANTED = json.dumps(
    {"model": "scratch", "file_name": "a.jpg", "content_type": "image/jpeg"}
).encode()
FEW_SECONDS = 0.2


class Away:
    """The table of limits, which is there until ``mode`` says how it is not."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self.mode = ""
        self.operations = {"PutItem", "UpdateItem", "DeleteItem", "GetItem"}
        self.comes_back = threading.Event()
        self._table = table
        self._events = dynamodb.meta.events
        self._events.register("before-call.dynamodb", self._call)

    def end(self) -> None:
        self.mode = ""
        self.comes_back.set()
        self._events.unregister("before-call.dynamodb", self._call)

    def _call(self, model: Any, params: Any, **_: Any) -> None:
        is_limits = json.loads(params["body"]).get("TableName") == self._table
        if not self.mode or not is_limits or model.name not in self.operations:
            return
        if self.mode == "hang":
            self.comes_back.wait()
        raise EndpointConnectionError(endpoint_url="https://dynamodb")


@pytest.fixture
def away(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    for module in ("quotas", "idempotency"):
        monkeypatch.setattr(f"chalicelib.{module}.LIMITS_SECONDS", FEW_SECONDS)
    services, dynamodb = stack.services, stack.services.client("dynamodb")
    counted = services.settings.model_copy(update={"quotas": True})
    services.quotas = Quotas(dynamodb, counted, services.now)
    made = Away(dynamodb, counted.limits_table)
    yield made
    made.end()
    del services.quotas


def made(stack: Stack) -> tuple[int, int]:
    """Return how many predictions and submissions there are."""
    table = stack.services.settings.predictions_table
    with stack.services.database.transaction() as rows:
        rows.execute("SELECT count(*) FROM requests")
        [(requests,)] = rows.fetchall()
    return stack.services.client("dynamodb").scan(TableName=table)["Count"], requests


@pytest.mark.parametrize("mode", ["hang", "refuse"])
def test_without_a_key_only_what_hands_out_forms_is_refused(
    gateway: Gateway, away: Away, make_picture: MakePicture, mode: str
) -> None:
    away.mode = mode

    kept = gateway("POST", DETECTIONS, make_picture(), content_type="image/jpeg")
    assert kept.status == 200
    body = json.dumps({"prediction_id": kept.json["prediction_id"], "answer": "confirmed"})
    sent = gateway("POST", "/v1/models/scratch/submissions", body.encode(), **JSON)
    assert sent.status == 201, sent.body

    refused = gateway("POST", "/v1/uploads", WANTED, **JSON)
    assert (refused.status, refused.headers["retry-after"]) == (503, "2")
    assert refused.json["type"] == "urn:sightloop:problem:database-unavailable"


@pytest.mark.parametrize("mode", ["hang", "refuse"])
def test_a_call_with_a_key_is_refused_and_made_once_when_it_is_sent_again(
    gateway: Gateway, stack: Stack, away: Away, make_picture: MakePicture, mode: str
) -> None:
    kept = gateway("POST", DETECTIONS, make_picture(), content_type="image/jpeg").json
    answer = json.dumps({"prediction_id": kept["prediction_id"], "answer": "confirmed"}).encode()
    calls: list[tuple[str, bytes, dict[str, str]]] = [
        ("/v1/uploads", WANTED, JSON),
        (DETECTIONS, make_picture(), {"content_type": "image/jpeg"}),
        ("/v1/models/scratch/submissions", answer, JSON),
    ]
    for target, body, told in calls:
        before, key = made(stack), str(uuid.uuid4())
        away.mode = mode
        refused = gateway("POST", target, body, idempotency_key=key, **told)
        away.mode = ""

        assert (refused.status, refused.headers["retry-after"]) == (503, "2"), target
        assert refused.json["type"] == "urn:sightloop:problem:database-unavailable"
        assert made(stack) == before
        again = [gateway("POST", target, body, idempotency_key=key, **told) for _ in range(2)]
        assert [each.status for each in again] in ([200, 200], [201, 201])
        assert again[0].body == again[1].body
        assert sum(made(stack)) == sum(before) + 1


@pytest.mark.parametrize("mode", ["hang", "refuse"])
def test_an_answer_that_cannot_be_kept_is_given_all_the_same(
    gateway: Gateway, stack: Stack, away: Away, make_picture: MakePicture, mode: str
) -> None:
    before = made(stack)
    away.mode, away.operations = mode, {"UpdateItem"}

    told = {"content_type": "image/jpeg", "idempotency_key": str(uuid.uuid4())}
    assert gateway("POST", DETECTIONS, make_picture(), **told).status == 200
    assert gateway("POST", DETECTIONS, make_picture(), **told).status == 409
    assert sum(made(stack)) == sum(before) + 1


class LostAnswer:
    """A client of DynamoDB that sends an item again, for the answer to the first try was lost."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_item(self, **request: Any) -> Any:
        self._client.put_item(**request)
        return self._client.put_item(**request)


def test_a_key_that_was_taken_by_a_try_whose_answer_was_lost_is_taken(stack: Stack) -> None:
    client, table = stack.services.client("dynamodb"), stack.services.settings.limits_table
    keys = IdempotencyKeys(LostAnswer(client), table, stack.services.now)

    lease = keys.begin(str(uuid.uuid4()), "a request")

    assert isinstance(lease, Lease)
    keys.finish(lease, KeptAnswer(201, {}, b"made"))
    assert keys.begin(lease.entry, "a request") == KeptAnswer(201, {}, b"made")


def test_who_waits_as_often_as_a_page_does_outlives_a_call_of_which_nobody_heard(
    stack: Stack,
) -> None:
    now = datetime(2026, 12, 1, 12, tzinfo=UTC)
    table, clock = stack.services.settings.limits_table, lambda: now
    keys, entry = IdempotencyKeys(stack.services.client("dynamodb"), table, clock), new_entry()
    keys.begin(entry, "a request")

    now += timedelta(seconds=6 + 2)  # it was refused by 503, Retry-After: 2
    waits = []
    for _ in range(3):
        with pytest.raises(IdempotencyKeyInUse) as refused:
            keys.begin(entry, "a request")
        waits.append(refused.value.retry_after)
        now += timedelta(seconds=waits[-1])

    assert waits == [8, 16, LEASE_SECONDS - 32]
    assert isinstance(keys.begin(entry, "a request"), Lease)


def test_a_call_that_began_just_now_is_asked_for_soon(stack: Stack) -> None:
    table, now = stack.services.settings.limits_table, stack.services.now
    keys, entry = IdempotencyKeys(stack.services.client("dynamodb"), table, now), new_entry()
    keys.begin(entry, "a request")

    with pytest.raises(IdempotencyKeyInUse) as refused:
        keys.begin(entry, "a request")
    assert refused.value.retry_after == 2


def new_entry() -> str:
    return f"answer/{uuid.uuid4()}"
