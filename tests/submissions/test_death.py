"""Whoever is killed in the middle of a submission leaves all of it or nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib.database import Database
from chalicelib.errors import DatabaseUnavailable
from chalicelib.wiring import Services
from deploy import migrate
from local.errors import LocalError
from local.home import Home, free_port
from local.postgres import Postgres
from tests.forks import Forks

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Desk = Any
_submitters: list[Forks] = []

BEFORE_COMMIT = {
    "the prediction read": "dynamodb.GetItem:1",
    "the image read": "s3.GetObject:2",
    "the split read": "commit:1",
    "in the middle": "sql:10",
}
AFTER_COMMIT = {
    "the label file made": "s3.PutObject:1",
    "the image looked for": "s3.HeadObject:1",
    "the image copied": "s3.CopyObject:1",
}
PATIENCE_SECONDS = 30
IN_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
  AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND xact_start IS NOT NULL
"""
STATEMENTS = range(1, 40)  # of all transactions of one submission, and of making its files


@contextmanager
def ministack(port: int, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the stand-in of `make run`, which keeps what it has on disk."""
    told = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(home / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(home / "s3"),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "ministack"],
        env={**os.environ, **told},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_it_answers(f"http://127.0.0.1:{port}/_ministack/health", server)
        yield server
    finally:
        server.terminate()
        server.wait(timeout=30)


def until_it_answers(url: str, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    pytest.fail("the stand-in ended before it answered")


def clients_of(endpoint: str) -> dict[str, Any]:
    return {
        name: boto3.client(name, region_name="eu-central-1", endpoint_url=endpoint)
        for name in ("s3", "sqs", "dynamodb", "secretsmanager")
    }


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    with ministack(port, tmp_path_factory.mktemp("stand-in")):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def stage(
    endpoint: str,
    new_database: Callable[..., str],
    migrated: str,
    desk_over: Callable[..., Desk],
    make_model: Callable[..., bytes],
) -> Iterator[Desk]:
    made = desk_over(clients_of(endpoint), new_database(template=migrated), make_model)
    yield made
    made.services.database.close()


@pytest.fixture(scope="module", autouse=True)
def forks() -> Iterator[None]:
    """Let `run` fork a process that has imported what a submitter needs."""
    with Forks("tests.submissions.mortal_submitter") as submitters:
        _submitters.append(submitters)
        yield
        _submitters.clear()


def run(stage: Desk, endpoint: str, when: str, *given: str) -> int:
    """Run one submitter to its end, whichever that is; return its exit status."""
    told = {
        f"SIGHTLOOP_{name.upper()}": str(value)
        for name, value in stage.services.settings.model_dump().items()
    }
    environment = {**told, "AWS_ENDPOINT_URL": endpoint}
    ended = _submitters[0].run(when, *given, environment=environment)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    until_nothing_is_locked(stage)
    return ended.returncode


def until_nothing_is_locked(stage: Desk) -> None:
    """Wait until PostgreSQL has noticed who died: until then it keeps their locks."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while stage.sql(IN_TRANSACTION) != [(0,)]:
        assert time.monotonic() < deadline, "the dead still hold their locks"
        time.sleep(0.05)


def recorded(stage: Desk, prediction: str) -> bool:
    found = stage.sql("SELECT 1 FROM requests WHERE prediction_id = %s", prediction)
    return bool(found)


@pytest.mark.parametrize("when", BEFORE_COMMIT.values(), ids=BEFORE_COMMIT)
def test_who_dies_before_the_end_of_the_transaction_leaves_nothing(
    stage: Desk, endpoint: str, when: str
) -> None:
    prediction = stage.predict()
    assert run(stage, endpoint, when, prediction, "ann", "confirmed") == -signal.SIGKILL

    assert not recorded(stage, prediction)
    stage.services.submissions.reconcile(100)
    stage.agree()
    assert stage.submit(prediction).change == "new"
    stage.agree()


@pytest.mark.parametrize("when", AFTER_COMMIT.values(), ids=AFTER_COMMIT)
def test_who_dies_after_it_is_finished_by_the_next_run(
    stage: Desk, endpoint: str, when: str
) -> None:
    prediction = stage.predict()
    assert run(stage, endpoint, when, prediction, "ann", "confirmed") == -signal.SIGKILL

    assert recorded(stage, prediction)
    assert stage.services.submissions.reconcile(100) == 1
    stage.agree()
    assert stage.submit(prediction).change == "same"


@pytest.mark.timeout(900)  # a process for each statement
def test_at_whichever_statement_somebody_dies_it_is_all_or_nothing(
    stage: Desk, endpoint: str
) -> None:
    outcomes = []
    for statement in STATEMENTS:
        prediction = stage.predict()
        ended = run(stage, endpoint, f"sql:{statement}", prediction, "ann", "confirmed")
        assert ended == -signal.SIGKILL, f"there are fewer than {statement} statements"
        outcomes.append(recorded(stage, prediction))
        stage.services.submissions.reconcile(100)
        stage.agree()
        assert stage.submit(prediction).change == ("same" if outcomes[-1] else "new")
        stage.agree()
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}


