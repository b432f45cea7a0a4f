"""The course of a training: queued, launched, training, finishing, and how it ends.

Whatever tells of a job (a report, an event, the schedule, a button) has it looked at, and each look
brings it on from where its row says that it is. A look may be the second, the last of three that
arrive in the wrong order, or follow one that died halfway: what is done outside can be done twice,
and the row changes once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from chalicelib.errors import (
    ConfigurationError,
    SightloopError,
    TrainingJobNotFound,
    Unavailable,
)
from chalicelib.observability import logger
from chalicelib.retrain.job import AWAY, Job, Settler, State
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.keys import output_key
from chalicelib.retrain.launchers import Launcher, Status
from chalicelib.retrain.lease import BEAT_SECONDS, LEASE_SECONDS, Lease, Remind
from chalicelib.retrain.messages import Due, Finished, Report, Started, Stopped
from chalicelib.retrain.orders import Orders
from chalicelib.storage import ObjectStore

COMPLETE = "metrics.json"  # the last of a trainer's files: where it is, all are
SETTLES = timedelta(minutes=2)  # in which a launcher may not know yet what it was given
PATIENCE = timedelta(days=1)  # with what cannot be launched, or judged
REMINDER_SECONDS = 30
ASKED_FOR = "it was cancelled"


@dataclass(frozen=True)
class Parts:
    """What the course of a training needs.

    Attributes
    ----------
    jobs : TrainingJobs
    store : ObjectStore
    orders : Orders
        Who writes down what a trainer is to do.
    launcher : callable
        From a launcher's name to it.
    settler : callable
        Returns who judges; called when something is to be judged.
    remind : callable
        Has a job looked at after so many seconds.
    max_seconds : int
        After which a training may be stopped.
    now : callable
    """

    jobs: TrainingJobs
    store: ObjectStore
    orders: Orders
    launcher: Callable[[str], Launcher]
    settler: Callable[[], Settler]
    remind: Remind
    max_seconds: int
    now: Callable[[], datetime]


class Course:
    """Brings trainings on.

    Parameters
    ----------
    parts : Parts
    lease_seconds : float, optional
        For how long who judges a training and says nothing is taken to be at it.
    beat_seconds : float, optional
        How often who judges says so.
    """

    def __init__(
        self,
        parts: Parts,
        lease_seconds: float = LEASE_SECONDS,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self._parts = parts
        self._jobs = parts.jobs
        self._lease_seconds = lease_seconds
        self._beat_seconds = beat_seconds

    def receive(self, report: Report) -> Job | None:
        """Take a message of the training queue; None where there is no such job.

        Raises
        ------
        Unavailable
            Something does not answer: the message has to come again.
        """
        try:
            job = self._jobs.get(report.job_id)
            if job.state == State.QUEUED and not isinstance(report, Due):
                job = self._look(job)  # whoever launched it died before that was written down
            return self._received(job, report)
        except TrainingJobNotFound:
            logger.warning("a report of a training that nobody knows", job_id=str(report.job_id))
            return None

    def look(self, job_id: UUID) -> Job:
        """Bring a job on from where it is.

        Raises
        ------
        TrainingJobNotFound
        Unavailable
            Something does not answer: to be tried again.
        """
        return self._look(self._jobs.get(job_id))

    def _received(self, job: Job, report: Report) -> Job:
        if isinstance(report, Due):
            return self._look(job)
        if isinstance(report, Finished):
            return self._finish_if_complete(job)
        if isinstance(report, Stopped):
            return self._stopped(job, report)
        if isinstance(report, Started):
            told = self._jobs.started(report)
        else:
            told = self._jobs.reached(report)
        if told.cancel_requested or (told.ended_at and report.at > told.ended_at):
            self._stop(told)  # it goes on though nobody waits for it
        return told

    def _look(self, job: Job) -> Job:
        if job.state == State.QUEUED:
            return self._launch(job)
        if job.state in AWAY:
            return self._compare(job)
        if job.state == State.FINISHING:
            return self._finish(job)
        return job

    def _launch(self, job: Job) -> Job:
        """Hand a queued job to its launcher, which may have been done before."""
        if job.cancel_requested and job.dataset_sha256 is None:
            revision = self._parts.orders.revision(job.model)
            return self._jobs.end(
                job.job_id, [State.QUEUED], State.CANCELLED, ASKED_FOR, revision=revision
            )
        try:
            return self._launched(self._parts.orders.place(job))
        except SightloopError as error:
            return self._could_not_launch(job, error)

    def _launched(self, job: Job) -> Job:
        """Launch a job whose order is written; what was cancelled meanwhile is stopped at once."""
        if job.is_over or job.dataset_sha256 is None:
            return job
        launcher = self._parts.launcher(job.launcher)
        external_id = launcher.launch(self._parts.orders.launch(job))
        launched = self._jobs.launched(job.job_id, external_id)
        if launched.cancel_requested or launched.is_over:
            launcher.stop(external_id)
        self._parts.remind(job.job_id, REMINDER_SECONDS)  # if it cannot even begin, it is silent
        logger.info("a training was launched", job_id=str(job.job_id), model=job.model)
        return launched

    def _could_not_launch(self, job: Job, error: SightloopError) -> Job:
        """Keep a job for the next look, with what stands in its way; give it up after a day."""
        logger.error("a training cannot be launched", exc_info=True, job_id=str(job.job_id))
        self._jobs.note_trouble(job.job_id, error.detail)
        is_late = self._parts.now() - job.created_at > PATIENCE
        if error.retry and not is_late:
            raise error
        waits = error.retry or isinstance(error, ConfigurationError)
        if waits and not is_late and not job.cancel_requested:
            return self._jobs.get(job.job_id)
        state, outcome = State.FAILED, f"it could not be launched: {error.detail}"
        if job.cancel_requested:
            state, outcome, waits = State.CANCELLED, ASKED_FOR, False
        revision = None if waits else self._parts.orders.revision(job.model)
        return self._jobs.end(
            job.job_id, [State.QUEUED], state, outcome, lost=waits, revision=revision
        )

    def _compare(self, job: Job) -> Job:
        """Ask what became of a job that was launched."""
        assert job.external_id is not None
        try:
            status = self._parts.launcher(job.launcher).status(job.external_id)
        except SightloopError as error:
            return self._cannot_tell(job, error)
        if status.state in ("waiting", "running"):
            return self._still_there(job)
        if status.state == "gone" and self._age(job) < SETTLES:
            return job
        return self._ended(job, status)

    def _cannot_tell(self, job: Job, error: SightloopError) -> Job:
        """Wait until the launcher can tell of a job, but not for ever."""
        if self._age(job) > self._longest:
            outcome = f"nobody can tell what became of it: {error.detail}"
            return self._end_away(job, State.FAILED, outcome, lost=True)
        self._jobs.note_trouble(job.job_id, error.detail)
        if error.retry:
            raise error
        logger.error("nobody can tell of a training", exc_info=True, job_id=str(job.job_id))
        return self._jobs.get(job.job_id)

    def _still_there(self, job: Job) -> Job:
        """Stop what is to be cancelled or takes too long; judge what has its output already."""
        if self._age(job) > self._longest:
            self._stop_if_it_can_be(job)
            outcome = f"it was stopped: it has taken more than {self._longest}"
            return self._end_away(job, State.FAILED, outcome, lost=False)
        if job.cancel_requested:
            self._stop(job)
            self._parts.remind(job.job_id, REMINDER_SECONDS)
            return job
        return self._finish_if_complete(job)

    def _ended(self, job: Job, status: Status) -> Job:
        """Judge what a job that has ended brought, or say why it brought nothing."""
        if not job.cancel_requested and self._is_complete(job):
            return self._finish(self._jobs.finishing(job.job_id))
        words = {
            "ended": "its trainer ended without output",
            "failed": "its trainer failed",
            "stopped": "it was stopped from outside",
            "gone": f"{job.launcher} knows nothing of it any more",
        }
        told = words[status.state] + (f": {status.detail}" if status.detail else "")
        return self._end_away(job, State.FAILED, told, lost=status.state in ("gone", "stopped"))

    def _stopped(self, job: Job, report: Stopped) -> Job:
        """Take a trainer's word that it ended; one of an earlier start says nothing any more."""
        if job.state not in AWAY or report.start < job.starts:
            return job
        if not (report.failed or job.cancel_requested):
            return job  # it was interrupted: its launcher starts it again
        if not job.cancel_requested and self._is_complete(job):
            return self._finish(self._jobs.finishing(job.job_id))
        self._stop(job)
        return self._end_away(job, State.FAILED, report.reason, lost=False)

    def _end_away(self, job: Job, state: State, outcome: str, lost: bool) -> Job:
        """End a job that is with its launcher; one that was to be cancelled is cancelled."""
        if job.cancel_requested:
            state, outcome, lost = State.CANCELLED, ASKED_FOR, False
        logger.info("a training ended", job_id=str(job.job_id), state=str(state), outcome=outcome)
        return self._jobs.end(job.job_id, AWAY, state, outcome, lost=lost)

    def _finish_if_complete(self, job: Job) -> Job:
        if job.state in AWAY and not job.cancel_requested and self._is_complete(job):
            job = self._jobs.finishing(job.job_id)
        return self._finish(job)

    def _finish(self, job: Job) -> Job:
        """Have a job judged, unless somebody is at it."""
        if self._kills_its_judges(job):
            outcome = (
                "whoever began to judge it broke off, for two days: the service's log says why"
            )
            return self._jobs.end(job.job_id, [State.FINISHING], State.FAILED, outcome, lost=True)
        held = None
        if job.state == State.FINISHING:
            held = self._jobs.lease(job.job_id, self._lease_seconds)
        if held is None:
            return job
        seconds = self._lease_seconds, self._beat_seconds
        lease = Lease(self._jobs, held, self._parts.remind, *seconds)
        try:
            with lease:
                settled = self._parts.settler().settle(held)
        except SightloopError as error:
            return self._could_not_judge(lease, error)
        logger.info("a training was judged", job_id=str(job.job_id), outcome=settled.outcome)
        return self._jobs.settled(job.job_id, settled)

    def _kills_its_judges(self, job: Job) -> bool:
        """Tell whether judging was begun in vain for so long that nobody will ever end it."""
        now, began = self._parts.now(), job.leased_until
        is_left = job.state == State.FINISHING and began is not None and began < now
        return is_left and now - job.heard_at > 2 * PATIENCE

    def _could_not_judge(self, lease: Lease, error: SightloopError) -> Job:
        held = lease.held
        is_late = self._parts.now() - held.heard_at > PATIENCE
        waits = isinstance(error, (Unavailable, ConfigurationError))
        if waits and not is_late:
            lease.give_back(error.detail)
            raise error
        logger.error("a training cannot be judged", exc_info=True, job_id=str(held.job_id))
        outcome = f"it could not be judged: {error.detail}"
        return self._jobs.end(held.job_id, [State.FINISHING], State.FAILED, outcome, lost=waits)

    @property
    def _longest(self) -> timedelta:
        """How long a job may be away: it may have waited for a machine."""
        return timedelta(seconds=2 * self._parts.max_seconds)

    def _stop_if_it_can_be(self, job: Job) -> None:
        try:
            self._stop(job)
        except SightloopError:
            logger.warning("a training could not be stopped", exc_info=True, job_id=str(job.job_id))

    def _stop(self, job: Job) -> None:
        if job.external_id is not None:
            self._parts.launcher(job.launcher).stop(job.external_id)

    def _is_complete(self, job: Job) -> bool:
        return self._parts.store.has(output_key(job.job_id, COMPLETE))

    def _age(self, job: Job) -> timedelta:
        return self._parts.now() - (job.launched_at or job.created_at)
