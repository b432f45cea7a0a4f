"""How files come in: by a presigned form that we hand out, or straight into the bucket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from chalicelib.errors import UnsupportedMediaType
from chalicelib.observability import MetricUnit, bind_correlation_id, logger, metrics
from chalicelib.predictions import keys
from chalicelib.predictions.messages import IdentifyMessage, Queue
from chalicelib.predictions.model import Options, Prediction, State, epoch, utc_now
from chalicelib.predictions.table import PredictionTable
from chalicelib.settings import Settings
from chalicelib.storage import ObjectStore, PresignedPost

CONTENT_TYPES = frozenset({"image/jpeg", "image/png", "image/webp", "image/bmp"})
WAITS_LONGER_THAN_ITS_FORM = timedelta(days=1)


class KnowsModels(Protocol):
    """What the intake needs of the catalog."""

    def require(self, model: str) -> object:
        """Raise ``ModelNotFound`` unless the model serves."""


@dataclass(frozen=True)
class UploadTicket:
    """A prediction that waits for its file, and the form to send that file with."""

    prediction: Prediction
    form: PresignedPost
    max_bytes: int
    expires_at: datetime


@dataclass(frozen=True)
class ArrivedFile:
    """A file that is in the uploads bucket, as S3 tells of it."""

    key: str
    etag: str
    arrived_at: datetime


class Intake:
    """Hands out upload forms, and puts every file that arrives on the identify queue.

    Parameters
    ----------
    uploads : ObjectStore
        The uploads bucket.
    table : PredictionTable
    identify : Queue
    catalog : KnowsModels
    settings : Settings
    now : callable, optional
    """

    def __init__(
        self,
        uploads: ObjectStore,
        table: PredictionTable,
        identify: Queue,
        catalog: KnowsModels,
        settings: Settings,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._uploads = uploads
        self._table = table
        self._identify = identify
        self._catalog = catalog
        self._settings = settings
        self._now = now

    def offer(
        self,
        model: str,
        file_name: str,
        content_type: str,
        options: Options,
        correlation_id: str,
    ) -> UploadTicket:
        """Make a prediction that waits for its file, and the form to send that file with.

        Raises
        ------
        ModelNotFound
            No such model serves.
        UnsupportedMediaType
            The file is not of a type that we read.
        """
        if content_type not in CONTENT_TYPES:
            allowed = ", ".join(sorted(CONTENT_TYPES))
            raise UnsupportedMediaType(f"cannot read {content_type!r}: upload one of {allowed}")
        self._catalog.require(model)
        form_expires = self._now() + timedelta(seconds=self._settings.upload_expires_seconds)
        prediction_id = keys.new_prediction_id()
        prediction = self._waiting(
            prediction_id,
            model,
            keys.upload_key(model, prediction_id, file_name),
            file_name,
            expires=form_expires + WAITS_LONGER_THAN_ITS_FORM,
            correlation_id=correlation_id,
        ).model_copy(update={"content_type": content_type, "options": options})
        self._table.create(prediction)
        metrics.add_metric("UploadsOffered", MetricUnit.Count, 1)
        return self._ticket(prediction, form_expires)

    def receive(self, file: ArrivedFile) -> Prediction | None:
        """Put a file that arrived on the identify queue, once; ``None`` where it names no model.

        The message is sent before the record says so: whoever dies in between is called again and
        sends it twice, which the worker bears; the other way round it would be lost.
        """
        parsed = keys.UploadKey.parse(file.key)
        if parsed is None:
            logger.warning("not an upload: expected uploads/<model>/…/<name>", key=file.key)
            metrics.add_metric("UploadsIgnored", MetricUnit.Count, 1)
            return None
        prediction = self._prediction_for(file, parsed)
        bind_correlation_id(prediction.correlation_id)
        if prediction.state is not State.WAITING:
            logger.info("upload known already", prediction_id=prediction.prediction_id)
            return prediction
        self._identify.send(IdentifyMessage.of(prediction, file.arrived_at))
        metrics.add_metric("UploadsQueued", MetricUnit.Count, 1)
        logger.info("upload queued", prediction_id=prediction.prediction_id, key=file.key)
        keep = timedelta(days=self._settings.prediction_ttl_days)
        return self._table.update(
            prediction, lambda held: held.queued(self._now(), file.arrived_at, keep)
        )

    def ids_of(self, file: ArrivedFile) -> list[str]:
        """Return the ids that a file's prediction may have, the likelier first."""
        parsed = keys.UploadKey.parse(file.key)
        named = parsed.prediction_id if parsed else None
        dropped = keys.dropped_file_id(self._uploads.bucket, file.key, file.etag)
        return [named, dropped] if named else [dropped]

    def _prediction_for(self, file: ArrivedFile, parsed: keys.UploadKey) -> Prediction:
        """Find a file's prediction, or make one where it was put into the bucket unasked."""
        for prediction_id in self.ids_of(file):
            held = self._table.find(prediction_id) or self._table.create(
                self._waiting(
                    prediction_id,
                    parsed.model,
                    file.key,
                    parsed.name,
                    expires=self._now() + timedelta(days=self._settings.prediction_ttl_days),
                    correlation_id=prediction_id,
                )
            )
            if held.key == file.key:
                break
        return held

    def _waiting(
        self,
        prediction_id: str,
        model: str,
        key: str,
        file_name: str,
        *,
        expires: datetime,
        correlation_id: str,
    ) -> Prediction:
        now = self._now()
        return Prediction(
            prediction_id=prediction_id,
            model=model,
            key=key,
            file_name=file_name,
            correlation_id=correlation_id,
            created_at=now,
            updated_at=now,
            expires_at=epoch(expires),
        )

    def _ticket(self, prediction: Prediction, form_expires: datetime) -> UploadTicket:
        form = self._uploads.presigned_post(
            prediction.key,
            prediction.content_type,
            self._settings.max_upload_bytes,
            self._settings.upload_expires_seconds,
        )
        return UploadTicket(prediction, form, self._settings.max_upload_bytes, form_expires)
