"""A job's checkpoints in the store bucket, and which start of its trainer they belong to.

`state.json` names the checkpoint that counts. It is written over the ETag that was read, so of two
trainers of one job, as where a machine was given up that lives on, the later start has it and the
earlier one finds out at its next checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.errors import Conflict, ObjectNotFound
from chalicelib.retrain.keys import checkpoints_prefix
from chalicelib.retrain.messages import EpochDone
from chalicelib.storage import ObjectStore

MEDIA_TYPE = "application/octet-stream"
TRIES = 5


class Superseded(Exception):
    """Another start of the same job's trainer has taken over."""


class State(BaseModel):
    """How far a job has come.

    Attributes
    ----------
    start : int
        Which start of the trainer has it, from 1.
    epochs_done : int
        That the checkpoint holds.
    file, sha256 : str or None
        The checkpoint; none: there is none yet.
    reports : tuple of EpochDone
        Of epochs that it holds and that the service was not told of when it was written: a kill
        may have come before.
    """

    model_config = ConfigDict(frozen=True)

    start: int = Field(ge=1)
    epochs_done: int = Field(0, ge=0)
    file: str | None = None
    sha256: str | None = None
    reports: tuple[EpochDone, ...] = ()


FIRST = State(start=1, epochs_done=0)


@dataclass
class Checkpoints:
    """The checkpoints of one job, held by one start of its trainer.

    Parameters
    ----------
    store : ObjectStore
    job_id : UUID
    state : State
        As ``begin`` wrote it.
    """

    store: ObjectStore
    job_id: UUID
    state: State

    @classmethod
    def begin(cls, store: ObjectStore, job_id: UUID) -> Checkpoints:
        """Take a job over for a new start of its trainer.

        Raises
        ------
        Conflict
            Too many start at once.
        StorageUnavailable
        """
        for _ in range(TRIES):
            known, etag = _read(store, job_id)
            state = known.model_copy(update={"start": known.start + 1}) if known else FIRST
            try:
                _write(store, job_id, state, etag)
            except Conflict:
                continue
            return cls(store, job_id, state)
        raise Conflict(f"job {job_id}: {TRIES} trainers started meanwhile")

    def fetch(self, path: Path) -> None:
        """Make a file of the checkpoint; one that is there already and is right is kept.

        Where there is none, neither is there a file afterwards.
        """
        if self.state.file is None:
            path.unlink(missing_ok=True)
        elif not path.exists() or _digest(path) != self.state.sha256:
            fetched = self.store.get(self._key(self.state.file)).body
            begun = path.with_suffix(".part")
            begun.write_bytes(fetched)
            begun.replace(path)

    def keep(self, path: Path, epochs_done: int, reports: Sequence[EpochDone] = ()) -> None:
        """Store a checkpoint; when this returns, a kill costs no epoch up to it.

        Parameters
        ----------
        reports : sequence of EpochDone
            Of what the service was not told yet: whoever takes up the checkpoint tells it.

        Raises
        ------
        Superseded
        StorageUnavailable
            The one before counts still.
        """
        replaced = self.state.file
        name = f"start-{self.state.start}-epoch-{epochs_done}.pt"
        with path.open("rb") as file:
            self.store.put_file(self._key(name), file, MEDIA_TYPE)
        told = {"epochs_done": epochs_done, "file": name, "sha256": _digest(path)}
        wanted = self.state.model_copy(update=told | {"reports": tuple(reports)})
        known, etag = _read(self.store, self.job_id)
        if known not in (self.state, wanted):  # the latter: our own, of which no answer came
            self.store.delete(self._key(name))
            raise Superseded(f"start {known.start if known else 1} of the trainer has taken over")
        try:
            _write(self.store, self.job_id, wanted, etag)
        except Conflict as error:
            raise Superseded("another start of the trainer has taken over") from error
        self.state = wanted
        if replaced not in (None, name):
            self.store.delete(self._key(str(replaced)))

    def clear(self) -> None:
        """Remove the checkpoint of a job whose output is in the store."""
        if self.state.file is not None:
            self.store.delete(self._key(self.state.file))

    def _key(self, name: str) -> str:
        return checkpoints_prefix(self.job_id) + name


def _read(store: ObjectStore, job_id: UUID) -> tuple[State | None, str | None]:
    try:
        found = store.get(f"{checkpoints_prefix(job_id)}state.json")
    except ObjectNotFound:
        return None, None
    return State.model_validate_json(found.body), found.etag


def _write(store: ObjectStore, job_id: UUID, state: State, etag: str | None) -> None:
    key, body = f"{checkpoints_prefix(job_id)}state.json", state.model_dump_json().encode()
    try:
        store.put_over(key, body, "application/json", etag=etag)
    except Conflict:
        if _read(store, job_id)[0] != state:  # ours is there, where only the answer was lost
            raise


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
