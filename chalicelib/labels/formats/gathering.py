"""What the readers of all formats share: limits, faults, and the rules for names and boxes.

One rule for all: an image with a fault is left out whole, for fewer boxes than somebody drew would
teach that an object is background. A box that overhangs is clipped to the image, and that is
noted; one that lies outside, or of which less than a tenth of a pixel is left, is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from chalicelib.labels.formats.label_set import ImageLabels, LabelSet
from chalicelib.labels.formats.reading import Fault, Reading, Report, number, told
from chalicelib.labels.words import Split, shown
from chalicelib.vision.boxes import Detections

LEAST_SIDE = 0.1  # pixels of a box; less cannot be seen, nor written by all formats
MOST_DETAIL = 300  # characters
ROUNDING = 0.01  # pixels over the edge that need no mention


class _Findings:
    """Faults or notes: the first are kept, all are counted."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.count = 0
        self.kept: list[Fault] = []

    def add(self, where: str, detail: str) -> None:
        self.count += 1
        if len(self.kept) < self._most:
            self.kept.append(Fault(shown(where), shown(detail, MOST_DETAIL)))


class Draft:
    """One image while it is read. Made by ``Gathering.image``."""

    def __init__(self, gathering: Gathering, name: str, size: tuple[int, int]) -> None:
        self._gathering = gathering
        self.name, self.size = name, size
        self.split: Split | None = None
        self.is_labelled = True
        self.is_faulty = False
        self.rows: list[tuple[str, float, float, float, float, float]] = []

    def fault(self, detail: str) -> None:
        """Say what is wrong; the image is left out."""
        self.is_faulty = True
        self._gathering.fault(self.name, detail)

    def note(self, detail: str) -> None:
        """Say what was passed over; the image is taken."""
        self._gathering.note(self.name, detail)

    def box(
        self, what: str, class_name: str, xyxy: Sequence[object], confidence: object = 1
    ) -> None:
        """Add a box, or the fault that it has.

        Parameters
        ----------
        what : str
            Which of the image's boxes it is, as its document counts.
        class_name : str
        xyxy : Sequence of four
            Left, top, right, bottom in pixels from the image's corner; anything may stand there.
        confidence : object
            0..1.
        """
        try:
            score = number("confidence", confidence)
            if not 0 <= score <= 1:
                raise ValueError(f"confidence must be in 0..1, got {score}")
            edges = self._clipped(what, [number("an edge", edge) for edge in xyxy])
            self._gathering.check_class(class_name)
            self.rows.append((class_name, *edges, score))
        except ValueError as fault:
            self.fault(f"{what}: {fault}")
        if len(self.rows) > self._gathering.limits.boxes:
            self.fault(f"over {self._gathering.limits.boxes} boxes")
            self.rows.clear()

    def _clipped(self, what: str, xyxy: list[float]) -> tuple[float, float, float, float]:
        x1, y1, x2, y2 = xyxy
        if x1 >= x2 or y1 >= y2:
            raise ValueError(f"the box has no area: {x2 - x1:g} x {y2 - y1:g}")
        width, height = self.size
        kept = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        if kept[0] >= kept[2] or kept[1] >= kept[3]:
            raise ValueError(f"the box lies outside the image of {width} x {height}")
        if min(kept[2] - kept[0], kept[3] - kept[1]) < LEAST_SIDE:
            raise ValueError(f"less than {LEAST_SIDE} pixels of the box lie in the image")
        if max(abs(a - b) for a, b in zip(xyxy, kept, strict=True)) > ROUNDING:
            self.note(f"{what}: clipped to the image of {width} x {height}")
        return kept

    def finished(self, class_names: tuple[str, ...]) -> ImageLabels:
        """Return the image with its boxes."""
        if not self.is_labelled:
            return ImageLabels(self.name, self.size, None, self.split)
        ids = {name: class_id for class_id, name in enumerate(class_names)}
        table = np.array([row[1:] for row in self.rows], np.float64).reshape(-1, 5)
        class_id = np.array([ids[row[0]] for row in self.rows], np.int64)
        boxes = Detections(
            table[:, :4].astype(np.float32),
            table[:, 4].astype(np.float32),
            class_id,
            class_names,
            self.size,
        )
        return ImageLabels(self.name, self.size, boxes, self.split)


