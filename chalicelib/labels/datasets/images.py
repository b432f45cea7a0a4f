"""A dataset image by image: pages of them, those that look alike, and the history of each label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from chalicelib.database import Database
from chalicelib.errors import ImageNotFound
from chalicelib.labels.words import Side

Why = Literal["doubted", "banned", "replaced", "rejected", "deleted"]
SIDES: tuple[Side, ...] = ("train", "valid")
SHOWN_OF_A_CLUSTER = 12
MOST_LABELS = 500

COLUMNS = """
s.sample_id, s.sha256, s.extension, s.width, s.height, s.side, s.source_key,
l.boxes, l.origin, l.created_at, s.side = 'valid' AND coalesce(c.train, 0) > 0,
s.visibility, s.released_at, s.released_by
"""
JOINED = """
LEFT JOIN labels l ON l.label_id = s.label_id
LEFT JOIN cluster_names k ON k.model = s.model AND k.name = s.sha256
LEFT JOIN clusters c ON c.cluster_id = k.cluster_id
"""
OF_ALL = """
SELECT sample_id FROM samples
WHERE model = %(model)s AND side = a.side AND label_id IS NOT NULL AND sample_id > %(after)s
ORDER BY sample_id LIMIT %(limit)s
"""
OF_A_CLASS = """
SELECT sample_id FROM dataset_classes
WHERE model = %(model)s AND class_id = %(class_id)s AND side = a.side AND sample_id > %(after)s
ORDER BY sample_id LIMIT %(limit)s
"""
PAGE = f"""
SELECT {COLUMNS} FROM unnest(%(sides)s::text[]) a (side) CROSS JOIN LATERAL ({{chosen}}) p
JOIN samples s ON s.sample_id = p.sample_id {JOINED}
ORDER BY s.sample_id LIMIT %(limit)s
"""
ONE = (
    f"SELECT {COLUMNS} FROM samples s {JOINED} WHERE s.model = %(model)s AND s.sha256 = %(sha256)s"
)
# Names by content are in no order of time or kind, so the first ones are a sample that stays.
TO_MEASURE_ON = f"""
SELECT {COLUMNS}, l.yolo FROM samples s {JOINED}
WHERE s.model = %(model)s AND s.side = 'valid' AND s.label_id IS NOT NULL
  AND coalesce(c.train, 0) = 0
ORDER BY s.sha256 LIMIT %(limit)s
"""
HISTORY = """
SELECT l.label_id, l.yolo, l.origin, l.user_address, l.request_id, l.import_id::text, l.created_at,
       l.withdrawn_at, l.withdrawn_why, coalesce(l.label_id = s.label_id, false),
       ARRAY(SELECT ARRAY[t.began, t.ended] FROM label_terms t
             WHERE t.sample_id = s.sample_id AND t.label_id = l.label_id ORDER BY t.began)
FROM samples s JOIN labels l USING (sample_id)
WHERE s.sample_id = %(sample_id)s ORDER BY l.label_id DESC LIMIT %(most)s
"""
CLUSTERS = """
SELECT cluster_id, train, valid FROM clusters
WHERE model = %(model)s AND train + valid > 1 AND cluster_id > %(after)s
ORDER BY cluster_id LIMIT %(limit)s
"""
LEAKING_CLUSTERS = CLUSTERS.replace("train + valid > 1", "train > 0 AND valid > 0")
MEMBERS = f"""
SELECT p.cluster_id, {COLUMNS}
FROM unnest(%(clusters)s::bigint[]) p (cluster_id) CROSS JOIN LATERAL (
    SELECT i.* FROM cluster_names n JOIN samples i ON i.model = n.model AND i.sha256 = n.name
    WHERE n.cluster_id = p.cluster_id LIMIT {SHOWN_OF_A_CLUSTER}) s {JOINED}
