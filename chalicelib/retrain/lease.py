"""Holding a training while it is judged: for a short time, renewed as long as the judge lives."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self
from uuid import UUID

from chalicelib.errors import SightloopError
from chalicelib.observability import logger
from chalicelib.retrain.job import Job
from chalicelib.retrain.jobs import TrainingJobs

LEASE_SECONDS = 40.0  # without a word from the judge, after which another may take its place
BEAT_SECONDS = 10.0  # between the words: three may be lost
SPARE_SECONDS = 2.0  # by which a reminder comes after the lease has run out

Remind = Callable[[UUID, int], None]


class Lease:
    """A job that this process judges, held inside a ``with`` block.

    Whoever is killed renews nothing any more, and with each renewal it has left a message that has
    the job looked at when that renewal has run out. A judge that is held up for longer than its
    lease may find another beside it: both find the same, and the row changes once.

    Parameters
    ----------
    jobs : TrainingJobs
    held : Job
        As ``TrainingJobs.lease`` gave it.
    remind : callable
        Has a job looked at after so many seconds.
    seconds, beat_seconds : float, optional
        For how long it is held without being renewed, and how often it is renewed.
    """

    def __init__(
        self,
        jobs: TrainingJobs,
        held: Job,
        remind: Remind,
        seconds: float = LEASE_SECONDS,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self.held = held
        self._jobs = jobs
        self._remind = remind
        self._seconds = seconds
        self._beat_seconds = beat_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_till_the_end, daemon=True)

    def __enter__(self) -> Self:
        self._leave_a_reminder()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def give_back(self, trouble: str) -> None:
        """Let others have the job, which could not be judged now, and say why; after the block."""
        self._jobs.release(self.held, trouble)

    def _renew_till_the_end(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            try:
                renewed = self._jobs.renew(self.held, self._seconds)
            except SightloopError:
                logger.warning("a lease could not be renewed", exc_info=True, job_id=self._job_id)
                continue
            if renewed is None:
                logger.warning("a lease is another's by now", job_id=self._job_id)
                return
            self.held = renewed
            self._leave_a_reminder()

    def _leave_a_reminder(self) -> None:
        """Have the job looked at when this process has not said anything for too long."""
        self._remind(self.held.job_id, math.ceil(max(self._seconds, 0) + SPARE_SECONDS))

    @property
    def _job_id(self) -> str:
        return str(self.held.job_id)
