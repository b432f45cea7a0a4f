"""What a ZIP says that it holds, judged before a byte of it is unpacked.

A ZIP is hostile until proved otherwise. Everything here is read from its central directory: names
that lead out of a folder, links, encrypted or overlapping entries, bombs that declare themselves,
names that would be one file on another system. Bombs that lie are met when entries are read: no
more is ever unpacked of an entry than it declares, and that is limited here.
"""

from __future__ import annotations

import stat
import struct
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import IO, Any

from chalicelib.errors import InvalidArchive
from chalicelib.labels.words import shown
from chalicelib.vision.image import MAX_PIXELS

MiB = 1 << 20
ENCRYPTED = 0x1 | 0x40 | 0x2000  # an entry, strongly, or the directory itself
PATCH = 0x20
LOCAL_HEADER = 30  # bytes, and the name after them
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
CLASSES_FILES = frozenset({"data.yaml", "data.yml", "classes.txt", "obj.names"})
LEFT_BEHIND = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
READ_ME = frozenset({"readme", "license", "licence"})
DIRECTORY_FAULTS = (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, struct.error)


class Kind(StrEnum):
    """What can be wrong with an archive."""

    NOT_A_ZIP = "not a ZIP"
    TOO_LARGE = "too large"
    TOO_MANY = "too many"
    BOMB = "expands too much"
    NAME = "unusable name"
    DUPLICATE = "duplicate name"
    LINK = "link or special file"
    ENCRYPTED = "encrypted"
    METHOD = "unknown compression"
    OVERLAP = "overlapping entries"
    TYPE = "wrong type"
    CORRUPT = "corrupt"
    IMAGE = "unusable image"
    LABEL = "malformed label"
    CLASSES = "unknown class"
    NO_LABEL = "image without label"
    NO_IMAGE = "label without image"
    CONTRADICTION = "same image, other labels"


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold.

    Attributes
    ----------
    entries : int
        Files and folders.
    directory_bytes : int
        Of the central directory, which is read whole.
    total_bytes : int
        Of everything unpacked, as declared.
    image_bytes, label_bytes : int
        Of one file unpacked.
    ratio : int
        How many times its packed size a file may have, if it is larger than ``ratio_from``.
    ratio_from : int
        In bytes.
    depth, name_bytes : int
        Parts of a path, and its length as UTF-8.
    pixels, boxes : int
        Of one image.
    faults : int
        How many are listed; the rest is counted.
    """

    entries: int = 50_000
    directory_bytes: int = 8 * MiB
    total_bytes: int = 16 * 1024 * MiB
    image_bytes: int = 50 * MiB
    label_bytes: int = MiB
    ratio: int = 200
    ratio_from: int = MiB // 4
    depth: int = 10
    name_bytes: int = 255
    pixels: int = MAX_PIXELS
    boxes: int = 5_000
    faults: int = 500


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes
    ----------
    name : str
        The file in the archive; empty where it is the archive as a whole. Made printable.
    kind : Kind
    detail : str
        One sentence.
    """

    name: str
    kind: Kind
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return asdict(self)


@dataclass(frozen=True)
class Entry:
    """A file of the archive that may be read.

    Attributes
    ----------
    path : PurePosixPath
    info : zipfile.ZipInfo
    """

    path: PurePosixPath
    info: zipfile.ZipInfo

    @property
    def suffix(self) -> str:
        """Return the suffix in lower case."""
        return self.path.suffix.lower()

    @property
    def names_classes(self) -> bool:
        """Whether it says what the classes are called."""
        return self.path.name.lower() in CLASSES_FILES


def open_zip(file: IO[bytes], limits: Limits) -> zipfile.ZipFile:
    """Read the directory.

    Raises
    ------
    InvalidArchive
        It is no ZIP, or its directory is over the limit.
    """
    source = _Sips(file, limits.directory_bytes)
    try:
        archive = zipfile.ZipFile(source)
    except DIRECTORY_FAULTS as fault:
        raise InvalidArchive(f"the file cannot be read as a ZIP: {fault}") from fault
    source.has_directory = True
    return archive


