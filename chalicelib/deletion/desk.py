"""Deleting predictions: rows first, in one transaction, then files; what is left undone goes on.

The row of a deletion is there before any file is erased, and says which are still to be erased, so
that whoever is killed is followed by the next call or by ``finish``, which the schedule calls.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from chalicelib.callers import is_user
from chalicelib.deletion.orders import Order, Orders
from chalicelib.deletion.rows import (
    ErasedImage,
    blank_tasks_in,
    delete_imported_in,
    delete_in,
    imported_in,
    known_model_in,
    orphaned_tasks_in,
)
from chalicelib.errors import DatabaseUnavailable, PredictionNotFound, StorageUnavailable
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.predictions import PredictionTable
from chalicelib.predictions.eraser import Eraser
from chalicelib.predictions.keys import is_prediction_id
from chalicelib.predictions.senders import Senders

if TYPE_CHECKING:
    from chalicelib.database import Database
    from chalicelib.deletion.files import ImageFiles

COPIES_AT_ONCE = 40
THREADS = 8
SECONDS_A_CALL = 12.0  # API Gateway waits 29 s for an answer
PREDICTIONS_A_CALL = 50
IMAGES_A_CALL = 200
UNFINISHED = """
SELECT prediction_id::text FROM deletions WHERE erased_at IS NULL ORDER BY deleted_at LIMIT %s
"""
ONE = "SELECT model, images FROM deletions WHERE prediction_id = %s"
ERASED = """
UPDATE deletions SET erased_at = now(), images = '[]'
WHERE prediction_id = %s AND images = %s::jsonb
"""
SHOWN = """
SELECT d.prediction_id::text, d.model, d.deleted_at, d.erased_at IS NOT NULL, coalesce((
    SELECT jsonb_agg(DISTINCT jsonb_build_object(
        'model', v.model, 'version', v.version, 'live', v.version = m.live_version))
    FROM label_terms t
    JOIN model_versions v ON v.model = t.model AND t.began <= v.dataset_revision
        AND (t.ended IS NULL OR t.ended > v.dataset_revision)
    JOIN models m ON m.name = v.model
    WHERE t.label_id = ANY(d.label_ids)), '[]'::jsonb)
FROM deletions d
"""
SHOWN_ONE = f"{SHOWN} WHERE d.prediction_id = %(id)s"
SHOWN_NEWEST = f"{SHOWN} ORDER BY d.deleted_at DESC, d.prediction_id LIMIT %(limit)s"
OF_USER = """
SELECT DISTINCT prediction_id::text FROM requests
WHERE user_address = %(user)s AND state <> 'deleted' AND created_at <= %(until)s LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Deletion:
    """A prediction that was deleted.

    Attributes
    ----------
    prediction_id, model : str
    deleted_at : datetime
    is_erased : bool
        Whether all files are gone; False: the schedule goes on.
    versions : list of mapping
        ``model``, ``version`` and ``live`` of every version that was trained on its labels.
    """

    prediction_id: str
    model: str
    deleted_at: datetime
    is_erased: bool
    versions: list[dict[str, Any]]


@dataclass(frozen=True)
class DeletedAll:
    """How far an order to delete all of a caller's is.

    Attributes
    ----------
    deleted : int
        Predictions.
    images : int
        Imported images.
    is_finished : bool
    """

    deleted: int
    is_finished: bool
    images: int = 0


@dataclass(frozen=True)
class Parts:
    """What deletions work with; database and image files are None where none is attached.

    ``publish`` makes the files of samples anew that lost a label.
    """

    table: PredictionTable
    eraser: Eraser
    senders: Senders
    orders: Orders
    database: Database | None
    image_files: ImageFiles | None
    publish: Callable[[Sequence[int]], object] = lambda samples: None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock: Callable[[], float] = time.monotonic


