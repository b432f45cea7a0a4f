"""What several people say of one image, and which images want another opinion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.database import Database
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.records import Recorded, accepted_by_operator, of_member

MOST_ANSWERS = 50  # on one image that a new one is compared with, the newest
OPINIONS_WANTED = 3  # asked for on one image
CONTESTED_WANTED = 5  # on one that waits for opinions alone
GIVEN_UP = "1 day"  # after which an unanswered task keeps nobody else from being asked
AGREES = 0.8  # share of boxes in common from which two answers say the same
PEERS_WANTED = 2  # who agree, until a submission is proposed for acceptance

ANSWERS = f"""
WITH newest AS (
    SELECT r.user_address, r.request_id, t.prediction_id IS NOT NULL AS asked
    FROM requests r LEFT JOIN tasks t USING (prediction_id)
    WHERE r.image_sha256 = %(image_sha256)s AND r.model = %(model)s
      AND r.user_address <> %(user_address)s AND t.kind IS DISTINCT FROM 'control'
    ORDER BY r.request_id DESC LIMIT {MOST_ANSWERS}),
last AS (
    SELECT DISTINCT ON (user_address) user_address, request_id, asked FROM newest
    ORDER BY user_address, request_id DESC)
SELECT l.user_address, r.detail -> 'submitted' FROM last l JOIN requests r USING (request_id)
WHERE l.asked OR NOT %(asked_only)s
ORDER BY l.user_address
"""
OWN_IMAGE = """
SELECT image_sha256 FROM requests
WHERE prediction_id = %(prediction_id)s AND user_address = %(user_address)s
"""
SENDERS = 25  # of a kind that are looked at, on either side of a random place among them
OF_A_SENDER = 3  # of their answers, from a random place on, and as many of the oldest
COVERED = "request_id, user_address, image_sha256, prediction_id"
QUEUED = """model = %(model)s AND state = 'quarantined' AND reviewed_at IS NULL
      AND waits_for IS DISTINCT FROM 'operator'"""
AUDITED = "model = %(model)s AND audit AND state = 'accepted' AND reviewed_at IS NULL"
MEMBERS = of_member("user_address")


def _of_senders(name: str, condition: str, waits_for: str, order: int) -> str:
    """Return the SQL of some answers of some senders that fulfil a condition, drawn at random.

    Senders are in the order of a digest of their names, so that a random place among them is as
    likely before one who sent a thousand answers as before one who sent one. Each step to the next
    sender is one look into an index.

    Parameters
    ----------
    name : str
        Of the query.
    condition : str
        For which there is an index by sender and request.
    waits_for : str
        What the answers wait for, as SQL.
    order : int
        Before which other kinds they come.
    """

    def steps(way: str, first: str, then: str, order_of: str) -> str:
        def next_(digest: str) -> str:
            return (
                f"SELECT md5(user_address) AS sender FROM requests WHERE {condition} AND {digest} "
                f"ORDER BY md5(user_address) {order_of} LIMIT 1"
            )

        return f"""{name}_{way} AS (
    (SELECT n.sender, 1 AS step FROM ({next_(f"md5(user_address) {first} (TABLE place)")}) n)
    UNION ALL
    SELECT n.sender, s.step + 1 FROM {name}_{way} s
    CROSS JOIN LATERAL ({next_(f"md5(user_address) {then} s.sender")}) n
    WHERE s.step < {SENDERS})"""

    one = f"{condition} AND md5(user_address) = s.sender"
    some = f"SELECT {COVERED}, {waits_for} AS waits_for FROM requests WHERE {one}"
    return f"""{steps("above", ">=", ">", "")},
{steps("below", "<", "<", "DESC")},
{name} AS MATERIALIZED (
    SELECT a.*, {order} AS kind
    FROM (SELECT sender FROM {name}_above UNION SELECT sender FROM {name}_below) s
    CROSS JOIN LATERAL (
        SELECT min(request_id) + floor(random() * (max(request_id) - min(request_id) + 1)) AS place
        FROM requests WHERE {one}) p
    CROSS JOIN LATERAL (
        ({some} ORDER BY request_id LIMIT {OF_A_SENDER})
        UNION
        ({some} AND request_id >= p.place ORDER BY request_id LIMIT {OF_A_SENDER})) a)"""


# Members' answers that wait, then those of members that count and are audited, then others'. Each
# kind has its own limit, and within a kind each sender has one before any has two: nobody crowds
# others out by sending many. Opinions of addresses have no vote, so they use up none of the places
# for those that have.
WAITING = f"""
WITH RECURSIVE place AS (SELECT md5(random()::text)),
{_of_senders("members", f"{QUEUED} AND {MEMBERS}", "waits_for", 0)},
{_of_senders("audited", AUDITED, "'opinions'", 1)},
{_of_senders("others", f"{QUEUED} AND {MEMBERS} IS FALSE", "waits_for", 2)},
seen AS (TABLE members UNION ALL TABLE audited UNION ALL TABLE others),
wanted AS MATERIALIZED (
    SELECT s.request_id, s.image_sha256, s.user_address, s.kind,
           row_number() OVER (PARTITION BY s.kind, s.user_address ORDER BY random()) AS turn
    FROM seen s
    WHERE s.user_address <> %(user_address)s AND s.image_sha256 IS NOT NULL
      AND NOT EXISTS (SELECT FROM requests p
                      WHERE p.image_sha256 = s.image_sha256 AND p.model = %(model)s
                        AND p.visibility <> ALL(%(promises)s))
      AND NOT EXISTS (SELECT FROM tasks t
                      WHERE t.user_address = %(user_address)s AND t.model = %(model)s
                        AND t.image_sha256 = s.image_sha256)
      AND NOT EXISTS (SELECT FROM requests o
                      WHERE o.image_sha256 = s.image_sha256 AND o.model = %(model)s
                        AND o.user_address = %(user_address)s)
      AND NOT EXISTS (SELECT FROM tasks c
                      WHERE c.prediction_id = s.prediction_id AND c.kind = 'control')
      AND (SELECT count(*) FROM tasks t
           WHERE t.image_sha256 = s.image_sha256 AND t.model = %(model)s
             AND {of_member("t.user_address")}
             AND (t.answered_at IS NOT NULL OR t.created_at > now() - interval '{GIVEN_UP}'))
          < CASE WHEN s.waits_for = 'opinions' THEN {CONTESTED_WANTED} ELSE {OPINIONS_WANTED} END),
