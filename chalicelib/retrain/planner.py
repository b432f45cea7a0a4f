"""Which models have earned a training: those with enough images that they have not learnt from.

A model that serves needs so many new ones since the state of the dataset that its live version was
trained on. One that has no version needs so many altogether. Whatever came of the last job, it is
not repeated on the same images: as many new ones are wanted since those that it learnt from.
Near-duplicates count once, and one contributor for no more than a share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from chalicelib.catalog.lineage import Standing, standings
from chalicelib.database import Database
from chalicelib.labels.progress import Progress, Toward, TrainingProgress
from chalicelib.labels.sizes import Sizes
from chalicelib.observability import logger
from chalicelib.retrain.job import Terms, Wish
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.plans import Plan, Plans, running
from chalicelib.settings import Settings

BY = "planner"
MOST_LOST = 3  # jobs in a row that came to nothing for no fault of their data

# Of each model its open job and, of its last ones, up to which revision their data was tried.
COURSES = """
SELECT m.model, o.job_id::text, o.state, tried.revision
FROM unnest(%(models)s::text[]) AS m (model)
LEFT JOIN training_jobs o ON o.model = m.model AND o.ended_at IS NULL
LEFT JOIN LATERAL (
    SELECT CASE WHEN count(*) = %(most)s AND bool_and(l.lost) THEN max(l.dataset_revision)
                ELSE max(l.dataset_revision) FILTER (WHERE NOT l.lost) END AS revision
    FROM (SELECT j.lost, j.dataset_revision FROM training_jobs j
          WHERE j.model = m.model AND j.ended_at IS NOT NULL
          ORDER BY j.created_at DESC LIMIT %(most)s) l
) tried ON true
"""
MOMENT = "SELECT now()"


class Counts(Protocol):
    """Counts images; `TrainingProgress` does."""

    def toward(self, revisions: Mapping[str, int | None], needs: Sizes) -> dict[str, Toward]:
        """Count the images of each side that are newer than a revision, until it is enough."""


@dataclass(frozen=True)
class Course:
    """How far a model's trainings are: the open one, and which data was tried last."""

    job_id: str | None = None
    state: str | None = None
    tried: int | None = None


@dataclass(frozen=True)
class Need:
    """What a model has, and with what it is trained: all images, or those that are new."""

    what: str
    progress: Toward
    needs: Sizes

    @property
    def has(self) -> Sizes:
        """How many images of either side count."""
        return self.progress.counts

    @property
    def uncounted(self) -> str:
        """Which images of a side that lacks some do not count, in words; empty: none."""
        sides = (
            (self.progress.training, self.needs.training, "training"),
            (self.progress.validation, self.needs.validation, "validation"),
        )
        notes = [
            note
            for progress, needs, side in sides
            if progress.counts < needs
            for note in _uncounted(progress, f"{self.what}{side}", needs)
        ]
        return "".join(f"; {note}" for note in notes)

    @property
    def is_met(self) -> bool:
        """Whether there are enough on both sides."""
        return not self.missing

    @property
    def missing(self) -> str:
        """How many are missing, in words; empty where none are."""
        sides = (
            (self.needs.training - self.has.training, "training"),
            (self.needs.validation - self.has.validation, "validation"),
        )
        return " and ".join(
            f"{short} more {self.what}{side} image{'s' if short > 1 else ''}"
            for short, side in sides
            if short > 0
        )


