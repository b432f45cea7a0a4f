"""What a training job is, and how far it is: pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol
from uuid import UUID

from chalicelib.retrain.messages import Kind
from chalicelib.settings import Settings


class State(StrEnum):
    """Where a job stands; it only goes down the list, and ends in one of the last four."""

    QUEUED = "queued"
    LAUNCHED = "launched"
    TRAINING = "training"
    FINISHING = "finishing"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (State.QUEUED, State.LAUNCHED, State.TRAINING, State.FINISHING)
AWAY = (State.LAUNCHED, State.TRAINING)  # with the launcher


@dataclass(frozen=True)
class Terms:
    """How a model is to be trained.

    Attributes
    ----------
    kind : str
        `first` or `fine_tune`.
    base_version : int or None
        Whose weights it starts from; None: a first training.
    epochs : int
    hyperparameters : Mapping[str, str]
        As the training entry point takes them.
    """

    kind: Kind
    base_version: int | None
    epochs: int
    hyperparameters: Mapping[str, str]

    @classmethod
    def of(cls, live_version: int | None, settings: Settings) -> Terms:
        """Return how a model with that live version is trained.

        >>> Terms.of(3, Settings()).hyperparameters
        {'epochs': '20', 'batch': '16', 'imgsz': '640'}
        """
        is_first = live_version is None
        epochs = settings.first_training_epochs if is_first else settings.fine_tune_epochs
        given = {
            "epochs": epochs,
            "batch": settings.training_batch,
            "imgsz": settings.training_imgsz,
        }
        told = {name: str(value) for name, value in given.items()}
        return cls("first" if is_first else "fine_tune", live_version, epochs, told)


@dataclass(frozen=True)
class Wish:
    """A job that somebody would like.

    Attributes
    ----------
    launcher : str
        Where it is to run.
    by, reason : str
        Who wants it, and why, in words.
    """

    model: str
    terms: Terms
    launcher: str
    by: str
    reason: str


@dataclass(frozen=True)
class Job:
    """One training, as its row has it.

    Attributes
    ----------
    external_id : str or None
        What the launcher calls it.
    base_version, dataset_sha256, dataset_revision
        What it starts from and learns from; the latter two are None until its dataset is cut.
    epoch, epochs, starts : int
        The furthest epoch that was reported, of how many, in how many starts of the trainer.
    eta_seconds : float or None
        Until the last epoch, when that was last reported.
    version : int or None
        That it made.
    outcome : str or None
        Why it ended as it did, in words.
    verdict : mapping or None
        What the gate found, in figures.
    trouble : str or None
        Why it could not be brought on when that was last tried.
    lost : bool
        It ended for a reason that says nothing of its data.
    leased_until : datetime or None
        Until when somebody is taken to judge it.
    last : mapping
        Of the last epoch that was reported: `losses`, `mAP50`, `mAP50-95`, `seconds`.
    """

    job_id: UUID
    model: str
    kind: Kind
    state: State
    launcher: str
    external_id: str | None
    base_version: int | None
    dataset_sha256: str | None
    dataset_revision: int | None
    hyperparameters: Mapping[str, str]
    requested_by: str
    reason: str
    epoch: int
    epochs: int
    eta_seconds: float | None
    starts: int
    cancel_requested: bool
    version: int | None
    outcome: str | None
    verdict: Mapping[str, Any] | None
    created_at: datetime
    launched_at: datetime | None
    heard_at: datetime
    ended_at: datetime | None
    trouble: str | None = None
    lost: bool = False
    leased_until: datetime | None = None
    last: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether nothing becomes of it any more."""
        return self.ended_at is not None


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training.

    Attributes
    ----------
    epoch : int
        Counted from 1.
    times, start : int
        In how many starts of the trainer it was trained, and in which last.
    metrics : mapping
        `losses`, `mAP50`, `mAP50-95`, `seconds`.
    reached_at : datetime
    """

    epoch: int
    times: int
    start: int
    metrics: Mapping[str, Any]
    reached_at: datetime


@dataclass(frozen=True)
class Settled:
    """What became of a training that has output.

    Attributes
    ----------
    state : str
        `promoted` or `rejected`.
    outcome : str
        Why, in words.
    version : int or None
        That it made.
    verdict : mapping
        What the gate found, in figures.
    """

    state: Literal["promoted", "rejected"]
    outcome: str
    version: int | None
    verdict: Mapping[str, Any]


class Settler(Protocol):
    """Judges what a training brought and has it serve, or not."""

    def settle(self, job: Job) -> Settled:
        """Decide about a job whose output is in the store; a second call finds the first's end.

        Raises
        ------
        SightloopError
            It cannot be judged; where the error says ``retry``, another call may.
        """
