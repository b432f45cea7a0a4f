"""The seam to Telegram: the few calls of the Bot API that the bot makes, and its errors as ours.

The token is part of every address that is asked: errors of the library below are not passed on with
their text, and its own log lines are turned off.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

from telegram import (
    Bot,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaPhoto,
    LinkPreviewOptions,
    ReplyParameters,
)
from telegram.error import (
    BadRequest,
    Forbidden,
    InvalidToken,
    RetryAfter,
    TelegramError,
)
from telegram.request import HTTPXRequest

from chalicelib.errors import ConfigurationError, TelegramRefused, TelegramUnavailable

API = "https://api.telegram.org"
LONGEST_TEXT, LONGEST_CAPTION, LONGEST_TOAST = 4096, 1024, 200
LARGEST_DOWNLOAD = 20 * 1024 * 1024  # Telegram gives bots no larger files
CONNECTIONS = 8
SAME = "message is not modified"
NO_LINKS = LinkPreviewOptions(is_disabled=True)


class Telegram:
    """One bot's calls. They may come from any thread; all go through one loop of this process.

    Parameters
    ----------
    token : str
    api : str
        Where the Bot API is.
    """

    def __init__(self, token: str, api: str = API) -> None:
        for name in ("httpx", "httpcore"):  # they log addresses, in which the token is
            logging.getLogger(name).setLevel(logging.WARNING)
        self._token = token
        self._api = api.rstrip("/")

    def say(self, chat: int, text: str, reply_to: int | None = None) -> int:
        """Send a text; return the message's id.

        Raises
        ------
        TelegramUnavailable, TelegramRefused, ConfigurationError
            As every other call here.
        """
        sent = self._do(
            self._bot.send_message(
                chat,
                text[:LONGEST_TEXT],
                reply_parameters=_to(reply_to),
                link_preview_options=NO_LINKS,
            )
        )
        return int(sent.message_id)

    def show(
        self, chat: int, message: int, jpeg: bytes, caption: str, buttons: Buttons = ()
    ) -> None:
        """Turn a message of ours into a picture; done twice, it is the same picture.

        Where the message is gone, the picture is sent as one of its own.
        """
        caption = caption[:LONGEST_CAPTION]
        keyboard = _keyboard(buttons)
        photo = InputMediaPhoto(jpeg, caption=caption)
        try:
            self._edit(self._bot.edit_message_media(photo, chat, message, reply_markup=keyboard))
        except TelegramRefused:
            self._do(self._bot.send_photo(chat, jpeg, caption=caption, reply_markup=keyboard))

    def tell(self, chat: int, message: int, text: str) -> None:
        """Turn a text of ours into another; where it is gone, send a new one."""
        try:
            self._edit(self._bot.edit_message_text(text[:LONGEST_TEXT], chat, message))
        except TelegramRefused:
            self.say(chat, text)

    def toast(self, query: str, text: str) -> None:
        """Answer who pressed a button; too late is no error."""
        try:
            self._do(self._bot.answer_callback_query(query, text[:LONGEST_TOAST], show_alert=True))
        except TelegramRefused as error:
            logging.getLogger(__name__).debug("too late for an answer: %s", error.detail)

    def download(self, file: str) -> bytes:
        """Return the bytes of a file."""
        return bytes(self._do(self._download(file)))

    def me(self) -> str:
        """Return the bot's user name."""
        return str(self._do(self._bot.get_me()).username)

    def set_webhook(self, url: str, secret: str) -> None:
        """Have Telegram send updates to an address from now on."""
        kinds = ["message", "edited_message", "callback_query"]
        self._do(self._bot.set_webhook(url, secret_token=secret, allowed_updates=kinds))

    def delete_webhook(self) -> None:
        """Have Telegram send no more."""
        self._do(self._bot.delete_webhook())

    def close(self) -> None:
        """Close the connections; another call opens new ones."""
        self._do(self._request.shutdown())
        del self._request, self._bot

    async def _download(self, file: str) -> bytearray:
        found = await self._bot.get_file(file)
        return await found.download_as_bytearray()

    def _edit(self, call: Coroutine[Any, Any, object]) -> None:
        try:
            self._do(call)
        except TelegramRefused as error:
            if SAME not in error.detail:
                raise

    def _do[T](self, call: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(call, _loop()).result()
        except TelegramError as error:
            raise _ours(error) from None  # its text may hold the token

    @functools.cached_property
    def _request(self) -> HTTPXRequest:
        return HTTPXRequest(CONNECTIONS, read_timeout=20, write_timeout=20, pool_timeout=20)

    @functools.cached_property
    def _bot(self) -> Bot:
        return Bot(
            self._token,
            base_url=f"{self._api}/bot",
            base_file_url=f"{self._api}/file/bot",
            request=self._request,
            get_updates_request=self._request,
        )


Buttons = Sequence[tuple[str, str]]  # what is on it, and its address or what comes back


def _ours(error: TelegramError) -> TelegramUnavailable | TelegramRefused | ConfigurationError:
    if isinstance(error, RetryAfter):
        return TelegramUnavailable(f"Telegram wants us to wait: {error.message}")
    if isinstance(error, InvalidToken):
        return ConfigurationError("Telegram does not know the bot's token: register it anew")
    if isinstance(error, (BadRequest, Forbidden)):
        return TelegramRefused(f"Telegram refuses: {error.message}")
    return TelegramUnavailable(f"Telegram does not answer: {type(error).__name__}")


def _to(message: int | None) -> ReplyParameters | None:
    return ReplyParameters(message, allow_sending_without_reply=True) if message else None


def _keyboard(buttons: Buttons) -> InlineKeyboardMarkup | None:
    if not buttons:
        return None
    row = [
        InlineKeyboardButton(name, url=then)
        if then.startswith(("http://", "https://"))
        else InlineKeyboardButton(name, callback_data=then)
        for name, then in buttons
    ]
    return InlineKeyboardMarkup([[button] for button in row])


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the loop of this process's calls, which runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="telegram", daemon=True).start()
    return loop
