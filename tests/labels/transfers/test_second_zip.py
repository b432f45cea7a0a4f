"""An import reads the ZIP that came first: a second one changes nothing and does not stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chalicelib.labels.transfers.records import State

Way = Any


def put(way: Way, key: str, body: bytes) -> tuple[str, str]:
    """Put a ZIP into the bucket; return its ETag and version."""
    s3, bucket = way.services.client("s3"), way.services.settings.uploads_bucket
    made = s3.put_object(Bucket=bucket, Key=key, Body=body)
    return made["ETag"], made["VersionId"]


def versions(way: Way, key: str) -> list[str]:
    s3, bucket = way.services.client("s3"), way.services.settings.uploads_bucket
    listed = s3.list_object_versions(Bucket=bucket, Prefix=key)
    return [each["VersionId"] for each in listed.get("Versions", [])]


def test_a_zip_that_is_sent_again_changes_nothing_and_is_deleted(
    way: Way, make_zip: Callable[..., bytes], make_tags: Callable[..., dict[str, bytes | str]]
) -> None:
    held = way.offer()
    first = put(way, held.key, make_zip(make_tags(3)))
    way.services.transfers.receive(held.key, *first)
    second = put(way, held.key, make_zip(make_tags(5)))
    way.services.transfers.receive(held.key, *second)

    way.work()
    done = way.now(held)

    assert done.state is State.DONE
    assert done.found["images"] == 3
    assert versions(way, held.key) == [first[1]]


def test_a_zip_that_is_exchanged_while_it_is_checked_is_not_read(
    way: Way, make_zip: Callable[..., bytes], make_tags: Callable[..., dict[str, bytes | str]]
) -> None:
    held = way.offer()
    first = put(way, held.key, make_zip(make_tags(3)))
    way.services.transfers.receive(held.key, *first)
    put(way, held.key, b"no ZIP at all")

    way.work()
    done = way.now(held)

    assert done.state is State.DONE
    assert done.found["images"] == 3


def test_the_same_event_again_deletes_nothing(
    way: Way, make_zip: Callable[..., bytes], make_tags: Callable[..., dict[str, bytes | str]]
) -> None:
    held = way.offer()
    first = put(way, held.key, make_zip(make_tags(2)))

    for _ in range(3):
        way.services.transfers.receive(held.key, *first)

    assert versions(way, held.key) == [first[1]]
