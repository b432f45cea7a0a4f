"""Erasing what a prediction holds: its pictures, its upload, and all but the id of its record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.predictions import keys
from chalicelib.predictions.model import Prediction, State, epoch, utc_now
from chalicelib.predictions.table import PredictionTable
from chalicelib.storage import ObjectStore

# An upload is gone after a day, its messages after four (14 as dead letters): a record that says
# "deleted" outlives them.
RECORD_STAYS = timedelta(days=15)


class Eraser:
    """Erases predictions; doing it again erases what came in between.

    Parameters
    ----------
    uploads, store : ObjectStore
    table : PredictionTable
    now : callable, optional
    """

    def __init__(
        self,
        uploads: ObjectStore,
        store: ObjectStore,
        table: PredictionTable,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._uploads = uploads
        self._store = store
        self._table = table
        self._now = now

    def erase(self, prediction_id: str, model: str) -> None:
        """Erase a prediction; its record says so first, so that nobody answers it meanwhile.

        Parameters
        ----------
        model : str
            Of the prediction, where its record has expired.

        Raises
        ------
        StorageUnavailable, DatabaseUnavailable
        """
        now = self._now()
        unknown = Prediction(
            prediction_id=prediction_id,
            model=model,
            key="",
            file_name="",
            correlation_id="",
            created_at=now,
            updated_at=now,
            expires_at=epoch(now),
        )
        record = self._table.find(prediction_id) or unknown
        if record.key:  # before its name is forgotten
            self._uploads.erase(record.key)
        self._table.update(unknown, lambda found: found.deleted(now, RECORD_STAYS))
        erase_files(self._store, prediction_id)
        if record.sender_key:
            self._store.erase(record.sender_key)
            self._table.update(unknown, _without_sender)
        if record.state is not State.DELETED:
            metrics.add_metric("PredictionsDeleted", MetricUnit.Count, 1)
            logger.info("prediction deleted", prediction_id=prediction_id, model=model)


def _without_sender(record: Prediction) -> Prediction:
    return record.model_copy(update={"sender_key": ""})


def erase_files(store: ObjectStore, prediction_id: str) -> None:
    """Erase what an answer leaves in the store bucket."""
    for key in (keys.image_key, keys.annotated_key, keys.result_key):
        store.erase(key(prediction_id))
