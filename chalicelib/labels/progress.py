"""How far a dataset's new images are towards the thresholds of a training.

Near-duplicates count once, and one contributor counts for no more than a share of a threshold.
Counting stops where there is enough, and costs the same for a million images as for ten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.database import Database
from chalicelib.labels.sizes import Sizes
from chalicelib.trust.records import accepted_by_operator, label_of_operator

AT_FIRST = 2  # times the threshold: how many new images are read of each side
AT_MOST = 2**31  # images of one contributor that count where no share limits them
THEN = 8  # times more, of models where that was not enough and there are more

# Every image is looked up by itself: a join may be planned as a scan of whole tables.
# `lookalikes` is null for an image that an importer put into a group: groups hold many scenes.
TOWARD = f"""
WITH recent AS (
    SELECT asked.model, sides.side, sides.most, t.sample_id, t.label_id, t.began
    FROM unnest(%(models)s::text[], %(revisions)s::bigint[]) AS asked (model, revision)
    CROSS JOIN (VALUES ('train', %(read_train)s, %(most_train)s),
                       ('valid', %(read_valid)s, %(most_valid)s)) AS sides (side, images, most)
    CROSS JOIN LATERAL (
        SELECT l.sample_id, l.label_id, l.began FROM label_terms l
        WHERE l.model = asked.model AND l.side = sides.side AND l.began > asked.revision
          AND l.ended IS NULL
        ORDER BY l.began LIMIT sides.images) t
), described AS (
    SELECT r.model, r.side, r.most, r.began, s.cluster_id AS lookalikes,
           CASE WHEN s.cluster_id IS NULL THEN r.sample_id END AS alone,
           CASE WHEN l.by_operator THEN NULL ELSE l.user_address END AS contributor
    FROM recent r
    LEFT JOIN LATERAL (
        SELECT (SELECT k.cluster_id FROM cluster_names k
                WHERE k.model = s.model AND k.name = s.sha256) AS cluster_id
        FROM samples s WHERE s.sample_id = r.sample_id AND s.groups = '{{}}' LIMIT 1) s ON true
    LEFT JOIN LATERAL (
        SELECT l.user_address, {label_of_operator("l")}
               OR EXISTS (SELECT FROM requests q
                          WHERE q.model = r.model AND q.request_id = l.request_id
                            AND q.user_address = l.user_address
                            AND {accepted_by_operator("q")}) AS by_operator
        FROM labels l WHERE l.label_id = r.label_id LIMIT 1) l ON true
), different AS (
    SELECT DISTINCT ON (model, side, lookalikes, alone) model, side, most, contributor
    FROM described ORDER BY model, side, lookalikes, alone, contributor NULLS FIRST, began
), counted AS (
    SELECT model, side, contributor, count(*) AS images,
           CASE WHEN contributor IS NULL THEN count(*) ELSE least(count(*), most) END AS counts
    FROM different GROUP BY model, side, contributor, most
)
SELECT c.model, c.side, n.images, sum(c.images)::bigint, sum(c.counts)::bigint,
       count(c.contributor) = 1 AND count(*) = 1
FROM counted c
JOIN (SELECT model, side, count(*) AS images FROM recent GROUP BY model, side) n
  USING (model, side)
GROUP BY c.model, c.side, n.images
"""


@dataclass(frozen=True)
class Progress:
    """How many new images of one side count.

    Attributes
    ----------
    images : int
        That are new; more may be where ``counts`` is enough.
    different : int
        Of those, near-duplicates counted once.
    counts : int
        Of those, what contributors bring beyond their share left out.
    most : int
        How many images of one contributor count.
    """

    images: int = 0
    different: int = 0
    counts: int = 0
    most: int = AT_MOST


@dataclass(frozen=True)
class Toward:
    """How many new images of both sides count.

    Attributes
    ----------
    training, validation : Progress
    """

    training: Progress = Progress()
    validation: Progress = Progress()

    @property
    def counts(self) -> Sizes:
        """How many count on either side."""
        return Sizes(self.training.counts, self.validation.counts)


class TrainingProgress:
    """Counts new images as the thresholds of a training count them.

    Parameters
    ----------
    database : Database
    share : float
        Of a threshold that one contributor may fill, above 0 and up to 1; 1: no limit.
    """

    def __init__(self, database: Database, share: float) -> None:
        self._database = database
        self._share = share

    def toward(self, revisions: Mapping[str, int | None], needs: Sizes) -> dict[str, Toward]:
        """Count the new images of models, until there are enough.

        Parameters
        ----------
        revisions : Mapping[str, int or None]
            By the name of a model, the last revision that is not new; None: everything is new.
        needs : Sizes
            The thresholds.

        Raises
        ------
        DatabaseUnavailable
        """
        progress: dict[str, Toward] = {}
        left, read = dict(revisions), Sizes(needs.training * AT_FIRST, needs.validation * AT_FIRST)
        while left:
            some = self._some(left, needs, read)
            progress |= some
            left = {
                model: left[model] for model in left if _may_have_more(some[model], needs, read)
            }
            read = Sizes(read.training * THEN, read.validation * THEN)
        return progress

    def _some(
        self, revisions: Mapping[str, int | None], needs: Sizes, read: Sizes
    ) -> dict[str, Toward]:
        """Count among the oldest new images, so many of each side."""
        most = Sizes(
            most_of_one(needs.training, self._share), most_of_one(needs.validation, self._share)
        )
        parameters = {
            "models": list(revisions),
            "revisions": [revision or 0 for revision in revisions.values()],
            "read_train": read.training,
            "read_valid": read.validation,
            "most_train": most.training,
            "most_valid": most.validation,
        }
        with self._database.transaction() as rows:
            rows.execute("SET LOCAL jit = off")  # compiling takes longer than the query
            rows.execute(TOWARD, parameters)
            counted = {(model, side): numbers for model, side, *numbers in rows.fetchall()}
        return {
            model: Toward(
                self._progress(counted.get((model, "train")), needs.training, most.training),
                self._progress(counted.get((model, "valid")), needs.validation, most.validation),
            )
            for model in revisions
        }

    def _progress(self, counted: list[int] | None, needs: int, most: int) -> Progress:
        images, different, counts, is_of_one = counted or (0, 0, 0, False)
        if is_of_one and self._share < 1:
            counts = min(counts, needs - 1)  # where the threshold is 1, its share would meet it
        return Progress(images, different, counts, most)


def most_of_one(needs: int, share: float) -> int:
    """Return how many images of one contributor count towards a threshold: one at least.

    >>> most_of_one(16, 0.5), most_of_one(3, 0.5), most_of_one(1, 0.5), most_of_one(10, 0.3)
    (8, 1, 1, 3)
    """
    return AT_MOST if share >= 1 else max(1, math.floor(share * needs + 1e-9))


def _may_have_more(progress: Toward, needs: Sizes, read: Sizes) -> bool:
    """Tell whether a side has too few that count among those read, and not all were read."""
    sides = (
        (progress.training, needs.training, read.training),
        (progress.validation, needs.validation, read.validation),
    )
    return any(side.counts < need and side.images >= images for side, need, images in sides)
