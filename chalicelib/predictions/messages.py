"""The messages on `identify` and `results`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chalicelib.errors import MalformedMessage
from chalicelib.inference.options import Options
from chalicelib.moment import Moment
from chalicelib.predictions.keys import is_prediction_id
from chalicelib.predictions.model import ArrivedFile, Prediction, Problem, State


class Message(BaseModel):
    """A message of ours: its schema's number is fixed, fields that we do not know are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    prediction_id: str
    model: str
    correlation_id: str

    @classmethod
    def parse(cls, body: str) -> Self:
        """Read a message's body.

        Raises
        ------
        MalformedMessage
            The body is not such a message, or of a later schema.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise MalformedMessage(f"not a {cls.__name__}: {where}: {first['msg']}") from error


class IdentifyMessage(Message):
    """A file that waits for its detection, with all that a worker has to know."""

    key: str = Field(description="in the uploads bucket")
    file_name: str
    content_type: str = ""
    options: Options = Options()
    unseen: bool = False
    etag: str = ""
    object_version: str = ""
    uploaded_at: Moment

    @classmethod
    def of(cls, prediction: Prediction, file: ArrivedFile) -> Self:
        """Ask for a prediction's detection."""
        return cls(
            prediction_id=prediction.prediction_id,
            model=prediction.model,
            correlation_id=prediction.correlation_id,
            key=prediction.key,
            file_name=prediction.file_name,
            content_type=prediction.content_type,
            options=prediction.options,
            unseen=prediction.unseen,
            etag=file.etag,
            object_version=file.version,
            uploaded_at=file.arrived_at,
        )

    @property
    def file(self) -> ArrivedFile:
        """The file that is to be looked at."""
        return ArrivedFile(self.key, self.etag, self.uploaded_at, self.object_version)


class ResultMessage(Message):
    """A prediction that has its answer. It may come twice: ``message_id`` is then the same."""

    message_id: str
    key: str
    file_name: str
    state: Literal[State.DONE, State.FAILED]
    version: int | None = None
    problem: Problem | None = None
    answered_at: Moment

    @classmethod
    def of(cls, prediction: Prediction) -> Self:
        """Tell what became of a prediction; its detections are read by its id."""
        return cls.model_validate(
            {
                **prediction.model_dump(exclude={"result", "result_key"}),
                "message_id": f"{prediction.prediction_id}:{prediction.state}",
                "answered_at": prediction.updated_at,
            }
        )


class PredictionReference(BaseModel):
    """What can still be told of a message that is otherwise malformed."""

    prediction_id: str


def prediction_named_in(body: str) -> str | None:
    """Return the prediction id in a message that may hold little else."""
    try:
        named = PredictionReference.model_validate_json(body).prediction_id
    except ValidationError:
        return None
    return named if is_prediction_id(named) else None
