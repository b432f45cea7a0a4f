"""A stack whose settings name a SageMaker endpoint: it detects, and is missed by nobody."""

from __future__ import annotations

import json
from typing import Any

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
Stack = Any
JPEG = {"Content-Type": "image/jpeg"}
DETECTIONS = "/v1/models/scratch/detections"


@pytest.fixture
def runtime(stack_with_endpoint: Stack) -> Any:
    """Return the client that users of SageMaker have."""
    ports = json.loads((stack_with_endpoint.home / "ports.json").read_text(encoding="utf-8"))
    url = f"http://127.0.0.1:{ports['sagemaker-runtime']}"
    return boto3.client("sagemaker-runtime", endpoint_url=url, region_name="eu-central-1")


def invoke(runtime: Any, body: bytes, attributes: str = "model=scratch", **more: str) -> Any:
    name = more.get("name", "an-endpoint")
    return runtime.invoke_endpoint(EndpointName=name, Body=body, CustomAttributes=attributes)


def loaded(stack: Stack, log: str) -> list[str]:
    return [line for line in stack.log(log) if "version loaded" in line]


def test_the_endpoint_detects_for_the_api_and_for_uploads(
    stack_with_endpoint: Stack, photo: bytes
) -> None:
    stack = stack_with_endpoint
    at_once = stack.post(DETECTIONS, data=photo, headers=JPEG).json()
    uploaded = stack.answer(stack.upload("tag.jpg", photo))["result"]

    assert at_once["detections"]
    assert uploaded["detections"] == at_once["detections"]
    assert stack.get("/healthz").json()["status"] == "ok"
    assert (len(loaded(stack, "endpoint")), loaded(stack, "app")) == (1, [])


def test_several_pictures_go_through_it_too(stack_with_endpoint: Stack, photo: bytes) -> None:
    files = [("image", (f"{n}.jpg", photo, "image/jpeg")) for n in range(3)]
    files.append(("image", ("bad.jpg", b"no image", "image/jpeg")))

    *found, bad = stack_with_endpoint.post(DETECTIONS, files=files).json()["results"]

    assert all(each["detections"] for each in found)
    assert bad["problem"]["type"] == "urn:sightloop:problem:not-an-image"


def test_it_can_be_asked_as_any_endpoint_of_sagemaker(
    stack_with_endpoint: Stack, runtime: Any, photo: bytes
) -> None:
    answered = json.loads(invoke(runtime, photo)["Body"].read())

    told = stack_with_endpoint.post(DETECTIONS, data=photo, headers=JPEG).json()
    assert answered["detections"] == told["detections"]
    assert answered["class_names"] == ["scratch"]


def test_its_faults_are_those_of_a_model(runtime: Any) -> None:
    with pytest.raises(runtime.exceptions.ModelError) as failed:
        invoke(runtime, b"no image")

    assert failed.value.response["OriginalStatusCode"] == 422
    told = json.loads(failed.value.response["OriginalMessage"])
    assert told["type"] == "urn:sightloop:problem:not-an-image"


def test_another_name_is_no_endpoint(runtime: Any, photo: bytes) -> None:
    with pytest.raises(ClientError, match="ValidationError"):
        invoke(runtime, photo, name="another")


def test_when_it_is_killed_this_machine_detects_by_itself(
    stack_with_endpoint: Stack, photo: bytes
) -> None:
    stack = stack_with_endpoint
    before = stack.post(DETECTIONS, data=photo, headers=JPEG).json()
    [server] = [
        each
        for each in psutil.Process(stack.process.pid).children(recursive=True)
        if each.cmdline()[1:2] == ["sagemaker/serving/server.py"]
    ]

    server.kill()
    after = stack.post(DETECTIONS, data=photo, headers=JPEG).json()

    assert after["detections"] == before["detections"]
    assert any("the endpoint does not answer" in line for line in stack.log("app"))
    assert len(loaded(stack, "app")) == 1
