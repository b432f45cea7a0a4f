"""The triggers under any SQL, not only the Ledger's: counters, bans, announcements."""

from __future__ import annotations

import json
import math
import random
import select
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import connection

from chalicelib.trust import is_suspicious
from chalicelib.trust.ledger import CHANNEL, Ledger, Request
from deploy import migrate

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Make = Callable[..., Request]
AtOnce = Callable[..., list[Any]]
SECONDS = 60

# As RDS has them: four signatures, so that the name alone is ambiguous.
FAKE_EXTENSION = """
CREATE SCHEMA aws_commons;
CREATE TYPE aws_commons._lambda_function_arn_1 AS (function_name text, region text);
CREATE SCHEMA aws_lambda;
CREATE TABLE aws_lambda.calls (function_name text, payload jsonb, invocation_type text);
"""
FAKE_INVOKE = """
CREATE FUNCTION aws_lambda.invoke(
    function_name {name}, payload {json}, {region} invocation_type text DEFAULT 'RequestResponse',
    log_type text DEFAULT 'None', context {json} DEFAULT NULL, qualifier varchar DEFAULT NULL,
    OUT status_code integer, OUT answer {json}) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO aws_lambda.calls VALUES (function_name::text, payload, invocation_type);
    {does};
END
$$
"""


@pytest.fixture
def extension(sql: Any) -> Callable[[str], None]:
    """Put up something with the signatures of RDS's aws_lambda; it does what one says."""

    def install(does: str = "status_code := 202") -> None:
        signatures = [
            FAKE_INVOKE.format(name=name, json=json, region=region, does=does)
            for name, region in (
                ("text", "region text DEFAULT NULL,"),
                ("aws_commons._lambda_function_arn_1", ""),
            )
            for json in ("json", "jsonb")
        ]
        sql(FAKE_EXTENSION, *signatures)

    return install


@pytest.fixture
def listener(sql: Any) -> Iterator[connection]:
    with closing(psycopg2.connect(sql.url)) as held:
        held.autocommit = True
        held.cursor().execute(f"LISTEN {CHANNEL}")
        yield held


def heard(listener: connection, seconds: float) -> list[dict[str, Any]]:
    """Return what was announced, waiting for the first of it."""
    listener.poll()
    if not listener.notifies:
        select.select([listener], [], [], seconds)
        listener.poll()
    told = [json.loads(notify.payload) for notify in listener.notifies]
    listener.notifies.clear()
    return told


def insert(user: str, score: float = 0.9, times: int = 1) -> str:
    """Return a statement that makes requests."""
    return f"""
        INSERT INTO sightloop.requests (prediction_id, user_address, model, model_version, score,
                                        predicted_boxes, submitted_boxes, state)
        SELECT gen_random_uuid(), '{user}', 'scratch', 1, {score}, 2, 2, 'accepted'
        FROM generate_series(1, {times})"""


def test_one_statement_may_bring_many_users(sql: Any, ledger: Ledger) -> None:
    sql("""INSERT INTO sightloop.requests (prediction_id, user_address, model, model_version, score,
                                           predicted_boxes, submitted_boxes, state)
           SELECT gen_random_uuid(), 'user' || n % 5, 'scratch', 1, n % 5 / 5.0, 1, 1, 'accepted'
           FROM generate_series(1, 100) n""")

    assert sql.counters() == sql.recount()
    assert sql.counters()["user4"] == [20, Decimal(16), 20]
    assert [ban.user_address for ban in ledger.bans()] == ["user4"]


def test_an_update_adds_and_takes_nothing_back(sql: Any) -> None:
    sql(insert("ann", 0.3, 3), "UPDATE sightloop.requests SET score = 0.8, predicted_boxes = 0")
    assert sql.counters() == {"ann": [3, Decimal("2.4"), 0]}

    sql("UPDATE sightloop.requests SET predicted_boxes = 1")
    assert sql.counters() == {"ann": [3, Decimal("2.4"), 3]}

    sql("UPDATE sightloop.requests SET score = 0.1")
    assert sql.counters() == {"ann": [3, Decimal("2.4"), 3]}
    assert sql.counters() == sql.recount()


def test_an_update_can_bring_the_eleventh(sql: Any, ledger: Ledger) -> None:
    sql(insert("ann", 0.1, 11))
    sql("UPDATE sightloop.requests SET score = 0.9")

    assert ledger.is_banned("ann")


def test_a_request_that_moves_is_counted_where_it_is(sql: Any) -> None:
    sql(insert("ann", 0.9, 2), "UPDATE sightloop.requests SET user_address = 'bob'")

    assert sql.counters() == {"ann": [0, Decimal(0), 0], "bob": [2, Decimal("1.8"), 2]}


