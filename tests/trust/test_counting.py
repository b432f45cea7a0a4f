"""What was suspicious stays counted, whatever its contributor does afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.trust import is_suspicious
from chalicelib.trust.ledger import Ledger, Request
from deploy import migrate

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Make = Callable[..., Request]
BANNED_AT = 11


def suspicious(ledger: Ledger, user: str = "vandal") -> int:
    standing = ledger.standing(user)
    return standing.suspicious_requests if standing else 0


def test_thirty_suspicious_answers_that_are_replaced_still_ban(
    ledger: Ledger, request_of: Make
) -> None:
    outcomes = []
    for _ in range(30):
        bad = request_of()
        outcomes.append(ledger.record(bad))
        harmless = request_of(prediction_id=bad.prediction_id, score=0.0, state="accepted")
        assert ledger.record(harmless).change == "updated"

    banned = [outcome.banned_since is not None for outcome in outcomes]
    assert banned == [False] * (BANNED_AT - 1) + [True] * 20
    assert all(request.suspicious for request in ledger.of_user("vandal"))


def test_accepting_a_suspicious_answer_forgives_it(ledger: Ledger, request_of: Make) -> None:
    ledger.record(request_of())
    [seen] = ledger.to_review()

    accepted = ledger.review(seen.request_id, seen.updated_at, "accepted", "olga", "right")
    assert (accepted.suspicious, suspicious(ledger)) == (False, 0)

    ledger.review(seen.request_id, seen.updated_at, "rejected", "olga", "not right after all")
    assert suspicious(ledger) == 1


def test_accepting_what_replaced_it_does_not_forgive_it(ledger: Ledger, request_of: Make) -> None:
    bad = request_of()
    ledger.record(bad)
    ledger.record(request_of(prediction_id=bad.prediction_id, score=0.0))
    [seen] = ledger.to_review()

    ledger.review(seen.request_id, seen.updated_at, "accepted", "olga", "right")

    assert suspicious(ledger) == 1


def test_what_follows_a_forgiven_answer_counts_by_itself(ledger: Ledger, request_of: Make) -> None:
    bad = request_of()
    ledger.record(bad)
    [seen] = ledger.to_review()
    ledger.review(seen.request_id, seen.updated_at, "accepted", "olga", "right")

    def again(score: float) -> None:
        ledger.record(
            request_of(prediction_id=bad.prediction_id, score=score, detail={"score": score})
        )

    again(0.1)
    assert suspicious(ledger) == 0
    again(0.8)
    assert suspicious(ledger) == 1
    again(0.2)
    assert suspicious(ledger) == 1


def test_several_predictions_of_one_image_count_each(ledger: Ledger, request_of: Make) -> None:
    image = {"image": {"sha256": "a" * 64}}
    ledger.record(request_of(detail=image))
    ledger.record(request_of(detail=image, score=0.0, state="accepted"))

    assert suspicious(ledger) == 1


def test_a_database_from_before_is_counted_anew(sql: Any, ledger: Ledger, request_of: Make) -> None:
    ledger.record(request_of())
    ledger.record(request_of())
    sql("UPDATE sightloop.users SET suspicious_requests = 1")
    [migration] = [each for each in migrate.read() if each.number == 22]
    sql(migration.sql.replace("%", "%%"), none=None)

    assert suspicious(ledger) == 2


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["answer", "answer", "answer", "delete", "accept", "reject"]),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.5, 0.7, 0.71, 0.9, 1.0]),
        st.integers(0, 1),
    ),
    max_size=25,
)


@dataclass
class Model:
    """What has to be counted, kept without a database."""

    current: dict[str, bool] = field(default_factory=dict)  # the newest answer counts by itself
    replaced: dict[str, bool] = field(default_factory=dict)  # an answer before it counts
    deleted: int = 0

    def answer(self, prediction: str, counts: bool) -> None:
        before = self.replaced.get(prediction, False) or self.current.get(prediction, False)
        self.replaced[prediction], self.current[prediction] = before, counts

    def delete(self, prediction: str) -> None:
        counted = self.current.pop(prediction, False)
        self.deleted += self.replaced.pop(prediction, False) or counted

    @property
    def count(self) -> int:
        both = (self.replaced[each] or counts for each, counts in self.current.items())
        return self.deleted + sum(both)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=ACTIONS)
def test_nothing_that_a_contributor_does_lowers_the_count(
    sql: Any, ledger: Ledger, request_of: Make, actions: list[tuple[str, int, float, int]]
) -> None:
    """An operator's acceptance is the only step after which the count may be lower."""
    sql("DELETE FROM sightloop.bans")
    sql("TRUNCATE sightloop.requests")
    predictions, model = [str(uuid.uuid4()) for _ in range(4)], Model()
    for number, (action, index, score, boxes) in enumerate(actions):
        prediction, before = predictions[index], suspicious(ledger)
        if action == "answer":
            detail = {"submitted": number}
            known = {"prediction_id": prediction, "score": score, "predicted_boxes": boxes}
            ledger.record(request_of(**known, detail=detail))
            model.answer(prediction, is_suspicious(score, boxes))
        elif action == "delete":
            sql(f"DELETE FROM sightloop.requests WHERE prediction_id = '{prediction}'")
            model.delete(prediction)
        elif prediction in model.current:
            [held] = ledger.of_prediction(prediction)
            state: Any = "accepted" if action == "accept" else "rejected"
            ledger.review(held.request_id, held.updated_at, state, "olga", "why")
            counts = is_suspicious(held.score, held.predicted_boxes)
            model.current[prediction] = counts and action == "reject"

        assert suspicious(ledger) == model.count
        assert sql.counters() == sql.recount()
        assert action == "accept" or model.count >= before
