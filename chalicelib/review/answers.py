"""What the routes for operators take and answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from chalicelib.errors import SightloopError
from chalicelib.inference.routes import Box, ImageSize
from chalicelib.moment import Moment
from chalicelib.review.decision import Decision
from chalicelib.trust.policy import WaitsFor
from chalicelib.web import problems

if TYPE_CHECKING:
    from chalicelib.review.people import Person, Portrait
    from chalicelib.review.queue import Case, Decided
    from chalicelib.trust.records import Recorded

LARGEST_ID = 2**63 - 1
MOST_DECISIONS = 100

SubmissionId = Annotated[
    int, Field(ge=1, le=LARGEST_ID, description="as the queue names it", examples=[17])
]
Why = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=1000),
    Field(description="kept with the decision", examples=["the boxes are right"]),
]


class QueueQuery(BaseModel):
    """Which part of the queue, and in which order."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = Field(
        None, max_length=30, description="`next` of the page before, in the same order"
    )
    limit: int = Field(20, ge=1, le=100, description="entries of the page")
    order: Literal["frees", "oldest"] = Field(
        "frees", description="frees: what one decision settles most of first; oldest: oldest first"
    )


class PeopleQuery(BaseModel):
    """Which part of the list of contributors, and in which order."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = Field(
        None, max_length=1000, description="`next` of the page before, in the same order"
    )
    limit: int = Field(50, ge=1, le=100, description="entries of the page")
    order: Literal["suspicious", "submissions", "score", "accuracy"] = Field(
        "suspicious",
        description="suspicious: most suspicious submissions first; submissions: most first; "
        "score: highest mean first; accuracy: worst on control tasks first, without those "
        "who had none",
    )


class PortraitQuery(BaseModel):
    """Which part of somebody's submissions."""

    model_config = ConfigDict(extra="forbid")

    before: int = Field(
        LARGEST_ID, ge=1, le=LARGEST_ID, description="`next` of the page before: ids below it"
    )
    limit: int = Field(20, ge=1, le=100, description="entries of the page")


class LabelledBox(BaseModel):
    """One object, as it was predicted or submitted."""

    class_id: int
    class_name: str = ""
    confidence: float | None = None
    box: Box


class ReviewedImage(ImageSize):
    """The image that a submission is about."""

    url: str | None = Field(description="a link that needs no credentials, good for an hour")


class ScorePart(BaseModel):
    """What one predicted class adds to the score."""

    class_id: int
    class_name: str
    predicted: int = Field(description="boxes")
    submitted: int = Field(description="boxes")
    average_precision: float | None = Field(description="of the version; null: not known")
    distance: float = Field(description="0: all are there still; 1: none is")
    score: float


class BoxChange(BaseModel):
    """What became of a box; the numbers are places in both lists."""

    kind: Literal["kept", "moved", "relabelled", "removed", "added"]
    predicted: int | None
    submitted: int | None
    iou: float


class Trust(BaseModel):
    """How well somebody answers where the answer is known, and how far others agree."""

    controls: int = Field(description="control images answered, the newest 100")
    accuracy: float | None = Field(description="mean of matched / (settled + spurious) boxes")
    overlooked_rate: float | None = Field(description="of the settled boxes")
    misplaced_rate: float | None = Field(description="of the settled boxes")
    mislabelled_rate: float | None = Field(description="of the settled boxes")
    spurious_rate: float | None = Field(description="of the boxes they drew")
    compared: int = Field(description="answers of others on the same images, the newest 200")
    agreement: float | None = Field(description="mean share of boxes in common")
    is_proven: bool = Field(description="their opinion counts for or against others'")
    distrust: str | None = Field(description="why all they send waits for a person")


