"""What AWS calls: the schedule, the queue of reports, the events of SageMaker; as it calls them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from chalice.local import LambdaContext

from app import app
from chalicelib import wiring
from chalicelib.errors import MalformedMessage
from chalicelib.retrain.job import Job, State
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.messages import Started, parse_report
from chalicelib.settings import Settings
from chalicelib.wiring import Services

RECORDED = Path(__file__).parent / "events/training_job_state_change.json"
EVENT: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
SCHEDULED = {**EVENT, "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}

MakeJob = Callable[..., Job]


def call(function: str, event: dict[str, Any]) -> Any:
    return app.handler_map[function](event, LambdaContext(function, 3008))


def record(body: str) -> dict[str, Any]:
    return {"Records": [{"body": body, "receiptHandle": "x", "messageId": "1"}]}


@pytest.fixture
def queued(services: Services) -> Callable[[], list[str]]:
    """Take what waits on the queue; return the ids of the jobs that it is about."""
    sqs, queue = services.client("sqs"), services.settings.training_queue
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]

    def take() -> list[str]:
        at_once = {"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0}
        bodies = []
        while messages := sqs.receive_message(**at_once).get("Messages", []):
            bodies += [message["Body"] for message in messages]
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [str(parse_report(body).job_id) for body in bodies]

    return take


@pytest.fixture
def nothing_attached(services: Services) -> Iterator[None]:
    """Have a deployment without a database, as one that detects only."""
    bare = wiring.Services(Settings(), {"secretsmanager": services.client("secretsmanager")})
    wiring.provide(bare)
    yield
    wiring.provide(services)


def test_the_schedule_makes_a_job_and_has_it_looked_at(
    services: Services,
    jobs: TrainingJobs,
    add_images: Callable[..., None],
    queued: Callable[[], list[str]],
) -> None:
    assert call("plan", SCHEDULED) == {"models": 1, "jobs": 0}
    add_images("scratch", "train", 13)
    add_images("scratch", "valid", 2)

    assert call("plan", SCHEDULED) == {"models": 1, "jobs": 1}

    [job] = jobs.page(None, None, None, 9)
    assert queued() == [str(job.job_id)]


def test_two_schedules_at_once_make_one_job(
    services: Services, jobs: TrainingJobs, add_images: Callable[..., None]
) -> None:
    add_images("scratch", "train", 16)
    add_images("scratch", "valid", 4)

    with ThreadPoolExecutor(4) as schedules:
        list(schedules.map(lambda _: call("plan", SCHEDULED), range(4)))

    assert len(jobs.page(None, None, None, 9)) == 1


def test_an_event_has_its_job_looked_at_however_often_it_comes(
    jobs: TrainingJobs, make_job: MakeJob, queued: Callable[[], list[str]], services: Services
) -> None:
    job = jobs.launched(make_job().job_id, "pid-7")
    for status in ("Completed", "InProgress", "Completed"):
        told = {**EVENT["detail"], "TrainingJobStatus": status}
        assert call("on_training_event", {**EVENT, "detail": told}) == {"jobs": 1}

    assert queued() == [str(job.job_id)] * 3
    assert jobs.get(job.job_id) == job


def test_an_event_of_what_is_over_or_not_ours_changes_nothing(
    jobs: TrainingJobs, make_job: MakeJob, queued: Callable[[], list[str]], services: Services
) -> None:
    job = jobs.launched(make_job().job_id, "pid-7")
    jobs.end(job.job_id, [State.LAUNCHED], State.CANCELLED, "asked for")

    assert call("on_training_event", EVENT) == {"jobs": 0}
    assert call("on_training_event", {**EVENT, "detail": {}}) == {"jobs": 0}
    assert queued() == []


def test_a_report_arrives_by_the_queue(
    services: Services, jobs: TrainingJobs, make_job: MakeJob
) -> None:
    job = jobs.launched(make_job().job_id, "pid-7")
    report = Started(job_id=job.job_id, start=1, at=datetime.now(UTC), epochs=5)

    call("on_training_report", record(report.model_dump_json()))

    assert jobs.get(job.job_id).state == State.TRAINING


@pytest.mark.parametrize("body", ["", "{}", '{"kind":"won"}', '{"kind":"due","job_id":"x"}'])
def test_what_is_no_report_is_left_to_become_a_dead_letter(services: Services, body: str) -> None:
    with pytest.raises(MalformedMessage):
        call("on_training_report", record(body))


@pytest.mark.parametrize(("function", "event"), [("plan", SCHEDULED), ("on_training_event", EVENT)])
def test_without_a_database_there_is_nothing_to_do(
    nothing_attached: None, function: str, event: dict[str, Any]
) -> None:
    assert call(function, event) == {}
