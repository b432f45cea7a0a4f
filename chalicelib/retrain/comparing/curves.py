"""How precision, recall and F1 of two versions go with confidence, as `metrics.json` has it.

Where one was trained while the other served, both were measured on the same images: then those
curves are compared. Otherwise each has its own, from the validation images of its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chalicelib.catalog.model import Share
from chalicelib.observability import logger


class Curves(BaseModel):
    """Three figures by confidence: of what is at least as confident; means of the classes."""

    model_config = ConfigDict(frozen=True)

    confidence: tuple[Share, ...] = Field(min_length=2, description="from 0 to 1, rising")
    precision: tuple[Share, ...] = Field(description="at IoU 0.5; 1 where nothing is so confident")
    recall: tuple[Share, ...]
    f1: tuple[Share, ...]

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        figures = (self.precision, self.recall, self.f1)
        if any(len(each) != len(self.confidence) for each in figures):
            raise ValueError("each has to have as many values as there are confidences")
        rises = all(one < other for one, other in pairwise(self.confidence))
        if not rises or (self.confidence[0], self.confidence[-1]) != (0, 1):
            raise ValueError("confidences have to rise from 0 to 1")
        return self


class _Live(BaseModel):
    """What was measured beside a version when it was made."""

    version: int | None = None
    curves: Curves | None = None


class Measured(BaseModel):
    """What `metrics.json` tells of curves.

    Attributes
    ----------
    dataset : str or None
        The dataset version on whose validation images the version was measured, a sha256.
    curves : Curves or None
        None: not measured.
    live : optional
        The version that served when this one was made, measured on the same images.
    """

    dataset: str | None = None
    curves: Curves | None = None
    live: _Live | None = None

    @classmethod
    def parse(cls, text: bytes, origin: str) -> Self:
        """Read the file; where it cannot be read it tells nothing."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            logger.warning("curves that cannot be read", exc_info=True, key=origin)
            return cls()

    def beside(self, version: int) -> Curves | None:
        """Return the curves of another version, if it was measured on the same images."""
        return self.live.curves if self.live and self.live.version == version else None


@dataclass(frozen=True)
class CurvePair:
    """The curves of two versions.

    Attributes
    ----------
    a, b : Curves or None
        None: not measured.
    same_images : bool
        Whether both were measured on the same validation images.
    """

    a: Curves | None
    b: Curves | None
    same_images: bool

    @classmethod
    def of(cls, one: tuple[int, Measured], other: tuple[int, Measured]) -> Self:
        """Return the curves of two versions, on the same images where there are such.

        >>> curves = Curves(confidence=(0, 1), precision=(0.5, 1), recall=(1, 0), f1=(0.7, 0))
        >>> told = Measured(curves=curves, live={"version": 1, "curves": curves})
        >>> CurvePair.of((1, Measured()), (2, told)).same_images
        True
        """
        (a, first), (b, second) = one, other
        if second.curves and (before := second.beside(a)):
            return cls(before, second.curves, same_images=True)
        if first.curves and (before := first.beside(b)):
            return cls(first.curves, before, same_images=True)
        same = a == b or (first.dataset is not None and first.dataset == second.dataset)
        return cls(first.curves, second.curves, same)
