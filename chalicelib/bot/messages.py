"""What the bot's queue carries: updates as Telegram sent them, and albums to look after."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from chalicelib.errors import MalformedMessage


class UpdateArrived(BaseModel):
    """An update, as the webhook got it."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["update"] = "update"
    update: dict[str, Any]


class AlbumDue(BaseModel):
    """An album some of whose photos have come: perhaps all have by now."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["album"] = "album"
    chat: int
    group: str


BotMessage = Annotated[UpdateArrived | AlbumDue, Field(discriminator="kind")]
_MESSAGE: TypeAdapter[BotMessage] = TypeAdapter(BotMessage)


def parse_message(body: str) -> BotMessage:
    """Read a message of the bot's queue.

    Raises
    ------
    MalformedMessage
        It is none.
    """
    try:
        return _MESSAGE.validate_json(body)
    except ValidationError as error:
        raise MalformedMessage(f"not a message for the bot: {error.errors()[0]['msg']}") from error
