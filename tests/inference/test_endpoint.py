"""Detections by a SageMaker endpoint: what it is asked, and what happens where it is silent."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from PIL import Image

from chalicelib.catalog import Catalog
from chalicelib.errors import (
    EndpointUnavailable,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
    NotAnImage,
    TruncatedImage,
)
from chalicelib.inference.endpoint import (
    LARGEST_BODY,
    PAUSE_SECONDS,
    Asked,
    Endpoint,
    EndpointInference,
)
from chalicelib.observability import bind_correlation_id
from chalicelib.settings import Settings
from chalicelib.vision import DetectionOptions, decode_image
from chalicelib.web import problems
from chalicelib.wiring import Services

Clock = Any
WatchedStore = Any
Publish = Callable[..., int]
OPTIONS = DetectionOptions()
FAR = [10.0, 20.0, 30.0, 40.0]  # a box that no model of these tests finds


def answer(version: int = 1, box: list[float] = FAR) -> dict[str, Any]:
    edges = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
    found = {"class_id": 0, "class_name": "scratch", "confidence": 0.5, "box": edges}
    return {
        "model": "scratch",
        "version": version,
        "image": {"width": 64, "height": 64},
        "detections": [found],
        "timing_ms": {"decode": 1.0, "preprocess": 2.0, "inference": 3.0, "postprocess": 4.0},
        "class_names": ["scratch", "dent"],
    }


def boxes(answered: Any) -> list[list[float]]:
    return list(answered.detections.xyxy.tolist())


def model_error(status: int, told: str) -> ClientError:
    """Return what boto3 raises where the container answers 4xx or 5xx."""
    response: Any = {
        "Error": {"Code": "ModelError", "Message": f"Received error ({status}) from primary"},
        "OriginalStatusCode": status,
        "OriginalMessage": told,
    }
    return ClientError(response, "InvokeEndpoint")


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "InvokeEndpoint")


class Runtime:
    """Answers as it is told, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.says: Callable[[dict[str, Any]], Any] = lambda _: answer()

    def invoke_endpoint(self, **given: Any) -> dict[str, Any]:
        self.asked.append(given)
        said = self.says(given)
        if isinstance(said, Exception):
            raise said
        return {"Body": BytesIO(said if isinstance(said, bytes) else json.dumps(said).encode())}

    def attributes(self) -> dict[str, list[str]]:
        return parse_qs(self.asked[-1]["CustomAttributes"])


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


@pytest.fixture
def inference(
    runtime: Runtime, catalog: Catalog, clock: Clock, publish: Publish
) -> EndpointInference:
    publish(0.9)
    return EndpointInference(Endpoint(runtime, "an-endpoint", clock), catalog, keep=2, threads=1)


@pytest.fixture
def image(make_picture: Callable[..., bytes]) -> bytes:
    return make_picture()


def test_the_endpoint_detects_and_nothing_is_loaded_here(
    inference: EndpointInference, store: WatchedStore, image: bytes
) -> None:
    answered = inference.detect("scratch", image, OPTIONS)

    told = answered.to_json()
    expected = answer()
    assert expected.pop("class_names") == [*answered.detections.class_names]
    assert told == expected
    assert store.weights_read == []


def test_the_endpoint_is_asked_for_what_the_caller_chose(
    inference: EndpointInference, runtime: Runtime, image: bytes
) -> None:
    bind_correlation_id("the-request")
    chosen = DetectionOptions(confidence=0.6, iou=0.3, max_detections=7)

    inference.detect("scratch", image, chosen)

    assert runtime.asked[-1]["EndpointName"] == "an-endpoint"
    assert runtime.asked[-1]["Body"] == image
    assert runtime.attributes() == {
        "model": ["scratch"],
        "version": ["1"],
        "confidence": ["0.6"],
        "iou": ["0.3"],
        "max_detections": ["7"],
        "correlation_id": ["the-request"],
    }


def test_boxes_at_the_services_options_come_with_the_callers_in_one_call(
    inference: EndpointInference, runtime: Runtime, image: bytes
) -> None:
    found = answer()["detections"]
    runtime.says = lambda _: {**answer(), "detections": [], "reference": found}

    look = inference.look("scratch", image, DetectionOptions(confidence=1))

    assert len(runtime.asked) == 1
    assert runtime.attributes()["reference"] == ["True"]
    assert look.answer.detections.to_json() == []
    assert look.answer.reference is not None
    assert look.answer.reference.to_json() == found
    assert "reference" not in look.answer.to_json()


def test_an_endpoint_without_a_reference_is_not_believed(
    inference: EndpointInference, runtime: Runtime, image: bytes
) -> None:
    look = inference.look("scratch", image, DetectionOptions(confidence=1))

    assert len(runtime.asked) == 1
    assert look.answer.reference is not None
    assert boxes(look.answer) == []
    assert look.answer.reference.xyxy.tolist() == [[8, 8, 24, 20]]


