"""Submissions: what people say is on an image, judged, recorded, and, if accepted, a label.

All that a submission changes in the database is one transaction: the request, its user's counters
(by triggers), the label and its image. The image's bytes are where the label will take them from
before it begins; files of the dataset follow it, and are made by ``reconcile`` where that fails.
Whoever dies in between leaves all of it or nothing.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

from psycopg2.extensions import cursor

from chalicelib.database import Database
from chalicelib.errors import Banned, Conflict, InvalidSubmission
from chalicelib.labels import banned
from chalicelib.labels.case import (
    Case,
    ImageOf,
    Judged,
    JudgedAnswer,
    Models,
    Submitted,
    image_of,
    reason_of,
)
from chalicelib.labels.copies import Copies
from chalicelib.labels.dataset import Dataset
from chalicelib.labels.deleted import refuse_deleted_in
from chalicelib.labels.present import Present, present_in
from chalicelib.labels.quarantine import Quarantine
from chalicelib.labels.reference import References, boxes_of
from chalicelib.labels.relabelling import Relabelling, gone, label_of
from chalicelib.labels.releases import release_in
from chalicelib.labels.settling import Settling
from chalicelib.labels.submitted import GivenBox, Verb, checked
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.predictions import PredictionReader, PredictionView, State
from chalicelib.storage import ObjectStore
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.ledger import Ledger, Outcome, Recorded, Request
from chalicelib.trust.policy import Assessment, Decision, PresentLabel, Rank, audit_rate
from chalicelib.trust.records import signature
from chalicelib.trust.standing import TrustStanding
from chalicelib.trust.votes import lock_image, says_the_same, unconfirmed_in
from chalicelib.vision import Detections

SETTLED_ALREADY = (
    "this answer was settled and stays: to challenge it, detect on the photo anew and answer that"
)


class Assessor(Protocol):
    """Who knows contributors."""

    def assess(
        self,
        user_address: str,
        model: str,
        prediction_id: str,
        submitted: ClassedBoxes,
        *,
        is_shared: bool = True,
    ) -> Assessment:
        """Take note of an answer that is about to be recorded; safe to repeat."""

    def known_in(
        self, rows: cursor, users: Collection[str]
    ) -> tuple[dict[str, TrustStanding], dict[str, Rank]]:
        """Return how well users answer and how far they are trusted, in a transaction."""


@dataclass(frozen=True)
class Parts:
    """What submissions work with.

    ``appeal`` tells a banned user how to have the ban lifted; images of rejected submissions are
    kept for ``rejected_days``. ``chance`` draws which accepted answers are audited.
    """

    predictions: PredictionReader
    models: Models
    store: ObjectStore
    ledger: Ledger
    dataset: Dataset
    assessor: Assessor | None = None
    settling: Settling | None = None
    appeal: str = "write to those who run this service"
    rejected_days: int = 30
    references: References = field(default_factory=References)
    chance: random.Random = field(default_factory=random.SystemRandom)


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
        self.quarantine = Quarantine(database, parts.store, parts.rejected_days)
        self._copies = Copies(database, parts.store, parts.dataset)
        self.relabelling = Relabelling(database, parts.store, parts.models, parts.dataset)

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
        judged = self._copies.compared(self._judged(case, user, submitted), submitted, image)
        label = None
        if not judged.is_control and judged.decide(None).is_accepted:
            label = label_of(user, image, submitted, case.visibility)
            self._parts.dataset.look(model, [label])
        filed = JudgedAnswer(user, answer, judged, submitted, image, label)
        request, outcome, decision, samples = self._record(filed)
        self.relabelling.publish(samples)
        if self._parts.settling:
            self._parts.settling.follow(model, image.sha256, user)
            outcome = self._parts.ledger.refreshed(outcome, request)
        return _told(Submitted.of(outcome, request, judged, decision))

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
        if held.state == "deleted":
            raise Conflict(f"submission {request_id} was deleted: there is nothing to decide")
        if held.updated_at != seen:
            raise Conflict(f"submission {request_id} was sent anew after {seen}: look at it again")
        made = self.relabelling.label_again(held) if state == "accepted" else None
        with self._database.transaction() as rows:
            lock_image(rows, held.detail.get("image", {}).get("sha256", ""))
            if made and not self.quarantine.holds_in(rows, made.source_key):
                raise gone(request_id)
            recorded = self._parts.ledger.review_in(rows, request_id, seen, state, by, why)
            if state == "rejected":
                samples = self._parts.dataset.withdraw(rows, [request_id], "rejected")
            else:
                samples = self.relabelling.put_in(rows, recorded, made)
        self.relabelling.publish(samples)
        self._follow(recorded)
        return recorded

    def release(self, request_id: int, by: str) -> None:
        """Release the image of an accepted submission as a control image; safe to repeat."""
        with self._database.transaction() as rows:
            label = self._parts.dataset.labels_of(rows, [request_id]).get(request_id)
            if label and label.withdrawn_why is None:
                release_in(rows, {label.sample_id: by})

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
            is_banned = ledger.banned_since_in(rows, user, lock=True) is not None
            dataset.lock_of_user(rows, user)  # after it, what operators decided can be seen
            if is_banned:
                samples = dataset.withdraw(rows, ledger.unreviewed_in(rows, user), "banned")
                samples += banned.withdraw_imported_in(rows, user)
            else:
                withdrawn = banned.withdrawn_by_a_ban_in(rows, user)
                samples = dataset.restore(rows, withdrawn, ("banned",))
                samples += banned.restore_imported_in(rows, user)
        logger.info("labels follow the bans", user=user, banned=is_banned, images=len(samples))
        if publish:
            self.relabelling.publish(samples)

    def settle(self, *, publish: bool = True) -> int:
        """Settle all users whose labels are not as the bans want them; return how many."""
        all_banned = [ban.user_address for ban in self._parts.ledger.bans()]
        with self._database.transaction() as rows:
            users = banned.users_at_odds_in(rows, all_banned)
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
        if self._parts.settling:
            self._parts.settling.reconcile(most)
        self._parts.dataset.follow_promotions()
        return self._parts.dataset.publish(most)

    def clear_quarantine(self, most: int) -> int:
        """Delete up to so many images of submissions that nobody looks at any more."""
        return self.quarantine.clear(most)

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
        visibility = view.prediction.visibility
        return Case.of(models, view.result, shown, reference, visibility)

    def _judged(self, case: Case, user: str, submitted: Detections) -> Judged:
        judged = case.judge(submitted)
        if self._parts.assessor is None:
            return judged
        boxes = ClassedBoxes.from_detections(submitted)
        about = case.model, case.prediction_id, boxes
        known = self._parts.assessor.assess(user, *about, is_shared=case.is_shared)
        return replace(judged, who=known)

    def _follow(self, recorded: Recorded) -> None:
        """Do what follows from an operator's decision for others and for its contributor."""
        settling, image = self._parts.settling, recorded.detail.get("image")
        if settling and image:
            settling.settle_by_operator(recorded.model, image["sha256"])
            settling.follow_standing(recorded.user_address)

    def _refuse(self, user: str, banned_since: datetime | None) -> None:
        if banned_since:
            raise Banned(user, banned_since, self._parts.appeal)

    def _record(self, filed: JudgedAnswer) -> tuple[Request, Outcome, Decision, list[int]]:
        """Record an answer and what follows from it; return the samples that it is about."""
        ledger, user = self._parts.ledger, filed.user
        who = filed.judged.who
        with self._database.transaction() as rows:
            refuse_deleted_in(rows, filed.judged.case.prediction_id)
            self._refuse(user, ledger.banned_since_in(rows, user))
            lock_image(rows, filed.image.sha256)
            present = None if who.is_control else present_in(rows, filed.model, filed.image.sha256)
            decision = filed.judged.decide(self._label_facts(rows, filed, present))
            if not decision.is_accepted:
                self.quarantine.keep_in(rows, filed.image.sha256, filed.image.content)
            doubted = self._doubt(rows, user, who)
            request = filed.request(decision, audit=self._is_audited(rows, user, who, decision))
            outcome = ledger.record_in(rows, request)
            if outcome.change == "updated" and _undoes(present, user, request):
                raise Conflict(SETTLED_ALREADY)
            samples = self._take_back(rows, user, doubted)
            samples += self._label_in(rows, filed, decision, outcome)
            return request, outcome, decision, samples

    def _label_in(
        self, rows: cursor, filed: JudgedAnswer, decision: Decision, outcome: Outcome
    ) -> list[int]:
        """Make an accepted answer the label; take back that of one that was replaced."""
        dataset, request_id = self._parts.dataset, outcome.request_id
        counts = decision.is_accepted and not filed.judged.is_control
        if counts:
            self._refuse(filed.user, outcome.banned_since)
        if outcome.change == "same":
            newest = dataset.labels_of(rows, [request_id]).get(request_id)
            return [newest.sample_id] if newest else []
        if not counts or not decision.makes_label or filed.label is None:
            return dataset.withdraw(rows, [request_id], "replaced")
        label = replace(filed.label, request_id=request_id)
        return [added.sample_id for added in dataset.add(rows, filed.model, [label])]

    def _label_facts(
        self, rows: cursor, filed: JudgedAnswer, present: Present | None
    ) -> PresentLabel | None:
        """Return what the policy has to know of the label that the image has."""
        if present is None:
            return None
        author, submitted = present.user_address or "", filed.submitted
        rank = Rank.OPERATOR
        if not present.is_settled and self._parts.assessor:
            rank = self._parts.assessor.known_in(rows, [author])[1][author]
        agrees = says_the_same(
            ClassedBoxes.from_detections(submitted), present.boxes(submitted.image_size)
        )
        return PresentLabel(present.is_settled, author == filed.user, rank, agrees)

    def _is_audited(self, rows: cursor, user: str, who: Assessment, decision: Decision) -> bool:
        """Draw whether others are asked about an answer that counts at once."""
        if who.rank is not Rank.ESTABLISHED or not (decision.is_accepted and decision.makes_label):
            return False
        return self._parts.chance.random() < audit_rate(unconfirmed_in(rows, user))

    def _doubt(self, rows: cursor, user: str, who: Assessment) -> list[int]:
        """Have earlier answers of somebody wait who is distrusted by now; return which."""
        if who.distrust is None:
            return []
        return self._parts.ledger.doubt_in(rows, user, reason_of(who.distrust), "operator")

    def _take_back(self, rows: cursor, user: str, doubted: Sequence[int]) -> list[int]:
        """Take back the labels of requests that wait from now on, for their user is distrusted."""
        if not doubted:
            return []
        logger.info("earlier answers wait", user=user, requests=len(doubted))
        self._parts.dataset.lock_of_user(rows, user)
        return self._parts.dataset.withdraw(rows, doubted, "doubted")


def _undoes(present: Present | None, user: str, request: Request) -> bool:
    """Return whether an answer would write over the one by which its image is settled."""
    return bool(
        present
        and present.is_settled
        and present.user_address == user
        and present.prediction_id == request.prediction_id
    )


def _told(submitted: Submitted) -> Submitted:
    accepted = submitted.state == "accepted"
    outcome_metric = "SubmissionsAccepted" if accepted else "SubmissionsQuarantined"
    metrics.add_metric(outcome_metric, MetricUnit.Count, 1)
    told = {name: getattr(submitted, name) for name in ("submission_id", "state", "change")}
    logger.info("submission", **told)
    return submitted
