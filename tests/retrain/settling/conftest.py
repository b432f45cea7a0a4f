"""A training that has output, and who settles it over a real database and a stand-in for S3."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import boto3
import pytest
from moto import mock_aws

from chalicelib.catalog import Catalog, Publisher
from chalicelib.catalog.version_records import VersionRecord, VersionRecords
from chalicelib.database import Database
from chalicelib.labels.waited import waited
from chalicelib.retrain.gate import Terms
from chalicelib.retrain.job import Job, State
from chalicelib.retrain.keys import output_key
from chalicelib.retrain.measured import Evidence, LiveMetrics
from chalicelib.retrain.settle import Settlement
from chalicelib.storage import ObjectStore
from tests.retrain.told import evidence

REGION = "eu-central-1"
NAMES = ("scratch", "dent")


def metrics(*aps: float | None, **other: Any) -> dict[str, Any]:
    """Return what was measured of a version by the AP50-95 of its classes."""
    found = [ap for ap in aps if ap is not None]
    mean = sum(found) / len(found) if found else None
    rows = [
        {"class_id": n, "class_name": NAMES[n], "AP50": ap, "AP50-95": ap, "boxes": 9}
        for n, ap in enumerate(aps)
    ]
    told = {"mAP50": mean, "mAP50-95": mean, "per_class": rows, "validation_set_size": 20}
    return told | other


class Store(ObjectStore):
    """The real seam, which lets a test step in before something is written, copied or deleted."""

    def __init__(self, s3: Any, bucket: str) -> None:
        super().__init__(s3, bucket)
        self.before: Callable[[str, str], None] = lambda what, key: None

    def put(self, key: str, *args: Any, **kwargs: Any) -> None:
        self.before("put", key)
        super().put(key, *args, **kwargs)

    def put_over(self, key: str, *args: Any, **kwargs: Any) -> None:
        self.before("put", key)
        super().put_over(key, *args, **kwargs)

    def copy(self, source: str, target: str) -> None:
        self.before("copy", target)
        super().copy(source, target)

    def delete(self, key: str) -> None:
        self.before("delete", key)
        super().delete(key)


@dataclass
class Beside:
    """Who measures versions that began to serve meanwhile: at what a test says."""

    store: Store
    aps: dict[int, tuple[float | None, ...]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def measure(self, job: Job, version: int) -> tuple[LiveMetrics, Evidence] | None:
        self.asked.append(version)
        if version not in self.aps:
            return None
        live = self.aps[version]
        told = json.loads(self.store.get(output_key(job.job_id, "metrics.json")).body)
        new = [row["AP50-95"] for row in told["per_class"]]
        return (
            LiveMetrics.model_validate(metrics(*live, version=version)),
            Evidence.model_validate(evidence(new, live)),
        )


@dataclass
class Bench:
    """Everything around one settlement."""

    store: Store
    catalog: Catalog
    publisher: Publisher
    database: Database
    settlement: Settlement
    beside: Beside
    make_model: Callable[..., bytes]
    minutes: list[int] = field(default_factory=lambda: [0])

    def onnx(self, confidence: float = 0.9) -> bytes:
        return self.make_model(((8, 8, 24, 20, confidence, 0),))

    def publish(self, confidence: float) -> None:
        told = json.dumps(metrics(0.4, 0.4)).encode()
        self.publisher.publish("scratch", self.onnx(confidence), told)

    def trained(
        self,
        new: tuple[float | None, ...],
        live: tuple[float | None, ...] | None = None,
        base: int | None = 1,
        **other: Any,
    ) -> Job:
        """Return a job whose trainer has put its output into the store."""
        job_id = uuid4()
        told = metrics(*new)
        told["parity"] = {"largest_difference": 0.0001, "mAP50-95": told["mAP50-95"]}
        told["live"] = metrics(*live, version=base) if live else None
        told["evidence"] = evidence(new, live) if live else None
        files = {
            "model.onnx": other.pop("onnx", None) or self.onnx(0.7),
            "best.pt": b"weights",
            "metrics.json": json.dumps(told).encode(),
        }
        for name, body in files.items():
            ObjectStore.put(self.store, output_key(job_id, name), body, "application/octet-stream")
        return self.job(job_id, base, **other)

    def job(self, job_id: UUID, base: int | None, **other: Any) -> Job:
        now = datetime(2026, 11, 21, 9, tzinfo=UTC)
        told: dict[str, Any] = {
            "job_id": job_id,
            "model": "scratch",
            "kind": "fine_tune" if base else "first",
            "state": State.FINISHING,
            "launcher": "process",
            "external_id": None,
            "base_version": base,
            "dataset_sha256": "ab" * 32,
            "dataset_revision": 17,
            "hyperparameters": {},
            "requested_by": "the schedule",
            "reason": "16 new images",
            "epoch": 20,
            "epochs": 20,
            "eta_seconds": None,
            "starts": 1,
            "cancel_requested": False,
            "version": None,
            "outcome": None,
            "verdict": None,
            "created_at": now,
            "launched_at": now,
            "heard_at": now,
            "ended_at": None,
        }
        return Job(**(told | other))

    def records(self) -> list[VersionRecord]:
        return VersionRecords(self.database).of("scratch")

    def live(self) -> int | None:
        return Catalog(self.store, 0).get("scratch").live_version

    def rows(self, statement: str, **given: Any) -> list[tuple[Any, ...]]:
        with self.database.transaction() as rows:
            rows.execute(statement, given or None)
            return list(rows.fetchall()) if rows.description else []


@pytest.fixture
def bench(
    make_model: Callable[..., bytes], new_database: Callable[..., str], migrated: str
) -> Iterator[Bench]:
    """Version 1 of `scratch` serves."""
    with mock_aws():
        s3 = boto3.client("s3", region_name=REGION)
        s3.create_bucket(Bucket="a-store", CreateBucketConfiguration={"LocationConstraint": REGION})
        store, database = Store(s3, "a-store"), Database(new_database(template=migrated))
        catalog, minutes = Catalog(store, 0), [0]

        def now() -> datetime:
            minutes[0] += 1
            return datetime(2026, 11, 21, 10, tzinfo=UTC) + timedelta(minutes=minutes[0])

        publisher, beside = Publisher(store, catalog, database, now), Beside(store)
        how_long = partial(waited, database)
        settlement = Settlement(store, publisher, database, Terms(), beside, how_long)
        made = Bench(store, catalog, publisher, database, settlement, beside, make_model, minutes)
        made.publish(0.9)
        yield made
        database.close()
