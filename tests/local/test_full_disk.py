"""A disk that is full: nothing is acknowledged that is not kept, and what was kept stays."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.disk import DiskSpace
from local.home import Home
from local.standin import REGION, StandIn, credentials

pytestmark = pytest.mark.stack
TABLE, BUCKET = "predictions", "uploads"


@pytest.fixture
def small_disk(home_folder: Path) -> Iterator[Path]:
    """Mount a disk of 3 MB, where that is allowed."""
    home_folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(home_folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing may be mounted here")
    yield home_folder
    subprocess.run(["umount", "-l", str(home_folder)], check=True)


@pytest.fixture
def client() -> Callable[[StandIn, str], Any]:
    def make(standin: StandIn, service: str) -> Any:
        keys = {name.lower(): value for name, value in credentials(standin.home).items()}
        config = Config(retries={"total_max_attempts": 1})
        url = standin.url
        return boto3.client(service, endpoint_url=url, region_name=REGION, config=config, **keys)

    return make


def fill(folder: Path) -> Path:
    """Write until nothing more fits."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(4096))
    return ballast


def test_the_console_says_once_that_the_disk_is_full_and_once_that_it_is_not(
    tmp_path: Path,
) -> None:
    free, lines = [10**9, 1000, 1000, 10**9, 10**9], list[str]()
    space = DiskSpace(tmp_path, lambda _: free.pop(0), lines.append)

    for _ in range(5):
        space.look()

    assert [str(tmp_path) in line for line in lines] == [True, True]
    assert ["is full" in line for line in lines] == [True, False]


def test_what_cannot_be_kept_is_not_acknowledged(
    small_disk: Path, client: Callable[[StandIn, str], Any]
) -> None:
    home = Home(small_disk)
    standin = StandIn(home)
    dynamodb, s3 = client(standin, "dynamodb"), client(standin, "s3")
    key = {"AttributeName": "id", "KeyType": "HASH"}
    dynamodb.create_table(
        TableName=TABLE,
        KeySchema=[key],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    ballast = fill(small_disk)

    items, objects = 0, 0
    with pytest.raises((ClientError, BotoCoreError)):
        for number in range(2000):
            put = {"id": {"S": str(number)}, "text": {"S": "x" * 1000}}
            dynamodb.put_item(TableName=TABLE, Item=put)
            items += 1
    with pytest.raises((ClientError, BotoCoreError)):
        for number in range(50):
            s3.put_object(Bucket=BUCKET, Key=str(number), Body=b"x" * 100_000)
            objects += 1
    standin.stop()  # while the disk is full
    ballast.unlink()

    again = StandIn(home)
    dynamodb, s3 = client(again, "dynamodb"), client(again, "s3")
    for number in range(items):
        assert "Item" in dynamodb.get_item(TableName=TABLE, Key={"id": {"S": str(number)}})
    for number in range(objects):
        assert s3.head_object(Bucket=BUCKET, Key=str(number))["ContentLength"] == 100_000
    again.stop()
    home.close()