class ContributorAnswer(BaseModel):
    """Somebody who sends corrections."""

    user: str = Field(examples=["203.0.113.7"])
    submissions: int
    mean_score: float
    suspicious: int = Field(description="submissions over the threshold of the score")
    forgiven: int = Field(description="of these, those before the last ban was lifted")
    first_seen_at: Moment
    last_seen_at: Moment
    banned_since: Moment | None
    banned_by: str | None
    banned_why: str | None
    trust: Trust

    @classmethod
    def of(cls, person: Person) -> Self:
        """Show a person."""
        known, standing = person.contributor, person.standing
        told = {**vars(known), "user": known.user_address}
        trust = {
            **standing.controls.to_json(),
            **vars(standing.agreements),
            "controls": standing.controls.answers,
            "is_proven": standing.is_proven,
            "distrust": standing.distrust,
        }
        return cls.model_validate({**told, "trust": trust})


class Contributions(BaseModel):
    """A page of contributors."""

    contributors: list[ContributorAnswer]
    next: str | None = Field(description="give it as `after`; null: there are no more")


class Opinion(BaseModel):
    """What somebody else's answer on the same image says."""

    user: str
    matched: int = Field(description="boxes in common")
    total: int = Field(description="boxes that either has")
    agrees: bool
    is_proven: bool


class SubmissionAnswer(BaseModel):
    """A submission, as it stands."""

    submission_id: int
    prediction_id: str
    user: str
    model: str
    version: int
    score: float
    suspicious: bool
    state: Literal["accepted", "quarantined", "rejected", "deleted"]
    control: bool = Field(description="it answers a control task, and is no label")
    predicted_boxes: int
    submitted_boxes: int
    created_at: Moment
    updated_at: Moment
    reviewed_at: Moment | None
    reviewed_by: str | None

    @classmethod
    def of(cls, submission: Recorded) -> Self:
        """Show a submission."""
        return cls.model_validate(_told(submission))


class QueueItem(SubmissionAnswer):
    """A submission that waits, with all that helps to decide."""

    image: ReviewedImage | None
    predicted: list[LabelledBox] = Field(
        description="by the service's own options: what was submitted is judged against these"
    )
    shown: list[LabelledBox] | None = Field(
        description="to the contributor, where their options gave other boxes"
    )
    submitted: list[LabelledBox]
    classes: list[ScorePart] = Field(description="parts of the score")
    changes: list[BoxChange]
    reasons: list[str] = Field(description="why it waits")
    contributor: ContributorAnswer
    waits_for: WaitsFor | None = Field(description="who settles it besides you; null: nobody")
    frees: float = Field(
        description="how many waiting answers one decision settles: itself, those of members asked "
        "about the image, and by what share it brings its sender's unproven ones nearer to counting"
    )
    opinions: list[Opinion]
    proposal: Literal["accept"] | None = Field(
        description="accept: two people who proved themselves say the same"
    )

    @classmethod
    def of_case(cls, case: Case) -> Self:
        """Show a case."""
        detail = case.submission.detail
        boxes = {side: detail.get(side) or [] for side in ("predicted", "submitted")}
        told = [each for side in boxes.values() for each in side]
        names = {each["class_id"]: each.get("class_name", "") for each in told}
        return cls.model_validate(
            {
                **_told(case.submission),
                **boxes,
                "shown": detail.get("shown"),
                "image": _image(detail.get("image"), case.image_url),
                "classes": [
                    {**part, "class_name": names.get(part["class_id"], "")}
                    for part in detail.get("classes") or []
                ],
                "changes": detail.get("changes") or [],
                "reasons": [reason["text"] for reason in detail.get("reasons") or []],
                "contributor": ContributorAnswer.of(case.contributor),
                "frees": case.frees,
                "opinions": _opinions(case),
                "proposal": case.proposal,
            }
        )


class QueuePage(BaseModel):
    """What waits, in the order that was asked for."""

    waiting: list[QueueItem]
    next: str | None = Field(description="give it as `after`; null: there is no more")


