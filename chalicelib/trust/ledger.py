"""Who sent what, and who is banned: the tables of ``sql/0002_requests.sql``.

The counting and the banning are done by triggers in the database; what is here writes requests
and decisions, and reads. Every call is one short transaction, and safe to repeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from chalicelib.database import Database
from chalicelib.errors import Conflict, InvalidRequest, NotFound
from chalicelib.trust.records import (
    Ban,
    Change,
    Decision,
    Outcome,
    Recorded,
    Request,
    Standing,
    as_json,
    check_address,
    check_id,
    is_address,
    is_storable,
    signature,
)

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

__all__ = ["CHANNEL", "Ban", "Decision", "Ledger", "Outcome", "Recorded", "Request", "Standing"]

CHANNEL = "sightloop_bans"
PAGE = 50
NEWEST = 2**63 - 1

RECORD = """
INSERT INTO requests AS held (prediction_id, user_address, model, model_version, score,
                              predicted_boxes, submitted_boxes, state, detail, waits_for, audit)
VALUES (%(prediction_id)s, %(user_address)s, %(model)s, %(model_version)s, %(score)s,
        %(predicted_boxes)s, %(submitted_boxes)s, %(state)s, %(detail)s, %(waits_for)s, %(audit)s)
ON CONFLICT ON CONSTRAINT requests_once_a_prediction_and_user DO UPDATE SET
    model = excluded.model, model_version = excluded.model_version, score = excluded.score,
    predicted_boxes = excluded.predicted_boxes, submitted_boxes = excluded.submitted_boxes,
    state = excluded.state, detail = excluded.detail, updated_at = now(), reviewed_at = NULL,
    reviewed_by = NULL, waits_for = excluded.waits_for, audit = excluded.audit
WHERE CASE
    WHEN held.detail ? 'submitted' AND excluded.detail ? 'submitted' THEN
        (held.model, held.model_version, held.detail -> 'submitted')
        IS DISTINCT FROM (excluded.model, excluded.model_version, excluded.detail -> 'submitted')
    ELSE (held.model, held.model_version, held.score,
          held.predicted_boxes, held.submitted_boxes, held.detail)
         IS DISTINCT FROM (excluded.model, excluded.model_version, excluded.score,
                           excluded.predicted_boxes, excluded.submitted_boxes, excluded.detail)
    END
RETURNING xmax = 0
"""
OUTCOME = """
SELECT r.request_id, r.state, u.num_accesses, u.suspicious_requests, b.reported_at, r.waits_for
FROM requests r JOIN users u USING (user_address) LEFT JOIN bans b USING (user_address)
WHERE r.prediction_id = %(prediction_id)s AND r.user_address = %(user_address)s
"""
COLUMNS = """
SELECT request_id, prediction_id, user_address, model, model_version, score, predicted_boxes,
       submitted_boxes, counted, state, detail, created_at, updated_at, reviewed_at, reviewed_by,
       waits_for FROM requests
"""
BY_USER = f"""{COLUMNS} WHERE user_address = %(user_address)s AND request_id < %(before)s
ORDER BY request_id DESC LIMIT %(limit)s"""
TO_REVIEW = f"""{COLUMNS} WHERE state = 'quarantined' AND reviewed_at IS NULL
AND request_id > %(after)s ORDER BY request_id LIMIT %(limit)s"""
BY_PREDICTION = f"""{COLUMNS} WHERE prediction_id = %(prediction_id)s ORDER BY user_address"""
STANDING = """
SELECT u.user_address, u.num_accesses, u.total_score, u.suspicious_requests, u.forgiven_requests,
       b.reported_at
