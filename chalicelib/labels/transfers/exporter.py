"""Exports: a dataset as a ZIP in the store bucket, written while it is read, never held whole."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import IO, cast

from chalicelib.database import Database
from chalicelib.errors import Conflict, ObjectNotFound
from chalicelib.labels.formats import FORMATS, ImageLabels, LabelSet, Writing
from chalicelib.labels.split import Side
from chalicelib.labels.transfers.records import ZIP, State, Transfer, export_key
from chalicelib.labels.transfers.table import Transfers
from chalicelib.storage import ObjectStore, PartWriter
from chalicelib.vision import Detections

MOST_IMAGES = 100_000
AT_ONCE = 8  # images on their way from the store
TOLD_EVERY = 500  # images
LINK_SECONDS = 7 * 24 * 60 * 60
IMAGES_OF = {"voc": "JPEGImages/{name}", "yolo": "images/{side}/{name}"}
IMAGES_OF_OTHERS = "images/{name}"

NOW = """
SELECT s.sha256, s.extension, s.width, s.height, s.side, s.source_key, l.yolo
FROM samples s JOIN labels l USING (label_id)
WHERE s.model = %(model)s ORDER BY s.sample_id LIMIT %(most)s
"""
AT_REVISION = """
SELECT s.sha256, s.extension, s.width, s.height, s.side, s.source_key, l.yolo
FROM samples s JOIN label_terms t USING (sample_id) JOIN labels l ON l.label_id = t.label_id
WHERE s.model = %(model)s AND t.began <= %(revision)s
    AND (t.ended > %(revision)s OR t.ended IS NULL)
ORDER BY s.sample_id LIMIT %(most)s
"""
WHERE_NOW = "SELECT source_key FROM samples WHERE model = %s AND sha256 = %s"

ClassNamesOf = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True)
class Exported:
    """One image of a dataset as it is exported."""

    sha256: str
    extension: str
    width: int
    height: int
    side: Side
    source_key: str
    yolo: str

    @property
    def name(self) -> str:
        """What the file is called."""
        return f"{self.sha256}.{self.extension}"

    def labels(self, class_names: tuple[str, ...]) -> ImageLabels:
        """Return it with its boxes."""
        size = self.width, self.height
        boxes = Detections.from_yolo(self.yolo, class_names, size)
        return ImageLabels(self.name, size, boxes, self.side)


def _stream(to: PartWriter) -> IO[bytes]:
    """Return what a ZIP is written to: of a file it wants no more than this is."""
    return cast("IO[bytes]", to)


class Exporter:
    """Writes a dataset into a ZIP, in one go: one that was killed is begun again.

    Parameters
    ----------
    table : Transfers
    database : Database
    store : ObjectStore
    class_names_of : callable
        From a model's name to its classes.
    now : callable, optional
    """

    def __init__(
        self,
        table: Transfers,
        database: Database,
        store: ObjectStore,
        class_names_of: ClassNamesOf,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._table, self._database, self._store = table, database, store
        self._class_names_of, self._now = class_names_of, now

    def step(self, held: Transfer) -> Transfer:
        """Begin an export that is held, or write all of it.

        Raises
        ------
        LostLease
            Somebody else has it by now.
        ModelNotFound, ObjectNotFound, Conflict
            It cannot be finished: the model is gone, an image is, or there are too many.
        StorageUnavailable, DatabaseUnavailable
            It can, later.
        """
        if held.state is State.QUEUED:
            return self._table.save(held, state=State.BUILDING, done=0)
        images = self._images(held)
        held = self._table.save(held, total=len(images), done=0)
        key = export_key(held)
        # Images are packed already: a second time would cost time and gain nothing.
        with self._store.writer(key, ZIP) as to, zipfile.ZipFile(_stream(to), "w") as archive:
            self._write_labels(held, images, archive)
            held = self._write_images(held, images, archive)
        found = {"images": len(images), "bytes": self._store.size(key)}
        return self._table.save(held, state=State.DONE, key=key, found=found)

    def _images(self, held: Transfer) -> list[Exported]:
        revision = held.asked.get("revision")
        statement = NOW if revision is None else AT_REVISION
        given = {"model": held.model, "revision": revision, "most": MOST_IMAGES + 1}
        with self._database.transaction() as rows:
            rows.execute(statement, given)
            images = [Exported(*row) for row in rows.fetchall()]
        if len(images) > MOST_IMAGES:
            raise Conflict(f"the dataset has over {MOST_IMAGES} images, which no export holds")
        return images

    def _write_labels(
        self, held: Transfer, images: Sequence[Exported], archive: zipfile.ZipFile
    ) -> None:
        names = self._class_names_of(held.model)
        labels = LabelSet(names, tuple(image.labels(names) for image in images))
        writing = Writing(job=held.model, created=self._now())
        files = FORMATS[held.asked["format"]].write(labels, writing)
        del labels
        for path, content in files.items():
            archive.writestr(path, content, zipfile.ZIP_DEFLATED)

    def _write_images(
        self, held: Transfer, images: Sequence[Exported], archive: zipfile.ZipFile
    ) -> Transfer:
        if held.asked["images"] == "links":
            archive.writestr("links.tsv", self._links(images), zipfile.ZIP_DEFLATED)
        if held.asked["images"] != "included":
            return self._table.save(held, done=len(images))
        where = IMAGES_OF.get(held.asked["format"], IMAGES_OF_OTHERS)
        for number, (image, content) in enumerate(self._contents(held.model, images), 1):
            path = where.format(name=image.name, side=image.side)
            archive.writestr(str(PurePosixPath(path)), content)
            if number % TOLD_EVERY == 0:
                held = self._table.save(held, done=number)
        return self._table.save(held, done=len(images))

    def _contents(self, model: str, images: Sequence[Exported]) -> Iterator[tuple[Exported, bytes]]:
        """Read images some ahead of whoever takes them, in their order."""
        waiting: deque[tuple[Exported, Future[bytes]]] = deque()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for image in images:
                waiting.append((image, pool.submit(self._content, image)))
                if len(waiting) > AT_ONCE:
                    yield self._arrived(model, *waiting.popleft())
            while waiting:
                yield self._arrived(model, *waiting.popleft())

    def _content(self, image: Exported) -> bytes:
        return self._store.get(image.source_key).body

    def _arrived(
        self, model: str, image: Exported, coming: Future[bytes]
    ) -> tuple[Exported, bytes]:
        """Return an image; one that was moved since the rows were read is looked for anew."""
        try:
            return image, coming.result()
        except ObjectNotFound:
            with self._database.transaction() as rows:
                rows.execute(WHERE_NOW, (model, image.sha256))
                [key] = rows.fetchone() or (image.source_key,)
        try:
            return image, self._store.get(key).body
        except ObjectNotFound as error:
            raise ObjectNotFound(f"the image {image.name} is gone") from error

    def _links(self, images: Sequence[Exported]) -> str:
        """Return a table of the images with links to them."""
        text = io.StringIO()
        writer = csv.writer(text, "excel-tab", lineterminator="\n")
        writer.writerow(("name", "split", "url"))
        for image in images:
            link = self._store.presigned_get(image.source_key, LINK_SECONDS, image.name)
            writer.writerow((image.name, image.side, link))
        return text.getvalue()
