"""Keys of the uploads bucket and of what a prediction leaves in the store bucket."""

from __future__ import annotations

import re
import unicodedata
import uuid
from dataclasses import dataclass
from pathlib import PurePosixPath

PREFIX = "uploads/"
LONGEST_NAME = 100
LONGEST_SUFFIX = 10


@dataclass(frozen=True)
class UploadKey:
    """A key below ``uploads/``, taken apart.

    ``uploads/<model>/<prediction_id>/<name>`` is what we hand out; people with credentials may
    also write ``uploads/<model>/<name>`` or put any folders in between.
    """

    model: str
    folder: str
    name: str

    @classmethod
    def parse(cls, key: str) -> UploadKey | None:
        """Take a key apart; ``None`` where it names no model or is a folder's marker."""
        model, _, rest = key.removeprefix(PREFIX).partition("/")
        folder, _, name = rest.rpartition("/")
        if not key.startswith(PREFIX) or not model or not name:
            return None
        return cls(model, folder, name)

    @property
    def prediction_id(self) -> str | None:
        """The id that the key names, where its folder is one."""
        return self.folder if is_prediction_id(self.folder) else None


def upload_key(model: str, prediction_id: str, file_name: str) -> str:
    """Return the key under which a file is to be uploaded."""
    return f"{PREFIX}{model}/{prediction_id}/{safe_name(file_name)}"


def safe_name(file_name: str) -> str:
    """Return a file name of plain ASCII, without folders, fit for a key.

    >>> safe_name("../Étiquette n°1 (süß).JPG")
    'Etiquette-n1-su.JPG'
    """
    base = re.split(r"[/\\]", file_name)[-1]
    plain = unicodedata.normalize("NFKD", base).encode("ascii", "ignore").decode()
    path = PurePosixPath(re.sub(r"[^A-Za-z0-9._]+", "-", f"_{plain}"))
    suffix = path.suffix.strip("-._")[:LONGEST_SUFFIX]
    stem = path.stem.strip("-._")[: LONGEST_NAME - LONGEST_SUFFIX - 1] or "upload"
    return f"{stem}.{suffix}" if suffix else stem


def new_prediction_id() -> str:
    """Return an id that nobody can guess."""
    return str(uuid.uuid4())


def is_prediction_id(text: str) -> bool:
    """Say whether a text is a UUID in its usual spelling."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def dropped_file_id(bucket: str, key: str, etag: str) -> str:
    """Return the prediction id of a file that was put into the bucket without asking for one.

    It is the name-based UUID of ``s3://<bucket>/<key>#<etag>``: two events for the same bytes
    are one prediction, other bytes under the same key are another, and anyone who put the file
    can work it out.
    """
    unquoted = etag.strip('"')
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"s3://{bucket}/{key}#{unquoted}"))


def image_key(prediction_id: str) -> str:
    """Return the store key of the upright original."""
    return f"predictions/{prediction_id}/image.jpg"


def annotated_key(prediction_id: str) -> str:
    """Return the store key of the picture with its boxes drawn."""
    return f"predictions/{prediction_id}/annotated.jpg"


def result_key(prediction_id: str) -> str:
    """Return the store key of detections too long for the record."""
    return f"predictions/{prediction_id}/result.json"
