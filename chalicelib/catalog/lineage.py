"""Which versions were trained on which state of their model's dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from chalicelib.database import Database

TRAINED = """
SELECT model, version, dataset_revision, promoted_at FROM model_versions
WHERE dataset_revision IS NOT NULL ORDER BY model, version
"""
LEARNT = """
SELECT v.model, v.dataset_revision
FROM unnest(%s::text[], %s::integer[]) AS asked (model, version)
JOIN model_versions v ON v.model = asked.model AND v.version = asked.version
"""
STANDINGS = """
SELECT m.name, m.live_version, v.dataset_revision
FROM models m LEFT JOIN model_versions v ON v.model = m.name AND v.version = m.live_version
ORDER BY m.name
"""


@dataclass(frozen=True)
class Standing:
    """A model, and what its live version was trained on.

    Attributes
    ----------
    model : str
    live_version : int or None
        None: it has no version yet.
    dataset_revision : int or None
        None: it has none, or one that came with its weights.
    """

    model: str
    live_version: int | None
    dataset_revision: int | None


@dataclass(frozen=True)
class TrainedVersion:
    """A version, and the revision of the dataset that it was trained on."""

    model: str
    version: int
    dataset_revision: int
    promoted_at: datetime | None


def trained_versions(database: Database) -> list[TrainedVersion]:
    """Return all versions that were trained here, by model; not those that came with weights."""
    with database.transaction() as rows:
        rows.execute(TRAINED)
        return [TrainedVersion(*row) for row in rows.fetchall()]


def learnt_revisions(database: Database, versions: Mapping[str, int]) -> dict[str, int | None]:
    """Return the revision of the dataset that each of some versions was trained on.

    Parameters
    ----------
    versions : Mapping[str, int]
        A version of each model by its name, such as those that serve.

    Returns
    -------
    dict[str, int or None]
        For every model that was given; None where the version came with its weights, or has no row.

    Raises
    ------
    DatabaseUnavailable
    """
    with database.transaction() as rows:
        rows.execute(LEARNT, (list(versions), list(versions.values())))
        found: dict[str, int | None] = dict(rows.fetchall())
    return {model: found.get(model) for model in versions}


def standings(database: Database) -> list[Standing]:
    """Return every model, pending ones included, by name.

    Raises
    ------
    DatabaseUnavailable
    """
    with database.transaction() as rows:
        rows.execute(STANDINGS)
        return [Standing(*row) for row in rows.fetchall()]
