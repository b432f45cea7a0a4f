"""`GET /v1/models` and `GET /v1/models/{model}`."""

from __future__ import annotations

from typing import Self

from pydantic import AwareDatetime, BaseModel, Field

from chalicelib.catalog.model import ClassMetrics, ModelFile, VersionMetrics
from chalicelib.errors import ModelNotFound, Unavailable
from chalicelib.web.api import Api
from chalicelib.wiring import services

api = Api(__name__, tag="models")


class ModelSummary(BaseModel):
    """A model, as a list shows it."""

    name: str
    class_names: list[str] = Field(description="by class id")
    live_version: int | None = Field(description="the version that detects; null: none yet")
    training_set_size: int = Field(description="images it was trained on")
    validation_set_size: int = Field(description="images it was measured on")
    promoted_at: AwareDatetime | None

    @classmethod
    def of(cls, file: ModelFile) -> Self:
        """Show what `model.yaml` says."""
        return cls(class_names=list(file.names), **file.model_dump(include=set(cls.model_fields)))


class ModelVersion(BaseModel):
    """One version of a model and how good it was on its validation images."""

    version: int
    live: bool
    map50: float | None = Field(description="mean average precision at IoU 0.5")
    map50_95: float | None = Field(description="the same, mean over IoU 0.5 to 0.95")
    classes: list[ClassMetrics]


class ModelDetail(ModelSummary):
    """A model with the history of its versions, newest first."""

    versions: list[ModelVersion]


class ModelList(BaseModel):
    """All models that there are."""

    models: list[ModelSummary]


@api.route("GET", "/v1/models", "List the models", {200: ModelList}, errors=(Unavailable,))
def list_models() -> ModelList:
    """Return every model with its classes, live version and set sizes."""
    return ModelList(models=[ModelSummary.of(file) for file in services().catalog.all()])


@api.route(
    "GET",
    "/v1/models/{model}",
    "Show one model",
    {200: ModelDetail},
    errors=(ModelNotFound, Unavailable),
)
def show_model(model: str) -> ModelDetail:
    """Return one model with the average precision of each class and the history of its versions."""
    catalog = services().catalog
    file = catalog.get(model)
    history = catalog.history(model)
    versions = [_version(number, history[number], file) for number in sorted(history, reverse=True)]
    return ModelDetail(**ModelSummary.of(file).model_dump(), versions=versions)


def _version(number: int, metrics: VersionMetrics, file: ModelFile) -> ModelVersion:
    return ModelVersion(
        version=number,
        live=number == file.live_version,
        map50=metrics.map50,
        map50_95=metrics.map50_95,
        classes=list(metrics.per_class),
    )
