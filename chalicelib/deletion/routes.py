"""`DELETE /v1/predictions/{prediction_id}`, `DELETE /v1/contributions`, `GET /v1/deletions`."""

from __future__ import annotations

from chalice.app import Response
from pydantic import BaseModel, ConfigDict, Field

from chalicelib.callers import has_token
from chalicelib.errors import (
    DatabaseUnavailable,
    PredictionNotFound,
    StorageUnavailable,
    Unauthorized,
)
from chalicelib.moment import Moment
from chalicelib.predictions.routes import PredictionId
from chalicelib.web.api import Api, json_response
from chalicelib.web.identity import caller
from chalicelib.wiring import services

api = Api(__name__, tag="deletion")


class TrainedVersion(BaseModel):
    """A version of a model that was trained on what was deleted."""

    model: str = Field(examples=["scratch"])
    version: int = Field(examples=[3])
    live: bool = Field(description="it is the one that detects")


class DeletionAnswer(BaseModel):
    """A prediction that was deleted."""

    model_config = ConfigDict(from_attributes=True)

    prediction_id: str
    model: str = Field(examples=["scratch"])
    deleted_at: Moment
    is_erased: bool = Field(
        description="all files are gone; false: the rest goes within half an hour"
    )
    versions: list[TrainedVersion] = Field(
        description="that were trained on its labels; they learn nothing of it any more once "
        "an operator trains the model again"
    )


class DeletedAllAnswer(BaseModel):
    """How far the deletion of all that you sent is."""

    model_config = ConfigDict(from_attributes=True)

    deleted: int = Field(description="predictions in this call")
    images: int = Field(description="images of your imports in this call")
    is_finished: bool = Field(description="false: the rest goes by itself; or call again")


class DeletionList(BaseModel):
    """The newest deletions."""

    deletions: list[DeletionAnswer]


class DeletionsQuery(BaseModel):
    """How many deletions are asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(100, ge=1, le=1_000, description="the newest so many")


@api.route(
    "DELETE",
    "/v1/predictions/{prediction_id}",
    "Delete a photo and all that came of it",
    {200: DeletionAnswer},
    errors=(PredictionNotFound, StorageUnavailable, DatabaseUnavailable),
    open_to_banned=True,
)
def delete_prediction(prediction_id: PredictionId) -> DeletionAnswer:
    """Delete the photo, the boxes, every answer to it and its label, for whoever holds the id.

    Of a task, which is a copy of somebody else's photo, only the copy and your answer are deleted.
    The same again answers the same. Counters of suspicious submissions stay.
    """
    return DeletionAnswer.model_validate(services().deletions.delete(prediction_id))


@api.route(
    "DELETE",
    "/v1/contributions",
    "Delete all that you sent",
    {200: DeletedAllAnswer, 202: DeletedAllAnswer},
    errors=(Unauthorized, StorageUnavailable, DatabaseUnavailable),
    open_to_banned=True,
)
def delete_contributions() -> Response:
    """Delete every photo, answer and image of an import that was sent with your token until now.

    Images that an operator imported stay.

    A token is wanted, for an address is shared by people. 202: the rest is deleted by itself.
    """
    user = caller(api.request)
    if not has_token(user):
        raise Unauthorized(
            "send a token: an address may be others' as well; without one delete each photo by "
            "its id, DELETE /v1/predictions/{prediction_id}"
        )
    done = services().deletions.delete_all(user)
    return json_response(DeletedAllAnswer.model_validate(done), 200 if done.is_finished else 202)


@api.route(
    "GET",
    "/v1/deletions",
    "List deletions",
    {200: DeletionList},
    query=DeletionsQuery,
    errors=(DatabaseUnavailable,),
    operators_only=True,
)
def list_deletions(query: DeletionsQuery) -> DeletionList:
    """Return the newest deletions with each version that was trained on what is gone."""
    found = services().deletions.newest(query.limit)
    return DeletionList(deletions=[DeletionAnswer.model_validate(each) for each in found])
