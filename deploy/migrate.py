"""Applies ``sql/NNNN_*.sql`` to a PostgreSQL database: in order, once each, all or nothing each.

    python -m deploy.migrate postgresql://user:password@host/name

Files that were applied must not change afterwards: write a new one. Two migrators at once wait for
each other.
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection

from chalicelib.errors import ConfigurationError, DatabaseUnavailable

FOLDER = Path(__file__).parent.parent / "sql"
FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")
LOCK = 0x51_67_68_74  # any number, as long as every migrator takes the same
LEDGER = """
CREATE SCHEMA IF NOT EXISTS sightloop;
CREATE TABLE IF NOT EXISTS sightloop.migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""


@dataclass(frozen=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The checksum of its text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read(folder: Path = FOLDER) -> list[Migration]:
    """Return a folder's migrations in order.

    Raises
    ------
    ConfigurationError
        A file is misnamed, or the numbers are not 1, 2, 3, …
    """
    found = []
    for file in sorted(folder.glob("*.sql")):
        named = FILE_NAME.fullmatch(file.name)
        if named is None:
            raise ConfigurationError(f"{file.name}: migrations are called NNNN_what_it_does.sql")
        found.append(Migration(int(named[1]), file.name, file.read_text(encoding="utf-8")))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ConfigurationError(f"the migrations in {folder} are not numbered 1, 2, 3, …")
    return found


def migrate(url: str, folder: Path = FOLDER) -> list[str]:
    """Apply what has not been applied yet and return the names of those files.

    Raises
    ------
    ConfigurationError
        A file changed after it was applied, or does not run; those before it are applied.
    DatabaseUnavailable
        The database does not answer.
    """
    migrations = read(folder)
    try:
        held = psycopg2.connect(url, connect_timeout=10)
    except psycopg2.OperationalError as error:
        raise DatabaseUnavailable(f"PostgreSQL: {error}") from error
    try:
        with held, held.cursor() as rows:
            rows.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
            rows.execute(LEDGER)
        return [migration.name for migration in migrations if _apply(held, migration)]
    finally:
        held.close()


def _apply(held: connection, migration: Migration) -> bool:
    """Apply one migration and note it, in one transaction; tell whether there was need."""
    with held, held.cursor() as rows:
        rows.execute(
            "SELECT sha256 FROM sightloop.migrations WHERE number = %s", (migration.number,)
        )
        applied = rows.fetchone()
        if applied:
            if applied[0] != migration.sha256:
                raise ConfigurationError(f"{migration.name} was changed after it was applied")
            return False
        try:
            rows.execute(migration.sql)
        except psycopg2.Error as error:
            raise ConfigurationError(f"{migration.name} does not run: {error}") from error
        rows.execute(
            "INSERT INTO sightloop.migrations (number, name, sha256) VALUES (%s, %s, %s)",
            (migration.number, migration.name, migration.sha256),
        )
    return True


if __name__ == "__main__":
    for name in migrate(sys.argv[1]):
        print(f"applied {name}")
