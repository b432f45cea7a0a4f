"""What people send to the bot, and what comes back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from chalicelib.bot import filters, words

if TYPE_CHECKING:
    Talk = Any

_chats = itertools.count(1000)


@pytest.fixture
def chat() -> int:
    return next(_chats)


def pixels(jpeg: bytes) -> filters.Pixels:
    with Image.open(BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB"))


def test_hello_is_answered_with_what_can_be_done(talk: Talk, chat: int) -> None:
    for greeting in ("/start", "hello", "/help@sightloop_bot"):
        talk.world.write(chat, greeting)
    talk.work()

    assert talk.told(chat) == [words.welcome("scratch", "scratch")] * 3


def test_a_photo_is_answered_with_its_boxes(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(), "predict scratch")
    talk.work()

    assert talk.told(chat) == ["scratch: 1 (90%)\ndent: 1 (60%)\n(scratch, version 1)"]
    assert (pixels(talk.picture(chat)) != pixels(make_picture())).any()
    names = [button["text"] for button in talk.buttons(chat)]
    assert names == ["The boxes are right", "Nothing here", "Correct them"]


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        ("count", "scratch: 1\ndent: 1"),
        ("count dents", "dents: 1"),
        ("count people", "scratch knows no people: it knows scratch and dent."),
    ],
)
def test_things_are_counted(
    talk: Talk, chat: int, make_picture: Callable[..., bytes], caption: str, told: str
) -> None:
    talk.world.send_photo(chat, make_picture(), caption)
    talk.work()

    assert talk.told(chat) == [told]


def test_a_model_that_is_not_there_is_named(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(), "predict rust")
    talk.work()

    assert talk.told(chat) == ["There is no model “rust”. There are: scratch."]


def test_a_filter_is_answered_with_the_picture(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture((80, 60)), "rotate")
    talk.work()

    turned = pixels(talk.picture(chat))
    assert turned.shape == (80, 60, 3)
    expected = filters.rotate(pixels(make_picture((80, 60))), 90)
    assert np.abs(turned.astype(int) - expected).mean() < 3  # what JPEG loses


def test_a_reply_with_a_caption_is_for_the_picture_it_replies_to(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(), "predict")
    talk.work()
    answer = talk.world.from_bot(chat)[-1]
    talk.world.write(chat, "segment", reply_to_message=answer)
    talk.work()

    assert set(np.unique(pixels(talk.picture(chat)) // 64)) <= {0, 3}


def test_a_wrong_parameter_is_answered_with_the_usage(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(), "rotate 45")
    talk.work()

    [told] = talk.told(chat)
    assert "rotate [clockwise|anti-clockwise] [90|180|270]" in told


@pytest.mark.parametrize(
    "content",
    [
        {
            "sticker": {
                "file_id": "s",
                "file_unique_id": "s",
                "width": 1,
                "height": 1,
                "is_animated": False,
                "is_video": False,
                "type": "regular",
            }
        },
        {"video": {"file_id": "v", "file_unique_id": "v", "width": 1, "height": 1, "duration": 1}},
        {"document": {"file_id": "d", "file_unique_id": "d", "mime_type": "application/pdf"}},
        {"text": "blur"},
    ],
)
def test_what_is_no_picture_is_answered(talk: Talk, chat: int, content: dict[str, Any]) -> None:
    text = content.pop("text", None)
    talk.world._send(talk.world._incoming(chat, **({"text": text} if text else content)))
    talk.work()

    assert talk.told(chat) == [words.NOT_A_PICTURE]


def test_other_text_is_answered_with_how_to_begin(talk: Talk, chat: int) -> None:
    talk.world.write(chat, "what a lovely day")
    talk.work()

    assert talk.told(chat) == [words.how_to_begin()]


def test_a_picture_sent_as_a_file_is_looked_at(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(kind="PNG"), "Predict", as_document="image/png")
    talk.work()

    assert talk.told(chat)[0].startswith("scratch: 1")


def test_a_file_that_is_no_picture_inside_is_answered_with_why(talk: Talk, chat: int) -> None:
    talk.world.send_photo(chat, b"GIF89a, not", "predict", as_document="image/gif")
    talk.world.send_photo(chat, b"neither", "blur", as_document="image/jpeg")
    talk.work()

    assert len(talk.told(chat)) == 2
    assert all("image" in told for told in talk.told(chat))


def test_a_file_that_telegram_would_not_give_us_is_refused(talk: Talk, chat: int) -> None:
    large = {
        "file_id": "x",
        "file_unique_id": "x",
        "mime_type": "image/png",
        "file_size": 21 * 1024 * 1024,
    }
    talk.world._send(talk.world._incoming(chat, document=large, caption="predict"))
    talk.work()

    assert talk.told(chat) == [words.TOO_LARGE]


def test_an_update_that_comes_twice_is_answered_once(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    update = talk.world.send_photo(chat, make_picture(), "predict")
    talk.waiting += [update, update]
    talk.work()
    talk.deliver(update)
    talk.work()

    assert len(talk.told(chat)) == 1


def test_in_a_group_only_what_is_for_the_bot_is_answered(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.write(-chat, "hello everybody")
    talk.world.write(-chat, "/predict@other_bot scratch")
    talk.world.send_photo(-chat, make_picture())
    talk.world.send_photo(-chat, make_picture(), "/predict@sightloop_bot scratch")
    talk.work()

    assert [told.split(":")[0] for told in talk.told(-chat)] == ["scratch"]


def test_pressing_that_boxes_are_right_is_a_submission(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(), "predict")
    talk.work()
    right = talk.buttons(chat)[0]["callback_data"]
    answer = talk.world.from_bot(chat)[-1]
    talk.world.press(chat, answer["message_id"], right)
    talk.work()

    assert talk.world.toasts[-1]["text"].startswith("Thank you")
    with talk.services.database.transaction() as rows:
        rows.execute(
            "SELECT prediction_id::text, state FROM requests WHERE user_address = %s",
            (f"user:telegram-{chat}",),
        )
        assert rows.fetchall() == [(right.partition(":")[2], "accepted")]


def test_who_is_banned_is_told_so(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    user = f"user:telegram-{chat}"
    talk.services.ledger.ban(user, "tests", "operator")
    talk.services.ban_follow_up.run()
    talk.services.__dict__.pop("report_list")
    talk.world.send_photo(chat, make_picture(), "predict")
    talk.work()

    assert talk.told(chat)[0].startswith("You have been shut out since ")


def test_a_chat_that_asks_too_much_is_told_once(talk: Talk, chat: int) -> None:
    for _ in range(63):
        talk.world.write(chat, "models")
    talk.work()

    told = talk.told(chat)
    assert len(told) <= 62
    assert told.count(words.SLOW_DOWN) <= 1


def test_a_webhook_call_without_the_secret_is_refused(talk: Talk, chat: int) -> None:
    update = talk.world.write(chat, "hello")
    talk.waiting.clear()

    assert talk.deliver(update, secret="guessed") == 401
    assert talk.deliver(update, secret="") == 401
    talk.work()
    assert talk.told(chat) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"nonsense", b'{"update_id": "1"}'])
def test_what_is_no_update_is_refused(talk: Talk, body: bytes) -> None:
    assert talk.post("/v1/telegram/webhook", body, "known-to-telegram") == 400


def test_a_bot_that_was_blocked_does_not_try_again(talk: Talk, chat: int) -> None:
    talk.world.write(chat, "hello")
    talk.world.blocked.add(chat)
    talk.work()
    talk.world.blocked.remove(chat)

    assert talk.told(chat) == []


def test_a_busy_telegram_is_asked_again(talk: Talk, chat: int) -> None:
    talk.deliver(talk.world.write(chat, "hello"))
    talk.waiting.clear()
    talk.world.busy = 1
    [record] = talk.receive("bot")

    failed = talk.handle("converse", [record])
    assert failed["batchItemFailures"] == [{"itemIdentifier": record["messageId"]}]
    assert talk.handle("converse", [record])["batchItemFailures"] == []
    assert len(talk.told(chat)) == 1


def test_help_shows_only_captions_that_work(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    shown = words.examples("scratch", "dent")
    assert len(shown) == 8
    for captions in shown.values():
        for caption in captions:
            if not caption.startswith("concat"):
                talk.world.send_photo(chat, make_picture(), caption)
    talk.work()

    told = talk.told(chat)
    assert len(told) == sum(not c.startswith("concat") for cs in shown.values() for c in cs)
    assert not any("written" in text or "wait" in text for text in told)