class _Sips:
    """A file of which no more is read at once than a limit: a directory can declare any size.

    Once the directory is read, an entry is read in pieces of that size.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._most = file, most
        self.has_directory = False
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self._most and not self.has_directory:
            raise zipfile.BadZipFile(f"its directory is over {self._most} bytes")
        return self._file.read(self._most if size < 0 else min(size, self._most))


@dataclass(frozen=True)
class Judgement:
    """What a directory holds.

    Attributes
    ----------
    entries : list[Entry]
        The files that may be read, in the order of their paths. What systems leave behind
        (``__MACOSX``, ``Thumbs.db``) is not among them, but judged like all else.
    refused : list[Entry]
        The others.
    faults : list[Fault]
    """

    entries: list[Entry]
    refused: list[Entry]
    faults: list[Fault]


def judge(archive: zipfile.ZipFile, limits: Limits) -> Judgement:
    """Say which files of an archive may be read, and what is wrong with the others."""
    infos = archive.infolist()
    if whole := list(_as_a_whole(infos, limits)):
        return Judgement([], [], whole)
    faults = [*_overlaps(infos, archive.start_dir), *_duplicates(infos)]
    for info in infos:
        faults += _entry_faults(info, limits)
    bad = {fault.name for fault in faults}
    files = [info for info in infos if not info.is_dir() and not _is_passed_over(info.filename)]
    entries = sorted((Entry(PurePosixPath(info.filename), info) for info in files), key=_by_path)
    refused = [entry for entry in entries if shown(entry.info.orig_filename) in bad]
    kept = [entry for entry in entries if shown(entry.info.orig_filename) not in bad]
    return Judgement(kept, refused, faults)


def _by_path(entry: Entry) -> tuple[str, ...]:
    return entry.path.parts


def _as_a_whole(infos: list[zipfile.ZipInfo], limits: Limits) -> Iterator[Fault]:
    if len(infos) > limits.entries:
        yield Fault("", Kind.TOO_MANY, f"{len(infos)} entries; at most {limits.entries} are taken")
    total = sum(info.file_size for info in infos)
    if total > limits.total_bytes:
        detail = f"{total} bytes unpacked; at most {limits.total_bytes} are taken"
        yield Fault("", Kind.TOO_LARGE, detail)


def _entry_faults(info: zipfile.ZipInfo, limits: Limits) -> Iterator[Fault]:
    """Say all that is wrong with one entry, from its line in the directory alone."""
    name = shown(info.orig_filename)
    if reason := _name_fault(info.orig_filename, limits):
        yield Fault(name, Kind.NAME, reason)
    if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        yield Fault(name, Kind.LINK, "only plain files and folders are taken")
    if info.flag_bits & ENCRYPTED:
        yield Fault(name, Kind.ENCRYPTED, "send it without a password")
    if info.compress_type not in METHODS or info.flag_bits & PATCH:
        yield Fault(name, Kind.METHOD, "only stored and deflated entries are taken")
    if info.file_size > limits.image_bytes or (info.is_dir() and info.file_size):
        most = 0 if info.is_dir() else limits.image_bytes
        yield Fault(name, Kind.TOO_LARGE, f"{info.file_size} bytes; at most {most} are taken")
    if info.file_size > max(limits.ratio_from, limits.ratio * info.compress_size):
        detail = f"{info.file_size} bytes from {info.compress_size}; at most {limits.ratio} times"
        yield Fault(name, Kind.BOMB, detail)


def _name_fault(name: str, limits: Limits) -> str:
    """Return why a name cannot be taken, empty if it can."""
    parts = name.removesuffix("/").split("/")
    reasons = {
        "it is empty": not name,
        "it is absolute": name.startswith("/") or name[1:2] == ":",
        "it leads out of its folder": ".." in parts,
        "it has an empty part": not {"", "."}.isdisjoint(parts) and not name.startswith("/"),
        "it has a backslash": "\\" in name,
        "it has a character that cannot be printed": not name.isprintable(),
        f"it is over {limits.name_bytes} bytes": len(name.encode("utf-8", "replace"))
        > limits.name_bytes,
        f"it has over {limits.depth} parts": len(parts) > limits.depth,
    }
    return ", ".join(reason for reason, holds in reasons.items() if holds)


def _duplicates(infos: Iterable[zipfile.ZipInfo]) -> Iterator[Fault]:
    """Name the files that would be one where names are compared without case or composed."""
    seen: dict[str, str] = {}
    for info in infos:
        name = info.orig_filename
        first = seen.setdefault(folded(name), name)
        if first is not name:
            yield Fault(shown(name), Kind.DUPLICATE, f"there is {shown(first)!r} already")


def folded(name: str) -> str:
    """Return a name such that two that may be the same file are equal."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).rstrip("/")


def _overlaps(infos: Iterable[zipfile.ZipInfo], end: int) -> Iterator[Fault]:
    """Name the entries whose bytes are not theirs alone, or not in the file."""
    reached, before = 0, ""
    for info in sorted(infos, key=lambda info: info.header_offset):
        name = shown(info.orig_filename)
        stop = info.header_offset + LOCAL_HEADER + info.compress_size
        if info.header_offset < reached:
            yield Fault(name, Kind.OVERLAP, f"it shares bytes with {before!r}")
        if info.header_offset < 0 or stop > end:
            yield Fault(name, Kind.OVERLAP, "it reaches out of the archive")
        if stop > reached:
            reached, before = stop, name


def _is_passed_over(name: str) -> bool:
    """Say whether a file is what systems and exporters leave beside the data."""
    path = PurePosixPath(name)
    plain = path.name.lower()
    if "__MACOSX" in path.parts or plain.startswith("._"):
        return True
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return False
    return plain in LEFT_BEHIND or plain.split(".")[0] in READ_ME or path.suffix == ".cache"
