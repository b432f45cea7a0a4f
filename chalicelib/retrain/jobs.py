"""The rows of training jobs: states only go forward, and each report counts once.

Every change is one statement that says which state it starts from, so of two who want the same
change one makes it and the other sees that it is made.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from chalicelib.database import Database
from chalicelib.errors import Conflict, TrainingJobNotFound
from chalicelib.retrain import stored
from chalicelib.retrain.job import AWAY, Epoch, Job, Settled, State, Terms, Wish
from chalicelib.retrain.messages import EpochDone, Started

COLUMNS = """
    j.job_id::text, j.model, j.kind, j.state, j.launcher, j.external_id, j.base_version,
    j.dataset_sha256, j.dataset_revision, j.hyperparameters, j.requested_by, j.reason, j.epoch,
    j.epochs, j.eta_seconds, j.starts, j.cancel_requested, j.version, j.outcome, j.verdict,
    j.created_at, j.launched_at, j.heard_at, j.ended_at, j.trouble, j.lost, j.leased_until,
    coalesce((SELECT e.metrics FROM training_epochs e WHERE e.job_id = j.job_id
              ORDER BY e.epoch DESC LIMIT 1), '{}'::jsonb)
"""
# A job that began and ended while the caller was thinking counts as the one that it wanted.
CREATE = f"""
INSERT INTO training_jobs AS j (job_id, model, kind, launcher, base_version, hyperparameters,
                                requested_by, reason, epochs)
SELECT w.* FROM unnest(
    %(job_id)s::uuid[], %(model)s::text[], %(kind)s::text[], %(launcher)s::text[],
    %(base_version)s::integer[], %(hyperparameters)s::jsonb[], %(by)s::text[], %(reason)s::text[],
    %(epochs)s::integer[]) AS w (job_id, model)
WHERE NOT EXISTS (
    SELECT FROM training_jobs o
    WHERE o.model = w.model
      AND (o.ended_at IS NULL OR o.created_at >= %(since)s::timestamptz))
ON CONFLICT DO NOTHING RETURNING {COLUMNS}
"""
FIND = f"SELECT {COLUMNS} FROM training_jobs j WHERE j.job_id = %(job_id)s"
PAGE = f"""
SELECT {COLUMNS} FROM training_jobs j
WHERE (%(model)s::text IS NULL OR j.model = %(model)s)
  AND (%(state)s::text IS NULL OR j.state = %(state)s)
  AND (%(after)s::uuid IS NULL OR (j.created_at, j.job_id) <
       (SELECT a.created_at, a.job_id FROM training_jobs a WHERE a.job_id = %(after)s::uuid))
ORDER BY j.created_at DESC, j.job_id DESC LIMIT %(limit)s
"""
OPEN_IDS = "SELECT job_id::text FROM training_jobs WHERE ended_at IS NULL ORDER BY heard_at"
BY_EXTERNAL_ID = """
SELECT job_id::text FROM training_jobs WHERE external_id = %(external_id)s AND ended_at IS NULL
"""
EPOCHS = """
SELECT epoch, times, start, metrics, reached_at FROM training_epochs
WHERE job_id = %(job_id)s ORDER BY epoch
"""
ORDER = f"""
UPDATE training_jobs j SET dataset_sha256 = %(sha256)s, dataset_revision = %(revision)s,
    kind = %(kind)s, base_version = %(base_version)s, epochs = %(epochs)s,
    hyperparameters = %(hyperparameters)s
WHERE j.job_id = %(job_id)s AND j.state = 'queued' AND NOT j.cancel_requested
  AND j.dataset_sha256 IS NULL
RETURNING {COLUMNS}
"""
LAUNCHED = f"""
UPDATE training_jobs j SET state = 'launched', external_id = %(external_id)s,
    launched_at = now(), heard_at = now(), trouble = NULL
WHERE j.job_id = %(job_id)s AND j.state = 'queued' RETURNING {COLUMNS}
"""
STARTED = f"""
UPDATE training_jobs j SET state = CASE j.state WHEN 'launched' THEN 'training' ELSE j.state END,
    starts = greatest(j.starts, %(start)s), epochs = %(epochs)s,
    epoch = greatest(j.epoch, %(done)s), heard_at = now(), trouble = NULL
