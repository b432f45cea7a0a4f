r"""Read the label store's CSV: one labelled image a row, its boxes as a literal in one cell.

The columns are ``source_ref, image_width, image_height, image_depth, annotations, event_time,
labeling_job, status``. ``annotations`` holds a list in Python's notation (plain JSON objects read
the same) of ``{class_id, top, left, width, height}`` in pixels; ``event_time`` is in seconds since
1970; ``status`` is the word of the labelling job, such as ``APPROVED``.

    >>> text = (
    ...     "source_ref,image_width,image_height,image_depth,annotations,event_time,"
    ...     "labeling_job,status\n"
    ...     'a.jpg,450,300,3,"[{\'class_id\': 0, \'top\': 75, \'left\': 45, \'width\': 90, '
    ...     '\'height\': 30}]",1657198376.0,job,APPROVED\n'
    ... )
    >>> [image] = read_label_store_csv(text)
    >>> image.xyxy.tolist()
    [[45.0, 75.0, 135.0, 105.0]]
    >>> image.to_yolo()
    '0 0.200000 0.300000 0.200000 0.100000\n'
"""

from __future__ import annotations

import ast
import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chalicelib.errors import InvalidLabel

COLUMNS = (
    "source_ref",
    "image_width",
    "image_height",
    "image_depth",
    "annotations",
    "event_time",
    "labeling_job",
    "status",
)
BOX_FIELDS = ("class_id", "top", "left", "width", "height")


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One row: an image and the boxes that a person drew on it.

    Attributes
    ----------
    row : int
        Which row of the CSV it was; the header is row 1.
    source_ref : str
        Where the image is: a path relative to the CSV, or a URI.
    width, height, depth : int
        Pixels, pixels, channels.
    class_id : int64 [N]
        From 0.
    xyxy : float64 [N, 4]
        Boxes in pixels, clipped to the image.
    event_time : float
        When it was labelled, in seconds since 1970.
    labeling_job, status : str
        As written.
    """

    row: int
    source_ref: str
    width: int
    height: int
    depth: int
    class_id: npt.NDArray[np.int64]
    xyxy: npt.NDArray[np.float64]
    event_time: float
    labeling_job: str
    status: str

    def to_yolo(self) -> str:
        """Return the labels, one ``class cx cy w h`` a line, normalised to 0..1."""
        scale = np.array([self.width, self.height] * 2, np.float64)
        x1, y1, x2, y2 = (self.xyxy / scale).T
        rows = np.column_stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
        return "".join(
            f"{class_id} {cx:.6f} {cy:.6f} {w:.6f} {h:.6f}\n"
            for class_id, (cx, cy, w, h) in zip(self.class_id, rows, strict=True)
        )


@dataclass(frozen=True)
class FaultyRow:
    """A row that cannot be used.

    Attributes
    ----------
    source_ref : str
        The image, empty where the row names none.
    detail : str
        The row, and what is wrong with it.
    """

    source_ref: str
    detail: str


def read_label_store_csv(text: str, class_count: int | None = None) -> list[LabelledImage]:
    """Read every row of a label store's CSV.

    Parameters
    ----------
    text : str
        The whole file.
    class_count : int, optional
        How many classes there are; a higher ``class_id`` is refused. Any is taken where not given.

    Raises
    ------
    InvalidLabel
        A column is missing or a row cannot be used; the message names the row and what is wrong.
    """
    images = []
    for row in iterate(text, class_count):
        if isinstance(row, FaultyRow):
            raise InvalidLabel(row.detail)
        images.append(row)
    return images


def iterate(text: str, class_count: int | None = None) -> Iterator[LabelledImage | FaultyRow]:
    """Read row by row, for whoever wants to know of every fault.

    Parameters
    ----------
    text, class_count
        As of ``read_label_store_csv``.

    Raises
    ------
    InvalidLabel
        A column is missing, or what follows cannot be told apart into rows.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        _check_header(reader.fieldnames or [])
        for number, row in enumerate(reader, 2):
            yield _read_row(number, row, class_count)
    except csv.Error as fault:
        raise InvalidLabel(f"line {reader.line_num} is not valid CSV: {fault}") from fault


