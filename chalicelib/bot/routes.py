"""The webhook: Telegram's updates come in, and wait on the bot's queue for their answer."""

from __future__ import annotations

import hmac
import json

from pydantic import BaseModel

from chalicelib.bot.messages import UpdateArrived
from chalicelib.errors import InvalidRequest, NotFound, QueueUnavailable, Unauthorized
from chalicelib.web.api import Api, Media, raw_body
from chalicelib.wiring import services

api = Api(__name__, tag="bot")

SECRET_HEADER = "x-telegram-bot-api-secret-token"
LARGEST_UPDATE = 256 * 1024  # an SQS message takes no more


class Taken(BaseModel):
    """The update waits for its answer."""

    ok: bool = True


@api.route(
    "POST",
    "/v1/telegram/webhook",
    "Take an update from Telegram",
    {200: Taken},
    body=Media({"application/json": {"type": "object"}}),
    errors=(InvalidRequest, Unauthorized, NotFound, QueueUnavailable),
)
def webhook() -> Taken:
    """Put an update on the bot's queue. For Telegram alone, which proves itself by the secret that
    it was given when the webhook was registered, in `X-Telegram-Bot-Api-Secret-Token`.
    """
    expected = services().secrets.read().telegram.webhook_secret
    if not expected:
        raise NotFound("there is no bot here: `python -m deploy telegram` registers one")
    sent = str(api.request.headers.get(SECRET_HEADER) or "")
    if not hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), expected.encode()):
        raise Unauthorized("this is for Telegram: the secret is not the one it was given")
    services().queue(services().settings.bot_queue).send(UpdateArrived(update=_update()))
    return Taken()


def _update() -> dict[str, object]:
    body = raw_body(api.request)
    if len(body) > LARGEST_UPDATE // 2:
        raise InvalidRequest(f"an update of {len(body)} bytes is none of Telegram's")
    try:
        update = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not JSON") from None
    if not isinstance(update, dict) or not isinstance(update.get("update_id"), int):
        raise InvalidRequest("the body is not an update of the Bot API: it has no update_id")
    return update
