"""What becomes of an update: who it is from, what is wanted, and the answer that follows.

Delivery is at least once everywhere, so an update is owned by the first message that carries it
here, and each answer with a picture is a message that is sent at once (“Processing…”) and turned
into the picture later: turning it twice leaves one picture.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Callable
from dataclasses import dataclass

from telegram import CallbackQuery, Document, Message, Update

from chalicelib.bot import words
from chalicelib.bot.albums import Albums
from chalicelib.bot.captions import Concat, Misunderstood, Wish, plain_words, understand
from chalicelib.bot.deleting import COMMAND, Deleting
from chalicelib.bot.jobs import Bot, Job, Jobs, unless_refused
from chalicelib.bot.telegram import LARGEST_DOWNLOAD
from chalicelib.callers import TELEGRAM_USER
from chalicelib.catalog import Catalog
from chalicelib.errors import Conflict, SightloopError
from chalicelib.labels.submitted import Verb
from chalicelib.observability import logger
from chalicelib.refusals import TooManyRequests
from chalicelib.trust.report_list import ReportList

MINUTE = 60
GREETINGS = frozenset({"start", "help", "hello", "hi", "hey"})
MODELS = "models"
RIGHT, NOTHING = "right:", "none:"
VERBS: dict[str, Verb] = {RIGHT: "confirmed", NOTHING: "empty"}


@dataclass(frozen=True)
class House:
    """The rules of this service: who is shut out and how to appeal, how much a chat may ask."""

    report_list: ReportList
    appeal_to: str
    updates_a_minute: int


@dataclass(frozen=True)
class Asked:
    """A message that may be for us.

    Attributes
    ----------
    message : telegram.Message
    said : str
        Its caption or text; nothing where that is for others: a photo of an album in a group,
        whose caption may be for us and come with another photo.
    wish : Wish | None
    job : Job
    """

    message: Message
    said: str
    wish: Wish | None
    job: Job

    @property
    def is_for_us(self) -> bool:
        """Whether it is for us by itself."""
        return bool(self.said) or self.message.chat.type == "private"


class Conversation:
    """Answers updates.

    Parameters
    ----------
    bot : Bot
    catalog : Catalog
    jobs : Jobs
    albums : Albums
    house : House
    deleting : Deleting
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
        deleting: Deleting,
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
        self._deleting = deleting
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
        Conflict
            Another message brought the same update, and is at work on it: look again later.
        SightloopError
            It has to come again.
        """
        name = f"update#{update.update_id}"
        if (self._table.read(name) or {}).get("done"):
            logger.info("update answered already", update=update.update_id)
            return
        note = self._table.claim(name, owner)
        if note is None:
            raise Conflict(f"update {update.update_id} is being answered")
        try:
            with unless_refused(update=update.update_id):
                self._answer(update, begun=note["tries"] > 1)
        except SightloopError:
            self._table.release(name)  # another copy may go on at once
            raise
        self._table.note(name, {"done": True})

    def _answer(self, update: Update, *, begun: bool) -> None:
        message = update.message or update.edited_message
        if update.callback_query:
            self._button(update.callback_query)
        elif message and message.from_user and not message.from_user.is_bot:
            asked = self._asked(message, update.update_id)
            edited = update.edited_message is not None
            if asked and self._is_new(asked, update.update_id, edited=edited):
                self._do(asked, begun=begun)

    def _button(self, query: CallbackQuery) -> None:
        """Take what somebody thinks of boxes, or wants deleted: that may also who is banned."""
        user = user_of(query.from_user.id)
        chat = query.message.chat.id if query.message else query.from_user.id
        verb = next((v for start, v in VERBS.items() if (query.data or "").startswith(start)), None)
        try:
            told = self._refusal(chat, user, deletes=verb is None)
            if told is None and verb:
                told = self._submit((query.data or "").partition(":")[2], user, verb)
            elif told is None:
                told = self._deleting.take(query, chat, user)
        except TooManyRequests as error:
            told = words.over_quota(error.retry_after)
        except SightloopError as error:
            if error.retry:
                raise
            told = words.sentence(error.detail)
        if told is not None:
            self._telegram.toast(query.id, told or words.SLOW_DOWN)

    def _asked(self, message: Message, update_id: int) -> Asked | None:
        """Return what somebody wants of us; None where a message is for others, or for nobody."""
        assert message.from_user
        said = message.caption or message.text or ""
        if not said and message.effective_attachment is None:
            return None  # somebody came or left, a message was pinned, …
        wish = understand(said, self._bot)
        for_us = self._is_for_us(message, said, wish)
        if not for_us and not message.media_group_id:
            return None
        user, file = user_of(message.from_user.id), picture_of(message)
        job = Job(f"job#{update_id}", message.chat_id, message.message_id, user, file)
        return Asked(message, said if for_us else "", wish if for_us else None, job)

    def _is_new(self, asked: Asked, update_id: int, *, edited: bool) -> bool:
        """Tell whether a message says something; Telegram tells of edits that change nothing.

        An update that comes again because it was not answered says what it said before.
        """
        chat, message = asked.job.chat, asked.job.message
        name, now = f"said#{chat}#{message}", f"{asked.job.file}\n{asked.said}"
        said = hashlib.sha256(now.encode()).hexdigest()
        known = (self._table.read(name) or {}) if edited else {}
        if known.get("said") == said and known.get("update") != update_id:
            return False
        self._table.note(name, {"said": said, "update": update_id})
        return True

    def _do(self, asked: Asked, *, begun: bool) -> None:
        message, job, wish = asked.message, asked.job, asked.wish
        refusal = None
        deletes = plain_words(asked.said, self._bot) == [COMMAND]
        if asked.is_for_us:
            refusal = self._refusal(job.chat, job.user, counted=begun, deletes=deletes)
        if refusal is not None:
            if refusal:
                self._say(job, refusal)
        elif deletes:
            self._deleting.offer_all(job.chat, job.message, job.user)
        elif message.media_group_id:
            self._albums.add(message.media_group_id, job, asked.said or None)
        elif isinstance(wish, Misunderstood):
            self._say(job, words.how_it_is_written(wish))
        elif job.file and isinstance(wish, Concat):
            self._say(job, words.ONE_PHOTO)
        elif job.file and wish:
            self._jobs.start(wish, job)
        else:
            self._say(job, self._in_words(asked))

    def _in_words(self, asked: Asked) -> str:
        """Return the answer to a message that has no picture to work on, or no wish."""
        said = plain_words(asked.said, self._bot)
        if too_large(asked.message):
            return words.TOO_LARGE
        if asked.job.file:
            return words.what_to_do(serves=self._jobs.can_detect)
        if said and said[0].strip(".,!?") in GREETINGS:
            return words.welcome(*self._an_example())
        if said == [MODELS]:
            live = self._catalog.live()
            return words.models([(file.name, file.names, file.visibility) for file in live])
        if asked.wish or not asked.message.text:
            return words.not_a_picture(serves=self._jobs.can_detect)
        return words.how_to_begin(serves=self._jobs.can_detect)

    def _an_example(self) -> tuple[str, str]:
        """Return a model that serves and a class of it, for examples that work; or nothing."""
        live = self._catalog.first_live()
        return (live.name, live.names[0]) if live else ("", "")

    def _is_for_us(self, message: Message, said: str, wish: Wish | None) -> bool:
        """In a group: a command of ours, a photo with one, or what replies to us or names us."""
        if message.chat.type == "private":
            return True
        replied = message.reply_to_message
        to_us = replied and replied.from_user and replied.from_user.username == self._bot
        named = re.search(rf"@{re.escape(self._bot)}\b", said, re.IGNORECASE)
        known = wish or (plain_words(said, self._bot) or [""])[0] in {*GREETINGS, MODELS, COMMAND}
        command = known and (said.startswith("/") or picture_of(message))
        return bool(to_us or named or command)

    def _refusal(
        self, chat: int, user: str, *, counted: bool = False, deletes: bool = False
    ) -> str | None:
        """Return what to say to who is shut out, or asks too much: that once a minute, then
        nothing. What comes again was counted before. Who is shut out may delete what they sent.
        """
        over = 0 if counted else self._over(chat)
        if over > 0:
            return words.SLOW_DOWN if over == 1 else ""
        since = None if deletes else self._house.report_list.banned_since(user)
        return words.banned(f"{since:%Y-%m-%d}", self._house.appeal_to) if since else None

    def _over(self, chat: int) -> int:
        """Count a message of a chat; return by how many it is over what it may ask in a minute."""
        minute = int(self._clock() // MINUTE)
        asked = self._table.add(f"rate#{chat}#{minute}", keep_seconds=2 * MINUTE)
        return asked - self._house.updates_a_minute

    def _say(self, job: Job, text: str) -> None:
        self._telegram.say(job.chat, text, job.message)


def user_of(telegram_id: int) -> str:
    """Return the name under which a Telegram user's submissions are recorded.

    >>> user_of(42)
    'user:telegram-42'
    """
    return f"{TELEGRAM_USER}{telegram_id}"


def picture_of(message: Message) -> str | None:
    """Return the file of the picture that a message is about: its own, or the one it replies to."""
    for each in _about(message):
        if each.photo:
            return each.photo[-1].file_id  # the largest
        if each.document and _is_image(each.document):
            return None if _is_too_large(each.document) else each.document.file_id
    return None


def too_large(message: Message) -> bool:
    """Tell whether a message is about a file that is larger than a bot may read."""
    return any(each.document and _is_too_large(each.document) for each in _about(message))


def _about(message: Message) -> list[Message]:
    return [each for each in (message, message.reply_to_message) if each]


def _is_image(document: Document) -> bool:
    guessed, _ = mimetypes.guess_type(document.file_name or "")
    kinds = (document.mime_type or "", guessed or "")
    return any(kind.startswith("image/") for kind in kinds)


def _is_too_large(document: Document) -> bool:
    return (document.file_size or 0) > LARGEST_DOWNLOAD
