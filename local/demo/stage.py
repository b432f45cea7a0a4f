"""The running service, as the demo uses it, and what it looks at from behind."""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from chalicelib.settings import Settings
from local.demo import first
from local.demo.client import Api, boxes_of
from local.demo.course import Person
from local.demo.measure import Found
from local.demo.people import Boxes
from local.demo.photos import FIRST_SEED, Photo, photo
from local.demo.records import Records, boxes_from_yolo, import_photos
from local.errors import LocalError
from local.home import ROOT
from local.stack import Stack

FIRST = ROOT / "local/demo/first.py"
IMGSZ = 320  # half of the usual: four times as quick
SCHEDULE = "plan"
ENDED = ("promoted", "rejected", "failed", "cancelled")
LOOK_SECONDS, LONGEST_SECONDS = 1.0, 3600.0
OCTETS = "application/octet-stream"
EVERYTHING = "confidence=0.001&iou=0.7&max_detections=300"  # what a precision is measured on
# Everybody else than the operator is as a deployed service takes strangers. The stack by itself is
# set up for somebody who is alone on a machine.
AS_DEPLOYED = {
    "SIGHTLOOP_TRUSTED_CALLERS": "",
    "SIGHTLOOP_MAX_CONTRIBUTOR_SHARE": str(Settings.from_environment({}).max_contributor_share),
}


class Stage:
    """The service on this machine, with a model that is the demo's own.

    Parameters
    ----------
    home : Path
        The data folder.
    port : int
    python : Path
        That which can train.

    Raises
    ------
    LocalError
        Something cannot start.
    """

    def __init__(self, home: Path, port: int, python: Path) -> None:
        if not python.exists():
            raise LocalError(f"{python} is missing: `make training` installs what trains")
        os.environ |= AS_DEPLOYED | {
            "SIGHTLOOP_LAUNCHER": "process",
            "SIGHTLOOP_TRAINING_PYTHON": str(python),
            "SIGHTLOOP_TRAINING_IMGSZ": str(IMGSZ),
            "SIGHTLOOP_QUOTAS": "false",  # a crowd calls from one machine
        }
        self._python, self._port, self.home = python, port, home
        self._stack = Stack(home, port)
        from chalicelib.wiring import services  # noqa: PLC0415 - the stack sets the environment

        self._services = services()
        self._key = self._services.secrets.read().subjects_key
        self._apis: dict[str, Api] = {}
        self.operator = Api(port, self._stack.operator_token)
        self.records = Records(self._services.database)
        self.model, self.run = self._unused_name("painted-tags")
        self._cancel_left_over_jobs()

    def stop(self) -> None:
        """Stop everything; what was sent and trained is kept."""
        self._stack.stop()

    def api(self, person: Person) -> Api:
        """Return the service as one person reaches it."""
        name = person.name
        if name not in self._apis:
            self._apis[name] = Api.of_user(self._port, self._key, name)
        return self._apis[name]

    def begin(self) -> float:
        """Let the first model serve; return for how many seconds it was trained.

        It is the same each time, and kept: 0 where an earlier run has trained it.

        Raises
        ------
        LocalError
            The training failed.
        """
        from chalicelib.catalog.model import version_key  # noqa: PLC0415
        from chalicelib.catalog.visibility import Visibility  # noqa: PLC0415

        folder = self.home / "demo/first"
        begun = time.monotonic()
        trains = not (folder / "model/metrics.json").exists()
        if trains:
            self._train_first(folder)
        took = time.monotonic() - begun if trains else 0.0
        files = ("model.onnx", "metrics.json", "best.pt")
        onnx, metrics, weights = ((folder / "model" / file).read_bytes() for file in files)
        made = self._services.publisher.publish(self.model, onnx, metrics, Visibility.PUBLIC)
        assert made.live_version
        self._services.store.put(
            version_key(self.model, made.live_version, "best.pt"), weights, OCTETS
        )
        return took

    def settle(self) -> int:
        """Import the photos that the first model was measured on; return how many.

        What an operator imports is settled: control tasks are made of it.
        """
        begin = FIRST_SEED + first.TRAIN
        photos = [photo(begin + number) for number in range(first.VALID)]
        import_photos(self.operator, self.model, photos)
        return len(photos)

    def _train_first(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "log.txt"
        with log.open("w", encoding="utf-8") as written:
            done = subprocess.run(
                [self._python, FIRST, folder], stdout=written, stderr=subprocess.STDOUT, check=False
            )
        if done.returncode:
            raise LocalError(f"the first model could not be trained: see {log}")

    def plan(self) -> dict[str, Any]:
        """Let the schedule's time come, and return what the planner says of our model."""
        self._stack.tick(SCHEDULE)
        [ours] = self.operator.get(f"/v1/training-plans?model={self.model}")["plans"]
        return dict(ours)

    def newest_job(self) -> dict[str, Any] | None:
        """Return our model's newest training job."""
        jobs = self.operator.get(f"/v1/training-jobs?model={self.model}&limit=1")["jobs"]
        return jobs[0] if jobs else None

    def follow(self, job_id: str, look: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Look at a job until it ends; return it as it ended.

        Raises
        ------
        LocalError
            It does not end.
        """
        deadline = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < deadline:
            job = dict(self.operator.get(f"/v1/training-jobs/{job_id}"))
            look(job)
            if job["state"] in ENDED:
                return job
            time.sleep(LOOK_SECONDS)
        raise LocalError(f"job {job_id} does not end: see {self.home / 'logs'}")

    def found(self, photos: Iterable[Photo], query: str = EVERYTHING) -> list[Found]:
        """Have the service detect on photos, without keeping them; with ``""`` as people do."""
        path = f"/v1/models/{self.model}/detections?{query}"
        return [self._found(path, each) for each in photos]

    def _found(self, path: str, photo: Photo) -> Found:
        status, told = self.operator.post(path, photo.data, "image/jpeg")
        if status != 200:
            raise RuntimeError(f"the service answered {status}: {told}")
        sure = [each["confidence"] for each in told["detections"]]
        return Found(photo.there, boxes_of(told["detections"]), np.array(sure, np.float64))

    def live_version(self) -> int:
        """Return which version serves."""
        return int(self.operator.get(f"/v1/models/{self.model}")["live_version"])

    def labels_of(self, job: dict[str, Any]) -> dict[str, Boxes]:
        """Return what a job's version of the dataset says, by the sha256 of images."""
        from chalicelib.labels.keys import manifest_key  # noqa: PLC0415
        from chalicelib.labels.manifest import Manifest  # noqa: PLC0415

        named = job["dataset_sha256"]
        packed = self._services.store.get(manifest_key(self.model, named)).body
        labels = {each.sha256: each.label for each in Manifest(io.BytesIO(packed), named)}
        return {sha: boxes_from_yolo(label) for sha, label in labels.items()}

    def _unused_name(self, wanted: str) -> tuple[str, int]:
        """Return a model's name that no earlier run in this folder took, and this run's number."""
        taken = {each["name"] for each in self.operator.get("/v1/models")["models"]}
        run = 1
        while (name := wanted if run == 1 else f"{wanted}-{run}") in taken:
            run += 1
        return name, run

    def _cancel_left_over_jobs(self) -> None:
        """Cancel what a run that was interrupted left to be trained: it would take our cores."""
        for job in self.operator.get("/v1/training-jobs?limit=100")["jobs"]:
            if job["state"] not in ENDED:
                self.operator.post(f"/v1/training-jobs/{job['job_id']}/cancel", b"", "text/plain")
