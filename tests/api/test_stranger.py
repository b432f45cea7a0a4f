"""A stranger's hour: whatever somebody without a token tries, at the settings of a deployment."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from moto import mock_aws

from app import app
from chalicelib import wiring
from chalicelib.catalog.visibility import Visibility
from chalicelib.idempotency import IdempotencyKeys
from chalicelib.quotas import Quotas
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.planner import Planner
from chalicelib.settings import Settings
from chalicelib.web.routes import documented
from tests.api.conftest import make_stack, member_headers, photo
from tests.api.test_quotas import Clock, From

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Headers = dict[str, str]
OPEN, PRIVATE = "scratch", "parts"
JSON = {"content_type": "application/json"}
JPEG = {"content_type": "image/jpeg"}
ADDRESSES = [f"198.51.100.{n}" for n in range(1, 31)] + ["2001:db8:1::1", "2001:db8:2::1"]
TRICKS = (
    ("", "empty"),
    ("", "confirmed"),
    ("&confidence=1", "empty"),
    ("&confidence=1", "confirmed"),
    ("&confidence=0&iou=1&max_detections=1000", "confirmed"),
)
LABELS = """
SELECT s.sha256, l.label_id, l.yolo, l.user_address FROM samples s JOIN labels l USING (label_id)
ORDER BY s.sample_id
"""
CLEAR = """
TRUNCATE requests, samples, labels, label_terms, tasks, control_answers, agreements,
         control_standings
