"""Labels of submissions that were recorded before: made again from their rows and put in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib.callers import is_operator
from chalicelib.catalog.visibility import Visibility
from chalicelib.database import Database
from chalicelib.errors import Conflict, SightloopError
from chalicelib.labels.case import ImageOf
from chalicelib.labels.dataset import Dataset, NewLabel
from chalicelib.observability import logger
from chalicelib.vision import Detections

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

    from chalicelib.labels.case import Models
    from chalicelib.storage import ObjectStore
    from chalicelib.trust.records import Recorded

PUBLISHED_AT_ONCE = 100


class Relabelling:
    """Makes labels of recorded submissions and puts them into datasets.

    Parameters
    ----------
    database : Database
    store : ObjectStore
        The store bucket.
    models : Models
    dataset : Dataset
    """

    def __init__(
        self, database: Database, store: ObjectStore, models: Models, dataset: Dataset
    ) -> None:
        self._database = database
        self._store = store
        self._models = models
        self._dataset = dataset

    def label_again(self, recorded: Recorded) -> NewLabel | None:
        """Make the label of a submission from what was recorded; None if it still has one.

        Raises
        ------
        Conflict
            Its image is gone, or it does not say what it is about.
        """
        request_id = recorded.request_id
        with self._database.transaction() as rows:
            label = self._dataset.labels_of(rows, [request_id]).get(request_id)
        if recorded.detail.get("control") or (label and label.withdrawn_why != "replaced"):
            return None
        image = recorded.detail.get("image")
        if image is None or "submitted" not in recorded.detail:
            raise Conflict(f"submission {request_id} does not say what it is about")
        names = self._models.class_names(recorded.model)
        size = (image["width"], image["height"])
        boxes = Detections.from_json(recorded.detail["submitted"], names, size)
        try:
            content = self._store.get(image["key"]).body
        except SightloopError as error:
            raise gone(request_id) from error
        sent = ImageOf(image["key"], content, hashlib.sha256(content).hexdigest())
        promise = Visibility.parse(image.get("visibility"))
        made = label_of(recorded.user_address, sent, boxes, promise)
        self._dataset.look(recorded.model, [made])
        return replace(made, request_id=request_id)

    def put_in(self, rows: cursor, recorded: Recorded, made: NewLabel | None) -> list[int]:
        """Put the label of an accepted request back, or in where it has none."""
        dataset, request_id = self._dataset, recorded.request_id
        label = dataset.labels_of(rows, [request_id]).get(request_id)
        if label and label.withdrawn_why != "replaced":
            return dataset.restore(rows, [request_id]) if label.withdrawn_why else []
        if recorded.detail.get("control"):
            return []
        if made is None:
            raise Conflict(f"submission {request_id} was sent anew: look at it again")
        return [added.sample_id for added in dataset.add(rows, recorded.model, [made])]

    def publish(self, samples: Sequence[int]) -> None:
        """Make files at once, as far as possible: what fails is left to ``reconcile``."""
        try:
            self._dataset.publish_samples(samples[:PUBLISHED_AT_ONCE])
        except SightloopError:
            logger.warning("files of the dataset are left to reconcile", exc_info=True)


def gone(request_id: int) -> Conflict:
    """Return what is raised where a submission's image was deleted."""
    return Conflict(f"the image of submission {request_id} is gone")


def label_of(user: str, image: ImageOf, boxes: Detections, visibility: Visibility) -> NewLabel:
    """Return the label that a user's submission stands for."""
    return NewLabel(
        sha256=image.sha256,
        extension="jpg",
        size=boxes.image_size,
        fingerprint=image.fingerprint,
        source_key=image.key,
        boxes=boxes,
        origin="operator" if is_operator(user) else "submission",
        user_address=user,
        request_id=None,
        visibility=visibility,
    )