@pytest.mark.parametrize("when", ["s3.PutObject:1", "sql:8"])
def test_what_waits_for_a_person_is_whole_or_not_there(
    stage: Desk, endpoint: str, when: str
) -> None:
    prediction = stage.predict()
    assert run(stage, endpoint, when, prediction, "eve", "empty") == -signal.SIGKILL

    assert not recorded(stage, prediction)
    stage.agree()
    assert stage.submit(prediction, "eve", "empty").state == "quarantined"
    [waiting] = stage.services.ledger.to_review()
    assert stage.services.store.size(waiting.detail["image"]["key"]) > 0
    stage.agree()
    stage.services.submissions.review(
        waiting.request_id, waiting.updated_at, "rejected", "olga", "test"
    )


def test_a_submitter_that_lives_says_what_became_of_it(stage: Desk, endpoint: str) -> None:
    prediction = stage.predict()

    assert run(stage, endpoint, "never", prediction, "ann", "confirmed") == 0
    stage.agree()


class KillsItsServer(Database):
    """A database whose server is killed before one of our statements."""

    def __init__(self, url: str, data: Path, statement: int) -> None:
        super().__init__(url)
        self._data = data
        self._left = statement

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with super().transaction() as rows:
            yield _Killing(rows, self._statement)

    def _statement(self) -> None:
        self._left -= 1
        if not self._left:
            pid = int((self._data / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, signal.SIGKILL)


class _Killing:
    def __init__(self, rows: Any, told: Callable[[], None]) -> None:
        self._rows = rows
        self._told = told

    def execute(self, *given: Any) -> None:
        self._told()
        self._rows.execute(*given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)


def test_a_database_killed_in_the_middle_keeps_what_was_told(
    endpoint: str,
    make_home: Callable[[str], Path],
    desk_over: Callable[..., Desk],
    make_model: Callable[..., bytes],
) -> None:
    """Its server dies of SIGKILL at some statement of each submission, and is started again."""
    home = Home(make_home("postgres"))
    server = Postgres(home)
    migrate.migrate(server.url)
    names = {"store_bucket": "killed-store", "predictions_table": "killed-predictions"}
    desk = desk_over(clients_of(endpoint), server.url, make_model, **names)
    for number, prediction in enumerate([desk.predict() for _ in range(5)]):
        services = Services(desk.services.settings, clients_of(endpoint))
        killing = KillsItsServer(server.url, home.path / "postgres", 4 + 5 * number)
        services.database = killing  # type: ignore[misc]
        try:
            services.submissions.submit("scratch", prediction, "ann", "confirmed")
        except DatabaseUnavailable:
            told = False
        else:
            told = True
        server.stop()  # it is dead, and has to be buried before another may begin
        server = restarted(home)
        assert recorded(desk, prediction) or not told
        desk.services.database.close()
        desk.services.submissions.reconcile(100)
        desk.agree()
        assert desk.submit(prediction).state == "accepted"
        desk.agree()
    assert desk.sql("SELECT num_accesses FROM users") == [(5,)]
    desk.services.database.close()
    server.stop()
    home.close()


def restarted(home: Home) -> Postgres:
    """Start the server again, as soon as the last processes of the old one are gone."""
    for _ in range(20):
        try:
            return Postgres(home)
        except LocalError:
            time.sleep(0.2)
    return Postgres(home)