ORDER BY p.cluster_id, s.sample_id
"""


@dataclass(frozen=True)
class DatasetImage:
    """An image of a dataset.

    Attributes
    ----------
    sample_id : int
    sha256, extension : str
    width, height : int
        Pixels.
    side : "train" or "valid"
    source_key : str
        Where in the store bucket it is.
    boxes : int or None
        Of its present label; none without one.
    origin : str or None
    labelled_at : datetime or None
    leaking : bool
        It is for validation and its like is in training: not to be measured on.
    visibility : str
        The narrowest promise under which anybody sent it.
    released_at : datetime or None
    released_by : str or None
        The operator who released it as a control image.
    """

    sample_id: int
    sha256: str
    extension: str
    width: int
    height: int
    side: Side
    source_key: str
    boxes: int | None
    origin: str | None
    labelled_at: datetime | None
    leaking: bool
    visibility: str = "private"
    released_at: datetime | None = None
    released_by: str | None = None


@dataclass(frozen=True)
class PastLabel:
    """What somebody said is on an image, and what became of it.

    Attributes
    ----------
    label_id : int
    yolo : str
        ``class cx cy w h`` a line, normalised.
    origin : str
        "submission", "import" or "operator".
    user_address, request_id, import_id
        Who said it, and with which submission or import.
    created_at : datetime
    withdrawn_at : datetime or None
    withdrawn_why : "doubted", "banned", "replaced", "rejected" or None
    is_current : bool
        Whether it is the label of its image now.
    terms : list of [began, ended]
        In which revisions it was that; ``None`` where it still is.
    """

    label_id: int
    yolo: str
    origin: str
    user_address: str | None
    request_id: int | None
    import_id: str | None
    created_at: datetime
    withdrawn_at: datetime | None
    withdrawn_why: Why | None
    is_current: bool
    terms: list[list[int | None]]


@dataclass(frozen=True)
class Cluster:
    """Images that look alike or were said to belong together.

    Attributes
    ----------
    cluster_id, train, valid : int
        How many images of each side are in it, with a label or without.
    images : tuple[DatasetImage, ...]
        Up to ``SHOWN_OF_A_CLUSTER`` of them.
    """

    cluster_id: int
    train: int
    valid: int
    images: tuple[DatasetImage, ...]


class DatasetImages:
    """Shows datasets image by image; every call is a short transaction.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, model: str, side: Side | None, class_id: int | None, after: int, limit: int
    ) -> list[DatasetImage]:
        """Return labelled images in the order in which they came.

        Parameters
        ----------
        side : "train" or "valid", optional
        class_id : int, optional
            Only images with a box of this class.
        after : int
            ``sample_id`` of the last one that was seen; 0 to begin.
        """
        chosen = PAGE.format(chosen=OF_ALL if class_id is None else OF_A_CLASS)
        given = {
            "sides": list(SIDES) if side is None else [side],
            "model": model,
            "class_id": class_id,
            "after": after,
            "limit": limit,
        }
        return [DatasetImage(*row) for row in self._all(chosen, **given)]

    def one(self, model: str, sha256: str) -> tuple[DatasetImage, list[PastLabel]]:
        """Return an image with all labels that it ever had, newest first.

        Raises
        ------
        ImageNotFound
            There is no such image in the dataset, nor ever was.
        """
        found = self._all(ONE, model=model, sha256=sha256)
        if not found:
            raise ImageNotFound(f"the dataset of {model!r} has no image {sha256}")
        image = DatasetImage(*found[0])
        labels = self._all(HISTORY, sample_id=image.sample_id, most=MOST_LABELS)
        return image, [PastLabel(*row) for row in labels]

    def to_measure_on(self, model: str, limit: int) -> list[tuple[DatasetImage, str]]:
        """Return a sample of the validation images that are not leaking, with their labels.

        The sample is the same from call to call, but for images that came, went or were labelled
        anew meanwhile.

        Returns
        -------
        list of (DatasetImage, str)
            The label in YOLO, ``class cx cy w h`` a line, normalised.
        """
        found = self._all(TO_MEASURE_ON, model=model, limit=limit)
        return [(DatasetImage(*row[:-1]), row[-1]) for row in found]

    def clusters(self, model: str, leaking: bool, after: int, limit: int) -> list[Cluster]:
        """Return clusters of several images, oldest first.

        Parameters
        ----------
        leaking : bool
            Only those with images on both sides.
        after : int
            ``cluster_id`` of the last one that was seen; 0 to begin.
        """
        query = LEAKING_CLUSTERS if leaking else CLUSTERS
        found = self._all(query, model=model, after=after, limit=limit)
        members = self._members([cluster_id for cluster_id, *_ in found])
        return [
            Cluster(cluster_id, train, valid, tuple(members.get(cluster_id, ())))
            for cluster_id, train, valid in found
        ]

    def _members(self, clusters: Sequence[int]) -> dict[int, list[DatasetImage]]:
        members: dict[int, list[DatasetImage]] = {}
        for cluster_id, *row in self._all(MEMBERS, clusters=list(clusters)):
            members.setdefault(cluster_id, []).append(DatasetImage(*row))
        return members

    def _all(self, query: str, **given: object) -> list[tuple[Any, ...]]:
        with self._database.transaction() as rows:
            rows.execute(query, given)
            return list(rows.fetchall())
