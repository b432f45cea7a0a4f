"""The one exception tree. Each leaf says which HTTP answer it is and whether a retry can help.

::

    SightloopError                   500
    ├── InvalidRequest               400  the request is malformed: fix it
    │   ├── InvalidImage             422  the bytes are not a picture we can use
    │   │   ├── EmptyImage                no bytes, or a side of zero pixels
    │   │   ├── NotAnImage                no decoder knows these bytes
    │   │   ├── TruncatedImage            the picture breaks off or is corrupt
    │   │   ├── AnimatedImage             more than one frame
    │   │   └── TooManyPixels             over the pixel limit (decompression bomb)
    │   ├── InvalidArchive           422  a ZIP that cannot be imported
    │   ├── InvalidLabel             422  boxes or classes that cannot be
    │   └── InvalidSubmission        422  an answer with faults: each is named by its box
    ├── NotFound                     404
    │   ├── ModelNotFound
    │   ├── ModelVersionNotFound
    │   ├── PredictionNotFound
    │   ├── BanNotFound
    │   ├── ImageNotFound                  not in this dataset
    │   ├── DatasetVersionNotFound
    │   ├── NoTask                        nothing needs another look at the moment
    │   ├── TrainingJobNotFound
    │   └── ObjectNotFound                no such key in the bucket
    ├── Unauthorized                 401  a token is wanted, or the one sent is not good
    ├── Forbidden                    403  the caller may not do this
    │   ├── OperatorsOnly                 a user's token where an operator's is wanted
    │   └── Banned                        says since when, and how to appeal
    ├── MethodNotAllowed             405
    ├── NotAcceptable                406  we cannot answer in that media type
    ├── Conflict                     409
    ├── …                            409, 422, 429: see refusals.py
    ├── PayloadTooLarge              413  send it through POST /v1/uploads
    ├── UnsupportedMediaType         415
    ├── InvalidModel                 500  an ONNX file we cannot serve
    ├── MalformedMessage             500  a queue's message that we cannot read
    ├── TelegramRefused              500  the chat or the message is gone
    ├── InvalidManifest              500  a dataset version that is not what it is named
    ├── ConfigurationError           500  the service is set up wrongly
    └── Unavailable                  503  a part we need does not answer: retry
        ├── NotReady                  a detection would not succeed yet
        ├── ModelUnavailable          the live version of one model cannot be opened
        ├── OutOfTime                 the call, or the pictures before this one, took too long
        ├── StorageUnavailable
        ├── SecretsUnavailable
        ├── TelegramUnavailable
        ├── QueueUnavailable
        ├── EndpointUnavailable       of SageMaker; this process detects by itself then
        ├── DatabaseUnavailable
        └── NoDatabase                this deployment detects only: nothing to retry
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

PROBLEM = "urn:sightloop:problem:"


class SightloopError(Exception):
    """Root of everything Sightloop raises on purpose.

    Parameters
    ----------
    detail : str
        One sentence for the caller: what was wrong and what to do.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retry: ClassVar[bool] = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @classmethod
    def type_uri(cls) -> str:
        """Return the stable name of this kind of problem, which programs look at.

        >>> ModelNotFound.type_uri()
        'urn:sightloop:problem:model-not-found'
        """
        name = "InternalError" if cls is SightloopError else cls.__name__
        return PROBLEM + re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


class InvalidRequest(SightloopError):
    """The request is malformed; sending it again unchanged cannot help."""

    status = 400
    title = "Invalid request"


class InvalidImage(InvalidRequest):
    """The bytes are not a picture that can be used."""

    status = 422
    title = "Invalid image"


class EmptyImage(InvalidImage):
    """There are no bytes, or the picture has a side of zero pixels."""

    title = "Empty image"


class NotAnImage(InvalidImage):
    """No decoder recognises the bytes."""

    title = "Not an image"


class TruncatedImage(InvalidImage):
    """The picture breaks off or is corrupt."""

    title = "Truncated image"


class AnimatedImage(InvalidImage):
    """The picture has more than one frame."""

    title = "Animated image"


class TooManyPixels(InvalidImage):
    """The picture is over the pixel limit, as a decompression bomb is."""

    title = "Too many pixels"


class InvalidArchive(InvalidRequest):
    """A ZIP of images and labels that cannot be imported; its report names each fault."""

    status = 422
    title = "Invalid archive"


class InvalidLabel(InvalidRequest):
    """Boxes or classes that cannot be: outside the image, degenerate, unknown."""

    status = 422
    title = "Invalid label"


class InvalidSubmission(InvalidRequest):
    """An answer to a prediction that cannot be taken; each fault is named by its box.

    Parameters
    ----------
    faults : Sequence of (where, what)
        The first hundred are told.
    """

    status = 422
    title = "Invalid submission"

    def __init__(self, faults: Sequence[tuple[str, str]] | str) -> None:
        named = [("body", faults)] if isinstance(faults, str) else [*faults]
        self.faults = [{"where": where, "what": what} for where, what in named[:100]]
        told = "; ".join(f"{where}: {what}" for where, what in named[:10])
        more = f"; and {len(named) - 10} more" if len(named) > 10 else ""
        super().__init__(told + more)


