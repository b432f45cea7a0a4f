"""A form is good for one file: a second one changes nothing and does not stay."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from chalice.local import LambdaContext
from PIL import Image

from chalicelib.predictions import State
from chalicelib.predictions.keys import image_key
from chalicelib.predictions.triggers import on_upload
from tests.predictions.conftest import EVENTS, picture

QueuePath = Any


def other_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    return buffer.getvalue()


def put(path: QueuePath, key: str, body: bytes) -> dict[str, str]:
    """Put a file into the bucket; return what S3 tells of it."""
    made = path.clients["s3"].put_object(Bucket=path.settings.uploads_bucket, Key=key, Body=body)
    return {"eTag": made["ETag"].strip('"'), **_version(made)}


def _version(made: dict[str, Any]) -> dict[str, str]:
    return {"versionId": made["VersionId"]} if "VersionId" in made else {}


def tell(path: QueuePath, key: str, told: dict[str, str]) -> None:
    """Deliver the event of a file."""
    event = json.loads((EVENTS / "s3_post.json").read_text())
    event["Records"][0]["s3"]["object"].update(key=key, **told)
    event["Records"][0]["eventTime"] = path.clock.now.isoformat()
    on_upload(event, LambdaContext("on_upload", 512))


def versions(path: QueuePath, key: str) -> list[str]:
    listed = path.clients["s3"].list_object_versions(
        Bucket=path.settings.uploads_bucket, Prefix=key
    )
    return [each["VersionId"] for each in listed.get("Versions", [])]


def without_versions(path: QueuePath) -> None:
    path.clients["s3"].put_bucket_versioning(
        Bucket=path.settings.uploads_bucket, VersioningConfiguration={"Status": "Suspended"}
    )


def is_first(path: QueuePath, prediction_id: str) -> bool:
    kept = Image.open(io.BytesIO(path.stored(image_key(prediction_id))))
    return kept.size == Image.open(io.BytesIO(picture())).size


@pytest.mark.parametrize("when", ["before the first event", "queued", "done"])
def test_a_second_file_changes_nothing_and_is_deleted(path: QueuePath, when: str) -> None:
    held = path.offer().prediction
    first = put(path, held.key, picture())
    second = put(path, held.key, other_picture()) if when.startswith("before") else None
    tell(path, held.key, first)
    if when == "done":
        path.work()
    second = second or put(path, held.key, other_picture())
    tell(path, held.key, second)
    path.work()

    record = path.record(held.prediction_id)
    assert record.state is State.DONE
    assert is_first(path, held.prediction_id)
    assert versions(path, held.key) == [first["versionId"]]
    assert len(path.results) == 1


def test_the_event_that_comes_first_counts(path: QueuePath) -> None:
    """S3 may tell of two files in any order."""
    held = path.offer().prediction
    first, second = put(path, held.key, other_picture()), put(path, held.key, picture())

    tell(path, held.key, second)
    tell(path, held.key, first)
    path.work()

    assert path.record(held.prediction_id).state is State.DONE
    assert is_first(path, held.prediction_id)
    assert versions(path, held.key) == [second["versionId"]]


def test_the_same_event_again_deletes_nothing(path: QueuePath) -> None:
    held = path.offer().prediction
    told = put(path, held.key, picture())

    for _ in range(3):
        tell(path, held.key, told)
    path.work()

    assert versions(path, held.key) == [told["versionId"]]
    assert path.record(held.prediction_id).state is State.DONE


def test_without_versions_an_exchanged_file_is_refused(path: QueuePath) -> None:
    without_versions(path)
    held = path.offer().prediction
    tell(path, held.key, {"eTag": put(path, held.key, picture())["eTag"]})
    put(path, held.key, other_picture())

    path.work()

    record = path.record(held.prediction_id)
    assert record.state is State.FAILED
    assert record.problem
    assert "another file" in record.problem.detail


def test_without_versions_a_second_file_does_not_stay(path: QueuePath) -> None:
    without_versions(path)
    held = path.offer().prediction
    tell(path, held.key, {"eTag": put(path, held.key, picture())["eTag"]})
    path.work()

    tell(path, held.key, {"eTag": put(path, held.key, other_picture())["eTag"]})

    assert not path.services.uploads.has(held.key)
    assert path.record(held.prediction_id).state is State.DONE


def test_a_worker_that_is_faster_than_the_record_reads_what_the_record_will_name(
    path: QueuePath,
) -> None:
    """The message is sent before the record says so; two files' messages may be sent at once."""
    held = path.offer().prediction
    first, second = put(path, held.key, picture()), put(path, held.key, other_picture())
    for told in (first, second):
        tell(path, held.key, told)
        path.services.predictions_table.update(
            held, lambda old: old.model_copy(update={"state": State.WAITING, "etag": ""})
        )

    path.work()

    done = path.record(held.prediction_id)
    assert done.state is State.DONE
    assert done.object_version in (first["versionId"], second["versionId"])
    sizes = {first["versionId"]: picture(), second["versionId"]: other_picture()}
    expected = Image.open(io.BytesIO(sizes[done.object_version])).size
    assert Image.open(io.BytesIO(path.stored(image_key(held.prediction_id)))).size == expected


def test_a_form_lives_for_minutes(path: QueuePath) -> None:
    ticket = path.offer()

    assert (ticket.expires_at - path.clock.now).total_seconds() == 600
