"""Token buckets: never more than there is, however many take at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from chalicelib.errors import DatabaseUnavailable, PayloadTooLarge
from chalicelib.quotas import IMPORT_BYTES, KEPT, KINDS, UPLOADS, Quotas
from chalicelib.refusals import TooManyRequests
from chalicelib.settings import Settings
from deploy.resources import LIMITS_KEY, ensure_table

ADDRESS, USER, OPERATOR = "203.0.113.7", "user:ann", "operator:olga"


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: datetime = field(default_factory=lambda: datetime(2026, 11, 30, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def dynamodb() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-central-1")
        ensure_table(client, Settings().limits_table, LIMITS_KEY, protected=False)
        yield client


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(quotas: Quotas, caller: str, times: int) -> int:
    """Take one upload so many times; return how often that worked."""
    count = 0
    for _ in range(times):
        try:
            quotas.take(UPLOADS, caller)
        except TooManyRequests:
            continue
        count += 1
    return count


def test_a_bucket_gives_what_it_holds_and_refills_evenly(dynamodb: Any, clock: Clock) -> None:
    quotas = Quotas(dynamodb, Settings(quota_uploads=60, quota_seconds=600), clock)

    assert taken(quotas, ADDRESS, 80) == 60
    with pytest.raises(TooManyRequests) as refused:
        quotas.take(UPLOADS, ADDRESS)
    assert refused.value.retry_after == 10
    clock.forward(refused.value.retry_after)
    assert taken(quotas, ADDRESS, 5) == 1
    clock.forward(100)
    assert taken(quotas, ADDRESS, 30) == 10
    clock.forward(100_000)
    assert taken(quotas, ADDRESS, 80) == 60


def test_threads_at_once_take_no_more_than_there_is(dynamodb: Any, clock: Clock) -> None:
    quotas = Quotas(dynamodb, Settings(quota_uploads=25), clock)

    with ThreadPoolExecutor(16) as pool:
        counts = list(pool.map(lambda _: taken(quotas, ADDRESS, 5), range(16)))

    assert sum(counts) == 25


def test_callers_have_buckets_of_their_own_and_users_larger_ones(
    dynamodb: Any, clock: Clock
) -> None:
    quotas = Quotas(dynamodb, Settings(quota_uploads=3, quota_token_factor=5), clock)

    assert taken(quotas, ADDRESS, 20) == 3
    assert taken(quotas, "203.0.113.8", 20) == 3
    assert taken(quotas, USER, 20) == 15
    assert taken(quotas, OPERATOR, 200) == 200


def test_many_addresses_together_leave_something_to_those_with_a_token(
    dynamodb: Any, clock: Clock
) -> None:
    quotas = Quotas(dynamodb, Settings(quota_uploads=2, quota_everyone_factor=10), clock)

    counts = [taken(quotas, f"198.51.100.{n}", 3) for n in range(60)]

    assert sum(counts) == 20
    assert taken(quotas, USER, 3) == 3


def test_who_is_refused_for_others_keeps_what_is_theirs(dynamodb: Any, clock: Clock) -> None:
    quotas = Quotas(dynamodb, Settings(quota_uploads=2, quota_everyone_factor=1), clock)
    assert taken(quotas, "198.51.100.1", 2) == 2

    assert taken(quotas, ADDRESS, 5) == 0
    clock.forward(600)
    assert taken(quotas, ADDRESS, 5) == 2


def test_import_forms_cost_what_they_may_bring(dynamodb: Any, clock: Clock) -> None:
    quotas = Quotas(dynamodb, Settings(quota_import_bytes=1000), clock)

    quotas.take(IMPORT_BYTES, ADDRESS, 700)
    with pytest.raises(TooManyRequests):
        quotas.take(IMPORT_BYTES, ADDRESS, 301)
    quotas.take(IMPORT_BYTES, ADDRESS, 300)
    with pytest.raises(PayloadTooLarge):
        quotas.take(IMPORT_BYTES, ADDRESS, 1001)
    clock.forward(86_400 / 2)
    quotas.take(IMPORT_BYTES, ADDRESS, 499)


class Away:
    """DynamoDB that does not answer."""

    class exceptions:  # noqa: N801 - botocore's name
        class ConditionalCheckFailedException(Exception):
            pass

    def update_item(self, **_: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://dynamodb")


def test_without_its_table_forms_are_refused_and_detections_go_on(clock: Clock) -> None:
    quotas = Quotas(Away(), Settings(), clock)

    with pytest.raises(DatabaseUnavailable):
        quotas.take(UPLOADS, ADDRESS)
    quotas.take(KEPT, ADDRESS)
    quotas.take(UPLOADS, OPERATOR)


def test_without_quotas_nobody_is_counted(clock: Clock) -> None:
    Quotas(Away(), Settings(quotas=False), clock).take(UPLOADS, ADDRESS)


def test_every_kind_has_its_setting() -> None:
    named = {f"quota_{kind.name}" for kind in KINDS}

    assert {name for name in Settings.model_fields if name.startswith("quota_")} - named == {
        "quota_seconds",
        "quota_token_factor",
        "quota_everyone_factor",
    }
    assert named <= set(Settings.model_fields)
