r"""A dataset version: a file that names every image of a dataset and what is on it.

It is JSON Lines in one canonical form, packed with gzip: first what the dataset is, then an image a
line, sorted by sha256. The sha256 of the unpacked lines is its name, so the same images with the
same labels have the same name wherever the file is written, and whoever trained on a name can be
asked what was in it.

    >>> import io
    >>> file = io.BytesIO()
    >>> image = Entry("0" * 64, "jpg", "train", 450, 300, "0 0.5 0.5 0.2 0.1", 7, False)
    >>> written = write(file, "scratch", ["scratch"], [image])
    >>> written.train, written.boxes, written.sha256[:8]
    (1, 1, '4d2a9040')
    >>> manifest = Manifest(file, written.sha256)
    >>> manifest.class_names, list(manifest) == [image]
    (('scratch',), True)
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, BinaryIO

from chalicelib.errors import InvalidManifest
from chalicelib.labels.words import Side

FORMAT = "sightloop-dataset/1"
LEVEL = 2  # a third faster than 6, and 7 % larger
LONGEST_LINE = 8 * 1024 * 1024
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True)
class Entry:
    """An image of a dataset version.

    Attributes
    ----------
    sha256, extension : str
        Its file is ``images/<side>/<sha256>.<extension>`` in the dataset's folder.
    side : "train" or "valid"
    width, height : int
        Pixels of the upright image.
    label : str
        YOLO: ``class cx cy w h`` a line, normalised; empty: nothing is there.
    label_id : int
        By which the database knows who said so.
    leaking : bool
        For validation, while its like is in training: not to be measured on.
    """

    sha256: str
    extension: str
    side: Side
    width: int
    height: int
    label: str
    label_id: int
    leaking: bool

    @property
    def file_name(self) -> str:
        """The name of its file, without the folder."""
        return f"{self.sha256}.{self.extension}"

    @property
    def boxes(self) -> int:
        """How many boxes the label has."""
        return sum(1 for line in self.label.splitlines() if line)


@dataclass(frozen=True)
class Summary:
    """What was written: its name, and how many images (of each side; leaking are of valid)."""

    sha256: str
    train: int
    valid: int
    leaking: int
    boxes: int
    bytes: int


class _Hashing:
    """Writes lines to a file and counts what it writes."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def line(self, content: dict[str, Any]) -> None:
        written = f"{_encode(content)}\n".encode()
        self._file.write(written)
        self.sha256.update(written)
        self.bytes += len(written)


def write(
    file: BinaryIO, model: str, class_names: Sequence[str], entries: Iterable[Entry]
) -> Summary:
    """Write a manifest; of the entries only one is held at a time.

    Parameters
    ----------
    file : binary file
        What is written is packed; the name is of what is unpacked.
    entries : Iterable[Entry]
        Sorted by sha256.

    Raises
    ------
    ValueError
        They are not sorted, or one is there twice.
    """
    counts = {"train": 0, "valid": 0, "leaking": 0, "boxes": 0}
    last = ""
    with gzip.GzipFile("", "wb", LEVEL, file, mtime=0) as packed:
        out = _Hashing(packed)
        out.line({"format": FORMAT, "model": model, "class_names": list(class_names)})
        for entry in entries:
            if entry.sha256 <= last:
                raise ValueError(f"{entry.sha256} comes after {last}")
            last = entry.sha256
            out.line(vars(entry))
            counts[entry.side] += 1
            counts["leaking"] += entry.leaking
            counts["boxes"] += entry.boxes
    return Summary(out.sha256.hexdigest(), bytes=out.bytes, **counts)


class Manifest:
    """A dataset version, to be read as often as one likes; it holds one line at a time.

    Parameters
    ----------
    file : binary file
        Packed, seekable.
    sha256 : str
        The name it goes by.

    Raises
    ------
    InvalidManifest
        It is not what was named: all of it is read once, before any of it is used.
    """

    def __init__(self, file: BinaryIO, sha256: str) -> None:
        self._file = file
        self.sha256 = sha256
        found = hashlib.sha256()
        for line in self._lines():
            found.update(line)
        if found.hexdigest() != sha256:
            raise InvalidManifest(f"the dataset version {sha256} is damaged: it is another's name")
        self.model, self.class_names = self._head()

    def __iter__(self) -> Iterator[Entry]:
        lines = self._lines()
        next(lines)
        for line in lines:
            yield _entry(line)

    def _head(self) -> tuple[str, tuple[str, ...]]:
        try:
            head = json.loads(next(self._lines(), b"{}"))
            if head["format"] != FORMAT:
                raise InvalidManifest(f"a dataset version of the format {head['format']!r}")
            return str(head["model"]), tuple(map(str, head["class_names"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidManifest(f"no dataset version: its first line tells no {error}") from error

    def _lines(self) -> Iterator[bytes]:
        self._file.seek(0)
        try:
            with gzip.GzipFile(fileobj=self._file) as unpacked:
                while line := unpacked.readline(LONGEST_LINE):
                    yield line
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidManifest(
                f"the dataset version {self.sha256} breaks off: {error}"
            ) from error


def _entry(line: bytes) -> Entry:
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError) as error:
        names = ", ".join(field.name for field in fields(Entry))
        raise InvalidManifest(f"an image of a dataset version tells {names}: {error}") from error
