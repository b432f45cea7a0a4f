"""Choosing the next image for a contributor, so that a control looks like any other."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chalicelib.callers import is_member
from chalicelib.catalog import Catalog
from chalicelib.catalog.visibility import Audience, Visibility
from chalicelib.errors import (
    InvalidImage,
    ModelNotFound,
    ModelUnavailable,
    NoTask,
    ObjectNotFound,
    PredictionNotFound,
    Unauthorized,
)
from chalicelib.inference import Inference, Look
from chalicelib.inference.options import Options
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.predictions import PredictionReader
from chalicelib.predictions.keeper import Keeper, TaskTerms
from chalicelib.predictions.unseen import unseen
from chalicelib.review.candidates import Candidate, Candidates, Choice
from chalicelib.storage import ObjectStore
from chalicelib.trust.ledger import Ledger
from chalicelib.trust.policy import (
    MOST_UNANSWERED,
    USUAL_TASK_RATE,
    Rank,
    control_rate,
)
from chalicelib.trust.standing import PROVEN_CONTROLS, TrustStanding
from chalicelib.trust.task_book import Task, TaskBook

MOST_OPEN = 20
MOST_TRIED = 5
VisibilityOf = Callable[[str], Visibility]
NOTHING = "nothing of this model needs another look at the moment: come back later"


@dataclass(frozen=True)
class Given:
    """An image that somebody is asked to look at; ``again``: they were asked before."""

    prediction_id: str
    model: str
    again: bool = False


def _none_pending(model: str) -> Visibility:
    raise ModelNotFound(f"there is no model {model!r}")


@dataclass(frozen=True)
class Looking:
    """Who looks at a picture and keeps what was found: the model, the store, the predictions.

    ``pending`` returns the visibility of a model without a version, or raises ``ModelNotFound``.
    """

    inference: Inference
    store: ObjectStore
    keeper: Keeper
    max_pixels: int
    predictions: PredictionReader
    pending: VisibilityOf = _none_pending

    def look(self, model: str, image: bytes, options: Options) -> Look:
        """Return what the live version detects; nothing where the model has no version yet."""
        try:
            return self.inference.look(model, image, options.for_detector(self.max_pixels))
        except ModelNotFound:
            return unseen(model, image, self.max_pixels)


class Tasks:
    """Hands out images to look at.

    Parameters
    ----------
    catalog : Catalog
    ledger : Ledger
    book : TaskBook
    candidates : Candidates
    looking : Looking
    chance : random.Random
        One that cannot be foretold, such as ``random.SystemRandom``.
    rank_of : callable, optional
        From a user to how far they are trusted.
    """

    def __init__(
        self,
        catalog: Catalog,
        ledger: Ledger,
        book: TaskBook,
        candidates: Candidates,
        looking: Looking,
        chance: random.Random,
        rank_of: Callable[[str], Rank] = lambda _: Rank.PROBATION,
    ) -> None:
        self._catalog = catalog
        self._rank_of = rank_of
        self._ledger = ledger
        self._book = book
        self._candidates = candidates
        self._looking = looking
        self._chance = chance

    def next(self, user_address: str, model: str, correlation_id: str) -> Given:
        """Return an image that a user neither saw nor sent; an old one where too many are open.

        Raises
        ------
        ModelNotFound
        NoTask
            Nothing needs another look.
        Unauthorized
            The model's photos are shown to members only.
        """
        setting, is_pending = self._setting(model)
        if setting is not Visibility.PUBLIC and Audience.of(user_address) is Audience.ANYBODY:
            raise Unauthorized(
                f"photos of the model {model!r} are shown to members only: send a token "
                "that an operator gave you"
            )
        waiting = self._book.open_tasks(user_address, model, MOST_OPEN)
        if len(waiting) >= MOST_OPEN and (still_shown := self._still_shown(waiting)):
            return Given(still_shown, model, again=True)
        choice = self._candidates.for_user(user_address, model, setting)
        for candidate in self._in_turn(user_address, choice, is_pending)[:MOST_TRIED]:
            given = self._give(user_address, model, candidate, correlation_id)
            if given:
                return given
        raise NoTask(NOTHING)

    def offer(self, user_address: str, model: str, correlation_id: str) -> Given | None:
        """Return an image that a user is asked to look at after an answer of their own; or none.

        Who has to prove themselves is always asked, everybody else now and then. An image that
        they left unanswered is offered again before another one.
        """
        rank = self._rank_of(user_address)
        if not is_member(user_address) or rank >= Rank.KNOWN:
            return None
        waiting = self._book.open_tasks(user_address, model, MOST_UNANSWERED)
        is_due = rank < Rank.ESTABLISHED or len(waiting) >= MOST_UNANSWERED
        if is_due and (still_shown := self._still_shown(waiting)):
            return Given(still_shown, model, again=True)
        if rank >= Rank.ESTABLISHED and self._chance.random() >= USUAL_TASK_RATE:
            return None
        try:
            return self.next(user_address, model, correlation_id)
        except (NoTask, ModelNotFound, ModelUnavailable):
            return None

    def _still_shown(self, waiting: Sequence[str]) -> str | None:
        """Return the oldest task whose photo may be shown still, and is there."""
        for prediction_id in waiting:
            try:
                self._looking.predictions.read(prediction_id)
            except PredictionNotFound:
                continue
            return prediction_id
        return None

    def _setting(self, model: str) -> tuple[Visibility, bool]:
        """Return a model's visibility, and whether it has no version yet."""
        try:
            return self._catalog.require(model).file.visibility, False
        except ModelNotFound:
            return self._looking.pending(model), True

    def _in_turn(self, user_address: str, choice: Choice, is_pending: bool) -> Sequence[Candidate]:
        """Return candidates in the order in which they are tried.

        Where nothing wants an opinion, people who still have to prove themselves get controls
        alone, and others nothing: to give those a control now and then would tell it from the rest.
        A pending model without controls cannot prove anybody: there the opinions that an image
        gets are left to those who proved themselves on other models.
        """
        known = self._ledger.standing(user_address)
        standing = self._book.standing(user_address)
        rank = self._rank_of(user_address)
        if is_pending and not choice.controls and not (standing.is_proven or rank >= Rank.KNOWN):
            return ()
        if not choice.opinions:
            return choice.controls if standing.controls.answers < PROVEN_CONTROLS * 2 else ()
        suspicious = known.suspicious_requests - known.forgiven_requests if known else 0
        if self._draws_control(rank, suspicious, standing):
            return [*choice.controls, *choice.opinions]
        return choice.opinions

    def _draws_control(self, rank: Rank, suspicious: int, standing: TrustStanding) -> bool:
        return self._chance.random() < control_rate(rank, suspicious, standing)

    def _give(
        self, user_address: str, model: str, candidate: Candidate, correlation_id: str
    ) -> Given | None:
        """Detect in an image and hand it out; None where it is gone, or was just handed out."""
        image = self._read(candidate)
        if image is None:
            return None
        options = Options()
        looking = self._looking
        try:
            look = looking.look(model, image, options)
            terms = TaskTerms(
                Audience.of(user_address), candidate.visibility, candidate.is_released
            )
            kept = looking.keeper.keep(look, correlation_id, options, task=terms)
        except InvalidImage:
            logger.exception("an image of a dataset cannot be read", sha256=candidate.image_sha256)
            return None
        task = _task(kept.prediction_id, user_address, model, candidate)
        if not self._book.hand_out(task):
            return None
        metrics.add_metric("TasksHandedOut", MetricUnit.Count, 1)
        return Given(kept.prediction_id, model)

    def _read(self, candidate: Candidate) -> bytes | None:
        for key in candidate.keys:
            try:
                return self._looking.store.get(key).body
            except ObjectNotFound:
                logger.info("an image is not there", key=key)
        return None


def _task(prediction_id: str, user_address: str, model: str, candidate: Candidate) -> Task:
    return Task(
        prediction_id,
        user_address,
        model,
        candidate.image_sha256,
        "control" if candidate.settled is not None else "second_opinion",
        candidate.settled,
        candidate.label_id,
    )
