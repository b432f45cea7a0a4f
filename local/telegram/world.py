"""Chats, the people in them, and what the bot did there: Telegram's side of the Bot API.

It keeps what is needed to see a conversation: messages in order, files, the buttons under them,
what was shown to who pressed one. It refuses what Telegram refuses, in Telegram's words.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image

from local.telegram.journal import Journal
from local.telegram.objects import (
    Refused,
    caption_of,
    chat_object,
    file_object,
    file_of,
    largest_of,
    markup_of,
    user_object,
)

Json = dict[str, Any]
LONGEST_TEXT, LONGEST_TOAST = 4096, 200
LARGEST_PHOTO, LARGEST_FILE = 10_000_000, 20_000_000
LONGEST_SIDES, MOST_SLENDER = 10_000, 20
BOT_ID = 7_000_000_001
__all__ = ["Refused", "World"]


@dataclass
class World:
    """All chats of one bot. Every method may be called from any thread.

    Attributes
    ----------
    bot_name : str
    deliver : callable
        Is handed each update in the order in which they happened.
    chats : mapping of chat id to its messages, oldest first
    files : mapping of file id to bytes
    toasts : what the bot showed to those who pressed buttons, oldest first
    webhook : what the bot registered
    blocked : chats in which the bot was blocked
    busy : how many calls are answered with 429 yet
    journal : what happened, for who watches
    trouble : callable
        Is handed the name of each method before it is done, and may raise ``Refused``.
    """

    bot_name: str = "sightloop_bot"
    deliver: Callable[[Json], object] = field(default=lambda update: None)
    chats: dict[int, list[Json]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    toasts: list[Json] = field(default_factory=list)
    webhook: Json = field(default_factory=lambda: {"url": "", "secret_token": ""})
    blocked: set[int] = field(default_factory=set)
    busy: int = 0
    journal: Journal = field(default_factory=Journal)
    trouble: Callable[[str], object] = field(default=lambda method: None)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        now = int(time.time() * 1000)  # the bot remembers those of another run for a day
        self._message_ids, self._update_ids, self._albums = (itertools.count(now) for _ in range(3))
        self._pressed: dict[str, int] = {}

    # What people do

    def write(self, chat: int, text: str, **more: Any) -> Json:
        """Let the person of a private chat write; return the update."""
        return self._send(self._incoming(chat, text=text, **more))

    def send_photo(
        self,
        chat: int,
        file: bytes,
        caption: str = "",
        *,
        as_document: str = "",
        file_name: str = "file",
        **more: Any,
    ) -> Json:
        """Let somebody send a photo, or a file of a MIME type; return the update."""
        named = (file, as_document, file_name)
        content = self._document(*named) if as_document else self._photo(file)
        said = {"caption": caption} if caption else {}
        return self._send(self._incoming(chat, **content, **said, **more))

    def send_album(self, chat: int, files: Sequence[bytes], caption: str = "") -> list[Json]:
        """Let somebody send an album, whose caption is under its first photo."""
        album = self.new_album()
        captions = [caption, *[""] * (len(files) - 1)]
        return [
            self.send_photo(chat, file, said, **album)
            for file, said in zip(files, captions, strict=True)
        ]

    def new_album(self) -> Json:
        """Return what all photos of one album have in common."""
        return {"media_group_id": str(next(self._albums))}

    def press(self, chat: int, message_id: int, data: str, person: int | None = None) -> Json:
        """Let somebody press a button, in a private chat its person; return the update."""
        query = str(uuid.uuid4())
        self._pressed[query] = chat
        return self._send(
            {
                "callback_query": {
                    "id": query,
                    "from": user_object(person or chat),
                    "chat_instance": str(chat),
                    "message": self.message(chat, message_id),
                    "data": data,
                }
            }
        )

    def rewrite(self, chat: int, message_id: int, words: str) -> Json:
        """Let who wrote a message change its words; return the update.

        Raises
        ------
        Refused
            It is not there, or the bot's.
        """
        with self._lock:
            message = self.message(chat, message_id)
            if message["from"]["is_bot"]:
                raise Refused(400, "Bad Request: message can't be edited")
            said = {"text" if "text" in message else "caption": words}
            edited = message | said | {"edit_date": int(time.time())}
            self._replace(chat, message, edited)
        return self._send({"edited_message": edited})

    def message(self, chat: int, message_id: int) -> Json:
        """Return a message.

        Raises
        ------
        Refused
            It is not there.
        """
        with self._lock:
            for message in self.chats.get(chat, []):
                if message["message_id"] == message_id:
                    return message
        raise Refused(400, "Bad Request: message to edit not found")

    def from_bot(self, chat: int) -> list[Json]:
        """Return what the bot has in a chat, oldest first."""
        with self._lock:
            return [m for m in self.chats.get(chat, []) if m["from"]["is_bot"]]

    def _send(self, happened: Json) -> Json:
        with self._lock:
            update = {"update_id": next(self._update_ids), **happened}
        self.deliver(update)
        return update

    def _incoming(self, chat: int, **content: Any) -> Json:
        with self._lock:
            message = self._add(chat, user_object(content.pop("person", chat)), content)
        return {"message": message}

    # What the bot does: the Bot API's methods, by their names

    def call(self, method: str, given: Mapping[str, Any]) -> Any:
        """Do what a method of the Bot API does; return its result.

        Raises
        ------
        Refused
        """
        act = _METHODS.get(method.lower())
        if act is None:
            raise Refused(404, "Not Found: method not found")
        with self._lock:
            self.trouble(method)
            if self.busy and method.lower() not in ("getme", "setwebhook"):
                self.busy -= 1
                raise Refused(429, "Too Many Requests: retry after 1", retry_after=1)
            return act(self, given)

    def _get_me(self, given: Mapping[str, Any]) -> Json:
        return self._me()

    def _set_webhook(self, given: Mapping[str, Any]) -> bool:
        self.webhook = {
            "url": given.get("url", ""),
            "secret_token": given.get("secret_token", ""),
        }
        return True

    def _webhook_info(self, given: Mapping[str, Any]) -> Json:
        return {
            "url": self.webhook["url"],
            "has_custom_certificate": False,
            "pending_update_count": 0,
        }

    def _delete_webhook(self, given: Mapping[str, Any]) -> bool:
        self.webhook = {"url": "", "secret_token": ""}
        return True

    def _send_message(self, given: Mapping[str, Any]) -> Json:
        return self._add(self._chat(given), self._me(), self._text(given), given)

    def _send_picture(self, given: Mapping[str, Any]) -> Json:
        content = self._photo(file_of(given, given["photo"]), check=True)
        return self._add(self._chat(given), self._me(), content | caption_of(given), given)

    def _send_media_group(self, given: Mapping[str, Any]) -> list[Json]:
        group, chat = self.new_album(), self._chat(given)
        return [
            self._add(
                chat,
                self._me(),
                self._photo(file_of(given, media["media"]), check=True) | caption_of(media) | group,
                given,
            )
            for media in given["media"]
        ]

    def _edit_message_text(self, given: Mapping[str, Any]) -> Json:
        return self._edit(given, self._text(given))

    def _edit_message_media(self, given: Mapping[str, Any]) -> Json:
        media = given["media"]
        content = self._photo(file_of(given, media["media"]), check=True) | caption_of(media)
        return self._edit(given, content)

    def _edit_message_reply_markup(self, given: Mapping[str, Any]) -> Json:
        message = self.message(int(given["chat_id"]), int(given["message_id"]))
        kept: Json = {k: message[k] for k in ("text", "photo", "caption") if k in message}
        return self._edit(given, kept)

    def _answer_callback_query(self, given: Mapping[str, Any]) -> bool:
        if len(given.get("text", "")) > LONGEST_TOAST:
            raise Refused(400, "Bad Request: MESSAGE_TOO_LONG")
        toast = {"id": given["callback_query_id"], "text": given.get("text", "")}
        self.toasts.append(toast)
        self.journal.note(self._pressed.get(toast["id"], 0), toast)
        return True

    def _get_file(self, given: Mapping[str, Any]) -> Json:
        file_id = given["file_id"]
        if file_id not in self.files:
            raise Refused(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        if len(self.files[file_id]) > LARGEST_FILE:
            raise Refused(400, "Bad Request: file is too big")
        return file_object(file_id, self.files[file_id]) | {"file_path": f"files/{file_id}"}

    # Messages and files

    def _chat(self, given: Mapping[str, Any]) -> int:
        chat = int(given["chat_id"])
        if chat in self.blocked:
            raise Refused(403, "Forbidden: bot was blocked by the user")
        if chat not in self.chats:
            raise Refused(400, "Bad Request: chat not found")
        return chat

    def _add(
        self, chat: int, sender: Json, content: Json, given: Mapping[str, Any] | None = None
    ) -> Json:
        message = {
            "message_id": next(self._message_ids),
            "date": int(time.time()),
            "chat": chat_object(chat),
            "from": sender,
            **content,
            **markup_of(given or {}),
        }
        replied = (given or {}).get("reply_parameters")
        if replied:
            message["reply_to_message_id"] = replied["message_id"]
        self.chats.setdefault(chat, []).append(message)
        self.journal.note(chat, message["message_id"])
        return message

    def _edit(self, given: Mapping[str, Any], content: Json) -> Json:
        chat = self._chat(given)
        message = self.message(chat, int(given["message_id"]))
        if not message["from"]["is_bot"]:
            raise Refused(400, "Bad Request: message can't be edited")
        edited = {
            **{
                k: v
                for k, v in message.items()
                if k not in ("text", "caption", "photo", "reply_markup")
            },
            **content,
            **markup_of(given),
            "edit_date": int(time.time()),
        }
        if self._same(message, edited):
            raise Refused(
                400, "Bad Request: message is not modified: specified new message content"
            )
        return self._replace(chat, message, edited)

    def _replace(self, chat: int, message: Json, edited: Json) -> Json:
        self.chats[chat][self.chats[chat].index(message)] = edited
        self.journal.note(chat, edited["message_id"])
        return edited

    def _same(self, one: Json, other: Json) -> bool:
        """Tell whether two states of a message look the same."""
        alike = all(one.get(k) == other.get(k) for k in ("text", "caption", "reply_markup"))
        files = [self.files.get(largest_of(each)) for each in (one, other)]
        return alike and files[0] == files[1]

    def _text(self, given: Mapping[str, Any]) -> Json:
        text = str(given.get("text", ""))
        if not text.strip():
            raise Refused(400, "Bad Request: message text is empty")
        if len(text) > LONGEST_TEXT:
            raise Refused(400, "Bad Request: message is too long")
        return {"text": text}

    def _photo(self, file: bytes, *, check: bool = False) -> Json:
        with Image.open(BytesIO(file)) as image:
            width, height = image.size
        slender = max(width, height) > MOST_SLENDER * min(width, height)
        if check and (slender or width + height > LONGEST_SIDES):
            raise Refused(400, "Bad Request: PHOTO_INVALID_DIMENSIONS")
        if check and len(file) > LARGEST_PHOTO:
            raise Refused(413, "Request Entity Too Large")
        return {"photo": [self._keep(file) | {"width": width, "height": height}]}

    def _document(self, file: bytes, mime_type: str, file_name: str) -> Json:
        named = {"mime_type": mime_type, "file_name": file_name}
        return {"document": self._keep(file) | named}

    def _keep(self, file: bytes) -> Json:
        file_id = uuid.uuid4().hex
        self.files[file_id] = file
        return file_object(file_id, file)

    def _me(self) -> Json:
        return {
            "id": BOT_ID,
            "is_bot": True,
            "first_name": "Sightloop",
            "username": self.bot_name,
            "can_join_groups": True,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
        }


_METHODS: dict[str, Callable[[World, Mapping[str, Any]], Any]] = {
    "getme": World._get_me,
    "setwebhook": World._set_webhook,
    "deletewebhook": World._delete_webhook,
    "getwebhookinfo": World._webhook_info,
    "sendmessage": World._send_message,
    "sendphoto": World._send_picture,
    "sendmediagroup": World._send_media_group,
    "editmessagetext": World._edit_message_text,
    "editmessagemedia": World._edit_message_media,
    "editmessagereplymarkup": World._edit_message_reply_markup,
    "answercallbackquery": World._answer_callback_query,
    "getfile": World._get_file,
}
