"""`POST /v1/models/{model}/detections`: images in, boxes or the annotated picture out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalice.app import Response
from pydantic import BaseModel, Field

from chalicelib.catalog import ModelName
from chalicelib.errors import (
    DatabaseUnavailable,
    InvalidImage,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
    NotAcceptable,
    PayloadTooLarge,
    SightloopError,
    StorageUnavailable,
)
from chalicelib.inference import bodies
from chalicelib.inference.bodies import ImagesBody, NamedImage, OneImage, SeveralImages
from chalicelib.inference.options import Options
from chalicelib.observability import correlation_id
from chalicelib.quotas import KEPT
from chalicelib.web import problems
from chalicelib.web.api import (
    Api,
    Media,
    json_body,
    json_response,
    media_type,
    prediction_path,
    raw_body,
)
from chalicelib.web.identity import caller
from chalicelib.web.negotiation import choose
from chalicelib.web.once import KEY_HEADER
from chalicelib.wiring import services

if TYPE_CHECKING:
    from chalicelib.inference import Answer, Look
    from chalicelib.vision import DetectionOptions

api = Api(__name__, tag="detections")

JSON, JPEG = "application/json", "image/jpeg"
JPEG_QUALITIES = (90, 75, 60, 40)
# The format is OpenAPI 3.0's word for it, and the one that client generators know.
BINARY = {
    "type": "string",
    "format": "binary",
    "contentMediaType": "application/octet-stream",
}


class ImageSize(BaseModel):
    """Pixels of the upright original."""

    width: int = Field(examples=[450])
    height: int = Field(examples=[300])


class Box(BaseModel):
    """Left, top, right, bottom in pixels of the upright original."""

    x1: float = Field(examples=[182.1])
    y1: float = Field(examples=[85.4])
    x2: float = Field(examples=[258.0])
    y2: float = Field(examples=[227.2])


class Detection(BaseModel):
    """One object."""

    class_id: int = Field(examples=[0])
    class_name: str = Field(examples=["scratch"])
    confidence: float = Field(ge=0, le=1, examples=[0.87])
    box: Box


class TimingMs(BaseModel):
    """Milliseconds spent on each step."""

    decode: float
    preprocess: float
    inference: float
    postprocess: float


class DetectionQuery(Options):
    """What a caller may choose of a detection, and what becomes of it."""

    keep: bool = Field(
        default=False,
        description="store the image and the boxes, so that they can be shown and corrected",
    )


class DetectionAnswer(BaseModel):
    """What was found in one image, most confident first."""

    prediction_id: str | None = Field(
        default=None, description="under which it is kept; null: it is not"
    )
    model: str = Field(examples=["scratch"])
    version: int = Field(description="of the model", examples=[1])
    image: ImageSize
    detections: list[Detection]
    timing_ms: TimingMs


class NamedDetections(DetectionAnswer):
    """What was found in one of several images."""

    name: str = Field(description="the file's name, or the image's place, from 0")


class NamedProblem(BaseModel):
    """Why one of several images was not looked at."""

    name: str = Field(description="the file's name, or the image's place, from 0")
    problem: problems.ProblemDocument


class BatchAnswer(BaseModel):
    """What was found in several images, in the order they were sent."""

    model: str = Field(examples=["scratch"])
    version: int = Field(description="of the model, the same for all images", examples=[1])
    results: list[NamedDetections | NamedProblem]


@api.route(
    "POST",
    "/v1/models/{model}/detections",
    "Detect objects in one or several images",
    {
        200: Media(
            {JSON: (DetectionAnswer, BatchAnswer), JPEG: BINARY},
            "boxes; or, with Accept: image/jpeg and one image, the picture with its boxes drawn",
            headers={"Location": "the prediction's path, where it is kept"},
        )
    },
    query=DetectionQuery,
    body=Media(
        dict.fromkeys(bodies.RAW_TYPES, BINARY)
        | {
            bodies.FORM_TYPE: {
                "type": "object",
                "properties": {"image": {"type": "array", "items": BINARY, **bodies.COUNT}},
                "required": ["image"],
                "additionalProperties": False,
            },
            bodies.JSON_TYPE: (OneImage, SeveralImages),
        }
    ),
    errors=(
        ModelNotFound,
        InvalidImage,
        NotAcceptable,
        ModelUnavailable,
        StorageUnavailable,
        DatabaseUnavailable,
    ),
    quota=KEPT,
    makes=lambda query: query.keep,
)
def detect(model: ModelName, query: DetectionQuery) -> Response:
    """Find objects in one image (its bytes, or base64 in JSON) or in several (a form, or JSON).

    A body of over 4.5 MB is refused: POST /v1/uploads takes larger images. Of several images a bad
    one spoils no other: it has a problem in the place of detections.
    """
    wanted = choose(api.request.headers.get("accept"), (JSON, JPEG))
    images, several = _images()
    options = query.for_detector(services().settings.max_pixels)
    if several:
        if query.keep:
            raise InvalidRequest("keep=true is for one image in a call: send them one by one")
        if wanted == JPEG:
            raise NotAcceptable("an annotated picture is of one image: send one, or accept JSON")
        return json_response(_detect_each(model, images, options))
    if wanted == JSON and not query.keep:
        answer = services().inference.detect(model, images[0].data, options)
        return json_response(DetectionAnswer.model_validate(answer.to_json()))
    if query.keep and wanted == JPEG and KEY_HEADER.lower() in api.request.headers:
        raise NotAcceptable(
            f"what is kept under an {KEY_HEADER} is answered as JSON: GET /v1/predictions/… links "
            "to the annotated picture"
        )
    look = services().inference.look(model, images[0].data, options)
    kept = _kept(look, query) if query.keep else None
    answered = _pictured(look) if wanted == JPEG else _told(look, kept)
    if kept:
        answered.headers["Location"] = prediction_path(api.request, kept)
    return answered


def _kept(look: Look, query: DetectionQuery) -> str:
    """Keep an answer; return the prediction's id."""
    options = Options(**query.model_dump(include=set(Options.model_fields)))
    sender = caller(api.request)
    kept = services().keeper.keep(look, correlation_id(), options, sender=sender)
    return kept.prediction_id


