"""`POST /v1/uploads` and `GET /v1/predictions/{prediction_id}`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from chalice.app import Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from chalicelib.catalog.model import ModelName
from chalicelib.errors import (
    DatabaseUnavailable,
    ModelNotFound,
    ModelUnavailable,
    PredictionNotFound,
    StorageUnavailable,
)
from chalicelib.inference.options import Options
from chalicelib.inference.routes import DetectionAnswer
from chalicelib.moment import Moment
from chalicelib.observability import correlation_id
from chalicelib.predictions.model import Problem, State
from chalicelib.predictions.offers import Upload, UploadTicket
from chalicelib.predictions.reader import PredictionView
from chalicelib.quotas import UPLOADS
from chalicelib.web.api import Api, Media, json_response, prediction_path
from chalicelib.web.identity import caller
from chalicelib.wiring import services

api = Api(__name__, tag="predictions")

PredictionId = Annotated[
    str,
    Field(
        description="as POST /v1/uploads answered it, or a detection with keep=true",
        examples=["6f0c1a52-6f7e-4d5e-9a57-2d0f3c1b7a11"],
        json_schema_extra={"format": "uuid"},
    ),
]
ASK_AGAIN_SECONDS = "1"
GO_ON = {
    "operationId": "showPrediction",
    "parameters": {"prediction_id": "$response.body#/prediction_id"},
    "description": "Once the file is sent, ask what became of it.",
}


class UploadOptions(Options):
    """What the uploader asks of the detector."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_a_number(cls, given: object) -> object:
        """Refuse what pydantic takes for a number, but JSON does not."""
        if isinstance(given, bool | str):
            raise ValueError("give a number")
        return given


class UploadedFile(BaseModel):
    """A file that is to be uploaded."""

    model_config = ConfigDict(extra="forbid")

    file_name: str = Field(
        min_length=1, max_length=255, description="comes back in the answer", examples=["tag.jpg"]
    )
    content_type: Literal["image/jpeg", "image/png", "image/webp", "image/bmp"]


class UploadRequest(UploadedFile):
    """A file that is to be uploaded, and who is to look at it."""

    model: ModelName = Field(description="that is to look at it", examples=["scratch"])
    options: UploadOptions = UploadOptions()


class UploadForm(BaseModel):
    """Send it as multipart/form-data: all fields as they are, then the field `file`, last."""

    url: str
    fields: dict[str, str]
    max_bytes: int = Field(description="a larger file is refused")
    expires_at: Moment


class UploadLinks(BaseModel):
    """Where to go on."""

    prediction: str = Field(description="GET it until its state is done or failed")


class UploadAnswer(BaseModel):
    """A prediction that waits for its file, and the form to send that file with."""

    prediction_id: str
    model: str
    state: State
    upload: UploadForm
    links: UploadLinks


class PredictionLinks(BaseModel):
    """Links that need no credentials; those to pictures are good for an hour."""

    self: str
    image: str | None = Field(description="the upright original as a JPEG, once done")
    annotated: str | None = Field(description="the picture with its boxes drawn, once done")


class PredictionAnswer(BaseModel):
    """An upload, or an image whose detection was kept, and what became of it."""

    prediction_id: str
    model: str
    file_name: str
    state: State = Field(
        description="waiting: for the file; queued: for a worker; failed: see problem; done"
    )
    created_at: Moment
    updated_at: Moment
    version: int | None = Field(description="that looked at it; 0: the model had none")
    result: DetectionAnswer | None
    problem: Problem | None
    links: PredictionLinks


OFFERED: dict[int, Any] = {
    201: Media(
        {"application/json": UploadAnswer},
        headers={"Location": "the prediction's path"},
        links={"prediction": GO_ON},
    )
}


@api.route(
    "POST",
    "/v1/uploads",
    "Ask for a form to upload an image with",
    OFFERED,
    body=UploadRequest,
    errors=(ModelNotFound, ModelUnavailable, StorageUnavailable, DatabaseUnavailable),
    quota=UPLOADS,
)
def offer_upload(body: UploadRequest) -> Response:
    """Make a prediction and a form to send its image with, for images too large for one call."""
    options = Options(**body.options.model_dump())
    sender = caller(api.request)
    upload = Upload(body.model, body.file_name, body.content_type, options, sender=sender)
    return _offered(services().upload_desk.offer(upload, correlation_id()))


@api.route(
    "POST",
    "/v1/pending-models/{model}/uploads",
    "Ask for a form to bring a large image with, for a model that has no version yet",
    OFFERED,
    body=UploadedFile,
    errors=(ModelNotFound, StorageUnavailable, DatabaseUnavailable),
    quota=UPLOADS,
)
def offer_pending_upload(model: ModelName, body: UploadedFile) -> Response:
    """Make a prediction and a form to send its image with; once it is there, it can be labelled."""
    services().pending_models.get(model)
    sender = caller(api.request)
    upload = Upload(model, body.file_name, body.content_type, unseen=True, sender=sender)
    return _offered(services().upload_desk.offer(upload, correlation_id()))


@api.route(
    "GET",
    "/v1/predictions/{prediction_id}",
    "Show what became of an upload",
    {
        200: Media(
            {"application/json": PredictionAnswer},
            headers={"Retry-After": "seconds after which to ask again, until there is an answer"},
        )
    },
    errors=(PredictionNotFound, StorageUnavailable, DatabaseUnavailable),
)
def show_prediction(prediction_id: PredictionId) -> Response:
    """Return an upload's state and, once it is done, its boxes and links to its pictures."""
    view = services().predictions.read(prediction_id)
    answer = json_response(_prediction_answer(view))
    if not view.prediction.has_answer:
        answer.headers["Retry-After"] = ASK_AGAIN_SECONDS
    return answer


def _offered(ticket: UploadTicket) -> Response:
    answer = json_response(_upload_answer(ticket), 201)
    answer.headers["Location"] = _link(ticket.prediction.prediction_id)
    return answer


def _upload_answer(ticket: UploadTicket) -> UploadAnswer:
    prediction = ticket.prediction
    return UploadAnswer(
        prediction_id=prediction.prediction_id,
        model=prediction.model,
        state=prediction.state,
        upload=UploadForm(
            url=ticket.form.url,
            fields=dict(ticket.form.fields),
            max_bytes=ticket.max_bytes,
            expires_at=ticket.expires_at,
        ),
        links=UploadLinks(prediction=_link(prediction.prediction_id)),
    )


def _prediction_answer(view: PredictionView) -> PredictionAnswer:
    prediction = view.prediction
    return PredictionAnswer.model_validate(
        {
            **prediction.model_dump(include=set(PredictionAnswer.model_fields) - {"result"}),
            "result": view.result,
            "links": PredictionLinks(
                self=_link(prediction.prediction_id),
                image=view.image_url,
                annotated=view.annotated_url,
            ),
        }
    )


def _link(prediction_id: str) -> str:
    return prediction_path(api.request, prediction_id)
