"""A detection that is kept can be shown and corrected like one that came by upload."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from chalicelib.errors import InvalidImage
from chalicelib.predictions.keys import annotated_key, image_key

Gateway = Any
Stack = Any
MakePicture = Callable[..., bytes]

DETECTIONS = "/v1/models/scratch/detections"
WORDY = "/v1/models/wordy/detections"


def detect(gateway: Gateway, image: bytes, query: str = "?keep=true", **headers: str) -> Any:
    return gateway("POST", DETECTIONS + query, image, content_type="image/jpeg", **headers)


def test_what_is_kept_is_answered_as_it_was(gateway: Gateway, sample: bytes) -> None:
    told = detect(gateway, sample, "?keep=true&confidence=0.7")
    kept = gateway("GET", told.headers["location"].removeprefix("/api")).json

    assert told.status == 200
    assert kept["result"] == told.json
    assert (kept["prediction_id"], kept["state"]) == (told.json["prediction_id"], "done")
    assert (kept["model"], kept["version"], kept["problem"]) == ("scratch", 1, None)
    assert [each["class_name"] for each in kept["result"]["detections"]] == ["scratch"]


def test_what_it_is_judged_against_is_kept_and_not_shown(
    gateway: Gateway, stack: Stack, sample: bytes
) -> None:
    told = detect(gateway, sample, "?keep=true&confidence=1")
    kept = gateway("GET", told.headers["location"].removeprefix("/api")).json

    view = stack.services.predictions.read(told.json["prediction_id"])
    own = detect(gateway, sample, "").json["detections"]
    assert told.json["detections"] == kept["result"]["detections"] == []
    assert view.reference == own != []
    assert "reference" not in kept["result"]


def test_its_pictures_are_those_an_upload_leaves(
    gateway: Gateway, stack: Stack, make_picture: MakePicture
) -> None:
    lying = make_picture((60, 40), "JPEG", 6)
    prediction_id = detect(gateway, lying).json["prediction_id"]

    for key in (image_key(prediction_id), annotated_key(prediction_id)):
        stored = Image.open(io.BytesIO(stack.services.store.get(key).body))
        assert (stored.format, stored.size) == ("JPEG", (40, 60))


def test_an_upright_jpeg_is_kept_byte_for_byte(
    gateway: Gateway, stack: Stack, sample: bytes
) -> None:
    prediction_id = detect(gateway, sample).json["prediction_id"]

    assert stack.services.store.get(image_key(prediction_id)).body == sample


@pytest.mark.parametrize("query", ["", "?keep=false"])
def test_nothing_is_kept_unasked(gateway: Gateway, stack: Stack, sample: bytes, query: str) -> None:
    before = list(stack.services.store.keys("predictions/"))
    told = detect(gateway, sample, query)

    assert told.json["prediction_id"] is None
    assert "location" not in told.headers
    assert list(stack.services.store.keys("predictions/")) == before


def test_keeping_changes_no_box(gateway: Gateway, sample: bytes) -> None:
    for query in ("", "?iou=0.1", "?max_detections=1"):
        plain = detect(gateway, sample, query).json
        kept = detect(gateway, sample, (query or "?") + "&keep=true").json
        assert kept["detections"] == plain["detections"]


def test_the_picture_may_be_asked_for_and_kept(
    gateway: Gateway, stack: Stack, sample: bytes
) -> None:
    drawn = detect(gateway, sample, accept="image/jpeg")

    prediction_id = drawn.headers["location"].rpartition("/")[2]
    assert drawn.body == stack.services.store.get(annotated_key(prediction_id)).body
    assert drawn.body == detect(gateway, sample, "", accept="image/jpeg").body


def test_several_images_are_not_kept_in_one_call(gateway: Gateway, sample: bytes) -> None:
    two = b"".join(
        b'--cut\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        + sample
        + b"\r\n"
        for _ in range(2)
    )
    told = gateway(
        "POST",
        f"{DETECTIONS}?keep=true",
        two + b"--cut--\r\n",
        content_type="multipart/form-data; boundary=cut",
    )

    assert (told.status, told.json["type"]) == (400, "urn:sightloop:problem:invalid-request")
    assert "one by one" in told.json["detail"]


def test_a_bad_image_leaves_nothing(gateway: Gateway, stack: Stack) -> None:
    before = list(stack.services.store.keys("predictions/"))

    assert detect(gateway, b"no image").status == 422
    assert list(stack.services.store.keys("predictions/")) == before


def test_an_image_for_a_model_without_a_version_is_kept_unseen(
    gateway: Gateway, stack: Stack, make_picture: MakePicture
) -> None:
    kept = stack.services.keeper.keep_unseen("bolts", make_picture((90, 70)), "a-call")
    told = gateway("GET", f"/v1/predictions/{kept.prediction_id}").json

    assert (told["model"], told["version"], told["state"]) == ("bolts", 0, "done")
    assert told["result"]["detections"] == []
    assert told["result"]["image"] == {"width": 90, "height": 70}
    with pytest.raises(InvalidImage):
        stack.services.keeper.keep_unseen("bolts", b"no image", "a-call")


def test_a_result_too_long_for_a_record_is_kept_beside_it(
    gateway: Gateway, stack: Stack, make_model: Callable[..., bytes], sample: bytes
) -> None:
    rows = tuple((8 + n / 9, 8, 24 + n / 9, 20, 0.9, 0) for n in range(700))
    stack.publish(make_model(rows, names=("ä" * 40, "dent")), "wordy")
    told = gateway(
        "POST", f"{WORDY}?keep=true&iou=1&max_detections=700", sample, content_type="image/jpeg"
    )
    kept = gateway("GET", f"/v1/predictions/{told.json['prediction_id']}").json

    held = stack.services.predictions_table.find(told.json["prediction_id"])
    assert held.result is None
    assert len(told.json["detections"]) == 700
    assert kept["result"] == json.loads(told.body)
