"""The dataset of a model: images, and what people say is on them. Rows are the truth.

Everything that changes rows is done in the caller's transaction, together with what it belongs to,
and under the lock of the dataset. Afterwards ``publish`` brings the files to what the rows say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg2.extensions import cursor
from psycopg2.extras import execute_values

from chalicelib.catalog.visibility import Visibility
from chalicelib.database import Database
from chalicelib.labels.fingerprint import Fingerprint
from chalicelib.labels.keys import parked_key
from chalicelib.labels.placing import Placing
from chalicelib.labels.projection import Projection
from chalicelib.labels.releases import narrow_in, release_in
from chalicelib.labels.split import Arrival, Decision, Reason, Side
from chalicelib.storage import ObjectStore
from chalicelib.vision import Detections

Withdrawal = Literal["doubted", "banned", "replaced", "rejected", "deleted"]
# What was withdrawn may be so for a graver reason, too.
RANKS = ("doubted", "banned", "rejected", "replaced", "deleted")
CONTENT_TYPES = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "bmp": "image/bmp",
}
ROWS_AT_ONCE = 1000

ADD_SAMPLES = """
INSERT INTO samples (model, sha256, extension, width, height, side, bits, groups, joins, source_key,
                     visibility)
VALUES %s ON CONFLICT ON CONSTRAINT samples_once_a_model DO NOTHING
"""
REGROUP = """
UPDATE samples s SET groups = v.groups, placed = nextval('dataset_revision'), updated_at = now()
FROM (VALUES %s) v (model, sha256, groups)
WHERE s.model = v.model AND s.sha256 = v.sha256 AND s.groups IS DISTINCT FROM v.groups
"""
FIND = "SELECT sha256, sample_id FROM samples WHERE model = %s AND sha256 = ANY(%s)"
REPLACE = """
UPDATE labels SET withdrawn_at = now(), withdrawn_why = 'replaced'
WHERE request_id = ANY(%s) AND withdrawn_why IS DISTINCT FROM 'replaced' RETURNING sample_id
"""
ADD_LABELS = """
INSERT INTO labels (sample_id, yolo, boxes, origin, user_address, request_id, import_id)
VALUES %s RETURNING label_id
"""
MODELS_OF = """
SELECT DISTINCT s.model FROM labels l JOIN samples s USING (sample_id)
WHERE l.request_id = ANY(%s) ORDER BY 1
"""
WITHDRAW = """
UPDATE labels SET withdrawn_at = now(), withdrawn_why = %(why)s
WHERE request_id = ANY(%(requests)s)
  AND coalesce(array_position(%(ranks)s::text[], withdrawn_why), 0)
      < array_position(%(ranks)s::text[], %(why)s)
RETURNING sample_id
"""
RESTORE = """
UPDATE labels l SET withdrawn_at = NULL, withdrawn_why = NULL
FROM (SELECT DISTINCT ON (request_id) label_id FROM labels WHERE request_id = ANY(%(requests)s)
      ORDER BY request_id, label_id DESC) newest
WHERE l.label_id = newest.label_id AND l.withdrawn_why = ANY(%(why)s)
RETURNING l.sample_id
"""
IN_ORDER = """
SELECT FROM samples WHERE sample_id = ANY(%(samples)s) ORDER BY sample_id FOR NO KEY UPDATE
"""
RELABEL = """
UPDATE samples s SET label_id = newest.label_id, published = false, updated_at = now()
FROM (SELECT asked.sample_id, (
          SELECT max(l.label_id) FROM labels l
          WHERE l.sample_id = asked.sample_id AND l.withdrawn_at IS NULL) AS label_id
      FROM unnest(%(samples)s::bigint[]) AS asked (sample_id)) newest
