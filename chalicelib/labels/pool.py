"""Reading labels for other capabilities: images to ask people about, and who is in a version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from chalicelib.catalog.visibility import Audience, Visibility
from chalicelib.database import Database
from chalicelib.trust.records import label_of_operator

COLUMNS = f"""
s.sample_id, s.model, s.sha256, s.extension, s.side, s.published, s.source_key, s.width, s.height,
l.label_id, l.yolo, l.origin, l.user_address, l.request_id, s.visibility,
s.released_at IS NOT NULL,
(SELECT count(*) FROM labels o WHERE o.sample_id = s.sample_id AND o.withdrawn_at IS NULL),
{label_of_operator("l")}
"""
FROM = "FROM samples s JOIN labels l ON l.label_id = s.label_id"
# From a random place on, and on from the beginning: every image is as likely as its neighbours.
PLACES = """
SELECT v.side, (SELECT min(sample_id) + floor(random() * (max(sample_id) - min(sample_id) + 1))
                FROM samples
                WHERE model = %(model)s AND side = v.side AND label_id IS NOT NULL)::bigint AS place
FROM (VALUES ('train'), ('valid')) v (side)
"""
SHOWN = """
(s.visibility = ANY(%(promises)s) OR (%(released)s AND s.released_at IS NOT NULL))
"""
PART = f"""
(SELECT {COLUMNS} {FROM}
WHERE s.model = %(model)s AND s.side = '{{side}}' AND s.label_id IS NOT NULL AND {SHOWN}
  AND s.sample_id {{beyond}} (SELECT place FROM places WHERE side = '{{side}}')
ORDER BY s.sample_id LIMIT %(limit)s)
"""
SOME = f"WITH places AS MATERIALIZED ({PLACES})" + " UNION ALL ".join(
    PART.format(side=side, beyond=beyond) for side in ("train", "valid") for beyond in (">=", "<")
)
OF_IMAGES = f"""
SELECT {COLUMNS} {FROM} WHERE s.model = %(model)s AND s.sha256 = ANY(%(images)s) AND {SHOWN}
"""
USED = """
SELECT v.model, v.revision, count(*) FILTER (WHERE s.side = 'train'),
       count(*) FILTER (WHERE s.side = 'valid')
FROM labels l
JOIN label_terms t USING (label_id)
JOIN samples s ON s.sample_id = t.sample_id
JOIN unnest(%(models)s::text[], %(revisions)s::bigint[]) v (model, revision)
  ON v.model = s.model AND t.began <= v.revision AND (t.ended IS NULL OR t.ended > v.revision)
WHERE l.user_address = %(user_address)s
GROUP BY v.model, v.revision
"""


@dataclass(frozen=True)
class Shown:
    """Which images somebody may be shown.

    Attributes
    ----------
    promises : frozenset[Visibility]
        Under which the images were sent.
    released : bool
        Beyond these, images that an operator released.
    """

    promises: frozenset[Visibility]
    released: bool

    @classmethod
    def to(cls, audience: Audience, setting: Visibility) -> Self:
        """Return what a caller may be shown of a model with this visibility."""
        return cls(audience.promises(setting), audience is not Audience.ANYBODY)

    def to_sql(self) -> dict[str, object]:
        """Return it as statements take it."""
        return {"promises": [each.value for each in self.promises], "released": self.released}


@dataclass(frozen=True)
class LabelledImage:
    """An image of a dataset with the label that it has now.

    Attributes
    ----------
    sample_id : int
    model, image_sha256, extension, side : str
    published : bool
        Whether it is in the dataset's folder of the store bucket already.
    source_key : str
        Where it was taken from.
    width, height : int
        Pixels.
    label_id : int
    yolo : str
        ``class cx cy w h`` a line, normalised.
    origin : str
        "submission", "import" or "operator".
    user_address : str | None
    request_id : int | None
        The submission that the label came by.
    visibility : str
        The narrowest promise under which anybody sent the image.
    is_released : bool
        An operator released it as a control image.
    labels : int
        How many labels the image has that were not withdrawn.
    is_of_an_operator : bool
        An operator imported or made the label.
    """

    sample_id: int
    model: str
    image_sha256: str
    extension: str
    side: str
    published: bool
    source_key: str
    width: int
    height: int
    label_id: int
    yolo: str
    origin: str
    user_address: str | None
    request_id: int | None
    visibility: str
    is_released: bool
    labels: int
    is_of_an_operator: bool

    @property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes float [N, 4] as centre x, centre y, width, height in pixels, and classes.

        Examples
        --------
        >>> image = LabelledImage(1, "scratch", "", "jpg", "train", True, "", 100, 50, 1,
        ...                       "2 0.5 0.5 0.2 0.4", "import", None, None, "public", False, 1,
        ...                       True)
        >>> [part.tolist() for part in image.centres]
        [[[50.0, 25.0, 20.0, 20.0]], [2]]
        """
        rows = np.array([line.split() for line in self.yolo.splitlines() if line], np.float64)
        rows = rows.reshape(-1, 5)
        scale = np.array([self.width, self.height, self.width, self.height])
        return rows[:, 1:] * scale, rows[:, 0].astype(np.int64)


@dataclass(frozen=True)
class UsedLabels:
    """How many of somebody's labels a dataset had at a revision, by side."""

    model: str
    revision: int
    training: int
    validation: int


class Pool:
    """Labelled images, and whose labels are in which revision.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def some(self, model: str, shown: Shown, limit: int) -> list[LabelledImage]:
        """Return images from a random place of each side on, twice ``limit`` of each at most."""
        return self._images(SOME, model=model, limit=limit, **shown.to_sql())

    def of_images(self, model: str, shown: Shown, images: Iterable[str]) -> list[LabelledImage]:
        """Return those of some images, by sha256, that have a label."""
        return self._images(OF_IMAGES, model=model, images=list(images), **shown.to_sql())

    def used_in(self, user_address: str, revisions: Sequence[tuple[str, int]]) -> list[UsedLabels]:
        """Return in which of some revisions (model and number) a user's labels were."""
        models = [model for model, _ in revisions]
        numbers = [revision for _, revision in revisions]
        given = {"user_address": user_address, "models": models, "revisions": numbers}
        return [UsedLabels(*row) for row in self._all(USED, **given)]

    def _images(self, query: str, **given: object) -> list[LabelledImage]:
        return [LabelledImage(*row) for row in self._all(query, **given)]

    def _all(self, query: str, **given: object) -> list[tuple[Any, ...]]:
        with self._database.transaction() as rows:
            rows.execute(query, given)
            return list(rows.fetchall())
