"""The output manifest of SageMaker Ground Truth: a JSON object a line, for object detection.

A line holds ``source-ref`` and, for each job that ran over the image, its label under the job's
attribute and what is known of it under ``<attribute>-metadata``. Boxes are whole pixels, ``left``,
``top``, ``width``, ``height``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.labels.formats.gathering import Draft, Gathering
from chalicelib.labels.formats.label_set import ImageLabels, LabelSet, Writing, put, whole_pixels
from chalicelib.labels.formats.reading import Reading, Report, number, split_in, told
from chalicelib.labels.words import shown
from chalicelib.vision.boxes import Detections

METADATA = "-metadata"
FAILED = "failure-reason"
JOB_TYPE = "groundtruth/object-detection"
SUFFIXES = (".manifest", ".jsonl", ".json")


def read_ground_truth(
    documents: Mapping[str, bytes], reading: Reading | None = None
) -> tuple[LabelSet, Report]:
    """Read manifests by their paths; ``train``, ``val`` or ``test`` in a path is the split.

    Of several object-detection jobs in one line the one that was made last counts. A line whose
    job failed has no label: that is noted, and the image is unlabelled.

    >>> line = (
    ...     b'{"source-ref": "s3://b/a.jpg", "box": {"image_size": [{"width": 100, "height": 80,'
    ...     b' "depth": 3}], "annotations": [{"class_id": 0, "left": 10, "top": 20, "width": 20,'
    ...     b' "height": 40}]}, "box-metadata": {"objects": [{"confidence": 0.9}],'
    ...     b' "class-map": {"0": "scratch"}, "type": "groundtruth/object-detection"}}'
    ... )
    >>> labels, report = read_ground_truth({"output.manifest": line})
    >>> labels.images[0].boxes.xyxy.tolist()
    [[10.0, 20.0, 30.0, 60.0]]
    """
    gathering = Gathering(reading or Reading())
    for path, text in gathering.texts(documents, SUFFIXES):
        for at, line in enumerate(text.split("\n"), 1):
            if line.strip():
                _read_line(gathering, path, f"{path}, line {at}", line)
    return gathering.done()


def write_ground_truth(labels: LabelSet, writing: Writing | None = None) -> dict[str, bytes]:
    """Write ``<split>.manifest`` for each split, edges rounded to whole pixels."""
    writing = writing or Writing()
    files: dict[str, bytes] = {}
    for split, pairs in labels.by_split().items():
        lines = [_line(image, boxes, writing) for image, boxes in pairs]
        put(files, f"{split}.manifest", "".join(lines))
    return files


def _line(image: ImageLabels, boxes: Detections, writing: Writing) -> str:
    created = writing.created.replace(tzinfo=None).isoformat(timespec="microseconds")
    name = f"{writing.prefix}{image.name}"
    entry = json.loads(whole_pixels(boxes).to_ground_truth(name, writing.job, created))
    entry[f"{writing.job}{METADATA}"]["human-annotated"] = "yes"
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _read_line(gathering: Gathering, path: str, where: str, line: str) -> None:
    try:
        entry = json.loads(line)
        if not isinstance(entry, dict):
            raise ValueError(f"expected an object, got {type(entry).__name__}")
        jobs = _jobs(entry, gathering.reading.job)
    except RecursionError:
        gathering.fault(where, "is nested too deeply")
        return
    except ValueError as fault:
        gathering.fault(where, f"cannot be read: {fault}")
        return
    done = [job for job in jobs if _has_label(entry, job)]
    draft = _image(gathering, where, entry, done) if done else _unlabelled(gathering, where, entry)
    if draft is None:
        return
    draft.split = split_in(path)
    if done:
        _passed_over(draft, done[-1], jobs)
        _boxes(gathering, draft, entry[done[-1]], entry[done[-1] + METADATA])
    else:
        draft.note(f"{_reason(entry, jobs)}: it is unlabelled")


def _jobs(entry: dict[str, Any], wanted: str | None) -> list[str]:
    """Return the attributes of the line's object-detection jobs, the one made last at the end."""
    found = {
        key.removesuffix(METADATA): metadata
        for key, metadata in entry.items()
        if key.endswith(METADATA)
        and isinstance(metadata, dict)
        and metadata.get("type", JOB_TYPE if FAILED in metadata else None) == JOB_TYPE
    }
    if wanted is not None:
        found = {job: metadata for job, metadata in found.items() if job == wanted}
    if not found:
        raise ValueError(f"there is no {JOB_TYPE} job {wanted or ''}".strip())
    return sorted(found, key=lambda job: str(found[job].get("creation-date", "")))


