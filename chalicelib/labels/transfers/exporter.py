"""Exports: a dataset as a ZIP in the store bucket, a part of it at a time, never held whole.

An export is of one revision, so that its images do not change while it is written. It walks over
them (``walks``); what it writes (``zip_parts``) goes to S3 in parts, and how far it is into its
row: where a worker is killed, the next sends the same part again. What the ZIP's directory says of
the files of a part lies beside it in the store, until the last part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from chalicelib.database import Database
from chalicelib.errors import Conflict, ObjectNotFound
from chalicelib.labels.formats import Writing
from chalicelib.labels.transfers.exported import Exported, ExportedImages, ahead
from chalicelib.labels.transfers.records import ZIP, State, Transfer, directory_key, export_key
from chalicelib.labels.transfers.table import Transfers
from chalicelib.labels.transfers.walks import Some, Walk, Wanted, fixed_files, walks
from chalicelib.labels.transfers.zip_parts import ZipFileState, ZipState, ZipWriter, ending
from chalicelib.labels.words import Side
from chalicelib.storage import ObjectStore

MIB = 1024 * 1024
ROWS_AT_ONCE, IMAGES_AT_ONCE = 500, 16  # of an image there may be 50 MiB
MOST_IMAGES = 20_000  # of a part, once it may be one
MOST_BEGINNINGS = 3
LINK_SECONDS = 7 * 24 * 60 * 60
IMAGES_OF = {"voc": "JPEGImages/{name}", "yolo": "images/{side}/{name}"}
IMAGES_OF_OTHERS = "images/{name}"
BINARY = "application/octet-stream"

ClassNamesOf = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True)
class PartSizes:
    """How large parts are: small ones at first, and of large ones so many as S3 takes.

    Attributes
    ----------
    least : int
        Bytes that each but the last must have.
    wanted : sequence of pairs
        Up to which part how many bytes each has at least.
    """

    least: int = 5 * MIB
    wanted: Sequence[tuple[int, int]] = ((1_000, 16 * MIB), (4_000, 64 * MIB), (10_000, 256 * MIB))

    @property
    def most(self) -> int:
        """The number of the last part that there may be."""
        return self.wanted[-1][0]

    def of(self, number: int) -> int:
        """Return the bytes from which on a part is sent."""
        return next((size for last, size in self.wanted if number <= last), self.least)


class _BrokenOff(Exception):
    """What was sent so far is gone or was written over: all has to be sent again."""


@dataclass(frozen=True)
class Progress:
    """How far an export is: all that the next worker has to know.

    Attributes
    ----------
    upload : str
        By which the parts belong together.
    revision : int
        Of the dataset.
    sides : dict[str, int]
        Images of each side that has some.
    beginnings : int
        How often it was begun.
    etags : list[str]
        Of the parts that were sent.
    walk, after, images, boxes : int
        Which walk it is at, the last sample that went by, and how many images and boxes did.
    zip : ZipState
    """

    upload: str
    revision: int
    sides: dict[Side, int]
    beginnings: int = 1
    etags: list[str] = field(default_factory=list)
    walk: int = 0
    after: int = 0
    images: int = 0
    boxes: int = 0
    zip: ZipState = field(default_factory=ZipState)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Progress:
        """Return what ``asdict`` wrote down."""
        zipped = dict(told["zip"])
        running = zipped.pop("running")
        state = ZipState(running=ZipFileState(**running) if running else None, **zipped)
        return cls(**{**told, "zip": state})

    @property
    def total(self) -> int:
        """All images."""
        return sum(self.sides.values())


class _Slice:
    """Writes one part of an export.

    Attributes
    ----------
    progress : Progress
        After what was written; it has no part for it yet.
    writer : ZipWriter
    """

    def __init__(
        self, images: ExportedImages, held: Transfer, wanted: Wanted, progress: Progress
    ) -> None:
        self._images, self._held, self._wanted = images, held, wanted
        self.progress = progress
        self.writer = ZipWriter(progress.zip, held.created_at)
        self.walks = walks(wanted)

    def fill(self, sizes: PartSizes) -> bool:
        """Write a part, or what is left; return whether there is more."""
        target = sizes.of(len(self.progress.etags) + 1)
        count = 0
        if not self.progress.etags and not self.writer.content:
            for path, content in fixed_files(self._wanted).items():
                self.writer.add(path, content, packed=True)
        while self.progress.walk < len(self.walks):
            size = len(self.writer.content)
            if size >= target or (size >= sizes.least and count >= MOST_IMAGES):
                break
            count += self._walk_on(self.walks[self.progress.walk])
        self.progress = replace(self.progress, zip=self.writer.pause())
        return self.progress.walk < len(self.walks)

    @property
    def done(self) -> int:
        """Images that are wholly written: those of the last walk."""
        last = self.progress.walk >= len(self.walks) - 1
        return self.progress.images if last else 0

    def _walk_on(self, walk: Walk) -> int:
        """Write what some images are to have; return how many there were, none being the end."""
        now = self.progress
        whole = walk.path is None and self._held.asked["images"] == "included"
        limit = IMAGES_AT_ONCE if whole else ROWS_AT_ONCE
        images = self._images.some(self._held.model, now.revision, walk.side, now.after, limit)
        some = Some(images, now.images, now.boxes)
        if walk.path is not None:
            self._write_text(walk, some)
        else:
            self._write_files(walk, some)
        if not images:
            self.progress = replace(now, walk=now.walk + 1, after=0, images=0, boxes=0)
            return 0
        boxes = sum(len(image.yolo.split("\n")) if image.yolo else 0 for image in images)
        self.progress = replace(
            now,
            after=images[-1].sample_id,
            images=now.images + len(images),
            boxes=now.boxes + boxes,
        )
        return len(images)

    def _write_text(self, walk: Walk, some: Some) -> None:
        assert walk.path is not None
        if not some.images_before:
            if walk.begins:
                self.writer.begin(walk.path)
            self.writer.more(walk.before.encode())
        self.writer.more(walk.text(some).encode())
        if not some.images:
            self.writer.more(walk.after.encode())
            if walk.ends:
                self.writer.end()

    def _write_files(self, walk: Walk, some: Some) -> None:
        for path, content in walk.files(some).items():
            self.writer.add(path, content, packed=True)
        if self._held.asked["images"] != "included":
            return
        where = IMAGES_OF.get(self._held.asked["format"], IMAGES_OF_OTHERS)
        contents = self._images.contents(self._held.model, some.images)
        for image, content in zip(some.images, contents, strict=True):
            # Images are packed already: a second time would cost time and gain nothing.
            path = where.format(name=image.name, side=image.side)
            self.writer.add(str(PurePosixPath(path)), content)


class Exporter:
    """Writes datasets into ZIPs.

    Parameters
    ----------
    table : Transfers
    database : Database
    store : ObjectStore
    class_names_of : callable
        From a model's name to its classes.
    sizes : PartSizes, optional
    """

    def __init__(
        self,
        table: Transfers,
        database: Database,
        store: ObjectStore,
        class_names_of: ClassNamesOf,
        sizes: PartSizes | None = None,
    ) -> None:
        self._table, self._store = table, store
        self._images = ExportedImages(database, store)
        self._class_names_of, self._sizes = class_names_of, sizes or PartSizes()

    def step(self, held: Transfer) -> Transfer:
        """Begin an export that is held, or write its next part.

        Raises
        ------
        LostLease
            Somebody else has it by now.
        ModelNotFound, ObjectNotFound, Conflict
            It cannot be finished: the model is gone, an image is, or it is larger than S3 takes.
        StorageUnavailable, DatabaseUnavailable
            It can, later.
        """
        if held.state is State.QUEUED or "progress" not in held.found:
            return self._begin(held, 1)
        progress = Progress.of(held.found["progress"])
        try:
            return self._write(held, progress)
        except _BrokenOff as broken:
            if progress.beginnings >= MOST_BEGINNINGS:
                raise Conflict(f"its parts were lost {MOST_BEGINNINGS} times: {broken}") from broken
            return self._begin(held, progress.beginnings + 1)
        except (ObjectNotFound, Conflict):
            self._store.give_up_parts(export_key(held), progress.upload)
            raise

    def _begin(self, held: Transfer, beginnings: int) -> Transfer:
        revision, sides = self._images.moment(held.model, held.asked.get("revision"))
        upload = self._store.begin_parts(export_key(held), ZIP)
        progress = Progress(upload, revision, sides, beginnings)
        found = {"progress": asdict(progress)}
        return self._table.save(
            held, state=State.BUILDING, done=0, total=progress.total, found=found
        )

    def _write(self, held: Transfer, progress: Progress) -> Transfer:
        """Write a part, or the last ones."""
        piece = _Slice(self._images, held, self._wanted(held, progress), progress)
        more = piece.fill(self._sizes)
        if not more:
            return self._finish(held, piece)
        part, records = bytes(piece.writer.content), bytes(piece.writer.records)
        after = self._send(held, piece.progress, part)
        # Named by its part, so that two workers at the same do not mix theirs.
        self._store.put(directory_key(held, len(after.etags), after.etags[-1]), records, BINARY)
        return self._table.save(held, done=piece.done, found={"progress": asdict(after)})

    def _finish(self, held: Transfer, piece: _Slice) -> Transfer:
        """Send what is left with the directory behind it, and make the ZIP of its parts."""
        key, progress = export_key(held), piece.progress
        last = ending(progress.zip)
        size = progress.zip.offset + progress.zip.directory + len(last)
        if not self._is_there(key, size):
            content = bytearray(piece.writer.content)
            for records in (*self._records(held, progress), bytes(piece.writer.records), last):
                content += records
                if len(content) >= self._sizes.of(len(progress.etags) + 1):
                    progress = self._send(held, progress, bytes(content))
                    content.clear()
            if content or not progress.etags:
                progress = self._send(held, progress, bytes(content))
            self._complete(key, progress)
        found = {"images": progress.total, "bytes": size}
        return self._table.save(held, state=State.DONE, key=key, done=progress.total, found=found)

    def _records(self, held: Transfer, progress: Progress) -> Iterator[bytes]:
        """Yield what the directory says of the files of each part."""
        keys = (directory_key(held, number, etag) for number, etag in enumerate(progress.etags, 1))
        return ahead(keys, lambda key: self._store.get(key).body)

    def _is_there(self, key: str, size: int) -> bool:
        """Tell whether somebody finished it, and died before saying so."""
        try:
            return self._store.size(key) == size
        except ObjectNotFound:
            return False

    def _send(self, held: Transfer, progress: Progress, part: bytes) -> Progress:
        number = len(progress.etags) + 1
        if number > self._sizes.most:
            raise Conflict(f"the ZIP is larger than the {self._sizes.most} parts that S3 takes")
        try:
            etag = self._store.put_part(export_key(held), progress.upload, number, part)
        except ObjectNotFound as error:
            raise _BrokenOff(error.detail) from error
        return replace(progress, etags=[*progress.etags, etag])

    def _complete(self, key: str, progress: Progress) -> None:
        try:
            self._store.complete_parts(key, progress.upload, progress.etags)
        except (ObjectNotFound, Conflict) as error:  # somebody slow sent one of them again
            raise _BrokenOff(error.detail) from error

    def _wanted(self, held: Transfer, progress: Progress) -> Wanted:
        return Wanted(
            format=held.asked["format"],
            class_names=self._class_names_of(held.model),
            sides=list(progress.sides),
            writing=Writing(job=held.model, created=held.created_at),
            link=self._link if held.asked["images"] == "links" else None,
        )

    def _link(self, image: Exported) -> str:
        return self._store.presigned_get(image.source_key, LINK_SECONDS, image.name)
