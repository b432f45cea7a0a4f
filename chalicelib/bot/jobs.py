"""Work on a picture that somebody sent: the answer is a message that becomes the picture."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chalicelib.bot import words
from chalicelib.bot.captions import Concat, Count, Filter, Misunderstood, Predict, Wish
from chalicelib.bot.pictures import filtered, refit
from chalicelib.bot.table import BotTable
from chalicelib.bot.telegram import Buttons, Telegram
from chalicelib.catalog import Catalog
from chalicelib.errors import SightloopError
from chalicelib.predictions import PredictionReader, ResultMessage, State
from chalicelib.predictions.keys import annotated_key, upload_key
from chalicelib.storage import ObjectStore

FILE_NAME = "photo.jpg"
MONTH_SECONDS = 30 * 86_400


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
        From prediction id and user to where that user corrects its boxes; empty: nowhere.
    """

    def __init__(
        self,
        bot: Bot,
        catalog: Catalog,
        stores: Stores,
        link: Callable[[str, str], str],
    ) -> None:
        self._telegram = bot.telegram
        self._table = bot.table
        self._catalog = catalog
        self._stores = stores
        self._link = link

    def start(self, wish: Wish, job: Job) -> None:
        """Begin what is wanted with one picture; a detection is answered by ``reply`` later."""
        if isinstance(wish, Misunderstood):
            self._telegram.say(job.chat, words.correct_usage(wish), job.message)
        elif isinstance(wish, (Predict, Count)):
            self._detect(wish, job)
        else:
            self.filter(wish, job, [job.file or ""])

    def filter(self, wish: Filter, job: Job, files: Sequence[str]) -> None:
        """Filter pictures' files, all at once, and answer with the outcome."""
        placeholder = self._placeholder(job)
        try:
            pictures = [self._telegram.download(file) for file in files]
            made = filtered(wish, pictures, self._stores.max_pixels)
        except SightloopError as error:
            if error.retry:
                raise
            self._telegram.tell(job.chat, placeholder, error.detail)
            return
        caption = words.joined(wish, len(files)) if isinstance(wish, Concat) else ""
        self._telegram.show(job.chat, placeholder, made, caption)

    def reply(self, result: ResultMessage) -> None:
        """Answer with a prediction that has its answer, if it was asked for in a chat."""
        name = f"reply#{result.prediction_id}"
        note = self._table.read(name)
        if note is None or note.get("done"):
            return
        chat, placeholder = int(note["chat"]), int(note["placeholder"])
        if result.state is State.FAILED:
            detail = result.problem.detail if result.problem else "It could not be processed."
            self._telegram.tell(chat, placeholder, detail)
        else:
            self._show(result.prediction_id, note["user"], chat, placeholder, note)
        self._table.note(name, {"done": True})

    def _show(
        self, prediction_id: str, user: str, chat: int, placeholder: int, note: dict[str, object]
    ) -> None:
        answer = self._stores.predictions.read(prediction_id).result or {"detections": []}
        names = self._catalog.get(str(answer["model"])).names
        told = words.summary(answer, names)
        if note["wish"] == "count":
            told = words.counted(answer, names, str(note["thing"]) or None)
        picture = self._stores.store.get(annotated_key(prediction_id)).body
        buttons = self._buttons(prediction_id, user)
        self._telegram.show(chat, placeholder, refit(picture), told, buttons)

    def _buttons(self, prediction_id: str, user: str) -> Buttons:
        link = self._link(prediction_id, user)
        correct = [("Correct them", link)] if link else []
        return [
            ("The boxes are right", f"right:{prediction_id}"),
            ("Nothing here", f"none:{prediction_id}"),
            *correct,
        ]

    def _detect(self, wish: Predict | Count, job: Job) -> None:
        """Upload the picture under an id of its own, and note who waits for the answer."""
        model = self._model(wish, job)
        if model is None:
            return
        placeholder = self._placeholder(job)
        prediction_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"telegram:{job.name}"))
        self._table.note(
            f"reply#{prediction_id}",
            {
                "chat": job.chat,
                "placeholder": placeholder,
                "user": job.user,
                "wish": "count" if isinstance(wish, Count) else "predict",
                "thing": (wish.class_name or "") if isinstance(wish, Count) else "",
            },
            MONTH_SECONDS,
        )
        picture = self._telegram.download(job.file or "")
        key = upload_key(model, prediction_id, FILE_NAME)
        self._stores.uploads.put(key, picture, "image/jpeg")

    def _model(self, wish: Predict | Count, job: Job) -> str | None:
        """Return the model that is meant, or ask: the one named, the only one, or the last used."""
        live = [file for file in self._catalog.all() if file.live_version]
        known = [file.name for file in live]
        named = wish.model if isinstance(wish, Predict) else None
        thing = wish.class_name if isinstance(wish, Count) else None
        able = [m.name for m in live if thing and words.class_meant(thing, m.names)]
        remembered = (self._table.read(f"chat#{job.chat}") or {}).get("model")
        for choice in (named, *able[:1], remembered, *(known if len(known) == 1 else ())):
            if choice in known:
                self._table.note(f"chat#{job.chat}", {"model": choice}, MONTH_SECONDS)
                return str(choice)
            if named:
                break
        told = f"There is no model “{named}”. " if named else ""
        self._telegram.say(job.chat, told + words.which_model(known), job.message)
        return None

    def _placeholder(self, job: Job) -> int:
        """Return the message that becomes the answer, sent now unless it was before."""
        note = self._table.read(job.name) or {}
        if "placeholder" not in note:
            sent = self._telegram.say(job.chat, words.PROCESSING, job.message)
            note = self._table.note(job.name, {"placeholder": sent})
        return int(note["placeholder"])
