"""Submissions: what people say is on an image, judged, recorded, and, if accepted, a label.

All that a submission changes in the database is one transaction: the request, its user's counters
(by triggers), the label and its image. The image's bytes are where the label will take them from
before it begins; files of the dataset follow it, and are made by ``reconcile`` where that fails.
Whoever dies in between leaves all of it or nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

from psycopg2.extensions import cursor

from chalicelib.database import Database
from chalicelib.errors import Banned, Conflict, InvalidSubmission, SightloopError
from chalicelib.labels.case import Case, ImageOf, Judged, Models, Submitted, image_of, reason_of
from chalicelib.labels.dataset import Dataset, NewLabel
from chalicelib.labels.fingerprint import fingerprint_of
from chalicelib.labels.quarantine import Quarantine, quarantine_key
from chalicelib.labels.reference import References, boxes_of
from chalicelib.labels.submitted import GivenBox, Verb, checked
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.predictions import PredictionReader, PredictionView, State
from chalicelib.storage import ObjectStore
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.ledger import Ledger, Outcome, Recorded, Request
from chalicelib.trust.records import signature
from chalicelib.vision import Detections

PUBLISHED_AT_ONCE = 100


class Assessment(Protocol):
    """What is known of a contributor who answers.

    Attributes
    ----------
    is_control : bool
        The image's boxes are settled: the answer is graded and never becomes a label.
    distrust : str | None
        Why it has to wait for a person, in words for that person; None: it does not.
    """

    @property
    def is_control(self) -> bool:
        """Whether the image's boxes are settled."""

    @property
    def distrust(self) -> str | None:
        """Why it has to wait for a person."""


class Assessor(Protocol):
    """Who knows contributors."""

    def assess(
        self, user_address: str, model: str, prediction_id: str, submitted: ClassedBoxes
    ) -> Assessment:
        """Take note of an answer that is about to be recorded; safe to repeat."""


@dataclass(frozen=True)
class Parts:
    """What submissions work with.

    ``appeal`` tells a banned user how to have the ban lifted; images of rejected submissions are
    kept for ``rejected_days``.
    """

    predictions: PredictionReader
    models: Models
    store: ObjectStore
    ledger: Ledger
    dataset: Dataset
    assessor: Assessor | None = None
    appeal: str = "write to those who run this service"
    rejected_days: int = 30
    references: References = field(default_factory=References)