class Deletions:
    """Deletes predictions with all that came of them.

    Parameters
    ----------
    parts : Parts
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def delete(self, prediction_id: str) -> Deletion:
        """Delete a prediction; the same again finishes what was left and returns the same.

        Raises
        ------
        PredictionNotFound
            No prediction has that id, nor had one that anything was submitted to.
        StorageUnavailable, DatabaseUnavailable
            Not all is deleted: the same again goes on, as does the schedule.
        """
        record = self._parts.table.find(prediction_id) if is_prediction_id(prediction_id) else None
        model = record.model if record else self._known_model(prediction_id)
        if model is None:
            raise PredictionNotFound(f"no prediction {prediction_id!r}: it may have expired")
        database = self._parts.database
        if database is None:
            self._parts.eraser.erase(prediction_id, model)
            return Deletion(prediction_id, model, self._parts.now(), is_erased=True, versions=[])
        with database.transaction() as rows:
            removed = delete_in(rows, prediction_id, model)
        self._erase(prediction_id)
        self._parts.publish(removed.samples)
        self._erase_each(removed.copies[:COPIES_AT_ONCE])
        [shown] = self._shown(SHOWN_ONE, id=prediction_id)
        return shown

    def delete_all(self, user: str) -> DeletedAll:
        """Delete what a caller with a token sent until now, as much as fits into a call.

        Called again, it goes on; so does the schedule. Images that a member imported are deleted
        too; those that an operator did are the team's, and stay.

        Parameters
        ----------
        user : str
            As ``caller`` names them.
        """
        return self._carry_out(self._parts.orders.place(user, self._parts.now()))

    def finish(self, most: int) -> int:
        """Go on with deletions that were left undone; return how many predictions were erased."""
        done = 0
        for order in self._parts.orders.unfinished():
            done += self._carry_out(order).deleted
        if self._parts.database is None:
            return done
        with self._parts.database.transaction() as rows:
            rows.execute(UNFINISHED, (most,))
            unfinished = [prediction_id for (prediction_id,) in rows.fetchall()]
            orphans = orphaned_tasks_in(rows, most)
        for prediction_id in orphans:
            self.delete(prediction_id)
        with self._parts.database.transaction() as rows:
            blank_tasks_in(rows, orphans)
        done += self._erase_each(unfinished) + len(orphans)
        metrics.add_metric("DeletionsReconciled", MetricUnit.Count, done)
        return done

    def newest(self, limit: int) -> list[Deletion]:
        """Return deletions, newest first; none where no database is attached."""
        return self._shown(SHOWN_NEWEST, limit=limit) if self._parts.database else []

    def _known_model(self, prediction_id: str) -> str | None:
        if self._parts.database is None or not is_prediction_id(prediction_id):
            return None
        with self._parts.database.transaction() as rows:
            return known_model_in(rows, prediction_id)

    def _carry_out(self, order: Order) -> DeletedAll:
        until, deleted = self._parts.clock() + SECONDS_A_CALL, 0
        images, is_finished = self._delete_imported(order, until)
        if not is_finished:
            return DeletedAll(0, is_finished=False, images=images)
        for prediction_id in islice(self._of(order), PREDICTIONS_A_CALL):
            try:
                self.delete(prediction_id)
                deleted += 1
            except PredictionNotFound:
                logger.info("nothing is left of a prediction", prediction_id=prediction_id)
            self._parts.senders.forget(order.user, prediction_id)
            if self._parts.clock() > until:
                return DeletedAll(deleted, is_finished=False, images=images)
        is_finished = next(self._of(order), None) is None
        if is_finished:
            self._parts.orders.finish(order)
        return DeletedAll(deleted, is_finished, images)

    def _delete_imported(self, order: Order, until: float) -> tuple[int, bool]:
        """Delete images that a member imported; return how many, and whether none is left.

        They go before the member's photos: an image that was imported is not deleted with one.
        """
        database, deleted = self._parts.database, 0
        if database is None or not is_user(order.user):
            return 0, True
        with database.transaction() as rows:
            found = imported_in(rows, order.user, order.ordered_at, IMAGES_A_CALL + 1)
        for model, sha256 in found[:IMAGES_A_CALL]:
            deletion_id = str(uuid.uuid4())
            with database.transaction() as rows:
                removed = delete_imported_in(rows, deletion_id, order.user, model, sha256)
            self._erase(deletion_id, of_prediction=False)
            self._parts.publish(removed.samples)
            self._erase_each(removed.copies[:COPIES_AT_ONCE])
            deleted += 1
            if self._parts.clock() > until:
                return deleted, False
        return deleted, len(found) <= IMAGES_A_CALL

    def _of(self, order: Order) -> Iterator[str]:
        """Yield the predictions of an order that are left."""
        yield from self._parts.senders.sent_by(order.user, order.ordered_at)
        if self._parts.database is None:
            return
        given = {
            "user": order.user,
            "until": order.ordered_at,
            "limit": PREDICTIONS_A_CALL,
        }
        with self._parts.database.transaction() as rows:
            rows.execute(OF_USER, given)
            found = [prediction_id for (prediction_id,) in rows.fetchall()]
        yield from found

    def _erase(self, deletion_id: str, *, of_prediction: bool = True) -> None:
        """Erase the files of a deletion; its row says last that they are gone.

        Parameters
        ----------
        of_prediction : bool
            The id is that of a prediction, which has files of its own.
        """
        database, image_files = self._parts.database, self._parts.image_files
        assert database
        assert image_files
        with database.transaction() as rows:
            rows.execute(ONE, (deletion_id,))
            [(model, images)] = rows.fetchall()
        if of_prediction:
            self._parts.eraser.erase(deletion_id, model)
        for image in images:
            image_files.erase(ErasedImage(**{**image, "keys": tuple(image["keys"])}))
        from psycopg2.extras import Json  # noqa: PLC0415 - whoever has no database lacks nothing

        with database.transaction() as rows:
            rows.execute(ERASED, (deletion_id, Json(images)))

    def _erase_each(self, prediction_ids: list[str]) -> int:
        """Erase several, each by itself: one that fails is left to the schedule."""
        if not prediction_ids:
            return 0
        contexts = [copy_context() for _ in prediction_ids]
        with ThreadPoolExecutor(THREADS) as pool:
            done = pool.map(lambda of, one: of.run(self._try, one), contexts, prediction_ids)
            return sum(done)

    def _try(self, prediction_id: str) -> bool:
        try:
            self._erase(prediction_id)
        except (DatabaseUnavailable, StorageUnavailable):
            logger.exception("a deletion is left to the schedule", prediction_id=prediction_id)
            return False
        return True

    def _shown(self, query: str, **given: object) -> list[Deletion]:
        database = self._parts.database
        assert database
        with database.transaction() as rows:
            rows.execute(query, given)
            return [Deletion(*row) for row in rows.fetchall()]
