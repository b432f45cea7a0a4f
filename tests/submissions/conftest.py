"""A dataset on a real PostgreSQL, with its files in a stand-in for S3."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import boto3
import numpy as np
import psycopg2
import pytest
from moto import mock_aws
from PIL import Image

from chalicelib.database import Database
from chalicelib.labels.case import Submitted
from chalicelib.labels.dataset import Added, Dataset, NewLabel
from chalicelib.labels.fingerprint import Fingerprint
from chalicelib.labels.submitted import GivenBox
from chalicelib.settings import Settings
from chalicelib.storage import ObjectStore
from chalicelib.vision import DetectionOptions, Detections
from chalicelib.wiring import Services
from deploy.resources import ensure

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


def noise(seed: int) -> bytes:
    """Return a JPEG of 64x64 pixels that is like no other."""
    grain = np.random.default_rng(seed).integers(0, 255, (64, 64), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grain).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(name="noise")
def noise_fixture() -> Callable[[int], bytes]:
    return noise


class Desk:
    """All services over stand-ins and a real database, with a model that is good at scratches."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._pictures = 0

    def predict(self, image: bytes | None = None, model: str = "scratch") -> str:
        """Keep a detection in an image, like no other unless it is given; return its id."""
        self._pictures += 1
        data = image or noise(self._pictures)
        look = self.services.inference.look(model, data, DetectionOptions())
        return self.services.keeper.keep(look, "a-call").prediction_id

    def submit(
        self,
        prediction_id: str,
        user: str = "ann",
        answer: str = "confirmed",
        boxes: Sequence[GivenBox] = (),
        model: str = "scratch",
    ) -> Submitted:
        submissions = self.services.submissions
        return submissions.submit(model, prediction_id, user, answer, boxes)  # type: ignore[arg-type]

    def sql(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        options = "-c search_path=sightloop"
        url = self.services.settings.database_url
        with closing(psycopg2.connect(url, options=options)) as held, held:
            rows = held.cursor()
            rows.execute(statement, given or None)
            return list(rows.fetchall()) if rows.description else []

    def agree(self) -> None:
        """Assert that image, label, row and counters say the same."""
        self.agree_files()
        assert self.sql(COUNTED) == self.sql(RECOUNTED)
        assert self.sql(WITHOUT_LABEL) == []

    def agree_files(self) -> None:
        """Assert that the files are what the rows say."""
        assert self.shown() == self.wanted()
        assert self.sql("SELECT count(*) FROM samples WHERE NOT published") == [(0,)]

    def shown(self, model: str = "scratch") -> dict[str, str]:
        """Return the files of a dataset: text of labels, SHA-256 of images."""
        store, found = self.services.store, {}
        for kind in ("images", "labels"):
            for key in store.keys(f"models/{model}/{kind}/"):
                body = store.get(key).body
                found[key] = body.decode() if kind == "labels" else hashlib.sha256(body).hexdigest()
        return found

    def wanted(self, model: str = "scratch") -> dict[str, str]:
        """Return the files that the rows ask for."""
        files = {}
        for side, sha256, yolo in self.sql(
            "SELECT side, sha256, yolo FROM samples JOIN labels USING (label_id) WHERE model = %s",
            model,
        ):
            files[f"models/{model}/labels/{side}/{sha256}.txt"] = yolo
            files[f"models/{model}/images/{side}/{sha256}.jpg"] = sha256
        return files


COUNTED = """
SELECT user_address, num_accesses, total_score, suspicious_requests FROM users ORDER BY 1
"""
RECOUNTED = """
SELECT u.user_address, u.deleted_requests + count(r),
       u.deleted_score + coalesce(sum(greatest(r.score, r.replaced_score)::numeric), 0),
       u.deleted_requests + count(r) FILTER (WHERE r.counted)
FROM users u LEFT JOIN requests r USING (user_address) GROUP BY 1 ORDER BY 1
"""
# An accepted request has a label in force; a quarantined one has none; a banned user's are gone.
WITHOUT_LABEL = """
SELECT r.request_id, r.state FROM requests r LEFT JOIN bans b USING (user_address)
WHERE (r.state = 'accepted' AND (b.user_address IS NULL OR r.reviewed_at IS NOT NULL))
      <> EXISTS (SELECT FROM labels l
                 WHERE l.request_id = r.request_id AND l.withdrawn_at IS NULL)
"""


def make_desk(
    clients: dict[str, Any],
    url: str,
    make_model: Callable[..., bytes],
    **settings: Any,
) -> Desk:
    """Make all resources, and a model with an AP of 0.9 and 0.8."""
    given = {"proof": "none", **settings}
    chosen = Settings(database_url=url, live_version_ttl_seconds=0, **given)
    ensure(chosen, clients.__getitem__)
    for bucket in (chosen.store_bucket, chosen.uploads_bucket):
        clients["s3"].delete_bucket_policy(Bucket=bucket)  # moto overlooks its condition
    services = Services(chosen, clients)
    services.publisher.publish("scratch", make_model(), METRICS)
    return Desk(services)


METRICS = b"""{"per_class": [{"class_id": 0, "class_name": "scratch", "AP50": 0.9},
                             {"class_id": 1, "class_name": "dent", "AP50": 0.8}]}"""


@pytest.fixture
def open_desk(
    new_database: Callable[..., str],
    migrated: str,
    make_model: Callable[..., bytes],
) -> Iterator[Callable[..., Desk]]:
    """Open a desk over stand-ins for AWS, with settings of one's own."""
    with mock_aws(), ExitStack() as opened:
        clients = {
            name: boto3.client(name, region_name="eu-central-1")
            for name in ("s3", "sqs", "dynamodb", "secretsmanager")
        }

        def open_desk(**settings: Any) -> Desk:
            made = make_desk(clients, new_database(template=migrated), make_model, **settings)
            opened.callback(made.services.database.close)
            return made

        yield open_desk


@pytest.fixture
def desk(open_desk: Callable[..., Desk]) -> Desk:
    return open_desk()


@pytest.fixture
def strict(open_desk: Callable[..., Desk]) -> Desk:
    """Return a desk where people have to prove themselves."""
    return open_desk(proof="required", trusted_callers="user:boss, 127.0.0.1")


@pytest.fixture(scope="session")
def desk_over() -> Callable[..., Desk]:
    """Make a desk over clients of one's own."""
    return make_desk
