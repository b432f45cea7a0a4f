"""`/v1/models` and `/v1/pending-models`: what there is, and what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from chalice.app import Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from chalicelib.catalog.model import ModelFile, ModelName, VersionMetrics
from chalicelib.catalog.visibility import SHOWN_TO, Visibility
from chalicelib.errors import (
    Conflict,
    DatabaseUnavailable,
    InvalidLabel,
    ModelNotFound,
    ModelUnavailable,
    SightloopError,
    StorageUnavailable,
)
from chalicelib.moment import Moment
from chalicelib.observability import logger
from chalicelib.quotas import PENDING_MODELS
from chalicelib.web.api import Api, Media, base_path, json_response
from chalicelib.web.identity import caller
from chalicelib.wiring import services

if TYPE_CHECKING:
    from chalicelib.catalog.pending import PendingModel
    from chalicelib.labels.sizes import Sizes
    from chalicelib.settings import Settings

api = Api(__name__, tag="models")


class DatasetSize(BaseModel):
    """How many labelled images a model's dataset has now."""

    training: int = Field(examples=[412])
    validation: int = Field(examples=[103])


class NewData(BaseModel):
    """Labelled images that the live version has not learnt from, and how many a training wants.

    An image that was labelled anew since is one of them. Counting stops at a thousand a side.
    """

    training: int = Field(description="new ones for training", examples=[11])
    validation: int = Field(description="new ones to measure on", examples=[4])
    min_new_training_data: int = Field(
        description="it is trained again with so many", examples=[16]
    )
    min_new_validation_data: int = Field(description="and so many of these", examples=[4])
    has_enough: bool = Field(description="of both")

    @classmethod
    def of(cls, new: Sizes, settings: Settings) -> Self:
        """Compare what is new with what is wanted."""
        least = settings.min_new_training_data, settings.min_new_validation_data
        return cls(
            training=new.training,
            validation=new.validation,
            min_new_training_data=least[0],
            min_new_validation_data=least[1],
            has_enough=new.training >= least[0] and new.validation >= least[1],
        )


class ModelSummary(BaseModel):
    """A model, as a list shows it."""

    name: str = Field(examples=["scratch"])
    class_names: list[str] = Field(description="by class id", examples=[["scratch"]])
    live_version: int | None = Field(
        description="the version that detects; null: none yet", examples=[1]
    )
    training_set_size: int = Field(description="images it was trained on", examples=[152])
    validation_set_size: int = Field(description="images it was measured on", examples=[32])
    promoted_at: Moment | None = Field(
        description="since when the live version serves", examples=["2026-11-21T08:00:00Z"]
    )
    visibility: Visibility = Field(description=SHOWN_TO, examples=["private"])
    dataset: DatasetSize | None = Field(
        default=None,
        description="as it is now; null: no database is attached, or it does not answer",
    )
    new_data: NewData | None = Field(
        default=None,
        description="what came in since the live version was trained; null: as `dataset`, or no "
        "version is live",
    )

    @classmethod
    def of(cls, file: ModelFile, held: Held) -> Self:
        """Show what `model.yaml` says, and what came in since."""
        told = file.model_dump(include=set(cls.model_fields))
        if sizes := held.sizes.get(file.name):
            told["dataset"] = DatasetSize(training=sizes.training, validation=sizes.validation)
        if new := held.new.get(file.name):
            told["new_data"] = NewData.of(new, services().settings)
        return cls(class_names=list(file.names), **told)


class ClassPrecision(BaseModel):
    """How well a version finds one class on its validation images."""

    class_id: int
    class_name: str
    ap50: float | None = Field(
        description="average precision at IoU 0.5; null: no validation box", examples=[0.81]
    )
    ap50_95: float | None = Field(
        description="the same, mean over IoU 0.5 to 0.95", examples=[0.43]
    )


