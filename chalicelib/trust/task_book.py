"""Images that we asked people to look at, and how they answered: ``sql/0006_control_tasks.sql``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from chalicelib.callers import is_member
from chalicelib.database import Database
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.grading import Agreement, Grade
from chalicelib.trust.records import accepted_by_operator, of_member
from chalicelib.trust.standing import (
    NEWEST_AUDITS,
    PROVEN_ACCURACY,
    PROVEN_CONTROLS,
    Agreements,
    Audits,
    Controls,
    TrustStanding,
)

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

NEWEST_CONTROLS = 100
NEWEST_COMPARED = 200
OPEN_DAYS = 7  # after which an unanswered task is taken for given up

HAND_OUT = """
INSERT INTO tasks (prediction_id, user_address, model, image_sha256, kind, label_id, boxes)
VALUES (%(prediction_id)s, %(user_address)s, %(model)s, %(image_sha256)s, %(kind)s, %(label_id)s,
        %(boxes)s::jsonb)
ON CONFLICT DO NOTHING
"""
FIND = """
SELECT prediction_id, user_address, model, image_sha256, kind, label_id, boxes FROM tasks
WHERE prediction_id = %(prediction_id)s
"""
OPEN = f"""
SELECT prediction_id FROM tasks
WHERE user_address = %(user_address)s AND model = %(model)s AND answered_at IS NULL
  AND created_at > now() - interval '{OPEN_DAYS} days'
ORDER BY created_at LIMIT %(limit)s
"""
ON_IMAGES = """
SELECT prediction_id FROM tasks WHERE model = %(model)s AND image_sha256 = ANY(%(images)s)
"""
KNOWN = """
SELECT image_sha256 FROM tasks
WHERE user_address = %(user_address)s AND model = %(model)s AND image_sha256 = ANY(%(images)s)
UNION
SELECT image_sha256 FROM requests
WHERE image_sha256 = ANY(%(images)s) AND model = %(model)s AND user_address = %(user_address)s
"""
ANSWERED = """
UPDATE tasks SET answered_at = clock_timestamp()
WHERE prediction_id = %(prediction_id)s AND answered_at IS NULL
"""
LOCK_STANDING = """
INSERT INTO control_standings AS held (user_address) VALUES (%(user_address)s)
ON CONFLICT (user_address) DO UPDATE SET controls = held.controls
"""
GRADE = """
INSERT INTO control_answers (prediction_id, user_address, boxes, matched, overlooked, misplaced,
                             mislabelled, spurious, accuracy)
VALUES (%(prediction_id)s, %(user_address)s, %(boxes)s, %(matched)s, %(overlooked)s,
        %(misplaced)s, %(mislabelled)s, %(spurious)s, %(accuracy)s)
ON CONFLICT (prediction_id) DO NOTHING
"""
STANDING_ANEW = f"""
UPDATE control_standings SET (controls, accuracy) = (
    SELECT count(*), avg(accuracy) FROM (
        SELECT accuracy FROM control_answers WHERE user_address = %(user_address)s
        ORDER BY answered_at DESC LIMIT {NEWEST_CONTROLS}) newest)
WHERE user_address = %(user_address)s
"""
AGREE = """
INSERT INTO agreements (user_address, peer_address, model, image_sha256, matched, total)
VALUES (%(first)s, %(second)s, %(model)s, %(image_sha256)s, %(matched)s, %(total)s),
       (%(second)s, %(first)s, %(model)s, %(image_sha256)s, %(matched)s, %(total)s)
ON CONFLICT (image_sha256, model, user_address, peer_address) DO UPDATE SET
    matched = excluded.matched, total = excluded.total, compared_at = excluded.compared_at
"""
AUDITS_OF_USER = f"""
SELECT count(*) AS decided, count(*) FILTER (WHERE state = 'rejected') AS lost
FROM (SELECT state FROM requests r
      WHERE r.user_address = u.user_address AND r.reviewed_at IS NOT NULL
      ORDER BY reviewed_at DESC LIMIT {NEWEST_AUDITS}) newest
