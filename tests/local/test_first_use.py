"""What a first user does with `make run`: photos in, boxes out, by every way in."""

from __future__ import annotations

import json
import socket
import time
from io import BytesIO
from typing import Any

import pytest
import requests
from PIL import Image

from chalicelib.predictions.keys import dropped_file_id

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
Stack = Any
UPLOADS = "sightloop-local-uploads"
JPEG = {"Content-Type": "image/jpeg"}
DETECTIONS = "/v1/models/scratch/detections"


def test_a_photo_gets_boxes(stack: Stack, photo: bytes) -> None:
    answer = stack.post(DETECTIONS, data=photo, headers=JPEG)

    assert answer.status_code == 200
    assert answer.json()["detections"][0]["class_name"] == "scratch"


def test_a_large_photo_goes_through_the_queue_and_gets_the_same_boxes(
    stack: Stack, photo: bytes
) -> None:
    told = stack.answer(stack.upload("tag.jpg", photo))

    at_once = stack.post(DETECTIONS, data=photo, headers=JPEG).json()
    assert told["state"] == "done"
    assert told["result"]["detections"] == at_once["detections"]


def test_the_annotated_picture_of_an_upload_can_be_fetched_by_its_link(
    stack: Stack, photo: bytes
) -> None:
    told = stack.answer(stack.upload("tag.jpg", photo))

    annotated = requests.get(told["links"]["annotated"], timeout=60)
    with Image.open(BytesIO(annotated.content)) as opened, Image.open(BytesIO(photo)) as sent:
        assert opened.format == "JPEG"
        assert opened.size == sent.size


@pytest.mark.parametrize("name", ["photo.jpg", "a+b %20.jpg", "ünï/日本 ☃.jpg", "%2e%2e&x=1.jpg"])
def test_a_file_dropped_into_the_bucket_is_answered(stack: Stack, photo: bytes, name: str) -> None:
    key = f"uploads/scratch/{time.time_ns()}/{name}"
    told = _drop(stack, key, photo)

    assert told["state"] == "done"
    assert told["result"]["detections"]


def test_a_file_that_is_no_image_is_answered_with_the_reason(stack: Stack) -> None:
    key = f"uploads/scratch/{time.time_ns()}/notes.txt"
    told = _drop(stack, key, b"no image at all")

    assert told["state"] == "failed"
    assert told["problem"]["title"] == "Not an image"


def _drop(stack: Stack, key: str, content: bytes) -> dict[str, Any]:
    """Put a file into the bucket without asking; return what became of it."""
    put = stack.client("s3").put_object(Bucket=UPLOADS, Key=key, Body=content)
    return dict(stack.answer(dropped_file_id(UPLOADS, key, put["ETag"].strip('"'))))


def test_a_call_leaves_a_log_line_with_its_correlation_id(stack: Stack) -> None:
    bound = "a-test-of-the-log-0001"
    answer = stack.get("/healthz", headers={"X-Correlation-Id": bound})

    assert answer.headers["X-Correlation-Id"] == bound
    lines = [json.loads(line) for line in stack.log("app") if bound in line]
    assert [line["message"] for line in lines] == ["answered"]


def test_the_page_and_the_document_of_the_api_are_served(stack: Stack) -> None:
    assert "<!doctype html>" in stack.get("/").text.lower()
    assert stack.get("/openapi.json").json()["openapi"].startswith("3.1")


def test_a_body_over_the_limit_is_told_where_to_go(stack: Stack) -> None:
    answer = stack.post(DETECTIONS, data=bytes(11 * 1024 * 1024), headers=JPEG)

    assert answer.status_code == 413
    assert "/v1/uploads" in answer.json()["detail"]


def test_a_chunked_body_is_read(stack: Stack, photo: bytes) -> None:
    parts = (photo[at : at + 1000] for at in range(0, len(photo), 1000))

    assert stack.post(DETECTIONS, data=parts, headers=JPEG).json()["detections"]


def test_head_answers_without_a_body_and_keeps_the_connection(stack: Stack) -> None:
    port = int(stack.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for method in ("HEAD", "GET"):
            head = f"{method} /healthz HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"
            connection.sendall(head.encode())
        answered = b""
        while answered.count(b"HTTP/1.1 200") < 2 or not answered.endswith(b"}"):
            answered += connection.recv(65536)

    head, get = answered.split(b"HTTP/1.1 200")[1:]
    assert head.endswith(b"\r\n\r\n")
    assert get.endswith(b"}")
