"""What is trained, why, and how far it is, as callers see it; against a real database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from chalicelib.retrain.job import OPEN, Job, State, Terms
from chalicelib.retrain.keys import log_key
from chalicelib.retrain.messages import EpochDone, Started, parse_report
from chalicelib.retrain.plans import Plan, Plans

Caller = Any
Gateway = Any
Stack = Any

JOBS, PLANS = "/v1/training-jobs", "/v1/training-plans"
NOBODYS = "7d5a4f0e-3f0b-4a51-9c55-1a8f6f0a2b11"  # the same for all processes that collect
TRAIN = "/v1/models/scratch/training-jobs"
ADD_LABELLED = """
WITH sample AS (
    INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key)
    VALUES ('scratch', %s, 'jpg', 64, 64, %s, decode(repeat('00', 32), 'hex'), 'gone')
    RETURNING sample_id),
label AS (
    INSERT INTO labels (sample_id, yolo, boxes, origin)
    SELECT sample_id, '', 0, 'import' FROM sample RETURNING label_id, sample_id)
SELECT label_id, sample_id FROM label
"""


@pytest.fixture(autouse=True)
def no_jobs(stack: Stack) -> Iterator[None]:
    """Forget jobs and images, and empty the queue, after each test."""
    yield
    with stack.services.database.transaction() as rows:
        for table in ("training_epochs", "training_jobs", "training_plans", "samples CASCADE"):
            name, _, how = table.partition(" ")
            rows.execute(f"TRUNCATE {name} CASCADE" if how else f"DELETE FROM {name}")
    queued(stack)


@pytest.fixture
def job(stack: Stack) -> Job:
    terms = Terms.of(1, stack.services.settings)
    made = stack.services.training.jobs.create("scratch", terms, "process", "planner", "enough")
    assert made
    return made


@pytest.fixture
def labelled(stack: Stack) -> Callable[[str], None]:
    """Give the model a labelled image."""

    def add(side: str) -> None:
        with stack.services.database.transaction() as rows:
            rows.execute(ADD_LABELLED, (uuid4().hex * 2, side))
            [pair] = rows.fetchall()
            rows.execute("UPDATE samples SET label_id = %s WHERE sample_id = %s", pair)

    return add


def queued(stack: Stack) -> list[str]:
    """Take what waits on the training queue; return the ids of the jobs that it is about."""
    sqs = stack.services.client("sqs")
    url = sqs.get_queue_url(QueueName=stack.services.settings.training_queue)["QueueUrl"]
    ids = []
    at_once = {"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0}
    while messages := sqs.receive_message(**at_once).get("Messages"):
        for message in messages:
            ids.append(str(parse_report(message["Body"]).job_id))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return ids


def test_anybody_sees_how_far_a_job_is(call: Caller, stack: Stack, job: Job) -> None:
    jobs, at = stack.services.training.jobs, datetime.now(UTC)
    jobs.launched(job.job_id, "pid-7")
    jobs.started(Started(job_id=job.job_id, start=1, at=at, epochs=20))
    report = {"epochs": 20, "losses": {"train/box_loss": 1.5}, "map50": 0.5, "map50_95": 0.25}
    for epoch in (1, 2):
        told = {**report, "epoch": epoch, "seconds": 3.0, "eta_seconds": 54.0}
        jobs.reached(EpochDone(job_id=job.job_id, start=1, at=at, **told))

    shown = call("GET", f"{JOBS}/{job.job_id}").json

    assert (shown["state"], shown["epoch"], shown["epochs"]) == ("training", 2, 20)
    assert (shown["mAP50"], shown["mAP50-95"], shown["eta_seconds"]) == (0.5, 0.25, 54.0)
    assert [(row["epoch"], row["times"], row["mAP50"]) for row in shown["history"]] == [
        (1, 1, 0.5),
        (2, 1, 0.5),
    ]
    assert shown["history"][0]["losses"] == {"train/box_loss": 1.5}
    assert shown["log"] == ""


def test_the_end_of_a_long_log_is_shown(call: Caller, stack: Stack, job: Job) -> None:
    log = "é" * 40_000 + "\nout of memory\n"
    stack.services.store.put(log_key(job.job_id), log.encode(), "text/plain")

    shown = call("GET", f"{JOBS}/{job.job_id}").json["log"]

    assert shown.endswith("é\nout of memory\n")
    assert len(shown.encode()) <= 64 * 1024 + 3


def test_jobs_are_listed_newest_first_page_by_page(call: Caller, stack: Stack) -> None:
    terms = Terms("first", None, 1, {})
    for model in ("a", "b", "c"):
        stack.services.training.jobs.create(model, terms, "process", "planner", "enough")

    first = call("GET", f"{JOBS}?limit=2").json
    rest = call("GET", f"{JOBS}?limit=2&after={first['next']}").json

    assert [row["model"] for row in first["jobs"] + rest["jobs"]] == ["c", "b", "a"]
    assert rest["next"] is None
    only = call("GET", f"{JOBS}?model=b&state=queued&limit=1").json
    assert ([row["model"] for row in only["jobs"]], only["next"]) == (["b"], None)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"{JOBS}/no-such-job", 404),
        (f"{JOBS}/{NOBODYS}", 404),
        (f"{JOBS}?after={NOBODYS}", 404),
        (f"{JOBS}?after=yesterday", 400),
        (f"{JOBS}?state=done", 400),
        (f"{JOBS}?limit=0", 400),
        (f"{JOBS}?page=2", 400),
    ],
)
def test_what_cannot_be_asked_is_refused(call: Caller, target: str, status: int) -> None:
    answer = call("GET", target)

    assert answer.status == status, answer.body
    assert answer.type == "application/problem+json"


@pytest.mark.parametrize("target", [TRAIN, f"{JOBS}/{NOBODYS}/cancel"])
def test_the_buttons_are_for_operators(call: Caller, target: str) -> None:
    assert call("POST", target).status == 401


def test_an_operator_has_a_model_trained_now(
    call: Caller,
    stack: Stack,
    as_operator: dict[str, str],
    labelled: Callable[[str], None],
) -> None:
    labelled("train")
    labelled("valid")

    answer = call("POST", TRAIN, **as_operator)

    assert answer.status == 201, answer.body
    made = answer.json
    assert (made["state"], made["requested_by"]) == ("queued", "operator:operator")
    assert answer.headers["location"].endswith(f"{JOBS}/{made['job_id']}")
    assert queued(stack) == [made["job_id"]]


def test_who_asks_for_a_second_training_is_told_of_the_first(
    call: Caller,
    stack: Stack,
    as_operator: dict[str, str],
    labelled: Callable[[str], None],
    job: Job,
) -> None:
    labelled("train")
    labelled("valid")

    again = call("POST", TRAIN, **as_operator)
    assert again.status == 409
    told = f"'scratch' is being trained: wait for job {job.job_id}, or cancel it"
    assert again.json["detail"] == told

    call("POST", f"{JOBS}/{job.job_id}/cancel", **as_operator)
    again = call("POST", TRAIN, **as_operator)
    assert again.status == 409
    assert f"job {job.job_id} is being cancelled" in again.json["detail"]


@pytest.mark.parametrize("sides", [[], ["train"], ["valid"]])
def test_nothing_is_trained_without_images_to_learn_from_and_to_measure_on(
    call: Caller,
    stack: Stack,
    as_operator: dict[str, str],
    labelled: Callable[[str], None],
    sides: list[str],
) -> None:
    for side in sides:
        labelled(side)

    answer = call("POST", TRAIN, **as_operator)

    assert (answer.status, "import labelled images" in answer.json["detail"]) == (409, True)
    assert call("GET", JOBS).json["jobs"] == []


def test_nothing_is_trained_of_a_model_that_is_not_there(
    call: Caller, as_operator: dict[str, str]
) -> None:
    answer = call("POST", "/v1/models/nobody/training-jobs", **as_operator)

    assert (answer.status, "GET /v1/pending-models" in answer.json["detail"]) == (404, True)


def test_a_pending_model_is_trained_for_the_first_time(
    gateway: Gateway, stack: Stack, as_operator: dict[str, str]
) -> None:
    wanted = json.dumps({"name": "wanted", "classes": ["dent"]}).encode()
    gateway("POST", "/v1/pending-models", wanted, content_type="application/json")

    answer = gateway("POST", "/v1/models/wanted/training-jobs", **as_operator)

    assert (answer.status, "has 0 images to train on" in answer.json["detail"]) == (409, True)


def test_an_operator_cancels_a_job(
    call: Caller, stack: Stack, as_operator: dict[str, str], job: Job
) -> None:
    answer = call("POST", f"{JOBS}/{job.job_id}/cancel", **as_operator)

    assert (answer.status, answer.json["cancel_requested"]) == (200, True)
    assert queued(stack) == [str(job.job_id)]
    stack.services.training.jobs.end(job.job_id, OPEN, State.FAILED, "it broke before")
    late = call("POST", f"{JOBS}/{job.job_id}/cancel", **as_operator)
    assert (late.status, "it was failed" in late.json["detail"]) == (409, True)
    assert call("POST", f"{JOBS}/nothing/cancel", **as_operator).status == 404


def test_anybody_sees_what_the_planner_thinks(call: Caller, stack: Stack) -> None:
    stack.services.training.planner.run()

    told = call("GET", PLANS).json

    [plan] = [each for each in told["plans"] if each["model"] == "scratch"]
    assert plan["decision"] == "wait"
    assert plan["reason"] == ("needs 16 more new training images and 4 more new validation images")
    assert (plan["needs_train"], plan["needs_valid"]) == (16, 4)
    assert (told["every_minutes"], told["launcher"]) == (30, "process")


def test_plans_come_in_pages_by_the_names_of_their_models(call: Caller, stack: Stack) -> None:
    names = ["a", "a-b", "a_b", "ab", "b"]
    plans = [Plan(name, "wait", f"{name} waits", 1, 2, 3, 4) for name in reversed(names)]
    Plans(stack.services.database).keep(plans)

    seen, path = [], f"{PLANS}?limit=2"
    while path:
        told = call("GET", path).json
        seen.append([plan["model"] for plan in told["plans"]])
        path = told["next"] and f"{PLANS}?limit=2&after={told['next']}"

    assert seen == [["a", "a-b"], ["a_b", "ab"], ["b"]]
    only = call("GET", f"{PLANS}?model=ab&limit=1").json
    assert ([plan["reason"] for plan in only["plans"]], only["next"]) == (["ab waits"], None)
    assert call("GET", f"{PLANS}?model=ab&after=b").json["plans"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "after=%00", "after=", "page=2"])
def test_a_page_of_plans_that_cannot_be_is_refused(call: Caller, query: str) -> None:
    answer = call("GET", f"{PLANS}?{query}")

    assert (answer.status, answer.json["faults"][0]["where"].split(".")[0]) == (400, "query")
