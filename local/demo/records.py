"""What the demo and the poisoning drill read in the service's database, and what they import."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import requests

from chalicelib.database import Database
from local.demo.client import JSON, Api
from local.demo.people import HEIGHT, WIDTH, Boxes
from local.demo.photos import Photo

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
WAITING = """
SELECT request_id, detail->'reasons' FROM requests
WHERE request_id = ANY(%s) AND state = 'quarantined'
"""
BANNED = "SELECT user_address FROM bans"


@dataclass(frozen=True)
class Label:
    """The label in force of an image: who sent it ("" for an import), and what it says."""

    user: str
    boxes: Boxes


class Records:
    """The database of the running service.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Query the database."""
        with self._database.transaction() as rows:
            rows.execute(query, parameters)
            return list(rows.fetchall())

    def labels(self, model: str) -> dict[str, Label]:
        """Return the labels in force of a dataset by the sha256 of their images."""
        return {
            sha256: Label("" if origin == "import" else user or "", boxes_from_yolo(yolo))
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

    def causes(self, submission_ids: Sequence[int]) -> dict[int, list[str]]:
        """Return why submissions wait, of those that wait, by their ids."""
        return {
            submission_id: [reason["cause"] for reason in reasons or []]
            for submission_id, reasons in self.rows(WAITING, list(submission_ids))
        }


def import_photos(operator: Api, model: str, photos: Sequence[Photo]) -> None:
    """Import photos with their right labels as an operator."""
    path = f"/v1/models/{model}/imports"
    status, offered = operator.post(path, b"{}", JSON)
    if status not in (200, 201, 202):
        raise RuntimeError(f"{path}: {status}: {offered}")
    form, file = offered["upload"], {"file": ("settled.zip", _packed(photos))}
    requests.post(form["url"], form["fields"], files=file, timeout=60).raise_for_status()
    until = time.monotonic() + LONGEST_WAIT_SECONDS
    while time.monotonic() < until:
        job = operator.get(offered["links"]["self"])
        if job["state"] == "done":
            return
        if job["state"] in ("faulty", "failed"):
            raise RuntimeError(f"the photos were not imported: {job}")
        time.sleep(POLL_SECONDS)
    raise RuntimeError("the import does not end")


def trust_of(operator: Api, user: str) -> Mapping[str, Any]:
    """Return how far the service trusts a contributor, as it tells operators; {}: unknown."""
    status, answer = operator.ask("GET", f"/v1/contributors/{user}?limit=1")
    return dict(answer["trust"]) if status == 200 else {}


def boxes_from_yolo(text: str) -> Boxes:
    """Return the boxes of a label, in pixels."""
    rows = np.array([line.split() for line in text.splitlines() if line], np.float64).reshape(-1, 5)
    centre, half = rows[:, 1:3], rows[:, 3:] / 2
    corners = np.hstack([centre - half, centre + half]) * ([WIDTH, HEIGHT] * 2)
    return Boxes(corners, rows[:, 0].astype(np.int64))


def _packed(photos: Sequence[Photo]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, photo in enumerate(photos):
            archive.writestr(f"images/{number}.jpg", photo.data)
            archive.writestr(f"labels/{number}.txt", photo.there.detections().to_yolo())
    return buffer.getvalue()
