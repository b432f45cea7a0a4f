"""Read a ZIP of images and labels that a stranger sent: all of it is sound, or none is taken.

``check`` reads everything once, an image at a time, and reports every fault by the file's name;
``images`` then gives image after image, and refuses an archive with faults. Both take a slice, so
that many short calls can share a large archive. Only ``read``, ``seek`` and ``tell`` of the file
are used, and no more than one image is held.

The layouts of YOLO are those of ``chalicelib.labels.archive_layout``. ``data.yaml`` (ultralytics)
or ``classes.txt`` names the archive's classes; labels are then turned by name into the classes of
the model. An empty label is a valid one: nothing to see. How the documents of the other formats
find their images is in ``chalicelib.labels.archive_documents``.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from chalicelib.errors import InvalidArchive, InvalidImage, InvalidLabel
from chalicelib.labels.archive_classes import names_in
from chalicelib.labels.archive_directory import (
    DIRECTORY_FAULTS,
    Entry,
    Fault,
    Judgement,
    Kind,
    Limits,
    judge,
    open_zip,
)
from chalicelib.labels.archive_documents import YOLO, detect, matched
from chalicelib.labels.archive_layout import Pair, hint_in, paired
from chalicelib.labels.fingerprint import ENOUGH, Fingerprint, fingerprint
from chalicelib.labels.formats.label_set import ImageLabels
from chalicelib.labels.words import Split, shown
from chalicelib.vision import Detections, Picture, decode_image, file_without_metadata

READING_FAULTS = (*DIRECTORY_FAULTS, zlib.error, RuntimeError)
FAULTS_A_LABEL = 20


@dataclass(frozen=True, eq=False)
class ArchiveImage:
    """An image of an archive, and what it is labelled with.

    Attributes
    ----------
    name : str
        Its path in the archive.
    sha256 : str
        Of ``content``, in hexadecimal: the image's identity.
    content : bytes
        The encoded image, without the metadata that its file in the archive has.
    detections : Detections
        The labels, in the classes of the model; ``to_yolo`` gives the label file to store.
    hint : {"train", "valid", "test"} or None
        What its folder says.
    fingerprint : Fingerprint
        Of the pixels that were decoded to check it.
    """

    name: str
    sha256: str
    content: bytes
    detections: Detections
    hint: Split | None
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Report:
    """What was found in an archive.

    Attributes
    ----------
    images, boxes : int
        How many sound ones were read.
    class_names : tuple[str, ...]
        Of the model.
    faults : tuple[Fault, ...]
        Up to the limit.
    unlisted : int
        How many more there are.
    """

    images: int
    boxes: int
    class_names: tuple[str, ...]
    faults: tuple[Fault, ...]
    unlisted: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return {
            "images": self.images,
            "boxes": self.boxes,
            "class_names": list(self.class_names),
            "faults": [fault.to_json() for fault in self.faults],
            "unlisted": self.unlisted,
        }


class Archive:
    """A ZIP of images and labels; opening it reads its directory and the names of its classes.

    Parameters
    ----------
    file : IO[bytes]
        Must seek.
    class_names : Sequence[str], optional
        Those of the model. Where not given, the archive has to name them.
    limits : Limits
    kind : str, optional
        The format, of ``formats.FORMATS``; where not given, the files' suffixes tell.

    Raises
    ------
    InvalidArchive
        It cannot be read as a ZIP at all. All else is in the reports.
    """

    def __init__(
        self,
        file: IO[bytes],
        class_names: Sequence[str] | None = None,
        limits: Limits | None = None,
        kind: str | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._zip = open_zip(file, self._limits)
        judged = judge(self._zip, self._limits)
        self._faults = list(judged.faults)
        self.kind = kind or self._kind(judged.entries)
        self.class_names = tuple(class_names or ())
        self._named = self.class_names
        if self.kind == YOLO:
            self._pairs = self._own_labels(judged)
        else:
            self._pairs = self._in_documents(judged)
        self._pairs.sort(key=lambda pair: pair.image.info.header_offset)  # a file is read forwards
        self._class_ids = np.array(
            [self.class_names.index(n) if n in self.class_names else -1 for n in self._named],
            np.int64,
        )

    def __len__(self) -> int:
        """Return how many images have a label: what a slice counts."""
        return len(self._pairs)

    @property
    def directory(self) -> Report:
        """What the directory and the names alone say is wrong: cheap, and worth a look first."""
        return self._report(0, 0, list(self._faults))

    def check(
        self, start: int = 0, stop: int | None = None, told: Callable[[int], None] | None = None
    ) -> Report:
        """Read all images and labels of a slice, or of all, and report what is wrong.

        Parameters
        ----------
        start, stop : int, optional
            The first pair and the one after the last.
        told : Callable[[int], None], optional
            Is told after each image how many were read.
        """
        faults, unlisted, boxes, sound = list(self._faults), 0, 0, 0
        seen: dict[str, tuple[str, bytes]] = {}
        for count, (image, found) in enumerate(self.each(start, stop), 1):
            wrong = _contradicts(image, seen) if image else found
            if image and not wrong:
                sound, boxes = sound + 1, boxes + len(image.detections)
            room = max(0, self._limits.faults - len(faults))
            faults += wrong[:room]
            unlisted += len(wrong[room:])
            del image  # before the next one is read
            if told:
                told(count)
        return self._report(sound, boxes, faults, unlisted)

    def each(
        self, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[ArchiveImage | None, list[Fault]]]:
        """Give each image of a slice, or what is wrong with it, in the order of the file."""
        return (self._read(pair) for pair in self._pairs[start:stop])

    def images(self, start: int = 0, stop: int | None = None) -> Iterator[ArchiveImage]:
        """Give the images of a slice, or all, in the order in which they are in the file.

        Raises
        ------
        InvalidArchive
            There is a fault in the directory, before anything is given; or in an image or label,
            which ``check`` would have found.
        """
        _refuse(self._report(0, 0, self._faults))
        for image, wrong in self.each(start, stop):
            _refuse(self._report(0, 0, wrong))
            if image:
                yield image

    def _report(
        self, images: int, boxes: int, faults: Sequence[Fault], unlisted: int = 0
    ) -> Report:
        most = self._limits.faults
        unlisted += max(0, len(faults) - most)
        return Report(images, boxes, self.class_names, tuple(faults[:most]), unlisted)

    # ---- what belongs together

    def _kind(self, entries: Sequence[Entry]) -> str:
        try:
            return detect(entries)
        except ValueError as fault:
            self._faults.append(Fault("", Kind.TYPE, f"{fault}: say which one to read"))
            return YOLO

    def _own_labels(self, judged: Judgement) -> list[Pair]:
        """Find the YOLO file of each image, and the names of the classes."""
        named = self._names(judged.entries)
        self.class_names = self.class_names or named
        self._named = named or self.class_names
        if not self.class_names and not self._faults:
            detail = "neither data.yaml nor classes.txt names the classes"
            self._faults.append(Fault("", Kind.CLASSES, detail))
        pairs, alone = paired(judged.entries, judged.refused)
        self._faults += alone
        return pairs

    def _in_documents(self, judged: Judgement) -> list[Pair]:
        """Find what documents say of each image."""
        pairs, faults, self.class_names = matched(
            judged, self.kind, self.class_names, self._document, self._limits
        )
        self._faults += faults
        return pairs

    def _document(self, entry: Entry) -> bytes:
        try:
            return self._bytes(entry)
        except READING_FAULTS as fault:
            raise ValueError(str(fault)) from fault

    def _names(self, entries: Sequence[Entry]) -> tuple[str, ...]:
        """Return the classes that the archive names, none where it names none."""
        found: dict[str, tuple[str, ...]] = {}
        for entry in entries:
            if entry.names_classes:
                try:
                    found[str(entry.path)] = names_in(entry.path.name, self._text(entry))
                except (InvalidLabel, *READING_FAULTS) as fault:
                    self._fault(entry, Kind.CLASSES, str(fault))
        if len(set(found.values())) > 1:
            detail = f"{', '.join(map(shown, found))} name different classes"
            self._faults.append(Fault("", Kind.CLASSES, detail))
        return next(iter(found.values()), ())

    def _fault(self, entry: Entry, kind: Kind, detail: str) -> None:
        self._faults.append(Fault(shown(str(entry.path)), kind, detail))

    # ---- what is in them

    def _read(self, pair: Pair) -> tuple[ArchiveImage | None, list[Fault]]:
        """Return an image with its labels, or what is wrong with either."""
        faults: list[Fault] = []
        content, picture = self._picture(pair.image, faults)
        size = picture.size if picture else None
        if isinstance(pair.label, ImageLabels):
            detections = _told(pair, pair.label, size, faults)
        else:
            detections = self._labels(pair.label, size or (1, 1), faults)
        if faults or detections is None or picture is None:
            return None, faults
        name, sha256 = str(pair.image.path), hashlib.sha256(content).hexdigest()
        hint, looks = hint_in(pair.image.path), fingerprint(picture.image)
        return ArchiveImage(name, sha256, content, detections, hint, looks), []

    def _picture(self, entry: Entry, faults: list[Fault]) -> tuple[bytes, Picture | None]:
        """Return an image's file without metadata and, if it can be decoded, its picture."""
        content, name, picture = b"", str(entry.path), None
        try:
            content = self._bytes(entry)
            picture = decode_image(content, max_pixels=self._limits.pixels, enough=ENOUGH)
            content = file_without_metadata(content, max_pixels=self._limits.pixels)
        except InvalidImage as fault:
            faults.append(Fault(shown(name), Kind.IMAGE, fault.detail))
        except READING_FAULTS as fault:
            faults.append(Fault(shown(name), Kind.CORRUPT, shown(str(fault))))
        return content, picture

    def _labels(
        self, entry: Entry, size: tuple[int, int], faults: list[Fault]
    ) -> Detections | None:
        """Return the labels in the classes of the model."""
        name = shown(str(entry.path))
        try:
            text = self._text(entry)
        except READING_FAULTS as fault:
            faults.append(Fault(name, Kind.CORRUPT, shown(str(fault))))
            return None
        try:
            found = _boxes(text, self._named, size, self._limits.boxes)
        except InvalidLabel as fault:
            lines = _line_faults(name, text, self._named)
            faults += lines or [Fault(name, Kind.LABEL, fault.detail)]
            return None
        unknown = np.unique(found.class_id[self._class_ids[found.class_id] < 0])
        faults += [
            Fault(name, Kind.CLASSES, f"the model has no class {shown(self._named[n])!r}")
            for n in unknown
        ]
        return None if unknown.size else self._in_the_models_classes(found)

    def _in_the_models_classes(self, found: Detections) -> Detections:
        class_id = self._class_ids[found.class_id]
        return Detections(
            found.xyxy, found.confidence, class_id, self.class_names, found.image_size
        )

    def _bytes(self, entry: Entry) -> bytes:
        """Unpack one entry; never more than it declares, which is limited."""
        with self._zip.open(entry.info) as packed:
            content = packed.read(entry.info.file_size)
            packed.read(1)  # the end, where the checksum is compared
            if len(content) != entry.info.file_size:
                raise zipfile.BadZipFile("it unpacks to less than it declares")
            return content

    def _text(self, entry: Entry) -> str:
        if entry.info.file_size > self._limits.label_bytes:
            raise zipfile.BadZipFile(f"a text over {self._limits.label_bytes} bytes")
        return self._bytes(entry).decode("utf-8-sig")


