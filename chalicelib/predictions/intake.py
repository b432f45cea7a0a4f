"""What happens when a file is in the bucket, asked for or not: it goes onto the identify queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from chalicelib.observability import MetricUnit, bind_correlation_id, logger, metrics
from chalicelib.predictions import keys
from chalicelib.predictions.messages import IdentifyMessage
from chalicelib.predictions.model import ArrivedFile, Prediction, State, epoch, utc_now
from chalicelib.predictions.table import PredictionTable
from chalicelib.queues import Queue
from chalicelib.settings import Settings
from chalicelib.storage import ObjectStore


class Intake:
    """Puts every file that arrives on the identify queue, and makes the prediction it lacks.

    Parameters
    ----------
    uploads : ObjectStore
        The uploads bucket.
    table : PredictionTable
    identify : Queue
    settings : Settings
    now : callable, optional
    """

    def __init__(
        self,
        uploads: ObjectStore,
        table: PredictionTable,
        identify: Queue,
        settings: Settings,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._uploads = uploads
        self._table = table
        self._identify = identify
        self._settings = settings
        self._now = now

    def receive(self, file: ArrivedFile) -> Prediction | None:
        """Put a file that arrived on the identify queue, once; ``None`` where it names no model.

        The message is sent before the record says so: whoever dies in between is called again and
        sends it twice, which the worker bears; the other way round it would be lost. A second file
        under the key of a form changes nothing and is deleted.
        """
        parsed = keys.UploadKey.parse(file.key)
        if parsed is None:
            logger.warning("not an upload: expected uploads/<model>/…/<name>", key=file.key)
            metrics.add_metric("UploadsIgnored", MetricUnit.Count, 1)
            return None
        prediction = self._prediction_for(file, parsed)
        if prediction.state is State.DELETED:
            self._uploads.erase(file.key)
            logger.info("upload of a deleted prediction erased", key=file.key)
            return prediction
        bind_correlation_id(prediction.correlation_id)
        if prediction.state is not State.WAITING:
            logger.info("upload known already", prediction_id=prediction.prediction_id)
            self._delete_if_late(prediction, file)
            return prediction
        self._identify.send(IdentifyMessage.of(prediction, file))
        metrics.add_metric("UploadsQueued", MetricUnit.Count, 1)
        logger.info("upload queued", prediction_id=prediction.prediction_id, key=file.key)
        keep = timedelta(days=self._settings.prediction_ttl_days)
        queued = self._table.update(prediction, lambda held: held.queued(self._now(), file, keep))
        self._delete_if_late(queued, file)
        return queued

    def _delete_if_late(self, prediction: Prediction, file: ArrivedFile) -> None:
        """Delete a file that came under a prediction's key after the one that counts."""
        if prediction.is_of(file) or prediction.key != file.key:
            return
        if prediction.object_version and not file.version:
            return  # found in a listing, which names no version: its own event deletes it
        self._uploads.delete(file.key, file.version)
        metrics.add_metric("UploadsDiscarded", MetricUnit.Count, 1)
        logger.warning("a second file was deleted", prediction_id=prediction.prediction_id)

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
                self._dropped(prediction_id, file, parsed)
            )
            if held.key == file.key or held.state is State.DELETED:
                break
        return held

    def _dropped(self, prediction_id: str, file: ArrivedFile, parsed: keys.UploadKey) -> Prediction:
        now = self._now()
        return Prediction(
            prediction_id=prediction_id,
            model=parsed.model,
            key=file.key,
            file_name=parsed.name,
            correlation_id=prediction_id,
            created_at=now,
            updated_at=now,
            expires_at=epoch(now + timedelta(days=self._settings.prediction_ttl_days)),
        )
