"""A large object in S3, read here and there."""

from __future__ import annotations

import doctest
import io
import random
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from chalicelib.errors import Conflict, ObjectNotFound
from chalicelib.labels.transfers import checked, records
from chalicelib.labels.transfers.ranged import RangedObject
from chalicelib.storage import ObjectStore

CONTENT = random.Random(1).randbytes(100_003)


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="a-bucket")
        yield ObjectStore(s3, "a-bucket")


def opened(store: ObjectStore, content: bytes = CONTENT, kept: int = 4) -> RangedObject:
    store.put("large", content, "application/zip")
    etag = store.get("large").etag.strip('"')
    return RangedObject(store, "large", etag, len(content), piece=1000, kept=kept)


def test_it_reads_as_a_file_does(store: ObjectStore) -> None:
    file, real = opened(store), io.BytesIO(CONTENT)
    dice = random.Random(2)

    for _ in range(200):
        whence = dice.choice([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END])
        base = {io.SEEK_SET: 0, io.SEEK_CUR: real.tell(), io.SEEK_END: len(CONTENT)}[whence]
        to = dice.randrange(len(CONTENT) + 50)
        size = dice.choice([0, 1, 10, 999, 1000, 5000])
        assert file.seek(to - base, whence) == real.seek(to - base, whence)
        assert file.read(size) == real.read(size)
        assert file.tell() == real.tell()
    file.seek(90_000)
    assert file.read() == CONTENT[90_000:]
    assert file.read(5) == b""


def test_what_was_read_lately_is_not_asked_for_again(store: ObjectStore) -> None:
    file = opened(store)

    for place in (10, 50_010, 20, 50_020) * 5:  # images in one folder, labels in another
        file.seek(place)
        file.read(100)

    assert file.reads == 2


def test_no_more_is_kept_than_a_few_pieces(store: ObjectStore) -> None:
    file = opened(store, kept=3)

    file.read()

    assert len(file._pieces) == 3


def test_before_the_start_there_is_nothing(store: ObjectStore) -> None:
    with pytest.raises(ValueError, match="before the start"):
        opened(store).seek(-1)


def test_another_object_under_the_same_key_is_not_read(store: ObjectStore) -> None:
    file = opened(store)
    store.put("large", CONTENT[::-1], "application/zip")

    with pytest.raises(Conflict):
        file.read(10)


def test_one_that_is_gone_is_told(store: ObjectStore) -> None:
    file = opened(store)
    store.delete("large")

    with pytest.raises(ObjectNotFound):
        file.read(10)


@pytest.mark.parametrize("module", [checked, records])
def test_the_examples_in_the_documentation_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0
