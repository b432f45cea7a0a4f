"""`/v1/training-jobs`, `/v1/training-plans`: what is trained, why, and how far it has come."""

from __future__ import annotations

from uuid import UUID

from chalice.app import Response

from chalicelib.bounded import within
from chalicelib.catalog.model import ModelName
from chalicelib.errors import (
    Conflict,
    DatabaseUnavailable,
    ModelNotFound,
    ModelUnavailable,
    ObjectNotFound,
    OutOfTime,
    StorageUnavailable,
    TrainingJobNotFound,
)
from chalicelib.observability import logger
from chalicelib.retrain.answers import (
    JobAnswer,
    JobDetail,
    JobId,
    JobPage,
    JobsQuery,
    PlanAnswer,
    PlanPage,
    PlansQuery,
)
from chalicelib.retrain.keys import log_key
from chalicelib.retrain.plans import PLANS_MINUTES
from chalicelib.web.api import Api, Media, base_path, json_response
from chalicelib.web.identity import operator
from chalicelib.wiring import services

api = Api(__name__, tag="training")

LONGEST_LOG = 64 * 1024
LOG_SECONDS = 3.0  # a job is shown without its log rather than late


@api.route(
    "GET",
    "/v1/training-jobs",
    "List the training jobs",
    {200: JobPage},
    query=JobsQuery,
    errors=(TrainingJobNotFound, DatabaseUnavailable),
)
def list_training_jobs(query: JobsQuery) -> JobPage:
    """Return a page of jobs, newest first."""
    behind = services().training.jobs.page(query.model, query.state, query.after, query.limit + 1)
    jobs = [JobAnswer.of(job) for job in behind[: query.limit]]
    return JobPage(jobs=jobs, next=jobs[-1].job_id if len(behind) > query.limit else None)


@api.route(
    "GET",
    "/v1/training-jobs/{job_id}",
    "Show a training job",
    {200: JobDetail},
    errors=(TrainingJobNotFound, DatabaseUnavailable),
)
def show_training_job(job_id: JobId) -> JobDetail:
    """Return one job with its losses and precision by epoch, and the end of its log."""
    jobs, found = services().training.jobs, _id(job_id)
    return JobDetail.with_epochs(jobs.get(found), jobs.epochs(found), _log(found))


@api.route(
    "POST",
    "/v1/training-jobs/{job_id}/cancel",
    "Cancel a training job",
    {200: JobAnswer},
    errors=(TrainingJobNotFound, Conflict, DatabaseUnavailable),
    operators_only=True,
)
def cancel_training_job(job_id: JobId) -> JobAnswer:
    """Have a training stopped; it is cancelled once its trainer has stopped."""
    return JobAnswer.of(services().training.desk.cancel(_id(job_id)))


@api.route(
    "POST",
    "/v1/models/{model}/training-jobs",
    "Train a model now",
    {201: Media({"application/json": JobAnswer}, headers={"Location": "the job's path"})},
    errors=(ModelNotFound, Conflict, DatabaseUnavailable, ModelUnavailable, StorageUnavailable),
    operators_only=True,
)
def train_now(model: ModelName) -> Response:
    """Have a model trained on what its dataset has now, however little of that is new."""
    job = services().training.desk.ask(model, f"operator:{operator(api.request)}")
    answer = json_response(JobAnswer.of(job), 201)
    answer.headers["Location"] = f"{base_path(api.request)}/v1/training-jobs/{job.job_id}"
    return answer


@api.route(
    "GET",
    "/v1/training-plans",
    "Tell what the planner decided",
    {200: PlanPage},
    query=PlansQuery,
    errors=(DatabaseUnavailable,),
)
def list_training_plans(query: PlansQuery) -> PlanPage:
    """Return a page of what the planner decided last for each model, and why."""
    behind = services().training.planner.plans(query.model, query.after or "", query.limit + 1)
    plans = [PlanAnswer.of(plan) for plan in behind[: query.limit]]
    more = plans[-1].model if len(behind) > query.limit else None
    launcher = services().settings.launcher
    return PlanPage(plans=plans, next=more, every_minutes=PLANS_MINUTES, launcher=launcher)


def _id(given: str) -> UUID:
    """Read the id in a path."""
    try:
        return UUID(given)
    except ValueError:
        raise TrainingJobNotFound(f"there is no training job {given!r}") from None


def _log(job_id: UUID) -> str | None:
    """Return the end of a trainer's log; ``None`` where S3 does not answer in time.

    A character that the end cuts through is marked.
    """
    try:
        body = within(LOG_SECONDS, lambda: services().store.get(log_key(job_id)).body)
    except ObjectNotFound:
        return ""
    except (StorageUnavailable, OutOfTime):
        logger.warning("a job is shown without its log", exc_info=True, job_id=str(job_id))
        return None
    return body[-LONGEST_LOG:].decode("utf-8", "replace")
