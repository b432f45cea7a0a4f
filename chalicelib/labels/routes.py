"""Submissions: what people say is on an image, and images for models that cannot look yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from chalice.app import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from chalicelib.catalog import ModelName
from chalicelib.errors import (
    Conflict,
    DatabaseUnavailable,
    InvalidImage,
    InvalidSubmission,
    ModelNotFound,
    ModelUnavailable,
    NoDatabase,
    PredictionNotFound,
    SightloopError,
    StorageUnavailable,
    UnsupportedMediaType,
)
from chalicelib.inference.bodies import RAW_TYPES
from chalicelib.inference.routes import BINARY
from chalicelib.observability import correlation_id, logger
from chalicelib.web.api import (
    Api,
    Media,
    json_response,
    media_type,
    prediction_path,
    raw_body,
)
from chalicelib.web.identity import caller
from chalicelib.wiring import services

if TYPE_CHECKING:
    from chalicelib.labels.case import Submitted
    from chalicelib.labels.submitted import GivenBox

api = Api(__name__, tag="submissions")

MOST_IN_A_BODY = 20_000  # boxes; how many are taken is told with the other faults
ERRORS = (
    PredictionNotFound,
    ModelNotFound,
    Conflict,
    InvalidSubmission,
    ModelUnavailable,
    StorageUnavailable,
    DatabaseUnavailable,
    NoDatabase,
)


class GivenEdges(BaseModel):
    """Left, top, right, bottom in pixels of the upright original."""

    model_config = ConfigDict(strict=True, extra="forbid")

    x1: float = Field(examples=[182.1])
    y1: float = Field(examples=[85.4])
    x2: float = Field(examples=[258.0])
    y2: float = Field(examples=[227.2])


class SubmittedBox(BaseModel):
    """One object; a detection of an answer may be sent back as it is."""

    model_config = ConfigDict(strict=True, extra="forbid")

    class_id: int | None = Field(None, description="this or class_name; both must agree")
    class_name: Annotated[str, Field(max_length=1000)] | None = Field(None, examples=["scratch"])
    box: GivenEdges
    confidence: float | None = Field(None, description="not looked at")

    def given(self) -> GivenBox:
        """Return it as it is checked."""
        from chalicelib.labels.submitted import GivenBox  # noqa: PLC0415 - loads what no page needs

        edges = self.box
        return GivenBox(edges.x1, edges.y1, edges.x2, edges.y2, self.class_id, self.class_name)


class Submission(BaseModel):
    """An answer to a prediction."""

    model_config = ConfigDict(strict=True, extra="forbid")

    prediction_id: str = Field(
        max_length=100,
        description="of an upload, or of a detection with keep=true",
        examples=["6f0c1a52-6f7e-4d5e-9a57-2d0f3c1b7a11"],
    )
    answer: Literal["corrected", "confirmed", "empty"] = Field(
        description="corrected: these are the boxes; confirmed: those shown are right; "
        "empty: there is nothing to see"
    )
    boxes: list[SubmittedBox] = Field(
        default=[],
        max_length=MOST_IN_A_BODY,
        description="with corrected all there are; with the others none",
    )


class BoxCounts(BaseModel):
    """How many boxes became what, compared with the service's own detection."""

    kept: int
    moved: int
    relabelled: int
    removed: int
    added: int


class OfferedTask(BaseModel):
    """An image that you are asked to check next."""

    prediction_id: str = Field(description="as GET /v1/predictions/… shows it")
    model: str = Field(examples=["scratch"])


