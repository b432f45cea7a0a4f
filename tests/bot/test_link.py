"""“Correct them”: the link of the bot's answer lets the Telegram user label by their own name."""

from __future__ import annotations

import io
import itertools
import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from chalice.test import Client

from app import app
from chalicelib.observability import logger

Talk = Any
Link = Callable[[int], tuple[str, str]]
_chats = itertools.count(5_000)


@pytest.fixture
def chat() -> int:
    return next(_chats)


@pytest.fixture
def link(talk: Talk, make_picture: Callable[..., bytes]) -> Link:
    """Have a photo looked at; return the prediction and the token of the link below the answer."""

    def of(chat: int) -> tuple[str, str]:
        talk.world.send_photo(chat, make_picture(), "predict")
        talk.work()
        [address] = [button["url"] for button in talk.buttons(chat) if "url" in button]
        parts = urlsplit(address)
        assert address.startswith("https://sightloop.example/api/label?")
        return parse_qs(parts.query)["prediction"][0], parse_qs(parts.fragment)["token"][0]

    return of


def submit(prediction: str, token: str) -> tuple[int, dict[str, Any]]:
    """Send boxes as the labelling tool does."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    body = json.dumps({"prediction_id": prediction, "answer": "confirmed"}).encode()
    path = "/v1/models/scratch/submissions"
    answer = Client(app).http.request("POST", path, headers=headers, body=body)
    return int(answer.status_code), json.loads(answer.body)


def test_what_is_sent_by_the_link_is_of_the_telegram_user(
    talk: Talk, chat: int, link: Link
) -> None:
    prediction, token = link(chat)

    assert submit(prediction, token)[0] == 201
    with talk.services.database.transaction() as rows:
        rows.execute(
            "SELECT user_address FROM requests WHERE prediction_id = %s::uuid", (prediction,)
        )
        assert rows.fetchall() == [(f"user:telegram-{chat}",)]


def test_a_button_and_the_link_are_one_persons_answer(talk: Talk, chat: int, link: Link) -> None:
    prediction, token = link(chat)
    answer = talk.world.from_bot(chat)[-1]
    talk.world.press(chat, answer["message_id"], f"right:{prediction}")
    talk.work()

    status, told = submit(prediction, token)
    assert (status, told["change"]) == (200, "same")


def test_the_link_is_good_for_a_day(talk: Talk, chat: int, link: Link) -> None:
    _, token = link(chat)

    until = jwt.decode(token, options={"verify_signature": False})["exp"]
    left = datetime.fromtimestamp(until, UTC) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < left <= timedelta(days=1)


def test_a_link_that_ran_out_is_refused_and_nothing_is_recorded(
    talk: Talk, chat: int, link: Link
) -> None:
    now = talk.services.now
    talk.services.now = lambda: now() - timedelta(hours=24, seconds=11)
    try:
        prediction, token = link(chat)
    finally:
        talk.services.now = now

    status, told = submit(prediction, token)
    assert (status, told["detail"]) == (401, "the token has expired: get another")
    with talk.services.database.transaction() as rows:
        rows.execute("SELECT count(*) FROM requests WHERE prediction_id = %s::uuid", (prediction,))
        assert rows.fetchall() == [(0,)]


def test_a_link_that_somebody_altered_is_refused(talk: Talk, chat: int, link: Link) -> None:
    prediction, token = link(chat)
    forged = jwt.encode(
        {"sub": "telegram-1", "exp": 4_000_000_000}, "a-key-of-their-own" * 4, algorithm="HS256"
    )

    for other in (forged, token[:-4] + "AAAA", token + "A"):
        assert submit(prediction, other)[0] == 401


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Return what is logged from now on."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logger.registered_formatter)
    level = logger.log_level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield written
    logger.setLevel(level)
    logger._logger.removeHandler(handler)


def test_a_token_is_in_no_log_line(talk: Talk, chat: int, link: Link, logged: io.StringIO) -> None:
    prediction, token = link(chat)
    submit(prediction, token)
    submit(prediction, token + "A")

    told = logged.getvalue()
    assert f"user:telegram-{chat}" in told
    assert token.rpartition(".")[2] not in told
    assert not re.search(r"eyJ[\w-]+\.eyJ", told)
