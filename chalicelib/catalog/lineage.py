"""Which versions were trained on which state of their model's dataset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from chalicelib.database import Database

TRAINED = """
SELECT model, version, dataset_revision, promoted_at FROM model_versions
WHERE dataset_revision IS NOT NULL ORDER BY model, version
"""


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