class SubmissionAnswer(BaseModel):
    """What became of a submission."""

    submission_id: int = Field(examples=[17])
    prediction_id: str
    model: str = Field(examples=["scratch"])
    version: int = Field(description="that predicted; 0: the model had none", examples=[1])
    state: Literal["accepted", "quarantined", "rejected"] = Field(
        description="accepted: it counts; quarantined: it waits; rejected: it is not used"
    )
    waits_for: Literal["proof", "opinions", "operator"] | None = Field(
        description="proof: you have to check a few images, or others agree; opinions: others "
        "have to agree; operator: a person who runs this looks first; null: it does not wait"
    )
    task: OfferedTask | None = Field(
        description="an image to check next, by the same route: so what you send counts sooner"
    )
    message: str = Field(description="the same in words for whoever sent it")
    score: float = Field(ge=0, le=1, description="how likely it is that it spoils the boxes")
    changes: BoxCounts
    change: Literal["new", "updated", "same"] = Field(
        description="whether you had answered this prediction before, and otherwise"
    )


@api.route(
    "POST",
    "/v1/models/{model}/submissions",
    "Correct or confirm the boxes of a prediction",
    {201: SubmissionAnswer, 200: SubmissionAnswer},
    body=Submission,
    errors=ERRORS,
)
def submit(model: ModelName, body: Submission) -> Response:
    """Take what is to be seen on an image, and tell what becomes of it.

    It may be sent again: the same once more changes nothing (200), other boxes replace those that
    you sent before for this prediction, and both count once.
    """
    return answered(api.request, model, body)


@api.route(
    "POST",
    "/v1/pending-models/{model}/submissions",
    "Say what is on an image for a model that has no version yet",
    {201: SubmissionAnswer, 200: SubmissionAnswer},
    body=Submission,
    errors=ERRORS,
)
def submit_to_pending(model: ModelName, body: Submission) -> Response:
    """Take what is to be seen on an image that was brought, and tell what becomes of it."""
    services().pending_models.get(model)
    return answered(api.request, model, body)


class BroughtImage(BaseModel):
    """An image that waits for somebody to say what is on it."""

    prediction_id: str
    model: str


@api.route(
    "POST",
    "/v1/pending-models/{model}/images",
    "Bring an image for a model that has no version yet",
    {201: Media({"application/json": BroughtImage}, headers={"Location": "the prediction's path"})},
    body=Media(dict.fromkeys(RAW_TYPES, BINARY)),
    errors=(ModelNotFound, InvalidImage, StorageUnavailable, DatabaseUnavailable),
)
def bring_image(model: ModelName) -> Response:
    """Keep an image as a prediction of version 0, in which nothing is found, to be labelled."""
    if media_type(api.request) not in RAW_TYPES:
        raise UnsupportedMediaType(f"send the image itself, as one of {', '.join(RAW_TYPES)}")
    services().pending_models.get(model)
    kept = services().keeper.keep_unseen(model, raw_body(api.request), correlation_id())
    answer = json_response(BroughtImage(prediction_id=kept.prediction_id, model=model), 201)
    answer.headers["Location"] = prediction_path(api.request, kept.prediction_id)
    return answer


def answered(request: Request, model: str, body: Submission) -> Response:
    """Take a submission, to a model that serves or one that is asked for, and answer it."""
    submissions = services().submissions
    boxes = [box.given() for box in body.boxes]
    told = submissions.submit(model, body.prediction_id, caller(request), body.answer, boxes)
    task = _offered(caller(request), model)
    answer = _answer(body.prediction_id, told, task)
    return json_response(answer, 200 if told.change == "same" else 201)


def _offered(user: str, model: str) -> OfferedTask | None:
    """Return an image to check next; what was submitted stands where none can be had."""
    try:
        offered = services().reviewing.tasks.offer(user, model, correlation_id())
    except SightloopError:
        logger.warning("no task can be offered now", exc_info=True)
        return None
    if offered is None:
        return None
    return OfferedTask(prediction_id=offered.prediction_id, model=offered.model)


def _answer(prediction_id: str, told: Submitted, task: OfferedTask | None) -> SubmissionAnswer:
    return SubmissionAnswer.model_validate(
        {**vars(told), "prediction_id": prediction_id, "changes": told.counts, "task": task}
    )
