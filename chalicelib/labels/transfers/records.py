"""What an import, export or cut is, and how far it is: pure values."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

UPLOADS = "imports/"  # in the uploads bucket
STAGED = "imports/"  # in the store bucket
EXPORTS = "exports/"  # in the store bucket
ZIP = "application/zip"


class Kind(StrEnum):
    """What is done."""

    IMPORT = "import"
    EXPORT = "export"
    CUT = "cut"


class State(StrEnum):
    """Where a transfer stands. An import goes down the list; the others have four of them."""

    WAITING = "waiting"
    QUEUED = "queued"
    CHECKING = "checking"
    BUILDING = "building"
    FAULTY = "faulty"
    PLACING = "placing"
    PUBLISHING = "publishing"
    DONE = "done"
    FAILED = "failed"


WORKING = (State.QUEUED, State.CHECKING, State.BUILDING, State.PLACING, State.PUBLISHING)
OVER = (State.FAULTY, State.DONE, State.FAILED)


@dataclass(frozen=True)
class Transfer:
    """One import, export, or cut of a version.

    Attributes
    ----------
    transfer_id : str
        A UUID that nobody can guess.
    kind : Kind
    model, user : str
    asked : mapping
        What the caller chose.
    state : State
    key, etag, object_version : str or None
        Of the ZIP, see the table.
    done, total : int, int or None
        Of what the state is about, such as images checked.
    found : mapping
        Counts and faults so far.
    problem : str or None
        Why it failed.
    attempts : int
        How often it was taken up since it last got on.
    lease : str or None
        Of whoever holds it; only those who took it know theirs.
    created_at, updated_at : datetime
    """

    transfer_id: str
    kind: Kind
    model: str
    user: str
    asked: Mapping[str, Any]
    state: State
    key: str | None
    etag: str | None
    object_version: str | None
    done: int
    total: int | None
    found: Mapping[str, Any]
    problem: str | None
    attempts: int
    lease: str | None = field(repr=False)
    created_at: datetime
    updated_at: datetime

    def is_of(self, etag: str, version: str) -> bool:
        """Tell whether a file under its key is the ZIP that arrived first, as far as is known."""
        if self.object_version and version:
            return self.object_version == version
        return self.etag in (None, etag)

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in OVER


class JobMessage(BaseModel):
    """A transfer that wants to be worked on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    kind: Kind
    id: str


def new_id() -> str:
    """Return an id that nobody can guess."""
    return str(uuid.uuid4())


def is_id(text: str) -> bool:
    """Say whether a text is a UUID in its usual spelling."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def upload_key(model: str, import_id: str) -> str:
    """Return the key in the uploads bucket under which an import's ZIP is sent."""
    return f"{UPLOADS}{model}/{import_id}/archive.zip"


def id_in(key: str) -> str | None:
    """Return the import that a key of the uploads bucket is of, None if it is of none.

    >>> id_in("imports/tags/6f0c1a52-6f7e-4d5e-9a57-2d0f3c1b7a11/archive.zip")
    '6f0c1a52-6f7e-4d5e-9a57-2d0f3c1b7a11'
    >>> id_in("imports/tags/archive.zip")
    """
    parts = key.split("/")
    return parts[2] if len(parts) == 4 and key.startswith(UPLOADS) and is_id(parts[2]) else None


def staged(import_id: str, name: str) -> str:
    """Return the key in the store bucket of what an import keeps while it is under way."""
    return f"{STAGED}{import_id}/{name}"


def directory_key(transfer: Transfer, part: int, etag: str) -> str:
    """Return the key of what an export's ZIP will say of the files of one of its parts."""
    return f"{EXPORTS}{transfer.transfer_id}/directory/{part:05}-{etag}"


def export_key(transfer: Transfer) -> str:
    """Return the key of an export's ZIP, whose last part is what a browser calls the file."""
    name = f"{transfer.model}-{transfer.asked['format']}.zip"
    return f"{EXPORTS}{transfer.transfer_id}/{name}"