class Planner:
    """Decides for every model, and makes the jobs.

    Parameters
    ----------
    database : Database
    jobs : TrainingJobs
    settings : Settings
    counts : Counts, optional
    """

    def __init__(
        self,
        database: Database,
        jobs: TrainingJobs,
        settings: Settings,
        counts: Counts | None = None,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._settings = settings
        self._counts = counts or TrainingProgress(database, settings.max_contributor_share)
        self._plans = Plans(database)

    def run(self) -> list[Plan]:
        """Decide for every model, write down why, and make a job for each that has earned one.

        Two at once make one job: the second finds the first's, be it over by then.

        Raises
        ------
        DatabaseUnavailable
        """
        since, standing = self._moment(), {each.model: each for each in standings(self._database)}
        plans = self.consider(standing)
        self._plans.keep(plans)
        wishes = [
            self._wish(plan, standing[plan.model]) for plan in plans if plan.decision == "launch"
        ]
        for job in self._jobs.create_all(wishes, since):
            logger.info("a training was planned", model=job.model, job_id=str(job.job_id))
        return plans

    def consider(self, standing: Mapping[str, Standing]) -> list[Plan]:
        """Return what is to become of each of some models."""
        courses = self._courses(standing)
        needs = self._needs(list(standing.values()), courses)
        return [self._plan(model, courses[model], needs[model]) for model in standing]

    def plans(
        self, model: str | None = None, after: str = "", limit: int | None = None
    ) -> list[Plan]:
        """Return what was decided last, by model; of one only, behind a name, or so many."""
        return self._plans.page(model, after, limit)

    def _moment(self) -> datetime:
        with self._database.transaction() as rows:
            rows.execute(MOMENT)
            [moment] = rows.fetchone() or [None]
        assert isinstance(moment, datetime)
        return moment

    def _courses(self, models: Iterable[str]) -> dict[str, Course]:
        given = {"models": list(models), "most": MOST_LOST}
        with self._database.transaction() as rows:
            rows.execute(COURSES, given)
            return {model: Course(*row) for model, *row in rows.fetchall()}

    def _needs(
        self, standing: list[Standing], courses: Mapping[str, Course]
    ) -> dict[str, list[Need]]:
        """Return what each model needs; a pending one that was tried needs new ones besides."""
        whole, fresh = self._first(), self._again()
        revisions = {each.model: _learnt(each, courses[each.model]) for each in standing}
        pending = {each.model: None for each in standing if each.live_version is None}
        new = self._counts.toward(revisions, fresh)
        total = self._counts.toward(pending, whole) if pending else {}
        needs: dict[str, list[Need]] = {}
        for each in standing:
            since = Need("new ", new[each.model], fresh)
            if each.live_version is None:
                tried = [since] if revisions[each.model] is not None else []
                needs[each.model] = [Need("", total[each.model], whole), *tried]
            else:
                needs[each.model] = [since]
        return needs

    def _first(self) -> Sizes:
        settings = self._settings
        return Sizes(settings.min_training_set_size, settings.min_validation_set_size)

    def _again(self) -> Sizes:
        settings = self._settings
        return Sizes(settings.min_new_training_data, settings.min_new_validation_data)

    def _plan(self, model: str, course: Course, needs: list[Need]) -> Plan:
        need = next((each for each in needs if not each.is_met), needs[0])
        told: dict[str, Any] = {
            "new_train": need.has.training,
            "new_valid": need.has.validation,
            "needs_train": need.needs.training,
            "needs_valid": need.needs.validation,
        }
        if course.job_id:
            return Plan(model, "running", running(course.job_id, str(course.state)), **told)
        if not need.is_met:
            return Plan(model, "wait", _wanting(need, course), **told)
        if not self._settings.launcher:
            return Plan(model, "wait", f"{_enough(need)}, but no launcher is set up", **told)
        return Plan(model, "launch", _enough(need), **told)

    def _wish(self, plan: Plan, standing: Standing) -> Wish:
        terms = Terms.of(standing.live_version, self._settings)
        return Wish(plan.model, terms, self._settings.launcher, BY, plan.reason)


def _learnt(standing: Standing, course: Course) -> int | None:
    """Return up to which revision a model's data was learnt from or tried."""
    known = [each for each in (standing.dataset_revision, course.tried) if each is not None]
    return max(known, default=None)


def _wanting(need: Need, course: Course) -> str:
    since = " since the last training" if need.what and course.tried is not None else ""
    return f"needs {need.missing}{since}{need.uncounted}"


def _uncounted(progress: Progress, side: str, needs: int) -> Iterable[str]:
    """Say which images of a side do not count; whose they are is not said."""
    if alike := progress.images - progress.different:
        yield f"{alike} of {progress.images} {side} images are near-duplicates and count once"
    if beyond := progress.different - progress.counts:
        yield (
            f"{beyond} {side} image{'s are' if beyond > 1 else ' is'} beyond what one contributor "
            f"may bring, which is {min(progress.most, needs - 1)} of {needs}"
        )


def _enough(need: Need) -> str:
    """Say what a training has to go by; counting stopped where it was enough."""
    has, what = need.has, need.what
    return (
        f"has at least {has.training} {what}training images "
        f"and {has.validation} {what}validation images"
    )
