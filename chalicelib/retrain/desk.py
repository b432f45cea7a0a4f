"""Where trainings are asked for and called off; the course of each is taken up from the queue."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from chalicelib.catalog import Catalog
from chalicelib.catalog.pending import PendingModels
from chalicelib.errors import Conflict, ModelNotFound, QueueUnavailable
from chalicelib.labels.sizes import DatasetSizes
from chalicelib.observability import logger
from chalicelib.queues import Queue
from chalicelib.retrain.job import Job, Terms
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.messages import Due
from chalicelib.settings import Settings


class TrainingDesk:
    """Takes what people and the schedule want of trainings.

    Parameters
    ----------
    jobs : TrainingJobs
    queue : Queue
        Of reports, to which goes too that there is something to do.
    catalog : Catalog
    pending : PendingModels
    sizes : DatasetSizes
    settings : Settings
    """

    def __init__(
        self,
        jobs: TrainingJobs,
        queue: Queue,
        catalog: Catalog,
        pending: PendingModels,
        sizes: DatasetSizes,
        settings: Settings,
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._catalog = catalog
        self._pending = pending
        self._sizes = sizes
        self._settings = settings

    def ask(self, model: str, by: str) -> Job:
        """Have a model trained on what its dataset has now, however little of it is new.

        Raises
        ------
        ModelNotFound
        Conflict
            It is being trained, there is nothing to train or to measure on, or no launcher.
        """
        terms = Terms.of(self._live_version(model), self._settings)
        self._refuse_if_in_vain(model)
        made = self._jobs.create(model, terms, self._settings.launcher, by, f"{by} asked for it")
        if made is None:
            raise Conflict(self._why_not(model))
        self._tell(made.job_id)
        return made

    def cancel(self, job_id: UUID) -> Job:
        """Have a training stopped; it has ended when its trainer has.

        Raises
        ------
        TrainingJobNotFound
        Conflict
            It is over, or trained already.
        """
        job = self._jobs.cancel(job_id)
        if not job.is_over:
            self._tell(job_id)
        return job

    def drive(self) -> int:
        """Have every job that is not over looked at; return how many.

        Raises
        ------
        DatabaseUnavailable, QueueUnavailable
        """
        return self._send(self._jobs.open_ids())

    def look_at(self, external_id: str) -> int:
        """Have the job that its launcher calls so looked at; return whether there is one.

        Raises
        ------
        DatabaseUnavailable, QueueUnavailable
        """
        return self._send(self._jobs.called(external_id))

    def remind(self, job_id: UUID, seconds: int) -> None:
        """Have a job looked at later; where that cannot be said, the schedule comes to it."""
        self._tell(job_id, seconds)

    def _live_version(self, model: str) -> int | None:
        try:
            return self._catalog.get(model).live_version
        except ModelNotFound:
            self._require_pending(model)
            return None

    def _require_pending(self, model: str) -> None:
        """Refuse a model that nobody asked for."""
        try:
            self._pending.get(model)
        except ModelNotFound as error:
            raise ModelNotFound(
                f"there is no model {model!r}, nor was one asked for: GET /v1/models lists those "
                "that serve, GET /v1/pending-models those that wait for a first version"
            ) from error

    def _why_not(self, model: str) -> str:
        """Say which training stands in the way of another."""
        newest = self._jobs.page(model, None, None, 1)
        if not newest or newest[0].is_over:
            return f"another training of {model!r} has just ended: look at it, then ask again"
        job = newest[0]
        if job.cancel_requested:
            return f"{model!r}: job {job.job_id} is being cancelled: ask again when it has ended"
        return f"{model!r} is being trained: wait for job {job.job_id}, or cancel it"

    def _refuse_if_in_vain(self, model: str) -> None:
        if not self._settings.launcher:
            raise Conflict("nothing is trained here: set SIGHTLOOP_LAUNCHER to where it is to be")
        has = self._sizes.of(model)
        if not has.training or not has.validation:
            raise Conflict(
                f"the dataset of {model!r} has {has.training} images to train on and "
                f"{has.validation} to measure on, and it takes one of each at least: "
                "send corrections, or import labelled images"
            )

    def _send(self, ids: Collection[UUID]) -> int:
        """Have jobs looked at; return how many."""
        for job_id in ids:
            self._queue.send(Due(job_id=job_id))
        return len(ids)

    def _tell(self, job_id: UUID, seconds: int = 0) -> None:
        """Have a job looked at; where that cannot be said, the schedule comes to it."""
        try:
            self._queue.send(Due(job_id=job_id), seconds)
        except QueueUnavailable:
            logger.warning("a job waits for the schedule", exc_info=True, job_id=str(job_id))