"""
STANDINGS = f"""
SELECT u.user_address, c.*, a.*, d.*
FROM unnest(%(users)s::text[]) u (user_address)
CROSS JOIN LATERAL (
    SELECT count(*), avg(accuracy), coalesce(sum(boxes), 0), coalesce(sum(matched), 0),
           coalesce(sum(overlooked), 0), coalesce(sum(misplaced), 0),
           coalesce(sum(mislabelled), 0), coalesce(sum(spurious), 0)
    FROM (SELECT * FROM control_answers n WHERE n.user_address = u.user_address
          ORDER BY answered_at DESC LIMIT {NEWEST_CONTROLS}) newest) c
CROSS JOIN LATERAL (
    SELECT count(*), avg(share), count(*) FILTER (WHERE proven),
           avg(share) FILTER (WHERE proven)
    FROM (SELECT matched::float8 / total AS share,
                 s.controls >= {PROVEN_CONTROLS} AND s.accuracy >= {PROVEN_ACCURACY}
                     AND {of_member("n.peer_address")} AS proven
          FROM (SELECT * FROM agreements n WHERE n.user_address = u.user_address
                ORDER BY compared_at DESC LIMIT {NEWEST_COMPARED}) n
          LEFT JOIN control_standings s ON s.user_address = n.peer_address
          WHERE NOT EXISTS (SELECT FROM bans b WHERE b.user_address = n.peer_address)) newest) a
CROSS JOIN LATERAL ({AUDITS_OF_USER}) d
"""
UNANSWERED = f"""
SELECT user_address, count(*) FROM tasks
WHERE user_address = ANY(%(users)s) AND answered_at IS NULL
  AND created_at > now() - interval '{OPEN_DAYS} days'
GROUP BY user_address
"""
PROVABLE = f"""
SELECT EXISTS (SELECT FROM dataset_counts
               WHERE model = %(model)s AND side IN ('train', 'valid')
                 AND fact = 'images_of_operators' AND key = '' AND n > 0)
    OR EXISTS (SELECT FROM requests
               WHERE model = %(model)s AND {accepted_by_operator("requests")})
"""

VOTERS = f"""
SELECT FROM control_standings
WHERE controls >= {PROVEN_CONTROLS} AND accuracy >= {PROVEN_ACCURACY}
  AND {of_member("user_address")}
