"""A store bucket with models in it, and a clock that stands until it is moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import boto3
import pytest
from moto import mock_aws

from chalicelib.catalog import Catalog, Publisher
from chalicelib.storage import ObjectStore, StoredObject

REGION = "eu-central-1"
BUCKET = "a-store"


@dataclass
class Clock:
    """Monotonic seconds that pass only when told to."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


class WatchedStore(ObjectStore):
    """The real seam, which notes whose weights are read and can be stopped or broken there."""

    def __init__(self, s3: object, bucket: str) -> None:
        super().__init__(s3, bucket)
        self.weights_read: list[str] = []
        self.before_weights: Callable[[], None] = lambda: None

    def get(self, key: str) -> StoredObject:
        if key.endswith(".onnx"):
            self.weights_read.append(key)
            self.before_weights()
        return super().get(key)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Iterator[WatchedStore]:
    with mock_aws():
        s3 = boto3.client("s3", region_name=REGION)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield WatchedStore(s3, BUCKET)


@pytest.fixture
def catalog(store: WatchedStore, clock: Clock) -> Catalog:
    return Catalog(store, ttl_seconds=15, clock=clock)


@pytest.fixture
def publish(store: WatchedStore, make_model: Callable[..., bytes]) -> Callable[..., int]:
    """Publish a version that finds one scratch with a confidence of its own."""

    def publish(confidence: float = 0.9, name: str = "scratch") -> int:
        onnx = make_model(((8, 8, 24, 20, confidence, 0),))
        made = Publisher(store, Catalog(store, 0)).publish(name, onnx, b"{}")
        store.weights_read.clear()
        assert made.live_version
        return made.live_version

    return publish


@pytest.fixture
def break_live_version(
    store: WatchedStore, make_model: Callable[..., bytes]
) -> Callable[[bytes | None], None]:
    """Put other weights under the version that serves, as no publisher would.

    None: weights that load, but do not run.
    """

    def put(onnx: bytes | None) -> None:
        live = Catalog(store, 0).require("scratch")
        body = make_model(runs=False) if onnx is None else onnx
        store.put(live.onnx_key, body, "application/octet-stream")

    return put
