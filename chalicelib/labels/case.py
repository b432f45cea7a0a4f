"""What an answer is compared with: a reference, its version's precision, the image."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from chalicelib.catalog.visibility import Visibility
from chalicelib.labels.fingerprint import Fingerprint, fingerprint_of
from chalicelib.labels.quarantine import quarantine_key
from chalicelib.labels.reference import UNSEEN, Reference
from chalicelib.predictions import PredictionReader
from chalicelib.trust import Cause as Found
from chalicelib.trust import Judgement, judge
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.ledger import Outcome, Request
from chalicelib.trust.policy import (
    FOR_REVIEWER,
    Assessment,
    Cause,
    Decision,
    PresentLabel,
    Rank,
    decide,
)
from chalicelib.trust.score import AveragePrecisions
from chalicelib.trust.verdict import ACCEPTED
from chalicelib.vision import Detections

if TYPE_CHECKING:
    from chalicelib.labels.dataset import NewLabel
    from chalicelib.labels.submitted import Verb

REJECTED = "Thank you. A person has looked at your boxes, and they are not used."
WAITS = "Thank you. A person will look at your boxes before they are used."
OPINION = "Thank you. Your answer is compared with what others say of the image."
WAITS_FOR_PROOF = (
    "Thank you. Your boxes count as soon as you have checked a few images for us, or two other "
    "people agree with them."
)
WAITS_FOR_OPINIONS = "Thank you. Your boxes count as soon as other people agree with them."
CONTESTED = "Thank you. Somebody else says otherwise: your boxes count if others agree with them."
CHALLENGES = "Thank you. What is on this image is settled: a person will look at your boxes."
UNASKED = Assessment()  # of somebody whom nobody judges
CONFIRMS = "Thank you. Your boxes agree with those that are settled for this image."


@dataclass(frozen=True)
class Precision:
    """How good a version is, class by class, and which version that was measured on."""

    version: int | None
    average_precisions: AveragePrecisions | None


class Models(Protocol):
    """What there is to know of models."""

    def class_names(self, model: str) -> tuple[str, ...]:
        """Return a model's classes by id, whether it has a version or is asked for only."""

    def live_version(self, model: str) -> int | None:
        """Return the number of the version that serves; None: the model has none yet."""

    def precision(self, model: str, version: int) -> Precision:
        """Return the precision of a version; where it is not known, that of the live one."""


@dataclass(frozen=True)
class ImageOf:
    """A prediction's image, and where its bytes are."""

    key: str
    content: bytes
    sha256: str

    @functools.cached_property
    def fingerprint(self) -> Fingerprint:
        """Its fingerprint, which takes a decoding."""
        return fingerprint_of(self.content)


def image_of(predictions: PredictionReader, prediction_id: str) -> ImageOf:
    """Return a prediction's image.

    Raises
    ------
    PredictionNotFound
        It has expired.
    """
    key, content = predictions.image(prediction_id)
    return ImageOf(key, content, hashlib.sha256(content).hexdigest())


def reason_of(distrust: str) -> dict[str, str]:
    """Return why something waits whose contributor is distrusted, as operators are told."""
    return {"cause": "distrust", "text": distrust}


@dataclass(frozen=True)
class Judged:
    """A judgement, and what is known of who is judged.

    Attributes
    ----------
    case : Case
    judgement : Judgement
    who : Assessment
    """

    case: Case
    judgement: Judgement
    who: Assessment = UNASKED

    @property
    def is_control(self) -> bool:
        """Whether the image's boxes are settled: this never becomes a label."""
        return self.who.is_control

    def decide(self, label: PresentLabel | None) -> Decision:
        """Return what becomes of it, on an image that has a label or none."""
        suspicious = self.judgement.suspicious
        return decide(
            self.who, label, suspicious=suspicious, surprising=bool(self.judgement.reasons)
        )

    def shown_waits_for(self, waits_for: str | None) -> str | None:
        """Return what its contributor is told that it waits for; distrust is not told."""
        if self.who.is_sealed:
            return "opinions"
        if self.who.rank is Rank.DISTRUSTED and self.who.can_prove:
            return "proof"
        return waits_for

    def message(  # noqa: PLR0911 - one message a case
        self, decision: Decision, state: str, waits_for: str | None
    ) -> str:
        """Return what became of it, in words for its contributor."""
        if self.who.is_sealed:
            return OPINION
        if state == "accepted":
            return ACCEPTED if decision.makes_label else CONFIRMS
        if decision.cause is Cause.SETTLED:
            return CHALLENGES
        if waits_for == "proof":
            return WAITS_FOR_PROOF
        if decision.cause in (Cause.CONTESTED, Cause.COPY):
            return CONTESTED if waits_for == "opinions" else CHALLENGES
        if self.judgement.reasons:
            return self.judgement.for_contributor
        return WAITS_FOR_OPINIONS if waits_for == "opinions" else WAITS

    def detail(
        self, answer: str, image: ImageOf, submitted: Detections, decision: Decision
    ) -> dict[str, Any]:
        """Return what is recorded for operators."""
        width, height = submitted.image_size
        recorded = self.judgement.to_json()
        if decision.cause:
            recorded["verdict"] = "quarantine"
            recorded["reasons"] = [*recorded["reasons"], self._reason(decision.cause)]
        return {
            "answer": answer,
            "image": {
                "width": width,
                "height": height,
                "sha256": image.sha256,
                "key": image.key,
                "visibility": self.case.visibility,
            },
            **self.case.boxes(),
            "submitted": submitted.to_json(),
            "precision_of_version": self.case.precision.version,
            "control": self.is_control,
            **recorded,
        }

    def _reason(self, cause: Cause) -> dict[str, str]:
        if cause is Cause.DISTRUST:
            return reason_of(self.who.distrust or "")
        return {"cause": cause.value, "text": FOR_REVIEWER[cause]}


