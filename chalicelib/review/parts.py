"""What reviewing is made of: the part of the composition root that only it needs."""

from __future__ import annotations

import functools
from random import SystemRandom
from typing import TYPE_CHECKING

from chalicelib.review.assessor import Assessor
from chalicelib.trust.opinions import Opinions
from chalicelib.trust.task_book import TaskBook

if TYPE_CHECKING:
    from chalicelib.review.people import People
    from chalicelib.review.queue import Review
    from chalicelib.review.releases import ImageReleases
    from chalicelib.review.tasks import Tasks
    from chalicelib.wiring import Services


class Reviewing:
    """The services of review and control tasks, each made when it is first asked for.

    Parameters
    ----------
    services : Services
        All others.
    """

    def __init__(self, services: Services) -> None:
        self._all = services
        self._book = TaskBook(services.database)
        self._opinions = Opinions(services.database)

    @functools.cached_property
    def assessor(self) -> Assessor:
        """Who knows how far a contributor is to be trusted."""
        settings = self._all.settings
        proof = settings.proof == "required"
        return Assessor(self._book, self._opinions, settings.trusted, proof=proof)

    @functools.cached_property
    def people(self) -> People:
        """Contributors, as operators see them."""
        from chalicelib.labels.pool import Pool  # noqa: PLC0415 - whoever submits does without
        from chalicelib.review.people import People  # noqa: PLC0415
        from chalicelib.trust.contributors import Contributors  # noqa: PLC0415

        database = self._all.database
        known, pool = Contributors(database), Pool(database)
        return People(database, known, self._book, self._all.ledger, pool)

    @functools.cached_property
    def releases(self) -> ImageReleases:
        """Which images operators released as control images."""
        from chalicelib.labels.releases import Releases  # noqa: PLC0415 - operators alone need it
        from chalicelib.review.releases import ImageReleases  # noqa: PLC0415

        releases = Releases(self._all.database)
        return ImageReleases(releases, self._book, self._all.predictions_table)

    @functools.cached_property
    def queue(self) -> Review:
        """The queue of what waits for an operator."""
        from chalicelib.review.queue import Review  # noqa: PLC0415 - whoever submits does without
        from chalicelib.trust.waiting import WaitingSubmissions  # noqa: PLC0415

        every = self._all
        waiting = WaitingSubmissions(every.database, every.ledger)
        given = self._opinions, self._book, self.people
        return Review(waiting, *given, every.store, every.submissions)

    @functools.cached_property
    def tasks(self) -> Tasks:
        """Who hands out images to look at."""
        from chalicelib.labels.pool import Pool  # noqa: PLC0415 - whoever submits does without
        from chalicelib.review.candidates import Candidates  # noqa: PLC0415
        from chalicelib.review.tasks import Looking, Tasks  # noqa: PLC0415

        every, chance = self._all, SystemRandom()
        pool = Pool(every.database)
        candidates = Candidates(pool, self._opinions, self._book, chance)
        looking = Looking(
            every.inference,
            every.store,
            every.keeper,
            every.settings.max_pixels,
            every.predictions,
            lambda model: every.pending_models.get(model).visibility,
        )
        rank_of = lambda user: self.assessor.known(user)[1]  # noqa: E731 - a line of wiring
        given = every.catalog, every.ledger, self._book, candidates, looking, chance
        return Tasks(*given, rank_of)
