"""The one type that everything passes around, and its views: JSON, YOLO labels, manifests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from chalicelib.errors import InvalidLabel

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
FIELDS: tuple[tuple[str, type, tuple[int, ...]], ...] = (
    ("xyxy", np.float32, (4,)),
    ("confidence", np.float32, ()),
    ("class_id", np.int64, ()),
)
EDGES = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True, eq=False)
class Detections:
    """The boxes found in one picture, most confident first. The arrays are read-only.

    Attributes
    ----------
    xyxy : float32 [N, 4]
        Left, top, right, bottom in pixels of the upright original.
    confidence : float32 [N]
        0..1.
    class_id : int64 [N]
        Index into ``class_names``.
    class_names : tuple[str, ...]
        All classes of the model.
    image_size : tuple[int, int]
        Width and height in pixels of the upright original.

    Raises
    ------
    InvalidLabel
        Shapes disagree, a number is not finite, a confidence not in 0..1, a class unknown.

    Examples
    --------
    >>> found = Detections([[10, 20, 30, 60]], [0.9], [0], ("scratch",), (100, 80))
    >>> found.to_json()[0]["box"]
    {'x1': 10.0, 'y1': 20.0, 'x2': 30.0, 'y2': 60.0}
    >>> found.to_yolo()
    '0 0.200000 0.500000 0.200000 0.500000\\n'
    """

    xyxy: Float32
    confidence: Float32
    class_id: Int64
    class_names: tuple[str, ...]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        width, height = self.image_size
        if width < 1 or height < 1:
            raise InvalidLabel(f"image_size must be two positive sides, got {self.image_size}")
        count = len(self.xyxy)
        for name, dtype, row in FIELDS:
            object.__setattr__(self, name, _frozen(getattr(self, name), name, dtype, (count, *row)))
        if not ((self.confidence >= 0) & (self.confidence <= 1)).all():
            raise InvalidLabel(f"confidence must be in 0..1, got {self.confidence.tolist()}")
        known = len(self.class_names)
        if count and not (self.class_id.min() >= 0 and self.class_id.max() < known):
            raise InvalidLabel(f"class_id must be in 0..{known - 1}, got {self.class_id.tolist()}")

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, index: Bool | Int64 | slice) -> Detections:
        """Return those that a mask, an index array or a slice selects."""
        return Detections(
            self.xyxy[index],
            self.confidence[index],
            self.class_id[index],
            self.class_names,
            self.image_size,
        )

    @classmethod
    def empty(cls, class_names: Sequence[str], image_size: tuple[int, int]) -> Self:
        """Return no detections at all."""
        nothing = np.zeros(0)
        return cls(
            np.zeros((0, 4), np.float32),
            nothing.astype(np.float32),
            nothing.astype(np.int64),
            tuple(class_names),
            image_size,
        )

    def to_json(self) -> list[dict[str, Any]]:
        """Return the ``detections`` of the API's answer; pixels to 0.01, confidence to 0.0001."""
        rows = zip(
            self.class_id.tolist(), self.confidence.tolist(), self.xyxy.tolist(), strict=True
        )
        return [
            {
                "class_id": class_id,
                "class_name": self.class_names[class_id],
                "confidence": round(confidence, 4),
                "box": dict(zip(EDGES, (round(v, 2) for v in box), strict=True)),
            }
            for class_id, confidence, box in rows
        ]

    @classmethod
    def from_json(
        cls,
        rows: Sequence[Mapping[str, Any]],
        class_names: Sequence[str],
        image_size: tuple[int, int],
    ) -> Self:
        """Read what ``to_json`` wrote.

        Raises
        ------
        InvalidLabel
            A key is missing, or as for ``Detections`` itself.
        """
        try:
            xyxy: Any = [[row["box"][edge] for edge in EDGES] for row in rows]
            confidence: Any = [row["confidence"] for row in rows]
            class_id: Any = [row["class_id"] for row in rows]
        except KeyError as error:
            raise InvalidLabel(f"a detection has no {error}") from None
        except TypeError as error:
            raise InvalidLabel(f"a detection is no object with a box: {error}") from None
        return cls(xyxy, confidence, class_id, tuple(class_names), image_size)

    def to_yolo(self) -> str:
        """Return a YOLO label file: ``class cx cy w h`` a line, normalised to 0..1."""
        low, high = self.xyxy[:, :2], self.xyxy[:, 2:]
        scale = np.array(self.image_size, np.float32)
        rows = np.hstack([(low + high) / 2 / scale, (high - low) / scale])
        return "".join(
            f"{class_id} {cx:.6f} {cy:.6f} {w:.6f} {h:.6f}\n"
            for class_id, (cx, cy, w, h) in zip(self.class_id, rows, strict=True)
        )

    @classmethod
    def from_yolo(cls, text: str, class_names: Sequence[str], image_size: tuple[int, int]) -> Self:
        """Read a YOLO label file; every box gets confidence 1.

        Raises
        ------
        InvalidLabel
            A line is not five finite numbers in range; its number is named.
        """
        rows = [
            _yolo_row(number, line)
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip()
        ]
        table = np.array(rows, np.float64).reshape(-1, 5)
        centre, half = table[:, 1:3], table[:, 3:5] / 2
        corners = np.hstack([centre - half, centre + half]).clip(0, 1) * (image_size * 2)
        return cls(
            corners.astype(np.float32),
            np.ones(len(table), np.float32),
            table[:, 0].astype(np.int64),
            tuple(class_names),
            image_size,
        )

    def to_ground_truth(self, source_ref: str, job: str, created: str) -> str:
        """Return one line of a SageMaker Ground Truth output manifest (bounding boxes).

        Parameters
        ----------
        source_ref : str
            ``s3://`` address of the image.
        job : str
            The label attribute's name.
        created : str
            ISO 8601 time.
        """
        boxes = [
            {
                "class_id": int(class_id),
                "left": round(float(x1)),
                "top": round(float(y1)),
                "width": round(float(x2)) - round(float(x1)),
                "height": round(float(y2)) - round(float(y1)),
            }
            for class_id, (x1, y1, x2, y2) in zip(self.class_id, self.xyxy, strict=True)
        ]
        width, height = self.image_size
        line = {
            "source-ref": source_ref,
            job: {
                "image_size": [{"width": width, "height": height, "depth": 3}],
                "annotations": boxes,
            },
            f"{job}-metadata": {
                "objects": [{"confidence": round(float(c), 4)} for c in self.confidence],
                "class-map": {
                    str(i): self.class_names[i] for i in np.unique(self.class_id).tolist()
                },
                "type": "groundtruth/object-detection",
                "human-annotated": "no",
                "creation-date": created,
                "job-name": job,
            },
        }
        return json.dumps(line, ensure_ascii=False)

    @classmethod
    def from_ground_truth(cls, line: str, job: str, class_names: Sequence[str]) -> Self:
        """Read one line of a Ground Truth output manifest, labelled by people or by us.

        Parameters
        ----------
        line : str
        job : str
            The label attribute's name.
        class_names : Sequence[str]
            All classes; the manifest names only those that occur.

        Raises
        ------
        InvalidLabel
            The line is not of that shape, names a class otherwise, or as for ``Detections``.
        """
        try:
            entry = json.loads(line)
            label, metadata = entry[job], entry[f"{job}-metadata"]
            size = (label["image_size"][0]["width"], label["image_size"][0]["height"])
            rows = [(box["class_id"], *_edges(box)) for box in label["annotations"]]
            confidence: Any = [item.get("confidence", 1) for item in metadata["objects"]]
            mapped = {int(class_id): name for class_id, name in metadata["class-map"].items()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InvalidLabel(f"not a manifest line of {job!r}: {error!r}") from None
        known = dict(enumerate(class_names))
        if any(known.get(class_id) != name for class_id, name in mapped.items()):
            raise InvalidLabel(f"the manifest's classes {mapped} are not among {known}")
        class_id: Any = [row[0] for row in rows]
        xyxy: Any = [row[1:] for row in rows]
        return cls(xyxy, confidence, class_id, tuple(class_names), size)


def _frozen(
    values: npt.ArrayLike, name: str, dtype: type, shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Return a read-only copy of one field, checked."""
    try:
        with np.errstate(all="ignore"):
            array: npt.NDArray[Any] = np.array(values, dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidLabel(f"{name} must be numbers of shape {shape}: {error}") from None
    if dtype is np.int64 and not np.array_equal(array, np.asarray(values)):
        raise InvalidLabel(f"{name} must be whole numbers, got {values!r}")
    array = array.reshape(shape) if array.size == 0 == shape[0] else array
    if array.shape != shape:
        raise InvalidLabel(f"{name} must have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidLabel(f"{name} holds a number that is not finite")
    array.flags.writeable = False
    return array


def _edges(box: Mapping[str, Any]) -> tuple[float, float, float, float]:
    left, top = box["left"], box["top"]
    return left, top, left + box["width"], top + box["height"]


def _yolo_row(number: int, line: str) -> list[float]:
    try:
        class_id, *box = line.split()
        row = [float(int(class_id)), *map(float, box)]
    except (ValueError, OverflowError):
        raise InvalidLabel(f"line {number}: expected 'class cx cy w h', got {line!r}") from None
    if len(row) != 5 or not all(0 <= value <= 1 for value in row[1:]):
        raise InvalidLabel(f"line {number}: expected four numbers in 0..1, got {line!r}")
    if abs(row[0]) >= 2**31:
        raise InvalidLabel(f"line {number}: there is no class {class_id}")
    return row
