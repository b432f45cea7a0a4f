"""What the routes of versions take and answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.moment import Moment

if TYPE_CHECKING:
    from chalicelib.catalog.model import VersionMetrics
    from chalicelib.catalog.promoting import Promotion
    from chalicelib.catalog.version_records import VersionRecord

VersionNumber = Annotated[
    str,
    Field(
        pattern=r"^[1-9][0-9]{0,8}$",
        description="of a version, as lists name it",
        examples=["2"],
    ),
]


class Wish(BaseModel):
    """Why another version is to serve."""

    model_config = ConfigDict(extra="forbid")

    why: str = Field(
        "",
        max_length=1000,
        pattern=r"^[^\x00-\x08\x0b-\x1f]*$",
        description="kept with the decision",
    )
    over: int | None = Field(
        None,
        ge=1,
        description="the version that has to serve until now: 409 where another does; "
        "null: whichever",
    )


class ClassWorth(BaseModel):
    """How well a version finds one class."""

    class_id: int
    class_name: str
    ap50: float | None = Field(description="average precision at IoU 0.5; null: not measured")
    ap50_95: float | None = Field(description="the same, mean over IoU 0.5 to 0.95")
    boxes: int | None = Field(description="that its validation images have of it; null: unknown")


class CorrectionToServing(BaseModel):
    """How long the corrections that a version was the first to learn waited until it served."""

    labels: int = Field(description="how many corrections; imports are not among them")
    median_seconds: float = Field(examples=[2520])
    longest_seconds: float


class GateAnswer(BaseModel):
    """What the gate decided about a version."""

    promote: bool
    reason: str


class VersionWorth(BaseModel):
    """A version of a model: where it comes from, what it measured, what became of it."""

    version: int = Field(examples=[2])
    live: bool = Field(description="it is the one that detects")
    job_id: str | None = Field(description="of the training; null: it came from elsewhere")
    dataset_sha256: str | None = Field(description="the version of the dataset that it learnt")
    created_at: Moment | None = Field(description="null: no database was attached")
    promoted_at: Moment | None = Field(description="when it last began to serve")
    training_set_size: int = Field(description="images it was trained on")
    validation_set_size: int = Field(description="images it was measured on, like all that follows")
    map50: float | None = Field(description="null: not measured, like the next ones")
    map50_95: float | None
    precision: float | None = Field(description="where F1 is highest, like the next two")
    recall: float | None
    f1: float | None
    ms_per_image: float | None = Field(description="without decoding the picture")
    bytes: int | None = Field(description="of its ONNX file")
    classes: list[ClassWorth]
    gate: GateAnswer | None = Field(description="null: it was not judged")
    correction_to_serving: CorrectionToServing | None = Field(
        description="null: it never served, or was the first to learn none"
    )

    @classmethod
    def of(cls, version: int, live: bool, told: VersionMetrics, held: VersionRecord | None) -> Self:
        """Show a version, with what the database knows of it."""
        measured = told.model_dump()
        figures = {name: measured.get(name) for name in cls.model_fields}
        return cls.model_validate(
            {
                **figures,
                **(_origin(held) if held else {}),
                "version": version,
                "live": live,
                "bytes": told.size_bytes,
                "classes": [ClassWorth.model_validate(row) for row in measured["per_class"]],
            }
        )


class PromotionAnswer(BaseModel):
    """That a version began to serve."""

    version: int
    previous: int | None = Field(description="what served until then; null: nothing")
    at: Moment
    by: str = Field(examples=["the gate"])
    why: str

    @classmethod
    def of(cls, made: Promotion) -> Self:
        """Show a promotion."""
        return cls.model_validate(vars(made))


class VersionsAnswer(BaseModel):
    """The versions of a model, newest first."""

    model: str = Field(examples=["scratch"])
    class_names: list[str] = Field(description="by class id", examples=[["scratch"]])
    live_version: int | None
    versions: list[VersionWorth]
    promotions: list[PromotionAnswer] = Field(description="newest first, up to 100")


class ServingAnswer(PromotionAnswer):
    """Which version of a model serves from now on."""

    model: str = Field(examples=["scratch"])
    live_version: int


def _origin(held: VersionRecord) -> dict[str, Any]:
    told = vars(held)
    shown = ("dataset_sha256", "created_at", "promoted_at", "correction_to_serving")
    verdict = held.verdict
    return {
        **{name: told[name] for name in shown},
        "job_id": str(held.job_id) if held.job_id else None,
        "gate": GateAnswer.model_validate(verdict) if verdict else None,
    }
