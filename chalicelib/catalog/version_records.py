"""The rows of versions: which training made one, what the gate thought of it, what it learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg2.extras import Json

from chalicelib.catalog.model import ModelFile, VersionMetrics
from chalicelib.database import Database

KNOWN = """
INSERT INTO models (name, class_names, live_version) VALUES (%(name)s, %(names)s, %(live_version)s)
ON CONFLICT (name) DO NOTHING
"""
PUT = """
INSERT INTO model_versions (model, version, sha256, metrics, promoted_at)
VALUES (%(name)s, %(live_version)s, %(sha256)s, %(metrics)s, %(promoted_at)s)
ON CONFLICT (model, version) DO UPDATE SET
    sha256 = excluded.sha256, metrics = excluded.metrics, promoted_at = excluded.promoted_at
"""
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('versions of ' || %s, 0))"
CLAIMED = "SELECT version FROM model_versions WHERE job_id = %(job_id)s"
CLAIM = """
INSERT INTO model_versions
    (model, version, sha256, metrics, job_id, dataset_sha256, dataset_revision)
SELECT %(model)s, greatest(%(least)s, 1 + coalesce(max(version), 0)), %(sha256)s, %(metrics)s,
       %(job_id)s, %(dataset_sha256)s, %(dataset_revision)s
FROM model_versions WHERE model = %(model)s
RETURNING version
"""
GIVE_UP = """
UPDATE model_versions SET job_id = NULL, dataset_sha256 = NULL, dataset_revision = NULL
WHERE job_id = %s
"""
JUDGE = "UPDATE model_versions SET verdict = %s WHERE model = %s AND version = %s"
JUDGED = "SELECT verdict FROM model_versions WHERE model = %s AND version = %s"
WAITED = """
UPDATE model_versions SET correction_to_serving = %s
WHERE model = %s AND version = %s AND correction_to_serving IS NULL
"""
ALL = """
SELECT version, job_id, dataset_sha256, dataset_revision, created_at, promoted_at, verdict,
       correction_to_serving
FROM model_versions WHERE model = %s ORDER BY version DESC
"""


@dataclass(frozen=True)
class Origin:
    """What a training made a version of.

    Attributes
    ----------
    job_id : UUID
        Of the training; it makes one version.
    dataset_sha256 : str or None
        The dataset version that it learnt from.
    dataset_revision : int or None
        The revision of the dataset which that was.
    """

    job_id: UUID
    dataset_sha256: str | None
    dataset_revision: int | None


@dataclass(frozen=True)
class VersionRecord:
    """What is known of a version beside what it measured.

    Attributes
    ----------
    version : int
    job_id, dataset_sha256, dataset_revision
        As `Origin`; None where it came from elsewhere.
    created_at : datetime
    promoted_at : datetime or None
        When it last began to serve.
    verdict : dict or None
        What the gate decided: `promote`, `reason`, `figures`.
    correction_to_serving : dict or None
        `labels`, `median_seconds`, `longest_seconds`.
    """

    version: int
    job_id: UUID | None
    dataset_sha256: str | None
    dataset_revision: int | None
    created_at: datetime
    promoted_at: datetime | None
    verdict: dict[str, Any] | None
    correction_to_serving: dict[str, Any] | None


class VersionRecords:
    """Keeps the rows of versions.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, file: ModelFile, sha256: str, measured: VersionMetrics) -> None:
        """Write down a version that came from elsewhere than a training here.

        Parameters
        ----------
        file : ModelFile
            As it serves with this version, or would.
        sha256 : str
            Of the weights.

        Raises
        ------
        DatabaseUnavailable
        """
        given = {**_row(file), "sha256": sha256, "metrics": _json(measured)}
        with self._database.transaction() as rows:
            rows.execute(KNOWN, given)
            rows.execute(PUT, given)

    def claim(
        self, model: ModelFile, origin: Origin, sha256: str, measured: VersionMetrics, least: int
    ) -> int:
        """Give a training's version a number; a training has one however often it asks.

        Parameters
        ----------
        model : ModelFile
            As it serves or was asked for.
        sha256 : str
            Of the weights.
        least : int
            The smallest number that is free in the store bucket.

        Raises
        ------
        DatabaseUnavailable
        """
        given = {
            **vars(origin),
            "job_id": str(origin.job_id),
            "model": model.name,
            "sha256": sha256,
            "metrics": _json(measured),
            "least": least,
        }
        with self._database.transaction() as rows:
            rows.execute(ONE_AT_A_TIME, (model.name,))
            rows.execute(CLAIMED, given)
            if (held := rows.fetchone()) is None:
                rows.execute(KNOWN, _row(model))
                rows.execute(CLAIM, given)
                held = rows.fetchone()
            assert held is not None
            return int(held[0])

    def give_up(self, job_id: UUID) -> None:
        """Leave the number that a training claimed to whoever has it in the store bucket."""
        with self._database.transaction() as rows:
            rows.execute(GIVE_UP, (str(job_id),))

    def note_verdict(self, model: str, version: int, verdict: Mapping[str, Any]) -> None:
        """Write down what the gate decided about a version."""
        with self._database.transaction() as rows:
            rows.execute(JUDGE, (Json(dict(verdict)), model, version))

    def verdict(self, model: str, version: int) -> dict[str, Any] | None:
        """Return what the gate decided about a version, if it has."""
        with self._database.transaction() as rows:
            rows.execute(JUDGED, (model, version))
            found: dict[str, Any] | None = (rows.fetchone() or [None])[0]
            return found

    def note_waited(self, model: str, version: int, waited: Mapping[str, Any]) -> None:
        """Write down how long corrections waited for a version, the first time it serves."""
        with self._database.transaction() as rows:
            rows.execute(WAITED, (Json(dict(waited)), model, version))

    def of(self, model: str) -> list[VersionRecord]:
        """Return what is known of a model's versions, newest first.

        Raises
        ------
        DatabaseUnavailable
        """
        with self._database.transaction() as rows:
            rows.execute(ALL, (model,))
            return [_record(*row) for row in rows.fetchall()]


def _row(file: ModelFile) -> dict[str, Any]:
    return file.model_dump() | {"names": list(file.names)}


def _json(measured: VersionMetrics) -> Json:
    return Json(measured.model_dump(mode="json", by_alias=True))


def _record(version: int, job_id: str | None, *others: Any) -> VersionRecord:
    return VersionRecord(version, UUID(str(job_id)) if job_id else None, *others)