class NotFound(SightloopError):
    """The thing that was asked for does not exist."""

    status = 404
    title = "Not found"


class ModelNotFound(NotFound):
    """No model of that name, or no live version of it."""

    title = "Model not found"


class ModelVersionNotFound(NotFound):
    """The model has no version of that number."""

    title = "Model version not found"


class PredictionNotFound(NotFound):
    """No prediction with that id, or it has expired."""

    title = "Prediction not found"


class BanNotFound(NotFound):
    """The user is not banned."""

    title = "Ban not found"


class ImageNotFound(NotFound):
    """The dataset has no such image, nor ever had."""

    title = "Image not found"


class DatasetVersionNotFound(NotFound):
    """No version of the dataset goes by that name."""

    title = "Dataset version not found"


class NoTask(NotFound):
    """Nothing of this model needs another look at the moment."""

    title = "No task"


class TrainingJobNotFound(NotFound):
    """No training job has that id."""

    title = "Training job not found"


class ObjectNotFound(NotFound):
    """No object under that key in the bucket."""

    title = "Object not found"


class Unauthorized(SightloopError):
    """A token is wanted, or the one that was sent is not good."""

    status = 401
    title = "Unauthorized"


class Forbidden(SightloopError):
    """The caller may not do this."""

    status = 403
    title = "Forbidden"


class OperatorsOnly(Forbidden):
    """The token is a user's, and this is for operators."""

    title = "Operators only"


class Banned(Forbidden):
    """The caller is banned from everything that writes.

    Parameters
    ----------
    user_address : str
    since : datetime
        When the ban began.
    appeal : str
        How to have it lifted.
    """

    title = "Banned"

    def __init__(self, user_address: str, since: datetime, appeal: str) -> None:
        super().__init__(
            f"{user_address} is banned since {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC from all "
            f"that writes, for what was sent before; to appeal: {appeal}"
        )
        self.since = since
        self.appeal = appeal


class MethodNotAllowed(SightloopError):
    """The route exists, but not for this method."""

    status = 405
    title = "Method not allowed"


class NotAcceptable(SightloopError):
    """None of the media types in ``Accept`` can be produced."""

    status = 406
    title = "Not acceptable"


class Conflict(SightloopError):
    """The request contradicts the present state."""

    status = 409
    title = "Conflict"


class PayloadTooLarge(SightloopError):
    """The body is over what a synchronous call can carry."""

    status = 413
    title = "Payload too large"


class UnsupportedMediaType(SightloopError):
    """The body's content type is not one we read."""

    status = 415
    title = "Unsupported media type"


class InvalidModel(SightloopError):
    """An ONNX file that cannot be served: broken, or without the metadata we need."""

    title = "Invalid model"


class MalformedMessage(SightloopError):
    """A message on a queue that is not of a schema we read."""

    title = "Malformed message"


class TelegramRefused(SightloopError):
    """Telegram will not do this, however often it is asked: the chat or message is gone, say."""

    title = "Refused by Telegram"


class InvalidManifest(SightloopError):
    """A dataset version that is damaged, or images that are not those that it names."""

    title = "Invalid manifest"


class ConfigurationError(SightloopError):
    """The service is set up wrongly; an operator has to mend it."""

    title = "Configuration error"


class Unavailable(SightloopError):
    """A part we need does not answer at the moment; the same call may succeed later."""

    status = 503
    title = "Temporarily unavailable"
    retry = True


class NotReady(Unavailable):
    """A detection would not succeed: no model serves yet, or none of them loads."""

    title = "Not ready"


class ModelUnavailable(Unavailable):
    """The live version of this model cannot be opened or run; another may be published."""

    title = "Model unavailable"


class OutOfTime(Unavailable):
    """The call took too long, or the pictures before this one did: send it in another call."""

    title = "Out of time"


class StorageUnavailable(Unavailable):
    """S3 does not answer."""


class SecretsUnavailable(Unavailable):
    """Secrets Manager does not answer."""


class TelegramUnavailable(Unavailable):
    """Telegram does not answer, or wants us to wait ``retry_after`` seconds; 0: it did not say."""

    def __init__(self, detail: str, retry_after: int = 0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class QueueUnavailable(Unavailable):
    """SQS does not answer."""


class EndpointUnavailable(Unavailable):
    """The SageMaker endpoint does not answer, or not what we understand."""


class DatabaseUnavailable(Unavailable):
    """PostgreSQL or DynamoDB does not answer."""


class NoDatabase(Unavailable):
    """No database is attached to this deployment: it detects, and takes nothing else."""

    title = "No database attached"
    retry = False
