"""The order in which an operator looks at what waits: first what one decision frees most of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from chalicelib.database import Database
from chalicelib.errors import InvalidRequest
from chalicelib.trust.ledger import COLUMNS, Ledger
from chalicelib.trust.policy import MOST_UNANSWERED
from chalicelib.trust.records import Recorded, of_member
from chalicelib.trust.standing import (
    LEAST_AUDITS,
    MOST_LOST,
    PROVEN_ACCURACY,
    PROVEN_CONTROLS,
)
from chalicelib.trust.task_book import AUDITS_OF_USER, OPEN_DAYS

# The oldest that wait are put into order, so many of members and as many of others: nobody without
# a token can fill the places of those who have one. The rest follow as these are decided.
WINDOW = 10_000
PLACE = re.compile(r"([0-9]{1,9}(?:\.[0-9])?):([01]):([0-9]{1,18})")
NUMBER = re.compile(r"[0-9]{1,18}")

# An operator's decision settles what members whom we asked said of the same image; what others sent
# about it by themselves waits on. Each of a sender's decided answers brings them nearer to being
# established, if nothing else stands in the way: controls, lost answers, open tasks, a ban.
MEMBER = of_member("user_address")
WAITING = f"""
SELECT request_id, model, image_sha256, user_address, waits_for, prediction_id,
       {MEMBER} AS member
FROM requests WHERE state = 'quarantined' AND reviewed_at IS NULL
"""
OLDEST = f"""
({WAITING} AND {MEMBER} ORDER BY request_id LIMIT {WINDOW})
UNION ALL
({WAITING} AND {MEMBER} IS FALSE ORDER BY request_id LIMIT {WINDOW})
"""
RELATED = f"{WAITING} AND (image_sha256 = ANY(%(images)s) OR user_address = ANY(%(users)s))"
FREES = f"""
WITH waiting AS MATERIALIZED ({{waiting}}),
asked AS MATERIALIZED (
    SELECT w.request_id, w.model, w.image_sha256 FROM waiting w
    WHERE w.member AND EXISTS (
        SELECT FROM tasks t
        WHERE t.prediction_id = w.prediction_id AND t.user_address = w.user_address)),
images AS MATERIALIZED (
    SELECT model, image_sha256, count(*) AS asked FROM asked GROUP BY model, image_sha256),
senders AS MATERIALIZED (
    SELECT user_address, count(*) AS unproven FROM waiting
    WHERE waits_for = 'proof' AND member GROUP BY user_address),
nearer AS MATERIALIZED (
    SELECT u.user_address, u.unproven, {LEAST_AUDITS} - d.decided AS missing
    FROM senders u JOIN control_standings c USING (user_address)
    CROSS JOIN LATERAL ({AUDITS_OF_USER}) d
    WHERE c.controls >= {PROVEN_CONTROLS} AND c.accuracy >= {PROVEN_ACCURACY}
      AND d.decided < {LEAST_AUDITS} AND d.lost <= d.decided * {MOST_LOST}::numeric
      AND NOT EXISTS (SELECT FROM bans b WHERE b.user_address = u.user_address)
      AND (SELECT count(*) FROM tasks t
           WHERE t.user_address = u.user_address AND t.answered_at IS NULL
             AND t.created_at > now() - interval '{OPEN_DAYS} days') < {MOST_UNANSWERED}),
ranked AS (
    SELECT w.request_id, w.member::int AS member, round(1
           + coalesce(i.asked - (a.request_id IS NOT NULL)::int, 0)
           + coalesce((n.unproven - (w.waits_for IS NOT DISTINCT FROM 'proof')::int)::numeric
                      / n.missing, 0), 1) AS frees
    FROM waiting w LEFT JOIN images i USING (model, image_sha256)
         LEFT JOIN asked a USING (request_id)
         LEFT JOIN nearer n USING (user_address))