chosen AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY kind ORDER BY turn, random()) AS place FROM wanted)
SELECT w.request_id, w.image_sha256, r.detail -> 'image' ->> 'key', r.visibility, w.user_address,
       w.kind = 1
FROM chosen w JOIN requests r USING (request_id) WHERE w.place <= %(limit)s
ORDER BY w.kind, w.place
"""
ENOUGH = f"""
SELECT image_sha256 FROM tasks
WHERE image_sha256 = ANY(%(images)s) AND model = %(model)s AND kind = 'second_opinion'
  AND {of_member("user_address")}
GROUP BY image_sha256 HAVING count(*) >= {OPINIONS_WANTED}
"""
SETTLED = "model = %(model)s AND state = 'accepted' AND reviewed_at IS NOT NULL"
# Requests that are read on either side of a random place: most of them may be agreed on.
MOST_SETTLED = 1000
REVIEWED = f"""
WITH start AS MATERIALIZED (
    SELECT min(request_id) + floor(random() * (max(request_id) - min(request_id) + 1)) AS place
    FROM requests WHERE {SETTLED}),
near AS MATERIALIZED (
    (SELECT image_sha256, state, reviewed_at, reviewed_by FROM requests
     WHERE {SETTLED} AND request_id >= (SELECT place::bigint FROM start)
     ORDER BY request_id LIMIT {MOST_SETTLED})
    UNION ALL
    (SELECT image_sha256, state, reviewed_at, reviewed_by FROM requests
     WHERE {SETTLED} AND request_id < (SELECT place::bigint FROM start)
     ORDER BY request_id LIMIT {MOST_SETTLED}))
SELECT image_sha256 FROM near WHERE {accepted_by_operator("near")} LIMIT %(limit)s * 2
"""
ACCEPTED_BY_OPERATORS = f"""
SELECT request_id FROM requests
WHERE request_id = ANY(%(requests)s) AND {accepted_by_operator("requests")}
"""
ON_IMAGES = """
SELECT g.image_sha256, g.model, g.user_address, g.peer_address, g.matched, g.total
FROM unnest(%(images)s::text[], %(models)s::text[], %(users)s::text[])
     w (image_sha256, model, user_address)
