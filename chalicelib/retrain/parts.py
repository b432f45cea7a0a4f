"""What retraining is made of: the part of the composition root that only it needs."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from chalicelib.retrain.desk import TrainingDesk
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.planner import Planner

if TYPE_CHECKING:
    from chalicelib.wiring import Services


class Training:
    """The services of retraining, each made when it is first asked for.

    Parameters
    ----------
    services : Services
        All others.
    """

    def __init__(self, services: Services) -> None:
        self._all = services

    @functools.cached_property
    def jobs(self) -> TrainingJobs:
        """What is trained, and how far it is."""
        return TrainingJobs(self._all.database)

    @functools.cached_property
    def planner(self) -> Planner:
        """Who decides what is trained."""
        return Planner(self._all.database, self.jobs, self._all.settings)

    @functools.cached_property
    def desk(self) -> TrainingDesk:
        """Where trainings are asked for."""
        every, settings = self._all, self._all.settings
        queue = every.queue(settings.training_queue)
        return TrainingDesk(
            self.jobs, queue, every.catalog, every.pending_models, every.dataset_sizes, settings
        )
