"""The seam to Telegram: what is cut to fit, which error means what, and that no token gets out."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from chalicelib.bot.telegram import Telegram
from chalicelib.errors import (
    ConfigurationError,
    ObjectNotFound,
    PayloadTooLarge,
    SightloopError,
    TelegramRefused,
    TelegramUnavailable,
)
from local.telegram.server import Server
from local.telegram.world import Refused, World

TOKEN = "7000000001:nobody-is-to-read-this"
CHAT = 42


@pytest.fixture
def world() -> World:
    made = World()
    made.write(CHAT, "hello")
    return made


@pytest.fixture
def server(world: World, serve_telegram: Callable[[World, str], Server]) -> Server:
    return serve_telegram(world, TOKEN)


@pytest.fixture
def telegram(server: Server) -> Iterator[Telegram]:
    with closing(Telegram(TOKEN, server.url)) as made:
        yield made


@pytest.fixture
def refuse(world: World) -> Callable[..., None]:
    """Have Telegram answer every further call in one way."""

    def set_up(code: int, description: str, retry_after: int | None = None) -> None:
        def call(method: str, given: Any) -> Any:
            raise Refused(code, description, retry_after)

        world.call = call

    return set_up


def picture(shade: int = 0) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (20, 20), (shade,) * 3).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("text", ["a" * 5000, "🙂" * 5000, "a" + "🙂" * 3000, "x\ud83d"])
def test_a_text_that_is_too_long_is_cut_as_telegram_counts(
    telegram: Telegram, world: World, text: str
) -> None:
    telegram.say(CHAT, text)

    said = world.from_bot(CHAT)[-1]["text"]
    assert len(said.encode("utf-16-le")) // 2 <= 4096
    assert len(said) >= min(len(text), 2048)


def test_a_message_becomes_a_picture_however_often_that_is_said(
    telegram: Telegram, world: World
) -> None:
    message = telegram.say(CHAT, "wait", world.chats[CHAT][0]["message_id"])
    buttons = [("right", "right:1"), ("correct", "https://sightloop.example/label")]
    for _ in range(3):
        telegram.show(CHAT, message, picture(), "x" * 2000, buttons)

    [shown] = world.from_bot(CHAT)
    assert shown["message_id"] == message
    assert len(shown["caption"]) == 1024
    assert [row[0]["text"] for row in shown["reply_markup"]["inline_keyboard"]] == [
        "right",
        "correct",
    ]


def test_where_the_message_is_gone_a_new_one_is_sent(telegram: Telegram, world: World) -> None:
    telegram.show(CHAT, 10**6, picture(), "found")
    telegram.tell(CHAT, 10**6, "not found")

    assert [m.get("caption") or m["text"] for m in world.from_bot(CHAT)] == ["found", "not found"]


def test_an_answer_to_who_pressed_a_button_long_ago_is_no_error(
    telegram: Telegram, refuse: Callable[..., None]
) -> None:
    refuse(400, "Bad Request: query is too old and response timeout expired or query ID is invalid")
    telegram.toast("1", "thank you")


@pytest.mark.parametrize(
    ("code", "description", "kind"),
    [
        (400, "Bad Request: chat not found", TelegramRefused),
        (403, "Forbidden: bot was blocked by the user", TelegramRefused),
        (403, "Forbidden: bot was kicked from the group chat", TelegramRefused),
        (401, "Unauthorized", ConfigurationError),
        (404, "Not Found", ConfigurationError),
        (409, "Conflict", TelegramUnavailable),
        (429, "Too Many Requests: retry after 17", TelegramUnavailable),
        (500, "Internal Server Error", TelegramUnavailable),
        (502, "Bad Gateway", TelegramUnavailable),
    ],
)
def test_each_refusal_says_whether_to_ask_again(
    telegram: Telegram,
    refuse: Callable[..., None],
    code: int,
    description: str,
    kind: type[SightloopError],
) -> None:
    refuse(code, description, retry_after=17 if code == 429 else None)

    with pytest.raises(kind) as told:
        telegram.say(CHAT, "hello")

    assert told.value.retry is (kind is TelegramUnavailable)
    assert getattr(told.value, "retry_after", 0) == (17 if code == 429 else 0)


def test_a_file_that_cannot_be_had_says_why(telegram: Telegram, world: World) -> None:
    world.files["large"] = bytes(20_000_001)

    with pytest.raises(PayloadTooLarge):
        telegram.download("large")
    with pytest.raises(ObjectNotFound, match="send it again"):
        telegram.download("gone")


def test_a_file_that_vanishes_before_it_is_fetched_is_gone(
    telegram: Telegram, world: World
) -> None:
    world.files["here"] = b"bytes"
    call = world.call

    def vanish(method: str, given: Any) -> Any:
        found = call(method, given)
        world.files.clear()
        return found

    world.call = vanish
    with pytest.raises(ObjectNotFound):
        telegram.download("here")


def test_many_threads_may_call_at_once(telegram: Telegram, world: World) -> None:
    with ThreadPoolExecutor(20) as pool:
        sent = list(pool.map(lambda number: telegram.say(CHAT, str(number)), range(100)))

    assert len(set(sent)) == 100


@pytest.mark.parametrize("token", ["", "abc", "1:2/../x", "1:a\nb", "1:ü", " 1:a"])
def test_what_cannot_be_a_token_is_not_sent_anywhere(token: str) -> None:
    with pytest.raises(ConfigurationError, match="@BotFather"):
        Telegram(token, "http://127.0.0.1:9")


def test_no_token_is_in_a_log_or_an_error(
    server: Server, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for logger in ("httpx", "httpcore", "telegram", "asyncio"):
        caplog.set_level(logging.DEBUG, logger)
    other = TOKEN.replace("nobody", "somebody")
    nowhere = "http://127.0.0.1:9"
    told = ""
    for token, api in ((TOKEN, server.url), (other, server.url), (TOKEN, nowhere)):
        with closing(Telegram(token, api)) as telegram:
            for call in (
                lambda telegram=telegram: telegram.say(CHAT, "hello"),
                lambda telegram=telegram: telegram.download("gone"),
                lambda telegram=telegram: telegram.show(CHAT, 10**6, picture(), "x"),
            ):
                try:
                    call()
                except SightloopError as error:
                    told += "".join(traceback.format_exception(error))

    assert told.count("TelegramUnavailable") >= 3
    assert "is-to-read-this" not in told
    assert "is-to-read-this" not in caplog.text