class Gathering:
    """What a reader has found so far."""

    def __init__(self, reading: Reading) -> None:
        self.reading, self.limits = reading, reading.limits
        self._faults = _Findings(self.limits.faults)
        self._notes = _Findings(self.limits.faults)
        self._drafts: dict[str, Draft] = {}
        self._ranks: dict[str, int] = {}

    def fault(self, where: str, detail: str) -> None:
        """Say what is wrong."""
        self._faults.add(where, detail)

    def note(self, where: str, detail: str) -> None:
        """Say what was passed over."""
        self._notes.add(where, detail)

    def texts(
        self, documents: Mapping[str, bytes], suffixes: tuple[str, ...]
    ) -> Iterator[tuple[str, str]]:
        """Yield path and text of the documents of a format; note the others."""
        for path, content in self.contents(documents, suffixes):
            try:
                yield path, content.decode("utf-8-sig")
            except UnicodeDecodeError as fault:
                self.fault(path, f"is not UTF-8: {fault.reason} at byte {fault.start}")

    def contents(
        self, documents: Mapping[str, bytes], suffixes: tuple[str, ...]
    ) -> Iterator[tuple[str, bytes]]:
        """Yield path and content of the documents of a format, by path; note the others."""
        matching = sorted(path for path in documents if path.lower().endswith(suffixes))
        for path in sorted(documents.keys() - matching):
            self.note(path, f"passed over: its name does not end in {' or '.join(suffixes)}")
        if not matching:
            self.fault("", f"there is no document whose name ends in {' or '.join(suffixes)}")
        if len(matching) > self.limits.documents:
            self.fault("", f"{len(matching)} documents, at most {self.limits.documents} are read")
            return
        for path in matching:
            if len(documents[path]) > self.limits.document_bytes:
                self.fault(path, f"over {self.limits.document_bytes} bytes")
            else:
                yield path, documents[path]

    def declare(self, class_name: object, rank: int = 0) -> str:
        """Take note of a class; without names to expect, classes are sorted by rank and name.

        Raises
        ------
        ValueError
            It is no name.
        """
        name = self._name("a class", class_name)
        if len(self._ranks) >= self.limits.classes and name not in self._ranks:
            raise ValueError(f"over {self.limits.classes} classes")
        self._ranks[name] = min(rank, self._ranks.get(name, rank))
        return name

    def check_class(self, name: str) -> None:
        """Refuse a class that is not expected.

        Raises
        ------
        ValueError
        """
        expected = self.reading.class_names
        if expected is not None and name not in expected:
            raise ValueError(f"unknown class {shown(name)!r}")

    def image(self, where: str, name: object, told: tuple[object, object] | None) -> Draft | None:
        """Begin an image; None where it cannot be used, which is then a fault.

        Parameters
        ----------
        where : str
            The document and line, for as long as it has no name.
        name : object
        told : tuple, optional
            Width and height as the document says.
        """
        try:
            path = self._path(name)
        except ValueError as fault:
            self.fault(where, str(fault))
            return None
        if known := self._drafts.get(path):
            known.fault("is there twice")
            return None
        try:
            if len(self._drafts) >= self.limits.images:
                raise ValueError(f"over {self.limits.images} images")
            draft = Draft(self, path, self._size(path, told))
        except ValueError as fault:
            self.fault(path, str(fault))
            return None
        return self._drafts.setdefault(path, draft)

    def done(self) -> tuple[LabelSet, Report]:
        """Return all images without a fault, and the report."""
        ranked = sorted(self._ranks, key=lambda name: (self._ranks[name], name))
        expected = self.reading.class_names
        names = tuple(ranked) if expected is None else expected
        good = [draft for draft in self._drafts.values() if not draft.is_faulty]
        labels = LabelSet(names, tuple(draft.finished(names) for draft in good))
        faults, notes = self._faults, self._notes
        return labels, Report(tuple(faults.kept), faults.count, tuple(notes.kept), notes.count)

    def _name(self, what: str, name: object) -> str:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{what} must have a name, got {told(name)}")
        if not name.strip().isprintable() or len(name) > self.limits.name:
            raise ValueError(f"{what} cannot be named {shown(name)!r}")
        return name.strip()

    def _path(self, name: object) -> str:
        text = self._name("an image", name).removeprefix(self.reading.prefix)
        path = PurePosixPath(text.split("://", 1)[-1])
        if path.is_absolute() or ".." in path.parts or "\\" in text or not path.name:
            raise ValueError(f"an image must be a relative path or a URI, got {shown(text)!r}")
        return text if "://" in text else path.as_posix()

    def _size(self, path: str, told: tuple[object, object] | None) -> tuple[int, int]:
        known = self.reading.sizes.get(path)
        if told is None or told == (None, None):
            if known is None:
                raise ValueError("its size is not known")
            return known
        size = tuple(number("width and height", side) for side in told)
        if not all(side == int(side) and 1 <= side <= self.limits.side for side in size):
            raise ValueError(f"its sides must be 1 to {self.limits.side} pixels, got {told}")
        if known is not None and size != known:
            raise ValueError(f"is said to be {told[0]} x {told[1]}, but is {known[0]} x {known[1]}")
        return int(size[0]), int(size[1])