WHERE s.sample_id = newest.sample_id AND s.label_id IS DISTINCT FROM newest.label_id
"""
OF_REQUESTS = """
SELECT DISTINCT ON (request_id) request_id, sample_id, withdrawn_why FROM labels
WHERE request_id = ANY(%s) ORDER BY request_id, label_id DESC
"""
PLACES = """
SELECT DISTINCT ON (l.request_id) l.request_id, s.source_key
FROM labels l JOIN samples s USING (sample_id)
WHERE l.request_id = ANY(%s) ORDER BY l.request_id, l.label_id DESC
"""
MODELS_OF_USER = """
SELECT DISTINCT s.model FROM labels l JOIN samples s USING (sample_id)
WHERE l.user_address = %s ORDER BY 1
"""


@dataclass(frozen=True, eq=False)
class NewLabel:
    """What somebody says is on an image.

    Attributes
    ----------
    sha256 : str
        Of the image's bytes, in hexadecimal.
    extension : {"jpg", "png", "webp", "bmp"}
    size : tuple[int, int]
        Width and height in pixels of the upright image.
    fingerprint : Fingerprint
        Of the image.
    source_key : str
        Where in the store bucket the image's bytes are.
    boxes : Detections
        In pixels of the upright image; none: nothing is there.
    origin : {"submission", "import", "operator"}
    group : str, optional
        Images of one group stay on one side.
    user_address, request_id
        Of a submission.
    import_id : str, optional
    side : {"train", "valid"}, optional
        What an importer wishes. The split decides; an image has but one side.
    visibility : Visibility
        Of the model when the image was sent: no wider audience is shown it.
    released_by : str, optional
        The operator who releases it as a control image.
    """

    sha256: str
    extension: str
    size: tuple[int, int]
    fingerprint: Fingerprint
    source_key: str
    boxes: Detections
    origin: Literal["submission", "import", "operator"]
    group: str | None = None
    user_address: str | None = None
    request_id: int | None = None
    import_id: str | None = None
    side: Side | None = None
    visibility: Visibility = Visibility.PRIVATE
    released_by: str | None = None


@dataclass(frozen=True)
class Added:
    """What became of a label that was added, and why its image is on that side."""

    sample_id: int
    label_id: int
    side: Side
    reason: Reason


@dataclass(frozen=True)
class LabelOf:
    """The newest label that came of a request; ``withdrawn_why`` is None where it is in force."""

    sample_id: int
    withdrawn_why: Withdrawal | None


class Dataset:
    """Images and labels of all models.

    Parameters
    ----------
    database : Database
    store : ObjectStore
        The store bucket.
    prefix_of : callable
        From a model's name to the prefix of its files: ``models/<model>``, or
        ``pending_models/<model>`` while it has no version.
    placing : Placing, optional
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        prefix_of: Callable[[str], str],
        placing: Placing | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._placing = placing or Placing()
        self._projection = Projection(database, store, prefix_of)

    def park(self, model: str, sha256: str, extension: str, image: bytes) -> str:
        """Put an image's bytes where they stay until it is published; return their key."""
        key = parked_key(model, sha256, extension)
        self._store.put(key, image, CONTENT_TYPES[extension])
        return key

    def look(self, model: str, labels: Sequence[NewLabel]) -> None:
        """Do what takes long of adding labels before the dataset is locked."""
        with self._database.transaction() as rows:
            self._placing.look(rows, model, _arrivals(labels))

    def near(self, rows: cursor, model: str, asked: Fingerprint) -> list[int]:
        """Return the samples whose images are near to one, nearest first."""
        return self._placing.near(rows, model, asked)

    def lock(self, rows: cursor, model: str) -> None:
        """Lock a dataset until the transaction ends, before what ``add`` would lock it for."""
        self._placing.lock(rows, model)

    def add(self, rows: cursor, model: str, labels: Sequence[NewLabel]) -> list[Added]:
        """Add labels, the newest last, and the images that are new, in the caller's transaction.

        What was added for the same request before is replaced. The dataset stays locked until
        the transaction ends; ``look`` beforehand makes that short.
        """
        self._placing.lock(rows, model)
        decisions = self._placing.place(rows, model, _arrivals(labels))
        fresh = _store_samples(rows, model, labels, decisions)
        self._placing.pack(rows, model, fresh)
        rows.execute(FIND, (model, [each.sha256 for each in labels]))
        sample_of: dict[str, int] = dict(rows.fetchall())
        narrow_in(rows, {sample_of[each.sha256]: each.visibility for each in labels})
        release_in(
            rows, {sample_of[each.sha256]: each.released_by for each in labels if each.released_by}
        )
        rows.execute(REPLACE, ([each.request_id for each in labels if each.request_id],))
        changed = {sample_id for (sample_id,) in rows.fetchall()}
        label_ids = _store_labels(rows, labels, sample_of)
        relabel_in(rows, changed | set(sample_of.values()))
        return [
            Added(sample_of[label.sha256], label_id, decision.member.side, decision.reason)
            for label, label_id, decision in zip(labels, label_ids, decisions, strict=True)
        ]

    def withdraw(self, rows: cursor, request_ids: Sequence[int], why: Withdrawal) -> list[int]:
        """Take back the labels of requests; their images get the newest that is left, or none.

        What was rejected stays so when a ban is lifted, and what was replaced is gone for good.

        Returns
        -------
        list[int]
            The samples that it was about.
        """
        return self._change(rows, WITHDRAW, request_ids, why)

    def restore(
        self,
        rows: cursor,
        request_ids: Sequence[int],
        why: Sequence[Withdrawal] = ("doubted", "banned", "rejected"),
    ) -> list[int]:
        """Put back the newest label of each request that was withdrawn for one of these reasons.

        Returns
        -------
        list[int]
            The samples that it was about.
        """
        return self._change(rows, RESTORE, request_ids, [*why])

    def labels_of(self, rows: cursor, request_ids: Sequence[int]) -> dict[int, LabelOf]:
        """Return the newest label of each request that ever had one."""
        rows.execute(OF_REQUESTS, ([*request_ids],))
        return {request_id: LabelOf(*label) for request_id, *label in rows.fetchall()}

    def places_of(self, request_ids: Sequence[int]) -> dict[int, str]:
        """Return where in the store bucket the image is of each request that ever had a label."""
        with self._database.transaction() as rows:
            rows.execute(PLACES, ([*request_ids],))
            return dict(rows.fetchall())

    def lock_of_user(self, rows: cursor, user_address: str) -> None:
        """Lock all datasets that a user has labels in, until the transaction ends."""
        rows.execute(MODELS_OF_USER, (user_address,))
        for (model,) in rows.fetchall():
            self._placing.lock(rows, model)

    def leaking(self, model: str) -> set[str]:
        """Return the validation images, by sha256, not to be measured on: see ``split``."""
        with self._database.transaction() as rows:
            return self._placing.leaking(rows, model)

    def publish(self, limit: int) -> int:
        """Bring the files of up to so many images to what the rows say; return of how many.

        Idempotent, and safe to be killed at any step.

        Raises
        ------
        StorageUnavailable
            S3 does not answer; what was not done is done by the next call.
        """
        return self._projection.publish(limit)

    def publish_samples(self, sample_ids: Sequence[int]) -> int:
        """Do the same for these images alone, unless another process is at them just now."""
        return self._projection.publish_samples(sample_ids)

    def follow_promotions(self) -> int:
        """Let the files of models that have their first version now move; return of how many."""
        return self._projection.follow_promotions()

    def _change(
        self, rows: cursor, statement: str, request_ids: Sequence[int], why: str | list[str]
    ) -> list[int]:
        given = {"requests": [*request_ids], "why": why, "ranks": [*RANKS]}
        rows.execute(MODELS_OF, (given["requests"],))
        for (model,) in rows.fetchall():
            self._placing.lock(rows, model)
        rows.execute(statement, given)
        changed = {sample_id for (sample_id,) in rows.fetchall()}
        relabel_in(rows, changed)
        return sorted(changed)


