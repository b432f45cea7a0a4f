"""How long a submission takes, and its parts, by how many images the dataset has.

    python benchmarks/submissions.py

An embedded PostgreSQL is started; S3 and DynamoDB are moto's, in this process, so the times of the
calls to AWS say what the client and the stand-in cost, not the network. The images that are there
before are rows with random fingerprints. A submission confirms the boxes of a photo of 640 x 480
that is like no other.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import numpy as np
from moto import mock_aws
from PIL import Image
from psycopg2.extras import execute_values

from chalicelib.labels.fingerprint import fingerprint_of
from chalicelib.settings import Settings
from chalicelib.vision import DetectionOptions
from chalicelib.wiring import Services
from deploy import migrate
from deploy.resources import ensure
from local.home import Home
from local.postgres import Postgres

CLIENTS = ("s3", "sqs", "dynamodb", "secretsmanager")
SAMPLES = """
INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key, published)
VALUES %s
"""
LABELS = """
INSERT INTO labels (sample_id, yolo, boxes, origin)
SELECT sample_id, '0 0.5 0.5 0.2 0.2' || chr(10), 1, 'import' FROM samples WHERE label_id IS NULL
"""
RELABEL = """
UPDATE samples s SET label_id = l.label_id FROM labels l
WHERE l.sample_id = s.sample_id AND s.label_id IS NULL
"""


def photo(seed: int) -> bytes:
    """Return a JPEG of 640 x 480 with structure in it."""
    grain = np.random.default_rng(seed).integers(0, 255, (60, 80, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grain).resize((640, 480)).save(buffer, "JPEG")
    return buffer.getvalue()


def fill(services: Services, count: int) -> None:
    """Let the dataset have so many images, each with a label."""
    rng = np.random.default_rng(0)
    with services.database.transaction() as rows:
        rows.execute("SELECT count(*) FROM samples")
        [(there,)] = rows.fetchall()
        values = [
            ("scratch", f"{n:064x}", "jpg", 640, 480, "valid" if n % 5 == 0 else "train",
             rng.bytes(31) + b"\0", "x", True)
            for n in range(there, count)
        ]  # fmt: skip
        execute_values(rows, SAMPLES, values, page_size=5000)
        rows.execute(LABELS)
        rows.execute(RELABEL)
    with services.database.transaction() as rows:
        rows.execute("ANALYZE")


class Stopwatch:
    """Adds up what calls of a method cost."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}

    def around(self, owner: Any, name: str, told: str) -> None:
        """Measure a method of an object from now on."""
        real = getattr(owner, name)

        def call(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return real(*given, **named)
            finally:
                self.add(told, started)

        setattr(owner, name, call)

    def add(self, told: str, started: float) -> None:
        """Note what was begun then."""
        self.spent.setdefault(told, []).append((time.perf_counter() - started) * 1000)

    def row(self, rounds: int) -> dict[str, float]:
        """Return milliseconds a submission, by part: the median where it is done once in each."""
        return {
            told: statistics.median(spent) if len(spent) == rounds else sum(spent) / rounds
            for told, spent in self.spent.items()
        }


def measure(services: Services, rounds: int, seed: int, answer: str) -> dict[str, float]:
    """Submit so many times; return the milliseconds of the whole and its parts."""
    ids = []
    for number in range(rounds + 1):
        data = photo(seed + number)
        look = services.inference.look("scratch", data, DetectionOptions())
        ids.append(services.keeper.keep(look, "bench").prediction_id)
    submissions = services.submissions
    submissions.submit("scratch", ids.pop(), "ann", answer)  # type: ignore[arg-type] # warm
    watch = Stopwatch()
    parts = submissions._parts
    watch.around(parts.predictions, "read", "read prediction")
    watch.around(parts.predictions, "image", "read image")
    watch.around(parts.dataset, "add", "place and label")
    watch.around(submissions, "_judged", "judge")
    watch.around(submissions, "_record", "transaction")
    watch.around(submissions, "_publish", "make files")
    for number, prediction in enumerate(ids):
        started = time.perf_counter()
        submissions.submit("scratch", prediction, f"user{number}", answer)  # type: ignore[arg-type]
        watch.add("whole", started)
    fingerprint(watch, seed)
    return watch.row(rounds)


def fingerprint(watch: Stopwatch, seed: int) -> None:
    """Measure the fingerprint by itself: it is a function of the module."""
    data = photo(seed)
    for _ in range(20):
        started = time.perf_counter()
        fingerprint_of(data)
        watch.add("fingerprint", started)


def main(told: Callable[[str], None] = print) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[0, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=100)
    chosen = parser.parse_args()
    os.environ.update(AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench")
    bundled = Path(__file__).parent.parent / "models/scratch"
    with tempfile.TemporaryDirectory() as folder, mock_aws():
        Path(folder).chmod(0o755)
        home = Home(Path(folder))
        server = Postgres(home)
        migrate.migrate(server.url)
        settings = Settings.model_validate({"database_url": server.url})
        clients = {name: boto3.client(name, region_name=settings.region) for name in CLIENTS}
        ensure(settings, clients.__getitem__)
        for bucket in (settings.store_bucket, settings.uploads_bucket):
            clients["s3"].delete_bucket_policy(Bucket=bucket)
        metrics = (bundled / "metrics.json").read_bytes()
        onnx = (bundled / "model.onnx").read_bytes()
        Services(settings, clients).publisher.publish("scratch", onnx, metrics)
        for number, count in enumerate(chosen.samples):
            services = Services(settings, clients)
            fill(services, count)
            row = measure(services, chosen.rounds, 10_000 * (number + 1), "confirmed")
            told(f"{count} images: " + ", ".join(f"{k} {v:.1f} ms" for k, v in row.items()))
            services.database.close()
        server.stop()
        home.close()


if __name__ == "__main__":
    main()
