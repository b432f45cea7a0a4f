"""Migrations on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from chalicelib.errors import ConfigurationError, DatabaseUnavailable
from deploy import migrate

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture
def database(new_database: Callable[..., str]) -> str:
    """Return the URL of an empty database."""
    return new_database()


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def write(**files: str) -> Path:
        for name, sql in files.items():
            (tmp_path / f"{name[1:]}.sql").write_text(sql, encoding="utf-8")
        return tmp_path

    return write


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as rows:
        rows.execute(sql)
        return list(rows.fetchall())


def test_our_own_are_applied_once(database: str) -> None:
    assert migrate.migrate(database) == [file.name for file in migrate.read()]
    assert migrate.migrate(database) == []


def test_ten_migrators_at_once_apply_each_once(database: str, folder: Callable[..., Path]) -> None:
    files = folder(
        _0001_first="CREATE TABLE runs (number int); SELECT pg_sleep(0.2)",
        _0002_second="INSERT INTO runs VALUES (2)",
    )
    with ThreadPoolExecutor(10) as pool:
        applied = list(pool.map(lambda _: migrate.migrate(database, files), range(10)))

    assert sorted(name for names in applied for name in names) == [
        "0001_first.sql",
        "0002_second.sql",
    ]
    assert ask(database, "SELECT number FROM runs") == [(2,)]


def test_one_that_does_not_run_leaves_nothing_and_keeps_those_before_it(
    database: str, folder: Callable[..., Path]
) -> None:
    files = folder(
        _0001_good="CREATE TABLE good (number int)",
        _0002_bad="CREATE TABLE half (number int); SELECT nonsense",
    )
    with pytest.raises(ConfigurationError, match=r"0002_bad\.sql does not run"):
        migrate.migrate(database, files)

    assert ask(database, "SELECT to_regclass('good')::text, to_regclass('half')") == [
        ("good", None)
    ]
    folder(_0002_bad="CREATE TABLE whole (number int)")
    assert migrate.migrate(database, files) == ["0002_bad.sql"]


def test_one_that_was_changed_afterwards_is_refused(
    database: str, folder: Callable[..., Path]
) -> None:
    migrate.migrate(database, folder(_0001_first="CREATE TABLE first (number int)"))

    with pytest.raises(ConfigurationError, match="changed after it was applied"):
        migrate.migrate(database, folder(_0001_first="CREATE TABLE other (number int)"))


@pytest.mark.parametrize("name", ["_1_short", "_0001_with-dash", "_0002_begins_with_two"])
def test_a_misnamed_file_is_refused(folder: Callable[..., Path], name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"NNNN|numbered"):
        migrate.read(folder(**{name: "SELECT 1"}))


def test_a_database_that_does_not_answer_is_said_to_be_away() -> None:
    with pytest.raises(DatabaseUnavailable):
        migrate.migrate("postgresql://nobody@127.0.0.1:1/nothing")
