"""Writing down what a trainer is to do: on which data, from which weights, with which settings."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.catalog import Catalog
from chalicelib.errors import Conflict, ModelNotFound
from chalicelib.labels.datasets.versions import DatasetVersions
from chalicelib.labels.models import KnownModels
from chalicelib.retrain.job import Job, Terms
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.keys import order_key
from chalicelib.retrain.launchers import Launch
from chalicelib.retrain.messages import TrainingOrder
from chalicelib.settings import Settings
from chalicelib.storage import ObjectStore


@dataclass(frozen=True)
class Orders:
    """Cuts a job's dataset and writes its order.

    Attributes
    ----------
    jobs : TrainingJobs
    store : ObjectStore
    catalog : Catalog
    models : KnownModels
    versions : DatasetVersions
    settings : Settings
    """

    jobs: TrainingJobs
    store: ObjectStore
    catalog: Catalog
    models: KnownModels
    versions: DatasetVersions
    settings: Settings

    def place(self, job: Job) -> Job:
        """Write a queued job's order, on the data and weights that there are now.

        What was decided once holds: a second call writes the same file.

        Returns
        -------
        Job
            As it is; without a dataset where it is to be cancelled.

        Raises
        ------
        Conflict
            The dataset has nothing to train on, or nothing to measure on.
        ModelNotFound
        DatabaseUnavailable, StorageUnavailable
        """
        names = self.models.class_names(job.model)
        if job.dataset_sha256 is None:
            job = self._decided(job, names)
        if job.dataset_sha256 is not None and not job.is_over:
            order = _order(job, job.dataset_sha256, names)
            key = order_key(job.job_id)
            self.store.put(key, order.model_dump_json().encode(), "application/json")
        return job

    def launch(self, job: Job) -> Launch:
        """Return what a launcher has to know of a job."""
        return Launch(job.job_id, job.model, self.settings.training_max_seconds)

    def revision(self, model: str) -> int:
        """Return how far a model's dataset has come."""
        return self.versions.revision(model)

    def _decided(self, job: Job, names: tuple[str, ...]) -> Job:
        before = self.revision(job.model)  # the same content may have been cut long ago
        cut, _ = self.versions.cut(job.model, names, job.requested_by)
        if not cut.train or cut.valid <= cut.leaking:
            raise Conflict(
                f"the dataset has {cut.train} images to train on and {cut.valid - cut.leaking} "
                "to measure on: it takes one of each at least"
            )
        terms = Terms.of(self._live_version(job.model), self.settings)
        return self.jobs.order(job.job_id, cut.sha256, max(cut.revision, before), terms)

    def _live_version(self, model: str) -> int | None:
        self.catalog.forget(model)
        try:
            return self.catalog.get(model).live_version
        except ModelNotFound:
            return None


def _order(job: Job, dataset_sha256: str, names: tuple[str, ...]) -> TrainingOrder:
    return TrainingOrder(
        job_id=job.job_id,
        model=job.model,
        kind=job.kind,
        class_names=names,
        dataset_sha256=dataset_sha256,
        base_version=job.base_version,
        hyperparameters=dict(job.hyperparameters),
    )