"""
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def stack(
    make_model: Callable[..., bytes], new_database: Callable[..., str], migrated: str
) -> Iterator[Any]:
    """A public and a private model, with proof and quotas as they are deployed."""
    with mock_aws():
        url = new_database(template=migrated)
        defaults = {"proof": "required", "quotas": True, "launcher": "process"}
        made = make_stack(live_version_ttl_seconds=0, database_url=url, **defaults)
        for name, visibility in ((OPEN, Visibility.PUBLIC), (PRIVATE, Visibility.PRIVATE)):
            made.services.publisher.publish(name, make_model(), b"{}", visibility)
        yield made
        made.services.database.close()
    wiring.provide(wiring.Services(Settings()))


@pytest.fixture(autouse=True)
def clock(stack: Any) -> Iterator[Clock]:
    """A clock by which quotas go; every test begins with full buckets and no labels."""
    clock, services = Clock(), stack.services
    dynamodb, table = services.client("dynamodb"), services.settings.limits_table
    for item in dynamodb.scan(TableName=table)["Items"]:
        dynamodb.delete_item(TableName=table, Key={"entry": item["entry"]})
    services.quotas = Quotas(dynamodb, services.settings, clock)
    services.idempotency_keys = IdempotencyKeys(dynamodb, table, clock)
    yield clock
    with services.database.transaction() as rows:
        rows.execute(CLEAR)


@pytest.fixture
def stranger() -> From:
    return From(app, "203.0.113.7")


@pytest.fixture
def member(stack: Any) -> Headers:
    return member_headers(stack, "ann")


def keep(gateway: From, model: str, image: bytes, how: str = "", **headers: str) -> str:
    target = f"/v1/models/{model}/detections?keep=true{how}"
    kept = gateway("POST", target, image, **JPEG, **headers)
    assert kept.status == 200, kept.body
    return str(kept.json["prediction_id"])


def say(gateway: From, model: str, prediction_id: str, answer: str, **headers: str) -> Any:
    body = json.dumps({"prediction_id": prediction_id, "answer": answer}).encode()
    return gateway("POST", f"/v1/models/{model}/submissions", body, **JSON, **headers)


def labels(stack: Any) -> list[tuple[Any, ...]]:
    with stack.services.database.transaction() as rows:
        rows.execute(LABELS)
        return list(rows.fetchall())


@pytest.mark.parametrize("model", [OPEN, PRIVATE])
def test_no_stranger_changes_a_settled_label(
    stack: Any, as_operator: Headers, stranger: From, model: str
) -> None:
    image = photo(1)
    settled = keep(stranger, model, image, **as_operator)
    assert say(stranger, model, settled, "confirmed", **as_operator).json["state"] == "accepted"
    before = labels(stack)
    assert len(before) == 1

    for address in ("203.0.113.7", *ADDRESSES[:8], ADDRESSES[-1]):
        anybody = From(app, address)
        for how, answer in TRICKS:
            prediction_id = keep(anybody, model, image, how)
            assert say(anybody, model, prediction_id, answer).status == 201
            assert labels(stack) == before
    for answer in ("empty", "confirmed"):  # about the operator's prediction, whose id leaked
        assert say(stranger, model, settled, answer).status == 201
    assert labels(stack) == before


def test_a_stranger_who_deletes_what_leaked_deletes_no_settled_label_of_others(
    stack: Any, as_operator: Headers, stranger: From
) -> None:
    image = photo(1)
    settled = keep(stranger, OPEN, image, **as_operator)
    assert say(stranger, OPEN, settled, "confirmed", **as_operator).status == 201
    theirs = keep(stranger, OPEN, image)
    assert say(stranger, OPEN, theirs, "empty").status == 201
    before = labels(stack)

    assert stranger("DELETE", f"/v1/predictions/{theirs}").status == 200
    assert stranger("DELETE", "/v1/contributions").status == 401
    assert labels(stack) == before


def test_no_stranger_meets_a_threshold_alone(stack: Any, stranger: From) -> None:
    settings = stack.services.settings
    wanted = settings.min_new_training_data + settings.min_new_validation_data
    for seed in range(2 * wanted):
        prediction_id = keep(stranger, OPEN, photo(seed))
        assert say(stranger, OPEN, prediction_id, "confirmed").json["state"] == "quarantined"
    for seed, address in enumerate(ADDRESSES, 1000):
        anybody = From(app, address)
        told = say(anybody, OPEN, keep(anybody, OPEN, photo(seed)), "confirmed")
        assert told.json["state"] == "quarantined"

    database = stack.services.database
    plans = {plan.model: plan for plan in Planner(database, TrainingJobs(database), settings).run()}
    assert labels(stack) == []
    assert (plans[OPEN].decision, plans[OPEN].new_train, plans[OPEN].new_valid) == ("wait", 0, 0)


def test_what_a_stranger_asks_for_trains_nothing_alone(stack: Any, stranger: From) -> None:
    new = json.dumps({"name": "mine", "classes": ["dent"]}).encode()
    assert stranger("POST", "/v1/pending-models", new, **JSON).status == 201
    for seed in range(30):
        target = "/v1/pending-models/mine/images"
        brought = stranger("POST", target, photo(seed), **JPEG).json["prediction_id"]
        body = json.dumps({"prediction_id": brought, "answer": "empty"}).encode()
        told = stranger("POST", "/v1/pending-models/mine/submissions", body, **JSON)
        assert told.json["state"] == "quarantined"

    database, settings = stack.services.database, stack.services.settings
    plans = {plan.model: plan for plan in Planner(database, TrainingJobs(database), settings).run()}
    assert (plans["mine"].decision, plans["mine"].new_train) == ("wait", 0)


def test_no_stranger_sees_a_photo_of_a_private_model(
    stack: Any, as_operator: Headers, member: Headers, stranger: From
) -> None:
    """Every route that answers GET, with every id but those that only a sender is given."""
    settled = keep(stranger, PRIVATE, photo(1), **as_operator)
    say(stranger, PRIVATE, settled, "confirmed", **as_operator)
    sent = keep(stranger, PRIVATE, photo(2), **member)
    number = say(stranger, PRIVATE, sent, "empty", **member).json["submission_id"]
    [(sha256, *_)] = labels(stack)
    known = {
        "model": PRIVATE,
        "sha256": sha256,
        "submission_id": str(number),
        "user": "user:ann",
        "version": "1",
    }

    for operation in documented:
        if operation.method != "GET" or not operation.documented:
            continue
        path = re.sub(r"{(\w+)}", lambda m: known.get(m[1], "0" * 32), operation.path)
        answer = stranger("GET", path)
        assert answer.status < 500, path
        assert not answer.body.startswith(b"\xff\xd8"), path
        for secret in (settled, sent, "X-Amz-Signature"):
            assert secret.encode() not in answer.body, path
    assert stranger("POST", f"/v1/models/{PRIVATE}/tasks").status == 401
    assert stranger("POST", f"/v1/models/{PRIVATE}/tasks", **member).status == 404  # none released
    wanted = json.dumps({"visibility": "public"}).encode()
    assert stranger("PUT", f"/v1/models/{PRIVATE}/visibility", wanted, **JSON).status == 401


def test_no_stranger_reads_anothers_answer_by_its_key(stranger: From, member: Headers) -> None:
    key = {"idempotency_key": "6f0c1a52-6f7e-4d5e-9a57-2d0f3c1b7a11"}
    target, image = f"/v1/models/{PRIVATE}/detections?keep=true", photo(3)
    theirs = stranger("POST", target, image, **JPEG, **key, **member).json["prediction_id"]

    for anybody in (stranger, From(app, ADDRESSES[0])):
        answer = anybody("POST", target, image, **JPEG, **key)
        assert answer.json["prediction_id"] != theirs
        assert "idempotency-replayed" not in answer.headers


@pytest.mark.parametrize("addresses", [1, 200])
def test_an_hour_of_a_strangers_forms_leaves_others_theirs(
    stack: Any, clock: Clock, member: Headers, addresses: int
) -> None:
    """With a tenth of the amounts, so that the hour takes seconds."""
    services, until = stack.services, clock.now + HOUR
    amount = services.settings.quota_uploads // 10
    settings = services.settings.model_copy(update={"quota_uploads": amount})
    services.quotas = Quotas(services.client("dynamodb"), settings, clock)
    wanted = {"model": OPEN, "file_name": "a.jpg", "content_type": "image/jpeg"}
    body = json.dumps(wanted).encode()
    callers = [From(app, f"10.{n // 250}.{n % 250}.1") for n in range(addresses)]
    shared = amount * min(addresses, settings.quota_everyone_factor)
    taken = refused = 0
    while clock.now < until:
        for anybody in callers if addresses > 1 else callers * (amount + 5):
            answer = anybody("POST", "/v1/uploads", body, **JSON)
            assert answer.status in (201, 429)
            taken += answer.status == 201
            if answer.status == 429:
                refused += 1
                assert int(answer.headers["retry-after"]) >= 1
        clock.now += HOUR / 3

    full_again = 1 + HOUR.total_seconds() / settings.quota_seconds
    assert refused > 0
    assert shared <= taken <= shared * full_again
    assert callers[0]("POST", "/v1/uploads", body, **JSON, **member).status == 201


def test_a_strangers_imports_bring_a_bounded_number_of_bytes(
    stack: Any, clock: Clock, stranger: From
) -> None:
    new = json.dumps({"name": "zips", "classes": ["dent"]}).encode()
    assert stranger("POST", "/v1/pending-models", new, **JSON).status == 201
    until, taken = clock.now + HOUR, 0
    while clock.now < until:
        for _ in range(4):
            taken += (
                stranger("POST", "/v1/pending-models/zips/imports", b"{}", **JSON).status == 201
            )
        clock.now += timedelta(minutes=2)

    settings = stack.services.settings
    day_and_hour = settings.quota_import_bytes * (1 + 1 / 24)
    assert 0 < taken * settings.max_import_bytes <= day_and_hour
