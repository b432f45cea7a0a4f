"""The one-machine stack as the poisoning drill uses it, and what the drill reads in its database.

Nobody reviews, unless a scenario says so: what waits for a person stays out of the dataset.
"""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import requests

from benchmarks import poisoning_stage as stage
from chalicelib.settings import Settings
from local.demo.client import JSON, Api
from local.demo.people import HEIGHT, WIDTH, Boxes
from local.home import free_port

Visibility = Literal["public", "members", "private"]
# Not as the stack has it for somebody who is alone on a machine. Nothing is trained.
AS_DEPLOYED = {
    "SIGHTLOOP_LAUNCHER": "",
    "SIGHTLOOP_TRUSTED_CALLERS": "",
    "SIGHTLOOP_MAX_CONTRIBUTOR_SHARE": str(Settings.from_environment({}).max_contributor_share),
}
LONGEST_WAIT_SECONDS = 300
POLL_SECONDS = 0.2
IN_FORCE = """
SELECT s.sha256, l.user_address, l.origin, l.yolo
FROM samples s JOIN labels l USING (label_id) WHERE s.model = %s
"""
BY_PREDICTION = """
SELECT prediction_id::text, image_sha256 FROM requests WHERE prediction_id = ANY(%s::uuid[])
"""
TASK = "SELECT image_sha256, kind FROM tasks WHERE prediction_id = %s"
BANNED = "SELECT user_address FROM bans"


@dataclass(frozen=True)
class Label:
    """The label in force of an image: who sent it ("" for an import), and what it says."""

    user: str
    boxes: Boxes


class Service:
    """The running service.

    Parameters
    ----------
    folder : Path
        The data folder.
    both_classes : bool
        As `poisoning_stage` explains it.
    """

    def __init__(self, folder: Path, both_classes: bool) -> None:
        from local.stack import Stack  # noqa: PLC0415 - it sets the environment

        os.environ |= AS_DEPLOYED
        self.port = free_port()
        self.both_classes = both_classes
        self._folder = folder
        self._stack = Stack(folder, self.port)
        from chalicelib.wiring import services  # noqa: PLC0415 - it reads the environment

        self._services = services()
        self._key = self._services.secrets.read().subjects_key
        self.operator = Api(self.port, self._stack.operator_token)
        self._models: dict[int, stage.ServedModel] = {}

    def stop(self) -> None:
        """Stop everything."""
        self._stack.stop()

    def publish(self, model: str, side: int, visibility: Visibility) -> stage.ServedModel:
        """Let a model that looks at photos with so many pixels serve under a name."""
        if side not in self._models:
            self._models[side] = stage.served_model(side, self._folder, self.both_classes)
        served = self._models[side]
        self._services.publisher.publish(model, served.weights, served.metrics)
        self._show_to(model, visibility)
        return served

    def _show_to(self, model: str, visibility: Visibility) -> None:
        """Set who may see a model's photos; where the service cannot, all models are public."""
        path, body = f"/v1/models/{model}/visibility", {"visibility": visibility}
        status, answer = self.operator.ask("PUT", path, json.dumps(body).encode())
        if status != 200 and not (status == 404 and visibility == "public"):
            raise RuntimeError(f"{path}: {status}: {answer}")

    def member(self, name: str) -> Api:
        """Return the service as a member reaches it, with a token."""
        return Api.of_user(self.port, self._key, name)

    def address(self, address: str) -> Api:
        """Return the service as a caller without a token reaches it from an address."""
        return Api(self.port, "", address)

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Query the database."""
        with self._services.database.transaction() as rows:
            rows.execute(query, parameters)
            return list(rows.fetchall())

    def labels(self, model: str) -> dict[str, Label]:
        """Return the labels in force of a dataset by the sha256 of their images."""
        return {
            sha256: Label("" if origin == "import" else user or "", _from_yolo(yolo))
            for sha256, user, origin, yolo in self.rows(IN_FORCE, model)
        }

    def images_of(self, prediction_ids: Iterable[str]) -> dict[str, str]:
        """Return the sha256 of the images that submissions are about, by their predictions."""
        return dict(self.rows(BY_PREDICTION, list(prediction_ids)))

    def task(self, prediction_id: str) -> tuple[str, str]:
        """Return the image of a task, and its kind; operators alone may know that."""
        [(sha256, kind)] = self.rows(TASK, prediction_id)
        return sha256, kind

    def banned(self) -> set[str]:
        """Return who is banned."""
        return {user for (user,) in self.rows(BANNED)}

    def trust(self, user: str) -> Mapping[str, Any]:
        """Return how far the service trusts a contributor, as it tells operators; {}: unknown."""
        status, answer = self.operator.ask("GET", f"/v1/contributors/{user}?limit=1")
        return dict(answer["trust"]) if status == 200 else {}

    def plan(self, model: str) -> Mapping[str, Any]:
        """Run the planner; return what it says of a model."""
        self._stack.tick("plan")
        [plan] = self.operator.get(f"/v1/training-plans?model={model}")["plans"]
        return dict(plan)

    def accept(self, submission_ids: Sequence[int]) -> None:
        """Accept submissions as an operator."""
        for submission_id in submission_ids:
            [(updated_at,)] = self.rows(
                "SELECT updated_at FROM requests WHERE request_id = %s", submission_id
            )
            decision = {"decision": "accept", "why": "right", "seen": updated_at.isoformat()}
            path = f"/v1/review/{submission_id}"
            status, answer = self.operator.post(path, json.dumps(decision).encode(), JSON)
            if status != 200:
                raise RuntimeError(f"{path}: {status}: {answer}")

    def import_photos(self, model: str, photos: Sequence[stage.Photo]) -> None:
        """Import photos with their right labels as an operator."""
        path = f"/v1/models/{model}/imports"
        status, offered = self.operator.post(path, b"{}", JSON)
        if status not in (200, 201, 202):
            raise RuntimeError(f"{path}: {status}: {offered}")
        form, file = offered["upload"], {"file": ("settled.zip", _packed(photos))}
        requests.post(form["url"], form["fields"], files=file, timeout=60).raise_for_status()
        until = time.monotonic() + LONGEST_WAIT_SECONDS
        while time.monotonic() < until:
            job = self.operator.get(offered["links"]["self"])
            if job["state"] == "done":
                return
            if job["state"] in ("faulty", "failed"):
                raise RuntimeError(f"the photos were not imported: {job}")
            time.sleep(POLL_SECONDS)
        raise RuntimeError("the import does not end")


def _from_yolo(text: str) -> Boxes:
    rows = np.array([line.split() for line in text.splitlines() if line], np.float64).reshape(-1, 5)
    centre, half = rows[:, 1:3], rows[:, 3:] / 2
    corners = np.hstack([centre - half, centre + half]) * ([WIDTH, HEIGHT] * 2)
    return Boxes(corners, rows[:, 0].astype(np.int64))


def _packed(photos: Sequence[stage.Photo]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, photo in enumerate(photos):
            archive.writestr(f"images/{number}.jpg", photo.data)
            archive.writestr(f"labels/{number}.txt", photo.there.detections().to_yolo())
    return buffer.getvalue()
