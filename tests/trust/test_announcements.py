"""What the Lambda does when the database announces a decision."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from chalice.app import Chalice
from moto import mock_aws

from chalicelib import wiring
from chalicelib.database import Database
from chalicelib.errors import MalformedMessage, StorageUnavailable, Unavailable
from chalicelib.settings import Settings
from chalicelib.trust.announcements import LOOKS, BanFollowUp
from chalicelib.trust.ledger import Ledger
from chalicelib.trust.report_list import KEY
from chalicelib.trust.triggers import blueprint, update_reported_list

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
CONTEXT = SimpleNamespace(aws_request_id="3f0c2a6e-5d1b-4a57-9a55-0f3f6f0d7c11")


@pytest.fixture
def services(sql: Any) -> Iterator[wiring.Services]:
    """The services of a process over the test's database, which the secret names."""
    before = wiring.services()
    with mock_aws():
        made = wiring.Services(Settings(region="us-east-1"))
        made.client("s3").create_bucket(Bucket=made.settings.store_bucket)
        secret = json.dumps({"database_url": sql.url})
        made.client("secretsmanager").create_secret(
            Name=made.settings.secret_name, SecretString=secret
        )
        wiring.provide(made)
        yield made
        made.database.close()
    wiring.provide(before)


def listed(services: wiring.Services) -> list[str]:
    lines = services.store.get(KEY).body.decode().splitlines()
    return [line.split("\t")[0] for line in lines]


def test_an_announced_ban_is_in_the_list(services: wiring.Services) -> None:
    services.ledger.ban("vandal", "ada", "spam")
    (decision,) = services.ledger.decisions("vandal")

    answer = update_reported_list({"decision_id": decision.decision_id}, CONTEXT)

    assert answer == {"banned": 1}
    assert listed(services) == ["vandal"]


def test_an_announcement_that_comes_twice_or_late_changes_nothing(
    services: wiring.Services,
) -> None:
    services.ledger.ban("vandal", "ada", "spam")
    services.ledger.lift("vandal", "ada", "a mistake")
    banned, lifted = services.ledger.decisions("vandal")

    for decision in (lifted, banned, banned):
        update_reported_list({"decision_id": decision.decision_id}, CONTEXT)

    assert listed(services) == []


@pytest.mark.parametrize("event", [{}, {"decision_id": None}, {"from": "a person"}])
def test_without_a_decision_the_list_is_written_all_the_same(
    services: wiring.Services, event: dict[str, Any]
) -> None:
    services.ledger.ban("vandal", "ada", "spam")

    assert update_reported_list(event, CONTEXT) == {"banned": 1}


@pytest.mark.parametrize("event", [{"decision_id": "7"}, {"decision_id": -1}, [], "x", None, 7])
def test_what_announces_nothing_is_refused(services: wiring.Services, event: Any) -> None:
    with pytest.raises(MalformedMessage):
        update_reported_list(event, CONTEXT)


def test_a_decision_that_cannot_be_seen_yet_is_waited_for(
    services: wiring.Services, sql: Any
) -> None:
    """The announcement may be quicker than the commit of what it announces."""
    database = Database(sql.url)
    slow = Ledger(database)
    with database.transaction() as rows:
        rows.execute("INSERT INTO users (user_address) VALUES ('vandal')")
        rows.execute(
            "INSERT INTO bans (user_address, reported_by, why) VALUES ('vandal', 'ada', 'spam')"
        )
        rows.execute("SELECT decision_id FROM decisions")
        [(decision_id,)] = rows.fetchall()
        commit = rows.connection.commit
        waits: list[float] = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                commit()

        follow_up = services.ban_follow_up
        made = BanFollowUp(follow_up._ledger, follow_up._report_list, lambda: 0, wait)
        assert made.run(decision_id) == 1

    assert len(waits) == 3
    assert slow.is_banned("vandal")
    database.close()
    assert listed(services) == ["vandal"]


def test_a_decision_that_never_comes_is_announced_again(services: wiring.Services) -> None:
    """Lambda calls again what raised; of a transaction that was rolled back nothing is left."""
    waits: list[float] = []
    follow_up = services.ban_follow_up
    made = BanFollowUp(follow_up._ledger, follow_up._report_list, lambda: 0, waits.append)

    with pytest.raises(Unavailable, match="decision 7"):
        made.run(7)

    assert len(waits) == LOOKS
    assert sum(waits) < 10


def test_the_list_is_written_before_labels_are_settled_and_whatever_becomes_of_them(
    services: wiring.Services,
) -> None:
    services.ledger.ban("vandal", "ada", "spam")
    seen: list[list[str]] = []

    def settle() -> None:
        seen.append(listed(services))
        raise StorageUnavailable("S3 does not answer")

    follow_up = services.ban_follow_up
    made = BanFollowUp(follow_up._ledger, follow_up._report_list, settle)

    with pytest.raises(StorageUnavailable):  # so that Lambda calls again
        made.run()
    assert seen == [["vandal"]]


def test_aws_calls_the_handler_that_the_app_knows() -> None:
    app = Chalice("sightloop", configure_logs=False)
    app.register_blueprint(blueprint)

    assert app.handler_map == {"update_reported_list": update_reported_list}
    (function,) = app.pure_lambda_functions
    assert function.handler_string == "chalicelib.trust.triggers.update_reported_list"


def test_a_database_named_by_the_settings_needs_no_secret(sql: Any) -> None:
    with mock_aws():
        settings = Settings(region="us-east-1", database_url=sql.url)
        made = wiring.Services(settings, {"s3": boto3.client("s3", region_name="us-east-1")})

        assert made.has_database()
        assert made.ledger.bans() == []
        made.database.close()
