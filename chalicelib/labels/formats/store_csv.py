"""The CSV of a label store (``chalicelib.labels.label_store_csv``) as a label format.

It has class ids alone, so the names have to be told. Only rows that are ``APPROVED`` are taken, and
of an image that was labelled again the newest of those.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import UTC

from chalicelib.errors import InvalidLabel
from chalicelib.labels.formats.gathering import Gathering
from chalicelib.labels.formats.label_set import ImageLabels, LabelSet, Writing, put
from chalicelib.labels.formats.reading import Reading, Report, split_in
from chalicelib.labels.label_store_csv import COLUMNS, FaultyRow, LabelledImage, iterate, newest
from chalicelib.labels.words import shown
from chalicelib.vision.boxes import Detections

APPROVED = "APPROVED"


def read_store_csv(
    documents: Mapping[str, bytes], reading: Reading | None = None
) -> tuple[LabelSet, Report]:
    """Read CSVs by their paths; ``train``, ``val`` or ``test`` in a path is the split."""
    gathering = Gathering(reading or Reading())
    names = gathering.reading.class_names
    if names is None:
        gathering.fault("", "a CSV has class ids alone: name the classes")
        return gathering.done()
    for path, text in gathering.texts(documents, (".csv",)):
        rows = _rows(gathering, path, text, len(names))
        for row in newest(rows):
            _take(gathering, f"{path}, row {row.row}", path, row, names)
    return gathering.done()


def write_store_csv(labels: LabelSet, writing: Writing | None = None) -> dict[str, bytes]:
    """Write ``<split>.csv`` for each split; the boxes are exact. Times without a zone are UTC."""
    writing = writing or Writing()
    files: dict[str, bytes] = {}
    for split, pairs in labels.by_split().items():
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_cells(image, boxes, writing) for image, boxes in pairs)
        put(files, f"{split}.csv", text.getvalue())
    return files


def _rows(gathering: Gathering, path: str, text: str, class_count: int) -> list[LabelledImage]:
    """Return the rows that are approved; say of all others why they are not taken."""
    rows: list[LabelledImage] = []
    spoilt: set[str] = set()
    try:
        for row in iterate(text, class_count):
            if isinstance(row, FaultyRow):
                gathering.fault(path, row.detail)
                spoilt.add(row.source_ref)
            elif row.status != APPROVED:
                detail = f"row {row.row}: passed over, it is {shown(row.status, 40)!r}"
                gathering.note(row.source_ref, detail)
            else:
                rows.append(row)
    except InvalidLabel as fault:
        gathering.fault(path, fault.detail)
    return [row for row in rows if row.source_ref not in spoilt]


def _take(
    gathering: Gathering, where: str, path: str, row: LabelledImage, names: tuple[str, ...]
) -> None:
    draft = gathering.image(where, row.source_ref, (row.width, row.height))
    if draft is None:
        return
    draft.split = split_in(path)
    for at, (class_id, xyxy) in enumerate(zip(row.class_id, row.xyxy.tolist(), strict=True), 1):
        draft.box(f"box {at}", names[class_id], xyxy)


def _cells(image: ImageLabels, boxes: Detections, writing: Writing) -> list[object]:
    width, height = image.size
    created = writing.created if writing.created.tzinfo else writing.created.replace(tzinfo=UTC)
    rows = zip(boxes.class_id.tolist(), boxes.xyxy.tolist(), strict=True)
    annotations = [
        {"class_id": class_id, "top": y1, "left": x1, "width": x2 - x1, "height": y2 - y1}
        for class_id, (x1, y1, x2, y2) in rows
    ]
    name = f"{writing.prefix}{image.name}"
    when = created.timestamp()
    return [name, width, height, 3, annotations, when, writing.job, APPROVED]
