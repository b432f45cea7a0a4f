"""What an export writes, as walks over the images of a dataset, a few of which are held at a time.

A document that names all images, such as COCO's, is written while they go by. One that names them
twice, images first and then their boxes, takes two walks. The last walk is for the files that each
image has of its own: its label, in some formats, and itself.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chalicelib.labels.formats import FORMATS, ImageLabels, LabelSet, Writing
from chalicelib.labels.formats.coco import annotation_rows, document_frame, image_rows
from chalicelib.labels.formats.yolo import data_file
from chalicelib.labels.transfers.exported import Exported
from chalicelib.labels.words import Side

SET_NAMES = {"train": "train", "valid": "val"}  # of VOC
OWN_FILES = {"voc": "Annotations/", "yolo": "labels/"}


@dataclass(frozen=True)
class Some:
    """Images that go by, and how many images and boxes of the same walk went before them."""

    images: Sequence[Exported]
    images_before: int
    boxes_before: int


@dataclass(frozen=True)
class Walk:
    """One walk over the images.

    Attributes
    ----------
    side : {"train", "valid"} or None
        Whose images; None: all.
    path : str or None
        Of the document that is written; None: files of their own.
    text : callable
        From some images to what a document says of them.
    files : callable
        From some images to their files by path, without themselves.
    before, after : str
        What the document has before the images and after them.
    begins, ends : bool
        Whether the document begins and ends with this walk.
    """

    side: Side | None = None
    path: str | None = None
    text: Callable[[Some], str] = lambda some: ""
    files: Callable[[Some], dict[str, bytes]] = lambda some: {}
    before: str = ""
    after: str = ""
    begins: bool = True
    ends: bool = True


@dataclass(frozen=True)
class Wanted:
    """What is exported, and how.

    Attributes
    ----------
    format : str
        One of ``FORMATS``.
    class_names : tuple[str, ...]
    sides : Sequence[str]
        Those that have images.
    writing : Writing
    link : callable or None
        From an image to a link to it, where ``links.tsv`` is wanted.
    """

    format: str
    class_names: tuple[str, ...]
    sides: Sequence[Side]
    writing: Writing
    link: Callable[[Exported], str] | None = None

    def labels(self, some: Some) -> tuple[ImageLabels, ...]:
        """Return images with their boxes."""
        return tuple(image.labels(self.class_names) for image in some.images)

    def written(self, some: Some) -> dict[str, bytes]:
        """Return the files that the format has for these images alone."""
        labels = LabelSet(self.class_names, self.labels(some))
        return FORMATS[self.format].write(labels, self.writing)


def walks(wanted: Wanted) -> list[Walk]:
    """Return the walks that an export takes, always the same ones for the same wish."""
    documents = {
        "coco": _coco,
        "voc": _image_sets,
        "ground-truth": _one_by_one,
        "csv": _one_by_one,
        "yolo": _no_document,
    }
    listed = [walk for side in wanted.sides for walk in documents[wanted.format](wanted, side)]
    if wanted.link:
        listed.append(_links(wanted.link))
    return [*listed, Walk(files=_own_files(wanted))]


def fixed_files(wanted: Wanted) -> dict[str, bytes]:
    """Return the files that are the same whatever the images are; of no image all there are."""
    if not wanted.sides:
        return FORMATS[wanted.format].write(LabelSet(wanted.class_names, ()), wanted.writing)
    if wanted.format == "yolo":
        name, text = data_file(wanted.class_names, wanted.sides)
        return {name: text.encode()}
    return {}


def _coco(wanted: Wanted, side: Side) -> list[Walk]:
    path = f"annotations/{side}.json"
    before, between, after = document_frame(side, wanted.class_names)

    def images(some: Some) -> str:
        rows = image_rows(wanted.labels(some), some.images_before + 1)
        return f", {rows}" if some.images_before and rows else rows

    def boxes(some: Some) -> str:
        found = [image.boxes for image in wanted.labels(some) if image.boxes is not None]
        rows = annotation_rows(found, some.images_before + 1, some.boxes_before + 1)
        return f", {rows}" if some.boxes_before and rows else rows

    return [
        Walk(side, path, images, before=before, ends=False),
        Walk(side, path, boxes, before=between, after=after, begins=False),
    ]


def _image_sets(wanted: Wanted, side: Side) -> list[Walk]:
    def stems(some: Some) -> str:
        return "".join(f"{image.sha256}\n" for image in some.images)

    return [Walk(side, f"ImageSets/Main/{SET_NAMES[side]}.txt", stems)]


def _one_by_one(wanted: Wanted, side: Side) -> list[Walk]:
    """Walk for a document of a line an image, which may have a line before them."""
    [head] = FORMATS[wanted.format].write(LabelSet(wanted.class_names, ()), wanted.writing).values()
    suffix = {"csv": ".csv", "ground-truth": ".manifest"}[wanted.format]
    path = f"{side}{suffix}"

    def lines(some: Some) -> str:
        return wanted.written(some)[path].removeprefix(head).decode() if some.images else ""

    return [Walk(side, path, lines, before=head.decode())]


def _no_document(wanted: Wanted, side: Side) -> list[Walk]:
    return []


def _links(link: Callable[[Exported], str]) -> Walk:
    """Walk for a table of the images with links to them."""

    def rows(some: Some) -> str:
        return _tsv([(image.name, image.side, link(image)) for image in some.images])

    return Walk(None, "links.tsv", rows, before=_tsv([("name", "split", "url")]))


def _tsv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, "excel-tab", lineterminator="\n").writerows(rows)
    return text.getvalue()


def _own_files(wanted: Wanted) -> Callable[[Some], dict[str, bytes]]:
    folder = OWN_FILES.get(wanted.format)

    def files(some: Some) -> dict[str, bytes]:
        if folder is None or not some.images:
            return {}
        written = wanted.written(some).items()
        return {path: content for path, content in written if path.startswith(folder)}

    return files
