"""Messages and files as the chat window shows them."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image

from chalicelib.errors import InvalidImage, InvalidRequest
from chalicelib.vision import decode_image
from local.telegram.world import MOST_SLENDER

Json = dict[str, Any]

LONGEST_SIDE, QUALITY = 2560, 87  # what Telegram's apps make of a photo
MOST_PIXELS = 170_000_000
KINDS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
OTHER = "application/octet-stream"


def seen(message: Json) -> Json:
    """Return a message of the Bot API in the few words that the window needs."""
    replied = message.get("reply_to_message", {}).get("message_id")
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return {
        "id": message["message_id"],
        "at": message["date"],
        "edited": "edit_date" in message,
        "from_bot": message["from"]["is_bot"],
        "person": message["from"]["id"],
        "text": message.get("text") or message.get("caption", ""),
        "photo": _photo(message),
        "document": _document(message),
        "album": message.get("media_group_id"),
        "reply_to": replied or message.get("reply_to_message_id"),
        "buttons": [_button(button) for row in rows for button in row],
    }


def kind_of(file: bytes) -> str:
    """Return the media type of a picture by its first bytes; of all else that of any bytes."""
    if file[:4] == b"RIFF" and file[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in KINDS if file.startswith(start)), OTHER)


def as_photo(file: bytes) -> bytes:
    """Return what Telegram's apps send where somebody sends a picture as a photo: a smaller JPEG.

    Raises
    ------
    InvalidRequest
        It can only be sent as a file.
    """
    try:
        image = decode_image(file, max_pixels=MOST_PIXELS).image
    except InvalidImage as error:
        raise InvalidRequest(f"{error.detail}; as a file it can be sent all the same") from None
    if max(image.size) > MOST_SLENDER * min(image.size):
        raise InvalidRequest("it is too slender for a photo: send it as a file")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    written = BytesIO()
    image.save(written, "JPEG", quality=QUALITY)
    return written.getvalue()


def _photo(message: Json) -> Json | None:
    if "photo" not in message:
        return None
    largest = message["photo"][-1]
    return {
        "file": largest["file_id"],
        "width": largest["width"],
        "height": largest["height"],
    }


def _document(message: Json) -> Json | None:
    document = message.get("document")
    return document and {
        "file": document["file_id"],
        "name": document["file_name"],
        "type": document["mime_type"],
        "bytes": document["file_size"],
    }


def _button(button: Json) -> Json:
    return {
        "text": button["text"],
        "url": button.get("url"),
        "data": button.get("callback_data"),
    }
