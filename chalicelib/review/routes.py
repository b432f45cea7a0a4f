"""`/v1/review`, `/v1/contributors` for operators, and `POST /v1/models/{model}/tasks` for all."""

from __future__ import annotations

from typing import Annotated

from chalice.app import Response
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from chalicelib.catalog.model import ModelName
from chalicelib.errors import (
    Conflict,
    DatabaseUnavailable,
    ModelNotFound,
    ModelUnavailable,
    NoTask,
    NotFound,
    StorageUnavailable,
    Unauthorized,
)
from chalicelib.observability import correlation_id
from chalicelib.quotas import TASKS
from chalicelib.review.answers import (
    Contributions,
    ContributorAnswer,
    PeopleQuery,
    PortraitAnswer,
    PortraitQuery,
    QueueItem,
    QueuePage,
    QueueQuery,
    ReviewBody,
    ReviewResult,
    ReviewResults,
    ReviewsBody,
    SubmissionAnswer,
    SubmissionId,
)
from chalicelib.web.api import Api, Media, json_response
from chalicelib.web.identity import caller, operator
from chalicelib.wiring import services

api = Api(__name__, tag="review")

UserAddress = Annotated[
    str, Field(description="a contributor, as lists name them", examples=["203.0.113.7"])
]


class TaskAnswer(BaseModel):
    """An image that you are asked to look at."""

    prediction_id: str = Field(description="as GET /v1/predictions/… shows it")
    model: str = Field(examples=["scratch"])


@api.route(
    "POST",
    "/v1/models/{model}/tasks",
    "Ask for an image to look at",
    {
        201: Media({"application/json": TaskAnswer}),
        200: Media({"application/json": TaskAnswer}, "one of many that you were given before"),
    },
    errors=(
        ModelNotFound,
        NoTask,
        Unauthorized,
        ModelUnavailable,
        StorageUnavailable,
        DatabaseUnavailable,
    ),
    quota=TASKS,
)
def ask_for_task(model: ModelName) -> Response:
    """Return an image with the boxes that the model finds on it, to be corrected or confirmed.

    Offered are photos that the model's visibility lets a caller like you see and, with a token,
    control images that an operator released. Nobody is given an image twice, nor one that they
    sent an answer about. Who leaves twenty of them unanswered is given the oldest of these again.
    """
    given = services().reviewing.tasks.next(caller(api.request), model, correlation_id())
    answer = TaskAnswer(prediction_id=given.prediction_id, model=given.model)
    return json_response(answer, 200 if given.again else 201)


@api.route(
    "GET",
    "/v1/review",
    "List submissions that wait",
    {200: QueuePage},
    query=QueueQuery,
    errors=(DatabaseUnavailable, StorageUnavailable),
    operators_only=True,
)
def list_waiting(query: QueueQuery) -> QueuePage:
    """Return quarantined submissions with all that helps to decide, first what frees most."""
    cases, more = services().reviewing.queue.page(query.order, query.after, query.limit)
    return QueuePage(waiting=[QueueItem.of_case(case) for case in cases], next=more)


@api.route(
    "POST",
    "/v1/review/{submission_id}",
    "Accept or reject a submission",
    {200: SubmissionAnswer},
    body=ReviewBody,
    errors=(NotFound, Conflict, DatabaseUnavailable, StorageUnavailable),
    operators_only=True,
)
def review_submission(submission_id: SubmissionId, body: ReviewBody) -> SubmissionAnswer:
    """Accept or reject one; what was decided before can be decided anew.

    409: its contributor sent something else since you looked; look again.
    """
    decision = body.about(_id(submission_id))
    done = services().reviewing.queue.decide_one(decision, operator(api.request))
    return SubmissionAnswer.of(done)


@api.route(
    "POST",
    "/v1/review",
    "Accept or reject several submissions",
    {200: ReviewResults},
    body=ReviewsBody,
    errors=(DatabaseUnavailable, StorageUnavailable),
    operators_only=True,
)
def review_submissions(body: ReviewsBody) -> ReviewResults:
    """Decide about up to 100, each by itself: one that cannot be has a problem in its place."""
    decisions = [each.about(each.submission_id) for each in body.decisions]
    decided = services().reviewing.queue.decide(decisions, operator(api.request))
    return ReviewResults(results=[ReviewResult.of(each) for each in decided])


@api.route(
    "GET",
    "/v1/contributors",
    "List contributors",
    {200: Contributions},
    query=PeopleQuery,
    errors=(DatabaseUnavailable,),
    operators_only=True,
)
def list_contributors(query: PeopleQuery) -> Contributions:
    """Return contributors with their counters and how well they answer."""
    people, more = services().reviewing.people.page(query.order, query.after, query.limit)
    return Contributions(contributors=[ContributorAnswer.of(each) for each in people], next=more)


@api.route(
    "GET",
    "/v1/contributors/{user}",
    "Show one contributor",
    {200: PortraitAnswer},
    query=PortraitQuery,
    errors=(NotFound, DatabaseUnavailable),
    operators_only=True,
)
def show_contributor(user: UserAddress, query: PortraitQuery) -> PortraitAnswer:
    """Return one, with their submissions, decisions, and each version trained on their labels."""
    portrait = services().reviewing.people.portrait(user, query.before, query.limit)
    return PortraitAnswer.of_portrait(portrait)


def _id(given: object) -> int:
    """Read the number in a path, which comes as text."""
    try:
        return TypeAdapter(SubmissionId).validate_python(given)
    except ValidationError:
        raise NotFound(f"there is no submission {given!r}") from None
