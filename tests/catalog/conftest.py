"""A store bucket that stands in for S3, and what publishes into it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.catalog import Catalog, Publisher
from chalicelib.database import Database
from chalicelib.storage import ObjectStore, StoredObject

REGION = "eu-central-1"
BUCKET = "a-store"


@dataclass
class Clock:
    """Monotonic seconds that pass only when told to."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


class OneAtATime(ObjectStore):
    """For moto, which does in steps what S3 does in one.

    It looks at the condition of a write before it writes, and closes what it overwrites under the
    hands of those who read it.
    """

    _acting = threading.RLock()

    def put_over(self, *given: Any, **named: Any) -> None:
        with self._acting:
            super().put_over(*given, **named)

    def get(self, key: str) -> StoredObject:
        with self._acting:
            return super().get(key)

    def get_if_changed(self, key: str, etag: str | None) -> StoredObject | None:
        with self._acting:
            return super().get_if_changed(key, etag)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with mock_aws():
        s3 = boto3.client("s3", region_name=REGION)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield OneAtATime(s3, BUCKET)


@pytest.fixture
def catalog(store: ObjectStore, clock: Clock) -> Catalog:
    return Catalog(store, ttl_seconds=15, clock=clock)


@pytest.fixture
def publisher(store: ObjectStore, catalog: Catalog) -> Publisher:
    return Publisher(store, catalog)


@pytest.fixture
def put_model(store: ObjectStore) -> Callable[..., None]:
    def put(text: str | bytes, name: str = "scratch") -> None:
        body = text if isinstance(text, bytes) else text.encode()
        store.put(f"models/{name}/model.yaml", body, "application/yaml")

    return put


@pytest.fixture
def database(new_database: Callable[..., str], migrated: str) -> Iterator[Database]:
    database = Database(new_database(template=migrated))
    yield database
    database.close()


class OrderedStore(ObjectStore):
    """The real seam, which lets a test step in before a key is written, copied or deleted."""

    def __init__(self, like: ObjectStore) -> None:
        super().__init__(like._s3, like.bucket)
        self.before: dict[str, Callable[[], Any]] = {}

    def put(self, key: str, *args: Any, **kwargs: Any) -> None:
        self.before.pop(key, lambda: None)()
        super().put(key, *args, **kwargs)

    def put_over(self, key: str, *args: Any, **kwargs: Any) -> None:
        self.before.pop(key, lambda: None)()
        super().put_over(key, *args, **kwargs)

    def copy(self, source: str, target: str) -> None:
        self.before.pop(target, lambda: None)()
        super().copy(source, target)

    def delete(self, key: str) -> None:
        self.before.pop(key, lambda: None)()
        super().delete(key)


@pytest.fixture
def ordered(store: ObjectStore) -> OrderedStore:
    return OrderedStore(store)
