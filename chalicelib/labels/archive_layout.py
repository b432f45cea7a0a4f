"""How images and labels lie in an archive, and what belongs together.

An image ``a.jpg`` is labelled by ``a.txt`` beside it, or by the same path with ``labels`` for
``images``: flat, ``images/`` and ``labels/``, ``train/images/``, ``images/train/``, and the same
below other folders. A folder named train, valid, val or test is told as a hint.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from chalicelib.labels.archive_directory import IMAGE_SUFFIXES, Entry, Fault, Kind
from chalicelib.labels.formats.label_set import ImageLabels
from chalicelib.labels.words import SPLIT_WORDS, Split, shown

type Likes = dict[tuple[str, ...], list[Entry]]

LABEL_SUFFIX = ".txt"


@dataclass(frozen=True)
class Pair:
    """An image and its label: a YOLO file of its own, or what a document says of it."""

    image: Entry
    label: Entry | ImageLabels


def paired(
    entries: Sequence[Entry], refused: Sequence[Entry] = ()
) -> tuple[list[Pair], list[Fault]]:
    """Return images with their labels; name what is neither, what is alone, what is there twice.

    What belongs to a refused file is not called alone: the one fault is named already.
    """
    images: Likes = defaultdict(list)
    labels: Likes = defaultdict(list)
    faults = []
    for entry in entries:
        if entry.suffix in IMAGE_SUFFIXES:
            images[_key(entry.path, _folder(entry))].append(entry)
        elif entry.suffix == LABEL_SUFFIX and not entry.names_classes:
            labels[_key(entry.path, _folder(entry))].append(entry)
        elif not entry.names_classes:
            faults.append(_fault(entry, Kind.TYPE, "neither an image nor a label"))
    faults += _alone(images, labels, {_key(e.path, _folder(e)) for e in refused})
    for first, *others in (*images.values(), *labels.values()):
        detail = f"it has the place of {shown(str(first.path))!r}"
        faults += [_fault(other, Kind.DUPLICATE, detail) for other in others]
    pairs = [Pair(images[key][0], labels[key][0]) for key in images if key in labels]
    return pairs, faults


def hint_in(path: PurePosixPath) -> Split | None:
    """Return what the nearest folder that names a split says.

    >>> hint_in(PurePosixPath("export/val/images/a.jpg"))
    'valid'
    """
    folders = (part.lower() for part in reversed(path.parts[:-1]))
    return next((SPLIT_WORDS[folder] for folder in folders if folder in SPLIT_WORDS), None)


def _alone(images: Likes, labels: Likes, refused: set[tuple[str, ...]]) -> list[Fault]:
    no_label = [images[key][0] for key in sorted(images.keys() - labels.keys() - refused)]
    no_image = [labels[key][0] for key in sorted(labels.keys() - images.keys() - refused)]
    return [
        *(_fault(e, Kind.NO_LABEL, "an empty .txt says that nothing is on it") for e in no_label),
        *(_fault(e, Kind.NO_IMAGE, "no image has its name") for e in no_image),
    ]


def _fault(entry: Entry, kind: Kind, detail: str) -> Fault:
    return Fault(shown(str(entry.path)), kind, detail)


def _folder(entry: Entry) -> str:
    """Return what the folder of such a file may be called."""
    return "labels" if entry.suffix == LABEL_SUFFIX else "images"


def _key(path: PurePosixPath, folder: str) -> tuple[str, ...]:
    """Return what an image and its label have in common: the path without suffix and folder."""
    folders = list(path.parts[:-1])
    lower = [part.lower() for part in folders]
    if folder in lower:
        del folders[len(lower) - 1 - lower[::-1].index(folder)]
    return (*folders, path.stem)
