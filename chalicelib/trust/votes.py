"""What everybody says of one image, and deciding about it, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib.callers import is_member
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.grading import agreement
from chalicelib.trust.ledger import ONE_REQUEST
from chalicelib.trust.opinions import AGREES, boxes_of
from chalicelib.trust.pairing import most_matched
from chalicelib.trust.policy import Rank, Voice, WaitsFor
from chalicelib.trust.records import BY_AGREEMENT, Recorded, as_json
from chalicelib.trust.standing import FALLEN_AFTER, LEAST_AUDITS, MOST_LOST, TrustStanding
from chalicelib.trust.task_book import AUDITS_OF_USER

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

MOST_ANSWERS = 200  # on one image that are looked at; those that were asked for come first

# Whoever decides about an image, or answers about it, takes this lock first.
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('quarantine ' || %s, 0))"
ANSWERS = f"""
SELECT r.request_id, r.user_address, r.state, r.reviewed_at IS NOT NULL, r.reviewed_by,
       r.waits_for, r.suspicious, r.detail -> 'submitted',
       t.prediction_id IS NOT NULL AND t.user_address = r.user_address AS asked
FROM requests r LEFT JOIN tasks t USING (prediction_id)
WHERE r.image_sha256 = %(image_sha256)s AND r.model = %(model)s
  AND t.kind IS DISTINCT FROM 'control'
  AND NOT EXISTS (SELECT FROM bans b WHERE b.user_address = r.user_address)
ORDER BY asked DESC, r.request_id LIMIT {MOST_ANSWERS}
"""
SIGN = "SELECT set_config('sightloop.why', %(why)s, true)"
DECIDE = """
UPDATE requests SET state = %(state)s, reviewed_at = clock_timestamp(), reviewed_by = %(by)s,
       waits_for = NULL
WHERE request_id IN (SELECT request_id FROM requests WHERE request_id = ANY(%(requests)s)
                     ORDER BY request_id FOR NO KEY UPDATE)
"""
RELEASE = """
UPDATE requests SET state = 'accepted', waits_for = NULL, audit = %(audit)s
WHERE request_id = %(request_id)s AND state = 'quarantined' AND reviewed_at IS NULL
  AND waits_for = 'proof'
"""
PUT_OFF = """
UPDATE requests SET waits_for = %(waits_for)s, detail = detail || jsonb_build_object(
    'reasons', coalesce(detail -> 'reasons', '[]') || jsonb_build_array(%(reason)s::jsonb))
WHERE request_id = ANY(%(requests)s) AND state = 'quarantined' AND reviewed_at IS NULL
  AND waits_for IS DISTINCT FROM %(waits_for)s
"""
AGREED_WITH = f"""
SELECT model, image_sha256 FROM requests
WHERE user_address = %(user_address)s AND state = 'accepted' AND reviewed_by = '{BY_AGREEMENT}'
  AND image_sha256 IS NOT NULL
ORDER BY random() LIMIT %(limit)s
"""
REOPEN = f"""
UPDATE requests SET state = 'quarantined', waits_for = 'opinions', reviewed_at = NULL,
       reviewed_by = NULL
WHERE request_id IN (SELECT request_id FROM requests
                     WHERE request_id = ANY(%(requests)s) AND reviewed_by = '{BY_AGREEMENT}'
                     ORDER BY request_id FOR NO KEY UPDATE)
"""
UNPROVEN = """
SELECT request_id FROM requests
WHERE user_address = %(user_address)s AND state = 'quarantined' AND reviewed_at IS NULL
  AND waits_for = 'proof'
ORDER BY request_id LIMIT %(limit)s
"""
UNCONFIRMED = """
SELECT count(*) FROM (
    SELECT state, reviewed_at FROM requests WHERE user_address = %(user_address)s
    ORDER BY request_id DESC LIMIT 100) newest
WHERE state = 'accepted' AND reviewed_at IS NULL
"""
# In any order, so that images that stay undecided never keep others from being looked at.
UNDECIDED_OF = """
SELECT model, image_sha256 FROM (
    SELECT DISTINCT t.model, t.image_sha256
    FROM tasks t JOIN requests r ON r.image_sha256 = t.image_sha256 AND r.model = t.model
    WHERE t.user_address = %(user_address)s AND t.kind = 'second_opinion'
      AND t.answered_at IS NOT NULL AND r.state = 'quarantined' AND r.reviewed_at IS NULL) images