def test_what_is_deleted_leaves_no_rest(sql: Any) -> None:
    sql(insert("ann", 0.1, 7), insert("ann", 0.30000000000000004, 7), insert("ann", 1 / 3))
    sql("DELETE FROM sightloop.requests")

    assert sql.counters() == {"ann": [0, Decimal(0), 0]}


def test_what_is_deleted_stays_counted_if_it_was_suspicious(sql: Any) -> None:
    sql(insert("ann", 0.9, 2), insert("ann", 0.1, 3), insert("bob", 0.1, 1))
    sql("DELETE FROM sightloop.requests")
    assert sql.counters() == {"ann": [2, Decimal("1.8"), 2], "bob": [0, Decimal(0), 0]}

    sql(insert("ann", 0.9, 1))
    assert sql.counters() == sql.recount()
    assert sql.counters()["ann"] == [3, Decimal("2.7"), 3]


def test_what_is_truncated_leaves_no_rest(sql: Any) -> None:
    sql(insert("ann", 0.9, 7))
    sql("TRUNCATE sightloop.requests")

    assert sql.counters() == {"ann": [0, Decimal(0), 0]}


def test_what_is_rolled_back_is_not_counted(sql: Any) -> None:
    with pytest.raises(psycopg2.errors.DivisionByZero):
        sql(insert("ann", 0.9, 11), "SELECT 1 / 0")

    assert sql.counters() == {}
    assert sql("SELECT * FROM sightloop.bans") == []


def test_a_review_changes_no_user(sql: Any) -> None:
    sql(insert("ann", 0.3))
    before = sql("SELECT xmin, * FROM sightloop.users")
    sql("UPDATE sightloop.requests SET reviewed_at = now(), reviewed_by = 'olga'")

    assert sql("SELECT xmin, * FROM sightloop.users") == before


def test_a_user_with_requests_stays(sql: Any) -> None:
    sql(insert("ann"))
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        sql("DELETE FROM sightloop.users")


def test_fewer_suspicious_requests_do_not_lift_a_ban(sql: Any, ledger: Ledger) -> None:
    sql(insert("ann", 0.9, 11), "DELETE FROM sightloop.requests")

    assert ledger.is_banned("ann")


def test_a_ban_that_is_deleted_by_hand_is_written_down_and_forgiven(
    sql: Any, ledger: Ledger
) -> None:
    sql(insert("ann", 0.9, 11))
    sql("DELETE FROM sightloop.bans")
    sql(insert("ann", 0.9, 10))
    assert not ledger.is_banned("ann")

    [_, lifted] = ledger.decisions("ann")
    assert (lifted.decision, lifted.decided_by) == ("lift", "sightloop")  # the database's user


def test_who_lifted_is_not_carried_into_the_next_transaction(sql: Any) -> None:
    with closing(psycopg2.connect(sql.url)) as held:
        for set_by in ("SELECT set_config('sightloop.decided_by', 'olga', true)", "SELECT 1"):
            with held, held.cursor() as rows:
                rows.execute(set_by)
                rows.execute("INSERT INTO sightloop.users VALUES ('ann') ON CONFLICT DO NOTHING")
                rows.execute("INSERT INTO sightloop.bans VALUES ('ann', now(), 'olga', 'test')")
                rows.execute("DELETE FROM sightloop.bans")

    lifted = "SELECT decided_by FROM sightloop.decisions WHERE decision = 'lift' ORDER BY 1"
    assert sql(lifted) == [("olga",), ("sightloop",)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sightloop.decisions SET decided_by = 'nobody'",
        "DELETE FROM sightloop.decisions",
        "TRUNCATE sightloop.decisions",
        "UPDATE sightloop.bans SET why = 'another'",
        "TRUNCATE sightloop.bans",
    ],
)
def test_what_was_decided_cannot_be_rewritten(sql: Any, ledger: Ledger, statement: str) -> None:
    ledger.ban("ann", "olga", "test")
    with pytest.raises(psycopg2.errors.RestrictViolation):
        sql(statement)

    assert len(ledger.decisions("ann")) == 1


def test_a_review_is_not_announced(
    sql: Any, listener: connection, ledger: Ledger, request_of: Make
) -> None:
    ledger.record(request_of("ann"))
    [seen] = ledger.to_review()
    ledger.review(seen.request_id, seen.updated_at, "rejected", "olga", "test")
    assert len(ledger.decisions("ann")) == 1

    ledger.ban("bob", "olga", "test")
    assert heard(listener, SECONDS) == [{"decision_id": ledger.decisions("bob")[0].decision_id}]


