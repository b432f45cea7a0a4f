"""Keeping what a synchronous call was told, as if it had been uploaded: to be corrected later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from chalicelib.inference import Look
from chalicelib.inference.options import Options
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.predictions import keys
from chalicelib.predictions.leavings import leave
from chalicelib.predictions.model import Prediction, epoch, utc_now
from chalicelib.predictions.table import PredictionTable
from chalicelib.predictions.unseen import unseen
from chalicelib.settings import Settings
from chalicelib.storage import ObjectStore


class Keeper:
    """Stores pictures and a record that is done; it is the record that makes them a prediction.

    Whoever dies in between leaves pictures that nobody knows of, which expire.

    Parameters
    ----------
    store : ObjectStore
    table : PredictionTable
    settings : Settings
    now : callable, optional
    """

    def __init__(
        self,
        store: ObjectStore,
        table: PredictionTable,
        settings: Settings,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._table = table
        self._settings = settings
        self._now = now

    def keep(self, look: Look, correlation_id: str, options: Options | None = None) -> Prediction:
        """Keep an answer with its picture.

        Parameters
        ----------
        look : Look
            The answer and the decoded picture.
        correlation_id : str
        options : Options, optional
            What was asked of the detector.

        Raises
        ------
        InvalidImage
            A side is longer than a JPEG can have.
        """
        prediction_id, now = keys.new_prediction_id(), self._now()
        left = leave(self._store, prediction_id, look)
        record = Prediction(
            prediction_id=prediction_id,
            model=look.answer.model,
            key="",
            file_name="",
            options=options or Options(),
            correlation_id=correlation_id,
            created_at=now,
            updated_at=now,
            uploaded_at=now,
            expires_at=epoch(now + timedelta(days=self._settings.prediction_ttl_days)),
        )
        kept = self._table.create(left.done(self._now)(record))
        metrics.add_metric("PredictionsKept", MetricUnit.Count, 1)
        logger.info("prediction kept", prediction_id=prediction_id, model=kept.model)
        return kept

    def keep_unseen(self, model: str, data: bytes, correlation_id: str) -> Prediction:
        """Keep a picture for a model that cannot look at it yet: version 0, nothing detected.

        Raises
        ------
        InvalidImage
            As ``decode_image``; or a side is longer than a JPEG can have.
        """
        return self.keep(unseen(model, data, self._settings.max_pixels), correlation_id)
