"""What the comparison of two versions takes and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.retrain.comparing.curves import Curves

if TYPE_CHECKING:
    from chalicelib.retrain.comparing.comparison import Comparison, Seen, Weighed

LAST_VERSION = 2**31 - 1


class VersionsQuery(BaseModel):
    """Which two versions are compared."""

    model_config = ConfigDict(extra="forbid")

    a: int = Field(ge=1, le=LAST_VERSION, description="a version", examples=[1])
    b: int = Field(ge=1, le=LAST_VERSION, description="the other", examples=[2])


class ClassFigures(BaseModel):
    """How well a version finds one class."""

    class_id: int
    class_name: str
    ap50: float | None = Field(description="average precision at IoU 0.5; null: not measured")
    ap50_95: float | None = Field(description="the same, mean over IoU 0.5 to 0.95")


class ComparedVersion(BaseModel):
    """A version as it was measured when it was made, on the validation images of then."""

    version: int = Field(examples=[2])
    map50: float | None = Field(description="null: not measured, like the next ones")
    map50_95: float | None
    precision: float | None = Field(description="where F1 is highest, like the next two")
    recall: float | None
    f1: float | None
    ms_per_image: float | None
    bytes: int = Field(description="of its ONNX file")
    classes: list[ClassFigures]

    @classmethod
    def of(cls, weighed: Weighed) -> Self:
        """Show a version."""
        told = weighed.metrics.model_dump()
        figures = {name: told.get(name) for name in cls.model_fields}
        classes = [ClassFigures.model_validate(row) for row in told["per_class"]]
        return cls.model_validate(
            {
                **figures,
                "version": weighed.version,
                "bytes": weighed.size_bytes,
                "classes": classes,
            }
        )


class Edges(BaseModel):
    """In pixels of the image."""

    x1: float
    y1: float
    x2: float
    y2: float


class ComparedBox(BaseModel):
    """A box that a version found, or that people say is there."""

    class_id: int
    class_name: str
    confidence: float = Field(description="1 for what people say")
    box: Edges


class ComparedImage(BaseModel):
    """A validation image on which the two differ."""

    sha256: str
    width: int
    height: int
    url: str = Field(description="of the picture, for a quarter of an hour")
    truth: list[ComparedBox] = Field(description="what people say is there")
    a: list[ComparedBox] = Field(description="what the one found")
    b: list[ComparedBox] = Field(description="what the other found")
    difference: float = Field(description="0: the same … 1: nothing in common", examples=[0.5])

    @classmethod
    def of(cls, seen: Seen, url: str) -> Self:
        """Show an image."""
        boxes = {name: getattr(seen, name).to_json() for name in ("truth", "a", "b")}
        image = {name: getattr(seen.image, name) for name in ("sha256", "width", "height")}
        return cls.model_validate({**image, **boxes, "url": url, "difference": seen.difference})


class ComparedCurves(BaseModel):
    """How precision, recall and F1 of both go with confidence."""

    a: Curves | None = Field(description="null: not measured")
    b: Curves | None
    same_images: bool = Field(
        description="both were measured on the same validation images; else each on those of then"
    )


class ComparisonAnswer(BaseModel):
    """Two versions side by side."""

    model: str = Field(examples=["scratch"])
    class_names: list[str] = Field(description="by class id", examples=[["scratch"]])
    a: ComparedVersion
    b: ComparedVersion
    curves: ComparedCurves
    images_compared: int = Field(description="at which both looked just now", examples=[48])
    images: list[ComparedImage] = Field(description="those on which they differ most, up to 12")

    @classmethod
    def of(cls, model: str, found: Comparison, images: list[ComparedImage]) -> Self:
        """Show a comparison."""
        return cls(
            model=model,
            class_names=list(found.class_names),
            a=ComparedVersion.of(found.a),
            b=ComparedVersion.of(found.b),
            curves=ComparedCurves.model_validate(vars(found.curves)),
            images_compared=found.compared,
            images=images,
        )