class ModelVersion(BaseModel):
    """One version of a model and how good it was on its validation images."""

    version: int = Field(examples=[1])
    live: bool = Field(description="it is the one that detects")
    map50: float | None = Field(
        description="mean average precision at IoU 0.5; null: not measured", examples=[0.81]
    )
    map50_95: float | None = Field(
        description="the same, mean over IoU 0.5 to 0.95", examples=[0.43]
    )
    classes: list[ClassPrecision]


class ModelDetail(ModelSummary):
    """A model with the history of its versions, newest first."""

    versions: list[ModelVersion]


@dataclass(frozen=True)
class Held:
    """How large datasets are and how much of them is new, by model; nothing of it where unknown."""

    sizes: Mapping[str, Sizes]
    new: Mapping[str, Sizes]


class ModelsQuery(BaseModel):
    """Which models are asked for."""

    model_config = ConfigDict(extra="forbid")

    after: ModelName | None = Field(None, description="`next` of the page before")
    limit: int | None = Field(
        None, ge=1, le=100, description="models of the page; without it, all that there are"
    )
    containing: str = Field(
        "", max_length=63, description="only models with this in their name; small letters"
    )


class ModelList(BaseModel):
    """All models that there are, or a page of them, by their names."""

    models: list[ModelSummary]
    next: str | None = Field(description="where the next page begins; null: there is none")


@api.route(
    "GET",
    "/v1/models",
    "List the models",
    {200: ModelList},
    query=ModelsQuery,
    errors=(StorageUnavailable,),
)
def list_models(query: ModelsQuery) -> ModelList:
    """Return models with their classes, live version and set sizes."""
    files, more = services().catalog.page(query.after or "", query.limit, query.containing)
    held = _held(files)
    return ModelList(models=[ModelSummary.of(file, held) for file in files], next=more)


@api.route(
    "GET",
    "/v1/models/{model}",
    "Show one model",
    {200: ModelDetail},
    errors=(ModelNotFound, ModelUnavailable, StorageUnavailable),
)
def show_model(model: ModelName) -> ModelDetail:
    """Return one model with the average precision of each class and the history of its versions."""
    catalog = services().catalog
    file = catalog.get(model)
    history = catalog.history(model)
    versions = [_version(number, history[number], file) for number in sorted(history, reverse=True)]
    summary = ModelSummary.of(file, _held([file]))
    return ModelDetail(**summary.model_dump(), versions=versions)


def _held(files: Sequence[ModelFile]) -> Held:
    """Ask the database of models; nothing where it cannot say: they serve on."""
    from chalicelib.catalog.lineage import learnt_revisions  # noqa: PLC0415 - many need no database

    try:
        if not services().has_database():
            return Held({}, {})
        live = {file.name: file.live_version for file in files if file.live_version}
        counted = services().dataset_sizes
        sizes = counted.of_all([file.name for file in files])
        return Held(sizes, counted.new_since(learnt_revisions(services().database, live)))
    except SightloopError:
        logger.warning("models are shown without the sizes of their datasets", exc_info=True)
        return Held({}, {})


def _version(number: int, metrics: VersionMetrics, file: ModelFile) -> ModelVersion:
    return ModelVersion(
        version=number,
        live=number == file.live_version,
        map50=metrics.map50,
        map50_95=metrics.map50_95,
        classes=[ClassPrecision(**row.model_dump()) for row in metrics.per_class],
    )