ORDER BY random() LIMIT %(limit)s
"""
UNDECIDED = """
SELECT model, image_sha256 FROM (
    SELECT DISTINCT t.model, t.image_sha256
    FROM tasks t JOIN requests r ON r.image_sha256 = t.image_sha256 AND r.model = t.model
    WHERE t.kind = 'second_opinion' AND t.answered_at IS NOT NULL
      AND r.state = 'quarantined' AND r.reviewed_at IS NULL) images
ORDER BY random() LIMIT %(limit)s
"""
# Those who may be established by now and have something to release, and those who lost too many
# audits and have something that counts all the same.
UNFOLLOWED = f"""
WITH fallen AS MATERIALIZED (
    SELECT u.user_address FROM users u CROSS JOIN LATERAL ({AUDITS_OF_USER}) a
    WHERE a.decided >= {FALLEN_AFTER} AND a.lost > a.decided * {MOST_LOST})
SELECT user_address FROM (
    SELECT u.user_address
    FROM (SELECT DISTINCT user_address FROM requests
          WHERE state = 'quarantined' AND reviewed_at IS NULL AND waits_for = 'proof') u
    CROSS JOIN LATERAL ({AUDITS_OF_USER}) a
    WHERE a.decided >= {LEAST_AUDITS}
    UNION
    SELECT f.user_address FROM fallen f CROSS JOIN LATERAL (
        SELECT FROM requests r
        WHERE r.user_address = f.user_address AND r.state = 'accepted'
          AND (r.reviewed_at IS NULL OR r.reviewed_by = '{BY_AGREEMENT}')
        LIMIT 1) r) users
ORDER BY random() LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Said:
    """What one person said of an image; ``was_asked``: because we asked."""

    request_id: int
    user_address: str
    state: str
    is_reviewed: bool
    reviewed_by: str | None
    waits_for: str | None
    suspicious: bool
    boxes: ClassedBoxes
    was_asked: bool

    @property
    def waits(self) -> bool:
        """Whether it is undecided."""
        return self.state == "quarantined" and not self.is_reviewed

    @property
    def is_of_an_operator(self) -> bool:
        """Whether an operator decided about it."""
        return self.is_reviewed and self.reviewed_by != BY_AGREEMENT


def lock_image(rows: cursor, image_sha256: str) -> None:
    """Let nobody else answer about an image, or decide about it, until the transaction ends."""
    rows.execute(LOCK, (image_sha256,))


def recorded_in(rows: cursor, request_id: int) -> Recorded:
    """Return a request as it is in the caller's transaction."""
    return Recorded(*_all(rows, ONE_REQUEST, request_id=request_id)[0])


def said_in(rows: cursor, model: str, image_sha256: str) -> list[Said]:
    """Return what was said of an image, oldest first; controls and banned people left out."""
    rows.execute(ANSWERS, {"model": model, "image_sha256": image_sha256})
    answers = []
    for row in rows.fetchall():
        request_id, user, state, reviewed, by, waits_for, suspicious, boxes, asked = row
        known = (request_id, user, state, reviewed, by, waits_for, suspicious)
        answers.append(Said(*known, boxes_of(boxes or []), asked))
    return sorted(answers, key=lambda answer: answer.request_id)


def voices_of(
    said: Iterable[Said], ranks: Mapping[str, Rank], standings: Mapping[str, TrustStanding]
) -> list[Voice]:
    """Return one voice a person, the newest, oldest first; an operator's rejection silences it."""
    newest = {
        each.user_address: each
        for each in said
        if not (each.state == "rejected" and each.is_of_an_operator)
    }
    counts = {user: _may_vote(user, ranks[user], standings[user]) for user in newest}
    return [
        Voice(
            each.request_id,
            votes=each.was_asked and counts[user],
            vouches=not each.suspicious and counts[user],
        )
        for user, each in sorted(newest.items(), key=lambda pair: pair[1].request_id)
    ]


