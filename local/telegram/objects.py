"""Objects of the Bot API, and what Telegram refuses in those that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

LONGEST_CAPTION = 1024
LONGEST_DATA = 64  # bytes that come back from a button


class Refused(Exception):
    """An answer with ``ok: false``.

    Parameters
    ----------
    code : int
        Such as 400.
    description : str
    retry_after : int, optional
        Seconds to wait.
    """

    def __init__(self, code: int, description: str, retry_after: int | None = None) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.retry_after = retry_after


def user_object(chat: int) -> Json:
    """Return the person of a private chat, by its number."""
    return {"id": abs(chat), "is_bot": False, "first_name": f"Person {abs(chat)}"}


def chat_object(chat: int) -> Json:
    """Return a chat: a private one, or with a negative number a group."""
    return {"id": chat, "type": "private" if chat > 0 else "group", "title": f"Chat {chat}"}


def file_object(file_id: str, file: bytes) -> Json:
    """Return what is told of a file."""
    return {"file_id": file_id, "file_unique_id": file_id[:16], "file_size": len(file)}


def file_of(given: Mapping[str, Any], named: str | bytes) -> bytes:
    """Return the bytes of a file that came with a call, as they are or as ``attach://<part>``."""
    part = named if isinstance(named, bytes) else given.get(named.removeprefix("attach://"))
    if not isinstance(part, bytes):
        raise Refused(400, "Bad Request: there is no photo in the request")
    return part


def caption_of(given: Mapping[str, Any]) -> Json:
    """Return the caption among what was given, where there is one."""
    caption = str(given.get("caption") or "")
    if len(caption) > LONGEST_CAPTION:
        raise Refused(400, "Bad Request: message caption is too long")
    return {"caption": caption} if caption else {}


def markup_of(given: Mapping[str, Any]) -> Json:
    """Return the buttons among what was given, where there are any."""
    markup = given.get("reply_markup")
    for row in (markup or {}).get("inline_keyboard", []):
        for button in row:
            if len(button.get("callback_data", "").encode()) > LONGEST_DATA:
                raise Refused(400, "Bad Request: BUTTON_DATA_INVALID")
    return {"reply_markup": markup} if markup else {}


def largest_of(message: Json) -> str:
    """Return the file of a message's photo; empty where it has none."""
    photos = message.get("photo") or [{}]
    return str(photos[-1].get("file_id", ""))
