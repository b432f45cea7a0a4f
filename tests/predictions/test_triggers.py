"""The handlers as AWS calls them, with recorded events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chalice.app import Chalice
from chalice.local import LambdaContext

from chalicelib.predictions.triggers import blueprint, identify, on_upload, reconcile

QueuePath = Any
EVENTS = Path(__file__).parent / "events"
CONTEXT = LambdaContext("a-function", 3008)


def recorded(name: str) -> dict[str, Any]:
    return json.loads((EVENTS / name).read_text())


def test_a_recorded_s3_event_is_queued(path: QueuePath) -> None:
    on_upload(recorded("s3_post.json"), CONTEXT)

    (message,) = path.bodies(path.identify_queue)
    assert message["prediction_id"] == "2f9c8f0e-6a0b-4f2e-9d3c-5f1f5c0b7a11"
    assert message["uploaded_at"] == "2026-11-20T09:15:42.310000Z"


def test_the_test_event_of_s3_is_ignored(path: QueuePath) -> None:
    on_upload(recorded("s3_test_event.json"), CONTEXT)

    assert path.receive(path.identify_queue) == []


def test_a_multipart_upload_is_one_prediction(path: QueuePath) -> None:
    event = recorded("s3_post.json")
    event["Records"].append(
        {**event["Records"][0], "eventName": "ObjectCreated:CompleteMultipartUpload"}
    )

    on_upload(event, CONTEXT)

    assert len(path.receive(path.identify_queue)) == 1


def test_a_batch_that_fails_whole_is_named_whole(path: QueuePath) -> None:
    event = recorded("sqs_batch.json")

    answer = identify(event, CONTEXT)

    failed = [{"itemIdentifier": event["Records"][0]["messageId"]}]
    assert answer == {"batchItemFailures": failed}


class Countdown(LambdaContext):
    """A context in which each look at the clock finds that a picture took so many seconds."""

    def __init__(self, *seconds_left: float) -> None:
        super().__init__("identify", 3008)
        self._seconds_left = iter(seconds_left)

    def get_remaining_time_in_millis(self) -> int:
        return int(next(self._seconds_left) * 1000)


def batch(path: QueuePath, receives: int = 1) -> dict[str, Any]:
    """Return an event of three uploads, all on the queue."""
    for _ in range(3):
        path.send()
    received = path.receive(path.identify_queue, hidden=300)
    assert len(received) == 3
    for message in received:
        message["Attributes"]["ApproximateReceiveCount"] = str(receives)
    template = recorded("sqs_batch.json")["Records"][0]
    records = [
        {
            **template,
            "messageId": each["MessageId"],
            "receiptHandle": each["ReceiptHandle"],
            "body": each["Body"],
            "attributes": each["Attributes"],
        }
        for each in received
    ]
    return {"Records": records}


def test_what_a_slow_picture_leaves_no_time_for_is_given_back_at_once(path: QueuePath) -> None:
    event = batch(path)

    answer = identify(event, Countdown(100, 30))

    [failed] = answer["batchItemFailures"]
    assert failed["itemIdentifier"] == event["Records"][2]["messageId"]
    assert path.inference.calls == 2
    assert len(path.receive(path.identify_queue)) == 1, "it shows again before 300 s are over"


def test_the_first_picture_of_a_batch_is_always_begun(path: QueuePath) -> None:
    event = batch(path)

    answer = identify(event, Countdown(3, 3))

    assert len(answer["batchItemFailures"]) == 2
    assert path.inference.calls == 1


def test_what_was_not_begun_is_no_dead_letter_on_its_last_receive(path: QueuePath) -> None:
    event = batch(path, receives=path.settings.identify_max_receives)

    assert identify(event, Countdown(3, 3)) == {"batchItemFailures": []}

    again = path.receive(path.identify_queue)
    assert sorted(each["Body"] for each in again) == sorted(
        each["body"] for each in event["Records"][1:]
    )
    assert {each["Attributes"]["ApproximateReceiveCount"] for each in again} == {"1"}


def test_the_handlers_that_the_app_knows_are_those_that_aws_calls() -> None:
    app = Chalice("sightloop", configure_logs=False)
    app.register_blueprint(blueprint)

    assert app.handler_map == {"on_upload": on_upload, "identify": identify, "reconcile": reconcile}


def test_metrics_are_sent_where_aws_calls_the_handler_without_the_app(
    path: QueuePath, capsys: pytest.CaptureFixture[str]
) -> None:
    path.send()
    path.work()

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    sent = {name: line for line in lines if "_aws" in line for name in line}
    assert sent["UploadsQueued"]["UploadsQueued"] == [1.0]
    assert sent["PredictionsDone"]["PredictionsDone"] == [1.0]
    assert sent["UploadToAnswer"]["UploadToAnswer"][0] >= 0


def test_the_triggers_watch_the_right_places() -> None:
    app = Chalice("sightloop", configure_logs=False)
    app.register_blueprint(blueprint)

    watched = {type(each).__name__: each for each in app.event_sources}
    assert watched["S3EventConfig"].bucket == "sightloop-local-uploads"
    assert watched["S3EventConfig"].prefix == "uploads/"
    assert watched["S3EventConfig"].events == ["s3:ObjectCreated:*"]
    assert watched["SQSEventConfig"].queue == "sightloop-local-identify"
    assert watched["ScheduledEventConfig"].schedule_expression.to_string() == "rate(30 minutes)"