WHERE j.job_id = %(job_id)s RETURNING {COLUMNS}
"""
REACHED = """
UPDATE training_jobs j SET state = CASE j.state WHEN 'launched' THEN 'training' ELSE j.state END,
    starts = greatest(j.starts, %(start)s), epochs = %(epochs)s,
    epoch = greatest(j.epoch, %(epoch)s), heard_at = now(), trouble = NULL,
    eta_seconds = CASE WHEN j.ended_at IS NULL AND (%(start)s, %(epoch)s) >= (j.starts, j.epoch)
                       THEN %(eta)s ELSE j.eta_seconds END
WHERE j.job_id = %(job_id)s RETURNING true
"""
ADD_EPOCH = """
INSERT INTO training_epochs AS e (job_id, epoch, start, seen, metrics, reached_at)
VALUES (%(job_id)s, %(epoch)s, %(start)s, ARRAY[%(start)s]::integer[], %(metrics)s, %(at)s)
ON CONFLICT (job_id, epoch) DO UPDATE SET
    times = e.times + 1, seen = e.seen || excluded.seen, start = greatest(e.start, excluded.start),
    metrics = CASE WHEN excluded.start > e.start THEN excluded.metrics ELSE e.metrics END,
    reached_at = CASE WHEN excluded.start > e.start THEN excluded.reached_at ELSE e.reached_at END
WHERE NOT excluded.start = ANY (e.seen)
"""
FINISHING = f"""
UPDATE training_jobs j SET state = 'finishing', heard_at = now(), eta_seconds = NULL,
    trouble = NULL
WHERE j.job_id = %(job_id)s AND j.state = ANY (%(from)s) AND NOT j.cancel_requested
RETURNING {COLUMNS}
"""
LEASE = f"""
UPDATE training_jobs j SET leased_until = now() + %(seconds)s * interval '1 second'
WHERE j.job_id = %(job_id)s AND j.state = 'finishing'
  AND (j.leased_until IS NULL OR j.leased_until < now())
RETURNING {COLUMNS}
"""
RENEW = f"""
UPDATE training_jobs j SET leased_until = now() + %(seconds)s * interval '1 second'
WHERE j.job_id = %(job_id)s AND j.state = 'finishing' AND j.leased_until = %(leased_until)s
RETURNING {COLUMNS}
"""
RELEASE = """
UPDATE training_jobs SET leased_until = NULL, trouble = %(trouble)s
WHERE job_id = %(job_id)s AND leased_until = %(leased_until)s
"""
END = f"""
UPDATE training_jobs j SET state = %(state)s, outcome = %(outcome)s, version = %(version)s,
    verdict = %(verdict)s, lost = %(lost)s, ended_at = now(), heard_at = now(),
    eta_seconds = NULL, leased_until = NULL, trouble = NULL,
    external_id = coalesce(j.external_id, %(external_id)s),
    dataset_revision = coalesce(j.dataset_revision, %(revision)s)