@pytest.mark.parametrize("predicted", [0, 1])
@pytest.mark.parametrize("score", [0.0, 0.69999, 0.7, math.nextafter(0.7, 1), 0.71, 1.0])
def test_suspicious_is_the_same_in_sql_and_python(
    ledger: Ledger, request_of: Make, score: float, predicted: int
) -> None:
    ledger.record(request_of("ann", score=score, predicted_boxes=predicted))

    assert ledger.of_user("ann")[0].suspicious == is_suspicious(score, predicted)


@pytest.mark.parametrize(
    "column, value, constraint",
    [
        ("score", "'NaN'", "requests_score_is_a_probability"),
        ("score", "1.5", "requests_score_is_a_probability"),
        ("predicted_boxes", "-1", "requests_boxes_not_negative"),
        ("model", "'Not A Name'", "requests_model_name"),
        ("model_version", "-1", "requests_version_not_negative"),
        ("state", "'perhaps'", "requests_state_is_known"),
        ("state", "'rejected'", "requests_only_people_reject"),
        ("reviewed_by", "'olga'", "requests_review_is_signed"),
        ("detail", "'[]'", "requests_detail_is_an_object"),
        ("user_address", "'two words'", "users_address_is_one_word"),
        ("user_address", "E'line\\nbreak'", "users_address_is_one_word"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    sql: Any, column: str, value: str, constraint: str
) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation) as refused:
        sql(insert("ann"), f"UPDATE sightloop.requests SET {column} = {value}")

    assert refused.value.diag.constraint_name == constraint


def test_a_ban_is_announced_once_it_can_be_seen(
    ledger: Ledger, listener: connection, request_of: Make
) -> None:
    for _ in range(10):
        ledger.record(request_of())
    assert heard(listener, seconds=0) == []

    ledger.record(request_of())

    [told] = heard(listener, SECONDS)
    assert told == {"decision_id": ledger.decisions("vandal")[0].decision_id}
    assert ledger.has_decided(told["decision_id"])


def test_a_lifting_is_announced(ledger: Ledger, listener: connection) -> None:
    ledger.ban("ann", "olga", "test")
    assert len(heard(listener, SECONDS)) == 1
    ledger.lift("ann", "olga", "test")

    assert heard(listener, SECONDS) == [{"decision_id": ledger.decisions("ann")[1].decision_id}]


def test_a_transaction_announces_once(sql: Any, listener: connection, extension: Any) -> None:
    extension()
    sql(*[insert(f"user{number}", 0.9, 11) for number in range(5)])

    assert len(heard(listener, SECONDS)) == 1
    assert len(sql("SELECT * FROM aws_lambda.calls")) == 1


def test_the_lambda_is_invoked_where_the_extension_is(
    sql: Any, ledger: Ledger, extension: Any
) -> None:
    extension()
    sql(insert("ann", 0.9, 11))

    [made] = ledger.decisions("ann")
    assert sql("SELECT * FROM aws_lambda.calls") == [
        ("update_reported_list", {"decision_id": made.decision_id}, "Event")
    ]


def test_the_lambda_is_invoked_no_earlier_than_at_the_end_of_the_transaction(
    sql: Any, extension: Any
) -> None:
    extension()
    calls = "SELECT * FROM aws_lambda.calls"

    assert sql(insert("ann", 0.9, 11), calls) == []
    assert len(sql(calls)) == 1


def test_the_lambdas_name_can_be_set(sql: Any, ledger: Ledger, extension: Any) -> None:
    extension()
    name = "sightloop-prod-update_reported_list"
    database = sql.url.rpartition("/")[2]
    sql(f"ALTER DATABASE {database} SET sightloop.update_reported_list = '{name}'")
    ledger.ban("ann", "olga", "test")

    assert sql("SELECT function_name FROM aws_lambda.calls") == [(name,)]


@pytest.mark.parametrize(
    "does",
    [
        "RAISE EXCEPTION 'no route to Lambda'",
        "PERFORM 1 / 0",
        "PERFORM pg_cancel_backend(pg_backend_pid()), pg_sleep(60)",
        "RAISE insufficient_privilege",
        "EXECUTE 'SELECT nonsense'",
    ],
)
def test_a_lambda_that_cannot_be_invoked_loses_no_ban(
    sql: Any, ledger: Ledger, listener: connection, extension: Any, does: str
) -> None:
    extension(does)
    sql(insert("ann", 0.9, 11))

    assert ledger.is_banned("ann")
    assert sql.counters() == sql.recount()
    assert len(heard(listener, SECONDS)) == 1


def test_a_schema_of_that_name_alone_is_not_the_extension(sql: Any, ledger: Ledger) -> None:
    sql("CREATE SCHEMA aws_lambda")
    ledger.ban("ann", "olga", "test")

    assert ledger.is_banned("ann")


def test_the_files_may_be_run_again(sql: Any) -> None:
    sql(insert("ann", 0.9, 11))
    before = sql.counters(), sql("SELECT * FROM sightloop.decisions")
    sql(*[migration.sql.replace("%", "%%") for migration in migrate.read()], none=None)

    assert (sql.counters(), sql("SELECT * FROM sightloop.decisions")) == before
    sql(insert("ann"))
    assert sql.counters() == sql.recount()


def test_every_table_and_trigger_function_is_in_its_schema(sql: Any) -> None:
    """Run with a search path that finds nothing of ours."""
    with closing(psycopg2.connect(sql.url, options="-c search_path=pg_catalog")) as held:
        with held:
            held.cursor().execute(insert("ann", 0.9, 11))
        with held:
            held.cursor().execute("DELETE FROM sightloop.bans; DELETE FROM sightloop.requests")

    assert sql.counters() == {"ann": [11, Decimal("9.9"), 11]}


def test_mixed_work_of_twenty_leaves_counters_exact(
    sql: Any, ledger: Ledger, request_of: Make, at_once: AtOnce
) -> None:
    """Each of 600 steps is one transaction; users and predictions are few, so that they collide."""
    chance = random.Random(7)
    users = [f"user{number}" for number in range(6)]
    predictions = [str(uuid.UUID(int=number)) for number in range(40)]
    steps = [
        (
            chance.choice(["record"] * 6 + ["rescore", "delete", "lift", "ban"]),
            chance.choice(users),
            chance.choice(predictions),
            chance.choice([0.05, 0.3, 0.71, 1 / 3, 0.99]),
        )
        for _ in range(600)
    ]

    def step(each: Ledger, given: tuple[str, str, str, float]) -> None:
        what, user, prediction, score = given
        where = f"user_address = '{user}' AND prediction_id = '{prediction}'"
        if what == "record":
            each.record(request_of(user, score=score, prediction_id=prediction))
        elif what == "rescore":
            sql(f"UPDATE sightloop.requests SET score = {score} WHERE {where}")
        elif what == "delete":
            sql(f"DELETE FROM sightloop.requests WHERE {where}")
        elif what == "lift":
            each.lift(user, "olga", "test")
        else:
            each.ban(user, "olga", "test")

    at_once(step, steps)

    assert sql.counters() == sql.recount()
    assert len(sql.counters()) == 6
    for user in users:
        taken = [made.decision for made in ledger.decisions(user)]
        assert taken == (["ban", "lift"] * len(taken))[: len(taken)]
        assert ledger.is_banned(user) == bool(len(taken) % 2)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["insert", "rescore", "empty", "accept", "move", "delete", "lift", "truncate"]
        ),
        st.sampled_from(["ann", "bob"]),
        st.floats(0, 1),
        st.integers(1, 12),
    ),
    max_size=8,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_counters_equal_a_recount_after_anything(
    sql: Any, steps: list[tuple[str, str, float, int]]
) -> None:
    sql("DELETE FROM sightloop.requests", "DELETE FROM sightloop.bans")
    for what, user, score, times in steps:
        some = f"""WHERE request_id IN (SELECT request_id FROM sightloop.requests
                   WHERE user_address = '{user}' LIMIT {times})"""
        sql(
            {
                "insert": insert(user, score, times),
                "rescore": f"UPDATE sightloop.requests SET score = {score} {some}",
                "accept": f"""UPDATE sightloop.requests SET state = 'accepted',
                              reviewed_at = now(), reviewed_by = 'olga' {some}""",
                "empty": f"UPDATE sightloop.requests SET predicted_boxes = 0 {some}",
                "move": f"UPDATE sightloop.requests SET user_address = 'eve' {some}",
                "delete": f"DELETE FROM sightloop.requests {some}",
                "lift": f"DELETE FROM sightloop.bans WHERE user_address = '{user}'",
                "truncate": "TRUNCATE sightloop.requests",
            }[what]
        )
        assert sql.counters() == sql.recount()
        owed = """SELECT count(*) FROM sightloop.users u LEFT JOIN sightloop.bans b
                  USING (user_address) WHERE b.user_address IS NULL
                  AND u.suspicious_requests - u.forgiven_requests > 10"""
        assert sql(owed) == [(0,)]
