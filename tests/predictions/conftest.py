"""A queue path over stand-ins of AWS, with a tiny real model behind it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import onnx
import pytest
from chalice.app import Chalice
from chalice.local import LambdaContext
from moto import mock_aws
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from chalicelib import wiring
from chalicelib.catalog import Catalog, Publisher
from chalicelib.inference import Inference, Look
from chalicelib.predictions import Prediction, Upload, UploadTicket
from chalicelib.predictions.triggers import blueprint, identify, on_upload, reconcile
from chalicelib.settings import Settings
from chalicelib.vision import DetectionOptions
from deploy.resources import ensure

EVENTS = Path(__file__).parent / "events"
SIDE = 64


def tiny_model(confidence: float = 0.9) -> bytes:
    """Return an ONNX detector that finds the same scratch and dent on every picture."""
    rows = [[8, 8, 24, 20, confidence, 0], [30, 30, 60, 50, 0.6, 1], [1, 1, 5, 5, 0.1, 0]]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["rows", "zero"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 3, 6])],
        [
            numpy_helper.from_array(np.array([rows], np.float32), "rows"),
            numpy_helper.from_array(np.array(0, np.float32), "nothing"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts = {"names": "{0: 'scratch', 1: 'dent'}", "stride": "32", "imgsz": str([SIDE, SIDE])}
    helper.set_model_props(model, {**facts, "task": "detect", "end2end": "True"})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def picture(
    size: tuple[int, int] = (SIDE, SIDE), kind: str = "JPEG", orientation: int | None = None
) -> bytes:
    """Return a picture's file."""
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, kind, exif=exif)
    return buffer.getvalue()


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TroubledInference(Inference):
    """The real thing, which counts its calls and fails when told to."""

    calls = 0
    fault: Exception | None = None
    boxes = 2

    def look(self, model: str, image: bytes, options: DetectionOptions) -> Look:
        self.calls += 1
        if self.fault:
            raise self.fault
        look = super().look(model, image, options)
        if self.boxes == 2:
            return look
        found = look.answer.detections
        many = found[np.arange(self.boxes) % len(found)]
        return replace(look, answer=replace(look.answer, detections=many))


