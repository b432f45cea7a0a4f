"""Albums: Telegram sends each photo as an update of its own, in any order, to any instance.

Every photo is noted in the table and asks, by a delayed message, that its album be looked after.
Whoever does that waits until no photo has come for a while, then does what the caption says with
all of them, in the order in which they were sent. A photo that comes later still, and a caption
that is edited, have it done again: what is joined is the same message, with another picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.bot import words
from chalicelib.bot.captions import Concat, Misunderstood, understand
from chalicelib.bot.jobs import Bot, Job, Jobs, unless_refused
from chalicelib.bot.messages import AlbumDue
from chalicelib.queues import Queue

QUIET_SECONDS = 2.0  # since the last photo: the album is likely whole
PATIENCE_SECONDS = 12.0  # since the first: whatever is missing is not waited for
LOOK_AFTER_SECONDS = 2
LEASE_SECONDS = 70  # longer than the function that answers may take
PHOTO = "photo_"


@dataclass(frozen=True)
class Album:
    """What is known of an album.

    Attributes
    ----------
    name : str
    chat : int
    user : str
    photos : mapping
        Each photo's message, numbered as they were sent, to its file; empty: it is no picture.
    caption : str | None
    captioned : int | None
        The message that the caption is under.
    began, last : float
        When its first and its last photo came, seconds since 1970.
    answered : frozenset of int
        The messages that were answered.
    answered_as : str | None
        What the caption was then.
    """

    name: str
    chat: int
    user: str
    photos: Mapping[int, str]
    caption: str | None
    captioned: int | None
    began: float
    last: float
    answered: frozenset[int]
    answered_as: str | None

    @classmethod
    def of(cls, name: str, chat: int, note: Mapping[str, Any]) -> Album:
        """Read an album's note."""
        photos = {
            int(field.removeprefix(PHOTO)): str(file)
            for field, file in note.items()
            if field.startswith(PHOTO)
        }
        return cls(
            name=name,
            chat=chat,
            user=str(note["user"]),
            photos=dict(sorted(photos.items())),
            caption=note.get("caption"),
            captioned=int(note["captioned"]) if "captioned" in note else None,
            began=float(note["began"]) / 1000,
            last=float(note["last"]) / 1000,
            answered=frozenset(int(each) for each in note.get("answered", ())),
            answered_as=note.get("answered_as"),
        )

    @property
    def is_answered_in_part(self) -> bool:
        """Whether some of it was answered, under the caption that it has now."""
        return bool(self.answered) and self.answered_as == (self.caption or "")

    @property
    def unanswered(self) -> list[int]:
        """The messages that wait for their answer: all of them under a caption that is new."""
        done = self.answered if self.is_answered_in_part else frozenset()
        return [message for message in self.photos if message not in done]

    @property
    def first(self) -> int:
        """The message that an answer to all is a reply to."""
        return self.captioned or next(iter(self.photos))

    def is_whole(self, now: float) -> bool:
        """Tell whether what is missing has had its time."""
        looks_whole = self.caption is not None and len(self.photos) > 1
        quiet = now - self.last >= QUIET_SECONDS
        return quiet and (looks_whole or now - self.began >= PATIENCE_SECONDS)


class Albums:
    """Gathers photos until an album is whole, or has had its time.

    Parameters
    ----------
    bot : Bot
    jobs : Jobs
    queue : Queue
        The bot's own.
    """

    def __init__(self, bot: Bot, jobs: Jobs, queue: Queue) -> None:
        self._telegram = bot.telegram
        self._bot = bot.name
        self._table = bot.table
        self._clock = bot.clock
        self._jobs = jobs
        self._queue = queue

    def add(self, group: str, job: Job, caption: str | None) -> None:
        """Note a photo of an album; see that somebody looks after it."""
        name = f"album#{job.chat}#{group}"
        now = int(self._clock() * 1000)
        begun = {} if self._table.read(name) else {"began": now, "user": job.user}
        said = {} if caption is None else {"caption": caption, "captioned": job.message}
        photo = {f"{PHOTO}{job.message}": job.file or ""}
        self._table.note(name, {**photo, **begun, **said, "last": now})
        self._queue.send(AlbumDue(chat=job.chat, group=group), LOOK_AFTER_SECONDS)

    def look_after(self, due: AlbumDue, owner: str) -> None:
        """Answer an album if it is whole, or has had its time; else look again later.

        Parameters
        ----------
        due : AlbumDue
        owner : str
            The id of the queue's message that brings it.
        """
        album = self._read(due)
        if album is None or not album.unanswered:
            return
        lock = f"{album.name}#answer"
        whole = album.is_whole(self._clock())
        if not whole or not self._table.claim(lock, owner, LEASE_SECONDS):
            self._queue.send(due, LOOK_AFTER_SECONDS)
            return
        try:
            self._answer_all(self._read(due) or album)  # as it is, now that nobody else answers
        finally:
            self._table.release(lock)

    def job_of(self, due: AlbumDue) -> str:
        """Return the name of the note about the one answer to an album; nothing where that is not
        one picture for all.
        """
        album = self._read(due)
        is_one = album and isinstance(understand(album.caption or "", self._bot), Concat)
        return _job(album, album.first).name if album and is_one else ""

    def _read(self, due: AlbumDue) -> Album | None:
        name = f"album#{due.chat}#{due.group}"
        note = self._table.read(name)
        return Album.of(name, due.chat, note) if note else None

    def _answer_all(self, album: Album) -> None:
        if not album.unanswered:
            return
        with unless_refused(album=album.name):
            self._answer(album)
        done = {"answered": list(album.photos), "answered_as": album.caption or ""}
        self._table.note(album.name, done)

    def _answer(self, album: Album) -> None:
        wish = understand(album.caption or "", self._bot)
        pictures = {message: file for message, file in album.photos.items() if file}
        if not pictures:
            self._say_once(album, words.not_a_picture(serves=self._jobs.can_detect))
        elif wish is None:
            self._say_once(album, words.what_to_do(serves=self._jobs.can_detect))
        elif isinstance(wish, Misunderstood):
            self._say_once(album, words.how_it_is_written(wish))
        elif not isinstance(wish, Concat):
            for message in album.unanswered:
                if message in pictures:
                    self._jobs.start(wish, _job(album, message))
        elif len(pictures) == 1:
            self._say_once(album, words.ONE_PHOTO)
        else:
            self._jobs.filter(wish, _job(album, album.first), list(pictures.values()))

    def _say_once(self, album: Album, text: str) -> None:
        """Say what is wrong with the whole; in a group nobody wants it said of every album."""
        asked_for_us = album.chat > 0 or album.caption is not None
        if asked_for_us and not album.is_answered_in_part:
            self._telegram.say(album.chat, text, album.first)


def _job(album: Album, message: int) -> Job:
    """Return the work on a photo, or on all; the same each time, under the same caption."""
    caption = hashlib.sha256((album.caption or "").encode()).hexdigest()[:16]
    file = album.photos.get(message)
    return Job(f"job#{album.name}#{message}#{caption}", album.chat, message, album.user, file)
