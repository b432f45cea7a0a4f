"""Imports and exports over stand-ins of AWS and a real database, one delivery at a time."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import boto3
import numpy as np
import pytest
from chalice.app import Chalice
from chalice.local import LambdaContext
from moto import mock_aws
from PIL import Image

from chalicelib import wiring
from chalicelib.labels.transfers.records import Kind, Transfer
from chalicelib.labels.transfers.triggers import blueprint, on_import, work_jobs
from chalicelib.settings import Settings
from deploy.resources import ensure

MODEL, CLASSES = "tags", ("scratch", "dent")
LABEL = "0 0.500000 0.500000 0.250000 0.500000\n"
ME = "192.0.2.1"


def photo(seed: int, size: tuple[int, int] = (64, 48), kind: str = "JPEG") -> bytes:
    """Return a picture that looks like no other of another seed."""
    grain = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tags(count: int, first: int = 0) -> dict[str, bytes | str]:
    """Return files of so many labelled photos."""
    files: dict[str, bytes | str] = {}
    for number in range(first, first + count):
        files[f"images/{number:03}.jpg"] = photo(number)
        files[f"labels/{number:03}.txt"] = LABEL
    return files


@dataclass
class Way:
    """The whole way of imports and exports, driven by hand."""

    services: wiring.Services

    def offer(self, model: str = MODEL, **asked: Any) -> Transfer:
        return self.services.transfers.offer_import(model, ME, asked).transfer

    def put(self, held: Transfer, content: bytes) -> str:
        s3, bucket = self.services.client("s3"), self.services.settings.uploads_bucket
        return str(s3.put_object(Bucket=bucket, Key=held.key, Body=content)["ETag"]).strip('"')

    def tell(self, key: str, etag: str) -> None:
        """Deliver the S3 event of one object."""
        bucket = self.services.settings.uploads_bucket
        told = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key), "eTag": etag}}
        when = datetime.now(UTC).isoformat()
        on_import({"Records": [{"eventTime": when, "s3": told}]}, LambdaContext("on_import", 512))

    def send(self, files: Mapping[str, bytes | str] | bytes, **asked: Any) -> Transfer:
        """Ask for an import, send its ZIP and deliver the event."""
        held = self.offer(**asked)
        content = files if isinstance(files, bytes) else zipped(files)
        assert held.key
        self.tell(held.key, self.put(held, content))
        return held

    def messages(self) -> list[str]:
        """Return and remove what is on the queue of jobs, delayed or not."""
        sqs = self.services.client("sqs")
        url = sqs.get_queue_url(QueueName=self.services.settings.jobs_queue)["QueueUrl"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "0"})
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
        for each in found.get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        return [each["Body"] for each in found.get("Messages", [])]

    def deliver(self, body: str, seconds: float = 900) -> None:
        record = {"body": body, "receiptHandle": "x", "eventSource": "aws:sqs"}
        context = LambdaContext("work_jobs", 3008, max_runtime_ms=int(seconds * 1000))
        work_jobs({"Records": [record]}, context)

    def work(self, seconds: float = 900) -> int:
        """Deliver jobs until there are none; return how many there were."""
        count = 0
        while bodies := self.messages():
            for body in bodies:
                self.deliver(body, seconds)
                count += 1
            assert count < 100, "it goes on and on"
        return count

    def now(self, held: Transfer) -> Transfer:
        return self.services.transfers.find(held.transfer_id, held.kind)

    def bring(self, files: Mapping[str, bytes | str] | bytes, **asked: Any) -> Transfer:
        """Import a ZIP and return what became of it."""
        held = self.send(files, **asked)
        self.work()
        return self.now(held)

    def take(self, model: str = MODEL, **asked: Any) -> Transfer:
        """Export a dataset and return what became of it."""
        wanted = {"format": "yolo", "images": "included", **asked}
        held = self.services.transfers.ask_for_export(model, ME, wanted)
        self.work()
        return self.now(held)

    def sql(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        with self.services.database.transaction() as rows:
            rows.execute(statement, given)
            return list(rows.fetchall()) if rows.description else []

    def labels(self, model: str = MODEL) -> dict[str, str]:
        """Return the label of each image of a dataset by its sha256."""
        return dict(
            self.sql(
                """SELECT sha256, yolo FROM samples JOIN labels USING (label_id)
                   WHERE model = %s""",
                model,
            )
        )

    def files(self, prefix: str) -> set[str]:
        return {key.removeprefix(prefix) for key in self.services.store.keys(prefix)}

    def message(self, held: Transfer) -> str:
        return json.dumps({"kind": held.kind, "id": held.transfer_id})


@pytest.fixture
def way(new_database: Callable[..., str], migrated: str) -> Iterator[Way]:
    Chalice("sightloop", configure_logs=False).register_blueprint(blueprint)
    settings = Settings(database_url=new_database(template=migrated), live_version_ttl_seconds=0)
    with mock_aws():
        clients = {
            name: boto3.client(name, region_name=settings.region)
            for name in ("s3", "sqs", "dynamodb", "secretsmanager")
        }
        ensure(settings, clients.__getitem__)
        for bucket in (settings.uploads_bucket, settings.store_bucket):
            clients["s3"].delete_bucket_policy(Bucket=bucket)  # moto overlooks its condition
        services = wiring.Services(settings, clients)
        wiring.provide(services)
        services.pending_models.ask(MODEL, CLASSES, ME)
        yield Way(services)
        services.database.close()
        wiring.provide(wiring.Services(Settings()))


@pytest.fixture(scope="session")
def make_zip() -> Callable[..., bytes]:
    return zipped


@pytest.fixture(scope="session")
def make_photo() -> Callable[..., bytes]:
    return photo


@pytest.fixture(scope="session")
def make_tags() -> Callable[..., dict[str, bytes | str]]:
    return tags


@pytest.fixture(scope="session")
def kinds() -> type[Kind]:
    return Kind