FROM users u LEFT JOIN bans b USING (user_address)
"""
ONE_STANDING = f"{STANDING} WHERE u.user_address = %(user_address)s"
BANNED_SINCE = "SELECT reported_at FROM bans WHERE user_address = %(user_address)s"
BANS = "SELECT user_address, reported_at, reported_by, why FROM bans ORDER BY user_address"
SOME_BANS = """
SELECT user_address, reported_at, reported_by, why FROM bans
WHERE user_address > %(after)s ORDER BY user_address LIMIT %(limit)s
"""
ONE_BAN = """
SELECT user_address, reported_at, reported_by, why FROM bans WHERE user_address = %(user_address)s
"""
KNOW_USER = "INSERT INTO users (user_address) VALUES (%(user_address)s) ON CONFLICT DO NOTHING"
LOCK_USER = "SELECT FROM users WHERE user_address = %(user_address)s FOR NO KEY UPDATE"
BAN = """
INSERT INTO bans (user_address, reported_by, why) VALUES (%(user_address)s, %(by)s, %(why)s)
ON CONFLICT DO NOTHING
"""
SIGN = """
SELECT set_config('sightloop.decided_by', %(by)s, true), set_config('sightloop.why', %(why)s, true)
"""
REVIEW = """
UPDATE requests SET state = %(state)s, reviewed_at = clock_timestamp(), reviewed_by = %(by)s
WHERE request_id = %(request_id)s AND updated_at = %(seen)s AND state <> 'deleted'
  AND (state, reviewed_by) IS DISTINCT FROM (%(state)s, %(by)s)
"""
UNREVIEWED = """
SELECT request_id FROM requests
WHERE user_address = %(user_address)s AND state = 'accepted'
  AND (reviewed_at IS NULL OR reviewed_by = 'sightloop')
"""
DOUBT = """
UPDATE requests SET state = 'quarantined', waits_for = %(waits_for)s,
    detail = detail || jsonb_build_object(
    'reasons', coalesce(detail -> 'reasons', '[]') || jsonb_build_array(%(reason)s::jsonb),
    'verdict', 'quarantine')
WHERE request_id IN (
    SELECT request_id FROM requests
    WHERE user_address = %(user_address)s AND state = 'accepted' AND reviewed_at IS NULL
      AND NOT coalesce((detail ->> 'control')::boolean, false)
    ORDER BY request_id FOR NO KEY UPDATE)
