"""A dataset on a real PostgreSQL, with its files in a stand-in for S3."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import boto3
import numpy as np
import psycopg2
import pytest
from moto import mock_aws

from chalicelib.database import Database
from chalicelib.labels.dataset import Added, Dataset, NewLabel
from chalicelib.labels.fingerprint import Fingerprint
from chalicelib.storage import ObjectStore
from chalicelib.vision import Detections

MODEL = "scratch"
BUCKET = "datasets"


class Shelf:
    """Datasets and their files; images are texts here, which nothing decodes."""

    def __init__(self, url: str, s3: Any) -> None:
        self.url = url
        self.s3 = s3
        self.database = Database(url)
        self.store = ObjectStore(s3, BUCKET)
        self.prefixes: dict[str, str] = {}
        self.dataset = self.another_process()

    def another_process(self) -> Dataset:
        return Dataset(self.database, self.store, self.prefix_of)

    def prefix_of(self, model: str) -> str:
        return self.prefixes.get(model, f"models/{model}")

    def sql(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        options = "-c search_path=sightloop"
        with closing(psycopg2.connect(self.url, options=options)) as held, held:
            rows = held.cursor()
            rows.execute(statement, given or None)
            return list(rows.fetchall()) if rows.description else []

    def label(self, name: str, seed: int | None = None, boxes: int = 1, **other: Any) -> NewLabel:
        """Return a label of an image that is called so, and looks as the seed says."""
        content = name.encode()
        sha256 = hashlib.sha256(content).hexdigest()
        key = f"predictions/{name}/image.jpg"
        self.store.put(key, content, "image/jpeg")
        bits = (
            np.random.default_rng(int(sha256[:8], 16) if seed is None else seed)
            .integers(0, 2**62, 4)
            .astype(np.uint64)
        )
        found = Detections(
            [[10.0 * n, 10, 10.0 * n + 5, 20] for n in range(boxes)],  # type: ignore[arg-type]
            [1.0] * boxes,  # type: ignore[arg-type]
            [0] * boxes,  # type: ignore[arg-type]
            ("scratch",),
            (100, 80),
        )
        looks = Fingerprint(bits, bits[None])
        given = {"origin": "import", **other}
        return NewLabel(sha256, "jpg", (100, 80), looks, key, found, **given)

    def by(self, user: str, request_id: int, name: str, **other: Any) -> NewLabel:
        """Return what somebody submitted."""
        given = {"origin": "submission", "user_address": user, "request_id": request_id}
        return self.label(name, **given, **other)

    def add(self, *labels: NewLabel, model: str = MODEL, by: Dataset | None = None) -> list[Added]:
        with self.database.transaction() as rows:
            return (by or self.dataset).add(rows, model, labels)

    def files(self, prefix: str = "models/") -> dict[str, str]:
        """Return the files below a prefix, by key."""
        return {key: self.store.get(key).body.decode() for key in self.store.keys(prefix)}

    def wanted(self, model: str = MODEL) -> dict[str, str]:
        """Return the files that the rows ask for."""
        found = self.sql(
            """SELECT side, sha256, extension, yolo FROM samples JOIN labels USING (label_id)
               WHERE model = %s""",
            model,
        )
        prefix, files = self.prefix_of(model), {}
        for side, sha256, extension, yolo in found:
            files[f"{prefix}/labels/{side}/{sha256}.txt"] = yolo
            files[f"{prefix}/images/{side}/{sha256}.{extension}"] = sha256
        return files

    def shown(self, model: str = MODEL) -> dict[str, str]:
        """Return the files that are there; of an image its hash."""
        return {
            key: body if key.endswith(".txt") else hashlib.sha256(body.encode()).hexdigest()
            for key, body in self.files(self.prefix_of(model) + "/").items()
        }


@pytest.fixture
def shelf(new_database: Callable[..., str], migrated: str) -> Iterator[Shelf]:
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket=BUCKET)
        made = Shelf(new_database(template=migrated), s3)
        yield made
        made.database.close()