def _told(look: Look, kept: str | None) -> Response:
    told = {**look.answer.to_json(), "prediction_id": kept}
    return json_response(DetectionAnswer.model_validate(told))


def _pictured(look: Look) -> Response:
    headers: dict[str, Any] = {"Content-Type": JPEG, "Cache-Control": "no-store"}
    return Response(_picture(look), headers)


def _images() -> tuple[list[NamedImage], bool]:
    """Return the images of the request, and whether it is of the kind that carries several."""
    request, most = api.request, services().settings.max_images_per_call
    raw, told = raw_body(request), media_type(request)
    kind = bodies.ALIASES.get(told, told)
    if kind in bodies.RAW_TYPES:
        return [NamedImage("", raw)], False
    if kind == bodies.FORM_TYPE:
        images = bodies.form_images(request.headers["content-type"], raw, most)
        return images, len(images) > 1
    if kind == bodies.JSON_TYPE:
        body = json_body(request, ImagesBody)
        bodies.check_count(len(body.images or []), most)
        return body.named(), body.images is not None
    raise bodies.unsupported(kind)


def _detect_each(model: str, images: list[NamedImage], options: DetectionOptions) -> BatchAnswer:
    batch = services().inference.detect_each(model, [image.data for image in images], options)
    pairs = zip(images, batch.answers, strict=True)
    results = [_result(image.name, answer) for image, answer in pairs]
    return BatchAnswer(model=model, version=batch.version, results=results)


def _result(name: str, answer: Answer | SightloopError) -> NamedDetections | NamedProblem:
    if isinstance(answer, SightloopError):
        return NamedProblem(name=name, problem=problems.document(answer))
    return NamedDetections.model_validate({"name": name, **answer.to_json()})


def _picture(look: Look) -> bytes:
    """Return the annotated JPEG, at the best quality that an answer can carry."""
    from chalicelib.vision import draw, encode_jpeg  # noqa: PLC0415 - loads what no page needs

    drawn = draw(look.picture.image, look.answer.detections)
    for quality in JPEG_QUALITIES:
        jpeg = encode_jpeg(drawn, quality)
        if len(jpeg) <= services().settings.max_body_bytes:
            return jpeg
    raise PayloadTooLarge(
        "the annotated picture is over what a synchronous answer carries: accept JSON, or send "
        "the image through POST /v1/uploads"
    )
