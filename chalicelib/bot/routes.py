"""The webhook: Telegram's updates come in, and wait on the bot's queue for their answer."""

from __future__ import annotations

import hmac
import json
from typing import Any

from pydantic import BaseModel

from chalicelib.bot.messages import UpdateArrived
from chalicelib.errors import InvalidRequest, NotFound, QueueUnavailable, Unauthorized
from chalicelib.web.api import Api, Media, raw_body
from chalicelib.wiring import services

api = Api(__name__, tag="bot")

SECRET_HEADER = "x-telegram-bot-api-secret-token"
LARGEST_UPDATE = 128 * 1024  # bytes; a message of SQS takes twice that, and JSON may grow
LARGEST_ID = 2**53 - 1
UPDATE = {
    "type": "object",
    "description": "as [the Bot API](https://core.telegram.org/bots/api#update) has it",
    "properties": {"update_id": {"type": "integer", "minimum": 0, "maximum": LARGEST_ID}},
    "required": ["update_id"],
}


class Taken(BaseModel):
    """The update waits for its answer."""

    ok: bool = True


@api.route(
    "POST",
    "/v1/telegram/webhook",
    "Take an update from Telegram",
    {200: Taken},
    body=Media({"application/json": UPDATE}),
    errors=(InvalidRequest, Unauthorized, NotFound, QueueUnavailable),
)
def webhook() -> Taken:
    """Put an update on the bot's queue. For Telegram alone, which proves itself by the secret that
    it was given when the webhook was registered, in `X-Telegram-Bot-Api-Secret-Token`.
    """
    expected = services().secrets.read().telegram.webhook_secret
    if not expected:
        raise NotFound("there is no bot here: `python -m deploy bot` registers one")
    sent = str(api.request.headers.get(SECRET_HEADER) or "")
    if not hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), expected.encode()):
        raise Unauthorized("this is for Telegram: the secret is not the one it was given")
    services().queue(services().settings.bot_queue).send(UpdateArrived(update=_update()))
    return Taken()


def _update() -> dict[str, Any]:
    body = raw_body(api.request)
    if len(body) > LARGEST_UPDATE:
        raise InvalidRequest(f"an update of {len(body)} bytes is none of Telegram's")
    try:
        update = json.loads(_without_half_characters(json.loads(body)))
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not JSON") from None
    number: Any = update.get("update_id") if isinstance(update, dict) else None
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not is_number or not 0 <= number <= LARGEST_ID or number % 1:
        raise InvalidRequest("the body is not an update of the Bot API: it has no update_id")
    return {**update, "update_id": int(number)}  # JSON Schema calls 7.0 an integer, too


def _without_half_characters(value: object) -> bytes:
    """Return JSON again, with a question mark for each half of a pair that JSON can escape alone.

    >>> _without_half_characters(json.loads('"caf\\u00e9 \\ud83d"')).decode()
    '"café ?"'
    """
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
