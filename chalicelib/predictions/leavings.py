"""What an answer leaves in the store bucket, whoever gave it: two pictures, and a long result."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from chalicelib.inference import Look
from chalicelib.predictions import keys
from chalicelib.predictions.model import Prediction
from chalicelib.predictions.pictures import pictures_of
from chalicelib.storage import ObjectStore

LONGEST_RESULT_IN_RECORD = 200_000  # characters; a DynamoDB item takes 400 KB with all else in it


@dataclass(frozen=True)
class Leavings:
    """What the record is to hold of an answer whose files are stored."""

    version: int
    result: str | None
    result_key: str | None

    def done(self, now: Callable[[], datetime]) -> Callable[[Prediction], Prediction]:
        """Return how a record changes when it is given its answer."""
        return lambda held: held.done(
            now(), self.version, result=self.result, result_key=self.result_key
        )


def leave(store: ObjectStore, prediction_id: str, look: Look, data: bytes) -> Leavings:
    """Store a prediction's pictures, and its result where the record cannot hold that.

    Parameters
    ----------
    store : ObjectStore
    prediction_id : str
    look : Look
        The answer and the decoded picture.
    data : bytes
        The picture's file as it came.

    Raises
    ------
    InvalidImage
        A side is longer than a JPEG can have.
    """
    answer = look.answer
    pictures = pictures_of(data, look.picture.image, answer.detections)
    store.put(keys.image_key(prediction_id), pictures.image, "image/jpeg")
    store.put(keys.annotated_key(prediction_id), pictures.annotated, "image/jpeg")
    content = answer.to_json()
    if answer.reference is not None:
        content["reference"] = answer.reference.to_json()
    document = json.dumps(content, separators=(",", ":"))
    if len(document) <= LONGEST_RESULT_IN_RECORD:
        return Leavings(answer.version, document, None)
    key = keys.result_key(prediction_id)
    store.put(key, document.encode(), "application/json")
    return Leavings(answer.version, None, key)
