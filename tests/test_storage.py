"""The seam to S3, over a stand-in: what it keeps, and how S3's errors become ours."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from chalicelib.aws import translated
from chalicelib.errors import (
    ConfigurationError,
    Conflict,
    ObjectNotFound,
    SightloopError,
    StorageUnavailable,
)
from chalicelib.storage import ObjectStore

REGION = "eu-central-1"


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with mock_aws():
        s3 = boto3.client("s3", region_name=REGION)
        s3.create_bucket(
            Bucket="a-bucket", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield ObjectStore(s3, "a-bucket")


def test_an_object_comes_back_as_it_went_in(store: ObjectStore) -> None:
    store.put("a/ü key.jpg", b"bytes", "image/jpeg", {"origin": "test"})

    found = store.get("a/ü key.jpg")

    assert (found.body, found.content_type) == (b"bytes", "image/jpeg")
    assert found.metadata == {"origin": "test"}
    assert store.size("a/ü key.jpg") == 5


def test_an_unchanged_object_is_not_read_again(store: ObjectStore) -> None:
    store.put("key", b"one", "text/plain")
    known = store.get("key").etag

    assert store.get_if_changed("key", known) is None

    store.put("key", b"two", "text/plain")
    changed = store.get_if_changed("key", known)
    assert changed is not None
    assert changed.body == b"two"


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound, match="models/x"):
        store.get("models/x")
    with pytest.raises(ObjectNotFound, match="models/x"):
        store.size("models/x")


def test_deleting_twice_is_no_error(store: ObjectStore) -> None:
    store.put("key", b"one", "text/plain")

    store.delete("key")
    store.delete("key")

    assert list(store.keys("")) == []


def test_folders_and_keys_are_listed_past_one_page(store: ObjectStore) -> None:
    for index in range(1001):
        store.put(f"models/m{index:04}/model.yaml", b"", "text/plain")

    assert len(list(store.keys("models/"))) == 1001
    assert list(store.folders("models/"))[:2] == ["m0000", "m0001"]


def test_a_missing_bucket_is_a_configuration_error(store: ObjectStore) -> None:
    elsewhere = ObjectStore(store._s3, "no-such-bucket")

    with pytest.raises(ConfigurationError):
        elsewhere.put("key", b"", "text/plain")


def test_a_dead_endpoint_is_unavailable_and_worth_a_retry() -> None:
    config = Config(connect_timeout=1, retries={"total_max_attempts": 1})
    s3 = boto3.client("s3", region_name=REGION, endpoint_url="http://127.0.0.1:9", config=config)

    with pytest.raises(StorageUnavailable) as raised:
        ObjectStore(s3, "a-bucket").get("key")

    assert raised.value.retry


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("NoSuchKey", ObjectNotFound),
        ("404", ObjectNotFound),
        ("NoSuchBucket", ConfigurationError),
        ("AccessDenied", ConfigurationError),
        ("ResourceNotFoundException", ConfigurationError),
        ("PreconditionFailed", Conflict),
        ("ConditionalRequestConflict", Conflict),
        ("SlowDown", StorageUnavailable),
        ("InternalError", StorageUnavailable),
    ],
)
def test_every_kind_of_foreign_error_has_its_own(code: str, ours: type[SightloopError]) -> None:
    foreign = ClientError({"Error": {"Code": code, "Message": "x"}}, "GetObject")

    with pytest.raises(ours), translated(StorageUnavailable, "reading x"):
        raise foreign


def test_an_object_is_written_over_only_while_it_is_the_one_that_was_read(
    store: ObjectStore,
) -> None:
    store.put_over("key", b"first", "text/plain", etag=None)
    first = store.get("key").etag
    store.put_over("key", b"second", "text/plain", etag=first)

    for etag in (None, first):
        with pytest.raises(Conflict):
            store.put_over("key", b"third", "text/plain", etag=etag)
    with pytest.raises(Conflict):
        store.put_over("gone", b"x", "text/plain", etag=first)

    assert store.get("key").body == b"second"
