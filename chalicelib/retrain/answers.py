"""What the routes of training jobs take and answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.catalog.model import ModelName
from chalicelib.moment import Moment

if TYPE_CHECKING:
    from chalicelib.retrain.job import Epoch, Job
    from chalicelib.retrain.plans import Plan

JobId = Annotated[
    str,
    Field(
        description="as lists name it",
        examples=["6f0c1a52-6f7e-4d5e-9a57-2d0f3c1b7a11"],
        json_schema_extra={"format": "uuid"},
    ),
]
StateName = Literal[
    "queued", "launched", "training", "finishing", "promoted", "rejected", "failed", "cancelled"
]


class JobsQuery(BaseModel):
    """Which jobs are asked for."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName | None = Field(None, description="only of this model")
    state: StateName | None = Field(None, description="only those in this state")
    after: UUID | None = Field(None, description="`next` of the page before")
    limit: int = Field(20, ge=1, le=100, description="jobs of the page")


class JobAnswer(BaseModel):
    """A training job, and how far it is."""

    job_id: str = Field(examples=["6f0c1a52-6f7e-4d5e-9a57-2d0f3c1b7a11"])
    model: str = Field(examples=["scratch"])
    kind: Literal["first", "fine_tune"]
    state: StateName = Field(description="it goes down the list and ends in one of the last four")
    launcher: str = Field(description="where it runs", examples=["sagemaker"])
    base_version: int | None = Field(
        description="whose weights it starts from; null: a first training"
    )
    dataset_sha256: str | None = Field(
        description="the version of the dataset that it learns from; null: not cut yet"
    )
    hyperparameters: dict[str, str] = Field(examples=[{"epochs": "20", "batch": "16"}])
    requested_by: str = Field(description="`planner`, or an operator", examples=["planner"])
    reason: str = Field(
        examples=["has at least 16 new training images and 4 new validation images"]
    )
    epoch: int = Field(description="the furthest that was reported", examples=[7])
    epochs: int = Field(examples=[20])
    eta_seconds: float | None = Field(
        description="until the last epoch, when that was last reported; null: not known, or over"
    )
    starts: int = Field(description="of its trainer: more than one where it was interrupted")
    version: int | None = Field(description="that it made")
    outcome: str | None = Field(description="why it ended as it did")
    verdict: dict[str, Any] | None = Field(description="what the gate found")
    trouble: str | None = Field(description="why it could not be brought on; it is tried again")
    cancel_requested: bool
    created_at: Moment
    launched_at: Moment | None
    ended_at: Moment | None
    map50: float | None = Field(alias="mAP50", description="of the last epoch")
    map50_95: float | None = Field(alias="mAP50-95", description="of the last epoch")

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    @classmethod
    def of(cls, job: Job) -> Self:
        """Show a job."""
        return cls.model_validate(_shown(job))


class EpochAnswer(BaseModel):
    """One epoch of a training."""

    epoch: int = Field(description="counted from 1")
    times: int = Field(description="it was trained: more than once where a trainer was killed")
    start: int = Field(description="of the trainer, the last that trained it")
    losses: dict[str, float | None] = Field(examples=[{"train/box_loss": 1.21}])
    map50: float | None = Field(alias="mAP50")
    map50_95: float | None = Field(alias="mAP50-95")
    seconds: float | None = Field(description="that it took")
    reached_at: Moment

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    @classmethod
    def of(cls, epoch: Epoch) -> Self:
        """Show an epoch."""
        told = {"losses": {}, "mAP50": None, "mAP50-95": None, "seconds": None, **epoch.metrics}
        return cls.model_validate({**vars(epoch), **told})


class JobDetail(JobAnswer):
    """A training job with its epochs and the end of its trainer's log."""

    epochs_done: list[EpochAnswer] = Field(alias="history", description="in their order")
    log: str = Field(description="the last 64 KiB; empty: nothing yet")
    log_available: bool = Field(description="false: it could not be read at the moment")

    @classmethod
    def with_epochs(cls, job: Job, epochs: list[Epoch], log: str | None) -> Self:
        """Show a job in full; without its log where that is ``None``."""
        history = [EpochAnswer.of(epoch) for epoch in epochs]
        shown = {"history": history, "log": log or "", "log_available": log is not None}
        return cls.model_validate({**_shown(job), **shown})


class JobPage(BaseModel):
    """Some training jobs, newest first."""

    jobs: list[JobAnswer]
    next: str | None = Field(description="where the next page begins; null: there is none")


class PlansQuery(BaseModel):
    """Which plans are asked for."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName | None = Field(None, description="only of this model")
    after: ModelName | None = Field(None, description="`next` of the page before")
    limit: int = Field(20, ge=1, le=100, description="plans of the page")


class PlanAnswer(BaseModel):
    """What the planner decided for a model, and why."""

    model: str = Field(examples=["scratch"])
    decision: Literal["launch", "wait", "running"]
    reason: str = Field(examples=["needs 12 more new validation images"])
    new_train: int = Field(description="images it has; counted until there are enough")
    new_valid: int
    needs_train: int = Field(description="images with which it is trained")
    needs_valid: int
    considered_at: Moment

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """Show a plan."""
        return cls.model_validate(vars(plan))


class PlanPage(BaseModel):
    """What the planner decided for some models, by their names."""

    plans: list[PlanAnswer]
    next: str | None = Field(description="where the next page begins; null: there is none")
    every_minutes: int = Field(description="the planner looks so often", examples=[30])
    launcher: str = Field(description="where trainings run; empty: nowhere, plans are only told")


def _shown(job: Job) -> dict[str, Any]:
    last = {"mAP50": job.last.get("mAP50"), "mAP50-95": job.last.get("mAP50-95")}
    return {**vars(job), "job_id": str(job.job_id), "state": str(job.state), **last}