RETURNING request_id
"""
ONE_REQUEST = f"{COLUMNS} WHERE request_id = %(request_id)s"
LIFT = "DELETE FROM bans WHERE user_address = %(user_address)s"
DECISIONS = """
SELECT decision_id, user_address, decision, decided_by, why, decided_at, request_id FROM decisions
WHERE user_address = %(user_address)s ORDER BY decision_id
"""
DECISION = """
SELECT decision_id, user_address, decision, decided_by, why, decided_at, request_id FROM decisions
"""
LATEST = f"{DECISION} WHERE decision_id < %(before)s ORDER BY decision_id DESC LIMIT %(limit)s"
LATEST_OF_USER = f"""{DECISION} WHERE user_address = %(user_address)s AND decision_id < %(before)s
ORDER BY decision_id DESC LIMIT %(limit)s"""
HAS_DECIDED = "SELECT EXISTS (SELECT FROM decisions WHERE decision_id = %(decision_id)s)"


class Ledger:
    """Requests, users and bans.

    All methods raise ``DatabaseUnavailable`` where the database does not answer, or had to choose
    between two transactions: the same call may succeed later.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, request: Request) -> Outcome:
        """Write a request down, or write over what the same user said of the same prediction.

        Where its detail says which boxes were ``submitted``, the same boxes again change nothing,
        whatever else is thought of them by now.
        """
        with self._database.transaction() as rows:
            return self.record_in(rows, request)

    def record_in(self, rows: cursor, request: Request) -> Outcome:
        """Do the same in the caller's transaction; the user stays locked until it ends."""
        given = {**vars(request), "detail": as_json(request.detail)}
        rows.execute(RECORD, given)
        written = rows.fetchone()
        rows.execute(LOCK_USER, given)
        rows.execute(OUTCOME, given)
        [(request_id, *now)] = rows.fetchall()
        return Outcome(request_id, _change(written), *now)

    def refreshed(self, outcome: Outcome, request: Request) -> Outcome:
        """Return an outcome as it is by now."""
        [(request_id, *now)] = self._all(OUTCOME, **vars(request))
        return Outcome(request_id, outcome.change, *now)

    def banned_since_in(
        self, rows: cursor, user_address: str, *, lock: bool = False
    ) -> datetime | None:
        """Tell in the caller's transaction since when a user is banned; None: they are not.

        Parameters
        ----------
        lock : bool
            Lock the user first, until the transaction ends: nobody records or lifts meanwhile.
        """
        given = {"user_address": user_address}
        if lock:
            rows.execute(LOCK_USER, given)
        rows.execute(BANNED_SINCE, given)
        return next((since for (since,) in rows.fetchall()), None)

    def unreviewed_in(self, rows: cursor, user_address: str) -> list[int]:
        """Return a user's accepted requests that no operator has looked at."""
        rows.execute(UNREVIEWED, {"user_address": user_address})
        return [request_id for (request_id,) in rows.fetchall()]

    def doubt_in(
        self, rows: cursor, user_address: str, reason: Mapping[str, str], waits_for: str
    ) -> list[int]:
        """Have a user's accepted requests wait that nobody has confirmed; return which.

        Answers to controls are left alone: they are no labels.

        Parameters
        ----------
        reason : mapping
            `cause` and `text`, for operators.
        """
        given = {"user_address": user_address, "waits_for": waits_for}
        rows.execute(DOUBT, {**given, "reason": as_json(reason)})
        return [request_id for (request_id,) in rows.fetchall()]

    def get(self, request_id: int) -> Recorded:
        """Return one request.

        Raises
        ------
        NotFound
            There is none.
        """
        found = self._all(ONE_REQUEST, request_id=request_id)
        if not found:
            raise NotFound(f"there is no request {request_id}")
        return Recorded(*found[0])

    def is_banned(self, user_address: str) -> bool:
        """Tell whether a user is banned at this moment."""
        return bool(self._all(BANNED_SINCE, user_address=user_address))

    def bans(self) -> list[Ban]:
        """Return the bans in force, sorted by address."""
        return [Ban(*row) for row in self._all(BANS)]

    def some_bans(self, after: str = "", limit: int = PAGE) -> list[Ban]:
        """Return a page of the bans in force, sorted by address, with addresses above ``after``.

        Raises
        ------
        InvalidRequest
            ``after`` cannot be part of an address.
        """
        if not is_storable(after):
            raise InvalidRequest(f"no address begins like {after!r}")
        return [Ban(*row) for row in self._all(SOME_BANS, after=after, limit=limit)]

    def ban_of(self, user_address: str) -> Ban | None:
        """Return the ban of a user, ``None`` where they are not banned."""
        if not is_address(user_address):
            return None
        return next((Ban(*row) for row in self._all(ONE_BAN, user_address=user_address)), None)

    def ban(self, user_address: str, by: str, why: str) -> bool:
        """Ban a user, whether seen before or not; tell whether they were not banned yet.

        Raises
        ------
        InvalidRequest
            It does not say who or why, or the address cannot be one.
        """
        given = _signed(user_address, by, why)
        with self._database.transaction() as rows:
            rows.execute(KNOW_USER, given)
            rows.execute(BAN, given)
            return bool(rows.rowcount)

    def lift(self, user_address: str, by: str, why: str) -> bool:
        """Lift a user's ban and forgive what led to it; tell whether there was one.

        The next ban takes eleven more suspicious requests.

        Raises
        ------
        InvalidRequest
            It does not say who or why, or the address cannot be one.
        """
        given = _signed(user_address, by, why)
        with self._database.transaction() as rows:
            rows.execute(LOCK_USER, given)
            if not rows.rowcount:  # nothing is locked, and a ban of this moment is not to be lifted
                return False
            rows.execute(f"{SIGN}; {LIFT}", given)
            return bool(rows.rowcount)

    def review(
        self,
        request_id: int,
        seen: datetime,
        state: Literal["accepted", "rejected"],
        by: str,
        why: str,
    ) -> Recorded:
        """Accept or reject a request, as it was when the operator looked at it.

        A suspicious answer that is accepted no longer counts towards a ban; suspicious answers
        that it replaced still do.

        Parameters
        ----------
        seen : datetime
            The ``updated_at`` of what the operator looked at.

        Raises
        ------
        Conflict
            Its user has sent something else since then.
        NotFound
            There is no such request.
        InvalidRequest
            It does not say who or why.
        """
        with self._database.transaction() as rows:
            return self.review_in(rows, request_id, seen, state, by, why)

    def review_in(
        self,
        rows: cursor,
        request_id: int,
        seen: datetime,
        state: Literal["accepted", "rejected"],
        by: str,
        why: str,
    ) -> Recorded:
        """Do the same in the caller's transaction."""
        given = {"request_id": request_id, "seen": seen, "state": state, **signature(by, why)}
        rows.execute(SIGN, given)
        rows.execute(REVIEW, given)
        rows.execute(ONE_REQUEST, given)
        found = [Recorded(*row) for row in rows.fetchall()]
        if not found:
            raise NotFound(f"there is no request {request_id}")
        if found[0].updated_at != seen:
            raise Conflict(f"request {request_id} was sent anew after {seen}: look at it again")
        return found[0]

    def decisions(self, user_address: str) -> list[Decision]:
        """Return what operators and the counters decided about a user, oldest first."""
        return [Decision(*row) for row in self._all(DECISIONS, user_address=user_address)]

    def latest_decisions(
        self, user_address: str | None = None, before: int = NEWEST, limit: int = PAGE
    ) -> list[Decision]:
        """Return a page of decisions, newest first, with ids below ``before``.

        Parameters
        ----------
        user_address : str, optional
            Whom they concern; none: anybody.
        """
        page = {"user_address": user_address, "before": before, "limit": limit}
        query = LATEST if user_address is None else LATEST_OF_USER
        return [Decision(*row) for row in self._all(query, **page)]

    def has_decided(self, decision_id: int) -> bool:
        """Tell whether an announced decision can be seen yet.

        An announcement can be quicker than its transaction; with the decision all of that is seen.
        """
        return bool(self._all(HAS_DECIDED, decision_id=decision_id)[0][0])

    def standing(self, user_address: str) -> Standing | None:
        """Return a user's counters; ``None`` where nothing is known of them."""
        return next(
            (Standing(*row) for row in self._all(ONE_STANDING, user_address=user_address)), None
        )

    def of_user(self, user_address: str, before: int = NEWEST, limit: int = PAGE) -> list[Recorded]:
        """Return a page of a user's requests, newest first, with ids below ``before``."""
        page = {"user_address": user_address, "before": before, "limit": limit}
        return [Recorded(*row) for row in self._all(BY_USER, **page)]

    def to_review(self, after: int = 0, limit: int = PAGE) -> list[Recorded]:
        """Return a page of quarantined requests that nobody reviewed, oldest first."""
        return [Recorded(*row) for row in self._all(TO_REVIEW, after=after, limit=limit)]

    def of_prediction(self, prediction_id: str) -> list[Recorded]:
        """Return what users said of a prediction.

        Raises
        ------
        InvalidRequest
            The id is no UUID.
        """
        check_id(prediction_id)
        return [Recorded(*row) for row in self._all(BY_PREDICTION, prediction_id=prediction_id)]

    def _all(self, query: str, **given: object) -> list[tuple[Any, ...]]:
        with self._database.transaction() as rows:
            rows.execute(query, given)
            return list(rows.fetchall())


def _change(written: tuple[Any, ...] | None) -> Change:
    """Read what RECORD returns: nothing where nothing changed, else whether the row is new."""
    if written is None:
        return "same"
    return "new" if written[0] else "updated"


def _signed(user_address: str, by: str, why: str) -> dict[str, str]:
    check_address(user_address)
    return {"user_address": user_address, **signature(by, why)}
