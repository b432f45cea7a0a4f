"""Albums: photos that come one by one, in any order, to any instance."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from telegram import Update

from chalicelib.bot import words
from chalicelib.bot.albums import Albums
from chalicelib.bot.captions import USAGE
from chalicelib.bot.conversation import Conversation
from chalicelib.bot.messages import AlbumDue
from chalicelib.errors import TelegramUnavailable

if TYPE_CHECKING:
    Talk = Any

_chats = itertools.count(5000)
_owners = itertools.count()


@dataclass
class Clock:
    """A clock that is set by hand, and the messages that wait for it."""

    now: float
    waiting: list[tuple[float, AlbumDue]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def send(self, message: AlbumDue, delay_seconds: int = 0) -> None:
        """Take a message as the bot's queue does."""
        self.waiting.append((self.now + delay_seconds, message))

    def due(self) -> list[AlbumDue]:
        """Return the messages whose time has come."""
        due = [message for at, message in self.waiting if at <= self.now]
        self.waiting = [each for each in self.waiting if each[0] > self.now]
        return due


class Service:
    """The bot's part for albums under a clock of ours."""

    def __init__(self, talk: Talk, clock: Clock) -> None:
        self.talk, self.clock = talk, clock
        parts = talk.services.bot
        bot = replace(parts.account, clock=clock)
        self.albums = Albums(bot, parts.jobs, clock)
        self.conversation = Conversation(
            bot,
            talk.services.catalog,
            parts.jobs,
            self.albums,
            parts.house,
            parts.conversation._deleting,
            lambda *_: "",
        )

    def take(self, *updates: dict[str, Any]) -> None:
        for update in updates:
            self.conversation.take(Update.de_json(update, None), f"message-{next(_owners)}")

    def wait(self, seconds: float) -> None:
        """Let time go by, a quarter of a second at a time."""
        for _ in range(int(seconds * 4)):
            self.clock.now += 0.25
            for due in self.clock.due():
                self.albums.look_after(due, f"message-{next(_owners)}")


@pytest.fixture
def chat() -> int:
    return next(_chats)


@pytest.fixture
def service(talk: Talk) -> Iterator[Service]:
    clock = Clock(talk.services.now().timestamp())
    made = Service(talk, clock)
    yield made
    talk.waiting.clear()


def shades(jpeg: bytes) -> list[int]:
    """Return the shades of a picture of squares, left to right."""
    with Image.open(BytesIO(jpeg)) as image:
        row = np.asarray(image.convert("L"))[16]
    return [round(float(row[x]) / 20) for x in range(16, len(row), 32)]


def squares(count: int) -> list[bytes]:
    """Return photos of one shade each: 20, 40, 60 …"""
    files = []
    for number in range(1, count + 1):
        buffer = BytesIO()
        Image.new("RGB", (32, 32), (20 * number,) * 3).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


@pytest.mark.parametrize("seed", range(5))
def test_an_album_is_joined_in_its_order_however_its_photos_come(
    service: Service, chat: int, seed: int
) -> None:
    updates = service.talk.world.send_album(chat, squares(4), "concat")
    chance = random.Random(seed)
    twice = [*updates, *chance.sample(updates, 2)]
    chance.shuffle(twice)
    for update in twice:
        service.take(update)
        service.wait(chance.choice([0, 0.5, 1.5]))
    service.wait(20)

    [told] = service.talk.told(chat)
    assert told == "4 photos, joined."
    assert shades(service.talk.picture(chat)) == [1, 2, 3, 4]


def test_a_half_arrived_album_is_answered_all_the_same(service: Service, chat: int) -> None:
    updates = service.talk.world.send_album(chat, squares(3), "concat")
    service.take(updates[0], updates[2])
    service.wait(20)

    assert shades(service.talk.picture(chat)) == [1, 3]


def test_a_photo_that_comes_too_late_is_joined_after_all(service: Service, chat: int) -> None:
    updates = service.talk.world.send_album(chat, squares(3), "concat")
    service.take(updates[0], updates[2])
    service.wait(20)
    service.take(updates[1])
    service.wait(20)

    assert service.talk.told(chat) == ["3 photos, joined."]
    assert shades(service.talk.picture(chat)) == [1, 2, 3]


def test_a_photo_that_comes_while_its_album_is_answered_is_not_forgotten(
    service: Service, chat: int
) -> None:
    first, second, third = service.talk.world.send_album(chat, squares(3), "concat")
    service.take(first, second)
    service.clock.now += 3
    [due, _] = service.clock.due()
    call = service.talk.world.call

    def slow(method: str, given: dict[str, Any]) -> Any:
        if method == "editMessageMedia":
            service.talk.world.call = call
            service.take(third)
        return call(method, given)

    service.talk.world.call = slow
    service.albums.look_after(due, "one")
    service.wait(20)

    assert service.talk.told(chat) == ["3 photos, joined."]


