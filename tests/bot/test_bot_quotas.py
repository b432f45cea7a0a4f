"""What one Telegram user may ask of the bot: the quota of an address, and what is said beyond."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.bot import words
from chalicelib.bot.messages import AlbumDue
from chalicelib.errors import TelegramUnavailable
from chalicelib.quotas import SUBMISSIONS, UPLOADS, Quotas
from chalicelib.settings import Settings

if TYPE_CHECKING:
    Talk = Any
MakePicture = Callable[..., bytes]

_chats = itertools.count(500_000)
LIMITS = Settings(quotas=True, quota_uploads=3, quota_submissions=1)
WAIT_SECONDS = 200  # after which one of three photos in ten minutes is there again


@pytest.fixture
def chat() -> int:
    return next(_chats)


@pytest.fixture
def frozen(talk: Talk) -> Iterator[datetime]:
    """Stop the service's clock, and bound what a user may ask for by it."""
    services = talk.services
    talk.clock.at = datetime.now(UTC).replace(second=0, microsecond=0)
    services.quotas = Quotas(services.client("dynamodb"), LIMITS, services.now)
    yield talk.clock.at
    talk.clock.at = None
    del services.quotas


@pytest.mark.parametrize("caption", ["predict", "count", "contour"])
def test_photos_beyond_the_quota_are_refused_once_until_the_wait_is_over(
    talk: Talk, chat: int, frozen: datetime, make_picture: MakePicture, caption: str
) -> None:
    for _ in range(6):
        talk.world.send_photo(chat, make_picture(), caption)
    talk.work()

    said = talk.told(chat)
    assert said[-1] == words.over_quota(WAIT_SECONDS)
    assert said.count(said[-1]) == 1
    assert len(said) == 4

    talk.clock.at = frozen + timedelta(seconds=WAIT_SECONDS)
    for _ in range(3):
        talk.world.send_photo(chat, make_picture(), caption)
    talk.work()
    assert len(talk.told(chat)) == 6  # one more is done, and the next wait is told once


def test_an_album_beyond_the_quota_is_refused_in_one_message(
    talk: Talk, chat: int, frozen: datetime, make_picture: MakePicture
) -> None:
    _send_album(talk, chat, [make_picture() for _ in range(6)], "predict")

    said = talk.told(chat)
    assert said.count(words.over_quota(WAIT_SECONDS)) == 1
    assert len(said) == 4


def test_an_album_that_is_joined_counts_as_one(
    talk: Talk, chat: int, frozen: datetime, make_picture: MakePicture
) -> None:
    _send_album(talk, chat, [make_picture() for _ in range(6)], "concat")

    assert talk.told(chat) == ["6 photos, joined."]


def test_others_and_what_costs_nothing_go_on(
    talk: Talk, chat: int, frozen: datetime, make_picture: MakePicture
) -> None:
    for _ in range(4):
        talk.world.send_photo(chat, make_picture(), "contour")
    talk.world.write(chat, "models")
    talk.world.send_photo(chat + 10**6, make_picture(), "contour")
    talk.work()

    assert "scratch: scratch, dent" in talk.told(chat)[-1]
    assert talk.told(chat + 10**6) == [""]


def test_a_photo_that_is_begun_again_is_counted_once(
    talk: Talk,
    chat: int,
    frozen: datetime,
    make_picture: MakePicture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    telegram = talk.services.bot.account.telegram
    download, failures = telegram.download, iter([TelegramUnavailable("away")] * 2)

    def failing(file: str) -> bytes:
        for failure in failures:
            raise failure
        return bytes(download(file))

    monkeypatch.setattr(telegram, "download", failing)
    talk.world.send_photo(chat, make_picture(), "contour")
    update = talk.waiting[-1]
    for _ in range(3):
        talk.waiting.append(update)
        assert talk.deliver(talk.waiting.pop(0)) == 200
        records = talk.receive("bot")
        talk.handle("converse", records)
    talk.waiting.clear()

    own, _ = talk.services.quotas.buckets(UPLOADS, f"user:telegram-{chat}")
    item = _item(talk, own.entry)
    assert float(item["full_at"]["N"]) - frozen.timestamp() == pytest.approx(WAIT_SECONDS)


def test_a_button_beyond_the_quota_says_how_long_to_wait(
    talk: Talk, chat: int, frozen: datetime, make_picture: MakePicture
) -> None:
    for _ in range(2):
        talk.world.send_photo(chat, make_picture(), "predict")
    talk.work()
    for answer in talk.world.from_bot(chat)[-2:]:
        pressed = answer["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
        talk.world.press(chat, answer["message_id"], pressed)
    talk.work()

    assert talk.world.toasts[-1]["text"] == words.over_quota(600)
    assert talk.world.toasts[-2]["text"] != words.over_quota(600)
    assert len(talk.services.ledger.of_user(f"user:telegram-{chat}")) == 1


def test_telegram_users_have_the_quota_of_an_address_and_take_nothing_from_others(
    talk: Talk,
) -> None:
    quotas = Quotas(None, LIMITS, talk.clock)
    callers = ("user:telegram-42", "203.0.113.7", "user:ann")

    for kind, capacity in ((UPLOADS, 3), (SUBMISSIONS, 1)):
        buckets = [quotas.buckets(kind, caller) for caller in callers]
        assert [own.capacity for own, _ in buckets] == [capacity, capacity, 5 * capacity]
        assert len({everyones.entry for _, everyones in buckets}) == 3


def _item(talk: Talk, entry: str) -> Any:
    table = talk.services.settings.limits_table
    return talk.services.client("dynamodb").get_item(TableName=table, Key={"entry": {"S": entry}})[
        "Item"
    ]


def _send_album(talk: Talk, chat: int, pictures: list[bytes], caption: str) -> None:
    """Send an album, and let the service look after it once it is whole."""
    messages = talk.world.send_album(chat, pictures, caption)
    talk.work()
    talk.clock.at += timedelta(seconds=5)
    due = AlbumDue(chat=chat, group=messages[0]["message"]["media_group_id"])
    talk.services.bot.albums.look_after(due, "a-message")
    talk.work()