class Submissions:
    """Takes submissions, and carries out what is decided about them and their users.

    Parameters
    ----------
    database : Database
    parts : Parts
    """

    def __init__(self, database: Database, parts: Parts) -> None:
        self._database = database
        self._parts = parts
        self._quarantine = Quarantine(database, parts.store, parts.rejected_days)

    def submit(
        self,
        model: str,
        prediction_id: str,
        user: str,
        answer: Verb,
        boxes: Sequence[GivenBox] = (),
    ) -> Submitted:
        """Take an answer to a prediction; the same once more changes nothing.

        Raises
        ------
        PredictionNotFound, ModelNotFound
        Conflict
            There is nothing to answer to yet, or never will be.
        InvalidSubmission
            Each fault is named.
        ModelUnavailable
            The live version cannot detect, and no earlier detection can be compared with.
        Banned
            The user was banned a moment ago.
        DatabaseUnavailable, StorageUnavailable, NoDatabase
            Nothing was recorded; or it is, and the same once more says so.
        """
        self._database.require()
        view, shown = self._shown(model, prediction_id)
        submitted = checked(answer, boxes, shown)
        image = image_of(self._parts.predictions, prediction_id)
        case = self._case(view, shown, image)
        judged = self._judged(case, user, submitted)
        if judged.waits:
            image = replace(image, key=quarantine_key(image.sha256))
        request = Request(
            user_address=user,
            prediction_id=prediction_id,
            model=model,
            model_version=case.version,
            score=judged.judgement.scored.score,
            predicted_boxes=len(case.predicted),
            submitted_boxes=len(submitted),
            state="quarantined" if judged.waits and not judged.is_control else "accepted",
            detail=judged.detail(answer, image, submitted),
        )
        label = None
        if request.state == "accepted" and not judged.is_control:
            label = _label_of(request, image.content, image.sha256, image.key, submitted)
            self._parts.dataset.look(model, [label])
        waiting = image if judged.waits else None
        outcome, samples = self._record(request, label, waiting, judged.distrust)
        self._publish(samples)
        return _told(Submitted.of(outcome, request, judged))

    def review(
        self,
        request_id: int,
        seen: datetime,
        state: Literal["accepted", "rejected"],
        by: str,
        why: str,
    ) -> Recorded:
        """Accept or reject a submission as it was when the operator looked at it.

        Accepting makes its boxes the newest label of the image, or puts their label back;
        rejecting takes the label back. A control answer is decided about, and is no label.

        Parameters
        ----------
        seen : datetime
            The ``updated_at`` of what the operator looked at.

        Raises
        ------
        NotFound
            There is no such submission.
        Conflict
            Its user has sent something else since; or its image is gone.
        InvalidRequest
            It does not say who or why.
        """
        signature(by, why)
        held = self._parts.ledger.get(request_id)
        if held.updated_at != seen:
            raise Conflict(f"submission {request_id} was sent anew after {seen}: look at it again")
        made = self._label_again(held) if state == "accepted" else None
        with self._database.transaction() as rows:
            if made and not self._quarantine.holds_in(rows, made.source_key):
                raise _gone(request_id)
            recorded = self._parts.ledger.review_in(rows, request_id, seen, state, by, why)
            if state == "rejected":
                samples = self._parts.dataset.withdraw(rows, [request_id], "rejected")
            else:
                samples = self._put_in(rows, recorded, made)
        self._publish(samples)
        return recorded

    def places_of(self, request_ids: Sequence[int]) -> dict[int, str]:
        """Return where the images of these are now, of those that are or were in a dataset."""
        return self._parts.dataset.places_of(request_ids)

    def settle_user(self, user: str, *, publish: bool = True) -> None:
        """Take a banned user's unreviewed labels back; put those of one who is not banned back.

        Idempotent; to be called whenever a ban was made or lifted. Without ``publish`` the files
        are left to ``reconcile``.
        """
        dataset, ledger = self._parts.dataset, self._parts.ledger
        with self._database.transaction() as rows:
            banned = ledger.banned_since_in(rows, user, lock=True) is not None
            dataset.lock_of_user(rows, user)  # after it, what operators decided can be seen
            if banned:
                unreviewed = ledger.unreviewed_in(rows, user)
                samples = dataset.withdraw(rows, unreviewed, "banned")
            else:
                withdrawn = dataset.withdrawn_by_a_ban(rows, user)
                samples = dataset.restore(rows, withdrawn, ("banned",))
        logger.info("labels follow the bans", user=user, banned=banned, images=len(samples))
        if publish:
            self._publish(samples)

    def settle(self, *, publish: bool = True) -> int:
        """Settle all users whose labels are not as the bans want them; return how many."""
        banned = [ban.user_address for ban in self._parts.ledger.bans()]
        users = self._parts.dataset.users_at_odds(banned)
        for user in users:
            self.settle_user(user, publish=publish)
        return len(users)

    def reconcile(self, most: int) -> int:
        """Do what was left undone: labels that follow bans, and files that follow labels.

        Returns
        -------
        int
            Of how many images files were made.
        """
        self.settle(publish=False)
        self._parts.dataset.follow_promotions()
        return self._parts.dataset.publish(most)

    def clear_quarantine(self, most: int) -> int:
        """Delete up to so many images of submissions that nobody looks at any more."""
        return self._quarantine.clear(most)

    def _shown(self, model: str, prediction_id: str) -> tuple[PredictionView, Detections]:
        """Return a prediction and the boxes that its caller saw."""
        view = self._parts.predictions.read(prediction_id)
        prediction = view.prediction
        if prediction.model != model:
            about = f"it is a prediction of the model {prediction.model!r}, not of {model!r}"
            raise InvalidSubmission([("body.prediction_id", about)])
        if prediction.state is State.FAILED:
            raise Conflict("the prediction failed: there are no boxes to correct")
        if prediction.state is not State.DONE or view.result is None:
            raise Conflict("the prediction has no boxes yet: try again when its state is done")
        size = (view.result["image"]["width"], view.result["image"]["height"])
        names = self._parts.models.class_names(model)
        return view, boxes_of(view.result["detections"], model, names, size)

    def _case(self, view: PredictionView, shown: Detections, image: ImageOf) -> Case:
        """Return what an answer is judged against."""
        assert view.result is not None
        models = self._parts.models
        live = models.live_version(view.prediction.model)
        reference = self._parts.references.of(view, shown, live, image.content)
        return Case.of(models, view.result, shown, reference)

    def _judged(self, case: Case, user: str, submitted: Detections) -> Judged:
        judged = case.judge(submitted)
        if self._parts.assessor is None:
            return judged
        boxes = ClassedBoxes.from_detections(submitted)
        known = self._parts.assessor.assess(user, case.model, case.prediction_id, boxes)
        return replace(judged, is_control=known.is_control, distrust=known.distrust)

    def _refuse(self, user: str, banned_since: datetime | None) -> None:
        if banned_since:
            raise Banned(user, banned_since, self._parts.appeal)

    def _record(
        self,
        request: Request,
        label: NewLabel | None,
        waiting: ImageOf | None,
        distrust: str | None,
    ) -> tuple[Outcome, list[int]]:
        """Record a request and what follows from it; return the samples that it is about."""
        ledger, dataset = self._parts.ledger, self._parts.dataset
        user = request.user_address
        with self._database.transaction() as rows:
            self._refuse(user, ledger.banned_since_in(rows, user))
            if waiting:
                self._quarantine.keep_in(rows, waiting.sha256, waiting.content)
            doubted = ledger.doubt_in(rows, user, reason_of(distrust)) if distrust else []
            outcome = ledger.record_in(rows, request)
            if label is not None:
                self._refuse(user, outcome.banned_since)
            samples = self._take_back(rows, user, doubted)
            held = dataset.labels_of(rows, [outcome.request_id]).get(outcome.request_id)
            if outcome.change == "same":
                return outcome, [held.sample_id, *samples] if held else samples
            if label is None:
                return outcome, dataset.withdraw(rows, [outcome.request_id], "replaced") + samples
            given = replace(label, request_id=outcome.request_id)
            return outcome, [added.sample_id for added in dataset.add(rows, request.model, [given])]

    def _take_back(self, rows: cursor, user: str, doubted: Sequence[int]) -> list[int]:
        """Take back the labels of requests that wait from now on, for their user is distrusted."""
        if not doubted:
            return []
        logger.info("earlier answers wait", user=user, requests=len(doubted))
        self._parts.dataset.lock_of_user(rows, user)
        return self._parts.dataset.withdraw(rows, doubted, "doubted")

    def _put_in(self, rows: cursor, recorded: Recorded, made: NewLabel | None) -> list[int]:
        """Put the label of an accepted request back, or in where it has none."""
        dataset, request_id = self._parts.dataset, recorded.request_id
        held = dataset.labels_of(rows, [request_id]).get(request_id)
        if held and held.withdrawn_why != "replaced":
            return dataset.restore(rows, [request_id]) if held.withdrawn_why else []
        if recorded.detail.get("control"):
            return []
        if made is None:
            raise Conflict(f"submission {request_id} was sent anew: look at it again")
        return [added.sample_id for added in dataset.add(rows, recorded.model, [made])]

    def _label_again(self, held: Recorded) -> NewLabel | None:
        """Make the label of a submission from what was recorded of it; none if it has one still."""
        with self._database.transaction() as rows:
            label = self._parts.dataset.labels_of(rows, [held.request_id]).get(held.request_id)
        if held.detail.get("control") or (label and label.withdrawn_why != "replaced"):
            return None
        image = held.detail.get("image")
        if image is None or "submitted" not in held.detail:
            raise Conflict(f"submission {held.request_id} does not say what it is about")
        names = self._parts.models.class_names(held.model)
        size = (image["width"], image["height"])
        boxes = Detections.from_json(held.detail["submitted"], names, size)
        try:
            content = self._parts.store.get(image["key"]).body
        except SightloopError as error:
            raise _gone(held.request_id) from error
        made = _label_of(held, content, hashlib.sha256(content).hexdigest(), image["key"], boxes)
        self._parts.dataset.look(held.model, [made])
        return replace(made, request_id=held.request_id)

    def _publish(self, samples: Sequence[int]) -> None:
        """Make files at once, as far as possible: what fails is left to ``reconcile``."""
        try:
            self._parts.dataset.publish_samples(samples[:PUBLISHED_AT_ONCE])
        except SightloopError:
            logger.warning("files of the dataset are left to reconcile", exc_info=True)


def _gone(request_id: int) -> Conflict:
    return Conflict(f"the image of submission {request_id} is gone")


def _label_of(
    request: Request | Recorded, content: bytes, sha256: str, key: str, boxes: Detections
) -> NewLabel:
    return NewLabel(
        sha256=sha256,
        extension="jpg",
        size=boxes.image_size,
        fingerprint=fingerprint_of(content),
        source_key=key,
        boxes=boxes,
        origin="submission",
        user_address=request.user_address,
        request_id=None,
    )


def _told(submitted: Submitted) -> Submitted:
    accepted = submitted.state == "accepted"
    outcome_metric = "SubmissionsAccepted" if accepted else "SubmissionsQuarantined"
    metrics.add_metric(outcome_metric, MetricUnit.Count, 1)
    told = {name: getattr(submitted, name) for name in ("submission_id", "state", "change")}
    logger.info("submission", **told)
    return submitted
