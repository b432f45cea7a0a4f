"""What retraining is made of: the part of the composition root that only it needs."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from chalicelib.errors import ConfigurationError
from chalicelib.retrain.desk import TrainingDesk
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.planner import Planner

if TYPE_CHECKING:
    from chalicelib.catalog import Publisher
    from chalicelib.retrain.comparing.comparison import Comparer
    from chalicelib.retrain.course import Course
    from chalicelib.retrain.job import Settler
    from chalicelib.retrain.launchers import Launcher
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

    @functools.cached_property
    def course(self) -> Course:
        """Who brings trainings on."""
        from chalicelib.retrain.course import Course, Parts  # noqa: PLC0415 - no route needs it
        from chalicelib.retrain.orders import Orders  # noqa: PLC0415

        every, settings = self._all, self._all.settings
        known, versions = every.known_models, every.dataset_versions
        orders = Orders(self.jobs, every.store, every.catalog, known, versions, settings)
        parts = Parts(
            jobs=self.jobs,
            store=every.store,
            orders=orders,
            launcher=self.launcher,
            settler=self._settler,
            remind=self.desk.remind,
            max_seconds=settings.training_max_seconds,
            now=every.now,
        )
        return Course(parts)

    @functools.cached_property
    def publisher(self) -> Publisher:
        """Who makes versions serve, with the database wherever its address is from."""
        every = self._all
        return every.publisher_over(every.database if every.has_database() else None)

    def launcher(self, name: str) -> Launcher:
        """Return the launcher of that name, which need not be the one for new trainings.

        Raises
        ------
        ConfigurationError
            It cannot work as this service is set up.
        """
        from chalicelib.retrain import launchers  # noqa: PLC0415 - what trains is asked rarely

        chosen = self._all.settings.model_copy(update={"launcher": name})
        made = launchers.make(chosen, self._all.client)
        if made is None:
            raise ConfigurationError(f"there is no launcher {name!r}")
        return made

    def _settler(self) -> Settler:
        """Return who judges what trainings brought."""
        from chalicelib.labels.waited import waited  # noqa: PLC0415 - only the end needs the gate
        from chalicelib.retrain.gate import Terms  # noqa: PLC0415
        from chalicelib.retrain.measuring import Beside  # noqa: PLC0415
        from chalicelib.retrain.settle import Settlement  # noqa: PLC0415 - loads onnxruntime

        every = self._all
        how_long = functools.partial(waited, every.database)
        terms, beside = Terms.of(every.settings), Beside(every.store)
        return Settlement(every.store, self.publisher, every.database, terms, beside, how_long)

    @functools.cached_property
    def comparer(self) -> Comparer:
        """Who puts two versions side by side."""
        from chalicelib.retrain.comparing.comparison import Comparer  # noqa: PLC0415 - loads onnxruntime
        from chalicelib.vision import DetectionOptions  # noqa: PLC0415

        every, settings = self._all, self._all.settings
        options = DetectionOptions(max_pixels=settings.max_pixels)
        threads = settings.inference_threads
        return Comparer(every.store, every.catalog, every.dataset_images, options, threads)
