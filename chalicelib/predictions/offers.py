"""Upload forms: a prediction that waits, and a presigned form to send its file with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from chalicelib.catalog.visibility import Visibility
from chalicelib.errors import UnsupportedMediaType
from chalicelib.inference.options import Options
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.predictions import keys
from chalicelib.predictions.model import Prediction, epoch, utc_now
from chalicelib.predictions.senders import Senders
from chalicelib.predictions.table import PredictionTable
from chalicelib.settings import Settings
from chalicelib.storage import ObjectStore, PresignedPost

if TYPE_CHECKING:
    from chalicelib.catalog import Catalog

CONTENT_TYPES = frozenset({"image/jpeg", "image/png", "image/webp", "image/bmp"})
WAITS_LONGER_THAN_ITS_FORM = timedelta(days=1)


@dataclass(frozen=True)
class Upload:
    """A file that somebody wants to upload; ``unseen``: for a model that has no version yet.

    ``sender`` is who uploads, as ``caller`` names them; empty where nobody is to be known.
    """

    model: str
    file_name: str
    content_type: str
    options: Options = field(default_factory=Options)
    unseen: bool = False
    sender: str = ""


@dataclass(frozen=True)
class UploadTicket:
    """A prediction that waits for its file, and the form to send that file with."""

    prediction: Prediction
    form: PresignedPost
    max_bytes: int
    expires_at: datetime


class UploadDesk:
    """Hands out upload forms.

    Parameters
    ----------
    uploads : ObjectStore
        The uploads bucket.
    table : PredictionTable
    catalog : Catalog
    settings : Settings
    now : callable, optional
    visibility_of : callable, optional
        From a model's name to its visibility, which the sender of a photo is promised.
    senders : Senders, optional
        Who remembers what callers with a token sent.
    """

    def __init__(
        self,
        uploads: ObjectStore,
        table: PredictionTable,
        catalog: Catalog,
        settings: Settings,
        now: Callable[[], datetime] = utc_now,
        visibility_of: Callable[[str], Visibility] = lambda model: Visibility.PRIVATE,
        senders: Senders | None = None,
    ) -> None:
        self._uploads = uploads
        self._table = table
        self._catalog = catalog
        self._settings = settings
        self._now = now
        self._visibility_of = visibility_of
        self._senders = senders

    def offer(self, upload: Upload, correlation_id: str) -> UploadTicket:
        """Make a prediction that waits for its file, and the form to send that file with.

        That a model without a version is asked for has to be seen to before.

        Raises
        ------
        ModelNotFound
            No such model serves, and one is to look at the file.
        UnsupportedMediaType
            The file is not of a type that we read.
        """
        if upload.content_type not in CONTENT_TYPES:
            allowed = ", ".join(sorted(CONTENT_TYPES))
            raise UnsupportedMediaType(
                f"cannot read {upload.content_type!r}: upload one of {allowed}"
            )
        if not upload.unseen:
            self._catalog.require(upload.model)
        form_expires = self._now() + timedelta(seconds=self._settings.upload_expires_seconds)
        prediction = self._waiting(upload, correlation_id, form_expires)
        ticket = UploadTicket(
            prediction, self._form(prediction), self._settings.max_upload_bytes, form_expires
        )
        self._table.create(prediction)
        metrics.add_metric("UploadsOffered", MetricUnit.Count, 1)
        logger.info("upload offered", prediction_id=prediction.prediction_id, model=upload.model)
        return ticket

    def _waiting(self, upload: Upload, correlation_id: str, form_expires: datetime) -> Prediction:
        prediction_id = keys.new_prediction_id()
        now = self._now()
        note = self._senders.note if self._senders else lambda sender, prediction_id: ""
        return Prediction(
            prediction_id=prediction_id,
            model=upload.model,
            key=keys.upload_key(upload.model, prediction_id, upload.file_name),
            file_name=upload.file_name,
            content_type=upload.content_type,
            options=upload.options,
            unseen=upload.unseen,
            visibility=self._visibility_of(upload.model),
            sender_key=note(upload.sender, prediction_id),
            correlation_id=correlation_id,
            created_at=now,
            updated_at=now,
            expires_at=epoch(form_expires + WAITS_LONGER_THAN_ITS_FORM),
        )

    def _form(self, prediction: Prediction) -> PresignedPost:
        return self._uploads.presigned_post(
            prediction.key,
            prediction.content_type,
            self._settings.max_upload_bytes,
            self._settings.upload_expires_seconds,
        )
