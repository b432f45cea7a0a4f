"""The worker: from a message on `identify` to pictures, a record and a message on `results`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.errors import Conflict, MalformedMessage, PayloadTooLarge, SightloopError
from chalicelib.inference import Inference, Look
from chalicelib.observability import MetricUnit, bind_correlation_id, logger, metrics
from chalicelib.predictions.announce import Announcer
from chalicelib.predictions.eraser import erase_files
from chalicelib.predictions.leavings import Leavings, leave
from chalicelib.predictions.messages import IdentifyMessage, prediction_named_in
from chalicelib.predictions.model import Prediction, Problem, State, epoch, utc_now
from chalicelib.predictions.table import PredictionTable
from chalicelib.predictions.unseen import unseen
from chalicelib.settings import Settings
from chalicelib.storage import ObjectStore


@dataclass(frozen=True)
class Stores:
    """The two buckets."""

    uploads: ObjectStore
    store: ObjectStore


class Worker:
    """Does one message at a time; doing it twice leaves what doing it once leaves.

    Effects are stored in this order: pictures, record, results message, a note that it was sent.
    A worker that dies anywhere in between leaves the message unacknowledged; the next one starts
    at the first effect that is missing.

    Parameters
    ----------
    stores : Stores
    table : PredictionTable
    announcer : Announcer
    inference : Inference
    settings : Settings
    now : callable, optional
    """

    def __init__(
        self,
        stores: Stores,
        table: PredictionTable,
        announcer: Announcer,
        inference: Inference,
        settings: Settings,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._stores = stores
        self._table = table
        self._announcer = announcer
        self._inference = inference
        self._settings = settings
        self._now = now

    def identify(self, message: IdentifyMessage) -> Prediction:
        """Answer a message for good; when this returns, it may be acknowledged.

        An upload that cannot be used is an answer as well: ``failed``, with the problem.

        Raises
        ------
        SightloopError
            We failed, not the upload: the message has to come again.
        """
        bind_correlation_id(message.correlation_id)
        held = self._table.find(message.prediction_id) or self._record_of(message)
        if held.state is State.DELETED:
            erase_files(self._stores.store, held.prediction_id)  # of a worker that was killed
            return held
        if held.is_settled:
            logger.info("answered already", prediction_id=held.prediction_id)
            return self._announcer.announce(held)
        held = self._claimed(held, message)
        answered = self._table.update(held, self._answer(held, message))
        if answered.state is State.DELETED:
            erase_files(self._stores.store, held.prediction_id)
            return answered
        self._measure(answered, message)
        return self._announcer.announce(answered)

    def give_up(self, body: str, error: Exception, receives: int) -> Prediction | None:
        """Mark the prediction of a message that goes to the dead-letter queue as failed.

        Returns ``None`` where the message is so malformed that it names no prediction.
        """
        held = self._named_in(body)
        if held is None:
            return None
        reason = error.detail if isinstance(error, SightloopError) else type(error).__name__
        return self._announcer.fail(
            held, Problem.with_us(f"given up after {receives} attempts; the last one: {reason}")
        )

    def _claimed(self, held: Prediction, message: IdentifyMessage) -> Prediction:
        """Note which file counts, where the message came before the intake could note it."""
        if held.state is not State.WAITING or not message.etag:
            return held
        keep = timedelta(days=self._settings.prediction_ttl_days)
        return self._table.update(held, lambda old: old.queued(self._now(), message.file, keep))

    def _answer(
        self, held: Prediction, message: IdentifyMessage
    ) -> Callable[[Prediction], Prediction]:
        """Look at the picture, and return how that changes the record."""
        try:
            return self._detect(held, message).done(self._now)
        except SightloopError as error:
            if error.retry or error.status >= 500:
                raise
            logger.info("upload cannot be used", problem=error.title, detail=error.detail)
            problem = Problem.with_upload(error)
            return lambda held: held.failed(self._now(), problem)

    def _detect(self, held: Prediction, message: IdentifyMessage) -> Leavings:
        """Download, detect, and store both pictures."""
        image = self._download(message.key, held.etag, held.object_version)
        return leave(self._stores.store, message.prediction_id, self._look(message, image))

    def _look(self, message: IdentifyMessage, image: bytes) -> Look:
        """Have the model look at a picture, if it has a version that can."""
        if message.unseen:
            return unseen(message.model, image, self._settings.max_pixels)
        options = message.options.for_detector(self._settings.max_pixels)
        return self._inference.look(message.model, image, options)

    def _download(self, key: str, etag: str, version: str) -> bytes:
        """Read the file that arrived first, unless it is larger than the form allowed.

        Not every S3 checks the size; where the bucket keeps no versions, the ETag tells whether
        another file was sent to the same key meanwhile.
        """
        size, most = self._stores.uploads.size(key, version), self._settings.max_upload_bytes
        if size > most:
            raise PayloadTooLarge(f"the upload has {size} bytes: at most {most} are allowed")
        stored = self._stores.uploads.get(key, version)
        if etag and stored.etag.strip('"') != etag:
            raise Conflict("another file was sent in its place: ask for another form")
        return stored.body

    def _named_in(self, body: str) -> Prediction | None:
        named = prediction_named_in(body)
        if named and (held := self._table.find(named)):
            return held
        try:
            return self._record_of(IdentifyMessage.parse(body))
        except MalformedMessage:
            return None

    def _record_of(self, message: IdentifyMessage) -> Prediction:
        """Rebuild a record that is not there; it is stored with its answer."""
        now = self._now()
        known = message.model_dump(exclude={"schema_version"})
        expires = now + timedelta(days=self._settings.prediction_ttl_days)
        return Prediction(**known, created_at=now, updated_at=now, expires_at=epoch(expires))

    def _measure(self, answered: Prediction, message: IdentifyMessage) -> None:
        waited = (answered.updated_at - message.uploaded_at).total_seconds()
        outcome = "PredictionsDone" if answered.problem is None else "PredictionsFailed"
        metrics.add_metric(outcome, MetricUnit.Count, 1)
        metrics.add_metric("UploadToAnswer", MetricUnit.Seconds, max(0.0, waited))
        logger.info("answered", prediction_id=answered.prediction_id, state=answered.state)
