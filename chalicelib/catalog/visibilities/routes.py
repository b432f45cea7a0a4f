"""`PUT /v1/models/{model}/visibility`, of models that serve and of pending ones."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.catalog.model import ModelName
from chalicelib.catalog.visibility import SHOWN_TO, Visibility
from chalicelib.errors import (
    Conflict,
    DatabaseUnavailable,
    InvalidModel,
    ModelNotFound,
    ModelUnavailable,
    StorageUnavailable,
)
from chalicelib.moment import Moment
from chalicelib.web.api import Api
from chalicelib.web.identity import operator
from chalicelib.wiring import services

api = Api(__name__, tag="models")


class VisibilityWish(BaseModel):
    """Who may be shown the photos of a model from now on."""

    model_config = ConfigDict(extra="forbid")

    visibility: Visibility = Field(description=SHOWN_TO)
    previous: Visibility | None = Field(
        None, description="what it was when you looked; 409 where it is another by now"
    )


class VisibilityAnswer(BaseModel):
    """Who may be shown the photos of a model, and who decided so."""

    model: str = Field(examples=["scratch"])
    visibility: Visibility
    changed_at: Moment | None = Field(description="null: it was never changed")
    changed_by: str | None = Field(examples=["operator:ann"])


@api.route(
    "PUT",
    "/v1/models/{model}/visibility",
    "Set who may be shown a model's photos",
    {200: VisibilityAnswer},
    body=VisibilityWish,
    errors=(ModelNotFound, Conflict, ModelUnavailable, StorageUnavailable, DatabaseUnavailable),
    operators_only=True,
)
def set_visibility(model: ModelName, body: VisibilityWish) -> VisibilityAnswer:
    """Set the visibility of a model that serves or is pending.

    A stricter one holds for all photos within 15 s. A wider one holds for photos that are sent from
    then on: those sent before stay as their senders were promised.
    """
    by = f"operator:{operator(api.request)}"
    try:
        made = services().visibility.change(model, body.visibility, by, body.previous)
    except InvalidModel as error:
        raise ModelUnavailable(
            f"what is stored of the model {model!r} cannot be read: publish a version anew"
        ) from error
    return VisibilityAnswer.model_validate(vars(made))
