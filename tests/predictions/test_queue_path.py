"""From a file in the bucket to its answer: once each, however often and in whatever order."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import pytest
from PIL import Image

from chalicelib.errors import InvalidModel, StorageUnavailable
from chalicelib.predictions import Options, ResultMessage, State
from chalicelib.predictions.keys import annotated_key, dropped_file_id, image_key, result_key
from chalicelib.settings import Settings

QueuePath = Any


def test_an_uploaded_picture_gets_its_answer(path: QueuePath) -> None:
    prediction_id = path.send()
    assert path.record(prediction_id).state is State.QUEUED

    assert path.work() == []

    view = path.services.predictions.read(prediction_id)
    assert view.prediction.state is State.DONE
    assert view.prediction.version == 1
    assert view.result["image"] == {"width": 64, "height": 64}
    assert [each["class_name"] for each in view.result["detections"]] == ["scratch", "dent"]
    assert path.receive(path.identify_queue) == []


def test_an_uploads_options_shape_what_is_shown_and_no_reference(path: QueuePath) -> None:
    prediction_id = path.send(options=Options(confidence=1))
    path.work()

    view = path.services.predictions.read(prediction_id)
    assert view.result["detections"] == []
    assert [each["class_name"] for each in view.reference] == ["scratch", "dent"]


def test_the_results_message_says_what_became_of_it(path: QueuePath) -> None:
    prediction_id = path.send()
    path.work()

    (told,) = path.results

    message = ResultMessage.model_validate(told)
    assert message.message_id == f"{prediction_id}:done"
    assert (message.state, message.version, message.file_name) == (State.DONE, 1, "tag.jpg")
    assert message.correlation_id == "a-request"


def test_both_pictures_are_kept(path: QueuePath, make_picture: Callable[..., bytes]) -> None:
    sent = make_picture((90, 60))
    prediction_id = path.send(sent)
    path.work()

    kept = Image.open(io.BytesIO(path.stored(image_key(prediction_id))))
    assert kept.tobytes() == Image.open(io.BytesIO(sent)).tobytes()
    annotated = Image.open(io.BytesIO(path.stored(annotated_key(prediction_id))))
    assert (annotated.format, annotated.size) == ("JPEG", (90, 60))


def test_a_picture_is_kept_upright(path: QueuePath, make_picture: Callable[..., bytes]) -> None:
    prediction_id = path.send(make_picture((90, 60), orientation=6))
    path.work()

    kept = Image.open(io.BytesIO(path.stored(image_key(prediction_id))))
    assert kept.size == (60, 90)
    assert 0x0112 not in kept.getexif()
    result = path.services.predictions.read(prediction_id).result
    assert result["image"] == {"width": 60, "height": 90}


def test_other_formats_are_kept_as_jpeg(
    path: QueuePath, make_picture: Callable[..., bytes]
) -> None:
    prediction_id = path.send(make_picture(kind="PNG"), content_type="image/png")
    path.work()

    assert Image.open(io.BytesIO(path.stored(image_key(prediction_id)))).format == "JPEG"


def test_a_picture_for_a_model_without_a_version_is_kept_to_be_labelled(
    path: QueuePath, make_picture: Callable[..., bytes]
) -> None:
    prediction_id = path.send(make_picture((90, 60), orientation=6), model="bolts", unseen=True)
    assert path.work() == []

    view = path.services.predictions.read(prediction_id)
    assert (view.prediction.state, view.prediction.version) == (State.DONE, 0)
    assert (view.result["detections"], view.result["version"]) == ([], 0)
    assert view.result["image"] == {"width": 60, "height": 90}
    assert Image.open(io.BytesIO(path.stored(image_key(prediction_id)))).size == (60, 90)
    assert path.inference.calls == 0
    assert path.results[0]["state"] == "done"


HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(500)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (HEIC, "not-an-image"),
        (b"<script>alert(1)</script>", "not-an-image"),
        (b"\xff\xd8\xff\xe0" + bytes(200), "not-an-image"),
        (b"PK\x03\x04" + bytes(100), "not-an-image"),
    ],
)
def test_what_cannot_be_labelled_fails_in_words(path: QueuePath, file: bytes, kind: str) -> None:
    prediction_id = path.send(file, model="bolts", unseen=True)
    assert path.work() == []

    held = path.record(prediction_id)
    assert held.state is State.FAILED
    assert held.problem.type.endswith(kind)
    assert "image" in held.problem.detail
    assert not held.problem.retry


def test_a_picture_that_breaks_off_fails_in_words(
    path: QueuePath, make_picture: Callable[..., bytes]
) -> None:
    prediction_id = path.send(make_picture((90, 60))[:-200], model="bolts", unseen=True)
    path.work()

    assert path.record(prediction_id).problem.type.endswith("truncated-image")


def test_a_bomb_for_a_model_without_a_version_fails_by_its_header(
    path: QueuePath, make_picture: Callable[..., bytes]
) -> None:
    path.services.worker._settings = path.settings.model_copy(update={"max_pixels": 1000})
    prediction_id = path.send(make_picture((90, 60)), model="bolts", unseen=True)
    path.work()

    assert "90x60 pixels" in path.record(prediction_id).problem.detail


def test_the_options_reach_the_detector(path: QueuePath) -> None:
    prediction_id = path.send(options=Options(confidence=0.05, max_detections=1))
    path.work()

    result = path.services.predictions.read(prediction_id).result
    assert [each["confidence"] for each in result["detections"]] == [0.9]


def test_an_event_that_comes_twice_is_one_message(path: QueuePath) -> None:
    prediction = path.offer().prediction
    etag = path.put(prediction.key)

    path.tell(prediction.key, etag)
    path.tell(prediction.key, etag)

    assert len(path.receive(path.identify_queue)) == 1


def test_a_message_that_comes_twice_is_one_inference(path: QueuePath) -> None:
    path.send()
    (message,) = path.receive(path.identify_queue)
    path.work()

    path.post(message["Body"])
    assert path.work() == []

    assert path.inference.calls == 1
    assert len(path.results) == 1


def test_an_event_after_the_answer_changes_nothing(path: QueuePath) -> None:
    prediction = path.offer().prediction
    etag = path.put(prediction.key)
    path.tell(prediction.key, etag)
    path.work()
    before = path.record(prediction.prediction_id)

    path.tell(prediction.key, etag)

    assert path.record(prediction.prediction_id) == before
    assert path.receive(path.identify_queue) == []


def test_a_message_that_overtakes_its_record_is_answered(path: QueuePath) -> None:
    prediction_id = path.send()
    path.clients["dynamodb"].delete_item(
        TableName=path.settings.predictions_table, Key={"prediction_id": {"S": prediction_id}}
    )

    assert path.work() == []

    assert path.record(prediction_id).state is State.DONE


def test_two_workers_at_once_leave_the_first_answer(
    path: QueuePath, make_model: Callable[..., bytes]
) -> None:
    prediction_id = path.send()
    (message,) = path.receive(path.identify_queue)
    look = path.inference.look

    def overtaken(*given: Any) -> Any:
        path.inference.look = look
        path.post(message["Body"])
        path.work()
        path.publish(make_model(confidence=0.8))
        return look(*given)

    path.inference.look = overtaken
    path.work()

    assert path.inference.calls >= 2
    assert path.record(prediction_id).version == 1
    assert {each["message_id"] for each in path.results} == {f"{prediction_id}:done"}


def test_a_result_too_long_for_the_record_is_read_from_the_store(path: QueuePath) -> None:
    prediction_id = path.send()
    path.inference.boxes = 3000

    path.work()

    assert path.record(prediction_id).result is None
    assert path.record(prediction_id).result_key == result_key(prediction_id)
    assert len(path.services.predictions.read(prediction_id).result["detections"]) == 3000


# What cannot be answered with boxes.


@pytest.mark.parametrize(
    ("body", "title"),
    [
        (b"", "Empty image"),
        (b"not a picture", "Not an image"),
        (b"\xff\xd8\xff\xe0" + b"\x00" * 40, "Not an image"),
    ],
)
def test_a_bad_upload_is_answered_at_once(path: QueuePath, body: bytes, title: str) -> None:
    prediction_id = path.send(body)

    assert path.work() == []

    held = path.record(prediction_id)
    assert held.state is State.FAILED
    assert held.problem.title == title
    assert path.results[0]["problem"]["title"] == title
    assert path.results[0]["message_id"] == f"{prediction_id}:failed"


def test_a_truncated_picture_is_answered_at_once(
    path: QueuePath, make_picture: Callable[..., bytes]
) -> None:
    prediction_id = path.send(make_picture((400, 400))[:900])

    assert path.work() == []

    assert path.record(prediction_id).problem.title == "Truncated image"


class TestSmallUploads:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings.from_environment({"SIGHTLOOP_MAX_UPLOAD_BYTES": "100"})

    def test_an_upload_over_the_limit_is_refused_even_if_the_bucket_let_it_in(
        self, path: QueuePath
    ) -> None:
        prediction_id = path.send()

        assert path.work() == []

        assert path.record(prediction_id).problem.status == 413
        assert path.inference.calls == 0


def test_an_upload_that_is_gone_is_answered(path: QueuePath) -> None:
    prediction_id = path.send()
    path.services.uploads.delete(path.record(prediction_id).key)

    assert path.work() == []

    assert path.record(prediction_id).problem.title == "Object not found"


def test_a_picture_longer_than_a_jpeg_can_be_is_answered(path: QueuePath) -> None:
    buffer = io.BytesIO()
    Image.new("L", (66_000, 10)).save(buffer, "PNG")
    prediction_id = path.send(buffer.getvalue())

    assert path.work() == []

    assert path.record(prediction_id).problem.title == "Invalid image"


def test_a_fault_of_ours_is_tried_again(path: QueuePath) -> None:
    prediction_id = path.send()
    path.inference.fault = StorageUnavailable("S3 is away")
    assert len(path.work()) == 1
    assert path.record(prediction_id).state is State.QUEUED
    assert path.results == []

    path.inference.fault = None
    assert path.work() == []

    assert path.record(prediction_id).state is State.DONE


def test_one_poisonous_message_does_not_hold_up_the_batch(path: QueuePath) -> None:
    good = [path.send(), path.send()]
    path.post("{ not json")

    assert path.work() == ["{ not json"]

    assert [path.record(each).state for each in good] == [State.DONE, State.DONE]


def test_a_malformed_message_ends_in_the_dead_letter_queue(path: QueuePath) -> None:
    path.post("{ not json")

    for _ in range(6):
        path.work()

    assert path.receive(path.identify_queue) == []
    assert [each["Body"] for each in path.receive(path.dead_letters)] == ["{ not json"]


def test_a_malformed_message_fails_the_prediction_that_it_names(path: QueuePath) -> None:
    prediction = path.offer().prediction
    path.post(json.dumps({"schema_version": 99, "prediction_id": prediction.prediction_id}))

    for _ in range(6):
        path.work()

    held = path.record(prediction.prediction_id)
    assert held.state is State.FAILED
    assert "not a IdentifyMessage: schema_version" in held.problem.detail
    assert len(path.receive(path.dead_letters)) == 1


@pytest.mark.parametrize(
    "fault", [RuntimeError("out of luck"), InvalidModel("broken"), StorageUnavailable("away")]
)
def test_poison_ends_in_the_dead_letter_queue_and_the_prediction_says_why(
    path: QueuePath, fault: Exception
) -> None:
    prediction_id = path.send()
    path.inference.fault = fault

    for _ in range(6):
        path.work()

    held = path.record(prediction_id)
    assert path.inference.calls == 5
    assert held.state is State.FAILED
    assert "given up after 5 attempts" in held.problem.detail
    assert path.results[0]["message_id"] == f"{prediction_id}:failed"
    assert len(path.receive(path.dead_letters)) == 1


def test_a_dead_letter_that_is_sent_again_can_still_be_answered(path: QueuePath) -> None:
    prediction_id = path.send()
    path.inference.fault = RuntimeError("a bug")
    for _ in range(6):
        path.work()

    path.inference.fault = None
    path.post(path.receive(path.dead_letters)[0]["Body"])
    assert path.work() == []

    assert path.record(prediction_id).state is State.DONE
    assert {each["message_id"] for each in path.results} == {
        f"{prediction_id}:failed",
        f"{prediction_id}:done",
    }


# Files put straight into the bucket.


@pytest.mark.parametrize(
    "key",
    [
        "uploads/scratch/anything/tag.jpg",
        "uploads/scratch/tag.jpg",
        "uploads/scratch/a/b/c/tag.jpg",
        "uploads/scratch/in box/Étiquette n°1 + süß (50%).jpg",
    ],
)
def test_a_dropped_file_gets_its_answer(path: QueuePath, key: str) -> None:
    etag = path.put(key)

    path.tell(quote_plus(key), etag)
    path.work()

    prediction_id = dropped_file_id(path.settings.uploads_bucket, key, etag)
    held = path.record(prediction_id)
    assert (held.state, held.model) == (State.DONE, "scratch")
    assert held.file_name == key.rpartition("/")[2]
    assert [(each["prediction_id"], each["key"]) for each in path.results] == [(prediction_id, key)]


def test_a_dropped_file_may_bring_its_own_id(path: QueuePath) -> None:
    prediction_id = "0b9f8c66-4d59-4b6f-8a52-1f6a7b3f1c11"
    key = f"uploads/scratch/{prediction_id}/tag.jpg"

    path.tell(key, path.put(key))
    path.work()

    assert path.record(prediction_id).state is State.DONE


def test_a_second_file_beside_an_upload_is_a_prediction_of_its_own(path: QueuePath) -> None:
    first = path.send()
    second = f"uploads/scratch/{first}/another.jpg"

    etag = path.put(second)
    path.tell(second, etag)
    path.work()

    assert path.record(first).key != second
    other = dropped_file_id(path.settings.uploads_bucket, second, etag)
    assert path.record(other).state is State.DONE


def test_the_same_file_dropped_twice_is_one_prediction(path: QueuePath) -> None:
    key = "uploads/scratch/tag.jpg"
    for _ in range(2):
        path.tell(key, path.put(key))
        path.work()

    assert path.inference.calls == 1


def test_another_file_under_the_same_key_is_another_prediction(
    path: QueuePath, make_picture: Callable[..., bytes]
) -> None:
    key = "uploads/scratch/tag.jpg"
    for size in ((64, 64), (32, 32)):
        path.tell(key, path.put(key, make_picture(size)))
        path.work()

    assert len({each["prediction_id"] for each in path.results}) == 2


def test_a_file_for_no_model_that_we_know_is_answered(path: QueuePath) -> None:
    key = "uploads/nothing/tag.jpg"
    etag = path.put(key)

    path.tell(key, etag)
    assert path.work() == []

    held = path.record(dropped_file_id(path.settings.uploads_bucket, key, etag))
    assert held.problem.title == "Model not found"


@pytest.mark.parametrize("key", ["uploads/tag.jpg", "uploads/scratch/", "uploads/scratch/a/"])
def test_what_names_no_model_or_no_file_is_left_alone(path: QueuePath, key: str) -> None:
    path.tell(key, path.put(key, b""))

    assert path.receive(path.identify_queue) == []
