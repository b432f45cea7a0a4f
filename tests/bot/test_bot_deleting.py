"""Deleting in a chat: one photo, or all of theirs, by whoever sent them and nobody else."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.bot import words
from chalicelib.errors import PredictionNotFound

if TYPE_CHECKING:
    Talk = Any
MakePicture = Callable[..., bytes]

_chats = itertools.count(700_000)


@pytest.fixture
def chat() -> int:
    return next(_chats)


def send(talk: Talk, chat: int, picture: bytes, by: int | None = None) -> str:
    """Send a photo to be looked at; return the prediction's id."""
    talk.world.send_photo(chat, picture, "/predict@sightloop_bot", person=by or chat)
    talk.work()
    prediction_id: str = talk.buttons(chat)[0]["callback_data"].partition(":")[2]
    return prediction_id


def press(talk: Talk, chat: int, data: str, by: int | None = None) -> str:
    """Press a button under the bot's last message; return what it says in answer."""
    message = talk.world.from_bot(chat)[-1]["message_id"]
    talk.world.press(chat, message, data, person=by or chat)
    talk.work()
    told: str = talk.world.toasts[-1]["text"]
    return told


def is_there(talk: Talk, prediction_id: str) -> bool:
    try:
        talk.services.predictions.read(prediction_id)
    except PredictionNotFound:
        return False
    return True


def files_of(talk: Talk, prediction_id: str) -> list[str]:
    stores = talk.services.store, talk.services.uploads
    return [key for store in stores for key in store.keys("") if prediction_id in key]


def test_a_photo_is_deleted_with_its_answer_once_that_is_confirmed(
    talk: Talk, chat: int, make_picture: MakePicture
) -> None:
    prediction_id = send(talk, chat, make_picture())
    press(talk, chat, f"right:{prediction_id}")
    data = {button["text"]: button.get("callback_data") for button in talk.buttons(chat)}

    assert press(talk, chat, data["Delete the photo"]) == words.ASKED
    assert talk.told(chat)[-1] == words.DELETE_ONE
    assert is_there(talk, prediction_id)

    [confirm] = talk.buttons(chat)
    assert press(talk, chat, confirm["callback_data"]).startswith(words.DELETED)
    assert not is_there(talk, prediction_id)
    assert files_of(talk, prediction_id) == []
    with talk.services.database.transaction() as rows:
        rows.execute("SELECT state FROM requests WHERE prediction_id = %s", (prediction_id,))
        assert rows.fetchall() == [("deleted",)]


def test_a_confirmation_that_is_pressed_again_says_the_same(
    talk: Talk, chat: int, make_picture: MakePicture
) -> None:
    prediction_id = send(talk, chat, make_picture())
    told = [press(talk, chat, f"erase:{prediction_id}") for _ in range(2)]

    assert [each.startswith(words.DELETED) for each in told] == [True, True]


@pytest.mark.parametrize("kind", ["delete", "erase"])
def test_nobody_deletes_the_photo_of_somebody_else(
    talk: Talk, chat: int, make_picture: MakePicture, kind: str
) -> None:
    prediction_id = send(talk, -chat, make_picture(), by=chat)

    assert press(talk, -chat, f"{kind}:{prediction_id}", by=chat + 1) == words.NOT_YOURS
    talk.world.write(chat + 1, "hello")
    talk.work()
    assert press(talk, chat + 1, f"{kind}:{prediction_id}") == words.NOT_YOURS
    assert is_there(talk, prediction_id)


@pytest.mark.parametrize("data", ["delete:", "erase:x", "erase:../../etc"])
def test_a_button_that_we_never_made_deletes_nothing(talk: Talk, chat: int, data: str) -> None:
    talk.world.write(chat, "hello")
    talk.work()

    assert press(talk, chat, data) == words.NOT_YOURS


def test_all_of_a_user_is_deleted_and_nothing_of_others(
    talk: Talk, chat: int, make_picture: MakePicture
) -> None:
    own = [send(talk, -chat, make_picture(size=(64 + n, 64)), by=chat) for n in range(2)]
    others = send(talk, -chat, make_picture(size=(70, 64)), by=chat + 1)
    talk.world.write(-chat, "/delete@sightloop_bot", person=chat)
    talk.work()
    assert talk.told(-chat)[-1] == words.DELETE_ALL

    [confirm] = talk.buttons(-chat)
    told = press(talk, -chat, confirm["callback_data"], by=chat + 1)
    assert (told, is_there(talk, others)) == (words.NOT_ASKED, True)
    assert press(talk, -chat, confirm["callback_data"], by=chat) == "Deleted: all that you sent me."
    assert [is_there(talk, prediction_id) for prediction_id in (*own, others)] == [
        False,
        False,
        True,
    ]
    assert [files_of(talk, prediction_id) for prediction_id in own] == [[], []]


def test_who_is_banned_may_delete_what_they_sent(
    talk: Talk, chat: int, make_picture: MakePicture
) -> None:
    prediction_id = send(talk, chat, make_picture())
    talk.services.ledger.ban(f"user:telegram-{chat}", "tests", "operator")
    talk.services.ban_follow_up.run()
    talk.services.__dict__.pop("report_list")

    assert press(talk, chat, f"erase:{prediction_id}").startswith(words.DELETED)
    talk.world.write(chat, "delete")
    talk.work()
    assert talk.told(chat)[-1] == words.DELETE_ALL
