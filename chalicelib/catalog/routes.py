"""`GET /v1/models` and `GET /v1/models/{model}`."""

from __future__ import annotations

from typing import Self

from pydantic import AwareDatetime, BaseModel, Field

from chalicelib.catalog.model import ModelFile, ModelName, VersionMetrics
from chalicelib.errors import ModelNotFound, ModelUnavailable, StorageUnavailable
from chalicelib.web.api import Api
from chalicelib.wiring import services

api = Api(__name__, tag="models")


class ModelSummary(BaseModel):
    """A model, as a list shows it."""

    name: str = Field(examples=["scratch"])
    class_names: list[str] = Field(description="by class id", examples=[["scratch"]])
    live_version: int | None = Field(
        description="the version that detects; null: none yet", examples=[1]
    )
    training_set_size: int = Field(description="images it was trained on", examples=[152])
    validation_set_size: int = Field(description="images it was measured on", examples=[32])
    promoted_at: AwareDatetime | None = Field(
        description="since when the live version serves", examples=["2026-11-21T08:00:00Z"]
    )

    @classmethod
    def of(cls, file: ModelFile) -> Self:
        """Show what `model.yaml` says."""
        return cls(class_names=list(file.names), **file.model_dump(include=set(cls.model_fields)))


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


class ModelList(BaseModel):
    """All models that there are."""

    models: list[ModelSummary]


@api.route("GET", "/v1/models", "List the models", {200: ModelList}, errors=(StorageUnavailable,))
def list_models() -> ModelList:
    """Return every model with its classes, live version and set sizes."""
    return ModelList(models=[ModelSummary.of(file) for file in services().catalog.all()])


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
    return ModelDetail(**ModelSummary.of(file).model_dump(), versions=versions)


def _version(number: int, metrics: VersionMetrics, file: ModelFile) -> ModelVersion:
    return ModelVersion(
        version=number,
        live=number == file.live_version,
        map50=metrics.map50,
        map50_95=metrics.map50_95,
        classes=[ClassPrecision(**row.model_dump()) for row in metrics.per_class],
    )
