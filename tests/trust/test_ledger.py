"""Requests, bans and decisions through the Ledger, on a real PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.database import Database
from chalicelib.errors import Conflict, DatabaseUnavailable, InvalidRequest, NotFound
from chalicelib.trust.ledger import Ledger, Request

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Make = Callable[..., Request]
KILL_ONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
ORDER BY random() LIMIT 1
"""


def test_a_request_is_recorded_and_counted(ledger: Ledger, request_of: Make) -> None:
    outcome = ledger.record(request_of("ann", score=0.25, state="accepted", detail={"added": 1}))

    assert (outcome.change, outcome.state, outcome.num_accesses) == ("new", "accepted", 1)
    assert (outcome.suspicious_requests, outcome.banned_since) == (0, None)
    [held] = ledger.of_user("ann")
    assert (held.request_id, held.score, held.detail) == (outcome.request_id, 0.25, {"added": 1})
    standing = ledger.standing("ann")
    assert standing
    assert standing.total_score == Decimal("0.25")


def test_a_retry_that_says_something_else_is_counted_once(ledger: Ledger, request_of: Make) -> None:
    first = request_of("ann", score=0.9)
    again = request_of("ann", score=0.1, state="accepted", prediction_id=first.prediction_id)
    before = ledger.record(first)
    after = ledger.record(again)

    assert (after.request_id, after.change) == (before.request_id, "updated")
    assert (after.state, after.num_accesses, after.suspicious_requests) == ("accepted", 1, 1)
    standing = ledger.standing("ann")
    assert standing
    assert standing.total_score == Decimal("0.9")


def test_a_review_outlives_the_same_content_and_not_another(
    ledger: Ledger, request_of: Make, sql: Any
) -> None:
    first = request_of("ann", detail={"boxes": [1, 2]})
    ledger.record(first)
    sql("""UPDATE sightloop.requests
           SET state = 'rejected', reviewed_at = now(), reviewed_by = 'olga'""")

    assert ledger.record(first).change == "same"
    assert ledger.of_user("ann")[0].reviewed_by == "olga"

    other = request_of("ann", prediction_id=first.prediction_id, detail={"boxes": [3]})
    assert ledger.record(other).change == "updated"
    assert [held.reviewed_by for held in ledger.to_review()] == [None]


@pytest.mark.parametrize("state, decision", [("accepted", "accept"), ("rejected", "reject")])
def test_a_review_is_written_down(
    ledger: Ledger, request_of: Make, state: Any, decision: str
) -> None:
    waiting = ledger.record(request_of("ann")).request_id
    [seen] = ledger.to_review()
    reviewed = ledger.review(waiting, seen.updated_at, state, "olga", "looked at it")

    assert (reviewed.state, reviewed.reviewed_by) == (state, "olga")
    assert ledger.to_review() == []
    [taken] = ledger.decisions("ann")
    assert (taken.decision, taken.decided_by, taken.why) == (decision, "olga", "looked at it")
    assert (taken.request_id, taken.decided_at) == (waiting, reviewed.reviewed_at)


def test_a_review_said_twice_is_one_decision_and_another_is_another(
    ledger: Ledger, request_of: Make
) -> None:
    waiting = ledger.record(request_of("ann")).request_id
    [seen] = ledger.to_review()
    for state in ("accepted", "accepted", "rejected"):
        ledger.review(waiting, seen.updated_at, state, "olga", "test")  # type: ignore[arg-type]

    assert [made.decision for made in ledger.decisions("ann")] == ["accept", "reject"]


def test_what_was_sent_anew_is_not_accepted_unseen(ledger: Ledger, request_of: Make) -> None:
    first = request_of("ann")
    waiting = ledger.record(first).request_id
    [seen] = ledger.to_review()
    ledger.record(request_of("ann", prediction_id=first.prediction_id, detail={"other": 1}))

    with pytest.raises(Conflict, match="look at it again"):
        ledger.review(waiting, seen.updated_at, "accepted", "olga", "test")
    assert ledger.decisions("ann") == []
    with pytest.raises(NotFound):
        ledger.review(waiting + 1, seen.updated_at, "accepted", "olga", "test")


def test_twenty_operators_at_once_leave_one_word_each(
    ledger: Ledger, request_of: Make, at_once: Callable[..., list[Any]]
) -> None:
    waiting = ledger.record(request_of("ann")).request_id
    [seen] = ledger.to_review()

    def review(each: Ledger, number: int) -> None:
        state: Any = "accepted" if number % 2 else "rejected"
        each.review(waiting, seen.updated_at, state, f"operator{number}", "test")

    at_once(review, list(range(60)))

    taken = ledger.decisions("ann")
    assert len({made.decided_by for made in taken}) == len(taken) == 60
    [now] = ledger.of_user("ann")
    assert (now.reviewed_by, now.reviewed_at) == (taken[-1].decided_by, taken[-1].decided_at)


