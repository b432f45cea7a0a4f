"""The seam to Telegram: the few calls of the Bot API that the bot makes, and its errors as ours.

The token is part of every address that is asked: errors of the library below are not passed on with
their text, and its own log lines are turned off.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import threading
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
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
    ChatMigrated,
    Forbidden,
    InvalidToken,
    RetryAfter,
    TelegramError,
)
from telegram.request import HTTPXRequest

from chalicelib.errors import (
    ConfigurationError,
    ObjectNotFound,
    PayloadTooLarge,
    TelegramRefused,
    TelegramUnavailable,
)

LONGEST_TEXT, LONGEST_CAPTION, LONGEST_TOAST = 4096, 1024, 200
LARGEST_DOWNLOAD = 20 * 1024 * 1024  # Telegram gives bots no larger files
CONNECTIONS = 8
SAME = "message is not modified"  # in any case: the library capitalises what Telegram says
TOO_BIG = "file is too big"
TOKEN = r"[0-9]+:[A-Za-z0-9_-]+"
NO_LINKS = LinkPreviewOptions(is_disabled=True)


class Telegram:
    """One bot's calls. They may come from any thread; all go through one loop of this process.

    Parameters
    ----------
    token : str
    api : str
        Where the Bot API is.

    Raises
    ------
    ConfigurationError
        The token cannot be one.
    """

    def __init__(self, token: str, api: str) -> None:
        if not re.fullmatch(TOKEN, token):
            raise ConfigurationError("that is no bot's token: @BotFather gives 123456:ABC-DEF…")
        for name in ("httpx", "httpcore", "telegram"):  # they log addresses, and so the token
            logging.getLogger(name).setLevel(logging.WARNING)
        self._token = token
        self._api = api.rstrip("/")

    def say(self, chat: int, text: str, reply_to: int | None = None, buttons: Buttons = ()) -> int:
        """Send a text; return the message's id.

        Raises
        ------
        TelegramUnavailable, TelegramRefused, ConfigurationError
            As every other call here.
        """
        sent = self._do(
            lambda bot: bot.send_message(
                chat,
                _cut(text, LONGEST_TEXT),
                reply_parameters=_to(reply_to),
                link_preview_options=NO_LINKS,
                reply_markup=_keyboard(buttons),
            )
        )
        return int(sent.message_id)

    def show(
        self, chat: int, message: int, jpeg: bytes, caption: str, buttons: Buttons = ()
    ) -> None:
        """Turn a message of ours into a picture; done twice, it is the same picture.

        Where the message is gone, the picture is sent as one of its own.
        """
        caption = _cut(caption, LONGEST_CAPTION)
        keyboard = _keyboard(buttons)
        photo = InputMediaPhoto(jpeg, caption=caption)
        try:
            self._edit(
                lambda bot: bot.edit_message_media(photo, chat, message, reply_markup=keyboard)
            )
        except TelegramRefused:
            self._do(lambda bot: bot.send_photo(chat, jpeg, caption=caption, reply_markup=keyboard))

    def tell(self, chat: int, message: int, text: str) -> None:
        """Turn a text of ours into another; where it is gone, send a new one."""
        try:
            self._edit(lambda bot: bot.edit_message_text(_cut(text, LONGEST_TEXT), chat, message))
        except TelegramRefused:
            self.say(chat, text)

    def toast(self, query: str, text: str) -> None:
        """Answer who pressed a button; too late is no error."""
        try:
            told = _cut(text, LONGEST_TOAST)
            self._do(lambda bot: bot.answer_callback_query(query, told, show_alert=True))
        except TelegramRefused as error:
            logging.getLogger(__name__).debug("too late for an answer: %s", error.detail)

    def download(self, file: str) -> bytes:
        """Return the bytes of a file.

        Raises
        ------
        PayloadTooLarge
            Telegram gives it to nobody's bot.
        ObjectNotFound
            It is gone, or another bot's.
        """
        try:
            return bytes(self._do(lambda bot: _download(bot, file)))
        except TelegramRefused as error:
            if TOO_BIG in error.detail.casefold():
                raise PayloadTooLarge(error.detail) from None
            raise ObjectNotFound("Telegram no longer has that file: please send it again") from None

    def me(self) -> str:
        """Return the bot's user name."""
        return str(self._do(lambda bot: bot.get_me()).username)

    def set_webhook(self, url: str, secret: str) -> None:
        """Have Telegram send updates to an address from now on."""
        kinds = ["message", "edited_message", "callback_query"]
        self._do(lambda bot: bot.set_webhook(url, secret_token=secret, allowed_updates=kinds))

    def delete_webhook(self) -> None:
        """Have Telegram send no more."""
        self._do(lambda bot: bot.delete_webhook())

    def close(self) -> None:
        """Close the connections; another call opens new ones."""
        asyncio.run_coroutine_threadsafe(self._close(), _loop()).result()

    async def _close(self) -> None:
        bot = self.__dict__.pop("_bot", None)
        if bot is not None:
            await bot.request.shutdown()

    def _edit(self, call: Callable[[Bot], Coroutine[Any, Any, object]]) -> None:
        try:
            self._do(call)
        except TelegramRefused as error:
            if SAME not in error.detail.casefold():
                raise

    def _do[T](self, call: Callable[[Bot], Coroutine[Any, Any, T]]) -> T:
        async def called() -> T:
            return await call(self._bot)

        try:
            return asyncio.run_coroutine_threadsafe(called(), _loop()).result()
        except TelegramError as error:
            raise _ours(error) from None  # its text may hold the token

    @functools.cached_property
    def _bot(self) -> Bot:
        """The library's bot with its connections; asked for on the loop alone, so there is one."""
        request = HTTPXRequest(CONNECTIONS, read_timeout=20, write_timeout=20, pool_timeout=20)
        return Bot(
            self._token,
            base_url=f"{self._api}/bot",
            base_file_url=f"{self._api}/file/bot",
            request=request,
            get_updates_request=request,
        )


Buttons = Sequence[tuple[str, str]]  # what is on it, and its address or what comes back


def _ours(error: TelegramError) -> TelegramUnavailable | TelegramRefused | ConfigurationError:
    if isinstance(error, RetryAfter):
        return TelegramUnavailable("Telegram wants us to wait", _seconds(error))
    if isinstance(error, InvalidToken):
        return ConfigurationError("Telegram does not know the bot's token: register it anew")
    if isinstance(error, (BadRequest, Forbidden, ChatMigrated)):
        return TelegramRefused(f"Telegram refuses: {error.message}")
    return TelegramUnavailable(f"Telegram does not answer: {type(error).__name__}")


def _seconds(error: RetryAfter) -> int:
    wait = error.retry_after
    return int(wait.total_seconds() if isinstance(wait, timedelta) else wait)


def _cut(text: str, most: int) -> str:
    """Return a text's beginning, as Telegram counts: a character beyond 16 bits is two.

    >>> _cut("a🙂b", 2), _cut("a🙂b", 3)
    ('a', 'a🙂')
    """
    return text.encode("utf-16-le", "replace")[: 2 * most].decode("utf-16-le", "ignore")


async def _download(bot: Bot, file: str) -> bytearray:
    found = await bot.get_file(file)
    try:
        return await found.download_as_bytearray()
    except InvalidToken:  # how the library takes a 404
        raise BadRequest("the file is gone") from None


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