SELECT request_id, frees, member FROM ranked
"""
# First what frees most; of equals members' answers, then the oldest.
ORDER = "frees DESC, member DESC, request_id"
OF_SOME = f"{FREES.format(waiting=RELATED)} WHERE request_id = ANY(%(requests)s)"
MOST_FIRST = f"{FREES.format(waiting=OLDEST)} ORDER BY {ORDER} LIMIT %(limit)s"
MOST_AFTER = f"""{FREES.format(waiting=OLDEST)}
WHERE (-frees, -member, request_id) > (-%(frees)s, -%(member)s, %(request_id)s)
ORDER BY {ORDER} LIMIT %(limit)s"""
SOME = f"{COLUMNS} WHERE request_id = ANY(%(requests)s)"


class QueueOrder(StrEnum):
    """In which order an operator is shown what waits."""

    FREES = "frees"
    OLDEST = "oldest"


@dataclass(frozen=True)
class Waiting:
    """A submission that waits.

    Attributes
    ----------
    submission : Recorded
    frees : float
        How many waiting answers one decision settles: itself, those of other members whom we asked
        about the same image, and, where the sender is a member on their way to being established,
        the answers of theirs that wait for proof, divided by the decisions that are missing until
        then.
    """

    submission: Recorded
    frees: float


class WaitingSubmissions:
    """Puts what waits for a decision into order.

    Parameters
    ----------
    database : Database
    ledger : Ledger
    """

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger

    def page(
        self, order: QueueOrder, after: str | None, limit: int
    ) -> tuple[list[Waiting], str | None]:
        """Return a page, and after which the next page begins; None: there is no more.

        What one decision frees changes with every decision: whoever pages by it while others
        decide may be shown an entry twice, or miss one until they begin anew.

        Parameters
        ----------
        after : str, optional
            As an earlier page of the same order gave it.

        Raises
        ------
        InvalidRequest
            ``after`` is none of that order.
        """
        if order is QueueOrder.OLDEST:
            return self._oldest(after, limit)
        if after is None:
            found = self._all(MOST_FIRST, limit=limit + 1)
        else:
            frees, member, request_id = _read(PLACE, after, order)
            given = {
                "frees": Decimal(frees),
                "member": int(member),
                "request_id": int(request_id),
            }
            found = self._all(MOST_AFTER, limit=limit + 1, **given)
        requests = [request_id for request_id, *_ in found[:limit]]
        rows = [Recorded(*row) for row in self._all(SOME, requests=requests)]
        submissions = {each.request_id: each for each in rows}
        waiting = [
            Waiting(submissions[request_id], float(frees))
            for request_id, frees, _ in found[:limit]
            if request_id in submissions  # else it was deleted meanwhile
        ]
        last = found[limit - 1] if len(found) > limit else None
        return waiting, f"{last[1]}:{last[2]}:{last[0]}" if last else None

    def _oldest(self, after: str | None, limit: int) -> tuple[list[Waiting], str | None]:
        [begin] = _read(NUMBER, after or "0", QueueOrder.OLDEST)
        found = self._ledger.to_review(int(begin), limit + 1)
        requests = [each.request_id for each in found[:limit]]
        images = [each.detail.get("image", {}).get("sha256") for each in found[:limit]]
        users = [each.user_address for each in found[:limit]]
        found_frees = self._all(OF_SOME, requests=requests, images=images, users=users)
        frees = {request_id: freed for request_id, freed, _ in found_frees}
        waiting = [Waiting(each, float(frees.get(each.request_id, 1))) for each in found[:limit]]
        return waiting, str(requests[-1]) if len(found) > limit else None

    def _all(self, query: str, **given: object) -> list[tuple[Any, ...]]:
        with self._database.transaction() as rows:
            rows.execute(query, given)
            return list(rows.fetchall())


def _read(pattern: re.Pattern[str], after: str, order: QueueOrder) -> tuple[str, ...]:
    read = pattern.fullmatch(after)
    if read is None:
        raise InvalidRequest(f"'after' is not the 'next' of a page in the order {order.value!r}")
    return read.groups() or (after,)
