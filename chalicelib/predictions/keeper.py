"""Keeping what a synchronous call was told, as if it had been uploaded: to be corrected later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.catalog.visibility import Audience, Visibility
from chalicelib.inference import Look
from chalicelib.inference.options import Options
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.predictions import keys
from chalicelib.predictions.leavings import leave
from chalicelib.predictions.model import Prediction, epoch, utc_now
from chalicelib.predictions.senders import Senders
from chalicelib.predictions.table import PredictionTable
from chalicelib.predictions.unseen import unseen
from chalicelib.settings import Settings
from chalicelib.storage import ObjectStore


@dataclass(frozen=True)
class TaskTerms:
    """Under which terms somebody else's photo is kept as a task.

    Attributes
    ----------
    audience : Audience
        Kind of the caller who gets it.
    visibility : Visibility
        Under which the photo was sent.
    is_released : bool
        An operator released it as a control image.
    """

    audience: Audience
    visibility: Visibility
    is_released: bool = False


class Keeper:
    """Stores pictures and a record that is done; it is the record that makes them a prediction.

    Whoever dies in between leaves pictures that nobody knows of, which expire.

    Parameters
    ----------
    store : ObjectStore
    table : PredictionTable
    settings : Settings
    now : callable, optional
    visibility_of : callable, optional
        From a model's name to its visibility, which the sender of a photo is promised.
    """

    def __init__(
        self,
        store: ObjectStore,
        table: PredictionTable,
        settings: Settings,
        now: Callable[[], datetime] = utc_now,
        visibility_of: Callable[[str], Visibility] = lambda model: Visibility.PRIVATE,
    ) -> None:
        self._store = store
        self._table = table
        self._settings = settings
        self._now = now
        self._visibility_of = visibility_of
        self._senders = Senders(store)

    def keep(
        self,
        look: Look,
        correlation_id: str,
        options: Options | None = None,
        *,
        sender: str = "",
        task: TaskTerms | None = None,
    ) -> Prediction:
        """Keep an answer with its picture.

        Parameters
        ----------
        look : Look
            The answer and the decoded picture.
        correlation_id : str
        options : Options, optional
            What was asked of the detector.
        sender : str, optional
            Who sent it, as ``caller`` names them; empty where nobody is to be known.
        task : TaskTerms, optional
            Of somebody else's photo that is handed out as a task.

        Raises
        ------
        InvalidImage
            A side is longer than a JPEG can have.
        """
        prediction_id = keys.new_prediction_id()
        model = look.answer.model
        sender_key = self._senders.note(sender, prediction_id)
        left = leave(self._store, prediction_id, look)
        record = self._record(prediction_id, model, task, sender_key, correlation_id)
        record = record.model_copy(update={"options": options or Options()})
        kept = self._table.create(left.done(self._now)(record))
        metrics.add_metric("PredictionsKept", MetricUnit.Count, 1)
        logger.info("prediction kept", prediction_id=prediction_id, model=kept.model)
        return kept

    def _record(
        self,
        prediction_id: str,
        model: str,
        task: TaskTerms | None,
        sender_key: str,
        correlation_id: str,
    ) -> Prediction:
        """Return the record of a photo, without its answer."""
        now = self._now()
        return Prediction(
            prediction_id=prediction_id,
            model=model,
            visibility=task.visibility if task else self._visibility_of(model),
            sender_key=sender_key,
            task_for=task.audience if task else None,
            is_released=bool(task and task.is_released),
            key="",
            file_name="",
            correlation_id=correlation_id,
            created_at=now,
            updated_at=now,
            uploaded_at=now,
            expires_at=epoch(now + timedelta(days=self._settings.prediction_ttl_days)),
        )

    def keep_unseen(
        self, model: str, data: bytes, correlation_id: str, sender: str = ""
    ) -> Prediction:
        """Keep a picture for a model that cannot look at it yet: version 0, nothing detected.

        Raises
        ------
        InvalidImage
            As ``decode_image``; or a side is longer than a JPEG can have.
        """
        look = unseen(model, data, self._settings.max_pixels)
        return self.keep(look, correlation_id, sender=sender)