def _arrivals(labels: Sequence[NewLabel]) -> list[Arrival]:
    return [Arrival(each.sha256, each.fingerprint, each.group) for each in labels]


def _store_samples(
    rows: cursor, model: str, labels: Sequence[NewLabel], decisions: Sequence[Decision]
) -> int:
    """Store the images that are new, and return how many; of the others the groups."""
    fresh: dict[str, tuple[Any, ...]] = {}
    regrouped: dict[str, tuple[Any, ...]] = {}
    for label, decision in zip(labels, decisions, strict=True):
        member = decision.member
        if decision.reason != "known":
            fresh[label.sha256] = _sample(model, label, decision)
        elif label.group is not None:
            regrouped[label.sha256] = (model, label.sha256, list(member.groups))
    execute_values(rows, ADD_SAMPLES, list(fresh.values()), page_size=ROWS_AT_ONCE)
    if regrouped:
        execute_values(rows, REGROUP, list(regrouped.values()), page_size=ROWS_AT_ONCE)
    return len(fresh)


def _sample(model: str, label: NewLabel, decision: Decision) -> tuple[Any, ...]:
    member = decision.member
    return (
        model,
        label.sha256,
        label.extension,
        *label.size,
        member.side,
        label.fingerprint.to_bytes(),
        list(member.groups),
        list(member.joins),
        label.source_key,
        label.visibility.value,
    )


def _store_labels(rows: cursor, labels: Sequence[NewLabel], sample_of: dict[str, int]) -> list[int]:
    values = [
        (
            sample_of[label.sha256],
            label.boxes.to_yolo(),
            len(label.boxes),
            label.origin,
            label.user_address,
            label.request_id,
            label.import_id,
        )
        for label in labels
    ]
    added = execute_values(rows, ADD_LABELS, values, page_size=ROWS_AT_ONCE, fetch=True)
    return [label_id for (label_id,) in added]


def relabel_in(rows: cursor, samples: set[int]) -> None:
    """Give images the newest of their labels that is in force, in the caller's transaction."""
    given = {"samples": sorted(samples)}
    rows.execute(IN_ORDER, given)
    rows.execute(RELABEL, given)
