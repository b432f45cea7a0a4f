"""Deleting in a chat: one photo by the button under it, or all that somebody sent.

Both are asked for twice, for nothing brings a photo back. Buttons can be pressed by everybody in a
group: they do something for whoever asked, and nothing for others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.bot import words
from chalicelib.errors import PredictionNotFound

if TYPE_CHECKING:
    from telegram import CallbackQuery

    from chalicelib.bot.jobs import Bot
    from chalicelib.deletion.desk import DeletedAll, Deletion

COMMAND = "delete"
ASK, DELETE = "delete:", "erase:"  # and a prediction's id
DELETE_ALL = "erase-all:"  # and who asked for it


@dataclass(frozen=True)
class Deleter:
    """Who deletes: one prediction, by its user and id, or all of a user's."""

    delete: Callable[[str, str], Deletion]
    delete_all: Callable[[str], DeletedAll]


class Deleting:
    """Deletes what people sent to the bot.

    Parameters
    ----------
    bot : Bot
    deleter : Deleter
    """

    def __init__(self, bot: Bot, deleter: Deleter) -> None:
        self._telegram = bot.telegram
        self._table = bot.table
        self._deleter = deleter

    def offer_all(self, chat: int, message: int, user: str) -> None:
        """Ask a user whether all is to be deleted that they sent."""
        button = (words.YES_ALL, DELETE_ALL + user)
        self._telegram.say(chat, words.DELETE_ALL, message, [button])

    def take(self, query: CallbackQuery, chat: int, user: str) -> str | None:
        """Do what a button is for; return what to say to who pressed it, None for other buttons.

        Raises
        ------
        StorageUnavailable, DatabaseUnavailable
            Not all is deleted: pressed again, or by the schedule, it goes on.
        """
        data = query.data or ""
        if data.startswith(DELETE_ALL):
            if data != DELETE_ALL + user:
                return words.NOT_ASKED
            return words.deleted_all(self._deleter.delete_all(user))
        kind = next((each for each in (ASK, DELETE) if data.startswith(each)), None)
        return self._take_one(query, chat, user, kind) if kind else None

    def _take_one(self, query: CallbackQuery, chat: int, user: str, kind: str) -> str:
        prediction_id = (query.data or "").removeprefix(kind)
        note = self._table.read(f"reply#{prediction_id}")
        if note is None or note.get("user") != user:
            return words.NOT_YOURS
        if kind == ASK:
            message = query.message.message_id if query.message else None
            button = (words.YES_DELETE, f"{DELETE}{prediction_id}")
            self._telegram.say(chat, words.DELETE_ONE, message, [button])
            return words.ASKED
        try:
            return words.deleted(self._deleter.delete(user, prediction_id))
        except PredictionNotFound:
            return words.NOTHING_LEFT
