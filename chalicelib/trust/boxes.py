"""What both sides of a comparison are: boxes with a class each, in double precision."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from chalicelib.errors import InvalidLabel
from chalicelib.vision.boxes import Detections

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
FARTHEST = 1e9  # beyond it areas would stop being finite numbers that compare


@dataclass(frozen=True, eq=False)
class ClassedBoxes:
    """The boxes of one side, predicted or submitted. The arrays are read-only.

    Pixels and normalised coordinates do equally well, as long as both sides use the same: an
    overlap does not depend on the scale. Boxes may be partly outside the image, may repeat and may
    have no area; such a one overlaps nothing, itself included.

    Attributes
    ----------
    xyxy : float64 [N, 4]
        Left, top, right, bottom.
    class_id : int64 [N]
        From 0 on.

    Raises
    ------
    InvalidLabel
        Shapes disagree, a number is not finite or beyond 1e9, a right edge is left of its left
        one, a bottom above its top, a class is not a whole number from 0 on.

    Examples
    --------
    >>> ClassedBoxes([[10, 20, 30, 60]], [0]).xyxy.tolist()
    [[10.0, 20.0, 30.0, 60.0]]
    """

    xyxy: Float64
    class_id: Int64

    def __post_init__(self) -> None:
        corners = _rows_of_four(self.xyxy, "xyxy")
        classes = _numbers(self.class_id, "class_id")
        if classes.shape != (len(corners),):
            raise InvalidLabel(f"{len(corners)} boxes need as many classes, got {classes.shape}")
        if (corners[:, 2:] < corners[:, :2]).any():
            raise InvalidLabel("a box ends before it begins: give left, top, right, bottom")
        if not ((classes >= 0) & (classes % 1 == 0)).all():
            raise InvalidLabel(f"classes must be whole numbers from 0 on, got {classes.tolist()}")
        for name, array in (("xyxy", corners), ("class_id", classes.astype(np.int64))):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.class_id)

    @functools.cached_property
    def digest(self) -> bytes:
        """Tells distinct answers apart: the same where all boxes are, in the same order."""
        return hashlib.sha256(self.xyxy.tobytes() + self.class_id.tobytes()).digest()

    @classmethod
    def none(cls) -> Self:
        """Return no boxes: nothing found, or nothing to see here."""
        return cls(np.zeros((0, 4)), np.zeros(0, np.int64))

    @classmethod
    def from_centres(cls, cxcywh: npt.ArrayLike, class_id: npt.ArrayLike) -> Self:
        """Take boxes as centre x, centre y, width, height, as YOLO writes them.

        Examples
        --------
        >>> ClassedBoxes.from_centres([[0.5, 0.5, 0.2, 0.4]], [3]).xyxy.tolist()
        [[0.4, 0.3, 0.6, 0.7]]
        """
        centred = _rows_of_four(cxcywh, "cxcywh")
        centre, half = centred[:, :2], centred[:, 2:] / 2
        corners = np.hstack([centre - half, centre + half])
        return cls(corners, class_id)  # type: ignore[arg-type] # checked there

    @classmethod
    def from_detections(cls, detections: Detections) -> Self:
        """Take the boxes and classes of detections, in pixels."""
        return cls(detections.xyxy.astype(np.float64), detections.class_id)


def _rows_of_four(values: npt.ArrayLike, name: str) -> Float64:
    """Return a copy as [N, 4] floats, all finite; anything empty is no rows."""
    rows = _numbers(values, name)
    rows = rows.reshape(0, 4) if rows.size == 0 else rows
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise InvalidLabel(f"{name} must have four numbers a box, got {rows.shape}")
    return rows


def _numbers(values: npt.ArrayLike, name: str) -> Float64:
    """Return a copy as an array of floats, all finite."""
    try:
        numbers = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidLabel(f"{name} must be numbers in equal rows: {error}") from None
    if not (np.abs(numbers) <= FARTHEST).all():
        raise InvalidLabel(f"{name} must be finite and within {FARTHEST:.0e}")
    return numbers