def newest(images: Iterable[LabelledImage]) -> list[LabelledImage]:
    """Return one row an image, the one labelled last, in the order the images first appear.

    A label store appends: an image that was labelled again has a row for each time.
    """
    kept: dict[str, LabelledImage] = {}
    for image in images:
        known = kept.get(image.source_ref)
        if known is None or image.event_time >= known.event_time:
            kept[image.source_ref] = image
    return list(kept.values())


def _check_header(found: Iterable[str]) -> None:
    missing = [column for column in COLUMNS if column not in found]
    if missing:
        raise InvalidLabel(f"the header lacks the columns {missing}; expected {list(COLUMNS)}")


def _read_row(
    number: int, row: Mapping[str, str], class_count: int | None
) -> LabelledImage | FaultyRow:
    """Read one row; its faults come out with the row's number and image in front."""
    try:
        return _labelled_image(number, row, class_count)
    except ValueError as fault:
        name = f" ({row['source_ref']})" if row["source_ref"] else ""
        return FaultyRow((row["source_ref"] or "").strip(), f"row {number}{name}: {fault}")


def _labelled_image(number: int, row: Mapping[str, str], class_count: int | None) -> LabelledImage:
    if None in row.values() or None in row:
        raise ValueError("the row has not as many cells as the header")
    if not row["source_ref"].strip():
        raise ValueError("source_ref is empty")
    width, height, depth = (
        _positive_int(name, row[name]) for name in ("image_width", "image_height", "image_depth")
    )
    boxes = _annotations(row["annotations"])
    parsed = [_box(at, box, (width, height), class_count) for at, box in enumerate(boxes, 1)]
    return LabelledImage(
        row=number,
        source_ref=row["source_ref"].strip(),
        width=width,
        height=height,
        depth=depth,
        class_id=np.array([class_id for class_id, _ in parsed], np.int64),
        xyxy=np.array([xyxy for _, xyxy in parsed], np.float64).reshape(-1, 4),
        event_time=_finite("event_time", row["event_time"]),
        labeling_job=row["labeling_job"].strip(),
        status=row["status"].strip(),
    )


def _positive_int(name: str, text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"{name} must be a whole number above 0, got {text!r}")
    return int(text)


def _finite(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a number, got {text!r}")
    return value


def _annotations(text: str) -> list[object]:
    """Read the list of boxes; only literals are read, no code is run."""
    try:
        boxes = ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"annotations are not a literal list: {_shortened(text)}") from None
    if not isinstance(boxes, list):
        raise ValueError(f"annotations must be a list, got {type(boxes).__name__}")
    return boxes


def _box(
    at: int, box: object, size_wh: tuple[int, int], class_count: int | None
) -> tuple[int, list[float]]:
    """Return the class and the clipped xyxy of one box, which is the ``at``-th of its image."""
    if not isinstance(box, dict) or not set(BOX_FIELDS) <= set(box):
        raise ValueError(f"box {at} must hold {list(BOX_FIELDS)}, got {_shortened(repr(box))}")
    for field in BOX_FIELDS:
        if type(box[field]) not in (int, float) or not _is_finite(box[field]):
            raise ValueError(f"box {at}: {field} must be a number, got {box[field]!r}")
    if box["width"] <= 0 or box["height"] <= 0:
        raise ValueError(f"box {at} has no area: {box['width']} x {box['height']}")
    return _class_id(at, box["class_id"], class_count), _clipped(at, box, size_wh)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that is larger than any float
        return False


def _class_id(at: int, value: float, class_count: int | None) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"box {at}: class_id must be a whole number from 0, got {value!r}")
    if class_count is not None and value >= class_count:
        raise ValueError(f"box {at}: class_id {value} with only {class_count} classes")
    return value


def _clipped(at: int, box: Mapping[str, float], size_wh: tuple[int, int]) -> list[float]:
    left, top = max(box["left"], 0), max(box["top"], 0)
    right = min(box["left"] + box["width"], size_wh[0])
    bottom = min(box["top"] + box["height"], size_wh[1])
    if left >= right or top >= bottom:
        raise ValueError(f"box {at} lies outside the image of {size_wh[0]} x {size_wh[1]}")
    return [float(left), float(top), float(right), float(bottom)]


def _shortened(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[:limit] + "…"
