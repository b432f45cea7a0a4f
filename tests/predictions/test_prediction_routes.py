"""Uploads and predictions over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from chalice.test import Client

from app import app
from chalicelib.predictions.keys import annotated_key

QueuePath = Any
WANTED = {"model": "scratch", "file_name": "tag.jpg", "content_type": "image/jpeg"}


@pytest.fixture
def http(path: QueuePath) -> Iterator[Client]:
    with Client(app) as client:
        yield client


def ask(http: Client, **changed: Any) -> Any:
    body = {key: value for key, value in {**WANTED, **changed}.items() if value is not None}
    return post(http, "/v1/uploads", json.dumps(body).encode())


def post(http: Client, to: str, body: bytes, **headers: str) -> Any:
    return http.http.post(to, body=body, headers={"Content-Type": "application/json", **headers})


def test_an_upload_from_the_form_to_the_boxes(http: Client, path: QueuePath) -> None:
    offered = ask(http, options={"confidence": 0.7})
    assert offered.status_code == 201
    form, link = offered.json_body["upload"], offered.json_body["links"]["prediction"]
    assert offered.headers["Location"] == link

    waiting = http.http.get(link)
    assert (waiting.json_body["state"], waiting.headers["Retry-After"]) == ("waiting", "1")

    key = form["fields"]["key"]
    path.tell(key, path.put(key))
    assert http.http.get(link).json_body["state"] == "queued"

    path.work()
    done = http.http.get(link)
    assert done.json_body["state"] == "done"
    assert [each["class_name"] for each in done.json_body["result"]["detections"]] == ["scratch"]
    assert done.json_body["version"] == 1
    assert done.json_body["problem"] is None
    assert "Retry-After" not in done.headers
    annotated = annotated_key(done.json_body["prediction_id"])
    assert f"/{annotated}?" in done.json_body["links"]["annotated"]


def test_the_result_is_what_the_synchronous_call_answers(http: Client, path: QueuePath) -> None:
    prediction_id = path.send()
    path.work()
    image = path.services.uploads.get(path.record(prediction_id).key).body

    told = http.http.get(f"/v1/predictions/{prediction_id}").json_body["result"]
    synchronous = post(
        http, "/v1/models/scratch/detections", image, **{"Content-Type": "image/jpeg"}
    ).json_body

    assert (told.pop("prediction_id"), synchronous.pop("prediction_id")) == (prediction_id, None)
    for answer in (told, synchronous):
        assert set(answer.pop("timing_ms")) == {
            "decode",
            "preprocess",
            "inference",
            "postprocess",
        }
    assert told == synchronous


def test_a_failed_upload_says_why(http: Client, path: QueuePath) -> None:
    prediction_id = path.send(b"not a picture")
    path.work()

    told = http.http.get(f"/v1/predictions/{prediction_id}").json_body

    assert told["state"] == "failed"
    assert told["result"] is None
    assert (told["problem"]["title"], told["problem"]["status"]) == ("Not an image", 422)
    assert told["problem"]["type"] == "urn:sightloop:problem:not-an-image"


def test_the_correlation_id_travels_from_the_request_to_the_results(
    http: Client, path: QueuePath
) -> None:
    caller = {"X-Correlation-Id": "from-the-caller"}
    asked = post(http, "/v1/uploads", json.dumps(WANTED).encode(), **caller)
    key = asked.json_body["upload"]["fields"]["key"]
    path.tell(key, path.put(key))
    path.work()

    assert [each["correlation_id"] for each in path.results] == ["from-the-caller"]


def test_a_unicode_file_name_comes_back_as_it_was(http: Client) -> None:
    offered = ask(http, file_name="Étiquette 写真.jpg").json_body

    assert offered["upload"]["fields"]["key"].endswith("/Etiquette.jpg")
    told = http.http.get(offered["links"]["prediction"]).json_body
    assert told["file_name"] == "Étiquette 写真.jpg"


@pytest.mark.parametrize(
    ("changed", "status", "field"),
    [
        ({"model": "nothing"}, 404, "nothing"),
        ({"model": "../x"}, 400, "body.model"),
        ({"model": None}, 400, "body.model"),
        ({"file_name": ""}, 400, "body.file_name"),
        ({"file_name": "x" * 256}, 400, "body.file_name"),
        ({"file_name": 7}, 400, "body.file_name"),
        ({"content_type": "application/pdf"}, 400, "body.content_type"),
        ({"options": {"confidence": 2}}, 400, "body.options.confidence"),
        ({"options": {"confidance": 0.2}}, 400, "body.options.confidance"),
        ({"options": {"confidence": False}}, 400, "body.options.confidence"),
        ({"options": {"max_detections": "7"}}, 400, "body.options.max_detections"),
        ({"surprise": 1}, 400, "body.surprise"),
    ],
)
def test_a_request_that_cannot_be_met_is_named(
    http: Client, changed: dict[str, Any], status: int, field: str
) -> None:
    refused = ask(http, **changed)

    assert refused.status_code == status
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert field in refused.json_body["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"file_name": "\\ud800"}'])
def test_a_body_that_is_no_request_is_refused(http: Client, body: bytes) -> None:
    refused = post(http, "/v1/uploads", body)

    assert refused.status_code == 400


@pytest.mark.parametrize(
    "prediction_id", ["128d7c26-73c0-4bb6-8f23-b217ce3b2c00", "nonsense", "%00", "a" * 3000]
)
def test_an_unknown_prediction_is_not_found(http: Client, prediction_id: str) -> None:
    refused = http.http.get(f"/v1/predictions/{prediction_id}")

    assert refused.status_code == 404
    assert refused.json_body["title"] == "Prediction not found"


def test_a_number_smaller_than_the_table_can_hold_is_nothing(http: Client, path: QueuePath) -> None:
    offered = ask(http, options={"confidence": 5e-324, "iou": 2e-131})

    assert offered.status_code == 201
    options = path.record(offered.json_body["prediction_id"]).options
    assert (options.confidence, options.iou) == (0, 0)
