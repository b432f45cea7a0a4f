"""Albums: Telegram sends each photo as an update of its own, in any order, to any instance.

Every photo is noted in the table and asks, by a delayed message, that its album be looked after.
Whoever does that waits until no photo has come for a while, then does what the caption says with
all of them, in the order in which they were sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.bot import words
from chalicelib.bot.captions import Concat, Misunderstood, understand
from chalicelib.bot.jobs import Bot, Job, Jobs
from chalicelib.bot.messages import AlbumDue
from chalicelib.queues import Queue

QUIET_SECONDS = 2.0  # since the last photo: the album is likely whole
PATIENCE_SECONDS = 12.0  # since the first: whatever is missing is not waited for
LOOK_AFTER_SECONDS = 2
PHOTO = "photo_"


class Albums:
    """Gathers photos until an album is whole, or has had its time.

    Parameters
    ----------
    bot : Bot
    jobs : Jobs
    queue : Queue
        The bot's own.
    """

    def __init__(
        self,
        bot: Bot,
        jobs: Jobs,
        queue: Queue,
    ) -> None:
        self._telegram = bot.telegram
        self._bot = bot.name
        self._table = bot.table
        self._clock = bot.clock
        self._jobs = jobs
        self._queue = queue

    def add(self, group: str, job: Job, caption: str) -> None:
        """Note a photo of an album; see that somebody looks after it."""
        name = _name(job.chat, group)
        now = int(self._clock() * 1000)
        known = self._table.read(name) or {}
        if known.get("done"):
            self._telegram.say(job.chat, words.LATE_PHOTO, job.message)
            return
        photo = {f"{PHOTO}{job.message:020d}": job.file or ""}
        begun = {} if "began" in known else {"began": now, "user": job.user}
        said = {"caption": caption, "captioned": job.message} if caption else {}
        self._table.note(name, {**photo, **begun, **said, "last": now})
        self._queue.send(AlbumDue(chat=job.chat, group=group), LOOK_AFTER_SECONDS)

    def look_after(self, due: AlbumDue, owner: str) -> None:
        """Answer an album if it is whole, or has had its time; else look again later."""
        name = _name(due.chat, due.group)
        album = self._table.read(name) or {}
        if not album or album.get("done"):
            return
        now, photos = self._clock(), _photos(album)
        quiet = now - float(album["last"]) / 1000 >= QUIET_SECONDS
        patient = now - float(album["began"]) / 1000 < PATIENCE_SECONDS
        incomplete = "caption" not in album or len(photos) == 1
        if not quiet or (incomplete and patient):
            self._queue.send(due, LOOK_AFTER_SECONDS)
            return
        if self._table.claim(f"{name}#answer", owner):
            self._answer(due.chat, album, photos)
            self._table.note(name, {"done": True})

    def _answer(self, chat: int, album: Mapping[str, Any], photos: dict[int, str]) -> None:
        wish = understand(str(album.get("caption", "")), self._bot)
        first = int(album.get("captioned", min(photos)))
        name = f"job#{chat}#{first}#album"
        job = Job(name, chat, first, str(album["user"]), photos[first])
        usable = [file for _, file in sorted(photos.items()) if file]
        if wish is None:
            self._telegram.say(chat, words.ask_what_to_do(), first)
        elif isinstance(wish, Misunderstood):
            self._telegram.say(chat, words.correct_usage(wish), first)
        elif not isinstance(wish, Concat):
            for message, file in sorted(photos.items()):
                if file:
                    self._jobs.start(wish, Job(f"{name}#{message}", chat, message, job.user, file))
        elif len(usable) == 1:
            self._telegram.say(chat, words.ONE_PHOTO, first)
        else:
            self._jobs.filter(wish, job, usable)


def _name(chat: int, group: str) -> str:
    return f"album#{chat}#{group}"


def _photos(album: Mapping[str, Any]) -> dict[int, str]:
    """Return the files of an album's photos by message, which are numbered as they were sent."""
    return {
        int(field.removeprefix(PHOTO)): str(file)
        for field, file in album.items()
        if field.startswith(PHOTO)
    }
