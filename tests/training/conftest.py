"""What the tests of trainings share: a stand-in for AWS, and jobs in it."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from PIL import Image

from chalicelib.labels.keys import manifest_key
from chalicelib.labels.manifest import Entry, write
from chalicelib.queues import Queue
from chalicelib.retrain.keys import checkpoints_prefix, order_key, output_key
from chalicelib.retrain.messages import Report, TrainingOrder, parse_report
from chalicelib.storage import ObjectStore
from sagemaker.training.drawn_tags import draw_tag

ROOT = Path(__file__).parents[2]
BUCKET, QUEUE = "sightloop-local-store", "sightloop-local-training"
SMALL = {"epochs": "3", "batch": "4", "imgsz": "64", "threads": "1", "mosaic": "0.5"}


@pytest.fixture(scope="session")
def aws_url() -> Iterator[str]:
    """Start a stand-in for AWS for all tests of this folder."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@dataclass
class JobInStore:
    """A job whose order and dataset are in the store bucket.

    Attributes
    ----------
    environment : dict
        That the trainer is started in.
    work : Path
        Where it works.
    """

    job_id: uuid.UUID
    store: ObjectStore
    queue: Queue
    environment: dict[str, str]
    work: Path

    def command(self, *torchrun: str) -> list[str]:
        """Return the trainer's command, or torchrun's with these arguments."""
        script = [str(ROOT / "sagemaker/training/run_job.py"), "--job", str(self.job_id)]
        runner = ["-m", "torch.distributed.run", *torchrun] if torchrun else []
        return [sys.executable, *runner, *script]

    def start(self, *torchrun: str) -> subprocess.Popen[str]:
        """Start the trainer."""
        self.work.mkdir(parents=True, exist_ok=True)
        with (self.work / "said.txt").open("a") as said:
            return subprocess.Popen(
                self.command(*torchrun),
                env=self.environment,
                cwd=self.work,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
            )

    timeout = subprocess.TimeoutExpired

    def said(self) -> str:
        """Return what all starts of the trainer printed."""
        return (self.work / "said.txt").read_text(encoding="utf-8", errors="replace")

    def run(self, *torchrun: str) -> int:
        """Run the trainer to its end and return its status."""
        return self.start(*torchrun).wait()

    def state(self) -> dict[str, Any]:
        """Return which checkpoint counts; nothing where there is none yet."""
        key = f"{checkpoints_prefix(self.job_id)}state.json"
        return dict(json.loads(self.store.get(key).body)) if self.store.has(key) else {}

    def wait_for_epoch(self, epochs: int, process: subprocess.Popen[str]) -> None:
        """Wait until the checkpoint holds so many epochs."""
        while self.state().get("epochs_done", 0) < epochs:
            assert process.poll() is None, f"it ended before: {self.said()[-4000:]}"
            time.sleep(0.1)

    def reports(self) -> list[Report]:
        """Take all reports off the queue, in the order in which they were written."""
        found = [parse_report(body) for body in self.queue.peek(10_000, 600)]
        return sorted(found, key=lambda report: report.at)

    def output(self, file: str) -> bytes:
        """Return a file that came out."""
        return self.store.get(output_key(self.job_id, file)).body

    def has_output(self) -> bool:
        """Tell whether the job is done."""
        return self.store.has(output_key(self.job_id, "metrics.json"))


@pytest.fixture
def new_job(aws_url: str, tmp_path: Path) -> Iterator[Callable[..., JobInStore]]:
    """Make jobs on drawn photos, each with a bucket's worth of its own model."""
    given = {"endpoint_url": aws_url, "region_name": "eu-central-1"}
    s3, sqs = boto3.client("s3", **given), boto3.client("sqs", **given)
    where = {"LocationConstraint": "eu-central-1"}
    if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
    queues: list[str] = []

    def make(
        train: int = 8,
        valid: int = 4,
        base: dict[str, bytes] | None = None,
        shuffled: bool = False,
        **changes: str,
    ) -> JobInStore:
        store = ObjectStore(s3, BUCKET)
        job_id, model = uuid.uuid4(), f"tags-{uuid.uuid4().hex[:8]}"
        name = f"{QUEUE}-{job_id}"
        queues.append(sqs.create_queue(QueueName=name)["QueueUrl"])
        for file, content in (base or {}).items():
            store.put(f"models/{model}/versions/1/{file}", content, "application/octet-stream")
        order = TrainingOrder(
            job_id=job_id,
            model=model,
            kind="fine_tune" if base else "first",
            class_names=("scratch",),
            dataset_sha256=put_dataset(store, model, train, valid, shuffled),
            base_version=1 if base else None,
            hyperparameters=SMALL | changes,
        )
        store.put(order_key(job_id), order.model_dump_json().encode(), "application/json")
        environment = {
            **os.environ,
            "YOLO_VERBOSE": "true",  # other tests of the same run turn it off
            "AWS_ENDPOINT_URL": aws_url,
            "SIGHTLOOP_TRAINING_QUEUE": name,
            "YOLO_CONFIG_DIR": str(tmp_path / "yolo"),
            "OMP_NUM_THREADS": "1",
        }
        return JobInStore(job_id, store, Queue(sqs, name), environment, tmp_path / str(job_id))

    yield make
    for url in queues:
        sqs.delete_queue(QueueUrl=url)


def put_dataset(
    store: ObjectStore, model: str, train: int, valid: int, shuffled: bool = False
) -> str:
    """Put a dataset of drawn photos into a model's folder and return its version's name.

    Shuffled, each training image has the labels of the next.
    """
    entries = []
    for seed in range(train + valid):
        side = "train" if seed < train else "valid"
        drawn = draw_tag(900_000 + seed)
        jpeg = io.BytesIO()
        small = drawn.image.resize((225, 150), Image.Resampling.BOX)
        small.save(jpeg, "JPEG", quality=92)
        sha256 = hashlib.sha256(jpeg.getvalue()).hexdigest()
        store.put(f"models/{model}/images/{side}/{sha256}.jpg", jpeg.getvalue(), "image/jpeg")
        labelled = draw_tag(900_000 + (seed + 1) % train) if shuffled and seed < train else drawn
        label = labelled.to_yolo().rstrip("\n")
        entries.append(Entry(sha256, "jpg", side, 225, 150, label, seed + 1, False))
    file = io.BytesIO()
    written = write(file, model, ["scratch"], sorted(entries, key=lambda entry: entry.sha256))
    store.put(manifest_key(model, written.sha256), file.getvalue(), "application/gzip")
    return written.sha256
