"""How large datasets are and how much of them is new: as quick for a million images as for ten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chalicelib.database import Database

SIZES = """
SELECT model, side, n FROM dataset_counts WHERE model = ANY(%s) AND fact = 'images'
"""
# In the order of the index, or PostgreSQL reads the table for its first rows, wherever they are.
NEW_SINCE = """
SELECT asked.model, sides.side, (
    SELECT count(*) FROM (
        SELECT FROM label_terms t
        WHERE t.model = asked.model AND t.side = sides.side AND t.began > asked.revision
          AND t.ended IS NULL
        ORDER BY t.began LIMIT sides.most) found)
FROM unnest(%(models)s::text[], %(revisions)s::bigint[]) AS asked (model, revision)
CROSS JOIN (VALUES ('train', %(training)s), ('valid', %(validation)s)) AS sides (side, most)
"""


@dataclass(frozen=True)
class Sizes:
    """How many labelled images a dataset has.

    Attributes
    ----------
    training, validation : int
    """

    training: int = 0
    validation: int = 0


MOST_COUNTED = Sizes(1_000, 1_000)


class DatasetSizes:
    """Tells how large datasets are.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, model: str) -> Sizes:
        """Return the sizes of one dataset; one that nobody gave an image is empty."""
        return self.of_all([model])[model]

    def of_all(self, models: Iterable[str]) -> dict[str, Sizes]:
        """Return the sizes of several datasets by the names of their models.

        Raises
        ------
        DatabaseUnavailable
        """
        names = list(models)
        with self._database.transaction() as rows:
            rows.execute(SIZES, (names,))
            found = {(model, side): images for model, side, images in rows.fetchall()}
        return {
            name: Sizes(found.get((name, "train"), 0), found.get((name, "valid"), 0))
            for name in names
        }

    def new_since(
        self, revisions: Mapping[str, int | None], most: Sizes = MOST_COUNTED
    ) -> dict[str, Sizes]:
        """Count the images whose present label is newer than a revision, up to so many a side.

        What it costs grows with the number of models and with ``most``, not with the datasets:
        each side is counted in an index, from the revision on, until there are enough.

        Parameters
        ----------
        revisions : Mapping[str, int or None]
            By the name of a model, the last revision that is not new: the ``dataset_revision`` of
            its live version. None: all that the dataset has is new.
        most : Sizes, optional
            Where counting stops; who only asks for enough gives what is enough.

        Returns
        -------
        dict[str, Sizes]
            For every model that was given, each side between 0 and that of ``most``.

        Raises
        ------
        DatabaseUnavailable
        """
        given = {
            "models": list(revisions),
            "revisions": [revision or 0 for revision in revisions.values()],
            "training": most.training,
            "validation": most.validation,
        }
        with self._database.transaction() as rows:
            rows.execute(NEW_SINCE, given)
            found = {(model, side): images for model, side, images in rows.fetchall()}
        return {name: Sizes(found[name, "train"], found[name, "valid"]) for name in revisions}