def _has_label(entry: dict[str, Any], job: str) -> bool:
    return FAILED not in entry[job + METADATA] and entry.get(job) is not None


def _image(
    gathering: Gathering, where: str, entry: dict[str, Any], done: list[str]
) -> Draft | None:
    label = entry[done[-1]]
    sizes = label.get("image_size") if isinstance(label, dict) else None
    size = sizes[0] if isinstance(sizes, list) and sizes else None
    told = (size.get("width"), size.get("height")) if isinstance(size, dict) else None
    return gathering.image(where, entry.get("source-ref"), told)


def _unlabelled(gathering: Gathering, where: str, entry: dict[str, Any]) -> Draft | None:
    """Begin an image that no job has labelled; only noted where its size is not known."""
    name = entry.get("source-ref")
    known = gathering.reading.sizes
    if isinstance(name, str) and name.removeprefix(gathering.reading.prefix) not in known:
        gathering.note(where, f"passed over, the job failed: {shown(name)}")
        return None
    draft = gathering.image(where, name, None)
    if draft:
        draft.is_labelled = False
    return draft


def _reason(entry: dict[str, Any], jobs: list[str]) -> str:
    reason = entry[jobs[-1] + METADATA].get(FAILED, "it has no label")
    return f"the job {shown(jobs[-1], 60)!r} failed ({told(reason)})"


def _passed_over(draft: Draft, job: str, jobs: list[str]) -> None:
    others = [shown(other, 60) for other in jobs if other != job]
    if others:
        draft.note(f"the job {shown(job, 60)!r} counts, passed over: {', '.join(others[:10])}")


def _boxes(gathering: Gathering, draft: Draft, label: Any, metadata: dict[str, Any]) -> None:
    """Add the boxes of one label."""
    boxes = label.get("annotations") if isinstance(label, dict) else None
    try:
        if not isinstance(boxes, list):
            raise ValueError("its label has no list of annotations")
        names = _class_map(gathering, metadata.get("class-map", {}))
        scores = _confidences(metadata.get("objects"), len(boxes))
    except ValueError as fault:
        draft.fault(str(fault))
        return
    for at, (box, score) in enumerate(zip(boxes, scores, strict=True), 1):
        try:
            name, edges = _class_and_edges(box, names)
            draft.box(f"box {at}", name, edges, score)
        except ValueError as fault:
            draft.fault(f"box {at}: {fault}")


def _class_map(gathering: Gathering, mapped: object) -> dict[int, str]:
    if not isinstance(mapped, dict) or not all(key.isdecimal() for key in mapped):
        raise ValueError(f"class-map must map ids to names, got {told(mapped)}")
    return {int(id_): gathering.declare(name, int(id_)) for id_, name in mapped.items()}


def _confidences(objects: object, count: int) -> list[object]:
    if objects is None:
        return [1] * count
    if not isinstance(objects, list) or len(objects) != count:
        raise ValueError(f"objects of the metadata must be a list of {count}, one a box")
    return [each.get("confidence", 1) if isinstance(each, dict) else None for each in objects]


def _class_and_edges(
    box: object, names: dict[int, str]
) -> tuple[str, tuple[float, float, float, float]]:
    if not isinstance(box, dict):
        raise ValueError(f"must be an object, got {told(box)}")
    id_ = box.get("class_id")
    if type(id_) is not int or id_ not in names:
        raise ValueError(f"class_id {told(id_)} is not in the class-map")
    left, top, width, height = (
        number(side, box.get(side)) for side in ("left", "top", "width", "height")
    )
    return names[id_], (left, top, left + width, top + height)
