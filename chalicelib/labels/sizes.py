"""How large datasets are, without counting: triggers in the database keep the numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chalicelib.database import Database

SIZES = """
SELECT model, side, n FROM dataset_counts WHERE model = ANY(%s) AND fact = 'images'
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
