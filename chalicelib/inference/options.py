"""What a caller may choose of a detection, in a query and with an upload alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from chalicelib.vision import DetectionOptions


class Options(BaseModel):
    """What a caller may choose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    confidence: float = Field(default=0.25, ge=0, le=1, description="keep detections above this")
    iou: float = Field(
        default=0.45,
        ge=0,
        le=1,
        description="of two boxes of a class that overlap more, keep the better",
    )
    max_detections: int = Field(default=300, ge=1, le=1000, description="keep at most so many")

    def for_detector(self, max_pixels: int) -> DetectionOptions:
        """Return them as the detector takes them, with the service's limit of pixels."""
        from chalicelib.vision import DetectionOptions  # noqa: PLC0415 - loads what no page needs

        chosen = self.model_dump(include=set(Options.model_fields))
        return DetectionOptions(**chosen, max_pixels=max_pixels)
