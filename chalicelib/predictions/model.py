"""What a prediction is and how it may change: pure values, no AWS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.errors import SightloopError
from chalicelib.inference.options import Options
from chalicelib.moment import Moment


class State(StrEnum):
    """Where a prediction stands; it moves down this list and never up."""

    WAITING = "waiting"
    QUEUED = "queued"
    FAILED = "failed"
    DONE = "done"


class Problem(BaseModel):
    """Why a prediction failed, as a problem document says it."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(
        default=SightloopError.type_uri(), description="stable name of the kind of problem, a URN"
    )
    title: str
    status: int
    detail: str
    retry: bool = Field(
        default=False, description="our fault: the message waits in the dead-letter queue"
    )

    @classmethod
    def with_upload(cls, error: SightloopError) -> Self:
        """Say what is wrong with the upload; sending it again unchanged cannot help."""
        return cls(
            type=error.type_uri(), title=error.title, status=error.status, detail=error.detail
        )

    @classmethod
    def with_us(cls, detail: str) -> Self:
        """Say that we could not process a good upload."""
        return cls(title="Processing failed", status=500, detail=detail, retry=True)


class Prediction(BaseModel):
    """One upload and what became of it; each method returns the next value or the same one."""

    model_config = ConfigDict(frozen=True)

    prediction_id: str
    model: str
    key: str = Field(description="in the uploads bucket; empty where it was sent in a call")
    file_name: str
    content_type: str = ""
    options: Options = Options()
    unseen: bool = Field(default=False, description="no model looks at it: it has no version yet")
    correlation_id: str

    state: State = State.WAITING
    created_at: Moment
    updated_at: Moment
    uploaded_at: Moment | None = None
    expires_at: int = Field(description="DynamoDB's time to live, seconds since 1970")
    redrives: int = 0

    version: int | None = None
    result: str | None = Field(
        default=None,
        description="the detection answer as JSON; with `reference`, the boxes at the service's "
        "own options, where the caller chose others",
    )
    result_key: str | None = Field(
        default=None, description="in the store bucket, where it is too long"
    )
    problem: Problem | None = None
    announced: bool = Field(default=False, description="the results message is on its queue")

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing left to do but announce it."""
        return self.state is State.DONE or (
            self.state is State.FAILED and self.problem is not None and not self.problem.retry
        )

    @property
    def has_answer(self) -> bool:
        """Whether the uploader has an answer, good or bad."""
        return self.state in (State.DONE, State.FAILED)

    def queued(self, now: datetime, uploaded_at: datetime, keep: timedelta) -> Prediction:
        """Note that the file is there and its message is on the queue."""
        if self.state is not State.WAITING:
            return self
        return self._with(
            now, state=State.QUEUED, uploaded_at=uploaded_at, expires_at=epoch(now + keep)
        )

    def redriven(self, now: datetime) -> Prediction:
        """Note that its message was sent once more."""
        if self.state is not State.QUEUED:
            return self
        return self._with(now, redrives=self.redrives + 1)

    def done(
        self, now: datetime, version: int, *, result: str | None, result_key: str | None
    ) -> Prediction:
        """Hold the detections, unless there is a lasting answer already."""
        if self.is_settled:
            return self
        return self._with(
            now,
            state=State.DONE,
            version=version,
            result=result,
            result_key=result_key,
            problem=None,
            announced=False,
        )

    def failed(self, now: datetime, problem: Problem) -> Prediction:
        """Hold why there are no detections, unless there is an answer already.

        A failure that is ours gives way to a later answer; one of the upload's own is lasting.
        """
        if self.is_settled or (self.state is State.FAILED and problem.retry):
            return self
        return self._with(now, state=State.FAILED, problem=problem, announced=False)

    def told(self, now: datetime) -> Prediction:
        """Note that the results message is on its queue."""
        return self if self.announced else self._with(now, announced=True)

    def _with(self, now: datetime, **changes: object) -> Prediction:
        return self.model_copy(update={**changes, "updated_at": now})


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


def epoch(moment: datetime) -> int:
    """Return whole seconds since 1970."""
    return int(moment.timestamp())
