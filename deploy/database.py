"""Brings the database that a stage uses to where the stage's functions need it."""

from __future__ import annotations

from contextlib import closing

import psycopg2
from psycopg2.extensions import connection

from chalicelib.errors import DatabaseUnavailable
from deploy.cloud import log
from deploy.migrate import migrate

NAME_FUNCTION = """
INSERT INTO sightloop.called_functions (event, function_name) VALUES ('bans changed', %s)
ON CONFLICT (event) DO UPDATE SET function_name = excluded.function_name
"""
EXTENSION = "aws_lambda"
IS_OFFERED = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = %s)"


def prepare(url: str, function_arn: str) -> None:
    """Migrate the database, and tell it which function to call when bans change.

    Parameters
    ----------
    url : str
        ``postgresql://user:password@host:port/name``
    function_arn : str
        Of `update_reported_list`.

    Raises
    ------
    ConfigurationError
        A migration does not run.
    DatabaseUnavailable
        The database does not answer.
    """
    for name in migrate(url):
        log.info("applied %s", name)
    try:
        with closing(psycopg2.connect(url, connect_timeout=10)) as held:
            with held, held.cursor() as rows:
                rows.execute(NAME_FUNCTION, (function_arn,))
            install_extension(held)
    except psycopg2.OperationalError as error:
        raise DatabaseUnavailable(f"PostgreSQL: {error}") from error


def install_extension(held: connection, name: str = EXTENSION) -> bool:
    """Install an extension where PostgreSQL offers it; tell whether it is there.

    RDS offers ``aws_lambda``. Without it all works, but slower.
    """
    try:
        with held, held.cursor() as rows:
            rows.execute(IS_OFFERED, (name,))
            [(offered,)] = rows.fetchall()
            if offered:
                rows.execute(f"CREATE EXTENSION IF NOT EXISTS {name} CASCADE")
    except psycopg2.errors.InsufficientPrivilege as error:
        log.warning("bans reach the list only by the schedule: %s", str(error).strip())
        return False
    if not offered:
        log.warning(
            "this PostgreSQL does not offer %s: bans reach the list by the schedule, every 30 "
            "minutes",
            name,
        )
    return bool(offered)