def _may_vote(user: str, rank: Rank, standing: TrustStanding) -> bool:
    """Return whether somebody's word counts, as a vote or for their own image.

    One lost answer silences those who have few: colluders lose their first lies.
    """
    proven = standing.is_proven or rank >= Rank.KNOWN
    return is_member(user) and rank > Rank.DISTRUSTED and proven and not standing.audits.are_poor


def says_the_same(one: ClassedBoxes, other: ClassedBoxes) -> bool:
    """Return whether two answers, in the same units, agree closely enough to be one."""
    boxes, matched = len(one) + len(other), most_matched(one, other)
    if boxes and matched / (boxes - matched) < AGREES:  # whatever overlaps
        return False
    return agreement(one, other).share >= AGREES


class Comparisons:
    """Says which answers on an image say the same, and compares each two distinct ones once.

    Parameters
    ----------
    same : callable, optional
        Compares two.
    """

    def __init__(self, same: Callable[[ClassedBoxes, ClassedBoxes], bool] = says_the_same) -> None:
        self._same = same
        self._known: dict[tuple[bytes, bytes], bool] = {}

    def same(self, one: ClassedBoxes, other: ClassedBoxes) -> bool:
        """Return whether two answers, in the same units, say the same."""
        pair = (one.digest, other.digest)
        if pair not in self._known:
            self._known[pair] = self._same(one, other)
        return self._known[pair]


def decide_in(rows: cursor, requests: Iterable[int], state: str, by: str, why: str) -> None:
    """Accept or reject requests on an image that is locked, and write that down."""
    given = {"requests": sorted(requests), "state": state, "by": by, "why": why}
    if given["requests"]:
        rows.execute(SIGN, given)
        rows.execute(DECIDE, given)


def agreed_with(rows: cursor, user: str, limit: int) -> list[tuple[str, str]]:
    """Return models and images that people agreed on with a user, drawn at random."""
    return _all(rows, AGREED_WITH, user_address=user, limit=limit)


def reopen_in(rows: cursor, requests: Iterable[int]) -> None:
    """Have requests wait for opinions again that people had agreed or disagreed on."""
    rows.execute(REOPEN, {"requests": sorted(requests)})


def release_in(rows: cursor, request_id: int, *, audit: bool) -> bool:
    """Accept a request that waits for its sender to be established; return whether it did."""
    rows.execute(RELEASE, {"request_id": request_id, "audit": audit})
    return bool(rows.rowcount)


def put_off_in(
    rows: cursor, requests: Sequence[int], waits_for: WaitsFor, reason: Mapping[str, str]
) -> None:
    """Let waiting requests wait for something else, and say why."""
    given = {"requests": list(requests), "waits_for": waits_for, "reason": as_json(reason)}
    if requests:
        rows.execute(PUT_OFF, given)


def unproven_in(rows: cursor, user_address: str, limit: int) -> list[int]:
    """Return a user's requests that wait until they are established, oldest first."""
    rows.execute(UNPROVEN, {"user_address": user_address, "limit": limit})
    return [request_id for (request_id,) in rows.fetchall()]


def unconfirmed_in(rows: cursor, user_address: str) -> int:
    """Return how many of a user's newest answers count and were confirmed by nobody."""
    return int(_all(rows, UNCONFIRMED, user_address=user_address)[0][0])


def undecided_of(rows: cursor, user_address: str, limit: int) -> list[tuple[str, str]]:
    """Return images, by model and sha256, that wait and that a user gave an opinion about."""
    return [(m, i) for m, i in _all(rows, UNDECIDED_OF, user_address=user_address, limit=limit)]


def undecided(rows: cursor, limit: int) -> list[tuple[str, str]]:
    """Return images, by model and sha256, that wait and that anybody gave an opinion about."""
    return [(model, image) for model, image in _all(rows, UNDECIDED, limit=limit)]


def unfollowed(rows: cursor, limit: int) -> list[str]:
    """Return users with answers that may have to be released or taken back, for their audits."""
    return [user for (user,) in _all(rows, UNFOLLOWED, limit=limit)]


def _all(rows: cursor, query: str, **given: object) -> list[tuple[Any, ...]]:
    rows.execute(query, given)
    return list(rows.fetchall())