@pytest.mark.parametrize("text", ["\\u0000", "c:\\users", "ü\u2028", '"', "😀"])
def test_any_text_comes_back_as_it_was(ledger: Ledger, request_of: Make, text: str) -> None:
    ledger.record(request_of("ann", detail={"name": text}))

    assert ledger.of_user("ann")[0].detail == {"name": text}


def test_different_people_may_answer_for_one_prediction(ledger: Ledger, request_of: Make) -> None:
    prediction = str(uuid.uuid4())
    for user in ("bob", "ann"):
        assert ledger.record(request_of(user, prediction_id=prediction)).change == "new"

    assert [held.user_address for held in ledger.of_prediction(prediction)] == ["ann", "bob"]


def test_the_eleventh_suspicious_request_bans(ledger: Ledger, request_of: Make) -> None:
    for _ in range(10):
        assert ledger.record(request_of()).banned_since is None
    assert not ledger.is_banned("vandal")

    outcome = ledger.record(request_of())

    [ban] = ledger.bans()
    assert outcome.banned_since == ban.reported_at
    assert (ban.user_address, ban.reported_by, ban.why) == (
        "vandal",
        "sightloop",
        "11 suspicious requests",
    )
    assert ledger.is_banned("vandal")
    assert not ledger.is_banned("ann")


def test_after_a_ban_no_second_one_is_made(ledger: Ledger, request_of: Make) -> None:
    outcomes = [ledger.record(request_of()) for _ in range(15)]

    assert outcomes[-1].banned_since == outcomes[10].banned_since
    assert [taken.decision for taken in ledger.decisions("vandal")] == ["ban"]


@pytest.mark.parametrize(
    "harmless", [{"score": 0.7}, {"score": 1.0, "predicted_boxes": 0}, {"score": 0.0}]
)
def test_what_is_not_suspicious_never_bans(
    ledger: Ledger, request_of: Make, harmless: dict[str, Any]
) -> None:
    for _ in range(30):
        outcome = ledger.record(request_of("ann", **harmless))

    assert (outcome.num_accesses, outcome.suspicious_requests) == (30, 0)
    assert outcome.banned_since is None


def test_a_lifted_ban_takes_eleven_more(ledger: Ledger, request_of: Make) -> None:
    for _ in range(13):
        ledger.record(request_of())
    assert ledger.lift("vandal", "olga", "shared address")
    assert not ledger.is_banned("vandal")

    outcomes = [ledger.record(request_of()) for _ in range(11)]

    assert [outcome.banned_since is not None for outcome in outcomes] == [False] * 10 + [True]
    assert outcomes[-1].suspicious_requests == 24
    taken = [(made.decision, made.decided_by, made.why) for made in ledger.decisions("vandal")]
    assert taken == [
        ("ban", "sightloop", "11 suspicious requests"),
        ("lift", "olga", "shared address"),
        ("ban", "sightloop", "11 suspicious requests"),
    ]


def test_mending_what_was_forgiven_buys_no_more_of_it(ledger: Ledger, request_of: Make) -> None:
    bad = [request_of() for _ in range(11)]
    for request in bad:
        ledger.record(request)
    ledger.lift("vandal", "olga", "promised to mend it")
    for request in bad:
        ledger.record(request_of(prediction_id=request.prediction_id, score=0.0))

    outcomes = [ledger.record(request_of()) for _ in range(11)]

    assert [outcome.banned_since is not None for outcome in outcomes] == [False] * 10 + [True]


def test_an_operator_bans_someone_never_seen(ledger: Ledger) -> None:
    assert ledger.ban("192.0.2.7", "olga", "known from elsewhere")
    assert not ledger.ban("192.0.2.7", "oleg", "once more")

    assert [(ban.user_address, ban.reported_by) for ban in ledger.bans()] == [("192.0.2.7", "olga")]
    standing = ledger.standing("192.0.2.7")
    assert standing
    assert (standing.num_accesses, standing.banned_since is None) == (0, False)


def test_lifting_what_is_not_there_is_not_a_decision(ledger: Ledger) -> None:
    assert not ledger.lift("ann", "olga", "nothing")
    assert ledger.decisions("ann") == []


def test_an_announced_decision_can_be_looked_for(ledger: Ledger) -> None:
    ledger.ban("ann", "olga", "test")
    [made] = ledger.decisions("ann")

    assert ledger.has_decided(made.decision_id)
    assert not ledger.has_decided(made.decision_id + 1)