class PendingRequest(BaseModel):
    """A new model that somebody would like."""

    model_config = ConfigDict(extra="forbid")

    name: ModelName = Field(examples=["dents"])
    classes: (
        Annotated[str, Field(min_length=1, max_length=101_000, pattern=r"\S")]
        | Annotated[
            list[Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S")]],
            Field(min_length=1, max_length=1_000, json_schema_extra={"uniqueItems": True}),
        ]
    ) = Field(
        description="what it is to find: a list, or a text with one a line; trimmed, all different",
        examples=[["small dent", "large dent"]],
    )
    visibility: Visibility = Field(Visibility.PRIVATE, description=SHOWN_TO)

    @field_validator("classes", mode="before")
    @classmethod
    def _are_classes(cls, given: object) -> list[str]:
        """Check them before pydantic does, which would tell of its own types."""
        from chalicelib.catalog.pending import cleaned  # noqa: PLC0415 - loads the database's driver

        names: list[Any] = given if isinstance(given, list) else [given]
        if not all(isinstance(each, str) for each in names):
            raise ValueError("give a list of names, or a text with one name a line")
        try:
            return list(cleaned(given if isinstance(given, str) else names))
        except InvalidLabel as error:
            raise ValueError(error.detail) from error


class PendingLinks(BaseModel):
    """Where to go on."""

    self: str
    images: str = Field(description="POST an image to it, to be labelled")
    imports: str = Field(description="POST to it for a form to send a ZIP of images with")


class PendingAnswer(BaseModel):
    """A model that has no version yet, and how far its dataset is from a first training."""

    name: str = Field(examples=["dents"])
    class_names: list[str] = Field(description="by class id", examples=[["small dent"]])
    requested_at: Moment
    visibility: Visibility = Field(description=SHOWN_TO, examples=["private"])
    training_set_size: int = Field(description="labelled images for training", examples=[61])
    validation_set_size: int = Field(description="those to measure on", examples=[14])
    min_training_set_size: int = Field(description="to be trained it needs so many", examples=[80])
    min_validation_set_size: int = Field(description="and so many of these", examples=[20])
    has_enough: bool = Field(description="of both")
    links: PendingLinks


class PendingList(BaseModel):
    """All models that have no version yet."""

    models: list[PendingAnswer]


@api.route(
    "POST",
    "/v1/pending-models",
    "Ask for a new model",
    {
        201: Media({"application/json": PendingAnswer}, headers={"Location": "the model's path"}),
        200: Media({"application/json": PendingAnswer}, "you have asked for it before"),
    },
    body=PendingRequest,
    errors=(Conflict, DatabaseUnavailable, ModelUnavailable, StorageUnavailable),
    quota=PENDING_MODELS,
)
def ask_for_model(body: PendingRequest) -> Response:
    """Give a new model its name and classes; then it wants images, one at a time or a ZIP."""
    asker = caller(api.request)
    made, is_new = services().pending_models.ask(body.name, body.classes, asker, body.visibility)
    told = _pending(made, services().dataset_sizes.of(made.name))
    answer = json_response(told, 201 if is_new else 200)
    answer.headers["Location"] = told.links.self
    return answer


@api.route(
    "GET",
    "/v1/pending-models",
    "List the models that have no version yet",
    {200: PendingList},
    errors=(DatabaseUnavailable,),
)
def list_pending_models() -> PendingList:
    """Return every model that waits for images, with how many it has and needs."""
    models = services().pending_models.all()
    sizes = services().dataset_sizes.of_all(model.name for model in models)
    return PendingList(models=[_pending(model, sizes[model.name]) for model in models])


@api.route(
    "GET",
    "/v1/pending-models/{model}",
    "Show one model that has no version yet",
    {200: PendingAnswer},
    errors=(ModelNotFound, DatabaseUnavailable),
)
def show_pending_model(model: ModelName) -> PendingAnswer:
    """Return one model with how many images it has and needs."""
    return _pending(services().pending_models.get(model), services().dataset_sizes.of(model))


def _pending(model: PendingModel, sizes: Sizes) -> PendingAnswer:
    settings = services().settings
    least = settings.min_training_set_size, settings.min_validation_set_size
    here = f"{base_path(api.request)}/v1/pending-models/{model.name}"
    return PendingAnswer(
        name=model.name,
        class_names=list(model.class_names),
        requested_at=model.requested_at,
        visibility=model.visibility,
        training_set_size=sizes.training,
        validation_set_size=sizes.validation,
        min_training_set_size=least[0],
        min_validation_set_size=least[1],
        has_enough=sizes.training >= least[0] and sizes.validation >= least[1],
        links=PendingLinks(self=here, images=f"{here}/images", imports=f"{here}/imports"),
    )