WHERE j.job_id = %(job_id)s AND j.state = ANY (%(from)s) RETURNING {COLUMNS}
"""
TROUBLE = """
UPDATE training_jobs SET trouble = %(trouble)s WHERE job_id = %(job_id)s AND ended_at IS NULL
"""
CANCEL = f"""
UPDATE training_jobs j SET cancel_requested = true
WHERE j.job_id = %(job_id)s AND j.state = ANY (%(from)s) RETURNING {COLUMNS}
"""


class TrainingJobs:
    """The table of training jobs.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        model: str,
        terms: Terms,
        launcher: str,
        by: str,
        reason: str,
        since: datetime | None = None,
    ) -> Job | None:
        """Write a new job down, unless the model has one.

        Parameters
        ----------
        by, reason : str
            Who wants it, and why, in words.
        since : datetime, optional
            When the caller began to look: a job made after that counts, even if it is over.

        Returns
        -------
        Job or None
            None: another was quicker.
        """
        made = self.create_all([Wish(model, terms, launcher, by, reason)], since)
        return made[0] if made else None

    def create_all(self, wishes: Sequence[Wish], since: datetime | None = None) -> list[Job]:
        """Write several new jobs down at once, those whose models have none; return these."""
        # In the order of their names, or two who do so would wait for each other's rows.
        listed = [_wish(wish) for wish in sorted(wishes, key=lambda wish: wish.model)]
        if not listed:
            return []
        columns = {name: [each[name] for each in listed] for name in listed[0]}
        return [_job(row) for row in self._all(CREATE, **columns, since=since)]

    def get(self, job_id: UUID) -> Job:
        """Return a job.

        Raises
        ------
        TrainingJobNotFound
        """
        found = self._one(FIND, job_id=str(job_id))
        if found is None:
            raise TrainingJobNotFound(f"there is no training job {job_id}")
        return found

    def page(
        self, model: str | None, state: str | None, after: UUID | None, limit: int
    ) -> list[Job]:
        """Return jobs, newest first, those behind ``after``.

        Raises
        ------
        TrainingJobNotFound
            There is no job ``after``.
        """
        if after:
            self.get(after)
        given = {"model": model, "state": state, "after": after and str(after), "limit": limit}
        return [_job(row) for row in self._all(PAGE, **given)]

    def open_ids(self) -> list[UUID]:
        """Return the ids of all jobs that are not over, first those not heard of for longest."""
        return [UUID(row[0]) for row in self._all(OPEN_IDS)]

    def called(self, external_id: str) -> list[UUID]:
        """Return the ids of jobs that are not over and that a launcher calls so."""
        return [UUID(row[0]) for row in self._all(BY_EXTERNAL_ID, external_id=external_id)]

    def epochs(self, job_id: UUID) -> list[Epoch]:
        """Return what was reported of a job's epochs, in their order."""
        return [Epoch(*row) for row in self._all(EPOCHS, job_id=str(job_id))]

    def order(self, job_id: UUID, sha256: str, revision: int, terms: Terms) -> Job:
        """Note what a queued job learns from and how; the first to say so decides.

        Nothing is noted of a job that is to be cancelled, so that it cannot be launched later.
        """
        told = {"sha256": sha256, "revision": revision, **_columns(terms)}
        return self._one(ORDER, job_id=str(job_id), **told) or self.get(job_id)

    def launched(self, job_id: UUID, external_id: str) -> Job:
        """Note that a queued job was launched; return it as it is."""
        given = {"job_id": str(job_id), "external_id": external_id}
        return self._one(LAUNCHED, **given) or self.get(job_id)

    def started(self, report: Started) -> Job:
        """Note a start of the trainer; a late one takes nothing back.

        Raises
        ------
        TrainingJobNotFound
        """
        given = {"start": report.start, "epochs": report.epochs, "done": report.epochs_done}
        found = self._one(STARTED, job_id=str(report.job_id), **given)
        return found or self.get(report.job_id)

    def reached(self, report: EpochDone) -> Job:
        """Note an epoch, once for each start that trained it.

        Raises
        ------
        TrainingJobNotFound
        """
        given = {
            **report.model_dump(include={"start", "epoch", "epochs", "at"}),
            "job_id": str(report.job_id),
            "eta": stored.finite(report.eta_seconds),
            "metrics": stored.json(_metrics(report)),
        }
        with self._database.transaction() as rows:
            rows.execute(REACHED, given)
            if rows.fetchone():
                rows.execute(ADD_EPOCH, given)
        return self.get(report.job_id)

    def finishing(self, job_id: UUID) -> Job:
        """Note that a job's output is there, unless it is to be cancelled; return it as it is."""
        given = {"job_id": str(job_id), "from": list(AWAY)}
        return self._one(FINISHING, **given) or self.get(job_id)

    def lease(self, job_id: UUID, seconds: float) -> Job | None:
        """Take a finishing job to judge it; None: it is judged, or somebody is at it."""
        return self._one(LEASE, job_id=str(job_id), seconds=seconds)

    def renew(self, held: Job, seconds: float) -> Job | None:
        """Hold a job for longer; None: it is judged, or another's by now."""
        given = {"job_id": str(held.job_id), "leased_until": held.leased_until}
        return self._one(RENEW, **given, seconds=seconds)

    def release(self, held: Job, trouble: str) -> None:
        """Let go of a job that could not be judged now, and say why."""
        given = {"job_id": str(held.job_id), "leased_until": held.leased_until}
        self._do(RELEASE, **given, trouble=stored.text(trouble))

    def settled(self, job_id: UUID, settled: Settled) -> Job:
        """Note what the gate decided; return the job as it is."""
        told = {"version": settled.version, "verdict": stored.json(settled.verdict)}
        return self._end(job_id, [State.FINISHING], settled.state, settled.outcome, **told)

    def end(
        self,
        job_id: UUID,
        states: Sequence[State],
        state: State,
        outcome: str,
        *,
        lost: bool = False,
        external_id: str | None = None,
        revision: int | None = None,
    ) -> Job:
        """End a job that is in one of some states; return it as it is.

        Parameters
        ----------
        lost : bool
            It says nothing of its data.
        external_id, revision : optional
            What the launcher calls it and which data it was about, where the row does not say.
        """
        told = {"lost": lost, "external_id": external_id, "revision": revision}
        return self._end(job_id, states, state, outcome, **told)

    def note_trouble(self, job_id: UUID, trouble: str) -> None:
        """Say why a job could not be brought on."""
        self._do(TROUBLE, job_id=str(job_id), trouble=stored.text(trouble))

    def cancel(self, job_id: UUID) -> Job:
        """Ask for a job's end; asking again changes nothing.

        Raises
        ------
        TrainingJobNotFound
        Conflict
            It is over, or trained and being judged.
        """
        given = {"job_id": str(job_id), "from": [State.QUEUED, *AWAY]}
        cancelled = self._one(CANCEL, **given)
        if cancelled:
            return cancelled
        found = self.get(job_id)
        if found.state == State.CANCELLED:
            return found
        raise Conflict(_too_late(found))

    def _end(
        self, job_id: UUID, states: Sequence[State], state: str, outcome: str, **told: Any
    ) -> Job:
        given = {
            **dict.fromkeys(("version", "verdict", "external_id", "revision")),
            "lost": False,
            **told,
            "job_id": str(job_id),
            "from": list(states),
            "state": str(state),
            "outcome": stored.text(outcome),
        }
        return self._one(END, **given) or self.get(job_id)

    def _one(self, query: str, **given: Any) -> Job | None:
        found = self._all(query, **given)
        return _job(found[0]) if found else None

    def _all(self, query: str, **given: Any) -> list[tuple[Any, ...]]:
        with self._database.transaction() as rows:
            rows.execute(query, given)
            return list(rows.fetchall())

    def _do(self, query: str, **given: Any) -> None:
        with self._database.transaction() as rows:
            rows.execute(query, given)


def _too_late(job: Job) -> str:
    if job.state == State.FINISHING:
        words = "is trained, and the gate is judging it: roll back if you do not like it"
        return f"job {job.job_id} {words}"
    return f"job {job.job_id} is over: it was {job.state}"


def _wish(wish: Wish) -> dict[str, Any]:
    return {
        "job_id": str(uuid.uuid4()),
        "model": wish.model,
        "launcher": wish.launcher,
        "by": wish.by,
        "reason": wish.reason,
        **_columns(wish.terms),
    }


def _columns(terms: Terms) -> dict[str, Any]:
    return {**vars(terms), "hyperparameters": stored.json(terms.hyperparameters)}


def _metrics(report: EpochDone) -> dict[str, Any]:
    """Return what is kept of an epoch."""
    measured = {"mAP50": report.map50, "mAP50-95": report.map50_95, "seconds": report.seconds}
    return {"losses": dict(report.losses), **measured}


def _job(row: Sequence[Any]) -> Job:
    job_id, model, kind, state, *others = row
    return Job(UUID(job_id), model, kind, State(state), *others)