@dataclass(frozen=True)
class Submitted:
    """What became of a submission.

    Attributes
    ----------
    submission_id : int
    model : str
    version : int
        That predicted; 0: the model had none.
    state : {"accepted", "quarantined", "rejected"}
        Rejected only where it was sent before and an operator has decided since.
    message : str
        For its contributor.
    score : float
    counts : dict[str, int]
        How many boxes were kept, moved, relabelled, removed, added.
    change : {"new", "updated", "same"}
    waits_for : {"proof", "opinions", "operator"}, optional
        None where it does not wait.
    """

    submission_id: int
    model: str
    version: int
    state: str
    message: str
    score: float
    counts: dict[str, int]
    change: Literal["new", "updated", "same"]
    waits_for: str | None = None

    @classmethod
    def of(cls, outcome: Outcome, request: Request, judged: Judged, decision: Decision) -> Self:
        """Return what became of one that is recorded."""
        hidden = judged.who.is_sealed or (judged.is_control and not decision.is_accepted)
        state = "quarantined" if hidden else outcome.state
        waits_for = None
        if state == "quarantined":
            stored = decision.waits_for if judged.is_control else outcome.waits_for
            waits_for = judged.shown_waits_for(stored or "operator")
        return cls(
            submission_id=outcome.request_id,
            model=request.model,
            version=request.model_version,
            state=state,
            message=REJECTED if state == "rejected" else judged.message(decision, state, waits_for),
            score=request.score,
            counts=dict(judged.judgement.changes.to_json()["counts"]),
            change=outcome.change,
            waits_for=waits_for,
        )


@dataclass(frozen=True, eq=False)
class Case:
    """A prediction that somebody answers to.

    Attributes
    ----------
    model : str
    prediction_id : str
    version : int
        That predicted; 0: none, the model had none yet.
    shown : Detections
        The caller's boxes, which a confirmation confirms.
    reference : Reference
        What an answer is judged against.
    precision : Precision
        Of the reference's version.
    visibility : Visibility
        Of the model when the photo was sent.
    """

    model: str
    prediction_id: str
    version: int
    shown: Detections
    reference: Reference
    precision: Precision
    visibility: Visibility = Visibility.PRIVATE

    @classmethod
    def of(
        cls,
        models: Models,
        result: dict[str, Any],
        shown: Detections,
        reference: Reference,
        visibility: Visibility = Visibility.PRIVATE,
    ) -> Self:
        """Return the case of a prediction, by its result and its reference.

        Raises
        ------
        ModelNotFound
        """
        model, version = result["model"], reference.version
        known = Precision(None, None) if version == UNSEEN else models.precision(model, version)
        predicted_by = result["version"]
        return cls(
            model, result["prediction_id"], predicted_by, shown, reference, known, visibility
        )

    @property
    def predicted(self) -> Detections:
        """The boxes that an answer is judged against."""
        return self.reference.detections

    @property
    def is_shared(self) -> bool:
        """Whether others than operators may be shown the photo."""
        return self.visibility is not Visibility.PRIVATE

    def boxes(self) -> dict[str, Any]:
        """Return the boxes as they are recorded for operators; ``shown`` where it differs."""
        predicted, shown = self.predicted.to_json(), self.shown.to_json()
        recorded = {"predicted": predicted, "predicted_by_version": self.reference.version}
        return recorded if shown == predicted else {**recorded, "shown": shown}

    def judge(self, submitted: Detections) -> Judged:
        """Compare an answer with the reference.

        Where no model has looked nothing was missed, and there is nothing to compare with.
        """
        judgement = judge(
            ClassedBoxes.from_detections(self.predicted),
            ClassedBoxes.from_detections(submitted),
            self.precision.average_precisions,
            self.predicted.class_names,
        )
        if self.reference.version == UNSEEN:
            kept = (r for r in judgement.reasons if r.finding.cause is not Found.TOTAL_MISS)
            judgement = replace(judgement, reasons=tuple(kept))
        return Judged(self, judgement)


@dataclass(frozen=True)
class JudgedAnswer:
    """An answer that is about to be recorded."""

    user: str
    verb: Verb
    judged: Judged
    submitted: Detections
    image: ImageOf
    label: NewLabel | None

    @property
    def model(self) -> str:
        """The model that it is about."""
        return self.judged.case.model

    def request(self, decision: Decision, *, audit: bool) -> Request:
        """Return what is recorded of it."""
        case, image, control = self.judged.case, self.image, self.judged.is_control
        if not decision.is_accepted:
            image = replace(image, key=quarantine_key(image.sha256))
        accepted = decision.is_accepted or control
        return Request(
            user_address=self.user,
            prediction_id=case.prediction_id,
            model=case.model,
            model_version=case.version,
            score=self.judged.judgement.scored.score,
            predicted_boxes=len(case.predicted),
            submitted_boxes=len(self.submitted),
            state="accepted" if accepted else "quarantined",
            detail=self.judged.detail(self.verb, image, self.submitted, decision),
            waits_for=None if accepted else decision.waits_for,
            audit=audit,
        )
