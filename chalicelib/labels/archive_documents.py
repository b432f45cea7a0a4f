"""Labels of an archive that are in documents about many images: COCO, VOC, manifests, CSVs.

Documents name images in ways of their own: by file name, by a path from somewhere, by a URI. An
image of the archive is meant where its path ends as the name does; of several, the one that shares
most folders with it.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from chalicelib.labels.archive_directory import (
    IMAGE_SUFFIXES,
    Entry,
    Fault,
    Judgement,
    Kind,
    Limits,
    MiB,
)
from chalicelib.labels.archive_layout import Pair
from chalicelib.labels.formats import FORMATS
from chalicelib.labels.formats.label_set import ImageLabels, LabelSet, path_of
from chalicelib.labels.formats.reading import Limits as ReadingLimits
from chalicelib.labels.formats.reading import Reading, Report
from chalicelib.labels.words import shown

YOLO = "yolo"
LISTS = "ImageSets"
DETECTED = {
    ".json": "coco",
    ".xml": "voc",
    ".manifest": "ground-truth",
    ".jsonl": "ground-truth",
    ".csv": "csv",
    ".txt": YOLO,
}
SUFFIXES = {
    "coco": {".json"},
    "voc": {".xml"},
    "ground-truth": {".manifest", ".jsonl", ".json"},
    "csv": {".csv"},
}
MOST_BYTES = 128 * MiB  # of all documents, which are held at once

Contents = Callable[[Entry], bytes]


def detect(entries: Iterable[Entry]) -> str:
    """Return the format of an archive's labels, as its files' suffixes tell.

    Raises
    ------
    ValueError
        They tell of several.
    """
    found = {
        DETECTED[entry.suffix]
        for entry in entries
        if entry.suffix in DETECTED and not entry.names_classes and not _is_list(entry)
    }
    if len(found) > 1:
        raise ValueError(f"it holds labels of several formats: {', '.join(sorted(found))}")
    return next(iter(found), YOLO)


def matched(
    judged: Judgement, kind: str, names: tuple[str, ...], read: Contents, limits: Limits
) -> tuple[list[Pair], list[Fault], tuple[str, ...]]:
    """Read the documents and find the images that they are about.

    Parameters
    ----------
    judged : Judgement
        Images and documents.
    kind : str
        Of ``FORMATS``, but for YOLO.
    names : tuple[str, ...]
        Classes to expect; none: those of the documents.
    read : callable
        Returns what an entry holds, or raises ``ValueError``.
    limits : Limits

    Returns
    -------
    tuple[list[Pair], list[Fault], tuple[str, ...]]
        Images with their labels, what is wrong, and the classes.
    """
    entries = judged.entries
    images = [entry for entry in entries if entry.suffix in IMAGE_SUFFIXES]
    documents = [entry for entry in entries if _is_document(entry, kind)]
    others = {*entries} - {*images} - {*documents}
    faults = [
        _fault(entry, Kind.TYPE, f"neither an image nor part of {FORMATS[kind].title}")
        for entry in sorted(others, key=lambda entry: entry.path.parts)
        if not entry.names_classes
    ]
    labels, report = _read(documents, kind, names, read, limits, faults)
    spoilt = {fault.where for fault in report.faults}
    pairs, alone = _paired(labels, images, judged.refused, spoilt)
    faults += [Fault(fault.where, Kind.LABEL, fault.detail) for fault in report.faults]
    return pairs, faults + alone, labels.class_names


def _read(
    documents: Sequence[Entry],
    kind: str,
    names: tuple[str, ...],
    read: Contents,
    limits: Limits,
    faults: list[Fault],
) -> tuple[LabelSet, Report]:
    """Read all documents together; those that are too large as a whole are not begun with."""
    total = sum(entry.info.file_size for entry in documents)
    if total > MOST_BYTES:
        detail = f"its documents have {total} bytes; at most {MOST_BYTES} are taken"
        faults.append(Fault("", Kind.TOO_LARGE, detail))
        documents = []
    elif not documents:
        detail = f"there is no document of {FORMATS[kind].title} in it"
        faults.append(Fault("", Kind.TYPE, detail))
    held: dict[str, bytes] = {}
    for entry in documents:
        try:
            held[str(entry.path)] = read(entry)
        except ValueError as fault:
            faults.append(_fault(entry, Kind.CORRUPT, shown(str(fault))))
    most = ReadingLimits(boxes=limits.boxes, faults=limits.faults)
    if not held:
        return LabelSet(names, ()), Report((), 0, (), 0)
    return FORMATS[kind].read(held, Reading(class_names=names or None, limits=most))


def _paired(
    labels: LabelSet, images: Sequence[Entry], refused: Sequence[Entry], spoilt: set[str]
) -> tuple[list[Pair], list[Fault]]:
    """Find the image of each label; name what is alone and what is meant twice."""
    tails, others = _Tails(images), _Tails(refused)
    meant: dict[PurePosixPath, Pair] = {}
    faults = []
    for label in labels.images:
        entry, fault = tails.find(label)
        if fault and others.find(label)[0]:  # the one fault is named already
            continue
        if entry and label.boxes is None:
            fault = _fault(entry, Kind.NO_LABEL, "nobody has labelled it")
        elif entry and (first := meant.get(entry.path)) and isinstance(first.label, ImageLabels):
            detail = f"labelled as {shown(first.label.name)!r} and as {shown(label.name)!r}"
            fault = _fault(entry, Kind.DUPLICATE, detail)
        elif entry:
            meant[entry.path] = Pair(entry, label)
        if entry:
            tails.taken.add(entry.path)
        if fault:
            faults.append(fault)
    faults += [
        _fault(entry, Kind.NO_LABEL, "no document names it")
        for entry in images
        if entry.path not in tails.taken and not tails.is_spoilt(entry, spoilt)
    ]
    return list(meant.values()), faults


class _Tails:
    """Images by how their paths end."""

    def __init__(self, images: Iterable[Entry]) -> None:
        self._by_name: dict[str, list[Entry]] = defaultdict(list)
        self.taken: set[PurePosixPath] = set()
        for image in images:
            self._by_name[_spelt(image.path.name)].append(image)

    def find(self, label: ImageLabels) -> tuple[Entry | None, Fault | None]:
        """Return the image that a label is of, or why there is none."""
        path = path_of(label.name)
        best = self._nearest(path)
        if len(best) == 1:
            return best[0], None
        if not best:
            return None, Fault(shown(label.name), Kind.NO_IMAGE, "no image has its name")
        self.taken.update(entry.path for entry in best)
        several = ", ".join(shown(str(entry.path)) for entry in best[:3])
        return None, Fault(shown(label.name), Kind.DUPLICATE, f"it may be any of {several}")

    def is_spoilt(self, image: Entry, spoilt: set[str]) -> bool:
        """Say whether an image is named among those whose labels are faulty already."""
        path = str(image.path)
        return any(path.endswith(name) for name in spoilt if name.endswith(image.path.name))

    def _nearest(self, path: PurePosixPath) -> list[Entry]:
        entries = self._by_name.get(_spelt(path.name), [])
        shared = [_shared(path, entry.path) for entry in entries]
        return [e for e, count in zip(entries, shared, strict=True) if count == max(shared)]


def _shared(one: PurePosixPath, other: PurePosixPath) -> int:
    """Return how many parts two paths have in common, from their ends."""

    def same() -> Iterator[bool]:
        for mine, theirs in zip(reversed(one.parts), reversed(other.parts), strict=False):
            if _spelt(mine) != _spelt(theirs):
                return
            yield True

    return sum(same())


def _spelt(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _is_document(entry: Entry, kind: str) -> bool:
    return entry.suffix in SUFFIXES[kind] or (kind == "voc" and _is_list(entry))


def _is_list(entry: Entry) -> bool:
    """Say whether a text lists the images of a split, as VOC has it."""
    return entry.suffix == ".txt" and LISTS in entry.path.parts


def _fault(entry: Entry, kind: Kind, detail: str) -> Fault:
    return Fault(shown(str(entry.path)), kind, detail)