def test_pages_follow_one_another(ledger: Ledger, request_of: Make) -> None:
    made = [ledger.record(request_of("ann")).request_id for _ in range(5)]

    newest = ledger.of_user("ann", limit=3)
    older = ledger.of_user("ann", before=newest[-1].request_id, limit=3)
    assert [held.request_id for held in newest + older] == made[::-1]
    oldest = ledger.to_review(limit=3)
    newer = ledger.to_review(after=oldest[-1].request_id)
    assert [held.request_id for held in oldest + newer] == made


@pytest.mark.parametrize(
    "wrong",
    [
        {"user": ""},
        {"user": "two words"},
        {"user": "a\tb"},
        {"user": "a\u2028b"},
        {"user": "nul\0"},
        {"user": "x" * 256},
        {"prediction_id": "../secret"},
        {"score": 1.01},
        {"score": -0.01},
        {"score": float("nan")},
        {"predicted_boxes": -1},
        {"submitted_boxes": -1},
        {"submitted_boxes": 2**31},
        {"model": "Not A Name"},
        {"model_version": -1},
        {"detail": {"score": float("nan")}},
        {"detail": {"name": "nul\0"}},
        {"detail": {"boxes": {1, 2}}},
        {"detail": {"name": "half a pair \ud800"}},
        {"user": "half\ud800"},
    ],
)
def test_what_cannot_be_recorded_is_refused(request_of: Make, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        request_of(**wrong)


@pytest.mark.parametrize(
    "by, why", [("", "because"), ("olga", " "), ("ol\0ga", "because"), ("olga", "\udfff")]
)
def test_an_unsigned_decision_is_refused(ledger: Ledger, by: str, why: str) -> None:
    for decide in (ledger.ban, ledger.lift):
        with pytest.raises(InvalidRequest, match="a decision must say"):
            decide("ann", by, why)
    assert ledger.bans() == []


def test_a_database_that_is_away_is_said_to_be(request_of: Make) -> None:
    away = Ledger(Database("postgresql://nobody@127.0.0.1:1/nothing"))

    with pytest.raises(DatabaseUnavailable):
        away.record(request_of())


def test_twenty_at_once_for_one_user_are_counted_exactly_and_banned_once(
    ledger: Ledger, request_of: Make, at_once: Callable[..., list[Any]], sql: Any
) -> None:
    outcomes = at_once(Ledger.record, [request_of(score=0.71) for _ in range(400)])

    assert sorted(outcome.num_accesses for outcome in outcomes) == list(range(1, 401))
    assert sql.counters() == {"vandal": [400, Decimal("284.00"), 400]}
    assert sum(outcome.banned_since is None for outcome in outcomes) == 10
    assert [made.decision for made in ledger.decisions("vandal")] == ["ban"]


def test_twenty_retries_at_once_are_one_request(
    ledger: Ledger, request_of: Make, at_once: Callable[..., list[Any]], sql: Any
) -> None:
    prediction = str(uuid.uuid4())
    tries = [request_of(score=number / 200, prediction_id=prediction) for number in range(200)]
    outcomes = at_once(Ledger.record, tries)

    assert sum(outcome.change == "new" for outcome in outcomes) == 1
    assert len({outcome.request_id for outcome in outcomes}) == 1
    assert sql.counters() == sql.recount()
    assert sql.counters()["vandal"][0] == 1


def test_connections_that_die_lose_and_double_nothing(
    ledger: Ledger, request_of: Make, at_once: Callable[..., list[Any]], sql: Any
) -> None:
    """A caller repeats what was not answered; whether it was done already, nobody knows."""
    unanswered = []

    def insist(each: Ledger, request: Request) -> None:
        try:
            each.record(request)
        except DatabaseUnavailable:
            unanswered.append(request)
            insist(each, request)

    killed = 0
    with ThreadPoolExecutor(1) as beside:
        work = beside.submit(at_once, insist, [request_of() for _ in range(400)])
        while not work.done():
            killed += len(sql(KILL_ONE))
        work.result()

    assert 0 < len(unanswered) <= killed
    assert sql.counters() == sql.recount() == {"vandal": [400, Decimal(360), 400]}
    assert [made.decision for made in ledger.decisions("vandal")] == ["ban"]


def test_bans_and_liftings_at_once_alternate(
    ledger: Ledger, at_once: Callable[..., list[Any]]
) -> None:
    def decide(each: Ledger, number: int) -> int:
        if number % 3:
            return each.ban("ann", "olga", "test")
        return -each.lift("ann", "olga", "test")

    changes = at_once(decide, list(range(300)))

    taken = [made.decision for made in ledger.decisions("ann")]
    assert taken == (["ban", "lift"] * len(taken))[: len(taken)]
    assert sum(changes) == ledger.is_banned("ann") == len(taken) % 2
