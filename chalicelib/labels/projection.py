"""The files of a dataset in the store bucket, made from its rows.

For every image that has a label there are ``<prefix>/images/<side>/<sha256>.<extension>`` and
``<prefix>/labels/<side>/<sha256>.txt``. An image whose labels were all withdrawn waits under
``parked/``.

One process at a time works on a sample (an advisory lock, which PostgreSQL lets go of when the
process dies); submissions wait for none of this. The row is marked as published last, and only if
it still has the label that was written: whoever is killed before leaves it to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import batched

from psycopg2.extensions import cursor
from psycopg2.extras import execute_values

from chalicelib.database import Database
from chalicelib.errors import ObjectNotFound, SightloopError
from chalicelib.labels.keys import PARKED, parked_key
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.storage import ObjectStore

PENDING = "pending_models/"
LOCK_SPACE = 5_110_005  # of advisory locks with two keys, of which the second is the sample's
AT_ONCE = 100
S3_CALLS_AT_ONCE = 8
# A process that vanished without closing its connection must not keep its samples for hours.
PATIENCE = "SET LOCAL idle_in_transaction_session_timeout = '120s'"
DUE = """
SELECT sample_id FROM samples WHERE NOT published
ORDER BY tried_at NULLS FIRST, sample_id LIMIT %(limit)s
"""
WAIT = "SELECT pg_advisory_xact_lock(%(space)s, (%(sample)s %% 2147483647)::integer)"
CLAIM = """
SELECT sample_id FROM unnest(%(samples)s::bigint[]) AS asked (sample_id)
WHERE pg_try_advisory_xact_lock(%(space)s, (sample_id %% 2147483647)::integer)
"""
READ = """
SELECT s.sample_id, s.model, s.sha256, s.extension, s.side, s.source_key, s.label_id, l.yolo
FROM samples s LEFT JOIN labels l USING (label_id)
WHERE s.sample_id = ANY(%(samples)s) AND NOT s.published
"""
IN_ORDER = """
SELECT FROM samples WHERE sample_id = ANY(%(samples)s) ORDER BY sample_id FOR NO KEY UPDATE
"""
MADE = """
UPDATE samples s SET published = true, source_key = v.source_key, tried_at = NULL
FROM (VALUES %s) v (sample_id, label_id, source_key)
WHERE s.sample_id = v.sample_id AND s.label_id IS NOT DISTINCT FROM v.label_id::bigint
"""
NOT_MADE = "UPDATE samples SET tried_at = clock_timestamp() WHERE sample_id = ANY(%(samples)s)"
PENDING_FILES = "SELECT DISTINCT model FROM samples WHERE source_key LIKE 'pending_models/%'"
OF_PROMOTED = """
SELECT sample_id FROM samples
WHERE model = ANY(%s) AND source_key LIKE 'pending_models/%%' AND published
ORDER BY sample_id FOR NO KEY UPDATE
"""
MAKE_ANEW = "UPDATE samples SET published = false WHERE sample_id = ANY(%s)"


@dataclass(frozen=True)
class _Due:
    """A sample whose files are not as its row says."""

    sample_id: int
    model: str
    sha256: str
    extension: str
    side: str
    source_key: str
    label_id: int | None
    yolo: str | None

    def image(self, prefix: str) -> str:
        return f"{prefix}/images/{self.side}/{self.sha256}.{self.extension}"

    def label(self, prefix: str) -> str:
        return f"{prefix}/labels/{self.side}/{self.sha256}.txt"

    @property
    def parked(self) -> str:
        return parked_key(self.model, self.sha256, self.extension)


class Projection:
    """Makes the files of datasets.

    Parameters
    ----------
    database : Database
    store : ObjectStore
    prefix_of : callable
        As for ``Dataset``.
    """

    def __init__(
        self, database: Database, store: ObjectStore, prefix_of: Callable[[str], str]
    ) -> None:
        self._database = database
        self._store = store
        self._prefix_of = prefix_of

    def publish(self, limit: int) -> int:
        """Make the files of up to so many samples, those that failed before last."""
        with self._database.transaction() as rows:
            rows.execute(DUE, {"limit": limit})
            due = [sample_id for (sample_id,) in rows.fetchall()]
        return self.publish_samples(due)

    def publish_samples(self, sample_ids: Iterable[int]) -> int:
        """Make the files of these samples, where they are not made and nobody else does it."""
        return sum(self._publish(some) for some in batched(sample_ids, AT_ONCE))

    def follow_promotions(self) -> int:
        """Mark the samples whose model has a version now, and their files still the old prefix."""
        with self._database.transaction() as rows:
            rows.execute(PENDING_FILES)
            models = [model for (model,) in rows.fetchall()]
            promoted = [m for m in models if not self._prefix_of(m).startswith(PENDING)]
            rows.execute(OF_PROMOTED, (promoted,))
            moving = [sample_id for (sample_id,) in rows.fetchall()]
            rows.execute(MAKE_ANEW, (moving,))
        return len(moving)

    def _publish(self, sample_ids: Sequence[int]) -> int:
        failure: SightloopError | None = None
        with self._database.transaction() as rows:
            due = _claim(rows, sample_ids)
            made: dict[int, tuple[int, int | None, str]] = {}
            if len(due) == 1:
                done: list[str | SightloopError] = [self._try(due[0])]
            else:
                with ThreadPoolExecutor(S3_CALLS_AT_ONCE) as pool:
                    done = list(pool.map(self._try, due))
            for each, outcome in zip(due, done, strict=True):
                if isinstance(outcome, SightloopError):
                    failure = failure if isinstance(outcome, ObjectNotFound) else outcome
                else:
                    made[each.sample_id] = (each.sample_id, each.label_id, outcome)
            _mark(rows, [each.sample_id for each in due], made)
        metrics.add_metric("SamplesPublished", MetricUnit.Count, len(made))
        if failure:
            raise failure
        return len(made)

    def _try(self, due: _Due) -> str | SightloopError:
        """Make one sample's files; return the image's key, or why it failed."""
        try:
            return self._take_out(due) if due.yolo is None else self._put_in(due, due.yolo)
        except ObjectNotFound as error:
            logger.error("the image of a sample is gone", sample_id=due.sample_id, why=error.detail)
            metrics.add_metric("SampleImagesMissing", MetricUnit.Count, 1)
            return error
        except SightloopError as error:
            logger.exception("the files of a sample are not made", sample_id=due.sample_id)
            return error

    def _put_in(self, due: _Due, yolo: str) -> str:
        """Write the label, then the image: an image without a label would say nothing is there."""
        prefix = self._prefix_of(due.model)
        image, label = due.image(prefix), due.label(prefix)
        self._store.put(label, yolo.encode(), "text/plain; charset=utf-8")
        try:
            self._bring(image, due.source_key, due.parked)
        except ObjectNotFound:
            self._store.delete(label)
            raise
        self._leave(due, image)
        return image

    def _take_out(self, due: _Due) -> str:
        """Remove the image, then its label; the image stays where it can be had again."""
        prefix = self._prefix_of(due.model)
        image = due.image(prefix)
        self._bring(due.parked, image, due.source_key)
        self._store.delete(image)
        self._store.delete(due.label(prefix))
        self._leave(due, due.parked)
        return due.parked

    def _bring(self, key: str, *sources: str) -> None:
        """Let an image be under a key; whoever was here before may have brought it already."""
        if self._store.has(key):
            return
        for source in sources:
            try:
                self._store.copy(source, key)
            except ObjectNotFound:
                continue
            return
        raise ObjectNotFound(f"neither {key} nor {' nor '.join(sources)} is there")

    def _leave(self, due: _Due, key: str) -> None:
        """Delete the files that an image had elsewhere, as far as they are ours."""
        if due.source_key == key or not due.source_key.startswith((PENDING, PARKED)):
            return
        self._store.delete(due.source_key)
        if due.source_key.startswith(PENDING):
            self._store.delete(due.label(f"{PENDING}{due.model}"))


def lock_files_in(rows: cursor, sample_id: int) -> None:
    """Wait for whoever makes a sample's files; nobody does until the transaction ends."""
    rows.execute(WAIT, {"space": LOCK_SPACE, "sample": sample_id})


def _claim(rows: cursor, sample_ids: Sequence[int]) -> list[_Due]:
    """Lock samples until the transaction ends, and read them then: not as they were before."""
    rows.execute(PATIENCE)
    rows.execute(CLAIM, {"samples": [*sample_ids], "space": LOCK_SPACE})
    claimed = [sample_id for (sample_id,) in rows.fetchall()]
    rows.execute(READ, {"samples": claimed})
    return [_Due(*row) for row in rows.fetchall()]


def _mark(rows: cursor, tried: Sequence[int], made: dict[int, tuple[int, int | None, str]]) -> None:
    rows.execute(IN_ORDER, {"samples": [*tried]})
    if made:
        execute_values(rows, MADE, list(made.values()), page_size=AT_ONCE)
    failed = [sample_id for sample_id in tried if sample_id not in made]
    if failed:
        rows.execute(NOT_MADE, {"samples": failed})
