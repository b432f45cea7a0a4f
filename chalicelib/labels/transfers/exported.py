"""The images of a dataset as they were at one revision, a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from chalicelib.database import Database
from chalicelib.errors import ObjectNotFound
from chalicelib.labels.formats import ImageLabels
from chalicelib.labels.words import Side
from chalicelib.storage import ObjectStore
from chalicelib.vision import Detections

AT_ONCE = 8  # objects on their way from the store

REVISION = "SELECT revision FROM datasets WHERE model = %(model)s"
IN_FORCE = "t.began <= %(revision)s AND (t.ended > %(revision)s OR t.ended IS NULL)"
COUNTS = f"""
SELECT t.side, count(*) FROM label_terms t WHERE t.model = %(model)s AND {IN_FORCE}
GROUP BY t.side ORDER BY t.side
"""
IMAGES = f"""
SELECT s.sample_id, s.sha256, s.extension, s.width, s.height, s.side, s.source_key, l.yolo
FROM samples s JOIN label_terms t USING (sample_id) JOIN labels l ON l.label_id = t.label_id
WHERE s.model = %(model)s AND s.sample_id > %(after)s AND {IN_FORCE}
  AND (%(side)s::text IS NULL OR s.side = %(side)s)
ORDER BY s.sample_id LIMIT %(limit)s
"""
WHERE_NOW = "SELECT source_key FROM samples WHERE model = %s AND sha256 = %s"


@dataclass(frozen=True)
class Exported:
    """One image of a dataset as it is exported."""

    sample_id: int
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


class ExportedImages:
    """Reads images of datasets.

    Parameters
    ----------
    database : Database
    store : ObjectStore
    """

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._database, self._store = database, store

    def moment(self, model: str, revision: int | None) -> tuple[int, dict[Side, int]]:
        """Return a revision, by default the present one, and the images that each side has then."""
        with self._database.transaction() as rows:
            if revision is None:
                rows.execute(REVISION, {"model": model})
                [revision] = rows.fetchone() or (0,)
            rows.execute(COUNTS, {"model": model, "revision": revision})
            return revision, dict(rows.fetchall())

    def some(
        self, model: str, revision: int, side: Side | None, after: int, limit: int
    ) -> list[Exported]:
        """Return the images of a side, or of both, that come after a sample."""
        given = {"model": model, "revision": revision, "side": side, "after": after}
        with self._database.transaction() as rows:
            rows.execute(IMAGES, {**given, "limit": limit})
            return [Exported(*row) for row in rows.fetchall()]

    def contents(self, model: str, images: Iterable[Exported]) -> Iterator[bytes]:
        """Read images, some ahead of whoever takes them, in their order.

        Raises
        ------
        ObjectNotFound
            One is gone.
        """
        return ahead(images, lambda image: self._content(model, image))

    def _content(self, model: str, image: Exported) -> bytes:
        """Return an image; one that was moved since its row was read is looked for anew."""
        try:
            return self._store.get(image.source_key).body
        except ObjectNotFound:
            with self._database.transaction() as rows:
                rows.execute(WHERE_NOW, (model, image.sha256))
                [key] = rows.fetchone() or (image.source_key,)
        try:
            return self._store.get(key).body
        except ObjectNotFound as error:
            raise ObjectNotFound(f"the image {image.name} is gone") from error


def ahead[T](wanted: Iterable[T], read: Callable[[T], bytes]) -> Iterator[bytes]:
    """Read some things at once, and give them in their order."""
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for each in wanted:
            waiting.append(pool.submit(read, each))
            if len(waiting) > AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
