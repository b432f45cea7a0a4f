"""What becomes of an update: who it is from, what is wanted, and the answer that follows.

Delivery is at least once everywhere, so an update is owned by the first message that carries it
here, and each answer with a picture is a message that is sent at once (“Processing…”) and turned
into the picture later: turning it twice leaves one picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from telegram import CallbackQuery, Message, Update

from chalicelib.bot import words
from chalicelib.bot.albums import Albums
from chalicelib.bot.captions import Concat, Misunderstood, Wish, understand
from chalicelib.bot.jobs import Bot, Job, Jobs
from chalicelib.bot.telegram import LARGEST_DOWNLOAD
from chalicelib.catalog import Catalog
from chalicelib.errors import SightloopError, TelegramRefused
from chalicelib.labels.submitted import Verb
from chalicelib.observability import logger
from chalicelib.trust.report_list import ReportList

MINUTE = 60
GREETINGS = frozenset({"/start", "/help", "help", "hello", "hi", "hey", "start"})
RIGHT, NOTHING = "right:", "none:"
VERBS: dict[str, Verb] = {RIGHT: "confirmed", NOTHING: "empty"}


@dataclass(frozen=True)
class House:
    """The rules of this service: who is shut out and how to appeal, how much a chat may ask."""

    report_list: ReportList
    appeal_to: str
    updates_a_minute: int


class Conversation:
    """Answers updates.

    Parameters
    ----------
    bot : Bot
    catalog : Catalog
    jobs : Jobs
    albums : Albums
    house : House
    submit : callable
        From prediction id, user and answer (confirmed, empty) to words for the contributor.
    """

    def __init__(
        self,
        bot: Bot,
        catalog: Catalog,
        jobs: Jobs,
        albums: Albums,
        house: House,
        submit: Callable[[str, str, Verb], str],
    ) -> None:
        self._telegram = bot.telegram
        self._bot = bot.name
        self._table = bot.table
        self._clock = bot.clock
        self._catalog = catalog
        self._jobs = jobs
        self._albums = albums
        self._house = house
        self._submit = submit

    def take(self, update: Update, owner: str) -> None:
        """Answer an update once.

        Parameters
        ----------
        update : telegram.Update
        owner : str
            The id of the queue's message that brings it: when it comes again, work goes on.

        Raises
        ------
        SightloopError
            It has to come again.
        """
        name = f"update#{update.update_id}"
        if not self._table.claim(name, owner) or (self._table.read(name) or {}).get("done"):
            logger.info("update known already", update=update.update_id)
            return
        try:
            self._answer(update)
        except TelegramRefused as error:  # the chat is gone, or we are blocked there
            logger.info("nobody to answer to", update=update.update_id, why=error.detail)
        self._table.note(name, {"done": True})

    def _answer(self, update: Update) -> None:
        message = update.message or update.edited_message
        if update.callback_query:
            self._button(update.callback_query)
        elif message and message.from_user and not message.from_user.is_bot:
            self._message(message, update.update_id)

    def _button(self, query: CallbackQuery) -> None:
        """Take what somebody thinks of boxes."""
        verb = next((v for start, v in VERBS.items() if (query.data or "").startswith(start)), None)
        if verb is None or query.data is None:
            return
        user = user_of(query.from_user.id)
        try:
            told = self._refusal(user) or self._submit(query.data.partition(":")[2], user, verb)
        except SightloopError as error:
            if error.retry:
                raise
            told = error.detail
        self._telegram.toast(query.id, told)

    def _message(self, message: Message, update_id: int) -> None:
        assert message.from_user
        user = user_of(message.from_user.id)
        said = message.caption or message.text or ""
        wish = understand(said, self._bot)
        if not self._is_for_us(message, said, wish):
            return
        refusal = self._refusal(user) or self._brake(message.chat_id)
        if refusal is not None:
            self._say(message, refusal) if refusal else None
            return
        job = Job(
            f"job#{update_id}", message.chat_id, message.message_id, user, picture_of(message)
        )
        if message.media_group_id:
            self._albums.add(message.media_group_id, job, said)
        else:
            self._do(message, wish, job)

    def _do(self, message: Message, wish: Wish | None, job: Job) -> None:
        """Answer a message that stands alone."""
        if isinstance(wish, Misunderstood):
            self._say(message, words.correct_usage(wish))
        elif job.file and isinstance(wish, Concat):
            self._say(message, words.ONE_PHOTO)
        elif job.file and wish:
            self._jobs.start(wish, job)
        else:
            self._say(message, self._in_words(message, wish))

    def _in_words(self, message: Message, wish: Wish | None) -> str:
        """Return the answer to a message that has no picture to work on, or no wish."""
        said = (message.text or "").casefold().strip(" \n.,!").partition("@")[0]
        if too_large(message):
            return words.TOO_LARGE
        if picture_of(message):
            return words.ask_what_to_do()
        if said in GREETINGS:
            return words.welcome(*self._an_example())
        if said in {"models", "/models"}:
            return words.models([(file.name, file.names) for file in self._catalog.all()])
        if wish or not message.text:
            return words.NOT_A_PICTURE
        return words.how_to_begin()

    def _an_example(self) -> tuple[str, str]:
        """Return a model that serves and a class of it, for examples that work."""
        live = [file for file in self._catalog.all() if file.live_version]
        return (live[0].name, live[0].names[0]) if live else ("[model]", "[class]")

    def _is_for_us(self, message: Message, said: str, wish: Wish | None) -> bool:
        """In a group, only what is a command, or an answer to us, or names us."""
        if message.chat.type == "private" or wish or message.media_group_id:
            return True
        replied = message.reply_to_message
        to_us = replied and replied.from_user and replied.from_user.username == self._bot
        named = f"@{self._bot}".casefold() in said.casefold()
        command = said.startswith("/") and "@" not in said
        return bool(to_us or named or command)

    def _refusal(self, user: str) -> str | None:
        since = self._house.report_list.banned_since(user)
        return words.banned(f"{since:%Y-%m-%d}", self._house.appeal_to) if since else None

    def _brake(self, chat: int) -> str | None:
        """Return what to say to a chat that asks too much: once a minute, then nothing."""
        minute = int(self._clock() // MINUTE)
        asked = self._table.add(f"rate#{chat}#{minute}", keep_seconds=2 * MINUTE)
        if asked <= self._house.updates_a_minute:
            return None
        return words.SLOW_DOWN if asked == self._house.updates_a_minute + 1 else ""

    def _say(self, message: Message, text: str) -> None:
        self._telegram.say(message.chat_id, text, message.message_id)


def user_of(telegram_id: int) -> str:
    """Return the name under which a Telegram user's submissions are recorded.

    >>> user_of(42)
    'user:telegram-42'
    """
    return f"user:telegram-{telegram_id}"


def picture_of(message: Message) -> str | None:
    """Return the file of the picture that a message is about: its own, or the one it replies to."""
    for each in (message, message.reply_to_message):
        if each and each.photo:
            return each.photo[-1].file_id  # the largest
        document = each.document if each else None
        if document and (document.mime_type or "").startswith("image/"):
            small = (document.file_size or 0) <= LARGEST_DOWNLOAD
            return document.file_id if small else None
    return None


def too_large(message: Message) -> bool:
    """Tell whether a message's file is larger than a bot may read."""
    return bool(message.document and (message.document.file_size or 0) > LARGEST_DOWNLOAD)
