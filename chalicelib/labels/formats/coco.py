"""COCO JSON: one document a split, with ``images``, ``categories`` and ``annotations``.

Boxes are ``[x, y, width, height]`` in pixels from the image's corner, with fractions. Ids may be
any, in any order. An image without annotations is a valid negative.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from chalicelib.labels.formats.gathering import Draft, Gathering
from chalicelib.labels.formats.label_set import ImageLabels, LabelSet, Writing, put
from chalicelib.labels.formats.reading import Reading, Report, number, split_in, told
from chalicelib.vision.boxes import Detections

PARTS = ("images", "categories", "annotations")


def read_coco(
    documents: Mapping[str, bytes], reading: Reading | None = None
) -> tuple[LabelSet, Report]:
    """Read COCO documents by their paths; ``train``, ``val`` or ``test`` in a path is the split.

    >>> document = (
    ...     b'{"images": [{"id": 7, "file_name": "a.jpg", "width": 100, "height": 80}],'
    ...     b' "categories": [{"id": 3, "name": "scratch"}],'
    ...     b' "annotations": [{"id": 1, "image_id": 7, "category_id": 3,'
    ...     b' "bbox": [10, 20, 20, 40.5]}]}'
    ... )
    >>> labels, report = read_coco({"train.json": document})
    >>> labels.images[0].boxes.xyxy.tolist()
    [[10.0, 20.0, 30.0, 60.5]]
    """
    gathering = Gathering(reading or Reading())
    for path, text in gathering.texts(documents, (".json",)):
        try:
            parts = _parts(text)
        except ValueError as fault:
            gathering.fault(path, str(fault))
            continue
        _Document(gathering, path, parts).read()
    return gathering.done()


def write_coco(labels: LabelSet, _writing: Writing | None = None) -> dict[str, bytes]:
    """Write ``annotations/<split>.json`` for each split; the boxes are exact.

    Ids count from 1, the categories in the order of the classes.
    """
    files: dict[str, bytes] = {}
    for split, pairs in labels.by_split().items():
        before, between, after = document_frame(split, labels.class_names)
        images = image_rows([image for image, _ in pairs], 1)
        boxes = annotation_rows([boxes for _, boxes in pairs], 1, 1)
        text = f"{before}{images}{between}{boxes}{after}"
        put(files, f"annotations/{split}.json", text)
    return files


def document_frame(split: str, class_names: Sequence[str]) -> tuple[str, str, str]:
    """Return what comes before a document's images, between them and its boxes, and at its end."""
    info = {"description": f"{split}: boxes in pixels of the upright image"}
    categories = [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in enumerate(class_names, 1)
    ]
    before = f'{{"info": {_text(info)}, "images": ['
    return before, f'], "categories": {_text(categories)}, "annotations": [', "]}\n"


def image_rows(images: Sequence[ImageLabels], first: int) -> str:
    """Return images of a document, the first of which has that id, with commas in between."""
    return ", ".join(_text(_image(number, image)) for number, image in enumerate(images, first))


def annotation_rows(boxes: Sequence[Detections], first: int, first_box: int) -> str:
    """Return the boxes of images as those of a document, with commas in between.

    Parameters
    ----------
    first, first_box : int
        The ids of the first image and of the first box.
    """
    of_images = (_annotations(number, found) for number, found in enumerate(boxes, first))
    rows = enumerate(chain.from_iterable(of_images), first_box)
    return ", ".join(_text({"id": number} | row) for number, row in rows)