class ReviewBody(BaseModel):
    """A decision about a submission."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["accept", "reject"]
    why: Why
    seen: Moment = Field(
        description="the submission's `updated_at`, as you looked at it",
        examples=["2026-11-21T08:00:00.123456Z"],
    )
    release: bool = Field(
        False,
        description="with accept: the photo may be a control image for callers with a token, "
        "even where the model is private",
    )

    @model_validator(mode="after")
    def _releases_what_is_accepted(self) -> Self:
        if self.release and self.decision != "accept":
            raise ValueError("only an accepted submission can be released")
        return self

    def about(self, submission_id: int) -> Decision:
        """Return the decision."""
        return Decision(submission_id, self.decision, self.why, self.seen, self.release)


class NamedReview(ReviewBody):
    """A decision about one of several submissions."""

    submission_id: SubmissionId


class ReviewsBody(BaseModel):
    """Decisions about several submissions."""

    model_config = ConfigDict(extra="forbid")

    decisions: list[NamedReview] = Field(min_length=1, max_length=MOST_DECISIONS)


class ReviewResult(BaseModel):
    """What became of one of several decisions: the submission, or the problem."""

    submission_id: int
    submission: SubmissionAnswer | None = None
    problem: problems.ProblemDocument | None = None

    @classmethod
    def of(cls, decided: Decided) -> Self:
        """Show what became of it."""
        outcome = decided.outcome
        if isinstance(outcome, SightloopError):
            return cls(submission_id=decided.submission_id, problem=problems.document(outcome))
        return cls(submission_id=decided.submission_id, submission=SubmissionAnswer.of(outcome))


class ReviewResults(BaseModel):
    """What became of each decision, in the order they were sent."""

    results: list[ReviewResult]


class DecisionAnswer(BaseModel):
    """Something that was decided about a contributor or a submission of theirs."""

    decision: Literal["ban", "lift", "accept", "reject"]
    decided_by: str
    decided_at: Moment
    why: str
    submission_id: int | None = Field(description="that was accepted or rejected")


class TrainedVersionAnswer(BaseModel):
    """A version of a model that somebody's labels went into."""

    model: str
    version: int
    training_labels: int = Field(description="theirs, in the training set it was trained on")
    validation_labels: int = Field(description="theirs, in its validation set")
    promoted_at: Moment | None


class PortraitAnswer(ContributorAnswer):
    """All that is known of one contributor."""

    sent: list[SubmissionAnswer] = Field(description="their submissions, newest first")
    next: int | None = Field(description="give it as `before`; null: there are no more")
    decisions: list[DecisionAnswer] = Field(description="newest first, 50 at most")
    versions: list[TrainedVersionAnswer] = Field(
        description="every version that their labels went into"
    )

    @classmethod
    def of_portrait(cls, portrait: Portrait) -> Self:
        """Show a portrait."""
        return cls.model_validate(
            {
                **ContributorAnswer.of(portrait.person).model_dump(),
                "sent": [_told(each) for each in portrait.submissions],
                "next": portrait.next,
                "decisions": [
                    {**vars(each), "submission_id": each.request_id} for each in portrait.decisions
                ],
                "versions": [
                    {
                        **vars(each.version),
                        "training_labels": each.training,
                        "validation_labels": each.validation,
                    }
                    for each in portrait.versions
                ],
            }
        )


def _told(submission: Recorded) -> dict[str, Any]:
    return {
        **{key: value for key, value in vars(submission).items() if key != "detail"},
        "submission_id": submission.request_id,
        "prediction_id": str(submission.prediction_id),
        "user": submission.user_address,
        "version": submission.model_version,
        "control": bool(submission.detail.get("control")),
    }


def _image(image: Mapping[str, Any] | None, url: str | None) -> dict[str, Any] | None:
    return {**image, "url": url} if image else None


def _opinions(case: Case) -> Sequence[dict[str, Any]]:
    return [
        {
            **vars(each.opinion),
            "user": each.opinion.peer_address,
            "agrees": each.opinion.agrees,
            "is_proven": each.is_proven,
        }
        for each in case.opinions
    ]