JOIN agreements g USING (image_sha256, model, user_address)
WHERE NOT EXISTS (SELECT FROM bans b WHERE b.user_address = g.peer_address)
ORDER BY g.peer_address
"""


@dataclass(frozen=True)
class WaitingImage:
    """An image of a submission that wants opinions, and where in the store bucket it is.

    ``visibility`` is that of the model when the photo was sent; ``counts``: the submission is
    accepted already, and audited.
    """

    request_id: int
    image_sha256: str
    key: str
    visibility: str
    user_address: str = ""
    counts: bool = False


@dataclass(frozen=True)
class PeerOpinion:
    """How far somebody else's answer on the same image agrees with a submission."""

    peer_address: str
    matched: int
    total: int

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.matched >= AGREES * self.total


class Opinions:
    """Answers by several people on the same images.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_others(
        self, user_address: str, model: str, image_sha256: str, *, asked_only: bool = False
    ) -> dict[str, ClassedBoxes]:
        """Return what others said of an image last, in pixels, of its 50 newest answers.

        Answers to controls are left out, and with ``asked_only`` those that nobody asked for.
        """
        given = {
            "user_address": user_address,
            "model": model,
            "image_sha256": image_sha256,
            "asked_only": asked_only,
        }
        return {user: boxes_of(submitted or []) for user, submitted in self._all(ANSWERS, **given)}

    def image_of(self, prediction_id: str, user_address: str) -> str | None:
        """Return the sha256 of the image that a user sent an answer about before."""
        given = {"prediction_id": prediction_id, "user_address": user_address}
        found = self._all(OWN_IMAGE, **given)
        return found[0][0] if found else None

    def waiting(
        self, user_address: str, model: str, limit: int, promises: Iterable[str]
    ) -> list[WaitingImage]:
        """Return images of others' submissions, waiting or audited, that a user can be asked about.

        However many wait, a few hundred of them are looked at: some of each of some senders.

        Parameters
        ----------
        limit : int
            Of each kind: members' that wait, members' that are audited, others' that wait.
        promises : Iterable[str]
            Visibilities under which all who sent the image did so.
        """
        given = {
            "user_address": user_address,
            "model": model,
            "limit": limit,
            "promises": [*promises],
        }
        return [WaitingImage(*row) for row in self._all(WAITING, **given)]

    def asked_enough(self, model: str, images: Iterable[str]) -> set[str]:
        """Return those images on which as many opinions were asked for as are wanted."""
        return {sha256 for (sha256,) in self._all(ENOUGH, model=model, images=list(images))}

    def reviewed(self, model: str, limit: int) -> list[str]:
        """Return images, by sha256, of which an operator accepted a submission, from anywhere."""
        found = self._all(REVIEWED, model=model, limit=limit)
        return [sha256 for (sha256,) in found if sha256 is not None]

    def accepted_by_operators(self, requests: Iterable[int]) -> set[int]:
        """Return those requests that an operator accepted."""
        found = self._all(ACCEPTED_BY_OPERATORS, requests=list(requests))
        return {request_id for (request_id,) in found}

    def on(self, requests: Sequence[Recorded]) -> dict[int, list[PeerOpinion]]:
        """Return what others' answers say of each of some requests, by its id."""
        about: dict[tuple[str, str, str], list[int]] = {}
        for each in requests:
            about.setdefault((_image(each), each.model, each.user_address), []).append(
                each.request_id
            )
        images, models, users = zip(*about, strict=True) if about else ((), (), ())
        given = {"images": list(images), "models": list(models), "users": list(users)}
        told: dict[int, list[PeerOpinion]] = {each.request_id: [] for each in requests}
        for sha256, model, user, *opinion in self._all(ON_IMAGES, **given):
            for request_id in about[sha256, model, user]:
                told[request_id].append(PeerOpinion(*opinion))
        return told

    def _all(self, query: str, **given: object) -> list[tuple[Any, ...]]:
        with self._database.transaction() as rows:
            rows.execute(query, given)
            return list(rows.fetchall())


def boxes_of(detections: Iterable[Mapping[str, Any]]) -> ClassedBoxes:
    """Return the boxes of detections as JSON has them.

    Examples
    --------
    >>> boxes_of([{"class_id": 1, "box": {"x1": 0, "y1": 1, "x2": 2, "y2": 3}}]).xyxy.tolist()
    [[0.0, 1.0, 2.0, 3.0]]
    """
    told = list(detections)
    corners = [[each["box"][side] for side in ("x1", "y1", "x2", "y2")] for each in told]
    return ClassedBoxes(corners, [each["class_id"] for each in told])  # type: ignore[arg-type]


def _image(request: Recorded) -> str:
    return str(request.detail.get("image", {}).get("sha256", ""))