def _text(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


def _image(number: int, image: ImageLabels) -> dict[str, Any]:
    width, height = image.size
    return {"id": number, "file_name": image.name, "width": width, "height": height}


def _annotations(image_id: int, boxes: Detections) -> list[dict[str, Any]]:
    rows = zip(boxes.class_id.tolist(), boxes.xyxy.tolist(), strict=True)
    return [
        {
            "image_id": image_id,
            "category_id": class_id + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
            "segmentation": [],
        }
        for class_id, (x1, y1, x2, y2) in rows
    ]


def _parts(text: str) -> dict[str, list[Any]]:
    """Return the three lists of a document.

    Raises
    ------
    ValueError
    """
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as fault:
        raise ValueError(f"is not JSON: {fault}") from None
    if not isinstance(document, dict):
        raise ValueError(f"must be an object, got {type(document).__name__}")
    for part in PARTS:
        if not isinstance(document.get(part), list):
            raise ValueError(f"has no list {part!r}: is it COCO for object detection?")
    return {part: document[part] for part in PARTS}


class _Document:
    """One document while it is read."""

    def __init__(self, gathering: Gathering, path: str, parts: dict[str, list[Any]]) -> None:
        self._gathering, self._path, self._parts = gathering, path, parts
        self._split = split_in(path)
        self._categories: dict[object, str] = {}
        self._images: dict[object, Draft | None] = {}  # None: there, but of no use

    def read(self) -> None:
        for at, entry in self._objects("categories"):
            self._category(f"{self._path}: category {at}", entry)
        for at, entry in self._objects("images"):
            self._image(f"{self._path}: image {at}", entry)
        for at, entry in self._objects("annotations"):
            self._annotation(at, entry)

    def _objects(self, part: str) -> list[tuple[int, dict[str, Any]]]:
        """Return the objects of a list with their places from 1; anything else is a fault."""
        found = []
        for at, entry in enumerate(self._parts[part], 1):
            if isinstance(entry, dict):
                found.append((at, entry))
            else:
                self._gathering.fault(f"{self._path}: {part}", f"entry {at} is no object")
        return found

    def _category(self, where: str, entry: dict[str, Any]) -> None:
        try:
            id_ = _id(entry.get("id"))
            name = self._gathering.declare(entry.get("name"), id_ if type(id_) is int else 0)
            if self._categories.get(id_, name) != name:
                raise ValueError(f"id {id_} is also of {self._categories[id_]!r}")
            self._categories[id_] = name
        except ValueError as fault:
            self._gathering.fault(where, str(fault))

    def _image(self, where: str, entry: dict[str, Any]) -> None:
        try:
            id_ = _id(entry.get("id"))
        except ValueError as fault:
            self._gathering.fault(where, str(fault))
            return
        told = entry.get("width"), entry.get("height")
        draft = self._gathering.image(where, entry.get("file_name"), told)
        for one in (draft, self._images.get(id_)) if id_ in self._images else ():
            if one:
                one.fault(f"its id {id_} is also of another image")
        self._images.setdefault(id_, draft)
        if draft:
            draft.split = self._split

    def _annotation(self, at: int, entry: dict[str, Any]) -> None:
        what = f"annotation {told(entry.get('id', f'number {at}'))}"
        image_id = entry.get("image_id")
        if not isinstance(image_id, int | str) or image_id not in self._images:
            detail = f"{what} is of the image {told(image_id)}, which is not there"
            self._gathering.fault(self._path, detail)
            return
        draft = self._images[image_id]
        if draft is None:
            return
        if entry.get("iscrowd"):
            draft.note(f"{what}: passed over, it is a crowd")
            return
        try:
            name = self._categories[_id(entry.get("category_id"))]
            draft.box(what, name, _edges(entry))
        except KeyError:
            draft.fault(f"{what}: unknown category {told(entry['category_id'])}")
        except ValueError as fault:
            draft.fault(f"{what}: {fault}")


def _id(value: object) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"an id must be a whole number or text, got {told(value)}")
    return value


def _edges(entry: dict[str, Any]) -> tuple[float, float, float, float]:
    """Return the box of an annotation, or what bounds its polygons."""
    if entry.get("bbox"):
        box = entry["bbox"]
        if not isinstance(box, list) or len(box) != 4:
            raise ValueError(f"bbox must be four numbers, got {told(box)}")
        x, y, width, height = (number("each of bbox", value) for value in box)
        return x, y, x + width, y + height
    return _bounds(entry.get("segmentation"))


def _bounds(polygons: object) -> tuple[float, float, float, float]:
    """Return the box around polygons, which are lists ``[x, y, x, y, ...]``."""
    if not isinstance(polygons, list) or not polygons:
        found = "a mask" if polygons else "nothing"
        raise ValueError(f"needs a bbox or polygons, got {found}")
    xs, ys = [], []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon must be pairs of numbers, at least three")
        points = [number("each of a polygon", value) for value in polygon]
        xs += points[0::2]
        ys += points[1::2]
    return min(xs), min(ys), max(xs), max(ys)