def test_two_who_look_after_an_album_at_once_answer_it_once(service: Service, chat: int) -> None:
    service.take(*service.talk.world.send_album(chat, squares(2), "concat"))
    service.clock.now += 3
    first, second = service.clock.due()
    call = service.talk.world.call

    def slow(method: str, given: dict[str, Any]) -> Any:
        service.talk.world.call = call
        service.albums.look_after(second, "another")
        return call(method, given)

    service.talk.world.call = slow
    service.albums.look_after(first, "one")
    service.wait(20)

    assert service.talk.told(chat) == ["2 photos, joined."]


def test_a_caption_that_is_mended_counts_for_the_whole_album(service: Service, chat: int) -> None:
    updates = service.talk.world.send_album(chat, squares(2), "concat sideways")
    service.take(*updates)
    service.wait(20)
    mended = {**updates[0]["message"], "caption": "concat left-to-right", "edit_date": 1}
    service.take({"update_id": updates[1]["update_id"] + 10**6, "edited_message": mended})
    service.wait(20)

    wrong, joined = service.talk.told(chat)
    assert USAGE["concat"] in wrong
    assert joined == "2 photos, joined."
    assert shades(service.talk.picture(chat)) == [2, 1]


def test_an_album_in_a_group_is_answered_only_if_its_caption_is_for_the_bot(
    service: Service, chat: int
) -> None:
    world = service.talk.world
    service.take(*world.send_album(-chat, squares(2)))
    service.take(*world.send_album(-chat, squares(2), "our holiday"))
    service.take(*world.send_album(-chat, squares(2), "/concat@another_bot"))
    service.wait(20)
    assert service.talk.told(-chat) == []

    service.take(*world.send_album(-chat, squares(2), "/concat@sightloop_bot"))
    service.wait(20)
    assert service.talk.told(-chat) == ["2 photos, joined."]


def test_an_album_of_videos_is_answered(service: Service, chat: int) -> None:
    video = {"file_id": "v", "file_unique_id": "v", "width": 1, "height": 1, "duration": 1}
    for _ in range(2):
        content = {"video": video, "media_group_id": "7", "caption": "concat"}
        service.talk.world._send(service.talk.world._incoming(chat, **content))
    service.take(*service.talk.waiting)
    service.wait(20)

    assert service.talk.told(chat) == [words.not_a_picture(serves=True)]


def test_an_album_whose_chat_is_gone_is_let_be(service: Service, chat: int) -> None:
    service.take(*service.talk.world.send_album(chat, squares(2), "concat"))
    service.talk.world.blocked.add(chat)
    service.wait(20)
    service.talk.world.blocked.remove(chat)

    assert service.talk.told(chat) == []
    assert service.clock.waiting == []


def test_one_photo_of_an_album_is_not_forgotten(service: Service, chat: int) -> None:
    updates = service.talk.world.send_album(chat, squares(2), "concat")
    service.take(updates[0])
    service.wait(8)
    assert service.talk.told(chat) == []
    service.wait(8)

    assert service.talk.told(chat) == [words.ONE_PHOTO]


def test_an_album_whose_caption_is_late_waits_for_it(service: Service, chat: int) -> None:
    updates = service.talk.world.send_album(chat, squares(3), "concat left-to-right")
    service.take(updates[1], updates[2])
    service.wait(6)
    service.take(updates[0])
    service.wait(6)

    assert shades(service.talk.picture(chat)) == [3, 2, 1]


def test_an_album_without_words_is_asked_what_to_do_once(service: Service, chat: int) -> None:
    service.take(*service.talk.world.send_album(chat, squares(3)))
    service.wait(20)

    assert service.talk.told(chat) == [words.what_to_do(serves=True)]


def test_another_command_is_done_with_each_photo(
    service: Service, chat: int, make_picture: Callable[..., bytes]
) -> None:
    service.take(*service.talk.world.send_album(chat, [make_picture()] * 3, "predict"))
    service.wait(20)
    service.talk.waiting.clear()
    service.talk.work()

    assert [told.split("\n")[0] for told in service.talk.told(chat)] == ["scratch: 1 (90%)"] * 3


def test_sides_that_disagree_with_the_direction_are_told(service: Service, chat: int) -> None:
    album = service.talk.world.send_album(chat, squares(2), "concat horizontal bottom-to-top")
    service.take(*album)
    service.wait(20)

    [told] = service.talk.told(chat)
    assert "bottom-to-top is vertical" in told


def test_every_example_of_the_help_for_albums_works_as_it_stands(
    service: Service, chat: int
) -> None:
    shown = [each for each in service.talk.examples(chat) if each.startswith("concat")]
    assert len(shown) == 4
    for caption in shown:
        service.take(*service.talk.world.send_album(chat, squares(2), caption))
        service.wait(20)

    assert service.talk.told(chat)[1:] == ["2 photos, joined."] * 4


def test_who_fails_while_answering_is_followed_by_whoever_is_next(
    service: Service, chat: int
) -> None:
    service.take(*service.talk.world.send_album(chat, squares(2), "concat"))
    service.clock.now += 3
    first, second = service.clock.due()[:2]
    service.talk.world.busy = 1
    with pytest.raises(TelegramUnavailable, match="wants us to wait"):
        service.albums.look_after(first, "one")
    assert service.talk.told(chat) == []
    service.albums.look_after(second, "another")
    service.albums.look_after(first, "one")

    assert service.talk.told(chat) == ["2 photos, joined."]
