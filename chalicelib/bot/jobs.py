"""Work on a picture that somebody sent: the answer is a message that becomes the picture."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chalicelib.bot import words
from chalicelib.bot.captions import Concat, Count, Filter, Misunderstood, Predict, Wish
from chalicelib.bot.deleting import ASK
from chalicelib.bot.pictures import filtered, refit
from chalicelib.bot.table import BotTable, Note
from chalicelib.bot.telegram import Buttons, Telegram
from chalicelib.catalog import Catalog, ModelFile
from chalicelib.errors import (
    Conflict,
    DatabaseUnavailable,
    InvalidImage,
    ModelNotFound,
    ObjectNotFound,
    PayloadTooLarge,
    PredictionNotFound,
    SightloopError,
    TelegramRefused,
)
from chalicelib.observability import logger
from chalicelib.predictions import PredictionReader, ResultMessage, State
from chalicelib.predictions.keys import annotated_key, upload_key
from chalicelib.refusals import TooManyRequests
from chalicelib.storage import ObjectStore

FILE_NAME = "photo.jpg"
SENDING_SECONDS = 20  # after which whoever sends “Processing…” is taken for dead
MONTH_SECONDS = 30 * 86_400
GONE = (ModelNotFound, ObjectNotFound, PredictionNotFound)
TOLD = (InvalidImage, ObjectNotFound, PayloadTooLarge)  # of a file: whoever sent it can do better


@dataclass(frozen=True)
class Bot:
    """The bot's account.

    Attributes
    ----------
    telegram : Telegram
    name : str
        Its user name, without @.
    table : BotTable
    clock : callable
        Seconds since 1970.
    """

    telegram: Telegram
    name: str
    table: BotTable
    clock: Callable[[], float] = time.time


@dataclass(frozen=True)
class Job:
    """A picture and who sent it.

    Attributes
    ----------
    name : str
        Of the note about it: the same each time that the same work is begun.
    chat, message : int
        Where the answer goes, and to what it is one.
    user : str
    file : str | None
        Telegram's id of the picture's file.
    """

    name: str
    chat: int
    message: int
    user: str
    file: str | None


@dataclass(frozen=True)
class Stores:
    """Both buckets, and what is known of predictions."""

    uploads: ObjectStore
    store: ObjectStore
    predictions: PredictionReader
    max_pixels: int


class Jobs:
    """Does what is wanted with pictures.

    Parameters
    ----------
    bot : Bot
    catalog : Catalog
    stores : Stores
    link : callable
        From prediction id, user and chat to where that user corrects its boxes; empty: nowhere.
    take_quota : callable
        Takes one picture out of a user's quota, or raises TooManyRequests.
    note_sender : callable
        Notes that a user sent the picture of a prediction, for when they delete all of theirs.
    """

    def __init__(
        self,
        bot: Bot,
        catalog: Catalog,
        stores: Stores,
        link: Callable[[str, str, int], str],
        take_quota: Callable[[str], None],
        note_sender: Callable[[str, str], object],
    ) -> None:
        self._telegram = bot.telegram
        self._table = bot.table
        self._catalog = catalog
        self._stores = stores
        self._link = link
        self._take_quota = take_quota
        self._note_sender = note_sender

    @property
    def can_detect(self) -> bool:
        """Whether any model serves; filters work without."""
        return self._catalog.first_live() is not None

    def start(self, wish: Wish, job: Job) -> None:
        """Begin what is wanted with one picture; a detection is answered by ``reply`` later."""
        if isinstance(wish, Misunderstood):
            self._telegram.say(job.chat, words.how_it_is_written(wish), job.message)
        elif isinstance(wish, (Predict, Count)):
            self._detect(wish, job)
        else:
            self.filter(wish, job, [job.file or ""])

    def filter(self, wish: Filter, job: Job, files: Sequence[str]) -> None:
        """Filter pictures' files, all at once, and answer with the outcome."""
        placeholder = self._placeholder(job)
        if placeholder is None:
            return
        try:
            pictures = [self._telegram.download(file) for file in files]
            made = filtered(wish, pictures, self._stores.max_pixels)
        except TOLD as error:
            self._telegram.tell(job.chat, placeholder, words.why(error))
            return
        caption = words.joined(wish, len(files)) if isinstance(wish, Concat) else ""
        self._telegram.show(job.chat, placeholder, made, caption)

    def reply(self, result: ResultMessage) -> None:
        """Answer with a prediction that has its answer, if it was asked for in a chat."""
        name = f"reply#{result.prediction_id}"
        note = self._table.read(name)
        if note is None or note.get("done") == result.state:
            return
        with unless_refused(chat=str(note["chat"])):
            self._answer(result, note)
        self._table.note(name, {"done": str(result.state)}, MONTH_SECONDS)

    def give_up(self, name: str) -> None:
        """Say that something will not be done, where its “Processing…” still stands.

        Parameters
        ----------
        name : str
            Of a job, or ``reply#`` and a prediction's id.
        """
        note = self._table.read(name) or {}
        if "placeholder" in note and not note.get("done"):
            self._telegram.tell(int(note["chat"]), int(note["placeholder"]), words.GAVE_UP)

    def _answer(self, result: ResultMessage, note: Note) -> None:
        chat, placeholder = int(note["chat"]), int(note["placeholder"])
        if result.state is State.FAILED:
            detail = result.problem.detail if result.problem else "It could not be processed"
            self._telegram.tell(chat, placeholder, words.sentence(detail))
            return
        try:
            picture, told = self._found(result.prediction_id, note)
        except GONE:
            self._telegram.tell(chat, placeholder, words.EXPIRED)
            return
        buttons = self._buttons(result.prediction_id, str(note["user"]), chat)
        self._telegram.show(chat, placeholder, picture, told, buttons)

    def _found(self, prediction_id: str, note: Note) -> tuple[bytes, str]:
        """Return a prediction's picture with its boxes, and what is said of them."""
        answer = self._stores.predictions.read(prediction_id).result
        if answer is None:
            raise DatabaseUnavailable(f"prediction {prediction_id} has no result yet")
        picture = self._stores.store.get(annotated_key(prediction_id)).body
        return refit(picture), self._told(answer, note)

    def _told(self, answer: Mapping[str, Any], note: Note) -> str:
        names = self._catalog.get(str(answer["model"])).names
        if note["wish"] == "count":
            return words.counted(answer, names, str(note["thing"]) or None)
        others = [str(name) for name in note.get("others", ())]
        return words.summary(answer, names, others)

    def _buttons(self, prediction_id: str, user: str, chat: int) -> Buttons:
        link = self._link(prediction_id, user, chat)
        correct = [("Correct them", link)] if link else []
        return [
            ("The boxes are right", f"right:{prediction_id}"),
            ("Nothing here", f"none:{prediction_id}"),
            *correct,
            ("Delete the photo", f"{ASK}{prediction_id}"),
        ]

    def _detect(self, wish: Predict | Count, job: Job) -> None:
        """Upload the picture under an id of its own, and note who waits for the answer."""
        live = self._catalog.live()
        names_one = isinstance(wish, Predict) and wish.model
        last = None if names_one else self._last_used(job.chat)
        model = _model(wish, last, live)
        if model is None:
            self._telegram.say(job.chat, words.no_such_model(wish, live), job.message)
            return
        placeholder = self._placeholder(job)
        if placeholder is None:
            return
        prediction_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"telegram:{job.name}"))
        asked = {
            "chat": job.chat,
            "placeholder": placeholder,
            "user": job.user,
            "wish": "count" if isinstance(wish, Count) else "predict",
            "thing": (wish.class_name or "") if isinstance(wish, Count) else "",
            "others": _others(wish, last, live),
        }
        self._table.note(f"reply#{prediction_id}", asked, MONTH_SECONDS)
        try:
            picture = self._telegram.download(job.file or "")
        except TOLD as error:
            self._telegram.tell(job.chat, placeholder, words.why(error))
            return
        key = upload_key(model, prediction_id, FILE_NAME)
        self._note_sender(job.user, prediction_id)
        self._stores.uploads.put(key, picture, "image/jpeg")
        self._table.note(f"chat#{job.chat}", {"model": model}, MONTH_SECONDS)

    def _last_used(self, chat: int) -> str | None:
        return (self._table.read(f"chat#{chat}") or {}).get("model")

    def _placeholder(self, job: Job) -> int | None:
        """Return the message that becomes the answer, sent now unless it was before.

        None where the user's quota is used up, which the user is told. A call that is killed
        between sending the message and noting it leaves it as it is, and the next call sends
        another: Telegram knows no way to ask what was sent. The answer itself is one.

        Raises
        ------
        Conflict
            Somebody else is sending it at this moment.
        """
        if self._table.take_turn(job.name, "placeholder", SENDING_SECONDS):
            try:
                self._take_quota(job.user)
                sent = self._telegram.say(job.chat, words.PROCESSING, job.message)
            except TooManyRequests as error:
                self._table.note(job.name, {"placeholder_until": 0})
                self._refuse(job, error.retry_after)
                return None
            except SightloopError:
                self._table.note(job.name, {"placeholder_until": 0})  # whose turn it is, is open
                raise
            self._table.note(job.name, {"placeholder": sent, "chat": job.chat})
            return sent
        note = self._table.read(job.name) or {}
        if "placeholder" not in note:
            raise Conflict("somebody else begins with this picture at this moment")
        return int(note["placeholder"])

    def _refuse(self, job: Job, wait_seconds: int) -> None:
        """Say how long to wait; of all that is sent meanwhile, in answer to the first only."""
        if self._table.claim(f"quota#{job.chat}#{job.user}", job.name, wait_seconds):
            self._telegram.say(job.chat, words.over_quota(wait_seconds), job.message)


@contextmanager
def unless_refused(**about: Any) -> Iterator[None]:
    """Let an answer end quietly that Telegram refuses: the chat is gone, or the bot blocked there.

    Parameters
    ----------
    about : Any
        What the log says of it.
    """
    try:
        yield
    except TelegramRefused as error:
        logger.warning("nobody to answer to", why=error.detail, **about)


def _model(wish: Predict | Count, last: str | None, live: Sequence[ModelFile]) -> str | None:
    """Return the model that is meant: the one named, one that knows the class, the last used, or
    the first; None where there is none.
    """
    known = [file.name for file in live]
    if isinstance(wish, Predict) and wish.model:
        return wish.model if wish.model in known else None
    choices = [last] if last in known else []
    if isinstance(wish, Count) and wish.class_name:
        able = [f.name for f in live if words.class_meant(wish.class_name, f.names)]
        choices = [each for each in choices if each in able] or able or choices
    return next(iter([*choices, *known]), None)


def _others(wish: Predict | Count, last: str | None, live: Sequence[ModelFile]) -> list[str]:
    """Return which models somebody could have named who named none, and may know of none."""
    if not isinstance(wish, Predict) or wish.model or last:
        return []
    return [file.name for file in live[1:]]
