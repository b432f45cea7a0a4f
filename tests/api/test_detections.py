"""`POST /v1/models/{model}/detections`: images in by any way, boxes or a picture out."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageChops

from chalicelib.vision import DetectionOptions

Caller = Any
Stack = Any
MakePicture = Callable[..., bytes]

PATH = "/v1/models/scratch/detections"
WIDE = (128, 64)
FORM = "multipart/form-data; boundary=cut"


@pytest.fixture
def image(make_picture: MakePicture) -> bytes:
    return make_picture(WIDE)


def form(*files: tuple[str, bytes]) -> bytes:
    parts = [
        f'--cut\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    return b"".join(parts) + b"--cut--\r\n"


def as_json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("JPEG", "image/jpeg"),
        ("JPEG", "image/jpg"),
        ("JPEG", "Image/JPEG; charset=binary"),
        ("JPEG", "application/octet-stream"),
        ("JPEG", "application/x-www-form-urlencoded"),
        ("JPEG", "image/png"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("BMP", "image/bmp"),
        ("BMP", "image/x-ms-bmp"),
        ("JPEG", None),
    ],
)
def test_an_image_is_sent_as_its_own_bytes(
    call: Caller, make_picture: MakePicture, kind: str, content_type: str | None
) -> None:
    headers = {"content_type": content_type} if content_type else {}

    answer = call("POST", PATH, make_picture(WIDE, kind), **headers)

    assert answer.status == 200
    assert answer.type == "application/json"
    assert answer.json["image"] == {"width": 128, "height": 64}
    assert (answer.json["model"], answer.json["version"]) == ("scratch", 1)
    assert answer.json["detections"][0] == {
        "class_id": 0,
        "class_name": "scratch",
        "confidence": pytest.approx(0.9),
        "box": {"x1": 16.0, "y1": 16.0, "x2": 48.0, "y2": 40.0},
    }
    assert [each["class_name"] for each in answer.json["detections"]] == ["scratch", "dent"]
    assert set(answer.json["timing_ms"]) == {"decode", "preprocess", "inference", "postprocess"}


def test_boxes_are_of_the_upright_picture(call: Caller, make_picture: MakePicture) -> None:
    answer = call("POST", PATH, make_picture(WIDE, orientation=6), content_type="image/jpeg")

    assert answer.json["image"] == {"width": 64, "height": 128}


@pytest.mark.parametrize("body", ["form", "base64", "base64 in lines", "data URL"])
def test_other_ways_to_send_an_image_give_the_same(call: Caller, image: bytes, body: str) -> None:
    content_type, sent = {
        "form": (FORM, form(("tag.jpg", image))),
        "base64": ("application/json", as_json(image=encoded(image))),
        "base64 in lines": (
            "application/json; charset=utf-8",
            as_json(image=base64.encodebytes(image).decode()),
        ),
        "data URL": ("application/json", as_json(image="data:image/jpeg;base64," + encoded(image))),
    }[body]
    plain = call("POST", PATH, image, content_type="image/jpeg").json

    answer = call("POST", PATH, sent, content_type=content_type)

    assert answer.status == 200
    assert answer.json["detections"] == plain["detections"]
    assert answer.json["image"] == plain["image"]


@pytest.mark.parametrize("way", ["form", "json"])
def test_several_images_are_answered_in_order_and_a_bad_one_spoils_no_other(
    call: Caller, image: bytes, make_picture: MakePicture, way: str
) -> None:
    files = [
        ("a.jpg", image),
        ("Étiquette 写真.jpg", image[:-30]),
        ("c.png", make_picture((64, 64))),
    ]
    if way == "form":
        answer = call("POST", PATH, form(*files), content_type=FORM)
    else:
        parts = [{"name": name, "data": encoded(data)} for name, data in files]
        answer = call("POST", PATH, as_json(images=parts), content_type="application/json")

    assert answer.status == 200
    assert answer.json["version"] == 1
    results = answer.json["results"]
    assert [result["name"] for result in results] == ["a.jpg", "Étiquette 写真.jpg", "c.png"]
    assert results[0]["image"] == {"width": 128, "height": 64}
    assert results[1]["problem"]["type"] == "urn:sightloop:problem:truncated-image"
    assert results[1]["problem"]["status"] == 422
    assert results[1]["problem"]["correlation_id"] == answer.headers["x-correlation-id"]
    assert len(results[2]["detections"]) == 2


def test_a_list_of_one_is_answered_by_a_list_of_one(call: Caller, image: bytes) -> None:
    body = as_json(images=[{"data": encoded(image)}])

    answer = call("POST", PATH, body, content_type="application/json")

    assert [result["name"] for result in answer.json["results"]] == ["0"]


@pytest.mark.parametrize(
    ("query", "classes"),
    [
        ("", ["scratch", "dent"]),
        ("?confidence=0.7", ["scratch"]),
        ("?confidence=0.95", []),
        ("?confidence=0", ["scratch", "dent"]),
        ("?max_detections=1", ["scratch"]),
        ("?confidence=0.1&iou=1&max_detections=1000", ["scratch", "dent"]),
    ],
)
def test_options_come_by_the_query(
    call: Caller, image: bytes, query: str, classes: list[str]
) -> None:
    answer = call("POST", PATH + query, image, content_type="image/jpeg")

    assert [each["class_name"] for each in answer.json["detections"]] == classes


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("confidence=2", "query.confidence"),
        ("confidence=-0.1", "query.confidence"),
        ("confidence=nan", "query.confidence"),
        ("confidence=high", "query.confidence"),
        ("confidence=", "query.confidence"),
        ("iou=1.01", "query.iou"),
        ("max_detections=0", "query.max_detections"),
        ("max_detections=1001", "query.max_detections"),
        ("max_detections=2.5", "query.max_detections"),
        ("confidance=0.5", "query.confidance"),
    ],
)
def test_an_option_that_cannot_be_is_named(
    call: Caller, image: bytes, query: str, named: str
) -> None:
    answer = call("POST", f"{PATH}?{query}", image, content_type="image/jpeg")

    assert answer.status == 400
    assert answer.json["type"] == "urn:sightloop:problem:invalid-fields"
    assert [fault["where"] for fault in answer.json["faults"]] == [named]


def test_all_options_that_cannot_be_are_named_at_once(call: Caller, image: bytes) -> None:
    answer = call("POST", f"{PATH}?confidence=2&iou=x&what=1", image, content_type="image/jpeg")

    assert len(answer.json["faults"]) == 3


@pytest.mark.parametrize("accept", ["image/jpeg", "image/*", "application/json;q=0.5, image/jpeg"])
def test_the_annotated_picture_comes_by_accept(
    call: Caller, make_picture: MakePicture, accept: str
) -> None:
    sent = make_picture((320, 160), orientation=8)

    answer = call("POST", PATH, sent, content_type="image/jpeg", accept=accept)

    assert (answer.status, answer.type) == (200, "image/jpeg")
    assert answer.headers["cache-control"] == "no-store"
    drawn = Image.open(io.BytesIO(answer.body))
    assert drawn.size == (160, 320)
    red, green, _ = drawn.split()
    assert ImageChops.difference(red, green).getbbox()  # what was sent is grey: colour is ours


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/*;q=0.1"])
def test_boxes_come_otherwise(call: Caller, image: bytes, accept: str | None) -> None:
    headers = {"accept": accept} if accept else {}

    assert call("POST", PATH, image, content_type="image/jpeg", **headers).type == (
        "application/json"
    )


def test_what_cannot_be_answered_is_not_acceptable(call: Caller, image: bytes) -> None:
    answer = call("POST", PATH, image, content_type="image/jpeg", accept="image/png")

    assert answer.status == 406
    assert answer.type == "application/problem+json"
    assert "image/jpeg" in answer.json["detail"]


def test_several_annotated_pictures_are_not_acceptable(call: Caller, image: bytes) -> None:
    body = form(("a.jpg", image), ("b.jpg", image))

    answer = call("POST", PATH, body, content_type=FORM, accept="image/jpeg")

    assert answer.status == 406
    assert "send one" in answer.json["detail"]


@pytest.mark.parametrize(
    "content_type",
    [
        "image/gif",
        "image/heic",
        "text/plain",
        "application/pdf",
        "multipart/mixed; boundary=cut",
        "nonsense",
    ],
)
def test_a_type_that_we_do_not_read_is_refused(
    call: Caller, image: bytes, content_type: str
) -> None:
    answer = call("POST", PATH, image, content_type=content_type)

    assert answer.status == 415
    assert content_type.split(";", maxsplit=1)[0] in answer.json["detail"]
    assert "image/jpeg" in answer.json["detail"]


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda image: b"", "empty-image"),
        (lambda image: b"\x00" * 100, "not-an-image"),
        (lambda image: b"<html></html>", "not-an-image"),
        (lambda image: image[:-30], "truncated-image"),
    ],
    ids=["empty", "zeros", "a page", "cut short"],
)
def test_bytes_that_are_no_picture_are_named(
    call: Caller, image: bytes, spoil: Callable[[bytes], bytes], kind: str
) -> None:
    answer = call("POST", PATH, spoil(image), content_type="image/jpeg")

    assert answer.status == 422
    assert answer.json["type"] == f"urn:sightloop:problem:{kind}"


def test_an_animation_is_refused(call: Caller) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])

    answer = call("POST", PATH, buffer.getvalue(), content_type="image/webp")

    assert (answer.status, answer.json["title"]) == (422, "Animated image")


def test_a_decompression_bomb_is_refused(call: Caller, stack: Stack) -> None:
    buffer = io.BytesIO()
    Image.new("1", (10_000, 8_001)).save(buffer, "PNG")

    answer = call("POST", PATH, buffer.getvalue(), content_type="image/png")

    assert answer.status == 422
    assert answer.json["type"] == "urn:sightloop:problem:too-many-pixels"
    assert str(stack.services.settings.max_pixels) in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"\xff\xfe", "body"),
        (b"{}", "image"),
        (b'{"image": ""}', "body.image"),
        (b'{"image": 7}', "body.image"),
        (b'{"image": "not base64!"}', "body.image"),
        (b'{"images": []}', "body.images"),
        (b'{"images": ["YWJj"]}', "body.images.0"),
        (b'{"images": [{"data": "?"}]}', "body.images.0.data"),
        (b'{"image": "YWJj", "images": [{"data": "YWJj"}]}', "either"),
        (b'{"image": "YWJj", "surprise": 1}', "body.surprise"),
    ],
)
def test_json_that_cannot_be_is_named(call: Caller, body: bytes, named: str) -> None:
    answer = call("POST", PATH, body, content_type="application/json")

    assert answer.status == 400
    assert named in answer.json["detail"]


@pytest.mark.parametrize(
    "body",
    [
        as_json(**{f"surprise-{number}": 0 for number in range(50_000)}),
        as_json(**{"x" * 4_000_000: 0}),
        b'{"image":' + b"[" * 100_000,
        as_json(images=[0] * 100_000),
    ],
    ids=["many fields", "a long name", "deep", "many images"],
)
def test_a_hostile_body_is_refused_in_few_words(call: Caller, body: bytes) -> None:
    answer = call("POST", PATH, body, content_type="application/json")

    assert answer.status == 400
    assert len(answer.body) < 100_000


def test_a_compressed_body_is_refused(call: Caller, image: bytes) -> None:
    sent = gzip.compress(image)

    answer = call("POST", PATH, sent, content_type="image/jpeg", content_encoding="gzip")

    assert answer.status == 415
    assert "'gzip'" in answer.json["detail"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", form(("a.jpg", b"x"))),
        (FORM, b""),
        (FORM, b"--cut--\r\n"),
        (FORM, form(("a.jpg", b"x"))[:-9]),
        (FORM, b'--cut\r\nContent-Disposition: form-data; name="iou"\r\n\r\n1\r\n--cut--\r\n'),
    ],
)
def test_a_form_that_cannot_be_read_is_refused(
    call: Caller, content_type: str, body: bytes
) -> None:
    answer = call("POST", PATH, body, content_type=content_type)

    assert answer.status == 400
    assert "form" in answer.json["detail"]


def test_a_body_over_the_limit_is_sent_to_uploads(call: Caller, stack: Stack) -> None:
    most = stack.services.settings.max_body_bytes

    answer = call("POST", PATH, b"\xff" * (most + 1), content_type="image/jpeg")

    assert answer.status == 413
    assert answer.json["type"] == "urn:sightloop:problem:payload-too-large"
    assert "POST /v1/uploads" in answer.json["detail"]
    assert str(most) in answer.json["detail"]


def test_a_body_at_the_limit_is_looked_at(call: Caller, stack: Stack, image: bytes) -> None:
    most = stack.services.settings.max_body_bytes

    answer = call("POST", PATH, image.ljust(most, b"\0"), content_type="image/jpeg")

    assert answer.status == 200


def test_more_images_than_a_call_carries_are_refused(
    call: Caller, stack: Stack, image: bytes
) -> None:
    count = stack.services.settings.max_images_per_call + 1
    parts = [{"data": encoded(image)}] * count

    for content_type, body in (
        (FORM, form(*[("a.jpg", image)] * count)),
        ("application/json", as_json(images=parts)),
    ):
        answer = call("POST", PATH, body, content_type=content_type)
        assert answer.status == 413
        assert f"at most {count - 1} images" in answer.json["detail"]


@pytest.mark.parametrize("name", ["nothing", "%2e%2e", "Scratch"])
def test_an_unknown_model_is_not_found(call: Caller, image: bytes, name: str) -> None:
    answer = call("POST", f"/v1/models/{name}/detections", image, content_type="image/jpeg")

    assert answer.status == 404
    assert answer.json["type"] == "urn:sightloop:problem:model-not-found"


def test_the_picture_of_a_large_image_fits_an_answer(call: Caller, stack: Stack) -> None:
    noise = Image.effect_noise((3000, 2000), 120).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG", quality=50)
    assert len(buffer.getvalue()) < stack.services.settings.max_body_bytes

    answer = call("POST", PATH, buffer.getvalue(), content_type="image/jpeg", accept="image/jpeg")

    assert (answer.status, answer.type) == (200, "image/jpeg")
    assert len(answer.body) <= stack.services.settings.max_body_bytes


def test_the_bundled_model_finds_scratches_on_a_sample(
    call: Caller, stack: Stack, sample: bytes, bundled: bytes
) -> None:
    stack.publish(bundled, "bundled")

    answer = call("POST", "/v1/models/bundled/detections", sample, content_type="image/jpeg")

    detected = stack.services.inference.detect("bundled", sample, DetectionOptions())
    assert answer.json["detections"] == detected.detections.to_json()
    assert {each["class_name"] for each in answer.json["detections"]} == {"scratch"}