def _told(
    pair: Pair, label: ImageLabels, size: tuple[int, int] | None, faults: list[Fault]
) -> Detections | None:
    """Return what a document says of an image, if it is of the size that the document says."""
    if size and size != label.size:
        sizes = f"{label.size[0]} x {label.size[1]}, but is {size[0]} x {size[1]}"
        faults.append(Fault(shown(str(pair.image.path)), Kind.LABEL, f"is said to be {sizes}"))
    return label.boxes


def _boxes(text: str, names: Sequence[str], size: tuple[int, int], most: int) -> Detections:
    """Read a label file; boxes must have an area and a known class."""
    if text.count("\n") > 2 * most + 100:
        raise InvalidLabel(f"over {most} boxes")
    found = Detections.from_yolo(text, names, size)
    if len(found) > most:
        raise InvalidLabel(f"over {most} boxes")
    if (found.xyxy[:, 2:] <= found.xyxy[:, :2]).any():
        raise InvalidLabel("a box has no area")
    return found


def _line_faults(name: str, text: str, names: Sequence[str]) -> list[Fault]:
    """Say what is wrong in each line of a label that cannot be read as a whole."""
    faults: list[Fault] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            _boxes(line, names, (1, 1), 1)
        except InvalidLabel as fault:
            unknown = fault.detail.startswith("class_id")
            reason = shown(fault.detail.removeprefix("line 1: "))
            kind = Kind.CLASSES if unknown else Kind.LABEL
            faults.append(Fault(name, kind, f"line {number}: {reason}"))
        if len(faults) == FAULTS_A_LABEL:
            break
    return faults


def _contradicts(image: ArchiveImage, seen: dict[str, tuple[str, bytes]]) -> list[Fault]:
    """Say whether the same bytes came before under another name and with other labels."""
    label = hashlib.sha256(image.detections.to_yolo().encode()).digest()
    name, before = seen.setdefault(image.sha256, (image.name, label))
    if before == label:
        return []
    return [Fault(shown(image.name), Kind.CONTRADICTION, f"the image is that of {shown(name)!r}")]


def _refuse(report: Report) -> None:
    if report.sound:
        return
    first = report.faults[0]
    count = len(report.faults) + report.unlisted
    detail = f"{count} faults, the first: {first.name or 'the archive'}: {first.detail}"
    raise InvalidArchive(detail)