def test_an_id_of_any_length_fits_into_the_attributes(
    inference: EndpointInference, runtime: Runtime, image: bytes
) -> None:
    bind_correlation_id("x" * 5000)

    inference.detect("scratch", image, OPTIONS)

    assert len(runtime.asked[-1]["CustomAttributes"]) <= 1024


def test_a_look_brings_the_picture_along(
    inference: EndpointInference, make_picture: Callable[..., bytes]
) -> None:
    look = inference.look("scratch", make_picture((64, 48)), OPTIONS)

    assert look.answer.detections.to_json()[0]["box"]["x1"] == FAR[0]
    assert look.picture.size == (64, 48)


def test_a_picture_that_the_endpoint_cannot_read_is_the_callers_fault(
    inference: EndpointInference, runtime: Runtime, store: WatchedStore
) -> None:
    problem = problems.document(NotAnImage("the bytes are no JPEG")).model_dump_json()
    runtime.says = lambda _: model_error(422, problem)

    with pytest.raises(NotAnImage, match="the bytes are no JPEG"):
        inference.detect("scratch", b"x", OPTIONS)

    assert store.weights_read == []


@pytest.mark.parametrize(
    "said",
    [
        refusal("ValidationError"),
        refusal("ThrottlingException"),
        refusal("AccessDeniedException"),
        refusal("ServiceUnavailable"),
        ReadTimeoutError(endpoint_url="https://runtime.sagemaker"),
        model_error(500, "Traceback …"),
        model_error(503, json.dumps({"type": "urn:sightloop:problem:unavailable"})),
        model_error(422, json.dumps(["not a problem"])),
        b"<html>",
        b"[]",
        json.dumps({**answer(), "class_names": []}).encode(),
        json.dumps({**answer(), "image": {"width": 0, "height": 64}}).encode(),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "call",
    [
        lambda by, image: boxes(by.detect("scratch", image, OPTIONS)),
        lambda by, image: boxes(by.look("scratch", image, OPTIONS).answer),
        lambda by, image: boxes(*by.detect_each("scratch", [image], OPTIONS).answers),
        lambda by, image: by.prove("scratch"),
    ],
    ids=["detect", "look", "detect_each", "prove"],
)
def test_where_the_endpoint_is_silent_this_process_detects(
    inference: EndpointInference,
    runtime: Runtime,
    store: WatchedStore,
    image: bytes,
    said: Any,
    call: Callable[[EndpointInference, bytes], object],
) -> None:
    runtime.says = lambda _: said

    found = call(inference, image)

    assert found in (1, [[8.0, 8.0, 24.0, 20.0]])
    assert store.weights_read == ["models/scratch/versions/1/model.onnx"]


@pytest.mark.parametrize("confidence", [0.25, 1.0])
def test_a_silent_endpoint_costs_no_second_decode(
    inference: EndpointInference,
    runtime: Runtime,
    image: bytes,
    monkeypatch: pytest.MonkeyPatch,
    confidence: float,
) -> None:
    runtime.says = lambda _: refusal("ServiceUnavailable")
    opened: list[object] = []

    def opening(*args: Any, **settings: Any) -> Image.Image:
        opened.append(args)
        return open_image(*args, **settings)

    open_image = Image.open
    monkeypatch.setattr(Image, "open", opening)
    decode_image(image)
    files_per_decode = len(opened)
    opened.clear()

    look = inference.look("scratch", image, DetectionOptions(confidence=confidence))

    assert len(opened) == files_per_decode
    assert look.picture.size == (64, 64)
    assert look.answer.timing.decode > 0


def test_a_silent_endpoint_is_left_alone_for_a_moment(
    inference: EndpointInference, runtime: Runtime, clock: Clock, image: bytes
) -> None:
    runtime.says = lambda _: refusal("ServiceUnavailable")
    for _ in range(3):
        inference.detect("scratch", image, OPTIONS)
    assert len(runtime.asked) == 1

    runtime.says = lambda _: answer()
    clock.seconds += PAUSE_SECONDS
    answered = inference.detect("scratch", image, OPTIONS)

    assert answered.detections.xyxy.tolist() == [FAR]


def test_a_bad_picture_does_not_silence_the_endpoint(
    inference: EndpointInference, runtime: Runtime, image: bytes
) -> None:
    problem = problems.document(TruncatedImage("it breaks off")).model_dump_json()
    runtime.says = lambda _: model_error(422, problem)
    with pytest.raises(TruncatedImage):
        inference.detect("scratch", image, OPTIONS)

    runtime.says = lambda _: answer()

    assert inference.detect("scratch", image, OPTIONS).detections.xyxy.tolist() == [FAR]


def test_a_model_that_is_at_fault_there_silences_no_other(
    runtime: Runtime, clock: Clock, image: bytes
) -> None:
    problem = problems.document(ModelUnavailable("it does not load")).model_dump_json()
    endpoint = Endpoint(runtime, "an-endpoint", clock)
    runtime.says = lambda _: model_error(503, problem)
    for fault in ("it does not load", "a moment ago"):
        with pytest.raises(EndpointUnavailable, match=fault):
            endpoint.ask(image, Asked(model="broken"))
    assert len(runtime.asked) == 1

    runtime.says = lambda _: answer()
    assert endpoint.ask(image, Asked(model="scratch")).version == 1

    clock.seconds += PAUSE_SECONDS
    assert endpoint.ask(image, Asked(model="broken")).version == 1


def test_a_file_that_is_too_large_for_the_endpoint_is_looked_at_here(
    inference: EndpointInference, runtime: Runtime, image: bytes
) -> None:
    large = image + bytes(LARGEST_BODY)  # what is behind the end of a JPEG is left unread

    answered = inference.detect("scratch", large, OPTIONS)
    assert answered.detections.xyxy.tolist() == [[8.0, 8.0, 24.0, 20.0]]
    assert runtime.asked == []

    inference.detect("scratch", image, OPTIONS)
    assert len(runtime.asked) == 1


def test_an_unknown_model_is_no_question_for_the_endpoint(
    inference: EndpointInference, runtime: Runtime, image: bytes
) -> None:
    with pytest.raises(ModelNotFound):
        inference.detect("nobody", image, OPTIONS)

    assert runtime.asked == []


def test_several_pictures_keep_their_order_and_a_bad_one_spoils_no_other(
    inference: EndpointInference, runtime: Runtime, make_picture: Callable[..., bytes]
) -> None:
    problem = problems.document(NotAnImage("no image")).model_dump_json()

    def says(given: dict[str, Any]) -> Any:
        if given["Body"] == b"bad":
            return model_error(422, problem)
        return answer(box=[1.0, 2.0, 3.0, float(len(given["Body"]))])

    runtime.says = says
    images = [make_picture((64, 8 * n)) for n in range(1, 6)]

    batch = inference.detect_each("scratch", [*images, b"bad"], OPTIONS)

    *found, bad = batch.answers
    lowest = [each.detections.xyxy[0, 3] for each in found]  # type: ignore[union-attr]
    assert lowest == [len(each) for each in images]
    assert isinstance(bad, NotAnImage)
    assert batch.version == 1


def test_several_pictures_are_answered_by_one_version_though_another_begins_to_serve(
    inference: EndpointInference, runtime: Runtime, make_picture: Callable[..., bytes]
) -> None:
    first, *others = (make_picture((64, 8 * n)) for n in range(1, 4))
    runtime.says = lambda given: answer(version=1 if given["Body"] == first else 2)

    batch = inference.detect_each("scratch", [first, *others], OPTIONS)

    versions = {each.version for each in batch.answers}  # type: ignore[union-attr]
    assert versions == {batch.version}


def test_only_bad_pictures_are_answered_with_the_live_version(
    inference: EndpointInference, runtime: Runtime
) -> None:
    problem = problems.document(NotAnImage("no image")).model_dump_json()
    runtime.says = lambda _: model_error(422, problem)

    assert inference.detect_each("scratch", [b"a", b"b"], OPTIONS).version == 1


def test_health_asks_the_endpoint_once_for_each_version(
    inference: EndpointInference, runtime: Runtime, clock: Clock, publish: Publish
) -> None:
    runtime.says = lambda given: answer(int(parse_qs(given["CustomAttributes"])["version"][0]))
    assert [inference.prove("scratch") for _ in range(3)] == [1, 1, 1]
    assert len(runtime.asked) == 1

    publish(0.8)
    clock.seconds += 15

    assert inference.prove("scratch") == 2
    assert len(runtime.asked) == 2


def test_a_silent_endpoint_says_so_to_who_asks_it_directly(runtime: Runtime, clock: Clock) -> None:
    runtime.says = lambda _: refusal("ServiceUnavailable")
    endpoint = Endpoint(runtime, "an-endpoint", clock)

    with pytest.raises(EndpointUnavailable, match="an-endpoint"):
        endpoint.ask(b"x", Asked(model="scratch"))
    with pytest.raises(EndpointUnavailable, match="a moment ago"):
        endpoint.ask(b"x", Asked(model="scratch"))


def test_attributes_survive_the_header() -> None:
    asked = Asked(
        model="a-model_2", version=3, confidence=0.1, iou=1, max_detections=5, correlation_id="ü &="
    )

    header = asked.to_header()

    assert header.isascii() and " " not in header
    assert Asked.from_header(header) == asked


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("", "model"),
        ("model=../x", "model"),
        ("model=scratch&confidence=2", "confidence"),
        ("model=scratch&version=0", "version"),
        ("model=scratch&colour=red", "colour"),
    ],
)
def test_attributes_that_cannot_be_are_named(header: str, named: str) -> None:
    with pytest.raises(InvalidRequest, match=f"attribute {named}"):
        Asked.from_header(header)


@pytest.mark.parametrize(("name", "kind"), [("", "Inference"), ("e", "EndpointInference")])
def test_the_settings_say_who_detects(name: str, kind: str) -> None:
    services = Services(Settings(endpoint=name), {"s3": object(), "sagemaker-runtime": object()})

    assert type(services.inference).__name__ == kind
