"""Training jobs on a real PostgreSQL, with labels that the planner counts."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib import wiring
from chalicelib.database import Database
from chalicelib.retrain.job import Job, Terms
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.settings import Settings
from deploy.resources import ensure

ADD_IMAGES = """
WITH sample AS (
    INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key)
    SELECT %(model)s, sha256, 'jpg', 64, 64, %(side)s, decode(repeat('00', 32), 'hex'), 'gone'
    FROM unnest(%(names)s::text[]) AS named (sha256)
    RETURNING sample_id),
label AS (
    INSERT INTO labels (sample_id, yolo, boxes, origin)
    SELECT sample_id, '0 0.5 0.5 0.2 0.2', 1, 'import' FROM sample
    RETURNING label_id, sample_id)
SELECT label_id, sample_id FROM label
"""
ADD_MODEL = """
INSERT INTO models (name, class_names, live_version) VALUES (%s, ARRAY['scratch'], %s)
"""
ADD_VERSION = """
INSERT INTO model_versions (model, version, sha256, dataset_revision)
VALUES (%s, %s, repeat('0', 64), %s)
"""
REVISION = "SELECT last_value FROM dataset_revision"


@pytest.fixture
def database(new_database: Callable[..., str], migrated: str) -> Iterator[Database]:
    made = Database(new_database(template=migrated))
    yield made
    made.close()


@pytest.fixture
def services(
    database: Database, make_model: Callable[..., bytes], add_images: Callable[..., None]
) -> Iterator[wiring.Services]:
    """Return the services over stand-ins, with a model `scratch` that serves and has images."""
    with mock_aws():
        settings = Settings(launcher="process", database_url=database.require())
        names = ("s3", "sqs", "dynamodb", "secretsmanager")
        clients = {name: boto3.client(name, region_name=settings.region) for name in names}
        ensure(settings, clients.__getitem__)
        for bucket in (settings.uploads_bucket, settings.store_bucket):
            clients["s3"].delete_bucket_policy(Bucket=bucket)  # moto overlooks its condition
        made = wiring.Services(settings, clients)
        made.publisher.publish("scratch", make_model(names=("scratch", "dent")), b"{}")
        add_images("scratch", "train", 3)
        add_images("scratch", "valid", 2)
        wiring.provide(made)
        yield made
        made.database.close()
    wiring.provide(wiring.Services(Settings()))


@pytest.fixture
def jobs(database: Database) -> TrainingJobs:
    return TrainingJobs(database)


@pytest.fixture
def settings() -> Settings:
    return Settings(launcher="process")


@pytest.fixture
def make_job(jobs: TrainingJobs, settings: Settings) -> Callable[..., Job]:
    """Make a job that waits to be launched."""

    def make(model: str = "scratch", **given: Any) -> Job:
        told = {"launcher": "process", "by": "planner", "reason": "it has enough", **given}
        made = jobs.create(model, Terms.of(1, settings), **told)
        assert made
        return made

    return make


@pytest.fixture
def add_images(database: Database) -> Callable[..., None]:
    """Give a model labelled images."""

    def add(model: str, side: str, number: int) -> None:
        names = [hashlib.sha256(uuid.uuid4().bytes).hexdigest() for _ in range(number)]
        with database.transaction() as rows:
            rows.execute(ADD_IMAGES, {"model": model, "side": side, "names": names})
            for pair in rows.fetchall():
                rows.execute("UPDATE samples SET label_id = %s WHERE sample_id = %s", pair)

    return add


@pytest.fixture
def add_model(database: Database) -> Callable[..., None]:
    """Write a model down, with the revision that its live version was trained on."""

    def add(name: str = "scratch", live: int | None = 1, revision: int | None = None) -> None:
        with database.transaction() as rows:
            rows.execute(ADD_MODEL, (name, live))
            if live:
                rows.execute(ADD_VERSION, (name, live, revision))

    return add


@pytest.fixture
def revision(database: Database) -> Callable[[], int]:
    """Return the newest revision of any dataset."""

    def newest() -> int:
        with database.transaction() as rows:
            rows.execute(REVISION)
            [[found]] = rows.fetchall()
        return int(found)

    return newest
