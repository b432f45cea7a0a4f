"""`Idempotency-Key`: a call that is sent again has no second effect and gets the same answer."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.errors import DatabaseUnavailable
from chalicelib.idempotency import LARGEST_BODY, IdempotencyKeys, KeptAnswer, Lease
from chalicelib.web.once import KEY_HEADER
from deploy.stages import FUNCTIONS
from tests.api.conftest import member_headers

Gateway = Any
JSON = {"content_type": "application/json"}
DETECTIONS = "/v1/models/scratch/detections"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(stack: Any) -> Iterator[Clock]:
    made, services = Clock(), stack.services
    services.idempotency_keys = IdempotencyKeys(
        services.client("dynamodb"), services.settings.limits_table, made
    )
    yield made
    del services.idempotency_keys


def wanted(name: str = "a.jpg", model: str = "scratch") -> bytes:
    return json.dumps({"model": model, "file_name": name, "content_type": "image/jpeg"}).encode()


def new_key() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def upload(gateway: Gateway, clock: Clock) -> Callable[..., Any]:
    """Ask for a form under a key."""

    def ask(key: str, body: bytes | None = None, path: str = "/v1/uploads", **more: str) -> Any:
        return gateway("POST", path, body or wanted(), idempotency_key=key, **JSON, **more)

    return ask


def count(stack: Any) -> int:
    table = stack.services.settings.predictions_table
    return int(stack.services.client("dynamodb").scan(TableName=table)["Count"])


def test_a_repeated_call_gets_the_same_answer_and_makes_nothing(
    upload: Callable[..., Any], stack: Any
) -> None:
    key, before = new_key(), count(stack)

    first, second = upload(key), upload(key)

    assert (first.status, second.status) == (201, 201)
    assert first.body == second.body
    assert first.headers["location"] == second.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert first.headers["x-correlation-id"] == second.headers["x-correlation-id"]  # recorded event
    assert count(stack) == before + 1


def test_without_a_key_each_call_counts(gateway: Gateway, stack: Any) -> None:
    before = count(stack)

    for _ in range(2):
        assert gateway("POST", "/v1/uploads", wanted(), **JSON).status == 201

    assert count(stack) == before + 2


def test_another_body_path_or_query_under_the_key_is_refused(
    upload: Callable[..., Any], gateway: Gateway, make_picture: Callable[..., bytes]
) -> None:
    key = new_key()
    assert upload(key).status == 201

    other = upload(key, wanted("b.jpg"))

    assert other.status == 422
    assert other.json["type"] == "urn:sightloop:problem:idempotency-key-reused"
    image = {"content_type": "image/jpeg", "idempotency_key": new_key()}
    kept = gateway("POST", f"{DETECTIONS}?keep=true", make_picture(), **image)
    assert kept.status == 200
    again = gateway("POST", f"{DETECTIONS}?keep=true&iou=0.5", make_picture(), **image)
    assert again.status == 422
    path = DETECTIONS.replace("scratch", "another")
    assert gateway("POST", f"{path}?keep=true", make_picture(), **image).status == 422


def test_a_key_is_of_one_caller_and_one_route(
    upload: Callable[..., Any], gateway: Gateway, as_operator: dict[str, str], stack: Any
) -> None:
    key = new_key()
    answers = [upload(key), upload(key, **as_operator)]
    answers += [upload(key, **member_headers(stack, name)) for name in ("ann", "bob")]
    body = json.dumps({"name": f"m-{key[:8]}", "classes": ["dent"]}).encode()
    elsewhere = gateway("POST", "/v1/pending-models", body, idempotency_key=key, **JSON)

    assert {answer.status for answer in [*answers, elsewhere]} == {201}
    assert len({answer.json["prediction_id"] for answer in answers}) == len(answers)


@pytest.mark.parametrize("key", ["", "a b", "é" * 20, "k" * 256, "tab\tinside-of-a-key"])
def test_what_is_no_key_is_refused(
    upload: Callable[..., Any], as_operator: dict[str, str], key: str
) -> None:
    answer = upload(key, **as_operator)

    assert answer.status == 400
    assert KEY_HEADER in answer.json["detail"]


def test_who_has_no_name_has_to_choose_a_long_key(
    upload: Callable[..., Any], as_operator: dict[str, str]
) -> None:
    assert upload("123456789012345").status == 400
    assert upload(f"{uuid.uuid4().hex[:16]}").status == 201
    assert upload(f"{uuid.uuid4().hex[:1]}", **as_operator).status == 201
    assert upload("k" * 255).status == 201


def test_of_many_at_once_one_has_an_effect(upload: Callable[..., Any], stack: Any) -> None:
    key, before = new_key(), count(stack)
    together = threading.Barrier(8)

    def send(_: int) -> Any:
        together.wait()
        return upload(key)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))

    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) <= {201, 409}
    assert statuses[201] >= 1
    assert count(stack) == before + 1
    assert len({a.body for a in answers if a.status == 201}) == 1
    for refused in (answer for answer in answers if answer.status == 409):
        assert refused.json["type"] == "urn:sightloop:problem:idempotency-key-in-use"
        assert int(refused.headers["retry-after"]) > 0
    assert upload(key).status == 201


def entry_under_way(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process be killed while it answers."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stack.services.upload_desk, "offer", killed)


def test_a_key_whose_call_was_killed_is_free_once_the_function_would_have_ended(
    upload: Callable[..., Any], stack: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, before = new_key(), count(stack)
    with monkeypatch.context() as patch:
        entry_under_way(stack, patch)
        with pytest.raises(KeyboardInterrupt):
            upload(key)

    assert upload(key).status == 409
    clock.now += timedelta(seconds=FUNCTIONS["api_handler"].timeout_seconds)
    assert upload(key).status == 409
    clock.now += timedelta(seconds=7)
    first, second = upload(key), upload(key)

    assert (first.status, second.status) == (201, 201)
    assert first.body == second.body
    assert count(stack) == before + 1


def test_our_failures_are_not_kept(
    upload: Callable[..., Any], stack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()

    def away(*_: Any) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(stack.services.upload_desk, "offer", away)
        assert upload(key).status == 503

    answer = upload(key)
    assert answer.status == 201
    assert "idempotency-replayed" not in answer.headers


def test_a_refusal_is_repeated_and_an_invalid_body_leaves_the_key_free(
    upload: Callable[..., Any],
) -> None:
    key = new_key()

    assert upload(key, b'{"model": 1}').status == 400
    refused = upload(key, wanted(model="nowhere"))
    again = upload(key, wanted(model="nowhere"))

    assert (refused.status, again.status) == (404, 404)
    assert refused.body == again.body
    assert again.headers["idempotency-replayed"] == "true"


def test_after_a_day_the_key_is_new(upload: Callable[..., Any], clock: Clock) -> None:
    key = new_key()
    first = upload(key)
    clock.now += timedelta(hours=23)
    assert upload(key).body == first.body
    clock.now += timedelta(hours=2)

    assert upload(key, wanted("b.jpg")).status == 201


def test_a_kept_detection_is_kept_once(
    gateway: Gateway, clock: Clock, stack: Any, make_picture: Callable[..., bytes]
) -> None:
    before = count(stack)
    told = {"content_type": "image/jpeg", "idempotency_key": new_key()}

    def send(accept: str = "application/json") -> Any:
        return gateway("POST", f"{DETECTIONS}?keep=true", make_picture(), accept=accept, **told)

    assert send("image/jpeg").status == 406
    told["idempotency_key"] = new_key()
    first, second = send(), send()

    assert first.body == second.body
    assert first.json["prediction_id"]
    assert count(stack) == before + 1


def test_a_detection_that_keeps_nothing_needs_no_key(
    gateway: Gateway, clock: Clock, make_picture: Callable[..., bytes]
) -> None:
    told = {"content_type": "image/jpeg", "idempotency_key": new_key(), "accept": "image/jpeg"}

    for _ in range(2):
        answer = gateway("POST", DETECTIONS, make_picture(), **told)
        assert (answer.status, answer.type) == (200, "image/jpeg")
        assert "idempotency-replayed" not in answer.headers


def test_an_answer_that_is_too_large_is_not_made_twice(stack: Any, clock: Clock) -> None:
    keys, entry = stack.services.idempotency_keys, new_key()
    lease = keys.begin(entry, "a request")
    assert isinstance(lease, Lease)

    noise = b"".join(uuid.uuid4().bytes for _ in range(LARGEST_BODY // 16 + 100))
    keys.finish(lease, KeptAnswer(201, {"Location": "/v1/x"}, noise))

    assert keys.begin(entry, "a request") == KeptAnswer(201, {"Location": "/v1/x"}, None)


def test_who_lost_the_lease_overwrites_nothing(stack: Any, clock: Clock) -> None:
    keys, entry = stack.services.idempotency_keys, new_key()
    slow = keys.begin(entry, "a request")
    clock.now += timedelta(minutes=1)
    fast = keys.begin(entry, "a request")
    keys.finish(fast, KeptAnswer(201, {}, b"fast"))

    keys.finish(slow, KeptAnswer(201, {}, b"slow"))
    keys.release(slow)

    assert keys.begin(entry, "a request") == KeptAnswer(201, {}, b"fast")


def test_a_page_of_anywhere_may_send_the_header(gateway: Gateway) -> None:
    from chalicelib.web.api import ANY_ORIGIN  # noqa: PLC0415

    told = ANY_ORIGIN.get_access_control_headers()
    assert KEY_HEADER in told["Access-Control-Allow-Headers"]
    assert "Idempotency-Replayed" in told["Access-Control-Expose-Headers"]