class QueuePath:
    """The whole path from a form to an answer, driven by hand, one delivery at a time."""

    def __init__(self, clients: dict[str, Any], clock: Clock, settings: Settings) -> None:
        self.clients = clients
        self.clock = clock
        self.settings = settings
        self.services = wiring.Services(settings, clients, clock)
        self.services.catalog = Catalog(self.services.store, ttl_seconds=0)
        self.services.inference = TroubledInference(self.services.catalog, keep=1, threads=1)
        wiring.provide(self.services)
        self.publish(tiny_model())

    @property
    def inference(self) -> TroubledInference:
        return self.services.inference

    def publish(self, onnx: bytes) -> None:
        """Make weights the version of the model ``scratch`` that serves."""
        Publisher(self.services.store, self.services.catalog).publish("scratch", onnx, b"{}")

    def offer(self, **given: Any) -> UploadTicket:
        wanted = {"model": "scratch", "file_name": "tag.jpg", "content_type": "image/jpeg"}
        return self.services.upload_desk.offer(Upload(**{**wanted, **given}), "a-request")

    def put(self, key: str, body: bytes | None = None) -> str:
        """Put a file into the uploads bucket and return its ETag."""
        body = picture() if body is None else body
        put = self.clients["s3"].put_object(Bucket=self.settings.uploads_bucket, Key=key, Body=body)
        return str(put["ETag"]).strip('"')

    def tell(self, quoted_key: str, etag: str) -> None:
        """Deliver the S3 event of one object."""
        event = json.loads((EVENTS / "s3_post.json").read_text())
        event["Records"][0]["s3"]["object"].update(key=quoted_key, eTag=etag)
        event["Records"][0]["eventTime"] = self.clock.now.isoformat()
        on_upload(event, context())

    def send(self, body: bytes | None = None, **given: Any) -> str:
        """Ask for a form, use it, and deliver the event; return the prediction's id."""
        prediction = self.offer(**given).prediction
        self.tell(prediction.key, self.put(prediction.key, body))
        return prediction.prediction_id

    def receive(self, queue: str, hidden: int = 0) -> list[dict[str, Any]]:
        """Receive all messages of a queue, which stay there."""
        return (
            self.clients["sqs"]
            .receive_message(
                QueueUrl=self.url(queue),
                MaxNumberOfMessages=10,
                VisibilityTimeout=hidden,
                WaitTimeSeconds=0,
                AttributeNames=["All"],
            )
            .get("Messages", [])
        )

    def bodies(self, queue: str) -> list[dict[str, Any]]:
        return [json.loads(message["Body"]) for message in self.receive(queue)]

    def url(self, queue: str) -> str:
        return str(self.clients["sqs"].get_queue_url(QueueName=queue)["QueueUrl"])

    def post(self, body: str) -> None:
        """Put any text onto the identify queue."""
        url = self.url(self.settings.identify_queue)
        self.clients["sqs"].send_message(QueueUrl=url, MessageBody=body)

    def work(self) -> list[str]:
        """Deliver what is on the identify queue as one batch; return the bodies that failed.

        As AWS does: what did not fail is deleted, what failed comes again.
        """
        received = self.receive(self.settings.identify_queue)
        if not received:
            return []
        answer = identify(sqs_event(received), context())
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        for message in received:
            if message["MessageId"] not in failed:
                self.acknowledge(message)
        return [each["Body"] for each in received if each["MessageId"] in failed]

    def acknowledge(self, message: dict[str, Any]) -> None:
        self.clients["sqs"].delete_message(
            QueueUrl=self.url(self.settings.identify_queue), ReceiptHandle=message["ReceiptHandle"]
        )

    def reconcile(self) -> dict[str, int]:
        return dict(reconcile(json.loads((EVENTS / "scheduled.json").read_text()), context()))

    def record(self, prediction_id: str) -> Prediction:
        held = self.services.predictions_table.find(prediction_id)
        assert held, "there is no such record"
        return held

    def stored(self, key: str) -> bytes:
        return self.services.store.get(key).body

    @property
    def identify_queue(self) -> str:
        return self.settings.identify_queue

    @property
    def dead_letters(self) -> str:
        return f"{self.settings.identify_queue}-dlq"

    @property
    def results(self) -> list[dict[str, Any]]:
        return self.bodies(self.settings.results_queue)


def sqs_event(received: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the event in which Lambda hands over received messages."""
    template = json.loads((EVENTS / "sqs_batch.json").read_text())["Records"][0]
    return {
        "Records": [
            {
                **template,
                "messageId": each["MessageId"],
                "receiptHandle": each["ReceiptHandle"],
                "body": each["Body"],
                "attributes": each["Attributes"],
            }
            for each in received
        ]
    }


def context() -> LambdaContext:
    return LambdaContext("a-function", 3008, max_runtime_ms=120_000)


@pytest.fixture
def settings() -> Settings:
    return Settings.from_environment({})


@pytest.fixture
def path(clock: Clock, settings: Settings) -> Iterator[QueuePath]:
    Chalice("sightloop", configure_logs=False).register_blueprint(blueprint)
    with mock_aws():
        clients = {
            name: boto3.client(name, region_name=settings.region)
            for name in ("s3", "sqs", "dynamodb", "secretsmanager")
        }
        ensure(settings, clients.__getitem__)
        for bucket in (settings.uploads_bucket, settings.store_bucket):
            clients["s3"].delete_bucket_policy(Bucket=bucket)  # moto overlooks its condition
        made = QueuePath(clients, clock, settings)
        yield made
        wiring.provide(wiring.Services(settings))


@pytest.fixture
def make_model() -> Callable[..., bytes]:
    return tiny_model


@pytest.fixture
def make_picture() -> Callable[..., bytes]:
    return picture