LIMIT 2
"""


@dataclass(frozen=True)
class Task:
    """An image that somebody was asked to look at.

    Attributes
    ----------
    prediction_id : str
        Under which they were given it.
    user_address, model, image_sha256 : str
    kind : "control" or "second_opinion"
    settled : ClassedBoxes | None
        Of a control: the boxes that are right, in pixels.
    label_id : int | None
        Of a control: the label that holds them.
    """

    prediction_id: str
    user_address: str
    model: str
    image_sha256: str
    kind: Literal["control", "second_opinion"]
    settled: ClassedBoxes | None = None
    label_id: int | None = None

    @property
    def is_control(self) -> bool:
        """Whether the answer is to be graded, and never to become a label."""
        return self.kind == "control"


class TaskBook:
    """Tasks and their answers.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractContextManager[cursor]:
        """Begin a transaction of the database."""
        return self._database.transaction()

    def hand_out(self, task: Task) -> bool:
        """Write a task down; tell whether its user was not asked about the image before."""
        boxes = task.settled
        given = {
            **vars(task),
            "boxes": None if boxes is None else json.dumps(_to_json(boxes)),
        }
        with self._database.transaction() as rows:
            rows.execute(HAND_OUT, given)
            return bool(rows.rowcount)

    def find(self, prediction_id: str) -> Task | None:
        """Return the task of a prediction; None where nobody was asked to look at it."""
        found = self._all(FIND, prediction_id=prediction_id)
        return _task(found[0]) if found else None

    def open_tasks(self, user_address: str, model: str, limit: int) -> list[str]:
        """Return the predictions of a user's unanswered tasks of the last days, oldest first."""
        found = self._all(OPEN, user_address=user_address, model=model, limit=limit)
        return [str(prediction_id) for (prediction_id,) in found]

    def tasks_on(self, model: str, images: Iterable[str]) -> list[str]:
        """Return the predictions of all tasks on some images, by sha256."""
        found = self._all(ON_IMAGES, model=model, images=list(images))
        return [str(prediction_id) for (prediction_id,) in found]

    def known_images(self, user_address: str, model: str, images: Iterable[str]) -> set[str]:
        """Return which images, by sha256, a user was asked about or sent an answer to."""
        given = {"user_address": user_address, "model": model, "images": list(images)}
        return {sha256 for (sha256,) in self._all(KNOWN, **given)}

    def grade(self, task: Task, grade: Grade) -> None:
        """Record how a control was answered. The first answer counts.

        Somebody who finds out afterwards that it was a control cannot mend it.
        """
        given = {**vars(task), **grade.to_json(), "accuracy": grade.accuracy}
        with self._database.transaction() as rows:
            for statement in (LOCK_STANDING, ANSWERED, GRADE, STANDING_ANEW):
                rows.execute(statement, given)

    def answered(self, task: Task) -> None:
        """Note that a second opinion was given."""
        with self._database.transaction() as rows:
            rows.execute(ANSWERED, vars(task))

    def agree(
        self, user_address: str, model: str, image_sha256: str, peers: Mapping[str, Agreement]
    ) -> None:
        """Record how far a user's answer agrees with each of the others' on the same image."""
        with self._database.transaction() as rows:
            for peer, found in sorted(peers.items()):  # in one order, so that nobody deadlocks
                first, second = sorted((user_address, peer))
                given = {"first": first, "second": second, "model": model, **vars(found)}
                rows.execute(AGREE, {**given, "image_sha256": image_sha256})

    def standing(self, user_address: str) -> TrustStanding:
        """Return how well a user answers."""
        return self.standings([user_address])[user_address]

    def standings(self, users: Sequence[str]) -> dict[str, TrustStanding]:
        """Return the same for several users."""
        with self._database.transaction() as rows:
            return standings_in(rows, users)

    def can_prove(self, model: str) -> bool:
        """Return whether a model has images that controls can be made of."""
        return bool(self._all(PROVABLE, model=model)[0][0])

    def has_voters(self) -> bool:
        """Return whether two members proved themselves, on controls of whatever model."""
        return len(self._all(VOTERS)) > 1

    def _all(self, query: str, **given: object) -> list[tuple[Any, ...]]:
        with self._database.transaction() as rows:
            rows.execute(query, given)
            return list(rows.fetchall())


def standings_in(rows: cursor, users: Sequence[str]) -> dict[str, TrustStanding]:
    """Return how well users answer, in the caller's transaction."""
    rows.execute(STANDINGS, {"users": list(users)})
    return {
        user: TrustStanding(
            Controls(*n[:8]), Agreements(*n[8:12]), Audits(*n[12:]), is_member(user)
        )
        for user, *n in rows.fetchall()
    }


def unanswered_in(rows: cursor, users: Sequence[str]) -> dict[str, int]:
    """Return how many tasks of the last days users left unanswered; without those who left none."""
    rows.execute(UNANSWERED, {"users": list(users)})
    return dict(rows.fetchall())


def _task(row: tuple[Any, ...]) -> Task:
    prediction_id, user, model, sha256, kind, label_id, boxes = row
    settled = None if boxes is None else ClassedBoxes(boxes["xyxy"], boxes["class_id"])
    return Task(str(prediction_id), user, model, sha256, kind, settled, label_id)


def _to_json(boxes: ClassedBoxes) -> dict[str, Any]:
    return {"xyxy": boxes.xyxy.tolist(), "class_id": boxes.class_id.tolist()}
