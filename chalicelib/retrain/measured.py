"""`metrics.json` as the trainer writes it: the new version, the live one beside it, the export."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.catalog.model import VersionMetrics


class LiveMetrics(VersionMetrics):
    """What the version that served was worth on the same validation images."""

    version: int = Field(ge=1)


class Parity(BaseModel):
    """How far the exported ONNX file and the weights it was made of agree."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    largest_difference: float = Field(
        ge=0, description="between raw outputs, relative where they are above 1"
    )
    map50: float | None = Field(None, ge=0, le=1, alias="mAP50", description="of the weights")
    map50_95: float | None = Field(None, ge=0, le=1, alias="mAP50-95", description="of the weights")
    images: int = Field(0, ge=0, description="on which that was measured")


class TrainingMetrics(VersionMetrics):
    """What a training measured of the version it made."""

    live: LiveMetrics | None = Field(None, description="null: the model had no version")
    parity: Parity | None = None
    dataset: str | None = Field(None, description="the dataset version, a sha256")
