"""What goes between this service and a trainer: the order it is given, the reports it sends."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from chalicelib.errors import MalformedMessage
from chalicelib.moment import Moment

Kind = Literal["first", "fine_tune"]


class TrainingOrder(BaseModel):
    """What is to be trained: the trainer needs nothing else but the store bucket."""

    model_config = ConfigDict(frozen=True)

    job_id: UUID
    model: str
    kind: Kind
    class_names: tuple[str, ...] = Field(description="by class id")
    dataset_sha256: str = Field(description="the dataset version that it learns from")
    base_version: int | None = Field(
        description="the live version: its weights are the start, and it is measured beside the new"
    )
    hyperparameters: dict[str, str] = Field(description="as the training entry point takes them")


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)

    job_id: UUID
    start: int = Field(ge=1, description="which start of the trainer this is, the first is 1")
    at: Moment


class Started(_Report):
    """The trainer runs; after a kill it goes on behind the last epoch of its checkpoint."""

    kind: Literal["started"] = "started"
    epochs: int = Field(ge=1)
    epochs_done: int = Field(0, ge=0, description="those that a checkpoint holds")


class EpochDone(_Report):
    """An epoch was trained and validated, and its checkpoint is safe."""

    kind: Literal["epoch"] = "epoch"
    epoch: int = Field(ge=1, description="counted from 1")
    epochs: int = Field(ge=1)
    losses: dict[str, float | None] = Field(
        description="such as train/box_loss, val/cls_loss; null: not finite"
    )
    map50: float | None = None
    map50_95: float | None = None
    seconds: float = Field(ge=0, description="that the epoch took")
    eta_seconds: float = Field(ge=0, description="until the last epoch is done")


class Finished(_Report):
    """All output is in the store: the gate may look at it."""

    kind: Literal["finished"] = "finished"


class Stopped(_Report):
    """The trainer ended without output: it failed, or was told to stop and may be started again."""

    kind: Literal["stopped"] = "stopped"
    failed: bool = Field(description="no start after this one would fare better")
    reason: str


class Due(BaseModel):
    """Of this service itself: somebody has reason to think that a job can be brought on."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["due"] = "due"
    job_id: UUID


Report = Annotated[Started | EpochDone | Finished | Stopped | Due, Field(discriminator="kind")]
_REPORT: TypeAdapter[Report] = TypeAdapter(Report)


def parse_report(body: str) -> Report:
    """Read a message of the training queue.

    Raises
    ------
    MalformedMessage
        It is none.
    """
    try:
        return _REPORT.validate_json(body)
    except ValidationError as error:
        raise MalformedMessage(f"no report of a trainer: {error}") from error
